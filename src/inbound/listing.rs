//! What a listing means: is it what was expected, was there one before, and which of its messages does the ledger know, by their ids or, if
//! the server has none or other ones than before, by their headers.

use super::deliver;
use super::fetch::{Trouble, now};
use super::intention::notice;
use super::likeness;
use super::mailbox::Mailbox;
use super::plan::{self, Comparison, Nature, Plan};
use super::roll::Roll;
use super::rounds::ATTEMPTS;
use super::shape::{Expected, Shape};
use super::upstream::{HEADERS_AT_ONCE, Item, Upstream};
use crate::config::{After, Start};
use crate::message::header::Header;
use crate::store::ledger::{Source, State, UpstreamId};
use std::collections::{HashMap, HashSet};

/// How long a server that broke off again and again where headers were asked for is not asked for any, in milliseconds: a week.
const DISTRUST: i64 = 7 * 24 * 3600 * 1000;

impl Mailbox<'_, '_> {
    /// What the folder should be like, by the last fetch that left nothing to do.
    pub(super) async fn expected(&self) -> Result<Expected, Trouble> {
        let order = self.run.order;
        let after = &order.collector.after;
        if order.store.ledger_is_new(&self.source).await? {
            return Ok(if order.collector.start == Start::All { Expected::AllNew } else { Expected::Unknown });
        }
        let Some(shape) = order.store.setting(&self.shape_name()).await?.and_then(|text| Shape::from_text(&text)) else {
            return Ok(Expected::Unknown);
        };
        let rests = order.store.ledger_is_at_rest(&self.source, shape.exists.into(), plan::due_since(after, now()), plan::STAYS).await?;
        Ok(if rests { Expected::Same(shape) } else { Expected::More(shape) })
    }

    pub(super) async fn remember(&self, shape: Option<Shape>) -> Result<(), Trouble> {
        let (store, name) = (&self.run.order.store, self.shape_name());
        let text = shape.map(Shape::to_text);
        if store.setting(&name).await? != text {
            store.setting_set(&name, text.as_deref()).await?;
        }
        Ok(())
    }

    /// Under this name the store keeps until when all that was stored is marked as read upstream.
    pub(super) fn marked_name(&self) -> String {
        let Source { host, login, folder } = &self.source;
        format!("seen/{host}/{login}/{folder}")
    }

    fn shape_name(&self) -> String {
        let Source { host, login, folder } = &self.source;
        format!("shape/{host}/{login}/{folder}")
    }

    pub(super) async fn compare(&self, items: Roll, nature: Nature) -> Result<(Plan, Roll), Trouble> {
        let store = &self.run.order.store;
        let mut comparison = Comparison::new(items, nature, &self.run.order.collector.after, now());
        if self.run.order.collector.after == After::Seen {
            comparison.marked = store.setting(&self.marked_name()).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        }
        let mut comparison = store.ledger_each(&self.source, comparison, Comparison::see).await?;
        let unknown = comparison.unknown();
        if !unknown.is_empty() {
            store.ledger_gone(&self.source, unknown).await?.into_iter().for_each(|entry| comparison.see(entry));
        }
        Ok(comparison.finish())
    }

    /// A mailbox that was never listed before: says what is there and what will become of it, and enters as seen what `start` leaves out.
    pub(super) async fn begin_with(&mut self, upstream: &mut Upstream, items: &mut Roll) -> Result<(), Trouble> {
        let order = self.run.order;
        if !order.store.ledger_is_new(&self.source).await? {
            return Ok(());
        }
        let old: Vec<UpstreamId> = match &order.collector.start {
            Start::All => Vec::new(),
            Start::New => items.items().map(|item| item.id).collect(),
            Start::Age(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                self.older_than(upstream, items, now().saturating_sub(age)).await?
            }
            Start::Date(date) => {
                let zone = order.current.config.office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
                let first = date.to_zoned(zone).map_err(|error| Trouble::Said(format!("start: {error}")))?;
                self.older_than(upstream, items, first.timestamp().as_millisecond()).await?
            }
        };
        let notice = notice(&order.collector, self.folder, items.len(), old.len());
        tracing::info!("{notice}");
        order.progress.send_modify(|progress| progress.notices.push(notice));
        Ok(order.store.ledger_enter_known(&self.source, old).await?)
    }

