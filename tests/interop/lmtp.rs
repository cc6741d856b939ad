//! Another mail system behind us: a real Dovecot takes by LMTP what was fetched for its people and what colleagues write to them.

use std::os::unix::fs::symlink;

use super::collector;
use super::isp::{self, Dovecot};
use super::relay::send;
use crate::support::office::{self, Office, until};
use crate::support::reader::{Imap, Pop3};

fn fetched(to: &str, number: usize) -> Vec<u8> {
    format!(
        "Return-Path: <carol@customer.example>\r\nDelivered-To: {to}\r\nFrom: Carol <carol@customer.example>\r\nTo: {to}\r\n\
         Subject: {number}\r\nMessage-ID: <{number}@customer.example>\r\nX-Odd:   kept  as it is \r\n\r\n.dots\r\n..and \u{e4}\r\n{}\r\n",
        "long ".repeat(400)
    )
    .into_bytes()
}

fn office(dovecot: &Dovecot, target: &str) -> Office {
    let config = format!(
        "[office]\ndomains = [\"example.com\", \"lab.example\"]\npostmaster = \"alice\"\n{}",
        collector(dovecot, "isp", "pop3", "office", "after = \"delete\"\nenvelope = { header = \"Delivered-To\" }")
    );
    let mapping = format!(
        "[addresses]\n\"*@lab.example\" = \"lmtp:{target}\"\n\"both@example.com\" = [\"alice\", \"lmtp:{target}\"]\n\
         \"team@example.com\" = \"group:team\"\n[groups]\nteam = {{ members = [\"bob\", \"lmtp:{target}\"] }}\n"
    );
    let office = Office::new(&config, &mapping);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    office
}

