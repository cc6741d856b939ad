//! The mails for one server under one log-in, and the connections that take them there.

use super::backlog::Backlog;
use super::gate::Gate;
use super::message::{Prepared, Preparing};
use super::{Job, Key, Shared};
use crate::config::{Config, Smarthost};
use crate::oauth;
use crate::outbound::judge::{Ruling, judge, milliseconds};
use crate::outbound::size;
use crate::smtp::client::{self, Client, ClientError, Credentials, WINDOW};
use crate::wire::sasl::Secret;
use crate::wire::{Stream, WireError};
use secrecy::ExposeSecret;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// An idle connection is kept this long for the next mail. Servers hang up by themselves after minutes; others wait for the place.
const LINGER: Duration = Duration::from_secs(15);
/// Between two attempts with a log-in that was refused.
const LOGIN_PAUSE: Duration = Duration::from_secs(600);
/// Mails made ready ahead of their turn where each waits for the one before it.
const AHEAD: usize = 3;

/// One lane.
pub(super) struct Lane {
    key: Key,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// A mail came, or the lane closes.
    news: Notify,
    /// The last worker has gone.
    empty: Notify,
}

struct State {
    smarthost: Option<Arc<Smarthost>>,
    backlog: Backlog,
    workers: usize,
    idle: usize,
    closed: bool,
    /// The server claims PIPELINING falsely.
    one_by_one: bool,
    /// When it refused which log-in, and how.
    refused: Option<(i64, Credentials, String)>,
}

/// What is known of a connection when a mail gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It has just been made.
    LoggedIn,
    /// It has waited for this mail; the server may be gone.
    Idled,
    /// It has taken or refused a mail since.
    Answers,
}

/// How it stands with a connection.
struct Standing {
    health: Health,
    /// The server has decided about a mail on it.
    served: bool,
}

/// How a connection's work ended.
enum End {
    /// Nothing is left to do.
    Idle,
    /// The connection is of no more use.
    Broken(ClientError),
    /// The same, and the next one would come to the same end.
    SentAway(ClientError),
}

impl Lane {
    pub(super) fn new(key: Key, shared: Arc<Shared>) -> Self {
        let state =
            State { smarthost: None, backlog: Backlog::default(), workers: 0, idle: 0, closed: false, one_by_one: false, refused: None };
        Self { key, shared, state: Mutex::new(state), news: Notify::new(), empty: Notify::new() }
    }

    /// Adds a mail; another connection is made if all are busy and one more is allowed.
    pub(super) fn push(lane: &Arc<Lane>, job: Job, smarthost: Arc<Smarthost>) {
        let mut state = lane.lock();
        let most = smarthost.connections.max(1);
        state.smarthost = Some(smarthost);
        state.backlog.push_back(job);
        if state.idle > 0 {
            lane.news.notify_one();
        }
        if state.workers < most && state.backlog.len() > state.idle {
            state.workers += 1;
            tokio::spawn(lane.clone().work());
        }
    }

    /// No more mails; gives back those that had no turn.
    pub(super) fn close(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.closed = true;
        self.news.notify_waiters();
        state.backlog.take_all()
    }

