//! Who leaves as whom and through which server: real Postfixes that check whose an address is, that greylist, and of which one is away.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::collector;
use super::isp::{self, Dovecot, Postfix};
use super::relay::send;
use crate::support::office::{self, Gateway, Office, until};
use crate::support::reader::{Imap, Pop3};

fn smarthost(name: &str, postfix: &Postfix, dovecot: &Dovecot, more: &str) -> String {
    format!(
        "[[smarthost]]\nname = \"{name}\"\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nca = '{}'\n{more}\n",
        postfix.submission,
        dovecot.authority.file.display()
    )
}

fn office(config: &str, mapping: &str) -> (Office, Gateway) {
    let office = Office::new(&format!("[office]\ndomains = []\npostmaster = \"alice\"\n{config}"), mapping);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    (office, gateway)
}

fn write(gateway: &Gateway, user: &str, from: &str, id: &str) {
    let text = format!("From: {from}\nTo: carol@customer.example\nSubject: {id}\nMessage-ID: <{id}@office.lan>\nDate: x\n\nwords\n");
    send(gateway.port("submission"), user, from, &["carol@customer.example"], &text).unwrap();
}

fn waiting(office: &Office) -> Vec<serde_json::Value> {
    office.json(&["queue", "list", "--json"]).as_array().unwrap().clone()
}

/// Postfix lets a log-in send as its own addresses only (`reject_sender_login_mismatch`).
#[test]
fn trap_58_each_leaves_as_himself_by_his_own_log_in() {
    let dovecot = Dovecot::start();
    let (alice, bob) = ("alice@isp.example", "bob@isp.example");
    let postfix = Postfix::start(&dovecot, &[(alice, alice), (bob, bob)]);
    let own = |name: &str| collector(&dovecot, name, "pop3", &format!("{name}@isp.example"), &format!("deliver = \"{name}\""));
    let (office, gateway) =
        office(&format!("{}{}{}", own("alice"), own("bob"), smarthost("isp", &postfix, &dovecot, "login = \"collector\"")), "");
    // In turn, so that a connection which is still open is there to be taken by mistake.
    for n in 0..3 {
        write(&gateway, "alice", "alice@office.lan", &format!("a{n}"));
        write(&gateway, "bob", "bob@office.lan", &format!("b{n}"));
    }
    until("Carol to have all", || dovecot.count("carol@customer.example") == 6);
    let mails = Pop3::login(dovecot.pop3, "carol@customer.example", isp::PASSWORD).messages();
    for mail in mails.iter().map(|mail| String::from_utf8_lossy(mail).into_owned()) {
        let who = if mail.contains("Subject: a") { alice } else { bob };
        assert!(mail.starts_with(&format!("Return-Path: <{who}>")) && mail.contains(&format!("<{who}>")), "{mail}");
    }
    let log = postfix.log();
    let logins: HashSet<&str> = log.lines().filter_map(|line| line.split_once("sasl_username=")).map(|(_, user)| user).collect();
    assert_eq!(logins, HashSet::from([alice, bob]));
    assert!(!log.contains("not owned"), "{log}");
    until("the queue to be empty", || waiting(&office).is_empty());
}

#[test]
fn a_sender_that_the_provider_does_not_let_us_use_is_explained_to_whoever_wrote() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let login = "username = \"office\"\npassword = { file = \"isp.pass\" }\nsenders = [\"*@isp.example\"]";
    let mapping = "[senders]\nalice = { address = \"office@isp.example\" }\nbob = { address = \"bob@isp.example\" }\n";
    let (office, gateway) = office(&smarthost("isp", &postfix, &dovecot, login), mapping);
    write(&gateway, "alice", "alice@office.lan", "fine");
    write(&gateway, "bob", "bob@office.lan", "foreign");
    let inbox = |user: &str| Imap::login(gateway.port("imap"), user, office::PASSWORD).messages("INBOX");
    until("Bob to hear of it", || !inbox("bob").is_empty());
    let bounce = String::from_utf8(inbox("bob").remove(0)).unwrap().replace("\r\n", " ");
    assert!(
        bounce.contains("Our provider did not accept this office's log-in or sender address") && bounce.contains("553 5.7.1"),
        "{bounce}"
    );
    until("Carol to have the other one", || dovecot.count("carol@customer.example") == 1);
    assert!(inbox("alice").is_empty() && waiting(&office).is_empty());
    // `check --online` would have said so before.
    let output = office.call(&["check", "--online"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("FAILED: it does not accept bob@isp.example as sender: 553 5.7.1"), "{said}");
}

/// Postfix's own policy protocol: the first time that somebody writes to somebody, both have to wait.
fn greylist() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let known: Arc<Mutex<HashSet<String>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let known = known.clone();
            std::thread::spawn(move || {
                let mut answers = stream.try_clone().unwrap();
                let mut pair = String::new();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    match line.split_once('=') {
                        Some(("sender" | "recipient", value)) => pair.push_str(value),
                        Some(_) => {}
                        None => {
                            let new = known.lock().unwrap().insert(std::mem::take(&mut pair));
                            let action = if new { "defer_if_permit 4.2.0 Greylisted, come back later" } else { "dunno" };
                            answers.write_all(format!("action={action}\n\n").as_bytes()).unwrap();
                        }
                    }
                }
            });
        }
    });
    port
}

