//! The mapping: files in, and then pure answers — who gets what comes for an address, as whom may a user send, and why.
//!
//! Knows no mailbox, no network and no clock. Headers are turned into addresses by [`crate::inbound::recipients`].

use crate::address::{Address, Domain};
use crate::document::{Place, Problem};
use std::path::PathBuf;

/// What the mapping needs of `[office]`.
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
    /// The collectors' own addresses, with the user that a collector is bound to.
    pub collectors: Vec<(Address, Option<Target>)>,
    /// Every user: log-in name and full name.
    pub users: Vec<(String, Option<String>)>,
}

/// A user's mailbox or a shared one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mailbox {
    /// A user's, by log-in name.
    User(String),
    /// `[shared]`, by name.
    Shared(String),
}

/// The right side of a mapping entry.
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
    /// An address of ours or a pattern `*@domain`, looked up again.
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

/// The compiled mapping.
#[derive(Debug, Default)]
pub struct Mapping {}

/// One who gets a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Recipient {
    /// Whose mailbox.
    pub mailbox: Mailbox,
    /// Which folder; `None` is INBOX.
    pub folder: Option<String>,
    /// The address that led here, if one did.
    pub address: Option<Address>,
}

/// What becomes of a message. Total: one of the lists is not empty or a flag is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Local deliveries, each person once.
    pub recipients: Vec<Recipient>,
    /// Outside addresses that rules forward to, with the rule's place.
    pub forwards: Vec<Address>,
    /// `lmtp:` destinations, with the address they get it for.
    pub lmtp: Vec<(String, Address)>,
    /// Addresses of ours that exist elsewhere.
    pub remote: Vec<Address>,
    /// To the tray, with the reason in plain words.
    pub held: Option<Held>,
    /// Somebody asked for it to be thrown away.
    pub discarded: bool,
    /// How it came about.
    pub steps: Vec<Step>,
}

/// Why a message goes to the tray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// In plain words.
    pub reason: String,
    /// The addresses that nobody claims.
    pub addresses: Vec<Address>,
}

/// One line of the explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `rule`, `bind`, `envelope`, `reply`, `resent`, `header`, `list`, `mailbox`, `none`, `tag` or `name`.
    pub stage: &'static str,
    /// The header as found, or what else was looked at.
    pub evidence: String,
    /// Addresses that it yields.
    pub addresses: Vec<Address>,
    /// The rule or entry that decided.
    pub rule: Option<Place>,
    /// What follows, in plain words.
    pub result: String,
}

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
    /// Compiles the mapping files. Unknown users are errors unless `office.users` is empty because nobody was added yet.
    pub fn load(files: &[(PathBuf, String)], office: &Office) -> Result<(Mapping, Vec<Problem>), Vec<Problem>> {
        todo!("{files:?} {office:?}")
    }
    /// Whether it is one of our addresses (product words).
    pub fn is_ours(&self, address: &Address) -> bool {
        todo!("{address:?}")
    }
    /// Everybody whom a mail to this address reaches, rules aside: what a LAN sender's recipient comes to. `None`: nobody of that name.
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
    /// The users that the files name.
    pub fn named_users(&self) -> Vec<(String, Place)> {
        todo!()
    }
}