    async fn older_than(&self, upstream: &mut Upstream, roll: &mut Roll, first: i64) -> Result<Vec<UpstreamId>, Trouble> {
        let mut items: Vec<Item> = roll.items().collect();
        let dates = self.dates(upstream, &mut items).await?;
        *roll = items.into_iter().collect();
        // Without any date it is fetched: too much is better than too little.
        Ok(dates.into_iter().filter(|(_, arrived)| arrived.is_some_and(|arrived| arrived < first)).map(|(id, _)| id).collect())
    }

    /// When these arrived at the provider, as far as it says, or as far as their headers do.
    async fn dates(&self, upstream: &mut Upstream, items: &mut [Item]) -> Result<Vec<(UpstreamId, Option<i64>)>, Trouble> {
        upstream.measure(items).await?;
        let mut dates = Vec::with_capacity(items.len());
        for some in items.chunks(HEADERS_AT_ONCE) {
            let unknown: Vec<u32> = some.iter().filter(|item| item.arrived.is_none()).map(|item| item.handle).collect();
            let headers = self.headers(upstream, &unknown).await?;
            for item in some {
                let by_header = || deliver::arrival_date(&Header::parse(headers.get(&item.handle)?), now());
                dates.push((item.id.clone(), item.arrived.or_else(by_header)));
            }
        }
        Ok(dates)
    }

    /// Headers of some messages, as [`Upstream::headers`] gives them. At some message a server may hang up whenever its header is asked for:
    /// that must not keep all others from being fetched for ever.
    pub(super) async fn headers(&self, upstream: &mut Upstream, handles: &[u32]) -> Result<HashMap<u32, Vec<u8>>, Trouble> {
        if handles.is_empty() {
            return Ok(HashMap::new());
        }
        let store = &self.run.order.store;
        let latch = format!("headers/{}/{}", self.source.host, self.source.login);
        let before = store.setting(&latch).await?;
        let (breaks, last) = before.as_deref().and_then(|text| text.split_once(' ')).unwrap_or(("0", "0"));
        let (breaks, last): (u32, i64) = (breaks.parse().unwrap_or(0), last.parse().unwrap_or(0));
        if breaks >= ATTEMPTS && now().saturating_sub(last) < DISTRUST {
            return Ok(HashMap::new());
        }
        let headers = upstream.headers(handles).await;
        if headers.is_err() {
            store.setting_set(&latch, Some(&format!("{} {}", breaks.saturating_add(1), now()))).await?;
        } else if before.is_some() {
            store.setting_set(&latch, None).await?;
        }
        Ok(headers?)
    }

    /// The server has no UIDL: ids are made from headers and sizes.
    pub(super) async fn ids_from_headers(&self, upstream: &mut Upstream, items: &mut [Item]) -> Result<(), Trouble> {
        let mut ordinals: HashMap<String, u32> = HashMap::new();
        let session = now();
        for some in items.chunks_mut(HEADERS_AT_ONCE) {
            let handles: Vec<u32> = some.iter().map(|item| item.handle).collect();
            let headers = self.headers(upstream, &handles).await?;
            for item in some {
                let deletes = self.run.order.collector.after == After::Delete;
                // All headers without a field are alike: where everything is deleted, what is there is new.
                let header = headers.get(&item.handle).filter(|header| !deletes || !header.trim_ascii().is_empty());
                let id = match header {
                    Some(header) => format!("{}.{}", likeness::fingerprint(header), item.size.unwrap_or(0)),
                    None if deletes => format!("session {session} message {}", item.handle),
                    None => {
                        return Err(Trouble::Said(
                            "this server has neither UIDL nor TOP, so that fetched mail can't be told from new: only after = \"delete\" is possible"
                                .into(),
                        ));
                    }
                };
                let ordinal = ordinals.entry(id.clone()).or_default();
                item.id = (id, *ordinal);
                *ordinal += 1;
            }
        }
        Ok(())
    }

