//! Folders of an account. Names are UTF-8 with `/` between levels; INBOX is INBOX in any case.
//!
//! UIDVALIDITY and UIDs are stored and never given twice, also after a folder was deleted and made again.

use super::messages::changing;
use super::{AccountId, Change, SMALL, Store, StoreError, Work, messages, now, settings};
use rusqlite::{Connection, OptionalExtension, Row, params};
use unicode_normalization::UnicodeNormalization;

/// Of one folder of one mailbox; survives renaming, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderId(pub i64);

/// What a folder is for (RFC 6154).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

/// A folder with its counters, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Stable.
    pub id: FolderId,
    /// Whose.
    pub account: AccountId,
    /// `/` between levels. A parent need not exist.
    pub name: String,
    /// UIDVALIDITY
    pub uidvalidity: u32,
    /// UIDNEXT
    pub uidnext: u32,
    /// HIGHESTMODSEQ, from 1.
    pub highest_modseq: u64,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// LSUB
    pub subscribed: bool,
    /// MAILBOXID (RFC 8474).
    pub object_id: String,
    /// Names of the keyword bits: bit n is `keywords[n]`; empty text for a free bit.
    pub keywords: Vec<String>,
    /// Messages.
    pub messages: u32,
    /// Without `\Seen`.
    pub unseen: u32,
    /// With `\Deleted`.
    pub deleted: u32,
    /// The lowest UID that no session was told of as `\Recent` yet; see [`Store::folder_take_recent`].
    pub recent_from: u32,
    /// Bytes of all, prefixes included.
    pub bytes: u64,
    /// Bytes of those with `\Deleted` (STATUS DELETED-STORAGE).
    pub deleted_bytes: u64,
}

/// Keywords that one folder can have at a time: one bit each in a signed 64-bit integer, with some room.
pub const MAX_KEYWORDS: usize = 60;

/// Bytes of a folder name: more than any client makes, few enough that LIST stays small.
pub const MAX_FOLDER_NAME: usize = 500;

/// Folders of one account: a client that makes more is out of its mind.
pub const MAX_FOLDERS: usize = 10_000;

/// Where mail arrives.
pub const INBOX: &str = "INBOX";

/// What every user finds at the first log-in, beside INBOX.
const DEFAULT: [(&str, SpecialUse); 5] = [
    ("Archive", SpecialUse::Archive),
    ("Drafts", SpecialUse::Drafts),
    ("Junk", SpecialUse::Junk),
    ("Sent", SpecialUse::Sent),
    ("Trash", SpecialUse::Trash),
];

impl SpecialUse {
    /// Its attribute without the backslash.
    pub fn as_str(self) -> &'static str {
        match self {
            SpecialUse::Archive => "Archive",
            SpecialUse::Drafts => "Drafts",
            SpecialUse::Junk => "Junk",
            SpecialUse::Sent => "Sent",
            SpecialUse::Trash => "Trash",
        }
    }

    fn parse(text: &str) -> Option<SpecialUse> {
        DEFAULT.into_iter().map(|(_, special_use)| special_use).find(|known| known.as_str() == text)
    }
}

