//! How seldom a fetch waits for the line, and what it does not ask for.

use super::Office;
use crate::support::imap_upstream;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use mailroom::inbound::fetch::Order;
use mailroom::inbound::figures::Progress;
use mailroom::inbound::places::Places;
use mailroom::inbound::scheduler::fetch_and_record;
use mailroom::store::collectors::CollectorState;
use mailroom::store::ledger::State;
use mailroom::wire::dial::Patience;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const A: &str = "To: alice@example.com\r\nMessage-ID: <a@far>\r\n\r\na\r\n";
const B: &str = "To: alice@example.com\r\nMessage-ID: <b@far>\r\n\r\nb\r\n";
const C: &str = "To: alice@example.com\r\nMessage-ID: <c@far>\r\n\r\nc\r\n";
const MAIL: &[(&str, &str)] = &[("a", A), ("b", B), ("c", C)];

#[tokio::test]
async fn a_pop3_session_waits_for_the_line_as_seldom_as_it_can() {
    let isp = Pop3Upstream::start(MAIL, Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    assert_eq!(office.fetch_well().await.deleted, 3);
    // CAPA; USER; PASS and the listing; all messages; deletions and QUIT.
    assert_eq!(isp.state.lock().unwrap().flights, 5);
}

#[tokio::test]
async fn a_backlog_is_deleted_while_more_of_it_comes() {
    let texts: Vec<(String, String)> = (0..700).map(|n| (format!("u{n}"), A.replace("<a@", &format!("<{n}@")))).collect();
    let mail: Vec<(&str, &str)> = texts.iter().map(|(uidl, text)| (uidl.as_str(), text.as_str())).collect();
    let isp = Pop3Upstream::start(&mail, Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, "").await;
    office.moment = Duration::from_secs(10);
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, figures.deleted), (700, 700));
    assert!(isp.uidls().is_empty());
    let commands = isp.state.lock().unwrap().commands.clone();
    let first_deletion = commands.iter().position(|command| command.starts_with("DELE")).unwrap();
    let last_message = commands.iter().rposition(|command| command.starts_with("RETR")).unwrap();
    assert!(first_deletion < last_message);
}

#[tokio::test]
async fn mail_is_in_its_mailbox_while_the_rest_is_still_coming() {
    let isp = Pop3Upstream::start(MAIL, Faults { silent_at: Some("c"), ..Faults::default() }).await;
    let mut office = Office::new("pop3", isp.port, "").await;
    office.moment = Duration::from_secs(30);
    tokio::select! {
        outcome = office.fetch() => panic!("the fetch ended: {outcome:?}"),
        () = async { while office.has("alice").await == 0 { tokio::task::yield_now().await } } => {}
    }
}

#[tokio::test]
async fn a_provider_that_turns_sessions_away_gets_fewer_at_once() {
    let isp = Pop3Upstream::start(MAIL, Faults { at_most: Some(2), ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    let places = Arc::new(Places::default());
    let mut running = tokio::task::JoinSet::new();
    for login in ["one", "two", "three", "four", "five", "six"] {
        let mut collector = office.current.config.collectors[0].clone();
        (collector.name, collector.username) = (login.to_owned(), login.to_owned());
        let order = Order {
            store: office.store.clone(),
            current: Arc::clone(&office.current),
            collector: Arc::new(collector),
            patience: Patience::default(),
            progress: watch::Sender::new(Progress::default()),
            stop: office.stop.subscribe(),
        };
        let places = Arc::clone(&places);
        running.spawn(async move { fetch_and_record(&order, &places, CollectorState::default()).await.0 });
    }
    for outcome in running.join_all().await {
        assert_eq!(outcome.figures.error, None);
    }
}

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready";
const BODIES: (&str, &str) = (
    "UID FETCH 5:9 (UID INTERNALDATE BODY",
    "* 1 FETCH (UID 5 BODY[] {29}\r\nTo: alice@example.com\r\n\r\none\n)\r\n\
     * 2 FETCH (UID 9 BODY[] {29}\r\nTo: alice@example.com\r\n\r\ntwo\n)\r\n$ OK done\r\n",
);
const TWO: (&str, &str) = ("EXAMINE", "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 10] ok\r\n$ OK [READ-ONLY] done\r\n");
const FIRST: &[(&str, &str)] = &[
    TWO,
    ("UID SEARCH", "* SEARCH 5 9\r\n$ OK done\r\n"),
    ("UID FETCH 1:* (UID RFC822.SIZE", "* 1 FETCH (UID 5 RFC822.SIZE 29)\r\n* 2 FETCH (UID 9 RFC822.SIZE 29)\r\n$ OK done\r\n"),
    ("UID FETCH 5:9 (UID RFC822.SIZE", "$ BAD you know that already\r\n"),
    BODIES,
];
const UNCHANGED: &[(&str, &str)] = &[TWO, ("UID", "$ BAD nothing is new\r\n")];
const ONE_LESS: &[(&str, &str)] = &[
    ("EXAMINE", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 10] ok\r\n$ OK [READ-ONLY] done\r\n"),
    ("UID SEARCH", "* SEARCH 5\r\n$ OK done\r\n"),
];

#[tokio::test]
async fn a_folder_that_is_as_it_was_is_not_listed() {
    let mut office = Office::new("imap", imap_upstream::start(GREETING, FIRST).await, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 2);
    office.configure("imap", imap_upstream::start(GREETING, UNCHANGED).await, "after = \"keep\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.listed, figures.known, figures.fetched), (2, 2, 0));
    office.configure("imap", imap_upstream::start(GREETING, ONE_LESS).await, "after = \"keep\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.listed, figures.known), (1, 1));
    assert_eq!(office.states().await, [("7.5".to_owned(), State::Stored)], "what has gone is noticed");
}

#[tokio::test]
async fn a_folder_that_is_as_it_was_is_listed_if_its_mail_has_to_go_by_now() {
    let mut office = Office::new("imap", imap_upstream::start(GREETING, FIRST).await, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 2);
    let selected: &[(&str, &str)] = &[("SELECT", TWO.1), FIRST[1]];
    let script: &'static [(&'static str, &'static str)] = Box::leak(selected.to_vec().into_boxed_slice());
    office.configure("imap", imap_upstream::start(GREETING, script).await, "after = \"0s\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.deleted), (2, 2));
}
