//! Servers that go on answering without ever coming to an end, or stall before they have said a word: every wait has its deadline, and every
//! answer as a whole has one too. On a paused clock.

use std::time::Duration;

use mailroom::config::Collector;
use mailroom::inbound::shape::Expected;
use mailroom::inbound::upstream::{Event, HEADERS_AT_ONCE, Item, Upstream, UpstreamError};
use mailroom::wire::dial::Patience;
use mailroom::wire::sasl::Secret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::Office;
use crate::support::imap_upstream;

/// No conversation that brings next to nothing may last longer.
const LONGEST: Duration = Duration::from_secs(3600);
const POP3: &str = "+OK ready\r\n";
const IMAP: &str = "* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready\r\n";

/// Answers commands by their beginnings; `$` stands for the tag. What stands behind `…` is said again every second for ever.
async fn trickling(greeting: &'static str, script: Vec<(&'static str, &'static str)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(greeting.as_bytes()).await.unwrap();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.is_ok_and(|count| count == 0) {
                return;
            }
            let (tag, command) = if greeting == POP3 { ("", line.as_str()) } else { line.split_once(' ').unwrap() };
            let usual = if greeting == POP3 { "+OK 1 100\r\n" } else { "$ OK done\r\n" };
            let answer = script.iter().find(|(begin, _)| command.starts_with(begin)).map_or(usual, |(_, answer)| answer);
            let (begin, endless) = answer.split_once('…').map_or((answer, None), |(begin, endless)| (begin, Some(endless)));
            stream.write_all(begin.replace('$', tag).as_bytes()).await.unwrap();
            while let Some(endless) = endless {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if stream.write_all(endless.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
    port
}

async fn open(collector: &Collector) -> Result<Upstream, UpstreamError> {
    Upstream::open(collector, &Secret::Password("secret".to_owned().into()), false, Patience::default()).await
}

/// All that a fetch asks of a server.
async fn session(collector: &Collector) -> Result<(), UpstreamError> {
    let mut upstream = open(collector).await?;
    upstream.list("INBOX", false, Expected::Unknown).await?;
    let handle = 5;
    upstream.headers(&[handle]).await?;
    upstream.retrieve(&[Item { handle, id: ("5".into(), 0), size: Some(100), arrived: None }]);
    while upstream.next().await? != Event::Done {}
    upstream.leave().await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn trap_45_an_answer_that_trickles_without_end_ends_the_session() {
    let pop3 = [("CAPA", "+OK\r\nUSER\r\nTOP\r\nUIDL\r\n.\r\n"), ("LIST", "+OK\r\n5 100\r\n.\r\n"), ("UIDL", "+OK\r\n5 u5\r\n.\r\n")];
    let imap = [
        ("EXAMINE", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$ OK done\r\n"),
        ("UID SEARCH", "* SEARCH 5\r\n$ OK done\r\n"),
        ("UID FETCH 5 (UID INTERNALDATE BODY.PEEK[HEADER])", "* 1 FETCH (UID 5 BODY[HEADER] {4}\r\n\r\n\r\n)\r\n$ OK done\r\n"),
    ];
    let top = ("TOP", "+OK\r\nTo: x\r\n\r\n.\r\n");
    let cases = [
        (POP3, ("CAPA", "+OK\r\n…X-Y\r\n")),
        (POP3, ("LIST", "+OK\r\n…5 100\r\n")),
        (POP3, ("UIDL", "+OK\r\n…5 u5\r\n")),
        (POP3, ("TOP", "+OK\r\n…To: x\r\n")),
        (POP3, ("RETR", "+OK\r\n…To: x\r\n")),
        (IMAP, ("LOGIN", "…* OK wait\r\n")),
        (IMAP, ("EXAMINE", "…* OK wait\r\n")),
        (IMAP, ("UID SEARCH", "…* SEARCH 5\r\n")),
        (IMAP, ("UID FETCH", "…* OK wait\r\n")),
        (IMAP, ("UID FETCH", "…* 1 FETCH (UID 9 FLAGS ())\r\n")),
        (IMAP, ("UID FETCH", "…* 1 FETCH (UID 9 BODY[] {1}\r\nx)\r\n")),
        (IMAP, ("UID FETCH", "* LIST {1000000}\r\n…xxxx")),
        (IMAP, ("UID FETCH", "* 1 FETCH (UID 5 BODY[HEADER] {1000000}\r\n…xxxx")),
        (IMAP, ("UID FETCH 5 (UID INTERNALDATE BODY.PEEK[])", "…* OK wait\r\n")),
        (IMAP, ("UID FETCH 5 (UID INTERNALDATE BODY.PEEK[])", "* 1 FETCH (UID 5 BODY[] {1000000}\r\n…xxxx")),
    ];
    for (greeting, case) in cases {
        let script = if greeting == POP3 { [&[case][..], &pop3, &[top]].concat() } else { [&[case][..], &imap].concat() };
        let port = trickling(greeting, script).await;
        let office = Office::new(if greeting == POP3 { "pop3" } else { "imap" }, port, "").await;
        let began = Instant::now();
        let ended = timeout(2 * LONGEST, session(&office.current.config.collectors[0])).await;
        assert!(ended.is_ok_and(|ended| ended.is_err()), "{case:?}");
        assert!(began.elapsed() < LONGEST, "{case:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn trap_45_a_server_that_stalls_before_its_first_word_meets_a_deadline() {
    // Nobody takes what comes in; the system answers for a few, and then no more.
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let mut crowd = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(1), TcpStream::connect(full.local_addr().unwrap())).await {
        crowd.push(stream.unwrap());
        assert!(crowd.len() < 1000);
    }
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patience = Patience::default();
    let tls = "tls = \"implicit\"";
    for (listener, more, words, longest) in [
        (&full, "", "can't connect", patience.connect),
        (&silent, tls, "TLS", patience.tls),
        (&silent, "", "waiting for the server's greeting", patience.greeting),
    ] {
        for protocol in ["pop3", "imap"] {
            let office = Office::new(protocol, listener.local_addr().unwrap().port(), more).await;
            let began = Instant::now();
            let error = open(&office.current.config.collectors[0]).await.err().unwrap().to_string();
            assert!(error.contains(words) && error.contains("in time"), "{protocol}: {error}");
            assert!(began.elapsed() <= longest + Duration::from_secs(1), "{protocol}: {words}");
        }
    }
}

#[tokio::test]
async fn trap_52_headers_that_nobody_asked_for_are_not_kept() {
    let header = |uid: u32| format!("* 1 FETCH (UID {uid} BODY[HEADER] {{{}}}\r\n{uid}\r\n\r\n)\r\n", uid.to_string().len() + 4);
    let few = format!("{}{}{}{}$ OK done\r\n", header(6), header(5), header(5), header(7));
    let many = format!("{}$ OK done\r\n", (10..5000).map(header).collect::<String>());
    for (answer, kept) in [(few, Some(b"5\r\n\r\n".to_vec())), (many, None)] {
        let script = vec![("UID FETCH 5".to_owned(), answer)];
        let (port, _) = imap_upstream::start_logged("* OK [CAPABILITY IMAP4rev1] ready", script).await;
        let office = Office::new("imap", port, "").await;
        let mut upstream = open(&office.current.config.collectors[0]).await.unwrap();
        match (upstream.headers(&[5]).await, kept) {
            (Ok(found), Some(kept)) => assert_eq!(found.into_iter().collect::<Vec<_>>(), [(5, kept)]),
            (Err(error), None) => assert!(error.to_string().contains("endless"), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}

#[tokio::test]
async fn trap_52_the_headers_of_many_large_messages_are_asked_for_a_few_at_a_time() {
    let count = 2 * HEADERS_AT_ONCE + 1;
    let sizes: String = (1..=count).map(|uid| format!("* {uid} FETCH (UID {uid} RFC822.SIZE 9000)\r\n")).collect();
    let script = [
        ("EXAMINE", format!("* {count} EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n$ OK done\r\n")),
        ("UID SEARCH", format!("* SEARCH {}\r\n$ OK done\r\n", (1..=count).map(|uid| uid.to_string()).collect::<Vec<_>>().join(" "))),
        ("UID FETCH", format!("{sizes}$ OK done\r\n")),
    ];
    let script = script.map(|(begin, answer)| (begin.to_owned(), answer)).to_vec();
    let (port, log) = imap_upstream::start_logged("* OK [CAPABILITY IMAP4rev1] ready", script).await;
    let mut office = Office::new("imap", port, "max_size = \"1KB\"\nafter = \"keep\"").await;
    office.moment = Duration::from_secs(20);
    assert_eq!(office.fetch_well().await.stub, count as u64);
    let asked: Vec<String> = log.lock().unwrap().iter().filter(|command| command.contains("[HEADER]")).cloned().collect();
    let sets: Vec<&str> = asked.iter().filter_map(|command| command.split(' ').nth(2)).collect();
    assert_eq!(sets, ["1:64", "65:128", "129"]);
}
