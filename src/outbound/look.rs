//! How a mail looks outside: the header that leaves in place of the one that was written. Pure.
//!
//! `From`, `Sender`, `Reply-To` and receipt requests name the identity that it leaves as; LAN addresses in `To` and `Cc` become the outside
//! addresses of those people. All other fields keep their bytes.

use crate::address::{Address, Domain};
use crate::mapping::{Identity, Mailbox, Mapping};
use crate::message::address_list::{self, RawMailbox};
use crate::message::rewrite::Rewrite;
use crate::message::words;

/// Fields that ask for a receipt (RFC 8098 §2.1, and two older habits).
const RECEIPTS: [&str; 3] = ["Disposition-Notification-To", "Return-Receipt-To", "X-Confirm-Reading-To"];

/// The header of the copy that goes outside: From, Sender, Reply-To and receipt requests name the identity, and who is named by a LAN
/// address in To or Cc is named by his outside one. Every other byte is as it was. `message` may be longer than its header.
pub fn outgoing_header(mapping: &Mapping, lan_domain: &Domain, user: &str, identity: &Identity, message: &[u8]) -> Vec<u8> {
    let mut rewrite = Rewrite::new(message);
    let inside = |raw: &RawMailbox| inside_address(lan_domain, raw);
    let own = |raw: &RawMailbox| match inside(raw) {
        Some(_) => Some(identity.address.clone()),
        None => raw.address().filter(|address| mapping.identity(user, address).is_none()).map(|_| identity.address.clone()),
    };
    let from = rewrite.header().first("From").map(|field| field.value.to_vec());
    match from.as_deref().map(address_list::entries) {
        Some(entries) if is_written_outside(&entries, inside) => {}
        entries => {
            let written = entries.unwrap_or_default().into_iter().find_map(|entry| match entry {
                address_list::Entry::Mailbox(raw) => raw.display_name(),
                _ => None,
            });
            let name = identity.name.clone().or(written).or_else(|| mapping.full_name(user).map(str::to_owned));
            rewrite.set("From", &mailbox(name.as_deref(), &identity.address));
        }
    }
    rewrite.replace_addresses("Sender", own);
    for name in RECEIPTS.into_iter().chain(["Reply-To", "To", "Cc"]) {
        rewrite.replace_addresses(name, |raw| outside_address(mapping, &inside(raw)?));
    }
    if let Some(reply_to) = &identity.reply_to {
        rewrite.set_if_missing("Reply-To", &reply_to.to_string());
    }
    rewrite.finish()
}

/// Whether From names somebody, and nobody by a LAN or bare form, or by what is no address.
fn is_written_outside(entries: &[address_list::Entry], inside: impl Fn(&RawMailbox) -> Option<Address>) -> bool {
    let mut mailboxes = entries.iter().filter_map(|entry| match entry {
        address_list::Entry::Mailbox(raw) => Some(raw),
        _ => None,
    });
    let is_outside = |raw: &RawMailbox| raw.address().is_some() && inside(raw).is_none();
    mailboxes.next().is_some_and(is_outside) && mailboxes.all(is_outside)
}

/// The LAN address that stands there, in full or as a bare name.
fn inside_address(lan_domain: &Domain, raw: &RawMailbox) -> Option<Address> {
    match raw.address() {
        Some(address) => (address.domain() == lan_domain).then_some(address),
        None if raw.host.is_empty() => Address::new(std::str::from_utf8(&raw.local).ok()?, lan_domain).ok(),
        None => None,
    }
}

/// What the outside knows a LAN address by: the default of the one user whom it reaches, else the same name at a domain of ours.
pub fn outside_address(mapping: &Mapping, inside: &Address) -> Option<Address> {
    let found = mapping.resolve(inside)?;
    if let [only] = found.recipients.as_slice()
        && let Mailbox::User(user) = &only.mailbox
    {
        return mapping.identities(user).into_iter().next().map(|identity| identity.address);
    }
    let same = mapping.domains().iter().filter_map(|domain| Address::new(inside.local(), domain).ok());
    same.into_iter().find(|address| mapping.resolve(address).is_some())
}

/// `Name <address>`, the name quoted or encoded as needed.
fn mailbox(name: Option<&str>, address: &Address) -> String {
    match name {
        Some(name) => format!("{} <{address}>", words::phrase(name)),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::route::tests::{address, mapping};

    fn outside(user: &str, identity: &str, header: &str) -> String {
        let mapping = mapping();
        let identity = mapping.identity(user, &address(identity)).unwrap();
        let message = format!("{header}\r\n\r\n");
        let lan = Domain::parse("office.lan").unwrap();
        String::from_utf8(outgoing_header(&mapping, &lan, user, &identity, message.as_bytes())).unwrap().trim_end().to_owned()
    }

    #[test]
    fn headers_outside() {
        let check = |user: &str, identity: &str, header: &str, expected: &str| assert_eq!(outside(user, identity, header), expected);
        check("bob", "bob@isp.example", "From: Bob <bob@office.lan>", "From: Bob <bob@isp.example>");
        check("bob", "bob@isp.example", "From: bob", "From: bob@isp.example");
        check("bob", "sales@example.com", "From:  Sales  <sales@example.com>", "From:  Sales  <sales@example.com>");
        check(
            "alice",
            "alice@example.com",
            "From: alice@office.lan\r\nTo: \"Bob, B.\" <bob@office.lan>, x@else.example\r\nCc: all@office.lan, carol@office.lan",
            "From: Alice Smith <alice@example.com>\r\nTo: \"Bob, B.\" <bob@isp.example>, x@else.example\r\n\
             Cc: all@example.com, office@isp.example\r\nReply-To: office@example.com",
        );
        check(
            "bob",
            "bob@isp.example",
            "From: bob@isp.example\r\nSender: <root@office.lan>\r\nReply-To: bob@office.lan\r\nDisposition-Notification-To: <bob@office.lan>",
            "From: bob@isp.example\r\nSender: <bob@isp.example>\r\nReply-To: bob@isp.example\r\nDisposition-Notification-To: <bob@isp.example>",
        );
        check(
            "bob",
            "bob@isp.example",
            "from: bob@isp.example\r\nreturn-receipt-to: bob\r\nX-Confirm-Reading-To: B <bob@office.lan>\r\nErrors-To: bob@office.lan",
            "from: bob@isp.example\r\nreturn-receipt-to: bob@isp.example\r\nX-Confirm-Reading-To: B <bob@isp.example>\r\nErrors-To: bob@office.lan",
        );
    }
}
