//! The SMTP server in dialogues (any file in `dialogues/smtp` is one), and with a client that nobody here wrote.

use std::fs;
use std::path::Path;

use mailroom::mapping::Mailbox;
use mailroom::serve::smtp;
use mailroom::store::absence::Away;

use crate::support::lan::{Lan, PASSWORD, Pipe, fits};

/// Nobody listens there: what goes out stays in the queue.
const SMARTHOST: &str =
    "[[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\ninsecure = true\nsenders = [\"*@example.com\"]\n";

#[tokio::test]
async fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues/smtp");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        play(&fs::read_to_string(file).unwrap()).await;
    }
}

/// The commonest failure there is: told at once, with what would work.
#[tokio::test]
async fn trap_56_a_foreign_sender_is_refused_with_the_list_of_those_that_work() {
    play(include_str!("dialogues/smtp/identities.txt")).await;
}

#[tokio::test]
async fn trap_54_nothing_that_a_client_writes_becomes_a_line_of_its_own() {
    play(include_str!("dialogues/smtp/header-injection.txt")).await;
}

/// Two who are away and write to each other; a program, a list and an answer that came by itself.
#[tokio::test]
async fn trap_66_who_is_away_answers_people_and_no_program_and_never_another_answer() {
    play(include_str!("dialogues/smtp/away.txt")).await;
}

/// `#` comments; then what differs from a user's submission over TLS: `tls: no`, `from: ADDRESS`, `door: smtp`, lines of `[access]` and
/// `[storage]`, `copier: LINES` of the `[[device]]` at 192.168.1.40, `mapping: LINES; LINES`, `away: USER USER`. Then the dialogue: `C:` a line, `C>` bytes with `\r` and `\n`, `C* N` a line N times, `S:` an answer in
/// which `…` stands for anything, `S: closed` its end, `ehlo WORD -WORD` the lines of EHLO's answer with and without these extensions,
/// `log in USER`, `new session`; and what is in the store afterwards.
async fn play(text: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let start = lines.iter().position(|line| line.starts_with("S:") || line.starts_with("C:") || line.starts_with("C>")).unwrap();
    let setting = |name: &str| lines[..start].iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default();
    let (tls, from, mail_door) = (setting("tls") != "no", setting("from"), setting("door") == "smtp");
    let from = if from.is_empty() { "192.168.1.7" } else { from };
    let mut tables = format!("[access]\n{}\n", setting("access"));
    if !setting("storage").is_empty() {
        tables.push_str(&format!("[storage]\npath = \"store\"\n{}\n", setting("storage")));
    }
    if mail_door {
        tables.push_str("[listen]\nsmtp = [\"127.0.0.1:0\"]\n");
    }
    if !setting("copier").is_empty() {
        tables.push_str(&format!(
            "[[device]]\nname = \"copier\"\naddress = [\"192.168.1.40\"]\nbounces = \"bob\"\n{}\n",
            setting("copier").replace("; ", "\n")
        ));
    }
    tables.push_str(SMARTHOST);
    let lan = Lan::with(&tables, &setting("mapping").replace("; ", "\n")).await;
    for user in setting("away").split_whitespace() {
        let account = lan.store.account(&Mailbox::User(user.into())).await.unwrap().unwrap();
        let away = Away { user: user.into(), starts: None, ends: None, text: None };
        lan.store.vacation_set(account.id, Some(away)).await.unwrap();
    }
    let open = || {
        let (client, stream, peer) = lan.connect(from, tls);
        match mail_door {
            true => tokio::spawn(smtp::serve_mail(stream, peer, lan.context.clone(), lan.stop.clone())),
            false => tokio::spawn(smtp::serve(stream, peer, lan.context.clone(), lan.stop.clone())),
        };
        client
    };
    let mut client = open();
    for line in &lines[start..] {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "C:" => client.send(format!("{rest}\r\n").as_bytes()).await,
            "C>" => client.send(unescaped(rest).as_bytes()).await,
            "C*" => {
                let (times, line) = rest.split_once(' ').unwrap();
                client.send(format!("{line}\r\n").repeat(times.parse().unwrap()).as_bytes()).await;
            }
            "S:" if rest == "closed" => assert_eq!(client.line().await, None),
            "S:" => {
                let line = client.line().await.unwrap_or_else(|| panic!("closed instead of “{rest}”"));
                assert!(fits(rest, &line), "expected “{rest}”, got “{line}”");
            }
            "ehlo" => extensions(&mut client, rest).await,
            "log" => {
                let user = rest.strip_prefix("in ").unwrap();
                let response = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("\0{user}\0{PASSWORD}"));
                client.send(format!("AUTH PLAIN {response}\r\n").as_bytes()).await;
                assert!(client.line().await.unwrap().starts_with("235"));
            }
            "new" => client = open(),
            _ => stored(&lan, line).await,
        }
    }
}

