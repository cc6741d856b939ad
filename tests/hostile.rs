//! What no mail program sends, to the servers on the LAN: each is answered in words or sent away, the memory stays where it was, and the
//! others notice nothing.

use std::time::Duration;

use mailroom::serve::login::Refused;
use mailroom::serve::{imap, pop3, smtp};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::lan::{Lan, PASSWORD, Pipe};
use crate::support::memory::{alone, resident};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    Imap,
    Pop3,
    Smtp,
}

const SERVERS: [Server; 3] = [Server::Imap, Server::Pop3, Server::Smtp];

fn open(lan: &Lan, server: Server, from: &str) -> Pipe {
    let (client, stream, peer) = lan.connect(from, true);
    let (context, stop) = (lan.context.clone(), lan.stop.clone());
    match server {
        Server::Imap => drop(tokio::spawn(imap::serve(stream, peer, context, stop))),
        Server::Pop3 => drop(tokio::spawn(pop3::serve(stream, peer, context, stop))),
        Server::Smtp => drop(tokio::spawn(smtp::serve(stream, peer, context, stop))),
    }
    client
}

async fn logged_in(lan: &Lan) -> Pipe {
    let mut client = open(lan, Server::Imap, "192.168.1.7");
    client.line().await;
    ask(&mut client, &format!("LOGIN alice \"{PASSWORD}\"")).await;
    client
}

/// The tagged answer.
async fn ask(client: &mut Pipe, command: &str) -> String {
    client.send(format!("a {command}\r\n").as_bytes()).await;
    loop {
        let line = client.line().await.expect("closed");
        if let Some(answer) = line.strip_prefix("a ") {
            return answer.to_owned();
        }
    }
}

