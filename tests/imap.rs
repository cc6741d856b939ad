//! The IMAP server in dialogues (any file in `dialogues/imap` is one) and in what dialogues can't say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use async_compression::tokio::{bufread::DeflateDecoder, write::DeflateEncoder};
use futures::TryStreamExt;
use mailroom::inbound::facts::content_facts;
use mailroom::mapping::Mailbox;
use mailroom::message::facts::Facts;
use mailroom::serve::imap;
use mailroom::store::tray::{Kind, NewHeld};
use mailroom::store::{Arrival, Deposit, NewContent};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};

use crate::support::lan::{Lan, PASSWORD, Pipe, fits};

#[tokio::test]
async fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/imap");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        play(&fs::read_to_string(file).unwrap()).await;
    }
}

fn open(lan: &Lan, from: &str, tls: bool) -> Pipe {
    let (client, stream, peer) = lan.connect(from, tls);
    tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    client
}

/// A client that is logged in as alice.
pub async fn logged_in(lan: &Lan) -> Pipe {
    logged_in_as(lan, "alice").await
}

pub async fn logged_in_as(lan: &Lan, user: &str) -> Pipe {
    let mut client = open(lan, "192.168.1.7", true);
    client.send(format!("login LOGIN {user} \"{PASSWORD}\"\r\n").as_bytes()).await;
    while !client.line().await.unwrap().starts_with("login OK") {}
    client
}

/// `#` comments, then `tls: no`, `from: ADDRESS`, `login: no`, `user 2: bob` (the second client's; else alice), `mail:` or `mail: MAILBOX`
/// and `mapping:` with their lines behind `| `; then `C:` and `S:` lines, or `C2:` and `S2:` for a second client and so on. `…` stands for
/// anything. Clients log in by themselves unless told not to. `S: closed` is the end.
async fn play(text: &str) {
    let (mut tls, mut from, mut login, mut users) = (true, "192.168.1.7".to_owned(), true, BTreeMap::<String, String>::new());
    let (mut mails, mut mapping, mut in_mapping) = (Vec::<(String, String)>::new(), String::new(), false);
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    while let Some(line) = lines.next_if(|line| !line.starts_with(['C', 'S'])) {
        match line.split_once(':').unwrap_or((line, "")) {
            ("tls", value) => tls = value.trim() == "yes",
            ("from", value) => value.trim().clone_into(&mut from),
            ("login", value) => login = value.trim() == "yes",
            ("mail", value) => {
                let mailbox = if value.is_empty() { "alice" } else { value.trim() };
                mails.push((mailbox.to_owned(), String::new()));
                in_mapping = false;
            }
            ("mapping", _) => in_mapping = true,
            (key, value) if key.starts_with("user ") => {
                users.insert(key["user ".len()..].to_owned(), value.trim().to_owned());
            }
            _ => {
                let line = line.strip_prefix('|').unwrap_or_else(|| panic!("what is “{line}”?"));
                if in_mapping {
                    mapping.push_str(line);
                    mapping.push('\n');
                    continue;
                }
                let (_, mail) = mails.last_mut().unwrap();
                mail.push_str(line.strip_prefix(' ').unwrap_or(line));
                mail.push_str("\r\n");
            }
        }
    }
    let lan = Lan::with("[access]\nmax_message_size = \"1MB\"", &mapping).await;
    for (mailbox, mail) in mails {
        lan.deliver(&mailbox, [mail.into_bytes()]).await;
    }
    let mut clients: BTreeMap<String, Pipe> = BTreeMap::new();
    for line in lines {
        let (who, said) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let (side, number) = who.split_at(1);
        if !clients.contains_key(number) {
            let client =
                if login { logged_in_as(&lan, users.get(number).map_or("alice", String::as_str)).await } else { open(&lan, &from, tls) };
            clients.insert(number.to_owned(), client);
        }
        let client = clients.get_mut(number).unwrap();
        match (side, said) {
            ("C", said) => client.send(format!("{}\r\n", said.replace("PASSWORD", PASSWORD)).as_bytes()).await,
            ("S", "closed") => assert_eq!(client.line().await, None),
            ("S", expected) => {
                let line = client.line().await.unwrap_or_else(|| panic!("closed instead of “{expected}”"));
                assert!(fits(expected, &line), "expected “{expected}”\n     got “{line}”");
            }
            (what, _) => panic!("what is “{what}”?"),
        }
    }
}

