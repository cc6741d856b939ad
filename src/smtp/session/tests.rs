use super::*;

fn terms() -> Terms {
    Terms {
        hostname: "mail.office.lan".into(),
        max_size: 50_000_000,
        starttls: true,
        plaintext_login: false,
        login: true,
        anonymous: false,
        reports: true,
    }
}

fn say(session: &mut Session, line: &str) -> Step {
    match session.step(Command::parse(line.as_bytes())) {
        Step::Sender(mail) => Step::Reply(session.sender(mail)),
        Step::Recipient(rcpt) => Step::Reply(session.recipient(rcpt)),
        step => step,
    }
}

fn code(step: &Step) -> u16 {
    match step {
        Step::Reply(reply) | Step::Close(reply) | Step::Starttls(reply) | Step::Data(reply) | Step::Discard(_, reply) => reply.code,
        _ => 0,
    }
}

/// Lines, each with the code that answers it.
fn check(session: &mut Session, dialogue: &[(&str, u16)]) {
    for (line, expected) in dialogue {
        let step = say(session, line);
        assert_eq!(code(&step), *expected, "{line}: {step:?}");
    }
}

#[test]
fn one_mail_after_the_other() {
    let mut session = Session::new(terms(), true, vec!["PLAIN", "LOGIN"]);
    check(&mut session, &[("MAIL FROM:<a@b.example>", 503), ("EHLO pc", 250), ("MAIL FROM:<a@b.example>", 530)]);
    session.authenticated("alice".into());
    check(
        &mut session,
        &[
            ("RCPT TO:<x@y.example>", 503),
            ("DATA", 503),
            ("MAIL FROM:<a@b.example>", 250),
            ("MAIL FROM:<a@b.example>", 503),
            ("DATA", 554),
            ("RCPT TO:<x@y.example>", 250),
            ("STARTTLS", 503),
            ("AUTH PLAIN", 503),
            ("DATA", 354),
        ],
    );
    assert_eq!(session.take().map(|e| e.recipients.len()), Some(1));
    check(&mut session, &[("DATA", 503), ("MAIL FROM:<a@b.example>", 250), ("RSET", 250), ("RCPT TO:<x@y.example>", 503)]);
}

#[test]
fn log_in_only_over_tls() {
    let mut session = Session::new(terms(), false, vec!["PLAIN", "LOGIN"]);
    check(&mut session, &[("EHLO pc", 250), ("AUTH PLAIN AGEAYg==", 538), ("MAIL FROM:<a@b.example>", 530), ("STARTTLS", 220)]);
    session.secured(vec!["PLAIN", "LOGIN"]);
    check(&mut session, &[("AUTH PLAIN AGEAYg==", 503), ("EHLO pc", 250), ("STARTTLS", 503), ("AUTH CRAM-MD5", 504)]);
    assert_eq!(say(&mut session, "AUTH PLAIN AGEAYg=="), Step::Authenticate("PLAIN".into(), Some("AGEAYg==".into())));
}

#[test]
fn extensions_follow_the_connection() {
    let mut plain = Session::new(terms(), false, vec!["PLAIN", "LOGIN"]);
    let Step::Reply(reply) = say(&mut plain, "EHLO pc") else { panic!() };
    assert!(reply.lines.contains(&"STARTTLS".to_owned()) && !reply.lines.iter().any(|l| l.starts_with("AUTH")));
    let mut secure = Session::new(terms(), true, vec!["PLAIN", "LOGIN"]);
    let Step::Reply(reply) = say(&mut secure, "EHLO pc") else { panic!() };
    assert!(!reply.lines.contains(&"STARTTLS".to_owned()) && reply.lines.contains(&"AUTH PLAIN LOGIN".to_owned()));
    assert_eq!(say(&mut secure, "HELO pc"), Step::Reply(Reply::new(250, "", "mail.office.lan greets pc")));
}

