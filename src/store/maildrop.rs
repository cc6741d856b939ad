//! INBOX as a maildrop: a snapshot of messages with stable unique ids, and deletion in one transaction.

use super::{AccountId, FolderId, Store, StoreError};

/// INBOX at one moment.
#[derive(Debug, Clone)]
pub struct Maildrop {
    /// INBOX. Bytes are read with [`Store::message`].
    pub folder: FolderId,
    /// In the order of arrival.
    pub messages: Vec<MaildropMessage>,
}

/// One message of a [`Maildrop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaildropMessage {
    /// UID in INBOX.
    pub uid: u32,
    /// Bytes: prefix and original.
    pub size: u64,
    /// UIDVALIDITY at the time; half of the unique id.
    pub uidvalidity: u32,
}

impl MaildropMessage {
    /// The unique id (RFC 1939 §7): stored numbers, so it survives restart, rename and backup.
    pub fn unique_id(&self) -> String {
        format!("{}.{}", self.uidvalidity, self.uid)
    }
}

impl Store {
    /// INBOX of an account, messages with `\Deleted` left out.
    pub async fn maildrop(&self, account: AccountId) -> Result<Maildrop, StoreError> {
        todo!("{account:?}")
    }

    /// Deletes these messages of a folder in one transaction, `\Deleted` or not; those that are gone already don't matter.
    pub async fn delete_messages(&self, folder: FolderId, uids: Vec<u32>) -> Result<(), StoreError> {
        todo!("{folder:?} {uids:?}")
    }
}
