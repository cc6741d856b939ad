//! APPEND (RFC 9051 §6.3.12, RFC 3502, RFC 4315, RFC 4469, RFC 7889) and REPLACE (RFC 8508): messages stream into the store; all of one
//! command become visible together.
//!
//! Deviation from RFC 6855 §4: raw 8-bit text in a header is taken as it comes, with or without UTF8=ACCEPT. Mail that arrives has it as
//! well, and who is refused here loses the copy of what he sent, or a mailbox that he moves in.

use super::Session;
use super::assembly::{Assembly, Room};
use super::fetch::uids;
use super::outcome::{Done, Failure, Performed};
use super::search::now;
use crate::imap::command::append::{self, Ahead, Literal, Piece, Reader, Replaced, Start};
use crate::imap::response;
use crate::store::messages::Wanted;
use crate::store::messages::changing::{Append, spooled};
use crate::store::{Folder, FolderId};

/// Messages of one command.
const MAX_MESSAGES: usize = 1000;
/// What may stand between two literals: flags, a date, some URLs.
const MAX_LINE: usize = 8 * 1024;
/// The same, with URLs that come as literals: no more than any other command.
const MAX_STRETCH: usize = 256 * 1024;

impl Session {
    /// `command` ends with the announcement of the first literal that belongs to a message; or it is complete.
    pub(super) async fn append(&mut self, command: Vec<u8>) -> Performed {
        self.notice_changes().await?;
        let mut messages = Vec::new();
        let performed = self.append_all(command, &mut messages).await;
        if performed.is_err() {
            self.store().discard(spooled(&messages));
        }
        if matches!(performed, Ok(_) | Err(Failure::No { .. } | Failure::Bad(_))) {
            self.sync_behind(true, false).await?;
        }
        performed
    }

    async fn append_all(&mut self, mut stretch: Vec<u8>, messages: &mut Vec<Append>) -> Performed {
        let Some(Start { mailbox, replaces, length }) = append::start(&stretch, self.dialect())? else {
            return Err(Failure::Bad("The message of APPEND is missing.".into()));
        };
        stretch.drain(..length);
        let replaced = match replaces.map(|replaced| self.replaced(&replaced)).transpose() {
            Ok(replaced) => replaced,
            Err(failure) => return self.refuse_behind(&stretch, failure).await,
        };
        let target = match self.target(&mailbox).await {
            Ok(folder) => folder,
            Err(failure) => return self.refuse_behind(&stretch, failure).await,
        };
        let mut room = match self.room(&target, replaced).await {
            Ok(room) => room,
            Err(failure) => return self.refuse_behind(&stretch, failure).await,
        };
        let mut reader = Reader::new(self.dialect());
        let mut assembly: Option<Assembly> = None;
        loop {
            let (pieces, ahead) = match reader.read(&stretch) {
                Ok(read) => read,
                Err(invalid) => return self.refuse_behind(&stretch, invalid.into()).await,
            };
            if let Ahead::Url(literal) = ahead {
                // Its stretch is read again with it: what was found in it is not taken yet.
                if let Some(failure) = self.take_in_place(&mut stretch, literal).await? {
                    return self.refuse(literal, failure).await;
                }
                continue;
            }
            for piece in pieces {
                let taken = match piece {
                    Piece::Message(_) if replaced.is_some() && assembly.is_some() => Err(Failure::Bad("REPLACE takes one message.".into())),
                    Piece::Message(attributes) => match finish(&mut assembly, messages, &mut room).await {
                        Ok(()) if messages.len() == MAX_MESSAGES => {
                            Err(Failure::no("LIMIT", "These are too many messages for one command."))
                        }
                        Ok(()) => {
                            assembly = Some(Assembly::new(attributes, self.store(), held(messages), room));
                            Ok(())
                        }
                        Err(failure) => Err(failure),
                    },
                    Piece::Url(url) => match &mut assembly {
                        Some(assembly) => self.catenate(&url, assembly).await,
                        None => Ok(()),
                    },
                };
                match taken {
                    Err(failure @ (Failure::Wire(_) | Failure::Bye(_) | Failure::Ended)) => return Err(failure),
                    Err(failure) => return self.refuse_behind(&stretch, failure).await,
                    Ok(()) => {}
                }
            }
            let (Ahead::Message(literal) | Ahead::Text(literal), Some(assembly)) = (ahead, &mut assembly) else { break };
            if ahead == Ahead::Message(literal) && literal.length == 0 {
                return self.refuse(literal, empty()).await;
            }
            if let Err(failure) = assembly.require_room(literal.length).and_then(|()| self.require_disk(literal.length)) {
                return self.refuse(literal, failure).await;
            }
            if literal.synchronizing {
                self.queue("+ Go on.\r\n");
                self.flush().await?;
            }
            match self.receive(literal.length, assembly).await {
                // Kept as it came, nobody could be given it in an ordinary literal (RFC 3516 §4.4 lets a server refuse).
                Ok(true) if literal.binary => {
                    return self.refuse(RECEIVED, Failure::no("UNKNOWN-CTE", "Messages that hold NUL are not kept here.")).await;
                }
                Ok(_) => {}
                Err(Refusal::Gone(failure)) => return Err(failure),
                Err(Refusal::Store(failure, left)) => return self.refuse(Literal { length: left, ..RECEIVED }, failure).await,
            }
            stretch = self.read_line(MAX_LINE).await?.ok_or(Failure::Ended)?.to_vec();
        }
        finish(&mut assembly, messages, &mut room).await?;
        // What came may have taken half an hour: the mapping may have another member by now, and the mailbox another name.
        let target = self.target(&mailbox).await?;
        let store = self.store();
        let Some((source, uid)) = replaced else {
            let uids = store.append(target.id, std::mem::take(messages)).await?;
            self.put_into(target.id, uids.iter().copied());
            return Ok(Done::with_code(appenduid(&target, &uids), "Stored."));
        };
        self.require_membership()?;
        let uids = store.replace(source, uid, target.id, std::mem::take(messages)).await?;
        self.put_into(target.id, uids.iter().copied());
        let selected = self.selected()?;
        (selected.dirty, selected.removed) = (true, true);
        // Ahead of EXISTS and EXPUNGE (RFC 8508 §3.3).
        self.queue(&format!("* OK [{}] The new one is there.\r\n", appenduid(&target, &uids)));
        self.removed("Replaced.").await
    }