#[test]
fn chunks_exclude_data() {
    let mut session = Session::new(Terms { anonymous: true, ..terms() }, false, vec!["PLAIN", "LOGIN"]);
    check(&mut session, &[("BDAT 5", 503), ("EHLO pc", 250), ("MAIL FROM:<a@b.example>", 250), ("BDAT 5", 554)]);
    check(&mut session, &[("RCPT TO:<x@y.example>", 250)]);
    assert_eq!(say(&mut session, "BDAT 5"), Step::Chunk(5, false));
    check(&mut session, &[("DATA", 503), ("RCPT TO:<z@y.example>", 503)]);
    assert_eq!(say(&mut session, "BDAT 0 LAST"), Step::Chunk(0, true));
}

#[test]
fn an_announced_size_above_the_limit_is_refused_at_once() {
    let mut session = Session::new(Terms { anonymous: true, ..terms() }, true, vec!["PLAIN", "LOGIN"]);
    check(
        &mut session,
        &[("EHLO pc", 250), ("MAIL FROM:<a@b.example> SIZE=50000001", 552), ("MAIL FROM:<a@b.example> SIZE=50000000", 250)],
    );
}

#[test]
fn what_is_not_offered_is_refused() {
    let mut session = Session::new(Terms { anonymous: true, reports: false, ..terms() }, true, vec!["PLAIN", "LOGIN"]);
    check(&mut session, &[("EHLO pc", 250), ("MAIL FROM:<a@b.example> RET=HDRS", 555), ("MAIL FROM:<a@b.example> ENVID=1", 555)]);
    check(&mut session, &[("MAIL FROM:<a@b.example>", 250), ("RCPT TO:<x@y.example> NOTIFY=NEVER", 555)]);
    check(&mut session, &[("RCPT TO:<x@y.example> ORCPT=rfc822;x@y.example", 555), ("RCPT TO:<x@y.example>", 250)]);
    // Who logs in gets reports.
    check(&mut session, &[("RSET", 250)]);
    session.authenticated("alice".into());
    check(&mut session, &[("MAIL FROM:<a@b.example> RET=HDRS ENVID=1", 250), ("RCPT TO:<x@y.example> NOTIFY=NEVER", 250)]);
}

#[test]
fn endless_mistakes_end_the_connection() {
    let mut session = Session::new(terms(), true, vec!["PLAIN", "LOGIN"]);
    let steps: Vec<_> = (0..=MAX_MISTAKES).map(|_| say(&mut session, "GET / HTTP/1.1")).collect();
    assert!(matches!(steps.last(), Some(Step::Close(reply)) if reply.code == 421));
    assert!(steps[..MAX_MISTAKES as usize].iter().all(|step| code(step) == 500));
}

proptest::proptest! {
    /// Whatever is said, data is only taken inside a transaction with a recipient, and nobody without log-in gets that far.
    #[test]
    fn no_data_without_log_in_and_recipients(script in proptest::collection::vec(0usize..10, 0..60), login_at in 0usize..60) {
        let lines = ["EHLO pc", "HELO pc", "MAIL FROM:<a@b.example>", "RCPT TO:<x@y.example>", "DATA", "BDAT 3 LAST", "RSET",
            "STARTTLS", "NOOP", "QUIT"];
        let mut session = Session::new(terms(), false, vec!["PLAIN", "LOGIN"]);
        for (at, line) in script.into_iter().enumerate() {
            if at == login_at {
                session.authenticated("alice".into());
            }
            match say(&mut session, lines[line]) {
                Step::Data(_) | Step::Chunk(..) => {
                    proptest::prop_assert!(session.user().is_some());
                    let envelope = session.take();
                    proptest::prop_assert!(envelope.is_some_and(|e| !e.recipients.is_empty()));
                }
                Step::Starttls(_) => session.secured(vec!["PLAIN", "LOGIN"]),
                _ => {}
            }
        }
    }
}