/// A name as it is stored: INBOX in capitals, NFC, no empty level, no control character. Otherwise why not, in words.
pub fn canonical_name(name: &str) -> Result<String, String> {
    let name: String = name.nfc().collect();
    if name.len() > MAX_FOLDER_NAME {
        return Err(format!("a folder name has at most {MAX_FOLDER_NAME} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err("a folder name can't hold control characters".into());
    }
    if name.split('/').any(|level| level.trim().is_empty()) {
        return Err("a folder name needs something on each side of each /".into());
    }
    let (top, below) = name.split_at(name.find('/').unwrap_or(name.len()));
    Ok(if top.eq_ignore_ascii_case(INBOX) { format!("{INBOX}{below}") } else { name })
}

impl Store {
    /// Every folder of an account with its counters, by name, INBOX first. One snapshot: enough for LIST, LSUB, STATUS and LIST-STATUS.
    pub async fn folders(&self, account: AccountId) -> Result<Vec<Folder>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE account = ?1 ORDER BY name <> 'INBOX', name"))?;
            let mut folders = select.query_map([account.0], folder)?.collect::<Result<Vec<_>, _>>()?;
            for folder in &mut folders {
                folder.keywords = keywords(connection, folder.id)?;
            }
            Ok(folders)
        })
        .await
    }

    /// One folder.
    pub async fn folder(&self, id: FolderId) -> Result<Option<Folder>, StoreError> {
        self.read(move |connection| find(connection, id)).await
    }

    /// One folder, by name.
    pub async fn folder_by_name(&self, account: AccountId, name: &str) -> Result<Option<Folder>, StoreError> {
        let Ok(name) = canonical_name(name) else { return Ok(None) };
        self.read(move |connection| match id_by_name(connection, account, &name)? {
            Some(id) => find(connection, id),
            None => Ok(None),
        })
        .await
    }

    /// Makes a folder, subscribed only if its name was before. [`StoreError::Conflict`] if it exists, or if the name can't be one.
    pub async fn folder_create(&self, account: AccountId, name: &str, special_use: Option<SpecialUse>) -> Result<Folder, StoreError> {
        let name = canonical_name(name).map_err(StoreError::Conflict)?;
        self.write(SMALL, move |work| {
            require_free(work, account, &name)?;
            let made: usize =
                work.prepare_cached("SELECT count(*) FROM folder WHERE account = ?1")?.query_row([account.0], |row| row.get(0))?;
            if made >= MAX_FOLDERS {
                return Err(StoreError::Conflict(format!("more than {MAX_FOLDERS} folders are too many")));
            }
            let subscribed = take_lost(work, account, &name)?;
            let id = make(work, account, &name, special_use)?;
            work.prepare_cached("UPDATE folder SET subscribed = ?2 WHERE id = ?1")?.execute(params![id.0, subscribed])?;
            require(work, id)
        })
        .await
    }

    /// Deletes a folder and its messages; its children stay. INBOX refuses.
    pub async fn folder_delete(&self, id: FolderId) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            if require(work, id)?.name == INBOX {
                return Err(StoreError::Conflict("INBOX can't be deleted".into()));
            }
            delete(work, id)
        })
        .await
    }

    /// Renames a folder and its children. Renaming INBOX moves its messages to a new folder and leaves INBOX empty (RFC 9051 §6.3.6).
    ///
    /// Deviation from the same section, which leaves subscriptions with the old names: they go along. Who shows nothing but subscribed
    /// folders would lose sight of one that he renamed, and find a name there that leads nowhere.
    pub async fn folder_rename(&self, id: FolderId, name: &str) -> Result<(), StoreError> {
        let name = canonical_name(name).map_err(StoreError::Conflict)?;
        self.write(SMALL, move |work| {
            let old = require(work, id)?;
            require_free(work, old.account, &name)?;
            if old.name == INBOX {
                let target = make(work, old.account, &name, None)?;
                changing::move_all(work, id, target)?;
                return Ok(());
            }
            if name.strip_prefix(&old.name).is_some_and(|below| below.starts_with('/')) {
                return Err(StoreError::Conflict("a folder can't be moved into itself".into()));
            }
            let mut select =
                work.connection.prepare_cached("SELECT id, name FROM folder WHERE account = ?1 AND substr(name, 1, ?3) = ?2")?;
            let above = format!("{}/", old.name);
            let children: Vec<(i64, String)> = select
                .query_map(params![old.account.0, above, above.chars().count()], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let mut update =
                work.connection.prepare_cached("UPDATE folder SET name = ?2, subscribed = subscribed OR ?3, placed = ?4 WHERE id = ?1")?;
            update.execute(params![id.0, name, take_lost(work, old.account, &name)?, now()])?;
            for (child, child_name) in children {
                let renamed = format!("{name}/{}", &child_name[above.len()..]);
                require_free(work, old.account, &renamed)?;
                if renamed.len() > MAX_FOLDER_NAME {
                    return Err(StoreError::Conflict(format!("a folder name has at most {MAX_FOLDER_NAME} bytes")));
                }
                update.execute(params![child, renamed, take_lost(work, old.account, &renamed)?, now()])?;
                work.changed(Change::Folder(FolderId(child)));
            }
            work.changed(Change::Folder(id));
            work.changed(Change::Folders(old.account));
            Ok(())
        })
        .await
    }

    /// Subscribes or unsubscribes. A name without folder can only be unsubscribed, also if it is not subscribed: a client that renamed a
    /// folder lets go of the old name (RFC 9051 §6.3.6). [`StoreError::NotFound`] otherwise.
    pub async fn folder_subscribe(&self, account: AccountId, name: &str, subscribed: bool) -> Result<(), StoreError> {
        let name = canonical_name(name).map_err(StoreError::NotFound)?;
        self.write(SMALL, move |work| {
            let folder = id_by_name(work, account, &name)?;
            if folder.is_none() && subscribed {
                return Err(missing());
            }
            take_lost(work, account, &name)?;
            if let Some(id) = folder {
                work.prepare_cached("UPDATE folder SET subscribed = ?2 WHERE id = ?1")?.execute(params![id.0, subscribed])?;
            }
            work.changed(Change::Folders(account));
            Ok(())
        })
        .await
    }

    /// Subscribes a member to a folder of a shared mailbox, or unsubscribes; the other members see nothing of that.
    pub async fn folder_subscribe_member(&self, id: FolderId, member: AccountId, subscribed: bool) -> Result<(), StoreError> {
        self.write(SMALL, move |work| {
            require(work, id)?;
            let sql = match subscribed {
                true => "DELETE FROM unsubscribed WHERE folder = ?1 AND account = ?2",
                false => "INSERT OR IGNORE INTO unsubscribed (folder, account) VALUES (?1, ?2)",
            };
            work.prepare_cached(sql)?.execute(params![id.0, member.0])?;
            work.changed(Change::Folders(member));
            Ok(())
        })
        .await
    }

    /// The folders of shared mailboxes that a member unsubscribed.
    pub async fn unsubscribed(&self, member: AccountId) -> Result<Vec<FolderId>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT folder FROM unsubscribed WHERE account = ?1")?;
            Ok(select.query_map([member.0], |row| row.get(0).map(FolderId))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Subscribed names whose folder is gone, by name.
    pub async fn lost_subscriptions(&self, account: AccountId) -> Result<Vec<String>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT name FROM subscription WHERE account = ?1 ORDER BY name")?;
            Ok(select.query_map([account.0], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// How many messages no session was told of as `\Recent` yet. They are counted one by one, and may be all there are.
    pub async fn folder_recent(&self, folder: &Folder) -> Result<u32, StoreError> {
        let (first, behind) = (folder.id.0 << 32 | i64::from(folder.recent_from), folder.id.0 << 32 | i64::from(folder.uidnext));
        if first == behind {
            return Ok(0);
        }
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT count(*) FROM message WHERE id >= ?1 AND id < ?2")?;
            Ok(select.query_row([first, behind], |row| row.get(0))?)
        })
        .await
    }

    /// The UIDs that no session was told of as `\Recent` yet: they are the caller's alone. For SELECT of IMAP4rev1.
    pub async fn folder_take_recent(&self, id: FolderId) -> Result<std::ops::Range<u32>, StoreError> {
        let seen = self
            .read(move |connection| {
                let mut select = connection.prepare_cached("SELECT recent, uidnext FROM folder WHERE id = ?1")?;
                let seen: Option<(u32, u32)> = select.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                seen.ok_or_else(missing)
            })
            .await?;
        // Nothing new, nothing to write: opening a folder must not cost a sync.
        if seen.0 == seen.1 {
            return Ok(seen.0..seen.1);
        }
        self.write(SMALL, move |work| {
            let mut select = work.prepare_cached("SELECT recent, uidnext FROM folder WHERE id = ?1")?;
            let recent = select.query_row([id.0], |row| Ok(row.get(0)?..row.get(1)?)).optional()?.ok_or_else(missing)?;
            work.prepare_cached("UPDATE folder SET recent = uidnext WHERE id = ?1")?.execute([id.0])?;
            Ok(recent)
        })
        .await
    }
}

const SELECT: &str = "SELECT id, account, name, uidvalidity, uidnext, modseq, special_use, subscribed, object_id, messages, unseen, deleted, \
                      bytes, deleted_bytes, recent FROM folder";

fn folder(row: &Row<'_>) -> rusqlite::Result<Folder> {
    Ok(Folder {
        id: FolderId(row.get(0)?),
        account: AccountId(row.get(1)?),
        name: row.get(2)?,
        uidvalidity: row.get(3)?,
        uidnext: row.get(4)?,
        highest_modseq: row.get(5)?,
        special_use: row.get::<_, Option<String>>(6)?.as_deref().and_then(SpecialUse::parse),
        subscribed: row.get(7)?,
        object_id: row.get(8)?,
        keywords: vec![],
        messages: row.get(9)?,
        unseen: row.get(10)?,
        deleted: row.get(11)?,
        bytes: row.get(12)?,
        deleted_bytes: row.get(13)?,
        recent_from: row.get(14)?,
    })
}

/// One folder with its keywords.
pub fn find(connection: &Connection, id: FolderId) -> Result<Option<Folder>, StoreError> {
    let found = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?.query_row([id.0], folder).optional()?;
    let Some(mut found) = found else { return Ok(None) };
    found.keywords = keywords(connection, id)?;
    Ok(Some(found))
}

/// One folder with its keywords, or an error that says that it is gone.
pub fn require(connection: &Connection, id: FolderId) -> Result<Folder, StoreError> {
    find(connection, id)?.ok_or_else(missing)
}

/// The folder is gone.
pub fn missing() -> StoreError {
    StoreError::NotFound("the folder no longer exists".into())
}

fn keywords(connection: &Connection, id: FolderId) -> Result<Vec<String>, StoreError> {
    let mut select = connection.prepare_cached("SELECT bit, name FROM keyword WHERE folder = ?1 ORDER BY bit")?;
    let mut rows = select.query([id.0])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let bit: usize = row.get(0)?;
        names.resize(bit.min(MAX_KEYWORDS), String::new());
        names.push(row.get(1)?);
    }
    Ok(names)
}

