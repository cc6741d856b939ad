//! Folders and what is done to messages in them besides reading: listing, removing, moving, marking, and waiting for news.

use super::super::fetch_response::{self, Next, Reader};
use super::super::utf7;
use super::{About, Ask, Client, ClientError, MAX_LINE, MAX_MESSAGES, MAX_SEARCH_LINE, MAX_SET, fetch_text};
use crate::wire::dial::Phase;
use crate::wire::{Instant, LineEnd, WireError, redact};
use std::collections::HashMap;

/// What is asked of messages before they are fetched.
const SIZES: &str = "(UID RFC822.SIZE INTERNALDATE)";

/// [`ClientError::Refused::what`] of what the server may refuse: asked about fewer messages, it may do better.
const OPTIONAL: &str = "sizes of all messages";

/// An open folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selected {
    /// UIDs mean something only together with it.
    pub uid_validity: u32,
    /// The next UID, if the server tells.
    pub uid_next: Option<u32>,
    /// How many messages.
    pub exists: u32,
}

/// UID → (RFC822.SIZE, INTERNALDATE in milliseconds since 1970).
pub type Sizes = HashMap<u32, (u64, Option<i64>)>;

/// What is in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// As the server told when it was opened.
    pub selected: Selected,
    /// All messages, ascending.
    pub uids: Vec<u32>,
    /// Of those that were asked about.
    pub sizes: Sizes,
}

impl Selected {
    fn note(&mut self, response: &[u8]) {
        let mut words = response.split(u8::is_ascii_whitespace);
        match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            (count, kind) if kind.eq_ignore_ascii_case(b"EXISTS") => self.exists = number(count).unwrap_or(0),
            (ok, _) if ok.eq_ignore_ascii_case(b"OK") => match fetch_response::response_code(response[2..].trim_ascii_start()) {
                Some((code, value)) if code == "UIDVALIDITY" => self.uid_validity = number(value).unwrap_or(0),
                Some((code, value)) if code == "UIDNEXT" => self.uid_next = number(value),
                _ => {}
            },
            _ => {}
        }
    }
}

/// How a removal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// They are gone.
    Expunged,
    /// They are marked `\Deleted`: the server has no UIDPLUS, and an EXPUNGE would take mail with it that somebody else has marked.
    Marked,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Something arrived.
    Arrived,
    /// Nothing, for as long as was asked.
    Nothing,
}

impl Client {
    /// Opens a folder; without `change` for reading only (EXAMINE).
    pub async fn select(&mut self, folder: &str, change: bool) -> Result<Selected, ClientError> {
        let tag = self.queue(&select_command(folder, change));
        self.flush(Phase::Command).await?;
        self.selected(&tag).await
    }

    /// What is in a folder, in one go: opens it if it is not open yet; the UIDs of all messages; sizes and arrival dates of those with
    /// UIDs from `sizes_from` on.
    pub async fn survey(&mut self, folder: Option<(&str, bool)>, sizes_from: Option<u32>) -> Result<Survey, ClientError> {
        let mut asked = Vec::new();
        if let Some((folder, change)) = folder {
            asked.push((self.queue(&select_command(folder, change)), "the folder"));
        }
        let all = if self.offers("ESEARCH") { "UID SEARCH RETURN (ALL) ALL" } else { "UID SEARCH ALL" };
        asked.push((self.queue(all), "the listing"));
        if let Some(from) = sizes_from {
            asked.push((self.queue(&format!("UID FETCH {from}:* {SIZES}")), OPTIONAL));
        }
        self.flush(Phase::Command).await?;
        let mut survey = Survey::default();
        self.answers(asked, |response| {
            survey.selected.note(response);
            note_found(&mut survey.uids, response)?;
            note_size(&mut survey.sizes, response)
        })
        .await?;
        if folder.is_some() && survey.selected.uid_validity == 0 {
            return Err(ClientError::OutOfStep("the folder has no UIDVALIDITY".into()));
        }
        survey.uids.sort_unstable();
        survey.uids.dedup();
        self.listed.clone_from(&survey.uids);
        Ok(survey)
    }

