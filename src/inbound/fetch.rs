//! One fetch of one mailbox, from top to bottom: lease → connect → list → compare with the ledger → retrieve → store → dispose → leave.
//!
//! | cut | what holds |
//! |---|---|
//! | before a message's commit | nothing is visible; it is fetched again; its attempt is counted |
//! | between commit and DELE | the ledger says `stored`: next time it is deleted, not fetched |
//! | between DELE and QUIT | the server forgets the DELE; the ledger says `delete_sent`: deleted again, not fetched |
//! | after QUIT | the id is no longer listed: the ledger says `gone` |
//! | an id comes back | the same message (size, header) is deleted again, another one is fetched |

use super::figures::{Figures, Outcome, Progress};
use super::mailbox::Mailbox;
use super::receive::ReceiveError;
use super::upstream::{Upstream, UpstreamError};
use crate::config::{Collector, Current};
use crate::imap::client::ClientError;
use crate::oauth::{self, Consent};
use crate::outbound::credentials::{self, CredentialsError};
use crate::schedule::Failure;
use crate::store::locks::Lease;
use crate::store::{Store, StoreError};
use crate::wire::Instant;
use crate::wire::dial::Patience;
use crate::wire::sasl::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Sessions of one fetch, where the provider lists only a part at a time.
const SESSIONS: usize = 500;
/// How long a server that got out of step is asked for one thing at a time, in milliseconds: a week. A bad line can look the same.
const DISTRUST: i64 = 7 * 24 * 3600 * 1000;
/// A server's certificate with less time left is warned about; most are renewed a month before.
pub const EXPIRY_WARNING_DAYS: i64 = 14;
/// How long to wait for another process that has the mailbox.
const LEASE_WAIT: Duration = Duration::from_secs(600);

/// What to fetch, and with what.
pub struct Order {
    /// Where to.
    pub store: Store,
    /// Configuration and mapping in force now: they stay so for this fetch.
    pub current: Arc<Current>,
    /// Who fetches.
    pub collector: Arc<Collector>,
    /// Time limits.
    pub patience: Patience,
    /// Told while it runs.
    pub progress: watch::Sender<Progress>,
    /// True: end at the next safe point.
    pub stop: watch::Receiver<bool>,
}

/// Fetches. Whatever happens is in the outcome.
pub async fn fetch(order: &Order) -> Outcome {
    let started = Instant::now();
    let mut run = Run { order, figures: Figures { name: order.collector.name.clone(), ..Figures::default() }, login_delay: None };
    let trouble = run.fetch().await.err();
    let mut figures = run.figures;
    figures.seconds = (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    figures.error = trouble.as_ref().map(ToString::to_string);
    let turned_away = matches!(&trouble, Some(Trouble::Upstream(error)) if error.is_turned_away());
    let failure = trouble.map(|trouble| trouble.failure());
    Outcome { figures, failure, login_delay: run.login_delay, fault: false, turned_away }
}

/// Why a fetch ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Receive(ReceiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("{0}")]
    Said(String),
    /// The server refused something about one folder; the session goes on.
    #[error("folder {0}: {1}")]
    Folder(String, UpstreamError),
    #[error("stopped before the end; the rest is fetched next time")]
    Stopped,
}

impl Trouble {
    fn failure(&self) -> Failure {
        match self {
            Self::Upstream(error) | Self::Folder(_, error) | Self::Receive(ReceiveError::Upstream { error, .. }) => error.failure(),
            Self::Credentials(CredentialsError::Token(error)) => error.failure(),
            _ => Failure::Temporary,
        }
    }

    fn is_out_of_step(&self) -> bool {
        matches!(self, Self::Upstream(error) | Self::Receive(ReceiveError::Upstream { error, .. }) if error.is_out_of_step())
    }
}

impl From<ReceiveError> for Trouble {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Stopped => Self::Stopped,
            ReceiveError::Store(error) => Self::Store(error),
            error => Self::Receive(error),
        }
    }
}

/// A fetch that goes on, whatever number of sessions it takes.
pub(super) struct Run<'a> {
    pub(super) order: &'a Order,
    pub(super) figures: Figures,
    login_delay: Option<u64>,
}

