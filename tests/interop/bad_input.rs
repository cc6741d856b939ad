//! What goes wrong at the ISP, on the disk and in the files: a sentence that helps, and nothing lost.

use std::process::Command;

use super::collector;
use super::isp::{self, Authority, Dovecot, Options};
use crate::support::office::{self, Office, errors, until};
use crate::support::reader::{Imap, Pop3};

const MAIL: &[u8] = b"From: bob@out.example\r\nTo: alice@example.com\r\nSubject: hello\r\nMessage-ID: <1@out.example>\r\n\r\nHello\r\n";

fn office(collector: &str) -> Office {
    let office = Office::new(&format!("[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{collector}"), "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);
    office
}

const BOUND: &str = "after = \"delete\"\ndeliver = \"alice\"";

/// Fetches, and expects it to fail with a sentence that holds all of these, in the report and for the eye.
fn fails(office: &Office, words: &[&str]) {
    reports(office, words);
    let plain = office.call(&["fetch"]);
    assert_eq!(plain.status.code(), Some(1));
    assert!(errors(&plain).contains("isp"), "stderr does not name the collector: {}", errors(&plain));
}

/// The same in the report alone.
fn reports(office: &Office, words: &[&str]) {
    let output = office.call(&["fetch", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = report["collectors"][0]["error"].as_str().unwrap_or_else(|| panic!("no error in {report}")).to_owned();
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "“{said}” does not say “{word}”");
    }
}

#[test]
fn a_wrong_password() {
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", [MAIL]);
    for protocol in ["pop3", "imap"] {
        let office = office(&collector(&dovecot, "isp", protocol, "alice", BOUND));
        office.write("isp.pass", "not this one");
        fails(&office, &["password"]);
        let output = office.call(&["fetch"]);
        assert!(!errors(&output).contains("not this one"), "the password is in the log");
    }
    assert_eq!(dovecot.count("alice"), 1);
}

#[test]
fn nobody_answers() {
    let dovecot = Dovecot::start();
    let closed = isp::free_port();
    let text = collector(&dovecot, "isp", "pop3", "alice", BOUND);
    fails(&office(&text.replace(&format!("port = {}", dovecot.pop3s), &format!("port = {closed}"))), &["localhost"]);
    fails(&office(&text.replace("\"localhost\"", "\"no-such-host.invalid\"")), &["no-such-host.invalid"]);
}

#[test]
fn the_certificate_of_a_stranger() {
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", [MAIL]);
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Authority::new(elsewhere.path());
    for protocol in ["pop3", "imap"] {
        let text = collector(&dovecot, "isp", protocol, "alice", BOUND)
            .replace(&dovecot.authority.file.display().to_string(), &stranger.file.display().to_string());
        fails(&office(&text), &["certificate"]);
    }
    assert_eq!(dovecot.count("alice"), 1);
}

#[test]
fn a_certificate_that_has_expired() {
    let dovecot = Dovecot::start_with(Options { expired: true, ..Options::default() });
    fails(&office(&collector(&dovecot, "isp", "pop3", "alice", BOUND)), &["certificate", "expired"]);
}

#[test]
fn a_pin_instead_of_an_authority() {
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", [MAIL]);
    let pin = |pin: &str| {
        collector(&dovecot, "isp", "pop3", "alice", BOUND)
            .replace(&format!("ca = '{}'", dovecot.authority.file.display()), &format!("pin = \"{pin}\""))
    };
    fails(&office(&pin("sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")), &["pin"]);
    let command = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64",
        dovecot.certificate.0.display()
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    let figures = &office(&pin(&format!("sha256/{}", seen.trim()))).fetch()[0];
    assert_eq!(figures["delivered"], 1, "{figures}");
}

#[test]
fn a_mailbox_that_is_in_use() {
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", [MAIL]);
    let office = office(&collector(&dovecot, "isp", "pop3", "alice", BOUND));
    let holder = Pop3::login(dovecot.pop3, "alice", isp::PASSWORD);
    // Dovecot waits ten seconds for the other session before it says so.
    reports(&office, &["in use"]);
    holder.quit();
    assert_eq!(office.fetch()[0]["delivered"], 1);
}

#[test]
fn empty_and_headless_messages_arrive_too() {
    let dovecot = Dovecot::start();
    let odd: [&[u8]; 4] = [b"\r\n", b"no header at all\r\n", b"Subject: only a header\r\n", b"\r\nonly a body\r\n"];
    for protocol in ["pop3", "imap"] {
        let login = format!("odd-{protocol}");
        dovecot.deliver(&login, odd);
        let office = office(&collector(&dovecot, "isp", protocol, &login, BOUND));
        let figures = &office.fetch()[0];
        assert!(figures["error"].is_null() && figures["fetched"] == 4, "{figures}");
        assert_eq!(dovecot.count(&login), 0);
        let gateway = office.run();
        assert_eq!(Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX").len(), 4);
    }
}

/// A tmpfs of a given size, gone with its value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a small disk can't be mounted: the tests run as root");
        Self(folder)
    }

    fn grow(&self, size: &str) {
        assert!(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_heals_by_itself() {
    let dovecot = Dovecot::start();
    let filler = "0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(20_000);
    let mails: Vec<Vec<u8>> = (0..20)
        .map(|number| format!("From: bob@out.example\r\nMessage-ID: <{number}@out.example>\r\n\r\n{number}\r\n{filler}").into_bytes())
        .collect();
    dovecot.deliver("alice", mails.iter().map(Vec::as_slice));
    let disk = SmallDisk::new("12m");
    let office = office(&format!(
        "[storage]\npath = '{}/store'\nmin_free = \"1KB\"\n{}",
        disk.0.path().display(),
        collector(&dovecot, "isp", "pop3", "alice", BOUND)
    ));
    // once: a second program may not even open the store on a disk this full
    reports(&office, &["full"]);
    assert!(dovecot.count("alice") > 0, "20 MB went onto a disk of 12 MB");
    disk.grow("200m");
    let figures = &office.fetch()[0];
    assert!(figures["error"].is_null(), "{figures}");
    assert_eq!(dovecot.count("alice"), 0);
    let gateway = office.run();
    let served = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(served.len(), mails.len());
    for mail in &mails {
        assert!(served.iter().any(|message| message.ends_with(mail)), "one is missing");
    }
}

#[test]
fn too_little_room_pauses_fetching_and_submission() {
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", [MAIL]);
    let text = format!("[storage]\npath = \"store\"\nmin_free = \"1000000GB\"\n{}", collector(&dovecot, "isp", "pop3", "alice", BOUND));
    let office = office(&text);
    fails(&office, &["min_free"]);
    assert_eq!(dovecot.count("alice"), 1);
}

#[test]
fn two_gateways_on_one_store() {
    let dovecot = Dovecot::start();
    let office = office(&collector(&dovecot, "isp", "pop3", "alice", BOUND));
    let _first = office.run();
    let said = office.try_run().err().expect("a second gateway started on the same store");
    assert!(said.contains("already") || said.contains("another"), "{said}");
}

#[test]
fn users_that_nobody_added_are_named_all_at_once() {
    let office = Office::new(
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n",
        "[addresses]\n\"sales@example.com\" = [\"bob\", \"carol\"]\n",
    );
    for command in ["run", "fetch"] {
        let output = office.call(&[command]);
        assert_eq!(output.status.code(), Some(2), "{command}: {}", errors(&output));
        for name in ["alice", "bob", "carol"] {
            assert!(errors(&output).contains(name), "{command} does not name {name}: {}", errors(&output));
        }
    }
    office.add_users(&["alice", "bob", "carol"]);
    assert_eq!(office.call(&["fetch"]).status.code(), Some(0));
}

#[test]
fn a_misspelt_user_and_an_unknown_key() {
    let office = Office::new("[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\nlangauge = \"de\"\n", "");
    let output = office.call(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    let said = errors(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("mailroom.toml:4:1") && said.contains("language"), "{said}");

    office.configure("[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n", "[addresses]\n\"sales@example.com\" = \"alcie\"\n");
    office.add_users(&["alice"]);
    let output = office.call(&["check"]);
    let said = errors(&output) + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("office.toml:2:") && said.contains("alcie") && said.contains("“alice”") | said.contains("\"alice\""), "{said}");
}

#[test]
fn files_that_break_while_running_leave_the_last_good_ones_in_force() {
    let office =
        Office::new("[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n", "[addresses]\n\"sales@example.com\" = \"alice\"\n");
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    let error = || office.json(&["status", "--json"])["config"]["error"].as_str().map(str::to_owned);
    assert_eq!(error(), None);
    office.write("mappings/office.toml", "[addresses]\n\"sales@example.com\" = \"nobody\"\n");
    until("status to say what is wrong", || error().is_some_and(|said| said.contains("nobody")));
    until("the log to say it too", || gateway.log().contains("nobody"));
    Imap::login(gateway.port("imap"), "alice", office::PASSWORD).run("SELECT INBOX");
    office.write("mappings/office.toml", "[addresses]\n\"sales@example.com\" = \"bob\"\n");
    until("status to be well again", || error().is_none());
    // a log-in by an address that only the new mapping gives to Bob
    Imap::login(gateway.port("imap"), "sales@example.com", office::PASSWORD).run("SELECT INBOX");
}
