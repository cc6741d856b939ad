//! From files to a [`Mapping`]: every section read with its places, every mistake noted, not only the first.

mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::glob::Glob;
use super::identity::{Look, Looks};
use super::limits::{Restraint, Restraints};
use super::lookup::{Addresses, Entry, Implied};
use super::names::Names;
use super::rules::Rules;
use super::target::pattern;
use super::{Mapping, Office, Target, check, user_name};
use crate::address::{Address, Domain};
use crate::document::{Document, Found, Mark, Place, Problem, Table, Value};

/// `[groups]`: one of them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<Target>,
    pub(super) senders: GroupSenders,
}

/// Who may write to a group.
#[derive(Debug)]
pub(super) enum GroupSenders {
    Anyone,
    Local,
    /// Users, and patterns of addresses.
    Only {
        local: bool,
        users: BTreeSet<String>,
        addresses: Vec<Glob>,
    },
}

/// `[lists]`: one of them.
#[derive(Debug)]
pub(super) struct List {
    pub(super) glob: Glob,
    pub(super) target: Target,
    pub(super) place: Place,
}

/// What the checks after reading want to know of the places that were read.
#[derive(Default)]
pub(super) struct Marks<'d> {
    /// Left sides of `[addresses]`, in file order, and where they stand.
    pub(super) entries: Vec<(String, Mark<'d>)>,
    /// Right sides that are addresses, with the left side if it is an entry's.
    pub(super) rewrites: Vec<(String, Mark<'d>)>,
    pub(super) forwards: Vec<(Address, Mark<'d>)>,
    pub(super) groups: BTreeMap<String, Mark<'d>>,
    pub(super) looks: BTreeMap<String, Mark<'d>>,
    pub(super) rules: HashMap<Place, Mark<'d>>,
    /// The users that are named, each where it is first.
    pub(super) users: BTreeMap<String, Mark<'d>>,
}

/// What stands in the files under each header.
#[derive(Default)]
struct Sections<'d> {
    addresses: Vec<(Found<'d, &'d str>, Value<'d>)>,
    names: Vec<(Found<'d, &'d str>, Value<'d>)>,
    lists: Vec<(Found<'d, &'d str>, Value<'d>)>,
    groups: Vec<(Found<'d, &'d str>, Value<'d>)>,
    shared: Vec<(Found<'d, &'d str>, Value<'d>)>,
    senders: Vec<(Found<'d, &'d str>, Value<'d>)>,
    rules: Vec<Table<'d>>,
    expectations: Vec<Table<'d>>,
}

/// The names that right sides may use.
struct Reader<'d, 'o> {
    office: &'o Office,
    users: BTreeSet<&'o str>,
    groups: BTreeSet<&'d str>,
    shared: BTreeSet<&'d str>,
    marks: Marks<'d>,
}

pub(super) fn load(files: &[(PathBuf, String)], office: &Office) -> Result<(Mapping, Vec<Problem>), Vec<Problem>> {
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for (path, text) in files {
        match Document::parse(path, text) {
            Ok(document) => documents.push(document),
            Err(errors) => problems.extend(errors),
        }
    }
    // What a broken file defines would be missed elsewhere, and the list grow long with nonsense.
    if !problems.is_empty() {
        return Err(problems);
    }
    let mapping = read(&documents, office);
    let mut warnings = Vec::new();
    for document in documents {
        let (wrong, warned) = document.finish();
        problems.extend(wrong);
        warnings.extend(warned);
    }
    if problems.is_empty() { Ok((mapping, warnings)) } else { Err(problems) }
}

fn read(documents: &[Document], office: &Office) -> Mapping {
    let mut sections = Sections::default();
    for document in documents {
        sections.gather(document);
    }
    let mut reader = Reader {
        office,
        users: office.users.iter().map(|(name, _)| name.as_str()).collect(),
        groups: sections.groups.iter().map(|(key, _)| key.value).collect(),
        shared: sections.shared.iter().map(|(key, _)| key.value).collect(),
        marks: Marks::default(),
    };
    let entries = reader.addresses(&sections.addresses);
    let groups = reader.groups(&sections.groups);
    let shared = reader.shared(&sections.shared);
    let lists = reader.lists(&sections.lists);
    let extra = reader.names(&sections.names);
    let (looks, restraints) = reader.looks(&sections.senders);
    let rules = sections.rules.into_iter().filter_map(|table| reader.rule(table)).collect();
    let expectations = sections.expectations.into_iter().filter_map(|table| reader.expectation(table)).collect();
    let Reader { marks, users, .. } = reader;

    let full_names = office.users.iter().filter_map(|(user, name)| Some((name.clone()?, user.clone())));
    let mut mapping = Mapping {
        addresses: Addresses::new(entries),
        implied: Implied {
            users: users.iter().map(|&name| name.to_owned()).collect(),
            domains: office.implied.iter().cloned().collect(),
            ours: office.domains.iter().cloned().collect(),
            lan: Some(office.lan_domain.clone()),
            postmaster: office.postmaster.clone(),
            bound: bound(office),
        },
        full_names: full_names.clone().map(|(name, user)| (user, name)).collect(),
        domains: office.domains.clone(),
        collectors: office.collectors.clone(),
        groups,
        shared,
        lists,
        names: Names::new(full_names.chain(extra)),
        looks,
        restraints,
        rules: Rules::new(rules),
        expectations,
        named: marks.users.iter().map(|(name, mark)| (name.clone(), mark.place())).collect(),
        unknown: Vec::new(),
        leading: Default::default(),
    };
    mapping.unknown = check::unknown_users(&marks, &users);
    check::all(&mapping, &marks, office);
    mapping
}

/// Where the addresses of the collectors lead that are bound; of two for one mailbox, the first has a say.
fn bound(office: &Office) -> HashMap<String, Target> {
    let bound = office.collectors.iter().rev();
    bound.filter_map(|collector| Some((collector.address.as_ref()?.key().to_owned(), collector.deliver.clone()?))).collect()
}

impl<'d> Sections<'d> {
    fn gather(&mut self, document: &'d Document) {
        let root = document.root();
        let section = |key: &str, into: &mut Vec<(Found<'d, &'d str>, Value<'d>)>| {
            into.extend(root.table(key).map(|table| table.entries()).unwrap_or_default());
        };
        section("addresses", &mut self.addresses);
        section("names", &mut self.names);
        section("lists", &mut self.lists);
        section("groups", &mut self.groups);
        section("shared", &mut self.shared);
        section("senders", &mut self.senders);
        self.rules.extend(root.tables("rule"));
        self.expectations.extend(root.tables("expect"));
        root.finish();
    }
}

/// Notes a key that was given before, here or in another file.
fn once<'d>(seen: &mut BTreeMap<String, Mark<'d>>, key: String, mark: Mark<'d>, help: &str) -> bool {
    match seen.get(&key) {
        Some(first) => {
            mark.wrong_with(format!("\"{key}\" was given at {} already", first.place()), help);
            false
        }
        None => {
            seen.insert(key, mark);
            true
        }
    }
}

impl<'d> Reader<'d, '_> {
    fn addresses(&mut self, entries: &[(Found<'d, &'d str>, Value<'d>)]) -> Vec<Entry> {
        let mut seen = BTreeMap::new();
        let mut read = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let left = match key.value.rsplit_once('@') {
                Some((local, domain)) => pattern(local, domain),
                None => Err("it has no @".to_owned()),
            };
            let left = match left {
                Ok(left) => left,
                Err(why) => {
                    let domain = self.office.domains.first().unwrap_or(&self.office.lan_domain);
                    let help = format!("the left side is an address such as \"sales@{domain}\", or a pattern such as \"*@{domain}\"");
                    key.mark.wrong_with(format!("\"{}\" is no address: {why}", key.value), help);
                    continue;
                }
            };
            let target = self.target(value);
            if !once(&mut seen, left.clone(), key.mark, "write a list: one entry with all of them") {
                continue;
            }
            let Some(target) = target else { continue };
            // A user who is called by his address, and isn't added yet.
            let target = if target == Target::Address(left.clone()) { Target::User(left.clone()) } else { target };
            self.stars(&left, &target, value.mark());
            self.marks.entries.push((left.clone(), value.mark()));
            read.push(Entry { left, target, place: key.place() });
        }
        read
    }

    /// Refuses a right side with more stars than the left side fills.
    fn stars(&self, left: &str, target: &Target, mark: Mark<'d>) {
        let given = Glob::new(left).stars();
        each_address(target, &mut |text| {
            if Glob::new(text).stars() > given || text.contains('?') {
                let message = format!("\"{text}\" has more wildcards than \"{left}\" can fill");
                mark.wrong_with(message, "each * on the right takes what a * on the left stands for");
            }
        });
    }

    fn groups(&mut self, entries: &[(Found<'d, &'d str>, Value<'d>)]) -> BTreeMap<String, Group> {
        let mut seen = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (key, value) in entries {
            if let Err(why) = Target::parse(&format!("group:{}", key.value)) {
                key.mark.wrong(why.replace("group:", ""));
            }
            let Some(table) = value.table() else { continue };
            let members = table.require("members", "members = [\"alice\", \"bob\"]").map(|value| value.one_or_more()).unwrap_or_default();
            let members = members.iter().filter_map(|member| self.target(member)).collect();
            let senders = table.get("senders").map_or(GroupSenders::Anyone, |value| self.group_senders(&value));
            table.finish();
            if once(&mut seen, key.value.to_owned(), key.mark, "put all members into one entry") {
                groups.insert(key.value.to_owned(), Group { members, senders });
            }
        }
        self.marks.groups = seen;
        groups
    }

    fn group_senders(&mut self, value: &Value<'d>) -> GroupSenders {
        if value.as_list().is_none() {
            match value.as_text() {
                Some("anyone") => return GroupSenders::Anyone,
                Some("local") => return GroupSenders::Local,
                _ => {}
            }
        }
        let (mut local, mut users, mut addresses) = (false, BTreeSet::new(), Vec::new());
        for one in value.one_or_more() {
            let Some(text) = one.text() else { continue };
            match text {
                "local" => local = true,
                "anyone" => return GroupSenders::Anyone,
                _ if text.contains('@') && !self.users.contains(text) => addresses.extend(self.glob(&one)),
                _ if text.contains('.') && !self.users.contains(text) && Domain::parse(text).is_ok() => {
                    one.mark().wrong_with(
                        format!("\"{text}\" is neither a user nor an address"),
                        format!("for everybody there, write \"*@{text}\""),
                    );
                }
                _ => users.extend(self.user(&one)),
            }
        }
        GroupSenders::Only { local, users, addresses }
    }

    fn shared(&mut self, entries: &[(Found<'d, &'d str>, Value<'d>)]) -> BTreeMap<String, Vec<String>> {
        let mut seen = BTreeMap::new();
        let mut shared = BTreeMap::new();
        for (key, value) in entries {
            if let Err(why) = Target::parse(&format!("shared:{}", key.value)) {
                key.mark.wrong(why.replace("shared:", ""));
            }
            let Some(table) = value.table() else { continue };
            let members = table.require("members", "members = [\"alice\", \"bob\"]").map(|value| value.one_or_more()).unwrap_or_default();
            let members = members.iter().filter_map(|member| self.user(member)).collect();
            table.finish();
            if once(&mut seen, key.value.to_owned(), key.mark, "put all members into one entry") {
                shared.insert(key.value.to_owned(), members);
            }
        }
        shared
    }

    fn lists(&mut self, entries: &[(Found<'d, &'d str>, Value<'d>)]) -> Vec<List> {
        let mut seen = BTreeMap::new();
        let mut lists = Vec::new();
        for (key, value) in entries {
            let id = key.value.trim_start_matches('<').trim_end_matches('>').to_lowercase();
            let target = self.target(value);
            if once(&mut seen, id.clone(), key.mark, "write a list: one entry with all of them")
                && let Some(target) = target
            {
                lists.push(List { glob: Glob::new(&id), target, place: key.place() });
            }
        }
        // As with addresses: the closest pattern first.
        lists.sort_by(|a, b| b.glob.literals().cmp(&a.glob.literals()).then_with(|| a.glob.as_str().cmp(b.glob.as_str())));
        lists
    }

    fn names(&mut self, entries: &[(Found<'d, &'d str>, Value<'d>)]) -> Vec<(String, String)> {
        let mut seen = BTreeMap::new();
        let read = entries.iter().filter_map(|(key, value)| {
            let user = self.user(value)?;
            once(&mut seen, key.value.to_owned(), key.mark, "a name belongs to one user").then(|| (key.value.to_owned(), user))
        });
        read.collect()
    }

    fn looks(&mut self, entries: &[(Found<'d, &'d str>, Value<'d>)]) -> (Looks, Restraints) {
        let mut seen = BTreeMap::new();
        let mut looks = Looks::default();
        let mut restraints = Restraints::default();
        for (key, value) in entries {
            let Some(table) = value.table() else { continue };
            if !Restraint::is_in(&table) || ["also", "reply_to", "name", "smarthost"].iter().any(|key| table.has(key)) {
                table.require("address", "address = \"alice@example.com\"");
            }
            let restraint = Restraint::read(&table);
            let address = table.address("address").map(|found| found.value);
            let also = table.one_or_more("also").unwrap_or_default().iter().filter_map(Value::address).collect();
            let reply_to = table.address("reply_to").map(|found| found.value);
            let name = table.text("name").map(|found| found.value.to_owned());
            let smarthost = table.get("smarthost").and_then(|value| self.known(&value, "smarthost", &self.office.smarthosts));
            table.finish();
            let sound = match key.value.strip_prefix("group:") {
                _ if key.value == "*" => true,
                Some(group) => self.known_group(group, key.mark),
                None => match user_name(key.value) {
                    Ok(user) => {
                        self.name_user(&user, key.mark);
                        true
                    }
                    Err(why) => {
                        key.mark.wrong_with(why, "the left side is a user, \"group:NAME\" or \"*\"");
                        false
                    }
                },
            };
            if once(&mut seen, key.value.to_owned(), key.mark, "put all of it into one entry") && sound {
                restraints.insert(key.value, restraint);
                if let Some(address) = address {
                    let look = Look { address, name, also, reply_to, smarthost, place: key.place() };
                    looks.insert(key.value, look);
                }
            }
        }
        self.marks.looks = seen;
        (looks, restraints)
    }

    fn target(&mut self, value: &Value<'d>) -> Option<Target> {
        Target::read_each(value, &mut |target, mark| self.leaf(target, mark))
    }

    fn leaf(&mut self, target: &mut Target, mark: Mark<'d>) {
        match target {
            Target::User(name) => self.name_user(name, mark),
            Target::Group(name) => {
                self.known_group(name, mark);
            }
            Target::Shared(name) if !self.shared.contains(name.as_str()) => {
                unknown("shared mailbox", name, self.shared.iter().copied(), mark)
            }
            Target::Forward(address) => self.marks.forwards.push((address.clone(), mark)),
            Target::Address(text) if self.users.contains(text.as_str()) => {
                self.name_user(text, mark);
                *target = Target::User(std::mem::take(text));
            }
            Target::Address(text) => self.marks.rewrites.push((text.clone(), mark)),
            _ => {}
        }
    }

    fn name_user(&mut self, name: &str, mark: Mark<'d>) {
        self.marks.users.entry(name.to_owned()).or_insert(mark);
    }

    fn user(&mut self, value: &Value<'d>) -> Option<String> {
        let user = value.parse(user_name)?;
        self.name_user(&user, value.mark());
        Some(user)
    }

    fn known_group(&self, name: &str, mark: Mark<'d>) -> bool {
        let known = self.groups.contains(name);
        if !known {
            unknown("group", name, self.groups.iter().copied(), mark);
        }
        known
    }

    /// A name out of `mailroom.toml`.
    fn known(&self, value: &Value<'d>, what: &str, names: &[String]) -> Option<String> {
        let name = value.text()?;
        if !names.iter().any(|known| known == name) {
            unknown(what, name, names.iter().map(String::as_str), value.mark());
            return None;
        }
        Some(name.to_owned())
    }

    /// An address or pattern to compare with.
    fn glob(&self, value: &Value<'d>) -> Option<Glob> {
        let text = value.text()?;
        let normal = match text.rsplit_once('@') {
            Some((local, domain)) => pattern(local, domain),
            // A pattern such as "*supplier*" may stand for both sides.
            None if text.contains('*') => Ok(text.to_lowercase()),
            None => Err(format!("write \"*@{text}\" if a domain is meant")),
        };
        match normal {
            Ok(normal) => Some(Glob::new(&normal)),
            Err(why) => {
                value.mark().wrong_with(format!("\"{text}\" is no address or pattern"), why);
                None
            }
        }
    }
}

/// Calls `each` with every address that a target leads to.
fn each_address<'t>(target: &'t Target, each: &mut dyn FnMut(&'t str)) {
    match target {
        Target::Address(text) => each(text),
        Target::All(targets) => targets.iter().for_each(|target| each_address(target, each)),
        Target::In { to, .. } => each_address(to, each),
        Target::Share { otherwise, .. } => each_address(otherwise, each),
        _ => {}
    }
}

/// Notes a name that nothing has.
fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>, mark: Mark<'_>) {
    let (message, help) = check::unknown(what, name, known);
    mark.note(Problem { help, ..mark.problem(message) });
}
