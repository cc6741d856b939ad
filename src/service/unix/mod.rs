//! Unix: where files usually lie, who may read them, signals, and what systemd wants to hear.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, getuid, initgroups, setegid, seteuid, setgroups, setresgid, setresuid};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, TcpSocket, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use super::Told;

#[cfg(target_os = "linux")]
mod confine;
mod systemd;

#[cfg(target_os = "linux")]
pub use confine::confine;
pub use systemd::{install, start, status, stop, uninstall};

/// Where the configuration lies unless somebody says otherwise.
pub fn system_configuration() -> PathBuf {
    PathBuf::from("/etc/mailroom/mailroom.toml")
}

/// Where the store lies unless the configuration says otherwise.
pub fn system_store() -> PathBuf {
    PathBuf::from("/var/lib/mailroom")
}

/// Whether programs of this machine can be reached by sockets that have paths.
pub const LOCAL_SOCKETS: bool = true;

/// A connection to such a socket.
pub type LocalStream = UnixStream;

/// Connects to the socket at this path.
pub async fn connect_local(path: &Path) -> io::Result<LocalStream> {
    UnixStream::connect(path).await
}

/// Connections that wait to be accepted; more than an office's mail programs open at once.
const BACKLOG: u32 = 1024;

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

/// Systemd sees for itself with what code a process ends.
pub fn announce_end(_code: u8) {}

/// Systemd starts a service like any program: there is nothing to connect to.
pub fn connect_service() -> Result<(), String> {
    Ok(())
}

/// Whether the system's service manager shows nobody what this process prints. Systemd does: in its journal.
pub fn is_service() -> bool {
    false
}

/// Where a service's warnings go instead.
pub const EVENT_LOG: fn() -> io::Sink = io::sink;

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

/// Nothing to take away by: only Linux has Landlock and seccomp.
#[cfg(not(target_os = "linux"))]
pub fn confine(_: &super::Confinement) -> String {
    "not confined: this system has neither Landlock nor seccomp".to_owned()
}

/// Whether what is written to stderr goes nowhere: a daemon of the old kind, whose log has to lie in a file.
pub fn stderr_is_lost() -> bool {
    let null = Path::new("/dev/null").metadata().map(|about| (about.dev(), about.ino()));
    let ours = Path::new("/dev/stderr").metadata().map(|about| (about.dev(), about.ino()));
    match (null, ours) {
        (Ok(null), Ok(ours)) => null == ours,
        (_, Err(_)) => true,
        _ => false,
    }
}

/// What helps those who may not.
pub const WITH_MORE_RIGHTS: &str = "run it with sudo";

/// Whether two paths are written alike.
pub fn is_same(one: &Path, other: &Path) -> bool {
    one == other
}

/// Whether a file can be closed to others wherever it lies.
pub const PRIVATE_FILES: bool = true;

/// Where root keeps what systemd hands over to the service as a credential of this name.
const CREDENTIAL_STORE: &str = "/etc/credstore/mailroom.";
/// systemd hands credentials over in this directory.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A credential of the service. Root's commands, which act as the service's account, find it where systemd takes it from; unless it
/// `has_own`, which might be another service's.
pub fn credential(name: &str, has_own: bool) -> Option<Vec<u8>> {
    if let Some(directory) = std::env::var_os(CREDENTIALS) {
        return std::fs::read(Path::new(&directory).join(name)).ok();
    }
    if has_own || !getuid().is_root() || Uid::effective().is_root() {
        return None;
    }
    with_own_rights(|| std::fs::read(format!("{CREDENTIAL_STORE}{name}"))).ok()
}

/// Who may touch the store, for those who may not.
pub const WHO_MAY: &str = "the user that runs Mailroom must own the store's directory";

/// Makes a directory that only its owner can enter, or closes an existing one to others.
pub fn private_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if dir.metadata()?.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Opens a file for reading and writing, made if missing, that only its owner can read.
pub fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Writes a file that only its owner can read, in place of what was there.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file(path)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether everybody on this machine may read or change a file. Its group is the owner's business.
pub fn others_can_read(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.mode() & 0o007 != 0)
}

/// From here on root acts as the owner of that directory, so that what a command makes there belongs to the gateway. Another user is
/// refused, in words. A directory that is not there yet will be ours.
pub fn act_as_owner(dir: &Path) -> Result<(), String> {
    let Ok(metadata) = dir.metadata() else { return Ok(()) };
    let owner = Uid::from_raw(metadata.uid());
    if owner == Uid::effective() {
        return Ok(());
    }
    let name = || match User::from_uid(owner) {
        Ok(Some(user)) => user.name,
        _ => owner.to_string(),
    };
    if !Uid::effective().is_root() {
        return Err(format!("{} belongs to the user {}: run this as that user or as root", dir.display(), name()));
    }
    setegid(Gid::from_raw(metadata.gid()))
        .and_then(|()| seteuid(owner))
        .map_err(|error| format!("acting as the user {}, who owns {}, is not possible: {error}", name(), dir.display()))
}

