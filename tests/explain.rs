//! `explain --out` says of an outgoing mail what becomes of it when somebody hands it in.

use crate::support::office::{Office, PASSWORD};
use crate::support::reader::Pop3;
use crate::support::smtp_client::SmtpClient;

const MAPPING: &str = r#"
[addresses]
"sarah@example.com" = "remote"
"lab@example.com" = "lmtp:127.0.0.1:9"
"jobs@example.com" = "forward:hr@agency.example"
"team@example.com" = "group:team"
"board@example.com" = "group:board"
"mixed@example.com" = "group:mixed"

[groups]
team = { members = ["alice", "bob"] }
board = { members = ["alice"], senders = ["alice@example.com"] }
mixed = { members = ["alice", "sarah@example.com"] }

[senders]
alice = { address = "alice@example.com", name = "Alice Smith" }
bob = { address = "bob@example.com" }
carol = { address = "carol@example.com", external = false }

[[rule]]
when = { direction = "out", to = "*@press.example" }
approve = "alice"
[[rule]]
when = { direction = "out", to = "*@customer.example" }
add = ["alice"]
[[rule]]
when = { direction = "out", to = "*@agency.example" }
to = "alice"
"#;

#[test]
fn what_it_says_is_what_happens() {
    let config = "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\nunknown_local = \"refuse\"\n\
                  [[smarthost]]\nname = \"own\"\nhost = \"127.0.0.1\"\nport = 9\nsenders = [\"bob@example.com\"]\n\
                  [[smarthost]]\nname = \"all\"\nhost = \"127.0.0.1\"\nport = 9\nsenders = [\"*@example.com\"]\n";
    let office = Office::new(config, MAPPING);
    office.add_users(&["alice", "bob", "carol", "dora"]);
    let gateway = office.run();
    let check = |user: &str, to: &str, outcome: &str, words: &str| {
        let asked = ["explain", "--out", "--from", user, "--to", to];
        let said = office.must(&asked);
        assert!(said.contains(words), "{user} to {to}: “{words}” is not in\n{said}");
        let document = office.json(&[&asked[..], &["--json"]].concat());
        // A group's refusal stands in the text alone.
        let refused = said.contains("refused: ");
        assert!(refused || document["outcome"] == outcome, "{user} to {to}: {document}");
        assert_eq!(refused, outcome == "refused", "{user} to {to}: {said}");
        let mut client = SmtpClient::connect("127.0.0.1", gateway.port("submission"));
        client.say("EHLO pc7\r\n");
        client.log_in(user);
        client.say(&format!("MAIL FROM:<{user}@office.lan>\r\n"));
        let reply = client.say(&format!("RCPT TO:<{to}>\r\n"));
        assert_eq!(reply.starts_with("25"), !refused, "{user} to {to}: {reply}\n{said}");
    };
    check("bob", "alice@office.lan", "delivered", "stays here, delivered\n  to alice");
    check("bob", "alice@example.com", "delivered", "to alice");
    check("bob", "team@example.com", "delivered", "to bob");
    check("bob", "lab@example.com", "forwarded", "to lab@example.com at 127.0.0.1:9");
    check("bob", "jobs@example.com", "forwarded", "sent on to hr@agency.example");
    check("bob", "sarah@example.com", "relayed", "leaves as bob@example.com through own, then all");
    check("alice", "kay@customer.example", "relayed", "leaves as alice@example.com through all");
    check("bob", "kay@customer.example", "relayed", "alice gets a copy");
    // One of the group is elsewhere.
    check("bob", "mixed@example.com", "relayed", "leaves as bob@example.com");
    check("carol", "mixed@example.com", "refused", "may write to people here only");
    check("bob", "hi@press.example", "relayed", "waits until alice approves it");
    check("bob", "hr@agency.example", "delivered", "goes elsewhere: delivered\n  to alice");
    check("bob", "board@example.com", "refused", "may not write to the group");
    check("bob", "alcie@example.com", "refused", "do you mean alice@example.com?");
    check("bob", "nobody@office.lan", "refused", "nobody of that name here");
    check("carol", "kay@customer.example", "refused", "may write to people here only");
    check("dora", "kay@customer.example", "relayed", "leaves as dora@example.com through all");
}

/// As `init` writes it for people who each have a mailbox at the provider: the office has no domain of its own.
#[test]
fn people_with_mailboxes_at_the_provider_reach_each_other_here() {
    let collector = |user: &str| {
        format!(
            "[[collector]]\nname = \"{user}\"\nprotocol = \"pop3\"\nhost = \"127.0.0.1\"\nport = 9\nusername = \"{user}@isp.example\"\n\
             password = \"x\"\ndeliver = \"{user}\"\ntls = \"none\"\ninsecure = true\n"
        )
    };
    let config = format!(
        "[office]\ndomains = []\npostmaster = \"alice\"\nunknown_local = \"refuse\"\n{}{}\
         [[smarthost]]\nname = \"isp\"\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\ninsecure = true\nlogin = \"collector\"\n\
         senders = [\"*@isp.example\"]\n",
        collector("alice"),
        collector("bob")
    );
    let office = Office::new(&config, "[senders]\ncarol = { address = \"carol@isp.example\" }\n");
    office.add_users(&["alice", "bob", "carol"]);
    office.must(&["vacation", "bob", "on"]);
    let said = |from: &str, to: &str| office.must(&["explain", "--out", "--from", from, "--to", to]);
    assert!(said("alice", "bob@isp.example").contains("stays here, delivered\n  to bob"), "{}", said("alice", "bob@isp.example"));
    assert!(said("alice", "bob+news@isp.example").contains("to bob"));
    assert!(said("alice", "x@customer.example").contains("leaves as alice@isp.example through isp"));
    // Nobody's mailbox has this address: the smarthost would get no log-in.
    assert!(said("carol", "x@customer.example").contains("no smarthost accepts carol@isp.example"));
    let gateway = office.run();
    let mut client = SmtpClient::connect("127.0.0.1", gateway.port("submission"));
    client.say("EHLO pc7\r\n");
    client.log_in("alice@isp.example");
    let text = "From: alice@isp.example\r\nTo: bob@isp.example\r\nSubject: lunch\r\nMessage-ID: <1@x>\r\n\r\nAt one?\r\n";
    let reply = client.mail("<alice@isp.example>", "bob@isp.example", text);
    assert!(reply.starts_with("250 2.0.0 Taken: 1 here, 0 outside"), "{reply}");
    assert!(office.must(&["queue", "list"]).contains("the queue is empty"));
    let mut bob = Pop3::login(gateway.port("pop3"), "bob@isp.example", PASSWORD);
    assert_eq!(bob.messages().len(), 1);
    let mut alice = Pop3::login(gateway.port("pop3"), "alice", PASSWORD);
    let told = alice.messages();
    assert!(told.len() == 1 && String::from_utf8_lossy(&told[0]).contains("Auto-Submitted: auto-replied"), "{told:?}");
    let mut client = SmtpClient::connect("127.0.0.1", gateway.port("submission"));
    client.say("EHLO pc7\r\n");
    client.log_in("carol");
    client.say("MAIL FROM:<carol@isp.example>\r\n");
    let refused = client.say("RCPT TO:<x@customer.example>\r\n");
    assert!(refused.starts_with("550") && refused.contains("no smarthost accepts carol@isp.example"), "{refused}");
}
