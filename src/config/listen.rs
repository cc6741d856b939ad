//! `[listen]`, `[tls]`, `[access]` and `[[device]]`: the LAN side.

use super::Reading;
use crate::address::Address;
use crate::document::{Table, Value};
use crate::mapping::user_name;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What "private" stands for: loopback, RFC 1918, link-local (RFC 3927, RFC 4291) and unique local addresses (RFC 4193).
const PRIVATE: [&str; 8] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"];
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// `[listen]`: an empty list is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listen {
    /// POP3 with STLS.
    pub pop3: Vec<SocketAddr>,
    /// POP3 over TLS.
    pub pop3s: Vec<SocketAddr>,
    /// IMAP with STARTTLS.
    pub imap: Vec<SocketAddr>,
    /// IMAP over TLS.
    pub imaps: Vec<SocketAddr>,
    /// Submission with STARTTLS.
    pub submission: Vec<SocketAddr>,
    /// Submission over TLS.
    pub submissions: Vec<SocketAddr>,
    /// Port 25.
    pub smtp: Vec<SocketAddr>,
    /// Web page, metrics, client autoconfiguration.
    pub admin: Vec<SocketAddr>,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// `[access]`
#[derive(Debug, Clone)]
pub struct Access {
    /// Who may connect at all.
    pub clients: Vec<IpNet>,
    /// Who may deliver to our addresses without log-in.
    pub inbound: Vec<IpNet>,
    /// Who may log in without TLS.
    pub plaintext_login: Vec<IpNet>,
    /// Over all listeners.
    pub max_connections: usize,
    /// Bytes, for submission and APPEND.
    pub max_message_size: u64,
    /// Failed log-ins from one address in ten minutes before it waits.
    pub login_failures: u32,
}

/// `[[device]]`: a scanner or machine that can't log in.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name in traces.
    pub name: String,
    /// Where it connects from.
    pub address: Vec<IpNet>,
    /// Whom its mail comes from.
    pub sender: DeviceSender,
    /// The user who gets its bounces.
    pub bounces: Option<String>,
    /// Only to local users.
    pub local_only: bool,
}

/// `send_as` or `user` of a device.
#[derive(Debug, Clone)]
pub enum DeviceSender {
    /// An address without a mailbox of its own.
    SendAs(Address),
    /// As this user.
    User(String),
}

impl Listen {
    pub(super) fn read(table: Option<&Table<'_>>) -> Self {
        let mut seen = Vec::new();
        let mut list = |key: &str, default: Option<u16>| -> Vec<SocketAddr> {
            match table.and_then(|table| table.one_or_more(key)) {
                Some(values) => values.iter().filter_map(|value| listener(value, &mut seen)).collect(),
                None => default.map(|port| SocketAddr::from(([0, 0, 0, 0], port))).into_iter().collect(),
            }
        };
        Self {
            pop3: list("pop3", None),
            pop3s: list("pop3s", Some(995)),
            imap: list("imap", None),
            imaps: list("imaps", Some(993)),
            submission: list("submission", Some(587)),
            submissions: list("submissions", Some(465)),
            smtp: list("smtp", None),
            admin: match table.is_some_and(|table| table.has("admin")) {
                true => list("admin", None),
                false => {
                    if let Some(table) = table {
                        let _ = table.get("admin");
                    }
                    vec![SocketAddr::from(([127, 0, 0, 1], 8025))]
                }
            },
        }
    }
}

impl TlsFiles {
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        table.require("cert", "cert = \"fullchain.pem\"");
        table.require("key", "key = \"key.pem\"");
        Some(Self { cert: table.path("cert")?.value, key: table.path("key")?.value })
    }
}

