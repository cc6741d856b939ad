//! APPEND (RFC 9051 §6.3.12, RFC 3502, RFC 4315, RFC 7889) and REPLACE (RFC 8508): messages stream into the store; all of one command become
//! visible together.

use tokio::time::Instant;

use super::fetch::uids;
use super::outcome::{Done, Failure, Performed};
use super::search::now;
use super::{AUTOLOGOUT, Session};
use crate::imap::command::append::{self, Attributes, Literal, Replaced, Start};
use crate::imap::response;
use crate::inbound::facts::content_facts;
use crate::message::facts::Scanner;
use crate::store::messages::changing::Append;
use crate::store::{Folder, FolderId, NewContent, Spool};
use crate::wire::WireError;

/// Larger messages go into the store in pieces while they arrive.
const MAX_INLINE: usize = 1024 * 1024;
/// What the messages of one command may hold in memory together; the rest goes into the store in pieces.
const MAX_INLINE_TOTAL: usize = 4 * 1024 * 1024;
/// Messages of one command.
const MAX_MESSAGES: usize = 1000;
/// What may stand between two messages: flags and a date.
const MAX_LINE: usize = 8 * 1024;

impl Session {
    /// `command` ends with the announcement of the first message.
    pub(super) async fn append(&mut self, command: &[u8], literal: Literal) -> Performed {
        let performed = self.append_all(command, literal).await;
        if matches!(performed, Ok(_) | Err(Failure::No { .. } | Failure::Bad(_))) {
            self.sync_behind(true, false).await?;
        }
        performed
    }

    async fn append_all(&mut self, command: &[u8], first: Literal) -> Performed {
        let dialect = self.dialect();
        let Some(Start { mailbox, replaces, mut attributes }) = append::start(command, dialect)? else {
            return Err(Failure::Bad("The message of APPEND is missing.".into()));
        };
        let replaced = match replaces.map(|replaced| self.replaced(&replaced)).transpose() {
            Ok(replaced) => replaced,
            Err(failure) => return self.refuse(first, failure).await,
        };
        let target = match self.find(&mailbox).await {
            Ok(Some(folder)) => folder,
            Ok(None) => return self.refuse(first, Failure::nonexistent("TRYCREATE")).await,
            Err(failure) => return self.refuse(first, failure).await,
        };
        let mut literal = first;
        let mut messages: Vec<Append> = Vec::new();
        let mut inline = 0;
        loop {
            if literal.length > self.max_message_size() {
                let limit = self.max_message_size() / 1_000_000;
                return self.refuse(literal, Failure::no("TOOBIG", format!("Messages may have up to {limit} MB here."))).await;
            }
            if literal.length == 0 {
                return self.refuse(literal, Failure::No { code: None, text: "An empty message can't be stored.".into() }).await;
            }
            if messages.len() == MAX_MESSAGES {
                return self.refuse(literal, Failure::no("LIMIT", "These are too many messages for one command.")).await;
            }
            if literal.synchronizing {
                self.queue("+ Go on.\r\n");
                self.flush().await?;
            }
            let content = match self.receive(literal.length, &mut inline).await {
                // Kept as it came, nobody could be given it in an ordinary literal (RFC 3516 §4.4 lets a server refuse).
                Ok((_, true)) if literal.binary => {
                    let rest = Literal { length: 0, synchronizing: false, binary: false };
                    return self.refuse(rest, Failure::no("UNKNOWN-CTE", "Messages that hold NUL are not kept here.")).await;
                }
                Ok((content, _)) => content,
                Err(Refusal::Gone(error)) => return Err(error.into()),
                Err(Refusal::Store(failure, left)) => {
                    let rest = Literal { length: left, synchronizing: false, binary: false };
                    return self.refuse(rest, failure).await;
                }
            };
            messages.push(Append {
                content,
                flags: attributes.flags.system,
                keywords: std::mem::take(&mut attributes.flags.keywords),
                internal_date: attributes.date.unwrap_or_else(now),
            });
            match self.behind_message(&attributes, dialect).await? {
                Some((_, more)) if replaced.is_some() => {
                    return self.refuse(more, Failure::Bad("REPLACE takes one message.".into())).await;
                }
                Some((next, announced)) => (attributes, literal) = (next, announced),
                None => break,
            }
        }
        if let Some(selected) = &mut self.selected {
            selected.dirty |= selected.folder.id == target.id;
        }
        let store = self.store();
        let Some((source, uid)) = replaced else {
            let uids = store.append(target.id, messages).await?;
            return Ok(Done::with_code(appenduid(&target, &uids), "Stored."));
        };
        let uids = store.replace(source, uid, target.id, messages).await?;
        self.selected()?.dirty = true;
        // Ahead of EXISTS and EXPUNGE (RFC 8508 §3.3).
        self.queue(&format!("* OK [{}] The new one is there.\r\n", appenduid(&target, &uids)));
        Ok(Done::ok("Replaced."))
    }