fn id_by_name(connection: &Connection, account: AccountId, name: &str) -> Result<Option<FolderId>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM folder WHERE account = ?1 AND name = ?2")?;
    Ok(select.query_row(params![account.0, name], |row| row.get(0).map(FolderId)).optional()?)
}

/// Whether there is a folder of that name, or below it.
pub fn exists(connection: &Connection, account: AccountId, name: &str) -> Result<bool, StoreError> {
    let mut select = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM folder WHERE account = ?1 AND (name = ?2 OR substr(name, 1, ?3) = ?2 || '/'))")?;
    Ok(select.query_row(params![account.0, name, name.chars().count() + 1], |row| row.get(0))?)
}

fn require_free(connection: &Connection, account: AccountId, name: &str) -> Result<(), StoreError> {
    match id_by_name(connection, account, name)? {
        None => Ok(()),
        Some(_) => Err(StoreError::Conflict(format!("there is a folder {name} already"))),
    }
}

/// The folder of that name, made if missing. A name that can't be a folder's is INBOX: no rule may hold mail up.
pub fn find_or_make(work: &mut Work<'_>, account: AccountId, name: &str) -> Result<FolderId, StoreError> {
    let name = canonical_name(name).unwrap_or_else(|_| INBOX.to_owned());
    match id_by_name(work, account, &name)? {
        Some(id) => Ok(id),
        None => {
            let special_use = DEFAULT.into_iter().find(|(default, _)| *default == name).map(|(_, special_use)| special_use);
            make(work, account, &name, special_use)
        }
    }
}

