//! From files to a running gateway.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::files::{self, Compiled};
use super::reload::Reloader;
use super::tasks::Tasks;
use super::{
    ALL_RIGHTS, CONFIGURATION_ERROR, Gateway, LoadError, Options, START_ERROR, StartError, backup, housekeeping, indexing, requests, switch,
};
use crate::config::{Config, Current};
use crate::inbound::scheduler::Scheduler;
use crate::outbound::copies;
use crate::outbound::relay::{Relay, system_clock};
use crate::serve::listener::{Listener, Places, Service};
use crate::serve::login::Login;
use crate::serve::{Context, Stop};
use crate::service::platform;
use crate::smtp::client::Patience;
use crate::store::locks::RunLock;
use crate::store::{Store, StoreError};
use crate::wire::tls::{Acceptor, Identity, LocalNames, TlsError, local_identity};

/// Nobody runs this program at an earlier time (2026-01-01): a clock that says so was not set yet since the machine was switched on.
const RELEASED: i64 = 1_767_225_600;

/// See [`Gateway::start`].
pub(super) async fn start(options: Options) -> Result<Gateway, StartError> {
    let (store, compiled, trouble) = open(&options).await?;
    for warning in &compiled.warnings {
        tracing::warn!("{warning}");
    }
    let lock = store.lock_run().map_err(|error| in_words(&store, &error))?;
    let started = open_doors(options, store.clone(), compiled, trouble, lock).await;
    let reason = started.as_ref().err().map(ToString::to_string);
    // Whether it can be written down or not, the reason is in the log; and a disk that takes nothing is a reason of its own.
    if let Err(error) = store.setting_set(START_ERROR, reason.as_deref()).await {
        tracing::debug!(%error, "the outcome of the start was not noted");
    }
    started
}

async fn open_doors(
    options: Options,
    store: Store,
    compiled: Compiled,
    trouble: Option<String>,
    lock: RunLock,
) -> Result<Gateway, StartError> {
    require_a_set_clock(jiff::Timestamp::now())?;
    let failed = |error: StoreError| StartError::Failed(error.to_string());
    files::make_shared(&compiled.current, &store).await.map_err(failed)?;
    store.last_good_set(&compiled.texts).await.map_err(failed)?;
    store.setting_set(CONFIGURATION_ERROR, trouble.as_deref()).await.map_err(failed)?;

    let config = &compiled.current.config;
    let certificate = |error| certificate(config, error);
    let tls = Acceptor::new(identity(config, store.directory()).map_err(certificate)?).map_err(certificate)?;
    let listeners = bind_all(config)?;
    if let Some(said) = platform::become_owner().map_err(StartError::Failed)? {
        tracing::info!("{said}");
    }
    let all_rights = platform::keeps_all_rights();
    if all_rights {
        tracing::warn!(
            "runs as root, since the store in {} is root's: whoever finds a fault in it has this machine; `chown -R mailroom: {}` gives it \
             an account of its own",
            store.directory().display(),
            store.directory().display()
        );
    }
    store.setting_set(ALL_RIGHTS, all_rights.then_some("root")).await.map_err(failed)?;
    let addresses: Vec<(Service, SocketAddr)> = listeners.iter().map(|listener| (listener.service(), listener.address())).collect();

    let (publish, current) = watch::channel(Arc::new(compiled.current));
    let (switch, stop) = switch();
    let reload = Arc::new(Notify::new());
    let login = Login::new(store.clone(), current.clone()).map_err(|error| StartError::Failed(error.to_string()))?;
    let context = Arc::new(Context { store: store.clone(), current: current.clone(), login, tls: tls.clone() });

    let mut tasks = Tasks::default();
    serve(&mut tasks, listeners, &context, &stop);
    let reloader = Reloader::new(options.file, store.clone(), publish, tls.clone(), compiled.texts, trouble, reload.clone());
    tasks.spawn(reloader.run(stop.clone()));
    keep(&mut tasks, &store, &current, &tls, &stop);
    Ok(Gateway { store, current, addresses, switch, reload, tasks, _lock: lock })
}

/// The certificate that clients see: the configured one, or one by the office's own authority, made on first start.
pub(super) fn identity(config: &Config, store: &Path) -> Result<Identity, TlsError> {
    match &config.tls {
        Some(tls) => Identity::from_files(&tls.cert, &tls.key),
        None => local_identity(&store.join("tls"), &LocalNames::of_machine(&config.office.hostname), jiff::Timestamp::now().as_second()),
    }
}

/// Loads the files and opens the store; or, if they are broken and it is wanted, the files that loaded last. The text says what is wrong.
async fn open(options: &Options) -> Result<(Store, Compiled, Option<String>), StartError> {
    let error = match load(&options.file).await {
        Ok((store, compiled)) => return Ok((store, compiled, None)),
        Err(StartError::Load(error)) if options.last_good => error,
        Err(error) => return Err(error),
    };
    let Some(path) = files::storage_path_of_broken(&options.file) else { return Err(error.into()) };
    let store = Store::open(&path).map_err(|error| not_open(&path, &error))?;
    let texts = store.last_good().await.map_err(|error| StartError::Failed(error.to_string()))?;
    // A store that was guessed may be that of other files.
    if !texts.contains_key(&options.file) {
        return Err(error.into());
    }
    tracing::error!("the files do not load; starting with the last ones that did. Until this is mended no change takes effect:\n{error}");
    let compiled = files::compile(files::parse(&options.file, texts)?, &store).await?;
    Ok((store, compiled, Some(error.to_string())))
}

