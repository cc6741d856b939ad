use super::*;
use proptest::prelude::*;

fn parsed(line: &str) -> Result<Command, Invalid> {
    parse(line.as_bytes(), Dialect::default())
}

/// The command's debug form begins so.
fn check(line: &str, expected: &str) {
    let command = parsed(line).unwrap_or_else(|invalid| panic!("{line}: {}", invalid.text));
    let shown = format!("{command:?}");
    assert!(shown.starts_with(expected), "{line}\n{shown}\n{expected}");
}

fn refused(line: &str, text: &str) {
    match parsed(line) {
        Err(invalid) => assert!(invalid.text.contains(text), "{line}: {}", invalid.text),
        Ok(command) => panic!("{line} became {command:?}"),
    }
}

#[test]
fn tags() {
    assert_eq!(tag(b"a1 NOOP").as_deref(), Some("a1"));
    assert_eq!(tag(b"+ NOOP"), None);
    assert_eq!(tag(b"a1"), None);
    assert_eq!(tag(b"(a NOOP"), None);
    refused("NOOP", "A space is missing");
    refused("a FROB x", "no such command");
}

#[test]
fn log_ins() {
    check("a LOGIN alice secret", "Login { user: \"alice\", password: SecretBox<str>([REDACTED]) }");
    check("a login {5}\r\nalice \"se\\\"c\\\\ret\"", "Login { user: \"alice\"");
    check("a LOGIN {5+}\r\nalice {6+}\r\nsecret", "Login { user: \"alice\"");
    check("a AUTHENTICATE PLAIN", "Authenticate { mechanism: \"PLAIN\", initial: None }");
    check("a AUTHENTICATE PLAIN =", "Authenticate { mechanism: \"PLAIN\", initial: Some([61]) }");
    refused("a LOGIN alice", "space is missing");
    refused("a LOGIN alice secret more", "more than this command takes");
    refused("a LOGIN \"alice", "no end");
}

#[test]
fn mailboxes() {
    check(
        "a SELECT inbox",
        "Select(Select { mailbox: MailboxName { name: \"INBOX\", written: None }, read_only: false, condstore: false, qresync: None })",
    );
    check(
        "a EXAMINE \"Inbox/Sub\" (CONDSTORE)",
        "Select(Select { mailbox: MailboxName { name: \"INBOX/Sub\", written: None }, read_only: true, condstore: true",
    );
    check(
        "a SELECT x (QRESYNC (67890007 90060115194045000 41:211,214))",
        "Select(Select { mailbox: MailboxName { name: \"x\", written: None }, read_only: false, condstore: false, qresync: Some(",
    );
    check("a SELECT x (QRESYNC (1 2 (1:5 7:11)))", "Select");
    check("a CREATE Entw&APw-rfe", "Create { mailbox: MailboxName { name: \"Entwürfe\", written: None }, special_use: [] }");
    check("a CREATE x (USE (\\Drafts))", "Create { mailbox: MailboxName { name: \"x\", written: None }, special_use: [Drafts] }");
    check(
        "a CREATE Entwu&Awg-rfe",
        "Create { mailbox: MailboxName { name: \"Entwürfe\", written: Some(\"Entwu\\u{308}rfe\") }, special_use: [] }",
    );
    check("a RENAME a b", "Rename { from: \"a\", to: MailboxName { name: \"b\", written: None } }");
    check("a STATUS x (MESSAGES uidnext SIZE)", "Status { mailbox: \"x\", items: [Messages, UidNext, Size] }");
    check("a LIST \"\" *", "List(ListOptions { reference: \"\", patterns: [\"*\"], extended: false");
    check(
        "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (a b%) RETURN (CHILDREN STATUS (MESSAGES))",
        "List(ListOptions { reference: \"\", patterns: [\"a\", \"b%\"], extended: true, subscribed: true",
    );
    check("a LIST \"\" ~foo", "List");
    check("a SELECT !#$&'+,-.0123456789:;<=>?@^_`|[}", "Select");
    refused("a LIST (RECURSIVEMATCH) \"\" *", "beside it");
    refused("a LIST \"\" * RETURN (FROB)", "return option");
    refused("a STATUS x (FROB)", "no such item");
}

#[test]
fn fetches() {
    let item = |line: &str, expected: &str| {
        check(&format!("a FETCH 1 {line}"), &format!("Fetch {{ set: Ranges([(Number(1), Number(1))]), items: [{expected}]"))
    };
    item("ALL", "Flags, InternalDate, Size, Envelope");
    item(
        "(UID RFC822.SIZE BODY.PEEK[]<0.1000>)",
        "Uid, Size, Section { section: Section { part: [], text: Whole }, partial: Some((0, 1000)), peek: true }",
    );
    item("BODY[1.2.MIME]", "Section { section: Section { part: [1, 2], text: Mime }, partial: None, peek: false }");
    item(
        "BODY[HEADER.FIELDS (From \"To\")]",
        "Section { section: Section { part: [], text: Fields(HeaderFields { not: false, names: [\"From\", \"To\"] }) }, partial: None, peek: false }",
    );
    item("BODY", "Body");
    item("RFC822.HEADER", "Rfc822 { section: Section { part: [], text: Header }, peek: true }");
    item("BINARY.PEEK[2]", "Binary { part: [2], partial: None, peek: true }");
    check(
        "a UID FETCH 5:* (FLAGS) (CHANGEDSINCE 7 VANISHED)",
        "Fetch { set: Ranges([(Number(5), Star)]), items: [Flags], modifiers: FetchModifiers { changed_since: Some(7), vanished: true, partial: None }, by_uid: true }",
    );
    refused("a FETCH 0 FLAGS", "start at 1");
    refused("a FETCH 1 (FLAGS", "parenthesis");
    refused("a FETCH 1 BODY[MIME]", "part number");
    refused("a FETCH 1 BODY[]<0.0>", "nothing");
    refused("a FETCH 1 ()", "what");
    refused("a FETCH 4294967296 FLAGS", "too large");
}

