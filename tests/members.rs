//! Shared mailboxes over IMAP, and quotas: whose they are, and from when on.

use mailroom::mapping::Mailbox;

use crate::imap::{answer, logged_in, logged_in_as};
use crate::support::lan::Lan;

fn members(list: &str) -> String {
    format!("[shared]\nhelp = {{ members = [{list}] }}\n")
}

/// A reload that changes the members takes effect on open sessions, idling or not.
#[tokio::test]
async fn who_is_no_longer_a_member_loses_the_shared_mailbox() {
    let lan = Lan::with("", &members("\"alice\", \"bob\"")).await;
    lan.deliver("shared:help", [b"Subject: 1\r\n\r\n".to_vec()]).await;
    let (mut idle, mut busy, mut member) = (logged_in_as(&lan, "bob").await, logged_in_as(&lan, "bob").await, logged_in(&lan).await);
    idle.send(b"a SELECT Shared/help\r\nb IDLE\r\n").await;
    answer(&mut idle, "a").await;
    assert!(idle.line().await.unwrap().starts_with("+ "));
    for client in [&mut busy, &mut member] {
        client.send(b"a SELECT Shared/help\r\n").await;
        answer(client, "a").await;
    }
    lan.remap(&members("\"alice\"")).await;
    assert!(idle.line().await.unwrap().starts_with("* BYE [CLOSED]"));
    busy.send(b"b FETCH 1 BODY.PEEK[]\r\n").await;
    assert!(busy.line().await.unwrap().starts_with("* BYE [CLOSED]"));
    member.send(b"b FETCH 1 BODY.PEEK[]\r\n").await;
    assert!(answer(&mut member, "b").await.last().unwrap().starts_with("b OK"));
    let mut later = logged_in_as(&lan, "bob").await;
    later.send(b"a LIST \"\" Shared*\r\nb SELECT Shared/help\r\n").await;
    assert_eq!(answer(&mut later, "a").await.len(), 1);
    assert!(answer(&mut later, "b").await[0].starts_with("b NO [NONEXISTENT]"));
    lan.remap(&members("\"bob\"")).await;
    later.send(b"c SELECT Shared/help\r\n").await;
    assert!(answer(&mut later, "c").await.last().unwrap().starts_with("c OK"));
}

/// The quota of a shared mailbox is its own: members' own quotas count nothing there.
#[tokio::test]
async fn a_shared_mailbox_has_its_own_quota() {
    let lan = Lan::with("", "[shared]\nhelp = { members = [\"alice\"] }\n").await;
    let shared = lan.store.account(&Mailbox::Shared("help".into())).await.unwrap().unwrap();
    lan.store.account_describe(shared.id, None, Some(2048)).await.unwrap();
    lan.deliver("alice", [vec![b'x'; 3000]]).await;
    let mut client = logged_in(&lan).await;
    client.send(b"a SELECT INBOX\r\nb COPY 1 Shared/help\r\nc MOVE 1 Shared/help\r\nd GETQUOTA shared:help\r\n").await;
    answer(&mut client, "a").await;
    assert!(answer(&mut client, "b").await[0].starts_with("b NO [OVERQUOTA]"));
    assert!(answer(&mut client, "c").await[0].starts_with("c NO [OVERQUOTA]"));
    assert_eq!(answer(&mut client, "d").await[0], "* QUOTA \"shared:help\" (STORAGE 0 2)");
    lan.deliver("shared:help", [vec![b'x'; 3000]]).await;
    client.send(b"e STATUS Shared/help (MESSAGES)\r\n").await;
    assert_eq!(answer(&mut client, "e").await[0], "* STATUS Shared/help (MESSAGES 1)");
}

/// A message may take long to come in: who is a member counts when it is there.
#[tokio::test]
async fn who_is_no_longer_a_member_neither_appends_nor_replaces_nor_takes_by_catenate() {
    let lan = Lan::with("", &members("\"alice\", \"bob\"")).await;
    lan.deliver("shared:help", [b"Subject: 1\r\n\r\n".to_vec()]).await;
    let mut clients = [logged_in_as(&lan, "bob").await, logged_in_as(&lan, "bob").await, logged_in_as(&lan, "bob").await];
    let commands = ["b APPEND Shared/help {11}", "b UID REPLACE 1 INBOX {11}", ""];
    for (number, (client, command)) in clients.iter_mut().zip(commands).enumerate() {
        if number > 0 {
            client.send(b"a SELECT Shared/help\r\n").await;
            answer(client, "a").await;
        }
        if !command.is_empty() {
            client.send(format!("{command}\r\n").as_bytes()).await;
            assert!(client.line().await.unwrap().starts_with("+ "));
        }
    }
    lan.remap(&members("\"alice\"")).await;
    let [appends, replaces, catenates] = &mut clients;
    appends.send(b"Subject: 2\n\r\n").await;
    assert!(answer(appends, "b").await[0].starts_with("b NO [TRYCREATE]"));
    replaces.send(b"Subject: 2\n\r\n").await;
    assert!(replaces.line().await.unwrap().starts_with("* BYE [CLOSED]"));
    catenates.send(b"b APPEND INBOX CATENATE (URL \"/;UID=1\")\r\n").await;
    assert!(catenates.line().await.unwrap().starts_with("* BYE [CLOSED]"));
    let mut member = logged_in(&lan).await;
    member.send(b"a STATUS Shared/help (MESSAGES)\r\n").await;
    assert_eq!(answer(&mut member, "a").await[0], "* STATUS Shared/help (MESSAGES 1)");
    let mut other = logged_in_as(&lan, "bob").await;
    other.send(b"a STATUS INBOX (MESSAGES)\r\n").await;
    assert_eq!(answer(&mut other, "a").await[0], "* STATUS INBOX (MESSAGES 0)");
}

