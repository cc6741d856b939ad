//! `[[expect]]`: the mapping's own tests, as written. [`crate::inbound::expectations`] runs them.

use std::path::PathBuf;

use super::Outcome;
use crate::address::Address;
use crate::document::Problem;

/// One `[[expect]]`.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The envelope recipient; of outgoing mail the recipient.
    pub to: Option<Address>,
    /// A message file instead.
    pub message: Option<PathBuf>,
    /// Who writes, from outside.
    pub from: Option<Address>,
    /// Who fetched it.
    pub collector: Option<String>,
    /// The user who writes: outgoing mail.
    pub sender: Option<String>,
    /// What should come of it.
    pub expected: Expected,
    /// Where it stands, ready to be completed.
    pub problem: Problem,
}

/// What an expectation says should come; what is absent is not looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// Exactly these users (or `shared:` mailboxes), in any order.
    pub gets: Option<Vec<String>>,
    /// In a word.
    pub outcome: Option<Outcome>,
    /// Every copy is in this folder.
    pub folder: Option<String>,
    /// The envelope sender and From of outgoing mail.
    pub leaves_as: Option<Address>,
    /// The smarthost that is tried first.
    pub via: Option<String>,
}