async fn extensions(client: &mut Pipe, wanted: &str) {
    let mut lines = Vec::new();
    loop {
        let line = client.line().await.unwrap();
        assert!(line.starts_with("250"), "{line}");
        let last = line.starts_with("250 ");
        lines.push(line[4..].to_owned());
        if last {
            break;
        }
    }
    for word in wanted.split_whitespace().filter(|word| *word != "rest") {
        let (name, expected) = word.strip_prefix('-').map_or((word, true), |name| (name, false));
        let found = lines.iter().any(|line| line.split(' ').next() == Some(name));
        assert_eq!(found, expected, "{name} in {lines:?}");
    }
}

/// `inbox USER: TEXT`, `no inbox USER: TEXT`, `empty inbox USER`, `count USER: N`, `queue: N`.
async fn stored(lan: &Lan, line: &str) {
    let (what, text) = line.split_once(": ").unwrap_or((line, ""));
    let text = unescaped(text);
    match what.split(' ').collect::<Vec<_>>()[..] {
        ["inbox", user] => {
            let all = inbox(lan, user).await;
            assert!(all.iter().any(|mail| mail.contains(&text)), "“{line}” is not so in {all:?}");
        }
        ["no", "inbox", user] => {
            let all = inbox(lan, user).await;
            assert!(!all.is_empty() && all.iter().all(|mail| !mail.contains(&text)), "“{line}” is not so in {all:?}");
        }
        ["empty", "inbox", user] => assert_eq!(inbox(lan, user).await, Vec::<String>::new()),
        ["count", user] => assert_eq!(inbox(lan, user).await.len().to_string(), text),
        ["queue"] => assert_eq!(lan.store.queue().await.unwrap().len().to_string(), text),
        _ => panic!("what is “{line}”?"),
    }
}

