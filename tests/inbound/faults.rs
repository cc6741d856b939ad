//! A real Dovecot behind a line that fails: at every command and at every answer, at their boundaries and inside of them, in both directions;
//! the next fetch leaves every message exactly once, byte for byte, and nothing at the provider.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Office;
use crate::interop::isp::{Dovecot, Options, PASSWORD};
use crate::support::proxy::{Fault, Harm, Proxy, Speech, Spot, Way};

/// Messages of one session.
const SESSION: usize = 30;
/// Lines that fail at the same time: most of them wait for something.
const LINES: usize = 20;
/// How long a server may take for anything before the collector gives up, where that has to happen.
const SHORT: Duration = Duration::from_millis(600);
/// The same where it must not happen.
const LONG: Duration = Duration::from_secs(20);
/// A moment in which nothing comes.
const DAWDLING: Duration = Duration::from_millis(60);
/// All that a line can do.
const HARMS: [Harm; 5] = [Harm::Cut, Harm::Stall, Harm::Delay(DAWDLING), Harm::Repeat, Harm::Garble];

/// A mailbox at the provider, the line to it, and the office at the other end.
struct Line {
    dovecot: Arc<Dovecot>,
    user: String,
    speech: Speech,
    proxy: Proxy,
    office: Office,
    /// Counts up, so that no message ever comes twice.
    serial: usize,
    /// The bytes of one more message, ahead of the others.
    large: usize,
    /// The last journal entry that was looked at.
    journaled: i64,
}

impl Line {
    /// `speech`: what the proxy understands.
    async fn new(dovecot: Arc<Dovecot>, protocol: &str, speech: Speech, number: usize) -> Self {
        let tls = speech == Speech::Tls;
        let server = match (protocol, tls) {
            ("pop3", false) => dovecot.pop3,
            ("pop3", true) => dovecot.pop3s,
            (_, false) => dovecot.imap,
            (_, true) => dovecot.imaps,
        };
        let proxy = Proxy::start(server, speech).await;
        let user = format!("office{number}");
        let mut more = format!("deliver = \"alice\"\nusername = \"{user}\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}\n");
        if tls {
            more += &format!("tls = \"implicit\"\nca = '{}'\n", dovecot.authority.file.display());
        }
        let office = Office::new(protocol, proxy.port, &more).await;
        Self { dovecot, user, speech, proxy, office, serial: number * 1_000_000, large: 0, journaled: 0 }
    }

    /// Puts a session's worth of mail into the mailbox.
    fn post(&mut self) -> Vec<Vec<u8>> {
        let mail = |number: usize| {
            let body = ".a dot\r\n..two\r\n\u{fc}ml\u{e4}ut and \r a bare one\r\n".repeat(1 + number % 5);
            format!("From: <x@far.example>\r\nTo: alice@example.com\r\nMessage-ID: <{number}@far.example>\r\n\r\n{body}").into_bytes()
        };
        let mut messages: Vec<Vec<u8>> = (self.serial..self.serial + SESSION).map(mail).collect();
        self.serial += SESSION;
        if self.large > 0 {
            let mut large = mail(self.serial - 1);
            large.truncate(large.len() / 2);
            large.extend(format!("{}\r\n", "large ".repeat(10)).repeat(self.large / 62).bytes());
            messages[0] = large;
        }
        self.dovecot.deliver(&self.user, messages.iter().map(Vec::as_slice));
        messages
    }

