//! From a target to people: groups, shares, rewrites and folders taken apart.

use super::lookup::Hit;
use super::{Forward, Mailbox, Mapping, Recipient, Sender, Target};
use crate::address::Address;
use crate::document::Place;

/// Rewrites and groups inside one another. Loops are refused at load; this bounds what no check foresaw.
const MAX_DEPTH: usize = 32;

/// Answers whom a shared address's mail is for: the address as it was written and the members; `None` if nobody can tell.
pub(crate) type Share<'a> = dyn FnMut(Option<&Address>, &[String]) -> Option<Vec<String>> + 'a;

/// What the way to the people depends on beside the address.
pub(crate) struct Asker<'a> {
    /// Who wrote it; `None` asks for everybody, whoever writes.
    pub(crate) sender: Option<Sender<'a>>,
    /// Asked at a share.
    pub(crate) share: &'a mut Share<'a>,
    /// Whom the message is for as far as it says, asked where another mail system is the target of something that is no address.
    pub(crate) named: &'a dyn Fn() -> Vec<Address>,
}

/// What one address or target leads to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) forwards: Vec<Forward>,
    pub(crate) lmtp: Vec<(String, Address)>,
    pub(crate) remote: bool,
    /// Why it goes to the tray, if a part of it does.
    pub(crate) held: Option<String>,
    /// Why this sender may not write there.
    pub(crate) refused: Option<String>,
    pub(crate) discarded: bool,
    /// The entry that decided.
    pub(crate) entry: Option<Place>,
}

impl Found {
    /// What it comes to, in words.
    pub(crate) fn words(&self) -> String {
        let mut words: Vec<String> = self
            .recipients
            .iter()
            .map(|one| match &one.folder {
                Some(folder) => format!("{} (folder {folder})", one.mailbox),
                None => one.mailbox.to_string(),
            })
            .collect();
        words.extend(self.forwards.iter().map(|forward| format!("sent on to {}", forward.to)));
        words.extend(self.lmtp.iter().map(|(server, _)| format!("handed to {server}")));
        words.extend(self.remote.then(|| "exists, but not here".to_owned()));
        words.extend(self.held.iter().chain(&self.refused).map(|reason| format!("held: {reason}")));
        words.extend(self.discarded.then(|| "discarded".to_owned()));
        words.join(", ")
    }

    /// Adds what another address leads to. One mailbox gets one copy; where two addresses disagree about the folder, it is INBOX.
    pub(crate) fn add_recipient(&mut self, new: Recipient) {
        match self.recipients.iter_mut().find(|old| old.mailbox == new.mailbox) {
            Some(old) if old.folder != new.folder => old.folder = None,
            Some(_) => {}
            None => self.recipients.push(new),
        }
    }
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct Way<'w> {
    address: Option<&'w Address>,
    /// What the address was rewritten to, if it was: the name by which another mail system knows the mailbox.
    rewritten: Option<&'w Address>,
    folder: Option<&'w str>,
    owner: &'w str,
    captures: &'w [String],
    in_group: bool,
    depth: usize,
}

impl Mapping {
    /// Looks an address up and follows what it finds. `None`: nobody claims it.
    pub(crate) fn find(&self, address: &Address, asker: &mut Asker<'_>) -> Option<Found> {
        let hit = self.addresses.look_up(address, &self.implied)?;
        let mut found = Found::default();
        self.walk_hit(hit, self.way(Some(address)), &mut found, asker);
        Some(found)
    }

    /// Follows a target of a rule, a list or a collector; `address` is the one that it is asked for, if any.
    pub(crate) fn follow(&self, target: &Target, address: Option<&Address>, asker: &mut Asker<'_>) -> Found {
        let mut found = Found::default();
        self.walk(target, self.way(address), &mut found, asker);
        found
    }

    fn way<'w>(&'w self, address: Option<&'w Address>) -> Way<'w> {
        Way { address, rewritten: None, folder: None, owner: &self.implied.postmaster, captures: &[], in_group: false, depth: 0 }
    }

    fn walk_hit(&self, hit: Hit<'_>, way: Way<'_>, found: &mut Found, asker: &mut Asker<'_>) {
        match hit {
            Hit::User(name) => self.deliver(Mailbox::User(name.to_owned()), way, found),
            Hit::Bound(target) => self.walk(target, way, found, asker),
            Hit::Entry(entry, captures) => {
                found.entry = Some(entry.place.clone());
                self.walk(&entry.target, Way { captures: &captures, ..way }, found, asker);
            }
        }
    }

