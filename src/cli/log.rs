//! The log: on stderr, where a terminal or the journal takes it, or in files where stderr goes nowhere. Only this program's own lines are
//! shown: libraries log secrets at their lowest levels.

use std::io::IsTerminal;
use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, Log};
use crate::service::platform;
pub use gathered::Clerk;
use rotated::Rotated;

/// Where the files lie in the store's directory.
const FOLDER: &str = "log";

mod gathered;
mod rotated;

/// As [`start`], for the gateway: where stderr goes nowhere, the log lies in files below `store`. Where no person sits before it, its entries
/// can be gathered by what is returned, which has to live as long as they are.
pub fn start_gateway(log: &Log, verbose: u8, store: Option<&Path>) -> Option<Clerk> {
    let file = store.filter(|_| platform::stderr_is_lost()).and_then(|store| Rotated::open(store.join(FOLDER)).ok());
    if let Some(file) = file {
        start_to(log, verbose, file, false);
        return None;
    }
    // Nobody would hear that the thread, or the file, can't be made.
    let gathered = if std::io::stderr().is_terminal() { None } else { gathered::start(std::io::stderr()).ok() };
    let Some((entries, clerk)) = gathered else {
        start(log, verbose);
        return None;
    };
    start_to(log, verbose, entries, false);
    Some(clerk)
}

/// Starts logging at the configured level, or at `-v`'s if that is lower. A second call changes nothing.
pub fn start(log: &Log, verbose: u8) {
    start_to(log, verbose, std::io::stderr, std::io::stderr().is_terminal());
}

fn start_to<W>(log: &Log, verbose: u8, writer: W, colours: bool)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let configured = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let wanted = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let ours = Targets::new().with_target("mailroom", configured.max(wanted));
    let text = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).with_target(false);
    // A service has nobody who reads stderr: what matters goes where the system's administrators look.
    let event = tracing_subscriber::fmt::layer().with_writer(platform::EVENT_LOG).with_ansi(false).with_target(false).with_level(false);
    let events = platform::is_service().then(|| event.without_time().with_filter(LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(events).with(ours);
    // A test or a second command in one process has started it already.
    let _ = if log.json { registry.with(text.json()).try_init() } else { registry.with(text).try_init() };
}
