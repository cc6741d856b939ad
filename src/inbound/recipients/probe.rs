//! Which header of a mailbox carries the envelope recipient, where nobody said; and whether it still does.
//!
//! Over the first [`FIRST`] messages: the header that is there in nearly all of them, at one place, with addresses of ours that vary. A value
//! that stays the same is the mailbox's own name. What is found only orders the evidence. From then on it is watched, as a pinned header
//! is: providers change their headers overnight.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence::{self, Evidence};
use super::trust::Trusted;
use super::{Case, Mail, Source};
use crate::config::{Anchor, Collector, EnvelopeHabit};
use crate::mapping::Mapping;

/// Messages that decide.
pub const FIRST: u32 = 50;
/// Of a hundred of them, so many have to have the header.
const THERE: u32 = 95;
/// Of a hundred values, so many may be the same one.
const SAME: u32 = 90;
/// Different values of a header that are told apart; enough to see that they vary.
const VALUES: usize = 8;
/// Messages over which a header that was found is watched.
pub const WATCHED: u32 = 20;
/// Headers that some provider writes, beside the usual ones: anybody may have written one of these, so only the probe believes them.
const SELDOM: [&str; 11] = [
    "Delivered-To",
    "X-Gm-Original-To",
    "X-MDRcpt-To",
    "X-Envelope-Recipient",
    "Envelope-Recipient",
    "X-Original-Recipient",
    "X-Original-Envelope-To",
    "X-Deliver-To",
    "X-Recipient",
    "X-RCPTTO",
    "X-Orcpt",
];
const ANCHORS: [Anchor; 3] = [Anchor::Top, Anchor::Run, Anchor::Last];

/// What is known of one mailbox's headers; kept from fetch to fetch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Another mailbox, or another pinned header, is another matter: it begins anew.
    mailbox: String,
    seen: u32,
    candidates: Vec<Candidate>,
    found: Option<EnvelopeHabit>,
    lost: Option<EnvelopeHabit>,
    /// The last messages, the newest in the lowest bit: whether the header named somebody of ours.
    hits: u32,
    watched: u32,
}

/// A header at a place, and what it said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Candidate {
    header: String,
    anchor: Anchor,
    count: u32,
    values: BTreeMap<String, u32>,
}

/// What a message brought to light.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// This header carries it.
    Found(EnvelopeHabit),
    /// No header that is known does.
    NothingFound,
    /// This header did, and most messages come without it now.
    Lost(EnvelopeHabit),
    /// It is there again.
    Back(EnvelopeHabit),
}

impl Probe {
    /// What was kept, if it is of this collector's mailbox as it is configured now; else a new one.
    pub fn of(kept: Option<Probe>, collector: &Collector) -> Probe {
        let pinned = collector.envelope.as_ref().map_or(String::new(), |pinned| format!("/{pinned:?}"));
        let mailbox = format!("{}/{}{pinned}", collector.endpoint.host.to_ascii_lowercase(), collector.log_in_as());
        kept.filter(|probe| probe.mailbox == mailbox).unwrap_or_else(|| Probe { mailbox, ..Probe::default() })
    }

    /// The habits that order a collector's evidence: what was found, then what its provider is known for.
    pub fn habits(&self, collector: &Collector) -> Vec<EnvelopeHabit> {
        self.found.iter().chain(&collector.habits).cloned().collect()
    }

    /// The header that was found.
    pub fn found(&self) -> Option<&EnvelopeHabit> {
        self.found.as_ref()
    }

    /// The header that has gone missing.
    pub fn lost(&self) -> Option<&EnvelopeHabit> {
        self.lost.as_ref()
    }

    /// Whether enough was seen to say that no header carries it.
    pub fn found_nothing(&self) -> bool {
        self.found.is_none() && self.lost.is_none() && self.seen >= FIRST
    }

    /// Of how many of the last messages the header named somebody of ours: (hits, messages).
    pub fn hit_rate(&self) -> (u32, u32) {
        (self.hits.count_ones(), self.watched)
    }

    /// Takes note of a message as it was fetched.
    pub fn observe(&mut self, mapping: &Mapping, mail: Mail<'_>, source: Source<'_>) -> Option<News> {
        let case = Case::new(mapping, mail, source, &|_| None);
        let trusted = Trusted::of(mail.header);
        match source.pinned.cloned().or_else(|| self.found.clone()) {
            Some(habit) => {
                let hit = ours(&case, &habit, &trusted).is_some();
                self.watch(habit, hit, source.pinned.is_some())
            }
            None => self.look(&case, &trusted),
        }
    }

    fn watch(&mut self, habit: EnvelopeHabit, hit: bool, pinned: bool) -> Option<News> {
        self.hits = (self.hits << 1 | u32::from(hit)) & ((1 << WATCHED) - 1);
        self.watched = (self.watched + 1).min(WATCHED);
        let (hits, of) = self.hit_rate();
        if of < WATCHED {
            return None;
        }
        if self.lost.is_some() {
            // Only a pinned header is still looked for where it was.
            return (hits * 100 >= of * THERE).then(|| News::Back(self.lost.take().unwrap_or(habit)));
        }
        if hits * 2 >= of {
            return None;
        }
        let found = if pinned { None } else { self.found.take() };
        *self =
            Probe { mailbox: std::mem::take(&mut self.mailbox), lost: Some(found.unwrap_or_else(|| habit.clone())), ..Probe::default() };
        Some(News::Lost(habit))
    }

