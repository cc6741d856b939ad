//! How a mail looks outside: the header that leaves in place of the one that was written. Pure.
//!
//! `From`, `Sender`, `Reply-To` and receipt requests name the identity that it leaves as; LAN addresses in `To` and `Cc` become the outside
//! addresses of those people. All other fields keep their bytes.

use crate::address::{Address, Domain};
use crate::mapping::{Identity, Mailbox as Whose, Mapping};
use crate::message::address_list::{self, Mailbox, RawMailbox};
use crate::message::rewrite::Rewrite;
use crate::message::trace::{Hop, Prefix};

/// Fields that ask for an answer to the sender.
const ANSWERS: [&str; 6] = ["Sender", "Reply-To", "Disposition-Notification-To", "Return-Receipt-To", "X-Confirm-Reading-To", "Errors-To"];

/// What the look of a mail depends on beside its header.
pub struct Look<'a> {
    /// Who is who.
    pub mapping: &'a Mapping,
    /// Addresses in it are never seen outside.
    pub lan_domain: &'a Domain,
    /// Whom it leaves as.
    pub identity: &'a Identity,
    /// The user who wrote it, if it is one.
    pub user: Option<&'a str>,
    /// Our own trace line.
    pub hop: Hop<'a>,
}

impl Look<'_> {
    /// The header of a user's or device's mail.
    pub fn header(&self, message: &[u8]) -> Vec<u8> {
        let mut new = Rewrite::new(message);
        let written: Vec<Mailbox> = new.header().all("From").flat_map(|field| address_list::mailboxes(field.value)).collect();
        if !matches!(written.as_slice(), [one] if one.address == self.identity.address) {
            let written_name = written.into_iter().next().and_then(|mailbox| mailbox.name);
            let full_name = || self.user.and_then(|user| self.mapping.full_name(user)).map(str::to_owned);
            let name = self.identity.name.clone().or(written_name).or_else(full_name);
            new.set("From", &Mailbox { name, address: self.identity.address.clone() }.render());
        }
        for field in ANSWERS {
            new.replace_addresses(field, |raw| self.answer_address(raw));
        }
        for field in ["To", "Cc"] {
            new.replace_addresses(field, |raw| self.outside(&raw.address()?));
        }
        if let Some(reply_to) = &self.identity.reply_to {
            new.set_if_missing("Reply-To", &reply_to.to_string());
        }
        self.finish(new)
    }

    /// The header of a mail of somebody else that goes on to the outside: SPF and DMARC of the writer would fail, so it comes from us,
    /// and answers go to him.
    pub fn forwarded(&self, message: &[u8], via: &str) -> Vec<u8> {
        let mut new = Rewrite::new(message);
        let writer = new.header().all("From").flat_map(|field| address_list::mailboxes(field.value)).next();
        let name = match &writer {
            Some(writer) => format!("{} via {via}", writer.name.clone().unwrap_or_else(|| writer.address.to_string())),
            None => via.to_owned(),
        };
        if let Some(writer) = writer {
            new.set_if_missing("Reply-To", &writer.render());
        }
        new.set("From", &Mailbox { name: Some(name), address: self.identity.address.clone() }.render());
        new.remove("Sender");
        new.remove("Disposition-Notification-To");
        new.remove("Return-Receipt-To");
        self.finish(new)
    }

    fn finish(&self, mut new: Rewrite<'_>) -> Vec<u8> {
        new.remove("Bcc");
        new.remove("Return-Path");
        let mut header = Prefix { hop: Some(self.hop.clone()), ..Prefix::default() }.render();
        header.extend(new.finish());
        header
    }

    /// In a field that asks for answers: the writer's own LAN address is the identity, a colleague's is that colleague's.
    fn answer_address(&self, raw: &RawMailbox) -> Option<Address> {
        let address = match raw.address() {
            Some(address) => address,
            // A bare name, as the writer's mail program may know him.
            None if raw.host.is_empty() => Address::new(std::str::from_utf8(&raw.local).ok()?, self.lan_domain).ok()?,
            None => return None,
        };
        let own = self.user.and_then(|user| self.mapping.lan_address(user)).is_some_and(|lan| lan == address);
        if own { Some(self.identity.address.clone()) } else { self.outside(&address) }
    }

    /// The outside address of the one person whom a LAN address belongs to.
    fn outside(&self, address: &Address) -> Option<Address> {
        if address.domain() != self.lan_domain {
            return None;
        }
        let found = self.mapping.resolve(address)?;
        match found.recipients.as_slice() {
            [one] => match &one.mailbox {
                Whose::User(user) => Some(self.mapping.identities(user).into_iter().next()?.address),
                Whose::Shared(_) => None,
            },
            _ => None,
        }
    }
}
