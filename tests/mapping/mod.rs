//! The mapping against real mail, hostile mail, an ISP's habits, and every mistake that a file can have.

mod corpus;
mod examples;
mod habits;
mod mistakes;
mod properties;
mod stages;
mod traps;

use mailroom::address::{Address, Domain};
use mailroom::inbound::recipients::{self, Mail, Source};
use mailroom::mapping::{Decision, Mapping, Office};
use mailroom::message::header::Header;

/// An office with these domains and users, and no collector.
fn office(domains: &[&str], users: &[&str]) -> Office {
    let domains: Vec<Domain> = domains.iter().map(|domain| Domain::parse(domain).unwrap()).collect();
    Office {
        implied: domains.clone(),
        domains,
        lan_domain: Domain::parse("office.lan").unwrap(),
        postmaster: users[0].to_owned(),
        collectors: Vec::new(),
        smarthosts: Vec::new(),
        users: users.iter().map(|user| ((*user).to_owned(), None)).collect(),
        mentions: Vec::new(),
    }
}

fn mapping(text: &str, office: &Office) -> Mapping {
    match Mapping::load(&[("mappings/office.toml".into(), text.to_owned())], office) {
        Ok((mapping, _)) => mapping,
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn decide(mapping: &Mapping, message: &[u8], source: Source<'_>) -> Decision {
    let header = Header::parse(recipients::without_blank_start(message));
    recipients::decide(mapping, Mail { header: &header, size: message.len() as u64, returned: None }, source, &|_| None)
}

/// The addresses of a stage.
fn stage(decision: &Decision, stage: &str) -> Vec<Address> {
    decision.steps.iter().filter(|step| step.stage == stage).flat_map(|step| step.addresses.clone()).collect()
}

/// Whom it is delivered to, sorted.
fn gets(decision: &Decision) -> Vec<String> {
    let mut gets: Vec<String> = decision.recipients.iter().map(|one| one.mailbox.to_string()).collect();
    gets.sort();
    gets
}
