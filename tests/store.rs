//! The store, on real directories: what it promises about loss, duplicates, numbers and full disks.

use bytes::Bytes;
use mailroom::address::Address;
use mailroom::mapping::Mailbox;
use mailroom::store::housekeeping::Ages;
use mailroom::store::ledger::{Row, Source, State};
use mailroom::store::messages::Wanted;
use mailroom::store::messages::changing::{Append, FlagAction, FlagChange};
use mailroom::store::search::Filter;
use mailroom::store::tray::{Kind, NewHeld};
use mailroom::store::{
    AccountId, Arrival, Arrived, Change, ContentFacts, Deposit, Folder, NewContent, Store, StoreError, flags, journal, queue,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn facts(bytes: &[u8], message_id: Option<&str>) -> Box<ContentFacts> {
    Box::new(ContentFacts {
        size: bytes.len() as u64,
        header_size: bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4) as u64,
        message_id: message_id.map(str::to_owned),
        body_hash: *blake3::hash(bytes).as_bytes(),
        hash: *blake3::hash(bytes).as_bytes(),
        envelope: b"(envelope)".to_vec(),
        bodystructure: b"(structure)".to_vec(),
        body: b"(body)".to_vec(),
        subject: "subject".into(),
        ..ContentFacts::default()
    })
}

fn inline(text: &str, message_id: Option<&str>) -> NewContent {
    NewContent::Inline(Bytes::copy_from_slice(text.as_bytes()), facts(text.as_bytes(), message_id))
}

fn to(user: &str) -> Deposit {
    Deposit {
        mailbox: Mailbox::User(user.into()),
        folder: None,
        prefix: Bytes::from(format!("Delivered-To: {user}\r\n")),
        flags: 0,
        internal_date: 1_700_000_000_000,
        dedupe: Some("listing 1".into()),
    }
}

async fn office(dir: &std::path::Path) -> Store {
    let store = Store::open(dir).unwrap();
    for name in ["alice", "bob"] {
        store.account_add(&Mailbox::User(name.into()), None, None).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_message_is_there_for_everybody_and_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let text = "Subject: x\r\n\r\nHello\r\n";
    let arrival = Arrival { deposits: vec![to("alice"), to("bob")], ..Arrival::new(inline(text, Some("1@x"))) };
    let arrived = store.arrive(vec![arrival]).await.remove(0).unwrap();
    for (user, deposit) in ["alice", "bob"].iter().zip(&arrived.deposits) {
        let (folder, uid) = deposit.unwrap();
        let (message, bytes) = store.message(folder, uid, 1000).await.unwrap().unwrap();
        assert_eq!(bytes, format!("Delivered-To: {user}\r\n{text}").as_bytes());
        assert_eq!(message.size, bytes.len() as u64);
        let row = store
            .rows(folder, &[1..=u32::MAX], Wanted { header: true, envelope: true, sort: true, ..Wanted::default() }, 10)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(row.content, arrived.content);
        assert_eq!(row.header.unwrap(), format!("Delivered-To: {user}\r\nSubject: x\r\n\r\n"));
        assert_eq!(row.envelope, "(envelope)");
        assert_eq!(row.sort.unwrap().subject, "subject");
    }
}

#[tokio::test]
async fn unknown_users_are_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let arrival = Arrival { deposits: vec![to("alice"), to("nobody")], ..Arrival::new(inline("a\r\n\r\nb", None)) };
    let error = store.arrive(vec![arrival]).await.remove(0).unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    assert_eq!(store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap().messages, 0);
}

fn message(n: usize) -> String {
    format!("Message-ID: <{n}@x>\r\nSubject: number {n}\r\n\r\nHello {n}\r\n")
}

async fn arrive(store: &Store, arrival: Arrival) -> Result<Arrived, StoreError> {
    store.arrive(vec![arrival]).await.remove(0)
}

async fn account(store: &Store, name: &str) -> mailroom::store::Account {
    store.account(&Mailbox::User(name.into())).await.unwrap().unwrap()
}

async fn inbox(store: &Store, name: &str) -> Folder {
    let id = account(store, name).await.id;
    store.folder_by_name(id, "inbox").await.unwrap().unwrap()
}

fn source() -> Source {
    Source { host: "pop.isp.example".into(), login: "office".into(), folder: "INBOX".into() }
}

fn ledger(uid: &str, outcome: &str) -> Option<Row> {
    Some(Row { source: source(), uid: uid.into(), ordinal: 0, size: 10, fingerprint: None, outcome: outcome.into() })
}

fn raw(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join("mailroom.db")).unwrap()
}

/// Trap 11 and 12: the product page's "one person gets one copy".
#[tokio::test]
async fn one_person_gets_one_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let deposits = async |text: &str, id: Option<&str>, listing: Option<&str>| {
        let deposit = |user| Deposit { dedupe: listing.map(str::to_owned), ..to(user) };
        let arrival = Arrival { deposits: vec![deposit("alice")], ..Arrival::new(inline(text, id)) };
        arrive(&store, arrival).await.unwrap().deposits[0].is_some()
    };
    assert!(deposits("a\r\n\r\n1", Some("1@x"), Some("l1")).await);
    assert!(!deposits("a\r\n\r\n1", Some("1@x"), Some("l1")).await, "same Message-ID, same body, even in one listing");
    assert!(deposits("a\r\n\r\n2", Some("1@x"), Some("l1")).await, "same Message-ID, another body");
    assert!(deposits("a\r\n\r\n1", Some("2@x"), Some("l1")).await, "another Message-ID, same body");
    assert!(deposits("a\r\n\r\n1", Some("1@x"), None).await, "a copy in Sent is no delivery");
    assert!(deposits("b\r\n\r\n1", None, Some("l1")).await);
    assert!(deposits("b\r\n\r\n1", None, Some("l1")).await, "without Message-ID never two of one listing");
    assert!(!deposits("b\r\n\r\n1", None, Some("l2")).await, "but of two listings");
    raw(dir.path()).execute("UPDATE delivered SET time = time - 31 * 86400000", []).unwrap();
    assert!(deposits("a\r\n\r\n1", Some("1@x"), Some("l3")).await, "after 30 days it is news again");
}

