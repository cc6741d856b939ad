//! Ids that are missing from a listing and come back, with the same message or with another one.

use super::Office;
use super::traps::mail;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use mailroom::store::ledger::State;

async fn isp(messages: &[(&str, &str)], faults: Faults) -> Pop3Upstream {
    Pop3Upstream::start(messages, faults).await
}

/// What the mailbox holds from now on.
fn put(isp: &Pop3Upstream, messages: &[(&str, &str)]) {
    let messages = messages.iter().map(|(uidl, text)| ((*uidl).to_owned(), text.as_bytes().to_vec())).collect();
    isp.state.lock().unwrap().messages = messages;
}

async fn unaccounted(office: &Office) -> u64 {
    office.store.reconcile("127.0.0.1", "office").await.unwrap().unaccounted
}

/// A fetch breaks off, the next listing leaves the message out, in one way or another, and then it is there again.
#[tokio::test]
async fn what_was_never_fetched_and_comes_back_into_the_listing_is_fetched() {
    let (a, b) = (mail("a", "", "x"), mail("b", "", "x"));
    let all = [("a", a.as_str()), ("b", b.as_str())];
    for (shown, faults) in [(&all[..1], Faults::default()), (&all[..], Faults { without_uidl: Some("b"), ..Faults::default() })] {
        for partial in [false, true] {
            let isp = isp(&all, Faults { cut: Some(("b", 1)), ..Faults::default() }).await;
            let mut office = Office::new("pop3", isp.port, "").await;
            office.alter(|config| config.collectors[0].partial_listing = partial);
            assert!(office.fetch().await.figures.error.is_some());
            put(&isp, shown);
            isp.faults(faults.clone());
            office.fetch_well().await;
            put(&isp, &all[1..]);
            isp.faults(Faults::default());
            let figures = office.fetch_well().await;
            assert_eq!((figures.fetched, figures.deleted), (1, 1), "{faults:?}");
            assert_eq!((office.has("alice").await, unaccounted(&office).await), (2, 0));
            assert!(isp.uidls().is_empty());
        }
    }
}

#[tokio::test]
async fn mail_from_before_start_that_comes_back_into_the_listing_is_left_alone() {
    let old = mail("old", "Received: from a by b; Mon, 1 Jan 2018 10:00:00 +0000\r\n", "x");
    let undated = mail("undated", "", "x");
    let isp = isp(&[("old", &old), ("undated", &undated)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "start = \"new\"").await;
    office.fetch_well().await;
    put(&isp, &[]);
    office.fetch_well().await;
    put(&isp, &[("old", &old), ("undated", &undated)]);
    for _ in 0..2 {
        let figures = office.fetch_well().await;
        assert_eq!((figures.known, figures.fetched, figures.deleted), (2, 0, 0));
    }
    assert_eq!((isp.count("RETR"), isp.count("DELE"), isp.count("TOP")), (0, 0, 2));
    assert!(office.states().await.iter().all(|(_, state)| *state == State::Known));
}

/// A server that counts from 1 begins anew when its mailbox has been emptied: RFC 1939 §7 wants an id to be unique only as long as its
/// message is there.
#[tokio::test]
async fn other_messages_under_old_ids_are_fetched_before_they_are_deleted() {
    let texts: Vec<String> = ["1", "2", "3", "4"].map(|id| mail(id, "", "x")).to_vec();
    // Of one size: only what their headers say tells them apart.
    let before = [("1", texts[0].as_str()), ("2", texts[1].as_str())];
    let after = [("1", texts[2].as_str()), ("2", texts[3].as_str())];
    for seen_empty in [true, false] {
        for more in ["", "after = \"0s\"", "start = \"7d\""] {
            let isp = isp(&before, Faults::default()).await;
            let office = Office::new("pop3", isp.port, more).await;
            assert_eq!(office.fetch_well().await.deleted, 2);
            if seen_empty {
                office.fetch_well().await;
            }
            put(&isp, &after);
            let figures = office.fetch_well().await;
            assert_eq!((figures.known, figures.fetched, figures.deleted), (0, 2, 2), "{more}");
            assert_eq!((office.originals().await, unaccounted(&office).await), (texts.clone(), 0));
            assert!(isp.uidls().is_empty());
        }
    }
}

/// The same while mail is kept: what has another size is looked at.
#[tokio::test]
async fn another_message_under_the_id_of_one_that_is_kept_is_fetched() {
    let (one, two) = (mail("one", "", "x"), mail("two", "", "longer"));
    let isp = isp(&[("1", &one)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "after = \"7d\"").await;
    office.fetch_well().await;
    put(&isp, &[("1", &two)]);
    assert_eq!(office.fetch_well().await.fetched, 1);
    assert_eq!(office.originals().await, [one, two.clone()]);
    // A server that counts in another way from now on has the same messages.
    isp.faults(Faults { size: Some(7), ..Faults::default() });
    isp.forget_commands();
    for _ in 0..2 {
        let figures = office.fetch_well().await;
        assert_eq!((figures.known, figures.fetched), (1, 0));
    }
    assert_eq!((isp.count("TOP"), isp.count("RETR")), (1, 0), "it is looked at once");
}

/// Traps 1 and 2: what was deleted is there again, at once or after a while, and is only deleted again.
#[tokio::test]
async fn the_same_messages_that_come_back_are_deleted_again_and_not_fetched_again() {
    let (a, b) = (mail("a", "", "x"), mail("b", "", "x"));
    let all = [("a", a.as_str()), ("b", b.as_str())];
    for seen_empty in [true, false] {
        let isp = isp(&all, Faults::default()).await;
        let mut office = Office::new("pop3", isp.port, "").await;
        office.fetch_well().await;
        if seen_empty {
            office.fetch_well().await;
        }
        put(&isp, &all);
        isp.forget_commands();
        office.configure("pop3", isp.port, "after = \"keep\"").await;
        office.fetch_well().await;
        office.configure("pop3", isp.port, "").await;
        let figures = office.fetch_well().await;
        assert_eq!((figures.known, figures.fetched, figures.deleted), (2, 0, 2), "{seen_empty}");
        assert_eq!(isp.count("RETR"), 0);
        assert!(isp.uidls().is_empty());
    }
}

/// Without UIDL, messages that begin with a blank line look alike before they are fetched.
#[tokio::test]
async fn messages_without_a_header_are_told_apart_where_ids_come_from_headers() {
    let isp = isp(&[("", "\r\nfirst\r\n")], Faults { no_uidl: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, "").await;
    for text in ["\r\nfirst\r\n", "\r\nother\r\n"] {
        put(&isp, &[("", text)]);
        let figures = office.fetch_well().await;
        assert_eq!((figures.fetched, figures.deleted), (1, 1));
    }
    assert_eq!(office.originals().await, ["\r\nfirst\r\n", "\r\nother\r\n"]);
}
