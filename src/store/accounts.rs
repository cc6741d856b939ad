//! Users and shared mailboxes, their quota and counters.

use super::{Store, StoreError};
use crate::mapping::Mailbox;

/// Of a user or shared mailbox; survives renaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

/// A user or a shared mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Stable.
    pub id: AccountId,
    /// User or shared, by name.
    pub mailbox: Mailbox,
    /// `--name`
    pub full_name: Option<String>,
    /// May not log in; still gets mail.
    pub disabled: bool,
    /// Bytes; `None` is no limit.
    pub quota: Option<u64>,
    /// In all folders.
    pub messages: u64,
    /// In all folders, prefixes included.
    pub bytes: u64,
    /// Rises whenever the password is set or the account is disabled, renamed or enabled: what was remembered of a log-in is void then.
    pub generation: i64,
    /// When it was made.
    pub created: i64,
}

impl Account {
    /// The log-in name of a user, the name of a shared mailbox.
    pub fn name(&self) -> &str {
        match &self.mailbox {
            Mailbox::User(name) | Mailbox::Shared(name) => name,
        }
    }
}

/// Whether the name can be a user's (product page, "User names"); if not, why in words.
pub fn check_user_name(name: &str) -> Result<(), String> {
    todo!("{name}")
}

impl Store {
    /// Every user and shared mailbox, by name.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        todo!()
    }

    /// One of them.
    pub async fn account(&self, mailbox: &Mailbox) -> Result<Option<Account>, StoreError> {
        todo!("{mailbox:?}")
    }

    /// One of them, as it is now.
    pub async fn account_by_id(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        todo!("{id:?}")
    }

    /// Adds a user (without a password yet) or shared mailbox with its default folders. [`StoreError::Conflict`] if the name is taken.
    pub async fn account_add(&self, mailbox: &Mailbox, full_name: Option<&str>, quota: Option<u64>) -> Result<AccountId, StoreError> {
        todo!("{mailbox:?} {full_name:?} {quota:?}")
    }

    /// Changes a name, everything else stays.
    pub async fn account_rename(&self, id: AccountId, name: &str) -> Result<(), StoreError> {
        todo!("{id:?} {name}")
    }

    /// Lets a user log in, or not.
    pub async fn account_disable(&self, id: AccountId, disabled: bool) -> Result<(), StoreError> {
        todo!("{id:?} {disabled}")
    }

    /// Sets full name and quota.
    pub async fn account_describe(&self, id: AccountId, full_name: Option<&str>, quota: Option<u64>) -> Result<(), StoreError> {
        todo!("{id:?} {full_name:?} {quota:?}")
    }

    /// Removes an account with its folders and messages.
    pub async fn account_remove(&self, id: AccountId) -> Result<(), StoreError> {
        todo!("{id:?}")
    }
}
