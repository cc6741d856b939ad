//! Another mail system of the office, as the relay sees it: a smarthost without log-in, asked sooner again, since it stands next door.

use super::Candidate;
use crate::config::{Endpoint, Smarthost, SmarthostLogin, Tls};
use crate::mapping::LmtpServer;
use crate::outbound::credentials::Account;
use std::sync::Arc;
use std::time::Duration;

/// Waits between attempts, in seconds: it is restarted more often than it is broken, and asking costs nobody anything.
const RETRY: [u64; 4] = [30, 60, 120, 300];
/// Then a fetched mail goes to the tray and a colleague's bounces: five days, as with smarthosts.
const EXPIRE: Duration = Duration::from_secs(5 * 24 * 3600);
/// Connections at once.
const CONNECTIONS: usize = 4;

/// What a target names behind `lmtp:`; `Err` says in words what is wrong with it.
pub(super) fn candidate(server: &str) -> Result<Candidate, String> {
    let lmtp = LmtpServer::parse(server)?;
    let port = if let LmtpServer::Tcp(_, port) = &lmtp { *port } else { 0 };
    let smarthost = Smarthost {
        name: format!("lmtp:{server}"),
        enabled: true,
        provider: None,
        endpoint: Endpoint { host: server.to_owned(), port, tls: Tls::None, ca: None, pin: None },
        login: SmarthostLogin::None,
        senders: vec![],
        rate: None,
        window: vec![],
        connections: CONNECTIONS,
        retry: RETRY.map(Duration::from_secs).to_vec(),
        expire: EXPIRE,
        line: 0,
    };
    Ok(Candidate { smarthost: Arc::new(smarthost), account: Account::None, lmtp: Some(lmtp) })
}
