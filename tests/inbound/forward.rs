//! What a mapping sends on to the outside, and what comes back of it.

use super::Office;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};

const SMARTHOST: &str =
    "tls = \"none\"\ninsecure = true\n[[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\ninsecure = true\n";
const APPLICATION: &str =
    "From: Q <q@far.example>\r\nTo: jobs@example.com\r\nMessage-ID: <job@far>\r\nDKIM-Signature: v=1; b=x\r\n\r\nHire me\r\n";

#[tokio::test]
async fn what_was_sent_on_and_comes_back_goes_no_second_time() {
    let isp = Pop3Upstream::start(&[("1", APPLICATION)], Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, SMARTHOST).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.forwarded, figures.held, figures.deleted), (1, 0, 1));
    let mail = office.store.queue_lease(i64::MAX, 10, 10).await.unwrap().remove(0);
    assert_eq!((mail.owner.as_str(), mail.recipients[0].address.to_string().as_str()), ("alice", "hr@agency.example"));
    let header = String::from_utf8(mail.header.unwrap().to_vec()).unwrap();
    assert!(header.contains("via jobs@example.com\" <alice@example.com>") && !header.contains("DKIM"), "{header}");

    let back = format!("Received: from agency.example by mx.isp.example;\r\n\tMon, 23 Nov 2026 10:00:00 +0000\r\n{header}Hire me\r\n");
    let isp = Pop3Upstream::start(&[("2", back.leak())], Faults::default()).await;
    office.configure("pop3", isp.port, SMARTHOST).await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.forwarded, figures.held), (0, 1));
    let reason = office.tray().await.remove(0);
    assert!(reason.contains("hr@agency.example") && reason.contains("came back"), "{reason}");
    assert_eq!(office.store.queue().await.unwrap().len(), 1);
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