    /// The answers to commands that were said together. Servers may carry out SEARCH and FETCH side by side (RFC 3501 §5.5). All are read,
    /// whatever one of them is refused: the session goes on.
    async fn answers(
        &mut self,
        mut asked: Vec<(String, &'static str)>,
        mut each: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut refused = None;
        for _ in 0..MAX_MESSAGES {
            if asked.is_empty() {
                return refused.map_or(Ok(()), Err);
            }
            let line = self.line(MAX_SEARCH_LINE, Phase::Command).await?;
            if let Some(rest) = line.strip_prefix(b"* ") {
                each(rest)?;
                self.unasked(rest).await?;
                continue;
            }
            let Some(at) = asked.iter().position(|(tag, _)| super::is_tagged(&line, tag)) else {
                return Err(ClientError::OutOfStep(format!("“{}”", redact::shown(&line))));
            };
            let (tag, what) = asked.remove(at);
            match super::status(super::tagged(&line, &tag)?, what) {
                Err(ClientError::Refused { what: OPTIONAL, .. }) => {}
                Err(refusal @ ClientError::Refused { .. }) => drop(refused.get_or_insert(refusal)),
                other => drop(other?),
            }
        }
        Err(ClientError::OutOfStep("endless responses".into()))
    }

    async fn selected(&mut self, tag: &str) -> Result<Selected, ClientError> {
        let mut selected = Selected::default();
        self.answer(tag, "the folder", Phase::Command, |response| {
            selected.note(response);
            Ok(())
        })
        .await?;
        if selected.uid_validity == 0 {
            return Err(ClientError::OutOfStep("the folder has no UIDVALIDITY".into()));
        }
        self.listed.clear();
        Ok(selected)
    }

    /// Sizes and arrival dates of these messages: UID → (RFC822.SIZE, INTERNALDATE).
    pub async fn sizes(&mut self, uids: &[u32]) -> Result<Sizes, ClientError> {
        let mut found = Sizes::new();
        for (set, _) in fetch_response::uid_sets(uids, &self.listed, MAX_SET) {
            let tag = self.queue(&format!("UID FETCH {set} {SIZES}"));
            self.flush(Phase::Command).await?;
            self.measured(&tag, &mut found).await?;
        }
        Ok(found)
    }

    async fn measured(&mut self, tag: &str, found: &mut Sizes) -> Result<(), ClientError> {
        self.answer_of(tag, "sizes", Phase::Command, MAX_MESSAGES, |response| note_size(found, response)).await.map(drop)
    }

    /// Whether messages can be removed without taking others along that somebody else has marked (UIDPLUS, RFC 4315).
    pub fn removes_singly(&self) -> bool {
        self.offers("UIDPLUS") || self.offers("IMAP4REV2")
    }

    /// Asks to remove messages for good, from a server that [removes singly](Client::removes_singly).
    pub fn ask_to_remove(&mut self, uids: &[u32]) {
        let mut from = 0;
        for (set, named) in fetch_response::uid_sets(uids, &self.listed, MAX_SET) {
            let removed = uids[from..from + named].to_vec();
            from += named;
            let mark = format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)");
            self.waiting.push_back(Ask { command: mark, about: About::Removal(Vec::new()) });
            self.waiting.push_back(Ask { command: format!("UID EXPUNGE {set}"), about: About::Removal(removed) });
        }
    }

