//! What the NO STARTTLS paper (USENIX Security 2021) did to mail programs, done to our three clients: TLS taken out of the offer, answers
//! put in ahead of it, agreement that was never asked for, a session that is logged in already. All refused, before any name or password.

use std::sync::{Arc, Mutex};

use mailroom::config::{Endpoint, Tls};
use mailroom::smtp::client::{self, Credentials, Patience};
use mailroom::wire::sasl::Secret;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::Office;

/// Who attacks what: protocol, name, greeting, answers by the beginning of the command (`$` is its tag).
type Attack = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const POP3_CAPA: (&str, &str) = ("CAPA", "+OK\r\nSTLS\r\nUSER\r\nSASL PLAIN\r\n.\r\n");
const EHLO: (&str, &str) = ("EHLO", "250-far.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n");

const ATTACKS: &[Attack] = &[
    ("pop3", "stripped", "+OK hi", &[("CAPA", "+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n"), ("STLS", "-ERR what?\r\n")]),
    ("pop3", "injection", "+OK hi", &[POP3_CAPA, ("STLS", "+OK go\r\n+OK injected\r\n")]),
    ("pop3", "injected capabilities", "+OK hi", &[POP3_CAPA, ("STLS", "+OK go\r\n+OK\r\nUSER\r\n.\r\n")]),
    ("pop3", "early agreement", "+OK hi\r\n+OK go\r\n+OK go", &[("CAPA", ""), ("STLS", "")]),
    ("pop3", "no handshake", "+OK hi", &[POP3_CAPA, ("STLS", "+OK go\r\n"), ("\u{16}", "+OK\r\n+OK\r\n")]),
    ("imap", "stripped", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi", &[("STARTTLS", "$ BAD what?\r\n")]),
    ("imap", "refused", "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi", &[("STARTTLS", "$ NO not now\r\n")]),
    ("imap", "injection", "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi", &[("STARTTLS", "$ OK go\r\n* OK injected\r\n")]),
    ("imap", "injected tag", "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi", &[("STARTTLS", "$ OK go\r\nm2 OK done\r\n")]),
    ("imap", "early tagged OK", "m1 OK go", &[]),
    ("imap", "tagged OK behind the greeting", "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\nm1 OK go", &[("STARTTLS", "")]),
    ("imap", "PREAUTH", "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome", &[]),
    ("imap", "PREAUTH without capabilities", "* PREAUTH welcome", &[]),
    ("imap", "BYE", "* BYE go elsewhere", &[]),
    ("smtp", "stripped", "220 hi", &[("EHLO", "250-far.example\r\n250 AUTH PLAIN LOGIN\r\n")]),
    ("smtp", "no extensions at all", "220 hi", &[("EHLO", "502 what?\r\n"), ("HELO", "250 far.example\r\n")]),
    ("smtp", "refused", "220 hi", &[EHLO, ("STARTTLS", "454 not now\r\n")]),
    ("smtp", "injection", "220 hi", &[EHLO, ("STARTTLS", "220 go\r\n250-far.example\r\n250 AUTH PLAIN\r\n")]),
    ("smtp", "early agreement", "220 hi\r\n250-far.example\r\n250 STARTTLS\r\n220 go\r\n250 injected", &[("EHLO", ""), ("STARTTLS", "")]),
];

/// A server in the middle, and everything that was said to it.
async fn middle(greeting: &'static str, answers: &'static [(&'static str, &'static str)]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            let _ = stream.write_all(format!("{greeting}\r\n").as_bytes()).await;
            while stream.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let (tag, behind) = text.split_once(' ').unwrap_or((&text, ""));
                let found = answers.iter().find(|(begin, _)| text.starts_with(begin) || behind.starts_with(begin));
                let answer = found.map_or("", |(_, answer)| answer).replace('$', tag);
                seen.lock().unwrap().push(text);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    (port, log)
}

async fn relay(port: u16) -> Result<(), String> {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port, tls: Tls::Starttls, ca: None, pin: None };
    let credentials = Credentials { user: "office".into(), secret: Secret::Password(SecretString::from("secret")) };
    let moment = std::time::Duration::from_millis(400);
    let usual = Patience::default();
    let dial = mailroom::wire::dial::Patience { tls: moment, greeting: moment, ..usual.dial };
    let patience = Patience { command: moment, dial, ..usual };
    client::connect(&endpoint, "mail.office.lan", Some(&credentials), patience).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn trap_50_trap_51_every_attack_of_the_no_starttls_paper_is_refused() {
    for (protocol, name, greeting, answers) in ATTACKS {
        let (port, log) = middle(greeting, answers).await;
        let error = match *protocol {
            "smtp" => relay(port).await.err(),
            protocol => Office::new(protocol, port, "tls = \"starttls\"").await.fetch().await.figures.error,
        };
        let said = log.lock().unwrap().join("\n");
        assert!(error.is_some(), "{protocol} {name}: it was not refused");
        for word in ["USER", "PASS", "AUTH", "LOGIN", "SELECT", "EXAMINE", "LIST", "MAIL FROM", "secret"] {
            assert!(!said.to_uppercase().contains(&word.to_uppercase()), "{protocol} {name}: it said {said}");
        }
    }
}
