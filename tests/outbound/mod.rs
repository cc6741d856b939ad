//! The relay between a real store and smarthosts that misbehave: every recipient ends relayed, delayed or failed, once.

mod elsewhere;
mod orders;
mod reports;
mod sequences;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mailroom::address::Address;
use mailroom::inbound::facts::content_facts;
use mailroom::message::facts::Facts;
use mailroom::outbound::relay::Relay;
use mailroom::smtp::client::Patience;
use mailroom::store::queue::{NewMail, State};
use mailroom::store::{Arrival, NewContent};

use crate::smtp::inbox;
use crate::support::lan::Lan;
use crate::support::smarthost::{Fault, Smarthost};

const MINUTE: i64 = 60_000;
const HEADER: &str = "From: alice@example.com\r\nSubject: to outside\r\nMessage-ID: <1@office.lan>\r\n\r\n";

/// Alice's, for these.
fn mail(recipients: &[&str]) -> NewMail {
    NewMail {
        owner: "alice".into(),
        sender: Address::parse("alice@example.com").ok(),
        recipients: recipients.iter().map(|text| Address::parse(text).unwrap()).collect(),
        ..NewMail::default()
    }
}

/// An office with these smarthosts, and a clock that a test sets.
struct Office {
    lan: Lan,
    relay: Relay,
    clock: Arc<AtomicI64>,
}

impl Office {
    async fn new(servers: &[&Smarthost], more: &str) -> Office {
        Office::patient(servers, more, Patience::default()).await
    }

    async fn patient(servers: &[&Smarthost], more: &str, patience: Patience) -> Office {
        let tables: String = servers
            .iter()
            .enumerate()
            .map(|(n, server)| {
                let port = server.address.port();
                format!("[[smarthost]]\nname = \"isp{n}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\ninsecure = true\n{more}\n")
            })
            .collect();
        let lan = Lan::without_passwords(&tables, "").await;
        let clock = Arc::new(AtomicI64::new(jiff::Timestamp::now().as_millisecond()));
        let now = clock.clone();
        let relay = Relay::new(lan.store.clone(), lan.context.current.clone(), Arc::new(move || now.load(Ordering::SeqCst)), patience);
        Office { lan, relay, clock }
    }

    async fn queue(&self, recipients: &[&str]) {
        self.queue_for(recipients, None, false).await;
    }

    /// Mail for another mail system.
    async fn hand_over(&self, server: &Smarthost, recipients: &[&str], from_outside: bool) {
        self.queue_for(recipients, Some(server.address.to_string()), from_outside).await;
    }

    async fn queue_for(&self, recipients: &[&str], lmtp: Option<String>, from_outside: bool) {
        self.queue_text(&format!("{HEADER}Hello\r\n"), recipients, lmtp, from_outside).await;
    }

    async fn queue_text(&self, text: &str, recipients: &[&str], lmtp: Option<String>, from_outside: bool) {
        let mail = NewMail { lmtp, from_outside, ..mail(recipients) };
        self.queue_mail(text, mail).await;
    }

    async fn queue_mail(&self, text: &str, mail: NewMail) {
        let facts = content_facts(&Facts::of(text.as_bytes()));
        let content = NewContent::Inline(text.to_owned().into(), Box::new(facts));
        let arrival = Arrival { queue: vec![mail], ..Arrival::new(content) };
        self.lan.store.arrive(vec![arrival]).await.remove(0).unwrap();
        self.clock.fetch_max(jiff::Timestamp::now().as_millisecond(), Ordering::SeqCst);
    }

    /// One pass over what is due.
    async fn pass(&mut self) {
        tokio::time::timeout(Duration::from_secs(60), self.relay.once()).await.expect("the relay does not come to an end");
    }

    async fn later(&mut self, minutes: i64) {
        self.clock.fetch_add(minutes * MINUTE, Ordering::SeqCst);
        self.pass().await;
    }

    /// Address, state, minutes until due, last reply of all that is still in the queue.
    async fn waiting(&self) -> Vec<(String, State, i64, String)> {
        let now = self.clock.load(Ordering::SeqCst);
        let queue = self.lan.store.queue().await.unwrap();
        let recipients = queue.into_iter().flat_map(|mail| mail.recipients);
        let open = recipients.filter(|recipient| !matches!(recipient.state, State::Relayed | State::Failed));
        open.map(|r| (r.address.to_string(), r.state, r.due.map_or(0, |due| (due - now) / MINUTE), r.last_reply.unwrap_or_default()))
            .collect()
    }

