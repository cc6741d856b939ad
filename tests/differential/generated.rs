//! Commands made up by chance, on mails made up by chance, in two sessions on one mailbox. `MAILROOM_CASES=1000` tries so many mailboxes,
//! `MAILROOM_SEED=7` others.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::Both;
use crate::interop::isp::{Dovecot, Options};
use crate::support::lan::Lan;

/// Mailboxes, each with other mails: as many as a few seconds take.
const CASES: usize = 12;
/// Commands to each.
const COMMANDS: usize = 40;

/// No command (RFC 9051 §9), or one that names what is not there: neither server may say OK.
const NONSENSE: &[&str] = &[
    "FETCH",
    "FETCH 1",
    "FETCH 1 ()",
    "FETCH 1 (FLAGS",
    "FETCH 1 FLAGS)",
    "FETCH 0 FLAGS",
    "FETCH 1:2:3 FLAGS",
    "FETCH 99 FLAGS",
    "FETCH a FLAGS",
    "FETCH 1 NOTHING",
    "FETCH 1 BODY[",
    "FETCH 1 BODY[MIME]",
    "FETCH 1 BODY[1.NOTHING]",
    "FETCH 1 BODY[HEADER.FIELDS]",
    "FETCH 1 BODY[HEADER.FIELDS ()]",
    "FETCH 1 FLAGS (NOTHING 1)",
    "FETCH 1 FLAGS (CHANGEDSINCE)",
    "STORE 1",
    "STORE 1 NOTHING (\\Seen)",
    "STORE 1 +FLAGS (\\Nothing)",
    "STORE 1 +FLAGS ((\\Seen))",
    "STORE 1 (UNCHANGEDSINCE) FLAGS ()",
    "STORE 99 +FLAGS (\\Seen)",
    "SEARCH",
    "SEARCH NOTHING",
    "SEARCH NOT",
    "SEARCH OR SEEN",
    "SEARCH (SEEN",
    "SEARCH SEEN)",
    "SEARCH BEFORE x",
    "SEARCH LARGER -1",
    "SEARCH HEADER Subject",
    "SEARCH UID x",
    "SEARCH RETURN (NOTHING) ALL",
    "SEARCH RETURN ALL",
    "SEARCH CHARSET x-nothing SUBJECT a",
    "SORT (DATE) UTF-8",
    "SORT () UTF-8 ALL",
    "SORT (NOTHING) UTF-8 ALL",
    "SORT (REVERSE) UTF-8 ALL",
    "SORT DATE UTF-8 ALL",
    "SORT (DATE) x-nothing SUBJECT a",
    "THREAD NOTHING UTF-8 ALL",
    "COPY 1",
    "COPY 99 INBOX",
    "COPY 1 nowhere/at/all",
    "MOVE 1",
    "MOVE 99 INBOX",
    "UID",
    "UID NOOP",
    "UID EXPUNGE",
    "UID EXPUNGE x",
    "LIST",
    "LIST \"\"",
    "LIST (NOTHING) \"\" *",
    "LIST (RECURSIVEMATCH) \"\" *",
    "LIST \"\" * RETURN (NOTHING)",
    "STATUS INBOX",
    "STATUS INBOX ()",
    "STATUS INBOX (NOTHING)",
    "STATUS nowhere/at/all (MESSAGES)",
    "SUBSCRIBE",
    "CREATE",
    "CREATE INBOX",
    "DELETE INBOX",
    "DELETE nowhere/at/all",
    "RENAME nowhere/at/all x",
    "RENAME INBOX",
    "APPEND",
    "APPEND INBOX",
    "APPEND INBOX (\\Seen)",
    "LOGIN alice x",
    "XYZZY",
];

/// What Dovecot takes and we do not, and the rule that it breaks (RFC 9051 §9).
const LENIENT: &[(&str, &str)] = &[
    ("FETCH 1, FLAGS", "sequence-set: a comma stands between two"),
    ("FETCH 1 BODY[]<0>", "partial = \"<\" number64 \".\" nz-number64 \">\""),
    ("FETCH 1 BODY[]<0.0>", "the same"),
    ("FETCH 1 BODY[0]", "section-part = nz-number"),
    ("FETCH 1 BINARY[TEXT]", "section-binary has numbers alone"),
    ("STORE 1 FLAGS", "store-att-flags ends with flags"),
    ("SEARCH BEFORE 32-Jan-2024", "date-day: a day of a month"),
    ("EXPUNGE 1", "expunge has no argument"),
    ("ENABLE", "enable = \"ENABLE\" 1*(SP capability)"),
];

