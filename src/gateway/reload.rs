//! Changed files: noticed, tried, and taken whole or not at all.
//!
//! Configuration, mappings, certificates and secret files are taken together after [`QUIET`]. What does not load leaves what is in force
//! in force, and says so in the log and in a setting that `status` reads. A changed user list compiles the mapping again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, PollWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::files::{self, Compiled, Texts};
use super::start::identity;
use super::{CONFIGURATION_ERROR, LoadError};
use crate::config::Current;
use crate::mapping::Mailbox;
use crate::serve::Stop;
use crate::store::{Change, Store};
use crate::wire::tls::Acceptor;

/// Editors write a file in several steps, and people save several files one after the other.
const QUIET: Duration = Duration::from_millis(500);
/// A file that is written to without end is read all the same after this long.
const AT_LAST: Duration = Duration::from_secs(5);
/// Where the system does not tell of changes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Takes changes as long as the gateway runs.
pub struct Reloader {
    file: PathBuf,
    store: Store,
    publish: watch::Sender<Arc<Current>>,
    tls: Acceptor,
    by_hand: Arc<Notify>,
    seen: Seen,
    /// What was last said about files that do not load.
    trouble: Option<String>,
}

/// What the current state was made from; as long as it is the same there is nothing to do.
#[derive(PartialEq, Eq)]
struct Seen {
    texts: Texts,
    /// Hashes of secrets, certificates and trust roots; `None` for what can't be read.
    beside: BTreeMap<PathBuf, Option<blake3::Hash>>,
    users: BTreeMap<String, Option<String>>,
}

