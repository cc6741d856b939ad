//! Push: a session that waits by IMAP IDLE beside the fetches, and says when something arrived. IDLE (RFC 2177) tells of one folder, the
//! first; of the others by NOTIFY (RFC 5465) where the server has it, else they wait for the schedule.

use crate::config::{Collector, Endpoint};
use crate::imap::client::{Client, ClientError, News};
use crate::outbound::credentials::{self, CredentialsError};
use crate::schedule::Failure;
use crate::store::Store;
use crate::wire::Instant;
use crate::wire::dial::Patience;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// NAT tables and firewalls forget silent connections after ten minutes or more; an IDLE that lasts longer is deaf.
const REISSUE: Duration = Duration::from_secs(9 * 60);
/// After a failure; doubled each time up to the longest.
const PAUSE: Duration = Duration::from_secs(30);
/// The schedule goes on meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// At most one waiting session for a collector.
#[derive(Default)]
pub struct Watcher {
    waiting: Option<(Key, JoinHandle<()>)>,
    news: Arc<Notify>,
}

/// What a session depends on; another one takes its place when this changes.
type Key = (Endpoint, String, String);

impl Watcher {
    /// Waits for news of the collector's first folder from now on.
    pub fn watch(&mut self, collector: &Arc<Collector>, store: &Store) {
        let folder = collector.folders.first().map_or("INBOX", |(upstream, _)| upstream).to_owned();
        let key = (collector.endpoint.clone(), collector.log_in_as().to_owned(), folder);
        if self.waiting.as_ref().is_some_and(|(waiting, task)| *waiting == key && !task.is_finished()) {
            return;
        }
        self.rest();
        let task = tokio::spawn(wait(Arc::clone(collector), key.2.clone(), store.clone(), Arc::clone(&self.news)));
        self.waiting = Some((key, task));
    }

    /// Waits for nothing.
    pub fn rest(&mut self) {
        if let Some((_, task)) = self.waiting.take() {
            task.abort();
        }
    }

    /// Something arrived since this was asked last.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.rest();
    }
}

async fn wait(collector: Arc<Collector>, folder: String, store: Store, news: Arc<Notify>) {
    let mut pause = PAUSE;
    loop {
        let started = Instant::now();
        let ended = session(&collector, &folder, &store, &news).await;
        match &ended {
            // Until another configuration.
            Ok(()) => return std::future::pending().await,
            Err(ended) => tracing::debug!(collector = collector.name, "waiting for news ended: {ended}"),
        }
        if ended.is_err_and(|ended| ended.is_refused()) {
            // Whether a wrong password is tried once more is for the fetches to decide, which know when it was tried before.
            news.notify_one();
            return tokio::time::sleep(LONGEST_PAUSE).await;
        }
        pause = if started.elapsed() > REISSUE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Ended {
    /// The server, or the provider's token service, wants another secret, or fewer log-ins.
    fn is_refused(&self) -> bool {
        let failure = match self {
            Self::Credentials(CredentialsError::Token(error)) => error.failure(),
            Self::Credentials(CredentialsError::Password(_)) => return false,
            Self::Client(error) => error.failure(),
        };
        matches!(failure, Failure::LogIn | Failure::LogInPerhaps | Failure::Consent | Failure::Throttled)
    }
}

/// Ends well only if the server has no IDLE.
async fn session(collector: &Collector, folder: &str, store: &Store, news: &Notify) -> Result<(), Ended> {
    let secret = credentials::of_collector(collector, store).await?;
    let mut client = Client::connect(&collector.endpoint, Patience::default()).await?;
    client.log_in(collector.log_in_as(), &secret).await?;
    if !client.offers("IDLE") {
        client.log_out().await;
        return Ok(());
    }
    client.select(folder, false).await?;
    let others: Vec<&str> = collector.folders.iter().map(|(upstream, _)| upstream.as_str()).filter(|other| *other != folder).collect();
    if !others.is_empty() && client.offers("NOTIFY") && !client.notify(&others).await? {
        tracing::info!(
            collector = collector.name,
            "the server does not tell of news in other folders than the first; they wait for the schedule"
        );
    }
    // What arrived between the last fetch and now.
    news.notify_one();
    loop {
        if client.idle(Instant::now() + REISSUE).await? == News::Arrived {
            news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::collections::BTreeMap;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    /// A server that lets us wait for ever; how long each wait lasts.
    async fn waits(listener: TcpListener, count: usize) -> Vec<Duration> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n").await.unwrap();
        let (mut waits, mut began) = (Vec::new(), (Instant::now(), String::new()));
        while waits.len() < count {
            let mut line = String::new();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "it hung up");
            let (tag, command) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            let answer = match command {
                "IDLE" => {
                    began = (Instant::now(), tag.to_owned());
                    "+ waiting\r\n".to_owned()
                }
                "" => {
                    waits.push(began.0.elapsed());
                    format!("{} OK\r\n", began.1)
                }
                _ => format!("* CAPABILITY IMAP4rev1 IDLE\r\n* OK [UIDVALIDITY 1] x\r\n{tag} OK\r\n"),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        waits
    }

    async fn office(listener: &TcpListener) -> (tempfile::TempDir, Store, Arc<Collector>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let file = folder.path().join("mailroom.toml");
        let text = format!(
            "[office]\ndomains = []\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprotocol = \"imap\"\nhost = \"127.0.0.1\"\n\
             port = {}\ntls = \"none\"\ninsecure = true\nusername = \"office\"\npassword = \"secret\"\n",
            listener.local_addr().unwrap().port()
        );
        let loaded = config::parse(&file, BTreeMap::from([(file.clone(), text)])).unwrap();
        (folder, store, Arc::new(loaded.config.collectors[0].clone()))
    }

    #[tokio::test(start_paused = true)]
    async fn trap_44_idle_is_asked_for_anew_before_nat_forgets_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_folder, store, collector) = office(&listener).await;
        let news = Notify::new();
        tokio::select! {
            waits = waits(listener, 3) => {
                assert!(waits.iter().all(|wait| (8 * 60..10 * 60).contains(&wait.as_secs())), "{waits:?}");
            }
            ended = session(&collector, "INBOX", &store, &news) => panic!("{ended:?}"),
        }
    }

    /// How often this server is come to within a day.
    async fn visits(listener: TcpListener, answer: &'static str) -> usize {
        let mut visits = 0;
        let all = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                visits += 1;
                let mut stream = BufReader::new(stream);
                stream.write_all(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n").await.unwrap();
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
                    let tag = line.split(' ').next().unwrap().to_owned();
                    line.clear();
                    let _ = stream.write_all(answer.replace('$', &tag).as_bytes()).await;
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(86_400), all).await.is_err());
        visits
    }

    /// A task that waits for news is started again with each fetch, if it has ended.
    #[tokio::test(start_paused = true)]
    async fn trap_41_who_waits_for_news_tries_a_refused_password_once_and_leaves_the_rest_to_the_fetches() {
        for (answer, most, told) in [("$ NO [AUTHENTICATIONFAILED] no\r\n", 1, true), ("* BYE later\r\n", 60, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (_folder, store, collector) = office(&listener).await;
            let news = Arc::new(Notify::new());
            let waiting = tokio::spawn(wait(Arc::clone(&collector), "INBOX".into(), store.clone(), Arc::clone(&news)));
            let visits = visits(listener, answer).await;
            assert!((1..=most).contains(&visits), "{answer}: {visits}");
            assert_eq!(tokio::time::timeout(Duration::from_secs(1), news.notified()).await.is_ok(), told, "{answer}");
            waiting.abort();
        }
    }
}
