//! Port 25 of the real program: scanners that can't log in, and other servers that bring mail for our own addresses.

use crate::support::office::{Gateway, Office, PASSWORD, until};
use crate::support::reader::Pop3;
use crate::support::smarthost::{Fault, Smarthost};
use crate::support::smtp_client::SmtpClient;

const COPIER: &str = "127.0.0.40";
const ALARM: &str = "127.0.0.41";
const PROVIDER: &str = "127.0.0.25";
const NOBODY: &str = "127.0.0.99";

const MAPPING: &str = "[addresses]\n\"sales@example.com\" = [\"alice\", \"bob\"]\n\"sarah@example.com\" = \"remote\"\n\
                       \"staff@example.com\" = \"group:staff\"\n\"mixed@example.com\" = \"group:mixed\"\n\"*@example.com\" = \"hold\"\n\
                       [groups]\nstaff = { members = [\"alice\", \"bob\"], senders = \"local\" }\n\
                       mixed = { members = [\"alice\", \"sarah@example.com\"] }\n\
                       [[rule]]\nname = \"flagged\"\nwhen = { header = { \"X-Spam-Flag\" = \"YES\" } }\nfolder = \"Junk\"\n\
                       [[rule]]\nwhen = { direction = \"out\", to = \"*@press.example\" }\napprove = \"alice\"\n";

/// An office with a copier, an alarm system, a provider that brings mail, and a smarthost.
struct Site {
    office: Office,
    smarthost: Smarthost,
    _runtime: tokio::runtime::Runtime,
}

impl Site {
    fn new(faults: Vec<Fault>) -> Site {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let smarthost = runtime.block_on(Smarthost::start(faults));
        let config = format!(
            "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\nhostname = \"mail.office.lan\"\n\
             [listen]\nsmtp = [\"127.0.0.1:0\"]\npop3 = [\"127.0.0.1:0\"]\npop3s = []\nimaps = []\nsubmission = []\nsubmissions = []\n\
             [access]\nclients = [\"127.0.0.1\"]\ninbound = [\"{PROVIDER}\"]\n\
             [[device]]\nname = \"copier\"\naddress = [\"{COPIER}\"]\nsend_as = \"office@isp.example\"\nbounces = \"bob\"\n\
             [[device]]\nname = \"alarm\"\naddress = [\"{ALARM}/32\"]\nuser = \"bob\"\nto = \"local\"\n\
             [[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\nsenders = [\"office@isp.example\"]\n",
            smarthost.address.port()
        );
        let office = Office::new(&config, MAPPING);
        office.add_users(&["alice", "bob"]);
        Site { office, smarthost, _runtime: runtime }
    }

    /// A client at that address of this machine.
    fn connect(&self, gateway: &Gateway, from: &str) -> SmtpClient {
        SmtpClient::silent(from, gateway.port("smtp"))
    }
}

fn mails(gateway: &Gateway, user: &str) -> Vec<String> {
    let mut session = Pop3::login(gateway.port("pop3"), user, PASSWORD);
    let messages = session.messages().into_iter().map(|message| String::from_utf8_lossy(&message).into_owned()).collect();
    session.quit();
    messages
}

