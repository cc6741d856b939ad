//! Outgoing mail: rows, leases, outcomes.

use crate::address::Address;

/// A mail for outside, with the content of its [`super::Arrival`].
#[derive(Debug, Clone)]
pub struct NewMail {
    /// The local user (or device's bounce address) who gets bounces.
    pub owner: String,
    /// Envelope sender outside; `None` is `<>`.
    pub sender: Option<Address>,
    /// Envelope recipients.
    pub recipients: Vec<Address>,
    /// Replaces the original's header, if the sender was rewritten: the whole new header, blank line included.
    pub header: Option<Vec<u8>>,
}