    /// Waits for the workers to end.
    pub(super) async fn ended(&self) {
        loop {
            let empty = self.empty.notified();
            if self.lock().workers == 0 {
                return;
            }
            empty.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Job> {
        self.lock().backlog.pop()
    }

    /// To the front: it has waited longest.
    fn put_back(&self, jobs: Vec<Job>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            for job in jobs {
                self.shared.give_back(job, self.shared.now(), "the gateway was stopped");
            }
            return;
        }
        for job in jobs.into_iter().rev() {
            state.backlog.push_front(job);
        }
    }

    /// One connection after the other, while there are mails.
    async fn work(self: Arc<Self>) {
        loop {
            let gate = self.gate();
            let place = gate.enter().await;
            if let Some(first) = self.take() {
                self.connect_and_send(first, &gate).await;
            }
            drop(place);
            let mut state = self.lock();
            if state.backlog.len() == 0 || state.closed {
                state.workers -= 1;
                if state.workers == 0 {
                    self.empty.notify_waiters();
                }
                return;
            }
        }
    }

    fn gate(&self) -> Arc<Gate> {
        let most = self.lock().smarthost.as_ref().map_or(1, |smarthost| smarthost.connections.max(1));
        let mut gates = self.shared.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(self.key.smarthost.clone()).or_insert_with(|| Arc::new(Gate::new(most)));
        gate.allow(most);
        gate.clone()
    }

    async fn connect_and_send(&self, first: Job, gate: &Gate) {
        let Some(smarthost) = self.lock().smarthost.clone() else { return };
        let current = self.shared.config();
        let credentials = match self.key.account.credentials(&current.config, &smarthost, &self.shared.store).await {
            Ok(credentials) => credentials,
            Err(error) if error.is_login() => return self.all_wait(first, &Ruling::Login(error.to_string())),
            Err(error) => return self.all_wait(first, &Ruling::Later(error.to_string(), Duration::ZERO)),
        };
        if let Some(reason) = self.still_refused(credentials.as_ref()) {
            return self.all_wait(first, &Ruling::Login(reason));
        }
        let hostname = current.config.office.hostname.clone();
        let connected = match &self.key.lmtp {
            Some(server) => client::connect_lmtp(server, &hostname, self.shared.patience).await,
            None => client::connect(&smarthost.endpoint, &hostname, credentials.as_ref(), self.shared.patience).await,
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) if error.is_login() => {
                self.spend(&current.config, &smarthost, credentials.as_ref()).await;
                self.lock().refused = credentials.map(|credentials| (self.shared.now(), credentials, error.to_string()));
                return self.all_wait(first, &Ruling::Login(error.to_string()));
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(smarthost = self.key.smarthost, reason, "no connection to the smarthost");
                match error.is_unreachable() {
                    true => self.all_leave(first, &reason),
                    false => self.all_wait(first, &Ruling::Later(reason, Duration::ZERO)),
                }
                return;
            }
        };
        drop(current);
        self.shared.log_in_works(&self.key);
        if self.key.lmtp.is_none()
            && let Err(error) = size::learn(&self.shared.store, &smarthost.endpoint, connection.capabilities().limit()).await
        {
            tracing::warn!(%error, "what the smarthost says about sizes could not be written down");
        }
        if self.lock().one_by_one {
            connection.distrust_pipelining();
        }
        let mut next = Some(first);
        let mut fresh = true;
        while let Some(job) = next.take() {
            match self.send(&mut connection, job, fresh).await {
                End::Broken(error) => {
                    tracing::info!(smarthost = self.key.smarthost, %error, "the connection to the smarthost ended");
                    return;
                }
                End::SentAway(error) => {
                    tracing::warn!(smarthost = self.key.smarthost, %error, "the smarthost sends us away behind the log-in");
                    let reason = "the other server ends the connection before it takes a mail";
                    let rest = self.lock().backlog.take_all();
                    return rest.into_iter().for_each(|job| self.shared.settle_all(job, &Ruling::Later(reason.into(), Duration::ZERO)));
                }
                End::Idle => {}
            }
            fresh = false;
            // Somebody else may need the place; a mail that comes now gets the next one.
            if !gate.is_crowded() {
                next = self.linger().await;
            }
        }
        connection.quit().await;
    }

    /// A token that was refused before its time is not offered again: the next attempt gets another one.
    async fn spend(&self, config: &Config, smarthost: &Smarthost, credentials: Option<&Credentials>) {
        let Some(Credentials { secret: Secret::Token(token), .. }) = credentials else { return };
        let Some(consent) = self.key.account.consent(config, smarthost) else { return };
        if let Err(error) = oauth::spend(&self.shared.store, &consent, token).await {
            tracing::warn!(smarthost = self.key.smarthost, %error, "the refused token can't be put away");
        }
    }

    /// What the server said to this log-in a short while ago: asking again and again gets an office banned. A changed password is tried
    /// at once.
    fn still_refused(&self, credentials: Option<&Credentials>) -> Option<String> {
        let state = self.lock();
        let (when, refused, reason) = state.refused.as_ref()?;
        let same = credentials.is_some_and(|credentials| {
            credentials.user == refused.user && credentials.secret.text().expose_secret() == refused.secret.text().expose_secret()
        });
        (same && self.shared.now() - when < milliseconds(LOGIN_PAUSE)).then(|| reason.clone())
    }

    /// Waits a little for another mail.
    async fn linger(&self) -> Option<Job> {
        let deadline = tokio::time::Instant::now() + LINGER;
        self.lock().idle += 1;
        let job = loop {
            let news = self.news.notified();
            {
                let mut state = self.lock();
                if let Some(job) = state.backlog.pop() {
                    break Some(job);
                }
                if state.closed {
                    break None;
                }
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                break self.take();
            }
        };
        self.lock().idle -= 1;
        job
    }

