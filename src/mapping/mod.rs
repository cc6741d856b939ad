//! The mapping: files in, and then pure answers — who gets what comes for an address, as whom may a user send, and why.
//!
//! [`Mapping::load`] reads `mappings/*.toml` whole. Then [`Mapping::resolve`] and [`Mapping::identities`] answer; what a message's header
//! says is turned into addresses, and weighed, by [`crate::inbound::recipients`], and the way out is chosen by
//! [`crate::outbound::route`].
//!
//! Knows no mailbox, no network and no clock.

mod check;
mod decision;
pub mod edit;
mod expect;
mod glob;
mod identity;
mod limits;
mod lmtp;
mod load;
mod lookup;
mod names;
mod resolve;
mod rules;
mod target;

pub use decision::{Decision, Direction, Forward, Held, Mailbox, Outcome, Recipient, Sender, Step};
pub use expect::{Expectation, Expected};
pub use identity::Identity;
pub use limits::Limits;
pub use lmtp::LmtpServer;
pub(crate) use resolve::{Asker, Found};
pub(crate) use rules::{Question, Rule};
pub use target::{RESERVED, Target, user_name};

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::address::{Address, Domain};
use crate::document::{Place, Problem};

/// What the mapping needs of `mailroom.toml` and of the user list.
#[derive(Debug, Clone)]
pub struct Office {
    /// Outside domains that are ours.
    pub domains: Vec<Domain>,
    /// `user@lan_domain` is always that user.
    pub lan_domain: Domain,
    /// Domains at which a user's name alone makes an address.
    pub implied: Vec<Domain>,
    /// A user: postmaster@ and abuse@.
    pub postmaster: String,
    /// The collectors, in file order.
    pub collectors: Vec<Fetched>,
    /// Names of the smarthosts.
    pub smarthosts: Vec<String>,
    /// Every user: log-in name and full name.
    pub users: Vec<(String, Option<String>)>,
    /// The single targets that `mailroom.toml` names: what they name has to be in the mapping files.
    pub mentions: Vec<Mention>,
}

/// A user, group, address or the like that `mailroom.toml` names as a target.
#[derive(Debug, Clone)]
pub struct Mention {
    /// What is named.
    pub target: Target,
    /// Where, ready to be completed.
    pub problem: Problem,
}

/// What the mapping needs of a collector.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its name.
    pub name: String,
    /// The mailbox's own address: ours, and never a place to forward to.
    pub address: Option<Address>,
    /// Whom it is bound to.
    pub deliver: Option<Target>,
}

/// The compiled mapping.
#[derive(Debug, Default)]
pub struct Mapping {
    addresses: lookup::Addresses,
    implied: lookup::Implied,
    full_names: BTreeMap<String, String>,
    domains: Vec<Domain>,
    collectors: Vec<Fetched>,
    groups: BTreeMap<String, load::Group>,
    shared: BTreeMap<String, Vec<String>>,
    lists: Vec<load::List>,
    names: names::Names,
    looks: identity::Looks,
    restraints: limits::Restraints,
    rules: rules::Rules,
    expectations: Vec<Expectation>,
    named: BTreeMap<String, Place>,
    unknown: Vec<Problem>,
    /// User → the exact addresses that lead to him; made when somebody first asks.
    leading: OnceLock<HashMap<String, Vec<Address>>>,
}

impl Mapping {
    /// Compiles the mapping files; all mistakes at once. The problems beside the mapping are warnings: unreachable rules, addresses that
    /// nobody claims. Users that do not exist are no mistake here, since users may be added after the files are written: see
    /// [`Mapping::unknown_users`].
    pub fn load(files: &[(PathBuf, String)], office: &Office) -> Result<(Mapping, Vec<Problem>), Vec<Problem>> {
        let (mapping, mut warnings) = load::load(files, office)?;
        warnings.extend(office.mentions.iter().filter_map(|mention| check::unclaimed_mention(&mapping, mention)));
        let problems: Vec<Problem> = office.mentions.iter().filter_map(|mention| check::mention(&mapping, mention)).collect();
        if problems.is_empty() { Ok((mapping, warnings)) } else { Err(problems) }
    }

    /// The users whom the mapping files name and who do not exist, each where it is named first: `run`, `fetch` and a reload refuse them.
    pub fn unknown_users(&self) -> &[Problem] {
        &self.unknown
    }

