//! What colleagues share, through the real program: an address out and in, a manager's copies, and mail that is handed over.

use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde_json::Value;

use crate::support::office::{Gateway, Office, PASSWORD, until};
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use crate::support::reader::Pop3;
use crate::support::smarthost::Smarthost;

/// An office that fetches one mailbox, and a smarthost that takes what it sends.
struct Colleagues {
    office: Office,
    upstream: Pop3Upstream,
    smarthost: Smarthost,
    runtime: tokio::runtime::Runtime,
}

impl Colleagues {
    fn new(domains: &str, username: &str, users: &[(&str, &str)], mapping: &str) -> Colleagues {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let upstream = runtime.block_on(Pop3Upstream::start(&[], Faults::default()));
        let smarthost = runtime.block_on(Smarthost::start([]));
        let config = format!(
            "[office]\ndomains = {domains}\npostmaster = \"alice\"\n\
             [[collector]]\nname = \"isp\"\nprotocol = \"pop3\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\n\
             username = \"{username}\"\npassword = {{ command = [\"echo\", \"secret\"] }}\nafter = \"keep\"\nschedule = \"every 1h\"\n\
             [[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\n",
            upstream.port,
            smarthost.address.port()
        );
        let office = Office::new(&config, mapping);
        for (user, name) in users {
            office.must_with(&["user", "add", user, "--name", name, "--password-stdin"], &format!("{PASSWORD}\n"));
        }
        Colleagues { office, upstream, smarthost, runtime }
    }

    /// A user hands in a mail.
    fn send(&self, gateway: &Gateway, user: &str, to: &[&str], id: &str) {
        let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
            .port(gateway.port("submission"))
            .credentials(Credentials::new(user.into(), PASSWORD.into()))
            .build();
        let parse = |text: &&str| text.parse().unwrap();
        let envelope = lettre::address::Envelope::new(format!("{user}@office.lan").parse().ok(), to.iter().map(parse).collect()).unwrap();
        let text =
            format!("From: {user}@office.lan\r\nTo: {}\r\nSubject: from {user}\r\nMessage-ID: <{id}>\r\n\r\nHello\r\n", to.join(", "));
        self.runtime.block_on(client.send_raw(&envelope, text.as_bytes())).unwrap();
    }

    /// These mails are in the mailbox at the provider; fetches them.
    fn fetch(&self, mails: &[String]) -> Value {
        let messages = mails.iter().enumerate().map(|(n, mail)| (format!("u{n}"), mail.clone().into_bytes())).collect();
        self.upstream.state.lock().unwrap().messages = messages;
        let figures = self.office.fetch().remove(0);
        assert_eq!((&figures["error"], &figures["held"]), (&Value::Null, &Value::from(0)), "{figures}");
        figures
    }
}

/// The Message-IDs of what somebody has, without what stands behind their @.
fn has(gateway: &Gateway, user: &str) -> Vec<String> {
    let mut session = Pop3::login(gateway.port("pop3"), user, PASSWORD);
    let messages = session.messages();
    session.quit();
    let id = |message: &Vec<u8>| {
        let text = String::from_utf8_lossy(message).into_owned();
        text.lines().find_map(|line| line.strip_prefix("Message-ID: <")?.split('@').next().map(str::to_owned)).unwrap_or_default()
    };
    let mut ids: Vec<String> = messages.iter().map(id).collect();
    ids.sort();
    ids
}

fn mail(id: &str, to: &str, more: &str) -> String {
    let received = "Received: from far.example (far.example [198.51.100.1])\r\n\tby mx.isp.example; Mon, 23 Nov 2026 10:00:00 +0000\r\n";
    format!("{received}From: Ann <ann@far.example>\r\nTo: {to}\r\nSubject: {id}\r\nMessage-ID: <{id}@far.example>\r\n{more}\r\nHello\r\n")
}

const SHARE: &str = "\
[addresses]\n\
\"office@isp.example\" = { share = [\"alice\", \"anna\", \"bob\"], otherwise = \"alice\" }\n\
[senders]\n\
\"*\" = { address = \"office@isp.example\" }\n";

