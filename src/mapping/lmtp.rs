//! Another mail system that takes mail by LMTP, as a target names it: `lmtp:HOST:PORT` or `lmtp:/path/to/socket`.

use crate::service::platform;
use std::path::PathBuf;

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LmtpServer {
    /// Host, in brackets if it is an IPv6 address, and port.
    Tcp(String, u16),
    /// A socket of this machine.
    Local(PathBuf),
}

impl LmtpServer {
    /// Reads what stands behind `lmtp:`; the error is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return match platform::LOCAL_SOCKETS {
                true => Ok(Self::Local(PathBuf::from(text))),
                false => Err(format!("\"lmtp:{text}\": this system has no such sockets; write a host and a port")),
            };
        }
        let port = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
        let host = |host: &str| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let named = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            bare.map_or(!host.is_empty() && named(host), |address| address.parse::<std::net::Ipv6Addr>().is_ok())
        };
        match text.rsplit_once(':').map(|(name, number)| (name, port(number))) {
            Some((name, Some(port))) if host(name) => Ok(Self::Tcp(name.to_owned(), port)),
            _ => Err(format!(
                "\"lmtp:{text}\" needs a host and a port, such as \"lmtp:mail.lab.lan:24\", or the path of a socket, such as \
                 \"lmtp:/run/dovecot/lmtp\""
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_another_mail_system_listens() {
        let tcp = |host: &str, port| Some(LmtpServer::Tcp(host.to_owned(), port));
        let check = |text: &str, expected: Option<LmtpServer>| assert_eq!(LmtpServer::parse(text).ok(), expected, "{text}");
        check("mail.lab.lan:24", tcp("mail.lab.lan", 24));
        check("10.0.0.2:24", tcp("10.0.0.2", 24));
        check("[fd00::2]:24", tcp("[fd00::2]", 24));
        check("/run/dovecot/lmtp", platform::LOCAL_SOCKETS.then(|| LmtpServer::Local("/run/dovecot/lmtp".into())));
        for wrong in ["", "mail.lab.lan", ":24", "mail.lab.lan:0", "mail.lab.lan:70000", "fd00::2:24", "[mail]:24", "run/lmtp", "a b:24"] {
            check(wrong, None);
        }
    }
}
