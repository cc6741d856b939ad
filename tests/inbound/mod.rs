//! Fetching, against servers that do what real ones did to somebody: what arrives, what is deleted, and what is said.

mod faults;
mod forward;
mod headers;
mod hostile;
mod imap;
mod log_in;
mod pop3;
mod returning;
mod speed;
mod starttls;
mod traps;
mod trickle;
mod unwilling;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mailroom::config::Current;
use mailroom::gateway::files;
use mailroom::inbound::fetch::{Order, fetch};
use mailroom::inbound::figures::{Outcome, Progress};
use mailroom::mapping::Mailbox;
use mailroom::store::Store;
use mailroom::store::ledger::{Source, State};
use mailroom::wire::dial::Patience;
use tokio::sync::watch;

/// An office with one collector, and its store.
struct Office {
    store: Store,
    current: Arc<Current>,
    stop: watch::Sender<bool>,
    /// How long a server may take for anything.
    moment: Duration,
    dir: tempfile::TempDir,
}

impl Office {
    async fn new(protocol: &str, port: u16, more: &str) -> Office {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        for user in ["alice", "bob"] {
            store.account_add(&Mailbox::User(user.into()), None, None).await.unwrap();
        }
        let current = configuration(dir.path(), &store, protocol, port, more).await;
        Office { store, current, stop: watch::Sender::new(false), moment: Duration::from_millis(400), dir }
    }

    async fn configure(&mut self, protocol: &str, port: u16, more: &str) {
        self.current = configuration(self.dir.path(), &self.store, protocol, port, more).await;
    }

    async fn fetch(&self) -> Outcome {
        self.fetch_telling().await.0
    }

    /// Changes what the files can't say.
    fn alter(&mut self, alter: impl FnOnce(&mut mailroom::config::Config)) {
        alter(&mut Arc::get_mut(&mut self.current).unwrap().config);
    }

    /// The same, with what it tells while it runs.
    async fn fetch_telling(&self) -> (Outcome, Vec<String>) {
        let moment = self.moment;
        let patience = Patience {
            dns: moment,
            connect: moment,
            tls: moment,
            greeting: moment,
            login: moment,
            command: moment,
            silence: moment,
            minimum_rate: 200,
        };
        let order = Order {
            store: self.store.clone(),
            current: Arc::clone(&self.current),
            collector: Arc::new(self.current.config.collectors[0].clone()),
            patience,
            progress: watch::Sender::new(Progress::default()),
            stop: self.stop.subscribe(),
        };
        let outcome = fetch(&order).await;
        let notices = order.progress.borrow().notices.clone();
        (outcome, notices)
    }

    /// Fetches and expects no trouble.
    async fn fetch_well(&self) -> mailroom::inbound::figures::Figures {
        let outcome = self.fetch().await;
        assert_eq!(outcome.figures.error, None);
        outcome.figures
    }

    /// How many messages somebody has.
    async fn has(&self, user: &str) -> u64 {
        self.store.account(&Mailbox::User(user.into())).await.unwrap().unwrap().messages
    }

    /// The originals that were fetched, in order, from the journal.
    async fn originals(&self) -> Vec<String> {
        let mut originals = Vec::new();
        for entry in self.store.journal(0, 0, 1000).await.unwrap() {
            let bytes = self.store.content(entry.content, 0, usize::MAX >> 1).await.unwrap();
            originals.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        originals
    }

    async fn states(&self) -> Vec<(String, State)> {
        let source = Source { host: "127.0.0.1".into(), login: "office".into(), folder: "INBOX".into() };
        let mut states: Vec<_> = self.store.ledger(&source).await.unwrap().into_iter().map(|entry| (entry.uid, entry.state)).collect();
        states.sort_by(|a, b| a.0.cmp(&b.0));
        states
    }

    /// Reasons in the tray.
    async fn tray(&self) -> Vec<String> {
        self.store.tray().await.unwrap().into_iter().map(|held| held.reason).collect()
    }
}

async fn configuration(dir: &Path, store: &Store, protocol: &str, port: u16, more: &str) -> Arc<Current> {
    let file = dir.join("mailroom.toml");
    let tls = if more.contains("tls =") { "" } else { "tls = \"none\"\ninsecure = true\n" };
    let password = if more.contains("password =") { "" } else { "password = { command = [\"echo\", \"secret\"] }\n" };
    let user = if more.contains("username =") { "" } else { "username = \"office\"\n" };
    let after = if more.contains("after =") { "" } else { "after = \"delete\"\n" };
    let config = format!(
        "[office]\ndomains = [\"example.com\"]\nhostname = \"mail.office.lan\"\npostmaster = \"alice\"\n\
             [storage]\npath = \"store\"\nmin_free = \"1MB\"\n\
             [[collector]]\nname = \"isp\"\nprotocol = \"{protocol}\"\nhost = \"127.0.0.1\"\nport = {port}\n{tls}\
             {user}{password}{after}{more}\n"
    );
    let mapping = "[addresses]\n\"office@example.com\" = \"bob\"\n\"gone@example.com\" = \"remote\"\n\
                   \"jobs@example.com\" = \"forward:hr@agency.example\"\n";
    let texts = [(file.clone(), config), (dir.join("mappings/office.toml"), mapping.to_owned())];
    let loaded = files::parse(&file, texts.into_iter().collect::<std::collections::BTreeMap<PathBuf, String>>());
    let compiled = files::compile(loaded.unwrap_or_else(|error| panic!("{error}")), store).await;
    Arc::new(compiled.unwrap_or_else(|error| panic!("{error}")).current)
}
