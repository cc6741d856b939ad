//! `mailroom explain`: who would get a message and why, stage by stage.

use std::collections::HashMap;
use std::io::Read as _;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Global, Office};
use crate::address::{Address, Domain};
use crate::config::providers::Profiles;
use crate::config::{Current, EnvelopeHabit};
use crate::document::nearest;
use crate::gateway::LoadError;
use crate::inbound::recipients::{self, Mail, Source};
use crate::inbound::{deliver, habits};
use crate::mapping::{Decision, Direction, Sender};
use crate::message::facts::Facts;
use crate::message::header::Header;
use crate::message::received;
use crate::message::wish::Wish;
use crate::outbound::route;
use crate::outbound::submit::{self, Submitter};
use crate::smtp::command::{Path, Rcpt};

/// `explain`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Message files; `-` is standard input
    #[arg(required_unless_present = "out", conflicts_with = "out")]
    files: Vec<String>,
    /// As if this collector had fetched them
    #[arg(long, value_name = "NAME", conflicts_with = "out")]
    collector: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// As whom, and through which smarthost, a user's mail would leave
    #[arg(long, requires_all = ["from", "to"])]
    out: bool,
    /// With --out: who sends
    #[arg(long, value_name = "USER", requires = "out")]
    from: Option<String>,
    /// With --out: to whom
    #[arg(long, value_name = "ADDRESS", requires = "out")]
    to: Option<String>,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let office = Office::open(global).await?;
    let current = office.current();
    if let (Some(user), Some(to)) = (&arguments.from, &arguments.to) {
        return outgoing(current, user, to, arguments.json);
    }
    let collector = match &arguments.collector {
        Some(name) => Some(named_collector(current, name)?),
        None => None,
    };
    let mut explained = Vec::new();
    for file in &arguments.files {
        let bytes = read(file)?;
        let facts = Facts::of(recipients::without_blank_start(&bytes));
        let asked: Vec<String> = deliver::asked_ids(&facts).collect();
        let sent: HashMap<String, String> = office.store.sent_by(asked).await?.into_iter().collect();
        let habits = match collector {
            Some(collector) => habits::read(&office.store, collector).await?.habits(collector),
            None => usual_habits(&facts.header(), &office.compiled.profiles),
        };
        let source = collector.map(|collector| Source::of(collector, "INBOX")).unwrap_or_default();
        let source = Source { habits: &habits, ..source };
        let decision = deliver::decide(&current.mapping, source, &facts, &|id| sent.get(id).cloned());
        explained.push((file.clone(), decision));
    }
    if arguments.json {
        let mut documents: Vec<Value> = explained.iter().map(|(file, decision)| as_json(file, decision)).collect();
        let document = if documents.len() == 1 { documents.remove(0) } else { Value::Array(documents) };
        println!("{document:#}");
    } else {
        for (at, (file, decision)) in explained.iter().enumerate() {
            if at > 0 {
                println!();
            }
            print!("{}", as_text(file, decision));
        }
    }
    Ok(Exit::Done)
}

fn read(file: &str) -> anyhow::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(file).with_context(|| format!("{file} can't be read"));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("standard input can't be read")?;
    Ok(bytes)
}

fn named_collector<'c>(current: &'c Current, name: &str) -> anyhow::Result<&'c crate::config::Collector> {
    let collectors = &current.config.collectors;
    if let Some(collector) = collectors.iter().find(|collector| collector.name == name) {
        return Ok(collector);
    }
    let near = nearest(name, collectors.iter().map(|collector| collector.name.as_str()));
    Err(LoadError::one(format!("there is no collector “{name}”"), near.map(|near| format!("did you mean “{near}”?"))).into())
}

/// The habits of the provider whose server wrote the topmost `Received`, if it is one that is known.
fn usual_habits(header: &Header<'_>, profiles: &Profiles) -> Vec<EnvelopeHabit> {
    let by = header.first("Received").and_then(|field| received::parse(field.value).by).and_then(|by| Domain::parse(&by).ok());
    let Some(by) = by else { return Vec::new() };
    let fits = |host: &str| Domain::parse(host).is_ok_and(|host| host.registered() == by.registered());
    let profile = profiles.iter().find(|profile| {
        let mut hosts = [&profile.pop3, &profile.imap, &profile.smtp].into_iter().flatten().map(|server| server.endpoint.host.as_str());
        hosts.any(fits)
    });
    profile.map(|profile| profile.habits.clone()).unwrap_or_default()
}

/// The JSON of one message.
pub fn as_json(file: &str, decision: &Decision) -> Value {
    let mut document = json!({ "file": file });
    if let (Value::Object(all), Value::Object(more)) = (&mut document, decision.json()) {
        all.extend(more);
    }
    document
}

