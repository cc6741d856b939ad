//! Backups: one when somebody asks, and those of `[storage] backup`, of which the newest are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tokio::sync::watch;

use super::files;
use crate::config::{Backup, Current};
use crate::serve::Stop;
use crate::service::platform;
use crate::store::{Store, StoreError};

/// Name of the setting that holds when the last scheduled backup was begun (milliseconds since 1970).
const BEGUN: &str = "backup_begun";
/// Name of the setting that says why the last scheduled backup failed; gone with the next one that works.
pub const BACKUP_ERROR: &str = "backup_error";
/// What their names begin with; the time follows.
const PREFIX: &str = "mailroom-";
/// Behind the name of one that is being made.
const UNFINISHED: &str = ".part";
/// The clock may be set, and a machine may sleep: the time is looked at again after this long.
const LOOK: Duration = Duration::from_secs(60);

/// Copies the store, and the files beside it for who needs them on another machine, into `dir`, which must be new or empty. Bytes of
/// the database.
pub async fn back_up(store: &Store, file: &Path, dir: &Path, with_key: bool) -> Result<u64, StoreError> {
    let bytes = store.back_up(dir, with_key).await?;
    // Files that do not load are worth having too; those that can't even be read are not.
    if let (Ok(texts), Some(root)) = (platform::with_own_rights(|| files::gather(file)), file.parent()) {
        for (path, text) in texts {
            let Ok(relative) = path.strip_prefix(root) else { continue };
            let place = dir.join("files").join(relative);
            let written = platform::with_own_rights(|| {
                place.parent().map_or(Ok(()), platform::private_directory)?;
                platform::write_private(&place, text.as_bytes())
            });
            written.map_err(|error| StoreError::Refused(format!("{}: {error}", place.display())))?;
        }
    }
    Ok(bytes)
}

/// Makes those of the schedule until `stop`; `[storage]` is that of the start.
pub async fn run(store: Store, current: watch::Receiver<Arc<Current>>, mut stop: Stop) {
    loop {
        let now = current.borrow().clone();
        let Some(plan) = &now.config.storage.backup else { return stop.requested().await };
        let zone = now.config.office.timezone.clone().unwrap_or_else(TimeZone::system);
        match is_due(&store, plan, &zone).await {
            Ok(true) => make(&store, &now, plan, &zone).await,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "whether a backup is due can't be told"),
        }
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(LOOK) => (),
        }
    }
}

async fn is_due(store: &Store, plan: &Backup, zone: &TimeZone) -> Result<bool, StoreError> {
    let now = Timestamp::now();
    let begun = store.setting(BEGUN).await?.and_then(|text| Timestamp::from_millisecond(text.parse().ok()?).ok());
    let Some(begun) = begun else {
        // Counted from the first start on: nobody expects one at once.
        store.setting_set(BEGUN, Some(&now.as_millisecond().to_string())).await?;
        return Ok(false);
    };
    let last = begun.min(now).to_zoned(zone.clone());
    // Asked as of then: what came due since is due now.
    Ok(plan.schedule.next(Some(&last), &last, "").is_some_and(|next| next.timestamp() <= now))
}

async fn make(store: &Store, current: &Current, plan: &Backup, zone: &TimeZone) {
    let now = Timestamp::now();
    if let Err(error) = store.setting_set(BEGUN, Some(&now.as_millisecond().to_string())).await {
        return tracing::error!(%error, "no backup: the store takes nothing");
    }
    let error = match scheduled(store, &current.config.file, plan, &now.to_zoned(zone.clone())).await {
        Ok((dir, bytes)) => {
            tracing::info!(dir = %dir.display(), bytes, "backup made");
            None
        }
        Err(error) => {
            tracing::error!("no backup: {error}");
            Some(error)
        }
    };
    if let Err(error) = store.setting_set(BACKUP_ERROR, error.as_deref()).await {
        tracing::error!(%error, "the outcome of the backup was not noted");
    }
}