    async fn bounces(&self) -> Vec<String> {
        inbox(&self.lan, "alice").await
    }
}

#[tokio::test]
async fn mail_leaves_over_one_connection_and_the_queue_is_empty() {
    let server = Smarthost::start([]).await;
    let mut office = Office::new(&[&server], "connections = 1").await;
    for n in 0..20 {
        office.queue(&[&format!("to{n}@customer.example")]).await;
    }
    office.pass().await;
    let received = server.received();
    assert_eq!((received.len(), server.connections()), (20, 1));
    assert!(received.iter().all(|mail| mail.sender == "alice@example.com" && mail.message == format!("{HEADER}Hello\r\n").as_bytes()));
    assert!(office.waiting().await.is_empty() && office.bounces().await.is_empty());
}

#[tokio::test]
async fn trap_60_one_refused_recipient_of_five_bounces_and_the_others_are_relayed() {
    let server = Smarthost::start([Fault::Matching("b@customer", "550 5.1.1 no such user")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example", "b@customer.example", "c@customer.example", "d@customer.example", "e@customer.example"]).await;
    office.pass().await;
    assert_eq!(server.received()[0].recipients.len(), 4);
    assert!(office.waiting().await.is_empty());
    let bounces = office.bounces().await;
    assert_eq!(bounces.len(), 1);
    assert!(bounces[0].contains("b@customer.example") && bounces[0].contains("no such user"), "{}", bounces[0]);
    assert!(!bounces[0].contains("c@customer.example"));
}

#[tokio::test]
async fn trap_61_greylisted_mail_waits_five_minutes_and_then_leaves() {
    let server = Smarthost::start([Fault::Answer("RCPT", 0, "450 4.2.0 greylisted")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example", "b@customer.example"]).await;
    office.pass().await;
    let waiting = office.waiting().await;
    assert_eq!((waiting.len(), waiting[0].1), (1, State::Delayed));
    assert!((4..=5).contains(&waiting[0].2), "{waiting:?}");
    office.later(6).await;
    assert_eq!(server.received().iter().map(|mail| mail.recipients.len()).collect::<Vec<_>>(), [1, 1]);
    assert!(office.waiting().await.is_empty() && office.bounces().await.is_empty());
}

#[tokio::test]
async fn a_failure_at_the_final_dot_is_tried_again() {
    let server = Smarthost::start([Fault::Answer(".", 0, "452 4.3.1 disk full")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    assert_eq!(office.waiting().await.len(), 1);
    office.later(2).await;
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn trap_62_a_lost_answer_waits_ten_minutes_and_is_shown_as_possibly_sent_twice() {
    let server = Smarthost::start([Fault::HangUp(".", 0)]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    let waiting = office.waiting().await;
    assert!(waiting[0].2 >= 9 && waiting[0].3.contains("may arrive twice"), "{waiting:?}");
    office.later(11).await;
    assert_eq!(server.received().len(), 2);
    assert!(office.waiting().await.is_empty());
}

#[tokio::test]
async fn a_421_in_the_middle_delays_what_is_open() {
    let server = Smarthost::start([Fault::Answer("RCPT", 1, "421 4.3.2 going down")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example", "b@customer.example"]).await;
    office.pass().await;
    assert_eq!(office.waiting().await.len(), 2);
    office.later(2).await;
    assert_eq!(server.received()[0].recipients.len(), 2);
}

/// Each of them would cost a log-in, and the server has said that it wants nobody now.
#[tokio::test]
async fn trap_61_who_is_sent_away_behind_the_log_in_does_not_come_again_at_once() {
    let away = Fault::Always("MAIL", "421 4.7.0 too many mails today");
    for faults in [vec![away.clone()], vec![away.clone(), Fault::With("CHUNKING")], vec![away, Fault::Without("PIPELINING")]] {
        let server = Smarthost::start(faults).await;
        let mut office = Office::new(&[&server], "connections = 1").await;
        for n in 0..12 {
            office.queue(&[&format!("to{n}@customer.example")]).await;
        }
        office.pass().await;
        assert!(server.connections() <= 2, "{} connections", server.connections());
        let waiting = office.waiting().await;
        assert!(waiting.len() == 12 && waiting.iter().all(|(_, state, due, _)| *state == State::Delayed && *due > 0), "{waiting:?}");
        assert!(waiting.iter().any(|(.., reply)| reply.contains("421")), "{waiting:?}");
    }
    // One that hangs up without a word, always.
    let server = Smarthost::start((0..40).map(|n| Fault::HangUp("MAIL", n))).await;
    let mut office = Office::new(&[&server], "connections = 1").await;
    for n in 0..12 {
        office.queue(&[&format!("to{n}@customer.example")]).await;
    }
    office.pass().await;
    assert!(server.connections() <= 2, "{} connections", server.connections());
    assert_eq!(office.waiting().await.len(), 12);
}

#[tokio::test]
async fn a_server_that_takes_few_recipients_in_a_mail_gets_the_others_in_the_next_one() {
    let all = ["a", "b", "c", "d", "e"].map(|name| format!("{name}@customer.example"));
    let all = all.each_ref().map(String::as_str);
    for (faults, asked) in [(vec![Fault::Recipients(2)], 5 + 3 + 1), (vec![Fault::With("LIMITS RCPTMAX=2")], 5)] {
        let server = Smarthost::start(faults).await;
        let mut office = Office::new(&[&server], "").await;
        office.queue(&all).await;
        office.pass().await;
        let counts: Vec<_> = server.received().iter().map(|mail| mail.recipients.len()).collect();
        assert_eq!(counts, [2, 2, 1]);
        assert_eq!(server.commands().iter().filter(|command| command.starts_with("RCPT")).count(), asked);
        assert!(office.waiting().await.is_empty() && office.bounces().await.is_empty());
    }
    // Nobody was taken: that is a matter of time.
    let server = Smarthost::start([Fault::Always("RCPT", "452 4.3.1 no room")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&all).await;
    office.pass().await;
    assert!(office.waiting().await.iter().all(|(_, state, due, _)| *state == State::Delayed && *due > 0));
}

#[tokio::test]
async fn trap_59_a_refused_log_in_holds_the_mail_and_alarms_the_postmaster_once() {
    let server = Smarthost::start([Fault::With("AUTH PLAIN"), Fault::Always("AUTH", "535 5.7.8 wrong password")]).await;
    let mut office = Office::new(&[&server], "username = \"office\"\npassword = \"geheim\"").await;
    office.queue(&["a@customer.example"]).await;
    for _ in 0..4 {
        office.later(60).await;
    }
    let waiting = office.waiting().await;
    assert_eq!((waiting.len(), waiting[0].1), (1, State::Delayed));
    for _ in 0..100 {
        if !office.bounces().await.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mails = office.bounces().await;
    let alarms = mails.iter().filter(|mail| mail.contains("does not accept our log-in")).count();
    assert_eq!(alarms, 1, "{mails:?}");
    assert!(!mails.iter().any(|mail| mail.contains("Action: failed")));
}

#[tokio::test]
async fn mail_that_expires_comes_back() {
    let server = Smarthost::start([Fault::Always("RCPT", "451 4.7.1 later")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    office.later(5 * 24 * 60 + 1).await;
    assert!(office.waiting().await.is_empty());
    assert_eq!(office.bounces().await.iter().filter(|mail| mail.contains("Action: failed")).count(), 1);
}

#[tokio::test]
async fn after_four_hours_the_sender_hears_of_it_once() {
    let server = Smarthost::start([Fault::Always("RCPT", "451 4.7.1 later")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    assert!(office.bounces().await.is_empty());
    office.later(4 * 60 + 1).await;
    office.later(5 * 60).await;
    assert_eq!(office.bounces().await.iter().filter(|mail| mail.contains("Action: delayed")).count(), 1);
}

#[tokio::test]
async fn the_notice_of_delay_does_not_wait_for_the_next_attempt() {
    let server = Smarthost::start([Fault::Always("RCPT", "451 4.3.0 later")]).await;
    let mut office = Office::new(&[&server], "retry = [\"3h\"]").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    let mut minutes = 0;
    while office.bounces().await.is_empty() {
        let pause = office.waiting().await[0].2 + 1;
        minutes += pause;
        office.later(pause).await;
    }
    assert!((240..=245).contains(&minutes), "{minutes} minutes");
}

#[tokio::test]
async fn another_smarthost_takes_what_the_first_can_not() {
    let (closed, open) = (Smarthost::start([Fault::Always("greeting", "554 no service")]).await, Smarthost::start([]).await);
    let mut office = Office::new(&[&closed, &open], "").await;
    office.queue(&["a@customer.example"]).await;
    office.queue(&["b@customer.example"]).await;
    office.pass().await;
    assert_eq!((closed.received().len(), open.received().len()), (0, 2));
}

#[tokio::test]
async fn trap_65_what_is_too_large_for_one_smarthost_goes_to_another_or_comes_back() {
    let small = || Smarthost::start([Fault::Without("SIZE"), Fault::With("SIZE 50")]);
    let (first, second) = (small().await, Smarthost::start([]).await);
    let mut office = Office::new(&[&first, &second], "").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    assert_eq!((first.received().len(), second.received().len()), (0, 1));

    let only = small().await;
    let mut office = Office::new(&[&only], "").await;
    office.queue(&["a@customer.example"]).await;
    office.pass().await;
    assert!(only.received().is_empty() && office.waiting().await.is_empty());
    let bounces = office.bounces().await;
    assert!(bounces.len() == 1 && bounces[0].contains("Status: 5.3.4"), "{bounces:?}");
}

#[tokio::test]
async fn a_smarthost_that_claims_pipelining_falsely_gets_one_command_at_a_time_from_then_on() {
    let server = Smarthost::start([Fault::FalsePipelining]).await;
    let second = Duration::from_secs(1);
    let patience = Patience { command: second, data: second, piece: second, end: second, ..Patience::default() };
    let mut office = Office::patient(&[&server], "connections = 1", patience).await;
    for to in ["a@customer.example", "b@customer.example"] {
        office.queue(&[to]).await;
    }
    office.pass().await;
    // the first one met the silence; what is not through yet is due again soon
    office.later(20).await;
    assert!(office.waiting().await.is_empty(), "{:?}", office.waiting().await);
    let received = server.received();
    assert_eq!(received.iter().filter(|mail| mail.answered).count(), 2, "{received:?}");
    let connections = server.connections();
    assert!(connections <= 3, "the lie is found out once, not with every mail: {connections} connections");
    office.queue(&["c@customer.example"]).await;
    office.pass().await;
    assert_eq!(server.received().len(), 3);
    assert!(office.bounces().await.is_empty());
}

/// Servers hang up on whoever says nothing for some seconds. What comes then leaves at once, and can't have left twice.
#[tokio::test]
async fn a_connection_that_died_while_it_idled_costs_the_next_mail_nothing() {
    let kinds = [Fault::With("CHUNKING"), Fault::With("X-NONE"), Fault::Without("PIPELINING"), Fault::Lmtp];
    for (kind, words) in kinds.iter().flat_map(|kind| ["", "421 4.4.2 timeout\r\n"].map(|words| (kind, words))) {
        let server = Smarthost::start([kind.clone(), Fault::Leaves(1, words), Fault::Leaves(5, words)]).await;
        let mut office = Office::new(&[&server], "connections = 1").await;
        let lmtp = (*kind == Fault::Lmtp).then(|| server.address.to_string());
        for n in 0..4 {
            for to in ["a", "b"] {
                office.queue_for(&[&format!("{to}{n}@customer.example")], lmtp.clone(), false).await;
            }
            let before = server.ended();
            office.pass().await;
            let context = format!("{kind:?}, {words:?}, round {n}: {:?}", server.commands());
            assert!(office.waiting().await.is_empty(), "{:?}; {context}", office.waiting().await);
            assert_eq!(server.received().len(), 2 * (n + 1), "{context}");
            if n == 0 || n == 2 {
                let hung_up = async {
                    while server.ended() == before {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(60), hung_up).await.expect(&context);
            }
        }
        assert_eq!(server.connections(), 3, "{kind:?}, {words:?}");
        assert!(office.bounces().await.is_empty());
    }
}

/// Smarthosts refuse a mail from nobody: bounces stay here.
#[tokio::test]
async fn trap_57_a_bounce_is_stored_and_never_sent() {
    let server = Smarthost::start([Fault::Always("RCPT", "550 5.1.1 no such user")]).await;
    let mut office = Office::new(&[&server], "").await;
    office.queue(&["a@customer.example", "b@customer.example"]).await;
    office.pass().await;
    office.later(60).await;
    assert!(office.waiting().await.is_empty());
    assert_eq!(office.bounces().await.len(), 1);
    let senders: Vec<String> = server.commands().into_iter().filter(|command| command.starts_with("MAIL FROM")).collect();
    assert!(!senders.is_empty() && senders.iter().all(|command| command.starts_with("MAIL FROM:<alice@example.com>")), "{senders:?}");
}

/// Letters outside ASCII in the text or in a domain are no reason to ask for SMTPUTF8; in a mailbox's name they are.
#[tokio::test]
async fn trap_63_smtputf8_is_asked_for_only_where_an_address_needs_it() {
    let server = Smarthost::start([Fault::With("SMTPUTF8")]).await;
    let mut office = Office::new(&[&server], "").await;
    let text = HEADER.replace("to outside", "Gr\u{fc}\u{df}e") + "Gr\u{fc}\u{df}e\r\n";
    office.queue_text(&text, &["info@b\u{fc}cher.example"], None, false).await;
    office.pass().await;
    let commands = server.commands();
    assert!(commands.iter().all(|command| !command.contains("SMTPUTF8")), "{commands:?}");
    assert!(commands.iter().any(|command| command.starts_with("RCPT TO:<info@xn--bcher-kva.example>")), "{commands:?}");
    office.queue_text(&text, &["j\u{fc}rgen@customer.example"], None, false).await;
    office.pass().await;
    assert!(server.commands().iter().any(|command| command.starts_with("MAIL FROM") && command.contains("SMTPUTF8")));
}

/// A message that was fetched is stored as it came, and what is large is read in pieces: wherever one ends, no line end stands alone.
#[tokio::test]
async fn trap_53_a_stored_message_leaves_canonical_wherever_its_pieces_end() {
    const PIECE: usize = 256 * 1024;
    let false_ends = ["\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\n", "\r\r\n.\n\r"];
    for kind in [Fault::With("X-NONE"), Fault::With("CHUNKING"), Fault::Lmtp] {
        let server = Smarthost::start([kind.clone()]).await;
        let mut office = Office::new(&[&server], "").await;
        let lmtp = (kind == Fault::Lmtp).then(|| server.address.to_string());
        let mut expected = Vec::new();
        for (end, before) in false_ends.iter().flat_map(|end| (0..=end.len()).map(move |before| (end, before))) {
            let header = format!("Subject: {before} of {end:?}\r\n\r\n");
            let filling = PIECE - before - header.len();
            let text = format!(
                "{header}{}{end}MAIL FROM:<boss@example.com>\r\n",
                "x".repeat(filling % 70) + &"\r\nx 67890".repeat(filling)[..filling - filling % 70]
            );
            assert_eq!(&text[PIECE - before..PIECE - before + end.len()], *end);
            office.queue_text(&text, &["a@customer.example"], lmtp.clone(), false).await;
            expected.push(text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n"));
        }
        office.pass().await;
        let mut received: Vec<_> = server.received().into_iter().map(|mail| String::from_utf8(mail.message).unwrap()).collect();
        received.sort();
        expected.sort();
        assert!(received == expected, "{kind:?}: {} of {}", received.len(), expected.len());
        assert!(office.waiting().await.is_empty());
    }
}

/// A smarthost that takes seven bits gets seven bits; what is signed goes as it is.
#[tokio::test]
async fn trap_64_eight_bits_are_encoded_anew_unless_they_are_signed() {
    let server = Smarthost::start([Fault::Without("8BITMIME")]).await;
    let mut office = Office::new(&[&server], "").await;
    let plain = HEADER.trim_end().to_owned() + "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
    let body = "Content-Transfer-Encoding: 8bit\r\n\r\nGr\u{fc}\u{df}e\r\n";
    office.queue_text(&(plain.clone() + body), &["a@customer.example"], None, false).await;
    let signed = HEADER.trim_end().to_owned()
        + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"\r\n\r\n\
           --b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        + body
        + "--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n";
    office.queue_text(&signed, &["b@customer.example"], None, false).await;
    // The same with an attachment, too large to wait in memory for its turn.
    let attachment = format!("{}\r\n", "QUJD".repeat(19)).repeat(12_000);
    let large = HEADER.trim_end().to_owned()
        + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        + body
        + "--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + &attachment
        + "--b--\r\n";
    office.queue_text(&large, &["c@customer.example"], None, false).await;
    office.pass().await;
    let received = server.received();
    let to = |name: &str| received.iter().find(|mail| mail.recipients[0].contains(name)).map(|mail| mail.message.clone()).unwrap();
    let first = String::from_utf8(to("a@")).unwrap();
    assert!(
        first.is_ascii() && first.contains("Content-Transfer-Encoding: quoted-printable") && first.contains("Gr=C3=BC=C3=9Fe"),
        "{first}"
    );
    assert_eq!(to("b@"), signed.as_bytes());
    let large = String::from_utf8(to("c@")).unwrap();
    assert!(large.is_ascii() && large.contains("Gr=C3=BC=C3=9Fe\r\n--b\r\n") && large.contains(&attachment), "{} bytes", large.len());
}
