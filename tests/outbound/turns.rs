//! When a mail has its turn: the smarthost's rate and hours, its connections, letters before mailings.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailroom::outbound::relay::Relay;
use mailroom::smtp::client::Patience;
use mailroom::store::queue::{Order, State};

use super::{MINUTE, Office};
use crate::support::smarthost::Smarthost;

#[tokio::test]
async fn the_rate_is_kept_and_the_rest_waits_its_turn() {
    let server = Smarthost::start([]).await;
    let mut office = Office::new(&[&server], "rate = \"2/h\"").await;
    for to in ["a@customer.example", "b@customer.example", "c@customer.example"] {
        office.queue(&[to]).await;
    }
    office.pass().await;
    assert_eq!(server.received().len(), 2);
    let waiting = office.waiting().await;
    assert!((58..=60).contains(&waiting[0].2), "{waiting:?}");
    office.later(61).await;
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn the_rate_counts_across_a_restart() {
    let server = Smarthost::start([]).await;
    let mut office = Office::new(&[&server], "rate = \"2/h\"").await;
    for to in ["a@customer.example", "b@customer.example"] {
        office.queue(&[to]).await;
    }
    office.pass().await;
    office.queue(&["c@customer.example"]).await;
    let (store, current, clock) = (office.lan.store.clone(), office.lan.context.current.clone(), office.clock.clone());
    let now = clock.clone();
    let relay = Relay::new(store.clone(), current, Arc::new(move || now.load(Ordering::SeqCst)), Patience::default());
    let has_a_turn = async {
        while store.queue_next_due(0).await.unwrap().is_none_or(|due| due < clock.load(Ordering::SeqCst) + 50 * MINUTE) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), relay.run(has_a_turn)).await.expect("the third mail never gets a turn");
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn changed_connections_and_a_changed_rate_count_from_the_next_mail_on() {
    let server = Smarthost::start([]).await;
    let mut office = Office::new(&[&server], "connections = 1\nrate = \"30/h\"").await;
    let many = async |office: &Office, from: usize| {
        for n in from..from + 30 {
            office.queue(&[&format!("to{n}@customer.example")]).await;
        }
    };
    many(&office, 0).await;
    office.pass().await;
    assert_eq!((server.received().len(), server.connections()), (30, 1));
    many(&office, 30).await;
    office.pass().await;
    assert_eq!((server.received().len(), office.waiting().await.len()), (30, 30));
    // More of both: what waits for its turn has it as soon as it is tried.
    office.lan.reconfigure("connections = 1\nrate = \"30/h\"", "connections = 3\nrate = \"100/h\"").await;
    let now = office.clock.load(Ordering::SeqCst);
    office.lan.store.queue_order(None, Order::Retry, now).await.unwrap();
    office.pass().await;
    assert_eq!((server.received().len(), office.waiting().await.len()), (60, 0));
    assert!((2..=3).contains(&server.connections()), "{} connections", server.connections());
    // And less again.
    office.lan.reconfigure("connections = 1\nrate = \"30/h\"", "connections = 1\nrate = \"65/h\"").await;
    many(&office, 60).await;
    office.pass().await;
    assert_eq!((server.received().len(), office.waiting().await.len()), (65, 25));
}

#[tokio::test]
async fn a_letter_overtakes_a_mailing_and_each_is_told_its_turn() {
    let server = Smarthost::start([]).await;
    let mut office = Office::new(&[&server], "rate = \"1/h\"\nconnections = 1").await;
    let many: Vec<String> = (0..11).map(|n| format!("m{n}@customer.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    office.queue(&["first@customer.example"]).await;
    office.pass().await;
    office.queue(&many).await;
    office.queue(&many).await;
    office.pass().await;
    office.queue(&["letter@customer.example"]).await;
    office.pass().await;
    let turn = |waiting: &[(String, State, i64, String)], who: &str| {
        waiting.iter().filter(|one| one.0 == who).map(|one| one.2).collect::<Vec<_>>()
    };
    let waiting = office.waiting().await;
    assert_eq!(turn(&waiting, "letter@customer.example"), [59]);
    let mailings = turn(&waiting, "m0@customer.example");
    assert!(mailings[0] == 59 && mailings[1] == 119, "{mailings:?}");
    assert!(waiting[0].3.contains("takes 1 in 1 hour"), "{waiting:?}");
    for _ in 0..3 {
        office.later(61).await;
    }
    let order: Vec<_> = server.received().into_iter().map(|mail| mail.recipients.len()).collect();
    assert_eq!(order, [1, 1, 11, 11]);
}

#[tokio::test]
async fn outside_its_hours_a_smarthost_is_not_even_asked() {
    let hour = jiff::Zoned::now().hour();
    let server = Smarthost::start([]).await;
    let mut office = Office::new(&[&server], &format!("window = \"{}-{}\"", (hour + 2) % 24, (hour + 3) % 24)).await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    let waiting = office.waiting().await;
    assert!((60..=120).contains(&waiting[0].2) && waiting[0].3.contains("waits for the hours"), "{waiting:?}");
    assert_eq!(server.connections(), 0);
    office.later(waiting[0].2 + 1).await;
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_smarthost_outside_its_hours_takes_nobodys_place() {
    let hour = jiff::Zoned::now().hour();
    let window = format!("name = \"isp1\"\nwindow = \"{}-{}\"", (hour + 2) % 24, (hour + 3) % 24);
    for (count, taken) in [(3, vec![0, 0, 1]), (2, vec![0, 0])] {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(Smarthost::start([]).await);
        }
        let mut office = Office::new(&servers.iter().collect::<Vec<_>>(), "").await;
        office.lan.reconfigure("name = \"isp1\"", &window).await;
        servers[0].close(true);
        office.queue(&["a@customer.example"]).await;
        office.pass().await;
        assert_eq!(servers.iter().map(|server| server.received().len()).collect::<Vec<_>>(), taken);
        assert_eq!(servers[1].connections(), 0);
        assert_eq!(office.waiting().await.iter().map(|one| one.1).collect::<Vec<_>>(), vec![State::Delayed; 3 - count]);
    }
}
