//! The program as a service: what it tells systemd, how it ends, what it gives up at its start, and what it says when it can't start.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::interop::isp::{self, Dovecot};
use crate::support::office::{Office, errors, until};
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use crate::support::smarthost::{Fault, Smarthost};
use crate::support::smtp_client::SmtpClient;

const PLAIN: &str = "[office]\npostmaster = \"alice\"\n";
/// Debian's nobody: a user that owns nothing.
const NOBODY: u32 = 65_534;

fn office() -> Office {
    let office = Office::new(PLAIN, "");
    office.add_users(&["alice"]);
    office
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// What systemd would hear.
fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("it said nothing: {error}"));
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn systemd_hears_that_it_serves_lives_and_stops() {
    let office = office();
    let path = office.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = office.command(&["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert_eq!(heard(&socket).trim(), "READY=1");
    for _ in 0..3 {
        assert_eq!(heard(&socket).trim(), "WATCHDOG=1");
    }
    signal(&child, "-TERM");
    until("it to say that it stops", || heard(&socket).trim() == "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

/// Reads lines until one fits, or the connection ends.
fn last_word(session: &mut BufReader<TcpStream>) -> String {
    let mut last = String::new();
    let mut line = String::new();
    while session.read_line(&mut line).is_ok_and(|length| length > 0) {
        last = std::mem::take(&mut line);
    }
    last
}

#[test]
fn sessions_are_told_and_it_ends_in_time() {
    for name in ["-TERM", "-INT"] {
        let office = office();
        let log = fs::File::create(office.path("log")).unwrap();
        let mut child = office.command(&["run"]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let session = |key: &str, greeting: &str| {
            let socket = line.trim().split(' ').find_map(|part| part.strip_prefix(&format!("{key}="))).unwrap();
            let mut session = BufReader::new(TcpStream::connect(socket).unwrap());
            session.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut said = String::new();
            session.read_line(&mut said).unwrap();
            assert!(said.starts_with(greeting), "{said}");
            session
        };
        let (mut imap, mut pop3, mut smtp) = (session("imap", "* OK"), session("pop3", "+OK"), session("submission", "220 "));
        // One of them in the middle of a command.
        imap.get_mut().write_all(b"a LOGIN {5}\r\n").unwrap();
        let start = Instant::now();
        signal(&child, name);
        assert!(last_word(&mut imap).starts_with("* BYE"));
        assert!(last_word(&mut smtp).starts_with("421 "));
        assert!(last_word(&mut pop3).starts_with("-ERR [SYS/TEMP]"));
        assert!(child.wait().unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

/// Who says nothing where the handshake belongs can't be told anything: nobody waits for him.
#[test]
fn a_client_before_its_handshake_does_not_hold_up_the_end() {
    let office = office();
    let gateway = office.run();
    let connect = |key: &str| {
        let socket = TcpStream::connect(("127.0.0.1", gateway.port(key))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        BufReader::new(socket)
    };
    let silent: Vec<_> = ["imaps", "pop3s", "submissions"].map(connect).into();
    let invited: Vec<_> = [("imap", "a STARTTLS", "a OK"), ("pop3", "STLS", "+OK begin TLS"), ("submission", "STARTTLS", "220 2.0.0")]
        .into_iter()
        .map(|(key, command, answer)| {
            let mut session = connect(key);
            let hello = if key == "submission" { "EHLO client\r\n" } else { "" };
            session.get_mut().write_all(format!("{hello}{command}\r\n").as_bytes()).unwrap();
            let mut line = String::new();
            session.read_line(&mut line).unwrap();
            while !line.starts_with(answer) {
                line.clear();
                assert!(session.read_line(&mut line).unwrap() > 0, "{key}: no “{answer}”");
            }
            session
        })
        .collect();
    let start = Instant::now();
    drop(gateway);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop((silent, invited));
}

#[test]
fn status_tells_why_it_did_not_start_until_it_does() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let office = Office::new(&format!("{PLAIN}[listen]\nimap = [\"{address}\"]\n"), "");
    office.add_users(&["alice"]);
    assert_eq!(office.call(&["run"]).status.code(), Some(1));
    let status = office.json(&["status", "--json"]);
    assert!(status["start_error"].as_str().unwrap().contains("another program has this port"), "{status}");
    let text = office.must(&["status"]);
    assert!(text.contains("its last start failed: listen.imap"), "{text}");
    drop(taken);
    drop(office.run());
    assert!(office.json(&["status", "--json"])["start_error"].is_null());
}

#[test]
fn a_second_one_does_not_spoil_what_is_said_of_the_first() {
    let office = office();
    let _gateway = office.run();
    let second = office.call(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    let said = errors(&second);
    assert!(said.contains("another gateway runs on the store"), "{said}");
    let status = office.json(&["status", "--json"]);
    assert!(status["running"] == true && status["start_error"].is_null(), "{status}");
}

/// A small disk in memory; gone with the value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a small disk can't be mounted: the tests run as root");
        Self(folder)
    }

    fn make_read_only(&self) {
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_takes_nothing_is_said_in_plain_words() {
    let disk = Disk::new("20m");
    let store = disk.0.path().join("store");
    let office = Office::new(&format!("{PLAIN}[storage]\npath = '{}'\n", store.display()), "");
    office.add_users(&["alice"]);
    let filler = disk.0.path().join("filler");
    let full =
        Command::new("dd").args(["if=/dev/zero", "bs=4096", "status=none"]).arg(format!("of={}", filler.display())).output().unwrap();
    assert!(!full.status.success(), "the disk is not full");
    let check = |command: &str, words: &[&str]| {
        let output = office.call(&[command]);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(words.iter().any(|word| said.contains(word)), "{command}: {said}");
        assert!(said.contains(&store.display().to_string()) && !said.contains("panicked"), "{command}: {said}");
    };
    check("run", &["full"]);
    fs::remove_file(filler).unwrap();
    disk.make_read_only();
    for command in ["run", "status"] {
        check(command, &["read-only", "Read-only"]);
    }
}

#[test]
fn a_stranger_is_refused_in_words() {
    let office = office();
    open_to_all(&office);
    for command in [&["status"][..], &["run"]] {
        let output = as_nobody(&office, command).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains("belongs to the user root: run this as that user or as root"), "{}", errors(&output));
    }
    fs::set_permissions(office.path("mailroom.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = as_nobody(&office, &["run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("mailroom.toml: can't be read"), "{}", errors(&output));
}

/// A port below 1024 without the right to it.
#[test]
fn a_port_of_roots_is_refused_in_words() {
    let floor: u16 = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap().trim().parse().unwrap();
    if floor < 1024 {
        return eprintln!("left out: on this machine everybody may listen at port {floor}");
    }
    let port = (600..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let office = Office::new(&format!("{PLAIN}[listen]\nimap = [\"127.0.0.1:{port}\"]\n"), "");
    open_to_all(&office);
    let store = office.path("store");
    fs::create_dir(&store).unwrap();
    chown(&store, Some(NOBODY), Some(NOBODY)).unwrap();
    office.add_users(&["alice"]);
    let output = as_nobody(&office, &["run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("ports below 1024 need more rights"), "{}", errors(&output));
    let status = office.json(&["status", "--json"]);
    assert!(status["start_error"].as_str().unwrap().contains("ports below 1024 need more rights"), "{status}");
}

/// As an editor leaves it that dies while it writes, or a disk that is full: code 2, which no service manager answers with another start.
#[test]
fn half_a_configuration_is_refused_and_the_last_good_one_serves() {
    let office = office();
    drop(office.run());
    let whole = fs::read_to_string(office.path("mailroom.toml")).unwrap();
    let half = &whole[..whole.find("imaps = [").unwrap() + 9];
    office.write("mailroom.toml", half);
    let output = office.call(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    let said = errors(&output);
    assert!(said.contains("mailroom.toml:") && !said.contains("panicked"), "{said}");
    let mut child = office.command(&["run", "--last-good"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let status = office.json(&["status", "--json"]);
    signal(&child, "-TERM");
    let said = errors(&child.wait_with_output().unwrap());
    assert!(ready.starts_with("ready"), "{ready}{said}");
    assert!(said.contains("starting with the last ones that did"), "{said}");
    assert_eq!(status["config"]["ok"], false, "{status}");
    assert!(status["config"]["error"].as_str().unwrap().contains("mailroom.toml:"), "{status}");
}

/// A file that is no text says less, and the store is found all the same.
#[test]
fn files_that_are_no_text_are_refused_and_the_last_good_ones_serve() {
    let office = office();
    drop(office.run());
    let whole = fs::read_to_string(office.path("mailroom.toml")).unwrap();
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(whole.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let check = |bytes: &[u8], expected: &str| {
        fs::write(office.path("mailroom.toml"), bytes).unwrap();
        let output = office.call(&["run"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(errors(&output).contains(expected), "{}", errors(&output));
        assert!(office.must(&["status"]).contains(expected));
        let mut child = office.command(&["run", "--last-good"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        signal(&child, "-TERM");
        let said = errors(&child.wait_with_output().unwrap());
        assert!(ready.starts_with("ready"), "{ready}{said}");
    };
    check(b"[office]\npostmaster = \"alice\"\n# B\xc3", "is not UTF-8: save it as UTF-8 text");
    check(&utf16, "is UTF-16: save it as UTF-8 text");
}

/// Mail is not sorted by rules that can't be read: they are not taken for none.
#[test]
fn mappings_that_cannot_be_read_stop_it() {
    let office = office();
    fs::rename(office.path("mappings"), office.path("away")).unwrap();
    fs::write(office.path("mappings"), "").unwrap();
    let output = office.call(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("can't be read: Not a directory"), "{}", errors(&output));
}

#[test]
fn who_may_not_look_at_the_files_is_told_so() {
    let office = office();
    open_to_all(&office);
    let closed = office.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::rename(office.path("mailroom.toml"), closed.join("mailroom.toml")).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let output = as_nobody_with(&office, "closed/mailroom.toml", &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("ermission denied") && errors(&output).contains("run it with sudo"), "{}", errors(&output));
}

#[test]
fn a_store_of_roots_is_warned_of() {
    let office = office();
    let gateway = office.run();
    assert!(gateway.log().contains("runs as root"), "{}", gateway.log());
    assert!(office.must(&["status"]).contains("runs as root, which it should not"));
    assert_eq!(office.json(&["status", "--json"])["all_rights"], true);
}

/// Root acts as the owner of the store, and writes where only root may.
#[test]
fn root_backs_up_to_a_place_of_its_own() {
    let office = office();
    for path in ["", "mappings"] {
        fs::set_permissions(office.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(Command::new("chown").arg("-R").arg(format!("{NOBODY}:{NOBODY}")).arg(office.path("store")).status().unwrap().success());
    let closed = office.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    office.must(&["backup", "closed/copy"]);
    for file in ["mailroom.db", "files/mailroom.toml"] {
        assert_eq!(closed.join("copy").join(file).metadata().unwrap().uid(), 0, "{file}");
    }
    for entry in fs::read_dir(office.path("store")).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), NOBODY, "{}", entry.path().display());
    }
}

/// The office's own certificate may be writable at the next try; a configured one is a matter of the files.
#[test]
fn a_certificate_that_cannot_be_made_is_tried_again() {
    let office = office();
    fs::write(office.path("store/tls"), "").unwrap();
    let output = office.call(&["run"]);
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("the office's own certificate can't be made"), "{}", errors(&output));
}

/// A fetch and a delivery whose servers have fallen silent do not hold up the end.
#[test]
fn it_ends_in_time_while_a_server_is_silent() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let silent = Faults { silent_at: Some("a"), ..Faults::default() };
    let isp = runtime.block_on(Pop3Upstream::start(&[("a", "Subject: a\r\n\r\nx\r\n")], silent));
    let smarthost = runtime.block_on(Smarthost::start([Fault::Stall(".", 0)]));
    let plain = "host = \"127.0.0.1\"\ntls = \"none\"\ninsecure = true";
    let office = Office::new(
        &format!(
            "[office]\npostmaster = \"alice\"\ndomains = [\"example.com\"]\n\
             [[collector]]\nname = \"isp\"\nprotocol = \"pop3\"\n{plain}\nport = {}\nusername = \"office\"\n\
             password = {{ file = \"isp.pass\" }}\ndeliver = \"alice\"\nafter = \"keep\"\n\
             [[smarthost]]\nname = \"out\"\n{plain}\nport = {}\n",
            isp.port,
            smarthost.address.port()
        ),
        "",
    );
    office.write("isp.pass", "the-pass-word");
    office.add_users(&["alice"]);
    let mut gateway = office.run();
    let mut client = SmtpClient::connect("127.0.0.1", gateway.port("submission"));
    client.say("EHLO client\r\n");
    client.log_in("alice");
    client.mail("alice@example.com", "bob@out.example", "Subject: b\r\n\r\ny\r\n");
    until("the fetch to hang", || isp.count("RETR") > 0);
    until("the delivery to hang", || !smarthost.received().is_empty());
    let start = Instant::now();
    assert!(Command::new("kill").arg(gateway.id().to_string()).status().unwrap().success());
    until("it to end", || !gateway.is_running());
    assert!(gateway.log().contains("stopped"), "{}", gateway.log());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// What keeps a service manager from starting it again and again: the units that are shipped and made say so.
#[test]
fn wrong_files_are_no_reason_to_start_again() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/linux/mailroom.service")).unwrap();
    for line in ["RestartPreventExitStatus=2", "Restart=on-failure", "RestartSec=30", "StartLimitIntervalSec=0"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

fn open_to_all(office: &Office) {
    for (path, mode) in [("", 0o755), ("mailroom.toml", 0o644), ("mappings", 0o755), ("mappings/office.toml", 0o644)] {
        fs::set_permissions(office.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The program may lie where only root can go: nobody is given a copy.
fn as_nobody(office: &Office, arguments: &[&str]) -> Command {
    as_nobody_with(office, "mailroom.toml", arguments)
}

fn as_nobody_with(office: &Office, file: &str, arguments: &[&str]) -> Command {
    let program = office.path("mailroom");
    if !program.exists() {
        // By a process of its own: what another test starts meanwhile would hold our file open for writing, and then it can't be run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_mailroom")).arg(&program).status();
        assert!(copied.unwrap().success());
    }
    let mut command = Command::new("setpriv");
    let nobody = NOBODY.to_string();
    command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]).arg(program);
    command.arg("--config").arg(office.path(file)).args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn a_clock_of_1970_is_refused_before_any_mail_comes() {
    let office = office();
    for command in ["run", "fetch"] {
        let ours = office.command(&[command]);
        let mut faked = Command::new("faketime");
        faked.args(["-f", "1970-01-02 00:00:00"]).arg(ours.get_program()).args(ours.get_args()).stdin(Stdio::null());
        let output = faked.output().unwrap_or_else(|error| panic!("faketime does not start (tests/run installs it): {error}"));
        assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
        assert!(errors(&output).contains("the clock of this machine says 1970-01-02"), "{}", errors(&output));
    }
    let status = office.json(&["status", "--json"]);
    assert!(status["start_error"].as_str().unwrap().contains("1970-01-02"), "{status}");
}

/// A line of `/proc/PID/status`.
fn process(id: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or_default().trim().to_owned()
}

#[test]
fn root_gives_itself_up_for_the_owner_of_the_store() {
    let port = (600..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let office = Office::new(&format!("{PLAIN}[listen]\nimap = [\"127.0.0.1:{port}\"]\npop3 = [\"127.0.0.1:0\"]\n"), "");
    let store = office.path("store");
    fs::create_dir(&store).unwrap();
    chown(&store, Some(NOBODY), Some(NOBODY)).unwrap();
    office.add_users(&["alice"]);
    fs::set_permissions(office.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = office.run();
    assert_eq!(gateway.port("imap"), port);
    let nobody = [NOBODY; 4].map(|id| id.to_string()).join("\t");
    assert_eq!(process(gateway.id(), "Uid"), nobody);
    assert_eq!(process(gateway.id(), "Gid"), nobody);
    assert_eq!(process(gateway.id(), "CapPrm"), "0000000000000000");
    assert!(gateway.log().contains("started as root, runs as the user nobody"), "{}", gateway.log());
    for entry in fs::read_dir(&store).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), NOBODY, "{}", entry.path().display());
    }
}

/// What a command that prints a password may still do, and what not.
#[test]
fn a_password_command_works_and_writes_nowhere_else() {
    let dovecot = Dovecot::start();
    let office = Office::new("", "");
    let outside = PathBuf::from(format!("/mailroom-test-{}", std::process::id()));
    let script = format!(
        "touch {out} 2>/dev/null; unshare --mount true 2>/dev/null && echo unshared >{here}/wrong; touch {here}/mappings/learnt; \
         mktemp >/dev/null || exit 1; cat {here}/isp.pass",
        out = outside.display(),
        here = office.path("").display()
    );
    let collector = crate::interop::collector(&dovecot, "isp", "pop3", "alice", "deliver = \"alice\"\nschedule = \"every 1m\"");
    let collector = collector.replace("{ file = \"isp.pass\" }", &format!("{{ command = [\"sh\", \"-c\", '''{script}'''] }}"));
    office.configure(&format!("[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n{collector}"), "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);
    let gateway = office.run_past_first_fetch();
    dovecot.deliver("alice", [b"From: bob@out.example\r\nTo: alice@example.com\r\nSubject: hello\r\n\r\nHello\r\n".as_slice()]);
    let figures = &office.fetch()[0];
    let wrote_outside = outside.exists();
    let _ = fs::remove_file(&outside);
    assert!(figures["error"].is_null(), "{figures}");
    assert_eq!(figures["fetched"], 1, "{figures}\n{}", gateway.log());
    assert!(office.path("mappings/learnt").exists(), "the mapping files can't be written");
    assert!(!wrote_outside, "{} was written", outside.display());
    assert!(!office.path("wrong").exists(), "the command made a namespace of its own");
    assert_eq!(process(gateway.id(), "NoNewPrivs"), "1");
    assert_eq!(process(gateway.id(), "Seccomp"), "2");
    // An older kernel enforces what it knows of Landlock.
    let log = gateway.log();
    let confined = log.lines().find(|line| line.contains("confined by landlock"));
    assert!(confined.is_some_and(|line| line.contains(" and seccomp")), "{log}");
}

#[test]
fn a_log_that_nobody_would_see_goes_into_files() {
    let office = office();
    let mut child = office.command(&["run"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready"), "{line}");
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
    let log = office.path("store/log/mailroom.log");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("listening") && text.contains("stopped"), "{text}");
    assert_eq!(log.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn an_older_store_is_copied_and_brought_up_to_date() {
    let office = office();
    let store = office.path("store");
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir(&store).unwrap();
    let database = rusqlite::Connection::open(store.join("mailroom.db")).unwrap();
    database.execute_batch(include_str!("../src/store/schema.sql")).unwrap();
    database.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(database);
    assert!(office.must(&["status"]).contains("configuration"), "an older store does not open");
    let copy = store.join("before-migration-1.db");
    assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o600);
    let version: u32 = rusqlite::Connection::open(&copy).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    office.add_users(&["alice"]);
    drop(office.run());
}

/// Each copy is as large as the store.
#[test]
fn only_the_last_copy_of_an_older_store_is_kept() {
    let office = office();
    let store = office.path("store");
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir(&store).unwrap();
    let database = rusqlite::Connection::open(store.join("mailroom.db")).unwrap();
    for schema in [
        include_str!("../src/store/schema.sql"),
        include_str!("../src/store/schema-2.sql"),
        include_str!("../src/store/schema-3.sql"),
        "PRAGMA user_version = 3",
    ] {
        database.execute_batch(schema).unwrap();
    }
    drop(database);
    for other in ["before-migration-2.db", "mine.db"] {
        fs::write(store.join(other), "").unwrap();
    }
    office.must(&["status"]);
    assert!(store.join("before-migration-3.db").exists() && store.join("mine.db").exists());
    assert!(!store.join("before-migration-2.db").exists());
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let office = office();
    let database = rusqlite::Connection::open(office.path("store/mailroom.db")).unwrap();
    database.execute_batch("PRAGMA user_version = 9000").unwrap();
    drop(database);
    for command in ["run", "status", "fetch"] {
        let output = office.call(&[command]);
        assert_eq!(output.status.code(), Some(1));
        let said = errors(&output);
        assert!(said.contains("was written by a newer Mailroom") && said.contains("install that one again"), "{command}: {said}");
    }
}

/// Where systemd's own judge is installed.
#[test]
fn the_unit_exposes_little() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/linux/mailroom.service");
    let judged = Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(&unit).output();
    let Ok(judged) = judged else { return eprintln!("left out: systemd-analyze is not installed") };
    let text = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "{text}{}", errors(&judged));
    println!("{}", text.lines().rfind(|line| line.contains("exposure")).unwrap_or_default());
}

/// An account that is not root's can't change the system; nothing is half done then.
#[test]
fn services_are_roots_business() {
    let office = office();
    open_to_all(&office);
    for action in ["install", "uninstall", "start", "stop"] {
        let output = as_nobody(&office, &["service", action]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{action}");
        assert!(errors(&output).contains("only root may"), "{}", errors(&output));
    }
}
