//! Tells a client what happened to its mailbox since it was told last.

use std::collections::HashSet;

use tokio::sync::broadcast::error::TryRecvError;

use super::Session;
use super::outcome::Failure;
use super::select::Selected;
use crate::imap::command::FetchModifiers;
use crate::imap::sequence::{End, Ranges, SequenceSet};
use crate::imap::view::{Changed, Delta, Notice};
use crate::imap::{flags, response};
use crate::store::StoreError;
use crate::store::messages::{Changes, ViewRow};

impl Session {
    /// [`Session::sync`] behind a command that has succeeded or failed already: a store that can't tell what changed does not change that.
    pub(super) async fn sync_behind(&mut self, may_expunge: bool, look: bool) -> Result<(), Failure> {
        match self.sync(may_expunge, look).await {
            Err(failure @ (Failure::Wire(_) | Failure::Bye(_) | Failure::Ended)) => Err(failure),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Untagged EXPUNGE or VANISHED, EXISTS and FETCH responses. Without `look`, the store is asked only if somebody changed something.
    pub(super) async fn sync(&mut self, may_expunge: bool, look: bool) -> Result<(), Failure> {
        self.notice_changes().await?;
        self.require_membership()?;
        if self.is_watching() {
            Box::pin(self.tell_of_others()).await?;
        }
        let wanted = self.told_of_selected();
        let store = self.store();
        let Some(selected) = self.selected.as_deref_mut() else { return Ok(()) };
        if !(look || selected.dirty || (may_expunge && selected.view.has_pending())) {
            return Ok(());
        }
        // Who wants to hear nothing hears of what he removed himself.
        if wanted.is_none() && !std::mem::take(&mut selected.removed) {
            selected.told.clear();
            selected.own.clear();
            return Ok(());
        }
        let wanted = wanted.unwrap_or_default();
        let changes = match store.changes_since(selected.folder.id, selected.view.modseq()).await {
            Ok(changes) => changes,
            // RFC 2180 §3.3: whoever has a deleted mailbox open is told so, and sent away.
            Err(StoreError::NotFound(_)) => return Err(Failure::Bye("[CLOSED] The mailbox was deleted.".into())),
            Err(error) => {
                // What can't be told now is told next time; the command itself succeeded.
                tracing::error!(%error, "changes can't be read");
                return Ok(());
            }
        };
        let delta = match selected.delta(changes) {
            Some(delta) => delta,
            None => {
                let view = store.view(selected.folder.id).await?;
                selected.compare(&view.rows, view.folder.highest_modseq)
            }
        };
        selected.dirty = false;
        let last = selected.view.last_uid();
        let notices = selected.view.update(delta, may_expunge);
        let (told, own) = (std::mem::take(&mut selected.told), std::mem::take(&mut selected.own));
        let keywords_grew = selected.keywords_told != selected.folder.keywords;
        if keywords_grew && notices.iter().any(|notice| matches!(notice, Notice::Fetch(..) | Notice::Exists(_))) {
            self.queue_flags();
        }
        for notice in notices {
            let is_new = matches!(notice, Notice::Exists(_));
            if wanted.flags || !matches!(notice, Notice::Fetch(..)) {
                self.tell(notice, &told).await?;
            }
            if is_new && !wanted.items.is_empty() {
                // Of what it put there itself, a client needs no news (RFC 5465 §5.2).
                let selected = self.selected()?;
                let new = selected.view.within(&Ranges::from_pairs([(last.saturating_add(1), u32::MAX)]));
                let new = Ranges::from_sorted(new.into_iter().filter(|uid| !own.contains(uid)));
                let pairs = new.as_slice().iter().map(|(low, high)| (End::Number(*low), End::Number(*high)));
                let new = SequenceSet::Ranges(pairs.collect());
                if let Err(failure @ (Failure::Wire(_) | Failure::Bye(_) | Failure::Ended)) =
                    Box::pin(self.fetch(&new, &wanted.items, FetchModifiers::default(), true)).await
                {
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Behind a command that may not tell removals: who uses mod-sequences learns up to where he was told of everything, since flags may be
    /// told with higher ones (RFC 7162 §3.2).
    pub(super) fn tell_withheld(&mut self) {
        let withheld = self.selected.as_deref().filter(|selected| self.enabled.condstore && selected.view.has_pending());
        if let Some(modseq) = withheld.map(|selected| selected.view.told_modseq()) {
            self.queue(&format!("* OK [HIGHESTMODSEQ {modseq}] Removals above it are told later.\r\n"));
        }
    }

    /// The names of keywords that others made a moment ago: what the next command reads may have them.
    pub(super) async fn refresh_keywords(&mut self) -> Result<(), Failure> {
        let store = self.store();
        let Some(selected) = self.selected.as_deref_mut().filter(|selected| selected.dirty) else { return Ok(()) };
        if let Some(folder) = store.folder(selected.folder.id).await? {
            selected.folder.keywords = folder.keywords;
        }
        if selected.keywords_told != selected.folder.keywords {
            self.queue_flags();
        }
        Ok(())
    }

    /// Remembers what was published; ends the session of a user who may no longer be here.
    pub(super) async fn notice_changes(&mut self) -> Result<(), Failure> {
        if self.mapping.has_changed().unwrap_or(false) {
            self.mapping.mark_unchanged();
            self.note_mapping();
        }
        while let Some(changes) = &mut self.changes {
            match changes.try_recv() {
                Ok(change) => self.note(Some(change)),
                Err(TryRecvError::Lagged(_)) => self.note(None),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if std::mem::take(&mut self.noticed.users)
            && let Some(account) = &self.account
            && let Ok(now) = self.context.store.account_by_id(account.id).await
        {
            if now.as_ref().is_none_or(|now| now.disabled) {
                return Err(Failure::Bye("This user is disabled.".into()));
            }
            // Under another name, perhaps: what is shared with him goes by that.
            self.account = now;
        }
        Ok(())
    }

    async fn tell(&mut self, notice: Notice, told: &HashSet<(u32, u64)>) -> Result<(), Failure> {
        match notice {
            Notice::Expunged { uids, .. } if self.enabled.qresync || self.enabled.uid_only => {
                let line = response::vanished(&uids, false);
                self.send(line.as_bytes()).await?;
            }
            Notice::Expunged { numbers, .. } => {
                for number in numbers {
                    self.send(format!("* {number} EXPUNGE\r\n").as_bytes()).await?;
                }
            }
            Notice::Exists(count) => {
                self.queue(&format!("* {count} EXISTS\r\n"));
                if !self.enabled.rev2 {
                    self.tell_recent().await?;
                }
            }
            Notice::Fetch(_, changed) if told.contains(&(changed.uid, changed.modseq)) => {}
            Notice::Fetch(number, changed) => {
                // RFC 9051 §7.5.2: what was not asked for names its UID.
                let line = self.flags_line(number, &changed, self.enabled.rev2)?;
                self.send(line.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// The first session that is told of a message has it as `\Recent`; EXAMINE leaves that to others.
    async fn tell_recent(&mut self) -> Result<(), Failure> {
        let store = self.store();
        let selected = self.selected()?;
        if !selected.read_only {
            let new = store.folder_take_recent(selected.folder.id).await?;
            selected.add_recent(new);
        }
        let recent = selected.recent();
        self.queue(&format!("* {recent} RECENT\r\n"));
        Ok(())
    }

    /// `* n FETCH (FLAGS (…))` with what else this client wants beside it; UID and MODSEQ always once it uses CONDSTORE (RFC 7162 §3.2.4).
    pub(super) fn flags_line(&mut self, number: u32, changed: &Changed, with_uid: bool) -> Result<String, Failure> {
        let enabled = self.enabled;
        let recent = self.selected()?.is_recent(changed.uid);
        let mut line = self.fetch_start(number, changed.uid);
        if (with_uid || enabled.condstore || self.notify.is_some()) && !enabled.uid_only {
            line.push_str(&format!("UID {} ", changed.uid));
        }
        if enabled.condstore {
            line.push_str(&format!("MODSEQ ({}) ", changed.modseq));
        }
        line.push_str(&format!("FLAGS ({}))\r\n", flags::render(changed.flags, &changed.keywords, recent && !enabled.rev2)));
        Ok(line)
    }

    /// `* number FETCH (`, or as UIDONLY has it (RFC 9586 §3.3).
    pub(super) fn fetch_start(&self, number: u32, uid: u32) -> String {
        if self.enabled.uid_only { format!("* {uid} UIDFETCH (") } else { format!("* {number} FETCH (") }
    }

    /// `* FLAGS (…)` and what may be set, when the keywords of the mailbox are not those that the client was told.
    pub(super) fn queue_flags(&mut self) {
        let Some(selected) = self.selected.as_deref_mut() else { return };
        selected.keywords_told = selected.folder.keywords.clone();
        let keywords: Vec<String> = selected.folder.keywords.iter().filter(|name| !name.is_empty()).cloned().collect();
        let all = flags::render(u32::MAX, &keywords, false);
        let settable = if selected.is_tray() { flags::render(!flags::DELETED, &keywords, false) } else { all.clone() };
        let permanent = if selected.read_only { String::new() } else { format!("{settable} \\*") };
        self.queue(&format!("* FLAGS ({all})\r\n* OK [PERMANENTFLAGS ({permanent})] These can be set.\r\n"));
    }
}

impl Selected {
    /// `None`: the store no longer knows all that vanished.
    fn delta(&mut self, changes: Changes) -> Option<Delta> {
        self.folder = changes.folder;
        if !changes.complete {
            return None;
        }
        let last = self.view.last_uid();
        let new = changes.changed.iter().map(|row| row.uid).filter(|uid| *uid > last).collect();
        let changed = changes.changed.iter().filter(|row| row.uid <= last).map(|row| self.changed(row)).collect();
        Some(Delta { new, gone: changes.vanished, changed, modseq: self.folder.highest_modseq })
    }

    /// The same from a whole snapshot.
    fn compare(&self, rows: &[ViewRow], modseq: u64) -> Delta {
        let last = self.view.last_uid();
        let known = self.view.modseq();
        let there = |uid: &u32| rows.binary_search_by_key(uid, |row| row.uid).is_ok();
        Delta {
            new: rows.iter().map(|row| row.uid).filter(|uid| *uid > last).collect(),
            gone: self.view.uids().filter(|uid| !there(uid)).collect(),
            changed: rows.iter().filter(|row| row.uid <= last && row.modseq > known).map(|row| self.changed(row)).collect(),
            modseq,
        }
    }

    /// A row as the client is told of it.
    pub fn changed(&self, row: &ViewRow) -> Changed {
        Changed { uid: row.uid, modseq: row.modseq, flags: row.flags, keywords: self.keyword_names(row.keywords) }
    }

    /// The names of keyword bits.
    pub fn keyword_names(&self, bits: u64) -> Vec<String> {
        if bits == 0 {
            return Vec::new();
        }
        let named = self.folder.keywords.iter().enumerate().filter(|(bit, name)| *bit < 64 && bits >> bit & 1 == 1 && !name.is_empty());
        named.map(|(_, name)| name.clone()).collect()
    }
}
