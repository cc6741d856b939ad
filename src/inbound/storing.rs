//! The store's half of a fetch: messages are scanned, mapped and committed in groups while more of them arrive.
//!
//! A message that the program can't handle goes to quarantine and does not stop the next one.

use super::deliver::{self, Listing, Prepared};
use super::figures::Figures;
use super::habits;
use super::receive::{Raw, RawBytes};
use super::recipients::Mail;
use super::recipients::probe::{News, Probe};
use super::scanned::Scanned;
use crate::config::{Collector, Current};
use crate::mapping::Mailbox;
use crate::message::facts::Facts;
use crate::outbound::vacation;
use crate::store::absence::Away;
use crate::store::{Arrived, Store, StoreError, ledger};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Messages in one commit.
const GROUP: usize = 64;

/// What storing needs to know; shared with the task that does it.
pub struct Storing {
    /// Where to.
    pub store: Store,
    /// Configuration and mapping in force when the fetch began.
    pub current: Arc<Current>,
    /// Who fetches.
    pub collector: Arc<Collector>,
    /// The ledger's name of the mailbox.
    pub source: ledger::Source,
    /// Tells listings apart.
    pub tag: String,
}

/// What the task that stores is sent.
#[derive(Debug)]
pub enum ToStore {
    /// A message.
    Message(Raw),
    /// All of a round have been sent: what became of those since the last one, once they are durable.
    End(oneshot::Sender<Stored>),
}

/// What was stored, and why not the rest.
#[derive(Debug, Default)]
pub struct Stored {
    /// Durable: handle, and the ledger's word for it.
    pub messages: Vec<(u32, String)>,
    /// Counted.
    pub figures: Figures,
    /// The store failed; messages behind that are still upstream.
    pub error: Option<StoreError>,
}

/// How a message is to be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handling {
    /// As it should be.
    Mapped,
    /// For this mailbox, whatever the mapping says: somebody asked for it.
    For(Mailbox),
    /// Its header only; the rest is too large.
    Stub,
    /// Only its header, if even that: the server does not give the rest.
    Refused,
    /// Not looked into: it has ended three fetches badly.
    Quarantine(&'static str),
}

/// What does not change while one round of messages is stored.
struct Round {
    mark_key: Vec<u8>,
    away: Arc<[Away]>,
    probe: Probe,
}

/// One for each arrival of a group.
type Results = Vec<Result<Arrived, StoreError>>;

/// A group that the store has been handed and has not committed yet.
struct Underway {
    /// Handle, the word for the ledger, and size.
    messages: Vec<(u32, &'static str, u64)>,
    results: Pin<Box<dyn Future<Output = Results> + Send>>,
    news: Vec<News>,
    ends: Vec<oneshot::Sender<Stored>>,
    _rooms: Vec<Option<OwnedSemaphorePermit>>,
}

impl Storing {
    /// Stores what comes until the other side is closed or the store fails. While one group is committed, the next is scanned and mapped.
    /// What nobody asked for with [`ToStore::End`] is the result.
    pub async fn run(self: Arc<Self>, mut from: mpsc::Receiver<ToStore>, handling: Handling) -> Stored {
        let mut stored = Stored::default();
        let mut round = match self.begin().await {
            Ok(round) => round,
            Err(error) => return Stored { error: Some(error), ..stored },
        };
        let mut underway: Option<Underway> = None;
        while stored.error.is_none() {
            let next = tokio::select! {
                biased;
                next = from.recv() => next,
                // Its memory may be what the next message waits for.
                Some(results) = committed(&mut underway) => {
                    self.settle(underway.take(), results, &mut stored);
                    continue;
                }
            };
            let first = match next {
                Some(ToStore::Message(first)) => first,
                Some(ToStore::End(end)) => {
                    match &mut underway {
                        Some(underway) => underway.ends.push(end),
                        None => tell(end, &mut stored),
                    }
                    continue;
                }
                None => break,
            };
            let (mut group, mut ends) = (vec![first], Vec::new());
            while group.len() < GROUP
                && let Ok(next) = from.try_recv()
            {
                match next {
                    ToStore::Message(raw) => group.push(raw),
                    ToStore::End(end) => {
                        ends.push(end);
                        break;
                    }
                }
            }
            let next = self.hand_over(group, &handling, &mut round).await;
            if let Some(results) = committed(&mut underway).await {
                self.settle(underway.take(), results, &mut stored);
            }
            match next {
                Ok(next) => underway = Some(Underway { ends, ..next }),
                Err(error) => stored.error = Some(error),
            }
        }
        if let Some(results) = committed(&mut underway).await {
            self.settle(underway, results, &mut stored);
        }
        stored
    }

    async fn begin(&self) -> Result<Round, StoreError> {
        let probe = habits::read(&self.store, &self.collector).await?;
        Ok(Round { mark_key: self.store.mark_key().await?, away: self.store.vacations().await?, probe })
    }

