//! Mail that a mapping sends on to an outside address, whether it was fetched or handed in.
//!
//! It leaves with an identity of ours, since the writer's own would fail SPF and DMARC at the next server; who answers, answers the
//! writer. Bounces go to the owner of the entry or rule.
//!
//! It also leaves with a mark: an HMAC over the address that it goes to. A message that was sent there before and came back through a
//! collector is known by it and goes no second time, while nobody outside can write such a mark for others, or learn from it where else
//! a message went. Mail that people send themselves bears none: a list may well bring it back to a colleague.

use crate::address::Address;
use crate::config::Config;
use crate::mapping::{Forward, Mapping};
use crate::message::address_list::{self, Mailbox};
use crate::message::header::Header;
use crate::message::rewrite::Rewrite;
use crate::message::trace::{Hop, Prefix};
use crate::outbound::route;
use crate::store::queue::NewMail;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The field with the mark.
pub(super) const MARK: &str = "X-Mailroom-Loop";
/// Servers that a message may have passed before it is sent on. No way is that long; a loop through somebody who drops our mark is.
const MAX_HOPS: usize = 50;
/// Fields that would speak for the writer or against the reader: he who answers a receipt request answers somebody he never wrote to,
/// and a signature that our From has broken looks like a forgery.
const REMOVED: [&str; 9] = [
    "Sender",
    "Disposition-Notification-To",
    "Return-Receipt-To",
    "X-Confirm-Reading-To",
    "Return-Path",
    "Delivered-To",
    "Bcc",
    "Resent-Bcc",
    "DKIM-Signature",
];

/// What all forwarding of an office needs.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// `mailroom.toml`
    pub config: &'a Config,
    /// `mappings/*.toml`
    pub mapping: &'a Mapping,
    /// For the mark: [`crate::store::Store::mark_key`].
    pub key: &'a [u8],
}

impl Forwarding<'_> {
    /// The queue's mail for a forward of the message with this header; `Err` says in words why there can't be one.
    pub fn mail(&self, forward: &Forward, header: &[u8], hop: Hop<'_>) -> Result<NewMail, String> {
        let mark = mark(self.key, forward.to.key());
        may_go_on(&Header::parse(header), &mark)?;
        let identity = route::identity(self.config, self.mapping, &forward.owner, None)?;
        let via = forward.address.as_ref().unwrap_or(&identity.address);
        Ok(NewMail {
            owner: forward.owner.clone(),
            header: Some(forwarded_header(header, &identity.address, via, &mark, hop)),
            sender: Some(identity.address),
            recipients: vec![forward.to.clone()],
            ..NewMail::default()
        })
    }
}

/// The mark on what goes to this place.
pub(super) fn mark(key: &[u8], place: &str) -> String {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(place.as_bytes());
    mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a message may go on to the place with this mark; `Err` says in words why not.
pub(super) fn may_go_on(header: &Header<'_>, mark: &str) -> Result<(), String> {
    if header.all(MARK).any(|field| field.value.trim_ascii() == mark.as_bytes()) {
        return Err("it was sent there from here before and came back: that would go round for ever".to_owned());
    }
    let hops = header.all("Received").count();
    if hops > MAX_HOPS {
        return Err(format!("it has passed {hops} servers already: it seems to go round in a loop"));
    }
    Ok(())
}

fn forwarded_header(header: &[u8], identity: &Address, via: &Address, mark: &str, hop: Hop<'_>) -> Vec<u8> {
    let mut new = Rewrite::new(header);
    let writer = new.header().all("From").flat_map(|field| address_list::mailboxes(field.value)).next();
    let name = match &writer {
        Some(writer) => format!("{} via {via}", writer.name.clone().unwrap_or_else(|| writer.address.to_string())),
        None => via.to_string(),
    };
    if let Some(writer) = writer {
        new.set_if_missing("Reply-To", &writer.render());
    }
    new.set("From", &Mailbox { name: Some(name), address: identity.clone() }.render());
    REMOVED.iter().for_each(|name| new.remove(name));
    new.prepend(MARK, mark);
    outside(new, hop)
}

/// Our own line on top of a header that leaves.
pub fn outside(new: Rewrite<'_>, hop: Hop<'_>) -> Vec<u8> {
    let mut header = Prefix { hop: Some(hop), ..Prefix::default() }.render();
    header.extend(new.finish());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(original: &str) -> String {
        let (identity, via) = (Address::parse("office@isp.example").unwrap(), Address::parse("jobs@example.com").unwrap());
        let hop = Hop { by: "mail.office.lan", with: "POP3S", id: "1", ..Hop::default() };
        let new = String::from_utf8(forwarded_header(original.as_bytes(), &identity, &via, "0123", hop)).unwrap();
        let (received, rest) = new.split_once(MARK).unwrap();
        assert!(received.starts_with("Received: by mail.office.lan"), "{received}");
        rest.strip_prefix(": 0123\r\n").unwrap().to_owned()
    }

    #[test]
    fn who_answers_answers_the_writer() {
        assert_eq!(
            forwarded(
                "Return-Path: <x@y>\r\nFrom: \"Q\" <q@customer.example>\r\nSender: s@customer.example\r\nTo: jobs@example.com\r\nDKIM-Signature: v=1;\r\n b=x\r\n\r\n"
            ),
            "From: \"Q via jobs@example.com\" <office@isp.example>\r\nTo: jobs@example.com\r\nReply-To: Q <q@customer.example>\r\n\r\n"
        );
    }

    #[test]
    fn a_reply_to_of_the_writer_stays_alone() {
        let new = forwarded("From: bob@far.example\r\nReply-To: list@far.example\r\n\r\n");
        assert_eq!(new, "From: \"bob@far.example via jobs@example.com\" <office@isp.example>\r\nReply-To: list@far.example\r\n\r\n");
    }

    #[test]
    fn names_can_not_break_out() {
        let new = forwarded("From: =?utf-8?q?B=22_<evil@x>=0D=0ABcc=3A_J=C3=BC?= <j@far.example>\r\n\r\n");
        assert_eq!(new.lines().filter(|line| line.starts_with("Bcc")).count(), 0, "{new}");
        assert!(new.contains("<office@isp.example>"), "{new}");
    }

    #[test]
    fn a_loop_ends_at_the_mark_or_after_fifty_servers() {
        let check =
            |header: &str, expected: bool| assert_eq!(may_go_on(&Header::parse(header.as_bytes()), "0123").is_ok(), expected, "{header}");
        check("From: a@b.example\r\n\r\n", true);
        check("x-mailroom-loop:  0123 \r\n\r\n", false);
        check("X-Mailroom-Loop: 4567\r\nX-Mailroom-Loop: 0123\r\n\r\n", false);
        check("X-Mailroom-Loop: 4567\r\n\r\n", true);
        check(&("Received: x\r\n".repeat(MAX_HOPS) + "\r\n"), true);
        check(&("Received: x\r\n".repeat(MAX_HOPS + 1) + "\r\n"), false);
    }
}
