//! Looking an address up: exact entry; implied user; mailbox that a collector fetches for somebody; patterns with a `+`; the first three
//! without `+tag`; the other patterns, the one with the most literal characters first, then in byte order.

use std::collections::{HashMap, HashSet};

use super::Target;
use super::glob::{Glob, Index};
use crate::address::{Address, Domain};
use crate::document::Place;

/// A line of `[addresses]`.
#[derive(Debug)]
pub(super) struct Entry {
    /// The left side, normalised.
    pub(super) left: String,
    pub(super) target: Target,
    pub(super) place: Place,
}

/// What an address leads to.
#[derive(Debug)]
pub(super) enum Hit<'m> {
    /// A user's own name, without an entry.
    User(&'m str),
    /// Where a collector brings all that comes to this address.
    Bound(&'m Target),
    /// An entry, with what its stars stand for.
    Entry(&'m Entry, Vec<String>),
}

/// Which addresses lead somewhere without being written down: a user's name at some domains, and a mailbox that is fetched for somebody.
#[derive(Debug, Default)]
pub(super) struct Implied {
    pub(super) users: HashSet<String>,
    pub(super) domains: HashSet<Domain>,
    pub(super) ours: HashSet<Domain>,
    pub(super) lan: Option<Domain>,
    pub(super) postmaster: String,
    /// Of the collectors that are bound, by their addresses: mail that goes there by way of the ISP, or is kept from going, is for the same.
    pub(super) bound: HashMap<String, Target>,
}

impl Implied {
    fn user(&self, address: &Address) -> Option<&str> {
        if let Some(user) = self.users.get(address.key()) {
            return Some(user);
        }
        let local = address.key().rsplit_once('@')?.0;
        let at_lan = self.lan.as_ref() == Some(address.domain());
        if (at_lan || self.domains.contains(address.domain()))
            && let Some(user) = self.users.get(local)
        {
            return Some(user);
        }
        let everywhere = matches!(local, "postmaster" | "abuse") && (at_lan || self.ours.contains(address.domain()));
        (everywhere && !self.postmaster.is_empty()).then_some(self.postmaster.as_str())
    }
}

/// `[addresses]`, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    exact: HashMap<String, Entry>,
    /// Best first.
    patterns: Vec<(Glob, Entry)>,
    /// Numbers of the patterns with a `+`, and of the others.
    tagged: Index,
    plain: Index,
}

impl Addresses {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let (patterns, exact): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| Glob::is_pattern(&entry.left));
        let mut patterns: Vec<_> = patterns.into_iter().map(|entry| (Glob::new(&entry.left), entry)).collect();
        patterns.sort_by(|(a, _), (b, _)| b.literals().cmp(&a.literals()).then_with(|| a.as_str().cmp(b.as_str())));
        let (mut tagged, mut plain) = (Index::default(), Index::default());
        for (number, (glob, _)) in (0..).zip(&patterns) {
            let index = if glob.as_str().contains('+') { &mut tagged } else { &mut plain };
            index.insert(glob.as_str(), number);
        }
        Self { exact: exact.into_iter().map(|entry| (entry.left.clone(), entry)).collect(), patterns, tagged, plain }
    }

    pub(super) fn look_up<'m>(&'m self, address: &Address, implied: &'m Implied) -> Option<Hit<'m>> {
        self.by_name(address, implied)
            .or_else(|| self.best(&self.tagged, address))
            .or_else(|| self.by_name(&address.without_tag()?, implied))
            .or_else(|| self.best(&self.plain, address))
    }

    fn by_name<'m>(&'m self, address: &Address, implied: &'m Implied) -> Option<Hit<'m>> {
        let entry = self.exact.get(address.key()).map(|entry| Hit::Entry(entry, Vec::new()));
        entry.or_else(|| implied.user(address).map(Hit::User)).or_else(|| implied.bound.get(address.key()).map(Hit::Bound))
    }

    /// Whether an exact entry, a user or a bound mailbox has this name, with a tag or without.
    pub(super) fn names_exactly(&self, address: &Address, implied: &Implied) -> bool {
        let named = |address: &Address| self.by_name(address, implied).is_some();
        named(address) || address.without_tag().is_some_and(|address| named(&address))
    }

    fn best(&self, index: &Index, address: &Address) -> Option<Hit<'_>> {
        let mut best: Option<u32> = None;
        index.candidates(address.key(), |number| {
            if best.is_none_or(|best| number < best) && self.patterns[number as usize].0.matches(address.key()) {
                best = Some(number);
            }
        });
        let (glob, entry) = &self.patterns[best? as usize];
        let captures = glob.captures(address.key())?.into_iter().map(str::to_owned).collect();
        Some(Hit::Entry(entry, captures))
    }

    /// Whether a left side whose domain has no wildcard matches.
    pub(super) fn names(&self, address: &Address) -> bool {
        if self.exact.contains_key(address.key()) {
            return true;
        }
        let mut named = false;
        for index in [&self.tagged, &self.plain] {
            index.candidates(address.key(), |number| {
                let glob = &self.patterns[number as usize].0;
                let domain = glob.as_str().rsplit_once('@').map_or("*", |(_, domain)| domain);
                named |= !Glob::is_pattern(domain) && glob.matches(address.key());
            });
        }
        named
    }

    /// Whether it is the left side of an exact entry.
    pub(super) fn has(&self, key: &str) -> bool {
        self.exact.contains_key(key)
    }

    pub(super) fn exact(&self) -> impl Iterator<Item = &Entry> {
        self.exact.values()
    }
}
