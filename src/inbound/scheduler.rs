//! One task a collector: when to fetch, what came of it, and when to try again.
//!
//! A collector's fault stays its own: its task is started again after a panic, and the others never notice. All that `status` shows is
//! in the store, so that a restart goes on where it was.

use super::fetch::{self, Order};
use super::figures::{Figures, Outcome, Progress};
use super::guard;
use super::idle;
use super::places::Places;
use super::refusal;
use super::waiting::{Waiting, until};
use crate::config::{Collector, Current, Protocol};
use crate::schedule::{self, Backoff, Failure, Verdict};
use crate::store::collectors::CollectorState;
use crate::store::{Change, Store};
use crate::wire::dial::Patience;
use jiff::{Timestamp, Zoned};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Collectors that rest after a fault are looked for this often.
const LOOK: Duration = Duration::from_secs(30);
/// A task that ended by a fault of the program starts again after this long.
const RESTART_AFTER: Duration = Duration::from_secs(60);
/// How long to wait when the store can't be read or written.
const STORE_PAUSE: Duration = Duration::from_secs(10);
/// A server that had no room is given so long to notice that a session has ended.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Fetches on schedule, on news from IDLE, and when asked. Clones are the same scheduler.
#[derive(Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    current: watch::Receiver<Arc<Current>>,
    places: Places,
    desks: Mutex<HashMap<String, mpsc::UnboundedSender<Ask>>>,
}

/// Somebody wants a fetch now, and its figures.
type Ask = oneshot::Sender<Figures>;

impl Scheduler {
    /// Ready to run.
    pub fn new(store: Store, current: watch::Receiver<Arc<Current>>) -> Self {
        Self { shared: Arc::new(Shared { store, current, places: Places::default(), desks: Mutex::default() }) }
    }

    /// Runs until `stopping`; fetches that are going on end at their next safe point.
    pub async fn run(self, stopping: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let mut current = self.shared.current.clone();
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut names: HashMap<tokio::task::Id, String> = HashMap::new();
        let mut not_before: HashMap<String, tokio::time::Instant> = HashMap::new();
        tokio::pin!(stopping);
        loop {
            let now = current.borrow_and_update().clone();
            for collector in now.config.collectors.iter().filter(|collector| collector.enabled) {
                let resting = not_before.get(&collector.name).is_some_and(|until| *until > tokio::time::Instant::now());
                if resting || names.values().any(|name| *name == collector.name) {
                    continue;
                }
                let task = tasks.spawn(self.desk(&collector.name).run(stopped.clone()));
                names.insert(task.id(), collector.name.clone());
            }
            tokio::select! {
                () = &mut stopping => break,
                changed = current.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(LOOK) => {}
                Some(ended) = tasks.join_next_with_id() => {
                    let id = match &ended { Ok((id, ())) => *id, Err(error) => error.id() };
                    let Some(name) = names.remove(&id) else { continue };
                    if ended.is_err() {
                        tracing::error!(collector = name, "the fetch ended by a fault of the program; it starts again in a minute");
                        not_before.insert(name, tokio::time::Instant::now() + RESTART_AFTER);
                    }
                }
            }
        }
        stop.send_replace(true);
        while tasks.join_next().await.is_some() {}
    }

    /// Fetches these collectors now (none named: all that are enabled) and waits for their figures. Joins a fetch that is going on.
    pub async fn fetch(&self, names: &[String]) -> Vec<Figures> {
        let current = self.shared.current.borrow().clone();
        let wanted = |collector: &&Collector| if names.is_empty() { collector.enabled } else { names.contains(&collector.name) };
        let mut answers = Vec::new();
        for collector in current.config.collectors.iter().filter(wanted) {
            let (ask, answer) = oneshot::channel();
            let desks = self.shared.desks.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(desk) = desks.get(&collector.name) {
                // A desk that has closed answers by dropping the question.
                let _ = desk.send(ask);
            }
            answers.push((collector.name.clone(), answer));
        }
        let mut figures = Vec::with_capacity(answers.len());
        for (name, answer) in answers {
            figures.push(answer.await.unwrap_or_else(|_| Figures {
                name,
                error: Some("this collector is not running: it is disabled, or it has just failed; see the log".into()),
                ..Figures::default()
            }));
        }
        figures
    }

