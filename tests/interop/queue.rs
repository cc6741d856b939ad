//! The queue as its admin sees and steers it, while its smarthost is away.

use super::isp::{self, Dovecot, Postfix};
use super::relay::send;
use crate::support::office::{self, Office, errors, until};
use crate::support::reader::Imap;

const MAPPING: &str = "[senders]\n\"*\" = { address = \"office@isp.example\" }\n";

#[test]
fn mail_is_held_shown_rerouted_released_and_deleted() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office", "office@isp.example")]);
    let away = "[office]\ndomains = []\npostmaster = \"alice\"\n[[smarthost]]\nname = \"away\"\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n\
                insecure = true\nsenders = [\"office@isp.example\"]\nretry = [\"1h\"]\n";
    let office = Office::new(away, MAPPING);
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice", "bob"]);
    let gateway = office.run();
    for (n, subject) in ["First Offer", "Second Offer", "Third: \u{c4}nderung"].iter().enumerate() {
        let text =
            format!("From: bob@office.lan\nTo: carol@customer.example\nSubject: {subject}\nMessage-ID: <q{n}@office.lan>\nDate: x\n\nx\n");
        send(gateway.port("submission"), "bob", "bob@office.lan", &["carol@customer.example"], &text).unwrap();
    }
    let queue = || office.json(&["queue", "list", "--json"]).as_array().unwrap().clone();
    let state = |at: usize| queue()[at]["recipients"][0]["state"].as_str().unwrap().to_owned();
    until("all to be tried", || (0..3).all(|at| state(at) == "delayed"));
    let [first, second, third] = [0, 1, 2].map(|at| queue()[at]["id"].to_string());
    let listed = office.must(&["queue", "list"]);
    assert!(listed.contains("First Offer") && listed.contains("Third: \u{c4}nderung"), "as it was written: {listed}");

    assert!(office.must(&["queue", "hold", "all"]).starts_with("3 mails"));
    assert!((0..3).all(|at| state(at) == "held"));
    assert_eq!(office.json(&["status", "--json"])["queue"]["held"], 3);
    // What is held is not tried, whatever is asked.
    office.must(&["queue", "retry", "all"]);
    assert_eq!(state(0), "held");
    let shown = office.must(&["queue", "show", &second]);
    assert!(shown.contains("Second Offer") && shown.contains("to carol@customer.example  held"), "{shown}");
    assert_eq!(office.json(&["queue", "show", &second, "--json"])["subject"], "Second Offer");

    // The admin adds another smarthost and sends one mail through it.
    let more = format!(
        "{away}[[smarthost]]\nname = \"spare\"\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nca = '{}'\nusername = \"office\"\n\
         password = {{ file = \"isp.pass\" }}\nsenders = [\"*@isp.example\"]\n",
        postfix.submission,
        dovecot.authority.file.display()
    );
    office.configure(&more, MAPPING);
    office.must(&["queue", "reroute", &first, "spare"]);
    assert!(office.must(&["queue", "show", &first]).contains("through spare"));
    until("the reload", || gateway.log().contains("took the changed configuration"));
    office.must(&["queue", "release", &first]);
    until("Carol to have it", || dovecot.count("carol@customer.example") == 1);
    until("it to leave the queue", || queue().len() == 2);

    office.must(&["queue", "delete", &second]);
    assert_eq!(queue().len(), 1);
    assert!(office.must(&["trace", "q1@office.lan"]).contains("the admin deleted it from the queue"));
    office.must(&["queue", "release", &third]);
    until("the last one to leave, by the spare one", || queue().is_empty());
    until("Carol to have that, too", || dovecot.count("carol@customer.example") == 2);
    assert!(Imap::login(gateway.port("imap"), "bob", office::PASSWORD).messages("INBOX").is_empty(), "nobody gets a bounce");

    for (wrong, why) in [
        (&["queue", "show", "99"][..], "there is no mail 99 in the queue"),
        (&["queue", "release", "99"], "there is no mail 99 in the queue"),
        (&["queue", "delete", "99"], "there is no mail 99 in the queue"),
        (&["queue", "hold", "some"], "a number of `queue list`, or all"),
        (&["queue", "reroute", "99", "nowhere"], "there is no smarthost \u{201c}nowhere\u{201d}; there are: away, spare"),
    ] {
        let output = office.call(wrong);
        assert!(!output.status.success() && errors(&output).contains(why), "{wrong:?}: {}", errors(&output));
    }
}
