//! Log-in with OAuth 2: a token service on loopback, Dovecot that asks it whose token it was shown, and the program between them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::isp::{Dovecot, Options};
use crate::support::oauth_server::{OAuthServer, USER_CODE};
use crate::support::office::{self, Office, until};
use crate::support::smarthost::{Fault, Smarthost};

const USER: &str = "office@isp.example";
const MAIL: &[u8] = b"From: carol@customer.example\r\nTo: office@isp.example\r\nSubject: x\r\n\r\nHello\r\n";

fn dovecot(server: &OAuthServer, mechanism: &'static str) -> Dovecot {
    Dovecot::start_with(Options { oauth: Some((server.port, mechanism)), ..Options::default() })
}

/// An office with one collector that logs in with tokens.
fn office(server: &OAuthServer, dovecot: &Dovecot, protocol: &str, more: &str) -> Office {
    let port = if protocol == "pop3" { dovecot.pop3s } else { dovecot.imaps };
    let office = Office::new(
        &format!(
            "[office]\ndomains = []\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprotocol = \"{protocol}\"\nhost = \"localhost\"\nport = {port}\n\
             ca = '{}'\nusername = \"{USER}\"\nidle = false\nafter = \"delete\"\ndeliver = \"alice\"\n{}",
            dovecot.authority.file.display(),
            server.config(more),
        ),
        "",
    );
    office.write("client.secret", "s3cret\n");
    office.add_users(&["alice"]);
    office
}

fn log_in(office: &Office) {
    let said = office.must(&["oauth", "login", "isp"]);
    assert!(said.contains(USER_CODE) && said.contains(&format!("logged in as {USER}; good for collector isp")), "{said}");
}

/// Whether a text stands anywhere in the files of a folder.
fn found_in(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| match entry.path() {
        path if path.is_dir() => found_in(&path, text),
        path => memchr::memmem::find(&std::fs::read(path).unwrap(), text.as_bytes()).is_some(),
    })
}

fn fetched_with_a_token(protocol: &str, mechanism: &'static str) {
    let server = OAuthServer::start(USER);
    let dovecot = dovecot(&server, mechanism);
    dovecot.deliver(USER, [MAIL]);
    let office = office(&server, &dovecot, protocol, "");
    let before = office.fetch()[0]["error"].to_string();
    assert!(before.contains("mailroom oauth login isp"), "{before}");
    server.polls(&["authorization_pending", "slow_down"]);
    log_in(&office);
    let figures = &office.fetch()[0];
    assert_eq!((figures["error"].is_null(), figures["fetched"].as_u64()), (true, Some(1)), "{figures}");
    assert_eq!(dovecot.count(USER), 0);
    // The token of the log-in was good for the fetch.
    assert_eq!((server.asked("device_code"), server.asked("refresh_token")), (3, 0));
    let kept = server.refresh_token().unwrap();
    assert!(!found_in(&office.path("store"), &kept) && !found_in(&office.path("store"), &server.access_token()));
    let status = office.json(&["status", "--json"]);
    assert_eq!((status["oauth"][0]["login"].as_str(), status["oauth"][0]["error"].is_null()), (Some(USER), true), "{status}");
    assert!(status["oauth"][0]["token_expires"].is_string(), "{status}");
}

#[test]
fn imap_with_xoauth2() {
    fetched_with_a_token("imap", "xoauth2");
}

#[test]
fn imap_with_oauthbearer() {
    fetched_with_a_token("imap", "oauthbearer");
}

#[test]
fn pop3_with_xoauth2() {
    fetched_with_a_token("pop3", "xoauth2");
}

#[test]
fn pop3_with_oauthbearer() {
    fetched_with_a_token("pop3", "oauthbearer");
}

