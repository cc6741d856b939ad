//! `init` and `check`, run as the program that people run, against a mailbox that speaks POP3 on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::interop::isp::{self, Dovecot};

/// Serves one mailbox for any number of sessions: three mails, password `right`. Its port.
fn mailbox() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
            say("+OK ready\r\n");
            while let Some(Ok(line)) = lines.next() {
                let answer = match line.split_whitespace().next().unwrap_or_default().to_uppercase().as_str() {
                    "CAPA" => "+OK\r\nUSER\r\nUIDL\r\nRESP-CODES\r\n.\r\n",
                    "USER" => "+OK\r\n",
                    "PASS" if line == "PASS right" => "+OK\r\n",
                    "PASS" => "-ERR [AUTH] no\r\n",
                    "LIST" => "+OK\r\n1 100\r\n2 100\r\n3 100\r\n.\r\n",
                    "UIDL" => "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n",
                    "QUIT" => "+OK bye\r\n",
                    "STAT" => "+OK 3 300\r\n",
                    _ => "-ERR what\r\n",
                };
                if !say(answer) {
                    break;
                }
            }
        }
    });
    port
}

fn mailroom(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mailroom"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("MAILROOM_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing closes the pipe first.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit code, and what was printed on both.
fn run(directory: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let output = mailroom(directory, arguments, input);
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

fn init<'a>(port: &'a str, way: &'a str) -> Vec<&'a str> {
    let mailbox = ["init", "--email", "info@firma.example", "--host", "127.0.0.1", "--port", port, "--protocol", "pop3", "--tls", "none"];
    let people = ["--user", "alice=Alice Smith", "--user", "bob", "--way", way, "--password-stdin", "--no-smarthost"];
    [mailbox.as_slice(), people.as_slice()].concat()
}

#[test]
fn init_writes_what_check_finds_in_order() {
    let port = mailbox().to_string();
    for way in ["bind", "share", "multidrop"] {
        let directory = tempfile::tempdir().unwrap();
        let (code, printed) = run(directory.path(), &init(&port, way), "right\n");
        assert_eq!(code, Some(0), "{way}: {printed}");
        assert!(printed.contains("3 mails there"), "{printed}");
        assert!(printed.contains("POP3 mail is deleted at the ISP 7 days after it was stored here"), "{printed}");
        assert!(printed.contains("user name alice") && printed.contains("user name bob"), "{printed}");
        let (code, printed) = run(directory.path(), &["check", "--online"], "");
        assert_eq!(code, Some(0), "{way}: {printed}");
        assert!(printed.contains("collector isp: logged in as info@firma.example; 3 mails there"), "{printed}");
        assert!(!printed.contains("right"), "{printed}");
    }
}

#[test]
fn init_overwrites_nothing() {
    let port = mailbox().to_string();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mailroom.toml"), "# mine").unwrap();
    let (code, printed) = run(directory.path(), &init(&port, "bind"), "right\n");
    assert_eq!(code, Some(2), "{printed}");
    assert_eq!(std::fs::read_to_string(directory.path().join("mailroom.toml")).unwrap(), "# mine");
    assert!(!directory.path().join("isp.pass").exists());
}

#[test]
fn init_replaces_the_files_of_a_package_that_nobody_has_changed() {
    let port = mailbox().to_string();
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("mappings")).unwrap();
    let put = |more: &str| {
        for (name, text) in [
            ("mailroom.toml", include_str!("../packaging/mailroom.toml")),
            ("mappings/office.toml", include_str!("../packaging/office.toml")),
        ] {
            std::fs::write(directory.path().join(name), format!("{text}{more}")).unwrap();
        }
    };
    put("# a line of mine\n");
    assert_eq!(run(directory.path(), &init(&port, "bind"), "right\n").0, Some(2));
    put("");
    let (code, printed) = run(directory.path(), &init(&port, "bind"), "right\n");
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(run(directory.path(), &["check"], "").0, Some(0));
    let mapping = std::fs::read_to_string(directory.path().join("mappings/office.toml")).unwrap();
    assert!(mapping.contains("All mail of the mailbox goes to one person"), "{mapping}");
}

/// Answers any number of requests with one file. The address of it.
fn published(file: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mail/config-v1.1.xml", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{file}", file.len());
        }
    });
    address
}

#[test]
fn init_takes_the_settings_that_the_domain_publishes() {
    let dovecot = Dovecot::start();
    dovecot.deliver("alice", [b"Subject: one\r\n\r\n1\r\n".as_slice()]);
    let server = |kind: &str, port: u16| {
        format!(
            "<{kind}><hostname>localhost</hostname><port>{port}</port><socketType>SSL</socketType><username>%EMAILLOCALPART%</username>"
        )
    };
    let address = published(format!(
        "<clientConfig>{}</incomingServer>{}</outgoingServer></clientConfig>",
        server("incomingServer type=\"imap\"", dovecot.imaps),
        server("outgoingServer type=\"smtp\"", 465),
    ));
    let directory = tempfile::tempdir().unwrap();
    let authority = dovecot.authority.file.to_string_lossy();
    let people = ["--user", "alice", "--way", "bind", "--password-stdin", "--yes", "--ca", &authority];
    let arguments = [&["init", "--email", "alice@firma.example", "--autoconfig", &address][..], &people].concat();
    let (code, printed) = run(directory.path(), &arguments, &format!("{}\n", isp::PASSWORD));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(&format!("IMAP at localhost:{}, sending at localhost:465", dovecot.imaps)), "{printed}");
    assert!(printed.contains("1 mail there"), "{printed}");
    let written = std::fs::read_to_string(directory.path().join("mailroom.toml")).unwrap();
    assert!(written.contains("username = \"alice\"") && written.contains("protocol = \"imap\""), "{written}");
    assert_eq!(run(directory.path(), &["check"], "").0, Some(0));
}

