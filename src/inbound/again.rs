//! Mail that is stored already, looked at again: whom it would be for by some mapping, and a copy of it for somebody else.
//!
//! Decides as `explain` does; writes nothing.

use std::collections::HashMap;

use bytes::Bytes;

use super::recipients::probe::Probe;
use super::recipients::{self, Mail, Source};
use super::{deliver, habits};
use crate::address::Address;
use crate::config::{Config, Current};
use crate::mapping::{Decision, Direction, Mailbox, Mapping, Sender};
use crate::message::address_list;
use crate::message::facts::{Facts, Scanner};
use crate::message::trace::{Hop, Prefix};
use crate::store::journal::{self, Entry};
use crate::store::{ContentId, Deposit, Store, StoreError};

/// A header is read whole at once, with this much at least: blank lines may stand above it.
const FIRST_PIECE: u64 = 64 * 1024;
/// Of a bounce, more is read in pieces like this, since the returned message stands at its end.
const PIECE: usize = 256 * 1024;
/// A header beyond this is cut; nothing that decides stands that far down.
const MAX_HEADER: u64 = 4 * 1024 * 1024;

/// A stored message, and everything that deciding asks about it.
#[derive(Debug, Clone)]
pub struct Known {
    /// What its header says; of bounces also what came back.
    pub facts: Facts,
    /// Message-ID → the user who sent it, of those that it may answer.
    sent: HashMap<String, String>,
    /// The collector that brought it.
    collector: Option<String>,
    /// What was kept of that collector's headers.
    probe: Option<Probe>,
    /// The upstream folder that it lay in.
    folder: String,
    /// Whom it was for, where the server that brought it said so (`smtp`).
    envelope: Vec<Address>,
}

impl Known {
    /// Reads it. `folder` is the upstream folder that it lay in.
    pub async fn read(store: &Store, content: ContentId, collector: Option<&str>, folder: Option<&str>) -> Result<Known, StoreError> {
        let facts = facts(store, content).await?;
        let sent = store.sent_by(deliver::asked_ids(&facts).collect()).await?.into_iter().collect();
        let probe = match collector {
            Some(name) => habits::kept(store, name).await?,
            None => None,
        };
        let folder = folder.unwrap_or("INBOX").to_owned();
        Ok(Known { facts, sent, collector: collector.map(str::to_owned), probe, folder, envelope: vec![] })
    }

    /// The same for what the journal has. `folder` is the upstream folder that it lay in.
    pub async fn journaled(store: &Store, entry: &Entry, folder: Option<&str>) -> Result<Known, StoreError> {
        let known = Known::read(store, entry.content, Some(&entry.collector), folder).await?;
        Ok(Known { envelope: entry.envelope(), ..known })
    }

    /// Whom it is for by this mapping. A collector that is no longer configured counts as none.
    pub fn decide(&self, config: &Config, mapping: &Mapping) -> Decision {
        let sent = |id: &str| self.sent.get(id).cloned();
        if !self.envelope.is_empty() {
            return self.decide_for(mapping, &sent);
        }
        let collector = config.collectors.iter().find(|collector| Some(&collector.name) == self.collector.as_ref());
        let habits = collector.map(|collector| Probe::of(self.probe.clone(), collector).habits(collector)).unwrap_or_default();
        let source = collector.map(|collector| Source { habits: &habits, ..Source::of(collector, &self.folder) });
        deliver::decide(mapping, source.unwrap_or_default(), &self.facts, &sent)
    }

    fn decide_for(&self, mapping: &Mapping, sent: &dyn Fn(&str) -> Option<String>) -> Decision {
        let header = self.facts.header();
        let returned = self.facts.returned_id();
        let mail = Mail { header: &header, size: self.facts.size, returned: returned.as_deref() };
        let from = address_list::writers(&header);
        let mut all = Decision::default();
        for recipient in &self.envelope {
            all.join(recipients::decide_for(mapping, recipient, Direction::In, Sender::Outside(&from), mail, sent));
        }
        all
    }

    /// A decision about it as the journal keeps it.
    pub fn for_journal(&self, decision: &Decision) -> String {
        journal::decision(decision.json(), &self.envelope)
    }

    /// The same by what is in force.
    pub fn decide_now(&self, current: &Current) -> Decision {
        self.decide(&current.config, &current.mapping)
    }

    /// A copy for somebody, as a delivery of `now`. `address` led there, if one did; `id` stands in its Received line.
    pub fn copy_for(
        &self,
        config: &Config,
        mailbox: &Mailbox,
        address: Option<&Address>,
        id: &str,
        internal_date: i64,
        now: i64,
    ) -> Deposit {
        let address = address.cloned().or_else(|| lan_address(config, mailbox));
        let hop = Hop { by: &config.office.hostname, with: "local", id, recipient: address.as_ref(), date: now, ..Hop::default() };
        // The provider alone knew the envelope sender; without its word it is the null one.
        let return_path = self.facts.header().first("return-path").is_none().then_some(None);
        let prefix = Prefix { return_path, delivered_to: address.as_ref(), hop: Some(hop) };
        Deposit { mailbox: mailbox.clone(), folder: None, prefix: Bytes::from(prefix.render()), flags: 0, internal_date, dedupe: None }
    }
}

/// A mailbox's address inside.
pub fn lan_address(config: &Config, mailbox: &Mailbox) -> Option<Address> {
    match mailbox {
        Mailbox::User(user) if user.contains('@') => Address::parse(user).ok(),
        Mailbox::User(name) | Mailbox::Shared(name) => Address::new(name, &config.office.lan_domain).ok(),
    }
}

/// Scans a header, and the rest only where it decides something: the message that a bounce returns.
async fn facts(store: &Store, content: ContentId) -> Result<Facts, StoreError> {
    let stored = store.facts(content).await?;
    let length = usize::try_from(stored.header_size.clamp(FIRST_PIECE, MAX_HEADER)).unwrap_or(PIECE);
    let first = store.content(content, 0, length).await?;
    let start = recipients::without_blank_start(&first);
    let blank = (first.len() - start.len()) as u64;
    let mut scanner = Scanner::default();
    scanner.feed(start);
    let mut facts = scanner.finish();
    if facts.parts.first().is_some_and(|whole| whole.media.is("multipart", "report")) {
        let mut scanner = Scanner::default();
        scanner.feed(start);
        let mut at = first.len() as u64;
        while at < stored.size {
            let piece = store.content(content, at, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            scanner.feed(&piece);
            at += piece.len() as u64;
        }
        facts = scanner.finish();
    }
    facts.size = stored.size.saturating_sub(blank);
    Ok(facts)
}
