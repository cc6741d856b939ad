//! The way out: as whom a message leaves, and through which smarthosts. Pure. What its header looks like then is [`super::look`]'s.

use crate::address::Address;
use crate::config::{Collector, Config, Smarthost, SmarthostLogin};
use crate::mapping::{Identity, Mapping};

/// How closely a smarthost's `senders` name an address; the closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// The entry of the identity names this smarthost.
    Named,
    Exact,
    Pattern,
    /// It has no `senders`: it takes any.
    Any,
}

/// The smarthosts that let this identity send, the best first; the others are fall-backs.
pub fn smarthosts<'c>(config: &'c Config, identity: &Identity) -> Vec<&'c Smarthost> {
    let usable = config.smarthosts.iter().filter(|smarthost| smarthost.enabled && has_login(config, smarthost, &identity.address));
    let mut fitting: Vec<(Fit, &Smarthost)> = usable.filter_map(|smarthost| Some((fit(smarthost, identity)?, smarthost))).collect();
    // Stable: file order among equals.
    fitting.sort_by_key(|(fit, _)| *fit);
    fitting.into_iter().map(|(_, smarthost)| smarthost).collect()
}

/// Whose log-in a smarthost with `login = "collector"` gets: that of the mailbox with the sender's address.
pub fn collector_of<'c>(config: &'c Config, sender: &Address) -> Option<&'c Collector> {
    config.collectors.iter().find(|collector| collector.address.as_ref() == Some(sender))
}

fn has_login(config: &Config, smarthost: &Smarthost, sender: &Address) -> bool {
    !matches!(smarthost.login, SmarthostLogin::Collector) || collector_of(config, sender).is_some()
}

fn fit(smarthost: &Smarthost, identity: &Identity) -> Option<Fit> {
    if smarthost.senders.is_empty() {
        let named = identity.smarthost.as_ref() == Some(&smarthost.name);
        return Some(if named { Fit::Named } else { Fit::Any });
    }
    let fits = smarthost.senders.iter().filter_map(|sender| match sender.contains(['*', '?']) {
        true => crate::mapping::matches(sender, &identity.address).then_some(Fit::Pattern),
        false => Address::parse(sender).is_ok_and(|sender| sender == identity.address).then_some(Fit::Exact),
    });
    let best = fits.min()?;
    Some(if identity.smarthost.as_ref() == Some(&smarthost.name) { Fit::Named } else { best })
}

/// As whom a user's message leaves. `written` is what its From says, if that is an address: an identity of the user's that some
/// smarthost accepts stays; his LAN address, a bare name or nothing becomes his default; anything else is refused, with what he may use.
pub fn identity(config: &Config, mapping: &Mapping, user: &str, written: Option<&Address>) -> Result<Identity, String> {
    let accepted = |identity: &Identity| !smarthosts(config, identity).is_empty();
    let all = mapping.identities(user);
    let is_inside = |address: &Address| *address.domain() == config.office.lan_domain;
    if let Some(address) = written.filter(|address| !is_inside(address)) {
        return match mapping.identity(user, address) {
            Some(identity) if accepted(&identity) => Ok(identity),
            Some(_) => Err(format!("no smarthost accepts {address} as sender; {}", may_use(user, &all, accepted))),
            None => Err(format!("{user} may not send as {address}; {}", may_use(user, &all, accepted))),
        };
    }
    match all.first() {
        Some(identity) if accepted(identity) => Ok(identity.clone()),
        Some(identity) => Err(format!("no smarthost accepts {} as sender; {}", identity.address, may_use(user, &all, accepted))),
        None => Err(format!("{user} has no address outside to send as; the admin can give one in [senders]")),
    }
}

fn may_use(user: &str, all: &[Identity], accepted: impl Fn(&Identity) -> bool) -> String {
    let usable: Vec<String> = all.iter().filter(|identity| accepted(identity)).map(|identity| identity.address.to_string()).collect();
    match usable.is_empty() {
        true => format!("{user} has no address that one does; the admin can add it to a smarthost's senders"),
        false => format!("{user} may use {}", usable.join(", ")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::address::Domain;
    use crate::mapping::{Fetched, Office, Target};

    pub(in super::super) fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    /// An office with each way to be somebody's address.
    pub(in super::super) fn mapping() -> Mapping {
        let office = Office {
            domains: vec![Domain::parse("example.com").unwrap()],
            lan_domain: Domain::parse("office.lan").unwrap(),
            implied: vec![Domain::parse("example.com").unwrap()],
            postmaster: "alice".into(),
            collectors: vec![Fetched {
                name: "bob".into(),
                address: Some(address("bob@isp.example")),
                deliver: Some(Target::User("bob".into())),
            }],
            smarthosts: vec!["isp".into()],
            users: ["alice", "bob", "carol", "dora"].map(|name| (name.to_owned(), None)).to_vec(),
            mentions: Vec::new(),
        };
        let text = r#"
            [addresses]
            "sales@example.com" = ["alice", "bob"]
            "help@example.com" = "shared:help"
            "*-shop@example.com" = "carol"
            "all@office.lan" = "group:all"
            "all@example.com" = "group:all"
            [groups]
            all = { members = ["alice", "bob"] }
            two = { members = ["dora"] }
            [shared]
            help = { members = ["carol"] }
            [senders]
            alice = { address = "alice@example.com", name = "Alice Smith", also = ["boss@example.com"], reply_to = "office@example.com" }
            "group:two" = { address = "two@example.com" }
            "*" = { address = "office@isp.example", smarthost = "isp" }
        "#;
        Mapping::load(&[("m.toml".into(), text.into())], &office).map_err(|p| p[0].to_string()).unwrap().0
    }

    #[test]
    fn what_each_may_send_as() {
        let mapping = mapping();
        let check = |user: &str, expected: &str| {
            let found: Vec<_> = mapping.identities(user).iter().map(|identity| identity.address.to_string()).collect();
            assert_eq!(found.join(" "), expected, "{user}");
        };
        check("alice", "alice@example.com boss@example.com all@example.com sales@example.com");
        check("bob", "bob@isp.example bob@example.com all@example.com sales@example.com");
        check("carol", "office@isp.example carol@example.com help@example.com");
        check("dora", "two@example.com dora@example.com");
        assert!(mapping.identity("carol", &address("tea-shop@example.com")).is_some());
        assert!(mapping.identity("bob", &address("help@example.com")).is_none());
        assert!(mapping.identity("bob", &address("bob@office.lan")).is_none());
    }
}
