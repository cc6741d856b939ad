//! From what a message says about itself to what the store keeps beside it.

use crate::imap::{bodystructure, envelope};
use crate::message::address_list::{self, Entry};
use crate::message::envelope::Envelope;
use crate::message::facts::Facts;
use crate::message::fields;
use crate::message::layout::Layout;
use crate::message::{sketch, words};
use crate::store::{ContentFacts, NewContent};
use bytes::Bytes;

/// A message in memory as the store takes it.
pub fn whole(message: impl Into<Bytes>, facts: &Facts) -> NewContent {
    let message = message.into();
    let layout = facts.layout();
    let sketch = sketch::of(&layout, &message);
    NewContent::Inline(message, Box::new(ContentFacts { sketch, ..with_layout(facts, &layout) }))
}

/// Renders the facts of a scanned message for the store.
pub fn content_facts(facts: &Facts) -> ContentFacts {
    with_layout(facts, &facts.layout())
}

fn with_layout(facts: &Facts, layout: &Layout) -> ContentFacts {
    let envelope = facts.parts.first().and_then(|part| part.envelope.as_deref());
    let first = |list: fn(&Envelope) -> &Vec<Vec<u8>>| {
        envelope.and_then(|envelope| list(envelope).iter().find_map(|value| address_list::entries(value).into_iter().next()))
    };
    // RFC 5256 §3: `addr-mailbox` of the first address in ENVELOPE, where a group's name is one.
    let local = |list| match first(list) {
        Some(Entry::Mailbox(mailbox)) => words::lossless(&mailbox.local).into_owned(),
        Some(Entry::GroupStart(name)) => words::lossless(&name).into_owned(),
        Some(Entry::GroupEnd) | None => String::new(),
    };
    // RFC 5957 §3: the name, else what would be written for the address.
    let display = |list| match first(list) {
        Some(Entry::Mailbox(mailbox)) => mailbox.display_name().unwrap_or_else(|| {
            let (local, host) = (words::lossless(&mailbox.local), words::lossless(&mailbox.host));
            if host.is_empty() { local.into_owned() } else { format!("{local}@{host}") }
        }),
        Some(Entry::GroupStart(name)) => words::decode(&name),
        Some(Entry::GroupEnd) | None => String::new(),
    };
    ContentFacts {
        size: facts.size,
        header_size: facts.header_size,
        message_id: facts.message_id.clone(),
        body_hash: facts.body_hash,
        hash: facts.hash,
        envelope: envelope.map(envelope::render).unwrap_or_default(),
        bodystructure: bodystructure::render(&facts.parts, true),
        body: bodystructure::render(&facts.parts, false),
        parts: layout.encode(),
        subject: facts.base_subject.clone(),
        from: local(|envelope| &envelope.from),
        to: local(|envelope| &envelope.to),
        cc: local(|envelope| &envelope.cc),
        display_from: display(|envelope| &envelope.from),
        display_to: display(|envelope| &envelope.to),
        date: facts.date,
        references: facts.references.clone(),
        fields: fields::listed(&facts.header).filter(|_| facts.header.len() as u64 == facts.header_size),
        sketch: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_filled_in() {
        let message = b"From: =?utf-8?q?J=C3=BC?= <j@example.com>\r\nTo: bob@example.com\r\nCc: c@example.com\r\nSubject: Re: Hi\r\n\
            Message-ID: <1@x>\r\nIn-Reply-To: <0@x>\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\nhello\r\n";
        let facts = content_facts(&Facts::of(message));
        assert_eq!((facts.size, facts.header_size), (message.len() as u64, message.len() as u64 - 7));
        assert_eq!([&*facts.subject, &*facts.from, &*facts.to, &*facts.cc], ["hi", "j", "bob", "c"]);
        assert_eq!([&*facts.display_from, &*facts.display_to], ["Jü", "bob@example.com"]);
        assert_eq!(
            (facts.message_id.as_deref(), facts.references, facts.date),
            (Some("1@x"), vec!["0@x".to_owned()], Some(1_704_103_200_000))
        );
        assert_eq!(String::from_utf8_lossy(&facts.body), r#"("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1)"#);
        assert!(
            facts
                .envelope
                .starts_with(b"(\"Mon, 1 Jan 2024 10:00:00 +0000\" \"Re: Hi\" ((\"=?utf-8?q?J=C3=BC?=\" NIL \"j\" \"example.com\"))")
        );
    }
}