/// INBOX and, for users, the usual folders.
pub fn make_defaults(work: &mut Work<'_>, account: AccountId, user: bool) -> Result<(), StoreError> {
    make(work, account, INBOX, None)?;
    for (name, special_use) in DEFAULT.into_iter().filter(|_| user) {
        make(work, account, name, Some(special_use))?;
    }
    Ok(())
}

/// Those of a user that are missing.
pub fn mend_defaults(work: &mut Work<'_>, account: AccountId) -> Result<(), StoreError> {
    for name in DEFAULT.into_iter().map(|(name, _)| name).chain([INBOX]) {
        find_or_make(work, account, name)?;
    }
    Ok(())
}

/// Whether a name without folder was subscribed. From here on its folder says so, if it gets one: of the two never both.
fn take_lost(connection: &Connection, account: AccountId, name: &str) -> Result<bool, StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM subscription WHERE account = ?1 AND name = ?2")?;
    Ok(delete.execute(params![account.0, name])? > 0)
}

/// Makes a subscribed folder.
fn make(work: &mut Work<'_>, account: AccountId, name: &str, special_use: Option<SpecialUse>) -> Result<FolderId, StoreError> {
    take_lost(work, account, name)?;
    let uidvalidity = next_uidvalidity(work)?;
    let id = work
        .prepare_cached(
            "INSERT INTO folder (account, name, uidvalidity, special_use, object_id)
             VALUES (?1, ?2, ?3, ?4, 'F' || lower(hex(randomblob(10))))",
        )?
        .insert(params![account.0, name, uidvalidity, special_use.map(SpecialUse::as_str)])?;
    work.changed(Change::Folders(account));
    Ok(FolderId(id))
}

