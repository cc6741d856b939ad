//! SEARCH by words: with the index, without it and in between, the answer is the same.

use base64::Engine;
use bytes::Bytes;
use mailroom::inbound::facts::whole;
use mailroom::mapping::Mailbox;
use mailroom::message::facts::Facts;
use mailroom::message::searched::Sought;
use mailroom::message::words;
use mailroom::serve::imap;
use mailroom::store::indexer::Indexer;
use mailroom::store::{Arrival, Deposit, NewContent};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::interop::isp::{self, Dovecot};
use crate::support::lan::{Lan, PASSWORD, Pipe};
use crate::support::memory::resident;
use crate::support::reader;

/// How the text of a mail is written.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain,
    Base64,
    /// Latin-1 in quoted-printable.
    Html,
    /// The text in an attached text file.
    Attached,
    /// In something that is no text.
    Picture,
    /// In a mail inside the mail.
    Forwarded,
}

#[derive(Debug, Clone)]
struct Mail {
    subject: String,
    text: String,
    form: Form,
    recipient: String,
}

#[derive(Debug, Clone)]
enum Key {
    Text(String),
    Body(String),
    Subject(String),
    DeliveredTo(String),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    And(Box<Key>, Box<Key>),
}

impl Mail {
    fn prefix(&self) -> String {
        format!("Delivered-To: {}@q\r\n", self.recipient)
    }

    fn bytes(&self) -> Vec<u8> {
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let utf8 = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding:";
        let quoted = || {
            let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("={:02X}", c as u32) };
            self.text.replace(' ', "=20<b>").chars().map(escape).collect::<String>()
        };
        let multipart =
            |part: &str| format!("Content-Type: multipart/mixed; boundary=--0\r\n\r\n----0\r\n\r\n7\r\n----0\r\n{part}\r\n----0--\r\n");
        let rest = match self.form {
            Form::Plain => format!("{utf8} 8bit\r\n\r\n{}\r\n", self.text.replace(' ', "\r\n")),
            Form::Base64 => format!("{utf8} base64\r\n\r\n{}\r\n", base64(&self.text)),
            Form::Html => {
                format!(
                    "Content-Type: text/html; charset=latin1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>{}</p>\r\n",
                    quoted()
                )
            }
            Form::Attached => multipart(&format!("{utf8} base64\r\nContent-Disposition: attachment\r\n\r\n{}", base64(&self.text))),
            Form::Picture => {
                multipart(&format!("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n{}", base64(&self.text)))
            }
            Form::Forwarded => multipart(&format!("Content-Type: message/rfc822\r\n\r\n{utf8} 8bit\r\n\r\n{}", self.text)),
        };
        format!("Subject: {}\r\n{rest}", words::encode(&self.subject)).into_bytes()
    }
}

impl Key {
    fn finds(&self, mail: &Mail) -> bool {
        let has = |text: &str, word: &str| text.to_lowercase().contains(&word.to_lowercase());
        let body = |word: &str| !matches!(mail.form, Form::Picture) && has(&mail.text, word);
        match self {
            Key::Text(word) => body(word) || has(&mail.subject, word) || has(&mail.recipient, word),
            Key::Body(word) => body(word),
            Key::Subject(word) => has(&mail.subject, word),
            Key::DeliveredTo(word) => has(&mail.recipient, word),
            Key::Not(key) => !key.finds(mail),
            Key::Or(one, other) => one.finds(mail) || other.finds(mail),
            Key::And(one, other) => one.finds(mail) && other.finds(mail),
        }
    }

    fn written(&self) -> String {
        let literal = |word: &str| format!("{{{}+}}\r\n{word}", word.len());
        match self {
            Key::Text(word) => format!("TEXT {}", literal(word)),
            Key::Body(word) => format!("BODY {}", literal(word)),
            Key::Subject(word) => format!("SUBJECT {}", literal(word)),
            Key::DeliveredTo(word) => format!("HEADER Delivered-To {}", literal(word)),
            Key::Not(key) => format!("NOT {}", key.written()),
            Key::Or(one, other) => format!("OR {} {}", one.written(), other.written()),
            Key::And(one, other) => format!("({} {})", one.written(), other.written()),
        }
    }
}

