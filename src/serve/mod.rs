//! The LAN side: what every server of ours shares. A listener accepts, checks who may connect, and hands a [`Stream`] to `pop3`, `imap` or `smtp`.
//!
//! Each server is a function `serve(stream, peer, context, stop)` that returns when its client is gone; it never fails, it replies.

pub mod auth;
pub mod imap;
pub mod listener;
pub mod login;
pub mod pop3;
pub mod smtp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::config::Current;
use crate::store::Store;
use crate::wire::WireError;
use crate::wire::sasl::Channel;
use crate::wire::tls::{Acceptor, server_channel};

/// A connection of either kind, so that STARTTLS does not change a session's type.
pub type Stream = Box<dyn Duplex>;

/// Both directions of a connection: a socket, TLS over one, or a test's pipe.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// What a log-in over it can be bound to.
    fn channel(&self) -> Channel {
        Channel::Clear
    }
}

impl Duplex for TcpStream {}
impl Duplex for DuplexStream {}
impl Duplex for TlsStream<Stream> {
    fn channel(&self) -> Channel {
        let (_, session) = self.get_ref();
        server_channel(session)
    }
}

/// What all sessions share.
pub struct Context {
    /// Mail and users.
    pub store: Store,
    /// Configuration and mapping in force: take one `Arc` a command, with `current.borrow().clone()`.
    pub current: watch::Receiver<Arc<Current>>,
    /// Checks names and passwords, and slows guessers down.
    pub login: login::Login,
    /// For implicit TLS and STARTTLS. Its certificate may change while it runs.
    pub tls: Acceptor,
}

/// Who is at the other end, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address; an IPv4 address mapped into IPv6 is shown as IPv4.
    pub address: SocketAddr,
    /// Our side of the connection.
    pub local: SocketAddr,
    /// Whether TLS was there from the first byte.
    pub tls: bool,
}

impl Peer {
    /// The address that access rules look at.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// Tells sessions that the gateway is stopping: they finish the command in hand, say goodbye and end.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The switch (send `true`) and what it is seen by.
    pub fn channel() -> (watch::Sender<bool>, Stop) {
        let (switch, seen) = watch::channel(false);
        (switch, Stop(seen))
    }

    /// Whether the gateway is stopping.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the gateway is stopping; a vanished switch counts.
    pub async fn requested(&mut self) {
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// A client that opens a connection and then says nothing must not hold a place for long.
pub const HANDSHAKE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

impl Context {
    /// What is in force now.
    pub fn now(&self) -> Arc<Current> {
        self.current.borrow().clone()
    }

    /// Whether a client without TLS may log in from there.
    pub fn plaintext_login(&self, from: IpAddr) -> bool {
        self.now().config.access.plaintext_login.iter().any(|net| net.contains(&from))
    }

    /// Implicit TLS, or the upgrade after STARTTLS. The stream comes from [`crate::wire::Connection::into_inner`], which makes sure that
    /// nothing was read ahead of the handshake. A handshake that is not over when the gateway stops is [`WireError::Closed`]: whoever
    /// says nothing there could not be told anything, and must not delay the stop.
    pub async fn upgrade(&self, stream: Stream, stop: &mut Stop) -> Result<Stream, WireError> {
        tokio::select! {
            accepted = self.tls.accept(stream, Instant::now() + HANDSHAKE_DEADLINE) => Ok(Box::new(accepted?)),
            () = stop.requested() => Err(WireError::Closed),
        }
    }
}
