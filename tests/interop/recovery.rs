//! kill -9 in the middle of a fetch: one more fetch, and every message is there exactly once.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::collector;
use super::isp::{self, Dovecot};
use crate::support::office::{self, Office};
use crate::support::reader::Imap;

const MESSAGES: usize = 300;

fn mail(number: usize) -> Vec<u8> {
    mail_of(number, 400 + number % 7 * 300)
}

/// So large that it goes through the spool.
fn large_mail(number: usize) -> Vec<u8> {
    mail_of(number, 70_000)
}

fn mail_of(number: usize, lines: usize) -> Vec<u8> {
    let body = format!("line of message {number}\r\n").repeat(lines);
    format!("From: <bob@out.example>\r\nTo: alice@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@out.example>\r\n\r\n{body}")
        .into_bytes()
}

fn killed_ten_times(protocol: &str) {
    let dovecot = Dovecot::start();
    let all: Vec<Vec<u8>> = (0..MESSAGES).map(mail).collect();
    dovecot.deliver("alice", all.iter().map(Vec::as_slice));
    let config = format!(
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
        collector(&dovecot, "isp", protocol, "alice", "after = \"delete\"\ndeliver = \"alice\"")
    );
    let office = Office::new(&config, "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);

    let mut killed = 0;
    for round in 0..10_u64 {
        let mut child = office.command(&["fetch"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + round * 35));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        // a later round should find work, too
        if dovecot.count("alice") == 0 {
            break;
        }
    }
    assert!(killed >= 3, "only {killed} fetches were cut: the machine is too fast for this test's mail");
    // Dovecot frees a killed session's lock in its own time
    let figures =
        (0..20).map(|_| office.fetch()[0].clone()).find(|figures| figures["error"].is_null()).expect("no fetch succeeded after the cuts");
    assert_eq!(dovecot.count("alice"), 0, "{figures}");

    let gateway = office.run();
    let mut served = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(served.len(), MESSAGES);
    for original in &all {
        let place = served.iter().position(|message| message.ends_with(original)).expect("a message is missing");
        served.swap_remove(place);
    }
}

#[test]
fn trap_03_a_pop3_fetch_killed_ten_times_loses_and_repeats_nothing() {
    killed_ten_times("pop3");
}

#[test]
fn trap_03_an_imap_fetch_killed_ten_times_loses_and_repeats_nothing() {
    killed_ten_times("imap");
}

/// Each fetch is killed at another moment of the time that it takes; a message that ends three fetches would be put aside.
fn killed_inside_a_large_message(protocol: &str) {
    const ROUNDS: usize = 8;
    let dovecot = Dovecot::start();
    let config = format!(
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
        collector(&dovecot, "isp", protocol, "alice", "after = \"delete\"\ndeliver = \"alice\"")
    );
    let office = Office::new(&config, "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);
    let (mut all, mut takes) = (Vec::new(), Duration::ZERO);
    for round in 0..=ROUNDS {
        let messages = [mail(2 * round), large_mail(2 * round + 1)];
        dovecot.deliver("alice", messages.iter().map(Vec::as_slice));
        all.extend(messages);
        let began = Instant::now();
        let mut child = office.command(&["fetch"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round > 0 {
            std::thread::sleep(takes * u32::try_from(round).unwrap() / u32::try_from(ROUNDS + 1).unwrap());
            child.kill().unwrap();
        }
        child.wait().unwrap();
        if round == 0 {
            takes = began.elapsed();
        }
        let clean = (0..20).map(|_| office.fetch()[0].clone()).find(|figures| figures["error"].is_null());
        let figures = clean.expect("no fetch succeeded after a cut");
        assert_eq!(dovecot.count("alice"), 0, "{figures}");
    }
    let gateway = office.run();
    let mut served = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(served.len(), all.len());
    for original in &all {
        let place = served.iter().position(|message| message.ends_with(original)).expect("a message is missing");
        served.swap_remove(place);
    }
}

#[test]
fn trap_03_a_pop3_fetch_killed_inside_a_large_message_loses_and_repeats_nothing() {
    killed_inside_a_large_message("pop3");
}

#[test]
fn trap_03_an_imap_fetch_killed_inside_a_large_message_loses_and_repeats_nothing() {
    killed_inside_a_large_message("imap");
}

/// Where the program may be ended, and what is durable there.
#[cfg(feature = "failpoints")]
const POINTS: [&str; 5] = ["job", "before_commit", "after_commit", "before_delete", "after_quit"];

/// A power cut at each commit point of a fetch, the first times that it is passed, and one clean fetch after each. Built with
/// `--features failpoints`; `tests/run` does.
#[cfg(feature = "failpoints")]
fn ended_at_commit_points(protocol: &str) {
    /// How often a point is passed at most before it is ended there.
    const PASSES: usize = 40;
    const SESSION: usize = 10;
    let dovecot = Dovecot::start();
    let config = format!(
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
        collector(&dovecot, "isp", protocol, "alice", "after = \"delete\"\ndeliver = \"alice\"")
    );
    let office = Office::new(&config, "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);
    let (mut all, mut tried) = (Vec::new(), Vec::new());
    for point in POINTS {
        for pass in 1..=PASSES {
            let mut messages: Vec<Vec<u8>> = (all.len()..all.len() + SESSION).map(mail).collect();
            messages[2] = large_mail(all.len() + 2);
            dovecot.deliver("alice", messages.iter().map(Vec::as_slice));
            all.extend(messages);
            let output = office.command(&["fetch"]).env("MAILROOM_FAILPOINT", format!("{point}:{pass}")).output().unwrap();
            let ended = output.status.code().is_none();
            let clean = (0..20).map(|_| office.fetch()[0].clone()).find(|figures| figures["error"].is_null());
            let figures = clean.unwrap_or_else(|| panic!("no fetch succeeded after {point}:{pass}"));
            assert_eq!(dovecot.count("alice"), 0, "{point}:{pass}: {figures}");
            if !ended {
                break;
            }
            tried.push(format!("{point}:{pass}"));
        }
    }
    for point in POINTS {
        assert!(tried.iter().any(|tried| tried.starts_with(point)), "{protocol}: {point} was never passed");
    }
    let gateway = office.run();
    let mut served = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(served.len(), all.len());
    for original in &all {
        let place = served.iter().position(|message| message.ends_with(original)).expect("a message is missing");
        served.swap_remove(place);
    }
    eprintln!("{protocol}: ended at {} places: {}", tried.len(), tried.join(" "));
}

#[cfg(feature = "failpoints")]
#[test]
fn recovery_at_commit_points_of_pop3() {
    ended_at_commit_points("pop3");
}

#[cfg(feature = "failpoints")]
#[test]
fn recovery_at_commit_points_of_imap() {
    ended_at_commit_points("imap");
}