fn as_text(file: &str, decision: &Decision) -> String {
    let mut text = format!("{file}: {}\n", decision.outcome().as_str());
    for one in &decision.recipients {
        let folder = one.folder.as_ref().map_or(String::new(), |folder| format!(" in folder {folder}"));
        let address = one.address.as_ref().map_or(String::new(), |address| format!(", as {address}"));
        text += &format!("  to {}{folder}{address}\n", one.mailbox);
    }
    for forward in &decision.forwards {
        text += &format!("  sent on to {}\n", forward.to);
    }
    for (server, address) in &decision.lmtp {
        text += &format!("  to {address} at {server}\n");
    }
    for address in &decision.remote {
        text += &format!("  {address} exists, but not here: left at the provider\n");
    }
    if let Some(held) = &decision.held {
        text += &format!("  held: {}\n", held.reason);
    }
    text += "why:\n";
    for step in &decision.steps {
        let evidence = if step.evidence.is_empty() { String::new() } else { format!("{} → ", one_line(&step.evidence)) };
        let place = step.rule.as_ref().map_or(String::new(), |place| format!("  [{place}]"));
        text += &format!("  {:<8}  {evidence}{}{place}\n", step.stage, step.result);
    }
    text
}

/// Of a header what fits on a line.
fn one_line(text: &str) -> String {
    const MAX: usize = 120;
    if text.chars().count() <= MAX {
        return text.to_owned();
    }
    text.chars().take(MAX).chain(['…']).collect()
}

fn outgoing(current: &Current, user: &str, to: &str, json: bool) -> anyhow::Result<Exit> {
    let (config, mapping) = (&current.config, &current.mapping);
    let to = Address::parse(to).map_err(|error| anyhow::anyhow!("--to: {error}"))?;
    let Some(user) = mapping.login(user) else { bail!("there is no user “{user}”") };
    let facts = Facts::of(format!("From: {user}\r\nTo: {to}\r\n\r\n").as_bytes());
    let mail = Mail { header: &facts.header(), size: facts.size, returned: None };
    let local = mapping.resolve(&to).filter(|found| found.remote.is_empty());
    if local.is_some() {
        let decision = recipients::decide_for(mapping, &to, Direction::Local, Sender::User(&user), mail, &|_| None);
        match (&decision.refused, json) {
            (Some(why), false) => println!("{to}: refused: {why}"),
            (None, false) => print!("{}", as_text(&to.to_string(), &decision).replacen(": ", ": stays here, ", 1)),
            (_, true) => println!("{:#}", as_json(&to.to_string(), &decision)),
        }
        return Ok(Exit::Done);
    }
    // What the mail itself says, such as its subject, is not known here; rules that ask for it say nothing.
    let ruled = recipients::decide_outgoing(mapping, Sender::User(&user), std::slice::from_ref(&to), mail);
    let recipient = Rcpt { to: Path::Mailbox(to.clone()), wish: Wish::default() };
    let identity = match submit::check_recipient(current, &Submitter::User(user.clone()), &recipient, true) {
        Ok(()) => route::identity(config, mapping, &user, None),
        Err(reply) => Err(reply.lines.join(" ")),
    };
    if ruled.instead && identity.is_ok() {
        match json {
            true => println!("{:#}", as_json(&to.to_string(), &ruled.decision)),
            false => print!("{}", as_text(&format!("{to}: goes elsewhere"), &ruled.decision)),
        }
        return Ok(Exit::Done);
    }
    let via = |identity| route::smarthosts(config, identity).iter().map(|smarthost| smarthost.name.clone()).collect::<Vec<_>>();
    if json {
        let document = match &identity {
            Ok(identity) => json!({
                "user": user, "to": to.to_string(), "outcome": "relayed", "leaves_as": identity.address.to_string(),
                "name": identity.name, "reply_to": identity.reply_to.as_ref().map(Address::to_string), "via": via(identity),
                "approve": ruled.approve, "also": ruled.decision.json()["recipients"],
            }),
            Err(why) => json!({ "user": user, "to": to.to_string(), "outcome": "refused", "reason": why }),
        };
        println!("{document:#}");
        return Ok(Exit::Done);
    }
    match &identity {
        Ok(identity) => {
            let names = via(identity);
            println!("{user} → {to}: leaves as {} through {}", identity.address, names.join(", then "));
            if let Some(manager) = &ruled.approve {
                println!("  waits until {manager} approves it");
            }
            for copy in &ruled.decision.recipients {
                println!("  {} gets a copy", copy.mailbox);
            }
            let others: Vec<String> = mapping.identities(&user).iter().skip(1).map(|identity| identity.address.to_string()).collect();
            if !others.is_empty() {
                println!("  {user} may also send as {}", others.join(", "));
            }
        }
        Err(why) => println!("{user} → {to}: refused: {why}"),
    }
    Ok(Exit::Done)
}
