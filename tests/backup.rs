//! Copies of the store, made beside a running gateway, and their way back onto another machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::office::{Office, PASSWORD, errors};
use crate::support::reader::Imap;

const CONFIG: &str = "[office]\npostmaster = \"alice\"\n";
const MAIL: &str = "From: bob@out.example\r\nSubject: kept\r\n\r\nHello\r\n";

/// Alice with one mail and one stored password.
fn office() -> Office {
    let office = Office::new(CONFIG, "");
    office.add_users(&["alice"]);
    office.must_with(&["secret", "set", "isp"], "hunter2\n");
    office
}

fn append(port: u16) {
    Imap::login(port, "alice", PASSWORD).run(&format!("APPEND INBOX {{{}+}}\r\n{MAIL}", MAIL.len()));
}

fn uid_next(port: u16) -> u64 {
    let lines = Imap::login(port, "alice", PASSWORD).run("STATUS INBOX (UIDNEXT)");
    let text = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<String>();
    let number = text.split("UIDNEXT ").nth(1).unwrap_or_else(|| panic!("{text}"));
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// The parts of the last message's EMAILID: numbers that only grow.
fn email_id(port: u16) -> (u64, u64) {
    let mut reader = Imap::login(port, "alice", PASSWORD);
    reader.run("EXAMINE INBOX");
    let lines = reader.run("FETCH * EMAILID");
    let text = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<String>();
    let id = text.split("EMAILID (M").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_else(|| panic!("{text}"));
    let (content, prefix) = id.split_once('-').unwrap();
    (content.parse().unwrap(), prefix.parse().unwrap())
}

#[test]
fn a_copy_of_a_running_office_becomes_another_one() {
    let office = office();
    let gateway = office.run();
    append(gateway.port("imap"));
    let said = office.must(&["backup", "copy"]);
    assert!(said.contains("secret.key is not in it"), "{said}");
    // Mail that came later, and that a client has seen, is not in the copy.
    append(gateway.port("imap"));
    let copy = office.path("copy");
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for file in ["mailroom.db", "tls/ca.pem", "files/mailroom.toml", "files/mappings/office.toml"] {
        assert_eq!(copy.join(file).metadata().unwrap_or_else(|_| panic!("{file}")).permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert!(!copy.join("secret.key").exists());
    let again = office.call(&["backup", "copy"]);
    assert!(again.status.code() == Some(1) && errors(&again).contains("is not empty"), "{}", errors(&again));

    let other = Office::new(CONFIG, "");
    // A look makes an empty store: that is no reason to refuse.
    other.must(&["status"]);
    let said = other.must(&["restore", copy.to_str().unwrap()]);
    assert!(said.contains("1 mailbox, 1 message") && said.contains("has no secret.key"), "{said}");
    let restored = other.run();
    let mut reader = Imap::login(restored.port("imap"), "alice", PASSWORD);
    let messages = reader.messages("INBOX");
    assert!(messages.len() == 1 && messages[0].ends_with(MAIL.as_bytes()));
    // What comes now must not get the number of what came after the copy.
    assert!(uid_next(restored.port("imap")) > uid_next(gateway.port("imap")));
    // Nor what clients know it by (RFC 8474 §5.1).
    append(restored.port("imap"));
    assert!(email_id(restored.port("imap")).0 > email_id(gateway.port("imap")).0);
    let again = other.call(&["restore", copy.to_str().unwrap()]);
    assert!(again.status.code() == Some(1), "a store was replaced");
    drop(restored);
    let again = other.call(&["restore", copy.to_str().unwrap()]);
    assert!(errors(&again).contains("is not empty, and nothing is put over it"), "{}", errors(&again));
}

#[test]
fn with_the_key_stored_passwords_come_back() {
    let office = office();
    assert!(office.must(&["backup", "copy", "--with-key"]).contains("secret.key is in it"));
    let other = Office::new(CONFIG, "");
    let said = other.must(&["restore", office.path("copy").to_str().unwrap()]);
    assert!(!said.contains("secret.key"), "{said}");
    assert_eq!(fs::read(other.path("store/secret.key")).unwrap(), fs::read(office.path("store/secret.key")).unwrap());
    assert!(other.must(&["secret", "list"]).contains("isp"));
}

#[test]
fn what_is_no_backup_or_damaged_is_refused_and_leaves_nothing() {
    let office = office();
    office.must(&["backup", "copy"]);
    let other = Office::new(CONFIG, "");
    let refused = |dir: &str, word: &str| {
        let output = other.call(&["restore", dir]);
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains(word), "{}", errors(&output));
        assert!(!other.path("store/mailroom.db").exists() && !other.path("store/mailroom.db.restoring").exists());
    };
    let copy = office.path("copy");
    refused("nowhere", "holds no backup");
    let database = copy.join("mailroom.db");
    let whole = fs::read(&database).unwrap();
    fs::write(&database, &whole[..whole.len() / 2]).unwrap();
    refused(copy.to_str().unwrap(), "is damaged");
    let mut scribbled = whole.clone();
    for at in (20_000..scribbled.len()).step_by(4_000) {
        scribbled[at..at + 64].fill(0x55);
    }
    fs::write(&database, &scribbled).unwrap();
    refused(copy.to_str().unwrap(), "is damaged");
    fs::write(&database, b"hello").unwrap();
    refused(copy.to_str().unwrap(), "in");
    fs::write(&database, &whole).unwrap();
    other.must(&["restore", copy.to_str().unwrap()]);
}