/// All that comes until the end.
async fn rest(client: &mut Pipe) -> String {
    let mut all = Vec::new();
    tokio::time::timeout(Duration::from_secs(3600), client.0.read_to_end(&mut all)).await.expect("not closed").unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Nobody else's mail waits for that.
async fn others_are_served(lan: &Lan) {
    let mut client = open(lan, Server::Imap, "192.168.1.9");
    client.line().await;
    assert!(ask(&mut client, &format!("LOGIN bob \"{PASSWORD}\"")).await.starts_with("OK"));
    assert!(ask(&mut client, "SELECT INBOX").await.starts_with("OK"));
}

#[tokio::test]
async fn a_literal_that_never_comes_is_waited_for_and_no_longer() {
    let lan = Lan::new("").await;
    for (command, logged) in [
        ("a LOGIN {5}", false),
        ("a SELECT {5}", true),
        ("a APPEND INBOX {100}", true),
        ("a APPEND INBOX CATENATE (TEXT {100}", true),
        ("a SETMETADATA INBOX (/private/comment {100}", true),
    ] {
        let mut client = match logged {
            true => logged_in(&lan).await,
            false => {
                let mut client = open(&lan, Server::Imap, "192.168.1.7");
                client.line().await;
                client
            }
        };
        client.send(format!("{command}\r\n").as_bytes()).await;
        assert!(client.line().await.unwrap().starts_with("+ "), "{command}");
        others_are_served(&lan).await;
        client.send(b"x").await;
        // From here on nothing happens but time.
        tokio::time::pause();
        assert_eq!(rest(&mut client).await, "* BYE You said nothing for too long.\r\n", "{command}");
        tokio::time::resume();
    }
    let mut client = logged_in(&lan).await;
    assert!(ask(&mut client, "STATUS INBOX (MESSAGES)").await.starts_with("OK"));
}

#[tokio::test]
async fn a_line_of_a_megabyte_is_no_line() {
    if !alone("hostile::a_line_of_a_megabyte_is_no_line") {
        return;
    }
    let lan = Lan::new("").await;
    let endless = vec![b'x'; 1 << 20];
    for server in SERVERS {
        let before = resident();
        for _ in 0..20 {
            let mut client = open(&lan, server, "192.168.1.7");
            // The server may have hung up before all of it was sent.
            let _ = client.0.write_all(&endless).await;
            let _ = client.0.write_all(b"\r\n").await;
            let _ = client.0.get_mut().shutdown().await;
            let said = rest(&mut client).await;
            let refused = match server {
                Server::Imap => said.contains("* BAD ") && said.contains("* BYE "),
                Server::Pop3 => said.contains("-ERR"),
                Server::Smtp => said.contains("\r\n421 ") || said.contains("\r\n5"),
            };
            assert!(refused, "{server:?}: {said:.200}");
        }
        assert!(resident() < before + 20_000, "{server:?}: {before} KB before, {} KB after", resident());
    }
    let mut client = logged_in(&lan).await;
    let _ = client.0.write_all(&endless).await;
    let said = rest(&mut client).await;
    assert!(said.contains("* BAD ") && said.contains("* BYE "), "{said}");
    others_are_served(&lan).await;
}

/// A line that is awaited behind a `+`: too long, or never sent.
#[tokio::test]
async fn lines_in_the_middle_of_a_command_are_refused_in_words() {
    let lan = Lan::new("").await;
    for (server, command, behind, refused) in [
        (Server::Imap, "a AUTHENTICATE PLAIN", "", "* BYE "),
        (Server::Imap, "a APPEND INBOX {1}", "x", "* BYE "),
        (Server::Imap, "a APPEND INBOX CATENATE (URL {1}", "x", "* BYE "),
        (Server::Imap, "a SETMETADATA INBOX (/private/comment {1}", "x", "* BYE "),
        (Server::Pop3, "AUTH PLAIN", "", "-ERR"),
    ] {
        for endless in [false, true] {
            let mut client = match command.starts_with("a A") && !command.contains("AUTH") || command.contains("META") {
                true => logged_in(&lan).await,
                false => {
                    let mut client = open(&lan, server, "192.168.1.7");
                    client.line().await;
                    client
                }
            };
            client.send(format!("{command}\r\n").as_bytes()).await;
            assert!(client.line().await.unwrap().starts_with("+ "), "{command}");
            client.send(behind.as_bytes()).await;
            if endless {
                client.send(&vec![b'x'; 300_000]).await;
                client.send(b"\r\n").await;
            } else {
                tokio::time::pause();
            }
            let said = rest(&mut client).await;
            if !endless {
                tokio::time::resume();
            }
            assert!(said.contains(refused) && said.contains("* BAD ") == (endless && server == Server::Imap), "{command}: {said}");
        }
    }
    others_are_served(&lan).await;
}

/// A terminal server after a restart: everybody at once, from one address, with the right password.
#[tokio::test]
async fn many_right_passwords_at_once_are_no_attack() {
    let lan = Lan::new("login_failures = 1").await;
    let (login, password) = (&lan.context.login, SecretString::from(PASSWORD));
    let here = "192.168.1.7".parse().unwrap();
    let (alice, bob) = tokio::join!(login.check(here, "alice", &password), login.check(here, "bob", &password));
    assert_eq!((alice.unwrap().name(), bob.unwrap().name()), ("alice", "bob"));
    // But wrong ones at once are one too many.
    let wrong = SecretString::from("wrong");
    let (first, second) = tokio::join!(login.check(here, "alice", &wrong), login.check(here, "bob", &wrong));
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (Refused::Wrong, Refused::Throttled));
}

/// Log-ins by SCRAM that begin side by side are no more guesses than others.
#[tokio::test]
async fn proofs_are_counted_as_passwords_are() {
    let lan = Lan::new("").await;
    let login = &lan.context.login;
    let phone = "192.168.1.7".parse().unwrap();
    // A telephone with last year's password keeps the others behind its address waiting for nothing.
    for _ in 0..10 {
        let (account, _) = login.keys(phone, "alice").await.unwrap();
        assert_eq!(login.settle(phone, "alice", account, false).await.unwrap_err(), Refused::Wrong);
    }
    assert_eq!(login.keys(phone, "alice").await.unwrap_err(), Refused::Throttled);
    let (account, _) = login.keys(phone, "bob").await.unwrap();
    assert_eq!(login.settle(phone, "bob", account, true).await.unwrap().name(), "bob");
    assert_eq!(login.check(phone, "alice", &SecretString::from(PASSWORD)).await.unwrap().name(), "alice");
    let guesser = "192.168.1.66".parse().unwrap();
    let mut begun = Vec::new();
    for n in 0..30 {
        begun.push((format!("user{n}"), login.keys(guesser, &format!("user{n}")).await.unwrap().0));
    }
    let (alice, _) = login.keys(guesser, "alice").await.unwrap();
    let mut outcomes = Vec::new();
    for (name, account) in begun {
        outcomes.push(login.settle(guesser, &name, account, false).await.unwrap_err());
    }
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Refused::Wrong).count(), 10);
    assert_eq!(login.settle(guesser, "alice", alice, true).await.unwrap_err(), Refused::Throttled);
}

