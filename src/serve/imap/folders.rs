//! CREATE, DELETE, RENAME, SUBSCRIBE, STATUS (RFC 9051 §6.3.4–§6.3.11).

use super::Session;
use super::outcome::{Done, Failure, Performed};
use crate::imap::command::{self, StatusItem};
use crate::imap::pattern::SEPARATOR;
use crate::store::folders::SpecialUse;
use crate::store::{Folder, StoreError};

impl Session {
    /// A mailbox of this user.
    pub(super) async fn find(&mut self, mailbox: &str) -> Result<Option<Folder>, Failure> {
        let account = self.account()?.id;
        Ok(self.store().folder_by_name(account, mailbox).await?)
    }

    /// A final separator says that mailboxes below it will come; they may anyway.
    pub(super) async fn create(&mut self, mailbox: &str, special_use: &[command::SpecialUse]) -> Performed {
        let name = mailbox.strip_suffix(SEPARATOR).unwrap_or(mailbox);
        acceptable(name)?;
        let special_use = match special_use {
            [] => None,
            [one] => Some(stored(*one).ok_or_else(|| Failure::no("USEATTR", "No mailbox of ours can have this use."))?),
            _ => return Err(Failure::no("USEATTR", "A mailbox has one use here.")),
        };
        match self.store().folder_create(self.account()?.id, name, special_use).await {
            Ok(folder) => {
                if self.enabled.rev2 && name != mailbox {
                    self.queue(&format!("* LIST () \"/\" {}\r\n", self.name(name)));
                }
                Ok(Done::with_code(format!("MAILBOXID ({})", folder.object_id), "Created."))
            }
            Err(StoreError::Conflict(_)) if self.find(name).await?.is_some() => {
                Err(Failure::no("ALREADYEXISTS", "There is a mailbox of that name already."))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn delete(&mut self, mailbox: &str) -> Performed {
        if mailbox == "INBOX" {
            return Err(Failure::no("CANNOT", "INBOX can't be deleted."));
        }
        let folder = self.find(mailbox).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        self.store().folder_delete(folder.id).await?;
        if self.selected.as_ref().is_some_and(|selected| selected.folder.id == folder.id) {
            self.selected = None;
        }
        Ok(Done::ok("Deleted."))
    }

    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Performed {
        let name = to.strip_suffix(SEPARATOR).unwrap_or(to);
        acceptable(name)?;
        let folder = self.find(from).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        if name.strip_prefix(from).is_some_and(|below| below.starts_with(SEPARATOR)) {
            return Err(Failure::no("CANNOT", "A mailbox can't be moved below itself."));
        }
        match self.store().folder_rename(folder.id, name).await {
            Ok(()) => Ok(Done::ok("Renamed.")),
            Err(StoreError::Conflict(_)) if self.find(name).await?.is_some() => {
                Err(Failure::no("ALREADYEXISTS", "There is a mailbox of that name already."))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn subscribe(&mut self, mailbox: &str, subscribed: bool) -> Performed {
        let name = mailbox.strip_suffix(SEPARATOR).unwrap_or(mailbox);
        let account = self.account()?.id;
        match self.store().folder_subscribe(account, name, subscribed).await {
            Err(StoreError::NotFound(_)) => return Err(Failure::nonexistent("NONEXISTENT")),
            outcome => outcome?,
        }
        Ok(Done::ok(if subscribed { "Subscribed." } else { "Unsubscribed." }))
    }

    pub(super) async fn status(&mut self, mailbox: &str, items: &[StatusItem]) -> Performed {
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore().await?;
        }
        let folder = self.find(mailbox).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        let line = self.status_line(&folder, items);
        self.queue(&line);
        Ok(Done::ok("This is its state."))
    }

    /// `* STATUS mailbox (…)`
    pub(super) fn status_line(&self, folder: &Folder, items: &[StatusItem]) -> String {
        let shown = items.iter().map(|item| match item {
            StatusItem::Messages => format!("MESSAGES {}", folder.messages),
            StatusItem::Recent => format!("RECENT {}", folder.recent),
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
        format!("* STATUS {} ({})\r\n", self.name(&folder.name), shown.collect::<Vec<_>>().join(" "))
    }
}

/// A name that a mailbox can have: every level has a name, and nothing in it would upset a client's list.
fn acceptable(name: &str) -> Result<(), Failure> {
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
