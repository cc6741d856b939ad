//! Copies of what people have sent, into the mailbox of their address at the provider: `sent` of a `[[collector]]`, by IMAP.
//!
//! A copy is due from the moment that a smarthost has the mail, in the same transaction. Every attempt is counted before its first byte
//! goes, and from the second on the copy is looked for first, by its Message-ID: it comes twice only where the provider's server does not
//! find what it has.

use crate::config::{Collector, Current};
use crate::imap::client::{Client, ClientError};
use crate::outbound::credentials;
use crate::outbound::judge::milliseconds;
use crate::outbound::relay;
use crate::schedule::Failure;
use crate::store::sent_copies::SentCopy;
use crate::store::{Store, StoreError};
use crate::wire::dial::Patience;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Copies of one look at what is due.
const AT_ONCE: usize = 100;
/// Bytes read from the store at a time.
const PIECE: usize = 256 * 1024;
/// Waits grow with a copy's age, from this …
const SHORTEST: Duration = Duration::from_secs(60);
/// … to this.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// Where the log-in was refused: asking often gets an office banned.
const REFUSED: Duration = Duration::from_secs(3600);
/// Then there will be no copy: the mail itself has long arrived.
const GIVE_UP: Duration = Duration::from_secs(5 * 24 * 3600);
/// Between the news of a mail and the look: several go over one connection.
const GATHER: Duration = Duration::from_secs(2);
/// The clock may jump: the store is asked this often anyway.
const LOOK: Duration = Duration::from_secs(60);

/// Why a copy is not there yet.
enum Trouble {
    /// The server does not want this one.
    Refused(String),
    /// Nothing more goes over this connection, and not before that time has passed.
    Broken(String, Duration),
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused { .. } => Trouble::Refused(error.to_string()),
            _ => Trouble::Broken(error.to_string(), Duration::ZERO),
        }
    }
}

/// Brings copies where they belong until `stop` is ready. What is on its way then is looked for at the next start.
pub async fn run(store: Store, current: watch::Receiver<Arc<Current>>, stop: impl Future<Output = ()>) {
    let mut changes = store.changes();
    tokio::pin!(stop);
    loop {
        let now = jiff::Timestamp::now().as_millisecond();
        let config = current.borrow().clone();
        let work = async {
            if let Err(error) = pass(&store, &config, now).await {
                tracing::warn!(%error, "copies of sent mail have to wait");
                return LOOK;
            }
            match store.sent_copies_next_due().await {
                Ok(Some(due)) => Duration::from_millis(u64::try_from(due - now).unwrap_or(0)).clamp(GATHER, LOOK),
                _ => LOOK,
            }
        };
        let pause = tokio::select! {
            () = &mut stop => return,
            pause = work => pause,
        };
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
            () = relay::queue_changed(&mut changes) => tokio::time::sleep(GATHER).await,
        }
    }
}

/// Tries all that are due at this time, the mailboxes beside each other.
pub async fn pass(store: &Store, current: &Arc<Current>, now: i64) -> Result<(), StoreError> {
    let mut mailboxes: BTreeMap<String, Vec<SentCopy>> = BTreeMap::new();
    for copy in store.sent_copies_due(now, AT_ONCE).await? {
        mailboxes.entry(copy.collector.clone()).or_default().push(copy);
    }
    let mut tasks = JoinSet::new();
    for (name, copies) in mailboxes {
        let (store, current) = (store.clone(), current.clone());
        tasks.spawn(async move { for_mailbox(&store, &current, &name, copies, now).await });
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(outcome) => outcome?,
            Err(error) => tracing::error!(%error, "a copy of sent mail met a fault of the program"),
        }
    }
    Ok(())
}