#[test]
fn an_address_that_three_share_finds_each_of_them() {
    let users = [("alice", "Alice Smith"), ("anna", "Anna Smith"), ("bob", "Bob Müller")];
    let team = Colleagues::new("[]", "office@isp.example", &users, SHARE);
    let gateway = team.office.run();
    team.send(&gateway, "bob", &["customer@far.example"], "offer@office.lan");
    team.send(&gateway, "anna", &["customer@far.example"], "order@office.lan");
    until("both mails to leave", || team.smarthost.received().len() == 2);
    for (sent, name) in team.smarthost.received().iter().zip(["Bob M", "Anna Smith"]) {
        let text = String::from_utf8_lossy(&sent.message).into_owned();
        let from = text.lines().find(|line| line.starts_with("From: ")).unwrap().to_owned();
        assert!(sent.sender == "office@isp.example" && from.ends_with("<office@isp.example>"), "{from}");
        // “Müller” is an encoded word.
        assert!(from.contains(name) || from.contains("=?utf-8?"), "{from}");
    }
    let bounce = "Received: from mx.isp.example by mx.isp.example; x\r\nFrom: MAILER-DAEMON@isp.example\r\nTo: office@isp.example\r\nSubject: no\r\n\
        Message-ID: <bounce@isp.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
        --b\r\n\r\nno such user\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; isp.example\r\n\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nFrom: x\r\nMessage-ID: <order@office.lan>\r\n\r\nHello\r\n--b--\r\n";
    team.fetch(&[
        mail("a-reply", "Alice Smith <office@isp.example>", "In-Reply-To: <offer@office.lan>\r\n"),
        mail(
            "b-thread",
            "office@isp.example",
            "In-Reply-To: <other@far.example>\r\nReferences: <offer@office.lan> <other@far.example>\r\n",
        ),
        bounce.to_owned(),
        mail("c-tag", "Bob Müller <office+anna@isp.example>", ""),
        mail("d-case", "\"MUELLER, bob\" <office@isp.example>", ""),
        mail("e-accents", "=?utf-8?q?=C3=81nna_Smith?= <office@isp.example>", ""),
        mail("f-initial", "B. Muller <office@isp.example>", ""),
        mail("g-ambiguous", "A. Smith <office@isp.example>", ""),
        mail("h-nobody", "The office <office@isp.example>", ""),
        mail("i-blind", "undisclosed-recipients:;", ""),
    ]);
    assert_eq!(has(&gateway, "bob"), ["a-reply", "b-thread", "d-case", "f-initial"]);
    assert_eq!(has(&gateway, "anna"), ["bounce", "c-tag", "e-accents"]);
    assert_eq!(has(&gateway, "alice"), ["g-ambiguous", "h-nobody", "i-blind"]);
}

const MANAGED: &str = "\
[[rule]]\n\
name = \"the manager sees what bob writes and gets\"\n\
when = { user = \"bob\", direction = [\"in\", \"out\", \"local\"] }\n\
add = [\"alice\"]\n\
[[expect]]\n\
to = \"bob@example.com\"\n\
gets = [\"alice\", \"bob\"]\n\
[[expect]]\n\
sender = \"bob\"\n\
to = \"customer@far.example\"\n\
gets = [\"alice\"]\n\
leaves_as = \"bob@example.com\"\n\
[[expect]]\n\
sender = \"carol\"\n\
to = \"customer@far.example\"\n\
gets = []\n";

#[test]
fn a_manager_has_copies_of_all_ways_and_hands_mail_over() {
    let users = [("alice", "Alice"), ("bob", "Bob"), ("carol", "Carol")];
    let team = Colleagues::new("[\"example.com\"]", "all@isp.example", &users, MANAGED);
    assert!(team.office.must(&["mapping", "test"]).contains("3 of 3 expectations hold"));
    let gateway = team.office.run();
    team.send(&gateway, "bob", &["customer@far.example"], "out@office.lan");
    team.send(&gateway, "carol", &["bob@office.lan"], "inside@office.lan");
    team.send(&gateway, "carol", &["customer@far.example"], "other@office.lan");
    team.fetch(&[mail("in", "bob@example.com", ""), mail("else", "carol@example.com", "")]);
    assert_eq!(has(&gateway, "alice"), ["in", "inside", "out"]);
    assert_eq!(has(&gateway, "bob"), ["in", "inside"]);
    until("what goes outside to leave", || team.smarthost.received().len() == 2);
    // Bob is away: what came for him goes to his colleague, once.
    team.office.must(&["give", "in@far.example", "carol"]);
    assert!(team.office.must(&["give", "in@far.example", "carol"]).contains("has it already"));
    assert_eq!(has(&gateway, "carol"), ["else", "in"]);
    let events = team.office.json(&["trace", "in@far.example", "--json"]);
    let last = events.as_array().unwrap().last().unwrap();
    assert_eq!((&last["event"], &last["detail"]), (&Value::from("given"), &Value::from("the admin gave it to carol")));
    let way_out = team.office.json(&["trace", "out@office.lan", "--json"]);
    let events: Vec<&str> = way_out.as_array().unwrap().iter().filter_map(|event| event["event"].as_str()).collect();
    assert!(events.contains(&"queued") && events.last() == Some(&"relayed"), "{way_out}");
}

