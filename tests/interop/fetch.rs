//! From a mailbox at Dovecot to the people: byte-exact, once, at the right person, and gone upstream.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::collector;
use super::isp::{self, Dovecot};
use crate::support::office::{self, Office, until};
use crate::support::reader::{Imap, Pop3};

/// A real message, and the address that the hand-over proves it was for.
struct Sample {
    bytes: Vec<u8>,
    truth: Option<String>,
}

/// 200 real messages, three quarters of them with a proven recipient; those in `KNOWN.md` go by guess, and are left out.
fn samples() -> Option<Vec<Sample>> {
    let corpus = office::shared("corpus/manifest.tsv")?;
    let manifest = fs::read_to_string(&corpus).unwrap();
    let rows: Vec<Vec<&str>> =
        manifest.lines().skip(1).filter(|line| line.starts_with("real/")).map(|line| line.split('\t').collect()).collect();
    let guessed = include_str!("../messages/KNOWN.md");
    let (proven, others): (Vec<_>, Vec<_>) = rows.into_iter().filter(|row| !guessed.contains(row[0])).partition(|row| row[4].contains('@'));
    let sample = |row: Vec<&str>| Sample {
        bytes: fs::read(corpus.with_file_name(row[0])).unwrap(),
        truth: Some(row[4].to_owned()).filter(|truth| !truth.is_empty()),
    };
    let every = proven.len() / 150;
    let chosen = proven.into_iter().step_by(every).take(150).chain(others.into_iter().step_by(5).take(50));
    Some(chosen.map(sample).collect())
}

const USERS: [&str; 6] = ["anna", "bernd", "clara", "david", "eva", "frank"];

/// Whose mailbox a proven address is mapped to.
fn owner(address: &str) -> &'static str {
    let key = address.to_lowercase();
    USERS[key.bytes().map(usize::from).sum::<usize>() % USERS.len()]
}

fn mapping(samples: &[Sample]) -> String {
    let proven: BTreeSet<String> = samples.iter().filter_map(|s| s.truth.as_ref()).map(|truth| truth.to_lowercase()).collect();
    let entries: String = proven.iter().map(|address| format!("\"{address}\" = \"{}\"\n", owner(address))).collect();
    format!("[addresses]\n{entries}")
}

/// What stands above the original in a served message: our own trace fields and nothing else.
fn is_prefix(prefix: &[u8]) -> bool {
    let text = String::from_utf8_lossy(prefix);
    text.lines().all(|line| ["Return-Path:", "Delivered-To:", "Received:", " ", "\t"].iter().any(|start| line.starts_with(start)))
        && text.contains("Delivered-To:")
        && text.contains("Received:")
}

fn catch_all(protocol: &str) {
    let Some(samples) = samples() else { return };
    let dovecot = Dovecot::start();
    dovecot.deliver("catchall", samples.iter().map(|s| s.bytes.as_slice()));
    let upstream = match protocol {
        "pop3" => Pop3::login(dovecot.pop3, "catchall", isp::PASSWORD).messages(),
        _ => Imap::login(dovecot.imap, "catchall", isp::PASSWORD).messages("INBOX"),
    };
    assert_eq!(upstream.len(), samples.len());
    // Dovecot lists in the order of delivery, so its messages and the samples go in step
    let office = Office::new(
        &format!(
            "[office]\ndomains = []\npostmaster = \"anna\"\n{}",
            collector(&dovecot, "isp", protocol, "catchall", "after = \"delete\"")
        ),
        &mapping(&samples),
    );
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&USERS).add_users(&["tray"]);

    let figures = &office.fetch()[0];
    assert_eq!(figures["error"], serde_json::Value::Null, "{figures}");
    assert_eq!(figures["fetched"], samples.len(), "{figures}");
    assert_eq!(figures["deleted"], samples.len(), "{figures}");
    let kinds = ["delivered", "forwarded", "held", "duplicate", "stub", "discarded", "remote", "quarantined"];
    assert_eq!(kinds.iter().map(|kind| figures[kind].as_u64().unwrap()).sum::<u64>(), samples.len() as u64, "{figures}");
    assert_eq!(dovecot.count("catchall"), 0, "left upstream");

    let held = office.json(&["tray", "list", "--json"]);
    for row in held.as_array().unwrap() {
        assert!(!row["reason"].as_str().unwrap().is_empty());
        office.must(&["tray", "give", &row["id"].to_string().replace('"', ""), "tray"]);
    }

    let gateway = office.run();
    let mut found: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for user in USERS.into_iter().chain(["tray"]) {
        let by_imap = Imap::login(gateway.port("imap"), user, office::PASSWORD).messages("INBOX");
        let by_pop3 = Pop3::login(gateway.port("pop3"), user, office::PASSWORD).messages();
        assert_eq!(by_imap.len(), by_pop3.len(), "{user}");
        for (imap, pop3) in by_imap.iter().zip(&by_pop3) {
            let ended = [imap.as_slice(), if imap.ends_with(b"\r\n") { b"" } else { b"\r\n" }].concat();
            assert!(ended == *pop3, "{user}: POP3 and IMAP serve different bytes");
            let original = upstream.iter().enumerate().find(|(number, original)| {
                imap.ends_with(original)
                    && is_prefix(&imap[..imap.len() - original.len()])
                    && !found.get(number).is_some_and(|f| f.contains(&user))
            });
            let (number, _) =
                original.unwrap_or_else(|| panic!("{user} has a message that Dovecot never had:\n{}", String::from_utf8_lossy(imap)));
            found.entry(number).or_default().push(user);
        }
    }

    let duplicates = figures["duplicate"].as_u64().unwrap() as usize;
    assert_eq!(found.len() + duplicates, samples.len(), "messages without a place");
    let mut strayed = Vec::new();
    for (number, users) in &found {
        let Some(truth) = &samples[*number].truth else { continue };
        match users.as_slice() {
            [user] if *user == owner(truth) => {}
            ["tray"] => strayed.push(*number),
            other => panic!("message {number} for {truth} went to {other:?}:\n{}", String::from_utf8_lossy(&samples[*number].bytes)),
        }
    }
    assert!(strayed.len() * 20 < found.len(), "{} messages with a proven recipient are in the tray", strayed.len());
}