/// Between two waits of a session that is told of changes, the mapping may change as well.
#[tokio::test]
async fn who_is_no_longer_a_member_is_told_nothing_by_notify() {
    let lan = Lan::with("", &members("\"alice\", \"bob\"")).await;
    let mut client = logged_in_as(&lan, "bob").await;
    client.send(b"a NOTIFY SET (subtree Shared (MessageNew MessageExpunge MailboxName))\r\nb APPEND Drafts {11}\r\n").await;
    answer(&mut client, "a").await;
    assert!(client.line().await.unwrap().starts_with("+ "));
    lan.remap(&members("\"alice\"")).await;
    lan.deliver("shared:help", [b"Subject: 1\r\n\r\n".to_vec()]).await;
    client.send(b"Subject: 2\n\r\n").await;
    let told = answer(&mut client, "b").await;
    assert!(told.iter().any(|line| line.starts_with("* LIST (\\NonExistent")), "{told:?}");
    lan.deliver("shared:help", [b"Subject: 2\r\n\r\n".to_vec()]).await;
    client.send(b"c NOOP\r\n").await;
    assert_eq!(answer(&mut client, "c").await.len(), 1);
    assert!(!told.iter().any(|line| line.starts_with("* STATUS")), "{told:?}");
}

/// What is shared goes by names, and a session by who logged in.
#[tokio::test]
async fn a_new_name_has_the_memberships_of_that_name_and_none_of_the_old_one() {
    let lan = Lan::with("", &members("\"alice\", \"bob\"")).await;
    let bob = lan.store.account(&Mailbox::User("bob".into())).await.unwrap().unwrap().id;
    let mut client = logged_in_as(&lan, "bob").await;
    let list = b"a LIST \"\" Shared/%\r\n";
    client.send(list).await;
    assert_eq!(answer(&mut client, "a").await.len(), 2);
    lan.store.account_rename(bob, "robert").await.unwrap();
    client.send(list).await;
    assert_eq!(answer(&mut client, "a").await.len(), 1, "somebody else may be bob by now");
    lan.remap(&members("\"alice\", \"robert\"")).await;
    client.send(list).await;
    assert_eq!(answer(&mut client, "a").await.len(), 2);
}

/// Over quota or not: what does not fit is refused before it is on the disk, and what came of a command that fails does not stay there.
#[tokio::test]
async fn what_is_refused_leaves_nothing_in_the_store() {
    const LARGE: usize = 3_000_000;
    let lan = Lan::new("").await;
    let alice = lan.store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap().id;
    lan.store.account_describe(alice, None, Some(5_000_000)).await.unwrap();
    let database = rusqlite::Connection::open(lan.store.directory().join("mailroom.db")).unwrap();
    let stored = || database.query_row("SELECT count(*) FROM content", [], |row| row.get::<_, u32>(0)).unwrap();
    let large = [&b"Subject: x\r\n\r\n"[..], &vec![b'x'; LARGE - 14]].concat();
    let mut client = logged_in(&lan).await;
    // The first of two messages is complete, the second does not fit.
    client.send(format!("a APPEND INBOX {{{LARGE}+}}\r\n").as_bytes()).await;
    client.send(&large).await;
    client.send(format!(" {{{LARGE}}}\r\n").as_bytes()).await;
    assert!(answer(&mut client, "a").await[0].starts_with("a NO [OVERQUOTA]"));
    client.send(format!("b APPEND INBOX {{{LARGE}+}}\r\n").as_bytes()).await;
    client.send(&large).await;
    client.send(b"\r\nc STATUS INBOX (MESSAGES)\r\n").await;
    assert!(answer(&mut client, "b").await.last().unwrap().starts_with("b OK"));
    assert_eq!(answer(&mut client, "c").await[0], "* STATUS INBOX (MESSAGES 1)");
    assert_eq!(stored(), 1);
    client.send(b"d SELECT INBOX\r\ne APPEND INBOX CATENATE (URL \"/;UID=1\")\r\n").await;
    answer(&mut client, "d").await;
    assert!(answer(&mut client, "e").await[0].starts_with("e NO [OVERQUOTA]"));
    // What takes the place of as much may come; of a client that goes away in the middle, nothing stays.
    client.send(format!("f UID REPLACE 1 INBOX {{{LARGE}+}}\r\n").as_bytes()).await;
    client.send(&large[..2_500_000]).await;
    drop(client);
    for _ in 0..500 {
        if stored() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(stored(), 1);
}

/// RFC 8508 §3.4: mail is taken in above the quota, and what frees room is not what fills it.
#[tokio::test]
async fn above_the_quota_a_draft_may_still_become_shorter() {
    let lan = Lan::new("").await;
    let alice = lan.store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap();
    lan.store.account_describe(alice.id, None, Some(2048)).await.unwrap();
    lan.deliver("alice", [vec![b'x'; 4000]]).await;
    let mut client = logged_in(&lan).await;
    client.send(b"a SELECT INBOX\r\nb REPLACE 1 INBOX {3000+}\r\n").await;
    client.send(&[b'y'; 3000]).await;
    client.send(b"\r\nc UID COPY 99 Archive\r\nd UID COPY 1:* Archive\r\n").await;
    answer(&mut client, "a").await;
    assert_eq!(answer(&mut client, "b").await.last().unwrap(), "b OK Replaced.");
    assert!(answer(&mut client, "c").await.last().unwrap().starts_with("c OK"));
    assert!(answer(&mut client, "d").await.last().unwrap().starts_with("d NO [OVERQUOTA]"));
}
