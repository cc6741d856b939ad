//! POP3 upstream.

use super::Office;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use mailroom::schedule::Failure;
use mailroom::store::ledger::State;

const A: &str = "From: x@far.example\r\nTo: office@example.com\r\nMessage-ID: <a@far>\r\nSubject: a\r\n\r\n.dot\r\n..two\r\nlast\r\n";
const B: &str = "From: x@far.example\r\nTo: alice@example.com\r\nMessage-ID: <b@far>\r\nSubject: b\r\n\r\nbare\nlf and \rcr\r\n";
const C: &str = "From: x@far.example\r\nTo: nobody@elsewhere.example\r\nMessage-ID: <c@far>\r\nSubject: c\r\n\r\nhm\r\n";
const MAIL: &[(&str, &str)] = &[("a", A), ("b", B), ("c", C)];

async fn isp(faults: Faults) -> (Pop3Upstream, Office) {
    let isp = Pop3Upstream::start(MAIL, faults).await;
    let office = Office::new("pop3", isp.port, "").await;
    (isp, office)
}

#[tokio::test]
async fn mail_is_stored_byte_for_byte_and_deleted_upstream() {
    let (isp, office) = isp(Faults::default()).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.listed, figures.fetched, figures.delivered, figures.held, figures.deleted), (3, 3, 2, 1, 3));
    assert_eq!(office.originals().await, [A, B, C]);
    assert_eq!((office.has("bob").await, office.has("alice").await, office.tray().await.len()), (1, 1, 1));
    assert!(isp.uidls().is_empty());
    office.fetch_well().await;
    assert!(office.states().await.is_empty(), "what is no longer listed is gone");
}

#[tokio::test]
async fn trap_01_a_lost_quit_means_deleting_again_and_not_fetching_again() {
    let (isp, office) = isp(Faults { lose_quit: true, ..Faults::default() }).await;
    assert!(office.fetch().await.figures.error.is_some());
    assert_eq!(isp.uidls(), ["a", "b", "c"]);
    assert!(office.states().await.iter().all(|(_, state)| *state == State::DeleteSent));
    isp.faults(Faults::default());
    isp.forget_commands();
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched, figures.deleted), (3, 0, 3));
    assert_eq!((isp.count("RETR"), isp.count("DELE")), (0, 3));
    assert!(isp.uidls().is_empty());
    assert_eq!(office.originals().await.len(), 3);
}

#[tokio::test]
async fn trap_03_a_cut_in_the_middle_of_a_message_loses_and_doubles_nothing() {
    let (isp, office) = isp(Faults { cut: Some(("b", 1)), ..Faults::default() }).await;
    let first = office.fetch().await;
    assert_eq!(first.failure, Some(Failure::Network));
    assert_eq!(first.figures.fetched, 1);
    office.fetch_well().await;
    let mut originals = office.originals().await;
    originals.sort();
    let mut expected = [A, B, C];
    expected.sort_unstable();
    assert_eq!(originals, expected);
    assert!(isp.uidls().is_empty());
}

#[tokio::test]
async fn trap_20_a_message_that_always_breaks_off_ends_in_quarantine_and_stops_no_other() {
    let (isp, office) = isp(Faults { cut: Some(("a", 100)), ..Faults::default() }).await;
    for _ in 0..4 {
        office.fetch().await;
    }
    assert_eq!(isp.uidls(), ["a"], "the original stays at the provider");
    assert_eq!((office.has("alice").await, office.has("bob").await), (1, 0));
    let tray = office.store.tray().await.unwrap();
    let broken = tray.iter().find(|held| held.reason.contains("broke off")).unwrap_or_else(|| panic!("{tray:?}"));
    let kept = office.store.content(broken.content, 0, 1000).await.unwrap();
    assert_eq!((kept.as_ref(), broken.size), (&A.as_bytes()[..52], 52), "half of what goes over the line was sent, and that is kept");
    let last = office.fetch_well().await;
    assert_eq!((last.known, last.fetched), (1, 0));
}

#[tokio::test]
async fn trap_45_silence_in_any_phase_ends_the_session() {
    for (at, words) in [
        ("greeting", "greeting"),
        ("CAPA", "answer"),
        ("USER", "logging in"),
        ("PASS", "logging in"),
        ("LIST", "answer"),
        ("RETR", "answer"),
        ("DELE", "answer"),
        ("QUIT", "answer"),
    ] {
        let (_isp, office) = isp(Faults { stall: Some(at), ..Faults::default() }).await;
        let outcome = office.fetch().await;
        assert_eq!(outcome.failure, Some(Failure::Network), "{at}");
        assert!(outcome.figures.error.as_deref().unwrap_or_default().contains(words), "{at}: {:?}", outcome.figures.error);
        let stored = matches!(at, "DELE" | "QUIT");
        assert_eq!(office.originals().await.len(), if stored { 3 } else { 0 }, "{at}");
    }
}

