//! Mail that a mapping sends on to an outside address, whether it was fetched or handed in.
//!
//! It leaves with an identity of ours, since the writer's own would fail SPF and DMARC at the next server; who answers, answers the
//! writer. Bounces go to the owner of the entry or rule.

use crate::address::Address;
use crate::config::Current;
use crate::mapping::Forward;
use crate::message::address_list::{self, Mailbox};
use crate::message::rewrite::Rewrite;
use crate::message::trace::{Hop, Prefix};
use crate::outbound::route;
use crate::store::queue::NewMail;

/// Fields that would speak for the writer or against the reader: he who answers a receipt request answers somebody he never wrote to.
const REMOVED: [&str; 6] = ["Sender", "Disposition-Notification-To", "Return-Receipt-To", "X-Confirm-Reading-To", "Return-Path", "Bcc"];

/// The queue's mail for a forward of the message with this header; `Err` says in words why there can't be one.
pub fn forwarded(current: &Current, forward: &Forward, header: &[u8], hop: Hop<'_>) -> Result<NewMail, String> {
    let identity = route::identity(&current.config, &current.mapping, &forward.owner, None)?;
    let via = forward.address.as_ref().unwrap_or(&identity.address);
    Ok(NewMail {
        owner: forward.owner.clone(),
        header: Some(forwarded_header(header, &identity.address, via, hop)),
        sender: Some(identity.address),
        recipients: vec![forward.to.clone()],
    })
}

fn forwarded_header(header: &[u8], identity: &Address, via: &Address, hop: Hop<'_>) -> Vec<u8> {
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

    #[test]
    fn who_answers_answers_the_writer() {
        let header = b"From: \"Q\" <q@customer.example>\r\nSender: s@customer.example\r\nTo: jobs@example.com\r\n\r\n";
        let (identity, via) = (Address::parse("office@isp.example").unwrap(), Address::parse("jobs@example.com").unwrap());
        let hop = Hop { by: "mail.office.lan", with: "POP3S", id: "1", ..Hop::default() };
        let new = String::from_utf8(forwarded_header(header, &identity, &via, hop)).unwrap();
        let (received, rest) = new.split_once("From:").unwrap();
        assert!(received.starts_with("Received: by mail.office.lan"), "{received}");
        assert_eq!(
            rest,
            " \"Q via jobs@example.com\" <office@isp.example>\r\nTo: jobs@example.com\r\nReply-To: Q <q@customer.example>\r\n\r\n"
        );
    }
}