    /// The users that the mapping files name, each with the first place that does.
    pub fn named_users(&self) -> Vec<(String, Place)> {
        self.named.iter().map(|(name, place)| (name.clone(), place.clone())).collect()
    }

    /// Whether it is an address of ours: in a domain of the office, a collector's own, or a left side of `[addresses]` whose domain has no
    /// wildcard; with a `+tag` or without.
    pub fn is_ours(&self, address: &Address) -> bool {
        let ours = |address: &Address| {
            self.implied.ours.contains(address.domain())
                || self.implied.lan.as_ref() == Some(address.domain())
                || self.implied.users.contains(address.key())
                || self.collectors.iter().any(|collector| collector.address.as_ref() == Some(address))
                || self.addresses.names(address)
        };
        ours(address) || address.without_tag().is_some_and(|address| ours(&address))
    }

    /// Everybody whom a mail to this address reaches, rules aside, whoever sends it; at a share, all members. `None`: nobody claims the
    /// address. To deliver a message, use [`crate::inbound::recipients`], which also knows rules, replies and `senders`.
    pub fn resolve(&self, address: &Address) -> Option<Decision> {
        let found = self.reach(address)?;
        let held = found.held.map(|reason| Held { reason, addresses: vec![address.clone()] });
        Some(Decision {
            recipients: found.recipients,
            forwards: found.forwards,
            lmtp: found.lmtp,
            remote: found.remote.then(|| address.clone()).into_iter().collect(),
            held,
            discarded: found.discarded,
            ..Decision::default()
        })
    }

    /// The user who logs in by this name: `alice`, `alice@` the LAN domain, or an address that maps to that user alone.
    pub fn login(&self, name: &str) -> Option<String> {
        let name = name.trim();
        let lower = name.to_lowercase();
        if let Some(user) = self.implied.users.get(&lower) {
            return Some(user.clone());
        }
        let found = self.reach(&Address::parse(name).ok()?)?;
        let alone = found.forwards.is_empty() && found.lmtp.is_empty() && found.held.is_none();
        match found.recipients.as_slice() {
            [Recipient { mailbox: Mailbox::User(user), .. }] if alone => Some(user.clone()),
            _ => None,
        }
    }

    /// The address nearest to one that nobody claims, at the same domain, for the refusal.
    pub fn nearest(&self, address: &Address) -> Option<Address> {
        let (local, domain) = address.key().rsplit_once('@')?;
        let here = |left: &str| left.rsplit_once('@').filter(|(_, at)| *at == domain).map(|(local, _)| local.to_owned());
        let exact = self.addresses.exact().filter_map(|entry| here(&entry.left));
        let users = self.implied.users.iter().filter(|user| !user.contains('@')).cloned();
        let bound = self.implied.bound.keys().filter_map(|key| here(key));
        let known: Vec<String> = exact.chain(users).chain(bound).collect();
        let near = crate::document::nearest(local, known.iter().map(String::as_str))?;
        let near = Address::new(near, address.domain()).ok()?;
        self.addresses.look_up(&near, &self.implied).map(|_| near)
    }

    /// The shared mailboxes: name and members.
    pub fn shared(&self) -> Vec<(String, Vec<String>)> {
        self.shared.iter().map(|(name, members)| (name.clone(), members.clone())).collect()
    }

    /// Whether a user reads a shared mailbox.
    pub fn is_shared_with(&self, shared: &str, user: &str) -> bool {
        self.shared.get(shared).is_some_and(|members| members.iter().any(|member| member == user))
    }

    /// The shared mailboxes that a user reads, by name.
    pub fn memberships(&self, user: &str) -> Vec<String> {
        self.shared.keys().filter(|shared| self.is_shared_with(shared, user)).cloned().collect()
    }

    /// `[[expect]]`, in file order.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// Outside domains that are ours, in the office's order.
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// Whether somebody claims an address by name: by an exact entry, as a user's own, or as a mailbox that is fetched for him, with a `+tag`
    /// or without.
    pub(crate) fn claims(&self, address: &Address) -> bool {
        self.addresses.names_exactly(address, &self.implied)
    }

    /// The target that a List-Id has in `[lists]`, with its place.
    pub(crate) fn list(&self, id: &str) -> Option<(&Target, &Place)> {
        self.lists.iter().find(|list| list.glob.matches(id)).map(|list| (&list.target, &list.place))
    }