    fn desk(&self, name: &str) -> Desk {
        let (sender, asks) = mpsc::unbounded_channel();
        self.shared.desks.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), sender);
        Desk { shared: Arc::clone(&self.shared), name: name.to_owned(), asks, waiting: Waiting::default() }
    }
}

/// The task of one collector.
struct Desk {
    shared: Arc<Shared>,
    name: String,
    asks: mpsc::UnboundedReceiver<Ask>,
    waiting: Waiting,
}

/// Why a fetch begins.
enum Cause {
    Due,
    Asked(Vec<Ask>),
    News,
    Leave,
    LookAgain,
}

impl Desk {
    async fn run(mut self, stop: watch::Receiver<bool>) {
        let mut current = self.shared.current.clone();
        let mut changes = self.shared.store.changes();
        let mut watcher = idle::Watcher::default();
        self.waiting.least = self.pause_before().await;
        loop {
            let now = current.borrow_and_update().clone();
            let found = now.config.collectors.iter().find(|collector| collector.name == self.name && collector.enabled);
            let Some(collector) = found.cloned().map(Arc::new) else { return };
            let state = match self.shared.store.collector_state(&self.name).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::error!(collector = self.name, %error, "the store can't be read");
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
            };
            let suspended = state.suspended.is_some() && refusal::is_the_same(&state, &collector, &self.shared.store).await;
            let due = if suspended { None } else { self.due(&now, &collector, &state) };
            // Another log-in than the one that was refused is tried at once.
            let due = if state.suspended.is_some() && !suspended { Some(Zoned::now()) } else { due };
            self.note_next(&state, due.as_ref()).await;
            if !suspended && state.failures == 0 && collector.idle && collector.protocol == Protocol::Imap && state.last_success.is_some() {
                watcher.watch(&collector, &self.shared.store);
            } else {
                watcher.rest();
            }
            let mut stopping = stop.clone();
            let cause = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => Cause::Leave,
                Some(ask) = self.asks.recv() => Cause::Asked(vec![ask]),
                come = until(due.as_ref(), Timestamp::now) => if come { Cause::Due } else { Cause::LookAgain },
                () = watcher.news(), if !suspended => Cause::News,
                changed = current.changed() => if changed.is_ok() { Cause::LookAgain } else { Cause::Leave },
                () = secrets_may_differ(&mut changes), if suspended => Cause::LookAgain
            };
            let asks = match cause {
                Cause::Leave => return,
                Cause::LookAgain => continue,
                Cause::News => {
                    self.waiting.heard();
                    continue;
                }
                Cause::Due => Vec::new(),
                Cause::Asked(asks) => asks,
            };
            let outcome = self.fetch(&now, &collector, state, stop.clone()).await;
            // Who asked while it went on has joined it.
            for ask in asks.into_iter().chain(std::iter::from_fn(|| self.asks.try_recv().ok())) {
                let _ = ask.send(outcome.figures.clone());
            }
        }
    }

    /// What the server wanted between log-ins when it was asked last: a restart must not come sooner.
    async fn pause_before(&self) -> Duration {
        let pause = self.shared.store.setting(&self.pause_name()).await.ok().flatten();
        pause.and_then(|seconds| seconds.parse().ok()).map_or(Duration::ZERO, Duration::from_secs)
    }

    fn pause_name(&self) -> String {
        format!("login-delay/{}", self.name)
    }

    fn due(&self, current: &Current, collector: &Collector, state: &CollectorState) -> Option<Zoned> {
        let zone = current.config.office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
        let now = Timestamp::now().to_zoned(zone);
        match state.last_run.and_then(|at| Timestamp::from_millisecond(at).ok()) {
            Some(last) => self.waiting.due(collector, last, &now),
            None => Some(now),
        }
    }

    async fn note_next(&self, state: &CollectorState, due: Option<&Zoned>) {
        let next_run = due.map(|due| due.timestamp().as_millisecond());
        if state.next_run != next_run || state.fetching_since.is_some() {
            let state = CollectorState { next_run, fetching_since: None, ..state.clone() };
            if let Err(error) = self.shared.store.collector_state_set(&self.name, state).await {
                tracing::error!(collector = self.name, %error, "the store can't be written");
            }
        }
    }

    async fn fetch(
        &mut self,
        current: &Arc<Current>,
        collector: &Arc<Collector>,
        state: CollectorState,
        stop: watch::Receiver<bool>,
    ) -> Outcome {
        let order = Order {
            store: self.shared.store.clone(),
            current: Arc::clone(current),
            collector: Arc::clone(collector),
            patience: Patience::default(),
            progress: watch::Sender::new(Progress::default()),
            stop,
        };
        let (outcome, retry) = fetch_and_record(&order, &self.shared.places, state).await;
        if let Some(pause) = outcome.login_delay.filter(|pause| Duration::from_secs(*pause) != self.waiting.least) {
            self.waiting.least = Duration::from_secs(pause);
            if let Err(error) = self.shared.store.setting_set(&self.pause_name(), Some(&pause.to_string())).await {
                tracing::error!(collector = self.name, %error, "the store can't be written");
            }
        }
        let zone = current.config.office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
        let now = Timestamp::now().to_zoned(zone);
        let retry = retry.and_then(|(backoff, wait)| {
            let least = collector.minimum_interval.max(self.waiting.least);
            let scheduled = schedule::next(&collector.schedule, Some(&now), &now, least, &self.name);
            backoff.retry(wait, scheduled, &now)
        });
        self.waiting.ran(now.timestamp(), retry);
        outcome
    }
}

