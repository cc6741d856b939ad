//! Windows: where files usually lie and who may read them, how a program is told to stop, and being a service.

mod control;
mod events;
mod manager;
mod rights;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
use winsafe::{HKEY, RegistryValue, co};

use super::Told;

pub use control::{connect as connect_service, connected as is_service};
pub use manager::{install, start, status, stop, uninstall};
pub use rights::{seal, unseal};

/// How the service is called, and its account, and what it writes to the event log.
pub const NAME: &str = "Mailroom";

/// Where the configuration lies unless somebody says otherwise.
pub fn system_configuration() -> PathBuf {
    system_store().join("mailroom.toml")
}

/// Where the store lies unless the configuration says otherwise.
pub fn system_store() -> PathBuf {
    program_data().join(NAME)
}

/// Where programs keep what belongs to the machine. From the registry: the environment of a service may differ from that of the commands
/// that have to find the same files.
fn program_data() -> PathBuf {
    const LIST: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList";
    match HKEY::LOCAL_MACHINE.RegGetValue(Some(LIST), Some("ProgramData"), co::RRF::RT_REG_SZ) {
        Ok(RegistryValue::Sz(path) | RegistryValue::ExpandSz(path)) => PathBuf::from(path),
        _ => std::env::var_os("ProgramData").map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from),
    }
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
    /// Ctrl-C, Ctrl-Break, a closed window, a shutdown, and what the service manager says.
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
            () = control::told_to_stop() => (),
        }
        Told::Stop
    }
}

/// Tells the service manager, if it started this process, that the gateway serves.
pub fn announce_ready() {
    control::running();
}

/// Tells the service manager that the gateway is stopping.
pub fn announce_stopping() {
    control::stopping();
}

/// Tells the service manager with what code the process is about to end.
pub fn announce_end(code: u8) {
    control::ended(code);
}

/// Nobody listens on this system.
pub fn announce_alive() {}

/// Where a service's warnings go, which has nobody who sees what it prints.
pub const EVENT_LOG: events::EventLog = events::EventLog;

/// Nobody watches on this system.
pub fn watchdog_interval() -> Option<Duration> {
    None
}

/// Nothing is taken away here: the account has few rights from the start.
pub fn confine(_: &super::Confinement) -> String {
    "runs with the rights of its account".to_owned()
}

/// Whether what is written to stderr goes nowhere.
pub fn stderr_is_lost() -> bool {
    is_service()
}

/// Listens at an address.
pub fn listen(address: std::net::SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

/// Nothing to do: the service has its own account from the start.
pub fn become_owner() -> Result<Option<String>, String> {
    Ok(None)
}

/// Not known without asking the registry for each network card: servers are found in other ways here.
pub fn nameservers() -> Vec<std::net::SocketAddr> {
    Vec::new()
}

/// Nothing to do: rights are inherited from the directory.
pub fn give_to_owner_of_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// What helps those who may not.
pub const WITH_MORE_RIGHTS: &str = "open the command prompt with \"Run as administrator\"";

/// Whether two paths are the same to Windows, which does not tell capitals from small letters.
pub fn is_same(one: &Path, other: &Path) -> bool {
    one.as_os_str().to_string_lossy().to_lowercase() == other.as_os_str().to_string_lossy().to_lowercase()
}

/// Whether a file can be closed to others wherever it lies: who may read it is inherited from its directory.
pub const PRIVATE_FILES: bool = false;

/// Only systemd hands credentials over.
pub fn credential(_name: &str, _has_own: bool) -> Option<Vec<u8>> {
    None
}

/// Nothing to warn of: the service has its own account from the start.
pub fn keeps_all_rights() -> bool {
    false
}

/// Who may touch the store, for those who may not.
pub const WHO_MAY: &str = "only the service and administrators may: open the command prompt with \"Run as administrator\"";

/// Makes a directory that only its owner, administrators and the service can enter.
pub fn private_directory(dir: &Path) -> io::Result<()> {
    // The usual place holds the configuration too, and may be there before the store is.
    let (found, usual) = (dir.exists(), is_same(dir, &system_store()));
    if found && (!usual || dir.join("store.lock").exists()) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    if usual {
        // Anybody may make directories in this place: whoever was here first must not keep any right.
        rights::take(dir)?;
    }
    rights::close(dir, usual)
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

/// Virus scanners and editors hold a file for a moment, and nobody can replace it meanwhile: so often is it tried.
const ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// Puts a new file in the place of an old one.
pub fn replace(new: &Path, old: &Path) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match std::fs::rename(new, old) {
            Err(error) if matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION)) => std::thread::sleep(BETWEEN_ATTEMPTS),
            result => return result,
        }
    }
    std::fs::rename(new, old)
}

/// ERROR_ACCESS_DENIED
const ACCESS_DENIED: i32 = 5;
/// ERROR_SHARING_VIOLATION
const SHARING_VIOLATION: i32 = 32;

/// What Windows says, in its own words and with its number.
fn in_words(error: windows_service::Error) -> String {
    match error {
        windows_service::Error::Winapi(error) if error.raw_os_error() == Some(ACCESS_DENIED) => {
            "Windows lets only administrators do this: open the command prompt with \"Run as administrator\"".to_owned()
        }
        windows_service::Error::Winapi(error) => error.to_string(),
        error => error.to_string(),
    }
}