fn header() -> impl Strategy<Value = String> {
    let address = prop::sample::select(vec![
        "ann@example.com",
        "Ann <ann@example.com>",
        "\"Smith, Ann\" <ann@example.com>, bob@example.com",
        "=?utf-8?q?J=C3=BCrgen?= <j@example.com>",
        "ann@example.com (Ann)",
        "Team: ann@example.com, Bob <bob@example.com>;",
        "undisclosed-recipients:;",
        "<ann@example.com>",
    ]);
    let subject = prop::sample::select(vec![
        "plain",
        "Re: plain",
        "Fwd: [list] plain (fwd)",
        "=?iso-8859-1?q?Gr=FC=DFe?=",
        "=?utf-8?q?=C3=84rger?=",
        "=?utf-8?q?=C3=A4RGER?=",
        "Zoo",
        "arm",
        "",
        "re: RE: other",
        "folded\r\n over two lines",
        "\"quoted\" \\ back",
    ]);
    let date =
        prop::sample::select(vec!["Mon, 23 Nov 2026 10:00:00 +0000", "Tue, 24 Nov 2026 01:30:00 +0900", "1 Jan 1999 00:00:00 -0500"]);
    (address.clone(), address, subject, date, 0..4_u32, 0..4_u32).prop_map(|(from, to, subject, date, id, parent)| {
        format!(
            "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{id}@example.com>\r\n\
             References: <{parent}@example.com>\r\nMIME-Version: 1.0\r\n"
        )
    })
}

/// Head and body of a part.
fn part() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "\r\nplain text\r\n",
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe=\r\n soft\r\n",
        "Content-Type: text/html; charset=\"us-ascii\"\r\n\r\n<p>text</p>\r\n",
        "Content-Type: application/pdf; name=\"a b.pdf\"\r\nContent-Disposition: attachment; filename=\"a b.pdf\"; size=7\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n",
        "Content-Type: image/png\r\nContent-ID: <x@y>\r\nContent-Description: A picture\r\nContent-Language: de, en\r\n\
         Content-Location: http://example.com/\r\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n",
        "Content-Type: message/rfc822\r\n\r\nFrom: in@example.com\r\nSubject: inside\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\ninner text\r\n",
        "Content-Type: text/plain\r\n\r\n",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(2, 6, 3, |inner| {
        (prop::collection::vec(inner, 1..4), prop::sample::select(vec!["mixed", "alternative", "related"]), any::<bool>()).prop_map(
            |(parts, kind, preamble)| {
                // None is another's beginning.
                let boundary = format!("b{}b", parts.iter().map(String::len).sum::<usize>());
                let preamble = if preamble { "This is a multipart message.\r\n" } else { "" };
                let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}")).collect();
                format!("Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n{preamble}{parts}--{boundary}--\r\n")
            },
        )
    })
}

fn mail() -> impl Strategy<Value = String> {
    (header(), part()).prop_map(|(header, part)| format!("{header}{part}"))
}

/// A set of UIDs, of which some may not exist.
fn uids() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        4 => (1..9_u32).prop_map(|number| number.to_string()),
        2 => (1..9_u32, 1..9_u32).prop_map(|(one, other)| format!("{one}:{other}")),
        1 => Just("*".to_owned()),
        1 => (1..12_u32).prop_map(|number| format!("{number}:*")),
        1 => (1..12_u32).prop_map(|number| format!("*:{number}")),
    ];
    prop::collection::vec(one, 1..4).prop_map(|ranges| ranges.join(","))
}

/// A set of message numbers, as `{n}` until it is known how many there are.
fn numbers() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        4 => (1..9_u32).prop_map(|number| format!("{{{number}}}")),
        2 => (1..9_u32, 1..9_u32).prop_map(|(one, other)| format!("{{{one}}}:{{{other}}}")),
        1 => Just("*".to_owned()),
        1 => (1..9_u32).prop_map(|number| format!("{{{number}}}:*")),
    ];
    prop::collection::vec(one, 1..4).prop_map(|ranges| ranges.join(","))
}

/// `UID ` or nothing, and a set that fits.
fn addressed() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![uids().prop_map(|set| ("UID ", set)), numbers().prop_map(|set| ("", set))]
}

