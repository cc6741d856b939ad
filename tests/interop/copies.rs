//! What people send also lies in the mailbox of their address at the provider, where their phones look: once, whatever is cut.

use mailroom::address::Address;
use mailroom::inbound::facts::content_facts;
use mailroom::message::facts::Facts;
use mailroom::outbound::copies;
use mailroom::store::queue::{NewMail, Outcome, Settlement};
use mailroom::store::{Arrival, NewContent};

use super::collector;
use super::isp::{self, Dovecot, Postfix};
use super::relay::send;
use crate::support::lan::Lan;
use crate::support::office::{Office, until};
use crate::support::proxy::{Fault, Harm, Proxy, Speech, Spot, Way};
use crate::support::reader::Imap;

#[test]
fn what_leaves_through_the_own_mailbox_is_kept_there_too() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("alice@isp.example", "alice@isp.example"), ("bob@isp.example", "bob@isp.example")]);
    let own = |name: &str, more: &str| {
        collector(&dovecot, name, "imap", &format!("{name}@isp.example"), &format!("deliver = \"{name}\"\n{more}"))
    };
    let config = format!(
        "[office]\ndomains = []\npostmaster = \"alice\"\n{}{}\n[[smarthost]]\nname = \"isp\"\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nca = '{}'\n\
         login = \"collector\"\n",
        own("alice", "sent = \"Gesendet & mehr\""),
        own("bob", ""),
        postfix.submission,
        dovecot.authority.file.display()
    );
    let office = Office::new(&config, "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    let text = |n: usize| {
        format!(
            "From: alice@office.lan\nTo: carol@customer.example\nBcc: dan@customer.example\nSubject: {n}\nMessage-ID: <{n}@office.lan>\nDate: x\n\nwords\n"
        )
    };
    for n in 0..3 {
        send(gateway.port("submission"), "alice", "alice@office.lan", &["carol@customer.example", "dan@customer.example"], &text(n))
            .unwrap();
    }
    // Between colleagues, and by somebody who wants no copies: nothing.
    send(gateway.port("submission"), "alice", "alice@office.lan", &["bob@office.lan"], &text(8)).unwrap();
    send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example"], &text(9).replace("alice", "bob")).unwrap();
    until("Carol to have all", || dovecot.count("carol@customer.example") == 4);
    let sent = || Imap::login(dovecot.imap, "alice@isp.example", isp::PASSWORD).messages("Gesendet &- mehr");
    let there = || Imap::login(dovecot.imap, "alice@isp.example", isp::PASSWORD).folders().iter().any(|name| name.contains("Gesendet"));
    until("the folder to be there", there);
    until("the copies", || sent().len() == 3);
    let copy = String::from_utf8(sent().remove(0)).unwrap();
    assert!(copy.contains("From: alice@isp.example\r\n") || copy.contains("<alice@isp.example>"), "{copy}");
    assert!(copy.ends_with("\r\nwords\r\n") && !copy.contains("dan@") && !copy.contains("office.lan>\r\nTo"), "{copy}");
    let seen = Imap::login(dovecot.imap, "alice@isp.example", isp::PASSWORD).run("STATUS \"Gesendet &- mehr\" (UNSEEN)").concat();
    assert!(String::from_utf8_lossy(&seen).contains("UNSEEN 0"), "{}", String::from_utf8_lossy(&seen));
    assert!(office.must(&["trace", "1@office.lan"]).contains("into Gesendet & mehr of collector alice at the provider"));
    assert_eq!(
        Imap::login(dovecot.imap, "bob@isp.example", isp::PASSWORD).folders().iter().filter(|name| name.contains("Gesendet")).count(),
        0
    );
    assert_eq!((sent().len(), office.json(&["queue", "list", "--json"]).as_array().unwrap().len()), (3, 0));
}

const MINUTE: i64 = 60_000;

/// The connection ends at every command and answer in turn; two attempts later there is one copy.
#[tokio::test]
async fn wherever_the_line_is_cut_there_is_one_copy_in_the_end() {
    let dovecot = Dovecot::start();
    let proxy = Proxy::start(dovecot.imap, Speech::Imap).await;
    let lan = Lan::with(
        &format!(
            "[[collector]]\nname = \"isp\"\nprotocol = \"imap\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\n\
             username = \"alice@example.com\"\npassword = \"{}\"\nsent = \"Sent\"\n",
            proxy.port,
            isp::PASSWORD
        ),
        "",
    )
    .await;
    let current = lan.context.current.borrow().clone();
    let mut found = 0;
    let places = (0..7).flat_map(|unit| [Spot::Boundary, Spot::Line].map(|spot| (unit, spot)));
    let ways = [Way::ToServer, Way::ToClient];
    for (round, (way, (unit, spot))) in ways.iter().flat_map(|way| places.clone().map(move |place| (*way, place))).enumerate() {
        let text = format!("From: alice@example.com\r\nMessage-ID: <{round}@office.lan>\r\n\r\n{}", "words\r\n".repeat(50));
        let content = NewContent::Inline(text.clone().into(), Box::new(content_facts(&Facts::of(text.as_bytes()))));
        let to = Address::parse("carol@customer.example").unwrap();
        let mail = NewMail { owner: "alice".into(), recipients: vec![to.clone()], copy_to: Some("isp".into()), ..NewMail::default() };
        let arrival = Arrival { queue: vec![mail], ..Arrival::new(content) };
        let id = lan.store.arrive(vec![arrival]).await.remove(0).unwrap().queue[0];
        let outcomes = vec![(to, Outcome::Relayed, "250 ok".to_owned())];
        lan.store.queue_settle(Settlement { outcomes, attempted: true, ..Settlement::of(id) }).await.unwrap();

        let now = jiff::Timestamp::now().as_millisecond();
        let fault = Fault { way, unit, spot, harm: Harm::Cut };
        proxy.spoil(fault);
        copies::pass(&lan.store, &current, now).await.unwrap();
        for later in 1..3 {
            copies::pass(&lan.store, &current, now + later * 10 * MINUTE).await.unwrap();
        }
        assert!(lan.store.sent_copies_due(i64::MAX, 10).await.unwrap().is_empty(), "{fault:?}");
        let there = Imap::login(dovecot.imap, "alice@example.com", isp::PASSWORD).messages("Sent");
        let copies = there.iter().filter(|message| **message == text.as_bytes()).count();
        assert_eq!(copies, 1, "{fault:?}");
        let events = lan.store.trace(&format!("{round}@office.lan")).await.unwrap();
        found += usize::from(events.iter().any(|event| event.detail.contains("found in Sent")));
    }
    assert!(found > 0, "the answer to a message that was taken never got lost");
}
