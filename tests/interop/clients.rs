//! Mail programs that nobody here wrote read and send through the gateway: Python's library, curl, mutt, neomutt, mbsync, offlineimap, mpop,
//! fetchmail, getmail, msmtp, swaks, nodemailer, imapflow.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::collector;
use super::isp::{self, Dovecot};
use crate::support::office::{self, Gateway, Office};

const MAILS: usize = 25;

fn mail(number: usize) -> String {
    let minute = number % 60;
    format!(
        "From: Bob <bob@out.example>\r\nTo: alice@example.com\r\nSubject: =?utf-8?q?Angebot_f=C3=BCr_Nr=2E_{number}?=\r\nMessage-ID: <c{number}@out.example>\r\n\
         Date: Mon, 23 Nov 2026 10:{minute:02}:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nneedle{number} in the text\r\n.\r\n..\r\n--b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\n\
         Content-Disposition: attachment; filename=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--b--\r\n"
    )
}

/// An office whose user alice has mail, and the running gateway.
fn office() -> (Office, Gateway) {
    office_with(MAILS)
}

fn office_with(mails: usize) -> (Office, Gateway) {
    let dovecot = Dovecot::start();
    let mails: Vec<String> = (0..mails).map(mail).collect();
    dovecot.deliver("alice", mails.iter().map(String::as_bytes));
    let office = Office::new(
        &format!(
            "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\nhostname = \"localhost\"\n{}",
            collector(&dovecot, "isp", "pop3", "alice", "after = \"delete\"\ndeliver = \"alice\"\nschedule = \"0 0 1 1 *\"")
        ),
        "",
    );
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    assert_eq!(office.fetch()[0]["delivered"], mails.len());
    let gateway = office.run();
    (office, gateway)
}

/// The certificate of the local authority that the gateway made for itself.
fn authority(office: &Office) -> String {
    let folder = office.path("store/tls");
    let file = ["ca.pem", "ca.crt"].map(|name| folder.join(name)).into_iter().find(|file| file.exists());
    file.unwrap_or_else(|| {
        panic!(
            "no certificate of the local authority in {:?}",
            fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect::<Vec<_>>()
        )
    })
    .display()
    .to_string()
}

fn run(program: &str, arguments: &[&str], folder: &Path, input: &str) -> String {
    // whoever waits for something that never comes is ended: it would hold up everything behind it
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "180", program])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // a program that reads nothing may be gone by now
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), office::errors(&output));
    assert!(!text.contains("timeout: failed to run"), "{program} is not here: tests/run installs what the tests need");
    assert!(output.status.success(), "{program} {} ended with {}:\n{text}", arguments.join(" "), output.status);
    text
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Number of files in a Maildir.
fn maildir(path: &Path) -> usize {
    ["new", "cur"].iter().map(|part| fs::read_dir(path.join(part)).map_or(0, |entries| entries.count())).sum()
}

#[test]
fn python_reads_sorts_and_sends() {
    let (office, gateway) = office();
    let script = include_str!("clients.py");
    let ports = ["imap", "imaps", "pop3", "pop3s", "submission", "submissions"].map(|key| gateway.port(key).to_string());
    let mut arguments = vec!["-c", script];
    arguments.extend(ports.iter().map(String::as_str));
    let (ca, mails) = (authority(&office), MAILS.to_string());
    arguments.extend([ca.as_str(), office::PASSWORD, &mails]);
    let said = run("python3", &arguments, &office.path(""), "");
    assert!(said.contains("all done"), "{said}");
}

#[test]
fn curl_reads_by_every_protocol_and_sends() {
    let (office, gateway) = office();
    let folder = office.path("");
    let ca = authority(&office);
    let login = format!("alice:{}", office::PASSWORD);
    let curl = |arguments: &[&str], input: &str| {
        let mut all = vec!["-sS", "--cacert", ca.as_str(), "-u", login.as_str()];
        all.extend(arguments);
        run("curl", &all, &folder, input)
    };
    let url = |scheme: &str, key: &str, path: &str| format!("{scheme}://localhost:{}/{path}", gateway.port(key));
    assert!(curl(&[&url("imaps", "imaps", "INBOX;MAILINDEX=3")], "").contains("needle2 "));
    assert!(curl(&["--ssl-reqd", &url("imap", "imap", "INBOX"), "-X", "SEARCH TEXT needle7"], "").trim_end().ends_with("* SEARCH 8"));
    assert_eq!(curl(&[&url("pop3s", "pop3s", "")], "").lines().count(), MAILS);
    let by_pop3 = curl(&["--ssl-reqd", &url("pop3", "pop3", "5")], "");
    assert!(by_pop3.contains("needle4 ") && by_pop3.contains("\n.\r\n..\r\n"), "{by_pop3}");
    let sent = "From: alice@office.lan\r\nTo: bob@office.lan\r\nSubject: by curl\r\n\r\nHello\r\n.\r\nBob\r\n";
    curl(
        &["--ssl-reqd", &url("smtp", "submission", ""), "--mail-from", "alice@office.lan", "--mail-rcpt", "bob@office.lan", "-T", "-"],
        sent,
    );
    curl(&[&url("smtps", "submissions", ""), "--mail-from", "alice@office.lan", "--mail-rcpt", "bob@office.lan", "-T", "-"], sent);
    let bob = crate::support::reader::Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX");
    assert_eq!(bob.len(), 2);
    assert!(bob.iter().all(|message| message.ends_with(b"\r\n\r\nHello\r\n.\r\nBob\r\n")));
}

