//! The tray as a folder: held mail and stubs can be read like any other mail. What was put into quarantine is not shown, since it has
//! broken a reader before.
//!
//! The folder's messages are the tray's, one for one, in each commit. It belongs to an account that is nobody's and that no list of users
//! has: in the database a removed one, with a name that no user can have. It is made with the first mail that is held.

use super::messages::{Uids, changing};
use super::tray::take_out;
use super::{AccountId, ContentId, Folder, FolderId, SMALL, Store, StoreError, Work, folders, trace};
use rusqlite::{Connection, OptionalExtension, params};

/// No user can be called that.
const NAME: &str = "/tray";

impl Store {
    /// The folder, if anything was ever held.
    pub async fn tray_folder(&self) -> Result<Option<Folder>, StoreError> {
        let (folder, complete) = self
            .read(|connection| {
                let waiting = "SELECT count(*) FROM tray WHERE uid IS NULL AND kind <> 'quarantine'";
                let waiting: u32 = connection.prepare_cached(waiting)?.query_row([], |row| row.get(0))?;
                let folder = match find(connection)? {
                    Some(id) => folders::find(connection, id)?,
                    None => None,
                };
                Ok((folder, waiting == 0))
            })
            .await?;
        if complete {
            return Ok(folder);
        }
        // Held by a version that did not show it.
        self.write(SMALL, |work| {
            show(work)?;
            let Some(id) = find(work)? else { return Ok(None) };
            folders::find(work, id)
        })
        .await
    }

    /// Moves mail out of the tray into a folder: that gives it to whoever reads the folder. All or none; what is there only as a stub can't
    /// be moved ([`StoreError::Conflict`]). `by` is who did it, for the trace.
    pub async fn tray_move(&self, uids: Uids, target: FolderId, by: &str) -> Result<changing::Copied, StoreError> {
        let by = by.to_owned();
        self.write(SMALL, move |work| {
            let source = find(work)?.ok_or_else(folders::missing)?;
            let copied = changing::copy(work, source, &uids, target, true)?;
            let name = folders::require(work, target)?.name;
            for (uid, _) in &copied.uids {
                let sql = "SELECT id, content, kind FROM tray WHERE uid = ?1";
                let (id, content, kind): (i64, i64, String) =
                    work.prepare_cached(sql)?.query_row([uid], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                if kind == "stub" {
                    return Err(StoreError::Conflict(format!(
                        "number {id} is only the header of a large mail: `mailroom tray give {id} USER` asks for the rest"
                    )));
                }
                trace::about(work, ContentId(content), "given", format!("{by} moved it out of the tray into {name}"))?;
                take_out(work, id)?;
            }
            Ok(copied)
        })
        .await
    }
}

/// Shows what is in the tray and not shown yet, inside a transaction.
pub fn show(work: &mut Work<'_>) -> Result<(), StoreError> {
    let sql = "SELECT tray.id, content, size, received FROM tray JOIN content ON content.id = content
               WHERE uid IS NULL AND kind <> 'quarantine' ORDER BY tray.id";
    let mut waiting = Vec::new();
    let mut select = work.connection.prepare_cached(sql)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let new = changing::NewRow {
            content: ContentId(row.get(1)?),
            prefix: None,
            size: row.get(2)?,
            flags: 0,
            keywords: 0,
            internal_date: row.get(3)?,
        };
        waiting.push((row.get::<_, i64>(0)?, new));
    }
    drop(rows);
    if waiting.is_empty() {
        return Ok(());
    }
    let folder = match find(work)? {
        Some(folder) => folder,
        None => make(work)?,
    };
    let (ids, new): (Vec<i64>, Vec<changing::NewRow>) = waiting.into_iter().unzip();
    let first = changing::insert(work, folder, &new)?;
    for (id, uid) in ids.into_iter().zip(first..) {
        work.prepare_cached("UPDATE tray SET uid = ?2 WHERE id = ?1")?.execute(params![id, uid])?;
    }
    Ok(())
}

/// Takes messages out of the folder, inside the transaction that takes them out of the tray. UIDs ascending.
pub fn hide(work: &mut Work<'_>, uids: &[u32]) -> Result<(), StoreError> {
    match find(work)? {
        Some(folder) if !uids.is_empty() => changing::remove(work, folder, uids),
        _ => Ok(()),
    }
}

fn find(connection: &Connection) -> Result<Option<FolderId>, StoreError> {
    let sql =
        "SELECT folder.id FROM folder JOIN account ON account.id = folder.account WHERE account.kind = 'removed' AND account.name = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([NAME], |row| row.get(0).map(FolderId)).optional()?)
}

fn make(work: &mut Work<'_>) -> Result<FolderId, StoreError> {
    let sql = "INSERT INTO account (kind, name, disabled, created) VALUES ('removed', ?1, 1, ?2)";
    let account = AccountId(work.prepare_cached(sql)?.insert(params![NAME, super::now()])?);
    folders::make_defaults(work, account, false)?;
    find(work)?.ok_or_else(folders::missing)
}