impl Reloader {
    /// `texts` are those that are in force; `trouble` is what is wrong with the files, if they are not these.
    pub fn new(
        file: PathBuf,
        store: Store,
        publish: watch::Sender<Arc<Current>>,
        tls: Acceptor,
        texts: Texts,
        trouble: Option<String>,
        by_hand: Arc<Notify>,
    ) -> Reloader {
        let beside = hashes(files::beside(&publish.borrow().config));
        // Files that are mended may be the very ones in force: they have to count as new, or the trouble would never end.
        let texts = if trouble.is_some() { Texts::new() } else { texts };
        Reloader { file, store, publish, tls, by_hand, seen: Seen { texts, beside, users: BTreeMap::new() }, trouble }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut stop: Stop) {
        self.seen.users = self.users().await.unwrap_or_default();
        let mut eye = Eye::open();
        eye.look_at(&self.file, self.seen.beside.keys());
        let mut changes = self.store.changes();
        // What was changed before anybody watched.
        self.look_again(false).await;
        loop {
            let forced = tokio::select! {
                () = stop.requested() => return,
                () = self.by_hand.notified() => true,
                () = eye.quiet() => false,
                change = changes.recv() => match change {
                    Ok(Change::Users | Change::Anything) | Err(broadcast::error::RecvError::Lagged(_)) => false,
                    Ok(_) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            };
            self.look_again(forced).await;
            eye.look_at(&self.file, self.seen.beside.keys());
        }
    }

    async fn look_again(&mut self, forced: bool) {
        let outcome = match self.attempt(forced).await {
            Ok(None) => return,
            Ok(Some(compiled)) => self.take(compiled).await,
            Err(error) => Err(error),
        };
        let trouble = outcome.err().map(|error| error.to_string());
        match &trouble {
            Some(text) if forced || self.trouble != trouble => {
                tracing::error!("the changed files do not load; what was in force stays in force:\n{text}");
            }
            Some(_) => return,
            None => tracing::info!("took the changed configuration"),
        }
        if let Err(error) = self.store.setting_set(CONFIGURATION_ERROR, trouble.as_deref()).await {
            tracing::error!(%error, "the state of the configuration can't be written down");
        }
        self.trouble = trouble;
    }

    /// Reads and compiles what is there now; `None` if it is what was seen before.
    async fn attempt(&mut self, forced: bool) -> Result<Option<Compiled>, LoadError> {
        let texts = files::gather(&self.file)?;
        let users = self.users().await?;
        let paths = self.seen.beside.keys().cloned().collect();
        let seen = Seen { texts: texts.clone(), beside: hashes(paths), users };
        if seen == self.seen && !forced {
            return Ok(None);
        }
        self.seen = seen;
        let compiled = files::compile(files::parse(&self.file, texts)?, &self.store).await?;
        files::require_whole(&compiled)?;
        Ok(Some(compiled))
    }

    async fn take(&mut self, mut compiled: Compiled) -> Result<(), LoadError> {
        let identity = identity(&compiled.current.config, self.store.directory());
        let identity = identity.map_err(|error| LoadError::one(format!("[tls]: {error}"), None))?;
        let in_words = |error: crate::store::StoreError| LoadError::one(format!("the store did not take it: {error}"), None);
        files::make_shared(&compiled.current, &self.store).await.map_err(in_words)?;
        self.store.last_good_set(&compiled.texts).await.map_err(in_words)?;
        for warning in &compiled.warnings {
            tracing::warn!("{warning}");
        }
        self.keep_what_needs_a_restart(&mut compiled);
        self.seen.beside = hashes(files::beside(&compiled.current.config));
        self.tls.replace(identity);
        self.publish.send_replace(Arc::new(compiled.current));
        Ok(())
    }

    /// Sockets and the store are those of the start.
    fn keep_what_needs_a_restart(&self, compiled: &mut Compiled) {
        let old = self.publish.borrow().clone();
        let new = &mut compiled.current.config;
        if format!("{:?}", new.storage) != format!("{:?}", old.config.storage) {
            tracing::warn!("[storage] has changed: that takes effect at the next start of the gateway");
            new.storage = old.config.storage.clone();
        }
        if format!("{:?}", new.listen) != format!("{:?}", old.config.listen) {
            tracing::warn!("[listen] has changed: that takes effect at the next start of the gateway");
            new.listen = old.config.listen.clone();
        }
    }

    async fn users(&self) -> Result<BTreeMap<String, Option<String>>, LoadError> {
        let accounts = self.store.accounts().await;
        let accounts = accounts.map_err(|error| LoadError::one(format!("the list of users can't be read: {error}"), None))?;
        let of_user = |account: crate::store::Account| match account.mailbox {
            Mailbox::User(name) => Some((name, account.full_name)),
            Mailbox::Shared(_) => None,
        };
        Ok(accounts.into_iter().filter_map(of_user).collect())
    }
}

fn hashes(files: Vec<PathBuf>) -> BTreeMap<PathBuf, Option<blake3::Hash>> {
    let hash = |file: &PathBuf| std::fs::read(file).ok().map(|bytes| blake3::hash(&bytes));
    files.into_iter().map(|file| (file.clone(), hash(&file))).collect()
}

/// Watches the folders that hold the files. It looks at folders because editors replace files rather than write to them.
struct Eye {
    watcher: Option<Box<dyn Watcher + Send>>,
    folders: BTreeSet<PathBuf>,
    relevant: Arc<Mutex<Relevant>>,
    blink: Arc<Notify>,
    /// The first and the last change that nobody was told of yet.
    restless: Option<(Instant, Instant)>,
}

#[derive(Default)]
struct Relevant {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Relevant {
    /// The store may lie in a watched folder: what it writes must not count.
    fn concerns(&self, event: &Event) -> bool {
        let read_only =
            matches!(event.kind, EventKind::Access(kind) if kind != notify::event::AccessKind::Close(notify::event::AccessMode::Write));
        let relevant = |path: &PathBuf| {
            let toml = path.extension().is_some_and(|extension| extension == "toml");
            self.files.contains(path)
                || self.folders.contains(path)
                || (toml && path.parent().is_some_and(|folder| self.folders.contains(folder)))
        };
        !read_only && (event.paths.is_empty() || event.paths.iter().any(relevant))
    }
}

impl Eye {
    fn open() -> Eye {
        let relevant = Arc::<Mutex<Relevant>>::default();
        let blink = Arc::new(Notify::new());
        let (seen, awake) = (relevant.clone(), blink.clone());
        let on_event = move |event: notify::Result<Event>| {
            let counts = event.map_or(true, |event| seen.lock().unwrap_or_else(PoisonError::into_inner).concerns(&event));
            if counts {
                awake.notify_one();
            }
        };
        let watcher = told_of_changes(on_event.clone())
            .or_else(|error| {
                tracing::info!(%error, "the system does not tell of changed files: they are looked at every two seconds");
                looking_again(on_event)
            })
            .inspect_err(
                |error| tracing::warn!(%error, "changed files are not noticed by themselves; SIGHUP or a restart makes them count"),
            )
            .ok();
        Eye { watcher, folders: BTreeSet::new(), relevant, blink, restless: None }
    }

