//! CREATE, DELETE, RENAME, SUBSCRIBE, STATUS (RFC 9051 §6.3.4–§6.3.11).

use super::Session;
use super::list::level_line;
use super::outcome::{Done, Failure, Performed};
use super::shared::Place;
use crate::imap::command::{self, MailboxName, StatusItem};
use crate::imap::pattern::SEPARATOR;
use crate::store::folders::SpecialUse;
use crate::store::{Folder, StoreError};

impl Session {
    /// A mailbox of this user, by the name that he knows it by.
    pub(super) async fn find(&mut self, mailbox: &str) -> Result<Option<Folder>, Failure> {
        let place = self.place(mailbox).await?;
        self.find_at(&place).await
    }

    pub(super) async fn find_at(&mut self, place: &Place) -> Result<Option<Folder>, Failure> {
        let mut folder = self.store().folder_by_name(place.account, &place.name).await?;
        if let Some(folder) = &mut folder {
            place.show(folder);
        }
        Ok(folder)
    }

    /// A final separator says that mailboxes below it will come; they may anyway.
    pub(super) async fn create(&mut self, mailbox: &MailboxName, special_use: &[command::SpecialUse]) -> Performed {
        let name = mailbox.name.strip_suffix(SEPARATOR).unwrap_or(&mailbox.name);
        acceptable(name)?;
        let special_use = match special_use {
            [] => None,
            [one] => Some(stored(*one).ok_or_else(|| Failure::no("USEATTR", "No mailbox of ours can have this use."))?),
            _ => return Err(Failure::no("USEATTR", "A mailbox has one use here.")),
        };
        let place = self.new_place(name).await?;
        // RFC 6154 §3: rather none than one without its use. A user's own Trash and the like are not a shared mailbox's.
        if place.shared.is_some() && special_use.is_some() {
            return Err(Failure::no("USEATTR", "Folders of a shared mailbox have no special use."));
        }
        match self.store().folder_create(place.account, &place.name, special_use).await {
            Ok(folder) => {
                self.did(name);
                if name != mailbox.name || mailbox.written.is_some() {
                    let line = self.name_line(name, mailbox.written.as_deref()).await?;
                    self.queue(&line);
                }
                Ok(Done::with_code(format!("MAILBOXID ({})", folder.object_id), "Created."))
            }
            Err(StoreError::Conflict(_)) if self.find_at(&place).await?.is_some() => {
                Err(Failure::no("ALREADYEXISTS", "There is a mailbox of that name already."))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// With IMAP4rev2: what a mailbox is really called, and, if that is not how the client wrote it, how it did (RFC 9051 §6.3.9.7).
    pub(super) async fn name_line(&mut self, name: &str, written: Option<&str>) -> Result<String, Failure> {
        // Only who asked for it pays for it: whether there is something below, a look at all folders tells.
        if !self.enabled.rev2 {
            return Ok(String::new());
        }
        let folders = self.all_folders().await?;
        Ok(level_line(&folders, name, &self.name(name), written.map(|written| self.name(written)).as_deref()))
    }

    pub(super) async fn delete(&mut self, mailbox: &str) -> Performed {
        if mailbox == "INBOX" {
            return Err(Failure::no("CANNOT", "INBOX can't be deleted."));
        }
        let place = self.place(mailbox).await?;
        let folder = self.find_at(&place).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        keep_root(&place)?;
        self.store().folder_delete(folder.id).await?;
        self.did(mailbox);
        if self.selected.as_ref().is_some_and(|selected| selected.folder.id == folder.id) {
            self.selected = None;
        }
        Ok(Done::ok("Deleted."))
    }

    pub(super) async fn rename(&mut self, from: &str, to: &MailboxName) -> Performed {
        let name = to.name.strip_suffix(SEPARATOR).unwrap_or(&to.name);
        acceptable(name)?;
        let old = self.place(from).await?;
        let folder = self.find_at(&old).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        keep_root(&old)?;
        let new = self.new_place(name).await?;
        if new.account != old.account {
            return Err(Failure::no("CANNOT", "A mailbox can't change hands by its name: move its messages."));
        }
        if name.strip_prefix(from).is_some_and(|below| below.starts_with(SEPARATOR)) {
            return Err(Failure::no("CANNOT", "A mailbox can't be moved below itself."));
        }
        match self.store().folder_rename(folder.id, &new.name).await {
            Ok(()) => {
                self.did(name);
                if to.written.is_some() {
                    let line = self.name_line(name, to.written.as_deref()).await?;
                    self.queue(&line);
                }
                Ok(Done::ok("Renamed."))
            }
            Err(StoreError::Conflict(_)) if self.find_at(&new).await?.is_some() => {
                Err(Failure::no("ALREADYEXISTS", "There is a mailbox of that name already."))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn subscribe(&mut self, mailbox: &str, subscribed: bool) -> Performed {
        let name = mailbox.strip_suffix(SEPARATOR).unwrap_or(mailbox);
        let member = self.account()?.id;
        let place = self.place(name).await?;
        let outcome = match place.shared {
            None => self.store().folder_subscribe(member, name, subscribed).await,
            Some(_) => match self.find_at(&place).await? {
                Some(folder) => self.store().folder_subscribe_member(folder.id, member, subscribed).await,
                None if subscribed => return Err(Failure::nonexistent("NONEXISTENT")),
                None => Ok(()),
            },
        };
        match outcome {
            Err(StoreError::NotFound(_)) => return Err(Failure::nonexistent("NONEXISTENT")),
            outcome => outcome?,
        }
        self.did(name);
        Ok(Done::ok(if subscribed { "Subscribed." } else { "Unsubscribed." }))
    }

    pub(super) async fn status(&mut self, mailbox: &str, items: &[StatusItem]) -> Performed {
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore().await?;
        }
        let folder = self.find(mailbox).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        let line = self.status_line(&folder, items).await?;
        self.queue(&line);
        Ok(Done::ok("This is its state."))
    }

    /// `* STATUS mailbox (…)`
    pub(super) async fn status_line(&mut self, folder: &Folder, items: &[StatusItem]) -> Result<String, Failure> {
        let recent = if items.contains(&StatusItem::Recent) { self.store().folder_recent(folder).await? } else { 0 };
        let shown = items.iter().map(|item| match item {
            StatusItem::Messages => format!("MESSAGES {}", folder.messages),
            StatusItem::Recent => format!("RECENT {recent}"),
            StatusItem::UidNext => format!("UIDNEXT {}", folder.uidnext),
            StatusItem::UidValidity => format!("UIDVALIDITY {}", folder.uidvalidity),
            StatusItem::Unseen => format!("UNSEEN {}", folder.unseen),
            StatusItem::Deleted => format!("DELETED {}", folder.deleted),
            StatusItem::DeletedStorage => format!("DELETED-STORAGE {}", folder.deleted_bytes),
            StatusItem::Size => format!("SIZE {}", folder.bytes),
            StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", folder.highest_modseq),
            StatusItem::MailboxId => format!("MAILBOXID ({})", folder.object_id),
            StatusItem::AppendLimit => format!("APPENDLIMIT {}", self.max_message_size()),
        });
        Ok(format!("* STATUS {} ({})\r\n", self.name(&folder.name), shown.collect::<Vec<_>>().join(" ")))
    }
}

/// A shared mailbox itself is the mapping's.
fn keep_root(place: &Place) -> Result<(), Failure> {
    match place.is_root() {
        true => Err(Failure::no("CANNOT", "This mailbox is the office's; only the administrator takes it away.")),
        false => Ok(()),
    }
}

/// A name that a mailbox can have: every level has a name, and nothing in it would upset a client's list.
pub fn acceptable(name: &str) -> Result<(), Failure> {
    let bad_level = |level: &str| level.is_empty() || level == "." || level == "..";
    if name.split(SEPARATOR).any(bad_level) {
        return Err(Failure::no("CANNOT", "Between two slashes there must be a name."));
    }
    if name.chars().any(|character| character.is_control() || matches!(character, '*' | '%' | '\u{2028}' | '\u{2029}')) {
        return Err(Failure::no("CANNOT", "A mailbox name can't hold *, % or control characters."));
    }
    Ok(())
}

fn stored(special_use: command::SpecialUse) -> Option<SpecialUse> {
    use command::SpecialUse as Asked;
    match special_use {
        Asked::Archive => Some(SpecialUse::Archive),
        Asked::Drafts => Some(SpecialUse::Drafts),
        Asked::Junk => Some(SpecialUse::Junk),
        Asked::Sent => Some(SpecialUse::Sent),
        Asked::Trash => Some(SpecialUse::Trash),
        Asked::All | Asked::Flagged => None,
    }
}

/// As LIST shows it.
pub fn attribute(special_use: SpecialUse) -> &'static str {
    use command::SpecialUse as Shown;
    match special_use {
        SpecialUse::Archive => Shown::Archive,
        SpecialUse::Drafts => Shown::Drafts,
        SpecialUse::Junk => Shown::Junk,
        SpecialUse::Sent => Shown::Sent,
        SpecialUse::Trash => Shown::Trash,
    }
    .name()
}
