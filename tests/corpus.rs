//! Real and malformed mail from a folder beside the repository, if it is there: nothing in it may panic, and what is found may not
//! depend on how the bytes arrive.

use mailroom::imap::{bodystructure, envelope};
use mailroom::message::facts::{Facts, Scanner};
use mailroom::message::{address_list, received};
use std::path::PathBuf;

fn corpus() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("MAILROOM_SHARED").map_or(beside, PathBuf::from).join("corpus")
}

/// Every message of the corpus with its name; none where there is no corpus.
fn messages() -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    for folder in ["real", "hostile"] {
        for entry in std::fs::read_dir(corpus().join(folder)).into_iter().flatten().flatten() {
            messages.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()));
        }
    }
    messages
}

#[test]
fn every_message_is_scanned_alike_in_any_pieces() {
    let messages = messages();
    if messages.is_empty() {
        println!("skipped: tests of the corpus, because {} is missing (MAILROOM_SHARED says where else it is)", corpus().display());
    }
    for (name, message) in messages {
        let facts = Facts::of(&message);
        for piece in [1, 61, 4096] {
            if message.len() / piece > 200_000 {
                continue;
            }
            let mut scanner = Scanner::default();
            message.chunks(piece).for_each(|piece| scanner.feed(piece));
            assert_eq!(scanner.finish(), facts, "{name} by {piece}");
        }
        let body = facts.layout().message_text(&[]).unwrap();
        assert_eq!(facts.header_size + (body.end - body.start), facts.size, "{name}");
        assert_eq!(facts.size, message.len() as u64, "{name}");
        for part in &facts.parts {
            assert!(part.place.end <= facts.size, "{name}");
        }
    }
}

#[test]
fn what_imap_clients_get_can_be_parsed() {
    for (name, message) in messages() {
        let facts = Facts::of(&message);
        let envelope = envelope::render(facts.parts[0].envelope.as_deref().unwrap());
        for (item, data) in [
            ("ENVELOPE", envelope),
            // The parser doesn't know BODY; its data is that of BODYSTRUCTURE without the extensions.
            ("BODYSTRUCTURE", bodystructure::render(&facts.parts, false)),
            ("BODYSTRUCTURE", bodystructure::render(&facts.parts, true)),
        ] {
            let nesting = depth(&data);
            let response = [format!("* 1 FETCH ({item} ").as_bytes(), &data, b")\r\n"].concat();
            assert_eq!(nesting.1, 0, "{name}: {}", String::from_utf8_lossy(&response));
            // The parser recurses; its stack is its own affair.
            if nesting.0 < 40 {
                let parsed = async_imap::imap_proto::Response::parse(&response);
                assert!(matches!(parsed, Ok((b"", _))), "{name}: {parsed:?} {}", String::from_utf8_lossy(&response));
            }
        }
    }
}

/// The deepest parenthesis, and how many stay open; strings and literals are passed over.
fn depth(data: &[u8]) -> (usize, isize) {
    let (mut deepest, mut open, mut at) = (0, 0isize, 0);
    while at < data.len() {
        match data[at] {
            b'(' => open += 1,
            b')' => open -= 1,
            b'"' => {
                at += 1;
                while data[at] != b'"' {
                    assert!((0x20..0x7f).contains(&data[at]));
                    at += if data[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' => {
                let end = at + data[at..].iter().position(|&b| b == b'\n').unwrap();
                let length: usize = String::from_utf8_lossy(&data[at + 1..end - 2]).parse().unwrap();
                assert!(!data[end..end + length].contains(&0));
                at = end + length;
            }
            _ => {}
        }
        deepest = deepest.max(open);
        at += 1;
    }
    (deepest.unsigned_abs(), open)
}

#[test]
fn addresses_and_traces_are_read() {
    let (mut traces, mut dated) = (0, 0);
    for (_, message) in messages() {
        let facts = Facts::of(&message);
        for field in facts.header().fields() {
            address_list::mailboxes(field.value);
            if field.is("received") {
                traces += 1;
                dated += usize::from(received::parse(field.value).date.is_some());
            }
        }
    }
    assert!(dated * 10 >= traces * 9, "{dated} of {traces} Received lines have a date");
}