    /// Adjusts what is watched.
    fn look_at<'a>(&mut self, file: &Path, beside: impl Iterator<Item = &'a PathBuf>) {
        let mappings = files::mappings_beside(file);
        let relevant = Relevant {
            files: beside.cloned().chain([file.to_owned()]).collect(),
            folders: BTreeSet::from([mappings.clone(), mappings.join("providers")]),
        };
        let mut folders: BTreeSet<PathBuf> = relevant.files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        folders.extend(relevant.folders.iter().cloned());
        folders.retain(|folder| folder.is_dir());
        *self.relevant.lock().unwrap_or_else(PoisonError::into_inner) = relevant;
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            // A folder that was removed is not watched any more anyway.
            let _ = watcher.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "changes in this folder are not noticed by themselves");
            }
        }
        self.folders = folders;
    }

    /// Something changed, and then nothing for [`QUIET`]. Can be cancelled and called again without losing what it saw.
    async fn quiet(&mut self) {
        loop {
            let Some((first, last)) = self.restless else {
                self.blink.notified().await;
                self.restless = Some((Instant::now(), Instant::now()));
                continue;
            };
            tokio::select! {
                () = self.blink.notified() => self.restless = Some((first, Instant::now())),
                () = sleep_until((last + QUIET).min(first + AT_LAST)) => {
                    self.restless = None;
                    return;
                }
            }
        }
    }
}

/// The system's own way. It has few places: Linux gives one account 128.
fn told_of_changes(on_event: impl notify::EventHandler) -> notify::Result<Box<dyn Watcher + Send>> {
    Ok(Box::new(notify::recommended_watcher(on_event)?))
}

/// The way that works everywhere.
fn looking_again(on_event: impl notify::EventHandler) -> notify::Result<Box<dyn Watcher + Send>> {
    let config = notify::Config::default().with_poll_interval(LOOK_AGAIN);
    Ok(Box::new(PollWatcher::new(on_event, config)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, AccessMode, ModifyKind};

    #[test]
    fn only_our_files_count() {
        let relevant = Relevant {
            files: BTreeSet::from(["/m/mailroom.toml".into(), "/s/isp.pass".into()]),
            folders: BTreeSet::from(["/m/mappings".into()]),
        };
        let modified = EventKind::Modify(ModifyKind::Any);
        let check = |kind: EventKind, path: &str, expected: bool| {
            let event = Event { kind, paths: vec![path.into()], attrs: Default::default() };
            assert_eq!(relevant.concerns(&event), expected, "{kind:?} {path}");
        };
        check(modified, "/m/mailroom.toml", true);
        check(modified, "/m/mappings/new.toml", true);
        check(modified, "/m/mappings", true);
        check(modified, "/s/isp.pass", true);
        check(modified, "/m/store/mailroom.db-wal", false);
        check(modified, "/m/mappings/notes.txt", false);
        check(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/m/mailroom.toml", false);
        check(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/m/mailroom.toml", true);
    }

    fn blind() -> Eye {
        Eye { watcher: None, folders: BTreeSet::new(), relevant: Arc::default(), blink: Arc::new(Notify::new()), restless: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_survives_that_somebody_else_was_served_first() {
        let mut eye = blind();
        eye.blink.notify_one();
        tokio::select! {
            () = eye.quiet() => panic!("too early"),
            () = tokio::time::sleep(QUIET / 2) => (),
        }
        eye.quiet().await;
    }

    #[tokio::test(start_paused = true)]
    async fn many_changes_are_one_after_half_a_second_of_quiet() {
        let mut eye = blind();
        let blink = eye.blink.clone();
        let start = Instant::now();
        let (_, ()) = tokio::join!(eye.quiet(), async {
            for _ in 0..4 {
                blink.notify_one();
                tokio::time::sleep(QUIET / 2).await;
            }
        });
        assert_eq!(start.elapsed(), QUIET / 2 * 3 + QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_never_quiet_is_read_at_last() {
        let mut eye = blind();
        let blink = eye.blink.clone();
        let start = Instant::now();
        tokio::select! {
            () = eye.quiet() => (),
            () = async {
                loop {
                    blink.notify_one();
                    tokio::time::sleep(QUIET / 2).await;
                }
            } => (),
        }
        assert!(start.elapsed() <= AT_LAST + QUIET);
    }

    #[test]
    fn a_change_is_seen_where_the_system_tells_of_none() {
        let folder = tempfile::tempdir().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let mut watcher = looking_again(move |event: notify::Result<Event>| drop(send.send(event))).unwrap();
        watcher.watch(folder.path(), RecursiveMode::NonRecursive).unwrap();
        let file = folder.path().join("office.toml");
        std::fs::write(&file, "[addresses]\n").unwrap();
        let seen =
            std::iter::from_fn(|| receive.recv_timeout(Duration::from_secs(60)).ok()).flatten().find(|event| event.paths.contains(&file));
        assert!(seen.is_some());
    }
}
