//! What mail programs said to a server once, said again to ours and to Dovecot. The files in `tests/sessions` were written by
//! `MAILROOM_RECORD=all cargo nextest run record_sessions` (or with the name of one), which lets the programs work on a mailbox through
//! something that listens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::Both;
use crate::interop::isp::{self, Dovecot};
use crate::support::lan::Lan;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sessions")
}

/// The mails that the programs found.
fn mails() -> Vec<String> {
    let mail = |number: u32| {
        format!(
            "From: Bob <bob@out.example>\r\nTo: alice@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= {number}\r\n\
             Message-ID: <s{number}@out.example>\r\nDate: Mon, 23 Nov 2026 10:0{number}:00 +0000\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ntext {number}\r\n--b\r\n\
             Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--b--\r\n"
        )
    };
    (0..5).map(mail).collect()
}

/// Each command of each session, in the order of the file. What depends on the server that was recorded is put right.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_sessions_are_answered_alike() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6, "the recordings are missing");
    let mut differences = 0;
    for file in files {
        println!("{}", file.display());
        let dovecot = Dovecot::start();
        let lan = Lan::new("").await;
        let mut both = Both::open(&lan, &dovecot, "alice").await;
        for mail in mails() {
            both.same(format!("APPEND INBOX \"23-Nov-2026 10:00:00 +0000\" {{{}+}}\r\n{mail}", mail.len()).as_bytes()).await;
        }
        both.level().await;
        for command in commands(&std::fs::read(&file).unwrap()) {
            let text = String::from_utf8_lossy(&command).to_ascii_uppercase();
            let word = text.split([' ', '\r']).next().unwrap_or_default();
            // A new session begins with each log-in of the recording.
            match word {
                "LOGIN" | "AUTHENTICATE" => {
                    differences += both.differences;
                    both = Both::open(&lan, &dovecot, "alice").await;
                }
                "LOGOUT" | "IDLE" | "STARTTLS" | "COMPRESS" | "CAPABILITY" | "ID" | "NAMESPACE" => {}
                _ => drop(both.same(&command).await),
            }
        }
        differences += both.differences;
    }
    assert_eq!(differences, 0, "what differs stands above");
}

/// The commands of a recording without their tags.
fn commands(recorded: &[u8]) -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    let mut rest = recorded;
    while !rest.is_empty() {
        let mut command = Vec::new();
        loop {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = rest[..end].trim_ascii_end();
            rest = &rest[end..];
            let announced = line.strip_suffix(b"}").and_then(|line| Some(&line[memchr::memrchr(b'{', line)? + 1..]));
            let length = announced.and_then(|digits| std::str::from_utf8(digits).ok()?.trim_end_matches('+').parse::<usize>().ok());
            match length {
                Some(length) => {
                    // Told at once, whatever the program did.
                    let open = memchr::memrchr(b'{', line).unwrap();
                    command.extend_from_slice(&line[..open]);
                    command.extend_from_slice(format!("{{{length}+}}\r\n").as_bytes());
                    let length = length.min(rest.len());
                    command.extend_from_slice(&rest[..length]);
                    rest = &rest[length..];
                }
                None => {
                    command.extend_from_slice(line);
                    break;
                }
            }
        }
        let tagged = memchr::memchr(b' ', &command).map(|at| command[at + 1..].to_vec());
        commands.extend(tagged);
    }
    commands
}

/// Lets programs through to a server, and keeps what they say.
fn listen(server: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::new(Mutex::new(Vec::new()));
    let kept = said.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            let (kept, mut to_server) = (kept.clone(), server);
            std::thread::spawn(move || {
                let mut client = BufReader::new(client);
                let mut literal = 0;
                loop {
                    let mut bytes = Vec::new();
                    if literal > 0 {
                        (&mut client).take(literal).read_to_end(&mut bytes).unwrap();
                    } else if client.read_until(b'\n', &mut bytes).unwrap_or(0) == 0 {
                        let _ = to_server.shutdown(std::net::Shutdown::Write);
                        return;
                    }
                    let line = String::from_utf8_lossy(&bytes).into_owned();
                    let announced = line.strip_suffix("}\r\n").and_then(|line| line.rsplit_once('{')?.1.trim_end_matches('+').parse().ok());
                    literal = announced.unwrap_or(0);
                    // Passwords are nobody's business, and DONE is no command.
                    let secret = line
                        .split(' ')
                        .nth(1)
                        .is_some_and(|word| ["LOGIN", "AUTHENTICATE"].iter().any(|known| word.trim().eq_ignore_ascii_case(known)));
                    if secret {
                        kept.lock().unwrap().extend_from_slice(b"x LOGIN\r\n");
                    } else if !line.trim().eq_ignore_ascii_case("DONE") {
                        kept.lock().unwrap().extend_from_slice(&bytes);
                    }
                    let _ = to_server.write_all(&bytes);
                }
            });
        }
    });
    (port, said)
}

