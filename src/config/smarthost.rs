//! `[[smarthost]]`

use super::Reading;
use super::collector::{Collector, not_empty};
use super::providers::Profiles;
use super::server::{Auth, Defaults, Endpoint, Tls};
use crate::address::{Address, Domain};
use crate::document::{Table, Value};
use crate::schedule::Window;
use std::time::Duration;

const MINUTE: u64 = 60;

/// `login` of a smarthost.
#[derive(Debug, Clone)]
pub enum SmarthostLogin {
    /// None: it knows us by our address.
    None,
    /// User name and how to log in.
    Own(String, Auth),
    /// Those of the sending identity's own collector.
    Collector,
}

/// `[[smarthost]]`
#[derive(Debug, Clone)]
pub struct Smarthost {
    /// Its name, unique.
    pub name: String,
    /// `enabled`
    pub enabled: bool,
    /// The profile it took its defaults from.
    pub provider: Option<String>,
    /// Server.
    pub endpoint: Endpoint,
    /// Log-in.
    pub login: SmarthostLogin,
    /// Addresses and patterns that it lets us send as; empty: any.
    pub senders: Vec<String>,
    /// At most this many mails in that time.
    pub rate: Option<(u32, Duration)>,
    /// The hours in which it is used; empty: always.
    pub window: Vec<Window>,
    /// Connections at once.
    pub connections: usize,
    /// Waits between attempts; the last one repeats.
    pub retry: Vec<Duration>,
    /// Then it bounces to the local sender.
    pub expire: Duration,
    /// Line of its `[[smarthost]]` in the file, from 1.
    pub line: usize,
}

impl Smarthost {
    pub(super) fn read(table: &Table<'_>, profiles: &Profiles, collectors: &[Collector], reading: &mut Reading) -> Option<Self> {
        let name = super::name(table, reading, "smarthost", "isp");
        let provider = table.get("provider").and_then(|value| profiles.find(&value));
        let defaults = Defaults {
            endpoint: provider.and_then(|profile| profile.smtp.as_ref()).map(|server| &server.endpoint),
            tls: |port| if port == Some(465) { Tls::Implicit } else { Tls::Starttls },
            port: |tls| if tls == Tls::Implicit { 465 } else { 587 },
            example: "smtp.isp.example",
        };
        let endpoint = match provider.is_none() && table.has("provider") {
            true => Endpoint::skip(table),
            false => Endpoint::read(table, &defaults),
        };
        let login = login(table);
        let mut senders: Vec<String> =
            table.one_or_more("senders").unwrap_or_default().iter().filter_map(|value| value.parse(sender)).collect();
        if senders.is_empty() && matches!(login, Some(SmarthostLogin::Collector)) {
            senders = collectors.iter().filter_map(|collector| Some(collector.address.as_ref()?.to_string())).collect();
        }
        let retry = match table.one_or_more("retry") {
            Some(values) => waits(table, &values),
            None => [1, 5, 15, 60, 240].map(|minutes| Duration::from_secs(minutes * MINUTE)).to_vec(),
        };
        let smarthost = Self {
            enabled: table.boolean("enabled").is_none_or(|f| f.value),
            provider: provider.map(|profile| profile.id.clone()),
            senders,
            rate: match table.get("rate") {
                Some(value) => value.parse(rate),
                None => provider.and_then(|profile| profile.rate),
            },
            window: table.one_or_more("window").unwrap_or_default().iter().filter_map(|value| value.parse(Window::parse)).collect(),
            connections: table.integer("connections", 1..=20).and_then(|f| usize::try_from(f.value).ok()).unwrap_or(2),
            retry,
            expire: table.duration("expire").map_or(Duration::from_secs(5 * 1440 * MINUTE), |f| f.value),
            line: table.place().line,
            name: name?,
            endpoint: endpoint?,
            login: login?,
        };
        Some(smarthost)
    }
}

impl Smarthost {
    /// Whether it lets us send as this address.
    pub fn accepts(&self, sender: &Address) -> bool {
        self.senders.is_empty() || self.accepts_exactly(sender) || self.senders.iter().any(|pattern| fits(pattern, sender.key()))
    }

    /// Whether the address itself, and not only a pattern, is among its senders.
    pub fn accepts_exactly(&self, sender: &Address) -> bool {
        self.senders.iter().any(|one| Address::parse(one).is_ok_and(|one| one == *sender))
    }
}

/// Whether an address fits a pattern with `*` (any characters) and `?` (one), without regard to case.
fn fits(pattern: &str, key: &str) -> bool {
    let (pattern, key): (Vec<char>, Vec<char>) = (pattern.to_lowercase().chars().collect(), key.chars().collect());
    let (mut p, mut k) = (0, 0);
    // The last star, and how much it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while k < key.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, k));
                p += 1;
            }
            Some(c) if *c == '?' || *c == key[k] => (p, k) = (p + 1, k + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, k) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

