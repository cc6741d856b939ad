//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, RFC 7162).

use std::collections::HashSet;

use super::Session;
use super::outcome::{Done, Failure, Performed};
use super::shared::TRAY;
use crate::imap::command::{Qresync, Select};
use crate::imap::response;
use crate::imap::sequence::Ranges;
use crate::imap::view::View;
use crate::store::Folder;
use crate::store::search::Filter;

/// The open mailbox.
pub struct Selected {
    /// As of the last look.
    pub folder: Folder,
    /// Of which shared mailbox it is one.
    pub shared: Option<String>,
    /// EXAMINE.
    pub read_only: bool,
    /// How this client counts.
    pub view: View,
    /// UIDs of messages that are `\Recent` in this session, whether they are still there or not.
    pub recent: Vec<(u32, u32)>,
    /// Something was changed since the last look.
    pub dirty: bool,
    /// This client removed messages of it itself.
    pub removed: bool,
    /// (UID, MODSEQ) of changes that this client made itself and was told of.
    pub told: HashSet<(u32, u64)>,
    /// UIDs of new messages that this client put there itself.
    pub own: Vec<u32>,
    /// Keywords in the last FLAGS response.
    pub keywords_told: Vec<String>,
    /// `$` (RFC 5182), as UIDs.
    pub saved: Ranges,
}

impl Selected {
    /// Messages with `\Recent`.
    pub fn recent(&self) -> usize {
        self.view.count(&Ranges::from_pairs(self.recent.iter().copied()))
    }

    /// Whether this message has `\Recent`.
    pub fn is_recent(&self, uid: u32) -> bool {
        self.recent.iter().any(|(low, high)| (*low..=*high).contains(&uid))
    }

    /// These are new to every session: they are recent in this one.
    pub fn add_recent(&mut self, uids: std::ops::Range<u32>) {
        if !uids.is_empty() {
            self.recent.push((uids.start, uids.end - 1));
        }
    }

    /// What lies in the tray comes and goes by other ways than APPEND and EXPUNGE.
    pub fn is_tray(&self) -> bool {
        self.shared.as_deref() == Some(TRAY)
    }

    /// For a command that changes something.
    pub fn writable(&self) -> Result<(), Failure> {
        if self.read_only { Err(Failure::no("READ-ONLY", "The mailbox was opened with EXAMINE.")) } else { Ok(()) }
    }
}

impl Session {
    pub(super) async fn select(&mut self, select: Select) -> Performed {
        if select.qresync.is_some() && !self.enabled.qresync {
            return Err(Failure::Bad("ENABLE QRESYNC first.".into()));
        }
        // RFC 7162 §3.2.11: whether QRESYNC was enabled or not.
        if self.selected.take().is_some() {
            self.queue("* OK [CLOSED] The previous mailbox is closed.\r\n");
        }
        self.enabled.condstore |= select.condstore || select.qresync.is_some();
        let store = self.store();
        let shared = self.place(&select.mailbox.name).await?.shared;
        let folder = self.find(&select.mailbox.name).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        let name_line = self.name_line(&folder.name, select.mailbox.written.as_deref()).await?;
        let new = if select.read_only { folder.recent_from..folder.uidnext } else { store.folder_take_recent(folder.id).await? };
        let opened = store.open_folder(folder.id).await?;
        let view = View::new(&Ranges::from_pairs(opened.uids), opened.folder.highest_modseq);
        let first_unseen = opened.first_unseen.and_then(|uid| view.number(uid));
        let mut selected = Selected {
            view,
            folder: opened.folder,
            shared,
            read_only: select.read_only,
            recent: Vec::new(),
            dirty: false,
            removed: false,
            told: HashSet::new(),
            own: Vec::new(),
            keywords_told: Vec::new(),
            saved: Ranges::default(),
        };
        selected.add_recent(new);
        let (exists, recent, folder) = (selected.view.exists(), selected.recent(), selected.folder.clone());
        self.selected = Some(Box::new(selected));
        self.queue_flags();
        let mut lines = format!("* {exists} EXISTS\r\n{name_line}");
        if !self.enabled.rev2 {
            lines.push_str(&format!("* {recent} RECENT\r\n"));
            if let Some(first) = first_unseen.filter(|_| !self.enabled.uid_only) {
                lines.push_str(&format!("* OK [UNSEEN {}] The first unseen message.\r\n", first));
            }
        }
        lines.push_str(&format!("* OK [UIDVALIDITY {}] UIDs are valid.\r\n", folder.uidvalidity));
        lines.push_str(&format!("* OK [UIDNEXT {}] The next UID.\r\n", folder.uidnext));
        lines.push_str(&format!("* OK [HIGHESTMODSEQ {}] The highest mod-sequence.\r\n", folder.highest_modseq));
        lines.push_str(&format!("* OK [MAILBOXID ({})] The mailbox.\r\n", folder.object_id));
        self.queue(&lines);
        if let Some(known) = select.qresync.filter(|known| known.uidvalidity == folder.uidvalidity) {
            self.resynchronise(&known).await?;
        }
        let code = if select.read_only { "READ-ONLY" } else { "READ-WRITE" };
        Ok(Done::with_code(code, "The mailbox is open."))
    }