    /// Whether the server gave everything new ids; the ledger has learnt them then.
    pub(super) async fn is_renumbered(&self, upstream: &mut Upstream, plan: &Plan, listed: usize) -> Result<bool, Trouble> {
        let order = self.run.order;
        if !plan::looks_renumbered(plan, listed) {
            return Ok(false);
        }
        let ledger = order.store.ledger(&self.source).await?;
        tracing::warn!(collector = order.collector.name, "the server seems to have given all messages new ids; comparing headers");
        let mut fingerprints = Vec::with_capacity(plan.fetch.len());
        for some in plan.fetch.chunks(HEADERS_AT_ONCE) {
            let handles: Vec<u32> = some.iter().map(|item| item.handle).collect();
            let headers = self.headers(upstream, &handles).await?;
            let known = some.iter().filter_map(|item| Some((item.id.clone(), likeness::fingerprint(headers.get(&item.handle)?))));
            fingerprints.extend(known);
        }
        let mut pairs = likeness::match_fingerprints(&ledger, &fingerprints);
        if ledger.iter().any(|entry| entry.state == State::Known) {
            let matched: HashSet<&UpstreamId> = pairs.iter().map(|(_, new)| new).collect();
            let mut rest: Vec<Item> = plan.fetch.iter().filter(|item| !matched.contains(&item.id)).cloned().collect();
            let dates = self.dates(upstream, &mut rest).await?;
            pairs.extend(likeness::match_older(&ledger, &dates));
        }
        let matched = pairs.len();
        if matched > 0 {
            order.store.ledger_rename(&self.source, pairs).await?;
            let text =
                format!("{}: the server gave {matched} messages new ids; they were recognised and are not fetched again", self.source.host);
            order.progress.send_modify(|progress| progress.notices.push(text));
        }
        Ok(matched > 0)
    }

    /// Compares what a session that got out of step brought with the headers upstream: what is the same after all need not be fetched again.
    pub(super) async fn is_dispelled(&self, upstream: &mut Upstream, plan: &Plan) -> Result<bool, Trouble> {
        let mut trusted = Vec::new();
        for some in plan.doubtful.chunks(HEADERS_AT_ONCE) {
            let handles: Vec<u32> = some.iter().map(|(item, _)| item.handle).collect();
            let headers = self.headers(upstream, &handles).await?;
            let same =
                some.iter().filter(|(item, print)| headers.get(&item.handle).is_some_and(|header| likeness::fingerprint(header) == *print));
            trusted.extend(same.map(|(item, _)| item.id.clone()));
        }
        if !trusted.is_empty() {
            self.run.order.store.ledger_trust(&self.source, trusted.clone()).await?;
        }
        Ok(!trusted.is_empty())
    }

    /// Holds what is listed under old ids against what is known of those: other messages are fetched, the same ones are what they were.
    pub(super) async fn unmask(&self, upstream: &mut Upstream, plan: &mut Plan) -> Result<(), Trouble> {
        let (mut same, mut others) = (Vec::new(), Vec::new());
        let Plan { suspects, fetch, dispose, known, .. } = plan;
        for some in std::mem::take(suspects).chunks(HEADERS_AT_ONCE) {
            let mut items: Vec<Item> = some.iter().map(|(item, _)| item.clone()).collect();
            upstream.measure(&mut items).await?;
            let handles: Vec<u32> = items.iter().map(|item| item.handle).collect();
            let headers = self.headers(upstream, &handles).await?;
            for (item, (_, entry)) in items.into_iter().zip(some) {
                let header = headers.get(&item.handle).map(Vec::as_slice);
                let dated = header.and_then(|header| deliver::arrival_date(&Header::parse(header), now()));
                if !likeness::is_same(entry, &item, header, item.arrived.or(dated)) {
                    others.push(item);
                    continue;
                }
                if plan::is_due(entry, &self.run.order.collector.after, now()) {
                    dispose.push(item.clone());
                }
                if entry.state != State::DeleteSent {
                    same.push((item.id, item.size));
                }
            }
        }
        if !same.is_empty() {
            self.run.order.store.ledger_return(&self.source, same).await?;
        }
        if !others.is_empty() {
            let (collector, count) = (&self.run.order.collector.name, others.len());
            tracing::warn!(collector, count, "the server gave ids of old messages to other ones; those are fetched");
        }
        // Before they are asked for: what breaks off must not leave them as the old ones.
        self.forget(others.iter().map(|item| item.id.clone()).collect()).await?;
        *known = known.saturating_sub(others.len() as u64);
        fetch.append(&mut others);
        Ok(())
    }
}