#[tokio::test]
async fn trap_42_refusals_have_their_classes() {
    for (command, answer, failure) in [
        ("PASS", "-ERR [IN-USE] another session", Failure::Temporary),
        ("PASS", "-ERR [LOGIN-DELAY] too soon", Failure::Throttled),
        ("PASS", "-ERR [AUTH] wrong password", Failure::LogIn),
        ("PASS", "-ERR go away", Failure::LogInPerhaps),
        ("PASS", "-ERR [SYS/TEMP] later", Failure::Temporary),
        ("LIST", "-ERR broken", Failure::Temporary),
        ("USER", "hello", Failure::Network),
    ] {
        let (isp, office) = isp(Faults { answers: vec![(command, answer)], ..Faults::default() }).await;
        let outcome = office.fetch().await;
        assert_eq!(outcome.failure, Some(failure), "{answer}");
        assert_eq!(isp.uidls().len(), 3);
        assert!(!format!("{outcome:?}").contains("secret"));
    }
}

#[tokio::test]
async fn trap_21_malformed_listing_lines_are_passed_over() {
    let junk = vec!["", "x y", "99999999999 1", "-1 5", "7", "\u{1b}[2J 1"];
    let (isp, office) = isp(Faults { listing: junk, ..Faults::default() }).await;
    assert_eq!(office.fetch_well().await.fetched, 3);
    assert!(isp.uidls().is_empty());
}