fn waiting(office: &Office) -> Vec<serde_json::Value> {
    office.json(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

#[test]
fn dovecot_gets_by_lmtp_what_is_for_its_people() {
    let dovecot = Dovecot::start();
    let office = office(&dovecot, &format!("127.0.0.1:{}", dovecot.lmtp));
    let gateway = office.run_past_first_fetch();
    dovecot.deliver(
        "office",
        [fetched("ada@lab.example", 1), fetched("both@example.com", 2), fetched("team@example.com", 3)].iter().map(Vec::as_slice),
    );
    let figures = office.fetch()[0].clone();
    assert_eq!((&figures["fetched"], &figures["forwarded"], &figures["delivered"]), (&3.into(), &1.into(), &2.into()), "{figures}");
    until("Dovecot to have all three", || {
        ["ada@lab.example", "both@example.com", "team@example.com"].iter().all(|who| dovecot.count(who) == 1)
    });
    assert_eq!(dovecot.count("office"), 0, "deleted at the provider");
    let ada = Pop3::login(dovecot.pop3, "ada@lab.example", isp::PASSWORD).messages().remove(0);
    assert!(ada.ends_with(&fetched("ada@lab.example", 1)), "{}", String::from_utf8_lossy(&ada));
    assert!(ada.starts_with(b"Return-Path: <carol@customer.example>\r\n"), "{}", String::from_utf8_lossy(&ada));
    assert_eq!(Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX").len(), 1);
    until("the queue to be empty", || waiting(&office).is_empty());

    // A colleague writes to both worlds in one mail; his words arrive as he wrote them.
    let text =
        "From: bob@office.lan\nTo: ada@lab.example, alice@office.lan\nSubject: to both\nMessage-ID: <b@office.lan>\nDate: x\n\nHello\n";
    send(gateway.port("submission"), "bob", "bob@office.lan", &["ada@lab.example", "eve@lab.example", "alice@office.lan"], text).unwrap();
    until("Ada and Eve to have it", || dovecot.count("ada@lab.example") == 2 && dovecot.count("eve@lab.example") == 1);
    let eve = Pop3::login(dovecot.pop3, "eve@lab.example", isp::PASSWORD).messages().remove(0);
    assert!(eve.ends_with(text.replace('\n', "\r\n").as_bytes()), "{}", String::from_utf8_lossy(&eve));
    assert_eq!(Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX").len(), 2);
}

#[test]
fn what_the_other_system_cannot_take_now_waits_here_and_is_gone_at_the_provider() {
    let dovecot = Dovecot::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("lmtp");
    let office = office(&dovecot, &socket.display().to_string());
    let mails: Vec<Vec<u8>> = (0..3).map(|number| fetched("ada@lab.example", number)).collect();
    dovecot.deliver("office", mails.iter().map(Vec::as_slice));
    // No gateway runs: the fetch alone commits what the queue hands over later.
    assert_eq!(office.fetch()[0]["forwarded"], 3);
    assert_eq!((dovecot.count("office"), waiting(&office).len()), (0, 3));
    let gateway = office.run();
    until("an attempt", || waiting(&office)[0]["recipients"][0]["state"] == "delayed");
    let reply = waiting(&office)[0]["recipients"][0]["last_reply"].to_string();
    assert!(reply.contains("can't connect to") && reply.contains("lmtp"), "{reply}");
    assert!(String::from_utf8(office.call(&["queue", "reroute", "1", "isp"]).stderr).unwrap().contains("there is no smarthost"));
    let refused = office.call(&["queue", "reroute", "1", "lmtp:nowhere"]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("needs a host and a port"));

    symlink(dovecot.lmtp_socket(), &socket).unwrap();
    office.must(&["queue", "retry", "all"]);
    until("Ada to have them", || dovecot.count("ada@lab.example") == 3);
    until("the queue to be empty", || waiting(&office).is_empty());
    drop(gateway);
}

/// A rule, a list, a rewritten domain and a `+detail` lead to the other system, each with an address that it knows; nobody there gets a
/// message twice because the provider keeps a copy for each of its recipients.
#[test]
fn rules_lists_and_rewritten_addresses_lead_to_the_other_system_and_each_there_gets_one_copy() {
    let dovecot = Dovecot::start();
    let target = format!("lmtp:127.0.0.1:{}", dovecot.lmtp);
    let config = format!(
        "[office]\ndomains = [\"example.com\", \"lab.example\", \"old.example\"]\npostmaster = \"alice\"\n{}",
        collector(&dovecot, "isp", "pop3", "office", "after = \"delete\"\naddress = \"desk@example.com\"")
    );
    let mapping = format!(
        "[addresses]\n\"*@lab.example\" = \"{target}\"\n\"*@old.example\" = \"*@lab.example\"\n\"bob@example.com\" = \"bob\"\n\
         [lists]\n\"rust.lists.example\" = \"archive@lab.example\"\n\"go.lists.example\" = \"{target}\"\n\
         [[rule]]\nwhen = {{ subject = \"*instead*\" }}\nto = \"{target}\"\n\
         [[rule]]\nwhen = {{ subject = \"*beside*\" }}\nadd = [\"watch@lab.example\"]\n"
    );
    let office = Office::new(&config, &mapping);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let mail = |number: usize, to: &str, more: &str| {
        format!("From: Carol <carol@customer.example>\r\nTo: {to}\r\n{more}Message-ID: <{number}@customer.example>\r\n\r\n{number}\r\n")
            .into_bytes()
    };
    let gateway = office.run_past_first_fetch();
    let two = mail(1, "ada@lab.example, Eve <eve@old.example>", "Subject: two of them\r\n");
    dovecot.deliver(
        "office",
        [
            // One message, which the provider keeps once for each of its two recipients.
            two.clone(),
            two,
            mail(2, "ada+urgent@lab.example", "Subject: x\r\n"),
            mail(3, "rust@lists.example", "List-Id: <rust.lists.example>\r\nSubject: x\r\n"),
            mail(4, "go@lists.example", "List-Id: <go.lists.example>\r\nSubject: x\r\n"),
            mail(5, "bob@example.com", "Subject: to the lab instead\r\n"),
            mail(6, "bob@example.com", "Subject: to both, beside each other\r\n"),
        ]
        .iter()
        .map(Vec::as_slice),
    );
    let figures = office.fetch()[0].clone();
    let expected = (&7.into(), &5.into(), &1.into(), &1.into());
    assert_eq!((&figures["fetched"], &figures["forwarded"], &figures["delivered"], &figures["duplicate"]), expected, "{figures}");
    until("the queue to be empty", || waiting(&office).is_empty());
    // Dovecot itself takes a detail off.
    let there = ["ada", "eve", "archive", "watch"].map(|name| dovecot.count(&format!("{name}@lab.example")));
    assert_eq!(there, [2, 1, 1, 1], "{}", gateway.log());
    assert_eq!(["desk", "bob"].map(|name| dovecot.count(&format!("{name}@example.com"))), [1, 1]);
    assert_eq!(Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX").len(), 1);
    assert!(office.json(&["tray", "list", "--json"]).as_array().unwrap().is_empty());
    assert!(office.must(&["trace", "1@customer.example"]).contains("ada@lab.example was sent this message already"));
    // A colleague's mail to the same people goes the same way; what he sends twice arrives twice, each with a name of its own.
    let text = "From: bob@office.lan\nTo: ada+2@old.example\nSubject: again\nDate: x\n\nHello\n";
    for _ in 0..2 {
        send(gateway.port("submission"), "bob", "bob@office.lan", &["ada+2@old.example"], text).unwrap();
    }
    until("Ada to have both", || dovecot.count("ada@lab.example") == 4);
}
