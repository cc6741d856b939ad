//! What can be said of the files only when all of them are read: circles, disagreements, places that nothing reaches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::glob::Glob;
use super::load::Marks;
use super::lookup::Hit;
use super::resolve::substitute;
use super::{Mapping, Mention, Office, Target};
use crate::address::{Address, Domain};
use crate::document::{Mark, Problem, nearest};

/// Rewrites in a row; more is a circle that grows.
const MAX_STEPS: usize = 32;

/// The users that the files name and the office does not have.
pub(super) fn unknown_users(marks: &Marks<'_>, users: &BTreeSet<&str>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for (name, mark) in &marks.users {
        if users.contains(name.as_str()) {
            continue;
        }
        problems.push(match nearest(name, users.iter().copied()) {
            Some(near) => mark.problem(format!("unknown user \"{name}\"; did you mean \"{near}\"?")),
            None => mark.problem(format!("unknown user \"{name}\"")).with_help(format!("`mailroom user add {name}` adds one")),
        });
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    problems
}

/// Notes everything else at its place.
pub(super) fn all(mapping: &Mapping, marks: &Marks<'_>, office: &Office) {
    circles(mapping, marks);
    foreign_targets(mapping, marks, office);
    forwards(mapping, marks);
    lan_addresses(mapping, marks, office);
    disagreeing_groups(mapping, marks, office);
    strange_domains(marks, office);
    covered_rules(mapping, marks);
    covered_patterns(marks);
}

fn circles(mapping: &Mapping, marks: &Marks<'_>) {
    let mut sound = HashSet::new();
    for (name, mark) in &marks.groups {
        circle_at(mapping, &format!("group:{name}"), *mark, &mut sound);
    }
    for (left, mark) in &marks.entries {
        // Any text that no other entry is likely to name.
        circle_at(mapping, &left.replace(['*', '?'], "x"), *mark, &mut sound);
    }
}

/// Walks on from a node, an address or `group:NAME`, and notes a circle that comes back to it.
fn circle_at(mapping: &Mapping, start: &str, mark: Mark<'_>, sound: &mut HashSet<String>) {
    let mut path = vec![start.to_owned()];
    if let Some(circle) = circle(mapping, &mut path, sound) {
        // One that it merely leads into is noted where it is.
        if circle.last().is_some_and(|last| last == start) || circle.len() > MAX_STEPS {
            let shown: Vec<&str> = circle.iter().map(String::as_str).take(6).collect();
            let more = if circle.len() > shown.len() { " → …" } else { "" };
            let help = "let one of them lead to a user";
            mark.wrong_with(format!("this leads in a circle: {}{more}", shown.join(" → ")), help);
        }
    }
}

fn circle(mapping: &Mapping, path: &mut Vec<String>, sound: &mut HashSet<String>) -> Option<Vec<String>> {
    let node = path.last()?.clone();
    if sound.contains(&node) {
        return None;
    }
    for next in steps(mapping, &node) {
        if path.contains(&next) || path.len() > MAX_STEPS {
            let mut circle = path.clone();
            circle.push(next);
            return Some(circle);
        }
        path.push(next);
        let found = circle(mapping, path, sound);
        path.pop();
        if found.is_some() {
            return found;
        }
    }
    sound.insert(node);
    None
}

/// The addresses and groups that a node leads to directly.
fn steps(mapping: &Mapping, node: &str) -> Vec<String> {
    let mut steps = Vec::new();
    if let Some(group) = node.strip_prefix("group:") {
        if let Some(group) = mapping.groups.get(group) {
            group.members.iter().for_each(|member| nodes(member, &[], &mut steps));
        }
    } else if let Ok(address) = Address::parse(node) {
        match mapping.addresses.look_up(&address, &mapping.implied) {
            Some(Hit::Entry(entry, captures)) => nodes(&entry.target, &captures, &mut steps),
            Some(Hit::Bound(target)) => nodes(target, &[], &mut steps),
            Some(Hit::User(_)) | None => {}
        }
    }
    steps
}

fn nodes(target: &Target, captures: &[String], into: &mut Vec<String>) {
    match target {
        Target::Group(name) => into.push(format!("group:{name}")),
        Target::Address(text) => into.push(substitute(text, captures)),
        Target::All(targets) => targets.iter().for_each(|target| nodes(target, captures, into)),
        Target::In { to, .. } => nodes(to, captures, into),
        Target::Share { otherwise, .. } => nodes(otherwise, captures, into),
        _ => {}
    }
}

