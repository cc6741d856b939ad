//! `[senders]`: as whom people send, and how that looks outside.

use std::collections::{BTreeMap, HashMap};

use super::load::{Group, GroupSenders};
use super::resolve::{Asker, Found};
use super::{Mailbox, Mapping, Sender, Target};
use crate::address::Address;
use crate::document::Place;

/// An outside address that a user may send as, and how it looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The address.
    pub address: Address,
    /// Display name, if the entry gives one.
    pub name: Option<String>,
    /// Reply-To, if the entry gives one.
    pub reply_to: Option<Address>,
    /// A smarthost that the entry names.
    pub smarthost: Option<String>,
}

/// An entry of `[senders]`.
#[derive(Debug, PartialEq)]
pub(super) struct Look {
    pub(super) address: Address,
    pub(super) name: Option<String>,
    pub(super) also: Vec<Address>,
    pub(super) reply_to: Option<Address>,
    pub(super) smarthost: Option<String>,
    pub(super) place: Place,
}

impl Look {
    fn identity(&self) -> Identity {
        Identity {
            address: self.address.clone(),
            name: self.name.clone(),
            reply_to: self.reply_to.clone(),
            smarthost: self.smarthost.clone(),
        }
    }

    /// Whether two entries come to the same, wherever they stand.
    pub(super) fn agrees(&self, other: &Look) -> bool {
        self.identity() == other.identity() && self.also == other.also
    }
}

/// `[senders]`.
#[derive(Debug, Default)]
pub(super) struct Looks {
    users: BTreeMap<String, Look>,
    groups: BTreeMap<String, Look>,
    anyone: Option<Look>,
}

impl Looks {
    pub(super) fn insert(&mut self, key: &str, look: Look) {
        match key.strip_prefix("group:") {
            Some(group) => drop(self.groups.insert(group.to_owned(), look)),
            None if key == "*" => self.anyone = Some(look),
            None => drop(self.users.insert(super::user_name(key).unwrap_or_else(|_| key.to_owned()), look)),
        }
    }

    pub(super) fn own(&self, user: &str) -> Option<&Look> {
        self.users.get(user)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (&str, &Look)> {
        self.groups.iter().map(|(name, look)| (name.as_str(), look))
    }
}

impl Mapping {
    /// What the user may send as outside; the first is the default. His LAN address, which only colleagues see, is not among them, nor
    /// are the addresses that a pattern gives him: [`Mapping::identity`] knows those too.
    pub fn identities(&self, user: &str) -> Vec<Identity> {
        let mut identities: Vec<Identity> = Vec::new();
        let add = |identities: &mut Vec<Identity>, identity: Identity| {
            if !identities.iter().any(|known| known.address == identity.address) {
                identities.push(identity);
            }
        };
        let plain = |address: &Address| Identity { address: address.clone(), name: None, reply_to: None, smarthost: None };
        let own = self.looks.own(user);
        let group = self.looks.groups().find(|(group, _)| self.is_member(user, group)).map(|(_, look)| look);
        for look in own.into_iter().chain(group) {
            add(&mut identities, look.identity());
        }
        for look in own.into_iter().chain(group) {
            for address in &look.also {
                add(&mut identities, Identity { address: address.clone(), reply_to: None, ..look.identity() });
            }
        }
        let bound: Vec<&Address> = self.bound(user).collect();
        bound.iter().for_each(|address| add(&mut identities, plain(address)));
        if let Some(look) = self.looks.anyone.as_ref().filter(|_| identities.is_empty()) {
            add(&mut identities, look.identity());
        }
        for address in self.implied_addresses(user).iter().chain(self.leading_to(user)) {
            add(&mut identities, plain(address));
        }
        identities
    }

    /// The identity that this address is for this user, if he may send as it.
    pub fn identity(&self, user: &str, address: &Address) -> Option<Identity> {
        // The usual case, and the first of them all.
        if let Some(look) = self.looks.own(user).filter(|look| look.address == *address) {
            return Some(look.identity());
        }
        if let Some(identity) = self.identities(user).into_iter().find(|identity| identity.address == *address) {
            return Some(identity);
        }
        let outside = self.implied.lan.as_ref() != Some(address.domain());
        let leads = self.reach(address).is_some_and(|found| self.has(&found, user));
        (outside && leads).then(|| Identity { address: address.clone(), name: None, reply_to: None, smarthost: None })
    }