#[test]
fn mbsync_mirrors_both_ways_and_then_finds_nothing_to_do() {
    const MANY: usize = 2000;
    let (office, gateway) = office_with(MANY);
    let folder = office.path("");
    fs::create_dir(folder.join("mirror")).unwrap();
    write_private(
        &folder.join("mbsyncrc"),
        &format!(
            "IMAPAccount a\nHost localhost\nPort {}\nUser alice\nPass \"{}\"\nSSLType IMAPS\nCertificateFile {}\n\nIMAPStore far\nAccount a\n\n\
             MaildirStore near\nPath {dir}/mirror/\nInbox {dir}/mirror/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSync All\nSyncState *\n",
            gateway.port("imaps"),
            office::PASSWORD,
            authority(&office),
            dir = folder.display()
        ),
    );
    run("mbsync", &["-c", "mbsyncrc", "c"], &folder, "");
    let inbox = folder.join("mirror/INBOX");
    assert_eq!(maildir(&inbox), MANY);
    // one is thrown away here, one written: the gateway has to follow
    let gone = fs::read_dir(inbox.join("cur")).unwrap().chain(fs::read_dir(inbox.join("new")).unwrap()).flatten().next().unwrap();
    fs::remove_file(gone.path()).unwrap();
    fs::write(inbox.join("new/1.new.here"), "From: a@b.example\nSubject: written here\n\nx\n").unwrap();
    run("mbsync", &["-c", "mbsyncrc", "c"], &folder, "");
    let served = crate::support::reader::Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(served.len(), MANY);
    assert!(served.iter().any(|message| String::from_utf8_lossy(message).contains("written here")));
    let quiet = run("mbsync", &["-V", "-c", "mbsyncrc", "c"], &folder, "");
    for action in ["Pulling", "Pushing", "Trashing", "Expunging", "Flagging"] {
        assert!(!quiet.contains(action), "a third run still has something to do:\n{quiet}");
    }
}

#[test]
fn mutt_opens_the_mailbox_and_saves_a_message() {
    a_reader_at_a_terminal("mutt");
}

#[test]
fn neomutt_opens_the_mailbox_and_saves_a_message() {
    a_reader_at_a_terminal("neomutt");
}

fn a_reader_at_a_terminal(program: &str) {
    let (office, gateway) = office();
    let folder = office.path("");
    write_private(
        &folder.join("muttrc"),
        &format!(
            "set imap_user=alice\nset imap_pass=\"{}\"\nset ssl_force_tls=yes\nset certificate_file={}\nset ssl_verify_host=yes\nset folder=imaps://localhost:{port}/\nset spoolfile=+INBOX\n\
             set confirmcreate=no\nset confirmappend=no\nset quit=yes\nset delete=yes\nset timeout=10\nset record=\npush '<limit>~b needle9<enter><save-message>=Archive<enter><sync-mailbox><exit>'\n",
            office::PASSWORD,
            authority(&office),
            port = gateway.port("imaps"),
        ),
    );
    // it wants a terminal: script gives it one. `exec`, for in a process group of its own it would be stopped by the terminal
    let _ = Command::new("timeout")
        .args(["--kill-after=5", "60", "script", "-qec", &format!("exec {program} -F muttrc"), "/dev/null"])
        .current_dir(&folder)
        .env("HOME", &folder)
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut imap = crate::support::reader::Imap::login(gateway.port("imap"), "alice", office::PASSWORD);
    let archived = imap.messages("Archive");
    assert_eq!(archived.len(), 1, "{:?}", imap.folders());
    assert!(String::from_utf8_lossy(&archived[0]).contains("needle9 "));
    assert_eq!(imap.messages("INBOX").len(), MAILS - 1);
}