fn login(table: &Table<'_>) -> Option<SmarthostLogin> {
    let collector = table.word("login", &[("own", false), ("collector", true)]).is_some_and(|f| f.value);
    let username = table.get("username").map(|value| value.parse(not_empty));
    let auth = Auth::read(table);
    let secret = ["password", "oauth2", "auth"].into_iter().find(|key| table.has(key));
    match (collector, username, secret) {
        (true, None, None) => Some(SmarthostLogin::Collector),
        (true, _, _) => {
            let mark = table.key_mark("login").unwrap_or_else(|| table.mark());
            mark.wrong_with(
                "with login = \"collector\" this smarthost has no user name and password of its own",
                "leave out username and password, or login",
            );
            None
        }
        (false, None, None) => Some(SmarthostLogin::None),
        (false, Some(username), Some(_)) => Some(SmarthostLogin::Own(username?, auth?)),
        (false, Some(_), None) => {
            table.missing("password", "password = { file = \"isp.pass\" }, or leave out username");
            None
        }
        (false, None, Some(_)) => {
            table.missing("username", "username = \"office@isp.example\"");
            None
        }
    }
}

/// An address, or a pattern with * and ?, normalised as far as a pattern can be.
fn sender(text: &str) -> Result<String, String> {
    if !text.contains(['*', '?', '@']) {
        return Err(format!("\"{text}\" is no mail address; write \"*@{text}\" for all of that domain"));
    }
    if !text.contains(['*', '?']) {
        return Address::parse(text).map(|address| address.to_string()).map_err(|error| format!("this is no mail address: {error}"));
    }
    let (local, domain) = text
        .rsplit_once('@')
        .ok_or_else(|| format!("\"{text}\" is neither an address nor a pattern; write \"*@{}\"", text.trim_start_matches('*')))?;
    let domain = match domain.contains(['*', '?']) {
        true => domain.to_lowercase(),
        false => Domain::parse(domain).map_err(|error| format!("\"{text}\" is no pattern: {error}"))?.as_str().to_owned(),
    };
    Ok(format!("{local}@{domain}"))
}

/// `100/h`: a number of mails in a second, minute, hour or day.
pub(super) fn rate(text: &str) -> Result<(u32, Duration), String> {
    let parsed = text.split_once('/').and_then(|(count, unit)| {
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => MINUTE,
            "h" => 60 * MINUTE,
            "d" => 1440 * MINUTE,
            _ => return None,
        };
        let count = count.trim().parse::<u32>().ok().filter(|count| *count > 0)?;
        Some((count, Duration::from_secs(seconds)))
    });
    parsed.ok_or_else(|| format!("\"{text}\" is no rate; write a number, a slash and s, m, h or d, such as \"100/h\""))
}

fn waits(table: &Table<'_>, values: &[Value<'_>]) -> Vec<Duration> {
    let wait = |value: &Value<'_>| {
        let wait = value.duration()?;
        if wait.is_zero() {
            value.mark().wrong_with("without a wait the smarthost would be asked without end", "write \"1m\" or longer");
        }
        Some(wait)
    };
    if values.is_empty() {
        table.mark().wrong_with("\"retry\" is an empty list", "leave it out for the default: [\"1m\", \"5m\", \"15m\", \"1h\", \"4h\"]");
    }
    values.iter().filter_map(wait).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate("100/h"), Ok((100, Duration::from_secs(3600))));
        assert_eq!(rate("2/s"), Ok((2, Duration::from_secs(1))));
        for wrong in ["100", "/h", "0/h", "100/w", "-1/h", "1.5/h"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns() {
        let check = |pattern: &str, address: &str, expected: bool| assert_eq!(fits(pattern, address), expected, "{pattern} {address}");
        check("*@example.com", "alice@example.com", true);
        check("*@Example.com", "alice@example.com", true);
        check("*@example.com", "alice@example.com.evil.example", false);
        check("a?ice@*", "alice@example.com", true);
        check("*-shop@*.example", "my-shop@a.b.example", true);
        check("*a*b*c", &"ab".repeat(2000), false);
        check("?", "", false);
        check("*", "", true);
    }

    #[test]
    fn senders() {
        assert_eq!(sender("*@EXAMPLE.com"), Ok("*@example.com".into()));
        assert_eq!(sender("office@Example.com"), Ok("office@example.com".into()));
        assert!(sender("*example.com").unwrap_err().contains("*@example.com"));
        assert!(sender("example.com").is_err());
    }
}
