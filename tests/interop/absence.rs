//! People who are away, and those who stand in: who writes to them is told once, and somebody else gets a copy.

use super::collector;
use super::isp::{self, Dovecot};
use super::relay::send;
use crate::support::office::{self, Office, errors, until};
use crate::support::reader::Imap;

fn mail(number: usize, from: &str, more: &str) -> Vec<u8> {
    format!("Return-Path: <{from}>\r\nFrom: <{from}>\r\nTo: bob@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@x>\r\n{more}\r\nHi\r\n")
        .into_bytes()
}

#[test]
fn who_writes_is_told_once_and_a_colleague_has_a_copy() {
    let dovecot = Dovecot::start();
    let config = format!(
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\nlanguage = \"de\"\n{}\n\
         [[smarthost]]\nname = \"isp\"\nhost = \"localhost\"\nport = 1\n",
        collector(&dovecot, "isp", "pop3", "office", "after = \"delete\"")
    );
    let office = Office::new(&config, "[senders]\nbob = { address = \"bob@example.com\", name = \"Bob Jones\" }\n");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob", "carol"]);
    let gateway = office.run_past_first_fetch();
    office.write("away.txt", "Bin weg.\n.\nBob\n");
    office.must(&["vacation", "bob", "on", "--until", "2099-12-31", "--text", office.path("away.txt").to_str().unwrap()]);
    office.must(&["copy", "bob", "to", "carol", "--until", "2099-12-31"]);
    let users = office.json(&["user", "list", "--json"]);
    assert_eq!((&users[1]["away"], &users[1]["copies_to"][0]), (&true.into(), &"carol".into()), "{users}");
    assert!(office.must(&["user", "list"]).contains("away; copies to carol"));
    let bob = office.json(&["status", "--json"])["users"][1].clone();
    assert_eq!((&bob["away"], &bob["copies_to"][0], &bob["away_from"]), (&true.into(), &"carol".into(), &serde_json::Value::Null), "{bob}");
    assert!(bob["away_until"].as_str().unwrap().starts_with("2"), "{bob}");
    let status = office.must(&["status"]);
    assert!(status.contains("away until ") && status.contains("copies to carol until "), "{status}");

    let mails = [
        mail(1, "kay@customer.example", ""),
        mail(2, "kay@customer.example", ""),
        mail(3, "list-bounces@customer.example", ""),
        mail(4, "shop@customer.example", "Precedence: bulk\r\n"),
        mail(5, "", ""),
        mail(6, "other@customer.example", ""),
    ];
    dovecot.deliver("office", mails.iter().map(Vec::as_slice));
    let hidden =
        String::from_utf8(mail(7, "bcc@customer.example", "")).unwrap().replace("To: bob", "Delivered-To: bob@example.com\r\nTo: x");
    dovecot.deliver("office", [hidden.as_bytes()]);
    let figures = office.fetch()[0].clone();
    assert!(figures["error"].is_null(), "{figures}");
    let queue = office.json(&["queue", "list", "--json"]);
    let mut told: Vec<String> =
        queue.as_array().unwrap().iter().map(|mail| mail["recipients"][0]["address"].as_str().unwrap().into()).collect();
    told.sort();
    assert_eq!(told, ["kay@customer.example", "other@customer.example"], "{queue}");
    assert_eq!(queue[0]["from"], "bob@example.com");
    assert!(queue[0]["subject"].as_str().unwrap().starts_with("Automatische Antwort: "), "{queue}");

    let inbox = |user: &str| Imap::login(gateway.port("imap"), user, office::PASSWORD).messages("INBOX");
    assert!(inbox("bob").len() >= 6);
    assert_eq!(inbox("carol").len(), inbox("bob").len());

    // A colleague is told here, and nothing leaves.
    let text = "From: alice@office.lan\nTo: bob@office.lan\nSubject: lunch\nMessage-ID: <l@office.lan>\nDate: x\n\n?\n";
    for _ in 0..2 {
        send(gateway.port("submission"), "alice", "alice@office.lan", &["bob@office.lan"], text).unwrap();
    }
    until("Alice to be told", || !inbox("alice").is_empty());
    let replies = inbox("alice");
    let reply = String::from_utf8(replies[0].clone()).unwrap();
    assert_eq!(replies.len(), 1);
    assert!(reply.contains("Auto-Submitted: auto-replied") && reply.contains("In-Reply-To: <l@office.lan>"), "{reply}");
    assert!(reply.contains("From: bob@office.lan\r\n") && reply.ends_with("Bin weg.\r\n.\r\nBob\r\n"), "{reply}");

    office.must(&["vacation", "bob", "off"]);
    office.must(&["copy", "bob", "to", "carol", "--off"]);
    // Once the gateway has answered a command, it has seen what others did before.
    office.fetch();
    let before = inbox("carol").len();
    send(gateway.port("submission"), "carol", "carol@office.lan", &["bob@office.lan"], text.replace("alice@", "carol@").as_str()).unwrap();
    assert_eq!(inbox("carol").len(), before);
    for (wrong, why) in [
        (&["vacation", "bob", "on", "--until", "2020-01-01"][..], "over already"),
        (&["vacation", "bob", "on", "--from", "2099-02-01", "--until", "2099-01-01"], "before the first"),
        (&["vacation", "bo", "on"], "did you mean “bob”"),
        (&["vacation", "bob", "off", "--until", "2099-01-01"], "takes no --from"),
        (&["copy", "bob", "to", "bob"], "has that mail anyway"),
        (&["copy", "bob", "to", "carol", "--off"], "gets no copies"),
    ] {
        let output = office.call(wrong);
        assert!(!output.status.success() && errors(&output).contains(why), "{wrong:?}: {}", errors(&output));
    }
}

