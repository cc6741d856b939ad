//! What happened to somebody's mapping elsewhere, and must not here. See `tests/TRAPS.md`.

use mailroom::address::Address;
use mailroom::inbound::recipients::Source;
use mailroom::mapping::{Fetched, Mapping};

use super::{decide, gets, mapping, office};

const RECEIVED: &str = "Received: from far.example (far.example [198.51.100.1]) by mx.isp.example; x\r\n";

#[test]
fn trap_31_without_an_envelope_blind_copies_and_lists_wait_with_the_reason() {
    let mapping = mapping("[lists]\n'rust.lists.example' = 'bob'\n", &office(&["example.com"], &["alice", "bob"]));
    let held = |header: &str| {
        let decision = decide(&mapping, format!("{RECEIVED}{header}\r\n\r\n").as_bytes(), Source::default());
        decision.held.map(|held| held.reason)
    };
    let reason = "no address of yours in To or Cc, and the provider gives no envelope header";
    assert_eq!(held("To: undisclosed-recipients:;").as_deref(), Some(reason));
    assert_eq!(held("To: all@lists.example\r\nList-Id: <other.lists.example>").as_deref(), Some(reason));
    assert_eq!(held("To: all@lists.example\r\nList-Id: <rust.lists.example>"), None);
}

#[test]
fn trap_32_the_senders_own_envelope_headers_name_nobody() {
    let mapping = mapping("", &office(&["example.com"], &["alice", "boss"]));
    for name in ["Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "X-Apparently-To", "X-Real-To", "X-RCPT-TO"] {
        let message = format!("{RECEIVED}{name}: boss@example.com\r\nTo: alice@example.com\r\n{name}: boss@example.com\r\n\r\n");
        assert_eq!(gets(&decide(&mapping, message.as_bytes(), Source::default())), ["alice"], "{name}");
    }
}

#[test]
fn trap_34_nobody_outside_is_mailed_to_because_a_header_names_him() {
    let mapping = mapping("", &office(&["example.com"], &["alice"]));
    for field in ["To", "Cc", "Resent-To", "Apparently-To", "X-Original-To", "Delivered-To"] {
        let message = format!("{field}: x@outside.example, alice@example.com, y@outside.example\r\n\r\n");
        let decision = decide(&mapping, message.as_bytes(), Source::default());
        assert_eq!((gets(&decision), decision.forwards.len()), (vec!["alice".to_owned()], 0), "{field}");
        let decision = decide(&mapping, format!("{field}: x@outside.example\r\n\r\n").as_bytes(), Source::default());
        assert!(decision.forwards.is_empty() && decision.held.is_some(), "{field}");
    }
}

#[test]
fn trap_35_a_rule_can_not_forward_to_what_is_fetched_here() {
    let mut office = office(&["example.com"], &["alice"]);
    office.collectors = vec![Fetched { name: "isp".into(), address: Address::parse("box@isp.example").ok(), deliver: None }];
    for text in [
        "[[rule]]\nwhen = { subject = '*' }\nto = 'forward:box@isp.example'\n",
        "[[rule]]\nwhen = { subject = '*' }\nadd = ['alice', { to = 'forward:BOX@isp.example', folder = 'x' }]\n",
        "[groups]\nall = { members = ['forward:box+x@isp.example'] }\n",
        "[lists]\n'l.example' = 'forward:box@isp.example'\n",
        "[addresses]\n'a@example.com' = { share = ['alice'], otherwise = 'forward:box@isp.example' }\n",
    ] {
        let problems = Mapping::load(&[("m.toml".into(), text.to_owned())], &office).unwrap_err();
        assert!(problems[0].message.contains("is fetched by the collector \"isp\""), "{text}: {}", problems[0]);
    }
}

#[test]
fn trap_36_two_people_of_one_name_in_two_companies() {
    let mut office = office(&["alpha.example", "beta.example"], &["anna", "anna@beta.example"]);
    office.implied = Vec::new();
    let mapping = mapping("[addresses]\n'anna@alpha.example' = 'anna'\n", &office);
    let check = |to: &str, expected: &[&str]| {
        assert_eq!(gets(&decide(&mapping, format!("To: {to}\r\n\r\n").as_bytes(), Source::default())), expected, "{to}");
    };
    check("anna@alpha.example", &["anna"]);
    check("anna@beta.example", &["anna@beta.example"]);
    check("Anna <ANNA@beta.example>, anna@alpha.example", &["anna", "anna@beta.example"]);
    assert_eq!(mapping.login("anna@beta.example").as_deref(), Some("anna@beta.example"));
    assert_eq!(mapping.login("anna").as_deref(), Some("anna"));
}

#[test]
fn trap_37_a_colleague_elsewhere_is_nobody_here_and_not_unknown() {
    let mapping = mapping("[addresses]\n'sarah@example.com' = 'remote'\n", &office(&["example.com"], &["alice"]));
    let outcome = |header: &str| {
        let decision = decide(&mapping, format!("{header}\r\n\r\n").as_bytes(), Source::default());
        (decision.outcome().as_str(), gets(&decision))
    };
    assert_eq!(outcome("Envelope-To: sarah@example.com"), ("remote", vec![]));
    assert_eq!(outcome("To: sarah@example.com, alice@example.com"), ("delivered", vec!["alice".to_owned()]));
    assert_eq!(outcome("To: sarah@example.com"), ("held", vec![]), "that it is for her was guessed");
}

#[test]
fn trap_39_a_wildcard_swallows_nothing_that_is_written_down() {
    let text = "[addresses]\n'*@example.com' = 'carol'\n'info@example.com' = 'bob'\n'*-shop@example.com' = 'bob'\n'tea-*@example.com' = 'carol'\n\
                'tea-shop@example.com' = 'alice'\n'*ea-shop@example.com' = 'alice'\n";
    let mapping = mapping(text, &office(&["example.com"], &["alice", "bob", "carol"]));
    let check = |to: &str, expected: &str| {
        assert_eq!(gets(&decide(&mapping, format!("To: {to}@example.com\r\n\r\n").as_bytes(), Source::default())), [expected], "{to}");
    };
    check("info", "bob");
    check("info+tag", "bob");
    check("alice", "alice");
    check("tea-shop", "alice");
    check("pea-shop", "alice");
    check("toy-shop", "bob");
    check("tea-cup", "carol");
    check("whoever", "carol");
}
