//! The header of a message that a rule sends on to an outside address.
//!
//! It leaves with an identity of ours in From, since the original author's domain would disown it (SPF, DMARC); the author stays visible
//! in the name and gets the answers by Reply-To.

use crate::mapping::Identity;
use crate::message::address_list::mailboxes;
use crate::message::rewrite::Rewrite;

/// Fields that speak of the way the message came, or that would be wrong beside our From.
const DROPPED: [&str; 7] =
    ["sender", "return-path", "delivered-to", "disposition-notification-to", "return-receipt-to", "bcc", "dkim-signature"];

/// The new header, blank line included. `original` is the header's bytes as fetched.
pub fn header(original: &[u8], identity: &Identity) -> Vec<u8> {
    let mut new = Rewrite::new(original);
    let author = new.header().first("from").map(|field| String::from_utf8_lossy(&field.unfolded()).trim().to_owned());
    let person = author.as_ref().and_then(|author| mailboxes(author.as_bytes()).into_iter().next());
    let shown = person.map_or_else(|| "unknown".to_owned(), |mailbox| mailbox.name.unwrap_or_else(|| mailbox.address.to_string()));
    let via = identity.name.clone().unwrap_or_else(|| identity.address.domain().to_string());
    DROPPED.iter().for_each(|name| new.remove(name));
    new.set("From", &format!("{} <{}>", phrase(&format!("{shown} via {via}")), identity.address));
    if let Some(author) = author {
        new.set_if_missing("Reply-To", &author);
    }
    new.finish()
}

/// A display name: quoted, or encoded if it is not ASCII (RFC 2047 §5).
fn phrase(name: &str) -> String {
    use base64::Engine;
    let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    if name.is_ascii() {
        return format!("\"{}\"", name.replace('\\', "").replace('"', "'"));
    }
    // 60 characters fit in a few words; each must hold whole characters and stay below 76 bytes.
    let mut words: Vec<String> = vec![String::new()];
    for c in name.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > 40) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn forwarded(original: &str) -> String {
        let address = Address::parse("office@example.com").unwrap();
        let identity = Identity { address, name: Some("Office".into()), reply_to: None, smarthost: None };
        String::from_utf8(header(original.as_bytes(), &identity)).unwrap()
    }

    #[test]
    fn leaves_as_ours_and_is_answered_to_the_author() {
        let new = forwarded("Return-Path: <x@y>\r\nFrom: Bob <bob@far.example>\r\nTo: jobs@example.com\r\nSubject: a\r\n b\r\n\r\n");
        assert_eq!(
            new,
            "From: \"Bob via Office\" <office@example.com>\r\nTo: jobs@example.com\r\nSubject: a\r\n b\r\nReply-To: Bob <bob@far.example>\r\n\r\n"
        );
    }

    #[test]
    fn a_reply_to_of_the_author_stays_alone() {
        let new = forwarded("From: bob@far.example\r\nReply-To: list@far.example\r\n\r\n");
        assert_eq!(new.matches("Reply-To").count(), 1);
        assert!(new.starts_with("From: \"bob@far.example via Office\" <office@example.com>\r\n"));
    }

    #[test]
    fn names_can_not_break_out() {
        let new = forwarded("From: =?utf-8?q?B=22_<evil@x>=0D=0ABcc=3A_J=C3=BC?= <j@far.example>\r\n\r\n");
        assert!(new.starts_with("From: =?utf-8?B?"), "{new}");
        assert_eq!(new.lines().filter(|line| line.starts_with("Bcc")).count(), 0);
    }
}
