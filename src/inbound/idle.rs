//! Push: a session that waits by IMAP IDLE beside the fetches, and says when something arrived. IDLE (RFC 2177) tells of one folder, the
//! first; of the others by NOTIFY (RFC 5465) where the server has it, else they wait for the schedule.

use crate::config::{Collector, Endpoint};
use crate::imap::client::{Client, ClientError, News};
use crate::outbound::credentials;
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
        match session(&collector, &folder, &store, &news).await {
            Ok(()) => return,
            Err(why) => tracing::debug!(collector = collector.name, "waiting for news ended: {why}"),
        }
        pause = if started.elapsed() > REISSUE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Ends well only if the server has no IDLE.
async fn session(collector: &Collector, folder: &str, store: &Store, news: &Notify) -> Result<(), String> {
    let in_words = |error: ClientError| error.to_string();
    let secret = credentials::of_collector(collector, store).await.map_err(|error| error.to_string())?;
    let mut client = Client::connect(&collector.endpoint, Patience::default()).await.map_err(in_words)?;
    client.log_in(collector.log_in_as(), &secret).await.map_err(in_words)?;
    if !client.offers("IDLE") {
        client.log_out().await;
        return Ok(());
    }
    client.select(folder, false).await.map_err(in_words)?;
    let others: Vec<&str> = collector.folders.iter().map(|(upstream, _)| upstream.as_str()).filter(|other| *other != folder).collect();
    if !others.is_empty() && client.offers("NOTIFY") && !client.notify(&others).await.map_err(in_words)? {
        tracing::info!(
            collector = collector.name,
            "the server does not tell of news in other folders than the first; they wait for the schedule"
        );
    }
    // What arrived between the last fetch and now.
    news.notify_one();
    loop {
        if client.idle(Instant::now() + REISSUE).await.map_err(in_words)? == News::Arrived {
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

    #[tokio::test(start_paused = true)]
    async fn trap_44_idle_is_asked_for_anew_before_nat_forgets_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let file = folder.path().join("mailroom.toml");
        let text = format!(
            "[office]\ndomains = []\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprotocol = \"imap\"\nhost = \"127.0.0.1\"\n\
             port = {}\ntls = \"none\"\ninsecure = true\nusername = \"office\"\npassword = \"secret\"\n",
            listener.local_addr().unwrap().port()
        );
        let loaded = config::parse(&file, BTreeMap::from([(file.clone(), text)])).unwrap();
        let news = Notify::new();
        tokio::select! {
            waits = waits(listener, 3) => {
                assert!(waits.iter().all(|wait| (8 * 60..10 * 60).contains(&wait.as_secs())), "{waits:?}");
            }
            ended = session(&loaded.config.collectors[0], "INBOX", &store, &news) => panic!("{ended:?}"),
        }
    }
}