#[test]
fn init_says_when_nothing_is_published() {
    let directory = tempfile::tempdir().unwrap();
    let check = |address: &str, expected: &str| {
        let (code, printed) = run(directory.path(), &["init", "--email", "a@firma.example", "--autoconfig", address], "");
        assert_eq!(code, Some(1));
        assert!(printed.contains(expected), "{printed}");
    };
    check(&published("<html>Welcome</html>".to_owned()), "it names no mail server with TLS");
    check("http://firma.example/config.xml", "settings are taken over https:// alone");
    check("https://127.0.0.1:1/", "127.0.0.1");
}

/// Where passwords are refused, the log-in comes after the files; offline it is left to `oauth login`.
#[test]
fn init_writes_what_a_provider_without_passwords_needs() {
    let directory = tempfile::tempdir().unwrap();
    let mailbox = ["init", "--email", "info@firma.example", "--provider", "microsoft365", "--client-id", "0000-1111", "--tenant", "t1"];
    let (code, printed) = run(directory.path(), &[&mailbox[..], &["--user", "alice", "--way", "bind", "--offline", "--yes"]].concat(), "");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("`mailroom oauth login isp` does that"), "{printed}");
    let written = std::fs::read_to_string(directory.path().join("mailroom.toml")).unwrap();
    assert!(written.contains("oauth2 = { provider = \"microsoft\", client_id = \"0000-1111\", tenant = \"t1\" }"), "{written}");
    let (code, printed) = run(directory.path(), &["check"], "");
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn init_writes_nothing_when_the_log_in_fails() {
    let port = mailbox().to_string();
    let directory = tempfile::tempdir().unwrap();
    let (code, printed) = run(directory.path(), &init(&port, "bind"), "wrong\n");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("the server refused user name or password"), "{printed}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// What breaks off leaves nothing that keeps the next try from starting.
#[test]
fn init_that_breaks_off_can_be_started_again() {
    let port = mailbox().to_string();
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("store");
    std::fs::write(&blocked, "").unwrap();
    let (code, printed) = run(directory.path(), &init(&port, "bind"), "right\n");
    assert_eq!(code, Some(1), "{printed}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["store"]);
    std::fs::remove_file(blocked).unwrap();
    // A password of an earlier try is not overwritten, and that is said before anything else is asked or made.
    std::fs::write(directory.path().join("isp.pass"), "mine\n").unwrap();
    let (code, printed) = run(directory.path(), &init(&port, "bind"), "right\n");
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("isp.pass is there already") && !printed.contains("Trying"), "{printed}");
    std::fs::remove_file(directory.path().join("isp.pass")).unwrap();
    let (code, printed) = run(directory.path(), &init(&port, "bind"), "right\n");
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn init_asks_nothing_where_it_could_not_write() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let (code, printed) = run(directory.path(), &["init", "file/office"], "");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("can't be written to") && !printed.contains("--email"), "{printed}");
}

/// On a terminal nobody waits for a password without a word.
#[test]
fn init_asks_for_the_password_even_if_it_takes_the_usual_answers() {
    let port = mailbox().to_string();
    let directory = tempfile::tempdir().unwrap();
    let arguments: Vec<&str> = init(&port, "bind").into_iter().filter(|word| *word != "--password-stdin").collect();
    let program = format!("exec {} {} --yes", env!("CARGO_BIN_EXE_mailroom"), arguments.join(" ").replace("alice=Alice Smith", "alice"));
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "120", "script", "-qec", &program, "/dev/null"])
        .current_dir(directory.path())
        .env_remove("MAILROOM_CONFIG")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&said).contains("The mailbox's password: ") {
        let length = screen.read(&mut buffer).unwrap();
        assert!(length > 0, "it does not ask: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..length]);
    }
    child.stdin.as_mut().unwrap().write_all(b"right\n").unwrap();
    screen.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(said.contains("3 mails there"), "{said}");
}

#[test]
fn init_asks_for_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let (code, printed) = run(directory.path(), &["init"], "");
    assert_eq!(code, Some(1));
    assert!(printed.contains("give --email"), "{printed}");
}

#[test]
fn check_says_what_does_not_work_online() {
    let port = mailbox().to_string();
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(run(directory.path(), &init(&port, "bind"), "right\n").0, Some(0));
    std::fs::write(directory.path().join("isp.pass"), "stale\n").unwrap();
    let (code, printed) = run(directory.path(), &["check", "--online"], "");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("collector isp: FAILED: the server refused user name or password"), "{printed}");
    assert!(!printed.contains("stale"), "{printed}");
}

#[test]
fn check_names_the_users_that_are_missing_and_makes_no_store() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mailroom.toml"), "[office]\npostmaster = \"alice\"\n[storage]\npath = \"store\"\n").unwrap();
    let (code, printed) = run(directory.path(), &["check"], "");
    assert_eq!(code, Some(2), "{printed}");
    assert!(printed.contains("mailroom.toml:2:14") && printed.contains("user \"alice\""), "{printed}");
    assert!(!directory.path().join("store").exists());
}

#[test]
fn check_ends_with_2_for_a_broken_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mailroom.toml"), "[office]\npostmaster = \"alice\"\ncolour = \"red\"\n").unwrap();
    let (code, printed) = run(directory.path(), &["check"], "");
    assert_eq!(code, Some(2));
    assert!(printed.contains("mailroom.toml:3:1: unknown key \"colour\""), "{printed}");
}
