//! Accepting connections: who may connect, how many at once, and how all of them end when the gateway stops.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::{Context, Peer, Stop, Stream};
use crate::config::{Config, Listen};
use crate::service::platform;

/// After a failed accept (no file descriptors left, most often) the next one waits: without it the loop would burn a core.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(200);
/// How long sessions have to end when the gateway stops. Below the ten seconds that it promises as a whole.
const GOODBYE: Duration = Duration::from_secs(8);
/// One address may hold a quarter of all places: many people can sit behind one, but one broken client must not lock out the rest.
const SHARE_OF_AN_ADDRESS: usize = 4;
/// One service may hold three quarters of all places, so that a flood of one leaves room for the others.
const SHARE_OF_A_SERVICE: (usize, usize) = (3, 4);

/// What a listener speaks: one for each key of `[listen]` that has a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// POP3 with STLS.
    Pop3,
    /// POP3 over TLS.
    Pop3s,
    /// IMAP with STARTTLS.
    Imap,
    /// IMAP over TLS.
    Imaps,
    /// Submission with STARTTLS.
    Submission,
    /// Submission over TLS.
    Submissions,
    /// Port 25: devices, and mail for our own addresses.
    Smtp,
}

impl Service {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Service; 7] =
        [Service::Pop3, Service::Pop3s, Service::Imap, Service::Imaps, Service::Submission, Service::Submissions, Service::Smtp];

    /// Its key in `[listen]`.
    pub fn key(self) -> &'static str {
        match self {
            Service::Pop3 => "pop3",
            Service::Pop3s => "pop3s",
            Service::Imap => "imap",
            Service::Imaps => "imaps",
            Service::Submission => "submission",
            Service::Submissions => "submissions",
            Service::Smtp => "smtp",
        }
    }

    /// Where it is wanted.
    pub fn addresses(self, listen: &Listen) -> &[SocketAddr] {
        match self {
            Service::Pop3 => &listen.pop3,
            Service::Pop3s => &listen.pop3s,
            Service::Imap => &listen.imap,
            Service::Imaps => &listen.imaps,
            Service::Submission => &listen.submission,
            Service::Submissions => &listen.submissions,
            Service::Smtp => &listen.smtp,
        }
    }

    /// Whether TLS comes before the first byte of the protocol.
    pub fn implicit_tls(self) -> bool {
        matches!(self, Service::Pop3s | Service::Imaps | Service::Submissions)
    }

    /// Whether somebody at this address may connect: one of `access.clients`; at port 25 also who may hand in mail there without log-in.
    fn may_connect(self, config: &Config, from: IpAddr) -> bool {
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&from));
        let hands_in = || within(&config.access.inbound) || config.devices.iter().any(|device| within(&device.address));
        within(&config.access.clients) || self == Service::Smtp && hands_in()
    }

    /// What a client hears when no place is left; nothing where TLS would have to come first.
    fn full(self) -> &'static [u8] {
        match self {
            Service::Pop3 => b"-ERR [SYS/TEMP] too many connections, try again later\r\n",
            Service::Imap => b"* BYE [UNAVAILABLE] Too many connections, try again later\r\n",
            Service::Submission | Service::Smtp => b"421 4.7.0 Too many connections, try again later\r\n",
            Service::Pop3s | Service::Imaps | Service::Submissions => b"",
        }
    }
}

/// A bound socket.
pub struct Listener {
    service: Service,
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds; port 0 picks a free one.
    pub fn bind(service: Service, wanted: SocketAddr) -> io::Result<Listener> {
        let socket = platform::listen(wanted)?;
        let address = socket.local_addr()?;
        Ok(Listener { service, socket, address })
    }

