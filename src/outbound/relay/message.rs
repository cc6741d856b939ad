//! A leased mail made ready: its text, where it is small enough to be held, and what the text asks of a server.

use super::{Job, Shared};
use crate::message::layout::Layout;
use crate::message::wish::{Wish, Wishes};
use crate::outbound::judge::milliseconds;
use crate::outbound::recode::recode;
use crate::smtp::client::{Capabilities, Envelope};
use crate::smtp::reply::Reply;
use crate::store::queue::Lease;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Texts up to this size are held while their mail waits for its turn; larger ones are read when they are sent.
const HELD: u64 = 256 * 1024;
/// Texts up to this size are encoded anew where the server needs it: each connection holds one of them, twice, while it does so. What makes
/// a mail larger is attachments, which the program that wrote it has encoded.
const RECODED: u64 = 8_000_000;
/// Bytes read from the store at a time.
const PIECE: usize = 256 * 1024;
/// RFC 5321 §4.5.3.1.6, without CRLF.
const MAX_TEXT_LINE: usize = 998;

/// A mail that can be sent.
pub(super) struct Prepared {
    pub(super) job: Job,
    pub(super) envelope: Envelope,
    pub(super) text: Text,
    /// A line is longer than RFC 5321 allows.
    pub(super) long_lines: bool,
}

impl Prepared {
    /// Why this server can't take this mail at all.
    pub(super) fn misfit(&self, can: &Capabilities) -> Option<Reply> {
        if let Some(limit) = can.limit().filter(|limit| self.envelope.size > *limit) {
            let text = format!("The message has {} bytes, and the smarthost takes no more than {limit}", self.envelope.size);
            return Some(Reply::new(552, "5.3.4", text));
        }
        if self.envelope.smtputf8 && !can.smtputf8 {
            return Some(Reply::new(553, "5.6.7", "An address has letters outside ASCII, and the smarthost does not take such addresses"));
        }
        None
    }

    /// Makes the message fit for a server without 8BITMIME, or without patience for long lines. One of more than [`RECODED`] bytes, or
    /// one that is signed, goes as it is.
    pub(super) async fn recode(&mut self, store: &Store, takes_eight_bit: bool) -> Result<(), StoreError> {
        let needed = self.long_lines || self.envelope.eight_bit && !takes_eight_bit;
        let lease = &self.job.lease;
        if !needed || lease.size > RECODED {
            return Ok(());
        }
        let facts = store.facts(lease.content).await?;
        let Some(layout) = Layout::decode(&facts.parts) else { return Ok(()) };
        let mut all = Vec::new();
        match &self.text.held {
            Some(held) => held.iter().for_each(|piece| all.extend_from_slice(piece)),
            None => {
                let mut text = Text::of(lease);
                while let Some(piece) = text.next(store, lease).await? {
                    all.extend_from_slice(&piece);
                }
            }
        }
        let header = lease.header.as_ref().map_or(usize::try_from(lease.header_size).unwrap_or(usize::MAX), Bytes::len);
        let Some((header, body)) = all.split_at_checked(header) else { return Ok(()) };
        if let Some(new) = recode(header, body, lease.header_size, &layout) {
            self.envelope.size = new.len() as u64;
            self.envelope.eight_bit = !new.is_ascii();
            let new = Bytes::from(new);
            self.text.held = Some((0..new.len()).step_by(PIECE).map(|at| new.slice(at..new.len().min(at + PIECE))).collect());
        }
        Ok(())
    }
}

/// Header and body, in pieces.
pub(super) struct Text {
    held: Option<VecDeque<Bytes>>,
    replaced: Option<Bytes>,
    at: u64,
}

impl Text {
    /// The whole text from its start: the queue's own header in place of the original's, if there is one.
    fn of(lease: &Lease) -> Self {
        let at = if lease.header.is_some() { lease.header_size } else { 0 };
        Self { held: None, replaced: lease.header.clone(), at }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self, store: &Store, lease: &Lease) -> Result<Option<Bytes>, StoreError> {
        if let Some(held) = &mut self.held {
            return Ok(held.pop_front());
        }
        if let Some(header) = self.replaced.take() {
            return Ok(Some(header));
        }
        if self.at >= lease.size {
            return Ok(None);
        }
        let piece = store.content(lease.content, self.at, PIECE).await?;
        if piece.is_empty() {
            return Err(StoreError::Database("a stored message ends too early".into()));
        }
        self.at += piece.len() as u64;
        Ok(Some(piece))
    }
}

/// A mail that is being made ready while others are sent.
pub(super) struct Preparing {
    task: JoinHandle<Result<Option<Prepared>, (Job, StoreError)>>,
    /// Of the mail, should the task come to nothing.
    spare: Job,
}

impl Preparing {
    pub(super) fn start(shared: &Arc<Shared>, job: Job) -> Self {
        Self { spare: job.clone(), task: tokio::spawn(prepare(shared.clone(), job)) }
    }

    /// `None`: somebody held or deleted it, and it is none of ours any more. `Err`: it has to wait, and why.
    pub(super) async fn ready(self) -> Result<Option<Prepared>, (Job, String)> {
        match self.task.await {
            Ok(Ok(prepared)) => Ok(prepared),
            Ok(Err((job, error))) => Err((job, error.to_string())),
            // A panic must not keep the mail until the process ends.
            Err(error) => {
                tracing::error!(mail = self.spare.id().0, %error, "a mail could not be made ready: a fault of the program");
                Err((self.spare, "it could not be made ready to be sent: a fault of the program, which the log describes".to_owned()))
            }
        }
    }
}

