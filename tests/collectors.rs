//! Collectors as an admin has them: the program run in an office, its files, its restarts, and what it says.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::interop::{
    self,
    isp::{self, Dovecot},
};
use crate::support::imap_upstream;
use crate::support::office::{self, Office, errors, until};
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use crate::support::reader::Imap;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

const OFFICE: &str = "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n";

fn plain(name: &str, port: u16, more: &str) -> String {
    format!(
        "[[collector]]\nname = \"{name}\"\nprotocol = \"pop3\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\ninsecure = true\n\
         username = \"{name}\"\npassword = {{ file = \"{name}.pass\" }}\ndeliver = \"alice\"\nafter = \"keep\"\n{more}\n"
    )
}

fn letter(id: &str, body: &str) -> String {
    format!("From: Ann <ann@far.example>\r\nTo: alice@example.com\r\nSubject: {id}\r\nMessage-ID: <{id}@far.example>\r\n\r\n{body}\r\n")
}

fn office(collectors: &str) -> Office {
    let office = Office::new(&format!("{OFFICE}{collectors}"), "");
    for name in ["isp", "other"] {
        office.write(&format!("{name}.pass"), "the-pass-word");
    }
    office.add_users(&["alice", "bob"]);
    office
}

/// A new store in front of a full mailbox, by mistake perhaps.
#[test]
fn trap_04_a_person_is_asked_before_a_full_mailbox_is_fetched_for_the_first_time() {
    let runtime = runtime();
    let isp = runtime.block_on(Pop3Upstream::start(&[("a", &letter("a", "x")), ("b", &letter("b", "x"))], Faults::default()));
    let office = office(&plain("isp", isp.port, "schedule = \"0 0 1 1 *\"").replace("\"keep\"", "\"delete\""));
    let program = format!("exec {} --config {} fetch", env!("CARGO_BIN_EXE_mailroom"), office.path("mailroom.toml").display());
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "60", "script", "-qec", &program, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"n\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("isp was never fetched") && said.contains("deleted at the provider") && said.contains("Go on?"), "{said}");
    assert_eq!((isp.count("USER"), isp.uidls().len()), (0, 2));
    // Nobody is asked by the service; it says what it does.
    let gateway = office.run();
    until("the first fetch", || isp.uidls().is_empty());
    until("the log to tell", || gateway.log().contains("(first fetch of INBOX): 2 messages are there, all are fetched"));
}

fn brings_the_original(protocol: &str) {
    let dovecot = Dovecot::start();
    let large = letter("large", &"a line of the large one\r\n".repeat(1000));
    let more = "after = \"delete\"\ndeliver = \"alice\"\nmax_size = \"5KB\"\nschedule = \"0 0 1 1 *\"";
    let office = office(&interop::collector(&dovecot, "isp", protocol, "mailbox", more));
    office.write("isp.pass", isp::PASSWORD);
    dovecot.deliver("mailbox", [large.as_bytes(), letter("small", "x").as_bytes()]);
    let figures = &office.fetch()[0];
    assert_eq!((&figures["stub"], &figures["delivered"], dovecot.count("mailbox")), (&1.into(), &1.into(), 1), "{figures}");
    let tray = || office.json(&["tray", "list", "--json"]).as_array().unwrap().clone();
    let held = tray();
    assert_eq!(held[0]["kind"], "stub");
    assert!(held[0]["reason"].as_str().unwrap().contains("“tray give” fetches the original"), "{}", held[0]["reason"]);
    let id = held[0]["id"].to_string();
    assert_eq!(office.fetch()[0]["fetched"], 0, "nobody asked for it yet");
    let given = office.call(&["tray", "give", &id, "bob"]);
    assert!(errors(&given).contains("comes with the next fetch: mailroom fetch isp"), "{}", errors(&given));
    let figures = &office.fetch()[0];
    assert_eq!((&figures["delivered"], &figures["deleted"], dovecot.count("mailbox")), (&1.into(), &1.into(), 0), "{figures}");
    assert!(tray().is_empty());
    // Beside a gateway at once; without a name, for whom the mapping says.
    let gateway = office.run();
    let bob = Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX");
    assert!(bob.len() == 1 && bob[0].ends_with(large.as_bytes()));
    dovecot.deliver("mailbox", [large.replace("large@", "larger@").as_bytes()]);
    office.fetch();
    office.must(&["tray", "give", &tray()[0]["id"].to_string()]);
    until("the original to be fetched", || dovecot.count("mailbox") == 0 && tray().is_empty());
    let alice = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(alice.len(), 2);
    let books = office.json(&["status", "--json"])["collectors"][0]["reconciliation"].clone();
    assert_eq!((&books["listed"], &books["delivered"], &books["unaccounted"]), (&3.into(), &3.into(), &0.into()), "{books}");
}