#[test]
fn stores() {
    check(
        "a STORE 1 +FLAGS.SILENT (\\Seen $Junk)",
        "Store { set: Ranges([(Number(1), Number(1))]), mode: Add, silent: true, flags: Flags { system: 1, keywords: [\"$Junk\"] }, unchanged_since: None, by_uid: false }",
    );
    check(
        "a UID STORE 1 (UNCHANGEDSINCE 12) FLAGS \\Deleted \\Draft",
        "Store { set: Ranges([(Number(1), Number(1))]), mode: Replace, silent: false, flags: Flags { system: 24, keywords: [] }, unchanged_since: Some(12), by_uid: true }",
    );
    check("a STORE 1 FLAGS ()", "Store");
    refused("a STORE 1 +FLAGS (\\Starred)", "system flag");
}

#[test]
fn searches() {
    let search = |line: &str, expected: &str| {
        check(&format!("a SEARCH {line}"), &format!("Search {{ search: Search {{ returns: None, keys: [{expected}]"))
    };
    search("ALL", "All");
    search("1:3,5 UNSEEN", "Sequence(Ranges([(Number(1), Number(3)), (Number(5), Number(5))])), Flag { bit: 1, set: false }");
    search(
        "OR (FROM a) NOT SUBJECT \"b c\"",
        "Or((And([Header { name: \"FROM\", text: \"a\" }]), Not(Header { name: \"SUBJECT\", text: \"b c\" })))",
    );
    search("CHARSET iso-8859-1 TEXT {1}\r\n\u{e4}".replace('\u{e4}', "x").as_str(), "Text(\"x\")");
    search("SINCE 1-Feb-1994 SENTBEFORE \"2-Feb-1994\"", "Since(Internal, 1994-02-01), Before(Sent, 1994-02-02)");
    search(
        "KEYWORD $Forwarded LARGER 100 UID 4:* $",
        "Keyword { name: \"$Forwarded\", set: true }, Larger(100), Uid(Ranges([(Number(4), Star)])), Sequence(Saved)",
    );
    search("MODSEQ \"/flags/\\\\draft\" all 620162338", "ModSeq(620162338)");
    check("a UID SEARCH RETURN (MIN COUNT) UNSEEN", "Search { search: Search { returns: Some([Min, Count]), keys: [");
    check("a UID SEARCH RETURN () ALL", "Search { search: Search { returns: Some([All])");
    check(
        "a SORT (REVERSE DATE SUBJECT) UTF-8 ALL",
        "Sort { search: Search { returns: None, keys: [All] }, criteria: [SortCriterion { key: Date, reverse: true }, SortCriterion { key: Subject, reverse: false }]",
    );
    check("a THREAD REFERENCES UTF-8 ALL", "Thread { search");
    refused("a SEARCH CHARSET x-unknown ALL", "character set");
    refused("a SEARCH FROB", "no such key");
    refused("a SEARCH SINCE yesterday", "date looks like");
}

#[test]
fn eight_bit_search_text_in_its_charset() {
    let latin = parse(b"a SEARCH CHARSET ISO-8859-1 SUBJECT {1}\r\n\xe4", Dialect::default()).unwrap();
    assert!(format!("{latin:?}").contains("\"ä\""));
    assert!(parse(b"a SEARCH SUBJECT {1}\r\n\xe4", Dialect::default()).is_err());
}

#[test]
fn nesting_has_an_end() {
    refused(&format!("a SEARCH {}ALL{}", "(".repeat(10_000), ")".repeat(10_000)), "too deeply");
    refused(&format!("a SEARCH {}ALL", "NOT ".repeat(10_000)), "too deeply");
    refused(&format!("a SEARCH {}", "ALL ".repeat(10_000).trim_end()), "too");
    refused(&format!("a FETCH 1 BODY[{}]", "1.".repeat(200)), "too deep");
    refused(&format!("a FETCH {} FLAGS", "1,".repeat(30_000)), "too many ranges");
}