    /// A session that suffers from `fault`, and a clean one; its messages have to be here once, and nowhere else. Says whether the session
    /// came as far as the fault.
    async fn survives(&mut self, fault: Fault) -> bool {
        let mut messages = self.post();
        let before = self.office.has("alice").await;
        // The first anomaly ends pipelining for a week; then there would be other boundaries.
        self.office.store.setting_set("pipelining/127.0.0.1", None).await.unwrap();
        let is_slow = matches!(fault.harm, Harm::Delay(_));
        self.office.moment = if is_slow { LONG } else { SHORT };
        self.proxy.spoil(fault);
        let outcome = self.office.fetch().await;
        assert!(!is_slow || outcome.figures.error.is_none(), "{fault:?}: {:?}", outcome.figures.error);
        self.proxy.quiet().await;
        self.office.moment = LONG;
        let outcome = self.office.fetch().await;
        assert_eq!(outcome.figures.error, None, "{fault:?}");
        self.proxy.quiet().await;
        assert_eq!(self.dovecot.count(&self.user), 0, "{fault:?}: left at the provider");
        assert_eq!(self.office.has("alice").await - before, SESSION as u64, "{fault:?}");
        let mut originals = self.fetched().await;
        originals.sort();
        // What had to be fetched again is journaled again; nobody got it twice.
        originals.dedup();
        messages.sort();
        if originals != messages {
            let strange: Vec<&Vec<u8>> = originals.iter().filter(|one| !messages.contains(one)).collect();
            let missing: Vec<&Vec<u8>> = messages.iter().filter(|one| !originals.contains(one)).collect();
            let explained = self.speech != Speech::Tls && fault.is_inside_a_message() && differ_in_a_byte(&strange, &missing);
            assert!(explained, "{fault:?}: {} instead of {}", shown(&strange), shown(&missing));
        }
        self.proxy.struck()
    }

    /// The originals that came since the last time.
    async fn fetched(&mut self) -> Vec<Vec<u8>> {
        let store = &self.office.store;
        let mut originals = Vec::new();
        for entry in store.journal(0, self.journaled, 10 * SESSION).await.unwrap() {
            originals.push(store.content(entry.content, 0, usize::MAX >> 1).await.unwrap().to_vec());
            self.journaled = entry.id;
        }
        originals
    }

    /// How many commands and answers a session has when all is well.
    async fn well(&mut self) -> [usize; 2] {
        self.post();
        self.office.moment = LONG;
        self.office.fetch_well().await;
        self.proxy.quiet().await;
        self.fetched().await;
        self.proxy.seen()
    }
}

impl Fault {
    /// Nobody can tell another byte inside of a message from the right one where the line itself has no checks.
    fn is_inside_a_message(&self) -> bool {
        self.way == Way::ToClient && self.harm == Harm::Garble && self.spot == Spot::Body
    }
}

fn differ_in_a_byte(strange: &[&Vec<u8>], missing: &[&Vec<u8>]) -> bool {
    let ([strange], [missing]) = (strange, missing) else { return false };
    strange.len() == missing.len() && strange.iter().zip(missing.iter()).filter(|(one, other)| one != other).count() == 1
}

fn shown(messages: &[&Vec<u8>]) -> String {
    messages.iter().map(|message| format!("\n“{}”", message.escape_ascii())).collect()
}

/// Every harm at every boundary, and harms inside of every command and answer, which and where changes from one to the next.
fn faults(seen: [usize; 2]) -> VecDeque<Fault> {
    let mut faults = VecDeque::new();
    for (way, count) in [(Way::ToServer, seen[0]), (Way::ToClient, seen[1])] {
        for unit in 0..=count {
            for (turn, harm) in HARMS.into_iter().enumerate() {
                // Nothing lies ahead of the first boundary that could be said again.
                if unit > 0 || !matches!(harm, Harm::Repeat | Harm::Garble) {
                    faults.push_back(Fault { way, unit, spot: Spot::Boundary, harm });
                }
                let spots: &[Spot] = match harm {
                    Harm::Repeat => &[Spot::Line, Spot::LineEnd],
                    Harm::Garble => &[Spot::Line, Spot::LineEnd, Spot::Body],
                    _ => &[Spot::Line, Spot::LineEnd, Spot::Body, Spot::Last],
                };
                // Half of them at each, for the time it takes.
                if unit > 0 && (unit + turn) % 2 == 0 {
                    faults.push_back(Fault { way, unit, spot: spots[(unit + turn) / 2 % spots.len()], harm });
                }
            }
        }
    }
    faults
}

