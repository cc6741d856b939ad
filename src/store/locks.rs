//! OS locks beside the database: one for `run`, one for each upstream mailbox in use. They are gone with their process.

use super::{Store, StoreError, database};
use crate::service::platform;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Held by the gateway as long as it runs.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "its lock ends when it is closed")] File);

/// Held while an upstream mailbox is in use.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "its lock ends when it is closed")] File);

/// Held by the gateway as long as it runs.
const RUN: &str = "run.lock";

/// Where leases lie.
const LEASES: &str = "leases";

impl Store {
    /// Makes this process the gateway of this store. [`StoreError::Conflict`] if there is one.
    pub fn lock_run(&self) -> Result<RunLock, StoreError> {
        let path = self.directory().join(RUN);
        match lock(&path)? {
            Some(file) => Ok(RunLock(file)),
            None => Err(StoreError::Conflict(format!(
                "another mailroom runs on the store in {} already; stop that one first (`mailroom status` shows what it does)",
                self.directory().display()
            ))),
        }
    }

    /// Whether a gateway runs on this store, in this process or another.
    pub fn gateway_runs(&self) -> bool {
        let path = self.directory().join(RUN);
        // A shared lock, so that two who ask at once don't take each other for the gateway.
        path.exists() && platform::private_file(&path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Takes the upstream mailbox; `None` if somebody has it.
    pub fn lease(&self, host: &str, login: &str) -> Result<Option<Lease>, StoreError> {
        let directory = self.directory().join(LEASES);
        platform::private_directory(&directory).map_err(|error| database::cannot(&directory, error))?;
        let name = blake3::hash(format!("{}\n{login}", host.to_lowercase()).as_bytes()).to_hex();
        Ok(lock(&directory.join(&name[..32]))?.map(Lease))
    }
}

fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    let file = platform::private_file(path).map_err(|error| database::cannot(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(database::cannot(path, error)),
    }
}
