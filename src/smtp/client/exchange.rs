//! Mails on a connection, several under way at once where the server allows it (RFC 2920, RFC 3030).
//!
//! Answers come in the order of the commands, so what is under way is a queue of [`Flight`]s, each with the answers that it still
//! waits for. With DATA, the next envelope goes out together with the end of the message before it: one round trip a mail. With BDAT
//! no answer is waited for at all until [`Client::is_full`]. LMTP always goes by DATA: it is spoken on a LAN.

use super::{Client, ClientError, Patience, Phase};
use crate::address::Address;
use crate::message::wish::Wishes;
use crate::smtp::canonical::Canonical;
use crate::smtp::reply::{Class, Reply};
use crate::smtp::xtext;
use crate::wire::dot::Stuffer;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Mails that may be open on one connection when BDAT makes waiting needless. At 50 ms a round trip this is 640 mails a second.
pub const WINDOW: usize = 32;
/// A message up to this size is sent by BDAT before the server has said who of its recipients it takes: a refusal wastes no more.
pub const SPECULATIVE: u64 = 64 * 1024;
/// Commands of one mail sent before their answers are read.
const GROUP: usize = 100;
/// Answers that may be outstanding when another mail is begun. They must fit into socket buffers, or both sides wait for ever: with
/// the group of the new mail 180 KB, if each were as long as RFC 5321 §4.5.3.1.5 allows.
const ANSWERS: usize = 256;

/// What one mail needs of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `None` is `<>`.
    pub sender: Option<Address>,
    /// At least one.
    pub recipients: Vec<Address>,
    /// Bytes of the message as it will be sent, about.
    pub size: u64,
    /// It holds bytes above 127.
    pub eight_bit: bool,
    /// An address or header field needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// What the sender wants to hear, for a server that offers DSN.
    pub wishes: Wishes,
}

/// Where in a mail's exchange an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To `MAIL FROM`: about the sender, the session or the size.
    Sender,
    /// To `RCPT TO`.
    Recipient,
    /// To `DATA`.
    Data,
    /// To the message itself.
    Message,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server's word: [`Class::Done`] at [`Stage::Message`] means that it has the mail.
    Answer(Stage, Reply),
    /// The connection ended before its word came; `sent`: after the whole message had gone (RFC 1047).
    Unanswered {
        /// Whether the server may have it.
        sent: bool,
    },
}

/// A mail under way.
#[derive(Debug)]
pub(super) struct Flight {
    unsent: VecDeque<(Want, Vec<u8>)>,
    wanted: VecDeque<Want>,
    sender: Option<Reply>,
    answers: Vec<Option<Reply>>,
    data: Option<Reply>,
    /// To the message, for each recipient; SMTP has one answer for all of them.
    messages: Vec<Option<Reply>>,
    /// Its body goes by BDAT.
    chunked: bool,
    /// The final dot or last chunk is queued.
    ended: bool,
    /// Nothing more will be sent of it.
    over: bool,
}

/// An answer that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    End,
    /// The answer for one recipient (RFC 2033 §4.2).
    EndOf(usize),
}

impl Want {
    fn patience(self, patience: &Patience) -> Duration {
        match self {
            Want::Reset | Want::Mail | Want::Rcpt(_) => patience.command,
            Want::Data => patience.data,
            Want::Chunk => patience.piece,
            Want::End | Want::EndOf(_) => patience.end,
        }
    }
}

impl Flight {
    fn accepted(&self) -> usize {
        self.answers.iter().flatten().filter(|reply| reply.class() == Class::Done).count()
    }

    fn sender_refused(&self) -> bool {
        self.sender.as_ref().is_some_and(|reply| reply.class() != Class::Done)
    }

