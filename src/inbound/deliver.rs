//! Facts and a decision → what the store makes true in one transaction. Values in, values out.

use super::facts::{content_facts, whole};
use super::likeness;
use super::receive::{Raw, RawBytes};
use super::scanned::Scanned;
use crate::address::Address;
use crate::config::{Collector, Config, EnvelopeHabit, Protocol, Tls};
use crate::inbound::recipients::{self, Mail};
use crate::mapping::{Decision, Held, Mailbox, Mapping, Outcome, Recipient};
use crate::message::address_list;
use crate::message::facts::Facts;
use crate::message::header::Header;
use crate::message::trace::{Hop, Prefix};
use crate::message::wish::Wishes;
use crate::message::{date, received};
use crate::outbound::forward::Forwarding;
use crate::outbound::handover::{self, Origin};
use crate::store::{Arrival, ContentFacts, Deposit, NewContent, journal, ledger, queue, tray};
use bytes::Bytes;

/// A Date this far ahead of the clock is a mistake: a day.
const AHEAD: i64 = 24 * 3600 * 1000;
/// Before 1 January 1980 there was no mail worth a date.
const FIRST_YEAR: i64 = 315_532_800_000;

/// What all messages of one listing share.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// `mailroom.toml`
    pub config: &'a Config,
    /// `mappings/*.toml`
    pub mapping: &'a Mapping,
    /// Who fetches.
    pub collector: &'a Collector,
    /// The ledger's name of the mailbox.
    pub source: &'a ledger::Source,
    /// What is known of its headers: see [`super::habits`].
    pub habits: &'a [EnvelopeHabit],
    /// Tells listings apart (duplicates without Message-ID).
    pub tag: &'a str,
    /// For the mark on what is sent on.
    pub mark_key: &'a [u8],
    /// Milliseconds since 1970.
    pub now: i64,
}

/// A message ready to be stored.
#[derive(Debug)]
pub struct Prepared {
    /// For the store.
    pub arrival: Arrival,
    /// The word for the ledger and the figures.
    pub outcome: &'static str,
    /// Of the original.
    pub size: u64,
}

impl<'a> Listing<'a> {
    /// Where its messages come from.
    pub fn origin(&self) -> recipients::Source<'a> {
        recipients::Source { habits: self.habits, ..recipients::Source::of(self.collector, &self.source.folder) }
    }
}

/// Finds out whom a message is for. `sent` answers which user sent a Message-ID.
pub fn decide(mapping: &Mapping, source: recipients::Source<'_>, facts: &Facts, sent: &dyn Fn(&str) -> Option<String>) -> Decision {
    let header = facts.header();
    let returned = facts.returned_id();
    let mail = Mail { header: &header, size: facts.size, returned: returned.as_deref() };
    recipients::decide(mapping, mail, source, sent)
}

/// The same way, and then for one mailbox alone: somebody asked for the message.
pub fn given(decision: Decision, mailbox: &Mailbox) -> Decision {
    let address = decision.recipients.into_iter().find(|recipient| recipient.mailbox == *mailbox).and_then(|recipient| recipient.address);
    let recipients = vec![Recipient { mailbox: mailbox.clone(), folder: None, address }];
    Decision { recipients, steps: decision.steps, ..Decision::default() }
}

/// Every Message-ID that [`decide`] may ask about.
pub fn asked_ids(facts: &Facts) -> impl Iterator<Item = String> + '_ {
    facts.references.iter().chain(&facts.in_reply_to).cloned().chain(facts.returned_id())
}

/// One arrival for one fetched message.
pub fn prepare(listing: &Listing<'_>, raw: Raw, scanned: &Scanned, mut decision: Decision) -> Prepared {
    let (facts, said) = (&scanned.facts, scanned.said());
    let queue = queue(listing, facts, &mut decision);
    let outcome = decision.outcome();
    let header = said.header();
    let internal_date = internal_date(&raw, &header, said, listing.now);
    let deposits = decision.recipients.iter().map(|recipient| deposit(listing, recipient, &header, internal_date)).collect();
    let addresses = |held: &Held| held.addresses.iter().map(Address::to_string).collect();
    let tray = decision.held.as_ref().map(|held| new_held(listing, said, held.reason.clone(), addresses(held), tray::Kind::Held));
    let stays = !decision.remote.is_empty();
    let size = facts.size;
    let trace = trace(listing, &decision, size);
    let row = row(listing, &raw, facts, if stays { Outcome::Remote.as_str() } else { outcome.as_str() });
    let journal = journal_entry(listing, decision.json().to_string());
    let arrival = Arrival { deposits, queue, tray, ledger: Some(row), journal, trace, ..Arrival::new(content(raw, facts)) };
    Prepared { arrival, outcome: outcome.as_str(), size }
}