#[test]
fn trap_61_a_real_postfix_that_greylists_gets_its_five_minutes() {
    let dovecot = Dovecot::start();
    let policy =
        format!("smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{}, permit_sasl_authenticated, reject\n", greylist());
    let postfix = Postfix::start_with(&dovecot, &[("office", "office@isp.example")], &policy);
    let login = "username = \"office\"\npassword = { file = \"isp.pass\" }\nsenders = [\"office@isp.example\"]\nretry = [\"1s\"]";
    let (office, gateway) =
        office(&smarthost("isp", &postfix, &dovecot, login), "[senders]\n\"*\" = { address = \"office@isp.example\" }\n");
    write(&gateway, "bob", "bob@office.lan", "grey");
    let recipient = || waiting(&office).first().map(|mail| mail["recipients"][0].clone()).unwrap_or_default();
    until("it to be put off", || recipient()["state"] == "delayed");
    let put_off = recipient();
    assert!(put_off["last_reply"].as_str().unwrap().starts_with("450 4.2.0"), "{put_off}");
    let due: jiff::Timestamp = put_off["due"].as_str().unwrap().parse().unwrap();
    let wait = due.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((270..=301).contains(&wait), "due in {wait} s, although `retry` says a second");
    assert_eq!(dovecot.count("carol@customer.example"), 0);
    office.must(&["queue", "retry", "all"]);
    until("Carol to have it", || dovecot.count("carol@customer.example") == 1);
    until("the queue to be empty", || waiting(&office).is_empty());
    assert!(Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX").is_empty());
}

#[test]
fn each_address_leaves_through_its_own_provider_and_through_a_spare_one_when_that_is_away() {
    let dovecot = Dovecot::start();
    let owners = [("office", "alice@isp.example"), ("office", "alice@other.example")];
    let [first, other, spare] = std::array::from_fn(|_| Postfix::start(&dovecot, &owners));
    let more = |senders: &str| format!("username = \"office\"\npassword = {{ file = \"isp.pass\" }}\nsenders = [\"{senders}\"]");
    let config = [
        smarthost("spare", &spare, &dovecot, &more("*@isp.example")),
        smarthost("first", &first, &dovecot, &more("alice@isp.example")),
        smarthost("other", &other, &dovecot, &more("*@other.example")),
    ];
    let mapping = "[senders]\nalice = { address = \"alice@isp.example\", also = [\"alice@other.example\"] }\n";
    let (office, gateway) = office(&config.concat(), mapping);
    let through = |postfix: &Postfix, sender: &str| postfix.log().matches(&format!("from=<{sender}>, size=")).count();
    write(&gateway, "alice", "alice@isp.example", "one");
    write(&gateway, "alice", "alice@other.example", "two");
    until("Carol to have both", || dovecot.count("carol@customer.example") == 2);
    until("the logs", || through(&first, "alice@isp.example") + through(&other, "alice@other.example") == 2);
    assert_eq!((first.log() + &spare.log()).matches("alice@other.example").count() + other.log().matches("alice@isp.example").count(), 0);
    assert_eq!(through(&spare, "alice@isp.example"), 0);
    // What asks a server that dies under it is told to come later; this is about one that is not there.
    until("the connection to be given up", || first.log().contains(" quit=1 "));
    drop(first);
    write(&gateway, "alice", "alice@isp.example", "three");
    until("Carol to have the third", || dovecot.count("carol@customer.example") == 3);
    until("the spare one's log", || through(&spare, "alice@isp.example") == 1);
    until("the queue to be empty", || waiting(&office).is_empty());
    let asked = office.must(&["explain", "--out", "--from", "alice", "--to", "carol@customer.example"]);
    assert!(asked.contains("first") && asked.contains("spare"), "{asked}");
}

#[test]
fn trap_55_no_password_of_a_smarthost_or_a_user_is_in_the_most_talkative_log() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let login = "username = \"office\"\npassword = { file = \"isp.pass\" }\nsenders = [\"office@isp.example\"]";
    let config = format!("{}[log]\nlevel = \"trace\"\n", smarthost("isp", &postfix, &dovecot, login));
    let (_office, gateway) = office(&config, "[senders]\n\"*\" = { address = \"office@isp.example\" }\n");
    write(&gateway, "alice", "alice@office.lan", "secretly");
    until("Carol to have it", || dovecot.count("carol@customer.example") == 1);
    let log = gateway.log();
    assert!(log.contains("RCPT TO:<carol@customer.example>") && log.contains("EHLO"), "the conversations are logged:\n{log}");
    for (user, password) in [("office", isp::PASSWORD), ("alice", office::PASSWORD)] {
        for secret in [password.to_owned(), STANDARD.encode(password), STANDARD.encode(format!("\0{user}\0{password}"))] {
            assert!(!log.contains(&secret), "{log}");
        }
    }
}
