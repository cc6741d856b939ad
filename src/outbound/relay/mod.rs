//! The queue's mail, on its way to the smarthosts. Who decides what becomes of a recipient is [`super::judge`]; the rows are the
//! store's ([`crate::store::queue`]).
//!
//! | state | meaning | next |
//! |---|---|---|
//! | `queued` | accepted, never tried | `sending` when leased; `held` by hand |
//! | `sending` | leased by this process | by the smarthost's word: `relayed`, `failed`, `delayed`; after a crash due again, ten minutes later if everything had been sent; `held` by hand as long as it waits for its turn |
//! | `delayed` | tried, due later | `sending` when due; `failed` when expired |
//! | `held` | waits for a person | `queued` by `queue release` |
//! | `relayed` | the smarthost has it | — |
//! | `failed` | refused or expired; the bounce is stored in the same transaction | — |
//!
//! A mail is leased with all its due recipients and put into a [`lane`](Lane): the mails for one server under one log-in, so that no
//! mail leaves through somebody else's connection. Another mail system that takes mail by LMTP has a lane too. A lane's workers each
//! hold a connection and take mails one after the other. What can't reach its smarthost goes to the next one that accepts its sender,
//! and back to the queue when there is none.
//!
//! Before the end of a message goes out, a mark says so durably. A crash between the smarthost's 250 and our commit can therefore
//! repeat a mail (RFC 1047), but never silently, and nothing loses one.

mod backlog;
mod elsewhere;
mod gate;
mod lane;
mod message;
mod pace;
mod settle;

use crate::config::{Current, Smarthost};
use crate::mapping::{Identity, LmtpServer};
use crate::outbound::credentials::Account;
use crate::outbound::judge::{self, Ruling};
use crate::outbound::{notice, route};
use crate::schedule;
use crate::smtp::client::Patience;
use crate::store::queue::{Lease, MailId, Outcome, Settlement};
use crate::store::{Change, Store, StoreError};
use lane::Lane;
use pace::Pace;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc, watch};
use tokio::time::Instant;

/// Mails leased at once. Each costs a few hundred bytes here; a crash makes all of them due again.
const LEASED: usize = 400;
/// Of these, mailings: a letter must not wait until one of them is through.
const LEASED_BULK: usize = 300;
/// Outcomes on their way into the store at once.
const SETTLING: usize = 256;
/// Between the news of a mail, or of one that has ended, and the look at the queue.
const GATHER: Duration = Duration::from_millis(5);
/// The same while a smarthost can't be reached: what comes for it would only find the same closed door, mail by mail.
const GATHER_IN_TROUBLE: Duration = Duration::from_secs(1);
/// How long to wait when the store can't be read or written.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// The clock may jump and a due time may be missed: the queue is looked at this often anyway.
const LOOK: Duration = Duration::from_secs(60);

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

/// Takes the queue's mail to the smarthosts.
pub struct Relay {
    shared: Arc<Shared>,
    lanes: HashMap<Key, Arc<Lane>>,
    homeless: mpsc::UnboundedReceiver<(Job, String)>,
    /// Until when a smarthost that could not be reached keeps us from looking often.
    trouble_over: Instant,
}

/// What the lanes share.
struct Shared {
    store: Store,
    current: watch::Receiver<Arc<Current>>,
    clock: Clock,
    patience: Patience,
    /// Leased and not settled.
    leased: AtomicUsize,
    /// Of these, mailings.
    leased_bulk: AtomicUsize,
    /// Something was settled: there may be room for more.
    room: Notify,
    settling: Arc<Semaphore>,
    /// Jobs whose smarthost can't be reached, and why.
    homeless: mpsc::UnboundedSender<(Job, String)>,
    /// When mails left through each smarthost, for its `rate`.
    paces: Mutex<HashMap<String, Pace>>,
    /// Connections that each smarthost may still have.
    gates: Mutex<HashMap<String, Arc<gate::Gate>>>,
    /// Smarthost accounts about which the postmaster knows already.
    alarmed: Mutex<HashMap<Key, i64>>,
}

/// Connections are shared within one of these only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    smarthost: String,
    host: String,
    port: u16,
    tls: u8,
    account: Account,
    lmtp: Option<LmtpServer>,
}

/// A smarthost that accepts a mail, and the account there.
#[derive(Debug, Clone)]
struct Candidate {
    smarthost: Arc<Smarthost>,
    account: Account,
    /// It is no smarthost, but another mail system of the office.
    lmtp: Option<LmtpServer>,
}