#[tokio::test]
async fn an_arrival_of_duplicates_alone_says_so_in_ledger_and_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    for uid in ["1", "2"] {
        let entry = journal::NewEntry { collector: "isp".into(), decision: "{}".into() };
        let arrival = Arrival {
            deposits: vec![to("alice")],
            ledger: ledger(uid, "delivered"),
            journal: Some(entry),
            ..Arrival::new(inline(&message(1), Some("1@x")))
        };
        arrive(&store, arrival).await.unwrap();
    }
    let outcomes: Vec<_> = store.ledger(&source()).await.unwrap().into_iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, ["delivered", "duplicate"]);
    assert_eq!(store.journal(0, 0, 10).await.unwrap().len(), 2, "the duplicate's original stays in the journal");
    assert_eq!(store.trace("<1@x>").await.unwrap().iter().filter(|line| line.event == "duplicate").count(), 1);
}

#[tokio::test]
async fn a_message_of_the_ledger_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let once = |outcome: &str| Arrival { ledger: ledger("7", outcome), ..Arrival::new(inline("x", None)) };
    assert!(store.ledger_is_new(&source()).await.unwrap());
    for count in 1..=2 {
        assert_eq!(store.ledger_attempt(&source(), vec![("7".into(), 0)]).await.unwrap()[0].count, count);
    }
    arrive(&store, once("stub")).await.unwrap();
    arrive(&store, once("delivered")).await.unwrap();
    assert!(matches!(arrive(&store, once("delivered")).await, Err(StoreError::Conflict(_))));
    let entry = store.ledger(&source()).await.unwrap().remove(0);
    assert_eq!((entry.state, entry.outcome.as_str(), entry.attempts), (State::Stored, "delivered", 2));
    store.ledger_mark(&source(), vec![("7".into(), 0)], State::DeleteSent).await.unwrap();
    assert!(matches!(arrive(&store, once("delivered")).await, Err(StoreError::Conflict(_))), "trap 1");
    store.ledger_mark(&source(), vec![("7".into(), 0)], State::Gone).await.unwrap();
    assert_eq!(store.ledger(&source()).await.unwrap(), []);
    assert_eq!(store.ledger_gone(&source(), vec![("7".into(), 0), ("8".into(), 0)]).await.unwrap().len(), 1);
    assert_eq!(store.ledger_counts(&source()).await.unwrap().gone, 1);
}

/// Trap 5.
#[tokio::test]
async fn a_server_that_renames_everything_can_swap_ids() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    for (uid, outcome) in [("a", "delivered"), ("b", "held")] {
        arrive(&store, Arrival { ledger: ledger(uid, outcome), ..Arrival::new(inline(uid, None)) }).await.unwrap();
    }
    let id = |uid: &str| (uid.to_owned(), 0);
    store.ledger_rename(&source(), vec![(id("a"), id("b")), (id("b"), id("a"))]).await.unwrap();
    let entries = store.ledger(&source()).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| (entry.uid.as_str(), entry.outcome.as_str())).collect::<Vec<_>>(),
        [("a", "held"), ("b", "delivered")]
    );
}

#[tokio::test]
async fn many_arrivals_share_a_commit_and_one_bad_one_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let mut changes = store.changes();
    let arrivals: Vec<Arrival> = (0..64)
        .map(|n| {
            let user = if n == 30 { "nobody" } else { "alice" };
            Arrival { deposits: vec![to(user)], ..Arrival::new(inline(&message(n), Some(&format!("{n}@x")))) }
        })
        .collect();
    let results = store.arrive(arrivals).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 63);
    assert!(results[30].is_err());
    let folder = inbox(&store, "alice").await;
    assert_eq!((folder.messages, folder.uidnext, folder.unseen), (63, 64, 63));
    // One notice a commit: the first job may have been committed before the others came.
    let mut notices = 0;
    while let Ok(change) = changes.try_recv() {
        assert_eq!(change, Change::Folder(folder.id));
        notices += 1;
    }
    assert!((1..=3).contains(&notices), "{notices} commits for 64 messages");
}

#[tokio::test]
async fn spooled_content_is_read_in_pieces_and_swept_if_nobody_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n * 31 % 251) as u8).collect();
    let spooled = async || {
        let mut spool = store.spool();
        for piece in bytes.chunks(70_001) {
            spool.write(piece).await.unwrap();
        }
        spool.finish().await.unwrap()
    };
    let (taken, left) = (spooled().await, spooled().await);
    let arrival = |size| {
        let facts = ContentFacts { size, ..*facts(b"", Some("big@x")) };
        Arrival { deposits: vec![to("bob")], ..Arrival::new(NewContent::Spooled(taken, Box::new(facts))) }
    };
    assert!(arrive(&store, arrival(3_000_002)).await.is_err(), "a piece of it did not get into the store");
    let arrival = arrival(3_000_001);
    let (folder, uid) = arrive(&store, arrival).await.unwrap().deposits[0].unwrap();
    let (message, first) = store.message(folder, uid, 100).await.unwrap().unwrap();
    assert_eq!((message.size, first.len()), (3_000_001 + 19, 100));
    for (offset, length) in [(0, 19), (10, 100_000), (65_536, 65_536), (65_535, 2), (3_000_000, 500), (3_000_020, 1), (9_000_000_000, 5)] {
        let whole = [&message.prefix[..], &bytes[..]].concat();
        let expected = whole.get((offset as usize).min(whole.len())..(offset as usize + length).min(whole.len())).unwrap();
        assert_eq!(store.message_bytes(&message, offset, length).await.unwrap(), expected, "{offset} {length}");
    }
    assert_eq!(store.content(left, 0, 5).await.unwrap(), bytes[..5]);
    assert_eq!(store.forget(Ages::default()).await.unwrap().contents, 0, "it may still be under way");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(store.content(left, 0, 5).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.content(taken, 0, 5).await.unwrap(), bytes[..5]);
}