#[test]
fn trap_43_several_who_renew_at_once_take_turns() {
    let server = OAuthServer::start(USER);
    let dovecot = dovecot(&server, "xoauth2");
    let office = office(&server, &dovecot, "imap", "");
    // Every token has ended when it comes, so everybody has to renew it; two with one refresh token would end the grant.
    server.lifetime(0);
    log_in(&office);
    let running: Vec<_> =
        (0..4).map(|_| office.command(&["check", "--online"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(server.asked("refresh_token"), 4);
    // And one that lasts is renewed once for all.
    server.lifetime(3600);
    for _ in 0..2 {
        assert!(office.fetch()[0]["error"].is_null());
    }
    assert_eq!(server.asked("refresh_token"), 5);
}

#[test]
fn trap_43_a_grant_that_is_refused_suspends_until_somebody_logs_in() {
    let server = OAuthServer::start(USER);
    let dovecot = dovecot(&server, "xoauth2");
    let office = office(&server, &dovecot, "imap", "");
    server.lifetime(0);
    log_in(&office);
    server.revoke();
    let gateway = office.run();
    let collector = || office.json(&["status", "--json"])["collectors"][0].clone();
    until("the collector to be suspended", || collector()["state"] == "suspended");
    let error = collector()["last_error"].to_string();
    assert!(error.contains("mailroom oauth login isp") && error.contains("invalid_grant, says the test"), "{error}");
    // Nobody asks the provider again.
    let asked = server.asked("refresh_token");
    let figures = &office.fetch()[0];
    assert!(figures["error"].as_str().unwrap().contains("no longer accepts"), "{figures}");
    assert_eq!(server.asked("refresh_token"), asked);
    dovecot.deliver(USER, [MAIL]);
    log_in(&office);
    until("the collector to go on by itself", || collector()["state"] == "idle" && dovecot.count(USER) == 0);
    drop(gateway);
}

#[test]
fn a_token_that_the_mail_server_refuses_is_replaced() {
    let server = OAuthServer::start(USER);
    let dovecot = dovecot(&server, "oauthbearer");
    let office = office(&server, &dovecot, "pop3", "");
    log_in(&office);
    assert!(office.fetch()[0]["error"].is_null());
    server.forget_access();
    assert!(!office.fetch()[0]["error"].is_null());
    let figures = &office.fetch()[0];
    assert!(figures["error"].is_null(), "{figures}");
}

#[test]
fn a_log_in_that_is_declined_says_so() {
    let server = OAuthServer::start(USER);
    let dovecot = dovecot(&server, "xoauth2");
    let office = office(&server, &dovecot, "imap", "");
    for (answer, said) in [("access_denied", "declined"), ("expired_token", "in time"), ("invalid_client", "invalid_client")] {
        server.polls(&[answer]);
        let output = office.call(&["oauth", "login", "isp"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(office::errors(&output).contains(said), "{}", office::errors(&output));
    }
    let output = office.call(&["oauth", "login", "nobody"]);
    assert!(office::errors(&output).contains("no collector and no smarthost nobody"), "{}", office::errors(&output));
}

/// Logs in by `curl` in the place of a browser; `paste`: one that can't reach this machine's loopback.
fn in_a_browser(paste: bool) {
    let server = OAuthServer::start(USER);
    let dovecot = dovecot(&server, "xoauth2");
    let office = office(&server, &dovecot, "imap", ", flow = \"browser\"");
    let mut child = office.command(&["oauth", "login", "isp"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find(|line| line.starts_with("http://")).unwrap();
    let arguments = if paste { vec!["-sS", "-o", "/dev/null", "-w", "%{redirect_url}", &url] } else { vec!["-sSL", &url] };
    let page = Command::new("curl").args(arguments).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    if paste {
        writeln!(child.stdin.as_mut().unwrap(), "what?\n{page}").unwrap();
    } else {
        assert!(page.contains("You can close this page"), "{page}");
    }
    assert!(lines.any(|line| line.contains("logged in as")));
    assert!(child.wait().unwrap().success());
    assert!(office.fetch()[0]["error"].is_null());
}

#[test]
fn in_a_browser_on_this_machine() {
    in_a_browser(false);
}

#[test]
fn in_a_browser_elsewhere() {
    in_a_browser(true);
}

/// RFC 7628's and Google's message, decoded.
pub fn shown(command: &str) -> String {
    let message = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, command.rsplit(' ').next().unwrap()).unwrap();
    String::from_utf8(message).unwrap().replace('\x01', "|")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_in_serves_fetching_and_sending() {
    let server = OAuthServer::start(USER);
    let smarthost = Smarthost::start([Fault::With("AUTH LOGIN XOAUTH2")]).await;
    tokio::task::block_in_place(|| {
        let dovecot = dovecot(&server, "xoauth2");
        let office = office(&server, &dovecot, "imap", "");
        let config = std::fs::read_to_string(office.path("mailroom.toml")).unwrap();
        let relay = format!(
            "[[smarthost]]\nname = \"out\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\nusername = \"{USER}\"\n{}",
            smarthost.address.port(),
            server.config(", login_as = \"shared@isp.example\"")
        );
        office.configure(&format!("{config}\n{relay}"), "[senders]\nalice = { address = \"office@isp.example\" }\n");
        let said = office.must(&["oauth", "login", "out"]);
        assert!(said.contains("good for collector isp, smarthost out"), "{said}");
        assert!(office.fetch()[0]["error"].is_null());
        let gateway = office.run();
        let text = "From: alice@office.lan\nTo: carol@customer.example\nSubject: x\n\nHello\n";
        super::relay::send(gateway.port("submission"), "alice", "alice@office.lan", &["carol@customer.example"], text).unwrap();
        until("the mail to be relayed", || !smarthost.received().is_empty());
    });
    let command = smarthost.commands().into_iter().find(|command| command.starts_with("AUTH XOAUTH2 ")).unwrap();
    assert_eq!(shown(&command), format!("user=shared@isp.example|auth=Bearer {}||", server.access_token()));
    assert_eq!((server.asked("device_code"), server.asked("refresh_token")), (1, 0));
}
