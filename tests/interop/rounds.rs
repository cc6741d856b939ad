//! `check --send`: a real mail goes out and comes back, and what happened is said in words.

use super::collector;
use super::isp::{self, Dovecot, Postfix};
use crate::support::office::{self, Office, errors};
use crate::support::reader::Imap;

/// An office whose mailbox has that address.
fn office(dovecot: &Dovecot, postfix: &Postfix, address: &str) -> Office {
    let config = format!(
        "[office]\ndomains = []\npostmaster = \"alice\"\n{}\n[[smarthost]]\nname = \"isp\"\nhost = \"localhost\"\nport = {}\ntls = \"starttls\"\nca = '{}'\n\
         username = \"office@isp.example\"\npassword = {{ file = \"isp.pass\" }}\nsenders = [\"{address}\"]\n",
        collector(dovecot, "isp", "imap", "office@isp.example", &format!("address = \"{address}\"\ndeliver = \"alice\"")),
        postfix.submission,
        dovecot.authority.file.display()
    );
    let office = Office::new(&config, "");
    office.write("isp.pass", isp::PASSWORD);
    office.add_users(&["alice"]);
    office
}

#[test]
fn a_mail_goes_round_with_the_gateway_and_without() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office@isp.example", "office@isp.example")]);
    let office = office(&dovecot, &postfix, "office@isp.example");
    let said = office.must(&["check", "--send"]);
    assert!(said.contains("smarthost isp: took a mail from office@isp.example to office@isp.example in "), "{said}");
    assert!(
        said.contains("250 2.0.0") && said.contains(" s: in the mailbox of collector isp, where it stays until it is fetched"),
        "{said}"
    );
    assert_eq!(dovecot.count("office@isp.example"), 1, "looking takes nothing away");

    let gateway = office.run();
    let said = office.must(&["check", "--send"]);
    assert!(said.contains("back after ") && said.contains("delivered: to alice"), "{said}");
    let inbox = Imap::login(gateway.port("imap"), "alice", office::PASSWORD).messages("INBOX");
    let inbox: Vec<String> = inbox.iter().map(|mail| String::from_utf8_lossy(mail).into_owned()).collect();
    assert!(inbox.len() == 2 && inbox.iter().all(|mail| mail.contains("Subject: Mailroom test mail\r\n")), "{inbox:?}");
}

#[test]
fn what_does_not_come_back_or_is_not_taken_is_said() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot, &[("office@isp.example", "other@isp.example")]);
    // What is for that address lies in another mailbox than the one that is fetched.
    let astray = office(&dovecot, &postfix, "other@isp.example");
    let output = astray.call(&["check", "--send", "--wait", "3s"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAILED: not back at other@isp.example after 3 seconds"), "{said}");
    assert!(errors(&output).contains("1 of these did not work"), "{}", errors(&output));
    // Nobody owns this one at the smarthost.
    let refused = office(&dovecot, &postfix, "office@isp.example");
    let output = refused.call(&["check", "--send"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAILED: it does not take a mail from office@isp.example") && said.contains("553 5.7.1"), "{said}");
    assert!(errors(&astray.call(&["check", "--wait", "3s"])).contains("--send"));
}