#[test]
fn trap_26_the_original_of_a_stub_comes_when_somebody_asks_for_it_by_pop3() {
    brings_the_original("pop3");
}

#[test]
fn trap_26_the_original_of_a_stub_comes_when_somebody_asks_for_it_by_imap() {
    brings_the_original("imap");
}

#[test]
fn trap_26_an_original_that_is_gone_upstream_is_told() {
    let runtime = runtime();
    let isp = runtime.block_on(Pop3Upstream::start(&[("a", &letter("a", &"x\r\n".repeat(3000)))], Faults::default()));
    let office = office(&plain("isp", isp.port, "max_size = \"5KB\""));
    assert_eq!(office.fetch()[0]["stub"], 1);
    isp.state.lock().unwrap().messages.clear();
    office.fetch();
    let output = office.call(&["tray", "give", "1", "bob"]);
    assert!(errors(&output).contains("no longer at the provider"), "{}", errors(&output));
}

#[test]
fn trap_40_the_pause_that_a_server_wants_is_kept_by_the_schedule_and_over_a_restart() {
    let runtime = runtime();
    let faults = Faults { capabilities: ["USER\r\nTOP\r\n", "TOP\r\nUIDL\r\nLOGIN-DELAY 900\r\n"], ..Faults::default() };
    let isp = runtime.block_on(Pop3Upstream::start(&[("a", &letter("a", "x"))], faults));
    let office = office(&plain("isp", isp.port, "schedule = \"every 1m\""));
    for _ in 0..2 {
        let _gateway = office.run();
        let times = || {
            let collector = office.json(&["status", "--json"])["collectors"][0].clone();
            let [last, next] =
                ["last_run", "next_run"].map(|name| collector[name].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()));
            Some(next?.duration_since(last?).as_secs())
        };
        until("the next run to be known", || times().is_some());
        let pause = times().unwrap();
        assert!((895..1000).contains(&pause), "{pause}");
        assert_eq!(isp.count("USER"), 1);
        // Whatever is shown next time has been worked out anew.
        let database = rusqlite::Connection::open(office.path("store/mailroom.db")).unwrap();
        database.execute_batch("UPDATE collector SET next_run = NULL").unwrap();
    }
}

#[test]
fn trap_41_a_refused_password_is_not_tried_again_after_a_restart_until_it_is_another() {
    let runtime = runtime();
    let refusing = Faults { answers: vec![("PASS", "-ERR [AUTH] no")], ..Faults::default() };
    let isp = runtime.block_on(Pop3Upstream::start(&[], refusing));
    let other = runtime.block_on(Pop3Upstream::start(&[], Faults::default()));
    let files = plain("isp", isp.port, "") + &plain("other", other.port, "");
    let office = office(&files);
    let collector = || office.json(&["status", "--json"])["collectors"][0].clone();
    let tries = || isp.count("PASS");
    {
        let _gateway = office.run();
        until("the first refusal", || collector()["state"] == "waiting");
        assert_eq!(tries(), 1);
    }
    // Eleven minutes later.
    let past = "UPDATE collector SET first_refused = first_refused - 660000, last_run = last_run - 660000";
    rusqlite::Connection::open(office.path("store/mailroom.db")).unwrap().execute_batch(past).unwrap();
    {
        let _gateway = office.run();
        until("the second refusal", || collector()["state"] == "suspended");
        assert_eq!(tries(), 2);
    }
    // When the other one has been fetched, this one has had its chance.
    let fetch_the_other = || assert_eq!(office.json(&["fetch", "other", "--json"])["collectors"][0]["error"], Value::Null);
    let _gateway = office.run();
    fetch_the_other();
    assert_eq!((tries(), &collector()["state"]), (2, &"suspended".into()));
    let error = collector()["last_error"].to_string();
    assert!(error.contains("until the password is changed or somebody fetches by hand"), "{error}");
    // Another configuration is no other password.
    office.configure(&format!("{OFFICE}trash = \"30d\"\n{files}"), "");
    fetch_the_other();
    assert_eq!(tries(), 2);
    office.write("isp.pass", "another-pass-word");
    until("the new password to be tried", || tries() == 3);
}

