//! What a plan says is new: asked for in rounds, received, stored, and settled with the ledger. While one round is being stored, the next one
//! comes.

use super::fetch::{Trouble, now};
use super::mailbox::Mailbox;
use super::plan::{self, Plan};
use super::receive::{self, Raw, RawBytes, ReceiveError, Receiver};
use super::storing::{Handling, Stored, ToStore};
use super::upstream::{HEADERS_AT_ONCE, Item, Upstream};
use crate::mapping;
use crate::store::StoreError;
use crate::store::ledger::{Attempts, UpstreamId};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// So much is asked for before deletions catch up with it: one round, or two where the next is asked for while one comes.
const CHECKPOINT: usize = 200;
/// The same in bytes.
const CHECKPOINT_BYTES: u64 = 32_000_000;
/// A message that has ended so many fetches badly goes to quarantine.
pub(super) const ATTEMPTS: u32 = 3;
/// As long as nothing at all comes, a message is not given up before so many milliseconds: a day. The server may be ill.
const PATIENCE: i64 = 24 * 3600 * 1000;
/// The tray's reason for a message that has ended the program three times.
const QUARANTINE: &str = "three fetches ended in the middle of handling this message; its bytes are kept as they came";
/// The tray's reason for a message that the server does not give whole.
const BROKEN_OFF: &str =
    "three fetches broke off in the middle of this message; this is as much of it as came. The original is still at the provider";

/// Messages that have been asked for together.
#[derive(Default)]
struct Round {
    items: Vec<Item>,
    /// How often each was asked for, this time included.
    attempts: Vec<Attempts>,
    /// See [`Upstream::retrieve`].
    marks: usize,
}

/// Messages that have come, and are being stored.
struct Came {
    items: Vec<Item>,
    attempts: Vec<Attempts>,
    received: Result<receive::Refusals, ReceiveError>,
    /// What the server has removed meanwhile.
    removed: Vec<u32>,
    stored: oneshot::Receiver<Stored>,
}

/// The task that stores what comes in one session.
struct Keeper {
    to: mpsc::Sender<ToStore>,
    task: Option<Task<Stored>>,
}

impl Keeper {
    /// It has ended before it was told to: what it stored last, and why not more.
    async fn ended(&mut self) -> Result<Stored, Trouble> {
        let Some(mut task) = self.task.take() else { return Err(StoreError::Closed.into()) };
        (&mut task.0).await.map_err(|error| match error.try_into_panic() {
            // It is contained where a whole fetch is.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Trouble::Stopped,
        })
    }
}

