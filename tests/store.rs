//! The store, on real directories: what it promises about loss, duplicates, numbers and full disks.

use bytes::Bytes;
use mailroom::mapping::Mailbox;
use mailroom::store::messages::Wanted;
use mailroom::store::{Arrival, ContentFacts, Deposit, NewContent, Store, StoreError};

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
