//! What an admin does with mail that went to the wrong place or to none: the tray, handing over, tracing, comparing, moving.

use std::fs;

use serde_json::{Value, json};

use crate::support::office::{Gateway, Office, PASSWORD, errors, until};
use crate::support::pop3_upstream::{Faults, Pop3Upstream};
use crate::support::reader::{Imap, Pop3};

const MAPPING: &str = "# who gets what\n[addresses]\n\"info@example.com\" = \"alice\" # for now\n\n[lists] # newsletters\n";

/// An office with the users alice and bob, and a mailbox at the ISP with these messages.
struct Desk {
    office: Office,
    _upstream: Pop3Upstream,
    _runtime: tokio::runtime::Runtime,
}

impl Desk {
    fn new(messages: &[&str]) -> Desk {
        Desk::with(messages, "", MAPPING)
    }

    fn with(messages: &[&str], storage: &str, mapping: &str) -> Desk {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let uidls: Vec<String> = (1..=messages.len()).map(|at| format!("u{at}")).collect();
        let messages: Vec<(&str, &str)> = uidls.iter().map(String::as_str).zip(messages.iter().copied()).collect();
        let upstream = runtime.block_on(Pop3Upstream::start(&messages, Faults::default()));
        let config = format!(
            "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n\
             [storage]\npath = \"store\"\nmin_free = \"1MB\"\n{storage}\n\
             [[collector]]\nname = \"isp\"\nprotocol = \"pop3\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\ninsecure = true\n\
             username = \"office\"\npassword = {{ command = [\"echo\", \"secret\"] }}\nafter = \"keep\"\n",
            upstream.port
        );
        let office = Office::new(&config, mapping);
        office.add_users(&["alice", "bob"]);
        if !messages.is_empty() {
            assert_eq!(office.fetch()[0]["error"], Value::Null);
        }
        Desk { office, _upstream: upstream, _runtime: runtime }
    }

    fn tray(&self) -> Vec<Value> {
        self.office.json(&["tray", "list", "--json"]).as_array().unwrap().clone()
    }

    fn mapping(&self) -> String {
        fs::read_to_string(self.office.path("mappings/office.toml")).unwrap()
    }