impl Mailbox<'_, '_> {
    /// Retrieves and stores what the plan says, the troublesome last. What has to go from one round is asked for with the next one, that of
    /// the last round is returned.
    pub(super) async fn take(&mut self, upstream: &mut Upstream, mut plan: Plan) -> Result<Vec<Item>, Trouble> {
        upstream.measure(&mut plan.fetch).await?;
        let max_size = self.run.order.collector.max_size;
        let (large, fitting): (Vec<Item>, Vec<Item>) = plan.fetch.into_iter().partition(|item| item.size.unwrap_or(0) > max_size);
        let mut rest = VecDeque::from(fitting);
        let rounds = if upstream.answers_in_order() { 2 } else { 1 };
        let wanted = (rest.len() + plan.wanted.len() + plan.singly.len()) as u64;
        self.run.order.progress.send_modify(|progress| progress.wanted += wanted);
        let mut going = plan.dispose;
        let (began, mut bytes) = (Instant::now(), 0);
        let mut keeper = self.keeper(Handling::Mapped);
        let mut behind = None;
        let mut round = self.ask(upstream, next_chunk(&mut rest, rounds)).await?;
        let over = loop {
            if round.items.is_empty() {
                break Ok(());
            }
            let next = if rounds > 1 { Some(self.ask(upstream, next_chunk(&mut rest, rounds)).await) } else { None };
            if self.ask_to_remove(upstream, &going) {
                going.clear();
            }
            bytes += plan::bytes(&round.items);
            let came = self.receive(upstream, round, &keeper).await;
            let goes_on = came.received.is_ok();
            // While one round is being stored, the next one comes.
            let settled = self.settle_behind(behind.replace(came), &mut keeper, &mut going).await;
            if !goes_on || settled.is_err() {
                if let Some(Ok(next)) = next {
                    self.forgive(&next.items).await?;
                }
                break settled;
            }
            plan::small_first(rest.make_contiguous(), bytes, began.elapsed());
            let next = match next {
                Some(next) => next,
                None => self.ask(upstream, next_chunk(&mut rest, rounds)).await,
            };
            round = match next {
                Ok(next) => next,
                Err(trouble) => break Err(trouble),
            };
        };
        let last = self.settle_behind(behind, &mut keeper, &mut going).await;
        over.and(last)?;
        for (item, whose) in plan.wanted {
            let handling = self.handling_for(&whose).await?;
            going.extend(self.take_one(upstream, item, handling).await?);
        }
        self.hopeless.clear();
        for (item, attempts) in plan.singly {
            let handling = if attempts >= ATTEMPTS { Handling::Quarantine(QUARANTINE) } else { Handling::Mapped };
            going.extend(self.take_one(upstream, item, handling).await?);
        }
        self.give_up(upstream).await?;
        if !large.is_empty() {
            self.dispose(upstream, &std::mem::take(&mut going)).await?;
            self.stubs(upstream, &large).await?;
        }
        Ok(going)
    }

    /// Whose the original of a stub is to be; a user who is gone by now counts as nobody.
    async fn handling_for(&self, whose: &str) -> Result<Handling, Trouble> {
        let mailbox = match whose.strip_prefix("shared:") {
            Some(name) => mapping::Mailbox::Shared(name.to_owned()),
            None => mapping::Mailbox::User(whose.to_owned()),
        };
        Ok(match self.run.order.store.account(&mailbox).await? {
            Some(_) => Handling::For(mailbox),
            None => Handling::Mapped,
        })
    }

    /// Counts the attempts, and asks for the messages.
    async fn ask(&mut self, upstream: &mut Upstream, items: Vec<Item>) -> Result<Round, Trouble> {
        if items.is_empty() {
            return Ok(Round::default());
        }
        self.run.room_on_disk()?;
        let attempts = self.run.order.store.ledger_attempt(&self.source, ids_of(&items)).await?;
        let marks = upstream.retrieve(&items);
        Ok(Round { items, attempts, marks })
    }

    async fn take_one(&mut self, upstream: &mut Upstream, item: Item, handling: Handling) -> Result<Vec<Item>, Trouble> {
        let mut keeper = self.keeper(handling);
        let round = self.ask(upstream, vec![item]).await?;
        let came = self.receive(upstream, round, &keeper).await;
        self.settle(came, &mut keeper).await
    }

    fn keeper(&self, handling: Handling) -> Keeper {
        let (to, from) = mpsc::channel(CHECKPOINT);
        Keeper { to, task: Some(Task(tokio::spawn(Arc::clone(&self.storing).run(from, handling)))) }
    }

    /// Receives while what came is being stored.
    async fn receive(&mut self, upstream: &mut Upstream, round: Round, keeper: &Keeper) -> Came {
        let order = self.run.order;
        let Round { items, attempts, marks } = round;
        let mut removed = Vec::new();
        let receiver = Receiver {
            upstream,
            store: &order.store,
            to: keeper.to.clone(),
            progress: &order.progress,
            stop: &order.stop,
            max_size: order.collector.max_size,
            room: Arc::clone(&self.room),
            removed: &mut removed,
        };
        let received = receiver.receive(&items, marks).await;
        let (end, stored) = oneshot::channel();
        // If it has ended, it says so to whoever waits for the answer.
        let _ = keeper.to.send(ToStore::End(end)).await;
        Came { items, attempts, received, removed, stored }
    }