/// Lines up to the tagged one, which is the last.
pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Pipe<S>, tag: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = client.line().await.expect("closed");
        let done = line.starts_with(&format!("{tag} "));
        lines.push(line);
        if done {
            return lines;
        }
    }
}

/// Somebody else's implementation of a client reads what we write.
#[tokio::test]
async fn async_imap_understands_every_answer() {
    let lan = Lan::new("").await;
    let mail = "From: Ann <ann@example.com>\r\nTo: alice@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 1 Oct 2024 10:00:00 +0200\r\n\
                Message-ID: <1@example.com>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n";
    lan.deliver("alice", (0..3).map(|_| mail.as_bytes().to_vec())).await;
    let (client, stream, peer) = lan.connect("192.168.1.7", true);
    tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    let mut client = async_imap::Client::new(client.0);
    client.read_response().await.unwrap().unwrap();
    let mut session = client.login("alice", PASSWORD).await.map_err(|(error, _)| error).unwrap();
    assert!(session.capabilities().await.unwrap().has_str("IDLE"));
    let names: Vec<_> = session.list(None, Some("*")).await.unwrap().try_collect().await.unwrap();
    assert!(names.iter().any(|name| name.name() == "INBOX"));
    let mailbox = session.select_condstore("INBOX").await.unwrap();
    assert_eq!((mailbox.exists, mailbox.uid_next), (3, Some(4)));
    let fetched: Vec<_> = session
        .fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[])")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(fetched.len(), 3);
    assert_eq!(fetched[0].body(), Some(mail.as_bytes()));
    assert_eq!(fetched[0].size, Some(mail.len() as u32));
    assert_eq!(fetched[0].envelope().unwrap().message_id.as_deref(), Some(&b"<1@example.com>"[..]));
    assert!(fetched[0].bodystructure().is_some());
    assert_eq!(session.uid_search("SUBJECT grüße").await.unwrap().len(), 3);
    let _: Vec<_> = session.store("1:2", "+FLAGS (\\Deleted)").await.unwrap().try_collect().await.unwrap();
    let expunged: Vec<_> = session.expunge().await.unwrap().try_collect().await.unwrap();
    assert_eq!(expunged.len(), 2);
    session.create("Z&APw-rich &- Umgebung").await.unwrap();
    session.uid_mv("3", "Z&APw-rich &- Umgebung").await.unwrap();
    session.append("INBOX", Some("(\\Seen)"), None, mail).await.unwrap();
    session.logout().await.unwrap();
}

/// A delivery reaches an idling client by itself.
#[tokio::test]
async fn idle_is_told_of_a_delivery() {
    let lan = Lan::new("").await;
    let mut client = logged_in(&lan).await;
    client.send(b"a SELECT INBOX\r\nb IDLE\r\n").await;
    answer(&mut client, "a").await;
    assert!(client.line().await.unwrap().starts_with("+ "));
    lan.deliver("alice", [b"Subject: new\r\n\r\n".to_vec()]).await;
    assert_eq!(client.line().await.as_deref(), Some("* 1 EXISTS"));
    client.send(b"DONE\r\n").await;
    assert!(answer(&mut client, "b").await.last().unwrap().starts_with("b OK"));
}