async fn for_mailbox(store: &Store, current: &Current, name: &str, copies: Vec<SentCopy>, now: i64) -> Result<(), StoreError> {
    let collector = current.config.collectors.iter().find(|collector| collector.name == name && collector.enabled);
    let Some((collector, folder)) = collector.and_then(|collector| Some((collector, collector.sent.as_deref()?))) else {
        for copy in &copies {
            store.sent_copy_end(copy, format!("no copy: collector {name} keeps none any more")).await?;
        }
        return Ok(());
    };
    let mut waiting = copies.into_iter();
    let broken = match open(store, collector).await {
        Ok(mut client) => {
            let mut broken = None;
            for copy in waiting.by_ref() {
                match bring(store, &mut client, folder, &copy).await {
                    Ok(how) => store.sent_copy_end(&copy, format!("{how} {folder} of collector {name} at the provider")).await?,
                    Err(Trouble::Refused(why)) => later(store, &copy, &why, Duration::ZERO, now).await?,
                    Err(Trouble::Broken(why, wait)) => {
                        later(store, &copy, &why, wait, now).await?;
                        broken = Some((why, wait));
                        break;
                    }
                    Err(Trouble::Store(error)) => return Err(error),
                }
            }
            if broken.is_none() {
                client.log_out().await;
            }
            broken
        }
        Err(Trouble::Refused(why)) => Some((why, Duration::ZERO)),
        Err(Trouble::Broken(why, wait)) => Some((why, wait)),
        Err(Trouble::Store(error)) => return Err(error),
    };
    if let Some((why, wait)) = broken {
        tracing::warn!(collector = name, why, "copies of sent mail have to wait");
        for copy in waiting {
            later(store, &copy, &why, wait, now).await?;
        }
    }
    Ok(())
}

async fn open(store: &Store, collector: &Collector) -> Result<Client, Trouble> {
    // Fetching has met a refusal and waits for a person; so do copies.
    if let Some(why) = store.collector_state(&collector.name).await?.suspended {
        return Err(Trouble::Broken(why, REFUSED));
    }
    let secret = credentials::of_collector(collector, store).await.map_err(|error| {
        let wait = if error.is_login() { REFUSED } else { Duration::ZERO };
        Trouble::Broken(error.to_string(), wait)
    })?;
    let mut client = Client::connect(&collector.endpoint, Patience::default()).await?;
    client.log_in(collector.log_in_as(), &secret).await.map_err(|error| match error.failure() {
        Failure::LogIn | Failure::LogInPerhaps | Failure::Throttled | Failure::Consent => Trouble::Broken(error.to_string(), REFUSED),
        Failure::Network | Failure::Certificate | Failure::Temporary => Trouble::Broken(error.to_string(), Duration::ZERO),
    })?;
    Ok(client)
}

/// Puts one copy there, or finds it there: says which.
async fn bring(store: &Store, client: &mut Client, folder: &str, copy: &SentCopy) -> Result<&'static str, Trouble> {
    if copy.attempts > 0
        && let Some(message_id) = &copy.message_id
        && client.has_message(folder, message_id).await?
    {
        return Ok("found in");
    }
    store.sent_copy_begin(copy.id).await?;
    let above = copy.header.as_ref().map_or(0, |header| header.len() as u64);
    let mut at = if copy.header.is_some() { copy.header_size } else { 0 };
    let mut append = client.append(folder, copy.sent_at, above + copy.size - at).await?;
    if let Some(header) = &copy.header {
        client.append_piece(&mut append, header).await.map_err(cut)?;
    }
    while at < copy.size {
        let piece = store.content(copy.content, at, PIECE).await?;
        if piece.is_empty() {
            return Err(StoreError::Database("a stored message ends too early".into()).into());
        }
        at += piece.len() as u64;
        client.append_piece(&mut append, &piece).await.map_err(cut)?;
    }
    client.appended(append).await?;
    Ok("into")
}

/// In the midst of a message nothing else can be said.
fn cut(error: ClientError) -> Trouble {
    Trouble::Broken(error.to_string(), Duration::ZERO)
}

async fn later(store: &Store, copy: &SentCopy, why: &str, at_least: Duration, now: i64) -> Result<(), StoreError> {
    let age = now - copy.sent_at;
    if age > milliseconds(GIVE_UP) {
        tracing::warn!(collector = copy.collector, message_id = copy.message_id, why, "there will be no copy of a sent mail");
        return store.sent_copy_end(copy, format!("given up: {why}")).await;
    }
    let wait = (age / 4).clamp(milliseconds(SHORTEST), milliseconds(LONGEST)).max(milliseconds(at_least));
    store.sent_copy_later(copy.id, now + wait, why.to_owned()).await
}
