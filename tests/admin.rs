//! What an admin does: start and stop, change files and users while it runs, ask how things stand, look at the sandbox.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::office::{Gateway, Office, PASSWORD, errors, until};
use crate::support::reader::Pop3;

const PLAIN: &str = "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n";

fn office() -> Office {
    let office = Office::new(PLAIN, "[addresses]\n\"info@example.com\" = \"alice\"\n");
    office.add_users(&["alice"]);
    office
}

/// Waits until the log says it.
fn says(gateway: &Gateway, text: &str) {
    until(&format!("the log to say “{text}”"), || gateway.log().contains(text));
}

/// The sandbox does what it says, by its own independent check, and leaves nothing behind.
#[test]
fn the_sandbox_shows_everything_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mailroom")).args(["demo", "--once"]).env("TMPDIR", place.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", errors(&output));
    for line in ["share, by reply: In-Reply-To: <answer.1@office.lan>", "From: Carla Weiß <studio.lindenhof@post.example>", "→ the tray"]
    {
        assert!(said.contains(line), "“{line}” is missing in\n{said}");
    }
    assert!(!said.contains('✗'), "{said}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

/// Ctrl-C in the middle of it is no accident either.
#[test]
fn an_interrupted_sandbox_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_mailroom"));
    let mut demo = demo.arg("demo").env("TMPDIR", place.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Log in to the office")));
    Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(demo.wait().unwrap().success());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn it_says_where_it_listens_and_stops_with_sessions_open() {
    let office = office();
    let gateway = office.run();
    for key in ["pop3", "pop3s", "imap", "imaps", "submission", "submissions"] {
        assert_ne!(gateway.port(key), 0, "{key}");
    }
    let mut session = BufReader::new(TcpStream::connect(("127.0.0.1", gateway.port("pop3"))).unwrap());
    let mut line = String::new();
    session.read_line(&mut line).unwrap();
    let start = Instant::now();
    drop(gateway);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    line.clear();
    session.read_line(&mut line).unwrap();
    assert_eq!(line, "-ERR [SYS/TEMP] the server is stopping\r\n");
}

#[test]
fn a_user_added_while_it_runs_can_log_in() {
    let office = office();
    let gateway = office.run();
    office.add_users(&["bob"]);
    until("bob to be known", || {
        let mut session = BufReader::new(TcpStream::connect(("127.0.0.1", gateway.port("pop3"))).unwrap());
        write!(session.get_mut(), "USER bob@example.com\r\nPASS {PASSWORD}\r\nQUIT\r\n").unwrap();
        session.lines().map_while(Result::ok).nth(2).is_some_and(|line| line.starts_with("+OK"))
    });
    Pop3::login(gateway.port("pop3"), "bob", PASSWORD).quit();
}

#[test]
fn changed_files_count_at_once_but_sockets_wait_for_the_next_start() {
    let office = office();
    let gateway = office.run();
    office.write("mappings/office.toml", "[addresses]\n\"sales@example.com\" = \"alice\"\n");
    says(&gateway, "took the changed configuration");
    let new = format!("{PLAIN}[storage]\npath = \"store\"\nmin_free = \"1MB\"\n[listen]\npop3 = [\"127.0.0.1:0\"]\n");
    office.write("mailroom.toml", &new);
    says(&gateway, "[listen] has changed: that takes effect at the next start");
    Pop3::login(gateway.port("pop3"), "alice", PASSWORD).quit();
}

#[test]
fn sighup_reads_the_files_again() {
    let office = office();
    let gateway = office.run();
    Command::new("kill").args(["-HUP", &gateway.id().to_string()]).status().unwrap();
    says(&gateway, "took the changed configuration");
}

/// `run --last-good` is what the services use: a typing error must not keep the office without mail over the week-end.
#[test]
fn the_last_good_files_are_used_when_the_files_are_broken() {
    let office = office();
    drop(office.run());
    let broken = fs::read_to_string(office.path("mailroom.toml")).unwrap().replace("postmaster", "postmasster");
    office.write("mailroom.toml", &broken);
    let plain = office.call(&["run"]);
    assert_eq!(plain.status.code(), Some(2));
    assert!(errors(&plain).contains("postmasster"), "{}", errors(&plain));
    let mut command = office.command(&["run", "--last-good"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "), "{line}");
    let status = office.json(&["status", "--json"]);
    assert_eq!(status["config"]["ok"], false);
    assert!(status["config"]["error"].as_str().unwrap().contains("postmasster"), "{status}");
    office.write("mailroom.toml", &broken.replace("postmasster", "postmaster"));
    until("the mended files to be taken", || office.json(&["status", "--json"])["config"]["ok"] == true);
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(errors(&output).contains("starting with the last ones that did"), "{}", errors(&output));
}

#[test]
fn status_has_the_promised_shape_running_or_not() {
    let office = office();
    for runs in [false, true] {
        let gateway = runs.then(|| office.run());
        let status = office.json(&["status", "--json"]);
        assert_eq!(status["config"], serde_json::json!({ "ok": true, "error": null }));
        assert_eq!(status["running"], gateway.is_some());
        assert_eq!(status["collectors"], serde_json::json!([]));
        assert_eq!(status["queue"], serde_json::json!({ "mails": 0, "held": 0, "oldest": null }));
        assert_eq!(status["tray"], 0);
        let alice = serde_json::json!({
            "name": "alice", "messages": 0, "bytes": 0, "quota": null,
            "away": false, "away_from": null, "away_until": null, "copies_to": [],
        });
        assert_eq!(status["users"], serde_json::json!([alice]));
        for key in ["bytes", "free", "journal_bytes"] {
            assert!(status["storage"][key].is_u64(), "{key}: {status}");
        }
    }
    assert!(office.must(&["status"]).contains("user alice"));
}

#[test]
fn a_port_that_somebody_has_is_named_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let office = Office::new(&format!("{PLAIN}[listen]\nimaps = [\"{address}\"]\n"), "");
    office.add_users(&["alice"]);
    let output = office.call(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(said.contains(&format!("listen.imaps: {address}")) && said.contains("another program has this port"), "{said}");
}

#[test]
fn who_may_not_connect_hears_nothing() {
    let office = Office::new(&format!("{PLAIN}[access]\nclients = [\"192.0.2.0/24\"]\n"), "");
    office.add_users(&["alice"]);
    let gateway = office.run();
    let mut session = BufReader::new(TcpStream::connect(("127.0.0.1", gateway.port("pop3"))).unwrap());
    let mut line = String::new();
    assert_eq!(session.read_line(&mut line).unwrap_or_default(), 0, "{line}");
}

#[test]
fn what_is_not_built_yet_says_so() {
    let office = office();
    for command in [&["import", "mbox", "x"][..], &["export", "alice", "mbox"]] {
        let output = office.call(command);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert!(errors(&output).contains("is not built yet"), "{}", errors(&output));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(office.call(&["frobnicate"]).status.code(), Some(2));
}
