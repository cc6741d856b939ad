//! Gathers one command from the wire: lines, and the literals between them, each within its limit.

use tokio::time::Instant;

use super::idle::Woken;
use super::outcome::Failure;
use super::{AUTOLOGOUT, LOG_IN, Session};
use crate::imap::command::append::{self, Literal};
use crate::imap::command::tag;
use crate::wire::{LineEnd, WireError};

/// A line: RFC 7162 §4 asks for 8,192 octets; sets of single UIDs make longer ones.
const MAX_LINE: usize = 64 * 1024;
/// Lines and literals of one command together, APPEND's messages not counted.
const MAX_COMMAND: usize = 256 * 1024;
/// Before log-in: RFC 2971 §3.3 allows an ID of 30 fields with 1,024 bytes each.
const MAX_EARLY_COMMAND: usize = 40 * 1024;
/// A refused literal that is on its way anyway is read and thrown away up to this size; a larger one ends the connection.
const MAX_DRAINED: u64 = 1024 * 1024;

const STOPPING: &str = "* BYE The server is stopping.\r\n";

/// What a client said.
pub enum Input {
    /// A whole command, literals in place.
    Command { tag: String, bytes: Vec<u8> },
    /// An APPEND or REPLACE up to the announcement of the first literal that is no name; or all of it, if CATENATE needs none.
    Append { tag: String, command: Vec<u8> },
    /// Something that can be answered but not performed.
    Refused { tag: String, failure: Failure },
    /// Goodbye has been said.
    End,
}

impl Session {
    /// The next command.
    pub(super) async fn read_command(&mut self) -> Result<Input, WireError> {
        let (max_line, max_command) = if self.account.is_some() { (MAX_LINE, MAX_COMMAND) } else { (MAX_EARLY_COMMAND, MAX_EARLY_COMMAND) };
        if self.wire.is_full() || !self.wire.buffered().contains(&b'\n') {
            self.flush().await?;
            self.wire.rest();
        }
        let mut command: Vec<u8> = Vec::new();
        loop {
            let line = if command.is_empty() && self.is_watching() {
                Box::pin(self.line_or_news(max_line)).await?
            } else {
                self.read_line(max_line).await?
            };
            let Some(line) = line else { return Ok(Input::End) };
            command.extend_from_slice(&line);
            let Some(literal) = append::announced(&line) else { break };
            let refused = |text: &str| Failure::no("TOOBIG", text);
            let tag = tag(&command).unwrap_or_else(|| "*".into());
            if self.account.is_some() && append::is_append(&command) {
                match append::start(&command, self.dialect()) {
                    // The literal holds the mailbox's name.
                    Ok(None) => {}
                    Ok(Some(_)) => return Ok(Input::Append { tag, command }),
                    Err(invalid) => return self.refuse_literal(tag, literal, invalid.into()).await,
                }
            }
            if literal.length > (max_command.saturating_sub(command.len())) as u64 {
                return self.refuse_literal(tag, literal, refused("This command is too long.")).await;
            }
            if literal.synchronizing {
                self.queue("+ Go on.\r\n");
                self.flush().await?;
            }
            command.extend_from_slice(b"\r\n");
            let mut left = usize::try_from(literal.length).unwrap_or(0);
            while left > 0 {
                let deadline = Instant::now() + self.patience();
                let piece = tokio::select! {
                    biased;
                    piece = self.wire.chunk(left, deadline) => piece,
                    () = self.stop.requested() => {
                        self.queue(STOPPING);
                        return Ok(Input::End);
                    }
                };
                let Some(piece) = self.or_goodbye(piece)? else { return Ok(Input::End) };
                left -= piece.len();
                command.extend_from_slice(&piece);
            }
        }
        match tag(&command) {
            Some(tag) if self.account.is_some() && append::is_append(&command) => Ok(Input::Append { tag, command }),
            Some(tag) => Ok(Input::Command { tag, bytes: command }),
            None => {
                let text = if command.is_empty() { "An empty line is no command." } else { "A command starts with a tag and a space." };
                Ok(Input::Refused { tag: "*".into(), failure: Failure::Bad(text.into()) })
            }
        }
    }

