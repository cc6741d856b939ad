//! What can only be provoked from inside: a full disk, other versions of the schema, a writer under fire.

use super::*;
use crate::mapping::Mailbox;
use bytes::Bytes;

fn arrival(bytes: usize) -> Arrival {
    let facts = Box::new(ContentFacts { size: bytes as u64, ..ContentFacts::default() });
    let deposit =
        Deposit { mailbox: Mailbox::User("alice".into()), folder: None, prefix: Bytes::new(), flags: 0, internal_date: 0, dedupe: None };
    Arrival { deposits: vec![deposit], ..Arrival::new(NewContent::Inline(vec![b'x'; bytes].into(), facts)) }
}

async fn office(dir: &Path) -> (Store, FolderId) {
    let store = Store::open(dir).unwrap();
    let alice = store.account_add(&Mailbox::User("alice".into()), None, None).await.unwrap();
    let inbox = store.folder_by_name(alice, "INBOX").await.unwrap().unwrap().id;
    (store, inbox)
}

async fn messages(store: &Store, folder: FolderId) -> usize {
    store.folder(folder).await.unwrap().unwrap().messages as usize
}

/// Trap 71.
#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_writer_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inbox) = office(dir.path()).await;
    let limit = async |pages: i64| {
        store
            .write(SMALL, move |work| {
                let _: i64 = work.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0))?;
                Ok(())
            })
            .await
            .unwrap();
    };
    let pages: i64 = store.read(|connection| Ok(connection.pragma_query_value(None, "page_count", |row| row.get(0))?)).await.unwrap();
    limit(pages + 200).await;
    let mut stored = 0;
    // Batches, so that the disk fills up in the middle of one.
    let errors = loop {
        let results = store.arrive((0..7).map(|_| arrival(50_000)).collect()).await;
        stored += results.iter().filter(|result| result.is_ok()).count();
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        if !errors.is_empty() {
            break errors;
        }
    };
    assert!(errors.iter().all(|error| *error == StoreError::Full), "{errors:?}");
    assert_eq!(messages(&store, inbox).await, stored, "what was said to be stored is there, and nothing else");
    limit(1 << 30).await;
    assert!(store.arrive(vec![arrival(50_000)]).await[0].is_ok());
    assert_eq!(messages(&store, inbox).await, stored + 1);
}

#[tokio::test]
async fn a_panic_in_a_job_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inbox) = office(dir.path()).await;
    let before = store.send(SMALL, |work| arrival::store(work, &arrival(10)));
    let panicking = store.send::<()>(SMALL, |work| {
        arrival::store(work, &arrival(10))?;
        panic!("on purpose");
    });
    let after = store.send(SMALL, |work| arrival::store(work, &arrival(10)));
    assert!(before.await.unwrap().is_ok());
    assert!(matches!(panicking.await.unwrap(), Err(StoreError::Database(_))));
    assert!(after.await.unwrap().is_ok());
    assert_eq!(messages(&store, inbox).await, 2);
}

#[tokio::test]
async fn a_mark_is_set_with_its_mail_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inbox) = office(dir.path()).await;
    let marked = |to: &str, mark: &str| {
        let mut arrival = arrival(10);
        arrival.deposits[0].mailbox = Mailbox::User(to.into());
        Arrival { settings: vec![("digest".into(), mark.into())], ..arrival }
    };
    assert!(store.arrive(vec![marked("alice", "monday")]).await[0].is_ok());
    assert_eq!((store.setting("digest").await.unwrap().as_deref(), messages(&store, inbox).await), (Some("monday"), 1));
    assert!(store.arrive(vec![marked("nobody", "tuesday")]).await[0].is_err());
    assert_eq!((store.setting("digest").await.unwrap().as_deref(), messages(&store, inbox).await), (Some("monday"), 1));
}

#[tokio::test]
async fn answers_find_their_writer_for_400_days_and_as_long_as_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = office(dir.path()).await;
    for (days, journal, expected) in [(399, 30, 1), (401, 30, 0), (401, 500, 1), (501, 500, 0)] {
        store
            .write(SMALL, move |work| {
                work.execute("DELETE FROM sent", [])?;
                work.execute("INSERT INTO sent (message_id, account, time) SELECT '1@x', id, ?1 FROM account", [now() - days * DAY])?;
                Ok(())
            })
            .await
            .unwrap();
        let journal = Some(std::time::Duration::from_secs(journal * 86_400));
        store.forget(housekeeping::Ages { journal, ..housekeeping::Ages::default() }).await.unwrap();
        assert_eq!(store.sent_by(vec!["1@x".into()]).await.unwrap().len(), expected, "{days} days, {journal:?}");
    }
}

#[tokio::test]
async fn an_older_store_is_migrated_after_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inbox) = office(dir.path()).await;
    store.arrive(vec![arrival(10)]).await.remove(0).unwrap();
    let version = database::MIGRATIONS.len();
    let next = [database::MIGRATIONS, &["ALTER TABLE folder ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'"]].concat();
    assert!(matches!(Store::open_as(dir.path(), &next), Err(StoreError::Conflict(_))), "not while the older program has it open");
    drop(store);
    let store = Store::open_as(dir.path(), &next).unwrap();
    assert_eq!(messages(&store, inbox).await, 1);
    let colour: String = store.read(|c| Ok(c.query_row("SELECT colour FROM folder LIMIT 1", [], |row| row.get(0))?)).await.unwrap();
    assert_eq!(colour, "grey");
    drop(store);
    let Err(StoreError::Refused(text)) = Store::open(dir.path()) else { panic!("a newer store was opened") };
    assert!(text.contains("newer"), "{text}");
    let backup = Connection::open(dir.path().join(format!("before-migration-{version}.db"))).unwrap();
    let kept: usize = backup.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(kept, version);
    assert_eq!(backup.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inbox) = office(dir.path()).await;
    drop(store);
    let broken = [database::MIGRATIONS, &["CREATE TABLE half (x); SELECT nonsense"]].concat();
    assert!(Store::open_as(dir.path(), &broken).is_err());
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(messages(&store, inbox).await, 0);
    assert!(store.read(|c| Ok(c.execute_batch("SELECT * FROM half")?)).await.is_err());
}

#[tokio::test]
async fn the_database_is_made_as_planned() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = office(dir.path()).await;
    store
        .write(SMALL, |work| {
            let number = |pragma: &str| work.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!((number("page_size"), number("auto_vacuum"), number("synchronous"), number("foreign_keys")), (8192, 2, 2, 1));
            let mode: String = work.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            assert_eq!(mode, "wal");
            Ok(())
        })
        .await
        .unwrap();
}

/// Not a benchmark: a guard against an index or statement cache that went missing. Prints what it saw.
#[tokio::test]
async fn thousands_of_messages_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let (store, inbox) = office(dir.path()).await;
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert!(store.arrive((0..64).map(|_| arrival(20_000)).collect()).await.iter().all(Result::is_ok));
    }
    let rate = 20.0 * 64.0 / began.elapsed().as_secs_f64();
    println!("{rate:.0} messages of 20 KB a second");
    assert_eq!(messages(&store, inbox).await, 20 * 64);
    assert!(rate > 200.0, "{rate} messages a second");
}