/// Fetches, as soon as there is a place for it, and writes down how it went; `state` is what was known before. After a failure that is worth another attempt, its back-off
/// and how long to wait.
pub async fn fetch_and_record(order: &Order, places: &Places, state: CollectorState) -> (Outcome, Option<(Backoff, Duration)>) {
    let name = &order.collector.name;
    let mut place = places.take(&order.collector.endpoint.host).await;
    let begun = CollectorState { fetching_since: Some(Timestamp::now().as_millisecond()), ..state.clone() };
    let noted = order.store.collector_state_set(name, begun).await;
    let mut outcome = guard::guarded(name, fetch::fetch(order)).await;
    while outcome.turned_away && place.give_up() {
        tracing::info!(collector = name, "the provider has no room for one more session; waiting for another one to end");
        tokio::time::sleep(ROOM_PAUSE).await;
        place = places.take(&order.collector.endpoint.host).await;
        outcome = guard::guarded(name, fetch::fetch(order)).await;
    }
    drop(place);
    let now = Timestamp::now();
    let refused_since = state.first_refused.and_then(|at| Timestamp::from_millisecond(at).ok());
    let mut backoff = Backoff::resume(state.failures, refused_since);
    let mut after = CollectorState {
        fetching_since: None,
        last_run: Some(now.as_millisecond()),
        last_error: outcome.figures.error.clone(),
        figures: serde_json::to_string(&outcome.figures).ok(),
        suspended: None,
        refused_with: None,
        faults: state.faults + u64::from(outcome.fault),
        ..state
    };
    let wait = match outcome.failure {
        None => {
            backoff.succeeded();
            after.last_success = after.last_run;
            None
        }
        Some(failure) => match backoff.failed(failure, now) {
            Verdict::Wait(wait) => Some(wait),
            Verdict::Suspend => {
                let error = outcome.figures.error.as_deref().unwrap_or_default();
                let until = match failure {
                    Failure::Consent => "somebody logs in at the provider",
                    _ => "the password is changed or somebody fetches by hand",
                };
                let reason = format!("suspended until {until}: {error}");
                tracing::error!(collector = name, "{reason}");
                after.suspended = Some(reason);
                after.refused_with = refusal::mark(&order.collector, &order.store).await;
                None
            }
        },
    };
    if let (Some(error), None) = (&outcome.figures.error, &after.suspended) {
        tracing::warn!(collector = name, "{error}");
    }
    after.failures = backoff.failures();
    after.first_refused = backoff.refused_since().map(Timestamp::as_millisecond);
    after.refused = if after.first_refused.is_some() { after.refused + 1 } else { 0 };
    if let Err(error) = noted.and(order.store.collector_state_set(name, after).await) {
        tracing::error!(collector = name, %error, "the store can't be written");
    }
    (outcome, wait.map(|wait| (backoff, wait)))
}

/// Waits until a secret may have been set, here or by a command beside the gateway.
async fn secrets_may_differ(changes: &mut broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Users | Change::Anything) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
