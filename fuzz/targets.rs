//! What is fuzzed: every reader of bytes that strangers write. A target fails by panicking; an answer of any kind is fine.
//!
//! `cargo +nightly fuzz run TARGET` guides itself by coverage; `MAILROOM_FUZZ_SECONDS=3600 cargo nextest run fuzz_` runs the same targets on
//! a stable compiler, by mutation of samples alone.
#![allow(missing_docs)]

use mailroom::imap::command::append::{Ahead, Reader, announced, start};
use mailroom::imap::command::{Dialect, parse, tag};
use mailroom::imap::fetch_response;
use mailroom::imap::{bodystructure, envelope, url};
use mailroom::message::address_list;
use mailroom::message::envelope::Envelope;
use mailroom::message::facts::{Facts, Scanner};
use mailroom::message::layout::Layout;
use mailroom::message::{date, searched, sketch, words};
use std::ops::ControlFlow;

/// What takes any bytes at all without a panic.
pub type Target = fn(&[u8]);

/// Each by the name of its file in `fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("imap_command", imap_command),
    ("smtp_command", smtp_command),
    ("pop3_command", pop3_command),
    ("message", message),
    ("header_values", header_values),
    ("imap_answer", imap_answer),
    ("mapping_file", mapping_file),
];

pub fn imap_command(bytes: &[u8]) {
    for utf8 in [false, true] {
        let dialect = Dialect { utf8, utf8_strings: utf8 };
        let _ = tag(bytes);
        let _ = announced(bytes);
        if let Ok(command) = parse(bytes, dialect) {
            let _ = mailroom::imap::legal::names_numbers(&command);
        }
        if let Ok(Some(begin)) = start(bytes, dialect) {
            let mut reader = Reader::new(dialect);
            for stretch in bytes[begin.length..].split(|byte| *byte == b'\n') {
                match reader.read(stretch) {
                    Ok((_, Ahead::Message(_) | Ahead::Text(_))) => {}
                    Ok((_, Ahead::Url(_) | Ahead::End)) | Err(_) => break,
                }
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = url::parse(text);
        assert!(!url::shown(text).contains([']', '\r', '\n']));
    }
}

pub fn smtp_command(bytes: &[u8]) {
    let _ = mailroom::smtp::command::Command::parse(bytes);
}

pub fn pop3_command(bytes: &[u8]) {
    let _ = mailroom::pop3::command::Command::parse(bytes);
    let _ = mailroom::pop3::command::sasl_answer(bytes);
}

/// The first byte says in what pieces it comes; the facts have to be the same, however it comes.
pub fn message(bytes: &[u8]) {
    let Some((first, message)) = bytes.split_first() else { return };
    let mut scanner = Scanner::default();
    message.chunks(usize::from(*first).max(1)).for_each(|piece| scanner.feed(piece));
    let facts = scanner.finish();
    let whole = Facts::of(message);
    let layout = whole.layout();
    assert_eq!(facts.layout().places(), layout.places());
    assert_eq!(Layout::decode(&layout.encode()).map(|layout| layout.places().to_vec()), Some(layout.places().to_vec()));
    let content = mailroom::inbound::facts::content_facts(&whole);
    for rendered in [&content.envelope, &content.body, &content.bodystructure] {
        assert!(rendered.first() == Some(&b'(') && rendered.last() == Some(&b')'), "{:?}", String::from_utf8_lossy(rendered));
    }
    for path in [&[][..], &[1], &[1, 1], &[2, 1]] {
        if let Some((range, _)) = layout.content(path) {
            assert!(range.start <= range.end && range.end <= message.len() as u64);
        }
    }
    let read = |from: u64, to: u64| Ok::<_, ()>(&message[from as usize..to as usize]);
    let sketch = sketch::of(&layout, message);
    let texts = searched::texts(&layout, read, &mut |text| {
        let text = text.folded();
        assert!(sketch::may_hold(&sketch, &sketch::threes(text).collect::<Vec<_>>()), "{text:?}");
        assert!(!text.contains("  ") && !text.contains(|c: char| c.is_ascii_uppercase()), "{text:?}");
        ControlFlow::Continue(())
    });
    assert_eq!(texts, Ok(()));
    let _ = whole.returned_id();
    let _ = envelope::render(&Envelope::of(&whole.header()));
    let _ = bodystructure::render(&[], true);
}

pub fn header_values(bytes: &[u8]) {
    for mailbox in address_list::mailboxes(bytes) {
        // What we write of it, we read again.
        let written = mailbox.render();
        let again = address_list::mailboxes(written.as_bytes());
        assert_eq!(again.first().map(|again| &again.address), Some(&mailbox.address), "{written:?}");
    }
    for entry in address_list::entries(bytes) {
        if let address_list::Entry::Mailbox(raw) = entry {
            assert!(raw.range.start <= raw.range.end && raw.range.end <= bytes.len());
            let _ = (raw.address(), raw.display_name());
        }
    }
    let _ = date::parse(bytes);
    let decoded = words::decode(bytes);
    let _ = words::encode(&decoded);
}

pub fn imap_answer(bytes: &[u8]) {
    let mut reader = fetch_response::Reader::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if reader.feed(line).is_err() {
            break;
        }
        let _ = fetch_response::trailing_literal(line);
    }
    let _ = fetch_response::search_result(bytes, false, 10_000);
    let _ = fetch_response::search_result(bytes, true, 10_000);
    let _ = fetch_response::response_code(bytes);
}

pub fn mapping_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let configuration = "[office]\ndomains = [\"example.com\"]\npostmaster = \"alice\"\n";
    let file = std::path::PathBuf::from("/office/mailroom.toml");
    let mapping = std::path::PathBuf::from("/office/mappings/office.toml");
    let _ = mailroom::config::parse(&file, [(file.clone(), configuration.to_owned()), (mapping, text.to_owned())].into());
    let _ = mailroom::config::parse(&file, [(file.clone(), text.to_owned())].into());
}