    /// The next line; `None` if the session ends instead, goodbye said.
    pub(super) async fn read_line(&mut self, max: usize) -> Result<Option<bytes::Bytes>, WireError> {
        let deadline = Instant::now() + self.patience();
        let line = tokio::select! {
            biased;
            line = self.wire.line(max, LineEnd::Tolerant, deadline) => line,
            () = self.stop.requested() => {
                self.queue(STOPPING);
                return Ok(None);
            }
        };
        self.or_goodbye(line)
    }

    /// The first line of a command of a client that is told of changes meanwhile (RFC 5465).
    async fn line_or_news(&mut self, max: usize) -> Result<Option<bytes::Bytes>, WireError> {
        let deadline = Instant::now() + self.patience();
        loop {
            match self.wake(max, deadline).await {
                Woken::Line(line) => return self.or_goodbye(line),
                Woken::Changed(change) => self.note(change),
                Woken::Remapped => self.note_mapping(),
                Woken::Stopping => {
                    self.queue(STOPPING);
                    return Ok(None);
                }
            }
            let may_expunge = !self.delays_removals();
            match self.sync(may_expunge, false).await {
                Err(Failure::Wire(error)) => return Err(error),
                Err(Failure::Bye(text)) => {
                    self.queue(&format!("* BYE {text}\r\n"));
                    return Ok(None);
                }
                Ok(()) | Err(_) => {}
            }
            self.tell_withheld();
            self.flush().await?;
            self.wire.rest();
        }
    }

    /// Some of a literal, at most `max` bytes; `None` if the session ends instead, goodbye said.
    pub(super) async fn read_piece(&mut self, max: usize) -> Result<Option<bytes::Bytes>, WireError> {
        let piece = self.wire.chunk(max, Instant::now() + self.patience()).await;
        self.or_goodbye(piece)
    }

    /// What came; or what is said to a client that sends nothing, or a line without end, and `None`.
    fn or_goodbye(&mut self, came: Result<bytes::Bytes, WireError>) -> Result<Option<bytes::Bytes>, WireError> {
        let goodbye = match came {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(WireError::LineTooLong(_)) => "* BAD The line is too long.\r\n* BYE Please start again.\r\n",
            Err(WireError::TimedOut) => "* BYE You said nothing for too long.\r\n",
            Err(error) => return Err(error),
        };
        self.queue(goodbye);
        Ok(None)
    }

    fn patience(&self) -> std::time::Duration {
        if self.account.is_some() { AUTOLOGOUT } else { LOG_IN }
    }

    /// Answers a command whose literal is not wanted: one that waits for `+` is never sent; another is read and thrown away.
    async fn refuse_literal(&mut self, tag: String, literal: Literal, failure: Failure) -> Result<Input, WireError> {
        if literal.synchronizing {
            return Ok(Input::Refused { tag, failure });
        }
        let failure = match literal.length <= MAX_DRAINED {
            true => self.drain(literal.length).await.map_or_else(|ended| ended, |()| failure),
            false => too_long(),
        };
        Ok(Input::Refused { tag, failure })
    }

    /// Reads a literal and the rest of its command without keeping them. A failure ends the session: the rest can't be told from the next
    /// command.
    pub(super) async fn drain(&mut self, length: u64) -> Result<(), Failure> {
        let mut left = length;
        loop {
            while left > 0 {
                let piece = self.read_piece(usize::try_from(left).unwrap_or(usize::MAX)).await?.ok_or(Failure::Ended)?;
                left -= piece.len() as u64;
            }
            let line = self.read_line(MAX_LINE).await?.ok_or(Failure::Ended)?;
            match append::announced(&line) {
                Some(next) if next.synchronizing => return Ok(()),
                Some(next) if next.length <= MAX_DRAINED => left = next.length,
                Some(_) => return Err(too_long()),
                None => return Ok(()),
            }
        }
    }
}

fn too_long() -> Failure {
    Failure::Bye("[TOOBIG] This command is too long.".into())
}