    /// What a returning client missed (RFC 7162 §3.2.5.1).
    async fn resynchronise(&mut self, known: &Qresync) -> Result<(), Failure> {
        let store = self.store();
        let selected = self.selected()?;
        let (folder, last) = (selected.folder.id, selected.folder.uidnext.saturating_sub(1));
        let asked = known.known.as_ref().map_or_else(|| Ranges::from_pairs([(1, last)]), |set| set.resolve(last));
        let changes = store.changes_since(folder, known.modseq).await?;
        let vanished = if changes.complete {
            Ranges::from_sorted(changes.vanished.into_iter().filter(|uid| asked.contains(*uid)))
        } else {
            absent(&asked, &selected.view, last)
        };
        let lines: Vec<(u32, crate::imap::view::Changed)> = changes
            .changed
            .iter()
            .filter(|row| asked.contains(row.uid))
            .filter_map(|row| Some((selected.view.number(row.uid)?, selected.changed(row))))
            .collect();
        if !vanished.is_empty() {
            let line = response::vanished(&vanished, true);
            self.send(line.as_bytes()).await?;
        }
        for (number, changed) in lines {
            let line = self.flags_line(number, &changed, true)?;
            self.send(line.as_bytes()).await?;
        }
        Ok(())
    }

    /// UIDs among `asked` that went after `modseq`, for `FETCH … (VANISHED)`.
    pub(super) async fn vanished_since(&mut self, modseq: u64, asked: &Ranges) -> Result<Ranges, Failure> {
        let store = self.store();
        let selected = self.selected()?;
        let changes = store.changes_since(selected.folder.id, modseq).await?;
        if changes.complete {
            return Ok(Ranges::from_sorted(changes.vanished.into_iter().filter(|uid| asked.contains(*uid))));
        }
        let last = selected.folder.uidnext.saturating_sub(1);
        let opened = store.open_folder(selected.folder.id).await?;
        Ok(absent(asked, &View::new(&Ranges::from_pairs(opened.uids), 0), last))
    }

    /// CLOSE expunges without saying so.
    pub(super) async fn close(&mut self) -> Performed {
        let store = self.store();
        let selected = self.selected()?;
        let (folder, read_only) = (selected.folder.id, selected.read_only);
        if !read_only {
            store.expunge(folder, None).await?;
        }
        self.selected = None;
        Ok(Done::ok("Closed."))
    }

    pub(super) fn unselect(&mut self) -> Performed {
        self.selected = None;
        Ok(Done::ok("Closed; nothing was removed."))
    }

    /// From now on MODSEQ goes with every FLAGS; the open mailbox's is told (RFC 7162 §3.1).
    pub(super) async fn enable_condstore(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.enabled.condstore, true) {
            return Ok(());
        }
        if let Some(selected) = &self.selected {
            let line = format!("* OK [HIGHESTMODSEQ {}] The highest mod-sequence.\r\n", selected.view.told_modseq());
            self.queue(&line);
        }
        Ok(())
    }

    /// UIDs of the open mailbox that pass a filter.
    pub(super) async fn filtered(&mut self, filter: Filter) -> Result<Vec<u32>, Failure> {
        let store = self.store();
        let folder = self.selected()?.folder.id;
        Ok(store.search(folder, filter).await?)
    }
}

/// UIDs of `asked` up to `last` that no message has.
fn absent(asked: &Ranges, view: &View, last: u32) -> Ranges {
    let mut gaps = Vec::new();
    for (low, high) in asked.as_slice() {
        let high = (*high).min(last);
        let mut next = *low;
        for (first, end) in Ranges::from_sorted(view.within(&Ranges::from_pairs([(*low, high)]))).as_slice() {
            if *first > next {
                gaps.push((next, first - 1));
            }
            next = end + 1;
        }
        if next <= high {
            gaps.push((next, high));
        }
    }
    Ranges::from_pairs(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        let view = View::new(&Ranges::from_sorted([2, 3, 7]), 1);
        let check =
            |asked: &[(u32, u32)], expected: &str| assert_eq!(absent(&Ranges::from_pairs(asked.to_vec()), &view, 9).to_string(), expected);
        check(&[(1, 20)], "1,4:6,8:9");
        check(&[(2, 3), (7, 7)], "");
        check(&[(4, 5), (8, 8)], "4:5,8");
    }
}
