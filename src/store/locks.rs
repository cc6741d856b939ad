//! OS locks beside the database: one for `run`, one for each upstream mailbox in use. They are gone with their process.

use super::{Store, StoreError};
use std::fs::File;

/// Held by the gateway as long as it runs.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code)] File);

/// Held while an upstream mailbox is in use.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code)] File);

impl Store {
    /// Makes this process the gateway of this store. [`StoreError::Conflict`] if there is one.
    pub fn lock_run(&self) -> Result<RunLock, StoreError> {
        todo!()
    }

    /// Whether a gateway runs on this store, in this process or another.
    pub fn gateway_runs(&self) -> bool {
        todo!()
    }

    /// Takes the upstream mailbox; `None` if somebody has it.
    pub fn lease(&self, host: &str, login: &str) -> Result<Option<Lease>, StoreError> {
        todo!("{host} {login}")
    }
}