/// A message of several megabytes goes in and comes out, and never stands in memory whole.
#[tokio::test]
async fn large_messages_stream_both_ways() {
    let lan = Lan::new("").await;
    let mut client = logged_in(&lan).await;
    let mail = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(300_000));
    client.send(format!("a APPEND INBOX {{{}+}}\r\n", mail.len()).as_bytes()).await;
    client.send(mail.as_bytes()).await;
    client.send(b"\r\nb SELECT INBOX\r\nc FETCH 1 (RFC822.SIZE BODY.PEEK[TEXT]<18.16> BODY[])\r\n").await;
    assert!(answer(&mut client, "a").await.last().unwrap().starts_with("a OK [APPENDUID "));
    answer(&mut client, "b").await;
    let lines = answer(&mut client, "c").await;
    let size = mail.len();
    assert_eq!(lines[0], format!("* 1 FETCH (FLAGS (\\Seen \\Recent) RFC822.SIZE {size} BODY[TEXT]<18> {{16}}"));
    assert_eq!(lines[1], format!("0123456789abcdef BODY[] {{{size}}}"));
    assert_eq!(lines[2..lines.len() - 2].join("\r\n") + "\r\n", mail);
}

/// A part larger than what is read at once, without its transfer encoding; and a message with NUL, which is not kept.
#[tokio::test]
async fn binary_parts_stream_too() {
    let lan = Lan::new("").await;
    let mut client = logged_in(&lan).await;
    let lines = "QUJDREVGR0hJSktM\r\n".repeat(100_000);
    let mail = format!("Content-Transfer-Encoding: base64\r\n\r\n{lines}");
    lan.deliver("alice", [mail.into_bytes()]).await;
    client
        .send(b"a EXAMINE INBOX\r\nb FETCH 1 BINARY.SIZE[1]\r\nc FETCH 1 BINARY.PEEK[1]\r\nd FETCH 1 BINARY.PEEK[1]<1199995.9>\r\n")
        .await;
    answer(&mut client, "a").await;
    assert_eq!(answer(&mut client, "b").await[0], "* 1 FETCH (BINARY.SIZE[1] 1200000)");
    let got = answer(&mut client, "c").await;
    assert_eq!(got[0], "* 1 FETCH (BINARY[1] {1200000}");
    assert_eq!(got[1], "ABCDEFGHIJKL".repeat(100_000) + ")");
    assert_eq!(answer(&mut client, "d").await[1], "HIJKL)");
    client.send(b"e APPEND INBOX ~{5+}\r\na\0: b\r\n").await;
    assert!(answer(&mut client, "e").await[0].starts_with("e NO [UNKNOWN-CTE]"));
}

/// Behind COMPRESS=DEFLATE (RFC 4978) everything goes on as before, in both directions, large and small; a notice is not kept waiting.
#[tokio::test]
async fn a_compressed_session_is_a_session() {
    let lan = Lan::new("").await;
    let mut client = logged_in(&lan).await;
    client.send(b"a COMPRESS BROTLI\r\nb COMPRESS DEFLATE\r\n").await;
    assert!(answer(&mut client, "a").await[0].starts_with("a BAD"));
    assert!(answer(&mut client, "b").await[0].starts_with("b OK"));
    let mut client = Pipe(BufReader::new(DeflateEncoder::new(DeflateDecoder::new(client.0))));
    let mail = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(100_000));
    client.send(format!("c COMPRESS DEFLATE\r\nd APPEND INBOX {{{}+}}\r\n{mail}\r\n", mail.len()).as_bytes()).await;
    assert!(answer(&mut client, "c").await[0].starts_with("c NO [COMPRESSIONACTIVE]"));
    assert!(answer(&mut client, "d").await[0].starts_with("d OK"));
    // Log-off would end the compression, too: it is not offered here.
    client.send(b"x UNAUTHENTICATE\r\ny CAPABILITY\r\n").await;
    assert!(answer(&mut client, "x").await[0].starts_with("x BAD"));
    assert!(!answer(&mut client, "y").await[0].contains("UNAUTHENTICATE"));
    client.send(b"e SELECT INBOX\r\nf FETCH 1 BODY.PEEK[]\r\ng IDLE\r\n").await;
    answer(&mut client, "e").await;
    let lines = answer(&mut client, "f").await;
    assert_eq!(lines[1..lines.len() - 2].join("\r\n") + "\r\n", mail);
    assert!(client.line().await.unwrap().starts_with("+ "));
    lan.deliver("alice", [b"Subject: new\r\n\r\n".to_vec()]).await;
    assert_eq!(client.line().await.as_deref(), Some("* 2 EXISTS"));
    client.send(b"DONE\r\nh LOGOUT\r\n").await;
    assert!(answer(&mut client, "h").await.contains(&"* BYE Goodbye.".to_owned()));
    assert_eq!(client.line().await, None);
    // no deflate stream at all: the session ends, and nothing else
    let mut client = logged_in(&lan).await;
    client.send(b"a COMPRESS DEFLATE\r\n").await;
    answer(&mut client, "a").await;
    client.send(&[0xff; 100]).await;
    assert_eq!(client.line().await, None);
}