impl Candidate {
    fn key(&self) -> Key {
        let endpoint = &self.smarthost.endpoint;
        Key {
            smarthost: self.smarthost.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            tls: endpoint.tls as u8,
            account: self.account.clone(),
            lmtp: self.lmtp.clone(),
        }
    }
}

/// A leased mail.
#[derive(Debug, Clone)]
struct Job {
    lease: Lease,
    /// The smarthosts left to try, the one in turn first.
    candidates: VecDeque<Candidate>,
    /// It had a turn on a connection that turned out to be dead: it gets one more, at once.
    second_try: bool,
    /// The server that it goes to was told what the sender wants to hear, and says it itself.
    server_reports: bool,
}

impl Job {
    fn id(&self) -> MailId {
        self.lease.id
    }
}

impl Shared {
    fn now(&self) -> i64 {
        (self.clock)()
    }

    fn config(&self) -> Arc<Current> {
        self.current.borrow().clone()
    }
}

impl Relay {
    /// Ready to run. `patience` is with the smarthosts.
    pub fn new(store: Store, current: watch::Receiver<Arc<Current>>, clock: Clock, patience: Patience) -> Self {
        let (sender, homeless) = mpsc::unbounded_channel();
        let shared = Shared {
            store,
            current,
            clock,
            patience,
            leased: AtomicUsize::new(0),
            leased_bulk: AtomicUsize::new(0),
            room: Notify::new(),
            settling: Arc::new(Semaphore::new(SETTLING)),
            homeless: sender,
            paces: Mutex::default(),
            gates: Mutex::default(),
            alarmed: Mutex::default(),
        };
        Self { shared: Arc::new(shared), lanes: HashMap::new(), homeless, trouble_over: Instant::now() }
    }