impl Access {
    pub(super) fn read(table: Option<&Table<'_>>) -> Self {
        let list = |key: &str, default: &[&str]| match table.and_then(|table| table.one_or_more(key)) {
            Some(values) => values.iter().flat_map(networks).collect(),
            None => known(default),
        };
        let access = Self {
            clients: list("clients", &PRIVATE),
            inbound: list("inbound", &[]),
            plaintext_login: list("plaintext_login", &LOOPBACK),
            max_connections: table
                .and_then(|t| t.integer("max_connections", 1..=100_000))
                .and_then(|f| usize::try_from(f.value).ok())
                .unwrap_or(2000),
            max_message_size: table.and_then(|t| t.size("max_message_size")).map_or(50_000_000, |f| f.value),
            login_failures: table
                .and_then(|t| t.integer("login_failures", 1..=10_000))
                .and_then(|f| u32::try_from(f.value).ok())
                .unwrap_or(10),
        };
        if let Some(mark) = table.and_then(|table| table.key_mark("plaintext_login"))
            && access.plaintext_login.iter().any(|network| network.prefix_len() == 0)
        {
            mark.warn("anybody may send passwords without TLS, readable by everybody on the way", None);
        }
        access
    }
}

impl Device {
    pub(super) fn read(table: &Table<'_>, reading: &mut Reading) -> Option<Self> {
        let name = super::name(table, reading, "device", "copier");
        let user = |key: &str, reading: &mut Reading| {
            let value = table.get(key)?;
            let name = value.parse(user_name)?;
            reading.name_user(&name, value.place());
            Some(name)
        };
        table.require("address", "address = [\"192.168.1.40\"]");
        let address: Vec<IpNet> = table.one_or_more("address").unwrap_or_default().iter().flat_map(networks).collect();
        let (send_as, user_sender) = (table.address("send_as"), user("user", reading));
        let sender = match (send_as, user_sender) {
            (Some(found), None) => Some(DeviceSender::SendAs(found.value)),
            (None, Some(name)) => Some(DeviceSender::User(name)),
            (Some(found), Some(_)) => {
                found.mark.wrong_with("\"send_as\" and \"user\" exclude each other", "leave one of them out");
                None
            }
            (None, None) => {
                if !table.has("send_as") && !table.has("user") {
                    table.missing("send_as", "send_as = \"office@isp.example\", or user = \"alice\"");
                }
                None
            }
        };
        let local_only = table.word("to", &[("anyone", false), ("local", true)]).is_some_and(|f| f.value);
        Some(Self { name: name?, address, sender: sender?, bounces: user("bounces", reading), local_only })
    }
}

/// `"private"`, a network such as `10.0.0.0/8`, or a single address.
fn networks(value: &Value<'_>) -> Vec<IpNet> {
    if value.as_text() == Some("private") {
        return known(&PRIVATE);
    }
    let network = value.parse(|text| {
        let single = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let wanted = || {
            format!(
                "\"{text}\" is no network; write \"private\", an address such as \"192.168.1.40\" or a network such as \"192.168.1.0/24\""
            )
        };
        text.parse::<IpNet>().ok().or_else(single).ok_or_else(wanted)
    });
    network.into_iter().collect()
}

fn known(list: &[&str]) -> Vec<IpNet> {
    list.iter().filter_map(|text| text.parse().ok()).collect()
}

/// An address to listen at; noted as wrong if another listener has it already.
fn listener(value: &Value<'_>, seen: &mut Vec<SocketAddr>) -> Option<SocketAddr> {
    let address = value.parse(|text| {
        text.parse::<SocketAddr>().map_err(|_| {
            let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let example = match (text.split(':').next(), port) {
                (Some("localhost"), Some(port)) => format!("127.0.0.1:{port}"),
                (_, Some(port)) => format!("0.0.0.0:{port}\" (every network) or \"[::]:{port}"),
                _ => "0.0.0.0:993".to_owned(),
            };
            format!("\"{text}\" is no address with a port; write \"{example}\"")
        })
    })?;
    if address.port() != 0 && seen.contains(&address) {
        value.mark().wrong(format!("{address} is used by two listeners"));
        return None;
    }
    seen.push(address);
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_means_private() {
        let networks = known(&PRIVATE);
        assert_eq!(networks.len(), PRIVATE.len());
        let check = |address: &str, inside: bool| {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(networks.iter().any(|network| network.contains(&address)), inside, "{address}");
        };
        for address in ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.178.20", "169.254.1.1", "::1", "fd12::1", "fe80::1"] {
            check(address, true);
        }
        for address in ["172.32.0.1", "192.0.2.1", "8.8.8.8", "2001:db8::1"] {
            check(address, false);
        }
    }
}