    /// Fails without having changed the mapping; what it said.
    fn refused(&self, arguments: &[&str]) -> String {
        let before = self.mapping();
        let output = self.office.call(arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(self.mapping(), before);
        errors(&output)
    }

    fn events(&self, message: &str) -> Vec<String> {
        let lines = self.office.json(&["trace", message, "--json"]);
        lines.as_array().unwrap().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn has(gateway: &Gateway, user: &str) -> Vec<String> {
    let mut session = Pop3::login(gateway.port("pop3"), user, PASSWORD);
    let messages = session.messages().into_iter().map(|message| String::from_utf8_lossy(&message).into_owned()).collect();
    session.quit();
    messages
}

fn mail(id: &str, to: &str, more: &str) -> String {
    format!("From: Ann <ann@far.example>\r\nTo: {to}\r\nSubject: about {id}\r\nMessage-ID: <{id}@far.example>\r\n{more}\r\nHello {id}.\r\n")
}

#[test]
fn the_tray_lists_shows_gives_and_drops() {
    let mails = [mail("a", "new@example.com", ""), mail("b", "info@example.com", ""), mail("c", "odd@example.com", "")];
    let desk = Desk::new(&mails.each_ref().map(String::as_str));
    let tray = desk.tray();
    assert_eq!(tray.len(), 2);
    let first = &tray[0];
    assert_eq!((&first["id"], &first["from"], &first["subject"]), (&json!(1), &json!("Ann <ann@far.example>"), &json!("about a")));
    assert_eq!(first["addresses"], json!(["new@example.com"]));
    assert!(first["reason"].as_str().unwrap().contains("nobody claims new@example.com"), "{first}");
    assert!(first["received"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{first}");
    assert!(desk.office.must(&["tray", "show", "1"]).contains("Message-ID: <a@far.example>"));
    assert_eq!(desk.office.json(&["tray", "list", "--to", "odd@*", "--json"])[0]["id"], 2);
    assert!(desk.refused(&["tray", "give", "1", "bobb"]).contains("did you mean “bob”?"));
    assert!(desk.refused(&["tray", "drop"]).contains("name numbers"));
    assert!(desk.refused(&["tray", "give", "7", "bob"]).contains("there is no 7"));
    desk.office.must(&["tray", "give", "1", "bob"]);
    let dropped = desk.office.call(&["tray", "drop", "--from", "far.example"]);
    assert!(dropped.status.success());
    assert!(errors(&dropped).contains("the journal keeps the originals for 30 days"), "{}", errors(&dropped));
    assert_eq!(desk.tray(), Vec::<Value>::new());
    let gateway = desk.office.run();
    let bob = has(&gateway, "bob");
    assert_eq!(bob.len(), 1);
    let (prefix, original) = bob[0].split_at(bob[0].len() - mails[0].len());
    assert_eq!(original, mails[0]);
    for line in ["Return-Path: <>\r\n", "Delivered-To: bob@office.lan\r\n", "Received: "] {
        assert!(prefix.contains(line), "{prefix}");
    }
    assert!(desk.events("a@far.example").ends_with(&["held".to_owned(), "given".to_owned()]));
    assert!(desk.events("c@far.example").ends_with(&["held".to_owned(), "dropped".to_owned()]));
    // What was dropped can be brought back as long as the journal has it.
    desk.office.must(&["give", "c@far.example", "bob"]);
    assert_eq!(has(&gateway, "bob").len(), 2);
}

#[test]
fn without_a_journal_a_drop_says_that_it_is_final() {
    let desk = Desk::with(&[&mail("a", "new@example.com", "")], "journal = \"0\"", MAPPING);
    let dropped = desk.office.call(&["tray", "drop", "1"]);
    assert!(errors(&dropped).contains("this was final"), "{}", errors(&dropped));
}

#[test]
fn giving_while_the_gateway_runs_reaches_waiting_clients() {
    let desk = Desk::new(&[&mail("a", "new@example.com", ""), &mail("b", "info@example.com", "")]);
    let gateway = desk.office.run();
    let mut bob = Imap::login(gateway.port("imap"), "bob", PASSWORD);
    bob.run("SELECT INBOX");
    desk.office.must(&["tray", "give", "1", "bob"]);
    until("bob's client to be told", || bob.run("NOOP").iter().any(|line| String::from_utf8_lossy(line).contains("1 EXISTS")));
    desk.office.must(&["give", "<b@far.example>", "bob"]);
    assert!(desk.office.must(&["give", "<b@far.example>", "bob"]).contains("has it already"));
    until("the handed mail to be seen", || bob.run("NOOP").iter().any(|line| String::from_utf8_lossy(line).contains("2 EXISTS")));
    assert!(desk.events("b@far.example").ends_with(&["delivered".to_owned(), "given".to_owned()]));
    assert!(desk.refused(&["give", "nothing@far.example", "bob"]).contains("is stored here"));
}

#[test]
fn always_writes_the_narrowest_line_that_does_it() {
    let list = "List-Id: News <news.far.example>\r\n";
    let mails = [
        mail("l1", "somebody@else.example", list),
        mail("l2", "somebody@else.example", list),
        mail("a", "new@example.com", ""),
        mail("s", "undisclosed-recipients:;", ""),
    ];
    let desk = Desk::new(&mails.each_ref().map(String::as_str));
    assert_eq!(desk.tray().len(), 4);
    desk.office.must(&["tray", "give", "1", "2", "3", "bob", "--always"]);
    let expected = MAPPING.replace("for now\n", "for now\n\"new@example.com\" = \"bob\"\n") + "\"news.far.example\" = \"bob\"\n";
    assert_eq!(desk.mapping(), expected);
    desk.office.must(&["tray", "give", "4", "bob", "--always"]);
    assert!(desk.mapping().starts_with(&expected));
    assert!(desk.mapping().ends_with("when = { from = \"ann@far.example\" }\nto = \"bob\"\n"), "{}", desk.mapping());
    desk.office.must(&["check"]);
    let folder = fs::read_dir(desk.office.path("mappings")).unwrap().count();
    assert_eq!(folder, 1, "nothing is left behind");
}

#[test]
fn always_is_refused_where_it_breaks_something() {
    let mapping = format!(
        "{MAPPING}\n[[expect]]\nto = \"new@example.com\"\noutcome = \"held\"\n[[expect]]\nto = \"x@example.com\"\nfrom = \"ann@far.example\"\noutcome = \"held\"\n"
    );
    let desk = Desk::with(&[&mail("a", "new@example.com", ""), &mail("w", "*@example.com", "")], "", &mapping);
    let said = desk.refused(&["tray", "give", "1", "bob", "--always"]);
    assert!(said.contains("[addresses] \"new@example.com\" = \"bob\"") && said.contains("it should be held"), "{said}");
    // A sender may write to an address that would be a pattern: no line of ours comes of that.
    let said = desk.refused(&["tray", "give", "2", "bob", "--always"]);
    assert!(!said.contains("\"*@example.com\""), "{said}");
    assert_eq!(desk.tray().len(), 2);
    desk.office.must(&["tray", "give", "1", "bob"]);
}

#[test]
fn dropping_always_discards_from_then_on() {
    let desk = Desk::new(&[&mail("a", "new@example.com", "")]);
    desk.office.must(&["tray", "drop", "1", "--always"]);
    assert!(desk.mapping().contains("\"new@example.com\" = \"discard\"\n"), "{}", desk.mapping());
}

#[test]
fn a_reload_that_breaks_an_expectation_is_refused() {
    let desk = Desk::new(&[]);
    let gateway = desk.office.run();
    let says = |text: &str| until(&format!("the log to say “{text}”"), || gateway.log().contains(text));
    let expect = "\n[[expect]]\nto = \"info@example.com\"\ngets = [\"alice\"]\n";
    desk.office.write("mappings/office.toml", &format!("{MAPPING}{expect}"));
    says("took the changed configuration");
    let broken = format!("{}{expect}", MAPPING.replace("\"alice\"", "\"bob\""));
    desk.office.write("mappings/office.toml", &broken);
    says("what was in force stays in force");
    says("alice should get it, but bob would");
    let status = desk.office.json(&["status", "--json"]);
    assert_eq!(status["config"]["ok"], false);
}

/// Whom `explain` names for each of the mails.
fn explained(desk: &Desk, mails: &[String]) -> Vec<Value> {
    let names: Vec<String> = (0..mails.len()).map(|at| format!("{at}.eml")).collect();
    for (name, text) in names.iter().zip(mails) {
        desk.office.write(name, text);
    }
    let mut arguments = vec!["explain", "--collector", "isp", "--json"];
    arguments.extend(names.iter().map(String::as_str));
    let documents = desk.office.json(&arguments);
    documents.as_array().unwrap().iter().map(|document| document["recipients"].clone()).collect()
}

#[test]
fn a_changed_mapping_is_compared_over_the_journal() {
    let mails = [mail("a", "info@example.com", ""), mail("b", "info@example.com", ""), mail("c", "new@example.com", "")];
    let desk = Desk::new(&mails.each_ref().map(String::as_str));
    let new = "[addresses]\n\"info@example.com\" = { to = \"bob\", folder = \"Info\" }\n";
    desk.office.write("other.toml", new);
    let diff = desk.office.json(&["mapping", "diff", "other.toml", "--json"]);
    assert_eq!((&diff["mails"], &diff["elsewhere"]), (&json!(3), &json!(2)));
    let group = &diff["groups"][0];
    assert_eq!((&group["before"], &group["after"], &group["count"]), (&json!("alice"), &json!("bob (folder Info)"), &json!(2)));
    assert_eq!(group["examples"][0]["subject"], "about a");
    assert!(desk.office.must(&["mapping", "diff", "other.toml"]).contains("2 of 3 journaled mails would go elsewhere"));
    // `explain` says the same, before and after.
    let before = explained(&desk, &mails);
    desk.office.write("mappings/office.toml", new);
    let after = explained(&desk, &mails);
    assert_eq!(before.iter().zip(&after).filter(|(before, after)| before != after).count(), 2);
    assert_eq!(desk.office.json(&["mapping", "diff", "mappings/office.toml", "--json"])["elsewhere"], 0);
    desk.office.write("broken.toml", "[addresses]\n\"info@example.com\" = \"bbo\"\n");
    let broken = desk.office.call(&["mapping", "diff", "broken.toml"]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(errors(&broken).contains("did you mean \"bob\"?"), "{}", errors(&broken));
}

#[test]
fn remap_moves_what_is_in_the_wrong_place_and_takes_it_back() {
    let mails = [mail("a", "info@example.com", ""), mail("b", "info@example.com", ""), mail("c", "new@example.com", "")];
    let desk = Desk::new(&mails.each_ref().map(String::as_str));
    let gateway = desk.office.run();
    let mut alice = Imap::login(gateway.port("imap"), "alice", PASSWORD);
    alice.run("SELECT INBOX");
    alice.run("STORE 1 +FLAGS (\\Seen \\Flagged)");
    let new = "[addresses]\n\"info@example.com\" = \"bob\"\n\"new@example.com\" = \"bob\"\n";
    desk.office.write("mappings/office.toml", new);
    let said = desk.office.must(&["remap", "--since", "7d", "--dry-run"]);
    assert!(said.contains("2  alice → bob") && said.contains("1  the tray → bob") && said.contains("3 mails would move"), "{said}");
    assert_eq!(desk.tray().len(), 1);
    let said = desk.office.must(&["remap", "--since", "7d"]);
    assert!(said.contains("3 mails moved, 1 of them had been read"), "{said}");
    assert_eq!(desk.tray().len(), 0);
    let bob = has(&gateway, "bob");
    assert_eq!(bob.len(), 3);
    for (moved, original) in bob.iter().zip(&mails) {
        assert!(moved.ends_with(original.as_str()) && moved.starts_with("Return-Path: <>\r\nDelivered-To: "), "{moved}");
    }
    let left: Vec<String> = has(&gateway, "alice").iter().map(|mail| mail.replace("=\r\n", "")).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].contains("Subject: Moved: about a") && left[0].contains("it is with bob now"), "{}", left[0]);
    assert!(desk.office.must(&["remap", "--since", "7d", "--dry-run"]).contains("nothing is in the wrong place"));
    assert!(desk.events("a@far.example").ends_with(&["delivered".to_owned(), "remapped".to_owned()]));
    assert!(desk.office.must(&["remap", "--undo"]).contains("3 mails are back"));
    assert_eq!(has(&gateway, "bob").len(), 0);
    assert_eq!(desk.tray()[0]["id"], 1);
    let back = has(&gateway, "alice");
    assert_eq!(back.len(), 2);
    alice.run("NOOP");
    let flags = alice.run("FETCH 1:* (FLAGS)");
    assert_eq!(flags.iter().filter(|line| String::from_utf8_lossy(line).contains("\\Flagged")).count(), 1);
    assert!(desk.office.must(&["remap", "--undo"]).contains("no remap"));
    // It can be done again after that.
    assert!(desk.office.must(&["remap", "--since", "7d"]).contains("3 mails moved"));
    assert_eq!(has(&gateway, "bob").len(), 3);
}

#[test]
fn remap_moves_between_folders_and_shared_mailboxes_and_back() {
    let mails = [mail("a", "info@example.com", ""), mail("b", "odd@example.com", "")];
    let mapping = |info: &str, odd: &str| {
        format!(
            "[addresses]\n\"info@example.com\" = {info}\n\"odd@example.com\" = {odd}\n[shared]\nhelp = {{ members = [\"alice\", \"bob\"] }}\n"
        )
    };
    let desk = Desk::with(&mails.each_ref().map(String::as_str), "", &mapping("\"alice\"", "\"shared:help\""));
    let gateway = desk.office.run();
    let where_they_are = || {
        let mut alice = Imap::login(gateway.port("imap"), "alice", PASSWORD);
        let mut bob = Imap::login(gateway.port("imap"), "bob", PASSWORD);
        let of = |session: &mut Imap, folder: &str| match session.folders().iter().any(|known| known == folder) {
            true => session.messages(folder).len(),
            false => 0,
        };
        [of(&mut alice, "INBOX"), of(&mut alice, "Info"), of(&mut bob, "Shared/help"), of(&mut bob, "INBOX")]
    };
    assert_eq!(where_they_are(), [1, 0, 1, 0]);
    let remap = |mapping: &str| {
        desk.office.write("mappings/office.toml", mapping);
        desk.office.must(&["remap", "--since", "7d"])
    };
    let said = remap(&mapping("{ to = \"alice\", folder = \"Info\" }", "\"bob\""));
    assert!(said.contains("alice → alice (folder Info)") && said.contains("shared:help → bob"), "{said}");
    assert_eq!(where_they_are(), [0, 1, 0, 1]);
    remap(&mapping("\"shared:help\"", "\"shared:help\""));
    assert_eq!(where_they_are(), [0, 0, 2, 0]);
    assert!(desk.office.must(&["remap", "--undo"]).contains("2 mails are back"));
    assert_eq!(where_they_are(), [0, 1, 0, 1]);
}

#[test]
fn remap_leaves_what_was_dealt_with_by_hand() {
    let mails = [mail("a", "new@example.com", ""), mail("b", "odd@example.com", "")];
    let desk = Desk::new(&mails.each_ref().map(String::as_str));
    desk.office.must(&["tray", "give", "1", "alice"]);
    desk.office.must(&["tray", "drop", "2"]);
    desk.office.write("mappings/office.toml", "[addresses]\n\"*@example.com\" = \"bob\"\n");
    let said = desk.office.must(&["remap", "--since", "7d"]);
    assert!(said.contains("2 mails left where somebody gave or dropped it by hand"), "{said}");
    let gateway = desk.office.run();
    assert_eq!((has(&gateway, "alice").len(), has(&gateway, "bob").len()), (1, 0));
}

/// Mail keeps coming when a mailbox is full, and its owner hears of it: once when it fills, once when it is full.
#[test]
fn who_comes_near_his_quota_is_told_once() {
    let mails: Vec<String> = (0..3).map(|number| mail(&number.to_string(), "bob@example.com", "")).collect();
    let desk = Desk::new(&mails.iter().map(String::as_str).collect::<Vec<_>>());
    let store = mailroom::store::Store::open(&desk.office.path("store")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bob = runtime.block_on(store.account(&mailroom::mapping::Mailbox::User("bob".into()))).unwrap().unwrap();
    runtime.block_on(store.account_describe(bob.id, None, Some(bob.bytes))).unwrap();
    for _ in 0..2 {
        last_digest(&desk, "2020-02-02");
        let gateway = desk.office.run();
        // the digest comes behind the notices
        until("the day to be written down", || runtime.block_on(store.setting("digest")).unwrap().as_deref() != Some("2020-02-02"));
        let notices: Vec<String> = has(&gateway, "bob").into_iter().filter(|mail| mail.contains("Subject: Your mailbox is full")).collect();
        assert_eq!(notices.len(), 1);
        assert!(notices[0].contains("Nothing is lost") && notices[0].contains("Auto-Submitted: auto-generated"), "{}", notices[0]);
        assert_eq!(has(&gateway, "alice").len(), 0);
    }
}

/// The setting that says which day's digest was written; a gateway that never wrote one waits for the next morning.
fn last_digest(desk: &Desk, day: &str) {
    let store = mailroom::store::Store::open(&desk.office.path("store")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.setting_set("digest", Some(day))).unwrap();
}

#[test]
fn what_was_learnt_of_a_providers_headers_is_shown_and_explained() {
    let list_mail = |number: usize, last: &str| {
        format!(
            "Received: from lists.far.example (lists.far.example [198.51.100.1]) by mx.isp.example; x\r\nFrom: x@far.example\r\nTo: l@far.example\r\n\
             Message-ID: <{number}@far.example>\r\n{last}\r\nNo {number}\r\n"
        )
    };
    let appended = |number: usize| list_mail(number, &format!("X-RCPT-TO: <{}@example.com>\r\n", ["alice", "bob"][number % 2]));
    let mails: Vec<String> = (0..50).map(appended).collect();
    let desk = Desk::new(&mails.iter().map(String::as_str).collect::<Vec<_>>());
    let envelope = || desk.office.json(&["status", "--json"])["collectors"][0]["envelope"].clone();
    assert_eq!((&envelope()["found"], &envelope()["lost"]), (&json!("X-RCPT-TO"), &Value::Null));
    desk.office.write("new.eml", &appended(51));
    let explained = desk.office.json(&["explain", "--collector", "isp", "--json", "new.eml"]);
    assert_eq!((&explained["recipients"][0]["user"], &explained["steps"][0]["stage"]), (&json!("bob"), &json!("envelope")));
    desk._upstream.state.lock().unwrap().messages = (100..120).map(|n| (format!("u{n}"), list_mail(n, "").into_bytes())).collect();
    desk.office.fetch();
    assert_eq!((&envelope()["found"], &envelope()["lost"]), (&Value::Null, &json!("X-RCPT-TO")));
    assert!(desk.office.must(&["status"]).contains("most mail comes without the header X-RCPT-TO now"));
    let gateway = desk.office.run();
    let letters = has(&gateway, "alice");
    assert_eq!(letters.iter().filter(|letter| letter.contains("Subject: Mailroom: X-RCPT-TO is missing in the mail of isp")).count(), 1);
}

#[test]
fn the_postmaster_hears_daily_of_what_waits_and_once() {
    let desk = Desk::new(&[&mail("a", "new@example.com", "")]);
    let gateway = desk.office.run();
    assert_eq!(has(&gateway, "alice").len(), 0, "nothing on the first day");
    drop(gateway);
    last_digest(&desk, "2020-02-02");
    for _ in 0..2 {
        let gateway = desk.office.run();
        until("the digest", || !has(&gateway, "alice").is_empty());
        let mails = has(&gateway, "alice");
        assert_eq!(mails.len(), 1);
        for part in [
            "Subject: Mailroom: 1 mail waits in the tray",
            "Auto-Submitted: auto-generated",
            "nobody claims new@example.com",
            "Delivered-To: alice@office.lan",
        ] {
            assert!(mails[0].replace("=\r\n", "").contains(part), "{part}: {}", mails[0]);
        }
    }
    desk.office.must(&["tray", "drop", "1"]);
    last_digest(&desk, "2020-02-02");
    let gateway = desk.office.run();
    until("the day to be written down", || {
        let store = mailroom::store::Store::open(&desk.office.path("store")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(store.setting("digest")).unwrap().as_deref() != Some("2020-02-02")
    });
    assert_eq!(has(&gateway, "alice").len(), 1, "nothing to say, no mail");
}