/// Rises with every folder that is made, and with time, so that a store restored from a backup does not give one twice either.
fn next_uidvalidity(connection: &Connection) -> Result<u32, StoreError> {
    let last: Option<String> = settings::get(connection, "uidvalidity")?;
    let last: u32 = last.and_then(|text| text.parse().ok()).unwrap_or(0);
    let next = last.saturating_add(1).max(u32::try_from(now() / 1000).unwrap_or(0));
    settings::set(connection, "uidvalidity", Some(&next.to_string()))?;
    Ok(next)
}

/// Deletes a folder and its messages. Its subscription stays (RFC 9051 §6.3.7).
pub fn delete(work: &mut Work<'_>, id: FolderId) -> Result<(), StoreError> {
    let folder = require(work, id)?;
    changing::delete_all(work, id)?;
    if folder.subscribed {
        let mut insert = work.connection.prepare_cached("INSERT OR IGNORE INTO subscription (account, name) VALUES (?1, ?2)")?;
        insert.execute(params![folder.account.0, folder.name])?;
    }
    work.prepare_cached("DELETE FROM folder WHERE id = ?1")?.execute([id.0])?;
    work.changed(Change::Folder(id));
    work.changed(Change::Folders(folder.account));
    Ok(())
}

/// The bit of a keyword in a folder, if it has one.
pub fn keyword_bit(connection: &Connection, folder: FolderId, name: &str) -> Result<Option<u64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT bit FROM keyword WHERE folder = ?1 AND name = ?2")?;
    Ok(select.query_row(params![folder.0, name], |row| row.get::<_, u32>(0)).optional()?.map(|bit| 1 << bit))
}

/// The bit of a keyword in a folder, made if missing. If all bits are taken, those that no message has any more are freed, but for
/// `promised`: these are about to be given to messages. `None` if that does not help.
pub fn make_keyword(work: &mut Work<'_>, folder: FolderId, name: &str, promised: u64) -> Result<Option<u64>, StoreError> {
    if let Some(bit) = keyword_bit(work, folder, name)? {
        return Ok(Some(bit));
    }
    let mut bit = free_bit(work, folder)?;
    if bit.is_none() {
        let used = messages::used_keywords(work, folder)? | promised;
        let mut delete = work.prepare_cached("DELETE FROM keyword WHERE folder = ?1 AND bit = ?2")?;
        for unused in (0..MAX_KEYWORDS).filter(|bit| used & (1 << bit) == 0) {
            delete.execute(params![folder.0, unused])?;
        }
        bit = free_bit(work, folder)?;
    }
    let Some(bit) = bit else { return Ok(None) };
    work.prepare_cached("INSERT INTO keyword (folder, bit, name) VALUES (?1, ?2, ?3)")?.execute(params![folder.0, bit, name])?;
    Ok(Some(1 << bit))
}

fn free_bit(connection: &Connection, folder: FolderId) -> Result<Option<usize>, StoreError> {
    let taken = keywords(connection, folder)?;
    Ok((0..MAX_KEYWORDS).find(|bit| taken.get(*bit).is_none_or(String::is_empty)))
}