    /// The member of a share whom a display name means.
    pub(crate) fn named_member<'m>(&self, name: &str, members: &'m [String]) -> Option<&'m str> {
        self.names.member(name, members)
    }

    /// The rules that match, in file order, up to the first that stops.
    pub(crate) fn rules(&self, question: &Question<'_>) -> Vec<&Rule> {
        self.rules.matching(question)
    }
}

/// Whether an address matches a pattern such as `*@example.com`, as `senders` of a smarthost have them.
pub fn matches(pattern: &str, address: &Address) -> bool {
    let normal = pattern.rsplit_once('@').and_then(|(local, domain)| target::pattern(local, domain).ok());
    normal.is_some_and(|normal| glob::Glob::new(&normal).matches(address.key()))
}

/// Whether a text is like a pattern with `*` and `?`, whatever the case.
pub fn is_like(pattern: &str, text: &str) -> bool {
    glob::Glob::new(&pattern.to_lowercase()).matches(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn office() -> Office {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let user = |name: &str| (name.to_owned(), None);
        Office {
            domains: vec![domain("example.com"), domain("old.example")],
            lan_domain: domain("office.lan"),
            implied: vec![domain("example.com")],
            postmaster: "alice".into(),
            collectors: vec![
                Fetched { name: "isp".into(), address: Address::parse("office@isp.example").ok(), deliver: None },
                Fetched { name: "bob".into(), address: Address::parse("bob@isp.example").ok(), deliver: Some(Target::User("bob".into())) },
            ],
            smarthosts: vec!["isp".into()],
            users: vec![("alice".into(), Some("Alice Smith".into())), user("bob"), user("carol"), user("anna@beta.example")],
            mentions: Vec::new(),
        }
    }

    fn load(text: &str) -> Mapping {
        let files = [(PathBuf::from("mappings/office.toml"), text.to_owned())];
        match Mapping::load(&files, &office()) {
            Ok((mapping, _)) => mapping,
            Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    fn words(mapping: &Mapping, address: &str) -> String {
        mapping.reach(&Address::parse(address).unwrap()).map_or("nobody".to_owned(), |found| found.words())
    }

    #[test]
    fn looks_up_in_order() {
        let mapping = load(
            r#"
            [addresses]
            "alice@example.com" = "bob"
            "*-shop@example.com" = "bob"
            "carol-shop@example.com" = "carol"
            "*@old.example" = "*@example.com"
            "office+*@isp.example" = "carol"
            "office@isp.example" = { share = ["alice", "bob"], otherwise = "alice" }
            "s*@example.com" = "carol"
            "su*@example.com" = "bob"
            "sub*@example.com" = ["alice", "group:all"]
            "trap@example.com" = "discard"
            "x@example.com" = { to = ["alice", "x2@example.com"], folder = "X" }
            "x2@example.com" = { to = "bob", folder = "Y" }
            [groups]
            all = { members = ["alice", "bob", "group:more"] }
            more = { members = ["carol", "forward:dan@home.example"] }
            "#,
        );
        let check = |address: &str, expected: &str| assert_eq!(words(&mapping, address), expected, "{address}");
        check("alice@example.com", "bob");
        check("alice+x@example.com", "bob");
        check("alice@office.lan", "alice");
        check("bob+x@example.com", "bob");
        check("alice@old.example", "bob");
        check("carol@old.example", "carol");
        check("nobody@old.example", "held: it becomes nobody@example.com, which nobody claims");
        check("tea-shop@example.com", "bob");
        check("CAROL-shop@EXAMPLE.com", "carol");
        check("office+news@isp.example", "carol");
        check("office@isp.example", "alice, bob");
        check("sxx@example.com", "carol");
        check("sux@example.com", "bob");
        check("subx@example.com", "alice, bob, carol, sent on to dan@home.example");
        check("trap@example.com", "discarded");
        check("x@example.com", "alice (folder X), bob (folder X)");
        check("postmaster@example.com", "alice");
        check("abuse@old.example", "alice");
        check("anna@beta.example", "anna@beta.example");
        check("anna@example.com", "nobody");
        check("bob@isp.example", "bob");
        check("BOB+news@isp.example", "bob");
        check("carol@isp.example", "nobody");
    }
}
