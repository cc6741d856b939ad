//! From a host name to a connection: DNS, TCP, TLS, each with its deadline and its plain-worded failure.

use super::{Connection, Stream, WireError, tls};
use crate::config::{Endpoint, Tls};
use crate::service::platform;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

/// What a session with a server is doing; every phase has its own deadline, and failures name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking the name up.
    Dns,
    /// Making the TCP connection.
    Connect,
    /// The TLS handshake, STARTTLS included.
    Tls,
    /// Waiting for the server's first line.
    Greeting,
    /// Logging in.
    Login,
    /// Waiting for an answer.
    Command,
    /// Receiving or sending a message.
    Transfer,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Dns => "looking up the server's name",
            Self::Connect => "connecting",
            Self::Tls => "setting up TLS",
            Self::Greeting => "waiting for the server's greeting",
            Self::Login => "logging in",
            Self::Command => "waiting for an answer",
            Self::Transfer => "transferring a message",
        })
    }
}

/// A whole answer of many lines may take so many times what one wait may, before its pace counts: a server that searches for long says a word
/// now and then.
const LONG_ANSWER: u32 = 5;

/// How long each phase may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Name look-up.
    pub dns: Duration,
    /// TCP, for each address of the name.
    pub connect: Duration,
    /// TLS.
    pub tls: Duration,
    /// First line.
    pub greeting: Duration,
    /// Log-in: some servers delay it on purpose.
    pub login: Duration,
    /// Any other answer.
    pub command: Duration,
    /// Silence in the middle of a message.
    pub silence: Duration,
    /// Bytes a second that a transfer must reach on average once it lasts longer than `silence`, and an answer of many lines once it lasts
    /// long: a server that trickles is stuck too.
    pub minimum_rate: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            dns: Duration::from_secs(20),
            connect: Duration::from_secs(20),
            tls: Duration::from_secs(30),
            greeting: Duration::from_secs(60),
            login: Duration::from_secs(60),
            command: Duration::from_secs(120),
            silence: Duration::from_secs(60),
            minimum_rate: 200,
        }
    }
}

impl Patience {
    /// The allowance of a phase.
    pub fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Dns => self.dns,
            Phase::Connect => self.connect,
            Phase::Tls => self.tls,
            Phase::Greeting => self.greeting,
            Phase::Login => self.login,
            Phase::Command => self.command,
            Phase::Transfer => self.silence,
        }
    }

    /// When a phase that begins now must have ended.
    pub fn deadline(&self, phase: Phase) -> Instant {
        Instant::now() + self.of(phase)
    }

    /// When the next bytes of a transfer must have come that began at `start` and has brought `bytes` so far.
    pub fn transfer_deadline(&self, start: Instant, bytes: u64) -> Instant {
        (Instant::now() + self.silence).min(start + self.silence.saturating_add(self.earned(bytes)))
    }

    /// When the next line must have come of an answer that began at `start` and has brought `bytes` so far.
    pub fn answer_deadline(&self, phase: Phase, start: Instant, bytes: u64) -> Instant {
        let whole = self.of(phase).saturating_mul(LONG_ANSWER).saturating_add(self.earned(bytes));
        self.deadline(phase).min(start + whole)
    }

    fn earned(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes.checked_div(self.minimum_rate).unwrap_or(0))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name leads to no address.
    #[error("the server name “{host}” can't be found: {reason}. Check the spelling of host, and this machine's network")]
    Name {
        /// As configured.
        host: String,
        /// The resolver's word.
        reason: String,
    },
    /// No address answers.
    #[error("can't connect to {host}:{port}: {reason}")]
    Unreachable {
        /// As configured.
        host: String,
        /// As configured.
        port: u16,
        /// The operating system's word.
        reason: String,
    },
    /// A socket of this machine does not answer.
    #[error("can't connect to {path}: {reason}")]
    Local {
        /// As configured.
        path: String,
        /// The operating system's word.
        reason: String,
    },
    /// The handshake failed.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The connection failed.
    #[error("{phase}: {source}")]
    Wire {
        /// When.
        phase: Phase,
        /// How.
        source: WireError,
    },
}

/// A second address is tried when the first one has not answered for so long (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Keeps NAT tables alive under an idle connection, and notices a dead peer.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// No name needs more addresses tried.
const MAX_ADDRESSES: usize = 8;

