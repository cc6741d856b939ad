//! Runs the mapping's own tests, `[[expect]]`.

use std::io;
use std::path::Path;

use super::deliver;
use super::recipients::{self, Mail, Source};
use crate::address::Address;
use crate::config::Current;
use crate::document::Problem;
use crate::mapping::{Decision, Direction, Expectation, Sender};
use crate::message::facts::Facts;
use crate::outbound::route;

/// Somebody outside, for expectations that don't say who.
const ANYBODY: &str = "somebody@outside.invalid";

/// The expectations that do not hold, each with what comes instead and why. `read` opens the message files that they name.
pub fn failures(current: &Current, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Vec<Problem> {
    current.mapping.expectations().iter().filter_map(|expectation| failure(current, expectation, read)).collect()
}

fn failure(current: &Current, expectation: &Expectation, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Option<Problem> {
    let wrong = match &expectation.sender {
        Some(user) => outgoing(current, expectation, user),
        None => match message(expectation, read) {
            Ok(message) => {
                let decision = incoming(current, expectation, &message);
                let wrong = compare(expectation, &decision);
                wrong.map(|wrong| (wrong, Some(told(&decision))))
            }
            Err(error) => Some((error, None)),
        },
    };
    let (message, help) = wrong?;
    Some(Problem { message, help, ..expectation.problem.clone() })
}

/// The file, or a message as it would come to the address.
fn message(expectation: &Expectation, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Vec<u8>, String> {
    if let Some(file) = &expectation.message {
        return read(file).map_err(|error| format!("{} can't be read: {error}", file.display()));
    }
    let from = expectation.from.as_ref().map_or(ANYBODY.to_owned(), Address::to_string);
    let to = expectation.to.as_ref().map(Address::to_string).unwrap_or_default();
    Ok(format!("Envelope-To: {to}\r\nFrom: {from}\r\nTo: {to}\r\n\r\n").into_bytes())
}

fn incoming(current: &Current, expectation: &Expectation, message: &[u8]) -> Decision {
    let collector = expectation.collector.as_ref();
    let collector = collector.and_then(|name| current.config.collectors.iter().find(|collector| collector.name == *name));
    let mut source = collector.map(|collector| Source::of(collector, "INBOX")).unwrap_or_default();
    if expectation.message.is_none() {
        // The message made for an address has its envelope where every provider may have it.
        source = Source { pinned: None, habits: &[], ..source };
    }
    let facts = Facts::of(recipients::without_blank_start(message));
    deliver::decide(&current.mapping, source, &facts, &|_| None)
}

fn compare(expectation: &Expectation, decision: &Decision) -> Option<String> {
    let expected = &expectation.expected;
    if let Some(outcome) = expected.outcome
        && outcome != decision.outcome()
    {
        return Some(format!("it should be {}, but is {}", outcome.as_str(), decision.outcome().as_str()));
    }
    if let Some(gets) = &expected.gets {
        let mut found: Vec<String> = decision.recipients.iter().map(|one| one.mailbox.to_string()).collect();
        let mut wanted = gets.clone();
        found.sort();
        wanted.sort();
        if found != wanted {
            return Some(format!("{} should get it, but {} would", names(&wanted), names(&found)));
        }
    }
    let folder = expected.folder.as_deref()?;
    let is_there = |found: Option<&str>| found.unwrap_or("INBOX") == folder;
    let elsewhere = decision.recipients.iter().find(|one| !is_there(one.folder.as_deref()))?;
    Some(format!("it should be in {folder}, but is in {} of {}", elsewhere.folder.as_deref().unwrap_or("INBOX"), elsewhere.mailbox))
}

fn outgoing(current: &Current, expectation: &Expectation, user: &str) -> Option<(String, Option<String>)> {
    let expected = &expectation.expected;
    if let Some(to) = &expectation.to
        && current.mapping.resolve(to).is_some_and(|found| found.remote.is_empty())
        && (expected.gets.is_some() || expected.folder.is_some() || expected.outcome.is_some())
    {
        let facts = Facts::of(format!("From: {user}\r\nTo: {to}\r\n\r\n").as_bytes());
        let mail = Mail { header: &facts.header(), size: facts.size, returned: None };
        let decision = recipients::decide_for(&current.mapping, to, Direction::Local, Sender::User(user), mail, &|_| None);
        return compare(expectation, &decision).map(|wrong| (wrong, Some(told(&decision))));
    }
    if let Some(to) = &expectation.to
        && (expected.gets.is_some() || expected.folder.is_some() || expected.outcome.is_some())
    {
        let facts = Facts::of(format!("From: {user}\r\nTo: {to}\r\n\r\n").as_bytes());
        let mail = Mail { header: &facts.header(), size: facts.size, returned: None };
        let decision = recipients::decide_outgoing(&current.mapping, Sender::User(user), std::slice::from_ref(to), mail).decision;
        if let Some(wrong) = compare(expectation, &decision) {
            return Some((wrong, Some(told(&decision))));
        }
    }
    let identity = match route::identity(&current.config, &current.mapping, user, expectation.from.as_ref()) {
        Ok(identity) => identity,
        Err(why) => return Some((why, None)),
    };
    if let Some(wanted) = &expected.leaves_as
        && *wanted != identity.address
    {
        return Some((format!("{user} should send as {wanted}, but would as {}", identity.address), None));
    }
    let via = route::smarthosts(&current.config, &identity).first().map(|smarthost| smarthost.name.clone());
    match (&expected.via, via) {
        (Some(wanted), via) if Some(wanted) != via.as_ref() => {
            let via = via.unwrap_or_else(|| "no smarthost".to_owned());
            Some((format!("it should leave through {wanted}, but would through {via}"), None))
        }
        _ => None,
    }
}

fn names(list: &[String]) -> String {
    if list.is_empty() { "nobody".to_owned() } else { list.join(", ") }
}

/// The steps in a line each.
fn told(decision: &Decision) -> String {
    let steps = decision.steps.iter().map(|step| match step.evidence.is_empty() {
        true => format!("{}: {}", step.stage, step.result),
        false => format!("{}: {} → {}", step.stage, step.evidence, step.result),
    });
    steps.collect::<Vec<_>>().join("\n        ")
}