/// What was sent ahead of the handshake could be anybody's (CVE-2011-0411): the session ends there.
#[tokio::test]
async fn commands_ahead_of_the_handshake_end_the_session() {
    let lan = Lan::new("").await;
    let (mut client, stream, peer) = lan.connect("192.168.1.7", false);
    let server = tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    client.send(b"a STARTTLS\r\nb LOGIN alice x\r\n").await;
    client.line().await;
    assert!(client.line().await.unwrap().starts_with("a OK"));
    assert_eq!(client.line().await, None);
    server.await.unwrap();
}

/// Lines without end, literals that are announced and never sent, nesting, noise: an answer or a BYE, in bounded memory.
#[tokio::test]
async fn hostile_input_ends_in_words() {
    let lan = Lan::new("").await;
    let endless = vec![b'x'; 1 << 20];
    let mut client = open(&lan, "192.168.1.7", true);
    client.line().await;
    client.send(&endless[..50_000]).await;
    assert!(client.line().await.unwrap().starts_with("* BAD "));
    assert!(client.line().await.unwrap().starts_with("* BYE "));

    let mut client = logged_in(&lan).await;
    for (sent, expected) in [
        ("a SEARCH CHARSET UTF-8 TEXT {400000000}", "a NO [TOOBIG]"),
        ("a APPEND INBOX {400000000}", "a NO [TOOBIG]"),
        ("a LOGIN", "a BAD"),
        ("", "* BAD"),
        ("a", "* BAD"),
        ("a \0\u{1}", "a BAD"),
        ("a SELECT {0}", "+ "),
    ] {
        client.send(format!("{sent}\r\n").as_bytes()).await;
        let line = client.line().await.unwrap();
        assert!(line.starts_with(expected), "{sent}: {line}");
    }
    client.send(b"\r\n").await;
    assert!(client.line().await.unwrap().starts_with("a NO"));
    client.send(format!("a SELECT INBOX\r\nb SEARCH {}\r\n", "(".repeat(10_000)).as_bytes()).await;
    assert!(answer(&mut client, "b").await.last().unwrap().starts_with("b BAD"));
    client.send(b"a APPEND INBOX {400000000+}\r\n").await;
    assert!(client.line().await.unwrap().starts_with("* BYE [TOOBIG]"));
    assert_eq!(client.line().await, None);

    let mut client = logged_in(&lan).await;
    for _ in 0..20 {
        client.send(b"a FROB\r\n").await;
    }
    let mut last = String::new();
    while let Some(line) = client.line().await {
        last = line;
    }
    assert!(last.starts_with("* BYE"), "{last}");
}