    async fn settle_behind(&mut self, behind: Option<Came>, keeper: &mut Keeper, going: &mut Vec<Item>) -> Result<(), Trouble> {
        if let Some(came) = behind {
            going.extend(self.settle(came, keeper).await?);
        }
        Ok(())
    }

    /// What is durable then and has to go at once.
    async fn settle(&mut self, came: Came, keeper: &mut Keeper) -> Result<Vec<Item>, Trouble> {
        let order = self.run.order;
        let Came { items, attempts, mut received, removed, stored } = came;
        self.removed(&removed).await?;
        let stored = match stored.await {
            Ok(stored) => stored,
            Err(_) => keeper.ended().await?,
        };
        self.count(&items, &attempts, &mut received, &stored).await?;
        let refusals = received?;
        let mut again = Vec::new();
        for (handle, text) in refusals {
            self.run.figures.failed += 1;
            tracing::warn!(collector = order.collector.name, handle, text, "the server does not give a message");
            let Some(at) = items.iter().position(|item| item.handle == handle) else { continue };
            let attempts = attempts[at];
            if attempts.count > 1 && self.may_be_ill(attempts) {
                again.push(items[at].clone());
            } else if attempts.count >= ATTEMPTS {
                self.hopeless.push(items[at].clone());
            }
        }
        self.forgive(&again).await?;
        if let Some(error) = stored.error {
            return Err(error.into());
        }
        let outcomes: HashMap<u32, &str> = stored.messages.iter().map(|(handle, outcome)| (*handle, outcome.as_str())).collect();
        let goes = |item: &Item| outcomes.get(&item.handle).is_some_and(|outcome| plan::goes_at_once(outcome, &order.collector.after));
        Ok(items.into_iter().filter(goes).collect())
    }

    /// Counts what is durable, takes back the attempts of those that never had their turn, and gives up on a message that has ended its
    /// third fetch in the same way.
    async fn count(
        &mut self,
        items: &[Item],
        attempts: &[Attempts],
        received: &mut Result<receive::Refusals, ReceiveError>,
        stored: &Stored,
    ) -> Result<(), Trouble> {
        self.run.figures.add(&stored.figures);
        let (culprit, begun) = match &*received {
            Err(ReceiveError::Upstream { during, begun, .. }) => (*during, *begun),
            Err(ReceiveError::Endless { handle, .. }) => (Some(*handle), true),
            _ => (None, false),
        };
        if matches!(received, Err(ReceiveError::Upstream { error, .. }) if error.is_out_of_step()) {
            let doubtful = items.iter().filter(|item| stored.messages.iter().any(|(handle, _)| *handle == item.handle));
            self.run.order.store.ledger_doubt(&self.source, doubtful.map(|item| item.id.clone()).collect()).await?;
        }
        let here = |handle: u32| stored.messages.iter().any(|(stored, _)| *stored == handle);
        let refused = |handle: u32| received.as_ref().is_ok_and(|refusals| refusals.iter().any(|(refused, _)| *refused == handle));
        let innocent = items.iter().filter(|item| !here(item.handle) && !refused(item.handle) && Some(item.handle) != culprit);
        let innocent: Vec<UpstreamId> = innocent.map(|item| item.id.clone()).collect();
        self.run.figures.failed += innocent.len() as u64 + u64::from(culprit.is_some());
        if !innocent.is_empty() {
            self.run.order.store.ledger_forgive(&self.source, innocent).await?;
        }
        let Some(at) = culprit.and_then(|culprit| items.iter().position(|item| item.handle == culprit)) else { return Ok(()) };
        let attempts = attempts[at];
        if !begun && attempts.count > 1 && self.may_be_ill(attempts) {
            // The message may be innocent. It goes on being taken singly.
            let id = items[at].id.clone();
            return Ok(self.run.order.store.ledger_forgive(&self.source, vec![id]).await?);
        }
        if attempts.count >= ATTEMPTS {
            let partial = match received {
                Err(ReceiveError::Upstream { partial, .. } | ReceiveError::Endless { partial, .. }) => partial.take(),
                _ => None,
            };
            let bytes = partial.map_or(RawBytes::Inline(Bytes::new()), |partial| *partial);
            let raw = Raw { item: items[at].clone(), internal_date: None, bytes, _room: None };
            self.store_one(raw, Handling::Quarantine(BROKEN_OFF)).await?;
            self.run.figures.failed -= 1;
        }
        Ok(())
    }

