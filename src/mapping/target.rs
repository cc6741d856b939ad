//! The right side of a mapping entry.

use super::LmtpServer;
use crate::address::Address;
use crate::document::{Mark, Table, Value};

/// Words that can't be user names, since they mean something on the right side.
pub const RESERVED: [&str; 4] = ["hold", "discard", "remote", "mapped"];

/// Whom an address, a rule or a collector leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A user.
    User(String),
    /// `group:`
    Group(String),
    /// `shared:`
    Shared(String),
    /// `forward:`
    Forward(Address),
    /// `lmtp:HOST:PORT` or `lmtp:/path/to/socket`: what [`LmtpServer::parse`] reads.
    Lmtp(String),
    /// An address of ours, or a pattern with as many `*` as the left side at most; looked up again.
    Address(String),
    /// A share table.
    Share {
        /// Who shares the address.
        members: Vec<String>,
        /// For what nobody can be told for; default all members.
        otherwise: Box<Target>,
    },
    /// Exists, but not here.
    Remote,
    /// To the tray.
    Hold,
    /// Traced, journaled, delivered to nobody.
    Discard,
    /// Each of them.
    All(Vec<Target>),
    /// Into a folder.
    In {
        /// Whom for.
        to: Box<Target>,
        /// Which folder.
        folder: String,
    },
}

impl Target {
    /// Reads the right side of an entry. Notes what is no target; whether users and groups exist is not asked here. Calls `leaf` for every user, group, address and so on with its place, and lets it change them.
    pub fn read_each<'d>(value: &Value<'d>, leaf: &mut dyn FnMut(&mut Target, Mark<'d>)) -> Option<Target> {
        if let Some(list) = value.as_list() {
            if list.is_empty() {
                value.mark().wrong_with("an empty list would deliver to nobody", "write \"discard\" if that is meant");
                return None;
            }
            let targets: Vec<_> = list.iter().map(|one| Self::read_each(one, leaf)).collect();
            return targets.into_iter().collect::<Option<Vec<_>>>().map(Target::All);
        }
        if let Some(table) = value.as_table() {
            return Self::read_table(table, leaf);
        }
        if value.as_text().is_none() {
            value.wrong_type("a target, such as \"alice\", [\"alice\", \"bob\"] or { to = \"alice\", folder = \"Sales\" }");
            return None;
        }
        let mut target = value.parse(Self::parse)?;
        leaf(&mut target, value.mark());
        Some(target)
    }

    fn read_table<'d>(table: Table<'d>, leaf: &mut dyn FnMut(&mut Target, Mark<'d>)) -> Option<Target> {
        let folder = match table.get("folder") {
            Some(value) => Some(value.parse(folder_name)?),
            None => None,
        };
        let target = if table.has("share") {
            Self::read_share(&table, leaf)
        } else {
            table.require("to", "to = \"alice\"").and_then(|to| Self::read_each(&to, leaf))
        };
        if table.has("share") && table.has("to") {
            table.mark().wrong_with("\"to\" and \"share\" exclude each other", "for a share, \"otherwise\" says who gets the rest");
            let _ = table.get("to");
        } else if !table.has("share") {
            // Asked for, so that a mistyped key is told which ones there are.
            let _ = (table.get("share"), table.get("otherwise"));
            if let Some(mark) = table.key_mark("otherwise") {
                mark.wrong_with("\"otherwise\" belongs to a share", "write share = [\"alice\", \"bob\"] instead of \"to\"");
            }
        } else {
            let _ = table.get("to");
        }
        if let (Some(mark), Some(Target::Lmtp(server))) = (table.key_mark("folder"), &target) {
            mark.warn(format!("\"folder\" does nothing here: in which folder a mail lies is the business of {server}"), None);
        }
        table.finish();
        let target = target?;
        Some(match folder {
            Some(folder) => Target::In { to: Box::new(target), folder },
            None => target,
        })
    }

    fn read_share<'d>(table: &Table<'d>, leaf: &mut dyn FnMut(&mut Target, Mark<'d>)) -> Option<Target> {
        let members: Vec<Option<String>> = table.one_or_more("share")?.iter().map(|value| read_member(value, leaf)).collect();
        let otherwise = table.get("otherwise").map(|value| Self::read_each(&value, leaf));
        let members = members.into_iter().collect::<Option<Vec<String>>>()?;
        if members.is_empty() {
            table.mark().wrong("a share needs members");
            return None;
        }
        let everybody = || Some(Target::All(members.iter().cloned().map(Target::User).collect()));
        let otherwise = otherwise.unwrap_or_else(everybody)?;
        Some(Target::Share { members, otherwise: Box::new(otherwise) })
    }

