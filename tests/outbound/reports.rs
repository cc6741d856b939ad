//! What the sender of a mail is told of it (RFC 3461): by the next server where that says it, by us where it does not.

use mailroom::message::wish::{Notify, Return, Wish, Wishes};
use mailroom::store::queue::NewMail;

use super::{HEADER, Office, mail};
use crate::support::smarthost::{Fault, Smarthost};

const TEXT: &str = "Hello\r\n.two\r\n";

/// Recipients with what is wished for each, as `NOTIFY=` has it; empty leaves it to us.
fn wishing(recipients: &[(&str, &str)], ret: Option<Return>) -> NewMail {
    let addresses: Vec<&str> = recipients.iter().map(|(address, _)| *address).collect();
    let mail = mail(&addresses);
    let wish = |notify: &str| Wish {
        notify: Notify::parse(notify),
        original: (!notify.is_empty()).then(|| "rfc822;As+He Knew=It@x.example".into()),
    };
    let each = mail.recipients.iter().cloned().zip(recipients.iter().map(|(_, notify)| wish(notify))).collect();
    NewMail { wishes: Wishes { ret, envid: Some("QQ 314".into()), each }, ..mail }
}

async fn send(office: &Office, recipients: &[(&str, &str)], ret: Option<Return>) {
    office.queue_mail(&format!("{HEADER}{TEXT}"), wishing(recipients, ret)).await;
}

#[tokio::test]
async fn a_server_that_reports_is_told_what_to_and_nobody_says_it_twice() {
    let server = Smarthost::start([Fault::With("DSN")]).await;
    let mut office = Office::new(&[&server], "").await;
    send(&office, &[("a@customer.example", "SUCCESS"), ("b@customer.example", "NEVER"), ("c@customer.example", "")], Some(Return::Headers))
        .await;
    office.pass().await;
    let commands = server.commands();
    let said = |start: &str| commands.iter().find(|line| line.starts_with(start)).cloned().unwrap_or_default();
    assert!(said("MAIL FROM").ends_with(" RET=HDRS ENVID=QQ+20314"), "{commands:?}");
    assert_eq!(said("RCPT TO:<a@"), "RCPT TO:<a@customer.example> NOTIFY=SUCCESS ORCPT=rfc822;As+2BHe+20Knew+3DIt@x.example");
    assert!(said("RCPT TO:<b@").contains(" NOTIFY=NEVER ORCPT="));
    assert_eq!(said("RCPT TO:<c@"), "RCPT TO:<c@customer.example>");
    assert!(office.bounces().await.is_empty() && office.waiting().await.is_empty());
}

#[tokio::test]
async fn where_the_next_server_says_nothing_we_say_that_it_has_the_mail() {
    let server = Smarthost::start([Fault::Matching("d@customer", "550 5.1.1 no such user")]).await;
    let mut office = Office::new(&[&server], "").await;
    let all = [
        ("a@customer.example", "SUCCESS,FAILURE"),
        ("b@customer.example", "FAILURE"),
        ("c@customer.example", ""),
        ("d@customer.example", ""),
    ];
    send(&office, &all, None).await;
    office.pass().await;
    let commands = server.commands();
    assert!(commands.iter().all(|line| !line.contains("NOTIFY") && !line.contains("ENVID") && !line.contains("ORCPT")), "{commands:?}");
    let mut mails = office.bounces().await;
    mails.sort_by_key(|mail| mail.contains("Action: relayed"));
    let [bounce, relayed] = mails.as_slice() else { panic!("{mails:?}") };
    assert!(bounce.contains("Action: failed") && bounce.contains("d@customer") && !bounce.contains("a@customer"), "{bounce}");
    for line in [
        "Subject: Sent: to outside\r\n",
        "Original-Envelope-Id: QQ 314\r\n",
        "Original-Recipient: rfc822;As+He Knew=It@x.example\r\nFinal-Recipient: rfc822; a@customer.example\r\nAction: relayed\r\nStatus: 2.0.0\r\n\
         Remote-MTA: dns; 127.0.0.1\r\n",
    ] {
        assert!(relayed.contains(line), "{line}\n{relayed}");
    }
    assert!(!relayed.contains("b@customer") && !relayed.contains("c@customer"), "{relayed}");
}

#[tokio::test]
async fn who_wants_to_hear_nothing_hears_nothing_and_the_rest_is_as_it_was() {
    let server =
        Smarthost::start([Fault::Matching("no@customer", "550 5.1.1 no such user"), Fault::Matching("late@customer", "451 4.7.1 later")])
            .await;
    let mut office = Office::new(&[&server], "").await;
    // Nothing at all; only delays; only failures.
    send(&office, &[("no@customer.example", "NEVER"), ("late@customer.example", "NEVER")], None).await;
    send(&office, &[("no@customer.example", "DELAY"), ("late@customer.example", "FAILURE")], None).await;
    office.pass().await;
    office.later(4 * 60 + 1).await;
    assert_eq!(office.bounces().await, Vec::<String>::new());
    office.later(5 * 24 * 60).await;
    let bounces = office.bounces().await;
    assert!(bounces.len() == 1 && bounces[0].contains("Action: failed") && bounces[0].contains("late@customer"), "{bounces:?}");
    assert!(office.waiting().await.is_empty());
}

#[tokio::test]
async fn a_bounce_gives_back_what_the_sender_wants_back() {
    let server = Smarthost::start([Fault::Always("RCPT", "550 5.1.1 no such user")]).await;
    let mut office = Office::new(&[&server], "").await;
    for (ret, whole) in [(Some(Return::Full), true), (Some(Return::Headers), false), (None, false)] {
        let before = office.bounces().await.len();
        send(&office, &[("a@customer.example", "")], ret).await;
        office.pass().await;
        let bounce = office.bounces().await[before..].concat();
        let kind = if whole { "message/rfc822" } else { "text/rfc822-headers" };
        assert!(bounce.contains(&format!("Content-Type: {kind}\r\n")), "{ret:?}: {bounce}");
        assert_eq!(bounce.contains(&format!("{HEADER}{TEXT}\r\n--")), whole, "{ret:?}: {bounce}");
    }
    // Of a large one only the header comes back.
    let large = format!("{HEADER}{}", "0123456789abcdef0123456789abcdef\r\n".repeat(40_000));
    office.queue_mail(&large, wishing(&[("a@customer.example", "")], Some(Return::Full))).await;
    let before = office.bounces().await.len();
    office.pass().await;
    let bounce = office.bounces().await[before..].concat();
    assert!(bounce.contains("text/rfc822-headers") && bounce.len() < 10_000, "{} bytes", bounce.len());
}

#[tokio::test]
async fn another_mail_system_that_has_the_mail_has_delivered_it() {
    let server = Smarthost::start([Fault::Lmtp]).await;
    let mut office = Office::new(&[], "").await;
    let lmtp = Some(server.address.to_string());
    office.queue_mail(&format!("{HEADER}{TEXT}"), NewMail { lmtp: lmtp.clone(), ..wishing(&[("a@lab.example", "SUCCESS")], None) }).await;
    office.pass().await;
    let told = office.bounces().await;
    assert!(told.len() == 1 && told[0].contains("Action: delivered") && told[0].contains("a@lab.example"), "{told:?}");
    // What came from outside is nobody's here, whatever was wished for it.
    let stranger = NewMail { lmtp, from_outside: true, ..wishing(&[("a@lab.example", "SUCCESS")], None) };
    office.queue_mail(&format!("{HEADER}{TEXT}"), stranger).await;
    office.pass().await;
    assert_eq!(office.bounces().await.len(), 1);
}
