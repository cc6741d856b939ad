//! The right side of a mapping entry.

use crate::address::Address;

/// Whom an address, a rule or a collector leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A user.
    User(String),
    /// `group:`
    Group(String),
    /// `shared:`
    Shared(String),
    /// `forward:`
    Forward(Address),
    /// `lmtp:HOST:PORT`
    Lmtp(String),
    /// An address of ours, or a pattern with as many `*` as the left side at most; looked up again.
    Address(String),
    /// A share table.
    Share {
        /// Who shares the address.
        members: Vec<String>,
        /// For what nobody can be told for; default all members.
        otherwise: Box<Target>,
    },
    /// Exists, but not here.
    Remote,
    /// To the tray.
    Hold,
    /// Traced, journaled, delivered to nobody.
    Discard,
    /// Each of them.
    All(Vec<Target>),
    /// Into a folder.
    In {
        /// Whom for.
        to: Box<Target>,
        /// Which folder.
        folder: String,
    },
}