    /// Nothing at all came in this fetch, and it is not long since the message was first asked for.
    fn may_be_ill(&self, attempts: Attempts) -> bool {
        self.run.figures.fetched == 0 && now().saturating_sub(attempts.since) < PATIENCE
    }

    /// What the server won't ever give is told in the tray, with its header if that can be had; the original stays where it is.
    async fn give_up(&mut self, upstream: &mut Upstream) -> Result<(), Trouble> {
        for some in std::mem::take(&mut self.hopeless).chunks(HEADERS_AT_ONCE) {
            let handles: Vec<u32> = some.iter().map(|item| item.handle).collect();
            let asked = self.headers(upstream, &handles).await;
            for item in some {
                let header = asked.as_ref().ok().and_then(|headers| headers.get(&item.handle)).cloned().unwrap_or_default();
                let raw = Raw { internal_date: item.arrived, item: item.clone(), bytes: RawBytes::Inline(header.into()), _room: None };
                self.store_one(raw, Handling::Refused).await?;
                self.run.figures.failed -= 1;
            }
            asked?;
        }
        Ok(())
    }

    async fn store_one(&mut self, raw: Raw, handling: Handling) -> Result<(), Trouble> {
        let (to, from) = mpsc::channel(1);
        // The other end is alive: it is in this function.
        let _ = to.send(ToStore::Message(raw)).await;
        drop(to);
        let stored = Arc::clone(&self.storing).run(from, handling).await;
        self.run.figures.add(&stored.figures);
        match stored.error {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    async fn stubs(&mut self, upstream: &mut Upstream, large: &[Item]) -> Result<(), Trouble> {
        for some in large.chunks(HEADERS_AT_ONCE) {
            let handles: Vec<u32> = some.iter().map(|item| item.handle).collect();
            let mut headers = self.headers(upstream, &handles).await?;
            for item in some {
                let header = headers.remove(&item.handle).unwrap_or_default();
                let raw = Raw { item: item.clone(), internal_date: item.arrived, bytes: RawBytes::Inline(header.into()), _room: None };
                self.store_one(raw, Handling::Stub).await?;
            }
        }
        Ok(())
    }

    /// The messages never had their turn: takes the count of their attempts back.
    async fn forgive(&self, items: &[Item]) -> Result<(), Trouble> {
        if items.is_empty() {
            return Ok(());
        }
        Ok(self.run.order.store.ledger_forgive(&self.source, ids_of(items)).await?)
    }
}

/// Ends with whoever waits for it.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn ids_of(items: &[Item]) -> Vec<UpstreamId> {
    items.iter().map(|item| item.id.clone()).collect()
}

/// What one of so many rounds between two checkpoints asks for.
fn next_chunk(rest: &mut VecDeque<Item>, rounds: usize) -> Vec<Item> {
    let most = CHECKPOINT_BYTES / rounds as u64;
    let mut bytes = 0;
    let fits = rest.iter().take(CHECKPOINT / rounds).take_while(|item| {
        let before = bytes;
        bytes += item.size.unwrap_or(0).min(most);
        before < most
    });
    let count = fits.count();
    rest.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_bounded_by_count_and_bytes() {
        let items = |count: u32, size: u64| -> VecDeque<Item> {
            (0..count).map(|n| Item { handle: n, id: (n.to_string(), 0), size: Some(size), arrived: None }).collect()
        };
        for (count, size, first) in [(1000, 1000, CHECKPOINT), (10, 20_000_000, 2), (3, u64::MAX, 1), (1, 0, 1)] {
            assert_eq!(next_chunk(&mut items(count, size), 1).len(), first, "{count} of {size}");
        }
    }
}
