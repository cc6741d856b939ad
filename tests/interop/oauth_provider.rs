//! Log-in with OAuth 2 at a server that nobody here wrote: Authlib's, with device codes, PKCE and refresh tokens that change with each use
//! and end the grant when one is used again; Dovecot's own oauth2 passdb asks it whose token it was shown.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::isp::{Dovecot, Options, free_port, wait_port};
use crate::support::oauth_server;
use crate::support::office::{self, Office, until};
use crate::support::smarthost::{Fault, Smarthost};

const USER: &str = "office@isp.example";
const MAIL: &[u8] = b"From: carol@customer.example\r\nTo: office@isp.example\r\nSubject: x\r\n\r\nHello\r\n";
/// Seconds that tokens last where that does not matter.
const LONG: u32 = 3600;
/// Seconds that they last where they have to end during a test.
const SHORT: u32 = 2;

/// `provider.py`.
struct Provider {
    port: u16,
    process: Child,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Provider {
    fn start(lifetime: u32) -> Self {
        let port = free_port();
        // Debian's Python: that is where its packages are.
        let mut process = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/provider.py"))
            .args([&port.to_string(), USER, &lifetime.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("no Python: tests/run installs what the tests need");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, kept) = (BufReader::new(process.stdout.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().extend(serde_json::from_str::<Value>(&line).ok());
            }
        });
        let provider = Self { port, process, log };
        wait_port(port);
        provider
    }

    /// How many tokens were given for a grant type.
    fn gave(&self, grant_type: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line["grant_type"].as_str().is_some_and(|one| one.ends_with(grant_type))).count()
    }

    /// Whether a refresh token was ever used twice.
    fn was_robbed(&self) -> bool {
        self.log.lock().unwrap().iter().any(|line| line["reused"] == true)
    }