#[test]
fn offlineimap_mirrors_both_ways() {
    let (office, gateway) = office();
    let folder = office.path("");
    write_private(
        &folder.join("offlineimaprc"),
        &format!(
            "[general]\naccounts = a\nui = basic\nmetadata = {dir}/offlineimap\n[Account a]\nlocalrepository = near\nremoterepository = far\n\
             [Repository near]\ntype = Maildir\nlocalfolders = {dir}/mirror\n\
             [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {}\nremoteuser = alice\nremotepass = {}\nssl = yes\nsslcacertfile = {}\n",
            gateway.port("imaps"),
            office::PASSWORD,
            authority(&office),
            dir = folder.display(),
        ),
    );
    run("offlineimap", &["-c", "offlineimaprc", "-o"], &folder, "");
    let inbox = folder.join("mirror/INBOX");
    assert_eq!(maildir(&inbox), MAILS);
    let gone = ["new", "cur"].iter().flat_map(|part| fs::read_dir(inbox.join(part)).unwrap().flatten()).next().unwrap();
    fs::remove_file(gone.path()).unwrap();
    fs::write(inbox.join("new/1.new.here"), "From: a@b.example\nSubject: written here\nMessage-ID: <here@b.example>\n\nx\n").unwrap();
    run("offlineimap", &["-c", "offlineimaprc", "-o"], &folder, "");
    let served = crate::support::reader::Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    assert_eq!(served.len(), MAILS);
    assert!(served.iter().any(|message| String::from_utf8_lossy(message).contains("written here")));
    let quiet = run("offlineimap", &["-c", "offlineimaprc", "-o"], &folder, "");
    for action in ["Copy message", "Adding flags", "Deleting"] {
        assert!(!quiet.contains(action), "a third run still has something to do:\n{quiet}");
    }
}

