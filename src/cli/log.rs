//! The log on stderr. Only this program's own lines are shown: libraries log secrets at their lowest levels.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, Log};

/// Starts logging at the configured level, or at `-v`'s if that is lower. A second call changes nothing.
pub fn start(log: &Log, verbose: u8) {
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
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
    let registry = tracing_subscriber::registry().with(ours);
    // A test or a second command in one process has started it already.
    let _ = if log.json { registry.with(text.json()).try_init() } else { registry.with(text).try_init() };
}
