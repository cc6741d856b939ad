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

/// What the system tells the process to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// End cleanly.
    Stop,
    /// Read the files again.
    Reload,
}