fn section() -> impl Strategy<Value = String> {
    let number = prop::sample::select(vec!["1", "2", "3", "1.1", "1.2", "2.1", "1.1.1", "9"]);
    prop_oneof![
        Just(String::new()),
        Just("HEADER".to_owned()),
        Just("TEXT".to_owned()),
        Just("HEADER.FIELDS (Subject from X-None)".to_owned()),
        Just("HEADER.FIELDS.NOT (Subject Date)".to_owned()),
        number.clone().prop_map(str::to_owned),
        number.clone().prop_map(|number| format!("{number}.MIME")),
        number.clone().prop_map(|number| format!("{number}.HEADER")),
        number.prop_map(|number| format!("{number}.TEXT")),
    ]
}

fn item() -> impl Strategy<Value = String> {
    let partial = prop::option::of((prop::sample::select(vec![0, 1, 7, 60, 100_000]), 1..80_u32));
    let written = |partial: Option<(u32, u32)>| partial.map_or(String::new(), |(offset, length)| format!("<{offset}.{length}>"));
    prop_oneof![
        3 => prop::sample::select(vec!["FLAGS", "UID", "RFC822.SIZE", "INTERNALDATE", "ENVELOPE", "BODYSTRUCTURE", "BODY"]).prop_map(str::to_owned),
        2 => (section(), partial.clone()).prop_map(move |(section, partial)| format!("BODY.PEEK[{section}]{}", written(partial))),
        1 => (section(), partial.clone()).prop_map(move |(section, partial)| format!("BODY[{section}]{}", written(partial))),
        1 => prop::sample::select(vec!["RFC822", "RFC822.HEADER", "RFC822.TEXT"]).prop_map(str::to_owned),
        1 => (prop::sample::select(vec!["1", "2", "1.1", "2.1"]), partial).prop_map(move |(part, partial)| format!("BINARY.PEEK[{part}]{}", written(partial))),
        1 => prop::sample::select(vec!["1", "2", "1.1", "2.1"]).prop_map(|part| format!("BINARY.SIZE[{part}]")),
    ]
}

/// Which parts there are decides what the answers may be.
fn with_structure(mut items: Vec<String>) -> Vec<String> {
    if items.iter().any(|item| item.contains(['1', '2', '3', '9'])) && !items.contains(&"BODYSTRUCTURE".to_owned()) {
        items.push("BODYSTRUCTURE".to_owned());
    }
    items
}

fn key() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "ALL",
            "SEEN",
            "UNSEEN",
            "DELETED",
            "FLAGGED",
            "UNANSWERED",
            "KEYWORD $Junk",
            "UNKEYWORD $Junk",
            "SUBJECT plain",
            "FROM ann",
            "TO bob",
            "TEXT text",
            "BODY inner",
            "HEADER Message-ID 2@",
            "LARGER 400",
            "SMALLER 600",
            "SENTBEFORE 1-Jan-2000",
            "SENTON 23-Nov-2026",
            "SINCE 1-Feb-2024",
            "BEFORE 3-Feb-2024",
            "ON 2-Feb-2024",
        ])
        .prop_map(str::to_owned),
        uids().prop_map(|set| format!("UID {set}")),
        numbers(),
        Just("$".to_owned()),
    ];
    let any = leaf.prop_recursive(2, 5, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| format!("NOT {key}")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("OR {one} {other}")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("({one} {other})")),
        ]
    });
    // Dovecot forgets a NOT before it.
    prop_oneof![9 => any.clone(), 1 => any.prop_map(|key| format!("MODSEQ {{later}} {key}"))]
}

