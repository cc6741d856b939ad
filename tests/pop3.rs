//! The POP3 server in dialogues (any file in `dialogues/pop3` is one) and in what dialogues can't say.

use std::fs;
use std::path::Path;

use mailroom::serve::pop3;

use crate::support::lan::{Lan, PASSWORD, fits};

#[tokio::test]
async fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/pop3");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        play(&fs::read_to_string(file).unwrap()).await;
    }
}

/// `#` comments, `tls: no`, `from: ADDRESS`, `mail:` with its lines behind `| `; then `C:` and `S:` lines. `…` stands for anything.
/// `new session` closes the connection and opens another one; `S: closed` is its end.
async fn play(text: &str) {
    let lan = Lan::new("").await;
    let (mut tls, mut from, mut mails) = (true, "192.168.1.7".to_owned(), Vec::<String>::new());
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    while let Some(line) = lines.next_if(|line| !line.starts_with("C:") && !line.starts_with("S:")) {
        match line.split_once(':').unwrap_or((line, "")) {
            ("tls", value) => tls = value.trim() == "yes",
            ("from", value) => value.trim().clone_into(&mut from),
            ("mail", _) => mails.push(String::new()),
            _ => {
                let line = line.strip_prefix('|').unwrap_or_else(|| panic!("what is “{line}”?"));
                let mail = mails.last_mut().unwrap();
                mail.push_str(&line.strip_prefix(' ').unwrap_or(line).replace("\\n", "\n").replace("\\r", "\r"));
                if !mail.ends_with("\\") {
                    mail.push_str("\r\n");
                } else {
                    mail.pop();
                }
            }
        }
    }
    lan.deliver("alice", mails.into_iter().map(String::into_bytes)).await;
    let open = || {
        let (client, stream, peer) = lan.connect(&from, tls);
        tokio::spawn(pop3::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
        client
    };
    let mut client = open();
    for line in lines {
        match line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")) {
            ("new session", _) => client = open(),
            ("C", said) => client.send(format!("{}\r\n", said.replace("PASSWORD", PASSWORD)).as_bytes()).await,
            ("S", "closed") => assert_eq!(client.line().await, None),
            ("S", expected) => {
                let line = client.line().await.unwrap_or_else(|| panic!("closed instead of “{expected}”"));
                assert!(fits(expected, &line), "expected “{expected}”, got “{line}”");
            }
            (what, _) => panic!("what is “{what}”?"),
        }
    }
}