    /// Removes messages for good where that can't be asked for singly: only if no other message is marked `\Deleted`.
    pub async fn remove(&mut self, uids: &[u32]) -> Result<Removed, ClientError> {
        self.each_set(uids, |set| format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"), "deletion").await?;
        if self.removes_singly() {
            self.each_set(uids, |set| format!("UID EXPUNGE {set}"), "deletion").await?;
            return Ok(Removed::Expunged);
        }
        let marked = self.search_for("UID SEARCH DELETED").await?;
        if marked.iter().any(|uid| uids.binary_search(uid).is_err()) {
            return Ok(Removed::Marked);
        }
        self.command("EXPUNGE", "deletion", Phase::Command, |_| Ok(())).await?;
        Ok(Removed::Expunged)
    }

    /// Marks messages `\Seen`.
    pub async fn mark_seen(&mut self, uids: &[u32]) -> Result<(), ClientError> {
        self.each_set(uids, |set| format!("UID STORE {set} +FLAGS.SILENT (\\Seen)"), "marking as read").await
    }

    /// Moves messages to another folder, which is made if it is not there: MOVE (RFC 6851), or COPY and removal.
    pub async fn relocate(&mut self, uids: &[u32], folder: &str) -> Result<Removed, ClientError> {
        let folder = mailbox(folder);
        let moves = self.offers("MOVE") || self.offers("IMAP4REV2");
        let verb = if moves { "UID MOVE" } else { "UID COPY" };
        let command = |set: &str| format!("{verb} {set} {folder}");
        match self.each_set(uids, command, "moving").await {
            // RFC 3501 §6.4.7; RFC 9051 §6.4.7 and §7.1. Nothing was moved yet: the first set already had nowhere to go.
            Err(ClientError::Refused { code, .. }) if code == "TRYCREATE" || code == "NONEXISTENT" => {
                self.command(&format!("CREATE {folder}"), "making the folder", Phase::Command, |_| Ok(())).await?;
                self.each_set(uids, command, "moving").await?;
            }
            other => other?,
        }
        if moves { Ok(Removed::Expunged) } else { self.remove(uids).await }
    }

    /// Asks to be told of news in other folders, too (NOTIFY, RFC 5465): they come as STATUS, in an IDLE as well. False: it won't.
    pub async fn notify(&mut self, folders: &[&str]) -> Result<bool, ClientError> {
        let folders: Vec<String> = folders.iter().map(|folder| mailbox(folder)).collect();
        // MessageNew without MessageExpunge is an error (§5).
        let events = "(MessageNew MessageExpunge)";
        let command = format!("NOTIFY SET (SELECTED {events}) (MAILBOXES ({}) {events})", folders.join(" "));
        match self.command(&command, "NOTIFY", Phase::Command, |_| Ok(())).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits by IDLE (RFC 2177) until something arrives or `until` has come. An IDLE that lasts longer than NAT tables live is deaf:
    /// ask again every few minutes. May be dropped while waiting; then the session must be ended.
    pub async fn idle(&mut self, until: Instant) -> Result<News, ClientError> {
        let tag = self.next_tag();
        self.say(&format!("{tag} IDLE"), Phase::Command).await?;
        let mut news = News::Nothing;
        let mut accepted = false;
        self.connection.rest();
        // Also a server that goes on talking of other things is asked anew.
        while news == News::Nothing && Instant::now() < until {
            let deadline = if accepted { until } else { self.patience.deadline(Phase::Command) };
            let line = match self.connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await {
                Ok(line) => line,
                Err(WireError::TimedOut) if accepted => break,
                Err(source) => return Err(ClientError::Wire { phase: Phase::Command, source }),
            };
            if line.first() == Some(&b'+') {
                accepted = true;
            } else if let Some(rest) = line.strip_prefix(b"* ") {
                let mut words = rest.split(u8::is_ascii_whitespace);
                let elsewhere = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"STATUS"));
                let here = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"EXISTS") || word.eq_ignore_ascii_case(b"RECENT"));
                if here || elsewhere {
                    news = News::Arrived;
                }
                self.unasked(rest).await?;
            } else {
                super::status(super::tagged(&line, &tag)?, "IDLE")?;
                return Ok(news);
            }
        }
        self.say("DONE", Phase::Command).await?;
        // News that came before the server accepted: its "+" is still on the way.
        for _ in 0..super::MAX_UNTAGGED {
            let line = self.line(MAX_LINE, Phase::Command).await?;
            match line.strip_prefix(b"* ") {
                Some(rest) => self.unasked(rest).await?,
                None if line.first() == Some(&b'+') => {}
                None => {
                    super::status(super::tagged(&line, &tag)?, "IDLE")?;
                    return Ok(news);
                }
            }
        }
        Err(ClientError::OutOfStep("endless responses".into()))
    }

    pub(super) async fn search_for(&mut self, command: &str) -> Result<Vec<u32>, ClientError> {
        let tag = self.queue(command);
        self.flush(Phase::Command).await?;
        self.found(&tag).await
    }

    async fn found(&mut self, tag: &str) -> Result<Vec<u32>, ClientError> {
        let mut found = Vec::new();
        self.answer(tag, "the listing", Phase::Command, |response| note_found(&mut found, response)).await?;
        Ok(found)
    }

    async fn each_set(&mut self, uids: &[u32], command: impl Fn(&str) -> String, what: &'static str) -> Result<(), ClientError> {
        for (set, _) in fetch_response::uid_sets(uids, &self.listed, MAX_SET) {
            self.command(&command(&set), what, Phase::Command, |_| Ok(())).await?;
        }
        Ok(())
    }
}

fn note_found(found: &mut Vec<u32>, response: &[u8]) -> Result<(), ClientError> {
    let (word, rest) = response.split_at(memchr::memchr(b' ', response).unwrap_or(response.len()));
    let extended = word.eq_ignore_ascii_case(b"ESEARCH");
    if extended || word.eq_ignore_ascii_case(b"SEARCH") {
        found.extend(fetch_response::search_result(rest, extended, MAX_MESSAGES - found.len().min(MAX_MESSAGES))?);
    }
    Ok(())
}

fn note_size(found: &mut Sizes, response: &[u8]) -> Result<(), ClientError> {
    let Some(text) = fetch_text(response) else { return Ok(()) };
    let mut reader = Reader::default();
    if let Next::End(_) = reader.feed(text)?
        && let (Some(uid), Some(size)) = (reader.fetched.uid, reader.fetched.size)
        && found.len() < MAX_MESSAGES
    {
        found.insert(uid, (size, reader.fetched.internal_date));
    }
    Ok(())
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn select_command(folder: &str, change: bool) -> String {
    format!("{} {}", if change { "SELECT" } else { "EXAMINE" }, mailbox(folder))
}

/// A folder's name as a quoted string, in modified UTF-7 (RFC 3501 §5.1.3).
pub(super) fn mailbox(name: &str) -> String {
    let name: String = utf7::encode(name).chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