/// Whole messages, as a client would read them.
pub async fn inbox(lan: &Lan, user: &str) -> Vec<String> {
    let account = lan.store.account(&Mailbox::User(user.into())).await.unwrap().unwrap();
    let maildrop = lan.store.maildrop(account.id).await.unwrap();
    let mut all = Vec::new();
    for message in &maildrop.messages {
        let (_, bytes) = lan.store.message(maildrop.folder, message.uid, usize::MAX).await.unwrap().unwrap();
        all.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    all
}

fn unescaped(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n")
}

/// Our own client takes the best way that is offered: SCRAM, bound to the TLS connection. A wrong password and a name that nobody has are
/// the same to it, and a throttled address is not even listened to.
#[tokio::test]
async fn log_in_by_scram_bound_to_the_connection() {
    use mailroom::config::{Endpoint, Tls};
    use mailroom::smtp::client::{self, ClientError, Credentials, Patience};
    use mailroom::wire::sasl::Secret;

    let lan = Lan::new("login_failures = 3\nclients = [\"127.0.0.1\"]").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (context, stop) = (lan.context.clone(), lan.stop.clone());
    tokio::spawn(async move {
        loop {
            let (stream, address) = listener.accept().await.unwrap();
            let peer = mailroom::serve::Peer { address, local: stream.local_addr().unwrap(), tls: false };
            tokio::spawn(smtp::serve(Box::new(stream), peer, context.clone(), stop.clone()));
        }
    });
    let endpoint = Endpoint { host: "localhost".into(), port, tls: Tls::Starttls, ca: Some(lan.authority()), pin: None };
    let log_in = async |user: &str, password: &str| {
        let credentials = Credentials { user: user.into(), secret: Secret::Password(password.to_owned().into()) };
        client::connect(&endpoint, "pc7", Some(&credentials), Patience::default()).await
    };
    let client = log_in("alice@office.lan", PASSWORD).await.unwrap();
    assert!(client.capabilities().auth.starts_with(&["SCRAM-SHA-256-PLUS".into(), "SCRAM-SHA-256".into()]), "{:?}", client.capabilities());
    let refusal = |error: ClientError| match error {
        ClientError::Login(reply) => reply.to_string(),
        error => panic!("{error}"),
    };
    let wrong = refusal(log_in("alice", "wrong").await.unwrap_err());
    assert!(wrong.starts_with("535 5.7.8"), "{wrong}");
    assert_eq!(refusal(log_in("nobody", "wrong").await.unwrap_err()), wrong);
    // carol is disabled, and hears no more than a stranger.
    assert_eq!(refusal(log_in("carol", PASSWORD).await.unwrap_err()), wrong);
    assert!(refusal(log_in("alice", PASSWORD).await.unwrap_err()).starts_with("454 4.7.0"));
}

/// A client that nobody here wrote: STARTTLS, AUTH, a mail to a colleague and to somebody outside.
#[tokio::test]
async fn lettre_hands_in_a_mail() {
    use lettre::transport::smtp::authentication::Credentials;
    use lettre::transport::smtp::client::{Tls, TlsParameters};
    use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

    let lan = Lan::with(SMARTHOST, "").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (context, stop) = (lan.context.clone(), lan.stop.clone());
    tokio::spawn(async move {
        let (stream, address) = listener.accept().await.unwrap();
        let peer = mailroom::serve::Peer { address, local: stream.local_addr().unwrap(), tls: false };
        smtp::serve(Box::new(stream), peer, context, stop).await;
    });
    let tls = TlsParameters::builder("localhost".into()).dangerous_accept_invalid_certs(true).build().unwrap();
    let client = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(port)
        .tls(Tls::Required(tls))
        .credentials(Credentials::new("alice".into(), PASSWORD.into()))
        .build();
    let mail = Message::builder()
        .from("Alice <alice@office.lan>".parse().unwrap())
        .to("bob@example.com".parse().unwrap())
        .cc("carla@customer.example".parse().unwrap())
        .bcc("carol@office.lan".parse().unwrap())
        .subject("Gr\u{fc}\u{df}e")
        .body("Hello\n.\nBob\n".to_owned())
        .unwrap();
    client.send(mail).await.unwrap();
    let bob = inbox(&lan, "bob").await;
    assert!(bob[0].contains("\r\nFrom: Alice <alice@office.lan>\r\n") && bob[0].contains("ESMTPSA"), "{}", bob[0]);
    assert!(!bob[0].contains("Bcc"));
    assert_eq!(inbox(&lan, "carol").await.len(), 1);
    let queue = lan.store.queue().await.unwrap();
    assert_eq!(queue.len(), 1);
    let lease = lan.store.queue_lease(i64::MAX, 10, 10).await.unwrap().remove(0);
    assert_eq!(lease.sender.unwrap().to_string(), "alice@example.com");
    assert_eq!(lease.recipients[0].address.to_string(), "carla@customer.example");
    let header = String::from_utf8(lease.header.unwrap().to_vec()).unwrap();
    assert!(header.contains("From: Alice <alice@example.com>\r\n") && !header.contains("office.lan>"), "{header}");
}
