//! Our SMTP client against servers that misbehave on purpose.

use std::time::Duration;

use mailroom::address::Address;
use mailroom::config::{Endpoint, Tls};
use mailroom::smtp::client::{self, Client, ClientError, Credentials, Envelope, Patience, Stage, Verdict};
use mailroom::smtp::reply::Class;
use mailroom::wire::sasl::Secret;
use mailroom::wire::{Stream, dial};
use secrecy::SecretString;

use crate::support::smarthost::{Fault, Smarthost};

fn endpoint(server: &Smarthost, tls: Tls) -> Endpoint {
    Endpoint { host: "127.0.0.1".into(), port: server.address.port(), tls, ca: None, pin: None }
}

async fn connect(server: &Smarthost) -> Result<Client<Stream>, ClientError> {
    client::connect(&endpoint(server, Tls::None), "mail.office.lan", None, Patience::default()).await
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        sender: Address::parse("office@isp.example").ok(),
        recipients: recipients.iter().map(|text| Address::parse(text).unwrap()).collect(),
        size: 100,
        ..Envelope::default()
    }
}

/// Sends one mail after the other as the relay does, and gives the verdicts on each.
async fn send(client: &mut Client<Stream>, mails: &[(Envelope, &[u8])]) -> Vec<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    let sent = async {
        for (envelope, text) in mails {
            let speculate = client.may_speculate(envelope);
            client.begin(envelope);
            if speculate || client.ready().await? {
                client.body(text).await?;
                client.end().await?;
            }
            while let Some(one) = client.verdict_at_hand() {
                verdicts.push(one);
            }
        }
        while client.under_way() > 0 {
            verdicts.push(client.verdict().await?);
        }
        Ok::<(), ClientError>(())
    };
    if sent.await.is_err() {
        verdicts.extend(client.abandon());
    }
    verdicts
}

fn class(verdict: &Verdict) -> Option<(Stage, Class)> {
    match verdict {
        Verdict::Answer(stage, reply) => Some((*stage, reply.class())),
        Verdict::Unanswered { .. } => None,
    }
}

const TAKEN: Option<(Stage, Class)> = Some((Stage::Message, Class::Done));
const TEXT: &[u8] = b"Subject: x\r\n\r\n.dot\nbare\rtext";
const CANONICAL: &[u8] = b"Subject: x\r\n\r\n.dot\r\nbare\r\ntext\r\n";

