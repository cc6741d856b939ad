//! Outgoing mail that waits for a manager's word: asked by mail, answered by mail or at the command line, and by nobody else.

use super::relay::send;
use crate::support::office::{self, Office, errors, until};
use crate::support::reader::Imap;

const MAPPING: &str = r#"
[senders]
"*" = { address = "office@example.com" }

[[rule]]
name = "offers are checked"
when = { direction = "out", subject = "*offer*" }
approve = "anna"
"#;

fn field(mail: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(mail).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn an_offer_waits_for_the_managers_word() {
    let config =
        "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n[[smarthost]]\nname = \"isp\"\nhost = \"localhost\"\nport = 1\n";
    let office = Office::new(config, MAPPING);
    office.add_users(&["alice", "anna", "bob"]);
    let gateway = office.run();
    let port = gateway.port("submission");
    let inbox = |user: &str| Imap::login(gateway.port("imap"), user, office::PASSWORD).messages("INBOX");
    let queue = || office.json(&["queue", "list", "--json"]).as_array().unwrap().clone();
    let offer = |number: usize| {
        let text = format!(
            "From: bob@office.lan\nTo: kay@customer.example\nSubject: Our offer {number}\nMessage-ID: <offer{number}@office.lan>\nDate: x\n\n100 EUR\n"
        );
        send(port, "bob", "bob@office.lan", &["kay@customer.example", "alice@office.lan"], &text).unwrap();
    };
    offer(1);
    let waiting = queue();
    assert_eq!((waiting.len(), &waiting[0]["approval"], &waiting[0]["recipients"][0]["state"]), (1, &"anna".into(), &"held".into()));
    assert_eq!(inbox("alice").len(), 1, "a colleague's copy does not wait");
    let question = inbox("anna").remove(0);
    assert!(String::from_utf8_lossy(&question).contains("100 EUR") && field(&question, "Subject") == "Please approve: Our offer 1");
    let (id, desk) = (field(&question, "Message-ID"), "approval@office.lan");
    let answer = |user: &str, id: &str, words: &str| {
        let text = format!(
            "From: {user}@office.lan\nTo: {desk}\nSubject: Re: x\nIn-Reply-To: {id}\nMessage-ID: <{}@x>\nDate: x\n\n{words}\n> yes\n",
            words.len()
        );
        send(port, user, &format!("{user}@office.lan"), &[desk], &text)
    };
    // Not by somebody else, not by a guess, not by something that is neither.
    assert!(answer("bob", &id, "yes").unwrap_err().contains("no mail that waits for your approval"));
    assert!(answer("anna", "<approve.00000000000000000000000000000000@x>", "yes").is_err());
    assert!(answer("anna", &id, "Who is Kay?").unwrap_err().contains("yes or no"));
    assert_eq!(queue()[0]["recipients"][0]["state"], "held");
    answer("anna", &id, "Yes, fine.").unwrap();
    until("it to be tried", || queue()[0]["recipients"][0]["state"] != "held");
    assert!(queue()[0]["approval"].is_null());
    assert!(answer("anna", &id, "yes").is_err(), "it was decided already");

    offer(2);
    let id = field(&inbox("anna")[1], "Message-ID");
    answer("anna", &id, "No: too cheap").unwrap();
    assert_eq!(queue().len(), 1);
    let told = String::from_utf8(inbox("bob").remove(0)).unwrap();
    assert!(told.contains("anna did not approve it") && told.contains("too cheap") && told.contains("Not sent: Our offer 2"), "{told}");

    offer(3);
    offer(4);
    let ids: Vec<String> = queue().iter().map(|mail| mail["id"].to_string()).collect();
    assert!(errors(&office.call(&["queue", "approve", &ids[0]])).contains("does not wait for approval"));
    office.must(&["queue", "approve", &ids[1]]);
    office.must(&["queue", "reject", &ids[2], "--reason", "not now"]);
    assert_eq!((queue().len(), inbox("bob").len()), (2, 2));
    // The manager's own need nobody's word, and neither does other mail.
    let text = "From: anna@office.lan\nTo: kay@customer.example\nSubject: offer\nMessage-ID: <own@office.lan>\nDate: x\n\nx\n";
    send(port, "anna", "anna@office.lan", &["kay@customer.example"], text).unwrap();
    assert!(queue().iter().all(|mail| mail["approval"].is_null()));
    assert!(office.must(&["trace", "offer1@office.lan"]).contains("approved by anna"));
}
