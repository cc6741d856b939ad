//! What a mapping sends on to the outside, and what comes back of it.

use super::Office;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use mailroom::store::ledger::Source;

const SMARTHOST: &str =
    "tls = \"none\"\ninsecure = true\n[[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\ninsecure = true\n";
const APPLICATION: &str =
    "From: Q <q@far.example>\r\nTo: jobs@example.com\r\nMessage-ID: <job@far>\r\nDKIM-Signature: v=1; b=x\r\n\r\nHire me\r\n";

#[tokio::test]
async fn trap_35_what_was_sent_on_and_comes_back_goes_no_second_time() {
    let isp = Pop3Upstream::start(&[("1", APPLICATION)], Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, SMARTHOST).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.forwarded, figures.held, figures.deleted), (1, 0, 1));
    let mail = office.store.queue_lease(i64::MAX, 10, 10).await.unwrap().remove(0);
    assert_eq!((mail.owner.as_str(), mail.recipients[0].address.to_string().as_str()), ("alice", "hr@agency.example"));
    let header = String::from_utf8(mail.header.unwrap().to_vec()).unwrap();

    let back = format!("Received: from agency.example by mx.isp.example;\r\n\tMon, 23 Nov 2026 10:00:00 +0000\r\n{header}Hire me\r\n");
    let isp = Pop3Upstream::start(&[("2", back.leak())], Faults::default()).await;
    office.configure("pop3", isp.port, SMARTHOST).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.forwarded, figures.held), (0, 1));
    let reason = office.tray().await.remove(0);
    assert!(reason.contains("hr@agency.example") && reason.contains("came back"), "{reason}");
    assert_eq!(office.store.queue().await.unwrap().len(), 1);
}

/// A session whose answers slipped may have sent on the wrong message; what is sent on when it comes again is shown as perhaps the second.
#[tokio::test]
async fn what_is_fetched_again_after_doubt_is_shown_as_possibly_sent_twice() {
    let isp = Pop3Upstream::start(&[("1", APPLICATION)], Faults { keeps_deleted: true, ..Faults::default() }).await;
    let office = Office::new("pop3", isp.port, &format!("after = \"keep\"\n{SMARTHOST}")).await;
    assert_eq!(office.fetch_well().await.forwarded, 1);
    let marks = async || office.store.queue().await.unwrap().iter().map(|mail| mail.data_sent).collect::<Vec<_>>();
    assert_eq!(marks().await, [false]);
    let source = Source { host: "127.0.0.1".into(), login: "office".into(), folder: "INBOX".into() };
    let again = async |from: &str, to: &str| {
        office.store.ledger_doubt(&source, vec![("1".into(), 0)]).await.unwrap();
        isp.state.lock().unwrap().messages[0].1 = APPLICATION.replace("Q <q@", "Another <q@").replace(from, to).into_bytes();
        office.fetch_well().await
    };
    // The same message after all: nobody gets it twice.
    assert_eq!(again("Hire me", "Hire me").await.duplicate, 1);
    assert_eq!(marks().await, [false]);
    assert_eq!(again("<job@far>", "<other@far>").await.forwarded, 1);
    assert_eq!(marks().await, [false, true]);
}

#[tokio::test]
async fn what_can_not_be_sent_on_is_held_and_not_lost() {
    let isp = Pop3Upstream::start(&[("1", APPLICATION)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.forwarded, figures.held, figures.deleted), (0, 1, 1));
    let reason = office.tray().await.remove(0);
    assert!(reason.contains("no smarthost accepts"), "{reason}");
}

#[tokio::test]
async fn trap_35_delivered_to_of_others_is_no_loop() {
    let before =
        format!("Delivered-To: hr@agency.example\r\nDelivered-To: jobs@example.com\r\nX-Mailroom-Loop: of somebody else\r\n{APPLICATION}");
    let round: String = format!("{}{APPLICATION}", "Received: from a by b; x\r\n".repeat(51)).replace("job@far", "round@far");
    let isp = Pop3Upstream::start(&[("1", before.leak()), ("2", round.leak())], Faults::default()).await;
    let office = Office::new("pop3", isp.port, SMARTHOST).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.forwarded, figures.held), (1, 1));
    assert!(office.tray().await[0].contains("51 servers"));
}

#[tokio::test]
async fn trap_38_what_goes_on_goes_in_our_name_and_answers_reach_the_writer() {
    let isp = Pop3Upstream::start(&[("1", APPLICATION)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, SMARTHOST).await;
    office.fetch_well().await;
    let mail = office.store.queue_lease(i64::MAX, 10, 10).await.unwrap().remove(0);
    assert_eq!(mail.sender.unwrap().to_string(), "alice@example.com", "SPF looks at this one");
    assert_eq!(mail.owner, "alice", "who hears of a bounce");
    let header = String::from_utf8(mail.header.unwrap().to_vec()).unwrap();
    assert!(header.contains("From: \"Q via jobs@example.com\" <alice@example.com>\r\n"), "DMARC looks at this one: {header}");
    assert!(header.contains("Reply-To: Q <q@far.example>\r\n") && !header.contains("DKIM"), "{header}");
}

#[tokio::test]
async fn trap_34_nobody_outside_is_mailed_to_because_a_header_names_him() {
    let storm = "Received: from far.example by mx.isp.example; x\r\nFrom: x@far.example\r\nTo: alice@example.com, a@out.example, b@out.example\r\n\
                 Cc: c@out.example\r\nResent-To: d@out.example, bob@example.com\r\nMessage-ID: <storm@far>\r\n\r\nhello\r\n";
    let isp = Pop3Upstream::start(&[("1", storm)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, SMARTHOST).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, office.has("bob").await), (1, 1));
    assert!(office.store.queue().await.unwrap().is_empty());
}