#[test]
fn two_hundred_messages_of_a_catch_all_by_pop3s() {
    catch_all("pop3");
}

#[test]
fn two_hundred_messages_of_a_catch_all_by_imaps() {
    catch_all("imap");
}

fn mail(number: usize) -> Vec<u8> {
    format!(
        "Received: from out.example (out.example [192.0.2.9]) by mx.isp.example with ESMTP id {number}\r\n\tfor <alice@example.com>; Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         From: Bob <bob@out.example>\r\nTo: alice@example.com\r\nSubject: number {number}\r\nMessage-ID: <{number}@out.example>\r\n\
         Date: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nBody {number}\r\n.dot\r\n"
    )
    .into_bytes()
}

/// A bound mailbox at Dovecot, reached in each of the ways that a collector can be told.
#[test]
fn implicit_tls_starttls_and_plain_all_fetch() {
    let dovecot = Dovecot::start();
    let ca = dovecot.authority.file.display();
    let ways = [
        ("pop3", "starttls", dovecot.pop3, format!("ca = '{ca}'")),
        ("imap", "starttls", dovecot.imap, format!("ca = '{ca}'")),
        ("pop3", "none", dovecot.pop3, "insecure = true".to_owned()),
        ("imap", "none", dovecot.imap, "insecure = true".to_owned()),
    ];
    for (number, (protocol, tls, port, more)) in ways.into_iter().enumerate() {
        let login = format!("way{number}");
        dovecot.deliver(&login, [mail(number).as_slice()]);
        let office = Office::new(
            &format!(
                "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprotocol = \"{protocol}\"\nhost = \"localhost\"\n\
                 port = {port}\ntls = \"{tls}\"\n{more}\nusername = \"{login}\"\npassword = {{ file = \"isp.pass\" }}\nafter = \"delete\"\ndeliver = \"alice\"\n"
            ),
            "",
        );
        office.write("isp.pass", isp::PASSWORD);
        office.add_users(&["alice"]);
        let figures = &office.fetch()[0];
        assert_eq!(figures["delivered"], 1, "{protocol} {tls}: {figures}");
        assert_eq!(dovecot.count(&login), 0, "{protocol} {tls}");
    }
}