    fn page(&self, path: &str, more: &[&str]) -> String {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("http://127.0.0.1:{}{path}", self.port) };
        let page = Command::new("curl").args(["-sS", "--max-time", "20"]).args(more).arg(url).output().unwrap();
        assert!(page.status.success(), "{}", String::from_utf8_lossy(&page.stderr));
        String::from_utf8(page.stdout).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn dovecot(provider: &Provider, mechanism: &'static str) -> Dovecot {
    Dovecot::start_with(Options { oauth: Some((provider.port, mechanism)), ..Options::default() })
}

fn office(provider: &Provider, dovecot: &Dovecot, protocol: &str, more: &str) -> Office {
    let port = if protocol == "pop3" { dovecot.pop3s } else { dovecot.imaps };
    let config = format!(
        "[office]\ndomains = []\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprotocol = \"{protocol}\"\nhost = \"localhost\"\nport = {port}\n\
         ca = '{}'\nusername = \"{USER}\"\nidle = false\nafter = \"delete\"\ndeliver = \"alice\"\n{}",
        dovecot.authority.file.display(),
        oauth_server::config(provider.port, more),
    );
    let office = Office::new(&config, "");
    office.write("client.secret", "s3cret\n");
    office.add_users(&["alice"]);
    office
}

/// `oauth login`, with a person that goes to the page it names; what it said in the end.
fn log_in(office: &Office, provider: &Provider, name: &str, consent: &str) -> (bool, String) {
    let mut child =
        office.command(&["oauth", "login", name]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let page =
        lines.by_ref().flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>()).find(|word| word.contains("user_code="));
    provider.page(&format!("{}&consent={consent}", page.expect("no address with the code in it")), &[]);
    let mut said: String = lines.collect::<Vec<_>>().join("\n");
    let output = child.wait_with_output().unwrap();
    said += &office::errors(&output);
    (output.status.success(), said)
}

fn fetched_by_a_device_code(protocol: &str, mechanism: &'static str) {
    let provider = Provider::start(SHORT);
    let dovecot = dovecot(&provider, mechanism);
    let office = office(&provider, &dovecot, protocol, "");
    let (well, said) = log_in(&office, &provider, "isp", "yes");
    assert!(well && said.contains(&format!("logged in as {USER}; good for collector isp")), "{said}");
    // Tokens end one after the other while mail comes; each refresh token serves once.
    until("three renewals", || {
        dovecot.deliver(USER, [MAIL]);
        office.fetch();
        provider.gave("refresh_token") >= 3
    });
    until("the mail to be fetched", || office.fetch()[0]["error"].is_null() && dovecot.count(USER) == 0);
    assert_eq!((provider.gave("device_code"), provider.was_robbed()), (1, false));
}

#[test]
fn imap_by_a_device_code_with_oauthbearer() {
    fetched_by_a_device_code("imap", "oauthbearer");
}

#[test]
fn pop3_by_a_device_code_with_xoauth2() {
    fetched_by_a_device_code("pop3", "xoauth2");
}

#[test]
fn a_person_that_declines_is_understood() {
    let provider = Provider::start(LONG);
    let dovecot = dovecot(&provider, "xoauth2");
    let office = office(&provider, &dovecot, "imap", "");
    let (well, said) = log_in(&office, &provider, "isp", "no");
    assert!(!well && said.contains("declined"), "{said}");
    // So is a client that the provider does not know.
    office.write("client.secret", "other\n");
    let said = office::errors(&office.call(&["oauth", "login", "isp"]));
    assert!(said.contains("invalid_client"), "{said}");
}

#[test]
fn trap_43_several_who_renew_at_once_at_a_real_server_use_no_token_twice() {
    let provider = Provider::start(SHORT);
    let dovecot = dovecot(&provider, "oauthbearer");
    let office = office(&provider, &dovecot, "pop3", "");
    assert!(log_in(&office, &provider, "isp", "yes").0);
    for round in 1..=2 {
        until("the token to end", || {
            let ends = office.json(&["status", "--json"])["oauth"][0]["token_expires"].as_str().unwrap().to_owned();
            // It is told without its fraction of a second.
            ends.parse::<jiff::Timestamp>().unwrap() + std::time::Duration::from_secs(1) < jiff::Timestamp::now()
        });
        let running: Vec<_> =
            (0..4).map(|_| office.command(&["check", "--online"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()).collect();
        for mut child in running {
            child.wait().unwrap();
        }
        assert!(provider.gave("refresh_token") >= round && !provider.was_robbed(), "{:?}", provider.log.lock().unwrap());
    }
    until("the grant to be of use still", || office.fetch()[0]["error"].is_null());
}

#[test]
fn a_grant_that_the_provider_ends_asks_for_a_new_log_in() {
    let provider = Provider::start(SHORT);
    let dovecot = dovecot(&provider, "xoauth2");
    let office = office(&provider, &dovecot, "imap", "");
    assert!(log_in(&office, &provider, "isp", "yes").0);
    provider.page("/revoke-all", &["-X", "POST"]);
    until("the grant to be given up", || office.fetch()[0]["error"].to_string().contains("mailroom oauth login isp"));
    let status = office.json(&["status", "--json"]);
    assert!(status["oauth"][0]["error"].to_string().contains("invalid_grant"), "{status}");
    assert!(log_in(&office, &provider, "isp", "yes").0);
    until("the new log-in to do", || office.fetch()[0]["error"].is_null());
}

/// `curl` in the place of a browser; `paste`: one that can't reach this machine's loopback.
fn in_a_browser(paste: bool) {
    let provider = Provider::start(LONG);
    let dovecot = dovecot(&provider, "xoauth2");
    dovecot.deliver(USER, [MAIL]);
    let office = office(&provider, &dovecot, "imap", ", flow = \"browser\"");
    let mut child = office.command(&["oauth", "login", "isp"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find(|line| line.starts_with("http://")).unwrap();
    if paste {
        let answer = provider.page(&url, &["-o", "/dev/null", "-w", "%{redirect_url}"]);
        writeln!(child.stdin.as_mut().unwrap(), "{answer}").unwrap();
    } else {
        assert!(provider.page(&url, &["-L"]).contains("You can close this page"));
    }
    assert!(lines.any(|line| line.contains("logged in as")));
    assert!(child.wait().unwrap().success());
    assert!(office.fetch()[0]["error"].is_null());
    assert_eq!((dovecot.count(USER), provider.gave("authorization_code"), provider.gave("refresh_token")), (0, 1, 0));
    let ends = office.json(&["status", "--json"])["oauth"][0]["token_expires"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let left = ends.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((i64::from(LONG) - 120..=i64::from(LONG)).contains(&left), "{left} seconds left");
}

#[test]
fn in_a_browser_on_this_machine_with_pkce() {
    in_a_browser(false);
}

#[test]
fn in_a_browser_elsewhere_with_pkce() {
    in_a_browser(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_grant_serves_fetching_and_sending() {
    let smarthost = Smarthost::start([Fault::With("AUTH LOGIN XOAUTH2")]).await;
    tokio::task::block_in_place(|| {
        let provider = Provider::start(LONG);
        let dovecot = dovecot(&provider, "xoauth2");
        let office = office(&provider, &dovecot, "imap", "");
        let config = std::fs::read_to_string(office.path("mailroom.toml")).unwrap();
        let relay = format!(
            "[[smarthost]]\nname = \"out\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\nusername = \"{USER}\"\n{}",
            smarthost.address.port(),
            oauth_server::config(provider.port, "")
        );
        office.configure(&format!("{config}\n{relay}"), "[senders]\nalice = { address = \"office@isp.example\" }\n");
        let (well, said) = log_in(&office, &provider, "out", "yes");
        assert!(well && said.contains("good for collector isp, smarthost out"), "{said}");
        assert!(office.fetch()[0]["error"].is_null());
        let gateway = office.run();
        let text = "From: alice@office.lan\nTo: carol@customer.example\nSubject: x\n\nHello\n";
        super::relay::send(gateway.port("submission"), "alice", "alice@office.lan", &["carol@customer.example"], text).unwrap();
        until("the mail to be relayed", || !smarthost.received().is_empty());
        let command = smarthost.commands().into_iter().find(|command| command.starts_with("AUTH XOAUTH2 ")).unwrap();
        let shown = super::oauth::shown(&command);
        let token = shown.strip_prefix(&format!("user={USER}|auth=")).and_then(|rest| rest.strip_suffix("||")).unwrap();
        let whose = provider.page("/userinfo", &["-H", &format!("Authorization: {token}")]);
        assert!(whose.contains(USER), "{whose}");
        assert_eq!((provider.gave("device_code"), provider.gave("refresh_token")), (1, 0));
    });
}
