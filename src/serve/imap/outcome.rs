//! How a command ends.

use super::Flow;
use crate::imap::command::Invalid;
use crate::store::StoreError;
use crate::wire::WireError;

/// What performing a command gives.
pub type Performed = Result<Done, Failure>;

/// A tagged OK.
#[derive(Debug)]
pub struct Done {
    /// Without brackets.
    pub code: Option<String>,
    /// A sentence.
    pub text: String,
    /// What comes after it.
    pub flow: Flow,
}

/// Anything else.
#[derive(Debug)]
pub enum Failure {
    /// The client is gone or does not answer.
    Wire(WireError),
    /// A tagged NO.
    No {
        /// Without brackets (RFC 5530).
        code: Option<String>,
        /// A sentence.
        text: String,
    },
    /// A tagged BAD.
    Bad(String),
    /// An untagged BYE, and the end.
    Bye(String),
    /// The same, said already.
    Ended,
}

impl Done {
    /// Without a code.
    pub fn ok(text: &str) -> Done {
        Done { code: None, text: text.into(), flow: Flow::Go }
    }

    /// With a code.
    pub fn with_code(code: impl Into<String>, text: &str) -> Done {
        Done { code: Some(code.into()), ..Done::ok(text) }
    }
}

impl Failure {
    /// With a code.
    pub fn no(code: &str, text: impl Into<String>) -> Failure {
        Failure::No { code: Some(code.into()), text: text.into() }
    }

    /// The mailbox isn't there.
    pub fn nonexistent(code: &str) -> Failure {
        Failure::no(code, "There is no such mailbox.")
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Failure::Wire(error)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        match invalid.code {
            Some(code) => Failure::no(code, invalid.text),
            None => Failure::Bad(invalid.text.into()),
        }
    }
}

/// The one place where a failure of the store becomes an answer. Its own words may name files: they go to the log alone.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Failure::no("NONEXISTENT", "It is not there any more."),
            StoreError::Conflict(text) => Failure::no("CANNOT", one_line(&text)),
            StoreError::OverQuota => Failure::no("OVERQUOTA", "The mailbox is full."),
            error => {
                tracing::error!(%error, "the store failed");
                Failure::no("UNAVAILABLE", "The mail store does not work at the moment; try again later.")
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