#[test]
fn a_copier_that_can_only_helo_sends_to_people_here_and_outside() {
    let site = Site::new(vec![]);
    let gateway = site.office.run();
    let mut copier = site.connect(&gateway, COPIER);
    assert!(copier.reply().starts_with("220"));
    assert!(copier.say("HELO copier\n").starts_with("250"));
    let scan = "From: \"Copier, 2nd floor\" <copier@local>\nTo: customer@far.example\nSubject: Scan\nBcc: x@y.example\n\npage 1";
    assert!(copier.mail(" scan@copier.local", "customer@far.example", scan).starts_with("250"), "outside");
    assert!(copier.mail("<scan@copier.local>", "alice@example.com", "Subject: To alice\n\npage 2").starts_with("250"), "here");
    // A group for people here counts the copier as one of them.
    assert!(copier.mail("<>", "staff@example.com", "Subject: To all\n\npage 3").starts_with("250"), "group");
    assert!(copier.say("QUIT\r\n").starts_with("221"));
    until("the scan at the smarthost", || !site.smarthost.received().is_empty());
    let sent = &site.smarthost.received()[0];
    assert_eq!((sent.sender.as_str(), sent.recipients.as_slice()), ("office@isp.example", &["customer@far.example".to_owned()][..]));
    let text = String::from_utf8_lossy(&sent.message);
    assert!(text.contains("From: \"Copier, 2nd floor\" <office@isp.example>\r\n") && text.ends_with("\r\n\r\npage 1\r\n"), "{text}");
    assert!(text.contains("\r\nMessage-ID: <") && text.contains("\r\nDate: ") && !text.contains("Bcc"), "{text}");
    let alice = mails(&gateway, "alice");
    assert_eq!(alice.len(), 2);
    // Nobody stood in From: the address that the copier sends as does now, so that an answer finds a person.
    assert!(alice[0].contains("From: <office@isp.example>\r\n"), "{}", alice[0]);
    assert!(gateway.log().contains("bare CR or LF"), "{}", gateway.log());
}

#[test]
fn what_a_copier_sends_outside_is_under_the_rules_too() {
    let site = Site::new(vec![]);
    let gateway = site.office.run();
    let mut copier = site.connect(&gateway, COPIER);
    copier.reply();
    copier.say("HELO copier\r\n");
    assert!(copier.mail("<scan@copier>", "hi@press.example", "Subject: Scan\r\n\r\npage").starts_with("250"));
    let alice = mails(&gateway, "alice");
    assert!(alice.len() == 1 && alice[0].contains("copier wants to send the mail below to hi@press.example"), "{alice:?}");
    let queue = site.office.json(&["queue", "list", "--json"]);
    assert_eq!((&queue[0]["approval"], &queue[0]["recipients"][0]["state"]), (&"alice".into(), &"held".into()), "{queue}");
}

#[test]
fn what_a_copier_can_not_deliver_comes_back_to_a_person() {
    let site = Site::new(vec![Fault::Matching("gone@far.example", "550 5.1.1 no such user")]);
    let gateway = site.office.run();
    let mut copier = site.connect(&gateway, COPIER);
    copier.reply();
    copier.say("HELO copier\r\n");
    assert!(copier.mail("<scan@copier>", "gone@far.example", "Subject: Scan\r\n\r\npage").starts_with("250"));
    until("the bounce", || !mails(&gateway, "bob").is_empty());
    let bounce = &mails(&gateway, "bob")[0];
    assert!(bounce.contains("no such user") && bounce.contains("gone@far.example"), "{bounce}");
    assert!(mails(&gateway, "alice").is_empty());
}

#[test]
fn a_machine_that_may_write_to_people_here_only_is_held_to_it() {
    let site = Site::new(vec![]);
    let gateway = site.office.run();
    let mut alarm = site.connect(&gateway, ALARM);
    alarm.reply();
    alarm.say("EHLO alarm\r\n");
    let refused = alarm.mail("<alarm>", "customer@far.example", "");
    assert!(refused.starts_with("550 5.7.1 The device alarm may send to people here only"), "{refused}");
    let mixed = alarm.mail("<alarm>", "mixed@example.com", "");
    assert!(mixed.starts_with("550 5.7.1 The device alarm may send to people here only"), "{mixed}");
    let unknown = alarm.mail("<alarm>", "alcie@office.lan", "");
    assert!(unknown.contains("do you mean alice@office.lan?"), "{unknown}");
    assert!(alarm.mail("<alarm>", "alice@office.lan", "Subject: Door\r\n\r\nopen").starts_with("250"));
    assert!(mails(&gateway, "alice")[0].contains("From: <bob@office.lan>\r\n"));
}