    /// All mails of the lane wait: the log-in is refused, or the server wants nobody now.
    fn all_wait(&self, first: Job, ruling: &Ruling) {
        let rest = self.lock().backlog.take_all();
        for job in std::iter::once(first).chain(rest) {
            self.shared.settle_all(job, ruling);
        }
    }

    /// All mails of the lane look for another smarthost.
    fn all_leave(&self, first: Job, reason: &str) {
        let rest = self.lock().backlog.take_all();
        for job in std::iter::once(first).chain(rest) {
            self.leave(job, reason);
        }
    }

    /// One mail looks for another smarthost.
    fn leave(&self, job: Job, reason: &str) {
        if let Err(error) = self.shared.homeless.send((job, reason.to_owned())) {
            self.shared.give_back(error.0.0, self.shared.now(), reason);
        }
    }

    /// Sends this mail and those that come meanwhile, several under way at once.
    async fn send(&self, connection: &mut Client<Stream>, first: Job, fresh: bool) -> End {
        let mut ahead: VecDeque<Preparing> = VecDeque::new();
        let mut under_way: VecDeque<Job> = VecDeque::new();
        let mut first = Some(first);
        let depth = if connection.chunking() { WINDOW } else { AHEAD };
        let mut standing = Standing { health: if fresh { Health::LoggedIn } else { Health::Idled }, served: !fresh };
        let error = loop {
            while ahead.len() < depth && !connection.is_closing() {
                let Some(job) = first.take().or_else(|| self.take()) else { break };
                let Some(job) = self.depart(job) else { continue };
                ahead.push_back(Preparing::start(&self.shared, job));
            }
            let outcome = match ahead.pop_front() {
                None if under_way.is_empty() => return End::Idle,
                None => self.oldest(connection, &mut under_way, &mut standing).await,
                Some(preparing) => match preparing.ready().await {
                    Ok(None) => continue,
                    Ok(Some(prepared)) => self.one(connection, prepared, &mut under_way, &mut standing).await,
                    Err((job, why)) => {
                        self.shared.settle_all(job, &Ruling::Later(why, Duration::ZERO));
                        continue;
                    }
                },
            };
            if let Err(error) = outcome {
                break error;
            }
            if connection.is_closing() {
                break ClientError::Wire(client::Phase::Command, WireError::Closed);
            }
        };
        let worthwhile = self.clean_up(connection, under_way, ahead, &error, standing.health).await;
        // 421 is about the connection (RFC 5321 §3.8), and so is an end without any answer: a log-in for each mail would only meet it again.
        let sent_away = connection.is_closing() && !standing.served || standing.health == Health::LoggedIn;
        if sent_away && !worthwhile { End::SentAway(error) } else { End::Broken(error) }
    }

    /// Puts one mail on the wire.
    async fn one(
        &self,
        connection: &mut Client<Stream>,
        mut prepared: Prepared,
        under_way: &mut VecDeque<Job>,
        standing: &mut Standing,
    ) -> Result<(), ClientError> {
        if let Some(refusal) = prepared.misfit(connection.capabilities()) {
            match prepared.job.candidates.len() {
                0 | 1 => self.shared.settle_all(prepared.job, &Ruling::Refused(refusal)),
                // Another smarthost may be larger.
                _ => self.leave(prepared.job, &refusal.to_string()),
            }
            return Ok(());
        }
        // Another mail system of the office gets what came, byte for byte.
        if self.key.lmtp.is_none()
            && let Err(error) = prepared.recode(&self.shared.store, connection.capabilities().eight_bit).await
        {
            self.shared.settle_all(prepared.job, &Ruling::Later(error.to_string(), Duration::ZERO));
            return Ok(());
        }
        // A message that goes ahead of all answers over a connection that nobody listens to any more might have been taken.
        let speculate = standing.health != Health::Idled && connection.may_speculate(&prepared.envelope);
        connection.begin(&prepared.envelope);
        prepared.job.server_reports = connection.capabilities().dsn;
        let lease = prepared.job.lease.clone();
        under_way.push_back(prepared.job);
        let go = speculate || connection.ready().await?;
        if standing.health == Health::Idled && connection.is_closing() {
            return Err(ClientError::Wire(client::Phase::Command, WireError::Closed));
        }
        standing.health = Health::Answers;
        if go {
            loop {
                match prepared.text.next(&self.shared.store, &lease).await {
                    Ok(Some(piece)) => connection.body(&piece).await?,
                    Ok(None) => break,
                    Err(error) => {
                        // Half a message must not be ended: only hanging up takes it back.
                        tracing::error!(mail = lease.id.0, %error, "a mail could not be read while it was sent");
                        return Err(ClientError::Wire(client::Phase::Transfer, WireError::Closed));
                    }
                }
            }
            connection.end().await?;
        }
        while let Some(verdicts) = connection.verdict_at_hand() {
            standing.served |= verdicts.iter().any(is_about_the_mail);
            self.settle(under_way.pop_front(), verdicts);
        }
        while connection.is_full() {
            self.oldest(connection, under_way, standing).await?;
        }
        Ok(())
    }