#[test]
fn getmail_fetches_everything_from_us() {
    let (office, gateway) = office();
    let folder = office.path("");
    write_private(
        &folder.join("getmailrc"),
        &format!(
            "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {}\nusername = alice\npassword = {}\nca_certs = {}\n\
             [destination]\ntype = MDA_external\npath = /bin/sh\narguments = (\"-c\", \"cat >> {dir}/all.mbox\")\nallow_root_commands = true\n[options]\ndelete = true\nread_all = false\n",
            gateway.port("pop3s"),
            office::PASSWORD,
            authority(&office),
            dir = folder.display(),
        ),
    );
    let getmaildir = format!("--getmaildir={}", folder.display());
    run("getmail", &["--rcfile=getmailrc", &getmaildir], &folder, "");
    let all = fs::read_to_string(folder.join("all.mbox")).unwrap();
    assert_eq!(all.matches("needle").count(), MAILS);
    assert_eq!(crate::support::reader::Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX").len(), 0);
}

#[test]
fn mpop_and_fetchmail_fetch_everything_from_us() {
    let (office, gateway) = office();
    let folder = office.path("");
    let ca = authority(&office);
    fs::create_dir(folder.join("md")).unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir(folder.join("md").join(part)).unwrap();
    }
    write_private(
        &folder.join("mpoprc"),
        &format!(
            "account a\nhost localhost\nport {}\ntls on\ntls_starttls off\ntls_trust_file {ca}\nuser alice\npassword \"{}\"\nkeep on\ndelivery maildir {}/md\nuidls_file {}/uidls\n",
            gateway.port("pop3s"),
            office::PASSWORD,
            folder.display(),
            folder.display()
        ),
    );
    run("mpop", &["-q", "-C", "mpoprc", "a"], &folder, "");
    assert_eq!(maildir(&folder.join("md")), MAILS);
    run("mpop", &["-q", "-C", "mpoprc", "a"], &folder, "");
    assert_eq!(maildir(&folder.join("md")), MAILS, "the UIDLs changed between two sessions");

    write_private(
        &folder.join("fetchmailrc"),
        &format!(
            "poll localhost protocol POP3 service {} user \"alice\" password \"{}\" ssl sslcertfile \"{ca}\" sslcertck fetchall nokeep mda \"cat >> {}/all.mbox\"\n",
            gateway.port("pop3s"),
            office::PASSWORD,
            folder.display()
        ),
    );
    run("fetchmail", &["-f", "fetchmailrc", "--pidfile", "fetchmail.pid", "-s"], &folder, "");
    let all = fs::read_to_string(folder.join("all.mbox")).unwrap();
    assert_eq!(all.matches("needle").count(), MAILS);
    assert_eq!(crate::support::reader::Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX").len(), 0);
}

#[test]
fn msmtp_sends() {
    let (office, gateway) = office();
    let folder = office.path("");
    let (ca, port, tls_port) = (authority(&office), gateway.port("submission").to_string(), gateway.port("submissions").to_string());
    for (port, starttls, auth) in [(&port, "on", "plain"), (&tls_port, "off", "scram-sha-256")] {
        let arguments = [
            "--host=localhost",
            &format!("--port={port}"),
            "--tls=on",
            &format!("--tls-starttls={starttls}"),
            &format!("--tls-trust-file={ca}"),
            &format!("--auth={auth}"),
            "--user=alice",
            &format!("--passwordeval=printf '%s' '{}'", office::PASSWORD),
            "--from=alice@office.lan",
            "bob@office.lan",
        ];
        run("msmtp", &arguments, &folder, "From: alice@office.lan\nTo: bob@office.lan\nSubject: by msmtp\n\nHello\n");
    }
    assert_eq!(crate::support::reader::Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX").len(), 2);
}

/// swaks is what admins try a server with. A file's name that would like to be a header stays a file's name.
#[test]
fn swaks_sends_by_each_log_in() {
    let (office, gateway) = office();
    let (folder, port) = (office.path(""), gateway.port("submission").to_string());
    let evil = "a\r\nBcc: carol@office.lan\r\n.txt";
    fs::write(folder.join(evil), "scan").unwrap();
    let swaks = |auth: &str, from: &str| {
        let arguments = ["--kill-after=5", "60", "swaks", "--server", "localhost", "--port", &port, "--auth", auth, "--auth-user", "alice"];
        let attach = format!("@{evil}");
        let more = ["--auth-password", office::PASSWORD, "--from", from, "--to", "bob@office.lan", "--attach", &attach];
        let output = Command::new("timeout").args(arguments).args(more).current_dir(&folder).stdin(Stdio::null()).output().unwrap();
        assert_ne!(output.status.code(), Some(127), "swaks is not here: tests/run installs what the tests need");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for auth in ["PLAIN", "LOGIN"] {
        let (sent, said) = swaks(auth, "alice@office.lan");
        assert!(sent && said.contains("250 2.0.0 Taken: 1 here, 0 outside"), "{said}");
    }
    // Whoever is not alice hears as whom she may send.
    let (sent, said) = swaks("PLAIN", "boss@example.com");
    assert!(!sent && said.contains("550 5.7.1 alice@office.lan"), "{said}");
    assert_eq!(crate::support::reader::Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX").len(), 2);
}

/// imapflow, from npm, stands for the phones: it lists, fetches, searches, flags, moves, waits in IDLE, and compresses what it says.
#[test]
fn imapflow_reads_sorts_and_is_told() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    if !tests.join("node_modules/imapflow").exists() {
        eprintln!("left out: imapflow is not here; tests/run installs it");
        return;
    }
    let (office, gateway) = office();
    let ports = [gateway.port("imap"), gateway.port("imaps")].map(|port| port.to_string());
    let script = tests.join("interop/imapflow.mjs").display().to_string();
    let said =
        run("node", &[&script, &ports[0], &ports[1], &authority(&office), office::PASSWORD, &MAILS.to_string()], &office.path(""), "");
    assert!(said.contains("all done"), "{said}");
}

/// nodemailer is what web shops and scripts send with: STARTTLS and implicit TLS, several mails over one pooled connection, each log-in
/// that it knows, an attachment, and a sender who is somebody else.
#[test]
fn nodemailer_sends() {
    let (office, gateway) = office();
    let (folder, ca) = (office.path(""), authority(&office));
    let ports = [gateway.port("submission"), gateway.port("submissions")].map(|port| port.to_string());
    fs::write(folder.join("send.js"), include_str!("nodemailer.js")).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "60", "nodejs", "send.js", &ports[0], &ports[1], &ca, office::PASSWORD]).current_dir(&folder);
    let output = command.env("NODE_PATH", "/usr/share/nodejs").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", office::errors(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("refused: 550") && said.contains("alice@office.lan"), "{said}");
    let mails = crate::support::reader::Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX");
    assert_eq!(mails.len(), 12, "{said}");
    for mail in mails {
        let mail = String::from_utf8_lossy(&mail).into_owned();
        assert!(mail.contains("ESMTPSA") && !mail.contains("Bcc") && mail.contains("\r\n.\r\n"), "{mail}");
    }
}
