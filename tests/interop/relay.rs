//! What a user sends leaves through Postfix as `[senders]` says, arrives, and stays on the LAN where it should.

use std::io::Write;
use std::process::{Command, Stdio};

use super::collector;
use super::isp::{self, Dovecot, Postfix};
use crate::support::office::{self, Office, until};
use crate::support::reader::{Imap, Pop3};

const MAPPING: &str = r#"
[addresses]
"office@isp.example" = { share = ["alice", "bob"], otherwise = "alice" }

[senders]
alice = { address = "office@isp.example", name = "Alice Smith" }
bob = { address = "office@isp.example", name = "Bob Jones" }
"#;

fn config(dovecot: &Dovecot, postfix: &Postfix) -> String {
    format!(
        "[office]\ndomains = []\npostmaster = \"alice\"\n{}\n[[smarthost]]\nname = \"isp\"\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nca = '{}'\n\
         username = \"office\"\npassword = {{ file = \"isp.pass\" }}\nsenders = [\"office@isp.example\"]\n",
        collector(dovecot, "isp", "pop3", "office@isp.example", "after = \"delete\""),
        postfix.submission,
        dovecot.authority.file.display()
    )
}

/// Sends by Python's smtplib, as an office's script would.
pub fn send(port: u16, user: &str, from: &str, to: &[&str], message: &str) -> Result<(), String> {
    let script = "import smtplib, sys\n\
        s = smtplib.SMTP('127.0.0.1', int(sys.argv[1]), timeout=60)\n\
        s.login(sys.argv[2], sys.argv[3])\n\
        s.sendmail(sys.argv[4], sys.argv[5].split(','), sys.stdin.buffer.read())\n\
        s.quit()\n";
    let mut child = Command::new("python3")
        .args(["-c", script, &port.to_string(), user, office::PASSWORD, from, &to.join(",")])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.replace('\n', "\r\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(office::errors(&output)) }
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split("\r\n\r\n").next()?.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

#[test]
fn a_reply_leaves_as_the_shared_address_and_its_answer_finds_its_writer() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let office = Office::new(&config(&dovecot, &postfix), MAPPING);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let gateway = office.run_past_first_fetch();

    let text = "From: Bob <bob@office.lan>\nTo: Carol <carol@customer.example>\nCc: alice@office.lan\nSubject: Your question\nMessage-ID: <answer-1@office.lan>\n\
                Date: Mon, 23 Nov 2026 10:00:00 +0000\nX-Untouched:   two  spaces\n\nHello Carol,\n.\n..two dots\nBob\n";
    send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example", "alice@office.lan"], text).unwrap();
    until("Carol to have the mail", || dovecot.count("carol@customer.example") == 1);
    let arrived = Pop3::login(dovecot.pop3, "carol@customer.example", isp::PASSWORD).messages().remove(0);
    let arrived = String::from_utf8(arrived).unwrap();
    assert_eq!(header(&arrived, "Return-Path"), Some("<office@isp.example>"), "{arrived}");
    let from = header(&arrived, "From").unwrap();
    assert!(from.contains("Bob Jones") && from.contains("<office@isp.example>"), "{from}");
    assert!(!header(&arrived, "Cc").unwrap().contains("office.lan"), "a LAN address left the house: {arrived}");
    assert_eq!(header(&arrived, "X-Untouched"), Some("  two  spaces"));
    assert!(arrived.ends_with("\r\n\r\nHello Carol,\r\n.\r\n..two dots\r\nBob\r\n"), "{arrived}");

    // Alice's copy never left the LAN, and is as Bob wrote it
    let alice = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    let copy = String::from_utf8(alice[0].clone()).unwrap();
    assert_eq!(header(&copy, "From"), Some("Bob <bob@office.lan>"));
    assert!(!postfix.log().contains("alice@office.lan"));

    // Carol answers the shared address: the answer is Bob's, although "otherwise" is Alice
    let answer = "Received: from mail.customer.example (mail.customer.example [192.0.2.5]) by mx.isp.example with ESMTP id 1\r\n\tfor <office@isp.example>; Mon, 23 Nov 2026 11:00:00 +0000\r\n\
                  From: Carol <carol@customer.example>\r\nTo: office@isp.example\r\nSubject: Re: Your question\r\nMessage-ID: <re-1@customer.example>\r\n\
                  In-Reply-To: <answer-1@office.lan>\r\nReferences: <answer-1@office.lan>\r\n\r\nThanks!\r\n";
    dovecot.deliver("office@isp.example", [answer.as_bytes()]);
    let figures = &office.fetch()[0];
    assert!(figures["error"].is_null(), "{figures}");
    let bob = Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX");
    assert!(bob.iter().any(|message| message.ends_with(b"Thanks!\r\n")), "{}", gateway.log());
    let alice = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(alice.len(), 1);
    assert_eq!(office.json(&["queue", "list", "--json"]).as_array().unwrap().len(), 0);
}

#[test]
fn what_postfix_refuses_comes_back_to_its_sender_alone() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let office = Office::new(&config(&dovecot, &postfix), MAPPING);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    let bounces = |user: &str| -> Vec<String> {
        let messages = Imap::login(gateway.port("imap"), user, office::PASSWORD).messages("INBOX");
        messages.into_iter().map(|message| String::from_utf8_lossy(&message).into_owned()).collect()
    };

    // one of two recipients is unknown to Postfix: the other one gets the mail
    let text =
        "From: bob@office.lan\nTo: carol@customer.example, ghost@customer.example\nSubject: to two\nMessage-ID: <two@office.lan>\n\nx\n";
    send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example", "ghost@customer.example"], text).unwrap();
    until("the bounce to reach Bob", || !bounces("bob").is_empty());
    until("Carol to have the mail", || dovecot.count("carol@customer.example") == 1);
    let bounce = bounces("bob").remove(0);
    assert!(bounce.contains("multipart/report") && bounce.contains("Action: failed"), "{bounce}");
    assert!(bounce.contains("ghost@customer.example") && bounce.contains("nobody of that name"), "{bounce}");
    assert!(!bounce.contains("; carol@customer.example"), "{bounce}");
    until("the queue to be empty", || office.json(&["queue", "list", "--json"]).as_array().unwrap().is_empty());

    // too large for this smarthost, which has said so to the mail before: refused where Bob can still see why
    let large = |size: usize| {
        let lines = "0123456789abcdef0123456789abcdef\n".repeat(size / 34);
        format!("From: bob@office.lan\nTo: carol@customer.example\nSubject: large\nMessage-ID: <large@office.lan>\n\n{lines}")
    };
    let start = std::time::Instant::now();
    let said = send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example"], &large(22_000_000)).unwrap_err();
    assert!(said.contains("552") && said.contains("20000000"), "{said}");
    send(gateway.port("submission"), "bob", "bob@office.lan", &["alice@office.lan"], &large(22_000_000)).unwrap();
    assert_eq!(bounces("alice").len(), 1, "what stays here has no business with the smarthost's limit");
    // and a large one that is just small enough goes through
    send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example"], &large(19_000_000)).unwrap();
    until("Carol to have the large mail", || dovecot.count("carol@customer.example") == 2);
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "two large mails took {:?}", start.elapsed());

    assert_eq!((bounces("bob").len(), bounces("alice").len()), (1, 1));
    assert_eq!(dovecot.count("office@isp.example") + dovecot.count("ghost@customer.example"), 0, "a bounce left the house");
}