#[tokio::test]
async fn what_is_discarded_or_expunged_leaves_the_disk_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let discarded = arrive(&store, Arrival::new(inline("discarded", None))).await.unwrap().content;
    let arrived = arrive(&store, Arrival { deposits: vec![to("alice"), to("bob")], ..Arrival::new(inline("kept", None)) }).await.unwrap();
    let (folder, uid) = arrived.deposits[0].unwrap();
    let (message, _) = store.message(folder, uid, 0).await.unwrap().unwrap();
    store.delete_messages(folder, vec![uid]).await.unwrap();
    let later = |seconds: i64| {
        raw(dir.path()).execute("UPDATE content SET unreferenced = unreferenced - ?1 * 1000", [seconds]).unwrap();
    };
    assert_eq!(store.forget(Ages::default()).await.unwrap().contents, 0);
    later(3600);
    assert_eq!(store.forget(Ages::default()).await.unwrap().contents, 1);
    assert!(store.content(discarded, 0, 1).await.is_err());
    assert_eq!(store.message_bytes(&message, 0, 100).await.unwrap().len() as u64, message.size, "bob has it still");
    let bob = arrived.deposits[1].unwrap();
    store.delete_messages(bob.0, vec![bob.1]).await.unwrap();
    assert_eq!(store.message_bytes(&message, 0, 100).await.unwrap().len() as u64, message.size, "a session can finish reading it");
    later(3600);
    assert_eq!(store.forget(Ages::default()).await.unwrap().contents, 1);
    assert!(store.message_bytes(&message, 0, 100).await.is_err());
    assert_eq!(raw(dir.path()).query_row("SELECT count(*) FROM chunk", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert_eq!(raw(dir.path()).query_row("SELECT count(*) FROM prefix", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

/// Trap 68.
/// Trash and Junk empty themselves by the time a mail has lain *there*, folders below them too; nothing else does.
#[tokio::test]
async fn trash_and_junk_are_emptied_by_age_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let alice = account(&store, "alice").await.id;
    store.folder_create(alice, "Trash/2025", None).await.unwrap();
    store.folder_create(alice, "Trashcan", None).await.unwrap();
    let folders = ["INBOX", "Trash", "Trash/2025", "Trashcan", "Junk"];
    for (number, folder) in folders.iter().cycle().take(2 * folders.len()).enumerate() {
        let deposit = Deposit { folder: Some((*folder).into()), ..to("alice") };
        arrive(&store, Arrival { deposits: vec![deposit], ..Arrival::new(inline(&message(number), None)) }).await.unwrap();
    }
    // the first of each folder has lain there for 31 days
    raw(dir.path()).execute("UPDATE message SET saved = saved - 31 * 86400000 WHERE id & 4294967295 = 1", []).unwrap();
    let left = || async {
        let mut counts = Vec::new();
        for folder in folders {
            counts.push(store.folder_by_name(alice, folder).await.unwrap().unwrap().messages);
        }
        counts
    };
    let month = Some(std::time::Duration::from_secs(30 * 86_400));
    assert_eq!(store.forget(Ages { journal: month, ..Ages::default() }).await.unwrap().emptied, 0);
    assert_eq!(left().await, [2, 2, 2, 2, 2]);
    assert_eq!(store.forget(Ages { journal: month, trash: month, ..Ages::default() }).await.unwrap().emptied, 2);
    assert_eq!(left().await, [2, 1, 1, 2, 2]);
    assert_eq!(store.forget(Ages { journal: month, trash: month, junk: month, ..Ages::default() }).await.unwrap().emptied, 1);
    assert_eq!(left().await, [2, 1, 1, 2, 1]);
    // a folder that is thrown away lies in Trash from then on, however old its mail is
    let can = store.folder_by_name(alice, "Trashcan").await.unwrap().unwrap().id;
    store.folder_rename(can, "Trash/Trashcan").await.unwrap();
    let forget = async || store.forget(Ages { trash: month, ..Ages::default() }).await.unwrap().emptied;
    assert_eq!(forget().await, 0);
    raw(dir.path()).execute("UPDATE folder SET placed = placed - 31 * 86400000", []).unwrap();
    assert_eq!(forget().await, 1);
}

#[tokio::test]
async fn numbers_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let deliver = async |store: &Store, n| {
        let arrival = Arrival { deposits: vec![to("alice")], ..Arrival::new(inline(&message(n), Some(&format!("{n}@x")))) };
        arrive(store, arrival).await.unwrap().deposits[0].unwrap()
    };
    let (folder, first) = deliver(&store, 1).await;
    let (_, second) = deliver(&store, 2).await;
    let ids = |drop: mailroom::store::maildrop::Maildrop| drop.messages.iter().map(|message| message.unique_id()).collect::<Vec<_>>();
    let alice = account(&store, "alice").await.id;
    let before = ids(store.maildrop(alice).await.unwrap());
    store.delete_messages(folder, vec![second]).await.unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    store.account_rename(alice, "anna").await.unwrap();
    store.account_rename(alice, "alice").await.unwrap();
    assert_eq!(ids(store.maildrop(alice).await.unwrap()), before[..1], "restart and rename change no id");
    let (_, third) = deliver(&store, 3).await;
    assert_eq!((first, second, third), (1, 2, 3));
    let made = store.folder_create(alice, "Lists/rust", None).await.unwrap();
    store.folder_delete(made.id).await.unwrap();
    let again = store.folder_create(alice, "Lists/rust", None).await.unwrap();
    assert!(again.uidvalidity > made.uidvalidity);
    assert_ne!((again.id, again.object_id), (made.id, made.object_id));
}

#[tokio::test]
async fn folders_are_renamed_with_their_children_and_inbox_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let alice = account(&store, "alice").await.id;
    let names = async || store.folders(alice).await.unwrap().into_iter().map(|folder| folder.name).collect::<Vec<_>>();
    assert_eq!(names().await, ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"]);
    let a = store.folder_create(alice, "a", None).await.unwrap();
    for name in ["a/b", "a/b/ü", "ab"] {
        store.folder_create(alice, name, None).await.unwrap();
    }
    for (wrong, why) in
        [("a", "taken"), ("", "empty"), ("x//y", "empty level"), ("/x", "empty level"), ("x\ny", "control"), ("inBox", "taken")]
    {
        assert!(matches!(store.folder_create(alice, wrong, None).await, Err(StoreError::Conflict(_))), "{wrong}: {why}");
    }
    store.folder_rename(a.id, "z").await.unwrap();
    assert_eq!(names().await, ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "ab", "z", "z/b", "z/b/ü"]);
    assert!(store.folder_rename(a.id, "z/deeper").await.is_err());
    arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline("x", None)) }).await.unwrap();
    let old = inbox(&store, "alice").await;
    store.folder_rename(old.id, "Old").await.unwrap();
    assert_eq!(inbox(&store, "alice").await.messages, 0);
    assert_eq!(store.folder_by_name(alice, "Old").await.unwrap().unwrap().messages, 1);
    assert_eq!(store.changes_since(old.id, old.highest_modseq).await.unwrap().vanished, [1]);
}

