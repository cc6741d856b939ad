//! Windows: where files usually lie, and how a console program is told to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};

use super::Told;

/// Where the configuration lies unless somebody says otherwise.
pub fn system_configuration() -> PathBuf {
    system_store().join("mailroom.toml")
}

/// Where the store lies unless the configuration says otherwise.
pub fn system_store() -> PathBuf {
    std::env::var_os("ProgramData").map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from).join("Mailroom")
}

/// Whether programs of this machine can be reached by sockets that have paths.
pub const LOCAL_SOCKETS: bool = false;

/// A connection to such a socket: there are none here.
pub type LocalStream = tokio::io::DuplexStream;

/// Says that there are none.
pub async fn connect_local(_path: &Path) -> io::Result<LocalStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no such sockets; use a host and a port"))
}

/// What the system tells the process to do.
pub struct Signals {
    key: CtrlC,
    other_key: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// Ctrl-C, Ctrl-Break, a closed window, a shutdown.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals { key: ctrl_c()?, other_key: ctrl_break()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.key.recv() => (),
            _ = self.other_key.recv() => (),
            _ = self.close.recv() => (),
            _ = self.shutdown.recv() => (),
        }
        Told::Stop
    }
}

/// Nobody listens on this system.
pub fn announce_ready() {}

/// Nobody listens on this system.
pub fn announce_stopping() {}

/// Nobody listens on this system.
pub fn announce_alive() {}

/// Nobody watches on this system.
pub fn watchdog_interval() -> Option<Duration> {
    None
}

/// Makes a directory. Who may enter it is inherited: `%ProgramData%` and the service's own account.
pub fn private_directory(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

/// Opens a file for reading and writing, made if missing. Who may read it is inherited from its directory.
pub fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Writes a file in place of what was there. Who may read it is inherited from its directory.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file(path)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether somebody besides the file's owner may read it: not looked at here, since who may is inherited from the directory.
pub fn others_can_read(_path: &Path) -> bool {
    false
}

/// Nothing to do: rights are inherited from the directory.
pub fn act_as_owner(_dir: &Path) -> Result<(), String> {
    Ok(())
}

/// Does it.
pub fn with_own_rights<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Nothing to do: rights are inherited from the directory.
pub fn make_like(_new: &Path, _old: &Path) -> io::Result<()> {
    Ok(())
}
