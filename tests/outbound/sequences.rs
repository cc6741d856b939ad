//! Whatever servers answer, in whatever order, and wherever they fall silent or hang up: each recipient ends once, as relayed or failed,
//! nothing is lost, what may have gone twice is marked, and the sender hears what he wished to hear and no more. There are two
//! smarthosts, of which one takes the other's place, or another mail system; their connections are used again while they live.

use std::collections::HashSet;
use std::time::Duration;

use mailroom::message::wish::{Notify, Wish, Wishes};
use mailroom::smtp::client::Patience;
use mailroom::store::queue::NewMail;
use mailroom::wire::dial;
use tokio::task::JoinSet;

use super::{Office, mail};
use crate::support::smarthost::{Fault, Smarthost};

/// Sequences tried.
const SEQUENCES: u64 = 72;
/// So many at once: most of the time a server has fallen silent.
const AT_ONCE: usize = 24;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.throw(from.len())].clone()
    }
}

/// What a server can do.
fn kind(dice: &mut Dice) -> Vec<Fault> {
    dice.pick(&[
        vec![Fault::With("X-NONE")],
        vec![Fault::With("DSN")],
        vec![Fault::With("CHUNKING"), Fault::With("DSN")],
        vec![Fault::Without("PIPELINING")],
        vec![Fault::Lmtp],
    ])
}

/// A server of some kind, and what goes wrong there before it comes to its senses.
fn faults(dice: &mut Dice, kind: &[Fault]) -> Vec<Fault> {
    let mut faults = kind.to_vec();
    let answers = [
        "421 4.3.2 closing",
        "450 4.2.1 later",
        "451 4.3.0 later",
        "550 5.1.1 no",
        "503 5.5.1 out of order",
        "552 5.2.2 too much",
        "535 5.7.8 who?",
    ];
    for (verb, count) in [("greeting", 1), ("MAIL", 4), ("RCPT", 8), ("DATA", 4), (".", 5), ("BDAT", 5)] {
        for n in 0..count {
            match dice.throw(40) {
                0..12 => faults.push(Fault::Answer(verb, n, dice.pick(&answers))),
                12..16 => faults.push(Fault::HangUp(verb, n)),
                16 => faults.push(Fault::Stall(verb, n)),
                _ => {}
            }
        }
    }
    for n in 0..3 {
        if dice.throw(3) == 0 {
            faults.push(Fault::Leaves(n, dice.pick(&["", "421 4.4.2 timeout\r\n"])));
        }
    }
    faults
}

fn wish(dice: &mut Dice) -> Option<Notify> {
    dice.pick(&[None, Some("NEVER"), Some("SUCCESS"), Some("FAILURE"), Some("SUCCESS,FAILURE,DELAY")]).and_then(Notify::parse)
}

#[tokio::test]
async fn every_recipient_ends_once_and_is_told_of_as_wished() {
    let (mut ends, mut taken) = ([0, 0], [0, 0]);
    let (mut seeds, mut running) = (0..SEQUENCES, JoinSet::new());
    loop {
        while running.len() < AT_ONCE
            && let Some(seed) = seeds.next()
        {
            running.spawn(sequence(seed));
        }
        let Some(ended) = running.join_next().await else { break };
        let (ended, received) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        for which in 0..2 {
            ends[which] += ended[which];
            taken[which] += received[which];
        }
    }
    assert!(ends.iter().chain(&taken).all(|count| *count > 0), "only one kind: {ends:?}, or only one server: {taken:?}");
}