/// A client that asks for much and reads nothing holds up nobody, and not the server's memory either.
#[tokio::test]
async fn a_client_that_does_not_read_is_waited_for() {
    let lan = Lan::new("").await;
    let mail = format!("Subject: x\r\n\r\n{}", "0123456789abcdef\r\n".repeat(5_000));
    lan.deliver("alice", (0..60).map(|_| mail.as_bytes().to_vec())).await;
    let mut lazy = logged_in(&lan).await;
    lazy.send(b"a SELECT INBOX\r\nb FETCH 1:* BODY.PEEK[]\r\n").await;
    let mut other = logged_in(&lan).await;
    other.send(b"a SELECT INBOX\r\nb FETCH 1:* RFC822.SIZE\r\n").await;
    answer(&mut other, "a").await;
    assert_eq!(answer(&mut other, "b").await.len(), 61);
    answer(&mut lazy, "a").await;
    let lines = answer(&mut lazy, "b").await;
    assert_eq!(lines.iter().filter(|line| line.starts_with("* ")).count(), 60);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_sent_away() {
    let lan = Lan::new("").await;
    let started = tokio::time::Instant::now();
    let mut client = open(&lan, "192.168.1.7", true);
    client.line().await;
    let goodbye = tokio::time::timeout(Duration::from_secs(3600), async {
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut client.0, &mut line).await.unwrap();
        line
    });
    assert!(goodbye.await.unwrap().starts_with("* BYE"));
    assert!(started.elapsed() >= Duration::from_secs(60) && started.elapsed() < Duration::from_secs(70));
}

