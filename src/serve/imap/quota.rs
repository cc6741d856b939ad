//! GETQUOTA, GETQUOTAROOT (RFC 9208): one root a user, counting bytes.

use super::Session;
use super::outcome::{Done, Failure, Performed};
use crate::imap::response;

impl Session {
    pub(super) async fn get_quota(&mut self, root: &str) -> Performed {
        if root != self.account()?.name() {
            return Err(Failure::no("NONEXISTENT", "There is no such quota root."));
        }
        self.queue_quota().await?;
        Ok(Done::ok("This is the quota."))
    }

    pub(super) async fn get_quota_root(&mut self, mailbox: &str) -> Performed {
        let folder = self.find(mailbox).await?.ok_or_else(|| Failure::nonexistent("NONEXISTENT"))?;
        let root = response::mailbox(self.account()?.name(), true);
        self.queue(&format!("* QUOTAROOT {} {root}\r\n", self.name(&folder.name)));
        self.queue_quota().await?;
        Ok(Done::ok("This is the quota."))
    }

    /// STORAGE counts units of 1,024 bytes. A user without limit has an empty list.
    async fn queue_quota(&mut self) -> Result<(), Failure> {
        let account = self.account()?;
        let now = self.context.store.account_by_id(account.id).await?.unwrap_or_else(|| account.clone());
        let root = response::mailbox(now.name(), true);
        let resources = now.quota.map_or(String::new(), |quota| format!("STORAGE {} {}", now.bytes.div_ceil(1024), quota / 1024));
        self.queue(&format!("* QUOTA {root} ({resources})\r\n"));
        Ok(())
    }
}
