//! Users and shared mailboxes, their quota and counters.

use super::{Change, FolderId, SMALL, Store, StoreError, Work, folders, now};
use crate::address::Address;
use crate::mapping::Mailbox;
use rusqlite::{Connection, OptionalExtension, Row, params};

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

/// Longer names are slips.
const MAX_NAME: usize = 200;

/// Words of the mapping files that can't be users as well.
const RESERVED: [&str; 4] = ["hold", "discard", "remote", "mapped"];

/// Whether the name can be a user's: `[a-z0-9][a-z0-9._-]*` or a full address in lower case. If not, why in words.
pub fn check_user_name(name: &str) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!("“{name}” has a meaning of its own in mapping files: choose another name"));
    }
    if name.len() > MAX_NAME {
        return Err(format!("a user name has at most {MAX_NAME} characters"));
    }
    if name != name.to_lowercase() {
        return Err(format!("a user name is written in small letters: “{}”", name.to_lowercase()));
    }
    if name.contains('@') {
        return Address::parse(name).map(drop).map_err(|error| error.to_string());
    }
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    match name.chars().next() {
        Some(first) if first.is_ascii_lowercase() || first.is_ascii_digit() => match name.chars().find(|c| !rest(*c)) {
            None => Ok(()),
            Some(c) => Err(format!("a user name holds letters, digits, dots, hyphens and underscores, not “{c}”")),
        },
        _ => Err("a user name begins with a letter or digit, or is a full address".into()),
    }
}

