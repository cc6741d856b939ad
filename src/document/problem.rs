//! A diagnosed place in a file.

use std::path::PathBuf;

/// File, line and column, both from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// What is wrong, where, and what to write instead. `Display` prints all of it, with the line and a mark under the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when no file is to blame.
    pub place: Option<Place>,
    /// The offending line, without its end.
    pub text: String,
    /// How many characters are marked.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}
