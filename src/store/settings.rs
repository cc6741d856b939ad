//! Small named texts, and the last configuration that loaded.

use super::{Store, StoreError};
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Store {
    /// A small text by name.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        todo!("{name}")
    }

    /// Sets it, or removes it.
    pub async fn setting_set(&self, name: &str, value: Option<&str>) -> Result<(), StoreError> {
        todo!("{name} {value:?}")
    }

    /// The files of the last configuration that loaded, with their texts; empty if none ever did.
    pub async fn last_good(&self) -> Result<BTreeMap<PathBuf, String>, StoreError> {
        todo!()
    }

    /// Remembers the files of a configuration that loaded. Writes nothing if they are the same as before.
    pub async fn last_good_set(&self, files: &BTreeMap<PathBuf, String>) -> Result<(), StoreError> {
        todo!("{files:?}")
    }
}