fn command() -> impl Strategy<Value = String> {
    let uid = prop::sample::select(vec!["", "UID "]);
    let flags = prop::sample::select(vec!["(\\Seen)", "(\\Deleted)", "(\\Flagged $Junk)", "()", "(\\Answered \\Draft)", "\\Deleted"]);
    let mode = prop::sample::select(vec!["+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT", "-flags.silent", "FLAGS.SILENT"]);
    let unchanged = prop::sample::select(vec!["", "", "", "(UNCHANGEDSINCE {modseq}) "]);
    let other = prop::sample::select(vec!["other", "second", "top/below"]);
    let criteria = vec!["DATE", "SUBJECT", "REVERSE SIZE", "FROM TO", "ARRIVAL", "REVERSE SUBJECT DATE", "CC", "TO REVERSE ARRIVAL"];
    let sort = prop::sample::select(criteria);
    let results = prop::sample::select(vec![
        "",
        "MIN",
        "MAX",
        "COUNT",
        "ALL",
        "MIN MAX",
        "MIN COUNT",
        "MIN MAX COUNT ALL",
        "SAVE",
        "SAVE MIN",
        "SAVE ALL",
    ]);
    let message = (prop::sample::select(vec!["", "(\\Seen) ", "(\\Deleted $Junk) "]), 1..4_u32).prop_map(|(flags, number)| {
        let mail = format!("Subject: added {number}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\ntext\r\n");
        format!("{flags}\"0{number}-Mar-2024 12:00:00 +0000\" {{{}+}}\r\n{mail}", mail.len())
    });
    let list = prop::sample::select(vec![
        "LIST \"\" *",
        "LIST \"\" %",
        "LIST \"\" top/%",
        "LIST top/ %",
        "LIST \"\" o*r",
        "LIST \"\" inbox",
        "LIST \"\" nowhere",
        "LIST (SUBSCRIBED) \"\" *",
        "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %",
        "LIST \"\" (other top/*)",
        "LIST \"\" * RETURN (SUBSCRIBED CHILDREN)",
        "LIST \"\" other RETURN (STATUS (MESSAGES UIDNEXT UNSEEN))",
        "LIST (SUBSCRIBED) \"\" (% top/%) RETURN (CHILDREN)",
        "LSUB \"\" *",
        "LSUB \"\" %",
    ]);
    let messages = prop_oneof![
        8 => (addressed(), prop::collection::vec(item(), 1..4))
            .prop_map(|((uid, set), items)| format!("{uid}FETCH {set} ({})", with_structure(items).join(" "))),
        1 => (numbers(), prop::sample::select(vec!["ALL", "FAST", "FULL"])).prop_map(|(set, all)| format!("FETCH {set} {all}")),
        1 => (addressed(), prop::sample::select(vec!["FLAGS", "(UID FLAGS)"]))
            .prop_map(|((uid, set), items)| format!("{uid}FETCH {set} {items} (CHANGEDSINCE {{modseq}})")),
        5 => (addressed(), unchanged, mode, flags)
            .prop_map(|((uid, set), unchanged, mode, flags)| format!("{uid}STORE {set} {unchanged}{mode} {flags}")),
        3 => (uid.clone(), key()).prop_map(|(uid, key)| format!("{uid}SEARCH {key}")),
        3 => (uid.clone(), results.clone(), key()).prop_map(|(uid, results, key)| format!("{uid}SEARCH RETURN ({results}) {key}")),
        2 => (uid.clone(), sort.clone(), key()).prop_map(|(uid, sort, key)| format!("{uid}SORT ({sort}) UTF-8 {key}")),
        1 => (uid.clone(), results, sort, key())
            .prop_map(|(uid, results, sort, key)| format!("{uid}SORT RETURN ({results}) ({sort}) UTF-8 {key}")),
        1 => (uid, prop::sample::select(vec!["REFERENCES", "ORDEREDSUBJECT"]), key())
            .prop_map(|(uid, algorithm, key)| format!("{uid}THREAD {algorithm} UTF-8 {key}")),
        1 => (addressed(), other.clone()).prop_map(|((uid, set), other)| format!("{uid}COPY {set} {other}")),
        1 => (addressed(), other.clone()).prop_map(|((uid, set), other)| format!("{uid}MOVE {set} {other}")),
    ];
    prop_oneof![
        24 => messages,
        1 => Just("EXPUNGE".to_owned()),
        1 => uids().prop_map(|set| format!("UID EXPUNGE {set}")),
        2 => message.prop_map(|message| format!("APPEND {{mailbox}} {message}")),
        1 => other.clone().prop_map(|other| format!("STATUS {other} (MESSAGES UIDNEXT UNSEEN SIZE)")),
        2 => list.prop_map(str::to_owned),
        1 => (prop::sample::select(vec!["SUBSCRIBE", "UNSUBSCRIBE"]), prop::sample::select(vec!["other", "top/below", "second"]))
            .prop_map(|(subscribe, other)| format!("{subscribe} {other}")),
        1 => Just("NOOP".to_owned()),
        1 => Just("remember".to_owned()),
        3 => prop::sample::select(NONSENSE).prop_map(str::to_owned),
    ]
}