impl Run<'_> {
    async fn fetch(&mut self) -> Result<(), Trouble> {
        let _lease = self.lease().await?;
        self.room_on_disk()?;
        let secret = credentials::of_collector(&self.order.collector, &self.order.store).await?;
        let collector = &self.order.collector;
        let latch = format!("pipelining/{}", collector.endpoint.host.to_ascii_lowercase());
        let since = self.order.store.setting(&latch).await?.and_then(|since| since.parse::<i64>().ok());
        let mut pipeline = since.is_none_or(|since| now().saturating_sub(since) > DISTRUST);
        for _ in 0..SESSIONS {
            let before = self.figures.fetched;
            match self.session(&secret, pipeline).await {
                Err(trouble) if pipeline && trouble.is_out_of_step() => {
                    tracing::warn!(collector = collector.name, "{trouble}; for a week this server is asked for one thing at a time");
                    self.order.store.setting_set(&latch, Some(&now().to_string())).await?;
                    pipeline = false;
                    continue;
                }
                result => result?,
            }
            if !collector.partial_listing || self.figures.fetched == before {
                break;
            }
        }
        Ok(())
    }

    /// The mailbox is ours alone until the lease is dropped, also among processes.
    async fn lease(&self) -> Result<Lease, Trouble> {
        let collector = &self.order.collector;
        let deadline = Instant::now() + LEASE_WAIT;
        loop {
            if let Some(lease) = self.order.store.lease(&collector.endpoint.host.to_ascii_lowercase(), collector.log_in_as())? {
                return Ok(lease);
            }
            if Instant::now() > deadline || *self.order.stop.borrow() {
                return Err(Trouble::Said("another fetch of this mailbox has been going on for long; wait for its end".into()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) fn room_on_disk(&self) -> Result<(), Trouble> {
        let (free, wanted) = (self.order.store.free_bytes()?, self.order.current.config.storage.min_free);
        if free >= wanted {
            return Ok(());
        }
        Err(Trouble::Said(format!(
            "the disk has only {} MB left (storage.min_free is {} MB): fetching waits, the mail stays at the provider. Make room, or lower min_free",
            free / 1_000_000,
            wanted / 1_000_000
        )))
    }

    /// Connects and logs in. A token that is refused before its time is not offered again: the next attempt gets another one.
    async fn enter(&self, secret: &Secret, pipeline: bool) -> Result<Upstream, Trouble> {
        let Order { collector, store, patience, .. } = self.order;
        let opened = Upstream::open(collector, secret, pipeline, *patience).await;
        if let (Err(error), Secret::Token(token), Some(consent)) = (&opened, secret, Consent::to_fetch(collector))
            && matches!(error.failure(), Failure::LogIn | Failure::LogInPerhaps)
        {
            oauth::spend(store, &consent, token).await.map_err(CredentialsError::Token)?;
        }
        Ok(opened?)
    }

    /// One that ends soon is warned about while there is time: when it has ended, nothing is fetched.
    fn look_at_certificate(&self, upstream: &Upstream) {
        let Some(ends) = upstream.certificate_ends() else { return };
        let days = (ends - now() / 1000).div_euclid(86_400);
        if days < EXPIRY_WARNING_DAYS {
            let Collector { name, endpoint, .. } = &*self.order.collector;
            let warning = format!("{name}: the certificate of {} ends in {days} days; the provider has to renew it", endpoint.host);
            tracing::warn!("{warning}");
            self.order.progress.send_modify(|progress| progress.notices.push(warning));
        }
    }

    async fn session(&mut self, secret: &Secret, pipeline: bool) -> Result<(), Trouble> {
        let collector = Arc::clone(&self.order.collector);
        let mut upstream = self.enter(secret, pipeline).await?;
        self.login_delay = upstream.login_delay();
        self.look_at_certificate(&upstream);
        // What the server refuses about one folder must not stop the others; it is told in the end.
        let mut refused = None;
        let mut folders = collector.folders.iter().peekable();
        while let Some((folder, _)) = folders.next() {
            let mut mailbox = Mailbox::open(self, folder);
            let going = or_refused(folder, mailbox.fetch(&mut upstream).await, &mut refused)?.unwrap_or_default();
            if folders.peek().is_none() {
                or_refused(folder, mailbox.leave(upstream, &going).await, &mut refused)?;
                break;
            }
            or_refused(folder, mailbox.dispose(&mut upstream, &going).await, &mut refused)?;
        }
        refused.map_or(Ok(()), Err)
    }
}

/// Notes a refusal that concerns one folder of several: the session is in step, and goes on.
fn or_refused<T>(folder: &str, result: Result<T, Trouble>, refused: &mut Option<Trouble>) -> Result<Option<T>, Trouble> {
    match result {
        Err(Trouble::Upstream(error @ UpstreamError::Imap(ClientError::Refused { .. }))) => {
            let trouble = Trouble::Folder(folder.to_owned(), error);
            tracing::warn!("{trouble}");
            refused.get_or_insert(trouble);
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