/// Right sides that are addresses have to be ours, and somebody's.
fn foreign_targets(mapping: &Mapping, marks: &Marks<'_>, office: &Office) {
    for (text, mark) in &marks.rewrites {
        let (domain, sample) = match text.rsplit_once('@') {
            Some((_, domain)) => (domain, text.replace(['*', '?'], "x")),
            None => continue,
        };
        let Ok(address) = Address::parse(&sample) else { continue };
        let ours = if Glob::is_pattern(text) {
            Glob::is_pattern(domain) || mapping.is_ours(&address) || is_our_domain(office, address.domain()) || marks_domain(marks, domain)
        } else {
            mapping.is_ours(&address)
        };
        if !ours {
            let (message, help) = neither(text);
            mark.note(Problem { help, ..mark.problem(message) });
        } else if let Some((message, help)) = unclaimed(mapping, &address).filter(|_| !Glob::is_pattern(text)) {
            mark.warn(message, help);
        }
    }
}

fn marks_domain(marks: &Marks<'_>, domain: &str) -> bool {
    marks.entries.iter().any(|(left, _)| left.rsplit_once('@').is_some_and(|(_, own)| own == domain))
}

fn is_our_domain(office: &Office, domain: &Domain) -> bool {
    let fetched = || office.collectors.iter().filter_map(|collector| collector.address.as_ref());
    office.domains.contains(domain) || office.lan_domain == *domain || fetched().any(|address| address.domain() == domain)
}

fn forwards(mapping: &Mapping, marks: &Marks<'_>) {
    for (address, mark) in &marks.forwards {
        if let Some((message, help)) = no_way_out(mapping, address) {
            mark.note(Problem { help, ..mark.problem(message) });
        }
    }
}

/// `user@` the LAN domain is always that user.
fn lan_addresses(mapping: &Mapping, marks: &Marks<'_>, office: &Office) {
    for (left, mark) in &marks.entries {
        let Some((local, domain)) = left.rsplit_once('@') else { continue };
        let user = mapping.implied.users.get(local).filter(|_| domain == office.lan_domain.as_str());
        if let Some(user) = user {
            mark.wrong_with(format!("\"{left}\" is always the user \"{user}\""), "choose another name for this address");
        }
    }
}

/// Two groups of a user that want him to look differently outside.
fn disagreeing_groups(mapping: &Mapping, marks: &Marks<'_>, office: &Office) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (group, look) in mapping.looks.groups() {
        for (user, _) in &office.users {
            if mapping.looks.own(user).is_some() || !mapping.is_member(user, group) {
                continue;
            }
            let other = seen.get(user.as_str()).copied();
            let other = other.and_then(|other| mapping.looks.groups().find(|(name, _)| *name == other));
            match other {
                Some((other, other_look)) if !other_look.agrees(look) => {
                    let message = format!("\"{user}\" is in \"group:{other}\" ({}) too, which sends differently", other_look.place);
                    let help = format!("give \"{user}\" an entry of his own in [senders]");
                    if let Some(mark) = marks.looks.get(&format!("group:{group}")) {
                        mark.wrong_with(message, help);
                    }
                }
                Some(_) => {}
                None => drop(seen.insert(user, group)),
            }
        }
    }
}

/// Entries for a domain that no mail comes for are mostly misspelt.
fn strange_domains(marks: &Marks<'_>, office: &Office) {
    let domains: BTreeSet<&str> = office.domains.iter().map(Domain::as_str).collect();
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let literal = |left: &'_ str| left.rsplit_once('@').map(|(_, domain)| domain.to_owned()).filter(|domain| !Glob::is_pattern(domain));
    for (left, _) in &marks.entries {
        if let Some((_, domain)) = left.rsplit_once('@') {
            *count.entry(domain).or_default() += 1;
        }
    }
    for (left, mark) in &marks.entries {
        let Some(domain) = literal(left) else { continue };
        let known = Domain::parse(&domain).is_ok_and(|parsed| is_our_domain(office, &parsed));
        if known || count.get(domain.as_str()).is_some_and(|count| *count > 3) {
            continue;
        }
        if let Some(near) = nearest(&domain, domains.iter().copied()) {
            mark.warn(format!("\"{domain}\" is not in office.domains; did you mean \"{near}\"?"), None);
        }
    }
}

fn covered_rules(mapping: &Mapping, marks: &Marks<'_>) {
    for (earlier, later) in mapping.rules.covered() {
        let Some(mark) = marks.rules.get(&later.place) else { continue };
        if earlier.stop {
            let help = "move it up, or make the earlier one's conditions narrower".to_owned();
            mark.warn(format!("this rule is never reached: the one at {} takes all of its mail", earlier.place), Some(help));
        } else {
            mark.warn(format!("this rule's folder never counts: the one at {} names another before", earlier.place), None);
        }
    }
}

