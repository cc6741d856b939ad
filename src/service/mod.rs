//! Being a service of the operating system: the only platform code.

#[cfg(unix)]
pub mod unix;
#[cfg(windows)]
pub mod windows;