#[test]
fn a_user_sends_only_as_identities_of_his_own() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let office = Office::new(&config(&dovecot, &postfix), MAPPING);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    let text = "From: boss@elsewhere.example\nTo: carol@customer.example\nSubject: x\n\nx\n";
    let said = send(gateway.port("submission"), "bob", "boss@elsewhere.example", &["carol@customer.example"], text).unwrap_err();
    assert!(said.contains("office@isp.example"), "the refusal does not say what he may use: {said}");
    let said = send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example"], text).unwrap_err();
    assert!(said.contains("office@isp.example"), "the refusal does not say what he may use: {said}");
    assert_eq!(dovecot.count("carol@customer.example"), 0);
}

#[test]
fn a_smarthost_that_is_away_is_tried_again() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    // this one by implicit TLS
    let text = config(&dovecot, &postfix)
        .replace("starttls", "implicit")
        .replace(&postfix.submission.to_string(), &postfix.submissions.to_string());
    let office = Office::new(&text.replace("senders =", "retry = [\"1h\"]\nsenders ="), MAPPING);
    office.write("isp.pass", "not the password yet");
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    let text = "From: bob@office.lan\nTo: carol@customer.example\nSubject: x\nMessage-ID: <wait@office.lan>\n\nx\n";
    send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example"], text).unwrap();
    until("the log-in to be refused", || {
        let rows = office.json(&["queue", "list", "--json"]);
        rows[0]["recipients"][0]["last_reply"].as_str().is_some_and(|reply| reply.contains("535"))
    });
    // a refused log-in bounces nothing: the mail waits, and goes when the password is right
    assert_eq!(Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX").len(), 0);
    office.write("isp.pass", isp::PASSWORD);
    until("Carol to have the mail", || {
        office.must(&["queue", "retry", "all"]);
        std::thread::sleep(std::time::Duration::from_millis(200));
        dovecot.count("carol@customer.example") == 1
    });
    until("the queue to be empty", || office.json(&["queue", "list", "--json"]).as_array().unwrap().is_empty());
}
