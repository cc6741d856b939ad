//! Where a secret comes from, and the secret itself, which can't be printed.

use std::path::PathBuf;

/// `password = …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; its first line.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command's first line of output.
    Command(Vec<String>),
    /// From the store, by name.
    Stored(String),
    /// Written in the file itself; warned about.
    Plain(Plain),
}

/// A secret written into the configuration: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(pub String);

impl std::fmt::Debug for Plain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("…")
    }
}