    /// Counts what stands where, until enough was seen.
    fn look(&mut self, case: &Case<'_>, trusted: &Trusted) -> Option<News> {
        if self.seen >= FIRST {
            return None;
        }
        for header in evidence::NAMES.into_iter().chain(SELDOM) {
            if case.mail.header.first(header).is_none() {
                continue;
            }
            for anchor in ANCHORS.into_iter().filter(|anchor| *anchor != Anchor::Last || trusted.is_below_all(case.mail.header, header)) {
                let habit = EnvelopeHabit { header: header.to_owned(), anchor, strip_prefix: String::new(), skip: 0 };
                if let Some(evidence) = ours(case, &habit, trusted) {
                    self.count(habit, &evidence);
                }
            }
        }
        self.seen += 1;
        if self.seen < FIRST {
            return None;
        }
        self.found = self.best();
        self.candidates.clear();
        match &self.found {
            Some(found) => {
                self.lost = None;
                Some(News::Found(found.clone()))
            }
            // Where a header went missing, another one, or the same, may come yet.
            None if self.lost.is_some() => {
                self.seen = 0;
                None
            }
            None => Some(News::NothingFound),
        }
    }

    fn count(&mut self, habit: EnvelopeHabit, evidence: &Evidence) {
        let known = self.candidates.iter().position(|one| one.header == habit.header && one.anchor == habit.anchor);
        let at = known.unwrap_or_else(|| {
            self.candidates.push(Candidate { header: habit.header, anchor: habit.anchor, count: 0, values: BTreeMap::new() });
            self.candidates.len() - 1
        });
        let candidate = &mut self.candidates[at];
        candidate.count += 1;
        let value = evidence.addresses.iter().map(|address| address.key()).collect::<Vec<_>>().join(" ");
        if candidate.values.len() < VALUES || candidate.values.contains_key(&value) {
            *candidate.values.entry(value).or_default() += 1;
        }
    }

    /// The header that is there most often; of several, the one that is worth most, at the place that is hardest to forge.
    fn best(&self) -> Option<EnvelopeHabit> {
        let varies = |candidate: &&Candidate| candidate.values.values().all(|same| same * 100 <= candidate.count * SAME);
        let rank = |header: &str| evidence::NAMES.into_iter().chain(SELDOM).position(|name| name == header);
        let place = |anchor: Anchor| ANCHORS.into_iter().position(|one| one == anchor);
        let there = self.candidates.iter().filter(|candidate| candidate.count * 100 >= FIRST * THERE);
        let best = there.filter(varies).min_by_key(|one| (std::cmp::Reverse(one.count), rank(&one.header), place(one.anchor)))?;
        Some(EnvelopeHabit { header: best.header.clone(), anchor: best.anchor, strip_prefix: String::new(), skip: 0 })
    }
}

