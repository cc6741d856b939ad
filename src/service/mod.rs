//! Being a service of the operating system, and the few calls that differ between platforms: the only platform code.
//!
//! `platform` offers the same functions on each system, so that no other module asks which one it is.

#[cfg(unix)]
pub mod unix;
#[cfg(unix)]
pub use unix as platform;

#[cfg(windows)]
pub mod windows;
#[cfg(windows)]
pub use windows as platform;

use std::path::PathBuf;

/// How the service is to be registered: for `platform::install`, which says in lines what it did. `uninstall`, `start` and `stop` beside
/// it do the same; `start` returns when the gateway serves, `stop` when it has ended. What does not work is an error in plain words.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The program, by absolute path.
    pub program: PathBuf,
    /// `mailroom.toml`, by absolute path.
    pub configuration: PathBuf,
    /// The store's directory.
    pub storage: PathBuf,
    /// Where scheduled backups go.
    pub backup: Option<PathBuf>,
    /// Other files that the configuration names, by absolute path: the service has to read them.
    pub beside: Vec<PathBuf>,
}

/// What is left to the gateway when `platform::confine` has taken the rest.
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    /// Directories and files that it may write to.
    pub writable: Vec<PathBuf>,
    /// The TCP ports that it may listen at; `None` is any.
    pub ports: Option<Vec<u16>>,
    /// Commands are run for passwords: they may write to the home directory and to temporary ones as well.
    pub commands: bool,
}

/// What the system says of the service: the answer of `platform::status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not registered.
    Missing,
    /// It does not run; the exit code that it ended with, if it is known and was not 0.
    Stopped(Option<u32>),
    /// It has been started and does not serve yet.
    Starting,
    /// It serves.
    Running,
    /// It has been told to stop.
    Stopping,
}

/// What the system tells the process to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// End cleanly.
    Stop,
    /// Read the files again.
    Reload,
}
