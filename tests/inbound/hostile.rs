//! Every malformed and forged message of the reference collection, at a real provider and at a scripted one: stored byte for byte or put
//! into quarantine, and the mail behind it arrives.

use std::fs;
use std::time::Duration;

use super::Office;
use crate::interop::isp::{Dovecot, PASSWORD};
use crate::support::office::shared;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use crate::support::reader::{Imap, Pop3};

const BEHIND: &[u8] = b"From: <x@far.example>\r\nTo: alice@example.com\r\nMessage-ID: <behind@far.example>\r\n\r\nbehind it all\r\n";

fn hostile() -> Option<Vec<Vec<u8>>> {
    let folder = shared("corpus/hostile")?;
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    Some(files.into_iter().map(|file| fs::read(file).unwrap()).collect())
}

/// Everything that the store has of the fetched originals, sorted.
async fn journaled(office: &Office) -> Vec<Vec<u8>> {
    let mut originals = Vec::new();
    for entry in office.store.journal(0, 0, 1000).await.unwrap() {
        originals.push(office.store.content(entry.content, 0, usize::MAX >> 1).await.unwrap().to_vec());
    }
    originals.sort();
    originals
}

async fn at_dovecot(protocol: &str) {
    let Some(messages) = hostile() else { return };
    let dovecot = Dovecot::start();
    dovecot.deliver("office", messages.iter().map(Vec::as_slice).chain([BEHIND]));
    // What Dovecot makes of them is what has to arrive.
    let (port, mut expected) = match protocol {
        "pop3" => (dovecot.pop3, Pop3::login(dovecot.pop3, "office", PASSWORD).messages()),
        _ => (dovecot.imap, Imap::login(dovecot.imap, "office", PASSWORD).messages("INBOX")),
    };
    let more = format!("deliver = \"alice\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}");
    let mut office = Office::new(protocol, port, &more).await;
    office.moment = Duration::from_secs(30);
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, figures.deleted, figures.failed), (expected.len() as u64, expected.len() as u64, 0), "{figures:?}");
    assert_eq!((figures.quarantined, dovecot.count("office")), (0, 0));
    let stored = journaled(&office).await;
    expected.sort();
    assert!(stored == expected, "{} stored, {} expected: not the same bytes", stored.len(), expected.len());
    assert!(stored.contains(&BEHIND.to_vec()));
}

#[tokio::test]
async fn hostile_mail_at_dovecot_by_pop3_is_stored_as_it_is() {
    at_dovecot("pop3").await;
}

#[tokio::test]
async fn hostile_mail_at_dovecot_by_imap_is_stored_as_it_is() {
    at_dovecot("imap").await;
}

/// Dovecot turns bare line feeds into line ends and more; a server that hands out the very bytes does not.
#[tokio::test]
async fn trap_23_hostile_mail_is_stored_byte_for_byte() {
    let Some(messages) = hostile() else { return };
    // POP3 itself ends every message with a line end (RFC 1939 §3), so that one is added where it is missing.
    let ended = |bytes: &Vec<u8>| if bytes.is_empty() || bytes.ends_with(b"\r\n") { bytes.clone() } else { [bytes, &b"\r\n"[..]].concat() };
    let isp = Pop3Upstream::start(&[], Faults::default()).await;
    let all: Vec<Vec<u8>> = messages.iter().map(ended).chain([BEHIND.to_vec()]).collect();
    isp.state.lock().unwrap().messages = all.iter().enumerate().map(|(n, bytes)| (format!("id{n}"), bytes.clone())).collect();
    let mut office = Office::new("pop3", isp.port, "deliver = \"alice\"").await;
    office.moment = Duration::from_secs(30);
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, figures.quarantined), (all.len() as u64, 0), "{figures:?}");
    assert!(isp.uidls().is_empty());
    let mut expected = all;
    expected.sort();
    let stored = journaled(&office).await;
    assert!(stored == expected, "{} stored, {} expected: not the same bytes", stored.len(), expected.len());
}
