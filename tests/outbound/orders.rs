//! What a person orders of mail that is on its way: what waits for its turn obeys, what is on the wire is too late.

use std::sync::atomic::Ordering;

use mailroom::address::Address;
use mailroom::inbound::facts::content_facts;
use mailroom::message::facts::Facts;
use mailroom::outbound::approval;
use mailroom::store::queue::{Approval, Done, MailId, NewMail, Order, State};
use mailroom::store::{Arrival, NewContent, Store};

use super::{HEADER, Office, mail};
use crate::support::office::{self, errors};
use crate::support::smarthost::{Fault, Smarthost};

#[tokio::test]
async fn what_waits_for_a_connection_is_held_and_deleted_and_what_is_on_the_wire_is_too_late() {
    let server = Smarthost::start([Fault::Pause("MAIL", 0)]).await;
    let mut office = Office::new(&[&server], "connections = 1").await;
    for n in 0..9 {
        office.queue(&[&format!("to{n}@customer.example")]).await;
    }
    let store = office.lan.store.clone();
    let mails: Vec<MailId> = store.queue().await.unwrap().into_iter().map(|mail| mail.id).collect();
    let now = office.clock.load(Ordering::SeqCst);
    let orders = async {
        server.until("MAIL").await;
        let (first, held, deleted, freed) = (Some(mails[0]), Some(mails[6]), Some(mails[7]), Some(mails[8]));
        assert_eq!(store.queue_order(first, Order::Hold, now).await.unwrap(), Done { mails: 0, too_late: 1 });
        assert_eq!(store.queue_delete(first, "the admin").await.unwrap(), Done { mails: 0, too_late: 1 });
        assert_eq!(store.queue_order(held, Order::Hold, now).await.unwrap(), Done { mails: 1, too_late: 0 });
        assert_eq!(store.queue_order(freed, Order::Hold, now).await.unwrap(), Done { mails: 1, too_late: 0 });
        assert_eq!(store.queue_order(freed, Order::Release, now).await.unwrap(), Done { mails: 1, too_late: 0 });
        assert_eq!(store.queue_delete(deleted, "the admin").await.unwrap(), Done { mails: 1, too_late: 0 });
        let shown = store.queue().await.unwrap();
        let shown = shown.iter().find(|mail| mail.id == mails[6]).unwrap();
        assert!(shown.recipients[0].state == State::Held && !shown.data_sent, "{shown:?}");
        server.go_on();
    };
    tokio::join!(office.pass(), orders);
    let mut sent: Vec<_> = server.received().into_iter().flat_map(|mail| mail.recipients).collect();
    sent.sort();
    assert_eq!(sent, [0, 1, 2, 3, 4, 5, 8].map(|n| format!("to{n}@customer.example")));
    let waiting = office.waiting().await;
    assert!(waiting.len() == 1 && waiting[0].0 == "to6@customer.example" && waiting[0].1 == State::Held, "{waiting:?}");
    assert_eq!(store.queue_order(Some(mails[6]), Order::Release, now).await.unwrap().mails, 1);
    office.pass().await;
    assert_eq!(server.received().len(), 8);
}

#[tokio::test]
async fn the_time_in_which_a_mail_waited_for_a_person_does_not_count_against_it() {
    let server = Smarthost::start([Fault::Always("RCPT", "451 4.3.0 later")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example"]).await;
    let now = office.clock.load(Ordering::SeqCst);
    office.lan.store.queue_order(None, Order::Hold, now).await.unwrap();
    office.later(10 * 24 * 60).await;
    let now = office.clock.load(Ordering::SeqCst);
    office.lan.store.queue_order(None, Order::Release, now).await.unwrap();
    office.pass().await;
    assert_eq!(office.waiting().await[0].1, State::Delayed);
    assert!(office.bounces().await.is_empty());
    office.later(6 * 24 * 60).await;
    assert_eq!(office.bounces().await.len(), 1);
}

#[tokio::test]
async fn mail_of_somebody_who_is_no_user_any_more_can_be_rejected() {
    let office = Office::new(&[], "").await;
    let approval = Approval { manager: "bob".into(), question: "1@x".into() };
    let to = vec![Address::parse("a@customer.example").unwrap()];
    office
        .queue_mail(&format!("{HEADER}Hello\r\n"), NewMail { owner: "gone".into(), recipients: to, approval: Some(approval), ..mail(&[]) })
        .await;
    let store = &office.lan.store;
    let waits = store.queue().await.unwrap().remove(0);
    let current = office.lan.context.current.borrow().clone();
    assert!(!approval::reject(store, &current, &waits, "the admin", "", 0).await.unwrap());
    assert!(store.queue().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_admin_hears_that_a_mail_is_on_the_wire() {
    let site = office::Office::new("[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n", "");
    site.add_users(&["alice"]);
    let store = Store::open(&site.path("store")).unwrap();
    let mut ids = Vec::new();
    for n in 0..2 {
        let text = format!("{HEADER}{n}\r\n");
        let content = NewContent::Inline(text.clone().into(), Box::new(content_facts(&Facts::of(text.as_bytes()))));
        let arrival = Arrival { queue: vec![mail(&["a@customer.example"])], ..Arrival::new(content) };
        ids.extend(store.arrive(vec![arrival]).await.remove(0).unwrap().queue);
    }
    store.queue_lease(i64::MAX / 2, 10, 10).await.unwrap();
    store.queue_data_sent(ids[0], None).await.unwrap();
    for order in ["hold", "delete"] {
        let number = ids[0].0.to_string();
        let late = site.call(&["queue", order, &number]);
        assert_eq!(late.status.code(), Some(1));
        assert!(errors(&late).contains("1 mail is on the way to the smarthost this moment and can't be"), "{}", errors(&late));
    }
    assert_eq!(site.must(&["queue", "hold", &ids[1].0.to_string()]), "1 mail is held\n");
    assert!(site.must(&["queue", "list"]).contains("a@customer.example  held"));
    assert_eq!(site.must(&["queue", "delete", &ids[1].0.to_string()]), "1 mail is deleted\n");
    assert_eq!(store.queue().await.unwrap().len(), 1);
}
