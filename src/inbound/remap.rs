//! Journaled mail by another mapping: where it would go, and what has to be moved for it to lie there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::again::{Known, lan_address};
use super::deliver;
use super::letter::Letter;
use crate::config::{Current, Language};
use crate::mapping::{Decision, Mailbox, Outcome};
use crate::store::journal::Entry;
use crate::store::remap::Relocation;
use crate::store::tray::{self, NewHeld};

/// Where a message goes, without the reasons: what two decisions are compared by.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// Mailbox and folder.
    pub people: BTreeMap<Mailbox, String>,
    /// Outside addresses.
    pub forwards: BTreeSet<String>,
    /// It waits in the tray.
    pub held: bool,
    /// Nothing of all this: `remote` or `discarded`.
    pub otherwise: String,
}

impl Destination {
    /// Of a decision.
    pub fn of(decision: &Decision) -> Destination {
        let folder = |folder: &Option<String>| folder.clone().unwrap_or_else(|| "INBOX".to_owned());
        let otherwise = match decision.outcome() {
            outcome @ (Outcome::Remote | Outcome::Discarded) => outcome.as_str().to_owned(),
            _ => String::new(),
        };
        let elsewhere = decision.lmtp.iter().map(|(server, address)| format!("{address} at {server}"));
        Destination {
            people: decision.recipients.iter().map(|one| (one.mailbox.clone(), folder(&one.folder))).collect(),
            forwards: decision.forwards.iter().map(|forward| forward.to.to_string()).chain(elsewhere).collect(),
            held: decision.held.is_some(),
            otherwise,
        }
    }

    /// Of a decision as the journal has it; `None` if it can't be read.
    pub fn of_journal(decision: &str) -> Option<Destination> {
        let decision: Value = serde_json::from_str(decision).ok()?;
        let outcome = decision["outcome"].as_str()?;
        let person = |one: &Value| {
            let name = one["user"].as_str()?;
            let mailbox = match name.strip_prefix("shared:") {
                Some(shared) => Mailbox::Shared(shared.to_owned()),
                None => Mailbox::User(name.to_owned()),
            };
            Some((mailbox, one["folder"].as_str()?.to_owned()))
        };
        let elsewhere = decision["lmtp"].as_array().into_iter().flatten();
        let elsewhere = elsewhere.filter_map(|one| Some(format!("{} at {}", one["address"].as_str()?, one["server"].as_str()?)));
        Some(Destination {
            people: decision["recipients"].as_array()?.iter().map(person).collect::<Option<_>>()?,
            forwards: decision["forwards"].as_array()?.iter().filter_map(|to| Some(to.as_str()?.to_owned())).chain(elsewhere).collect(),
            held: outcome == "held" || decision["reason"].is_string(),
            otherwise: if matches!(outcome, "remote" | "discarded") { outcome.to_owned() } else { String::new() },
        })
    }

    /// In a line.
    pub fn words(&self) -> String {
        let mut words: Vec<String> = self
            .people
            .iter()
            .map(|(mailbox, folder)| if folder == "INBOX" { mailbox.to_string() } else { format!("{mailbox} (folder {folder})") })
            .collect();
        words.extend(self.forwards.iter().map(|to| format!("sent on to {to}")));
        words.extend(self.held.then(|| "the tray".to_owned()));
        if words.is_empty() { self.otherwise.clone() } else { words.join(", ") }
    }
}

/// What has to be done for one message.
#[derive(Debug)]
pub struct Planned {
    /// Where it went.
    pub was: Destination,
    /// Where it belongs.
    pub is: Destination,
    /// For the store.
    pub order: Relocation,
}

/// What today's mapping changes for a journaled message; `None`: it lies where it should, or it is not for us to move. What was sent on
/// is not called back, nothing is sent on anew, and nothing is thrown away that somebody has. The error is in plain words.
pub fn plan(current: &Current, entry: &Entry, known: &Known, run: i64, now: i64) -> Result<Option<Planned>, String> {
    let Some(was) = Destination::of_journal(&entry.decision) else { return Ok(None) };
    let decision = known.decide_now(current);
    let is = Destination::of(&decision);
    let stays = (is.people.is_empty() && !is.held) || (&was.people, was.held) == (&is.people, is.held);
    if stays {
        return Ok(None);
    }
    let config = &current.config;
    let mut take = Vec::new();
    for mailbox in was.people.keys().filter(|mailbox| !is.people.contains_key(mailbox)) {
        take.push((mailbox.clone(), notice(current, known, mailbox, &is, entry.id, now)?));
    }
    let refile = was.people.iter().filter_map(|(mailbox, from)| {
        let to = is.people.get(mailbox).filter(|to| *to != from)?;
        Some((mailbox.clone(), from.clone(), to.clone()))
    });
    let arrived = deliver::arrival_date(&known.facts.header(), now).unwrap_or(entry.received);
    let add = decision.recipients.iter().filter(|one| !was.people.contains_key(&one.mailbox)).map(|one| {
        let mut deposit = known.copy_for(config, &one.mailbox, one.address.as_ref(), &format!("remap-{}", entry.id), arrived, now);
        deposit.folder.clone_from(&one.folder);
        deposit.dedupe = Some(format!("remap-{}", entry.id));
        deposit
    });
    let hold = decision.held.as_ref().filter(|_| !was.held).map(|held| NewHeld {
        reason: held.reason.clone(),
        addresses: held.addresses.iter().map(ToString::to_string).collect(),
        from: known.facts.header().text("from").unwrap_or_default(),
        subject: known.facts.subject.clone(),
        kind: tray::Kind::Held,
        collector: Some(entry.collector.clone()),
    });
    let order = Relocation {
        entry: entry.id,
        content: entry.content,
        decision: known.for_journal(&decision),
        refile: refile.collect(),
        add: add.collect(),
        take,
        leaves_tray: was.held && !is.held,
        hold,
        detail: format!("{} → {}", was.words(), is.words()),
        run,
    };
    Ok(Some(Planned { was, is, order }))
}

/// What stays in place of a mail that somebody had read already.
fn notice(
    current: &Current,
    known: &Known,
    mailbox: &Mailbox,
    is: &Destination,
    entry: i64,
    now: i64,
) -> Result<crate::store::NewContent, String> {
    let config = &current.config;
    let to = lan_address(config, mailbox).ok_or_else(|| format!("{mailbox} has no address inside"))?;
    let header = known.facts.header();
    let from = header.text("from").unwrap_or_default();
    let (subject, old, whom, postmaster) = (&known.facts.subject, mailbox.to_string(), is.words(), &config.office.postmaster);
    let (title, text) = match config.office.language {
        Language::English => (
            format!("Moved: {subject}"),
            format!(
                "A mail that lay here was not for {old}. It has been moved; it is with {whom} now.\n\n    From: {from}\n    Subject: {subject}\n\n\
                 If you need it, ask {postmaster}.\n"
            ),
        ),
        Language::German => (
            format!("Verschoben: {subject}"),
            format!(
                "Eine E-Mail, die hier lag, war nicht für {old}. Sie wurde verschoben und ist jetzt bei {whom}.\n\n    Von: {from}\n    Betreff: \
                 {subject}\n\nWenn Sie sie brauchen, fragen Sie {postmaster}.\n"
            ),
        ),
    };
    Letter { to: &to, subject: &title, text: &text, id: &format!("moved-{entry}"), now }.content(config)
}