#[tokio::test]
async fn quota_refuses_clients_but_no_mail() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let alice = account(&store, "alice").await.id;
    store.account_describe(alice, Some("Alice"), Some(30)).await.unwrap();
    let (folder, uid) =
        arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline(&message(1), None)) }).await.unwrap().deposits[0]
            .unwrap();
    let more = Append { content: inline("x", None), flags: 0, keywords: vec![], internal_date: 0 };
    assert_eq!(store.append(folder, vec![more]).await.unwrap_err(), StoreError::OverQuota);
    let trash = store.folder_by_name(alice, "Trash").await.unwrap().unwrap().id;
    assert_eq!(store.copy(folder, vec![uid..=uid], trash).await.unwrap_err(), StoreError::OverQuota);
    store.move_messages(folder, vec![uid..=uid], trash).await.unwrap();
}

#[tokio::test]
async fn keywords_run_out_only_while_they_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let (folder, uid) =
        arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline("x", None)) }).await.unwrap().deposits[0].unwrap();
    let set = async |action, names: Vec<String>| {
        store.flag(folder, vec![uid..=uid], FlagChange { action, flags: 0, keywords: names, unchanged_since: None }).await
    };
    let many: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    let flagged = set(FlagAction::Add, many.clone()).await.unwrap();
    assert_eq!(flagged.folder.keywords, many);
    assert_eq!(flagged.rows[0].keywords.count_ones(), 60);
    assert!(set(FlagAction::Add, vec!["one-more".into()]).await.is_err());
    assert_eq!(store.search(folder, Filter { keyword: vec!["K7".into()], ..Filter::default() }).await.unwrap(), [uid]);
    set(FlagAction::Replace, vec!["k3".into()]).await.unwrap();
    let flagged = set(FlagAction::Add, vec!["one-more".into()]).await.unwrap();
    assert_eq!(flagged.folder.keywords.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(), ["one-more", "k3"]);
}

#[tokio::test]
async fn keywords_of_one_command_don_t_take_each_other_s_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let (folder, uid) =
        arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline("x", None)) }).await.unwrap().deposits[0].unwrap();
    let set = async |action, names: Vec<String>| {
        let change = FlagChange { action, flags: 0, keywords: names, unchanged_since: None };
        store.flag(folder, vec![uid..=uid], change).await.unwrap()
    };
    let fill = async || {
        set(FlagAction::Replace, vec![]).await;
        set(FlagAction::Replace, (0..60).map(|n| format!("k{n}")).collect()).await;
        set(FlagAction::Replace, vec![]).await;
    };
    // All are known, none is in use: the first is found, the second needs room.
    fill().await;
    let flagged = set(FlagAction::Add, vec!["k0".into(), "new".into()]).await;
    let names: Vec<_> = flagged
        .folder
        .keywords
        .iter()
        .enumerate()
        .filter(|(bit, _)| flagged.rows[0].keywords & 1 << bit != 0)
        .map(|(_, name)| name)
        .collect();
    assert_eq!(names, ["k0", "new"]);
    fill().await;
    let new = |keyword: &str| Append { content: inline(keyword, None), flags: 0, keywords: vec![keyword.into()], internal_date: 0 };
    let uids = store.append(folder, vec![new("k0"), new("k1"), new("new")]).await.unwrap();
    for (uid, keyword) in uids.iter().zip(["k0", "k1", "new"]) {
        assert_eq!(store.search(folder, Filter { keyword: vec![keyword.into()], ..Filter::default() }).await.unwrap(), [*uid], "{keyword}");
    }
    // A copy brings keywords along into a folder that is full as well.
    let trash = store.folder_by_name(account(&store, "alice").await.id, "Trash").await.unwrap().unwrap().id;
    let copied = store.copy(folder, vec![uid..=uid], trash).await.unwrap();
    let there = copied.uids[0].1;
    for names in [(0..60).map(|n| format!("k{n}")).collect(), vec![]] {
        let change = FlagChange { action: FlagAction::Replace, flags: 0, keywords: names, unchanged_since: None };
        store.flag(trash, vec![there..=there], change).await.unwrap();
    }
    let copied = store.copy(folder, uids.iter().map(|uid| *uid..=*uid).collect(), trash).await.unwrap();
    for ((_, uid), keyword) in copied.uids.iter().zip(["k0", "k1", "new"]) {
        assert_eq!(store.search(trash, Filter { keyword: vec![keyword.into()], ..Filter::default() }).await.unwrap(), [*uid], "{keyword}");
    }
}