#[test]
fn trap_55_no_password_is_in_the_most_talkative_log() {
    let runtime = runtime();
    let isp = runtime.block_on(Pop3Upstream::start(&[("a", &letter("a", "x"))], Faults::default()));
    let dovecot = Dovecot::start();
    let collectors = plain("isp", isp.port, "") + &interop::collector(&dovecot, "other", "imap", "mailbox", "deliver = \"alice\"");
    // And one that wants name and password on lines of their own.
    let greeting = "* OK [CAPABILITY IMAP4rev1 AUTH=LOGIN LOGINDISABLED] ready";
    let lines = runtime
        .block_on(imap_upstream::start(greeting, &[("AUTHENTICATE", "+ TmFtZQ==\r\n"), ("LOGOUT", "$ OK\r\n"), ("", "+ TmFtZQ==\r\n")]));
    let collectors = collectors + &plain("lines", lines, "").replace("pop3", "imap");
    let collectors = ["isp.pass", "lines.pass"].iter().fold(collectors, |text, name| text.replace(name, "other.pass"));
    let office = office(&collectors);
    office.write("other.pass", isp::PASSWORD);
    dovecot.deliver("mailbox", [letter("b", "x").as_bytes()]);
    let output = office.command(&["-vv", "fetch"]).stdin(Stdio::null()).output().unwrap();
    let log = errors(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(log.contains("< +OK") && log.contains("UID FETCH"), "the conversation is logged:\n{log}");
    assert!(log.contains("the server asks for more than there is"), "name and password went out on lines of their own:\n{log}");
    for secret in [isp::PASSWORD.to_owned(), STANDARD.encode(format!("\0mailbox\0{}", isp::PASSWORD)), STANDARD.encode(isp::PASSWORD)] {
        assert!(!log.contains(&secret), "{log}");
    }
}

/// The durable commit of what was fetched comes before its deletion upstream, as the operating system sees it.
#[test]
fn what_is_deleted_upstream_was_written_through_to_the_disk_before() {
    let runtime = runtime();
    let letters: Vec<(String, String)> = (0..5).map(|n| (format!("u{n}"), letter(&n.to_string(), "x"))).collect();
    let messages: Vec<(&str, &str)> = letters.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
    let isp = runtime.block_on(Pop3Upstream::start(&messages, Faults::default()));
    let office = office(&plain("isp", isp.port, "").replace("\"keep\"", "\"delete\""));
    let trace = office.path("trace");
    let calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg";
    let ran = Command::new("timeout")
        .args(["--kill-after=5", "100", "strace", "-f", "-y", "-s", "200", "-e", calls, "-o"])
        .arg(&trace)
        .args([env!("CARGO_BIN_EXE_mailroom"), "--config"])
        .arg(office.path("mailroom.toml"))
        .arg("fetch")
        .stdin(Stdio::null())
        .output();
    let Ok(ran) = ran else { return eprintln!("left out: there is no strace here") };
    if !ran.status.success() && !std::fs::read_to_string(&trace).is_ok_and(|text| text.contains("QUIT")) {
        return eprintln!("left out: strace may not trace here: {}", errors(&ran));
    }
    let trace = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let at = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in\n{trace}"));
    let (last_asked, first_deleted) = (lines.iter().rposition(|line| line.contains("RETR 5")).unwrap(), at("DELE 1"));
    let synced = |line: &&str| line.contains("sync(") && line.contains("mailroom.db-wal>");
    // The log is written and then synced between the last answer and the first deletion, and not written again in between.
    let sync = lines[..first_deleted].iter().rposition(synced).expect("no sync before DELE");
    assert!(sync > last_asked, "the last sync before DELE is older than the mail:\n{trace}");
    let unsynced =
        lines[sync..first_deleted].iter().filter(|line| line.contains("pwrite") || line.contains("write(") && line.contains("db-wal>"));
    assert_eq!(unsynced.count(), 0, "{trace}");
    assert!(isp.uidls().is_empty());
}

/// From the provider's mailbox to the notice that a waiting mail program gets, without a schedule that would have done it.
fn pushed(folders: &str, place: &str) {
    let dovecot = Dovecot::start();
    let more = format!("deliver = \"alice\"\nschedule = \"0 0 1 1 *\"\nafter = \"keep\"\n{folders}");
    let office = office(&interop::collector(&dovecot, "isp", "imap", "mailbox", &more).replace("idle = false", "idle = true"));
    office.write("isp.pass", isp::PASSWORD);
    dovecot.deliver("mailbox", [letter("before", "x").as_bytes()]);
    Imap::login(dovecot.imap, "mailbox", isp::PASSWORD).run("CREATE Second");
    let gateway = office.run();
    until("the first fetch", || office.json(&["status", "--json"])["users"][0]["messages"] == 1);
    let mut program = BufReader::new(TcpStream::connect(("127.0.0.1", gateway.port("imap"))).unwrap());
    program.get_ref().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for (command, answer) in
        [(format!("a LOGIN alice \"{}\"", office::PASSWORD), "a OK"), ("b SELECT INBOX".into(), "b OK"), ("c IDLE".into(), "+")]
    {
        program.get_ref().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        wait_for(&mut program, answer);
    }
    // The session that waits looks once when it begins, which may bring the first of these; the second only it can tell of.
    for (id, notice) in [("one", "* 2 EXISTS"), ("two", "* 3 EXISTS")] {
        let began = std::time::Instant::now();
        // By the provider's own server, as an ISP's delivery would: it tells nobody of files that others put there.
        let url = format!("imap://127.0.0.1:{}/{place}", dovecot.imap);
        office.write("news", &letter(id, "x"));
        let login = format!("mailbox:{}", isp::PASSWORD);
        let append =
            Command::new("timeout").args(["60", "curl", "-sS", "-u", &login, "-T"]).arg(office.path("news")).arg(url).output().unwrap();
        assert!(append.status.success(), "{}", errors(&append));
        let arrived = began.elapsed();
        wait_for(&mut program, notice);
        eprintln!("from arrival in {place} to the notice: {} ms", (began.elapsed() - arrived).as_millis());
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

fn wait_for(program: &mut BufReader<TcpStream>, wanted: &str) {
    let mut line = String::new();
    while !line.starts_with(wanted) {
        line.clear();
        assert_ne!(program.read_line(&mut line).expect("no notice came"), 0);
    }
}

#[test]
fn news_at_the_provider_reach_a_waiting_mail_program_at_once() {
    pushed("", "INBOX");
}

#[test]
fn news_in_a_second_folder_are_told_by_notify() {
    pushed("folders = [\"INBOX\", \"Second\"]", "Second");
}

/// The proof that nothing was lost, in the log of a day; a message of which nobody knows what became is shouted about.
#[test]
fn the_log_proves_each_night_that_nothing_was_lost() {
    let runtime = runtime();
    let isp = runtime.block_on(Pop3Upstream::start(&[("a", &letter("a", "x")), ("b", &letter("b", "x"))], Faults::default()));
    let office = office(&plain("isp", isp.port, "schedule = \"0 0 1 1 *\""));
    assert_eq!(office.fetch()[0]["delivered"], 2);
    let reconciled = |words: &str| {
        let gateway = office.run();
        until("the books to be closed", || gateway.log().contains("unaccounted for"));
        let log = gateway.log();
        assert!(log.lines().any(|line| line.contains(words) && line.contains("isp")), "{log}");
    };
    let another_day = |tampering: &str| {
        let database = rusqlite::Connection::open(office.path("store/mailroom.db")).unwrap();
        database.execute_batch(&format!("UPDATE setting SET value = '2001-01-01' WHERE name = 'reconciled'; {tampering}")).unwrap();
    };
    reconciled("2 listed: 2 delivered; 0 unaccounted for");
    another_day("DELETE FROM trace WHERE message_id = 'a@far.example'");
    reconciled("1 unaccounted for");
}

/// One collector meets a fault of the program; the other does not notice, and the next fetch has everything once.
#[cfg(feature = "failpoints")]
#[test]
fn trap_21_a_fault_of_the_program_in_one_collector_is_contained_counted_and_shown() {
    let runtime = runtime();
    let letters: Vec<(String, String)> = (0..5).map(|n| (format!("u{n}"), letter(&n.to_string(), "x"))).collect();
    let messages: Vec<(&str, &str)> = letters.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
    let isp = runtime.block_on(Pop3Upstream::start(&messages, Faults::default()));
    let office = office(&plain("isp", isp.port, "").replace("\"keep\"", "\"delete\""));
    let output = office.command(&["fetch", "--json"]).env("MAILROOM_FAILPOINT", "before_delete:1:panic").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["collectors"][0]["error"].as_str().unwrap().contains("a fault of the program ended the fetch"), "{report}");
    let status = office.json(&["status", "--json"]);
    assert_eq!(status["collectors"][0]["faults"], 1);
    assert_eq!(status["collectors"][0]["state"], "waiting");
    let figures = &office.fetch()[0];
    assert_eq!((&figures["error"], &figures["fetched"]), (&Value::Null, &0.into()), "{figures}");
    assert!(isp.uidls().is_empty());
}
