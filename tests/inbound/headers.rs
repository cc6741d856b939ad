//! What a fetch learns of a provider's headers, and what it reads where others stop.

use super::Office;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use mailroom::inbound::habits;

/// A mailing list's mail for somebody, which only the header at the very end tells; without it, if there is no header.
fn list_mail(number: usize, header: &str) -> String {
    let who = ["alice", "bob"][number % 2];
    let last = if header.is_empty() { String::new() } else { format!("{header}: <{who}@example.com>\r\n") };
    format!(
        "Received: from lists.far.example (lists.far.example [198.51.100.1])\r\n\tby mx.isp.example; Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         From: x@far.example\r\nTo: all@lists.far.example\r\nMessage-ID: <{number}@far.example>\r\n{last}\r\nNo {number}\r\n"
    )
}

async fn fetch(office: &mut Office, mails: std::ops::Range<usize>, header: &str) -> (u64, u64) {
    let isp = Pop3Upstream::start(&[], Faults::default()).await;
    isp.state.lock().unwrap().messages = mails.map(|n| (format!("u{n}"), list_mail(n, header).into_bytes())).collect();
    office.configure("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    (figures.delivered, figures.held)
}

#[tokio::test]
async fn trap_33_the_habit_is_learnt_watched_and_missed_with_one_letter() {
    let isp = Pop3Upstream::start(&[], Faults::default()).await;
    let mut office = Office::new("pop3", isp.port, "").await;
    assert_eq!(fetch(&mut office, 0..50, "X-RCPT-TO").await, (0, 50), "anybody may have appended it");
    assert_eq!(fetch(&mut office, 50..54, "X-RCPT-TO").await, (4, 0), "of fifty, all had it");
    assert_eq!((office.has("alice").await, office.has("bob").await), (2, 2));
    let probe = habits::read(&office.store, &office.current.config.collectors[0]).await.unwrap();
    assert_eq!(probe.found().map(|habit| habit.header.as_str()), Some("X-RCPT-TO"));
    fetch(&mut office, 54..70, "X-RCPT-TO").await;
    let before = office.has("alice").await;
    assert_eq!(fetch(&mut office, 70..90, "").await, (0, 20));
    assert_eq!(office.has("alice").await, before + 1, "one letter to the postmaster");
    assert_eq!(fetch(&mut office, 90..110, "").await, (0, 20));
    assert_eq!(office.has("alice").await, before + 1);
    let probe = habits::read(&office.store, &office.current.config.collectors[0]).await.unwrap();
    assert_eq!(probe.lost().map(|habit| habit.header.as_str()), Some("X-RCPT-TO"));
}

#[tokio::test]
async fn blank_lines_above_the_header_hide_nobody() {
    let mail =
        "\r\nEnvelope-To: bob@example.com\r\nReceived: from x by mx.isp.example; x\r\nFrom: x@far.example\r\nSubject: s\r\n\r\nhello\r\n";
    let held = "\r\nFrom: x@far.example\r\nTo: odd@else.example\r\nSubject: for nobody\r\n\r\nhello\r\n";
    let isp = Pop3Upstream::start(&[("1", mail), ("2", held)], Faults::default()).await;
    let office = Office::new("pop3", isp.port, "").await;
    let figures = office.fetch_well().await;
    assert_eq!((figures.delivered, figures.held, office.has("bob").await), (1, 1, 1));
    assert_eq!(office.originals().await, [mail, held], "and they are stored as they came");
    assert_eq!(office.store.tray().await.unwrap()[0].subject, "for nobody");
}