/// A leaver's mail goes to whoever takes over: what is there, what still comes, and in the end all of it.
#[test]
fn a_leavers_mail_goes_to_who_takes_over() {
    let config = "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n";
    let office = Office::new(config, "");
    office.add_users(&["alice", "bob", "carol"]);
    let gateway = office.run();
    let write = |number: usize| {
        let text = format!("From: alice@office.lan\nTo: bob@office.lan\nSubject: {number}\nMessage-ID: <{number}@x>\nDate: x\n\nx\n");
        send(gateway.port("submission"), "alice", "alice@office.lan", &["bob@office.lan"], &text)
    };
    let count = |user: &str, folder: &str| Imap::login(gateway.port("imap"), user, office::PASSWORD).messages(folder).len();
    write(1).unwrap();
    assert!(errors(&office.call(&["user", "disable", "bob", "--give-to", "bob"])).contains("can't inherit"));
    assert!(errors(&office.call(&["user", "disable", "bob", "--give-to", "caro"])).contains("did you mean \u{201c}carol\u{201d}"));
    assert_eq!(count("bob", "INBOX"), 1, "nothing was done");
    let said = office.must(&["user", "disable", "bob", "--give-to", "carol"]);
    assert!(said.contains("carol has the mail, in folders below bob, and gets what still arrives"), "{said}");
    assert_eq!((count("carol", "bob/INBOX"), count("carol", "INBOX")), (1, 0));
    write(2).unwrap();
    assert_eq!(count("carol", "INBOX"), 1);
    let said = office.must(&["user", "enable", "bob"]);
    assert!(said.contains("`copy bob to carol --off`"), "{said}");
    assert_eq!(count("bob", "INBOX"), 1, "his folders are there anew");
    office.must(&["user", "remove", "bob", "--give-to", "carol"]);
    assert_eq!((count("carol", "bob'/INBOX"), count("carol", "bob/INBOX")), (1, 1));
    // Taken by nobody from the start; and refused for good once the gateway has seen what another process did.
    until("bob is unknown", || write(3).unwrap_err().contains("550"));
}
