//! INBOX as a maildrop: a snapshot of messages with stable unique ids, and deletion in one transaction.

use super::messages::changing;
use super::{AccountId, FolderId, SMALL, Store, StoreError, flags, folders};
use rusqlite::{OptionalExtension, params};

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
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT id, uidvalidity FROM folder WHERE account = ?1 AND name = ?2")?;
            let found = select.query_row(params![account.0, folders::INBOX], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let (folder, uidvalidity): (i64, u32) = found.ok_or_else(folders::missing)?;
            let mut select = connection.prepare_cached(
                "SELECT id & 0xFFFFFFFF, size FROM message WHERE id BETWEEN ?1 << 32 AND ?1 << 32 | 0xFFFFFFFF AND flags & ?2 = 0 ORDER BY id",
            )?;
            let messages = select
                .query_map(params![folder, flags::DELETED], |row| {
                    Ok(MaildropMessage { uid: row.get(0)?, size: row.get(1)?, uidvalidity })
                })?
                .collect::<Result<_, _>>()?;
            Ok(Maildrop { folder: FolderId(folder), messages })
        })
        .await
    }

    /// Deletes these messages of a folder in one transaction, `\Deleted` or not; those that are gone already don't matter.
    pub async fn delete_messages(&self, folder: FolderId, mut uids: Vec<u32>) -> Result<(), StoreError> {
        uids.sort_unstable();
        self.write(SMALL, move |work| changing::remove(work, folder, &uids)).await
    }
}