/// Message numbers in the place of `{n}`; `None`: there are no messages.
fn numbered(command: &str, exists: u32) -> Option<String> {
    let mut written = String::new();
    let mut rest = command;
    while let Some((before, behind)) = rest.split_once('{') {
        let (inner, after) = behind.split_once('}')?;
        match inner.parse::<u32>() {
            // Literals have a sign behind their length.
            Ok(number) => written.push_str(&format!("{before}{}", (number - 1).checked_rem(exists)? + 1)),
            Err(_) => written.push_str(&format!("{before}{{{inner}}}")),
        }
        rest = after;
        if inner.ends_with('+') {
            break;
        }
    }
    Some(written + rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_commands_are_answered_alike() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let seed = number("MAILROOM_SEED").unwrap_or(0) as u8;
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    let dovecot = Dovecot::start_with(Options { hierarchy: true, ..Options::default() });
    let lan = Lan::new("").await;
    let mut both = Both::open(&lan, &dovecot, "alice").await;
    both.level().await;
    for case in 0..number("MAILROOM_CASES").unwrap_or(CASES) {
        let mails = prop::collection::vec(mail(), 1..8).new_tree(&mut runner).unwrap().current();
        let commands = prop::collection::vec((command(), any::<bool>()), COMMANDS).new_tree(&mut runner).unwrap().current();
        let mut other = Both::open(&lan, &dovecot, "alice").await;
        let found = both.differences;
        for (session, enabled) in [(&mut both, case % 3), (&mut other, case / 3 % 3)] {
            session.same(["NOOP", "ENABLE CONDSTORE", "ENABLE QRESYNC"][enabled].as_bytes()).await;
        }
        for name in ["other", "second", "top/below"] {
            both.same(format!("CREATE {name}").as_bytes()).await;
        }
        let mailbox = format!("case{case}");
        both.same(format!("CREATE {mailbox}").as_bytes()).await;
        for (number, mail) in mails.iter().enumerate() {
            let date = format!("{:02}-Feb-2024 12:00:00 +0000", number + 1);
            both.same(format!("APPEND {mailbox} (\\Flagged) \"{date}\" {{{}+}}\r\n{mail}", mail.len()).as_bytes()).await;
        }
        let mut exists = 0;
        for session in [&mut both, &mut other] {
            exists = session.same(format!("SELECT {mailbox}").as_bytes()).await.exists.unwrap_or(0);
        }
        both.remember(&mailbox).await;
        other.modseqs = both.modseqs;
        let mut counts = [exists, exists];
        for (command, swapped) in &commands {
            let (at, session, witness) = if *swapped { (1, &mut other, &mut both) } else { (0, &mut both, &mut other) };
            if command == "remember" {
                session.remember(&mailbox).await;
                witness.modseqs = session.modseqs;
                continue;
            }
            let Some(command) = numbered(&command.replace("{mailbox}", &mailbox), counts[at]) else { continue };
            let mut count = |at: usize, answer: &super::Answer| {
                counts[at] = answer.exists.unwrap_or(counts[at].saturating_sub(answer.gone() as u32));
            };
            count(at, &session.same(command.as_bytes()).await);
            if session.alone {
                break;
            }
            // The other session hears of it, and then this one has heard of everything.
            count(1 - at, &witness.hear().await);
            count(at, &session.same(b"NOOP").await);
            if session.alone || witness.alone {
                break;
            }
            // One difference leads to others.
            if both.differences + other.differences > found {
                println!("case {case}\n{}", mails.join("\n* * *\n"));
                break;
            }
        }
        both.differences += other.differences;
        both = Both { differences: both.differences, ..Both::open(&lan, &dovecot, "alice").await };
        for name in ["second", "other", "top/below", "top", &mailbox] {
            both.tell(format!("UNSUBSCRIBE {name}").as_bytes()).await;
            both.tell(format!("DELETE {name}").as_bytes()).await;
        }
    }
    assert_eq!(both.differences, 0, "what differs stands above");
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_by_both() {
    let dovecot = Dovecot::start();
    let lan = Lan::new("").await;
    let mut both = Both::open(&lan, &dovecot, "alice").await;
    let mail = "Subject: x\r\n\r\nx\r\n";
    both.same(format!("APPEND INBOX {{{}+}}\r\n{mail}", mail.len()).as_bytes()).await;
    let mut taken = Vec::new();
    for nonsense in NONSENSE.iter().chain(LENIENT.iter().map(|(nonsense, _)| nonsense)) {
        let lenient = LENIENT.iter().any(|(known, _)| known == nonsense);
        both.same(b"SELECT INBOX").await;
        let (ours, theirs) = both.tell(nonsense.as_bytes()).await;
        if ours.tagged.starts_with("OK") || (theirs.tagged.starts_with("OK") && !lenient) {
            taken.push(format!("{nonsense}\n ours   {}\n theirs {}", ours.tagged, theirs.tagged));
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}
