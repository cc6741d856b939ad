//! Servers that won't give one message, or one folder: all others come, and somebody is told.

use super::Office;
use super::traps::{mail, tamper};
use crate::interop::isp::{Dovecot, PASSWORD};
use crate::support::imap_upstream;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use mailroom::schedule::Failure;
use mailroom::store::ledger::State;
use std::time::Duration;

/// As if everything had been seen first two days earlier.
const TWO_DAYS_LATER: &str = "UPDATE ledger SET first_seen = first_seen - 2 * 86400000";

#[tokio::test]
async fn trap_20_a_message_that_the_server_refuses_to_give_is_told_in_the_tray() {
    let (a, b) = (mail("a", "", "x"), mail("b", "", "x"));
    let isp = Pop3Upstream::start(&[("a", &a), ("b", &b)], Faults { refuses: Some("b"), ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for _ in 0..5 {
        office.fetch_well().await;
    }
    assert!(office.tray().await.is_empty(), "a server that gives nothing may be ill for an hour");
    tamper(&office, TWO_DAYS_LATER);
    for _ in 0..2 {
        office.fetch_well().await;
    }
    let tray = office.store.tray().await.unwrap();
    assert_eq!((tray.len(), tray[0].subject.as_str()), (1, "b"));
    assert!(tray[0].reason.contains("refused three times"), "{}", tray[0].reason);
    isp.forget_commands();
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.failed, isp.count("RETR")), (1, 0, 0));
    assert_eq!(isp.uidls(), ["b"], "the original stays at the provider");
}

