//! How much a user may hand in: the keys of `[senders]` that hold somebody back.

use std::collections::BTreeMap;

use super::Mapping;
use crate::document::Table;

/// More recipients than this no mail has anyway: [`crate::smtp::session::MAX_RECIPIENTS`].
const MOST_RECIPIENTS: i64 = 1_000;
/// A limit above this is none.
const MOST_PER_HOUR: i64 = 1_000_000;

/// What holds for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// He may write to the outside.
    pub external: bool,
    /// Recipients of one mail.
    pub recipients: Option<u64>,
    /// Bytes of one mail.
    pub max_size: Option<u64>,
    /// Mails in any sixty minutes, to whomever.
    pub per_hour: Option<u64>,
}

/// What one entry says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Restraint {
    external: Option<bool>,
    recipients: Option<u64>,
    max_size: Option<u64>,
    per_hour: Option<u64>,
}

/// All entries that say something.
#[derive(Debug, Default)]
pub(super) struct Restraints {
    users: BTreeMap<String, Restraint>,
    groups: BTreeMap<String, Restraint>,
    anyone: Restraint,
}

impl Restraint {
    const KEYS: [&str; 4] = ["external", "recipients", "max_size", "per_hour"];

    /// Whether an entry is one: it needs no address then.
    pub(super) fn is_in(table: &Table<'_>) -> bool {
        Self::KEYS.iter().any(|key| table.has(key))
    }

    pub(super) fn read(table: &Table<'_>) -> Restraint {
        let number = |key: &str, most: i64| table.integer(key, 1..=most).and_then(|found| u64::try_from(found.value).ok());
        Restraint {
            external: table.boolean("external").map(|found| found.value),
            recipients: number("recipients", MOST_RECIPIENTS),
            max_size: table.size("max_size").map(|found| found.value),
            per_hour: number("per_hour", MOST_PER_HOUR),
        }
    }

    /// What neither says, the other does.
    fn or(self, other: Restraint) -> Restraint {
        Restraint {
            external: self.external.or(other.external),
            recipients: self.recipients.or(other.recipients),
            max_size: self.max_size.or(other.max_size),
            per_hour: self.per_hour.or(other.per_hour),
        }
    }

    /// Whoever is in two groups is held back by both.
    fn and(self, other: Restraint) -> Restraint {
        let lower = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Restraint {
            external: self.external.into_iter().chain(other.external).min(),
            recipients: lower(self.recipients, other.recipients),
            max_size: lower(self.max_size, other.max_size),
            per_hour: lower(self.per_hour, other.per_hour),
        }
    }
}

impl Restraints {
    /// `key` is the left side of an entry of `[senders]`.
    pub(super) fn insert(&mut self, key: &str, restraint: Restraint) {
        if restraint == Restraint::default() {
            return;
        }
        match key.strip_prefix("group:") {
            Some(group) => drop(self.groups.insert(group.to_owned(), restraint)),
            None if key == "*" => self.anyone = restraint,
            None => drop(self.users.insert(super::user_name(key).unwrap_or_else(|_| key.to_owned()), restraint)),
        }
    }
}

impl Mapping {
    /// What a user may hand in: his own entry, else those of his groups, else that of everybody, key by key.
    pub fn limits(&self, user: &str) -> Limits {
        let restraints = &self.restraints;
        let own = restraints.users.get(user).copied().unwrap_or_default();
        let groups = restraints.groups.iter().filter(|(group, _)| self.is_member(user, group)).map(|(_, restraint)| *restraint);
        let all = own.or(groups.fold(Restraint::default(), Restraint::and)).or(restraints.anyone);
        Limits { external: all.external.unwrap_or(true), recipients: all.recipients, max_size: all.max_size, per_hour: all.per_hour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Domain;
    use crate::mapping::Office;

    const FREE: Limits = Limits { external: true, recipients: None, max_size: None, per_hour: None };

    fn mapping(senders: &str) -> Result<Mapping, String> {
        let office = Office {
            domains: vec![],
            lan_domain: Domain::parse("office.lan").unwrap(),
            implied: vec![],
            postmaster: "alice".into(),
            collectors: vec![],
            smarthosts: vec![],
            users: ["alice", "bob", "carol"].map(|name| (name.to_owned(), None)).to_vec(),
            mentions: vec![],
        };
        let text =
            format!("[groups]\ntemps = {{ members = [\"bob\"] }}\nshop = {{ members = [\"bob\", \"carol\"] }}\n[senders]\n{senders}\n");
        let loaded = Mapping::load(&[("m.toml".into(), text)], &office);
        loaded.map(|(mapping, _)| mapping).map_err(|problems| problems[0].message.clone())
    }

    #[test]
    fn the_nearest_entry_says_it_key_by_key() {
        let check = |senders: &str, user: &str, expected: Limits| {
            assert_eq!(mapping(senders).unwrap().limits(user), expected, "{user}: {senders}");
        };
        check("", "alice", FREE);
        let all = "bob = { max_size = \"1MB\" }\n\"group:temps\" = { external = false, per_hour = 5, max_size = \"2MB\" }\n\
                   \"group:shop\" = { per_hour = 3 }\n\"*\" = { recipients = 10, per_hour = 100 }";
        check(all, "bob", Limits { external: false, recipients: Some(10), max_size: Some(1_000_000), per_hour: Some(3) });
        check(all, "carol", Limits { recipients: Some(10), per_hour: Some(3), ..FREE });
        check(all, "alice", Limits { recipients: Some(10), per_hour: Some(100), ..FREE });
        check("bob = { external = true }\n\"*\" = { external = false }", "bob", FREE);
    }

    #[test]
    fn an_entry_that_only_holds_back_needs_no_address() {
        assert_eq!(mapping("bob = { external = false }").unwrap().identities("bob"), []);
        assert!(mapping("bob = { name = \"Bob\" }").unwrap_err().contains("\"address\" is missing"));
        assert!(mapping("bob = { external = false, name = \"Bob\" }").unwrap_err().contains("\"address\" is missing"));
        assert!(mapping("bob = { recipients = 0 }").unwrap_err().contains("from 1 to 1000"));
        assert!(mapping("bob = { external = \"no\" }").unwrap_err().contains("true or false"));
    }
}
