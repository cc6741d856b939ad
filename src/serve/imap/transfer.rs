//! COPY, MOVE, EXPUNGE (RFC 9051 §6.4.3, §6.4.7–8; RFC 4315, RFC 6851).

use super::Session;
use super::fetch::uids;
use super::outcome::{Done, Failure, Performed};
use crate::imap::response;
use crate::imap::sequence::SequenceSet;
use crate::store::{Folder, FolderId};

impl Session {
    pub(super) async fn copy(&mut self, set: &SequenceSet, mailbox: &str, by_uid: bool) -> Performed {
        let spans = self.spans(set, by_uid)?;
        let target = self.target(mailbox).await?.id;
        let store = self.store();
        let copied = store.copy(self.selected()?.folder.id, uids(&spans), target).await?;
        self.put_into(target, copied.uids.iter().map(|(_, uid)| *uid));
        if copied.uids.is_empty() {
            return Ok(Done::ok("There was nothing to copy."));
        }
        Ok(Done::with_code(response::copyuid(copied.uidvalidity, &copied.uids), "Copied."))
    }

    /// COPYUID comes in an untagged OK, ahead of the EXPUNGE responses (RFC 6851 §4.3).
    pub(super) async fn move_messages(&mut self, set: &SequenceSet, mailbox: &str, by_uid: bool) -> Performed {
        self.selected()?.writable()?;
        let spans = self.spans(set, by_uid)?;
        let target = self.target(mailbox).await?.id;
        let store = self.store();
        let by = self.account()?.name().to_owned();
        let selected = self.selected()?;
        let moved = match selected.is_tray() {
            true => store.tray_move(uids(&spans), target, &by).await?,
            false => store.move_messages(selected.folder.id, uids(&spans), target).await?,
        };
        (selected.dirty, selected.removed) = (true, true);
        self.put_into(target, moved.uids.iter().map(|(_, uid)| *uid));
        if moved.uids.is_empty() {
            return Ok(Done::ok("There was nothing to move."));
        }
        self.queue(&format!("* OK [{}] Moved.\r\n", response::copyuid(moved.uidvalidity, &moved.uids)));
        self.removed("Moved.").await
    }

    pub(super) async fn expunge(&mut self, set: Option<&SequenceSet>) -> Performed {
        self.selected()?.writable()?;
        let spans = match set {
            Some(set) => Some(uids(&self.spans(set, true)?)),
            None => None,
        };
        let store = self.store();
        let selected = self.selected()?;
        let expunged = store.expunge(selected.folder.id, spans).await?;
        (selected.dirty, selected.removed) = (true, true);
        if expunged.is_empty() { Ok(Done::ok("There was nothing to expunge.")) } else { self.removed("Expunged.").await }
    }

    /// This client put messages into a mailbox: the open one, perhaps.
    pub(super) fn put_into(&mut self, target: FolderId, uids: impl Iterator<Item = u32>) {
        if let Some(selected) = self.selected.as_deref_mut().filter(|selected| selected.folder.id == target) {
            selected.dirty = true;
            selected.own.extend(uids);
        }
    }

    /// After messages of the open mailbox went: who asked for mod-sequences learns where it stands now (RFC 7162 §3.2.7, RFC 6851 §4.4,
    /// RFC 8508 §4.5).
    pub(super) async fn removed(&mut self, text: &str) -> Performed {
        if !self.enabled.condstore {
            return Ok(Done::ok(text));
        }
        let folder = self.selected()?.folder.id;
        Ok(match self.store().folder(folder).await? {
            Some(folder) => Done::with_code(format!("HIGHESTMODSEQ {}", folder.highest_modseq), text),
            None => Done::ok(text),
        })
    }

    /// Where COPY, MOVE and APPEND put things. A client that is told TRYCREATE makes the mailbox and comes again.
    pub(super) async fn target(&mut self, mailbox: &str) -> Result<Folder, Failure> {
        let folder = self.find(mailbox).await?.ok_or_else(|| Failure::nonexistent("TRYCREATE"))?;
        match self.place(mailbox).await?.is_tray() {
            true => Err(Failure::no("NOPERM", "Only what no mapping claims comes into the tray.")),
            false => Ok(folder),
        }
    }
}
