//! kill -9 while mail is handed in and while it goes on, to a smarthost or by LMTP to another mail system: what was accepted arrives, and what
//! arrives twice was marked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::support::office::{self, Office, until};
use crate::support::smarthost::{Fault, Smarthost};

/// Mails that wait, or are on their way, whenever the gateway is ended.
const UNDER_WAY: usize = 1_000;
/// Mails that each of the two clients hands in meanwhile.
const MORE: usize = 50;

/// Hands mails in until that fails; the numbers of those that were accepted.
fn hand_in(port: u16, numbers: std::ops::Range<usize>) -> Vec<usize> {
    let mut accepted = Vec::new();
    let _ = converse(port, numbers, &mut accepted);
    accepted
}

fn converse(port: u16, numbers: std::ops::Range<usize>, accepted: &mut Vec<usize>) -> std::io::Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    let mut say = |text: &str| -> std::io::Result<()> {
        writer.write_all(text.as_bytes())?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            match (line.as_bytes()[0], line.as_bytes().get(3)) {
                (b'4' | b'5', _) => return Err(std::io::Error::other(line)),
                (_, Some(b' ')) => return Ok(()),
                _ => {}
            }
        }
    };
    say("")?;
    say("EHLO desk\r\n")?;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("\0alice\0{}", office::PASSWORD));
    say(&format!("AUTH PLAIN {login}\r\n"))?;
    for number in numbers {
        say("MAIL FROM:<alice@example.com>\r\n")?;
        say(&format!("RCPT TO:<a{number}@customer.example>\r\n"))?;
        say(&format!("RCPT TO:<b{number}@customer.example>\r\n"))?;
        say("DATA\r\n")?;
        let body = format!("line of {number}\r\n").repeat(50 + number % 7 * 40);
        say(&format!("From: alice@example.com\r\nSubject: {number}\r\nMessage-ID: <{number}@office.lan>\r\n\r\n{body}.\r\n"))?;
        accepted.push(number);
    }
    Ok(())
}

/// How often each recipient's mail arrived.
fn arrived(server: &Smarthost) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for recipient in server.received().into_iter().flat_map(|mail| mail.recipients) {
        *counts.entry(recipient).or_default() += 1;
    }
    counts
}

struct Trial {
    office: Office,
    server: Smarthost,
    accepted: BTreeSet<usize>,
    marked: BTreeSet<String>,
    next: usize,
    cut: usize,
}

impl Trial {
    /// The customers are outside, behind a smarthost.
    fn relay(server: Smarthost) -> Self {
        let config = format!(
            "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n[[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = {}\n\
             tls = \"none\"\ninsecure = true\n",
            server.address.port()
        );
        Self::new(server, &config, "")
    }

    /// The customers are ours, and another mail system keeps their mail.
    fn hand_over(server: Smarthost) -> Self {
        let mapping = format!("[addresses]\n\"*@customer.example\" = \"lmtp:{}\"\n", server.address);
        Self::new(server, "[office]\ndomains = [\"example.com\", \"customer.example\"]\npostmaster = \"alice\"\n", &mapping)
    }

    fn new(server: Smarthost, config: &str, mapping: &str) -> Self {
        let office = Office::new(config, mapping);
        office.add_users(&["alice"]);
        Self { office, server, accepted: BTreeSet::new(), marked: BTreeSet::new(), next: 0, cut: 0 }
    }

    fn waiting(&self) -> usize {
        self.office.json(&["queue", "list", "--json"]).as_array().unwrap().len()
    }

    /// Two clients hand in mail at once, each so many.
    fn clients(&mut self, port: u16, each: usize) -> [std::thread::JoinHandle<Vec<usize>>; 2] {
        let first = self.next;
        self.next += 2 * each;
        [first, first + each].map(|from| std::thread::spawn(move || hand_in(port, from..from + each)))
    }

    /// While the server takes nothing, as many mails come as have left.
    fn fill(&mut self) {
        let missing = UNDER_WAY.saturating_sub(self.waiting());
        if missing > 0 {
            self.server.close(true);
            let gateway = self.office.run();
            for client in self.clients(gateway.port("submission"), missing.div_ceil(2)) {
                self.accepted.extend(client.join().unwrap());
            }
            drop(gateway);
            self.server.close(false);
        }
        assert!(self.waiting() >= UNDER_WAY);
        self.note_marks();
        self.office.must(&["queue", "retry", "all"]);
    }