#[tokio::test]
async fn unchanged_since_protects_newer_flags() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    for n in 0..2 {
        arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline(&message(n), None)) }).await.unwrap();
    }
    let folder = inbox(&store, "alice").await;
    let change = |flags, since| FlagChange { action: FlagAction::Add, flags, keywords: vec![], unchanged_since: since };
    store.flag(folder.id, vec![2..=2], change(flags::SEEN, None)).await.unwrap();
    let result = store.flag(folder.id, vec![1..=2], change(flags::FLAGGED, Some(folder.highest_modseq))).await.unwrap();
    assert_eq!((result.rows.len(), result.modified), (1, vec![2]));
    let again = store.flag(folder.id, vec![1..=1], change(flags::FLAGGED, None)).await.unwrap();
    assert_eq!(again.folder.highest_modseq, result.folder.highest_modseq, "what changes nothing gets no new modseq");
}

#[tokio::test]
async fn the_tray_gives_and_drops() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let held = NewHeld {
        reason: "nobody".into(),
        addresses: vec!["x@example.com".into()],
        from: "A".into(),
        subject: "S".into(),
        kind: Kind::Held,
        collector: Some("isp".into()),
    };
    for n in 0..2 {
        let arrival = Arrival { tray: Some(held.clone()), ..Arrival::new(inline(&message(n), Some(&format!("{n}@x")))) };
        arrive(&store, arrival).await.unwrap();
    }
    let list = store.tray().await.unwrap();
    assert_eq!((list.len(), list[0].addresses.as_slice()), (2, ["x@example.com".to_owned()].as_slice()));
    store.tray_give(list[0].id, vec![to("bob")], "alice").await.unwrap();
    assert_eq!(inbox(&store, "bob").await.messages, 1);
    store.tray_drop(vec![list[1].id], "alice", false).await.unwrap();
    assert_eq!(store.tray_count().await.unwrap(), 0);
    assert!(matches!(store.tray_drop(vec![list[1].id], "alice", false).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.trace("1@x").await.unwrap()[0].event, "dropped");
}

#[tokio::test]
async fn the_queue_keeps_each_recipients_state_through_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let address = |text: &str| Address::parse(text).unwrap();
    let mail = queue::NewMail {
        owner: "alice".into(),
        sender: Some(address("alice@example.com")),
        recipients: vec![address("one@x.example"), address("two@x.example")],
        ..queue::NewMail::default()
    };
    let arrival = Arrival { queue: vec![mail], sent_by: Some("alice".into()), ..Arrival::new(inline(&message(1), Some("1@x"))) };
    let id = arrive(&store, arrival).await.unwrap().queue[0];
    assert_eq!(store.sent_by(vec!["1@x".into(), "2@x".into()]).await.unwrap(), [("1@x".to_owned(), "alice".to_owned())]);
    let now = i64::MAX / 2;
    let lease = store.queue_lease(now, 10, 10).await.unwrap().remove(0);
    assert_eq!((lease.recipients.len(), lease.data_sent), (2, false));
    assert!(store.queue_lease(now, 10, 10).await.unwrap().is_empty(), "nobody else gets it");
    store.queue_data_sent(id, None).await.unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.queue_recover(now - 5).await.unwrap(), 1);
    assert_eq!(store.queue_next_due(0).await.unwrap(), Some(now - 5));
    let lease = store.queue_lease(now, 10, 10).await.unwrap().remove(0);
    assert!(lease.data_sent, "possibly sent twice");
    let settle = |outcomes: Vec<(&str, queue::Outcome)>| queue::Settlement {
        outcomes: outcomes.into_iter().map(|(to, outcome)| (address(to), outcome, "250 ok".into())).collect(),
        attempted: true,
        ..queue::Settlement::of(id)
    };
    store
        .queue_settle(settle(vec![("one@x.example", queue::Outcome::Relayed), ("two@x.example", queue::Outcome::Delayed(7))]))
        .await
        .unwrap();
    let queued = store.queue().await.unwrap().remove(0);
    let states: Vec<_> = queued.recipients.iter().map(|recipient| (recipient.state.as_str(), recipient.attempts)).collect();
    assert_eq!(states, [("relayed", 1), ("delayed", 1)]);
    assert_eq!(store.queue_order(None, queue::Order::Hold, now).await.unwrap().mails, 1);
    assert_eq!(store.queue_next_due(0).await.unwrap(), None);
    assert_eq!(store.queue_order(Some(id), queue::Order::Release, now).await.unwrap().mails, 1);
    assert_eq!(store.queue_lease(now, 10, 10).await.unwrap()[0].recipients.len(), 1);
    store.queue_settle(settle(vec![("two@x.example", queue::Outcome::Failed)])).await.unwrap();
    assert_eq!(store.queue().await.unwrap(), []);
    assert!(store.trace("1@x").await.unwrap().iter().any(|line| line.event == "failed"));
}