#[test]
fn a_provider_brings_mail_for_our_addresses() {
    let site = Site::new(vec![]);
    let gateway = site.office.run();
    let mut provider = site.connect(&gateway, PROVIDER);
    provider.reply();
    let offered = provider.say("EHLO mx.isp.example\r\n");
    assert!(!offered.contains("AUTH") && offered.contains("STARTTLS"), "{offered}");
    let message = "From: ann@far.example\r\nBcc: kept@far.example\r\nMessage-ID: <1@far.example>\r\n\r\nHello";
    assert!(provider.mail("<ann@far.example>", "sales@example.com", message).starts_with("250"));
    // The same once more, by the provider's second server.
    assert!(provider.mail("<ann@far.example>", "bob@example.com", message).starts_with("250"));
    let flagged = "From: spam@far.example\r\nX-Spam-Flag: YES\r\nMessage-ID: <2@far.example>\r\n\r\nBuy";
    assert!(provider.mail("<spam@far.example>", "alice@example.com", flagged).starts_with("250"));
    assert!(provider.mail("<ann@far.example>", "nobody@example.com", "Subject: x\r\n\r\ny").starts_with("250"), "the tray");
    let (alice, bob) = (mails(&gateway, "alice"), mails(&gateway, "bob"));
    assert_eq!((alice.len(), bob.len()), (1, 1));
    assert!(alice[0].starts_with("Return-Path: <ann@far.example>\r\nDelivered-To: sales@example.com\r\nReceived: from mx.isp.example"));
    // Somebody else's message: every byte as it came, and nothing added inside.
    assert!(alice[0].ends_with(&format!("\r\n{message}\r\n")), "{}", alice[0]);
    let tray = site.office.json(&["tray", "list", "--json"]);
    assert_eq!(tray.as_array().unwrap().len(), 1);
    assert_eq!(tray[0]["addresses"][0], "nobody@example.com");
    assert!(site.smarthost.received().is_empty());
    let events = site.office.json(&["trace", "1@far.example", "--json"]);
    assert!(events.as_array().unwrap().iter().any(|event| event["event"] == "duplicate"), "{events}");
}

#[test]
fn what_a_provider_brings_is_journaled_and_can_be_mapped_anew() {
    let site = Site::new(vec![]);
    let gateway = site.office.run();
    let mut provider = site.connect(&gateway, PROVIDER);
    provider.reply();
    provider.say("EHLO mx.isp.example\r\n");
    // Nothing in the message says whom it is for.
    let message = "From: ann@far.example\r\nMessage-ID: <blind@far.example>\r\n\r\nHello";
    assert!(provider.mail("<ann@far.example>", "tips@example.com", message).starts_with("250"));
    assert!(provider.mail("<ann@far.example>", "alice@example.com", "Message-ID: <stays@far.example>\r\n\r\nx").starts_with("250"));
    let office = &site.office;
    assert_eq!(office.json(&["tray", "list", "--json"]).as_array().unwrap().len(), 1);
    let trace = office.must(&["trace", "blind@far.example"]);
    assert!(trace.contains("by smtp from mx.isp.example [127.0.0.25]") && trace.contains("tips@example.com"), "{trace}");
    office.write("mappings/office.toml", &MAPPING.replace("[addresses]\n", "[addresses]\n\"tips@example.com\" = \"bob\"\n"));
    let said = office.must(&["remap", "--since", "1d", "--dry-run"]);
    assert!(said.contains("bob"), "{said}");
    office.must(&["remap", "--since", "1d"]);
    let bob = mails(&gateway, "bob");
    assert!(bob.len() == 1 && bob[0].contains("<blind@far.example>"), "{bob:?}");
    assert_eq!((mails(&gateway, "alice").len(), office.json(&["tray", "list", "--json"]).as_array().unwrap().len()), (1, 0));
}

#[test]
fn who_is_neither_client_nor_device_nor_provider_is_not_heard() {
    let site = Site::new(vec![]);
    let gateway = site.office.run();
    assert_eq!(site.connect(&gateway, NOBODY).reply(), "");
    // A client of the LAN is heard, but has to log in.
    let mut client = site.connect(&gateway, "127.0.0.1");
    assert!(client.reply().starts_with("220"));
    assert!(client.say("EHLO pc7\r\n").contains("AUTH"));
    assert!(client.say("MAIL FROM:<alice@example.com>\r\n").starts_with("530"));
}