/// Listens at an address, with the rights that the process was started with: ports below 1024 may need them.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    with_own_rights(|| {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // The port of a gateway that ended a moment ago is free although old connections linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    })
}

/// Whether this process has all rights, and keeps them: root with a store of its own.
pub fn keeps_all_rights() -> bool {
    getuid().is_root() && Uid::effective().is_root()
}

/// For good, root becomes the owner of the store, as whom it acts since [`act_as_owner`]; says so, for the log. Others stay who they are.
pub fn become_owner() -> Result<Option<String>, String> {
    let (owner, group) = (Uid::effective(), Gid::effective());
    if !getuid().is_root() || owner.is_root() {
        return Ok(None);
    }
    let user = User::from_uid(owner).ok().flatten();
    let name = user.as_ref().map_or_else(|| owner.to_string(), |user| user.name.clone());
    let given_up = || -> nix::Result<()> {
        seteuid(getuid())?;
        match user.as_ref().and_then(|user| CString::new(user.name.as_str()).ok()) {
            Some(name) => initgroups(&name, group)?,
            None => setgroups(&[group])?,
        }
        setresgid(group, group, group)?;
        setresuid(owner, owner, owner)
    };
    given_up().map_err(|error| format!("becoming the user {name}, who owns the store, is not possible: {error}"))?;
    match seteuid(Uid::from_raw(0)) {
        Ok(()) => Err("root's rights could not be given up".to_owned()),
        Err(_) => Ok(Some(format!("started as root, runs as the user {name}, who owns the store"))),
    }
}

/// The name servers that this machine asks.
pub fn nameservers() -> Vec<SocketAddr> {
    nameservers_of(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

/// Those of a resolv.conf(5).
fn nameservers_of(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        // An address with a zone (fe80::1%eth0) is none that std reads; there is another one then, most often.
        if words.next()? == "nameserver" { words.next()?.parse::<IpAddr>().ok() } else { None }
    };
    text.lines().filter_map(address).map(|address| SocketAddr::new(address, 53)).collect()
}

/// Gives what root has just made to the owner and the group of the directory that it lies in.
pub fn give_to_owner_of_directory(path: &Path) -> io::Result<()> {
    let Some(above) = path.parent() else { return Ok(()) };
    let (made, above) = (path.metadata()?, above.metadata()?);
    if (made.uid(), made.gid()) != (above.uid(), above.gid()) && getuid().is_root() {
        with_own_rights(|| std::os::unix::fs::chown(path, Some(above.uid()), Some(above.gid())))?;
    }
    Ok(())
}

/// Does something with the rights that the process was started with, after [`act_as_owner`].
pub fn with_own_rights<T>(work: impl FnOnce() -> T) -> T {
    let acting = Uid::effective();
    let back = getuid() != acting && seteuid(getuid()).is_ok();
    let result = work();
    if back && seteuid(acting).is_err() {
        // Going on with more rights than were meant is worse than ending here.
        std::process::abort();
    }
    result
}

/// Gives a new file the owner and the mode of the one that it is to replace.
pub fn make_like(new: &Path, old: &Path) -> io::Result<()> {
    let (made, model) = (new.metadata()?, old.metadata()?);
    if (made.uid(), made.gid()) != (model.uid(), model.gid()) {
        std::os::unix::fs::chown(new, Some(model.uid()), Some(model.gid()))?;
    }
    std::fs::set_permissions(new, Permissions::from_mode(model.mode() & 0o7777))
}

/// Puts a new file in the place of an old one.
pub fn replace(new: &Path, old: &Path) -> io::Result<()> {
    std::fs::rename(new, old)
}

/// Keeps a key as it is: the mode of its file protects it.
pub fn seal(key: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(key.to_vec()))
}

/// Undoes [`seal`].
pub fn unseal(sealed: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_a_resolv_conf() {
        let text = "# made by something\nsearch office.lan\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\nnameserver\t2001:db8::1 # x\n";
        let expected = ["192.168.1.1:53", "[2001:db8::1]:53"].map(|address| address.parse().unwrap());
        assert_eq!(nameservers_of(text), expected);
    }
}