/// What goes on to outside addresses. What can't is held, with the reason.
fn queue(listing: &Listing<'_>, facts: &Facts, decision: &mut Decision) -> Vec<queue::NewMail> {
    let forwarding = Forwarding { config: listing.config, mapping: listing.mapping, key: listing.mark_key };
    let mut mails = Vec::new();
    let mut refused = None;
    decision.forwards.retain(|forward| match forwarding.mail(forward, &facts.header, hop(listing)) {
        Ok(mail) => {
            mails.push(queue::NewMail { dedupe: Some(listing.tag.to_owned()), ..mail });
            true
        }
        Err(why) => {
            refused = Some(format!("it should go on to {}, but {why}", forward.to));
            false
        }
    });
    let origin = Origin {
        sender: envelope_sender(facts),
        owner: listing.config.office.postmaster.clone(),
        from_outside: true,
        wishes: Wishes::default(),
        dedupe: Some(listing.tag.to_owned()),
    };
    let (handed_over, problem) = handover::mails(decision, &facts.header, &origin, listing.mark_key, hop(listing));
    mails.extend(handed_over);
    if let Some(reason) = refused.or(problem) {
        decision.held.get_or_insert(Held { reason, addresses: vec![] });
    }
    mails
}

/// Whom an automatic reply would go to: the envelope's sender, or where the provider says nothing of it, the writer.
pub fn answerable_sender(facts: &Facts) -> Option<Address> {
    match facts.header().first("return-path") {
        Some(_) => envelope_sender(facts),
        None => facts.from.as_ref().map(|mailbox| mailbox.address.clone()),
    }
}

/// What the provider wrote down of the envelope; without its word it is the null sender.
fn envelope_sender(facts: &Facts) -> Option<Address> {
    let header = facts.header();
    let field = header.first("return-path")?;
    address_list::mailboxes(field.value).into_iter().next().map(|mailbox| mailbox.address)
}

/// Bytes that could not be handled: kept as they are, nothing in them is looked at.
pub fn quarantine(listing: &Listing<'_>, raw: Raw, reason: &str) -> Prepared {
    let (size, hash) = match &raw.bytes {
        RawBytes::Inline(bytes) => (bytes.len() as u64, *blake3::hash(bytes).as_bytes()),
        RawBytes::Spooled(_, scanned) => (scanned.facts.size, scanned.facts.hash),
    };
    // Nothing that is said about its parts: whatever is wrong with it may lie there.
    let facts = Box::new(ContentFacts { size, hash, body_hash: hash, ..ContentFacts::default() });
    let held = tray::NewHeld {
        reason: reason.to_owned(),
        addresses: Vec::new(),
        from: String::new(),
        subject: String::new(),
        kind: tray::Kind::Quarantine,
        collector: Some(listing.collector.name.clone()),
    };
    let row = ledger::Row { fingerprint: None, ..row_of(listing, &raw, "quarantined") };
    let trace = vec![("quarantined", format!("{reason} (collector {}, {size} bytes)", listing.collector.name))];
    let content = match raw.bytes {
        RawBytes::Inline(bytes) => NewContent::Inline(bytes, facts),
        RawBytes::Spooled(id, _) => NewContent::Spooled(id, facts),
    };
    let arrival = Arrival { tray: Some(held), ledger: Some(row), trace, ..Arrival::new(content) };
    Prepared { arrival, outcome: "quarantined", size }
}

