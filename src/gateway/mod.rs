//! The composition root: opens the store, starts listeners and tasks, hands back their addresses, stops them.
//!
//! Everything that runs long gets a [`watch::Receiver`] of what is in force and a [`Stop`]; nothing here knows how mail is handled.

pub mod backup;
mod books;
mod digest;
pub mod files;
mod housekeeping;
mod indexing;
mod quota;
mod reload;
mod requests;
mod start;
mod tasks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::Current;
use crate::document::Problem;
use crate::serve::Stop;
use crate::serve::listener::Service;
use crate::store::Store;
use crate::store::locks::RunLock;
use tasks::Tasks;

pub use start::require_a_set_clock;

/// It promises to stop within ten seconds; what has not ended by then is cut.
const STOP_DEADLINE: Duration = Duration::from_secs(9);

/// Name of the setting that tells other processes why the files are not in force; gone while they are.
pub const CONFIGURATION_ERROR: &str = "configuration_error";

/// Name of the setting that tells other processes why the last start failed; gone with the next one that works.
pub const START_ERROR: &str = "start_error";
/// Name of the setting that is there if the gateway has kept root's rights.
pub const ALL_RIGHTS: &str = "all_rights";

/// The files do not load: every problem that was found, each with its place. Commands end with exit code 2.
#[derive(Debug, thiserror::Error)]
pub struct LoadError(pub Vec<Problem>);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files are to blame.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Something else is; says what to do.
    #[error("{0}")]
    Failed(String),
}

/// How to start it.
#[derive(Debug, Clone)]
pub struct Options {
    /// `mailroom.toml`, by absolute path.
    pub file: PathBuf,
    /// If the files do not load, start with the last ones that did.
    pub last_good: bool,
}

/// A running gateway.
pub struct Gateway {
    store: Store,
    current: watch::Receiver<Arc<Current>>,
    addresses: Vec<(Service, SocketAddr)>,
    switch: watch::Sender<bool>,
    reload: Arc<Notify>,
    tasks: Tasks,
    // Declared last: the lock goes when nothing of this gateway touches the store any more.
    _lock: RunLock,
}

impl Gateway {
    /// Starts everything. When this returns, every socket is bound and served.
    pub async fn start(options: Options) -> Result<Gateway, StartError> {
        start::start(options).await
    }

    /// Where it listens: one entry a socket, with the real port.
    pub fn addresses(&self) -> &[(Service, SocketAddr)] {
        &self.addresses
    }

    /// The line that `run` prints: `ready imaps=0.0.0.0:993 …`.
    pub fn ready_line(&self) -> String {
        let sockets = self.addresses.iter().map(|(service, address)| format!(" {}={address}", service.key()));
        format!("ready{}", sockets.collect::<String>())
    }

    /// The store it works on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Configuration and mapping in force.
    pub fn current(&self) -> watch::Receiver<Arc<Current>> {
        self.current.clone()
    }

    /// Reads the files again now (SIGHUP).
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Ends sessions, fetches and deliveries at their next safe point, at the latest after [`STOP_DEADLINE`].
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.switch.send_replace(true);
        self.tasks.finish(STOP_DEADLINE).await;
        tracing::info!("stopped");
    }
}

impl LoadError {
    /// A single problem that no line of a file is to blame for.
    pub fn one(message: String, help: Option<String>) -> LoadError {
        LoadError(vec![Problem { place: None, text: String::new(), length: 0, message, help }])
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

/// The switch of a gateway that is starting, and what is seen of it.
fn switch() -> (watch::Sender<bool>, Stop) {
    Stop::channel()
}
