//! IMAP upstream.

use super::Office;
use crate::support::imap_upstream;
use mailroom::schedule::Failure;
use mailroom::store::ledger::State;

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready";
const SELECT: (&str, &str) = ("SELECT", "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$ OK [READ-WRITE] done\r\n");
const SEARCH: (&str, &str) = ("UID SEARCH", "* SEARCH 5 9\r\n$ OK done\r\n");
const SIZES: (&str, &str) =
    ("UID FETCH 5:9 (UID RFC822.SIZE", "* 1 FETCH (UID 5 RFC822.SIZE 29)\r\n* 2 FETCH (UID 9 RFC822.SIZE 29)\r\n$ OK done\r\n");
const BODIES: (&str, &str) = (
    "UID FETCH 5:9 (UID INTERNALDATE BODY",
    "* 1 FETCH (UID 5 INTERNALDATE \"17-Jul-2024 02:44:25 +0000\" BODY[] {29}\r\nTo: alice@example.com\r\n\r\none\n)\r\n\
     * 2 FETCH (FLAGS (\\Seen) BODY[] {29}\r\nTo: alice@example.com\r\n\r\ntwo\n UID 9)\r\n$ OK done\r\n",
);

async fn outcome(
    greeting: &'static str,
    script: &'static [(&'static str, &'static str)],
    more: &str,
) -> (Office, mailroom::inbound::figures::Outcome) {
    let port = imap_upstream::start(greeting, script).await;
    let office = Office::new("imap", port, more).await;
    let outcome = office.fetch().await;
    (office, outcome)
}

#[tokio::test]
async fn mail_comes_by_uid_in_any_order_of_items() {
    let (office, outcome) = outcome(GREETING, &[SELECT, SEARCH, SIZES, BODIES], "").await;
    assert_eq!(outcome.figures.error, None);
    assert_eq!((outcome.figures.fetched, outcome.figures.deleted), (2, 2));
    assert_eq!(office.originals().await, ["To: alice@example.com\r\n\r\none\n", "To: alice@example.com\r\n\r\ntwo\n"]);
    assert_eq!(office.states().await, [("7.5".to_owned(), State::DeleteSent), ("7.9".to_owned(), State::DeleteSent)]);
}

#[tokio::test]
async fn trap_52_hostile_servers_end_the_session_and_nothing_else() {
    let cases: &[(&'static str, &'static [(&'static str, &'static str)])] = &[
        ("m1 OK early", &[]),
        ("* BYE no", &[]),
        ("nonsense", &[]),
        (GREETING, &[("LOGIN", "hang up")]),
        (GREETING, &[("LOGIN", "$ OK\r\n"), ("SELECT", "$ OK no validity\r\n")]),
        (GREETING, &[SELECT, ("UID SEARCH", "* SEARCH 1 x\r\n$ OK\r\n")]),
        (GREETING, &[SELECT, SEARCH, SIZES, ("UID FETCH 5:9 (UID INTERNALDATE", "* 1 FETCH (UID 5 BODY[] {99999999999}\r\nabc…")]),
        (GREETING, &[SELECT, SEARCH, SIZES, ("UID FETCH 5:9 (UID INTERNALDATE", "* LIST {400000000}\r\n…")]),
        (GREETING, &[SELECT, SEARCH, SIZES, ("UID FETCH 5:9 (UID INTERNALDATE", "* 1 FETCH (UID 5 BODY[] {29}\r\nabc")]),
        (GREETING, &[SELECT, SEARCH, SIZES, ("UID FETCH 5:9 (UID INTERNALDATE", "hang up")]),
    ];
    for (greeting, script) in cases {
        let (office, outcome) = outcome(greeting, script, "").await;
        assert!(outcome.figures.error.is_some(), "{greeting} {script:?}");
        assert_eq!(outcome.figures.deleted, 0);
        assert!(office.originals().await.is_empty(), "{script:?}");
    }
}

#[tokio::test]
async fn a_fetch_that_ends_in_no_is_a_failure_and_what_came_before_counts() {
    let partial = (
        "UID FETCH 5:9 (UID INTERNALDATE BODY",
        "* 1 FETCH (UID 5 BODY[] {29}\r\nTo: alice@example.com\r\n\r\none\n)\r\n$ NO [SERVERBUG] some messages could not be read\r\n",
    );
    static SCRIPT: std::sync::OnceLock<Vec<(&str, &str)>> = std::sync::OnceLock::new();
    let script = SCRIPT.get_or_init(|| vec![SELECT, SEARCH, SIZES, partial]);
    let (office, outcome) = outcome(GREETING, script, "").await;
    assert_eq!((outcome.figures.fetched, outcome.figures.failed, outcome.figures.deleted), (1, 1, 1));
    assert!(office.states().await.contains(&("7.9".to_owned(), State::Attempted)));
}

#[tokio::test]
async fn trap_50_preauth_before_tls_is_refused() {
    let (_office, outcome) = outcome("* PREAUTH welcome", &[], "tls = \"starttls\"").await;
    assert!(outcome.figures.error.unwrap_or_default().contains("before TLS"));
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_tired_server() {
    for (answer, failure) in [
        ("$ NO [AUTHENTICATIONFAILED] no\r\n", Failure::LogIn),
        ("$ NO no\r\n", Failure::LogInPerhaps),
        ("$ NO [UNAVAILABLE] later\r\n", Failure::Temporary),
        ("$ NO [LIMIT] too often\r\n", Failure::Throttled),
    ] {
        let script: &'static [(&'static str, &'static str)] = Box::leak(Box::new([("LOGIN", answer)]));
        let (_office, outcome) = outcome(GREETING, script, "").await;
        assert_eq!(outcome.failure, Some(failure), "{answer}");
        assert!(!format!("{outcome:?}").contains("secret"));
    }
}

#[tokio::test]
async fn without_uidplus_other_peoples_deleted_mail_is_not_expunged() {
    let deleted = ("UID SEARCH DELETED", "* SEARCH 3 5 9\r\n$ OK done\r\n");
    let expunge = ("EXPUNGE", "$ BAD this would have taken message 3 with it\r\n");
    let script: &'static [(&'static str, &'static str)] = Box::leak(Box::new([deleted, expunge, SELECT, SEARCH, SIZES, BODIES]));
    let (_office, outcome) = outcome("* OK [CAPABILITY IMAP4rev1] ready", script, "").await;
    assert_eq!(outcome.figures.error, None);
    assert_eq!(outcome.figures.fetched, 2);
}
