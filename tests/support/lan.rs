//! The LAN side without sockets: a store with users and mail, and what a server needs to talk over a pipe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mailroom::config::{self, Current};
use mailroom::gateway::files;
use mailroom::inbound::facts::whole;
use mailroom::mapping::Mailbox;
use mailroom::message::facts::Facts;
use mailroom::serve::login::Login;
use mailroom::serve::{Context, Peer, Stop, Stream};
use mailroom::store::{Arrival, Deposit, Store};
use mailroom::wire::tls::{Acceptor, LocalNames, local_identity};
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::watch;

/// Every user's password here.
pub const PASSWORD: &str = "lan password";

/// What a dialogue may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store with the users alice, bob and carol (who is disabled), and all that servers share.
pub struct Lan {
    pub store: Store,
    pub context: Arc<Context>,
    pub stop: Stop,
    _switch: watch::Sender<bool>,
    publish: watch::Sender<Arc<Current>>,
    folder: tempfile::TempDir,
    text: String,
}

impl Lan {
    pub async fn new(access: &str) -> Lan {
        Lan::with(&format!("[access]\n{access}\n"), "").await
    }

    /// With these further tables of `mailroom.toml` and this mapping.
    pub async fn with(tables: &str, mapping: &str) -> Lan {
        Lan::make(tables, mapping, true).await
    }

    /// The same where nobody logs in: hashing passwords takes longer than most tests.
    pub async fn without_passwords(tables: &str, mapping: &str) -> Lan {
        Lan::make(tables, mapping, false).await
    }

    async fn make(tables: &str, mapping: &str, passwords: bool) -> Lan {
        let folder = tempfile::Builder::new().prefix("lan").tempdir().unwrap();
        let file = folder.path().join("mailroom.toml");
        let text = format!(
            "[office]\ndomains = [\"example.com\"]\nhostname = \"mail.office.lan\"\npostmaster = \"alice\"\n{}{tables}\n",
            if tables.contains("[storage]") { "" } else { "[storage]\npath = \"store\"\nmin_free = \"1MB\"\n" }
        );
        let texts = BTreeMap::from([(file.clone(), text.clone()), (folder.path().join("mappings/office.toml"), mapping.to_owned())]);
        let loaded = config::parse(&file, texts).unwrap_or_else(|problems| panic!("{problems:?}"));
        let store = Store::open(&loaded.config.storage.path).unwrap();
        for name in ["alice", "bob", "carol"] {
            let id = store.account_add(&Mailbox::User(name.into()), None, None).await.unwrap();
            if passwords {
                store.password_set(id, &SecretString::from(PASSWORD)).await.unwrap();
            }
            store.account_disable(id, name == "carol").await.unwrap();
        }
        let compiled = files::compile(loaded, &store).await.unwrap();
        files::make_shared(&compiled.current, &store).await.unwrap();
        let (publish, current) = watch::channel(Arc::new(compiled.current));
        let names = LocalNames { hosts: vec!["localhost".into()], addresses: vec![] };
        let identity = local_identity(&folder.path().join("tls"), &names, jiff::Timestamp::now().as_second()).unwrap();
        let login = Login::new(store.clone(), current.clone()).unwrap();
        let context = Arc::new(Context { store: store.clone(), current, login, tls: Acceptor::new(identity).unwrap() });
        let (switch, stop) = Stop::channel();
        Lan { store, context, stop, _switch: switch, publish, folder, text }
    }

    /// The certificate of the authority that made the server's.
    pub fn authority(&self) -> std::path::PathBuf {
        self.folder.path().join("tls/ca.pem")
    }

    /// Puts another mapping in force, as a reload does.
    pub async fn remap(&self, mapping: &str) {
        self.reload(self.text.clone(), mapping).await;
    }

    /// Puts another `mailroom.toml` in force, with that text in the place of the other, as a reload does.
    pub async fn reconfigure(&self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{}", self.text);
        self.reload(self.text.replace(from, to), "").await;
    }

    async fn reload(&self, text: String, mapping: &str) {
        let file = self.folder.path().join("mailroom.toml");
        let texts = BTreeMap::from([(file.clone(), text), (self.folder.path().join("mappings/office.toml"), mapping.to_owned())]);
        let loaded = config::parse(&file, texts).unwrap_or_else(|problems| panic!("{problems:?}"));
        let compiled = files::compile(loaded, &self.store).await.unwrap();
        files::make_shared(&compiled.current, &self.store).await.unwrap();
        self.publish.send_replace(Arc::new(compiled.current));
    }

    /// Puts mail into the INBOX of a user, or of `shared:NAME`, without anything above it.
    pub async fn deliver(&self, user: &str, messages: impl IntoIterator<Item = Vec<u8>>) {
        let arrival = |bytes: Vec<u8>| {
            let facts = Facts::of(&bytes);
            let deposit = Deposit {
                mailbox: user.strip_prefix("shared:").map_or_else(|| Mailbox::User(user.into()), |name| Mailbox::Shared(name.into())),
                folder: None,
                prefix: Bytes::new(),
                flags: 0,
                internal_date: 1_800_000_000_000,
                dedupe: None,
            };
            Arrival { deposits: vec![deposit], ..Arrival::new(whole(bytes, &facts)) }
        };
        for outcome in self.store.arrive(messages.into_iter().map(arrival).collect()).await {
            outcome.unwrap();
        }
    }

    /// A client at this address; the server's side is what `serve` is given.
    pub fn connect(&self, from: &str, tls: bool) -> (Pipe, Stream, Peer) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let peer = Peer { address: format!("{from}:4000").parse().unwrap(), local: "192.168.1.1:110".parse().unwrap(), tls };
        (Pipe(BufReader::new(near)), Box::new(far), peer)
    }
}

/// The client's end.
pub struct Pipe<S = DuplexStream>(pub BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next line without its CRLF; `None` at the end.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        tokio::time::timeout(PATIENCE, self.0.read_until(b'\n', &mut line)).await.expect("the server said nothing").unwrap();
        let line = String::from_utf8(line).unwrap();
        (!line.is_empty()).then(|| line.strip_suffix("\r\n").expect("a line ends in CR LF").to_owned())
    }
}

/// Whether the line is as expected, where `…` stands for anything.
pub fn fits(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((start, rest)) => match line.strip_prefix(start) {
            None => false,
            Some(tail) => tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| fits(rest, &tail[at..])),
        },
    }
}