#[test]
fn record_sessions() {
    if std::env::var_os("MAILROOM_RECORD").is_none() {
        return;
    }
    let only = std::env::var("MAILROOM_RECORD").unwrap_or_default();
    let record = |name: &str, work: &dyn Fn(&Path, u16)| {
        if only != "all" && only != name {
            return;
        }
        let dovecot = Dovecot::start();
        let mails = mails();
        dovecot.deliver("alice", mails.iter().map(String::as_bytes));
        let home = tempfile::tempdir().unwrap();
        let (port, said) = listen(dovecot.imap);
        work(home.path(), port);
        std::fs::write(folder().join(format!("{name}.txt")), &*said.lock().unwrap()).unwrap();
    };
    let run = |program: &str, arguments: &[&str], home: &Path| {
        let mut command = Command::new("timeout");
        command.args(["240", program]).args(arguments).current_dir(home).env("HOME", home).env("TERM", "dumb").stdin(Stdio::null());
        let output = command.output().unwrap();
        println!("{program}: {}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    };
    let password = isp::PASSWORD;
    record("imaplib", &|home, port| {
        let script = format!(
            "import imaplib\nm = imaplib.IMAP4('127.0.0.1', {port})\nm.login('alice', '{password}')\nm.select()\n\
             print(m.search(None, 'SUBJECT', 'x'))\nprint(m.fetch('1:*', '(FLAGS RFC822.SIZE BODY.PEEK[HEADER])'))\n\
             m.uid('STORE', '1', '+FLAGS', '(\\\\Seen)')\nm.fetch('2', '(RFC822)')\nm.create('a')\nm.copy('1:2', 'a')\nm.sort('DATE', 'UTF-8', 'ALL')\n\
             m.thread('REFERENCES', 'UTF-8', 'ALL')\nm.append('a', '\\\\Seen', None, b'Subject: appended\\r\\n\\r\\ntext\\r\\n')\n\
             m.store('3', '+FLAGS', '\\\\Deleted')\nm.expunge()\nm.list()\nm.lsub()\nm.status('a', '(MESSAGES UNSEEN)')\nm.close()\nm.logout()\n"
        );
        run("python3", &["-c", &script], home);
    });
    record("mbsync", &|home, port| {
        let text = format!(
            "IMAPAccount a\nHost 127.0.0.1\nPort {port}\nUser alice\nPass {password}\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount a\n\n\
             MaildirStore near\nPath {0}/mail/\nInbox {0}/mail/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
            home.display()
        );
        std::fs::create_dir(home.join("mail")).unwrap();
        std::fs::write(home.join("rc"), text).unwrap();
        run("mbsync", &["-c", "rc", "-a"], home);
        std::fs::create_dir_all(home.join("mail/INBOX/new")).unwrap();
        std::fs::write(home.join("mail/INBOX/new/1.x.y"), "Subject: from here\n\ntext\n").unwrap();
        let cur = std::fs::read_dir(home.join("mail/INBOX/new")).unwrap().flatten().find(|entry| entry.file_name() != "1.x.y");
        if let Some(entry) = cur {
            let name = entry.file_name().to_string_lossy().into_owned();
            std::fs::rename(entry.path(), home.join(format!("mail/INBOX/cur/{}:2,ST", name.split(':').next().unwrap()))).unwrap();
        }
        run("mbsync", &["-c", "rc", "-a"], home);
    });
    record("offlineimap", &|home, port| {
        let text = format!(
            "[general]\naccounts = a\nui = quiet\n[Account a]\nlocalrepository = l\nremoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {}/mail\n\
             [Repository r]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {port}\nremoteuser = alice\nremotepass = {password}\nssl = no\nstarttls = no\n",
            home.display()
        );
        std::fs::write(home.join("rc"), text).unwrap();
        run("offlineimap", &["-c", "rc", "-o"], home);
        run("offlineimap", &["-c", "rc", "-o"], home);
    });
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential").join(name).display().to_string();
    record("imapflow", &|home, port| run("node", &[&script("imapflow.mjs"), &port.to_string(), password], home));
    record("thunderbird", &|home, port| run("bash", &[&script("thunderbird.sh"), &port.to_string(), password], home));
    record("neomutt", &|home, port| {
        let text = format!(
            "set folder=imap://alice@127.0.0.1:{port}/\nset spoolfile=+INBOX\nset imap_pass={password}\nset ssl_starttls=no\nset ssl_force_tls=no\nset imap_authenticators=login\n\
             set mail_check=1\nset confirmcreate=no\nset confirmappend=no\nset quit=yes\nset delete=yes\nset move=no\nset sort=threads\nset auto_tag=no\nset wait_key=no\n"
        );
        std::fs::write(home.join("rc"), text).unwrap();
        let keys = "push '<first-entry><flag-message><delete-message><next-entry><display-message><exit><limit>~s 3<enter><limit>all<enter><sync-mailbox><quit>'";
        run("script", &["-qec", &format!("neomutt -n -F rc -e \"{keys}\""), "/dev/null"], home);
    });
}