    /// Runs until `stop` is ready; then the mails under way are finished, and the others go back to the queue.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let shared = self.shared.clone();
        let recovered = loop {
            match self.recover().await {
                Ok(recovered) => break recovered,
                Err(error) => {
                    tracing::warn!(%error, "the queue can't be read; trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        };
        if recovered > 0 {
            tracing::info!(mails = recovered, "mails that were on their way when the gateway ended are due again");
        }
        let mut changes = shared.store.changes();
        tokio::pin!(stop);
        let mut look = Instant::now();
        loop {
            if Instant::now() >= look {
                let pause = self.dispatch().await;
                look = Instant::now() + pause;
            }
            // One look serves all that come, or that end, at about the same time.
            let soon = Instant::now() + if Instant::now() < self.trouble_over { GATHER_IN_TROUBLE } else { GATHER };
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep_until(look) => {}
                () = shared.room.notified() => look = look.min(soon),
                () = queue_changed(&mut changes) => look = look.min(soon),
                Some((job, reason)) = self.homeless.recv() => self.next_candidate(job, reason),
            }
        }
        self.end().await;
    }

    /// Takes up where the last process ended: mails that were on their way, and how many left through whom.
    async fn recover(&self) -> Result<usize, StoreError> {
        let shared = &self.shared;
        let departures = shared.store.queue_departures().await?;
        let recovered = shared.store.queue_recover(shared.now() + judge::milliseconds(judge::UNANSWERED)).await?;
        let mut paces = shared.paces.lock().unwrap_or_else(PoisonError::into_inner);
        for (smarthost, time) in departures {
            paces.entry(smarthost).or_default().remember(time);
        }
        Ok(recovered)
    }

    /// Hands everything that is due now to the smarthosts, and waits until all of it is settled. For tests and single runs.
    pub async fn once(&mut self) {
        loop {
            self.dispatch().await;
            if self.shared.leased.load(Ordering::SeqCst) == 0 {
                return;
            }
            tokio::select! {
                () = self.shared.room.notified() => {}
                Some((job, reason)) = self.homeless.recv() => self.next_candidate(job, reason),
            }
        }
    }

    /// Leases what is due and gives it to lanes. Returns how long nothing needs to be done.
    async fn dispatch(&mut self) -> Duration {
        while let Ok((job, reason)) = self.homeless.try_recv() {
            self.next_candidate(job, reason);
        }
        let now = loop {
            let room = LEASED.saturating_sub(self.shared.leased.load(Ordering::SeqCst));
            if room == 0 {
                return LOOK;
            }
            let now = self.shared.now();
            let bulk = LEASED_BULK.saturating_sub(self.shared.leased_bulk.load(Ordering::SeqCst));
            let leases = match self.shared.store.queue_lease(now, room, bulk).await {
                Ok(leases) => leases,
                Err(error) => {
                    tracing::warn!(%error, "the queue can't be read; trying again");
                    return STORE_PAUSE;
                }
            };
            let full = leases.len() == room;
            self.shared.leased.fetch_add(leases.len(), Ordering::SeqCst);
            self.shared.leased_bulk.fetch_add(leases.iter().filter(|lease| lease.bulk).count(), Ordering::SeqCst);
            for lease in leases {
                self.place(lease);
            }
            if !full {
                break now;
            }
        };
        // Mailings that are due and found no room wait until others have left.
        match self.shared.store.queue_next_due(now).await {
            Ok(Some(due)) => {
                Duration::from_millis(u64::try_from(due - self.shared.now()).unwrap_or(0)).clamp(Duration::from_millis(10), LOOK)
            }
            Ok(None) => LOOK,
            Err(_) => STORE_PAUSE,
        }
    }

    /// Gives a leased mail to the first smarthost that takes its sender.
    fn place(&mut self, lease: Lease) {
        let current = self.shared.config();
        let (candidates, problem) = candidates(&current, &lease);
        let job = Job { lease, candidates, second_try: false, server_reports: false };
        let Some(candidate) = job.candidates.front() else {
            return self.shared.settle_all(job, &Ruling::Later(problem, Duration::ZERO));
        };
        if let Some(opens) = self.opens_later(&candidate.smarthost) {
            let hours = candidate.smarthost.window.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let why = format!("waits for the hours of smarthost “{}”: {hours}", candidate.smarthost.name);
            return self.shared.give_back(job, opens, &why);
        }
        self.enqueue(job);
    }

    /// When its hours begin, if it is not to be asked now.
    fn opens_later(&self, smarthost: &Smarthost) -> Option<i64> {
        let zone = self.shared.config().config.office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
        let now = self.shared.now();
        let at = jiff::Timestamp::from_millisecond(now).ok()?.to_zoned(zone);
        Some(schedule::opens(&smarthost.window, &at).timestamp().as_millisecond()).filter(|opens| *opens > now)
    }

    fn enqueue(&mut self, job: Job) {
        let Some(candidate) = job.candidates.front().cloned() else { return };
        let lane = self.lanes.entry(candidate.key()).or_insert_with_key(|key| Arc::new(Lane::new(key.clone(), self.shared.clone())));
        Lane::push(lane, job, candidate.smarthost);
    }

    /// The smarthost in turn can't be reached: the next one within its hours, or the queue again.
    fn next_candidate(&mut self, mut job: Job, reason: String) {
        self.trouble_over = Instant::now() + GATHER_IN_TROUBLE;
        let tried = job.candidates.pop_front();
        while let Some(candidate) = job.candidates.front() {
            if self.opens_later(&candidate.smarthost).is_none() {
                return self.enqueue(job);
            }
            job.candidates.pop_front();
        }
        // The one that was tried last stays: its retry schedule counts.
        job.candidates.extend(tried);
        self.shared.settle_all(job, &Ruling::Later(reason, Duration::ZERO));
    }

    async fn end(&mut self) {
        for lane in self.lanes.values() {
            for job in lane.close() {
                self.shared.give_back(job, self.shared.now(), "the gateway was stopped");
            }
        }
        for lane in self.lanes.values() {
            lane.ended().await;
        }
        while let Ok((job, _)) = self.homeless.try_recv() {
            self.shared.give_back(job, self.shared.now(), "the gateway was stopped");
        }
        // Every outcome has to be in the store before the process ends.
        while self.shared.leased.load(Ordering::SeqCst) > 0 {
            self.shared.room.notified().await;
        }
    }
}

/// However it ends, no connection goes on taking mails: another relay may lease them again.
impl Drop for Relay {
    fn drop(&mut self) {
        for lane in self.lanes.values() {
            lane.close();
        }
    }
}

impl Shared {
    /// The same ruling for all recipients.
    fn settle_all(self: &Arc<Self>, job: Job, ruling: &Ruling) {
        let rulings = vec![ruling.clone(); job.lease.recipients.len()];
        self.settle(job, rulings);
    }

    /// Back to the queue without having had its turn.
    fn give_back(self: &Arc<Self>, job: Job, due: i64, why: &str) {
        let outcomes = job.lease.recipients.iter().map(|r| (r.address.clone(), Outcome::Delayed(due), why.to_owned())).collect();
        self.commit(Settlement { outcomes, ..Settlement::of(job.id()) }, job.lease.bulk);
    }

    /// Writes down what became of a mail, however long the store needs.
    fn settle(self: &Arc<Self>, job: Job, rulings: Vec<Ruling>) {
        if rulings.iter().any(|ruling| matches!(ruling, Ruling::Login(_)))
            && let Some(candidate) = job.candidates.front()
        {
            let reason = rulings.iter().find_map(|ruling| if let Ruling::Login(text) = ruling { Some(text.as_str()) } else { None });
            self.alarm(&candidate.key(), reason.unwrap_or_default());
        }
        let (shared, bulk) = (self.clone(), job.lease.bulk);
        let current = self.config();
        tokio::spawn(async move {
            let settlement = loop {
                match settle::settlement(&shared.store, &current, &job, &rulings, shared.now()).await {
                    Ok(settlement) => break settlement,
                    Err(StoreError::Closed) => return shared.settled(bulk),
                    Err(error) => {
                        tracing::error!(mail = job.id().0, %error, "the outcome of a mail can't be worked out; trying again");
                        tokio::time::sleep(STORE_PAUSE).await;
                    }
                }
            };
            shared.commit(settlement, bulk);
        });
    }

    fn settled(&self, bulk: bool) {
        self.leased_bulk.fetch_sub(usize::from(bulk), Ordering::SeqCst);
        self.leased.fetch_sub(1, Ordering::SeqCst);
        self.room.notify_one();
    }

    fn commit(self: &Arc<Self>, mut settlement: Settlement, bulk: bool) {
        let shared = self.clone();
        tokio::spawn(async move {
            let _permit = shared.settling.clone().acquire_owned().await;
            loop {
                match shared.store.queue_settle(settlement.clone()).await {
                    Ok(()) | Err(StoreError::Closed) => break,
                    // Its owner was removed this very moment: what became of the mail counts all the same.
                    Err(StoreError::NotFound(error)) if !std::mem::take(&mut settlement.notices).is_empty() => {
                        tracing::warn!(mail = settlement.id.0, error, "nobody is left who could read the notice about a mail");
                    }
                    Err(StoreError::NotFound(_)) => break,
                    Err(error) => {
                        tracing::error!(mail = settlement.id.0, %error, "the outcome of a mail can't be written down; trying again");
                        tokio::time::sleep(STORE_PAUSE).await;
                    }
                }
            }
            shared.settled(bulk);
        });
    }

    /// Tells the postmaster once that a log-in is refused; once more after it had worked in between.
    fn alarm(self: &Arc<Self>, key: &Key, reason: &str) {
        let mut alarmed = self.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
        if alarmed.insert(key.clone(), self.now()).is_some() {
            return;
        }
        tracing::error!(smarthost = key.smarthost, reason, "the smarthost refuses our log-in; its mail waits in the queue");
        let (shared, key, reason) = (self.clone(), key.clone(), reason.to_owned());
        tokio::spawn(async move {
            let current = shared.config();
            if let Some(arrival) = notice::login_alarm(&current, &key.smarthost, &key.host, &reason, shared.now()) {
                for result in shared.store.arrive(vec![arrival]).await {
                    if let Err(error) = result {
                        tracing::error!(%error, "the alarm could not be delivered to the postmaster");
                    }
                }
            }
        });
    }

    fn log_in_works(&self, key: &Key) {
        self.alarmed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The smarthosts that take this mail, best first, and what to say if there are none.
fn candidates(current: &Current, lease: &Lease) -> (VecDeque<Candidate>, String) {
    if let Some(server) = &lease.lmtp {
        return match elsewhere::candidate(server) {
            Ok(candidate) => (VecDeque::from([candidate]), String::new()),
            Err(problem) => (VecDeque::new(), problem),
        };
    }
    let Some(sender) = &lease.sender else { return (VecDeque::new(), "no smarthost takes mail without a sender".into()) };
    let plain = || Identity { address: sender.clone(), name: None, reply_to: None, smarthost: None };
    let identity = current.mapping.identity(&lease.owner, sender).unwrap_or_else(plain);
    let mut problem = format!("no smarthost accepts {sender} as sender; the admin can add it to the senders of one");
    let mut found = VecDeque::new();
    for smarthost in route::smarthosts(&current.config, &identity) {
        if lease.smarthost.as_ref().is_some_and(|wanted| *wanted != smarthost.name) {
            continue;
        }
        match Account::of(&current.config, smarthost, Some(sender)) {
            Ok(account) => found.push_back(Candidate { smarthost: Arc::new(smarthost.clone()), account, lmtp: None }),
            Err(reason) => problem = reason,
        }
    }
    (found, problem)
}

/// Ends when the queue may have something new, or a mail may have left it.
pub(super) async fn queue_changed(changes: &mut broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Queue | Change::Anything) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Ok(_) => {}
            // The store is closed; the caller's other branches end the run.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