#[tokio::test]
async fn nul_is_in_no_command() {
    let lan = Lan::new("").await;
    for (server, line, refused) in [
        (Server::Imap, "a LOGIN al\0ice x\r\n", "a BAD"),
        (Server::Imap, "a LOGIN \"al\0ice\" x\r\n", "a BAD"),
        (Server::Imap, "a LOGIN {3+}\r\na\0b x\r\n", "a NO"),
        (Server::Imap, "\0\r\n", "* BAD"),
        (Server::Pop3, "USER al\0ice\r\n", "-ERR"),
        (Server::Pop3, "\0\r\n", "-ERR"),
        (Server::Smtp, "EHLO a\0b\r\n", "5"),
        (Server::Smtp, "\0\r\n", "5"),
    ] {
        let mut client = open(&lan, server, "192.168.1.7");
        client.line().await;
        client.send(line.as_bytes()).await;
        let answer = client.line().await.unwrap();
        assert!(answer.starts_with(refused), "{server:?} {line:?}: {answer}");
    }
    let mut client = logged_in(&lan).await;
    for command in [
        "SELECT a\0b",
        "SELECT \"a\0b\"",
        "SELECT {3+}\r\na\0b",
        "CREATE {3+}\r\na\0b",
        "SEARCH SUBJECT \"a\0\"",
        "RENAME INBOX {3+}\r\na\0b",
    ] {
        let answer = ask(&mut client, command).await;
        assert!(answer.starts_with("BAD") || answer.starts_with("NO"), "{command:?}: {answer}");
    }
}

#[tokio::test]
async fn lists_ten_thousand_deep_are_refused() {
    let lan = Lan::new("").await;
    let deep = |open: &str, close: &str| format!("{}x{}", open.repeat(10_000), close.repeat(10_000));
    let mut client = logged_in(&lan).await;
    assert!(ask(&mut client, "SELECT INBOX").await.starts_with("OK"));
    for command in [
        format!("SEARCH {}", deep("(", ")")),
        format!("SEARCH {}", deep("NOT ", "")),
        format!("SEARCH {}", deep("OR 1 ", "")),
        format!("UID SORT (DATE) UTF-8 {}", deep("(", ")")),
        format!("THREAD REFERENCES UTF-8 {}", deep("(", ")")),
        format!("FETCH 1 {}", deep("(", ")")),
        format!("STORE 1 FLAGS {}", deep("(", ")")),
        format!("STATUS INBOX {}", deep("(", ")")),
        format!("LIST {} \"\" *", deep("(", ")")),
        format!("LIST \"\" {}", deep("(", ")")),
        format!("LIST \"\" * RETURN {}", deep("(", ")")),
        format!("ID {}", deep("(", ")")),
        format!("SELECT INBOX {}", deep("(", ")")),
        format!("CREATE x {}", deep("(", ")")),
        format!("GETMETADATA {} INBOX x", deep("(", ")")),
        format!("SETMETADATA INBOX {}", deep("(", ")")),
        format!("NOTIFY SET {}", deep("(", ")")),
        format!("APPEND INBOX CATENATE {}", deep("(", ")")),
    ] {
        let answer = ask(&mut client, &command).await;
        assert!(answer.starts_with("BAD"), "{command:.60}: {answer}");
        // One more that makes no sense, and it would be the twentieth in a row.
        assert!(ask(&mut client, "NOOP").await.starts_with("OK"));
    }
}