#[tokio::test]
async fn mails_go_one_round_trip_each_and_arrive_canonical() {
    for extensions in [vec![], vec![Fault::Without("PIPELINING")], vec![Fault::With("CHUNKING")]] {
        let server = Smarthost::start(extensions).await;
        let mut client = connect(&server).await.unwrap();
        let mails: Vec<_> = (0..40).map(|n| (envelope(&[&format!("to{n}@example.com"), "b@example.com"]), TEXT)).collect();
        let verdicts = send(&mut client, &mails).await;
        assert_eq!(verdicts.len(), 40);
        assert!(verdicts.iter().flatten().all(|verdict| class(verdict) == TAKEN));
        let received = server.received();
        assert_eq!(received.len(), 40);
        for (n, mail) in received.iter().enumerate() {
            assert_eq!(mail.recipients, [format!("to{n}@example.com"), "b@example.com".into()]);
            assert_eq!(String::from_utf8_lossy(&mail.message), String::from_utf8_lossy(CANONICAL));
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn one_refused_recipient_of_five_stops_nobody() {
    for extension in [None, Some(Fault::Without("PIPELINING")), Some(Fault::With("CHUNKING"))] {
        let server = Smarthost::start([Fault::Answer("RCPT", 1, "550 5.1.1 unknown")].into_iter().chain(extension)).await;
        let mut client = connect(&server).await.unwrap();
        let five = envelope(&["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"]);
        let verdicts = send(&mut client, &[(five, TEXT), (envelope(&["f@x.example"]), TEXT)]).await;
        assert_eq!(class(&verdicts[0][1]), Some((Stage::Recipient, Class::Permanent)));
        assert!([0, 2, 3, 4].iter().all(|&at| class(&verdicts[0][at]) == TAKEN));
        assert_eq!(class(&verdicts[1][0]), TAKEN);
        assert_eq!(server.received()[0].recipients, ["a@x.example", "c@x.example", "d@x.example", "e@x.example"]);
    }
}

#[tokio::test]
async fn a_mail_that_nobody_may_have_leaves_the_connection_usable() {
    for extension in [None, Some(Fault::Without("PIPELINING")), Some(Fault::With("CHUNKING"))] {
        let server = Smarthost::start([Fault::Matching("nobody@", "550 5.1.1 unknown")].into_iter().chain(extension)).await;
        let mut client = connect(&server).await.unwrap();
        let mails = [(envelope(&["nobody@x.example"]), TEXT), (envelope(&["a@x.example"]), TEXT), (envelope(&["nobody@x.example"]), TEXT)];
        let verdicts = send(&mut client, &mails).await;
        assert_eq!(class(&verdicts[0][0]), Some((Stage::Recipient, Class::Permanent)));
        assert_eq!(class(&verdicts[1][0]), TAKEN);
        assert_eq!(class(&verdicts[2][0]), Some((Stage::Recipient, Class::Permanent)));
        assert_eq!(server.received().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_sender_is_said_of_every_recipient() {
    let server = Smarthost::start([Fault::Answer("MAIL", 0, "553 5.7.1 not yours")]).await;
    let mut client = connect(&server).await.unwrap();
    let verdicts = send(&mut client, &[(envelope(&["a@x.example", "b@x.example"]), TEXT), (envelope(&["c@x.example"]), TEXT)]).await;
    assert!(verdicts[0].iter().all(|verdict| class(verdict) == Some((Stage::Sender, Class::Permanent))));
    assert_eq!(class(&verdicts[1][0]), TAKEN);
}

#[tokio::test]
async fn a_421_in_the_middle_ends_the_connection_and_leaves_the_rest_open() {
    let server = Smarthost::start([Fault::Answer("RCPT", 1, "421 4.3.2 closing")]).await;
    let mut client = connect(&server).await.unwrap();
    let verdicts = send(&mut client, &[(envelope(&["a@x.example", "b@x.example"]), TEXT)]).await;
    assert_eq!(verdicts[0][0], Verdict::Unanswered { sent: false });
    assert_eq!(class(&verdicts[0][1]), Some((Stage::Recipient, Class::Temporary)));
    assert!(client.is_closing());
}

#[tokio::test]
async fn a_temporary_failure_at_the_final_dot_is_no_loss() {
    let server = Smarthost::start([Fault::Answer(".", 0, "451 4.3.0 try later")]).await;
    let mut client = connect(&server).await.unwrap();
    let verdicts = send(&mut client, &[(envelope(&["a@x.example"]), TEXT), (envelope(&["b@x.example"]), TEXT)]).await;
    assert_eq!(class(&verdicts[0][0]), Some((Stage::Message, Class::Temporary)));
    assert_eq!(class(&verdicts[1][0]), TAKEN);
}

#[tokio::test]
async fn a_lost_answer_to_the_final_dot_is_known_as_such() {
    let server = Smarthost::start([Fault::HangUp(".", 0)]).await;
    let mut client = connect(&server).await.unwrap();
    let verdicts = send(&mut client, &[(envelope(&["a@x.example"]), TEXT)]).await;
    assert_eq!(verdicts, [[Verdict::Unanswered { sent: true }]]);
}

#[tokio::test]
async fn endless_answers_are_cut() {
    for fault in [Fault::EndlessLine("EHLO"), Fault::EndlessReply("EHLO"), Fault::EndlessLine("greeting")] {
        let server = Smarthost::start([fault]).await;
        assert!(connect(&server).await.is_err());
    }
}

#[tokio::test]
async fn starttls_that_is_not_offered_is_an_error_and_no_password_goes_out() {
    let server = Smarthost::start([Fault::With("AUTH PLAIN")]).await;
    let credentials = Credentials { user: "office".into(), secret: Secret::Password(SecretString::from("geheim")) };
    let result = client::connect(&endpoint(&server, Tls::Starttls), "mail.office.lan", Some(&credentials), Patience::default()).await;
    assert!(matches!(result, Err(ClientError::NoStarttls)));
    assert!(!server.commands().iter().any(|command| command.starts_with("AUTH")));
}

#[tokio::test]
async fn an_answer_injected_ahead_of_tls_is_an_error() {
    let server = Smarthost::start([Fault::With("STARTTLS"), Fault::Injection]).await;
    let result = client::connect(&endpoint(&server, Tls::Starttls), "mail.office.lan", None, Patience::default()).await;
    assert!(result.unwrap_err().to_string().contains("ahead of the TLS handshake"));
}

#[tokio::test]
async fn a_refused_log_in_is_told_from_a_busy_server() {
    let credentials = Credentials { user: "office".into(), secret: Secret::Password(SecretString::from("geheim")) };
    for (answer, is_login) in [("535 5.7.8 wrong", true), ("454 4.7.0 busy", false)] {
        let server = Smarthost::start([Fault::With("AUTH PLAIN LOGIN"), Fault::Always("AUTH", answer)]).await;
        let error =
            client::connect(&endpoint(&server, Tls::None), "mail.office.lan", Some(&credentials), Patience::default()).await.unwrap_err();
        assert_eq!((error.is_login(), error.is_unreachable()), (is_login, false), "{error}");
    }
}

/// A second for everything; whoever waits longer than the test does has no deadline at all.
fn impatient() -> Patience {
    let second = Duration::from_secs(1);
    let dial = dial::Patience { greeting: second, tls: second, ..dial::Patience::default() };
    Patience { dial, command: second, data: second, piece: second, end: second }
}

#[tokio::test]
async fn every_phase_has_its_deadline() {
    let credentials = Credentials { user: "office".into(), secret: Secret::Password(SecretString::from("geheim")) };
    let offers = [Fault::With("AUTH PLAIN"), Fault::With("STARTTLS")];
    let check = async |verb: &'static str, tls: Tls, expected: &str| {
        let server = Smarthost::start(offers.iter().cloned().chain([Fault::Stall(verb, 0)])).await;
        let all = async {
            let mut client = client::connect(&endpoint(&server, tls), "mail.office.lan", Some(&credentials), impatient()).await?;
            client.begin(&envelope(&["a@x.example"]));
            if client.ready().await? {
                client.body(TEXT).await?;
                client.end().await?;
            }
            client.verdict().await
        };
        let error =
            tokio::time::timeout(Duration::from_secs(15), all).await.unwrap_or_else(|_| panic!("{verb} waits for ever")).unwrap_err();
        assert!(error.to_string().contains(expected), "{verb}: {error}");
    };
    check("greeting", Tls::None, "greeting").await;
    check("EHLO", Tls::None, "waiting for an answer").await;
    check("STARTTLS", Tls::Starttls, "TLS").await;
    check("AUTH", Tls::None, "logging in").await;
    check("MAIL", Tls::None, "waiting for an answer").await;
    check("RCPT", Tls::None, "waiting for an answer").await;
    check("DATA", Tls::None, "waiting for an answer").await;
    check(".", Tls::None, "transferring a message").await;
}

#[tokio::test]
async fn a_refused_token_is_explained_before_it_is_refused() {
    let credentials = |token: &str| Credentials { user: "office@isp.example".into(), secret: Secret::Token(SecretString::from(token)) };
    for (mechanism, acknowledgement) in [("AUTH XOAUTH2", ""), ("AUTH PLAIN XOAUTH2 OAUTHBEARER", "AQ==")] {
        let refusal = [
            Fault::With(mechanism),
            Fault::Always("AUTH", "334 eyJzdGF0dXMiOiI0MDAifQ=="),
            Fault::Answer("", 0, "535 5.7.3 no"),
            Fault::Always("AQ==", "535 5.7.3 no"),
        ];
        let server = Smarthost::start(refusal).await;
        let error = client::connect(&endpoint(&server, Tls::None), "mail.office.lan", Some(&credentials("t0ken")), Patience::default())
            .await
            .unwrap_err();
        assert!(error.is_login() && error.to_string().contains("535 5.7.3 no"), "{error}");
        assert_eq!(server.commands().last().map(String::as_str), Some(acknowledgement));
    }
    // RFC 4954 §4: what makes the line too long waits for an empty challenge.
    let server = Smarthost::start([Fault::With("AUTH XOAUTH2"), Fault::Always("AUTH", "334 "), Fault::Matching("=", "235 2.7.0 ok")]).await;
    client::connect(&endpoint(&server, Tls::None), "mail.office.lan", Some(&credentials(&"x".repeat(2000))), Patience::default())
        .await
        .unwrap();
    assert!(server.commands().contains(&"AUTH XOAUTH2".to_owned()));
    // No mechanism for tokens: nothing is sent that could be read.
    let server = Smarthost::start([Fault::With("AUTH PLAIN LOGIN")]).await;
    let error = client::connect(&endpoint(&server, Tls::None), "mail.office.lan", Some(&credentials("t0ken")), Patience::default())
        .await
        .unwrap_err();
    assert!(error.is_login() && error.to_string().contains("takes no OAuth tokens"), "{error}");
    assert!(!server.commands().iter().any(|command| command.starts_with("AUTH")));
}

/// Whatever a server answers, every recipient gets exactly one verdict, and is told to be relayed only if the server has the mail.
#[tokio::test]
async fn every_sequence_of_answers_gives_each_recipient_one_verdict() {
    let answers = ["", "250 ok", "354 go on", "421 closing", "450 later", "451 later", "550 no", "503 out of order", "552 too much"];
    let mut seed = 1u64;
    let mut pick = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        answers[(seed >> 33) as usize % answers.len()]
    };
    for round in 0..300 {
        let mut faults = vec![[Fault::Without("PIPELINING"), Fault::With("CHUNKING"), Fault::With("X-NONE")][round % 3].clone()];
        for (verb, count) in [("MAIL", 3), ("RCPT", 6), ("DATA", 3), (".", 3), ("BDAT", 3)] {
            for n in 0..count {
                let answer = pick();
                // A 250 to DATA or a 354 to anything else would be a broken protocol, which ends in time-outs: not here.
                let sound = !answer.is_empty() && (verb != "DATA" || answer != "250 ok") && (verb == "DATA" || answer != "354 go on");
                // 250 to a recipient without a sender would be a server that lies about what it has.
                if sound && answer != "250 ok" {
                    faults.push(Fault::Answer(verb, n, answer));
                }
            }
        }
        let server = Smarthost::start(faults.clone()).await;
        let mut client = connect(&server).await.unwrap();
        let mails: Vec<_> = (0..3).map(|n| (envelope(&[&format!("a{n}@x.example"), &format!("b{n}@x.example")]), TEXT)).collect();
        let verdicts = send(&mut client, &mails).await;
        let received = server.received();
        for (n, of_mail) in verdicts.iter().enumerate() {
            assert_eq!(of_mail.len(), 2, "{faults:?}");
            for (name, verdict) in ["a", "b"].iter().zip(of_mail) {
                let address = format!("{name}{n}@x.example");
                let copies = received.iter().filter(|mail| mail.answered && mail.recipients.contains(&address)).count();
                assert_eq!(usize::from(class(verdict) == TAKEN), copies, "{address}: {verdict:?} with {faults:?}");
            }
        }
    }
}