    /// The message of the open mailbox that REPLACE names.
    fn replaced(&mut self, replaced: &Replaced) -> Result<(FolderId, u32), Failure> {
        self.require_membership()?;
        self.selected()?.writable()?;
        let spans = self.spans(&replaced.set, replaced.by_uid)?;
        match *uids(&spans) {
            [ref one] if one.start() == one.end() => Ok((self.selected()?.folder.id, *one.start())),
            _ => Err(Failure::No { code: None, text: "There is no such message.".into() }),
        }
    }

    /// The rest of the line behind a message: nothing, or what announces the next one.
    async fn behind_message(
        &mut self,
        attributes: &Attributes,
        dialect: crate::imap::command::Dialect,
    ) -> Result<Option<(Attributes, Literal)>, Failure> {
        let Some(line) = self.read_line(MAX_LINE).await? else { return Err(WireError::Closed.into()) };
        let mut rest: &[u8] = &line;
        if attributes.utf8 {
            rest = rest.strip_prefix(b")").ok_or_else(|| Failure::Bad("A closing parenthesis is missing.".into()))?;
        }
        if rest.trim_ascii().is_empty() {
            return Ok(None);
        }
        match (append::announced(rest), append::next(rest, dialect)) {
            (Some(literal), Ok(attributes)) => Ok(Some((attributes, literal))),
            (Some(literal), Err(invalid)) => self.refuse(literal, invalid.into()).await.map(|_| None),
            (None, _) => Err(Failure::Bad("Only another message may follow a message.".into())),
        }
    }

    /// Reads a message: small ones into memory, large ones into the store; and whether it holds NUL.
    async fn receive(&mut self, length: u64, inline: &mut usize) -> Result<(NewContent, bool), Refusal> {
        let mut scanner = Box::<Scanner>::default();
        let (mut left, mut has_nul) = (length, false);
        let small = usize::try_from(length).ok().filter(|length| *length <= MAX_INLINE && *inline + length <= MAX_INLINE_TOTAL);
        let mut whole: Vec<u8> = Vec::new();
        let mut spool: Option<Spool> = small.is_none().then(|| self.store().spool());
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let piece = self.wire.chunk(wanted, Instant::now() + AUTOLOGOUT).await.map_err(Refusal::Gone)?;
            left -= piece.len() as u64;
            has_nul |= memchr::memchr(0, &piece).is_some();
            scanner.feed(&piece);
            match &mut spool {
                Some(spool) => spool.write(&piece).await.map_err(|error| Refusal::Store(error.into(), left))?,
                None => whole.extend_from_slice(&piece),
            }
        }
        let facts = Box::new(content_facts(&scanner.finish()));
        *inline += whole.len();
        match spool {
            Some(spool) => {
                let id = spool.finish().await.map_err(|error| Refusal::Store(error.into(), 0))?;
                Ok((NewContent::Spooled(id, facts), has_nul))
            }
            None => Ok((NewContent::Inline(whole.into(), facts), has_nul)),
        }
    }

    /// Refuses; what the client sends anyway is thrown away.
    async fn refuse(&mut self, literal: Literal, failure: Failure) -> Performed {
        if literal.synchronizing {
            return Err(failure);
        }
        if literal.length > self.max_message_size() || !self.drain(literal.length).await? {
            return Err(Failure::Bye("[TOOBIG] This message is too large.".into()));
        }
        Err(failure)
    }
}

fn appenduid(target: &Folder, uids: &[u32]) -> String {
    format!("APPENDUID {} {}", target.uidvalidity, response::ordered_set(uids))
}

/// Why a message could not be taken.
enum Refusal {
    /// Nobody is there to be told.
    Gone(WireError),
    /// The store's failure, and how many bytes of the message are still to come.
    Store(Failure, u64),
}
