//! The mapping: files in, and then pure answers — who gets what comes for an address, as whom may a user send, and why.
//!
//! Knows no mailbox, no network and no clock. Headers are turned into addresses by [`crate::inbound::recipients`].

mod decision;
mod target;

pub use decision::{Decision, Direction, Forward, Held, Mailbox, Outcome, Recipient, Sender, Step};
pub use target::Target;

use std::path::PathBuf;

use crate::address::{Address, Domain};
use crate::document::{Place, Problem};

/// What the mapping needs of `mailroom.toml` and of the user list.
#[derive(Debug, Clone)]
pub struct Office {
    /// Outside domains that are ours.
    pub domains: Vec<Domain>,
    /// `user@lan_domain` is always that user.
    pub lan_domain: Domain,
    /// Domains at which a user's name alone makes an address.
    pub implied: Vec<Domain>,
    /// A user: postmaster@ and abuse@.
    pub postmaster: String,
    /// The collectors, in file order.
    pub collectors: Vec<Fetched>,
    /// Names of the smarthosts.
    pub smarthosts: Vec<String>,
    /// Every user: log-in name and full name.
    pub users: Vec<(String, Option<String>)>,
}

/// What the mapping needs of a collector.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its name.
    pub name: String,
    /// The mailbox's own address: ours, and never a place to forward to.
    pub address: Option<Address>,
    /// Whom it is bound to.
    pub deliver: Option<Target>,
}

/// The compiled mapping.
#[derive(Debug, Default)]
pub struct Mapping {}

/// An outside address that a user may send as, and how it looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The address.
    pub address: Address,
    /// Display name, if the entry gives one.
    pub name: Option<String>,
    /// Reply-To, if the entry gives one.
    pub reply_to: Option<Address>,
    /// A smarthost that the entry names.
    pub smarthost: Option<String>,
}

impl Mapping {
    /// Compiles the mapping files. Unknown users are errors, all of them at once, unless `office.users` is empty because nobody was
    /// added yet. The problems beside the mapping are warnings: shadowed, unreachable and contradictory entries and rules.
    pub fn load(files: &[(PathBuf, String)], office: &Office) -> Result<(Mapping, Vec<Problem>), Vec<Problem>> {
        todo!("{files:?} {office:?}")
    }
    /// Whether it is one of our addresses (product words).
    pub fn is_ours(&self, address: &Address) -> bool {
        todo!("{address:?}")
    }
    /// Everybody whom a mail to this address reaches, rules aside, whoever sends it. `None`: nobody claims the address.
    /// To deliver a message, use [`crate::inbound::recipients`], which also knows rules, shares and `senders`.
    pub fn resolve(&self, address: &Address) -> Option<Decision> {
        todo!("{address:?}")
    }
    /// The user who logs in by this name: `alice`, `alice@` the LAN domain, or an address that maps to that user alone.
    pub fn login(&self, name: &str) -> Option<String> {
        todo!("{name}")
    }
    /// What the user may send as; the first is the default.
    pub fn identities(&self, user: &str) -> Vec<Identity> {
        todo!("{user}")
    }
    /// The name nearest to an unknown local part, for the refusal.
    pub fn nearest(&self, address: &Address) -> Option<Address> {
        todo!("{address:?}")
    }
    /// The users that the files name, each with the first place that does.
    pub fn named_users(&self) -> Vec<(String, Place)> {
        todo!()
    }
    /// The shared mailboxes: name and members.
    pub fn shared(&self) -> Vec<(String, Vec<String>)> {
        todo!()
    }
}