/// A message that is too large: its header goes to the tray, the original stays upstream.
pub fn stub(listing: &Listing<'_>, raw: Raw, scanned: &Scanned) -> Prepared {
    let facts = &scanned.facts;
    let announced = raw.item.size.unwrap_or(0);
    let reason = format!(
        "too large: {} MB, and max_size of collector {} is {} MB. Only its header is here; “tray give” fetches the original from the provider",
        announced / 1_000_000,
        listing.collector.name,
        listing.collector.max_size / 1_000_000
    );
    let held = new_held(listing, scanned.said(), reason.clone(), Vec::new(), tray::Kind::Stub);
    let row = row(listing, &raw, facts, "stub");
    let arrival = Arrival { tray: Some(held), ledger: Some(row), trace: vec![("stub", reason)], ..Arrival::new(content(raw, facts)) };
    Prepared { arrival, outcome: "stub", size: facts.size }
}

/// A message that the server lists and does not give: its header goes to the tray, if even that could be had; the original stays upstream.
pub fn refused(listing: &Listing<'_>, raw: Raw, scanned: &Scanned) -> Prepared {
    let facts = &scanned.facts;
    let (uid, announced) = (&raw.item.id.0, raw.item.size.unwrap_or(0));
    let here = if facts.size > 0 { "only its header is here" } else { "nothing of it is here" };
    let host = &listing.collector.endpoint.host;
    let reason =
        format!("{host} has refused three times to give this message (id {uid}, {announced} bytes): {here}. The original is still there");
    let held = new_held(listing, scanned.said(), reason.clone(), Vec::new(), tray::Kind::Quarantine);
    let row = row(listing, &raw, facts, "quarantined");
    let trace = vec![("quarantined", format!("{reason} (collector {})", listing.collector.name))];
    let arrival = Arrival { tray: Some(held), ledger: Some(row), trace, ..Arrival::new(content(raw, facts)) };
    Prepared { arrival, outcome: "quarantined", size: facts.size }
}

/// When a message arrived upstream, as far as its header tells: the topmost `Received`, else Date.
pub fn arrival_date(header: &Header<'_>, now: i64) -> Option<i64> {
    let sane = |at: &i64| (FIRST_YEAR..=now.saturating_add(AHEAD)).contains(at);
    let by_server = header.first("received").and_then(|field| received::parse(field.value).date).filter(sane);
    by_server.or_else(|| header.first("date").and_then(|field| date::parse(field.value)).filter(sane))
}

fn internal_date(raw: &Raw, header: &Header<'_>, facts: &Facts, now: i64) -> i64 {
    let sane = |at: &i64| (FIRST_YEAR..=now.saturating_add(AHEAD)).contains(at);
    raw.internal_date.filter(sane).or_else(|| arrival_date(header, now)).or(facts.date.filter(sane)).unwrap_or(now)
}

fn deposit(listing: &Listing<'_>, recipient: &Recipient, header: &Header<'_>, internal_date: i64) -> Deposit {
    Deposit {
        mailbox: recipient.mailbox.clone(),
        folder: recipient.folder.clone(),
        prefix: prefix(listing, recipient, header),
        flags: 0,
        internal_date,
        dedupe: Some(listing.tag.to_owned()),
    }
}

/// What stands above the original in each copy: who got it, and how it came here.
fn prefix(listing: &Listing<'_>, recipient: &Recipient, header: &Header<'_>) -> Bytes {
    let office = &listing.config.office;
    let by_name = || match &recipient.mailbox {
        Mailbox::User(user) if user.contains('@') => Address::parse(user).ok(),
        Mailbox::User(name) | Mailbox::Shared(name) => Address::new(name, &office.lan_domain).ok(),
    };
    let address = recipient.address.clone().or_else(by_name);
    let hop = Hop { recipient: address.as_ref(), from: Some(&listing.collector.endpoint.host), ..hop(listing) };
    // The provider alone knew the envelope sender; without its word it is the null one.
    let return_path = header.first("return-path").is_none().then_some(None);
    Bytes::from(Prefix { return_path, delivered_to: address.as_ref(), hop: Some(hop) }.render())
}

/// Our line, as far as everybody may see it: who the provider is stays among us.
fn hop<'a>(listing: &Listing<'a>) -> Hop<'a> {
    let collector = listing.collector;
    let with = match (collector.protocol, collector.endpoint.tls) {
        (Protocol::Pop3, Tls::None) => "POP3",
        (Protocol::Pop3, _) => "POP3S",
        (Protocol::Imap, Tls::None) => "IMAP",
        (Protocol::Imap, _) => "IMAPS",
    };
    Hop { by: &listing.config.office.hostname, with, id: &collector.name, date: listing.now, ..Hop::default() }
}