/// `up_to`: at so many commands and answers.
async fn spoilt_everywhere(dovecot: Dovecot, protocol: &'static str, speech: Speech, up_to: usize) {
    let dovecot = Arc::new(dovecot);
    let mut first = Line::new(Arc::clone(&dovecot), protocol, speech, 0).await;
    let seen = first.well().await;
    if speech != Speech::Tls {
        assert!(seen[0] > 6 && seen[1] > SESSION, "{seen:?}");
    }
    let faults = faults(seen.map(|count| count.min(up_to)));
    let count = faults.len();
    let faults = Arc::new(Mutex::new(faults));
    let mut lines = tokio::task::JoinSet::new();
    for number in 1..=LINES {
        let (dovecot, faults) = (Arc::clone(&dovecot), Arc::clone(&faults));
        lines.spawn(async move {
            let mut line = Line::new(dovecot, protocol, speech, number).await;
            let mut struck = 0;
            loop {
                let Some(fault) = faults.lock().unwrap().pop_front() else { return struck };
                struck += usize::from(line.survives(fault).await);
            }
        });
    }
    let struck: usize = lines.join_all().await.into_iter().sum();
    eprintln!("{protocol} {speech:?}: {} commands, {} answers, {struck} of {count} faults", seen[0], seen[1]);
    // On a busy machine a session may end by its short deadline ahead of the place; and what is a TLS record depends on who was faster.
    assert!(struck * 4 > count * 3, "only {struck} of {count} faults were come to");
}

/// A message that goes through the spool, broken off at its beginning, inside and at its end: it comes again, whole and once.
async fn large_and_spoilt(protocol: &'static str, speech: Speech) {
    let mut line = Line::new(Arc::new(plain()), protocol, speech, 0).await;
    line.large = 1_500_000;
    line.well().await;
    let large = line.proxy.largest();
    let mut struck = 0;
    for (unit, spot) in [(large, Spot::Line), (large, Spot::Body), (large, Spot::Last), (large, Spot::Boundary), (large + 1, Spot::Line)] {
        for harm in [Harm::Cut, Harm::Stall, Harm::Delay(DAWDLING)] {
            struck += usize::from(line.survives(Fault { way: Way::ToClient, unit, spot, harm }).await);
        }
    }
    assert!(struck > 10, "{struck}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_01_a_large_message_spoilt_on_its_way_through_the_spool_comes_once_by_pop3() {
    large_and_spoilt("pop3", Speech::Pop3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_01_a_large_message_spoilt_on_its_way_through_the_spool_comes_once_by_imap() {
    large_and_spoilt("imap", Speech::Imap).await;
}

fn plain() -> Dovecot {
    Dovecot::start_with(Options { plain: true, ..Options::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_01_a_pop3_session_spoilt_at_every_command_loses_and_repeats_nothing() {
    spoilt_everywhere(plain(), "pop3", Speech::Pop3, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trap_01_an_imap_session_spoilt_at_every_command_loses_and_repeats_nothing() {
    spoilt_everywhere(plain(), "imap", Speech::Imap, usize::MAX).await;
}

/// The beginning of a session where the log-in has steps of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_by_scram_spoilt_at_every_step_loses_and_repeats_nothing() {
    spoilt_everywhere(Dovecot::start(), "pop3", Speech::Pop3, 6).await;
    spoilt_everywhere(Dovecot::start(), "imap", Speech::Imap, 6).await;
}

/// On a line with TLS nothing that is garbled or comes twice is ever taken for mail, not even inside of a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop3_line_with_tls_spoilt_at_every_record_loses_and_changes_nothing() {
    spoilt_everywhere(plain(), "pop3", Speech::Tls, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imap_line_with_tls_spoilt_at_every_record_loses_and_changes_nothing() {
    spoilt_everywhere(plain(), "imap", Speech::Tls, usize::MAX).await;
}
