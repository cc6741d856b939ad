//! A real Dovecot behind a line that fails: at every command, at every answer, in both directions; the next fetch leaves every message
//! exactly once, byte for byte, and nothing at the provider.

use std::time::Duration;

use super::Office;
use crate::interop::isp::{Dovecot, PASSWORD};
use crate::support::proxy::{Fault, Proxy, Speech, Way};

/// Messages of one session.
const SESSION: usize = 30;

/// A provider, the line to it, and the office at the other end.
struct Line {
    dovecot: Dovecot,
    proxy: Proxy,
    office: Office,
    /// Counts up, so that no message ever comes twice.
    serial: usize,
    /// The last journal entry that was looked at.
    journaled: i64,
}

impl Line {
    async fn new(speech: Speech) -> Self {
        let dovecot = Dovecot::start();
        let (protocol, server) = match speech {
            Speech::Pop3 => ("pop3", dovecot.pop3),
            Speech::Imap => ("imap", dovecot.imap),
        };
        let proxy = Proxy::start(server, speech).await;
        let more = format!("deliver = \"alice\"\npassword = {{ command = [\"echo\", \"{PASSWORD}\"] }}");
        let mut office = Office::new(protocol, proxy.port, &more).await;
        office.moment = Duration::from_secs(10);
        Self { dovecot, proxy, office, serial: 0, journaled: 0 }
    }

    /// Puts a session's worth of mail into the mailbox.
    fn post(&mut self) -> Vec<Vec<u8>> {
        let mail = |number: usize| {
            let body = ".a dot\r\n..two\r\n\u{fc}ml\u{e4}ut and \r a bare one\r\n".repeat(1 + number % 5);
            format!("From: <x@far.example>\r\nTo: alice@example.com\r\nMessage-ID: <{number}@far.example>\r\n\r\n{body}").into_bytes()
        };
        let messages: Vec<Vec<u8>> = (self.serial..self.serial + SESSION).map(mail).collect();
        self.serial += SESSION;
        self.dovecot.deliver("office", messages.iter().map(Vec::as_slice));
        messages
    }

    /// A session that suffers from `fault`, and a clean one; `messages` have to be here once, and nowhere else.
    async fn survives(&mut self, way: Way, fault: Fault) {
        let mut messages = self.post();
        let before = self.office.has("alice").await;
        self.proxy.spoil(way, fault);
        self.office.fetch().await;
        self.proxy.quiet().await;
        let outcome = self.office.fetch().await;
        assert_eq!(outcome.figures.error, None, "{way:?} {fault:?}");
        self.proxy.quiet().await;
        assert_eq!(self.dovecot.count("office"), 0, "{way:?} {fault:?}: left at the provider");
        assert_eq!(self.office.has("alice").await - before, SESSION as u64, "{way:?} {fault:?}");
        let mut originals = self.fetched().await;
        originals.sort();
        // What had to be fetched again is journaled again; nobody got it twice.
        originals.dedup();
        messages.sort();
        assert!(originals == messages, "{way:?} {fault:?}: not the same bytes");
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
        self.office.fetch_well().await;
        self.proxy.quiet().await;
        self.fetched().await;
        self.proxy.seen()
    }
}

async fn cut_everywhere(speech: Speech) {
    let mut line = Line::new(speech).await;
    let [commands, answers] = line.well().await;
    assert!(commands > 8 && answers > SESSION, "{commands} commands, {answers} answers");
    for at in 0..=commands {
        line.survives(Way::ToServer, Fault::CutAfter(at)).await;
    }
    for at in 0..=answers {
        line.survives(Way::ToClient, Fault::CutAfter(at)).await;
    }
    eprintln!("{speech:?}: cut behind each of {commands} commands and {answers} answers");
}

#[tokio::test]
async fn trap_01_a_pop3_session_cut_at_every_command_loses_and_repeats_nothing() {
    cut_everywhere(Speech::Pop3).await;
}

#[tokio::test]
async fn trap_01_an_imap_session_cut_at_every_command_loses_and_repeats_nothing() {
    cut_everywhere(Speech::Imap).await;
}

/// Everything else that can happen to a line, at some of its commands and answers.
async fn spoilt_here_and_there(speech: Speech) {
    let mut line = Line::new(speech).await;
    let seen = line.well().await;
    for (way, count, step) in [(Way::ToServer, seen[0], 5), (Way::ToClient, seen[1], 7)] {
        for at in (1..=count).step_by(step).chain([count]) {
            if way == Way::ToServer {
                // The first anomaly ends pipelining for a week; here it has to be tried with and without.
                line.office.store.setting_set("pipelining/127.0.0.1", None).await.unwrap();
            }
            line.survives(way, Fault::Repeat(at)).await;
            line.survives(way, Fault::Garble(at)).await;
        }
    }
    for byte in (0..6000).step_by(499) {
        line.survives(Way::ToClient, Fault::CutAtByte(byte)).await;
        line.survives(Way::ToServer, Fault::CutAtByte(byte / 12)).await;
    }
    line.office.moment = Duration::from_millis(700);
    for (way, count) in [(Way::ToServer, seen[0]), (Way::ToClient, seen[1])] {
        for at in (0..=count).step_by(count.div_ceil(5)) {
            line.survives(way, Fault::StallAfter(at)).await;
        }
    }
}

#[tokio::test]
async fn a_pop3_line_that_repeats_garbles_and_stalls_loses_and_repeats_nothing() {
    spoilt_here_and_there(Speech::Pop3).await;
}

#[tokio::test]
async fn an_imap_line_that_repeats_garbles_and_stalls_loses_and_repeats_nothing() {
    spoilt_here_and_there(Speech::Imap).await;
}