#[test]
fn one_person_gets_one_copy_however_it_comes() {
    let users = [("alice", "Alice"), ("bob", "Bob"), ("carol", "Carol")];
    let mapping = "[addresses]\n\"sales@example.com\" = \"group:sales\"\n\"info@example.com\" = [\"bob\", \"group:sales\"]\n\
                   [groups]\nsales = { members = [\"carol\", \"group:more\"] }\nmore = { members = [\"bob\", \"carol\"] }\n";
    let team = Colleagues::new("[\"example.com\"]", "all@isp.example", &users, mapping);
    let gateway = team.office.run();
    let first = mail("once", "sales@example.com, info@example.com, Bob <bob@example.com>", "");
    assert_eq!(team.fetch(std::slice::from_ref(&first))["delivered"], 1);
    assert_eq!((has(&gateway, "bob"), has(&gateway, "carol")), (vec!["once".to_owned()], vec!["once".to_owned()]));
    // The provider stored one for each recipient, each with its own line on top; and a forwarder sends the same to alice too.
    let again = format!("Delivered-To: bob@example.com\r\n{first}");
    let other = mail("once", "alice@example.com", "");
    let figures = team.fetch(&[first, again, other]);
    assert_eq!((&figures["known"], &figures["duplicate"], &figures["delivered"]), (&Value::from(1), &Value::from(1), &Value::from(1)));
    assert_eq!((has(&gateway, "bob").len(), has(&gateway, "carol").len(), has(&gateway, "alice").len()), (1, 1, 1));
    let events = team.office.json(&["trace", "once@far.example", "--json"]);
    assert!(events.as_array().unwrap().iter().any(|event| event["event"] == "duplicate"), "{events}");
}

/// The same mail came to both of his mailboxes at the provider, by another way each: he has it once, and both fetches say what became of it.
#[test]
fn two_collectors_that_bring_one_mail_bring_it_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let by =
        |way: &str| format!("Received: by {way}.isp.example; Mon, 23 Nov 2026 10:00:00 +0000\r\n{}", mail("both", "alice@isp.example", ""));
    let other = mail("other", "alice@isp.example", "");
    let upstreams = [("one", vec![by("one"), other]), ("two", vec![by("two")])].map(|(name, mails)| {
        let messages: Vec<(String, String)> = mails.into_iter().enumerate().map(|(n, mail)| (format!("u{n}"), mail)).collect();
        let messages: Vec<(&str, &str)> = messages.iter().map(|(uidl, mail)| (uidl.as_str(), mail.as_str())).collect();
        (name, runtime.block_on(Pop3Upstream::start(&messages, Faults::default())))
    });
    let collectors = upstreams.each_ref().map(|(name, upstream)| {
        format!(
            "[[collector]]\nname = \"{name}\"\nprotocol = \"pop3\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\n\
             username = \"{name}@isp.example\"\npassword = {{ command = [\"echo\", \"secret\"] }}\nafter = \"delete\"\ndeliver = \"alice\"\nschedule = \"every 1h\"\n",
            upstream.port
        )
    });
    let office = Office::new(&format!("[office]\ndomains = []\npostmaster = \"alice\"\n{}", collectors.join("")), "");
    office.add_users(&["alice"]);
    let figures = office.fetch();
    let sum = |key: &str| figures.iter().map(|figures| figures[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("fetched"), sum("delivered"), sum("duplicate"), sum("deleted")), (3, 2, 1, 3), "{figures:?}");
    let gateway = office.run();
    assert_eq!(has(&gateway, "alice"), ["both", "other"]);
    assert!(office.must(&["trace", "both@far.example"]).contains("duplicate"));
}
