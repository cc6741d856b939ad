//! Unix: where files usually lie, signals, and what systemd wants to hear.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Told;

/// Where the configuration lies unless somebody says otherwise.
pub fn system_configuration() -> PathBuf {
    PathBuf::from("/etc/mailroom/mailroom.toml")
}

/// What the system tells the process to do. Once made, the signals do nothing else any more.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// SIGINT, SIGTERM and SIGHUP.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
        }
    }
}

/// Tells systemd that the gateway serves. Without systemd (no `NOTIFY_SOCKET`) it does nothing.
pub fn announce_ready() {
    tell(NotifyState::Ready);
}

/// Tells systemd that the gateway is stopping.
pub fn announce_stopping() {
    tell(NotifyState::Stopping);
}

/// Tells systemd's watchdog that the gateway is alive.
pub fn announce_alive() {
    tell(NotifyState::Watchdog);
}

/// How often the watchdog wants to hear it: twice in its time-out, as systemd advises. `None`: nobody watches.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