fn content(raw: Raw, facts: &Facts) -> NewContent {
    match raw.bytes {
        RawBytes::Inline(bytes) => whole(bytes, facts),
        RawBytes::Spooled(id, _) => NewContent::Spooled(id, Box::new(content_facts(facts))),
    }
}

fn row(listing: &Listing<'_>, raw: &Raw, facts: &Facts, outcome: &str) -> ledger::Row {
    let header = &facts.header[..facts.header.len().min(usize::try_from(facts.header_size).unwrap_or(usize::MAX))];
    ledger::Row { fingerprint: Some(likeness::fingerprint(header)), ..row_of(listing, raw, outcome) }
}

fn row_of(listing: &Listing<'_>, raw: &Raw, outcome: &str) -> ledger::Row {
    let (uid, ordinal) = raw.item.id.clone();
    ledger::Row {
        source: listing.source.clone(),
        uid,
        ordinal,
        size: raw.item.size.unwrap_or(0),
        fingerprint: None,
        outcome: outcome.to_owned(),
    }
}

fn new_held(listing: &Listing<'_>, facts: &Facts, reason: String, addresses: Vec<String>, kind: tray::Kind) -> tray::NewHeld {
    let from = facts.header().text("from").unwrap_or_default();
    let collector = Some(listing.collector.name.clone());
    tray::NewHeld { reason, addresses, from, subject: facts.subject.clone(), kind, collector }
}

fn journal_entry(listing: &Listing<'_>, decision: String) -> Option<journal::NewEntry> {
    listing.config.storage.journal.map(|_| journal::NewEntry { collector: listing.collector.name.clone(), decision })
}

fn trace(listing: &Listing<'_>, decision: &Decision, size: u64) -> Vec<(&'static str, String)> {
    let collector = listing.collector;
    let mut lines = vec![("fetched", format!("by collector {} from {}, {size} bytes", collector.name, collector.endpoint.host))];
    lines.extend(decision.steps.iter().map(|step| ("mapped", format!("{}: {} → {}", step.stage, step.evidence, step.result))));
    for recipient in &decision.recipients {
        lines.push(("delivered", format!("to {}, {}", recipient.mailbox, recipient.folder.as_deref().unwrap_or("INBOX"))));
    }
    lines.extend(decision.forwards.iter().map(|forward| ("forwarded", format!("to {}", forward.to))));
    lines.extend(decision.lmtp.iter().map(|(server, address)| ("forwarded", format!("to {address} at the mail system {server}"))));
    lines.extend(decision.remote.iter().map(|address| ("remote", format!("{address} is elsewhere; left at the provider"))));
    lines.extend(decision.held.iter().map(|held| ("held", held.reason.clone())));
    if decision.outcome() == Outcome::Discarded {
        lines.push(("discarded", "a rule says so".into()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_30_the_date_shown_is_when_it_came_and_not_when_it_was_fetched() {
        const NOW: i64 = 1_800_000_000_000;
        const RECEIVED: &str = "Received: from a by b; Thu, 1 Jan 2026 10:00:00 +0000\r\n";
        const DATE: &str = "Date: Fri, 2 Jan 2026 10:00:00 +0000\r\n";
        const FUTURE: &str = "Date: Sat, 2 Jan 2100 10:00:00 +0000\r\n";
        let check = |internal: Option<i64>, header: &str, expected: i64| {
            let facts = Facts::of(format!("{header}Subject: x\r\n\r\n").as_bytes());
            let item = super::super::upstream::Item { handle: 1, id: (String::new(), 0), size: None, arrived: None };
            let raw = Raw { item, internal_date: internal, bytes: RawBytes::Inline(Bytes::new()), _room: None };
            assert_eq!(internal_date(&raw, &facts.header(), &facts, NOW), expected, "{internal:?} {header}");
        };
        let both = format!("{RECEIVED}{DATE}");
        check(Some(1_700_000_000_000), &both, 1_700_000_000_000);
        check(Some(4_000_000_000_000), &both, 1_767_261_600_000);
        check(None, &both, 1_767_261_600_000);
        check(None, DATE, 1_767_348_000_000);
        check(None, FUTURE, NOW);
        check(None, "Received: nonsense\r\nDate: nonsense\r\n", NOW);
        check(None, "", NOW);
    }
}