/// A relay that has no room for more mailings would otherwise look for them again and again.
#[tokio::test]
async fn what_is_due_and_found_no_room_is_not_what_comes_due_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let many = (0..11).map(|n| Address::parse(&format!("to{n}@x.example")).unwrap()).collect();
    let mailing = queue::NewMail { owner: "alice".into(), recipients: many, ..queue::NewMail::default() };
    arrive(&store, Arrival { queue: vec![mailing], ..Arrival::new(inline(&message(1), Some("1@x"))) }).await.unwrap();
    let now = i64::MAX / 2;
    assert!(store.queue_lease(now, 10, 0).await.unwrap().is_empty());
    assert_eq!(store.queue_next_due(now).await.unwrap(), None);
    assert_eq!(store.queue_lease(now, 10, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_hold_reaches_leased_mail_before_it_departs() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let to = Address::parse("a@x.example").unwrap();
    let mail = queue::NewMail { owner: "alice".into(), recipients: vec![to.clone()], ..queue::NewMail::default() };
    let arrival = Arrival { queue: vec![mail], ..Arrival::new(inline(&message(1), Some("1@x"))) };
    let id = arrive(&store, arrival).await.unwrap().queue[0];
    let now = i64::MAX / 2;
    let lease_and_hold = async || {
        assert_eq!(store.queue_lease(now, 10, 10).await.unwrap().len(), 1);
        assert_eq!(store.queue_order(Some(id), queue::Order::Hold, now).await.unwrap(), queue::Done { mails: 1, too_late: 0 });
        assert_eq!(store.queue().await.unwrap()[0].recipients[0].state, queue::State::Held);
    };
    let is_held_until_released = async || {
        assert_eq!(store.queue().await.unwrap()[0].recipients[0].state, queue::State::Held);
        assert!(store.queue_lease(now, 10, 10).await.unwrap().is_empty());
        assert_eq!(store.queue_order(Some(id), queue::Order::Release, now).await.unwrap().mails, 1);
    };
    // It was about to depart; its smarthost was away; the gateway ended.
    lease_and_hold().await;
    assert!(!store.queue_data_sent(id, None).await.unwrap());
    is_held_until_released().await;
    lease_and_hold().await;
    let outcomes = vec![(to, queue::Outcome::Delayed(now), "away".into())];
    store.queue_settle(queue::Settlement { outcomes, ..queue::Settlement::of(id) }).await.unwrap();
    is_held_until_released().await;
    lease_and_hold().await;
    store.queue_recover(now).await.unwrap();
    is_held_until_released().await;
    assert_eq!(store.queue_lease(now, 10, 10).await.unwrap().len(), 1);
    assert!(store.queue_data_sent(id, None).await.unwrap());
}

#[tokio::test]
async fn a_renamed_manager_still_decides() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let approval = Some(queue::Approval { manager: "bob".into(), question: "q@x".into() });
    let recipients = vec![Address::parse("a@x.example").unwrap()];
    let mail = queue::NewMail { owner: "alice".into(), recipients, approval, ..queue::NewMail::default() };
    arrive(&store, Arrival { queue: vec![mail], ..Arrival::new(inline(&message(1), Some("1@x"))) }).await.unwrap();
    let bob = store.account(&Mailbox::User("bob".into())).await.unwrap().unwrap();
    store.account_rename(bob.id, "robert").await.unwrap();
    assert_eq!(store.queue().await.unwrap()[0].approval.as_ref().unwrap().manager, "robert");
}

#[tokio::test]
async fn another_process_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let mut changes = store.changes();
    let other = Store::open(dir.path()).unwrap();
    let request = other.request_post("fetch", serde_json::json!({ "names": ["isp"] })).await.unwrap();
    let noticed = async { while changes.recv().await.unwrap() != Change::Anything {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), noticed).await.unwrap();
    let taken = store.requests_take().await.unwrap();
    assert_eq!((taken.len(), taken[0].arguments["names"][0].as_str()), (1, Some("isp")));
    assert!(store.requests_take().await.unwrap().is_empty());
    assert_eq!(other.request_result(request).await.unwrap(), None);
    store.request_answer(request, serde_json::json!(7)).await.unwrap();
    assert_eq!(other.request_result(request).await.unwrap(), Some(serde_json::json!(7)));
}

#[tokio::test]
async fn only_one_gateway_and_one_lease_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    assert!(!two.gateway_runs());
    let run = one.lock_run().unwrap();
    assert!(two.gateway_runs() && one.gateway_runs());
    assert!(matches!(two.lock_run(), Err(StoreError::Conflict(_))));
    drop(run);
    assert!(!two.gateway_runs());
    two.lock_run().unwrap();
    let lease = one.lease("POP.isp.example", "office").unwrap();
    assert!(lease.is_some());
    assert!(two.lease("pop.isp.example", "office").unwrap().is_none());
    assert!(two.lease("pop.isp.example", "other").unwrap().is_some());
    drop(lease);
    assert!(two.lease("pop.isp.example", "office").unwrap().is_some());
}

#[tokio::test]
async fn secrets_are_opened_with_their_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let secret = secrecy::SecretString::from("pass-of-isp");
    let open = async |store: &Store| {
        store.secret("isp").await.map(|found| found.map(|secret| secrecy::ExposeSecret::expose_secret(&secret).to_owned()))
    };
    assert_eq!(open(&store).await.unwrap(), None);
    store.secret_set("isp", &secret).await.unwrap();
    assert_eq!(open(&store).await.unwrap().as_deref(), Some("pass-of-isp"));
    drop(store);
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"pass-of-isp"), "{:?} holds the secret", entry.path());
    }
    std::fs::write(dir.path().join("secret.key"), [7; 32]).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(open(&store).await, Err(StoreError::Refused(_))));
    store.secret_remove("isp").await.unwrap();
    assert!(matches!(store.secret_remove("isp").await, Err(StoreError::NotFound(_))));
}

/// As where the key was given to the service as a credential: a second one would open nothing, and the service nothing that it seals.
#[tokio::test]
async fn no_second_key_is_made_while_secrets_need_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.secret_set("isp", &"one".into()).await.unwrap();
    drop(store);
    let (key, away) = (dir.path().join("secret.key"), dir.path().with_extension("key"));
    std::fs::rename(&key, &away).unwrap();
    let store = Store::open(dir.path()).unwrap();
    for name in ["isp", "other"] {
        let error = store.secret_set(name, &"two".into()).await.unwrap_err().to_string();
        assert!(error.contains("secret.key is missing, and 1 stored secret needs it"), "{error}");
        assert!(!key.exists());
    }
    store.secret_remove("isp").await.unwrap();
    store.secret_set("other", &"two".into()).await.unwrap();
    assert!(key.exists());
    std::fs::remove_file(away).unwrap();
}

#[tokio::test]
async fn passwords_are_checked_and_their_keys_fit_scram() {
    use mailroom::store::password::{ScramHash, Verdict};
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    let check = async |name: &str, password: &str| store.password_check(name, &password.into()).await.unwrap();
    assert_eq!(check("alice", "").await, Verdict::Wrong, "no password was set yet");
    let alice = account(&store, "alice").await;
    store.password_set(alice.id, &"pencil".into()).await.unwrap();
    assert!(account(&store, "alice").await.generation > alice.generation);
    assert!(matches!(check("alice", "pencil").await, Verdict::Right(_)));
    assert_eq!(check("alice", "Pencil").await, Verdict::Wrong);
    assert_eq!(check("nobody", "pencil").await, Verdict::Wrong);
    let (_, keys) = store.scram_keys("alice", ScramHash::Sha256).await.unwrap().unwrap();
    assert!(keys.iterations >= 4096 && keys.stored_key.len() == 32 && keys.server_key.len() == 32);
    store.account_disable(alice.id, true).await.unwrap();
    assert_eq!(check("alice", "pencil").await, Verdict::Disabled);
    assert!(store.scram_keys("alice", ScramHash::Sha1).await.unwrap().is_none());
}