/// Fields that are kept beside a message, and those of messages that came before any were kept: nobody can tell them apart.
#[tokio::test]
async fn fields_are_those_of_the_header() {
    let lan = Lan::new("").await;
    let text = |n: usize| {
        format!("X-A: 1\r\nsubject: one\r\n\ttwo {n}\r\nTo : bob@example.com\r\nSubject: three\r\n\r\nSubject: body\r\n").into_bytes()
    };
    let arrival = |n: usize| {
        let mut facts = content_facts(&Facts::of(&text(n)));
        assert!(facts.fields.is_some());
        facts.fields.take_if(|_| n.is_multiple_of(2));
        let deposit = Deposit {
            mailbox: Mailbox::User("alice".into()),
            folder: None,
            prefix: "Delivered-To: alice@office.lan\r\n".into(),
            flags: 0,
            internal_date: 0,
            dedupe: None,
        };
        Arrival { deposits: vec![deposit], ..Arrival::new(NewContent::Inline(text(n).into(), Box::new(facts))) }
    };
    const MAILS: usize = 300;
    for arrived in lan.store.arrive((1..=MAILS).map(arrival).collect()).await {
        arrived.unwrap();
    }
    let mut client = logged_in(&lan).await;
    client.send(b"a SELECT INBOX\r\n").await;
    answer(&mut client, "a").await;
    let mut check = async |items: &str, expected: &dyn Fn(usize) -> String| {
        client.send(format!("b FETCH 1:* ({items})\r\n").as_bytes()).await;
        let lines = answer(&mut client, "b").await;
        let expected: Vec<String> = (1..=MAILS).flat_map(|n| expected(n).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        assert_eq!(lines[..lines.len() - 1], expected, "{items}");
    };
    let literal = |n, section: &str, text: &str| format!("* {n} FETCH (BODY[{section}] {{{}}}\r\n{text})\r\n", text.len());
    check("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", &|n| {
        literal(n, "HEADER.FIELDS (SUBJECT)", &format!("subject: one\r\n\ttwo {n}\r\nSubject: three\r\n\r\n"))
    })
    .await;
    check("BODY.PEEK[HEADER.FIELDS (Delivered-To TO)]", &|n| {
        literal(n, "HEADER.FIELDS (Delivered-To TO)", "Delivered-To: alice@office.lan\r\nTo : bob@example.com\r\n\r\n")
    })
    .await;
    check("BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT X-A)]", &|n| {
        literal(n, "HEADER.FIELDS.NOT (SUBJECT X-A)", "Delivered-To: alice@office.lan\r\nTo : bob@example.com\r\n\r\n")
    })
    .await;
    check("BODY.PEEK[HEADER.FIELDS (to)] BODY.PEEK[HEADER.FIELDS (x-a)]", &|n| {
        format!(
            "* {n} FETCH (BODY[HEADER.FIELDS (to)] {{24}}\r\nTo : bob@example.com\r\n\r\n BODY[HEADER.FIELDS (x-a)] {{10}}\r\nX-A: 1\r\n\r\n)\r\n"
        )
    })
    .await;
    client.send(b"c SEARCH SUBJECT \"two 29\" TO bob\r\nd SEARCH SUBJECT \"two 29\" HEADER X-A 1\r\n").await;
    let found: Vec<String> = [29].into_iter().chain(290..=299).map(|n| n.to_string()).collect();
    assert_eq!(answer(&mut client, "c").await[0], format!("* SEARCH {}", found.join(" ")));
    assert_eq!(answer(&mut client, "d").await[0], format!("* SEARCH {}", found.join(" ")));
}

/// Long and short bodies, whole and in part, come as they were stored.
#[tokio::test]
async fn bodies_come_whole() {
    let lan = Lan::new("").await;
    let text = |n: usize| {
        let line = |at: usize| format!("{n} {at:060}\r\n");
        format!("Subject: {n}\r\n\r\n{}", (0..[1, 300, 20, 5000, 12_000, 2][n]).map(line).collect::<String>()).into_bytes()
    };
    lan.deliver("alice", (0..6).map(text)).await;
    let mut client = logged_in(&lan).await;
    client.send(b"a SELECT INBOX\r\n").await;
    answer(&mut client, "a").await;
    for (partial, from, length) in [("", 0, usize::MAX), ("<65530.300000>", 65_530, 300_000), ("<100.16500>", 100, 16_500)] {
        client.send(format!("b FETCH 1:* (BODY.PEEK[]{partial})\r\n").as_bytes()).await;
        let said = answer(&mut client, "b").await.join("\n");
        let named = if from > 0 { format!("<{from}>") } else { String::new() };
        let expected: Vec<String> = (0..6)
            .map(|n| {
                let text = String::from_utf8(text(n)).unwrap();
                let part = &text[from.min(text.len())..from.saturating_add(length).min(text.len())];
                format!("* {} FETCH (BODY[]{named} {{{}}}\r\n{part})", n + 1, part.len()).replace("\r\n", "\n")
            })
            .collect();
        assert!(said.starts_with(&expected.join("\n")), "{partial}");
    }
}

/// Held mail is a folder for the postmaster, and for nobody else: read there, and given to somebody by being moved.
#[tokio::test]
async fn the_tray_is_a_folder_for_the_postmaster() {
    let lan = Lan::new("").await;
    let hold = async |subject: &str, kind| {
        let bytes = format!("Subject: {subject}\r\n\r\ntext\r\n").into_bytes();
        let facts = content_facts(&Facts::of(&bytes));
        let held = NewHeld {
            reason: "nobody".into(),
            addresses: vec![],
            from: "x@example.org".into(),
            subject: subject.into(),
            kind,
            collector: None,
        };
        let arrival = Arrival { tray: Some(held), ..Arrival::new(NewContent::Inline(bytes.into(), Box::new(facts))) };
        lan.store.arrive(vec![arrival]).await.remove(0).unwrap();
    };
    let mut client = logged_in(&lan).await;
    client.send(b"a LIST \"\" Shared*\r\n").await;
    assert_eq!(answer(&mut client, "a").await.len(), 1, "nothing was ever held");
    hold("first", Kind::Held).await;
    hold("bytes that broke a reader", Kind::Quarantine).await;
    hold("header alone", Kind::Stub).await;
    client.send(b"b LIST \"\" *\r\nc NAMESPACE\r\nd MYRIGHTS Shared/Tray\r\ne STATUS Shared/Tray (MESSAGES UNSEEN)\r\n").await;
    assert!(answer(&mut client, "b").await.contains(&"* LIST (\\HasNoChildren) \"/\" Shared/Tray".to_owned()));
    assert_eq!(answer(&mut client, "c").await[0], "* NAMESPACE ((\"\" \"/\")) NIL ((\"Shared/\" \"/\"))");
    assert_eq!(answer(&mut client, "d").await[0], "* MYRIGHTS Shared/Tray lrswte");
    assert_eq!(answer(&mut client, "e").await[0], "* STATUS Shared/Tray (MESSAGES 2 UNSEEN 2)");
    let mut stranger = logged_in_as(&lan, "bob").await;
    stranger.send(b"a LIST \"\" *\r\nb SELECT Shared/Tray\r\n").await;
    assert!(!answer(&mut stranger, "a").await.iter().any(|line| line.contains("Tray")));
    assert!(answer(&mut stranger, "b").await[0].starts_with("b NO [NONEXISTENT]"));

    client.send(b"f SELECT Shared/Tray\r\ng FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]\r\n").await;
    let opened = answer(&mut client, "f").await;
    assert!(opened.iter().any(|line| line.contains("PERMANENTFLAGS") && !line.contains("Deleted")), "{opened:?}");
    let subjects: Vec<String> = answer(&mut client, "g").await.into_iter().filter(|line| line.starts_with("Subject")).collect();
    assert_eq!(subjects, ["Subject: first", "Subject: header alone"]);
    for (command, expected) in [
        ("STORE 1 +FLAGS (\\Deleted)", "NO [NOPERM]"),
        ("STORE 1 +FLAGS (\\Seen \\Deleted \\Flagged)", "OK"),
        ("UID REPLACE 1 INBOX {5+}\r\nA: b\n", "NO [NOPERM]"),
        ("APPEND Shared/Tray {5+}\r\nA: b\n", "NO [NOPERM]"),
        ("COPY 1 Shared/Tray", "NO [NOPERM]"),
        ("COPY 1 Drafts", "OK"),
        ("MOVE 2 INBOX", "NO [CANNOT]"),
        ("EXPUNGE", "OK"),
        ("DELETE Shared/Tray", "NO [CANNOT]"),
        ("RENAME Shared/Tray x", "NO [CANNOT]"),
        ("CREATE Shared/Tray/x", "NO [CANNOT]"),
        ("GETQUOTAROOT Shared/Tray", "OK"),
    ] {
        client.send(format!("h {command}\r\n").as_bytes()).await;
        let last = answer(&mut client, "h").await.pop().unwrap();
        assert!(last.starts_with(&format!("h {expected}")), "{command}: {last}");
    }
    assert_eq!(lan.store.tray().await.unwrap().len(), 3);
    // Given by being moved; and what happens to the tray elsewhere is seen at once.
    client.send(b"i MOVE 1 INBOX\r\n").await;
    assert!(answer(&mut client, "i").await.last().unwrap().starts_with("i OK"));
    let left: Vec<String> = lan.store.tray().await.unwrap().into_iter().map(|held| held.subject).collect();
    assert_eq!(left, ["bytes that broke a reader", "header alone"]);
    client.send(b"j STATUS INBOX (MESSAGES)\r\n").await;
    assert_eq!(answer(&mut client, "j").await[0], "* STATUS INBOX (MESSAGES 1)");
    client.send(b"k IDLE\r\n").await;
    assert!(client.line().await.unwrap().starts_with("+ "));
    hold("third", Kind::Held).await;
    assert_eq!(client.line().await.as_deref(), Some("* 2 EXISTS"));
    assert!(client.line().await.unwrap().ends_with("RECENT"));
    let ids = lan.store.tray().await.unwrap().into_iter().filter(|held| held.kind != Kind::Quarantine).map(|held| held.id).collect();
    lan.store.tray_drop(ids, "alice", false).await.unwrap();
    assert_eq!(client.line().await.as_deref(), Some("* 2 EXPUNGE"));
    assert_eq!(client.line().await.as_deref(), Some("* 1 EXPUNGE"));
    // No list of users has it, and nobody logs in as it.
    assert!(lan.store.accounts().await.unwrap().iter().all(|account| account.name() != "/tray"));
}