#[test]
fn appends() {
    use append::{Literal, announced, start};
    assert_eq!(announced(b"a APPEND x {10}"), Some(Literal { length: 10, synchronizing: true, binary: false }));
    assert_eq!(announced(b"a APPEND x ~{10+}"), Some(Literal { length: 10, synchronizing: false, binary: true }));
    for none in ["a NOOP", "a {}", "a {x}", "a {99999999999999999999999}", "a {5}x"] {
        assert_eq!(announced(none.as_bytes()), None, "{none}");
    }
    let read = |line: &str| start(line.as_bytes(), Dialect::default());
    let line = "a APPEND Sent (\\Seen $x) \" 1-Feb-1994 21:52:25 -0800\" {310}";
    let append::Start { mailbox, replaces, length } = read(line).unwrap().unwrap();
    assert_eq!((mailbox.as_str(), replaces), ("Sent", None));
    let (pieces, ahead) = append::Reader::new(Dialect::default()).read(&line.as_bytes()[length..]).unwrap();
    let [append::Piece::Message(attributes)] = &pieces[..] else { panic!("{pieces:?}") };
    assert_eq!((attributes.flags.system, attributes.date), (1, Some(760_168_345_000)));
    assert_eq!(ahead, append::Ahead::Message(Literal { length: 310, synchronizing: true, binary: false }));
    assert_eq!(read("a APPEND {4}").unwrap(), None);
    assert_eq!(read("a APPEND {4}\r\nSent {5}").unwrap().unwrap().mailbox, "Sent");
    for (line, by_uid) in [("a REPLACE 4 Drafts (\\Draft) {5}", false), ("a UID REPLACE 4 Drafts {5}", true)] {
        assert_eq!(read(line).unwrap().unwrap().replaces.unwrap().by_uid, by_uid);
        assert!(append::is_append(line.as_bytes()), "{line}");
    }
    assert!(read("a REPLACE Drafts {5}").is_err());
    assert!(!append::is_append(b"a UID FETCH 1 FLAGS"));
    for wrong in [" (\\Frob) {5}", " \"yesterday\" {5}", " foo {5}", " ", " CATENATE ()", " CATENATE (URL {5}", " UTF8 {5}"] {
        let read = append::Reader::new(Dialect::default()).read(wrong.as_bytes());
        assert!(!matches!(read, Ok((_, append::Ahead::Message(_) | append::Ahead::Text(_) | append::Ahead::End))), "{wrong}: {read:?}");
    }
}

/// Stretches of one command, and what each says.
#[test]
fn appends_put_together() {
    use append::Reader;
    let check = |stretches: &[(&str, &[&str], &str)]| {
        let mut reader = Reader::new(Dialect::default());
        for (stretch, expected, expected_ahead) in stretches {
            let (pieces, ahead) = reader.read(stretch.as_bytes()).unwrap();
            let shown: Vec<String> = pieces
                .iter()
                .map(|piece| match piece {
                    append::Piece::Message(attributes) => format!("message {}", attributes.flags.system),
                    append::Piece::Url(url) => url.clone(),
                })
                .collect();
            assert_eq!(shown, *expected, "{stretch}");
            assert!(format!("{ahead:?}").starts_with(expected_ahead), "{stretch}: {ahead:?}");
        }
    };
    check(&[(" (\\Draft) {5}", &["message 16"], "Message"), (" {6}", &["message 0"], "Message"), (" ", &[], "End")]);
    check(&[(" UTF8 (~{5}", &["message 0"], "Message"), (") {5}", &["message 0"], "Message"), ("", &[], "End")]);
    check(&[(" CATENATE (URL \"/a/;UID=1\" URL b)", &["message 0", "/a/;UID=1", "b"], "End")]);
    check(&[
        (" CATENATE (URL a TEXT {5}", &["message 0", "a"], "Text"),
        (" TEXT {5}", &[], "Text"),
        (" UTF8 (~{5+}", &[], "Text"),
        (") URL {2}", &[], "Url"),
        (") URL {2}\r\nab) (\\Seen) CATENATE (TEXT {5}", &["ab", "message 1"], "Text"),
        (")", &[], "End"),
    ]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, Dialect::default());
        let _ = append::start(&bytes, Dialect { utf8: true, ..Dialect::default() });
        let _ = append::Reader::new(Dialect::default()).read(&bytes);
        let _ = append::announced(&bytes);
    }

    #[test]
    fn no_nearly_right_command_makes_it_panic(
        name in prop::sample::select(vec!["FETCH 1 ", "SEARCH ", "LIST ", "STORE 1 FLAGS ", "SELECT ", "SORT ", "THREAD ", "ID ", "APPEND ", "UID REPLACE 1 ", "UID FETCH ", "STATUS x "]),
        words in prop::collection::vec(prop::sample::select(vec![
            "(", ")", " ", "BODY", "[", "]", "HEADER.FIELDS", "\"", "\\", "{3}\r\nabc", "{9}\r\n", "1:*", "$", "NOT", "OR", "RETURN", "<", ">", "1", ".", "\\Seen", "ALL", "QRESYNC", "CHARSET", "UTF-8", "é",
        ]), 0..12),
    ) {
        let line = format!("a {name}{}", words.concat());
        let _ = parse(line.as_bytes(), Dialect::default());
        let _ = append::start(line.as_bytes(), Dialect::default());
    }
}