/// One of the schedule; then the oldest go. Where it lies, and its bytes.
async fn scheduled(store: &Store, file: &Path, plan: &Backup, now: &Zoned) -> Result<(PathBuf, u64), String> {
    if !plan.dir.is_dir() {
        // Made by us, it would lie on the wrong disk if that one is not mounted.
        return Err(format!("{} is not there: make it, or see that its disk is mounted", plan.dir.display()));
    }
    let done = plan.dir.join(format!("{PREFIX}{}", now.strftime("%Y-%m-%dT%H-%M-%S")));
    let mut unfinished = done.clone().into_os_string();
    unfinished.push(UNFINISHED);
    let bytes = back_up(store, file, Path::new(&unfinished), false)
        .await
        .map_err(|error| format!(
            "{}: {error}; a service writes only where its unit lets it (ReadWritePaths: `mailroom service install` puts it there), and only to \
             what was there when it started: restart it if this came later",
            plan.dir.display()
        ))?;
    std::fs::rename(&unfinished, &done).map_err(|error| format!("{}: {error}", done.display()))?;
    forget(&plan.dir, plan.keep).map_err(|error| format!("old backups can't be removed: {}: {error}", plan.dir.display()))?;
    Ok((done, bytes))
}

/// Removes what is unfinished, and all but the newest; nothing that has another name.
fn forget(dir: &Path, keep: u32) -> std::io::Result<()> {
    let names = std::fs::read_dir(dir)?.flatten().filter(|entry| entry.path().is_dir());
    let mut ours: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_ours(name)).collect();
    ours.sort_unstable();
    let finished = ours.iter().filter(|name| !name.ends_with(UNFINISHED)).count();
    let too_many = finished.saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    let old: Vec<&String> = ours.iter().filter(|name| !name.ends_with(UNFINISHED)).take(too_many).collect();
    for name in ours.iter().filter(|name| name.ends_with(UNFINISHED)).chain(old) {
        std::fs::remove_dir_all(dir.join(name))?;
    }
    Ok(())
}

/// `mailroom-2026-11-23T03-00-00`, finished or not.
fn is_ours(name: &str) -> bool {
    let Some(time) = name.strip_prefix(PREFIX) else { return false };
    let time = time.strip_suffix(UNFINISHED).unwrap_or(time);
    time.len() == 19 && time.bytes().all(|byte| byte.is_ascii_digit() || b"-T".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "mailroom-2026-11-21T03-00-00",
            "mailroom-2026-11-23T03-00-00",
            "mailroom-2026-11-22T03-00-00",
            "mailroom-2026-11-20T03-00-00.part",
            "mailroom-before-the-move",
            "photos",
        ] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        forget(dir.path(), 2).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["mailroom-2026-11-22T03-00-00", "mailroom-2026-11-23T03-00-00", "mailroom-before-the-move", "photos"]);
    }

    #[tokio::test]
    async fn the_first_is_due_at_its_time_and_not_at_the_first_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let plan = Backup { dir: dir.path().join("backups"), schedule: crate::schedule::Schedule::parse("every 1d").unwrap(), keep: 2 };
        assert!(!is_due(&store, &plan, &TimeZone::UTC).await.unwrap());
        assert!(!is_due(&store, &plan, &TimeZone::UTC).await.unwrap());
        let two_days_ago = Timestamp::now().as_millisecond() - 2 * 86_400_000;
        store.setting_set(BEGUN, Some(&two_days_ago.to_string())).await.unwrap();
        assert!(is_due(&store, &plan, &TimeZone::UTC).await.unwrap());
        let file = dir.path().join("mailroom.toml");
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let error = scheduled(&store, &file, &plan, &now).await.unwrap_err();
        assert!(error.contains("is not there: make it"), "{error}");
        std::fs::create_dir(&plan.dir).unwrap();
        let (made, bytes) = scheduled(&store, &file, &plan, &now).await.unwrap();
        assert!(bytes > 0 && made.join("mailroom.db").is_file() && !made.join("secret.key").exists());
    }
}