/// None of their pieces is in what else the mails are made of.
const WORDS: &[&str] = &["Qwx", "ZZYZX", "übqzg", "ÖÖHZ", "zzuq", "Kœkœk", "qüx", "jjüqq", "hqhqhqh"];

fn text() -> impl Strategy<Value = String> {
    let words: Vec<String> = WORDS.iter().map(|word| word.replace('œ', "ø")).collect();
    prop::collection::vec(prop::sample::select(words), 1..5).prop_map(|words| words.join(" "))
}

/// Some piece of what may stand in a mail, of two characters or more, with or without spaces.
fn piece() -> impl Strategy<Value = String> {
    let piece = (text(), any::<prop::sample::Index>(), 2..9_usize).prop_map(|(text, from, length)| {
        let characters: Vec<char> = text.chars().collect();
        let piece: String = characters[from.index(characters.len())..].iter().take(length).collect();
        // A space at an end asks for a word's end, and what stands behind the last word differs from form to form.
        piece.trim().to_owned()
    });
    piece.prop_filter("single letters are in every header", |piece| piece.chars().count() > 1)
}

fn mail() -> impl Strategy<Value = Mail> {
    let form = prop::sample::select(vec![Form::Plain, Form::Base64, Form::Html, Form::Attached, Form::Picture, Form::Forwarded]);
    (text(), text(), form, "[qxz]{3,5}").prop_map(|(subject, text, form, recipient)| Mail { subject, text, form, recipient })
}

fn key() -> impl Strategy<Value = Key> {
    let leaf = prop_oneof![
        3 => piece().prop_map(Key::Text),
        3 => piece().prop_map(Key::Body),
        1 => piece().prop_map(Key::Subject),
        1 => "[qxz]{2,4}".prop_map(Key::Text),
        1 => "[qxz]{2,4}".prop_map(Key::DeliveredTo),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| Key::Not(Box::new(key))),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| Key::Or(Box::new(one), Box::new(other))),
            (inner.clone(), inner).prop_map(|(one, other)| Key::And(Box::new(one), Box::new(other))),
        ]
    })
}

async fn deliver(lan: &Lan, folder: &str, mails: &[Mail]) {
    let arrivals = mails.iter().enumerate().map(|(at, mail)| {
        let bytes = mail.bytes();
        let facts = Facts::of(&bytes);
        let NewContent::Inline(bytes, mut facts) = whole(bytes, &facts) else { unreachable!() };
        // As if it had come before fields were kept apart, and texts sketched.
        facts.fields.take_if(|_| at.is_multiple_of(3));
        facts.sketch.retain(|_| !at.is_multiple_of(2));
        let deposit = Deposit {
            mailbox: Mailbox::User("alice".into()),
            folder: Some(folder.into()),
            prefix: Bytes::from(mail.prefix()),
            flags: 0,
            internal_date: 1_800_000_000_000,
            dedupe: None,
        };
        Arrival { deposits: vec![deposit], ..Arrival::new(NewContent::Inline(bytes, facts)) }
    });
    for arrived in lan.store.arrive(arrivals.collect()).await {
        arrived.unwrap();
    }
}

async fn ask(client: &mut Pipe, command: &str) -> String {
    client.send(format!("a {command}\r\n").as_bytes()).await;
    let mut found = String::new();
    loop {
        let line = client.line().await.unwrap();
        if let Some(numbers) = line.strip_prefix("* SEARCH") {
            found = numbers.trim().to_owned();
        }
        if line.starts_with("a ") {
            assert!(line.starts_with("a OK"), "{command}: {line}");
            return found;
        }
    }
}

async fn index_all(lan: &Lan) {
    let mut indexer = Indexer::new(lan.store.clone());
    while indexer.index_some().await.unwrap() > 0 {}
}

