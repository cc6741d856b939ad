//! What becomes of a message, and how that came about.

use std::fmt;

use crate::address::Address;
use crate::document::Place;
use serde_json::{Value, json};

/// A user's mailbox or a shared one. `Display` is how mapping files and JSON write it: `alice`, `shared:help`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mailbox {
    /// A user's, by log-in name.
    User(String),
    /// `[shared]`, by name.
    Shared(String),
}

impl fmt::Display for Mailbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mailbox::User(name) => out.write_str(name),
            Mailbox::Shared(name) => write!(out, "shared:{name}"),
        }
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From outside: fetched, or by `smtp`.
    In,
    /// From a user to the outside.
    Out,
    /// From a user to a user.
    Local,
}

/// Who wrote a message, for `senders` of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'a> {
    /// One of ours, logged in.
    User(&'a str),
    /// A `[[device]]` of ours, by the address that it sends as.
    Device(&'a Address),
    /// Somebody outside, who claims these addresses (From).
    Outside(&'a [Address]),
}

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

/// A message that goes on to the outside: with an identity of ours in From, since SPF and DMARC would fail otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Forward {
    /// Where it goes.
    pub to: Address,
    /// The address of ours that it came to, if one led here.
    pub address: Option<Address>,
    /// The user who gets its bounces.
    pub owner: String,
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

/// What becomes of a message. Total: one of the lists is not empty or a flag is set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Local deliveries, each mailbox once.
    pub recipients: Vec<Recipient>,
    /// Outside addresses that entries or rules forward to, each once.
    pub forwards: Vec<Forward>,
    /// `lmtp:` destinations (host:port), with the address they get it for.
    pub lmtp: Vec<(String, Address)>,
    /// Addresses of ours that exist elsewhere. Not empty: the upstream copy stays, whatever `after` says.
    pub remote: Vec<Address>,
    /// To the tray, with the reason in plain words.
    pub held: Option<Held>,
    /// Somebody asked for it to be thrown away.
    pub discarded: bool,
    /// The sender is not allowed to write to a group. On the LAN the recipient is refused with this text; fetched mail is `held`.
    pub refused: Option<String>,
    /// How it came about.
    pub steps: Vec<Step>,
}

/// A decision in a word; of several, the first in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// In a mailbox here.
    Delivered,
    /// Sent on, by SMTP or LMTP.
    Forwarded,
    /// In the tray.
    Held,
    /// Somebody else's; left upstream.
    Remote,
    /// Thrown away on purpose.
    Discarded,
}

impl Outcome {
    /// As JSON and `[[expect]]` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Forwarded => "forwarded",
            Outcome::Held => "held",
            Outcome::Remote => "remote",
            Outcome::Discarded => "discarded",
        }
    }
}

impl Decision {
    /// The decision in a word.
    pub fn outcome(&self) -> Outcome {
        if !self.recipients.is_empty() {
            Outcome::Delivered
        } else if !self.forwards.is_empty() || !self.lmtp.is_empty() {
            Outcome::Forwarded
        } else if self.held.is_some() {
            Outcome::Held
        } else if !self.remote.is_empty() {
            Outcome::Remote
        } else {
            Outcome::Discarded
        }
    }

    /// Adds what becomes of the same message for one more recipient: a mailbox gets one copy.
    pub fn join(&mut self, one: Decision) {
        for recipient in one.recipients {
            match self.recipients.iter_mut().find(|known| known.mailbox == recipient.mailbox) {
                Some(known) if known.folder != recipient.folder => known.folder = None,
                Some(_) => {}
                None => self.recipients.push(recipient),
            }
        }
        for forward in one.forwards {
            if !self.forwards.iter().any(|known| known.to == forward.to) {
                self.forwards.push(forward);
            }
        }
        for destination in one.lmtp {
            if !self.lmtp.contains(&destination) {
                self.lmtp.push(destination);
            }
        }
        match (&mut self.held, one.held) {
            (Some(known), Some(held)) => known.addresses.extend(held.addresses),
            (none, held) => *none = none.take().or(held),
        }
        self.refused = self.refused.take().or(one.refused);
        self.discarded |= one.discarded;
        self.remote.extend(one.remote);
        self.steps.extend(one.steps);
    }

    /// As `explain --json` prints it, without the file's name, and as the journal keeps it.
    pub fn json(&self) -> Value {
        let recipients = self.recipients.iter().map(|recipient| {
            let folder = recipient.folder.as_deref().unwrap_or("INBOX");
            json!({ "user": recipient.mailbox.to_string(), "folder": folder, "address": recipient.address.as_ref().map(Address::to_string) })
        });
        let steps = self.steps.iter().map(|step| {
            json!({
                "stage": step.stage,
                "evidence": step.evidence,
                "addresses": step.addresses.iter().map(Address::to_string).collect::<Vec<_>>(),
                "rule": step.rule.as_ref().map(|place| format!("{}:{}", place.file.display(), place.line)),
                "result": step.result,
            })
        });
        let mut document = json!({
            "outcome": self.outcome().as_str(),
            "recipients": recipients.collect::<Vec<_>>(),
            "forwards": self.forwards.iter().map(|forward| forward.to.to_string()).collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
        });
        if let Some(held) = &self.held {
            document["reason"] = json!(held.reason);
        }
        if !self.lmtp.is_empty() {
            let one = |(server, address): &(String, Address)| json!({ "server": server, "address": address.to_string() });
            document["lmtp"] = self.lmtp.iter().map(one).collect();
        }
        document
    }
}
