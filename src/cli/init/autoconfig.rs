//! The settings that a domain publishes for mail programs: Thunderbird's "config-v1.1.xml" (over HTTPS alone: whoever changes it on the
//! way gets the password), then SRV records (RFC 6186, RFC 8314).

use std::time::Duration;

use crate::address::{Address, Domain};
use crate::config::Protocol;
use crate::service::platform;
use crate::wire::{http, srv};

/// A domain that publishes nothing often has a host that drops what comes; five places are asked, and somebody waits.
const PATIENCE: Duration = Duration::from_secs(6);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it says so, for people.
    pub source: String,
    /// For fetching.
    pub imap: Option<Service>,
    /// For fetching.
    pub pop3: Option<Service>,
    /// For sending.
    pub smtp: Option<Service>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// As in the configuration: implicit or starttls.
    pub tls: &'static str,
    /// The log-in name, if it says so.
    pub username: Option<String>,
}

impl Found {
    /// The server to fetch from.
    pub fn server(&self, protocol: Protocol) -> Option<&Service> {
        match protocol {
            Protocol::Imap => self.imap.as_ref(),
            Protocol::Pop3 => self.pop3.as_ref(),
        }
    }

    /// IMAP, unless there is none.
    pub fn usual_protocol(&self) -> Protocol {
        if self.imap.is_none() && self.pop3.is_some() { Protocol::Pop3 } else { Protocol::Imap }
    }

    /// Hosts that lie in another domain than the mailbox. DNS alone is no proof that they are the right ones (RFC 6186 §6).
    pub fn strangers(&self, domain: &Domain) -> Vec<&str> {
        let within = |host: &str| host == domain.as_str() || host.ends_with(&format!(".{domain}"));
        let mut hosts: Vec<&str> = [&self.imap, &self.pop3, &self.smtp].into_iter().flatten().map(|one| one.host.as_str()).collect();
        hosts.retain(|host| !within(host));
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// For people: `IMAP at imap.example:993, sending at smtp.example:465`.
    pub fn summary(&self) -> String {
        let one =
            |what: &str, service: &Option<Service>| service.as_ref().map(|service| format!("{what} at {}:{}", service.host, service.port));
        let all = [one("IMAP", &self.imap), one("POP3", &self.pop3), one("sending", &self.smtp)];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What the file at this address says.
pub async fn at(address: &str, email: &Address) -> Result<Found, String> {
    let answer = http::get(address, PATIENCE).await.map_err(|error| format!("{address}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{address}: there is nothing (HTTP {})", answer.status));
    }
    let host = address.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(address);
    read(&String::from_utf8_lossy(&answer.body), email, host).ok_or_else(|| format!("{address}: it names no mail server with TLS"))
}

/// Asks the usual places: the domain itself, Thunderbird's list, DNS.
pub async fn look_up(email: &Address) -> Option<Found> {
    let domain = email.domain();
    let places = [
        format!("https://autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={email}"),
        format!("https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml"),
        format!("https://autoconfig.thunderbird.net/v1.1/{domain}"),
    ];
    // All at once, and the first place in this order counts: each may take its whole time to say nothing.
    let [own, known, list] = &places;
    let (own, known, list, dns) = tokio::join!(at(own, email), at(known, email), at(list, email), by_dns(domain));
    own.ok().or(known.ok()).or(list.ok()).or(dns)
}

/// RFC 6186 §3.4: a record that points to the root says that there is no such service.
async fn by_dns(domain: &Domain) -> Option<Found> {
    let servers = platform::nameservers();
    let ask = async |service: &str, tls: &'static str| {
        let found = srv::look_up(&format!("{service}._tcp.{domain}"), &servers, PATIENCE).await.ok()?;
        let best = found.into_iter().find(|record| !record.target.is_empty())?;
        Some(Service { host: best.target, port: best.port, tls, username: None })
    };
    let (imaps, imap, pop3s, pop3, submissions, submission) = tokio::join!(
        ask("_imaps", "implicit"),
        ask("_imap", "starttls"),
        ask("_pop3s", "implicit"),
        ask("_pop3", "starttls"),
        ask("_submissions", "implicit"),
        ask("_submission", "starttls"),
    );
    let found = Found { source: format!("DNS ({domain})"), imap: imaps.or(imap), pop3: pop3s.or(pop3), smtp: submissions.or(submission) };
    (found.imap.is_some() || found.pop3.is_some()).then_some(found)
}

/// Reads what is needed of the file, and no more XML than that: elements without attributes of ours, no entities but the five.
fn read(text: &str, email: &Address, source: &str) -> Option<Found> {
    let services = |element: &str, kind: &str| -> Option<Service> {
        let mut all: Vec<Service> = elements(text, element)
            .filter(|(attributes, _)| attribute(attributes, "type").is_some_and(|found| found.eq_ignore_ascii_case(kind)))
            .filter_map(|(_, inside)| service(inside, email))
            .collect();
        // The file's order counts (it says which it likes best), but TLS from the first byte comes first (RFC 8314 §3).
        all.sort_by_key(|service| service.tls != "implicit");
        all.into_iter().next()
    };
    let found = Found {
        source: source.to_owned(),
        imap: services("incomingServer", "imap"),
        pop3: services("incomingServer", "pop3"),
        smtp: services("outgoingServer", "smtp"),
    };
    (found.imap.is_some() || found.pop3.is_some()).then_some(found)
}

fn service(inside: &str, email: &Address) -> Option<Service> {
    let value = |element: &str| elements(inside, element).next().map(|(_, text)| unescaped(text.trim()));
    let fill = |text: String| {
        text.replace("%EMAILADDRESS%", &email.to_string())
            .replace("%EMAILLOCALPART%", email.local())
            .replace("%EMAILDOMAIN%", email.domain().as_str())
    };
    let tls = match value("socketType")?.to_ascii_uppercase().as_str() {
        "SSL" | "TLS" => "implicit",
        "STARTTLS" => "starttls",
        _ => return None,
    };
    let host = fill(value("hostname")?);
    let plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let username = value("username").map(fill).filter(|name| !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '%'));
    plain.then_some(Service { host: host.to_ascii_lowercase(), port: value("port")?.parse().ok()?, tls, username })
}

