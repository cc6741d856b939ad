//! The lines that a delivery puts above a message: `Return-Path`, `Delivered-To`, `Received` (RFC 5321 §4.4).
//!
//! Everything that came from a peer is reduced to what may stand in such a line, so that nobody writes lines of his own.

use super::date;
use crate::address::Address;
use std::net::IpAddr;

/// Of a word from a peer: a host name can't be longer.
const MAX_WORD: usize = 255;

/// How a message came to us.
#[derive(Debug, Clone, Default)]
pub struct Hop<'a> {
    /// The server it was fetched from, or what the client called itself.
    pub from: Option<&'a str>,
    /// Its address, if there was a connection.
    pub ip: Option<IpAddr>,
    /// Our name.
    pub by: &'a str,
    /// `ESMTPSA`, `POP3S`, `IMAPS` …
    pub with: &'a str,
    /// Ours, of the message or the connection.
    pub id: &'a str,
    /// Whom this copy is for.
    pub recipient: Option<&'a Address>,
    /// When, in milliseconds since 1970.
    pub date: i64,
}

/// What stands above one copy of a message.
#[derive(Debug, Clone, Default)]
pub struct Prefix<'a> {
    /// The envelope sender, if it is known and the message doesn't say it: `Some(None)` is `<>`.
    pub return_path: Option<Option<&'a Address>>,
    /// The local address that it was delivered to.
    pub delivered_to: Option<&'a Address>,
    /// The last hop.
    pub hop: Option<Hop<'a>>,
}

impl Prefix<'_> {
    /// The lines, each ended by CRLF.
    pub fn render(&self) -> Vec<u8> {
        let mut lines = String::new();
        if let Some(sender) = self.return_path {
            lines.push_str(&format!("Return-Path: <{}>\r\n", sender.map(Address::to_string).unwrap_or_default()));
        }
        if let Some(address) = self.delivered_to {
            lines.push_str(&format!("Delivered-To: {address}\r\n"));
        }
        if let Some(hop) = &self.hop {
            lines.push_str(&hop.render());
        }
        lines.into_bytes()
    }
}

impl Hop<'_> {
    fn render(&self) -> String {
        let mut line = String::from("Received: ");
        let ip = self.ip.map(|ip| match ip {
            IpAddr::V4(ip) => format!("([{ip}])"),
            IpAddr::V6(ip) => format!("([IPv6:{ip}])"),
        });
        let from: Vec<String> = self.from.map(word).into_iter().chain(ip).collect();
        if !from.is_empty() {
            // RFC 5321 §4.4: a comment alone can't follow `from`.
            let unknown = if self.from.is_none() { "unknown " } else { "" };
            line.push_str(&format!("from {unknown}{}\r\n\t", from.join(" ")));
        }
        line.push_str(&format!("by {} (Mailroom) with {} id {}", word(self.by), word(self.with), word(self.id)));
        if let Some(recipient) = self.recipient {
            line.push_str(&format!("\r\n\tfor <{recipient}>"));
        }
        line.push_str(&format!(";\r\n\t{}\r\n", date::render(self.date)));
        line
    }
}

/// One word that can't be taken for another clause, a comment or a line end.
fn word(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:[]+=/".contains(c);
    let word: String = text.chars().take(MAX_WORD).map(|c| if allowed(c) { c } else { '?' }).collect();
    if word.is_empty() { "unknown".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::received;

    #[test]
    fn a_delivery() {
        let (sender, person) = (Address::parse("a@x.example").unwrap(), Address::parse("\"b c\"@office.lan").unwrap());
        let hop = Hop {
            from: Some("pop.isp.example"),
            ip: "192.0.2.1".parse().ok(),
            by: "mail.office.lan",
            with: "POP3S",
            id: "7f",
            recipient: Some(&person),
            date: 1_704_103_200_000,
        };
        let prefix = Prefix { return_path: Some(Some(&sender)), delivered_to: Some(&person), hop: Some(hop) };
        assert_eq!(
            String::from_utf8_lossy(&prefix.render()),
            "Return-Path: <a@x.example>\r\nDelivered-To: \"b c\"@office.lan\r\nReceived: from pop.isp.example ([192.0.2.1])\r\n\t\
             by mail.office.lan (Mailroom) with POP3S id 7f\r\n\tfor <\"b c\"@office.lan>;\r\n\tMon, 1 Jan 2024 10:00:00 +0000\r\n"
        );
        assert_eq!(Prefix { return_path: Some(None), ..Prefix::default() }.render(), b"Return-Path: <>\r\n");
        assert_eq!(Prefix::default().render(), b"");
    }

    #[test]
    fn a_peer_writes_no_clause_of_his_own() {
        let evil = "x by y for <boss@x>; z\r\nBcc: q (";
        let person = Address::parse("anna@office.lan").unwrap();
        let hop = Hop { from: Some(evil), by: "mx", with: evil, id: "", recipient: Some(&person), ..Hop::default() };
        let line = String::from_utf8(Prefix { hop: Some(hop), ..Prefix::default() }.render()).unwrap();
        assert!(line.lines().skip(1).all(|line| line.starts_with('\t')), "{line}");
        let read = received::parse(line.strip_prefix("Received:").unwrap().as_bytes());
        assert_eq!((read.by.as_deref(), read.recipients), (Some("mx"), vec![person]));
    }
}
