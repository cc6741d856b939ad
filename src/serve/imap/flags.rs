//! STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3).

use super::Session;
use super::fetch::uids;
use super::outcome::{Done, Failure, Performed};
use crate::imap::command::StoreMode;
use crate::imap::flags::{self, Flags};
use crate::imap::sequence::{Ranges, SequenceSet};
use crate::store::StoreError;
use crate::store::messages::changing::{FlagAction, FlagChange};

impl Session {
    pub(super) async fn store_flags(
        &mut self,
        set: &SequenceSet,
        mode: StoreMode,
        silent: bool,
        mut flags: Flags,
        unchanged_since: Option<u64>,
        by_uid: bool,
    ) -> Performed {
        self.selected()?.writable()?;
        if unchanged_since.is_some() {
            self.enable_condstore().await?;
        }
        if mode != StoreMode::Remove && flags.system & flags::DELETED != 0 && self.selected()?.is_tray() {
            flags.system &= !flags::DELETED;
            // RFC 4314 §4: what may be set is set, unless that is nothing.
            if flags.system == 0 && flags.keywords.is_empty() {
                return Err(Failure::no("NOPERM", "Mail leaves the tray by being moved to somebody, or by `mailroom tray drop`."));
            }
        }
        let spans = self.spans(set, by_uid)?;
        let store = self.store();
        let selected = self.selected()?;
        let action = match mode {
            StoreMode::Replace => FlagAction::Replace,
            StoreMode::Add => FlagAction::Add,
            StoreMode::Remove => FlagAction::Remove,
        };
        let change = FlagChange { action, flags: flags.system, keywords: flags.keywords, unchanged_since };
        let flagged = match store.flag(selected.folder.id, uids(&spans), change).await {
            Ok(flagged) => flagged,
            Err(StoreError::Conflict(_)) => return Err(Failure::no("LIMIT", "This mailbox can take no more keywords.")),
            Err(error) => return Err(error.into()),
        };
        selected.folder.keywords = flagged.folder.keywords;
        selected.dirty = true;
        let mut told = Vec::with_capacity(flagged.rows.len());
        for (row, before) in flagged.rows.iter().zip(&flagged.before) {
            // Of a message that somebody else changed meanwhile, nobody can work out the flags who is not told them.
            if !silent || *before <= selected.view.modseq() {
                selected.told.insert((row.uid, row.modseq));
            }
            told.extend(selected.view.number(row.uid).map(|number| (number, selected.changed(row))));
        }
        let new_keywords = selected.keywords_told != selected.folder.keywords;
        if new_keywords {
            self.queue_flags();
        }
        let condstore = self.enabled.condstore;
        for (number, changed) in told {
            if !silent {
                let line = self.flags_line(number, &changed, by_uid)?;
                self.send(line.as_bytes()).await?;
            } else if condstore {
                let uid = if self.enabled.uid_only { String::new() } else { format!("UID {} ", changed.uid) };
                let line = format!("{}{uid}MODSEQ ({}))\r\n", self.fetch_start(number, changed.uid), changed.modseq);
                self.send(line.as_bytes()).await?;
            }
        }
        if flagged.modified.is_empty() {
            return Ok(Done::ok("Stored."));
        }
        let view = &self.selected()?.view;
        let modified: Vec<u32> =
            if by_uid { flagged.modified } else { flagged.modified.iter().filter_map(|uid| view.number(*uid)).collect() };
        Ok(Done::with_code(format!("MODIFIED {}", Ranges::from_sorted(modified)), "Some were changed by somebody else."))
    }
}