/// Reads and looks through the text, and marks the mail as one that may have been sent.
async fn prepare(shared: Arc<Shared>, job: Job) -> Result<Option<Prepared>, (Job, StoreError)> {
    match read(&shared.store, &job.lease).await {
        Ok((text, scan, size)) => {
            let lease = &job.lease;
            let recipients: Vec<_> = lease.recipients.iter().map(|recipient| recipient.address.clone()).collect();
            let smtputf8 = recipients.iter().chain(&lease.sender).any(|address| address.needs_smtputf8());
            let wishes = wishes(lease);
            let envelope = Envelope { sender: lease.sender.clone(), recipients, size, eight_bit: scan.eight_bit, smtputf8, wishes };
            // Long before the final dot, but then one commit serves all mails that are made ready together.
            match shared.store.queue_data_sent(job.id(), departure(&shared, &job)).await {
                Ok(true) => Ok(Some(Prepared { job, envelope, text, long_lines: scan.long_lines })),
                Ok(false) => {
                    shared.settled(job.lease.bulk);
                    Ok(None)
                }
                Err(error) => Err((job, error)),
            }
        }
        Err(error) => Err((job, error)),
    }
}

/// What the next server is told about them, if it understands.
fn wishes(lease: &Lease) -> Wishes {
    let said = lease.recipients.iter().filter(|recipient| recipient.wish != Wish::default());
    let each = said.map(|recipient| (recipient.address.clone(), recipient.wish.clone())).collect();
    Wishes { ret: lease.ret, envid: lease.envid.clone(), each }
}

/// What is remembered for the rate of its smarthost.
fn departure(shared: &Shared, job: &Job) -> Option<(String, i64, i64)> {
    let smarthost = &job.candidates.front()?.smarthost;
    let (_, period) = smarthost.rate?;
    Some((smarthost.name.clone(), shared.now(), milliseconds(period)))
}

async fn read(store: &Store, lease: &Lease) -> Result<(Text, Scan, u64), StoreError> {
    let (mut text, mut scan, mut size) = (Text::of(lease), Scan::default(), 0);
    let small = lease.size <= HELD && lease.header.as_ref().is_none_or(|header| header.len() as u64 <= HELD);
    let mut held = VecDeque::new();
    while let Some(piece) = text.next(store, lease).await? {
        scan.feed(&piece);
        size += piece.len() as u64;
        if small {
            held.push_back(piece);
        }
    }
    let text = if small { Text { held: Some(held), ..text } } else { Text::of(lease) };
    let size = size + scan.line_ends;
    Ok((text, scan, size))
}

/// What the bytes ask of a server.
#[derive(Debug, Default)]
struct Scan {
    eight_bit: bool,
    long_lines: bool,
    line: usize,
    /// Bytes that bare line feeds will gain.
    line_ends: u64,
    last: u8,
}

impl Scan {
    fn feed(&mut self, piece: &[u8]) {
        self.eight_bit |= !piece.is_ascii();
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', piece) {
            let before = if at == 0 { self.last } else { piece[at - 1] };
            let carriage_return = usize::from(before == b'\r');
            self.line_ends += u64::from(before != b'\r');
            self.long_lines |= (self.line + at - from).saturating_sub(carriage_return) > MAX_TEXT_LINE;
            self.line = 0;
            from = at + 1;
        }
        self.line += piece.len() - from;
        self.long_lines |= self.line > MAX_TEXT_LINE + 1;
        self.last = piece.last().copied().unwrap_or(self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], eight_bit: bool, long_lines: bool, line_ends: u64) {
        for step in [1, 7, text.len()] {
            let mut scan = Scan::default();
            text.chunks(step).for_each(|piece| scan.feed(piece));
            assert_eq!((scan.eight_bit, scan.long_lines, scan.line_ends), (eight_bit, long_lines, line_ends));
        }
    }

    #[test]
    fn what_a_text_needs() {
        check(b"a\r\nb\r\n", false, false, 0);
        check("ä\nb\n".as_bytes(), true, false, 2);
        let line = |n: usize| [vec![b'x'; n], b"\r\nshort\r\n".to_vec()].concat();
        check(&line(998), false, false, 0);
        check(&line(999), false, true, 0);
        check(&vec![b'x'; 5000], false, true, 0);
    }

    #[tokio::test]
    async fn a_mail_whose_preparation_panics_goes_back_to_the_queue() {
        let address = crate::address::Address::parse("a@customer.example").unwrap();
        let lease = Lease {
            id: crate::store::queue::MailId(7),
            owner: "alice".into(),
            sender: None,
            content: crate::store::ContentId(1),
            size: 0,
            header_size: 0,
            header: None,
            message_id: None,
            recipients: vec![crate::store::queue::Due { address, attempts: 0, wish: Wish::default() }],
            queued_at: 0,
            smarthost: None,
            bulk: false,
            lmtp: None,
            from_outside: false,
            data_sent: false,
            notified: false,
            ret: None,
            envid: None,
        };
        let spare = Job { lease, candidates: VecDeque::new(), second_try: false, server_reports: false };
        let preparing = Preparing { spare, task: tokio::spawn(async { panic!("on purpose") }) };
        let (job, why) = preparing.ready().await.err().unwrap();
        assert!(job.id().0 == 7 && why.contains("a fault of the program"), "{why}");
    }
}
