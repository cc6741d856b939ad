//! The composition root: opens the store, starts listeners and tasks, hands back their addresses, stops them.

pub mod files;

use crate::document::Problem;

/// The files do not load: every problem that was found, each with its place. Commands end with exit code 2.
#[derive(Debug, thiserror::Error)]
pub struct LoadError(pub Vec<Problem>);

impl LoadError {
    /// A single problem that no line of a file is to blame for.
    pub fn one(message: String, help: Option<String>) -> LoadError {
        LoadError(vec![Problem { place: None, text: String::new(), length: 0, message, help }])
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            match (&problem.place, &problem.help) {
                (None, Some(help)) => write!(out, "{}; {help}", problem.message)?,
                _ => write!(out, "{}", problem.message)?,
            }
        }
        Ok(())
    }
}