    /// The message of the open mailbox that REPLACE names.
    fn replaced(&mut self, replaced: &Replaced) -> Result<(FolderId, u32), Failure> {
        self.require_membership()?;
        self.require_uids(replaced.by_uid)?;
        self.selected()?.writable()?;
        if self.selected()?.is_tray() {
            return Err(Failure::no("NOPERM", "Mail in the tray is not replaced."));
        }
        let spans = self.spans(&replaced.set, replaced.by_uid)?;
        match *uids(&spans) {
            [ref one] if one.start() == one.end() => Ok((self.selected()?.folder.id, *one.start())),
            _ => Err(Failure::No { code: None, text: "There is no such message.".into() }),
        }
    }

    /// How much may come into a mailbox. What REPLACE takes away makes room (RFC 8508 §3.4).
    async fn room(&mut self, target: &Folder, replaced: Option<(FolderId, u32)>) -> Result<Room, Failure> {
        let store = self.store();
        let owner = store.account_by_id(target.account).await?;
        let quota = match owner.and_then(|owner| Some((owner.quota?, owner.bytes))) {
            None => u64::MAX,
            Some((quota, bytes)) => {
                let mut freed = 0;
                if let (Some((source, uid)), Some(selected)) = (replaced, &self.selected)
                    && selected.folder.account == target.account
                {
                    let rows = store.rows(source, &[uid..=uid], Wanted::default(), 1).await?;
                    freed = rows.first().map_or(0, |row| row.size);
                }
                quota.saturating_sub(bytes).saturating_add(freed)
            }
        };
        Ok(Room { message: self.max_message_size(), quota })
    }