/// Patterns that another one always comes before. That can only be one with the same letters: more of them would come first.
fn covered_patterns(marks: &Marks<'_>) {
    let letters = |left: &str| left.replace(['*', '?'], "");
    let mut alike: HashMap<String, Vec<&(String, Mark<'_>)>> = HashMap::new();
    for entry in marks.entries.iter().filter(|(left, _)| Glob::is_pattern(left)) {
        alike.entry(letters(&entry.0)).or_default().push(entry);
    }
    for group in alike.values() {
        for (left, mark) in group.iter().copied() {
            let before = group.iter().find(|(other, _)| other < left && Glob::new(other).covers(left));
            if let Some((other, first)) = before {
                mark.warn(format!("\"{left}\" is never reached: \"{other}\" at {} takes all of its mail", first.place()), None);
            }
        }
    }
}

/// What is wrong with a target out of `mailroom.toml`, which was read without the mapping files.
pub(super) fn mention(mapping: &Mapping, mention: &Mention) -> Option<Problem> {
    let wrong = |(message, help)| Some(Problem { message, help, ..mention.problem.clone() });
    match &mention.target {
        Target::Group(name) if !mapping.groups.contains_key(name) => {
            wrong(unknown("group", name, mapping.groups.keys().map(String::as_str)))
        }
        Target::Shared(name) if !mapping.shared.contains_key(name) => {
            wrong(unknown("shared mailbox", name, mapping.shared.keys().map(String::as_str)))
        }
        Target::Address(text) if !Address::parse(text).is_ok_and(|address| mapping.is_ours(&address)) => wrong(neither(text)),
        Target::Address(text) if circle(mapping, &mut vec![text.clone()], &mut HashSet::new()).is_some() => {
            wrong((format!("\"{text}\" leads in a circle"), Some("let one of them lead to a user".to_owned())))
        }
        Target::Forward(address) => wrong(no_way_out(mapping, address)?),
        _ => None,
    }
}

/// What is worth a word of such a target: an address of ours that nobody claims.
pub(super) fn unclaimed_mention(mapping: &Mapping, mention: &Mention) -> Option<Problem> {
    let Target::Address(text) = &mention.target else { return None };
    let (message, help) = unclaimed(mapping, &Address::parse(text).ok()?)?;
    Some(Problem { message, help, ..mention.problem.clone() })
}

/// Message and help for an address of ours that nobody claims; none as long as the office has no users that could.
fn unclaimed(mapping: &Mapping, address: &Address) -> Option<(String, Option<String>)> {
    if mapping.implied.users.is_empty() || mapping.addresses.look_up(address, &mapping.implied).is_some() {
        return None;
    }
    let help = mapping.nearest(address).map(|near| format!("did you mean \"{near}\"?"));
    Some((format!("nobody claims {address}: its mail will go to the tray"), help))
}

/// Message and help for a name that nothing has.
pub(super) fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> (String, Option<String>) {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => (format!("unknown {what} \"{name}\"; did you mean \"{near}\"?"), None),
        None if known.is_empty() => (format!("unknown {what} \"{name}\"; there is none at all"), None),
        None => (format!("unknown {what} \"{name}\""), Some(format!("known: {}", known.join(", ")))),
    }
}

/// Message and help for an address that is not ours.
fn neither(text: &str) -> (String, Option<String>) {
    let help = match Glob::is_pattern(text) {
        true => format!("add \"{}\" to office.domains if it is yours", text.rsplit_once('@').map_or(text, |(_, domain)| domain)),
        false => format!("to send it on to the outside, write \"forward:{text}\""),
    };
    (format!("\"{text}\" is neither a user nor an address of yours"), Some(help))
}

/// Why mail can't be sent on to an address, and what to do: it would come back.
fn no_way_out(mapping: &Mapping, address: &Address) -> Option<(String, Option<String>)> {
    let plain = address.without_tag();
    let is_its_own = |own: &Address| own == address || Some(own) == plain.as_ref();
    let collector = mapping.collectors.iter().find(|collector| collector.address.as_ref().is_some_and(is_its_own));
    if let Some(collector) = collector {
        let message = format!("{address} is fetched by the collector \"{}\": the mail would come back for ever", collector.name);
        return Some((message, Some("forward to an address outside, or name the user".to_owned())));
    }
    let message = format!("{address} is an address of yours: \"forward:\" is for the outside");
    mapping.is_ours(address).then(|| (message, Some(format!("write \"{address}\" without \"forward:\""))))
}