/// Connects as the endpoint says: TCP, and TLS if it is implicit.
pub async fn open(endpoint: &Endpoint, patience: &Patience) -> Result<Connection<Stream>, DialError> {
    let connector = match endpoint.tls {
        Tls::Implicit => Some(tls::Connector::new(endpoint)?),
        Tls::Starttls | Tls::None => None,
    };
    let stream = tcp(&endpoint.host, endpoint.port, patience).await?;
    let stream = match connector {
        Some(connector) => connector.connect(stream, patience.deadline(Phase::Tls)).await?,
        None => Stream::Plain(stream),
    };
    Ok(Connection::new(stream))
}

/// Goes on inside TLS, after the server agreed to STARTTLS or STLS.
pub async fn upgrade(connection: Connection<Stream>, endpoint: &Endpoint, patience: &Patience) -> Result<Connection<Stream>, DialError> {
    let connector = tls::Connector::new(endpoint)?;
    let stream = connection.into_inner().map_err(|source| DialError::Wire { phase: Phase::Tls, source })?;
    match stream {
        Stream::Plain(stream) => Ok(Connection::new(connector.connect(stream, patience.deadline(Phase::Tls)).await?)),
        other @ (Stream::Tls(_) | Stream::Local(_)) => Ok(Connection::new(other)),
    }
}

/// A connection to a socket of this machine.
pub async fn local(path: &Path, patience: &Patience) -> Result<Connection<Stream>, DialError> {
    let failed = |reason: String| DialError::Local { path: path.display().to_string(), reason };
    match timeout_at(patience.deadline(Phase::Connect), platform::connect_local(path)).await {
        Ok(Ok(stream)) => Ok(Connection::new(Stream::Local(stream))),
        Ok(Err(error)) => Err(failed(plain(&error))),
        Err(_) => Err(failed("no answer in time".into())),
    }
}

/// A TCP connection to the first address that answers.
pub async fn tcp(host: &str, port: u16, patience: &Patience) -> Result<TcpStream, DialError> {
    let name = |reason: String| DialError::Name { host: host.to_owned(), reason };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<SocketAddr> = match timeout_at(patience.deadline(Phase::Dns), lookup_host((bare, port))).await {
        Ok(Ok(found)) => alternate(found.take(MAX_ADDRESSES).collect()),
        Ok(Err(error)) => return Err(name(error.to_string())),
        Err(_) => return Err(name("no answer in time".into())),
    };
    let mut attempts = tokio::task::JoinSet::new();
    let mut left = addresses.into_iter();
    let mut reason = String::from("the name has no address");
    loop {
        let more = match left.next() {
            Some(address) => {
                attempts.spawn(one(address, patience.deadline(Phase::Connect)));
                true
            }
            None => false,
        };
        let ended = if more && left.len() > 0 {
            match tokio::time::timeout(HEAD_START, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => reason = error,
            Some(Err(error)) => reason = error.to_string(),
            None => return Err(DialError::Unreachable { host: host.to_owned(), port, reason }),
        }
    }
}

async fn one(address: SocketAddr, deadline: Instant) -> Result<TcpStream, String> {
    let attempt = async {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        let stream = socket.connect(address).await?;
        let keep_alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
        // An operating system that knows no interval keeps its own.
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
        Ok::<_, std::io::Error>(stream)
    };
    match timeout_at(deadline, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("{} ({address})", plain(&error))),
        Err(_) => Err(format!("no answer in time ({address})")),
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nothing listens there; check host and port".into(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => "the network is unreachable".into(),
        _ => error.to_string(),
    }
}

/// IPv6 and IPv4 in turns, the resolver's favourite first (RFC 8305 §4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (a, b): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    std::iter::from_fn(|| {
        std::mem::swap(&mut a, &mut b);
        b.next().or_else(|| a.next())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"]);
        assert_eq!(alternate(given), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
    }

    #[tokio::test]
    async fn a_closed_port_is_said_in_words() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = tcp("127.0.0.1", port, &Patience::default()).await.unwrap_err().to_string();
        assert!(error.contains("nothing listens there"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn trap_45_a_trickle_runs_out_of_time() {
        let patience = Patience { silence: Duration::from_secs(60), minimum_rate: 200, ..Patience::default() };
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(patience.transfer_deadline(start, 1_000) < Instant::now());
        assert_eq!(patience.transfer_deadline(start, 1_000_000), Instant::now() + patience.silence);
        // An answer in lines has longer, and not for ever.
        let answer = |bytes| patience.answer_deadline(Phase::Command, start, bytes);
        assert_eq!(answer(0), Instant::now() + patience.command);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(answer(10_000) < Instant::now());
        assert_eq!(answer(1_000_000), Instant::now() + patience.command);
    }
}