/// Attributes and inside of each element of this name; an element does not hold another of its own name.
fn elements<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let after = &rest[rest.find(&open)? + open.len()..];
            rest = after;
            if !after.starts_with(|c: char| c == '>' || c.is_ascii_whitespace()) {
                continue;
            }
            let (attributes, inside) = after.split_once('>')?;
            let (inside, behind) = inside.split_once(&close)?;
            rest = behind;
            return Some((attributes, inside));
        }
    })
}

fn attribute<'t>(attributes: &'t str, name: &str) -> Option<&'t str> {
    let value = attributes.split_once(&format!("{name}="))?.1;
    let quote = value.chars().next().filter(|quote| "\"'".contains(*quote))?;
    value[1..].split(quote).next()
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"<?xml version="1.0"?>
        <clientConfig version="1.1"><emailProvider id="firma.example"><domain>firma.example</domain>
        <incomingServer type="pop3"><hostname>pop.host.example</hostname><port>995</port><socketType>SSL</socketType></incomingServer>
        <incomingServer type="imap"><hostname>plain.host.example</hostname><port>143</port><socketType>plain</socketType></incomingServer>
        <incomingServer type='imap'><hostname>imap.host.example</hostname><port>143</port><socketType>STARTTLS</socketType>
          <username>%EMAILLOCALPART%</username></incomingServer>
        <incomingServer type="imap">
          <hostname>IMAP.%EMAILDOMAIN%</hostname> <port> 993 </port> <socketType>SSL</socketType>
          <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication>
        </incomingServer>
        <outgoingServer type="smtp"><hostname>smtp.host.example</hostname><port>587</port><socketType>STARTTLS</socketType></outgoingServer>
        </emailProvider></clientConfig>"#;

    fn email() -> Address {
        Address::parse("info@firma.example").unwrap()
    }

    #[test]
    fn the_best_servers_of_a_file() {
        let found = read(FILE, &email(), "here").unwrap();
        assert_eq!(found.summary(), "IMAP at imap.firma.example:993, POP3 at pop.host.example:995, sending at smtp.host.example:587");
        assert_eq!(found.imap.as_ref().unwrap().username.as_deref(), Some("info@firma.example"));
        assert_eq!(found.smtp.as_ref().unwrap().tls, "starttls");
        assert_eq!(found.strangers(email().domain()), ["pop.host.example", "smtp.host.example"]);
    }

    #[test]
    fn what_names_no_server_is_nothing() {
        for text in [
            "",
            "<html><body>Not found</body></html>",
            "<incomingServer type=\"imap\">",
            "<incomingServer type=\"imap\"><hostname>a b</hostname><port>993</port><socketType>SSL</socketType></incomingServer>",
            "<incomingServer type=\"imap\"><hostname>h</hostname><port>99999</port><socketType>SSL</socketType></incomingServer>",
            "<incomingServer type=\"imap\"><hostname>h</hostname><port>143</port><socketType>plain</socketType></incomingServer>",
            "<incomingServerX type=\"imap\"><hostname>h</hostname><port>993</port><socketType>SSL</socketType></incomingServerX>",
        ] {
            assert_eq!(read(text, &email(), "here"), None, "{text}");
        }
    }
}