impl Store {
    /// Every user and shared mailbox, by name.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE kind <> 'removed' ORDER BY kind DESC, name"))?;
            Ok(select.query_map([], account)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// One of them.
    pub async fn account(&self, mailbox: &Mailbox) -> Result<Option<Account>, StoreError> {
        let mailbox = mailbox.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE kind = ?1 AND name = ?2"))?;
            let (kind, name) = parts(&mailbox);
            Ok(select.query_row([kind, name], account).optional()?)
        })
        .await
    }

    /// One of them, as it is now.
    pub async fn account_by_id(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.read(move |connection| find(connection, id)).await
    }

    /// Adds a user (without a password yet) or shared mailbox with its default folders. [`StoreError::Conflict`] if the name is taken.
    /// The mail of a removed user of that name is there again.
    pub async fn account_add(&self, mailbox: &Mailbox, full_name: Option<&str>, quota: Option<u64>) -> Result<AccountId, StoreError> {
        if let Mailbox::User(name) = mailbox {
            check_user_name(name).map_err(StoreError::Conflict)?;
        }
        let (mailbox, full_name) = (mailbox.clone(), full_name.map(str::to_owned));
        self.write(SMALL, move |work| {
            if id_by_name(work, &mailbox)?.is_some() {
                return Err(StoreError::Conflict(format!("there is a user {mailbox} already")));
            }
            let id = match (&mailbox, removed_by_name(work, mailbox_name(&mailbox))?) {
                (Mailbox::User(_), Some(id)) => {
                    work.prepare_cached("UPDATE account SET kind = 'user', disabled = 0, generation = generation + 1 WHERE id = ?1")?
                        .execute([id.0])?;
                    id
                }
                _ => make(work, &mailbox)?,
            };
            describe(work, id, full_name.as_deref(), quota)?;
            Ok(id)
        })
        .await
    }

    /// Changes a name, everything else stays.
    pub async fn account_rename(&self, id: AccountId, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(SMALL, move |work| {
            let old = require(work, id)?;
            let new = match &old.mailbox {
                Mailbox::User(_) => {
                    check_user_name(&name).map_err(StoreError::Conflict)?;
                    Mailbox::User(name.clone())
                }
                Mailbox::Shared(_) => Mailbox::Shared(name.clone()),
            };
            if id_by_name(work, &new)?.is_some() {
                return Err(StoreError::Conflict(format!("there is a user {new} already")));
            }
            if removed_by_name(work, &name)?.is_some() {
                return Err(StoreError::Conflict(format!(
                    "the mail of a removed user {name} is still here: remove it with --delete-mail first"
                )));
            }
            work.prepare_cached("UPDATE account SET name = ?2, generation = generation + 1 WHERE id = ?1")?.execute(params![id.0, name])?;
            if let Mailbox::User(old) = &old.mailbox {
                work.prepare_cached("UPDATE queue SET owner = ?2 WHERE owner = ?1")?.execute([old, &name])?;
                work.prepare_cached("UPDATE approval SET manager = ?2 WHERE manager = ?1")?.execute([old, &name])?;
            }
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// Lets a user log in, or not.
    pub async fn account_disable(&self, id: AccountId, disabled: bool) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            require(work, id)?;
            work.prepare_cached("UPDATE account SET disabled = ?2, generation = generation + 1 WHERE id = ?1")?
                .execute(params![id.0, disabled])?;
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// Sets full name and quota.
    pub async fn account_describe(&self, id: AccountId, full_name: Option<&str>, quota: Option<u64>) -> Result<(), StoreError> {
        let full_name = full_name.map(str::to_owned);
        self.write(SMALL, move |work| {
            require(work, id)?;
            describe(work, id, full_name.as_deref(), quota)
        })
        .await
    }

    /// Removes a user but keeps the mail: it is there again when a user of that name is added.
    pub async fn account_retire(&self, id: AccountId) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            require(work, id)?;
            work.prepare_cached(
                "UPDATE account SET kind = 'removed', password = NULL, disabled = 1, generation = generation + 1 WHERE id = ?1",
            )?
            .execute([id.0])?;
            work.prepare_cached("DELETE FROM scram WHERE account = ?1")?.execute([id.0])?;
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// The removed user of that name whose mail is still here.
    pub async fn account_removed(&self, name: &str) -> Result<Option<AccountId>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| removed_by_name(connection, &name)).await
    }

    /// Makes a user's folders another one's, below one that has the first one's name. What is empty stays behind, and those that every user
    /// has are there anew.
    pub async fn account_hand_over(&self, id: AccountId, to: AccountId) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            let (from, to) = (require(work, id)?, require(work, to)?);
            let mut above = from.name().replace('/', "-");
            while folders::exists(work, to.id, &above)? {
                above.push('\'');
            }
            work.prepare_cached(
                "UPDATE folder SET account = ?2, name = ?3 || '/' || name, special_use = NULL WHERE account = ?1 AND messages > 0",
            )?
            .execute(params![id.0, to.id.0, above])?;
            folders::mend_defaults(work, id)?;
            recount(work, id)?;
            recount(work, to.id)?;
            work.changed(Change::Folders(id));
            work.changed(Change::Folders(to.id));
            Ok(())
        })
        .await
    }

    /// Removes an account with its folders and messages.
    pub async fn account_remove(&self, id: AccountId) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            let folders: Vec<i64> = {
                let mut select = work.prepare_cached("SELECT id FROM folder WHERE account = ?1")?;
                select.query_map([id.0], |row| row.get(0))?.collect::<Result<_, _>>()?
            };
            for folder in folders {
                folders::delete(work, FolderId(folder))?;
            }
            work.prepare_cached("DELETE FROM account WHERE id = ?1")?.execute([id.0])?;
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }
}

/// What an account's row holds, for those that select more beside it.
pub const SELECT: &str = "SELECT id, kind, name, full_name, disabled, quota, messages, bytes, generation, created FROM account";

/// Reads what [`SELECT`] selects.
pub fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let (kind, name): (String, String) = (row.get(1)?, row.get(2)?);
    Ok(Account {
        id: AccountId(row.get(0)?),
        mailbox: if kind == "shared" { Mailbox::Shared(name) } else { Mailbox::User(name) },
        full_name: row.get(3)?,
        disabled: row.get(4)?,
        quota: row.get(5)?,
        messages: row.get(6)?,
        bytes: row.get(7)?,
        generation: row.get(8)?,
        created: row.get(9)?,
    })
}

