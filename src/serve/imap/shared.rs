//! `[shared]` mailboxes: `Shared/NAME` for its members (the shared namespace of RFC 2342), with one state for all of them.
//!
//! The mailbox's own INBOX stands at `Shared/NAME`, its other folders below. Who is no member sees nothing of it, from the moment when the
//! mapping says so.

use super::Session;
use super::outcome::{Done, Failure, Performed};
use crate::mapping::Mailbox;
use crate::store::folders::INBOX;
use crate::store::{Account, AccountId, Folder};

/// Above all shared mailboxes. A user's own folder of such a name is shown too, unless a shared mailbox stands there.
const ROOT: &str = "Shared";

/// What no mapping claimed, for the postmaster. No shared mailbox has such a name: theirs are in lower case.
pub const TRAY: &str = "Tray";

/// Where the name of a mailbox leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Whose folders.
    pub account: AccountId,
    /// The folder's name among them.
    pub name: String,
    /// The shared mailbox, if it is one's.
    pub shared: Option<String>,
}

impl Place {
    /// The very mailbox that the mapping names: it is there as long as the mapping says so.
    pub fn is_root(&self) -> bool {
        self.shared.is_some() && self.name == INBOX
    }

    /// The tray: what is in it is the mapping's and the administrator's business.
    pub fn is_tray(&self) -> bool {
        self.shared.as_deref() == Some(TRAY)
    }

    /// Gives a folder the name that the client knows it by.
    pub fn show(&self, folder: &mut Folder) {
        if let Some(shared) = &self.shared {
            show(shared, folder);
        }
    }
}

impl Session {
    /// Where a name leads, whether there is such a folder or not.
    pub(super) async fn place(&mut self, mailbox: &str) -> Result<Place, Failure> {
        let own = self.account()?.id;
        if mailbox.strip_prefix(ROOT).and_then(|below| below.strip_prefix('/')) == Some(TRAY)
            && let Some(tray) = self.tray().await?
        {
            return Ok(Place { account: tray.account, name: INBOX.into(), shared: Some(TRAY.into()) });
        }
        if let Some((shared, below)) = split(mailbox)
            && shared != TRAY
            && self.is_member(shared)
            && let Some(account) = self.store().account(&Mailbox::Shared(shared.into())).await?
        {
            let name = match below {
                None => INBOX,
                // It has one name, not two.
                Some(below) if below.eq_ignore_ascii_case(INBOX) => return Err(Failure::nonexistent("NONEXISTENT")),
                Some(below) => below,
            };
            return Ok(Place { account: account.id, name: name.into(), shared: Some(shared.into()) });
        }
        Ok(Place { account: own, name: mailbox.into(), shared: None })
    }

    /// The same for a folder to be made.
    pub(super) async fn new_place(&mut self, mailbox: &str) -> Result<Place, Failure> {
        let place = self.place(mailbox).await?;
        if place.shared.is_none() && (mailbox == ROOT || split(mailbox).is_some()) {
            return Err(Failure::no("CANNOT", "The office's shared mailboxes stand there; the administrator makes them."));
        }
        Ok(place)
    }

    /// Every folder that this user sees, by the names that he knows them by.
    pub(super) async fn all_folders(&mut self) -> Result<Vec<Folder>, Failure> {
        let (store, own) = (self.store(), self.account()?.id);
        let mut folders = store.folders(own).await?;
        let shared = self.shared_accounts().await?;
        let tray = self.tray().await?;
        if shared.is_empty() && tray.is_none() {
            return Ok(folders);
        }
        let taken = |name: &str| shared.iter().any(|account| account.name() == name) || (tray.is_some() && name == TRAY);
        folders.retain(|folder| !split(&folder.name).is_some_and(|(name, _)| taken(name)));
        let unsubscribed = store.unsubscribed(own).await?;
        for account in shared {
            for mut folder in store.folders(account.id).await? {
                folder.subscribed = !unsubscribed.contains(&folder.id);
                show(account.name(), &mut folder);
                folders.push(folder);
            }
        }
        if let Some(mut tray) = tray {
            tray.subscribed = !unsubscribed.contains(&tray.id);
            show(TRAY, &mut tray);
            folders.push(tray);
        }
        Ok(folders)
    }

    /// The shared mailboxes that this user reads.
    pub(super) async fn shared_accounts(&mut self) -> Result<Vec<Account>, Failure> {
        let mut accounts = Vec::new();
        for name in self.memberships() {
            accounts.extend(self.store().account(&Mailbox::Shared(name)).await?);
        }
        Ok(accounts)
    }

    /// The postmaster reads the tray, once there was something in it.
    async fn tray(&mut self) -> Result<Option<Folder>, Failure> {
        match self.is_member(TRAY) {
            true => Ok(self.store().tray_folder().await?),
            false => Ok(None),
        }
    }

    pub(super) async fn namespace(&mut self) -> Performed {
        let shared =
            if self.memberships().is_empty() && self.tray().await?.is_none() { "NIL".to_owned() } else { format!("((\"{ROOT}/\" \"/\"))") };
        self.queue(&format!("* NAMESPACE ((\"\" \"/\")) NIL {shared}\r\n"));
        Ok(Done::ok("These are the namespaces."))
    }

    /// Ends the session of somebody who has a shared mailbox open and is no member any more.
    pub(super) fn require_membership(&self) -> Result<(), Failure> {
        match self.selected.as_ref().and_then(|selected| selected.shared.as_deref()) {
            Some(shared) if !self.is_member(shared) => Err(Failure::Bye("[CLOSED] The mailbox is no longer shared with you.".into())),
            _ => Ok(()),
        }
    }

    fn is_member(&self, shared: &str) -> bool {
        if shared == TRAY {
            return self.account.as_ref().is_some_and(|account| account.name() == self.context.now().config.office.postmaster);
        }
        self.account.as_ref().is_some_and(|account| self.context.now().mapping.is_shared_with(shared, account.name()))
    }

    fn memberships(&self) -> Vec<String> {
        self.account.as_ref().map_or_else(Vec::new, |account| self.context.now().mapping.memberships(account.name()))
    }
}

/// As [`Place::show`]. Special uses are the user's own folders' alone: a client that finds two of a kind takes either.
fn show(shared: &str, folder: &mut Folder) {
    folder.name = if folder.name == INBOX { format!("{ROOT}/{shared}") } else { format!("{ROOT}/{shared}/{}", folder.name) };
    folder.special_use = None;
}

/// The shared mailbox and the folder in it.
fn split(mailbox: &str) -> Option<(&str, Option<&str>)> {
    let below = mailbox.strip_prefix(ROOT)?.strip_prefix('/')?;
    Some(below.split_once('/').map_or((below, None), |(shared, folder)| (shared, Some(folder))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (mailbox, expected) in [
            ("Shared/help", Some(("help", None))),
            ("Shared/help/Old/2020", Some(("help", Some("Old/2020")))),
            ("Shared", None),
            ("Sharedx/help", None),
            ("Shared help", None),
            ("INBOX", None),
        ] {
            assert_eq!(split(mailbox), expected, "{mailbox}");
        }
    }
}