    /// Reads a target that is a text: everything but lists and tables.
    pub fn parse(text: &str) -> Result<Target, String> {
        match text {
            "remote" => return Ok(Target::Remote),
            "hold" => return Ok(Target::Hold),
            "discard" => return Ok(Target::Discard),
            "mapped" => return Err("\"mapped\" is no target; only a collector's \"deliver\" takes it".to_owned()),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("group:") {
            return Ok(Target::Group(part_name(name)?));
        }
        if let Some(name) = text.strip_prefix("shared:") {
            return Ok(Target::Shared(part_name(name)?));
        }
        if let Some(address) = text.strip_prefix("forward:") {
            let address = Address::parse(address).map_err(|why| format!("\"{text}\" forwards to no mail address: {why}"))?;
            return Ok(Target::Forward(address));
        }
        if let Some(server) = text.strip_prefix("lmtp:") {
            return LmtpServer::parse(server).map(|_| Target::Lmtp(server.to_owned()));
        }
        if let Some((local, domain)) = text.rsplit_once('@') {
            return pattern(local, domain).map(Target::Address).map_err(|why| format!("\"{text}\" is no mail address: {why}"));
        }
        user_name(text).map(Target::User)
    }
}

fn read_member<'d>(value: &Value<'d>, leaf: &mut dyn FnMut(&mut Target, Mark<'d>)) -> Option<String> {
    let mut target = value.parse(Target::parse)?;
    leaf(&mut target, value.mark());
    if let Target::User(name) = target {
        return Some(name);
    }
    value.mark().wrong_with("only users share an address", "write the users' names; \"otherwise\" takes any target");
    None
}

/// A user's name: `[a-z0-9][a-z0-9._-]*`, or a full address (which then implies only itself). Normalised.
pub fn user_name(text: &str) -> Result<String, String> {
    if text.contains('@') {
        return Address::parse(text).map(|address| address.key().to_owned()).map_err(|why| format!("\"{text}\" is no user name: {why}"));
    }
    if RESERVED.contains(&text) {
        return Err(format!("\"{text}\" has a meaning of its own in mapping files and can't be a user name"));
    }
    part_name(text)
}

/// The name of a user, group or shared mailbox.
fn part_name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    let lower = text.to_lowercase();
    Err(match is_name(&lower) {
        true => format!("\"{text}\" is no name here; write \"{lower}\""),
        false => format!("\"{text}\" is no name here: names are made of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit"),
    })
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().next().is_some_and(plain) && text.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// A folder's name as IMAP clients show it: no control characters, no empty level.
pub(super) fn folder_name(text: &str) -> Result<String, String> {
    let sound =
        !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control) && text.split('/').all(|part| !part.is_empty());
    match sound {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{text}\" is no folder name; write one like \"Support\" or \"Lists/rust\"")),
    }
}

/// The normalised form of an address in which `*` and `?` may stand, as left sides and rewrites have it.
pub(super) fn pattern(local: &str, domain: &str) -> Result<String, String> {
    if local.is_empty() {
        return Err(format!("there is nothing before the @; write \"*@{domain}\" for every address of the domain"));
    }
    let wild = |text: &str| text.contains(['*', '?']);
    let domain = if wild(domain) {
        let lower = domain.trim_end_matches('.').to_lowercase();
        let fits = lower.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '?' | '.' | '-' | '_'));
        if !fits {
            return Err(format!("\"{domain}\" is no domain; with wildcards, write other scripts as xn--…"));
        }
        lower
    } else {
        crate::address::Domain::parse(domain).map_err(|why| why.to_string())?.as_str().to_owned()
    };
    // A stand-in domain, since only the local part is normalised here.
    let stand_in = crate::address::Domain::parse("pattern.invalid").map_err(|why| why.to_string())?;
    let address = if local.starts_with('"') {
        Address::parse(&format!("{local}@{stand_in}"))
    } else if local.chars().any(|c| c.is_whitespace() || matches!(c, '@' | ',' | ';' | '<' | '>' | '(' | ')' | ':')) {
        return Err(format!("\"{local}\" can't stand before the @"));
    } else {
        Address::new(local, &stand_in)
    };
    let address = address.map_err(|why| why.to_string())?;
    let local = address.key().rsplit_once('@').map_or("", |(local, _)| local);
    Ok(format!("{local}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Target, &str>) {
        match (Target::parse(text), expected) {
            (Ok(target), Ok(expected)) => assert_eq!(target, expected, "{text}"),
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn parses_texts() {
        check("alice", Ok(Target::User("alice".into())));
        check("group:everyone", Ok(Target::Group("everyone".into())));
        check("shared:help", Ok(Target::Shared("help".into())));
        check("lmtp:mail.lab.lan:24", Ok(Target::Lmtp("mail.lab.lan:24".into())));
        check("Bob@Example.COM", Ok(Target::Address("bob@example.com".into())));
        check("*@Example.com", Ok(Target::Address("*@example.com".into())));
        check("hold", Ok(Target::Hold));
        check("mapped", Err("deliver"));
        check("Alice", Err("write \"alice\""));
        check("al ice", Err("a-z"));
        check("forward:x", Err("no @"));
        check("lmtp:x", Err("a port"));
        check("@example.com", Err("\"*@example.com\""));
        check("a@b@example.com", Err("before the @"));
    }
}