/// Everything at once, as a client on a slow line does it: answered in order, and what needs a log-in waits for it.
#[tokio::test]
async fn pipelined_log_ins_are_taken_in_order() {
    let lan = Lan::new("").await;
    lan.deliver("alice", [b"Subject: one\r\n\r\ntext\r\n".to_vec()]).await;
    let mut client = open(&lan, Server::Imap, "192.168.1.7");
    let all = format!(
        "a LOGIN alice wrong\r\nb LOGIN alice \"{PASSWORD}\"\r\nc LOGIN bob \"{PASSWORD}\"\r\nd SELECT INBOX\r\ne FETCH 1 BODY.PEEK[TEXT]\r\nf LOGOUT\r\n"
    );
    client.send(all.as_bytes()).await;
    let said = rest(&mut client).await;
    let tagged: Vec<&str> = said.lines().filter(|line| line.as_bytes().get(1) == Some(&b' ') && !line.starts_with('*')).collect();
    let words: Vec<String> = tagged.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(words, ["a NO", "b OK", "c BAD", "d OK", "e OK", "f OK"], "{said}");
    assert!(said.contains("text"));
    let mut client = open(&lan, Server::Pop3, "192.168.1.7");
    client.send(format!("USER alice\r\nPASS {PASSWORD}\r\nUSER bob\r\nSTAT\r\nRETR 1\r\nQUIT\r\n").as_bytes()).await;
    let said = rest(&mut client).await;
    assert!(
        said.contains("+OK 1 ") && said.contains("Subject: one") && said.lines().filter(|line| line.starts_with("-ERR")).count() == 1,
        "{said}"
    );
}

/// Ten are looked at; the rest costs nothing, from however many connections they come, and people elsewhere log in meanwhile.
#[tokio::test]
async fn ten_thousand_wrong_passwords_cost_ten() {
    if !alone("hostile::ten_thousand_wrong_passwords_cost_ten") {
        return;
    }
    let lan = Lan::new("").await;
    let (before, begun) = (resident(), std::time::Instant::now());
    let mut tried = 0;
    while tried < 10_000 {
        let mut client = open(&lan, Server::Imap, "192.168.1.66");
        client.line().await;
        let guesses: String = (0..5).map(|guess| format!("a LOGIN alice guess{}\r\n", tried + guess)).collect();
        client.send(guesses.as_bytes()).await;
        let said = rest(&mut client).await;
        assert_eq!(said.lines().filter(|line| line.starts_with("a NO ")).count(), 5, "{said}");
        assert!(said.contains("* BYE "), "{said}");
        tried += 5;
    }
    println!("{tried} guesses in {:?}", begun.elapsed());
    assert!(resident() < before + 60_000, "{before} KB before, {} KB after", resident());
    let mut guesser = open(&lan, Server::Imap, "192.168.1.66");
    guesser.line().await;
    assert!(ask(&mut guesser, &format!("LOGIN alice \"{PASSWORD}\"")).await.starts_with("NO [LIMIT]"));
    others_are_served(&lan).await;
}

/// Who asks for a hundred megabytes and takes none of them: the answer waits outside the memory, and in the end nobody waits.
#[tokio::test]
async fn slow_readers_that_never_drain_are_left_behind() {
    if !alone("hostile::slow_readers_that_never_drain_are_left_behind") {
        return;
    }
    let lan = Lan::new("").await;
    let mail = format!("Subject: x\r\n\r\n{}", "0123456789abcdef\r\n".repeat(60_000));
    lan.deliver("alice", (0..20).map(|_| mail.as_bytes().to_vec())).await;
    let before = resident();
    let mut lazy = Vec::new();
    for _ in 0..20 {
        let mut client = logged_in(&lan).await;
        assert!(ask(&mut client, "EXAMINE INBOX").await.starts_with("OK"));
        client.send(b"b FETCH 1:* BODY.PEEK[]\r\nc FETCH 1:* BODY.PEEK[]\r\n").await;
        lazy.push(client);
    }
    for _ in 0..10 {
        let mut client = open(&lan, Server::Pop3, "192.168.1.8");
        let all: String = (1..=20).map(|number| format!("RETR {number}\r\n")).collect();
        client.send(format!("USER alice\r\nPASS {PASSWORD}\r\n{all}").as_bytes()).await;
        lazy.push(client);
    }
    others_are_served(&lan).await;
    // Each has its pipe of a megabyte, and up to that much again on this side.
    assert!(resident() < before + 120_000, "{before} KB before, {} KB after", resident());
    // On a busy machine some still wait for the store when the time passes for the first time.
    for _ in 0..3 {
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(400)).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What was on the way is there; nothing comes behind it.
    for mut client in lazy {
        let mut sink = vec![0; 1 << 16];
        let mut got = 0;
        while let Ok(some @ 1..) = client.0.read(&mut sink).await {
            got += some;
        }
        assert!(got < 20 * mail.len(), "{got} bytes came");
    }
}