#[tokio::test]
async fn the_index_and_a_full_scan_find_the_same() {
    const CASES: usize = 60;
    let lan = Lan::new("").await;
    let (mut client, stream, peer) = lan.connect("192.168.1.7", true);
    tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    ask(&mut client, &format!("LOGIN alice \"{PASSWORD}\"")).await;
    let mut runner = TestRunner::deterministic();
    let case = (prop::collection::vec(mail(), 0..6), prop::collection::vec(mail(), 1..6), prop::collection::vec(key(), 8));
    for number in 0..CASES {
        let (early, late, keys) = case.new_tree(&mut runner).unwrap().current();
        let folder = format!("case-{number}");
        deliver(&lan, &folder, &early).await;
        index_all(&lan).await;
        deliver(&lan, &folder, &late).await;
        ask(&mut client, &format!("SELECT {folder}")).await;
        let mails = [early, late].concat();
        for state in ["some are indexed, and half of the others sketched", "all are indexed"] {
            for key in &keys {
                let found = ask(&mut client, &format!("SEARCH CHARSET UTF-8 {}", key.written())).await;
                let expected: Vec<String> =
                    mails.iter().zip(1..).filter(|(mail, _)| key.finds(mail)).map(|(_, number): (_, u32)| number.to_string()).collect();
                assert_eq!(found, expected.join(" "), "{state}: {key:?} in {mails:#?}");
            }
            index_all(&lan).await;
            assert_eq!(lan.store.unindexed().await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn the_index_narrows_the_search() {
    let lan = Lan::new("").await;
    let mail = |text: &str| Mail { subject: "x".into(), text: text.into(), form: Form::Base64, recipient: "zzz".into() };
    deliver(&lan, "INBOX", &[mail("Donaudampfschiff"), mail("dampft"), mail("Öl")]).await;
    let alice = lan.store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap();
    let inbox = lan.store.folder_by_name(alice.id, "INBOX").await.unwrap().unwrap().id;
    let whereabouts = async |text: &str, above| lan.store.whereabouts(inbox, 1..=u32::MAX, text, above).await.unwrap();
    let of_none = "the second is sketched alone; what is neither indexed nor sketched may hold anything";
    assert_eq!(whereabouts("dampf", false).await, Some(vec![1, 2, 3]), "{of_none}");
    assert_eq!(whereabouts("dampft", false).await, Some(vec![1, 2, 3]), "{of_none}");
    assert_eq!(whereabouts("schiff", false).await, Some(vec![1, 3]), "{of_none}");
    index_all(&lan).await;
    assert_eq!(whereabouts("dampf", false).await, Some(vec![1, 2]));
    assert_eq!(whereabouts("dampfs", false).await, Some(vec![1]));
    assert_eq!(whereabouts("öl", false).await, Some(vec![3]));
    assert_eq!(whereabouts("zzz@q", false).await, Some(vec![]));
    assert_eq!(whereabouts("zzz@q", true).await, Some(vec![1, 2, 3]), "what a delivery put above it counts");
    assert_eq!(whereabouts("da", false).await, None, "too short to be asked for");
}

/// However many wait for the index, and whoever's they are: a search finds what is in its folder.
#[tokio::test]
async fn a_search_before_the_index_stays_in_its_folder() {
    let lan = Lan::new("").await;
    let mail = |text: String| Mail { subject: "x".into(), text, form: Form::Plain, recipient: "alice".into() };
    let alice = lan.store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap();
    deliver(&lan, "INBOX", &[mail("steamboat".into()), mail("sailboat".into()), mail("steamboat again".into())]).await;
    deliver(&lan, "Other", &[mail("steamboat elsewhere".into())]).await;
    let mut waiting = 4;
    for backlog in [0, 1500] {
        deliver(&lan, "Backlog", &(0..backlog).map(|number| mail(format!("number{number}"))).collect::<Vec<_>>()).await;
        waiting += backlog;
        assert_eq!(lan.store.unindexed().await.unwrap(), waiting);
        for (folder, expected) in [("INBOX", vec![1, 3]), ("Other", vec![1])] {
            let folder = lan.store.folder_by_name(alice.id, folder).await.unwrap().unwrap().id;
            // Every second one is not sketched, and may hold anything.
            let may = lan.store.whereabouts(folder, 1..=u32::MAX, "steamboat", false).await.unwrap().unwrap();
            assert_eq!(may, expected, "{backlog} more wait");
            let found = lan.store.look(folder, may, vec![Sought { text: "steamboat".into(), header: false }]).await.unwrap();
            assert_eq!(found.iter().filter(|mention| mention.found[0]).map(|mention| mention.uid).collect::<Vec<_>>(), expected);
        }
    }
}

/// Differences that are left out here, since RFC 9051 §6.4.4 leaves them to the server: Dovecot takes accents apart (so `qu` is in `qü`), does
/// not take a line end for a space, and finds the tags of HTML.
#[tokio::test(flavor = "multi_thread")]
async fn dovecot_finds_the_same() {
    let mut runner = TestRunner::deterministic();
    let mails: Vec<Mail> = (0..60).map(|_| mail().new_tree(&mut runner).unwrap().current()).collect();
    let bytes: Vec<Vec<u8>> = mails.iter().map(Mail::bytes).collect();
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", bytes.iter().map(Vec::as_slice));
    let lan = Lan::new("").await;
    lan.deliver("alice", bytes).await;
    let (mut client, stream, peer) = lan.connect("192.168.1.7", true);
    tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    ask(&mut client, &format!("LOGIN alice \"{PASSWORD}\"")).await;
    ask(&mut client, "SELECT INBOX").await;
    let mut theirs = reader::Imap::login(dovecot.imap, "alice", isp::PASSWORD);
    theirs.run("SELECT INBOX");
    // Dovecot numbers new files by their names, and these count up.
    const SOUGHT: &str = "qwx ZYZX übqzg BQZG öhz ÖHZ zzuq uq køkøk KØK qüx jjÜqq hqh nowhere qqq lain";
    for state in ["nothing is indexed", "all is indexed"] {
        for word in SOUGHT.split(' ') {
            for key in ["TEXT", "BODY", "SUBJECT", "HEADER Content-Type"] {
                let command = format!("SEARCH CHARSET UTF-8 {key} {{{}+}}\r\n{word}", word.len());
                let answer = theirs.run(&command).into_iter().map(|line| String::from_utf8_lossy(&line).trim().to_owned());
                let expected = answer.filter_map(|line| line.strip_prefix("* SEARCH").map(|found| found.trim().to_owned())).next().unwrap();
                assert_eq!(ask(&mut client, &command).await, expected, "{state}: {key} {word}");
            }
        }
        index_all(&lan).await;
    }
}

/// A large mailbox opens, shows its end and is searched. `MAILROOM_MAILS=500000 cargo nextest run --release a_large_mailbox --no-capture`
/// prints the figures of benches/RESULTS.md.
#[tokio::test]
async fn a_large_mailbox_is_a_mailbox() {
    let wanted: u32 = std::env::var("MAILROOM_MAILS").map_or(20_000, |number| number.parse().unwrap());
    let lan = Lan::new("").await;
    let mails: Vec<Vec<u8>> =
        (0..1000).map(|number| format!("From: a@x.example\r\nSubject: number {number}\r\n\r\nText {number}\r\n").into_bytes()).collect();
    lan.deliver("alice", mails).await;
    let alice = lan.store.account(&Mailbox::User("alice".into())).await.unwrap().unwrap();
    let inbox = lan.store.folder_by_name(alice.id, "INBOX").await.unwrap().unwrap().id;
    let mut there = 1000;
    while there < wanted {
        let more = there.min(wanted - there);
        lan.store.copy(inbox, vec![1..=more], inbox).await.unwrap();
        there += more;
    }
    let (mut client, stream, peer) = lan.connect("192.168.1.7", true);
    tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    let last = format!("FETCH {}:* (UID ENVELOPE)", there - 49);
    let exists = format!("* {there} EXISTS");
    let login = format!("LOGIN alice \"{PASSWORD}\"");
    // How often a line that starts so has to come.
    for (command, line, times) in [
        (login.as_str(), "a OK", 1),
        ("SELECT INBOX", exists.as_str(), 1),
        ("EXAMINE INBOX", exists.as_str(), 1),
        (&last, "* ", 50),
        (&last, "* ", 50),
        ("SEARCH SUBJECT nothing", "* SEARCH", 1),
        ("SEARCH SUBJECT nothing", "* SEARCH ", 0),
        ("UID SEARCH 1:* SUBJECT \"number 999\"", "* SEARCH 1000 2000 ", 1),
    ] {
        let before = (resident(), std::time::Instant::now());
        client.send(format!("a {command}\r\n").as_bytes()).await;
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with("a ")) {
            lines.push(client.line().await.unwrap());
        }
        println!("{command}: {:?}, {} KB before, {} after", before.1.elapsed(), before.0, resident());
        assert_eq!(lines.iter().filter(|shown| shown.starts_with(line)).count(), times, "{command}: {:?}", lines.last());
    }
}