fn ours(case: &Case<'_>, habit: &EnvelopeHabit, trusted: &Trusted) -> Option<Evidence> {
    evidence::by_habit(case, habit, trusted).filter(|evidence| !evidence.addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Domain};
    use crate::mapping::Office;
    use crate::message::header::Header;

    fn mapping() -> Mapping {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let office = Office {
            domains: vec![domain("example.com")],
            lan_domain: domain("office.lan"),
            implied: vec![domain("example.com")],
            postmaster: "alice".into(),
            collectors: Vec::new(),
            smarthosts: Vec::new(),
            users: ["alice", "bob", "carol"].map(|user| (user.to_owned(), None)).to_vec(),
            mentions: Vec::new(),
        };
        Mapping::load(&[], &office).unwrap().0
    }

    fn observe(probe: &mut Probe, pinned: Option<&EnvelopeHabit>, header: &str) -> Option<News> {
        let bytes = format!("{header}Subject: x\r\n\r\n");
        let header = Header::parse(bytes.as_bytes());
        let mailbox = Address::parse("all@example.com").unwrap();
        let source = Source { pinned, address: Some(&mailbox), ..Source::default() };
        probe.observe(&mapping(), Mail { header: &header, size: 1, returned: None }, source)
    }

    const RECEIVED: &str = "Received: from x.far.example (x.far.example [198.51.100.1]) by mx.isp.example; x\r\n";
    const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

    /// What comes of fifty messages; `header` is told the number and a person.
    fn after_fifty(header: impl Fn(usize, &str) -> String) -> Option<News> {
        let mut probe = Probe::default();
        let mut last = None;
        for number in 0..FIRST as usize {
            assert_eq!(last, None, "too early");
            last = observe(&mut probe, None, &header(number, PEOPLE[number % 3]));
        }
        last
    }

    fn habit(header: &str, anchor: Anchor) -> EnvelopeHabit {
        EnvelopeHabit { header: header.into(), anchor, strip_prefix: String::new(), skip: 0 }
    }

    #[test]
    fn the_header_is_found_at_its_place() {
        let found = |header, anchor| Some(News::Found(habit(header, anchor)));
        let news = after_fifty(|_, who| format!("X-Recipient: {who}@example.com\r\n{RECEIVED}"));
        assert_eq!(news, found("X-Recipient", Anchor::Top));
        let news = after_fifty(|_, who| {
            format!("Received: by mx.isp.example with LMTP; x\r\nEnvelope-To: {who}@example.com\r\n{RECEIVED}To: {who}@example.com\r\n")
        });
        assert_eq!(news, found("Envelope-To", Anchor::Run));
        let news = after_fifty(|_, who| format!("{RECEIVED}From: x@far.example\r\nX-RCPT-TO: <{who}@example.com>\r\n"));
        assert_eq!(news, found("X-RCPT-TO", Anchor::Last));
        // Two of fifty may come without it.
        let news = after_fifty(|n, who| match n {
            3 | 30 => RECEIVED.to_owned(),
            _ => format!("X-Recipient: {who}@example.com\r\n{RECEIVED}"),
        });
        assert_eq!(news, found("X-Recipient", Anchor::Top));
        // The one that is worth more.
        let news = after_fifty(|_, who| format!("Delivered-To: {who}@example.com\r\nX-Original-To: {who}@example.com\r\n{RECEIVED}"));
        assert_eq!(news, found("X-Original-To", Anchor::Top));
    }

    #[test]
    fn what_is_no_evidence_is_not_found() {
        let nothing = Some(News::NothingFound);
        assert_eq!(after_fifty(|_, who| format!("{RECEIVED}To: {who}@example.com\r\n")), nothing);
        assert_eq!(after_fifty(|_, _| format!("X-Recipient: box17@example.com\r\n{RECEIVED}")), nothing, "the mailbox's own name");
        assert_eq!(after_fifty(|_, who| format!("X-Recipient: {who}@else.example\r\n{RECEIVED}")), nothing, "nobody of ours");
        let sometimes = |n, who: &str| if n % 10 == 0 { String::new() } else { format!("X-Recipient: {who}@example.com\r\n") };
        assert_eq!(after_fifty(|n, who| format!("{}{RECEIVED}", sometimes(n, who))), nothing, "in nine of ten");
        let older = |who: &str| format!("{RECEIVED}X-Recipient: {who}@example.com\r\nReceived: from y by z; x\r\n");
        assert_eq!(after_fifty(|_, who| older(who)), nothing, "between what other servers wrote");
    }

    #[test]
    fn trap_33_a_header_that_goes_missing_is_noticed_once_and_another_one_is_found() {
        let mut probe = Probe::default();
        let with = |header: &str, n: usize| format!("{header}: {}@example.com\r\n{RECEIVED}", PEOPLE[n % 3]);
        let mut news = Vec::new();
        (0..100).for_each(|n| news.extend(observe(&mut probe, None, &with("X-Recipient", n))));
        assert_eq!(news, [News::Found(habit("X-Recipient", Anchor::Top))]);
        assert_eq!(probe.hit_rate(), (20, 20));
        // A message without it now and then is nothing new.
        (0..100)
            .for_each(|n| news.extend(observe(&mut probe, None, &if n % 4 == 0 { RECEIVED.to_owned() } else { with("X-Recipient", n) })));
        assert_eq!(news.len(), 1);
        news.clear();
        let missing = (1..=20).find(|n| {
            news.extend(observe(&mut probe, None, &with("X-Orcpt", *n)));
            !news.is_empty()
        });
        assert!(missing.is_some_and(|n| n <= 11), "{missing:?}");
        assert_eq!(news, [News::Lost(habit("X-Recipient", Anchor::Top))]);
        assert_eq!((probe.found(), probe.lost()), (None, Some(&habit("X-Recipient", Anchor::Top))));
        news.clear();
        (0..FIRST as usize).for_each(|n| news.extend(observe(&mut probe, None, &with("X-Orcpt", n))));
        assert_eq!(news, [News::Found(habit("X-Orcpt", Anchor::Top))]);
        assert_eq!(probe.lost(), None);
    }

    #[test]
    fn a_pinned_header_is_watched_from_the_first_message() {
        let pinned = habit("X-Recipient", Anchor::Top);
        let mut probe = Probe::default();
        let mut news = Vec::new();
        let with = |n: usize| format!("X-Recipient: {}@example.com\r\n{RECEIVED}", PEOPLE[n % 3]);
        (0..30).for_each(|n| news.extend(observe(&mut probe, Some(&pinned), &with(n))));
        assert_eq!(news, []);
        (0..200).for_each(|_| news.extend(observe(&mut probe, Some(&pinned), RECEIVED)));
        assert_eq!(news, [News::Lost(pinned.clone())], "once");
        news.clear();
        (0..200).for_each(|n| news.extend(observe(&mut probe, Some(&pinned), &with(n))));
        assert_eq!(news, [News::Back(pinned)]);
    }
}
