//! The stages, rules, groups and shares, in an office made for them.

use mailroom::address::Address;
use mailroom::config::{Anchor, EnvelopeHabit};
use mailroom::inbound::recipients::{self, Mail, Source};
use mailroom::mapping::{Decision, Direction, Mapping, Sender, Target};
use mailroom::message::header::Header;

use super::{decide, gets, mapping, office};

fn an_office(text: &str) -> Mapping {
    let mut office = office(&["example.com"], &["alice", "bob", "carol", "dora"]);
    office.collectors =
        vec![mailroom::mapping::Fetched { name: "isp".into(), address: Address::parse("all@isp.example").ok(), deliver: None }];
    mapping(text, &office)
}

/// In a word and with everybody who gets it: `delivered alice bob(Junk)`.
fn words(decision: &Decision) -> String {
    let mut people: Vec<String> = decision
        .recipients
        .iter()
        .map(|one| one.folder.as_ref().map_or(one.mailbox.to_string(), |folder| format!("{}({folder})", one.mailbox)))
        .collect();
    people.sort();
    people.insert(0, decision.outcome().as_str().to_owned());
    people.join(" ")
}

fn check(mapping: &Mapping, header: &str, expected: &str) {
    let decision = decide(mapping, format!("{header}\r\n\r\n").as_bytes(), Source::default());
    assert_eq!(words(&decision), expected, "{header}\n{:#?}", decision.steps);
}

#[test]
fn rules_come_first() {
    let mapping = an_office(
        r#"
        [groups]
        office = { members = ["alice", "bob"] }

        [[rule]]
        when = { header = { "X-Spam-Flag" = "YES" } }
        folder = "Junk"
        [[rule]]
        when = { from = "*@supplier.example", subject = "*Invoice*" }
        to = "carol"
        [[rule]]
        when = { from = ["boss@customer.example", "*@vip.example"] }
        add = ["dora"]
        [[rule]]
        when = { list = "*.lists.example" }
        to = { to = "bob", folder = "Lists" }
        [[rule]]
        when = { to = "alerts@example.com", larger = "1KB" }
        to = "discard"
        [[rule]]
        when = { user = "bob", from = "*@shop.example" }
        to = "carol"
        [[rule]]
        when = { user = "alice", from = "*@news.example" }
        folder = "News"
        [[rule]]
        when = { subject = "*for all*" }
        to = "group:office"
        stop = false
        [[rule]]
        when = { from = "*@hold.example" }
        to = "hold"
        "#,
    );
    check(&mapping, "From: x@y.example\r\nTo: alice@example.com", "delivered alice");
    check(&mapping, "From: x@y.example\r\nTo: alice@example.com\r\nX-Spam-Flag: yes", "delivered alice(Junk)");
    check(&mapping, "From: A <a@supplier.example>\r\nSubject: =?utf-8?q?Your_invoice?=\r\nTo: alice@example.com", "delivered carol");
    check(&mapping, "From: a@supplier.example\r\nSubject: Hello\r\nTo: alice@example.com", "delivered alice");
    check(&mapping, "From: a@supplier.example\r\nSubject: invoice\r\nX-Spam-Flag: YES", "delivered carol(Junk)");
    check(&mapping, "From: boss@customer.example\r\nTo: alice@example.com", "delivered alice dora");
    check(&mapping, "From: boss@customer.example\r\nTo: nobody@example.com", "delivered dora");
    check(&mapping, "From: x@y.example\r\nTo: l@l.example\r\nList-Id: R <r.lists.example>", "delivered bob(Lists)");
    check(&mapping, &format!("From: x@y.example\r\nTo: alerts@example.com\r\nX-Filler: {}", "x".repeat(1000)), "discarded");
    check(&mapping, "From: x@y.example\r\nTo: alerts@example.com", "held");
    check(&mapping, "From: x@shop.example\r\nTo: alice@example.com, bob@example.com", "delivered alice carol");
    check(&mapping, "From: x@news.example\r\nTo: alice@example.com, bob@example.com", "delivered alice(News) bob");
    check(&mapping, "From: x@y.example\r\nSubject: for all of you\r\nTo: carol@example.com", "delivered alice bob carol");
    check(&mapping, "From: x@hold.example\r\nTo: carol@example.com", "held");
}

#[test]
fn a_rule_is_told_with_its_place() {
    let mapping = an_office("[[rule]]\nname = 'invoices'\nwhen = { from = '*@supplier.example' }\nto = 'carol'\n");
    let decision = decide(&mapping, b"From: a@supplier.example\r\n\r\n", Source::default());
    let [step] = decision.steps.as_slice() else { panic!("{:#?}", decision.steps) };
    assert_eq!(step.stage, "rule");
    assert_eq!(step.rule.as_ref().unwrap().to_string(), "mappings/office.toml:1");
    assert_eq!(step.result, "carol");
}