    async fn hand_over(&self, group: Vec<Raw>, handling: &Handling, round: &mut Round) -> Result<Underway, StoreError> {
        let Round { mark_key, away, probe } = round;
        let now = jiff::Timestamp::now().as_millisecond();
        let habits = probe.habits(&self.collector);
        let listing = Listing {
            config: &self.current.config,
            mapping: &self.current.mapping,
            collector: &self.collector,
            source: &self.source,
            habits: &habits,
            tag: &self.tag,
            mark_key,
            now,
        };
        let scanned: Vec<(Raw, Option<Scanned>)> = group.into_iter().map(|raw| scan(raw, handling)).collect();
        let asked = scanned.iter().filter_map(|(_, scanned)| scanned.as_ref()).flat_map(|one| deliver::asked_ids(one.said()));
        let asked = asked.collect::<Vec<_>>();
        let sent: HashMap<String, String> = match asked.is_empty() {
            true => HashMap::new(),
            false => self.store.sent_by(asked).await?.into_iter().collect(),
        };
        let before = probe.clone();
        let news = if *handling == Handling::Mapped { observe(probe, &listing, &scanned) } else { Vec::new() };
        let (mut messages, mut rooms) = (Vec::with_capacity(scanned.len()), Vec::with_capacity(scanned.len()));
        let (mut arrivals, mut replies) = (Vec::with_capacity(scanned.len()), Vec::new());
        for (mut raw, scanned) in scanned {
            let handle = raw.item.handle;
            rooms.push(raw._room.take());
            let facts = scanned.as_ref().filter(|_| !away.is_empty()).map(|scanned| scanned.said().clone());
            let Prepared { arrival, outcome, size } = prepare(&listing, raw, scanned, handling, &sent);
            if let Some(facts) = facts {
                let sender = deliver::answerable_sender(&facts);
                replies.extend(vacation::replies(&self.current, away, &facts, sender.as_ref(), &arrival.deposits, now));
            }
            messages.push((handle, outcome, size));
            arrivals.push(arrival);
        }
        arrivals.extend(news.iter().filter_map(|news| habits::letter(&self.current.config, &self.collector, news, now)));
        if let Some(last) = arrivals.last_mut().filter(|_| *probe != before) {
            last.settings.push((habits::setting(&self.collector.name), serde_json::to_string(probe).unwrap_or_default()));
        }
        arrivals.extend(replies);
        Ok(Underway { messages, results: Box::pin(self.store.arrive(arrivals)), news, ends: vec![], _rooms: rooms })
    }

    /// Counts what is durable now.
    fn settle(&self, underway: Option<Underway>, results: Results, stored: &mut Stored) {
        let Some(underway) = underway else { return };
        underway.news.iter().for_each(|news| habits::tell(&self.collector.name, news));
        for ((handle, outcome, size), result) in underway.messages.into_iter().zip(results) {
            match result {
                Ok(arrived) => {
                    let outcome = if arrived.duplicate { "duplicate" } else { outcome };
                    stored.figures.count(outcome, size);
                    stored.messages.push((handle, outcome.to_owned()));
                }
                // It is here already, by the ledger.
                Err(StoreError::Conflict(_)) => stored.messages.push((handle, "duplicate".into())),
                Err(error) => stored.error = Some(error),
            }
        }
        underway.ends.into_iter().for_each(|end| tell(end, stored));
    }
}

/// Tells what is durable; after a failure of the store the rest says so as well.
fn tell(end: oneshot::Sender<Stored>, stored: &mut Stored) {
    let error = stored.error.clone();
    // Who does not wait for it any more has failed in another way.
    let _ = end.send(std::mem::replace(stored, Stored { error, ..Stored::default() }));
}

/// What became of the group that is under way; can be asked again if it was not waited for.
async fn committed(underway: &mut Option<Underway>) -> Option<Results> {
    match underway {
        Some(underway) => Some(underway.results.as_mut().await),
        None => None,
    }
}

/// What the messages tell of the provider's habits.
fn observe(probe: &mut Probe, listing: &Listing<'_>, scanned: &[(Raw, Option<Scanned>)]) -> Vec<News> {
    if !habits::matter(listing.collector) {
        return Vec::new();
    }
    let said = scanned.iter().filter_map(|(_, scanned)| scanned.as_ref().map(Scanned::said));
    let observe = |facts: &Facts| {
        let header = facts.header();
        let mail = Mail { header: &header, size: facts.size, returned: None };
        catch_unwind(AssertUnwindSafe(|| probe.observe(listing.mapping, mail, listing.origin()))).ok().flatten()
    };
    said.filter_map(observe).collect()
}

/// `None`: there is nothing to be found out, or no way to.
fn scan(raw: Raw, handling: &Handling) -> (Raw, Option<Scanned>) {
    let scanned = match (&raw.bytes, handling) {
        (_, Handling::Quarantine(_)) => None,
        (RawBytes::Spooled(_, scanned), _) => Some((**scanned).clone()),
        (RawBytes::Inline(bytes), _) => catch_unwind(AssertUnwindSafe(|| Scanned::of(bytes))).ok(),
    };
    (raw, scanned)
}

fn prepare(listing: &Listing<'_>, raw: Raw, scanned: Option<Scanned>, handling: &Handling, sent: &HashMap<String, String>) -> Prepared {
    let scanned = match (handling, scanned) {
        (Handling::Quarantine(reason), _) => return deliver::quarantine(listing, raw, reason),
        (_, None) => return deliver::quarantine(listing, raw, FAULT),
        (_, Some(scanned)) => scanned,
    };
    match handling {
        Handling::Stub => return deliver::stub(listing, raw, &scanned),
        Handling::Refused => return deliver::refused(listing, raw, &scanned),
        _ => {}
    }
    let decided =
        catch_unwind(AssertUnwindSafe(|| deliver::decide(listing.mapping, listing.origin(), scanned.said(), &|id| sent.get(id).cloned())));
    match decided {
        Ok(decision) => match handling {
            Handling::For(mailbox) => deliver::prepare(listing, raw, &scanned, deliver::given(decision, mailbox)),
            _ => deliver::prepare(listing, raw, &scanned, decision),
        },
        Err(_) => deliver::quarantine(listing, raw, FAULT),
    }
}

/// The reason that the tray shows.
const FAULT: &str = "the program could not make sense of this message (a fault of the program); its bytes are kept as they came";