    /// Sets the relay to work on all that waits while two clients hand in more, ends the gateway in the middle, and writes down what is
    /// marked as perhaps sent twice.
    fn round(&mut self, environment: Option<String>, after: Option<Duration>) {
        self.fill();
        #[cfg(not(feature = "failpoints"))]
        let (mut gateway, _) = (self.office.run(), environment);
        #[cfg(feature = "failpoints")]
        let mut gateway = match environment {
            Some(point) => match self.office.run_with("MAILROOM_FAILPOINT", &point) {
                Some(gateway) => gateway,
                // What was left in the queue is on its way before the start is over.
                None => {
                    self.cut += 1;
                    return self.note_marks();
                }
            },
            None => self.office.run(),
        };
        let clients = self.clients(gateway.port("submission"), MORE);
        if let Some(after) = after {
            std::thread::sleep(after);
            gateway.kill();
        }
        let before = self.accepted.len();
        for client in clients {
            self.accepted.extend(client.join().unwrap());
        }
        // Who was turned away by an end has heard of it before its parent.
        let soon = Instant::now() + Duration::from_secs(2);
        while self.accepted.len() - before < 2 * MORE && gateway.is_running() && Instant::now() < soon {
            std::thread::sleep(Duration::from_millis(5));
        }
        // A failpoint may lie behind all that the round does; then it is ended all the same.
        if gateway.is_running() {
            gateway.kill();
        } else {
            self.cut += 1;
        }
        self.note_marks();
    }

    /// What a crash left under way is marked at the next start; before that the mark says that the final dot was about to go.
    fn note_marks(&mut self) {
        for mail in self.office.json(&["queue", "list", "--json"]).as_array().unwrap() {
            if mail["possibly_sent_twice"] == true {
                let recipients = mail["recipients"].as_array().unwrap().iter();
                self.marked.extend(recipients.map(|recipient| recipient["address"].as_str().unwrap().to_owned()));
            }
        }
    }

    /// The last start, without a cut: everything leaves.
    fn finish(mut self, what: &str) {
        let gateway = self.office.run();
        until("the queue to be empty", || {
            self.office.must(&["queue", "retry", "all"]);
            self.office.json(&["queue", "list", "--json"]).as_array().unwrap().is_empty()
        });
        drop(gateway);
        self.note_marks();
        let arrived = arrived(&self.server);
        for number in &self.accepted {
            for name in ["a", "b"] {
                let address = format!("{name}{number}@customer.example");
                assert!(arrived.contains_key(&address), "{what}: {address} was accepted and is lost");
            }
        }
        let twice: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).map(|(address, _)| address).collect();
        for address in &twice {
            assert!(self.marked.contains(*address), "{what}: {address} arrived twice and was not marked");
        }
        eprintln!(
            "{what}: ended {} times; {} mails accepted, {} recipients served, {} of them twice, {} marked",
            self.cut,
            self.accepted.len(),
            arrived.len(),
            twice.len(),
            self.marked.len()
        );
        assert!(self.cut > 0, "{what}: nothing was cut");
    }
}

fn killed_by_chance(mut trial: Trial, what: &str) {
    for round in 1..=5_u64 {
        trial.round(None, Some(Duration::from_millis(150 * round * round.min(3))));
    }
    trial.finish(what);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_mail_comes_and_goes_nothing_is_lost_and_what_goes_twice_is_marked() {
    let server = Smarthost::start([]).await;
    let trial = tokio::task::spawn_blocking(move || killed_by_chance(Trial::relay(server), "killed by chance"));
    trial.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_another_mail_system_takes_mail_nothing_is_lost_and_what_it_gets_twice_is_marked() {
    let server = Smarthost::start([Fault::Lmtp]).await;
    let trial = tokio::task::spawn_blocking(move || killed_by_chance(Trial::hand_over(server), "killed by chance while handing over"));
    trial.await.unwrap();
}

/// Built with `--features failpoints`; `tests/run` does.
#[cfg(feature = "failpoints")]
fn ended_at_commit_points(mut trial: Trial, what: &str) {
    for point in ["job", "before_commit", "after_commit"] {
        for pass in [3, 10, 25, 50, 75] {
            trial.round(Some(format!("{point}:{pass}")), None);
        }
    }
    trial.finish(what);
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn recovery_at_commit_points_of_the_queue() {
    let server = Smarthost::start([]).await;
    let trial = tokio::task::spawn_blocking(move || ended_at_commit_points(Trial::relay(server), "ended at commit points"));
    trial.await.unwrap();
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn recovery_at_commit_points_of_the_queue_by_lmtp() {
    let server = Smarthost::start([Fault::Lmtp]).await;
    let trial = tokio::task::spawn_blocking(move || ended_at_commit_points(Trial::hand_over(server), "ended at commit points by LMTP"));
    trial.await.unwrap();
}