#[test]
fn groups_keep_strangers_out() {
    let mapping = an_office(
        r#"
        [addresses]
        "staff@example.com" = "group:staff"
        "board@example.com" = "group:board"
        "all@example.com" = "group:all"
        [groups]
        staff = { members = ["alice", "bob"], senders = "local" }
        board = { members = ["carol"], senders = ["alice", "*@bank.example"] }
        all = { members = ["group:staff", "group:board", "bob"] }
        "#,
    );
    check(&mapping, "From: x@y.example\r\nTo: staff@example.com", "held");
    check(&mapping, "From: x@bank.example\r\nTo: board@example.com", "delivered carol");
    check(&mapping, "From: alice@example.com\r\nTo: board@example.com", "held");
    check(&mapping, "From: x@y.example\r\nTo: all@example.com", "delivered alice bob carol");
    let header = Header::parse(b"From: b\r\n\r\n");
    let mail = Mail { header: &header, size: 10, returned: None };
    let local = |user: &str, to: &str| {
        let to = Address::parse(to).unwrap();
        recipients::decide_for(&mapping, &to, Direction::Local, Sender::User(user), mail, &|_| None)
    };
    assert_eq!(words(&local("bob", "staff@example.com")), "delivered alice bob");
    assert_eq!(words(&local("alice", "board@example.com")), "delivered carol");
    assert!(local("bob", "board@example.com").refused.is_some());
}

#[test]
fn rules_know_directions() {
    let mapping = an_office(
        r#"
        [[rule]]
        when = { direction = "out", user = "bob" }
        add = ["alice"]
        [[rule]]
        when = { direction = "out", to = "*@rival.example" }
        to = "hold"
        [[rule]]
        when = { direction = "local", from = "dora@*" }
        folder = "Dora"
        "#,
    );
    let header = Header::parse(b"From: dora@office.lan\r\n\r\n");
    let mail = Mail { header: &header, size: 10, returned: None };
    let out = |user: &str, to: &str| recipients::decide_outgoing(&mapping, Sender::User(user), &[Address::parse(to).unwrap()], mail);
    assert_eq!(gets(&out("bob", "x@y.example").decision), ["alice"]);
    assert!(!out("bob", "x@y.example").instead);
    assert!(out("carol", "x@y.example").decision.recipients.is_empty());
    assert!(out("carol", "x@rival.example").instead);
    assert!(out("carol", "x@rival.example").decision.held.is_some());
    let to = Address::parse("bob@example.com").unwrap();
    let local = recipients::decide_for(&mapping, &to, Direction::Local, Sender::User("dora"), mail, &|_| None);
    assert_eq!(words(&local), "delivered bob(Dora)");
    check(&mapping, "From: dora@office.lan\r\nTo: bob@example.com", "delivered bob");
}

#[test]
fn what_the_collector_says() {
    let mapping = an_office("[addresses]\n'sarah@example.com' = 'remote'\n'info@example.com' = ['alice', 'bob']\n");
    let mailbox = Address::parse("all@isp.example").unwrap();
    let pinned = EnvelopeHabit { header: "X-Our-Rcpt".into(), anchor: Anchor::Last, strip_prefix: String::new(), skip: 0 };
    let bound = Target::User("carol".into());
    let unclaimed = Target::User("dora".into());
    let source = Source { name: Some("isp"), address: Some(&mailbox), ..Source::default() };
    let check = |source: Source<'_>, header: &str, expected: &str| {
        let decision = decide(&mapping, format!("{header}\r\n\r\n").as_bytes(), source);
        assert_eq!(words(&decision), expected, "{header}\n{:#?}", decision.steps);
    };
    check(Source { deliver: Some(&bound), ..source }, "Envelope-To: alice@example.com", "delivered carol");
    check(Source { pinned: Some(&pinned), ..source }, "X-Our-Rcpt: bob@example.com\r\nX-Our-Rcpt: alice@example.com", "delivered alice");
    check(Source { pinned: Some(&pinned), ..source }, "Envelope-To: alice@example.com\r\nTo: alice@example.com", "held");
    check(Source { pinned: Some(&pinned), ..source }, "X-Our-Rcpt: x@else.example\r\nTo: alice@example.com", "held");
    check(Source { unclaimed: Some(&unclaimed), ..source }, "To: x@else.example", "delivered dora");
    check(Source { unclaimed: Some(&unclaimed), ..source }, "Envelope-To: nobody@example.com", "held");
    check(source, "To: x@else.example", "held");
    check(source, "Envelope-To: all@isp.example\r\nTo: bob@example.com", "delivered bob");
    check(Source { folder: Some("Junk"), ..source }, "To: info@example.com", "delivered alice(Junk) bob(Junk)");
    check(source, "Envelope-To: sarah@example.com", "remote");
    check(source, "To: sarah@example.com", "held");
    check(source, "To: sarah@example.com, bob@example.com", "delivered bob");
    let narrow = [mailroom::address::Domain::parse("other.example").unwrap()];
    check(Source { domains: &narrow, ..source }, "Envelope-To: alice@example.com", "held");
    check(source, "To: \"undisclosed-recipients\" <undisclosed-recipients@example.com>", "held");
}

#[test]
fn twenty_thousand_recipients_are_capped_and_kept() {
    let mapping = an_office("[addresses]\n'u*@example.com' = 'alice'\n");
    let list: Vec<String> = (0..20_000).map(|number| format!("u{number}@example.com")).collect();
    let decision = decide(&mapping, format!("To: {}\r\n\r\n", list.join(",\r\n ")).as_bytes(), Source::default());
    assert_eq!(gets(&decision), ["alice"]);
    assert!(decision.steps.len() <= recipients::MAX_RECIPIENTS + 2, "{}", decision.steps.len());
    let decision = decide(&mapping, format!("Envelope-To: {}\r\n\r\n", list[..60].join(", ")).as_bytes(), Source::default());
    assert_eq!(gets(&decision), ["alice"]);
    assert!(decision.held.is_some(), "the recipients that are too many may be somebody else");
}