#[tokio::test]
async fn a_removed_users_mail_comes_back_or_goes_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    for user in ["alice", "bob"] {
        arrive(&store, Arrival { deposits: vec![to(user)], ..Arrival::new(inline(&message(1), None)) }).await.unwrap();
    }
    let (alice, bob) = (account(&store, "alice").await.id, account(&store, "bob").await.id);
    store.account_retire(alice).await.unwrap();
    assert_eq!(store.account(&Mailbox::User("alice".into())).await.unwrap(), None);
    assert!(arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline("x", None)) }).await.is_err());
    assert_eq!(store.account_add(&Mailbox::User("alice".into()), None, None).await.unwrap(), alice);
    assert_eq!(inbox(&store, "alice").await.messages, 1);
    store.account_hand_over(alice, bob).await.unwrap();
    store.account_remove(alice).await.unwrap();
    assert_eq!(store.folder_by_name(bob, "alice/INBOX").await.unwrap().unwrap().messages, 1);
    assert_eq!(account(&store, "bob").await.messages, 2);
}

#[tokio::test]
async fn traces_are_found_by_message_id_and_by_any_text() {
    let dir = tempfile::tempdir().unwrap();
    let store = office(dir.path()).await;
    for (n, detail) in [(1, "for ann_b@x.example"), (2, "for annxb@x.example, 100% sure")] {
        let trace = vec![("stored", detail.to_owned()), ("mapped", "to alice".to_owned())];
        arrive(&store, Arrival { trace, ..Arrival::new(inline(&message(n), Some(&format!("{n}@x")))) }).await.unwrap();
    }
    store.trace_add(None, vec![("started", "x".repeat(5000))]).await.unwrap();
    let count = async |text: &str| store.trace(text).await.unwrap().len();
    assert_eq!((count("<1@x>").await, count("2@x").await), (2, 2));
    assert_eq!(count("ann_b@").await, 2, "an underscore is no wildcard, and all lines of that message come");
    assert_eq!((count("100%").await, count("%").await, count("nowhere").await), (2, 2, 0));
    assert_eq!(store.trace("xxxx").await.unwrap()[0].detail.len(), 2000);
}

#[tokio::test]
async fn the_last_good_configuration_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.last_good().await.unwrap().is_empty());
    for text in ["a", "b"] {
        let files = BTreeMap::from([("/etc/mailroom/mailroom.toml".into(), text.to_owned())]);
        store.last_good_set(&files).await.unwrap();
        assert_eq!(store.last_good().await.unwrap(), files);
    }
}

#[test]
fn a_strangers_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "important").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Refused(text)) if text.contains("thesis.txt")));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = office(&dir.path().join("new/store")).await;
    store.secret_set("x", &"y".into()).await.unwrap();
    let _run = store.lock_run().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.directory()), 0o700);
    for entry in std::fs::read_dir(store.directory()).unwrap().flatten() {
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
    }
}

/// Where the child of the next test finds its store.
const CHILD: &str = "MAILROOM_TEST_CHILD_STORE";

/// Not a test: what the next one starts and kills. Says on stdout what is safely stored.
#[tokio::test]
#[ignore = "run by a_killed_process_keeps_what_it_acknowledged"]
async fn child_that_stores_until_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = office(Path::new(&dir)).await;
    for n in 0.. {
        let mut spool = store.spool();
        spool.write(&[b'x'; 600_000]).await.unwrap();
        let arrivals = (0..5).map(|m| Arrival {
            deposits: vec![to("alice"), to("bob")],
            ledger: ledger(&format!("{n}.{m}"), "delivered"),
            ..Arrival::new(inline(&message(n * 5 + m), Some(&format!("{n}.{m}@x"))))
        });
        for (m, result) in store.arrive(arrivals.collect()).await.into_iter().enumerate() {
            result.unwrap();
            println!("stored {n}.{m}");
        }
    }
}

#[tokio::test]
async fn a_killed_process_keeps_what_it_acknowledged() {
    use std::io::BufRead;
    for kill_after in [1, 17, 60] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::child_that_stores_until_killed", "--ignored", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged: Vec<String> = Vec::new();
        while acknowledged.len() < kill_after {
            let line = said.next().unwrap().unwrap();
            acknowledged.extend(line.split_once("stored ").map(|(_, uid)| uid.to_owned()));
        }
        child.kill().unwrap();
        acknowledged.extend(said.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("stored ")?.to_owned())));
        child.wait().unwrap();

        let store = Store::open(dir.path()).unwrap();
        let known: BTreeSet<String> = store.ledger(&source()).await.unwrap().into_iter().map(|entry| entry.uid).collect();
        for uid in &acknowledged {
            assert!(known.contains(uid), "{uid} was acknowledged and is gone");
        }
        for user in ["alice", "bob"] {
            let folder = inbox(&store, user).await;
            assert_eq!(folder.messages as usize, known.len(), "deliveries and ledger are one");
            for row in store.view(folder.id).await.unwrap().rows {
                let (message, bytes) = store.message(folder.id, row.uid, usize::MAX).await.unwrap().unwrap();
                assert_eq!(bytes.len() as u64, message.size);
            }
        }
        let database = raw(dir.path());
        let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let strays: i64 = database.query_row("SELECT count(*) FROM content WHERE ifnull(refs, 0) = 0", [], |row| row.get(0)).unwrap();
        assert_eq!(strays, 0, "the half-spooled rest was swept");
    }
}

