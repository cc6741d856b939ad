//! GETQUOTA, GETQUOTAROOT (RFC 9208): one root a user and one a shared mailbox, counting bytes.

use super::Session;
use super::folders::acceptable;
use super::outcome::{Done, Failure, Performed};
use crate::imap::response;
use crate::store::{Account, AccountId};

impl Session {
    pub(super) async fn get_quota(&mut self, root: &str) -> Performed {
        let id = self.quota_roots().await?.into_iter().find(|(name, _)| name == root).map(|(_, id)| id);
        let id = id.ok_or_else(|| Failure::no("NONEXISTENT", "There is no such quota root."))?;
        let account = self.account_now(id).await?;
        self.queue_quota(&account);
        Ok(Done::ok("This is the quota."))
    }

    pub(super) async fn get_quota_root(&mut self, mailbox: &str) -> Performed {
        let place = self.place(mailbox).await?;
        // RFC 9208 §4.1.2: a client may ask before it makes the mailbox; such a one as it could make.
        if self.find_at(&place).await?.is_none() && (acceptable(mailbox).is_err() || self.new_place(mailbox).await.is_err()) {
            return Err(Failure::nonexistent("NONEXISTENT"));
        }
        let name = self.name(mailbox);
        // The tray counts for nobody.
        let Some(account) = self.store().account_by_id(place.account).await? else {
            self.queue(&format!("* QUOTAROOT {name}\r\n"));
            return Ok(Done::ok("It has no quota."));
        };
        self.queue(&format!("* QUOTAROOT {name} {}\r\n", root(&account)));
        self.queue_quota(&account);
        Ok(Done::ok("This is the quota."))
    }

    async fn account_now(&mut self, id: AccountId) -> Result<Account, Failure> {
        self.store().account_by_id(id).await?.ok_or_else(|| Failure::no("NONEXISTENT", "There is no such quota root."))
    }

    /// Those that this user may see.
    async fn quota_roots(&mut self) -> Result<Vec<(String, AccountId)>, Failure> {
        let own = self.account()?;
        let mut roots = vec![(own.mailbox.to_string(), own.id)];
        roots.extend(self.shared_accounts().await?.into_iter().map(|account| (account.mailbox.to_string(), account.id)));
        Ok(roots)
    }

    /// STORAGE counts units of 1,024 bytes. Who has no limit has an empty list.
    fn queue_quota(&mut self, account: &Account) {
        let resources = account.quota.map_or(String::new(), |quota| format!("STORAGE {} {}", account.bytes.div_ceil(1024), quota / 1024));
        self.queue(&format!("* QUOTA {} ({resources})\r\n", root(account)));
    }
}

/// `alice`, `shared:help`
fn root(account: &Account) -> String {
    response::mailbox(&account.mailbox.to_string(), true)
}