    /// One for each recipient, in order.
    fn verdicts(&self) -> Vec<Verdict> {
        let of = |(answer, message): (&Option<Reply>, &Option<Reply>)| match (&self.sender, answer, &self.data, message) {
            (Some(sender), ..) if sender.class() != Class::Done => Verdict::Answer(Stage::Sender, sender.clone()),
            (_, Some(answer), ..) if answer.class() != Class::Done => Verdict::Answer(Stage::Recipient, answer.clone()),
            (_, Some(_), Some(data), _) if data.class() != Class::More => Verdict::Answer(Stage::Data, data.clone()),
            (_, Some(_), _, Some(message)) => Verdict::Answer(Stage::Message, message.clone()),
            _ => Verdict::Unanswered { sent: self.ended && (self.accepted() > 0 || self.chunked) },
        };
        self.answers.iter().zip(&self.messages).map(of).collect()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Starts a mail: its envelope is queued as far as the server lets commands go ahead of answers.
    pub fn begin(&mut self, envelope: &Envelope) {
        let chunked = self.chunking();
        let mut unsent = VecDeque::new();
        // After a message that was refused as a whole the transaction may still be open; by BDAT we can't know yet.
        let unsure = chunked && !self.flights.is_empty();
        if std::mem::take(&mut self.reset) || unsure {
            unsent.push_back((Want::Reset, b"RSET\r\n".to_vec()));
        }
        unsent.push_back((Want::Mail, self.mail_command(envelope)));
        let most = self.capabilities.recipients.unwrap_or(usize::MAX);
        for (at, recipient) in envelope.recipients.iter().enumerate().take(most) {
            unsent.push_back((Want::Rcpt(at), self.rcpt_command(recipient, &envelope.wishes)));
        }
        // What it would say to the others (RFC 9422 §4.2) needs no asking.
        let unasked = |at: usize| (at >= most).then(|| Reply::new(452, "4.5.3", format!("the server takes {most} recipients in a mail")));
        if !chunked {
            unsent.push_back((Want::Data, b"DATA\r\n".to_vec()));
        }
        self.flights.push_back(Flight {
            unsent,
            wanted: VecDeque::new(),
            sender: None,
            answers: (0..envelope.recipients.len()).map(unasked).collect(),
            data: None,
            messages: vec![None; envelope.recipients.len()],
            chunked,
            ended: false,
            over: false,
        });
        self.stuffer = Stuffer::default();
        self.canonical = Canonical::default();
        if self.pipelining() && envelope.recipients.len() < GROUP {
            self.queue_group();
        }
    }

    /// Whether the body may follow at once, or [`Client::ready`] has to be asked first.
    pub fn may_speculate(&self, envelope: &Envelope) -> bool {
        self.chunking() && envelope.size <= SPECULATIVE && envelope.recipients.len() < GROUP
    }

    /// Waits for the answers to the envelope of the mail begun last (and to all before it). Whether anybody gets the message: if not,
    /// don't send it.
    pub async fn ready(&mut self) -> Result<bool, ClientError> {
        loop {
            while self.flights.iter().any(|flight| !flight.wanted.is_empty()) {
                self.answer().await?;
            }
            let Some(flight) = self.flights.back_mut() else { return Ok(false) };
            let pointless =
                flight.sender_refused() || flight.unsent.front().is_some_and(|(want, _)| *want == Want::Data) && flight.accepted() == 0;
            if pointless {
                flight.unsent.clear();
            }
            if flight.unsent.is_empty() {
                let (accepted, promised) = (flight.accepted(), flight.data.as_ref().is_some_and(|reply| reply.class() == Class::More));
                let go = accepted > 0 && (flight.chunked || promised);
                if !go {
                    flight.over = true;
                    self.reset = true;
                    if promised && self.lmtp {
                        // RFC 2033 §4.2 forbids that promise, and nobody knows how many answers would follow.
                        return Err(ClientError::Wire(Phase::Command, crate::wire::WireError::Closed));
                    }
                    if promised {
                        // Everybody was refused, and yet the server waits for a message: it gets an empty one (RFC 2920 §3.1).
                        self.connection.queue(b".\r\n");
                        self.want(Want::End);
                        while self.flights.iter().any(|flight| !flight.wanted.is_empty()) {
                            self.answer().await?;
                        }
                    }
                }
                return Ok(go);
            }
            if self.pipelining() {
                self.queue_group();
            } else {
                self.queue_one();
            }
        }
    }

    /// Sends a piece of the message, with whatever line ends. Only after [`Client::ready`] said yes, or where it may be speculated.
    pub async fn body(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        let mut lines = Vec::with_capacity(piece.len() + piece.len() / 16);
        self.canonical.feed(piece, &mut lines);
        self.body_lines(&lines, false).await
    }

    /// Ends the message. What is queued goes out with the next envelope, or when its answer is waited for.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        let mut lines = Vec::new();
        self.canonical.finish(&mut lines);
        self.body_lines(&lines, true).await?;
        if let Some(flight) = self.flights.back_mut() {
            (flight.ended, flight.over) = (true, true);
        }
        Ok(())
    }