    /// As for mail from elsewhere: what is left of the disk is for what is here already.
    pub(super) fn require_disk(&self, more: u64) -> Result<(), Failure> {
        let min_free = self.context.now().config.storage.min_free;
        if self.context.store.free_bytes().is_ok_and(|free| free < min_free.saturating_add(more)) {
            tracing::warn!(min_free, "little disk space is left: no mail is taken");
            return Err(Failure::no("UNAVAILABLE", "The disk of the mail server is nearly full; try again later."));
        }
        Ok(())
    }

    /// Appends a URL that comes as a literal, and what follows it on its line; or says why not.
    async fn take_in_place(&mut self, stretch: &mut Vec<u8>, literal: Literal) -> Result<Option<Failure>, Failure> {
        if literal.length > MAX_LINE as u64 || stretch.len() > MAX_STRETCH {
            return Ok(Some(Failure::no("TOOBIG", "This command is too long.")));
        }
        if literal.synchronizing {
            self.queue("+ Go on.\r\n");
            self.flush().await?;
        }
        stretch.extend_from_slice(b"\r\n");
        let mut left = usize::try_from(literal.length).unwrap_or(0);
        while left > 0 {
            let piece = self.read_piece(left).await?.ok_or(Failure::Ended)?;
            left -= piece.len();
            stretch.extend_from_slice(&piece);
        }
        let line = self.read_line(MAX_LINE).await?.ok_or(Failure::Ended)?;
        stretch.extend_from_slice(&line);
        Ok(None)
    }

    /// Reads a literal into a message; whether it holds NUL.
    async fn receive(&mut self, length: u64, assembly: &mut Assembly) -> Result<bool, Refusal> {
        let (mut left, mut has_nul) = (length, false);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let piece = self.read_piece(wanted).await.map_err(|error| Refusal::Gone(error.into()))?.ok_or(Refusal::Gone(Failure::Ended))?;
            left -= piece.len() as u64;
            has_nul |= memchr::memchr(0, &piece).is_some();
            assembly.write(&piece).await.map_err(|error| Refusal::Store(error.into(), left))?;
        }
        Ok(has_nul)
    }

    /// Refuses; a literal that `stretch` announces and that the client sends anyway is thrown away.
    async fn refuse_behind(&mut self, stretch: &[u8], failure: Failure) -> Performed {
        match append::announced(stretch) {
            Some(literal) => self.refuse(literal, failure).await,
            None => Err(failure),
        }
    }

    /// Refuses; what the client sends anyway is thrown away.
    async fn refuse(&mut self, literal: Literal, failure: Failure) -> Performed {
        if literal.synchronizing {
            return Err(failure);
        }
        if literal.length > self.max_message_size() {
            return Err(Failure::Bye("[TOOBIG] This message is too large.".into()));
        }
        self.drain(literal.length).await?;
        Err(failure)
    }
}

/// A literal of which nothing is left to read but the rest of its line.
const RECEIVED: Literal = Literal { length: 0, synchronizing: false, binary: false };

/// Bytes of complete messages that stand in memory.
fn held(messages: &[Append]) -> usize {
    messages.iter().map(|message| if let crate::store::NewContent::Inline(bytes, _) = &message.content { bytes.len() } else { 0 }).sum()
}

/// The message that was being put together is complete, and takes some of the room.
async fn finish(assembly: &mut Option<Assembly>, messages: &mut Vec<Append>, room: &mut Room) -> Result<(), Failure> {
    let Some(assembly) = assembly.take() else { return Ok(()) };
    if assembly.size() == 0 {
        return Err(empty());
    }
    room.quota = room.quota.saturating_sub(assembly.size());
    let (content, attributes) = assembly.finish().await?;
    messages.push(Append {
        content,
        flags: attributes.flags.system,
        keywords: attributes.flags.keywords,
        internal_date: attributes.date.unwrap_or_else(now),
    });
    Ok(())
}

fn empty() -> Failure {
    Failure::No { code: None, text: "An empty message can't be stored.".into() }
}

fn appenduid(target: &Folder, uids: &[u32]) -> String {
    format!("APPENDUID {} {}", target.uidvalidity, response::ordered_set(uids))
}

/// Why a message could not be taken.
enum Refusal {
    /// Nobody is there to be told.
    Gone(Failure),
    /// The store's failure, and how many bytes of the message are still to come.
    Store(Failure, u64),
}
