//! Mail whose people another mail system keeps (`lmtp:`): it is handed over as it came, below the lines of this hop, for all addresses
//! of one system at once. The queue keeps what that system can't take now.

use crate::address::Address;
use crate::mapping::Decision;
use crate::message::header::Header;
use crate::message::rewrite::Rewrite;
use crate::message::trace::Hop;
use crate::message::wish::Wishes;
use crate::outbound::forward;
use crate::store::queue::NewMail;

/// Who sent a mail that is handed over, and who hears of trouble.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The envelope sender; `None` is `<>`.
    pub sender: Option<Address>,
    /// The user who gets a bounce.
    pub owner: String,
    /// Nobody here wrote it: instead of a bounce it goes to the tray.
    pub from_outside: bool,
    /// What the sender wants to hear of it.
    pub wishes: Wishes,
    /// See [`NewMail::dedupe`].
    pub dedupe: Option<String>,
}

/// One mail system, whom it gets a message for, and the marks that say so.
struct System<'a> {
    server: &'a str,
    recipients: Vec<Address>,
    marks: Vec<String>,
}

/// The queue's mails for the other mail systems of a decision, and why some of their addresses can't be handed over.
pub fn mails(decision: &Decision, header: &[u8], origin: &Origin, mark_key: &[u8], hop: Hop<'_>) -> (Vec<NewMail>, Option<String>) {
    if decision.lmtp.is_empty() {
        return (vec![], None);
    }
    let (mut systems, mut problem) = (Vec::<System<'_>>::new(), None);
    let parsed = Header::parse(header);
    for (server, address) in &decision.lmtp {
        let mark = forward::mark(mark_key, &format!("lmtp:{server} {}", address.key()));
        if let Err(why) = forward::may_go_on(&parsed, &mark) {
            problem = Some(format!("it should go on to {address} at {server}, but {why}"));
            continue;
        }
        let at = systems.iter().position(|known| known.server == server).unwrap_or_else(|| {
            systems.push(System { server, recipients: vec![], marks: vec![] });
            systems.len() - 1
        });
        systems[at].recipients.push(address.clone());
        systems[at].marks.push(mark);
    }
    let mail = |System { server, recipients, marks }: System<'_>| {
        let mut new = Rewrite::new(header);
        marks.iter().for_each(|mark| new.prepend(forward::MARK, mark));
        NewMail {
            owner: origin.owner.clone(),
            sender: origin.sender.clone(),
            recipients,
            header: Some(forward::outside(new, hop.clone())),
            lmtp: Some(server.to_owned()),
            from_outside: origin.from_outside,
            wishes: origin.wishes.clone(),
            dedupe: origin.dedupe.clone(),
            ..NewMail::default()
        }
    };
    (systems.into_iter().map(mail).collect(), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn one_mail_a_system_untouched_below_our_lines_and_never_in_a_circle() {
        let lmtp = [("a:24", "x@lab.example"), ("b:24", "x@lab.example"), ("a:24", "y@lab.example")];
        let lmtp = lmtp.map(|(server, to)| (server.to_owned(), address(to))).to_vec();
        let decision = Decision { lmtp, ..Decision::default() };
        let origin = Origin { sender: None, owner: "alice".into(), from_outside: true, wishes: Wishes::default(), dedupe: None };
        let hop = || Hop { by: "mail.office.lan", with: "POP3S", id: "1", ..Hop::default() };
        let header = b"Return-Path: <q@r.example>\r\nfrom:  odd \r\n\r\n";
        let (mails, problem) = super::mails(&decision, header, &origin, b"key", hop());
        assert_eq!(problem, None);
        let shape: Vec<_> = mails.iter().map(|mail| (mail.lmtp.as_deref().unwrap(), mail.recipients.len())).collect();
        assert_eq!(shape, [("a:24", 2), ("b:24", 1)]);
        let sent = mails[0].header.clone().unwrap();
        assert!(sent.starts_with(b"Received: by mail.office.lan") && sent.ends_with(header));
        // It comes back: nobody there gets it again, the other system still would.
        let again = Decision { lmtp: vec![decision.lmtp[2].clone(), decision.lmtp[1].clone()], ..Decision::default() };
        let (mails, problem) = super::mails(&again, &sent, &origin, b"key", hop());
        assert!(problem.unwrap().contains("y@lab.example at a:24, but it was sent there from here before"));
        assert_eq!(mails.len(), 1);
    }
}