    /// The user's address on the LAN.
    pub fn lan_address(&self, user: &str) -> Option<Address> {
        match Address::parse(user) {
            Ok(address) => Some(address),
            Err(_) => Address::new(user, self.implied.lan.as_ref()?).ok(),
        }
    }

    /// His full name, if the user list has one.
    pub fn full_name(&self, user: &str) -> Option<&str> {
        self.full_names.get(user).map(String::as_str)
    }

    /// Whether a user or a shared mailbox of his is among those whom an address reaches.
    pub(super) fn has(&self, found: &Found, user: &str) -> bool {
        found.recipients.iter().any(|one| match &one.mailbox {
            Mailbox::User(name) => name == user,
            Mailbox::Shared(name) => self.shared.get(name).is_some_and(|members| members.iter().any(|member| member == user)),
        })
    }

    /// Whether a group has this user, in itself or in a group inside it.
    pub(super) fn is_member(&self, user: &str, group: &str) -> bool {
        let asker = &mut Asker { sender: None, share: &mut everybody, named: &Vec::new };
        let found = self.follow(&Target::Group(group.to_owned()), None, asker);
        found.recipients.iter().any(|one| one.mailbox == Mailbox::User(user.to_owned()))
    }

    pub(super) fn may_write(&self, group: &Group, sender: Sender<'_>) -> bool {
        match (&group.senders, sender) {
            (GroupSenders::Anyone, _) | (GroupSenders::Local, Sender::User(_) | Sender::Device(_)) => true,
            (GroupSenders::Local, Sender::Outside(_)) => false,
            (GroupSenders::Only { local, users, addresses }, Sender::User(user)) => {
                let mut own = self.identities(user).into_iter().map(|identity| identity.address).chain(self.lan_address(user));
                *local || users.contains(user) || own.any(|own| addresses.iter().any(|glob| glob.matches(own.key())))
            }
            (GroupSenders::Only { local, addresses, .. }, Sender::Device(device)) => {
                *local || addresses.iter().any(|glob| glob.matches(device.key()))
            }
            // A user's name is no help here: anybody outside can write it into From.
            (GroupSenders::Only { addresses, .. }, Sender::Outside(from)) => {
                from.iter().any(|from| addresses.iter().any(|glob| glob.matches(from.key())))
            }
        }
    }

    /// Everybody whom an address reaches, whoever writes.
    pub(crate) fn reach(&self, address: &Address) -> Option<Found> {
        self.find(address, &mut Asker { sender: None, share: &mut everybody, named: &Vec::new })
    }

    fn bound(&self, user: &str) -> impl Iterator<Item = &Address> {
        self.collectors.iter().filter_map(move |collector| {
            let to_user = |target: &Target| match target {
                Target::User(name) => name == user,
                Target::In { to, .. } => **to == Target::User(user.to_owned()),
                _ => false,
            };
            collector.address.as_ref().filter(|_| collector.deliver.as_ref().is_some_and(to_user))
        })
    }

    /// `user@` the office's domains, where that is his and not another's by an entry.
    fn implied_addresses(&self, user: &str) -> Vec<Address> {
        if let Ok(address) = Address::parse(user) {
            return vec![address];
        }
        let addresses = self.domains.iter().filter_map(|domain| Address::new(user, domain).ok());
        addresses.filter(|address| self.reach(address).is_some_and(|found| self.has(&found, user))).collect()
    }

    fn leading_to(&self, user: &str) -> &[Address] {
        let leading = self.leading.get_or_init(|| {
            let mut leading: HashMap<String, Vec<Address>> = HashMap::new();
            let written = self.addresses.exact().map(|entry| &entry.left);
            let bound = self.implied.bound.keys().filter(|key| !self.addresses.has(key));
            for address in written.chain(bound).filter_map(|key| Address::parse(key).ok()) {
                if self.implied.lan.as_ref() == Some(address.domain()) {
                    continue;
                }
                for one in self.reach(&address).map(|found| found.recipients).unwrap_or_default() {
                    let members = match one.mailbox {
                        Mailbox::User(name) => vec![name],
                        Mailbox::Shared(name) => self.shared.get(&name).cloned().unwrap_or_default(),
                    };
                    for member in members {
                        leading.entry(member).or_default().push(address.clone());
                    }
                }
            }
            leading.values_mut().for_each(|addresses| addresses.sort());
            leading
        });
        leading.get(user).map(Vec::as_slice).unwrap_or_default()
    }
}

/// At a share: all members.
fn everybody(_: Option<&Address>, members: &[String]) -> Option<Vec<String>> {
    Some(members.to_vec())
}