    /// Sends what is queued without waiting for an answer.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let deadline = tokio::time::Instant::now() + self.patience.piece;
        self.connection.flush(deadline).await.map_err(|source| ClientError::Wire(Phase::Transfer, source))
    }

    /// The verdicts on the oldest mail under way, once all its answers are here; waits for them.
    pub async fn verdict(&mut self) -> Result<Vec<Verdict>, ClientError> {
        while self.flights.front().is_some_and(|flight| !flight.wanted.is_empty()) {
            self.answer().await?;
        }
        Ok(self.flights.pop_front().map(|flight| flight.verdicts()).unwrap_or_default())
    }

    /// The verdicts on the oldest mail under way, if all its answers are here.
    pub fn verdict_at_hand(&mut self) -> Option<Vec<Verdict>> {
        let flight = self.flights.front()?;
        if !flight.wanted.is_empty() || !flight.over {
            return None;
        }
        self.flights.pop_front().map(|flight| flight.verdicts())
    }

    /// After an error: the verdicts on all mails under way, oldest first.
    pub fn abandon(&mut self) -> Vec<Vec<Verdict>> {
        self.flights.drain(..).map(|flight| flight.verdicts()).collect()
    }

    /// Whether an answer has to be waited for before the next mail is begun.
    pub fn is_full(&self) -> bool {
        let outstanding: usize = self.flights.iter().map(|flight| flight.wanted.len()).sum();
        let most = if self.pipelining() { WINDOW } else { 1 };
        self.flights.len() >= most || outstanding >= ANSWERS
    }

    /// How many mails are under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    fn mail_command(&self, envelope: &Envelope) -> Vec<u8> {
        let mut line = match &envelope.sender {
            Some(sender) => format!("MAIL FROM:<{sender}>"),
            None => "MAIL FROM:<>".to_owned(),
        };
        let can = &self.capabilities;
        if can.size.is_some() {
            let _ = write!(line, " SIZE={}", envelope.size);
        }
        if can.eight_bit && envelope.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if can.smtputf8 && envelope.smtputf8 {
            line.push_str(" SMTPUTF8");
        }
        if let Some(ret) = envelope.wishes.ret.filter(|_| can.dsn) {
            let _ = write!(line, " RET={}", ret.as_str());
        }
        if let Some(envid) = envelope.wishes.envid.as_ref().filter(|_| can.dsn) {
            let _ = write!(line, " ENVID={}", xtext::encode(envid));
        }
        line.push_str("\r\n");
        line.into_bytes()
    }

    fn rcpt_command(&self, recipient: &Address, wishes: &Wishes) -> Vec<u8> {
        let mut line = format!("RCPT TO:<{recipient}>");
        if self.capabilities.dsn {
            let wish = wishes.of(recipient);
            if let Some(notify) = wish.notify {
                let _ = write!(line, " NOTIFY={notify}");
            }
            if let Some((kind, address)) = wish.original.as_ref().and_then(|original| original.split_once(';')) {
                let _ = write!(line, " ORCPT={kind};{}", xtext::encode(address));
            }
        }
        line.push_str("\r\n");
        line.into_bytes()
    }

    /// Queues a group of commands of the newest flight.
    fn queue_group(&mut self) {
        for _ in 0..GROUP {
            // DATA is the last of them, as RFC 2920 §3.1 wants it.
            if !self.queue_one() {
                break;
            }
        }
    }

    fn queue_one(&mut self) -> bool {
        let Some(flight) = self.flights.back_mut() else { return false };
        let Some((want, line)) = flight.unsent.pop_front() else { return false };
        flight.wanted.push_back(want);
        self.connection.queue(&line);
        true
    }

    fn want(&mut self, want: Want) {
        if let Some(flight) = self.flights.back_mut() {
            flight.wanted.push_back(want);
        }
    }

    /// One, or in LMTP one for each recipient that was accepted (RFC 2033 §4.2).
    fn want_answers_to_the_message(&mut self) {
        let Some(flight) = self.flights.back_mut() else { return };
        if !self.lmtp {
            flight.wanted.push_back(Want::End);
            return;
        }
        let accepted = |(at, answer): (usize, &Option<Reply>)| {
            answer.as_ref().is_some_and(|reply| reply.class() == Class::Done).then_some(Want::EndOf(at))
        };
        flight.wanted.extend(flight.answers.iter().enumerate().filter_map(accepted));
    }

    async fn body_lines(&mut self, lines: &[u8], last: bool) -> Result<(), ClientError> {
        if self.flights.back().is_some_and(|flight| flight.chunked) {
            if lines.is_empty() && !last {
                return Ok(());
            }
            // Small pieces are held together, so that a short message is one chunk.
            self.chunk.extend_from_slice(lines);
            if last || self.chunk.len() as u64 > SPECULATIVE {
                let chunk = std::mem::take(&mut self.chunk);
                self.connection.queue(format!("BDAT {}{}\r\n", chunk.len(), if last { " LAST" } else { "" }).as_bytes());
                self.connection.queue(&chunk);
                self.want(if last { Want::End } else { Want::Chunk });
            }
        } else {
            let Self { stuffer, connection, .. } = self;
            stuffer.feed(lines, |bytes| connection.queue(bytes));
            if last {
                let end = std::mem::take(&mut self.stuffer).finish();
                self.connection.queue(end);
                self.want_answers_to_the_message();
            }
        }
        if self.connection.is_full() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Reads the next answer and gives it to whom it belongs.
    async fn answer(&mut self) -> Result<(), ClientError> {
        self.flush().await?;
        let Some(index) = self.flights.iter().position(|flight| !flight.wanted.is_empty()) else { return Ok(()) };
        let Some(want) = self.flights[index].wanted.front().copied() else { return Ok(()) };
        if self.closing {
            return Err(ClientError::Wire(Phase::Command, crate::wire::WireError::Closed));
        }
        let phase = if matches!(want, Want::End | Want::EndOf(_)) { Phase::Transfer } else { Phase::Command };
        let reply = self.reply(phase, want.patience(&self.patience)).await?;
        // 421 is about the connection (RFC 5321 §3.8): nothing more will be answered on it.
        self.closing = reply.code == 421;
        let flight = &mut self.flights[index];
        flight.wanted.pop_front();
        // RFC 3030 §2: behind a chunk that was refused nothing counts before a RSET.
        self.reset |= flight.chunked && matches!(want, Want::Chunk | Want::End) && reply.class() != Class::Done;
        match want {
            Want::Reset => {}
            Want::Mail => flight.sender = Some(reply),
            Want::Rcpt(at) => flight.answers[at] = Some(reply),
            Want::Data => flight.data = Some(reply),
            // A chunk that was taken says nothing yet; one that was not decides.
            Want::Chunk if reply.class() == Class::Done => {}
            Want::Chunk | Want::End => {
                flight.messages.iter_mut().for_each(|message| _ = message.get_or_insert_with(|| reply.clone()));
            }
            Want::EndOf(at) => flight.messages[at] = Some(reply),
        }
        Ok(())
    }
}
