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
use crate::store::{Arrived, Store, StoreError, ledger};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::mpsc;

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
    /// Not looked into: it has ended three fetches badly.
    Quarantine(&'static str),
}

impl Storing {
    /// Stores what comes until the other side is closed or the store fails.
    pub async fn run(self: Arc<Self>, mut from: mpsc::Receiver<Raw>, handling: Handling) -> Stored {
        let mut stored = Stored::default();
        while let Some(first) = from.recv().await {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(raw) = from.try_recv()
            {
                group.push(raw);
            }
            if let Err(error) = self.store_group(group, &handling, &mut stored).await {
                stored.error = Some(error);
            }
            if stored.error.is_some() {
                break;
            }
        }
        stored
    }

    async fn store_group(&self, group: Vec<Raw>, handling: &Handling, stored: &mut Stored) -> Result<(), StoreError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let mark_key = self.store.mark_key().await?;
        let mut probe = habits::read(&self.store, &self.collector).await?;
        let habits = probe.habits(&self.collector);
        let listing = Listing {
            config: &self.current.config,
            mapping: &self.current.mapping,
            collector: &self.collector,
            source: &self.source,
            habits: &habits,
            tag: &self.tag,
            mark_key: &mark_key,
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
        let news = if *handling == Handling::Mapped { observe(&mut probe, &listing, &scanned) } else { Vec::new() };
        let mut handles = Vec::with_capacity(scanned.len());
        let mut rooms = Vec::with_capacity(scanned.len());
        let mut prepared = Vec::with_capacity(scanned.len());
        let (away, mut replies) = (self.store.vacations().await?, Vec::new());
        for (mut raw, scanned) in scanned {
            handles.push(raw.item.handle);
            rooms.push(raw._room.take());
            let facts = scanned.as_ref().filter(|_| !away.is_empty()).map(|scanned| scanned.said().clone());
            let ready = prepare(&listing, raw, scanned, handling, &sent);
            if let Some(facts) = facts {
                let sender = deliver::answerable_sender(&facts);
                replies.extend(vacation::replies(&self.current, &away, &facts, sender.as_ref(), &ready.arrival.deposits, now));
            }
            prepared.push(ready);
        }
        let (mut arrivals, counts): (Vec<_>, Vec<_>) = prepared.into_iter().map(|p| (p.arrival, (p.outcome, p.size))).unzip();
        let deposits: Vec<bool> = arrivals.iter().map(|arrival| arrival.queue.is_empty() && arrival.tray.is_none()).collect();
        arrivals.extend(news.iter().filter_map(|news| habits::letter(&self.current.config, &self.collector, news, now)));
        if let Some(last) = arrivals.last_mut().filter(|_| probe != before) {
            last.settings.push((habits::setting(&self.collector.name), serde_json::to_string(&probe).unwrap_or_default()));
        }
        arrivals.extend(replies);
        let results = self.store.arrive(arrivals).await;
        news.iter().for_each(|news| habits::tell(&self.collector.name, news));
        drop(rooms);
        for (((handle, (outcome, size)), only_deposits), result) in handles.into_iter().zip(counts).zip(deposits).zip(results) {
            match result {
                Ok(arrived) => {
                    let outcome = if only_deposits && is_duplicate(&arrived) { "duplicate" } else { outcome };
                    stored.figures.count(outcome, size);
                    stored.messages.push((handle, outcome.to_owned()));
                }
                // It is here already, by the ledger.
                Err(StoreError::Conflict(_)) => stored.messages.push((handle, "duplicate".into())),
                Err(error) => stored.error = Some(error),
            }
        }
        Ok(())
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

fn is_duplicate(arrived: &Arrived) -> bool {
    !arrived.deposits.is_empty() && arrived.deposits.iter().all(Option::is_none)
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
    if *handling == Handling::Stub {
        return deliver::stub(listing, raw, &scanned);
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