    /// What it speaks.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; ends when the last session has, or was cut after [`GOODBYE`].
    pub async fn run(self, context: Arc<Context>, places: Arc<Places>, mut stop: Stop) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.requested() => break,
                Some(ended) = sessions.join_next() => note_panic(self.service, ended),
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, from)) => self.admit(socket, from, &context, &places, &stop, &mut sessions).await,
                    Err(error) => {
                        tracing::warn!(service = self.service.key(), %error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_BACK_OFF).await;
                    }
                },
            }
        }
        let Listener { service, socket, .. } = self;
        drop(socket);
        let farewell = async {
            while let Some(ended) = sessions.join_next().await {
                note_panic(service, ended);
            }
        };
        if tokio::time::timeout(GOODBYE, farewell).await.is_err() {
            tracing::info!(service = service.key(), sessions = sessions.len(), "cutting sessions that did not end");
            sessions.shutdown().await;
        }
    }

    /// Lets a client in, if it may connect and a place is left.
    async fn admit(
        &self,
        mut socket: TcpStream,
        from: SocketAddr,
        context: &Arc<Context>,
        places: &Arc<Places>,
        stop: &Stop,
        sessions: &mut JoinSet<()>,
    ) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let current = context.now();
        if !self.service.may_connect(&current.config, from.ip()) {
            tracing::info!(service = self.service.key(), client = %from, "may not connect by [access]: closed");
            return;
        }
        let Some(place) = places.take(self.service, from.ip(), current.config.access.max_connections) else {
            tracing::warn!(service = self.service.key(), client = %from, "access.max_connections reached: turned away");
            // Whether the client hears it is its own matter: a full socket buffer must not hold up the loop.
            let _ = tokio::time::timeout(ACCEPT_BACK_OFF, socket.write_all(self.service.full())).await;
            return;
        };
        // Replies are batched by the sessions themselves; Nagle would only delay the last one (RFC 896).
        let _ = socket.set_nodelay(true);
        let local = socket.local_addr().unwrap_or(self.address);
        let peer = Peer { address: from, local, tls: self.service.implicit_tls() };
        let span = tracing::info_span!("session", service = self.service.key(), client = %from);
        let (service, context, stop) = (self.service, context.clone(), stop.clone());
        let session = async move {
            let _place = place;
            serve(service, Box::new(socket), peer, context, stop).await;
        };
        sessions.spawn(session.instrument(span));
    }
}

async fn serve(service: Service, stream: Stream, peer: Peer, context: Arc<Context>, mut stop: Stop) {
    let stream = match service.implicit_tls() {
        false => stream,
        true => match context.upgrade(stream, &mut stop).await {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "no session"),
        },
    };
    match service {
        Service::Pop3 | Service::Pop3s => super::pop3::serve(stream, peer, context, stop).await,
        Service::Imap | Service::Imaps => super::imap::serve(stream, peer, context, stop).await,
        Service::Submission | Service::Submissions => super::smtp::serve(stream, peer, context, stop).await,
        Service::Smtp => super::smtp::serve_mail(stream, peer, context, stop).await,
    }
}

fn note_panic(service: Service, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(service = service.key(), "a session ended by a fault of the program; the others go on");
    }
}

/// How many connections there are, over all listeners.
#[derive(Default)]
pub struct Places {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_service: HashMap<Service, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; given back when it is dropped.
pub struct Place {
    places: Arc<Places>,
    service: Service,
    from: IpAddr,
}

impl Places {
    /// A place for a connection, or `None` if its address, its service or the whole gateway has too many of `limit` already.
    pub fn take(self: &Arc<Self>, service: Service, from: IpAddr, limit: usize) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_service = taken.by_service.get(&service).copied().unwrap_or_default();
        let of_address = taken.by_address.get(&from).copied().unwrap_or_default();
        let service_limit = (limit * SHARE_OF_A_SERVICE.0).div_ceil(SHARE_OF_A_SERVICE.1);
        // On this machine one address is many people's: a webmail, a proxy.
        let address_limit = if from.to_canonical().is_loopback() { limit } else { limit.div_ceil(SHARE_OF_AN_ADDRESS) };
        if taken.all >= limit || of_service >= service_limit || of_address >= address_limit {
            return None;
        }
        taken.all += 1;
        *taken.by_service.entry(service).or_default() += 1;
        *taken.by_address.entry(from).or_default() += 1;
        Some(Place { places: self.clone(), service, from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by_service.get_mut(&self.service) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = taken.by_address.get_mut(&self.from) {
            *count = count.saturating_sub(1);
            // Addresses come and go for as long as the gateway runs.
            if *count == 0 {
                taken.by_address.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 168, 1, last])
    }

    #[test]
    fn one_address_holds_a_quarter_at_most() {
        let places = Arc::new(Places::default());
        let held: Vec<_> = (0..10).filter_map(|_| places.take(Service::Imaps, address(1), 20)).collect();
        assert_eq!(held.len(), 5);
        assert!(places.take(Service::Imaps, address(2), 20).is_some());
        let webmail = IpAddr::from([127, 0, 0, 1]);
        let held: Vec<_> = (0..20).filter_map(|_| places.take(Service::Imap, webmail, 20)).collect();
        assert_eq!(held.len(), 15);
    }

    #[test]
    fn one_service_leaves_room_for_the_others() {
        let places = Arc::new(Places::default());
        let held: Vec<_> = (0..20).filter_map(|n| places.take(Service::Imaps, address(n), 20)).collect();
        assert_eq!(held.len(), 15);
        assert!(places.take(Service::Submissions, address(99), 20).is_some());
    }

    #[test]
    fn a_place_is_given_back() {
        let places = Arc::new(Places::default());
        let held: Vec<_> = (0..9).filter_map(|n| places.take(Service::ALL[n % 7], address(n as u8), 4)).collect();
        assert_eq!(held.len(), 4);
        drop(held);
        assert!(places.take(Service::Pop3, address(1), 4).is_some());
        assert!(places.taken.lock().unwrap().by_address.is_empty());
    }
}
