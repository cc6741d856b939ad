//! The files and the user list together make what is in force: [`Current`].

use std::path::Path;

use super::LoadError;
use crate::config::{Current, Loaded};
use crate::document::Problem;
use crate::store::Store;

/// What the files came to.
pub struct Compiled {
    /// Configuration and mapping.
    pub current: Current,
    /// Not errors, but worth a word.
    pub warnings: Vec<Problem>,
}

/// Reads `mailroom.toml` and what it names.
pub fn read(file: &Path) -> Result<Loaded, LoadError> {
    Err(LoadError::one(format!("{}: reading the configuration is not built yet", file.display()), None))
}

/// Compiles the mapping with the users that the store knows.
pub async fn compile(loaded: Loaded, _store: &Store) -> Result<Compiled, LoadError> {
    Err(LoadError::one(format!("{}: compiling the mapping is not built yet", loaded.config.file.display()), None))
}

/// Refuses if the files name users that do not exist, naming them all at once.
pub async fn require_users(_current: &Current, _store: &Store) -> Result<(), LoadError> {
    Err(LoadError::one("the list of users is not built yet".into(), None))
}
