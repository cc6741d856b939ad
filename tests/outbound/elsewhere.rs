//! Another mail system behind the relay, by LMTP: an answer for each recipient, and nobody who gets a message twice.

use mailroom::store::queue::{NewMail, State};

use super::{HEADER, Office, mail};
use crate::support::smarthost::{Fault, Smarthost};

#[tokio::test]
async fn each_recipient_of_another_mail_system_has_an_answer_of_his_own() {
    for pipelining in [None, Some(Fault::Without("PIPELINING"))] {
        let faults = [
            Fault::Lmtp,
            Fault::Matching("RCPT TO:<nobody@", "550 5.1.1 no such user"),
            Fault::Matching(". full@", "552 5.2.2 mailbox full"),
            Fault::Matching(". busy@", "451 4.3.0 try later"),
        ];
        let server = Smarthost::start(faults.into_iter().chain(pipelining)).await;
        let mut office = Office::new(&[], "").await;
        let five = ["ok@lab.example", "nobody@lab.example", "full@lab.example", "busy@lab.example", "too@lab.example"];
        office.hand_over(&server, &five, true).await;
        office.pass().await;
        let taken: Vec<_> = server.received().into_iter().flat_map(|mail| mail.recipients).collect();
        assert_eq!(taken, ["ok@lab.example", "too@lab.example"]);
        let waiting = office.waiting().await;
        assert_eq!((waiting.len(), waiting[0].0.as_str(), waiting[0].1), (1, "busy@lab.example", State::Delayed));
        // It came from outside: nobody gets a bounce, and nothing is lost.
        let tray = office.lan.store.tray().await.unwrap();
        assert_eq!((tray.len(), office.bounces().await.len()), (1, 0));
        assert_eq!(tray[0].addresses, ["full@lab.example", "nobody@lab.example"]);
        assert!(
            tray[0].reason.contains("552 5.2.2 mailbox full") && tray[0].reason.contains("550 5.1.1 no such user"),
            "{}",
            tray[0].reason
        );
        assert_eq!(tray[0].subject, "to outside");
        assert!(!server.commands().iter().any(|command| command.starts_with("EHLO")));
        // The same from a colleague: he hears of it.
        office.hand_over(&server, &["full@lab.example", "again@lab.example"], false).await;
        office.pass().await;
        let bounces = office.bounces().await;
        assert_eq!((bounces.len(), office.lan.store.tray().await.unwrap().len()), (1, 1));
        assert!(bounces[0].contains("full@lab.example") && !bounces[0].contains("again@lab.example"), "{}", bounces[0]);
    }
}

/// The provider keeps a copy for each recipient; who has one gets no second. What did not arrive after all is no first one.
#[tokio::test]
async fn what_somebody_elsewhere_was_sent_already_does_not_go_again_unless_it_came_to_nothing() {
    let server = Smarthost::start([Fault::Lmtp, Fault::Answer(".", 0, "550 5.7.1 not today")]).await;
    let mut office = Office::new(&[], "").await;
    let again = async |office: &mut Office, to: &[&str]| {
        let dedupe = Some("a listing".to_owned());
        let mail = NewMail { lmtp: Some(server.address.to_string()), from_outside: true, dedupe, ..mail(to) };
        office.queue_mail(&format!("{HEADER}Hello\r\n"), mail).await;
        office.pass().await;
        server.received().iter().flat_map(|mail| mail.recipients.clone()).collect::<Vec<_>>().join(" ")
    };
    // Refused for the first of them.
    assert_eq!(again(&mut office, &["a@lab.example", "b@lab.example"]).await, "b@lab.example");
    assert_eq!(office.lan.store.tray().await.unwrap().len(), 1);
    assert_eq!(again(&mut office, &["a@lab.example", "B@lab.example", "c@lab.example"]).await, "b@lab.example a@lab.example c@lab.example");
    assert_eq!(again(&mut office, &["c@lab.example", "a@lab.example"]).await, "b@lab.example a@lab.example c@lab.example");
    assert!(office.waiting().await.is_empty());
    // What somebody takes out of the queue is not on its way either.
    let down = Smarthost::start([Fault::Lmtp, Fault::Always("greeting", "421 4.3.2 down")]).await;
    for _ in 0..2 {
        let dedupe = Some("a listing".to_owned());
        let mail = NewMail { lmtp: Some(down.address.to_string()), dedupe, ..mail(&["a@lab.example"]) };
        office.queue_mail(&format!("{HEADER}Hello\r\n"), mail).await;
        assert_eq!(office.waiting().await.len(), 1);
        office.lan.store.queue_delete(None, "the admin").await.unwrap();
    }
}

#[tokio::test]
async fn another_mail_system_that_is_down_is_asked_again_soon_and_one_that_hangs_up_may_have_it_twice() {
    let server = Smarthost::start([Fault::Lmtp, Fault::Answer("greeting", 0, "421 4.3.2 starting"), Fault::HangUp(".", 1)]).await;
    let mut office = Office::new(&[], "").await;
    office.hand_over(&server, &["a@lab.example", "b@lab.example"], true).await;
    office.pass().await;
    assert!(office.waiting().await.iter().all(|(_, state, minutes, _)| *state == State::Delayed && *minutes == 0));
    office.later(1).await;
    let waiting = office.waiting().await;
    assert_eq!((waiting.len(), waiting[0].0.as_str()), (1, "b@lab.example"));
    assert!(waiting[0].2 >= 9 && waiting[0].3.contains("may arrive twice"), "{waiting:?}");
    assert!(office.lan.store.queue().await.unwrap()[0].data_sent);
    office.later(11).await;
    assert!(office.waiting().await.is_empty() && office.lan.store.tray().await.unwrap().is_empty());
    // What it never takes ends in the tray.
    let down = Smarthost::start([Fault::Lmtp, Fault::Always("greeting", "421 4.3.2 down")]).await;
    office.hand_over(&down, &["c@lab.example"], true).await;
    office.pass().await;
    office.later(6 * 24 * 60).await;
    assert!(office.waiting().await.is_empty());
    let tray = office.lan.store.tray().await.unwrap();
    assert!(tray[0].reason.contains("in all the time it was tried") && tray[0].reason.contains("down"), "{}", tray[0].reason);
    assert!(office.bounces().await.is_empty());
}