#[tokio::test]
async fn trap_22_strange_messages_are_stored_as_they_are() {
    let strange = [
        ("empty", ""),
        ("no header", "\r\njust a body\r\n"),
        ("no body", "Subject: x\r\n"),
        ("from line", "From x Mon Jan 1\r\nTo: alice@example.com\r\n\r\nx\r\n"),
        ("nul", "To: alice@example.com\r\n\r\na\0b\r\n"),
        ("dots", ".\r\n..\r\n...\r\n"),
    ];
    let isp = Pop3Upstream::start(&strange, Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!(figures.fetched, 6);
    assert_eq!(office.originals().await, strange.map(|(_, text)| text));
    assert!(isp.uidls().is_empty());
}

#[tokio::test]
async fn trap_06_equal_ids_in_one_listing_are_two_messages() {
    // Without Message-ID: somebody may really have sent the same text twice.
    const SAME: &str = "From: x@far.example\r\nTo: alice@example.com\r\n\r\nthe same\r\n";
    let isp = Pop3Upstream::start(&[("same", SAME), ("same", SAME)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, figures.duplicate), (2, 0));
    assert_eq!(office.has("alice").await, 2);
    assert!(isp.uidls().is_empty());
}

#[tokio::test]
async fn trap_07_without_uidl_headers_tell_messages_apart() {
    let isp = Pop3Upstream::start(MAIL, Faults { no_uidl: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 3);
    let again = office.fetch_well().await;
    assert_eq!((again.known, again.fetched), (3, 0));
    // Another one in the place and of the size of the last.
    {
        let (_, last) = &mut isp.state.lock().unwrap().messages[2];
        let at = memchr::memmem::find(last, b"Message-ID: <").unwrap() + b"Message-ID: <".len();
        last[at] ^= 1;
    }
    let other = office.fetch_well().await;
    assert_eq!((other.known, other.fetched), (2, 1));
}

#[tokio::test]
async fn trap_24_data_behind_a_message_is_never_taken_for_an_answer() {
    let (isp, office) = isp(Faults { behind: "Subject: more\r\n", ..Faults::default() }).await;
    let outcome = office.fetch().await;
    assert!(outcome.figures.error.unwrap_or_default().contains("out of step"));
    assert_eq!(isp.uidls().len(), 3, "nothing was deleted");
    assert_eq!(outcome.figures.fetched, 0);
}

#[tokio::test]
async fn trap_24_half_a_message_of_a_server_that_forgets_stuffing_is_not_taken_for_a_whole_one() {
    let text = "To: alice@example.com\r\n\r\nfirst\r\n.\r\nsecond\r\n";
    let isp = Pop3Upstream::start(&[("x", text)], Faults { forgets_stuffing: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    assert_eq!(office.fetch().await.figures.fetched, 0);
    assert_eq!(isp.uidls(), ["x"]);
}

/// What stands behind a bare dot inside of a message is made to look like the server's answer to the next question.
#[tokio::test]
async fn trap_24_a_message_that_plays_an_answer_costs_no_other_message() {
    let player = "To: alice@example.com\r\nMessage-ID: <p@far>\r\n\r\nfirst\r\n.\r\n+OK 99 octets\r\nTo: alice@example.com\r\nSubject: forged\r\n\r\nx\r\n";
    for capabilities in [["user\r\n", "top\r\nuidl\r\n"], ["user\r\n", "top\r\nuidl\r\npipelining\r\n"]] {
        let faults = Faults { forgets_stuffing: true, capabilities, ..Faults::default() };
        let isp = Pop3Upstream::start(&[("p", player), ("b", B), ("c", C)], faults).await;
        let office = Office::new("pop3", isp.port, "").await;
        office.fetch().await;
        if capabilities[1].ends_with("uidl\r\n") {
            let half = office.originals().await.iter().any(|original| original.contains("<p@far>"));
            assert!(!half, "it is taken for a whole one, although something unasked stands behind it");
        }
        for _ in 0..4 {
            office.fetch().await;
        }
        let originals = office.originals().await;
        for whole in [B, C] {
            assert_eq!(originals.iter().filter(|original| *original == whole).count(), 1, "{capabilities:?}: {originals:#?}");
        }
        assert!(!isp.uidls().iter().any(|id| id == "b" || id == "c"), "{:?}", isp.uidls());
    }
}

#[tokio::test]
async fn trap_48_a_server_that_claims_pipelining_falsely_is_asked_for_one_thing_at_a_time() {
    let (isp, office) = isp(Faults { false_pipelining: true, ..Faults::default() }).await;
    assert_eq!(office.fetch_well().await.fetched, 3);
    assert!(isp.uidls().is_empty());
    // It is remembered: the next fetch does not try it again.
    isp.state.lock().unwrap().messages.push(("d".into(), A.replace("a@far", "d@far").into_bytes()));
    isp.forget_commands();
    assert_eq!(office.fetch_well().await.fetched, 1);
    assert_eq!(isp.count("USER"), 1);
}

#[tokio::test]
async fn trap_26_a_message_that_is_too_large_becomes_a_stub_and_stays() {
    let large = format!("To: alice@example.com\r\nSubject: large\r\n\r\n{}", "x\r\n".repeat(1000));
    let isp = Pop3Upstream::start(&[("large", &large), ("a", A)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "max_size = \"1KB\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.stub, figures.delivered, figures.deleted), (1, 1, 1));
    assert_eq!(isp.uidls(), ["large"]);
    assert_eq!(office.fetch_well().await.known, 1);
}

#[tokio::test]
async fn trap_37_remote_mail_stays_upstream() {
    let text =
        "Delivered-To: gone@example.com\r\nReceived: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\nTo: gone@example.com\r\n\r\nx\r\n";
    let isp = Pop3Upstream::start(&[("r", text)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.remote, figures.deleted), (1, 0));
    assert_eq!(isp.uidls(), ["r"]);
}

#[tokio::test]
async fn start_new_leaves_old_mail_alone() {
    let isp = Pop3Upstream::start(MAIL, Faults::default()).await;
    let office = Office::new("pop3", isp.port, "start = \"new\"").await;
    assert_eq!(office.fetch_well().await.fetched, 0);
    isp.state.lock().unwrap().messages.push(("d".into(), A.as_bytes().to_vec()));
    let figures = office.fetch_well().await;
    assert_eq!((figures.known, figures.fetched), (3, 1));
    assert_eq!(isp.uidls(), ["a", "b", "c"]);
}

#[tokio::test]
async fn trap_14_ageing_does_not_wait_for_new_mail() {
    let isp = Pop3Upstream::start(MAIL, Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, "after = \"7d\"").await;
    assert_eq!(office.fetch_well().await.deleted, 0);
    office.configure("pop3", isp.port, "after = \"0s\"").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, figures.deleted), (0, 3));
    assert!(isp.uidls().is_empty());
}

#[tokio::test]
async fn trap_05_new_ids_for_old_mail_do_not_fetch_it_again() {
    let isp = Pop3Upstream::start(MAIL, Faults::default()).await;
    let office = Office::new("pop3", isp.port, "after = \"keep\"").await;
    assert_eq!(office.fetch_well().await.fetched, 3);
    for (n, message) in isp.state.lock().unwrap().messages.iter_mut().enumerate() {
        message.0 = format!("renumbered {n}");
    }
    isp.forget_commands();
    let figures = office.fetch_well().await;
    assert_eq!((figures.fetched, figures.known), (0, 3));
    assert_eq!((isp.count("TOP"), isp.count("RETR")), (3, 0));
}

#[tokio::test]
async fn trap_51_bytes_behind_the_answer_to_stls_end_the_session() {
    let isp = Pop3Upstream::start(MAIL, Faults { injects: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "tls = \"starttls\"").await;
    let outcome = office.fetch().await;
    assert!(outcome.figures.error.unwrap_or_default().contains("ahead of the TLS handshake"));
    assert_eq!(isp.count("PASS"), 0);
}

#[tokio::test]
async fn trap_50_stls_that_is_refused_is_not_done_without() {
    let isp = Pop3Upstream::start(MAIL, Faults::default()).await;
    let office = Office::new("pop3", isp.port, "tls = \"starttls\"").await;
    assert!(office.fetch().await.figures.error.is_some());
    assert_eq!((isp.count("USER"), isp.count("PASS")), (0, 0));
}

#[tokio::test]
async fn a_full_disk_pauses_fetching() {
    let (isp, mut office) = isp(Faults::default()).await;
    let mut current = std::sync::Arc::try_unwrap(office.current).unwrap();
    current.config.storage.min_free = u64::MAX;
    office.current = std::sync::Arc::new(current);
    let outcome = office.fetch().await;
    assert!(outcome.figures.error.unwrap_or_default().contains("min_free"));
    assert_eq!((isp.uidls().len(), isp.count("USER")), (3, 0));
}