fn parts(mailbox: &Mailbox) -> (&'static str, &str) {
    match mailbox {
        Mailbox::User(name) => ("user", name),
        Mailbox::Shared(name) => ("shared", name),
    }
}

/// One account.
pub fn find(connection: &Connection, id: AccountId) -> Result<Option<Account>, StoreError> {
    Ok(connection.prepare_cached(&format!("{SELECT} WHERE id = ?1 AND kind <> 'removed'"))?.query_row([id.0], account).optional()?)
}

fn mailbox_name(mailbox: &Mailbox) -> &str {
    parts(mailbox).1
}

fn removed_by_name(connection: &Connection, name: &str) -> Result<Option<AccountId>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM account WHERE kind = 'removed' AND name = ?1")?;
    Ok(select.query_row([name], |row| row.get(0).map(AccountId)).optional()?)
}

/// After whole folders changed hands.
fn recount(connection: &Connection, id: AccountId) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE account SET (messages, bytes) = (SELECT ifnull(sum(messages), 0), ifnull(sum(bytes), 0) FROM folder
                                                 WHERE account = ?1)
             WHERE id = ?1",
        )?
        .execute([id.0])?;
    Ok(())
}

fn require(connection: &Connection, id: AccountId) -> Result<Account, StoreError> {
    find(connection, id)?.ok_or_else(|| StoreError::NotFound("the user no longer exists".into()))
}

/// The number of a mailbox, if there is such a one.
pub fn id_by_name(connection: &Connection, mailbox: &Mailbox) -> Result<Option<AccountId>, StoreError> {
    let (kind, name) = parts(mailbox);
    let mut select = connection.prepare_cached("SELECT id FROM account WHERE kind = ?1 AND name = ?2")?;
    Ok(select.query_row([kind, name], |row| row.get(0).map(AccountId)).optional()?)
}

/// The account that mail goes to, inside a transaction. Shared mailboxes exist by being named in the mapping, users by being added.
pub fn find_or_make_shared(work: &mut Work<'_>, mailbox: &Mailbox) -> Result<AccountId, StoreError> {
    match (id_by_name(work, mailbox)?, mailbox) {
        (Some(id), _) => Ok(id),
        (None, Mailbox::Shared(_)) => make(work, mailbox),
        (None, Mailbox::User(name)) => Err(StoreError::NotFound(format!("there is no user {name}"))),
    }
}

fn make(work: &mut Work<'_>, mailbox: &Mailbox) -> Result<AccountId, StoreError> {
    let (kind, name) = parts(mailbox);
    let id = AccountId(work.prepare_cached("INSERT INTO account (kind, name, created) VALUES (?1, ?2, ?3)")?.insert(params![
        kind,
        name,
        now()
    ])?);
    folders::make_defaults(work, id, matches!(mailbox, Mailbox::User(_)))?;
    work.changed(Change::Users);
    Ok(id)
}

fn describe(work: &mut Work<'_>, id: AccountId, full_name: Option<&str>, quota: Option<u64>) -> Result<(), StoreError> {
    work.prepare_cached("UPDATE account SET full_name = ?2, quota = ?3 WHERE id = ?1")?.execute(params![id.0, full_name, quota])?;
    work.changed(Change::Users);
    Ok(())
}

/// Whether that many bytes more fit into the quota. Only for what clients put there themselves. Who is above it already, since mail is taken
/// in any case, still does what needs no room: a draft that becomes shorter (RFC 8508 §3.4).
pub fn require_room(connection: &Connection, id: AccountId, more: u64) -> Result<(), StoreError> {
    if more == 0 {
        return Ok(());
    }
    let account = require(connection, id)?;
    match account.quota {
        Some(quota) if account.bytes.saturating_add(more) > quota => Err(StoreError::OverQuota),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names() {
        for good in ["alice", "a", "0", "anna.b_c-d", "anna@beta.example"] {
            assert_eq!(check_user_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".a", "-a", "Alice", "a b", "a/b", "hold", "discard", "remote", "mapped", "anna@", "ä", "a\n"] {
            assert!(check_user_name(bad).is_err(), "{bad}");
        }
    }
}