/// `fetch` beside a running gateway asks it, and the mail is there for a client that is connected.
#[test]
fn fetch_beside_a_running_gateway() {
    let dovecot = Dovecot::start();
    let config = format!(
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
        collector(&dovecot, "isp", "imap", "alice", "after = \"delete\"\ndeliver = \"alice\"\nschedule = \"0 0 1 1 *\"")
    );
    let office = Office::new(&config, "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);
    let gateway = office.run();
    let mut client = Imap::login(gateway.port("imap"), "alice", office::PASSWORD);
    client.run("SELECT INBOX");
    until("the first run to be over", || {
        let status = office.json(&["status", "--json"]);
        status["collectors"][0]["state"] == "waiting" || status["collectors"][0]["state"] == "idle"
    });
    dovecot.deliver("alice", [mail(1).as_slice(), mail(2).as_slice()]);
    let figures = &office.fetch()[0];
    assert_eq!(figures["delivered"], 2, "{figures}");
    until("the client to be told", || client.run("NOOP").iter().any(|line| line.starts_with(b"* 2 EXISTS")));
    let again = &office.fetch()[0];
    assert_eq!(again["fetched"], 0, "{again}");
    assert_eq!(dovecot.count("alice"), 0);
}

/// Mail that stays upstream is known the next time, and fetched once.
#[test]
fn kept_mail_is_fetched_once() {
    let dovecot = Dovecot::start();
    for protocol in ["pop3", "imap"] {
        let login = format!("kept-{protocol}");
        dovecot.deliver(&login, [mail(1).as_slice(), mail(2).as_slice()]);
        let office = Office::new(
            &format!(
                "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
                collector(&dovecot, "isp", protocol, &login, "after = \"keep\"\ndeliver = \"alice\"")
            ),
            "",
        );
        office.write("isp.pass", isp::PASSWORD);
        office.add_users(&["alice"]);
        assert_eq!(office.fetch()[0]["delivered"], 2, "{protocol}");
        dovecot.deliver(&login, [mail(3).as_slice()]);
        let figures = &office.fetch()[0];
        assert_eq!(
            (&figures["listed"], &figures["known"], &figures["delivered"]),
            (&3.into(), &2.into(), &1.into()),
            "{protocol}: {figures}"
        );
        assert_eq!(dovecot.count(&login), 3, "{protocol}");
    }
}

/// What becomes of IMAP mail that is neither kept nor deleted; the folder that it goes to is not there yet.
#[test]
fn mail_is_moved_to_a_folder_that_is_made_for_it_or_marked_as_read() {
    let dovecot = Dovecot::start();
    for (login, after) in [("moved", "{ move = \"Done\" }"), ("seen", "\"seen\"")] {
        dovecot.deliver(login, [mail(1).as_slice(), mail(2).as_slice()]);
        let office = Office::new(
            &format!(
                "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
                collector(&dovecot, "isp", "imap", login, &format!("after = {after}\ndeliver = \"alice\""))
            ),
            "",
        );
        office.write("isp.pass", isp::PASSWORD);
        office.add_users(&["alice"]);
        let mut fetched = 0;
        for (new, number) in [(2, None), (0, None), (1, Some(3))] {
            dovecot.deliver(login, number.map(mail).iter().map(Vec::as_slice));
            let figures = &office.fetch()[0];
            assert_eq!((&figures["error"], &figures["delivered"]), (&serde_json::Value::Null, &new.into()), "{after}: {figures}");
            fetched += new;
            let mut upstream = Imap::login(dovecot.imap, login, isp::PASSWORD);
            if login == "moved" {
                assert_eq!((dovecot.count(login), upstream.messages("Done").len()), (0, fetched));
            } else {
                assert_eq!(upstream.messages("INBOX").len(), fetched);
                let seen = upstream.run("UID SEARCH SEEN").concat();
                let unseen = upstream.run("UID SEARCH UNSEEN").concat();
                assert_eq!(seen.split(|byte| *byte == b' ').count(), 2 + fetched, "{}", String::from_utf8_lossy(&seen));
                assert!(!unseen.iter().any(u8::is_ascii_digit), "{}", String::from_utf8_lossy(&unseen));
            }
        }
    }
}

/// 60 MB go through in less than 32 MB of memory above what the gateway needs at rest.
#[test]
fn a_large_mail_does_not_make_the_gateway_large() {
    let dovecot = Dovecot::start();
    let mut large = mail(1);
    let line = [b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".as_slice(), b"\r\n"].concat();
    while large.len() < 60_000_000 {
        large.extend_from_slice(&line);
    }
    for protocol in ["pop3", "imap"] {
        let login = format!("large-{protocol}");
        dovecot.deliver(&login, [large.as_slice()]);
        let config = format!(
            "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{}",
            collector(
                &dovecot,
                "isp",
                protocol,
                &login,
                "after = \"delete\"\ndeliver = \"alice\"\nschedule = \"0 0 1 1 *\"\nenabled = true"
            )
        );
        let office = Office::new(&config, "");
        office.write("isp.pass", isp::PASSWORD);
        office.add_users(&["alice"]);
        let at_rest = {
            office.write(
                "mailroom.toml",
                &fs::read_to_string(office.path("mailroom.toml")).unwrap().replace("enabled = true", "enabled = false"),
            );
            let gateway = office.run();
            // With one log-in: its hash alone takes 19 MB for a moment.
            Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
            peak_memory(gateway.id())
        };
        office.write(
            "mailroom.toml",
            &fs::read_to_string(office.path("mailroom.toml")).unwrap().replace("enabled = false", "enabled = true"),
        );
        let gateway = office.run();
        office.fetch();
        assert_eq!(dovecot.count(&login), 0, "{protocol}");
        let peak = peak_memory(gateway.id());
        let served = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
        assert!(served[0].ends_with(&large), "{protocol}: not the same bytes");
        let serving = peak_memory(gateway.id());
        eprintln!("{protocol}: at rest {at_rest} kB, fetching 60 MB {peak} kB, serving it {serving} kB");
        assert!(peak - at_rest < 32_000, "{protocol}: {peak} kB while fetching, {at_rest} kB at rest");
        assert!(serving - at_rest < 32_000, "{protocol}: {serving} kB while serving, {at_rest} kB at rest");
    }
}

/// The most resident memory that a process ever had, in kB.
fn peak_memory(id: u32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