    fn walk(&self, target: &Target, way: Way<'_>, found: &mut Found, asker: &mut Asker<'_>) {
        if way.depth > MAX_DEPTH {
            found.held = Some("its entries lead in a circle".to_owned());
            return;
        }
        let way = Way { depth: way.depth + 1, ..way };
        match target {
            Target::User(name) => self.deliver(Mailbox::User(name.clone()), way, found),
            Target::Shared(name) => self.deliver(Mailbox::Shared(name.clone()), way, found),
            Target::Group(name) => self.walk_group(name, way, found, asker),
            Target::Forward(to) => {
                if !found.forwards.iter().any(|forward| forward.to == *to) {
                    let forward = Forward { to: to.clone(), address: way.address.cloned(), owner: way.owner.to_owned() };
                    found.forwards.push(forward);
                }
            }
            Target::Lmtp(server) => {
                let addresses = way.rewritten.or(way.address).map_or_else(asker.named, |address| vec![address.clone()]);
                if addresses.is_empty() {
                    found.held = Some(format!(
                        "{server} would need an address to deliver to, and the message names none of yours; write one that leads there \
                         instead of lmtp:{server}"
                    ));
                }
                found.lmtp.extend(addresses.into_iter().map(|address| (server.clone(), address)));
            }
            Target::Address(pattern) => self.walk_rewrite(pattern, way, found, asker),
            Target::Share { members, otherwise } => match (asker.share)(way.address, members) {
                Some(chosen) => {
                    for member in chosen {
                        self.deliver(Mailbox::User(member), way, found);
                    }
                }
                None => self.walk(otherwise, way, found, asker),
            },
            Target::Remote => found.remote = true,
            Target::Hold => found.held = Some("the mapping says “hold”".to_owned()),
            Target::Discard => found.discarded = true,
            Target::All(targets) => {
                let owner = first_user(targets).unwrap_or(way.owner);
                for target in targets {
                    self.walk(target, Way { owner, ..way }, found, asker);
                }
            }
            // The outer folder is the one that stands nearer to the address.
            Target::In { to, folder } => self.walk(to, Way { folder: way.folder.or(Some(folder)), ..way }, found, asker),
        }
    }

    fn walk_group(&self, name: &str, way: Way<'_>, found: &mut Found, asker: &mut Asker<'_>) {
        let Some(group) = self.groups.get(name) else {
            found.held = Some(format!("there is no group “{name}”"));
            return;
        };
        // Who may write to the group that was written to also reaches the groups inside it.
        if !way.in_group
            && let Some(sender) = asker.sender
            && !self.may_write(group, sender)
        {
            found.refused = Some(format!("the sender may not write to the group “{name}”"));
            return;
        }
        let owner = first_user(&group.members).unwrap_or(way.owner);
        for member in &group.members {
            self.walk(member, Way { in_group: true, owner, ..way }, found, asker);
        }
    }

    fn walk_rewrite(&self, pattern: &str, way: Way<'_>, found: &mut Found, asker: &mut Asker<'_>) {
        let rewritten = substitute(pattern, way.captures);
        let address = match Address::parse(&rewritten) {
            Ok(address) => address,
            Err(why) => {
                found.held = Some(format!("it becomes “{rewritten}”, and {why}"));
                return;
            }
        };
        match self.addresses.look_up(&address, &self.implied) {
            Some(hit) => self.walk_hit(hit, Way { rewritten: Some(&address), ..way }, found, asker),
            None => found.held = Some(format!("it becomes {address}, which nobody claims")),
        }
    }

    fn deliver(&self, mailbox: Mailbox, way: Way<'_>, found: &mut Found) {
        found.add_recipient(Recipient { mailbox, folder: way.folder.map(str::to_owned), address: way.address.cloned() });
    }
}

fn first_user(targets: &[Target]) -> Option<&str> {
    targets.iter().find_map(|target| match target {
        Target::User(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Puts what the left side's stars stand for into the right side's.
pub(super) fn substitute(pattern: &str, captures: &[String]) -> String {
    let mut captures = captures.iter();
    let mut text = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match (c, captures.as_slice().first()) {
            ('*', Some(capture)) => {
                text.push_str(capture);
                captures.next();
            }
            _ => text.push(c),
        }
    }
    text
}
