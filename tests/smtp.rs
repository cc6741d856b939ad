//! The SMTP server in dialogues (any file in `dialogues/smtp` is one), and with a client that nobody here wrote.

use std::fs;
use std::path::Path;

use mailroom::mapping::Mailbox;
use mailroom::serve::smtp;

use crate::support::lan::{Lan, PASSWORD, Pipe, fits};

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

/// `#` comments; then what differs from a user's submission over TLS: `tls: no`, `from: ADDRESS`, `door: smtp`, lines of `[access]` and
/// `[storage]`, and `more:` tables. Then the dialogue: `C:` a line, `C>` bytes with `\r` and `\n`, `C* N` a line N times, `S:` an answer in
/// which `…` stands for anything, `S: closed` its end, `ehlo WORD -WORD` the lines of EHLO's answer with and without these extensions,
/// `log in USER`, `new session`; and what is in the store afterwards.
async fn play(text: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let start = lines.iter().position(|line| line.starts_with("S:") || line.starts_with("C:") || line.starts_with("C>")).unwrap();
    let setting = |name: &str| lines[..start].iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default();
    let (tls, from, mail_door) = (setting("tls") != "no", setting("from"), setting("door") == "smtp");
    let from = if from.is_empty() { "192.168.1.7" } else { from };
    let mut tables = format!("[access]\n{}\n{}\n", setting("access"), unescaped(setting("more")));
    if !setting("storage").is_empty() {
        tables.push_str(&format!("[storage]\npath = \"store\"\n{}\n", setting("storage")));
    }
    let lan = Lan::with(&tables, "").await;
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