async fn load(file: &Path) -> Result<(Store, Compiled), StartError> {
    let loaded = files::parse(file, files::gather(file)?)?;
    let path = loaded.config.storage.path.clone();
    let store = Store::open(&path).map_err(|error| not_open(&path, &error))?;
    let compiled = files::compile(loaded, &store).await?;
    files::require_whole(&compiled)?;
    Ok((store, compiled))
}

/// Mail that came in 1970 would be old enough to be forgotten as soon as somebody sets the clock.
pub fn require_a_set_clock(now: jiff::Timestamp) -> Result<(), StartError> {
    if now.as_second() >= RELEASED {
        return Ok(());
    }
    Err(StartError::Failed(format!(
        "the clock of this machine says {}: set it, or wait until the network has set it, and start again; mail that came now would get \
         wrong dates and be forgotten too early",
        now.strftime("%Y-%m-%d %H:%M")
    )))
}

fn not_open(path: &Path, error: &StoreError) -> StartError {
    StartError::Failed(format!("the store in {} does not open: {error}", path.display()))
}

fn in_words(store: &Store, error: &StoreError) -> StartError {
    match error {
        StoreError::Conflict(_) => StartError::Failed(format!(
            "another gateway runs on the store in {}: stop that one first, or give this one a storage.path of its own",
            store.directory().display()
        )),
        error => StartError::Failed(error.to_string()),
    }
}

/// One that is configured is a matter of the files. That the office's own can't be made, on a full disk say, may be over at the next try.
fn certificate(config: &Config, error: TlsError) -> StartError {
    match config.tls {
        Some(_) => StartError::Load(LoadError::one(format!("[tls]: {error}"), None)),
        None => StartError::Failed(format!("the office's own certificate can't be made or read: {error}")),
    }
}

fn bind_all(config: &Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for service in Service::ALL {
        for &address in service.addresses(&config.listen) {
            match Listener::bind(service, address) {
                Ok(listener) => listeners.push(listener),
                Err(error) => return Err(StartError::Failed(not_bound(service, address, &error))),
            }
        }
    }
    Ok(listeners)
}

fn not_bound(service: Service, address: SocketAddr, error: &std::io::Error) -> String {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program has this port: stop it, or choose another port here",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need more rights: run it as the service, or choose another port here",
        std::io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        _ => "choose another address or port here",
    };
    format!("listen.{}: {address} can't be served ({error}); {advice}", service.key())
}

fn serve(tasks: &mut Tasks, listeners: Vec<Listener>, context: &Arc<Context>, stop: &Stop) {
    let places = Arc::new(Places::default());
    for listener in listeners {
        tracing::info!(service = listener.service().key(), address = %listener.address(), "listening");
        tasks.spawn(listener.run(context.clone(), places.clone(), stop.clone()));
    }
}

fn keep(tasks: &mut Tasks, store: &Store, current: &watch::Receiver<Arc<Current>>, tls: &Acceptor, stop: &Stop) {
    let (s, c, t, end) = (store.clone(), current.clone(), tls.clone(), stop.clone());
    tasks.keep("housekeeping", stop.clone(), move || housekeeping::run(s.clone(), c.clone(), t.clone(), end.clone()));
    let (s, end) = (store.clone(), stop.clone());
    tasks.keep("indexing", stop.clone(), move || indexing::run(s.clone(), end.clone()));
    let (s, c, end) = (store.clone(), current.clone(), stop.clone());
    tasks.keep("backup", stop.clone(), move || backup::run(s.clone(), c.clone(), end.clone()));
    let scheduler = Scheduler::new(store.clone(), current.clone());
    let (s, c, f, end) = (store.clone(), current.clone(), scheduler.clone(), stop.clone());
    tasks.keep("requests", stop.clone(), move || requests::run(s.clone(), c.clone(), f.clone(), end.clone()));
    let end = stop.clone();
    tasks.keep("collectors", stop.clone(), move || {
        let mut end = end.clone();
        scheduler.clone().run(async move { end.requested().await })
    });
    let (s, c, end) = (store.clone(), current.clone(), stop.clone());
    tasks.keep("copies", stop.clone(), move || {
        let mut end = end.clone();
        copies::run(s.clone(), c.clone(), async move { end.requested().await })
    });
    let (s, c, end) = (store.clone(), current.clone(), stop.clone());
    tasks.keep("relay", stop.clone(), move || {
        let (relay, mut end) = (Relay::new(s.clone(), c.clone(), system_clock(), Patience::default()), end.clone());
        relay.run(async move { end.requested().await })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_not_set_is_refused() {
        for (second, expected) in [(0, false), (RELEASED - 1, false), (RELEASED, true)] {
            let now = jiff::Timestamp::from_second(second).unwrap();
            assert_eq!(require_a_set_clock(now).is_ok(), expected, "{now}");
        }
        let said = require_a_set_clock(jiff::Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(said.contains("1970-01-01"), "{said}");
    }
}
