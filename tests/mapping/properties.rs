//! What holds for every mapping and every message.

use mailroom::address::Address;

use mailroom::inbound::recipients::Source;
use mailroom::inbound::remap::Destination;
use mailroom::mapping::{Decision, Mapping};
use proptest::prelude::*;

use super::{decide, office};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// A left side and a right side, such as people write them.
fn entries() -> impl Strategy<Value = Vec<(String, String)>> {
    let local = prop::sample::select(vec!["alice", "sales", "s*", "*", "*-x", "a?ice", "sales+*", "info"]);
    let domain = prop::sample::select(vec!["example.com", "old.example", "*.example"]);
    let target = prop::sample::select(vec![
        "'alice'",
        "'bob'",
        "['alice', 'carol']",
        "'hold'",
        "'remote'",
        "'discard'",
        "'forward:dan@home.example'",
        "{ to = 'bob', folder = 'Sales' }",
        "{ share = ['alice', 'bob'], otherwise = 'carol' }",
        "'alice@example.com'",
    ]);
    let entry = (local, domain, target).prop_map(|(local, domain, target)| (format!("{local}@{domain}"), target.to_owned()));
    prop::collection::vec(entry, 0..8).prop_map(|mut entries| {
        entries.sort();
        entries.dedup_by(|a, b| a.0 == b.0);
        entries
    })
}

fn load(entries: &[(String, String)]) -> Option<Mapping> {
    let lines: Vec<String> = entries.iter().map(|(left, right)| format!("'{left}' = {right}\n")).collect();
    let text = format!("[addresses]\n{}", lines.concat());
    Mapping::load(&[("m.toml".into(), text)], &office(&["example.com", "old.example"], &USERS)).ok().map(|(mapping, _)| mapping)
}

fn address() -> impl Strategy<Value = String> {
    let local = prop::sample::select(vec!["alice", "sales", "sales+x", "bob+y", "tea-x", "nobody", "info", "abuse"]);
    let domain = prop::sample::select(vec!["example.com", "old.example", "sub.example", "else.org"]);
    (local, domain).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

fn message() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec!["Envelope-To", "Delivered-To", "To", "Cc", "X-Original-To", "Resent-To", "List-Id"]);
    let line = (field, prop::collection::vec(address(), 1..3)).prop_map(|(field, to)| format!("{field}: {}\r\n", to.join(", ")));
    let received = Just("Received: from x (x [198.51.100.1]) by mx.isp.example; x\r\n".to_owned());
    prop::collection::vec(prop_oneof![3 => line, 1 => received], 0..6).prop_map(|lines| lines.concat() + "\r\n")
}

/// Without the places, which move when lines do.
fn essence(mut decision: Decision) -> Decision {
    decision.steps.iter_mut().for_each(|step| step.rule = None);
    decision
}

proptest! {
    #[test]
    fn something_always_becomes_of_a_message(entries in entries(), message in prop::collection::vec(any::<u8>(), 0..300)) {
        let Some(mapping) = load(&entries) else { return Ok(()) };
        let decision = decide(&mapping, &message, Source::default());
        let ends = !decision.recipients.is_empty() || !decision.forwards.is_empty() || decision.held.is_some() || !decision.remote.is_empty();
        prop_assert!(ends != decision.discarded);
        prop_assert!(!decision.steps.is_empty());
    }

    #[test]
    fn deciding_twice_gives_the_same(entries in entries(), message in message()) {
        let Some(mapping) = load(&entries) else { return Ok(()) };
        let first = decide(&mapping, message.as_bytes(), Source::default());
        prop_assert_eq!(first, decide(&mapping, message.as_bytes(), Source::default()));
    }

    #[test]
    fn the_order_of_entries_changes_nothing(entries in entries(), message in message(), turn in 0usize..8) {
        let Some(mapping) = load(&entries) else { return Ok(()) };
        let mut turned = entries.clone();
        let by = turn % turned.len().max(1);
        turned.rotate_left(by);
        turned.reverse();
        let turned = load(&turned).expect("the same entries load in any order");
        let one = essence(decide(&mapping, message.as_bytes(), Source::default()));
        prop_assert_eq!(one, essence(decide(&turned, message.as_bytes(), Source::default())));
    }

    /// `mapping diff` sees a difference exactly where `explain` before and `explain` after do.
    #[test]
    fn diff_agrees_with_explain(before in entries(), after in entries(), message in message()) {
        let (Some(before), Some(after)) = (load(&before), load(&after)) else { return Ok(()) };
        let decided = [before, after].map(|mapping| decide(&mapping, message.as_bytes(), Source::default()));
        let explained = decided.each_ref().map(|decision| {
            let document = decision.json();
            let mut people: Vec<String> = document["recipients"].as_array().unwrap().iter().map(|one| format!("{}/{}", one["user"], one["folder"])).collect();
            people.sort();
            (document["outcome"].clone(), people, document["forwards"].clone(), document["reason"].is_string())
        });
        let seen = decided.each_ref().map(Destination::of);
        prop_assert_eq!(seen[0] == seen[1], explained[0] == explained[1]);
        for decision in &decided {
            prop_assert_eq!(Some(Destination::of(decision)), Destination::of_journal(&decision.json().to_string()));
        }
    }

    #[test]
    fn an_entry_for_one_address_changes_no_other(entries in entries(), asked in address()) {
        let Some(mapping) = load(&entries) else { return Ok(()) };
        let mut more = entries.clone();
        more.push(("new.one@example.com".to_owned(), "'carol'".to_owned()));
        let more = load(&more).expect("one more entry loads too");
        let asked = Address::parse(&asked).unwrap();
        prop_assert_eq!(mapping.resolve(&asked), more.resolve(&asked));
    }
}
