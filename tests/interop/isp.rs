//! The ISP: Debian's own Dovecot and Postfix on loopback, each with a configuration of its own in a temporary folder.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Every mailbox's password; any user exists.
pub const PASSWORD: &str = "correct-horse";

/// As `dovecot.conf` has them.
const MECHANISMS: &str = "auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256";

/// A certificate authority and what it signs, as PEM files in a folder.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The authority's own certificate.
    pub file: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ISP test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join("ca.pem");
        fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// Signs a certificate for localhost; `expired`: one that ended long ago. Returns certificate and key file.
    pub fn sign(&self, folder: &Path, expired: bool) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&files.0, certificate.pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

/// A free port of loopback.
pub fn free_port() -> u16 {
    // Two tests at once must not be given the same one: a listener on port 0 alone would hand a port out again once it is closed.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 61;
        let port = 20_000 + (step % 10_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something answers on a port.
pub fn wait_port(port: u16) {
    let start = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing answers on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What differs from one Dovecot to the next.
#[derive(Default, Clone, Copy)]
pub struct Options {
    /// Its certificate ended years ago.
    pub expired: bool,
    /// Tokens instead of passwords: the port where it asks whose a token is, and the mechanism that it offers.
    pub oauth: Option<(u16, &'static str)>,
    /// Passwords go as they are: no proofs to be computed, for who logs in a thousand times.
    pub plain: bool,
    /// Mailboxes stand below others behind a slash, as ours do.
    pub hierarchy: bool,
}

/// Dovecot: POP3 and IMAP with and without TLS, LMTP, and log-ins for Postfix.
pub struct Dovecot {
    pub pop3: u16,
    pub pop3s: u16,
    pub imap: u16,
    pub imaps: u16,
    pub lmtp: u16,
    pub auth: u16,
    pub authority: Authority,
    pub certificate: (PathBuf, PathBuf),
    folder: tempfile::TempDir,
    process: Child,
}

impl Dovecot {
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    pub fn start_with(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("isp").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let authority = Authority::new(folder.path());
        let certificate = authority.sign(folder.path(), options.expired);
        let [pop3, pop3s, imap, imaps, lmtp, auth] = std::array::from_fn(|_| free_port());
        for name in ["run", "state", "mail", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let (uid, gid) = mail_user();
        chown(folder.path().join("mail"), Some(uid), Some(gid)).unwrap();
        chown(folder.path().join("home"), Some(uid), Some(gid)).unwrap();
        let text = include_str!("dovecot.conf")
            .replace("{dir}", &folder.path().display().to_string())
            .replace("{cert}", &certificate.0.display().to_string())
            .replace("{key}", &certificate.1.display().to_string())
            .replace("{password}", PASSWORD)
            .replace("{uid}", &uid.to_string())
            .replace("{gid}", &gid.to_string());
        let ports = [("pop3", pop3), ("pop3s", pop3s), ("imap", imap), ("imaps", imaps), ("lmtp", lmtp), ("auth", auth)];
        let text = ports.iter().fold(text, |text, (name, port)| text.replace(&format!("{{port:{name}}}"), &port.to_string()));
        let text = match options.oauth {
            Some((port, mechanism)) => with_tokens(&text, folder.path(), port, mechanism),
            None => text,
        };
        let text = if options.plain { text.replace(MECHANISMS, "auth_mechanisms = plain") } else { text };
        let text = if options.hierarchy { text.replace("  inbox = yes\n", "  inbox = yes\n  separator = /\n") } else { text };
        let file = folder.path().join("dovecot.conf");
        fs::write(&file, text).unwrap();
        let process = Command::new("dovecot")
            .args(["-F", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .expect("Dovecot does not start: tests/run installs what the tests need");
        wait_port(imaps);
        wait_port(pop3s);
        Self { pop3, pop3s, imap, imaps, lmtp, auth, authority, certificate, folder, process }
    }

    /// Puts messages into a user's INBOX, as the ISP's own delivery would: one file each.
    pub fn deliver<'a>(&self, user: &str, messages: impl IntoIterator<Item = &'a [u8]>) {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let (uid, gid) = mail_user();
        let maildir = self.folder.path().join("mail").join(user);
        for part in ["", "tmp", "new", "cur"] {
            let path = maildir.join(part);
            fs::create_dir_all(&path).unwrap();
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
        for message in messages {
            let name = format!("{}.M{}.isp", 1_700_000_000, SERIAL.fetch_add(1, Ordering::Relaxed));
            let path = maildir.join("tmp").join(&name);
            fs::write(&path, message).unwrap();
            chown(&path, Some(uid), Some(gid)).unwrap();
            fs::rename(path, maildir.join("new").join(name)).unwrap();
        }
    }

    /// All that a user has arrived so much earlier.
    pub fn date_back(&self, user: &str, age: Duration) {
        let maildir = self.folder.path().join("mail").join(user);
        for entry in ["new", "cur"].iter().flat_map(|part| fs::read_dir(maildir.join(part)).unwrap()) {
            let file = fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
    }

    /// The user's INBOX loses its index, as when it is restored: UIDVALIDITY is another one.
    pub fn renumber(&self, user: &str) {
        let maildir = self.folder.path().join("mail").join(user);
        for entry in fs::read_dir(&maildir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name == "dovecot-uidlist" || name.starts_with("dovecot.index") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// The socket of its LMTP server.
    pub fn lmtp_socket(&self) -> PathBuf {
        self.folder.path().join("run/lmtp")
    }

    /// How many messages a user's INBOX holds.
    pub fn count(&self, user: &str) -> usize {
        let maildir = self.folder.path().join("mail").join(user);
        ["new", "cur"].iter().map(|part| fs::read_dir(maildir.join(part)).map_or(0, |entries| entries.count())).sum()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // the master ends its children when it is asked to, not when it is killed
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        // and is not waited for without end: a child that was cut off in the middle may hold it up
        let asked = std::time::Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if asked.elapsed() > std::time::Duration::from_secs(20) {
                eprintln!("Dovecot did not end when it was asked to");
                let _ = self.process.kill();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// The same configuration with the token service in the place of the passwords.
fn with_tokens(text: &str, folder: &Path, port: u16, mechanism: &str) -> String {
    let about = folder.join("oauth2.conf");
    let service = format!(
        "introspection_mode = auth\nintrospection_url = http://127.0.0.1:{port}/userinfo\nusername_attribute = sub\n\
         active_attribute = active\nactive_value = true\n"
    );
    fs::write(&about, service).unwrap();
    let password = format!("driver = static\n  args = password={PASSWORD}");
    let tokens = format!("driver = oauth2\n  mechanisms = {mechanism}\n  args = {}", about.display());
    assert!(text.contains(&password));
    assert!(text.contains(MECHANISMS));
    text.replace(&password, &tokens).replace(MECHANISMS, &format!("auth_mechanisms = {mechanism}"))
}

fn mail_user() -> (u32, u32) {
    let text = fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().find(|line| line.starts_with("mail:")).expect("no user “mail” on this machine");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// Postfix: the ISP's submission server (log-in over TLS, senders must own their address) that hands all mail to Dovecot.
pub struct Postfix {
    /// STARTTLS.
    pub submission: u16,
    /// TLS from the first byte.
    pub submissions: u16,
    folder: tempfile::TempDir,
}

impl Postfix {
    /// `owners`: which log-in may send as which address.
    pub fn start(dovecot: &Dovecot, owners: &[(&str, &str)]) -> Self {
        Self::start_with(dovecot, owners, "")
    }

    /// With further lines of main.cf.
    pub fn start_with(dovecot: &Dovecot, owners: &[(&str, &str)], more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("mta").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["etc", "spool", "data"] {
            fs::create_dir(path(name)).unwrap();
        }
        let postfix = user_id("postfix");
        chown(path("data"), Some(postfix), None).unwrap();
        let [submission, submissions] = std::array::from_fn(|_| free_port());
        let table: String = owners.iter().map(|(login, address)| format!("{address} {login}\n")).collect();
        fs::write(path("etc/owners"), table).unwrap();
        let fill = |text: &str| {
            text.replace("{dir}", &folder.path().display().to_string())
                .replace("{cert}", &dovecot.certificate.0.display().to_string())
                .replace("{key}", &dovecot.certificate.1.display().to_string())
                .replace("{lmtp}", &dovecot.lmtp.to_string())
                .replace("{auth}", &dovecot.auth.to_string())
                .replace("{submission}", &submission.to_string())
                .replace("{submissions}", &submissions.to_string())
        };
        fs::write(path("etc/main.cf"), fill(include_str!("postfix-main.cf")) + more).unwrap();
        fs::write(path("etc/master.cf"), fill(include_str!("postfix-master.cf"))).unwrap();
        let started = Command::new("postfix").arg("-c").arg(path("etc")).arg("start").output().expect("Postfix is not installed");
        assert!(started.status.success(), "Postfix does not start: {}", String::from_utf8_lossy(&started.stderr));
        wait_port(submission);
        wait_port(submissions);
        Self { submission, submissions, folder }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("postfix").arg("-c").arg(self.folder.path().join("etc")).arg("abort").stderr(Stdio::null()).status();
    }
}

fn user_id(name: &str) -> u32 {
    let text = fs::read_to_string("/etc/passwd").unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_else(|| panic!("no user “{name}”"));
    line.split(':').nth(2).unwrap().parse().unwrap()
}

/// A control: what is put into Dovecot comes out of it by both protocols, and Postfix takes mail only from its owner.
#[test]
fn the_isp_itself_works() {
    use crate::support::reader::{Imap, Pop3};
    let dovecot = Dovecot::start();
    let mail = b"From: a@b.example\r\n\r\nHello\r\n.\r\nx\r\n";
    dovecot.deliver("alice", [mail.as_slice(), mail]);
    assert_eq!(Imap::login(dovecot.imap, "alice", PASSWORD).messages("INBOX"), [mail, mail]);
    let mut pop = Pop3::login(dovecot.pop3, "alice", PASSWORD);
    assert_eq!(pop.messages(), [mail, mail]);
    pop.ok("DELE 1");
    pop.quit();
    assert_eq!(dovecot.count("alice"), 1);

    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let send = |from: &str| {
        let url = format!("smtp://localhost:{}", postfix.submission);
        let login = format!("office:{PASSWORD}");
        let ca = dovecot.authority.file.display().to_string();
        let arguments =
            ["-sS", "--ssl-reqd", "--cacert", &ca, "-u", &login, "--mail-from", from, "--mail-rcpt", "carol@customer.example", "-T"];
        Command::new("curl").args(arguments).arg(&ca).arg(url).output().unwrap()
    };
    let sent = send("office@isp.example");
    assert!(sent.status.success(), "{}\n{}", String::from_utf8_lossy(&sent.stderr), postfix.log());
    assert!(!send("boss@isp.example").status.success(), "Postfix let one send as another");
    crate::support::office::until("the mail to arrive", || dovecot.count("carol@customer.example") == 1);
}