    async fn oldest(
        &self,
        connection: &mut Client<Stream>,
        under_way: &mut VecDeque<Job>,
        standing: &mut Standing,
    ) -> Result<(), ClientError> {
        let verdicts = connection.verdict().await?;
        standing.served |= verdicts.iter().any(is_about_the_mail);
        self.settle(under_way.pop_front(), verdicts);
        Ok(())
    }

    fn settle(&self, job: Option<Job>, verdicts: Vec<client::Verdict>) {
        if let Some(job) = job {
            self.shared.settle(job, verdicts.iter().map(judge).collect());
        }
    }

    /// After the end of a connection: every mail under way gets its verdict, those that had no turn wait for the next connection. Whether
    /// that one is worth making: something is tried again, or in another way.
    async fn clean_up(
        &self,
        connection: &mut Client<Stream>,
        under_way: VecDeque<Job>,
        ahead: VecDeque<Preparing>,
        error: &ClientError,
        health: Health,
    ) -> bool {
        let confused = matches!(error, ClientError::Answer(_) | ClientError::Wire(_, WireError::TimedOut | WireError::LineTooLong(_)));
        let out_of_step = match health {
            Health::LoggedIn => confused || !connection.is_closing(),
            Health::Answers => confused,
            Health::Idled => false,
        };
        let distrust = out_of_step && connection.pipelining();
        if distrust {
            tracing::warn!(smarthost = self.key.smarthost, %error, "the smarthost does not keep to PIPELINING; going on one command at a time");
            self.lock().one_by_one = true;
        }
        let mut again = Vec::new();
        for (mut job, verdicts) in under_way.into_iter().zip(connection.abandon()) {
            // A server may hang up on an idle connection, with 421 or without a word; one that lied about PIPELINING gets the mail in
            // small steps.
            let untouched = match health {
                Health::Idled => !verdicts.contains(&client::Verdict::Unanswered { sent: true }),
                Health::LoggedIn | Health::Answers => {
                    !connection.is_closing() && verdicts.iter().all(|verdict| *verdict == client::Verdict::Unanswered { sent: false })
                }
            };
            if untouched && !job.second_try {
                job.second_try = true;
                again.push(job);
            } else {
                self.settle(Some(job), verdicts);
            }
        }
        let worthwhile = distrust || !again.is_empty();
        for preparing in ahead {
            match preparing.ready().await {
                Ok(prepared) => again.extend(prepared.map(|prepared| prepared.job)),
                Err((job, why)) => self.shared.settle_all(job, &Ruling::Later(why, Duration::ZERO)),
            }
        }
        self.put_back(again);
        worthwhile
    }

    /// Counts a mail against the smarthost's `rate`; one too many goes back to the queue until its turn.
    fn depart(&self, job: Job) -> Option<Job> {
        let Some((most, period)) = self.lock().smarthost.as_ref().and_then(|smarthost| smarthost.rate) else { return Some(job) };
        let now = self.shared.now();
        let mut paces = self.shared.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces.entry(self.key.smarthost.clone()).or_default();
        let Err(turn) = pace.ask(job.id(), job.lease.bulk, now, most as usize, milliseconds(period)) else { return Some(job) };
        drop(paces);
        let period = crate::document::duration_text(period);
        self.shared.give_back(job, turn, &format!("waits for its turn: smarthost “{}” takes {most} in {period}", self.key.smarthost));
        None
    }
}

/// Whether the server has decided about a recipient, rather than about the connection.
fn is_about_the_mail(verdict: &client::Verdict) -> bool {
    matches!(verdict, client::Verdict::Answer(_, reply) if reply.code != 421)
}
