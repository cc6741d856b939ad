//! `explain --out` says of an outgoing mail what becomes of it when somebody hands it in.

use crate::support::office::Office;
use crate::support::smtp_client::SmtpClient;

const MAPPING: &str = r#"
[addresses]
"sarah@example.com" = "remote"
"lab@example.com" = "lmtp:127.0.0.1:9"
"jobs@example.com" = "forward:hr@agency.example"
"team@example.com" = "group:team"
"board@example.com" = "group:board"

[groups]
team = { members = ["alice", "bob"] }
board = { members = ["alice"], senders = ["alice@example.com"] }

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
    check("bob", "hi@press.example", "relayed", "waits until alice approves it");
    check("bob", "hr@agency.example", "delivered", "goes elsewhere: delivered\n  to alice");
    check("bob", "board@example.com", "refused", "may not write to the group");
    check("bob", "alcie@example.com", "refused", "do you mean alice@example.com?");
    check("bob", "nobody@office.lan", "refused", "nobody of that name here");
    check("carol", "kay@customer.example", "refused", "may write to people here only");
    check("dora", "kay@customer.example", "relayed", "leaves as dora@example.com through all");
}