/// Hundreds of RETR in one go, as pipelining clients send them (RFC 2449 §6.6): every byte, in order.
#[tokio::test]
async fn pipelined_retrieval_is_complete_and_in_order() {
    let lan = Lan::new("").await;
    let mails: Vec<Vec<u8>> =
        (0..500).map(|n| format!("Subject: number {n}\r\n\r\n{}", format!(".line {n}\r\n").repeat(n % 40)).into_bytes()).collect();
    lan.deliver("alice", mails.clone()).await;
    let (mut client, stream, peer) = lan.connect("192.168.1.7", true);
    tokio::spawn(pop3::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    let retrievals: String = (1..=mails.len()).map(|n| format!("RETR {n}\r\n")).collect();
    client.send(format!("USER alice\r\nPASS {PASSWORD}\r\n{retrievals}QUIT\r\n").as_bytes()).await;
    for _ in 0..3 {
        assert!(client.line().await.unwrap().starts_with("+OK"));
    }
    for mail in &mails {
        assert_eq!(client.line().await.unwrap(), format!("+OK {} octets", mail.len()));
        let mut got = String::new();
        loop {
            let line = client.line().await.unwrap();
            if line == "." {
                break;
            }
            got.push_str(line.strip_prefix('.').unwrap_or(&line));
            got.push_str("\r\n");
        }
        assert_eq!(got.as_bytes(), mail);
    }
    assert_eq!(client.line().await.unwrap(), "+OK goodbye");
}

/// A mail of several pieces arrives whole, and TOP reads only what it needs.
#[tokio::test]
async fn large_mail_goes_in_pieces() {
    let lan = Lan::new("").await;
    let mail = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(100_000)).into_bytes();
    lan.deliver("alice", [mail.clone()]).await;
    let (mut client, stream, peer) = lan.connect("192.168.1.7", true);
    tokio::spawn(pop3::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    client.send(format!("USER alice\r\nPASS {PASSWORD}\r\nTOP 1 2\r\nRETR 1\r\nQUIT\r\n").as_bytes()).await;
    for _ in 0..4 {
        assert!(client.line().await.unwrap().starts_with("+OK"));
    }
    for expected in ["Subject: large", "", "0123456789", "0123456789", "."] {
        assert_eq!(client.line().await.unwrap(), expected);
    }
    assert_eq!(client.line().await.unwrap(), format!("+OK {} octets", mail.len()));
    let mut bytes = 0;
    while let Some(line) = client.line().await
        && line != "."
    {
        bytes += line.len() + 2;
    }
    assert_eq!(bytes, mail.len());
}

/// What the client sent ahead of the handshake could be anybody's (CVE-2011-0411): the session ends there.
#[tokio::test]
async fn commands_ahead_of_the_handshake_end_the_session() {
    let lan = Lan::new("").await;
    let (mut client, stream, peer) = lan.connect("192.168.1.7", false);
    let server = tokio::spawn(pop3::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
    client.send(b"STLS\r\nUSER alice\r\n").await;
    assert!(client.line().await.unwrap().starts_with("+OK"));
    assert_eq!(client.line().await.as_deref(), Some("+OK begin TLS"));
    assert_eq!(client.line().await, None);
    server.await.unwrap();
}

/// Our own client takes the best way that is offered: STLS, and SCRAM that is bound to the TLS connection (RFC 2595, RFC 5034).
#[tokio::test]
async fn log_in_by_stls_and_scram() {
    use mailroom::config::{Endpoint, Tls};
    use mailroom::pop3::client::Client;
    use mailroom::wire::dial::Patience;
    use mailroom::wire::sasl::Secret;

    let lan = Lan::new("login_failures = 3\nclients = [\"127.0.0.1\"]").await;
    lan.deliver("alice", [b"Subject: one\r\n\r\ntext\r\n".to_vec()]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (context, stop) = (lan.context.clone(), lan.stop.clone());
    tokio::spawn(async move {
        loop {
            let (stream, address) = listener.accept().await.unwrap();
            let peer = mailroom::serve::Peer { address, local: stream.local_addr().unwrap(), tls: false };
            tokio::spawn(pop3::serve(Box::new(stream), peer, context.clone(), stop.clone()));
        }
    });
    let endpoint = Endpoint { host: "localhost".into(), port, tls: Tls::Starttls, ca: Some(lan.authority()), pin: None };
    let log_in = async |password: &str| {
        let mut client = Client::connect(&endpoint, Patience::default(), true).await.unwrap();
        client.log_in("alice@office.lan", &Secret::Password(password.to_owned().into())).await.map(|()| client)
    };
    let mut client = log_in(PASSWORD).await.unwrap();
    assert_eq!(client.list().await.unwrap().messages.len(), 1);
    assert!(log_in("wrong").await.is_err());
}

#[tokio::test]
async fn guessing_from_one_address_is_slowed_down_and_others_are_not() {
    let lan = Lan::new("login_failures = 3").await;
    for (from, password, expected) in [
        ("192.168.1.7", "one", "-ERR [AUTH]"),
        ("192.168.1.7", "two", "-ERR [AUTH]"),
        ("192.168.1.7", "two", "-ERR [AUTH]"),
        ("192.168.1.7", "three", "-ERR [AUTH]"),
        ("192.168.1.7", PASSWORD, "-ERR [SYS/TEMP] too many"),
        ("192.168.1.8", PASSWORD, "+OK"),
    ] {
        let (mut client, stream, peer) = lan.connect(from, true);
        tokio::spawn(pop3::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
        client.send(format!("USER alice\r\nPASS {password}\r\n").as_bytes()).await;
        client.line().await;
        client.line().await;
        let answer = client.line().await.unwrap();
        assert!(answer.starts_with(expected), "{from} {password}: {answer}");
    }
}

/// A password that was changed or a user that was disabled a moment ago: nothing remembered lets anybody in.
#[tokio::test]
async fn a_remembered_password_is_forgotten_when_the_account_changes() {
    let lan = Lan::new("").await;
    let from = "192.168.1.7".parse().unwrap();
    let right = secrecy::SecretString::from(PASSWORD);
    let account = lan.context.login.check(from, "alice", &right).await.unwrap();
    assert!(lan.context.login.check(from, "alice@office.lan", &right).await.is_ok());
    lan.store.password_set(account.id, &secrecy::SecretString::from("another")).await.unwrap();
    assert!(lan.context.login.check(from, "alice", &right).await.is_err());
    lan.store.password_set(account.id, &right).await.unwrap();
    assert!(lan.context.login.check(from, "alice", &right).await.is_ok());
    lan.store.account_disable(account.id, true).await.unwrap();
    assert!(lan.context.login.check(from, "alice", &right).await.is_err());
}