/// What a client can do to two folders.
#[derive(Debug, Clone)]
enum Step {
    Deliver,
    Append(bool),
    Copy(bool, u8, u8),
    Move(bool, u8, u8),
    Flag(bool, u8, u8, u8, u32),
    Expunge(bool),
    Delete(bool, u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Deliver),
        2 => any::<bool>().prop_map(Step::Append),
        2 => (any::<bool>(), 0..20u8, 0..6u8).prop_map(|(folder, from, count)| Step::Copy(folder, from, count)),
        2 => (any::<bool>(), 0..20u8, 0..6u8).prop_map(|(folder, from, count)| Step::Move(folder, from, count)),
        4 => (any::<bool>(), 0..20u8, 0..6u8, 0..3u8, 0..32u32).prop_map(|(f, from, count, how, flags)| Step::Flag(f, from, count, how, flags)),
        2 => any::<bool>().prop_map(Step::Expunge),
        1 => (any::<bool>(), 0..20u8).prop_map(|(folder, uid)| Step::Delete(folder, uid)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn counters_modseqs_and_uids_hold_whatever_clients_do(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(whatever_clients_do(steps));
    }
}

async fn whatever_clients_do(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = office(dir.path()).await;
    let alice = account(&store, "alice").await.id;
    let folders = [inbox(&store, "alice").await.id, store.folder_by_name(alice, "Archive").await.unwrap().unwrap().id];
    let mut given: [BTreeSet<u32>; 2] = Default::default();
    let mut before = folders.map(|_| (1, BTreeMap::new()));
    for (n, step) in steps.into_iter().enumerate() {
        let pick = |second: bool| (folders[usize::from(second)], folders[usize::from(!second)]);
        let range = |from: u8, count: u8| vec![u32::from(from) + 1..=u32::from(from) + u32::from(count) + 1];
        match step.clone() {
            Step::Deliver => {
                arrive(&store, Arrival { deposits: vec![to("alice")], ..Arrival::new(inline(&message(n), Some(&format!("{n}@x")))) })
                    .await
                    .unwrap();
            }
            Step::Append(second) => {
                let new = Append { content: inline(&message(n), None), flags: flags::SEEN, keywords: vec!["$k".into()], internal_date: 0 };
                store.append(pick(second).0, vec![new.clone(), new]).await.unwrap();
            }
            Step::Copy(second, from, count) => drop(store.copy(pick(second).0, range(from, count), pick(second).1).await.unwrap()),
            Step::Move(second, from, count) => drop(store.move_messages(pick(second).0, range(from, count), pick(second).1).await.unwrap()),
            Step::Flag(second, from, count, how, bits) => {
                let action = [FlagAction::Add, FlagAction::Remove, FlagAction::Replace][usize::from(how)];
                let change = FlagChange { action, flags: bits, keywords: vec![format!("k{}", bits % 3)], unchanged_since: None };
                store.flag(pick(second).0, range(from, count), change).await.unwrap();
            }
            Step::Expunge(second) => drop(store.expunge(pick(second).0, None).await.unwrap()),
            Step::Delete(second, uid) => store.delete_messages(pick(second).0, vec![u32::from(uid)]).await.unwrap(),
            Step::Reopen => {
                drop(store);
                store = Store::open(dir.path()).unwrap();
            }
        }
        for (at, folder) in folders.into_iter().enumerate() {
            let view = store.view(folder).await.unwrap();
            let now: BTreeMap<u32, _> = view.rows.iter().map(|row| (row.uid, *row)).collect();
            let (old_modseq, old) = &before[at];
            // A UID is either still there or was never given before.
            for uid in now.keys().filter(|uid| !old.contains_key(*uid)) {
                assert!(given[at].insert(*uid), "{uid} was given twice by {step:?}");
            }
            assert!(given[at].iter().all(|uid| *uid < view.folder.uidnext));
            // What changed can be told from the modseq alone.
            let changes = store.changes_since(folder, *old_modseq).await.unwrap();
            let mut told: BTreeMap<u32, _> = old.clone();
            told.retain(|uid, _| !changes.vanished.contains(uid));
            told.extend(changes.changed.iter().map(|row| (row.uid, *row)));
            assert_eq!(told, now, "{step:?}");
            assert!(view.folder.highest_modseq >= *old_modseq);
            assert_eq!(view.folder.highest_modseq > *old_modseq, now != *old, "{step:?}");
            let count = |bit: u32| view.rows.iter().filter(|row| row.flags & bit != 0).count() as u32;
            let counted = (view.rows.len() as u32, view.rows.len() as u32 - count(flags::SEEN), count(flags::DELETED));
            assert_eq!((view.folder.messages, view.folder.unseen, view.folder.deleted), counted, "{step:?}");
            before[at] = (view.folder.highest_modseq, now);
        }
        recount(dir.path(), &store, alice).await;
    }
}

/// Every counter that triggers keep, against the rows themselves.
async fn recount(dir: &Path, store: &Store, id: AccountId) {
    let database = raw(dir);
    let number = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let account = store.account_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        (account.messages as i64, account.bytes as i64),
        (number("SELECT count(*) FROM message"), number("SELECT ifnull(sum(size), 0) FROM message"))
    );
    for wrong in [
        "SELECT count(*) FROM folder WHERE bytes <> (SELECT ifnull(sum(size), 0) FROM message WHERE message.id >> 32 = folder.id)",
        "SELECT count(*) FROM folder WHERE deleted_bytes <>
            (SELECT ifnull(sum(size), 0) FROM message WHERE message.id >> 32 = folder.id AND flags & 8 <> 0)",
        "SELECT count(*) FROM content WHERE refs <> (SELECT count(*) FROM message WHERE content = content.id)",
        "SELECT count(*) FROM content WHERE (refs = 0) <> (unreferenced IS NOT NULL)",
        "SELECT count(*) FROM prefix WHERE refs <> (SELECT count(*) FROM message WHERE prefix = prefix.id) OR refs = 0",
    ] {
        assert_eq!(number(wrong), 0, "{wrong}");
    }
}