/// As long as others come, the server is well, and three times are enough.
#[tokio::test]
async fn trap_20_a_refused_message_among_others_is_told_after_three_times() {
    let b = mail("b", "", "x");
    let isp = Pop3Upstream::start(&[("b", &b)], Faults { refuses: Some("b"), ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for round in 0..3 {
        let new = mail(&format!("round {round}"), "", "new");
        isp.state.lock().unwrap().messages.push((format!("round {round}"), new.into_bytes()));
        assert!(office.tray().await.is_empty());
        office.fetch_well().await;
    }
    assert_eq!((office.tray().await.len(), office.has("alice").await), (1, 3));
}

/// What is refused while the server is ill is delivered when it is well again.
#[tokio::test]
async fn a_server_that_refuses_everything_for_a_while_costs_nothing() {
    let a = mail("a", "", "x");
    let isp = Pop3Upstream::start(&[("a", &a)], Faults { answers: vec![("RETR", "-ERR [SYS/TEMP] later")], ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for _ in 0..5 {
        office.fetch_well().await;
    }
    isp.faults(Faults::default());
    assert_eq!(office.fetch_well().await.delivered, 1);
    assert!(office.tray().await.is_empty());
}

#[tokio::test]
async fn trap_20_the_only_message_at_which_the_server_hangs_up_ends_in_the_tray() {
    let a = mail("a", "", "x");
    let isp = Pop3Upstream::start(&[("a", &a)], Faults { hangs_up_at: Some("a"), ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for _ in 0..5 {
        assert!(office.fetch().await.figures.error.is_some());
    }
    assert!(office.tray().await.is_empty(), "a server that gives nothing may be ill for an hour");
    tamper(&office, TWO_DAYS_LATER);
    for _ in 0..2 {
        office.fetch().await;
    }
    assert!(office.tray().await.iter().any(|reason| reason.contains("broke off")), "{:?}", office.states().await);
    assert_eq!(office.fetch_well().await.known, 1);
    assert_eq!(isp.uidls(), ["a"], "the original stays at the provider");
}

/// Headers are asked for before anything is fetched: for ages, for ids, for stubs.
#[tokio::test]
async fn trap_20_a_header_at_which_the_server_hangs_up_blocks_no_mailbox() {
    let (large, b) = (mail("large", "", &"x\r\n".repeat(1000)), mail("b", "", "x"));
    for more in ["start = \"7d\"\nafter = \"keep\"", "max_size = \"1KB\"\nstart = \"7d\""] {
        let isp =
            Pop3Upstream::start(&[("large", &large), ("b", &b)], Faults { hangs_up_at_top: Some("large"), ..Faults::default() }).await;
        let office = Office::new("pop3", isp.port, more).await;
        for _ in 0..3 {
            assert!(office.fetch().await.figures.error.is_some());
        }
        assert_eq!(office.fetch_well().await.fetched, 2, "{more}");
    }
}

#[tokio::test]
async fn trap_20_a_large_message_that_always_breaks_off_is_kept_as_far_as_it_came() {
    let large = mail("large", "", &"0123456789\r\n".repeat(300_000));
    let isp = Pop3Upstream::start(&[("large", &large)], Faults { cut: Some(("large", 100)), ..Faults::default() }).await;
    let mut office = Office::new("pop3", isp.port, "").await;
    office.moment = Duration::from_secs(20);
    for _ in 0..3 {
        assert!(office.fetch().await.figures.error.is_some());
    }
    let tray = office.store.tray().await.unwrap();
    assert!(tray[0].reason.contains("broke off"), "{}", tray[0].reason);
    let kept = office.store.content(tray[0].content, 0, usize::MAX >> 1).await.unwrap();
    assert!(kept.len() > 1_500_000 && large.as_bytes().starts_with(&kept), "{} bytes", kept.len());
}

#[tokio::test]
async fn trap_52_a_message_without_an_end_is_kept_as_far_as_it_was_taken_and_stops_no_other() {
    let (endless, other) = (mail("endless", "", &"0123456789\r\n".repeat(5000)), mail("other", "", "x"));
    let isp =
        Pop3Upstream::start(&[("endless", &endless), ("other", &other)], Faults { endless: Some("endless"), ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "max_size = \"100KB\"").await;
    for _ in 0..3 {
        office.fetch().await;
    }
    let tray = office.store.tray().await.unwrap();
    assert!(tray.len() == 1 && tray[0].reason.contains("broke off"), "{:?}", office.tray().await);
    let kept = office.store.content(tray[0].content, 0, usize::MAX >> 1).await.unwrap();
    let limit = 8_000_000 + 100_000;
    assert!(kept.len() > limit && kept.len() < limit + (1 << 20) && kept.starts_with(endless.as_bytes()), "{} bytes", kept.len());
    assert_eq!(office.has("alice").await, 1);
}

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready";
const SELECT: (&str, &str) = ("SELECT", "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$ OK [READ-WRITE] done\r\n");
const SEARCH: (&str, &str) = ("UID SEARCH", "* SEARCH 5 9\r\n$ OK done\r\n");
const SIZES: (&str, &str) =
    ("UID FETCH 5:9 (UID RFC822.SIZE", "* 1 FETCH (UID 5 RFC822.SIZE 29)\r\n* 2 FETCH (UID 9 RFC822.SIZE 29)\r\n$ OK done\r\n");
const BODIES: (&str, &str) = (
    "UID FETCH 5:9 (UID INTERNALDATE BODY",
    "* 1 FETCH (UID 5 BODY[] {29}\r\nTo: alice@example.com\r\n\r\none\n)\r\n\
     * 2 FETCH (UID 9 BODY[] {29}\r\nTo: alice@example.com\r\n\r\ntwo\n)\r\n$ OK done\r\n",
);

fn owned(script: &[(&str, &str)]) -> Vec<(String, String)> {
    script.iter().map(|(begin, answer)| ((*begin).to_owned(), (*answer).to_owned())).collect()
}

/// The server says only behind the bytes whose they are, and breaks off in their middle.
#[tokio::test]
async fn trap_20_an_imap_message_that_breaks_off_before_its_uid_ends_in_quarantine() {
    const CUT: &str = "* 1 FETCH (BODY[] {29}\r\nTo: alice@exam…";
    let well = "* 2 FETCH (BODY[] {29}\r\nTo: alice@example.com\r\n\r\ntwo\n UID 9)\r\n$ OK done\r\n";
    let script =
        [SELECT, SEARCH, SIZES, (BODIES.0, CUT), ("UID FETCH 5 (UID INTERNALDATE BODY", CUT), ("UID FETCH 9 (UID INTERNALDATE BODY", well)];
    let (port, _) = imap_upstream::start_logged(GREETING, owned(&script)).await;
    let office = Office::new("imap", port, "").await;
    for _ in 0..3 {
        office.fetch().await;
    }
    let tray = office.tray().await;
    assert!(tray.iter().any(|reason| reason.contains("broke off")), "{tray:?} {:?}", office.states().await);
    assert_eq!(office.has("alice").await, 1);
}

#[tokio::test]
async fn a_message_without_bytes_is_not_taken_for_an_empty_one() {
    for nothing in ["NIL", "{0}\r\n", "\"\""] {
        let answer = BODIES.1.replace("{29}\r\nTo: alice@example.com\r\n\r\ntwo\n", nothing);
        let script = [SELECT, SEARCH, SIZES, (BODIES.0, answer.as_str())];
        let (port, log) = imap_upstream::start_logged(GREETING, owned(&script)).await;
        let office = Office::new("imap", port, "").await;
        let figures = office.fetch_well().await;
        assert_eq!((figures.fetched, figures.failed, figures.deleted), (1, 1, 1), "{nothing}");
        assert_eq!(office.states().await, [("7.5".to_owned(), State::DeleteSent), ("7.9".to_owned(), State::Attempted)], "{nothing}");
        assert!(!log.lock().unwrap().iter().any(|command| command.starts_with("UID EXPUNGE") && command.contains('9')));
    }
}

/// Between the commit and the mark the line breaks: it is marked the next time, and not again and again.
#[tokio::test]
async fn a_mark_that_was_cut_off_is_made_up_for_once() {
    let script = |store: &'static str| owned(&[SELECT, SEARCH, SIZES, BODIES, ("UID STORE", store)]);
    let (port, _) = imap_upstream::start_logged(GREETING, script("hang up")).await;
    let mut office = Office::new("imap", port, "after = \"seen\"").await;
    let figures = office.fetch().await.figures;
    assert_eq!((figures.fetched, figures.error.is_some()), (2, true));
    let (port, log) = imap_upstream::start_logged(GREETING, script("$ OK done\r\n")).await;
    office.configure("imap", port, "after = \"seen\"").await;
    let marked = || log.lock().unwrap().iter().filter(|command| *command == "UID STORE 5:9 +FLAGS.SILENT (\\Seen)").count();
    for _ in 0..3 {
        let figures = office.fetch_well().await;
        assert_eq!((figures.known, figures.fetched, marked()), (2, 0, 1));
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_does_not_stop_those_behind_it() {
    let dovecot = Dovecot::start();
    dovecot.deliver("office", [mail("a", "", "x").as_bytes()]);
    for folders in ["[\"Missing\", \"INBOX\"]", "[\"INBOX\", \"Missing\"]"] {
        let more =
            format!("folders = {folders}\nafter = \"delete\"\ndeliver = \"alice\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}");
        let mut office = Office::new("imap", dovecot.imap, &more).await;
        office.moment = Duration::from_secs(10);
        dovecot.deliver("office", [mail("b", "", "x").as_bytes()]);
        let outcome = office.fetch().await;
        let error = outcome.figures.error.unwrap_or_default();
        assert!(error.contains("folder Missing: the server refused the folder"), "{error}");
        assert_eq!(outcome.failure, Some(Failure::Temporary));
        assert!(office.has("alice").await > 0, "{folders}");
        assert_eq!(dovecot.count("office"), 0, "{folders}");
    }
}