/// One of them: how many recipients ended as failed and as relayed, and how many mails each server took.
async fn sequence(seed: u64) -> ([usize; 2], [usize; 2]) {
    let moment = Duration::from_millis(400);
    let dial = dial::Patience { greeting: moment, ..dial::Patience::default() };
    let patience = Patience { dial, command: moment, data: moment, piece: moment, end: moment };
    let mut ends = [0, 0];
    let mut dice = Dice(seed);
    let kind = kind(&mut dice);
    let faults = [faults(&mut dice, &kind), faults(&mut dice, &kind)];
    let [first, other] = faults.clone();
    let servers = [Smarthost::start(first).await, Smarthost::start(other).await];
    let received = || servers.iter().flat_map(Smarthost::received).collect::<Vec<_>>();
    let lmtp = kind.contains(&Fault::Lmtp);
    let reports_itself = kind.contains(&Fault::With("DSN"));
    let mut office = Office::patient(&servers.each_ref(), "connections = 1", patience).await;
    let mut all = Vec::new();
    for n in 0..3 {
        let addresses = ["a", "b"].map(|name| format!("{name}{n}@customer.example"));
        let mut mail = mail(&addresses.each_ref().map(String::as_str));
        let each: Vec<_> = mail.recipients.iter().map(|to| (to.clone(), Wish { notify: wish(&mut dice), original: None })).collect();
        all.extend(each.iter().map(|(to, wish)| (n, to.to_string(), wish.notify())));
        mail = NewMail { wishes: Wishes { each, ..Wishes::default() }, lmtp: lmtp.then(|| servers[0].address.to_string()), ..mail };
        office.queue_mail(&format!("From: alice@example.com\r\nMessage-ID: <{n}@office.lan>\r\n\r\n{n}\r\n"), mail).await;
    }
    let context = format!("seed {seed}: {faults:?}");
    let (mut minutes, mut marked) = (0, HashSet::new());
    for pause in [0, 1, 15, 15, 30, 60, 6 * 24 * 60] {
        minutes += pause;
        office.later(pause).await;
        let queue = office.lan.store.queue().await.unwrap();
        for (n, address, _) in &all {
            let waits = queue.iter().flat_map(|mail| mail.recipients.iter().map(move |one| (mail, one)));
            let open: Vec<_> = waits.filter(|(_, one)| one.address.to_string() == *address && one.due.is_some()).collect();
            let ended = ends_of(&office, *n, address).await;
            assert_eq!(open.len() + ended.len(), 1, "{address} after {minutes} minutes, {ended:?}; {context}");
            let unanswered = received().iter().any(|mail| !mail.answered && mail.recipients.contains(address));
            marked.extend(open.iter().filter(|(mail, _)| mail.data_sent).map(|_| address.clone()));
            assert!(
                open.iter().all(|(mail, _)| mail.data_sent || !unanswered),
                "{address} may be there twice, and is not marked; {context}"
            );
        }
    }
    let told = office.bounces().await;
    for (n, address, wished) in &all {
        let ended = ends_of(&office, *n, address).await;
        let relayed = ended == ["relayed"];
        ends[usize::from(relayed)] += 1;
        let answered = received().iter().filter(|mail| mail.answered && mail.recipients.contains(address)).count();
        // An answer that was given may get lost with its connection: then, and only then, there may be one copy more.
        let as_said = answered == usize::from(relayed) || answered > 0 && marked.contains(address);
        assert!(as_said, "{address} {ended:?} {answered} times; {context}");
        let times = |action: &str| {
            let field = format!("Final-Recipient: rfc822; {address}\r\nAction: {action}\r\n");
            told.iter().map(|mail| mail.matches(&field).count()).sum::<usize>()
        };
        let success = if lmtp { "delivered" } else { "relayed" };
        assert_eq!(times("failed"), usize::from(!relayed && wished.failure), "{address}; {context}\n{told:#?}");
        assert_eq!(times(success), usize::from(relayed && wished.success && !reports_itself), "{address}; {context}\n{told:#?}");
        assert!(wished.delay || times("delayed") == 0, "{address}; {context}");
    }
    (ends, servers.each_ref().map(|server| server.received().len()))
}

/// How it ended with a recipient, as the trace has it.
async fn ends_of(office: &Office, mail: usize, address: &str) -> Vec<String> {
    let lines = office.lan.store.trace(&format!("{mail}@office.lan")).await.unwrap();
    let about = lines.into_iter().filter(|line| line.detail.starts_with(&format!("{address}: ")));
    about.map(|line| line.event).filter(|event| event == "relayed" || event == "failed").collect()
}
