//! What becomes of a submitted message: who gets it here, what goes out, and as whom.
//!
//! Mail between users never leaves the LAN, whatever address of theirs it is written to, and their copies stay as written.

use super::{Submission, Submitter, recipient_address, sender_address};
use crate::address::{Address, Domain};
use crate::config::{Collector, Config, Current, Deliver, DeviceSender, UnknownLocal};
use crate::inbound::recipients::{self, Mail};
use crate::mapping::{Decision, Direction, Held, Identity, Mailbox, Recipient, Sender};
use crate::message::address_list;
use crate::message::header::Header;
use crate::message::rewrite::Rewrite;
use crate::message::trace::{Hop, Prefix};
use crate::message::wish::{Wish, Wishes};
use crate::outbound::approval;
use crate::outbound::forward::{self, Forwarding};
use crate::outbound::handover::{self, Origin};
use crate::outbound::{look, route};
use crate::smtp::reply::Reply;
use crate::store::Deposit;
use crate::store::journal::{self, BY_SMTP, NewEntry};
use crate::store::queue::{Approval, NewMail};
use crate::store::tray::{Kind, NewHeld};

/// Where a recipient is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Somebody here gets it, or the tray.
    Here,
    /// Not one of us, or one who has his mail elsewhere.
    Outside,
    /// Ours by its domain, but nobody has it.
    Nobody,
    /// This sender may not write there: why.
    Refused(String),
}

/// What is to be stored.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) deposits: Vec<Deposit>,
    pub(super) queue: Vec<NewMail>,
    pub(super) tray: Option<NewHeld>,
    pub(super) trace: Vec<(&'static str, String)>,
    /// Who has to agree before it goes to those outside.
    pub(super) approve: Option<String>,
    /// As whom it goes to those outside that its sender named.
    pub(super) identity: Option<Identity>,
    /// Addresses for which it ends here, in somebody's mailbox or with somebody whom the mapping sends it on to.
    pub(super) arrived: Vec<Address>,
    /// What nobody here wrote can be mapped anew.
    pub(super) journal: Option<NewEntry>,
}

/// Where this recipient is, as seen by this submitter.
pub(super) fn place(current: &Current, submitter: &Submitter, address: &Address) -> Place {
    let place = whereabouts(current, submitter, address);
    if place != Place::Here {
        return place;
    }
    let nothing = Header::parse(b"");
    let asked = decide(current, submitter, address, Mail { header: &nothing, size: 0, returned: None }, &[], &|_| None);
    match asked.refused {
        Some(why) => Place::Refused(format!("{address}: {why}")),
        None => Place::Here,
    }
}

/// The same, whether the submitter may write there or not.
pub(super) fn whereabouts(current: &Current, submitter: &Submitter, address: &Address) -> Place {
    let mapping = &current.mapping;
    if !mapping.is_ours(address) {
        return Place::Outside;
    }
    let Some(found) = mapping.resolve(address) else {
        return match submitter.is_trusted() && unknown_is_sent(&current.config, address.domain()) {
            true => Place::Outside,
            false => Place::Nobody,
        };
    };
    let here = !found.recipients.is_empty() || !found.forwards.is_empty() || !found.lmtp.is_empty();
    if here || found.remote.is_empty() { Place::Here } else { Place::Outside }
}

/// Whether mail for an address here goes outside as well, to a colleague who has his mail elsewhere. A stranger's goes there by another way.
pub(super) fn leaves_too(current: &Current, submitter: &Submitter, address: &Address) -> bool {
    submitter.is_trusted() && current.mapping.resolve(address).is_some_and(|found| !found.remote.is_empty())
}

/// Whether mail for a name that nobody has here may exist at the ISP.
fn unknown_is_sent(config: &Config, domain: &Domain) -> bool {
    if *domain == config.office.lan_domain {
        return false;
    }
    match config.office.unknown_local {
        Some(UnknownLocal::Send) => true,
        Some(UnknownLocal::Refuse) => false,
        None => !config.collectors.iter().any(|collector| {
            let covers =
                if collector.domains.is_empty() { config.office.domains.contains(domain) } else { collector.domains.contains(domain) };
            collector.enabled && collector.deliver == Deliver::Mapped && covers
        }),
    }
}

fn decide(
    current: &Current,
    submitter: &Submitter,
    address: &Address,
    mail: Mail<'_>,
    from: &[Address],
    sent: &dyn Fn(&str) -> Option<String>,
) -> Decision {
    let (direction, sender) = match sender(submitter) {
        Some(sender) => (Direction::Local, sender),
        None => (Direction::In, Sender::Outside(from)),
    };
    recipients::decide_for(&current.mapping, address, direction, sender, mail, sent)
}

/// Who of ours it is.
fn sender(submitter: &Submitter) -> Option<Sender<'_>> {
    match submitter {
        Submitter::Outside => None,
        Submitter::Device(device) => Some(match &device.sender {
            DeviceSender::User(user) => Sender::User(user),
            DeviceSender::SendAs(address) => Sender::Device(address),
        }),
        Submitter::User(user) => Some(Sender::User(user)),
    }
}

/// As whom a mail goes out. `from` are the addresses that it names itself. `Err` says what is missing.
pub(super) fn identity(current: &Current, submitter: &Submitter, from: &[Address]) -> Result<Identity, Reply> {
    let refused = |text: String| Reply::new(550, "5.7.1", text);
    match (submitter, submitter.user()) {
        (Submitter::Device(device), None) => match &device.sender {
            DeviceSender::SendAs(address) => {
                let identity = Identity { address: address.clone(), name: None, reply_to: None, smarthost: None };
                match route::smarthosts(&current.config, &identity).is_empty() {
                    false => Ok(identity),
                    true => Err(refused(format!("no smarthost accepts {address}, as which the device {} sends", device.name))),
                }
            }
            DeviceSender::User(_) => Err(refused("the device has no sender".into())),
        },
        // What a device writes into From is its maker's idea.
        (Submitter::Device(_), Some(user)) => route::identity(&current.config, &current.mapping, user, None).map_err(refused),
        (_, Some(user)) => route::identity(&current.config, &current.mapping, user, from.first()).map_err(refused),
        (_, None) => Err(refused("mail from outside goes to our own addresses only".into())),
    }
}

/// All as whom mail of this submitter may go out.
pub(super) fn identities(current: &Current, submitter: &Submitter) -> Vec<Identity> {
    match submitter.user() {
        Some(user) => current.mapping.identities(user),
        None => identity(current, submitter, &[]).into_iter().collect(),
    }
}

/// Whether there is any identity as which mail of this submitter can go out; which one is known when its From is.
pub(super) fn may_leave(current: &Current, submitter: &Submitter) -> Result<(), Reply> {
    let identities = submitter.user().map(|user| current.mapping.identities(user)).unwrap_or_default();
    match identities.iter().any(|identity| !route::smarthosts(&current.config, identity).is_empty()) {
        true => Ok(()),
        false => identity(current, submitter, &[]).map(drop),
    }
}

/// What becomes of the message.
pub(super) fn plan(
    current: &Current,
    submission: &Submission<'_>,
    from: &[Address],
    sent: &dyn Fn(&str) -> Option<String>,
    mark_key: &[u8],
) -> Result<Plan, Reply> {
    let submitter = submission.submitter;
    let facts = &submission.taken.facts;
    let header = facts.header();
    let dedupe = dedupe(submission, &header);
    let returned = facts.returned_id();
    let mail = Mail { header: &header, size: facts.size, returned: returned.as_deref() };
    let mut all = Decision::default();
    let mut plan = Plan::default();
    let (mut outside, mut approve) = (Vec::new(), None);
    for rcpt in &submission.envelope.recipients {
        let Some(address) = recipient_address(current, &rcpt.to) else { continue };
        if approval::is_desk(current, submitter, &address) {
            continue;
        }
        match whereabouts(current, submitter, &address) {
            Place::Outside => outside.push(address),
            // The mapping may have changed since RCPT; nothing that was accepted is refused or lost now.
            Place::Here | Place::Nobody | Place::Refused(_) => {
                let decision = decide(current, submitter, &address, mail, from, sent);
                // A colleague elsewhere gets a stranger's mail from whoever has his mailbox, not from us.
                if !decision.remote.is_empty() && submitter.is_trusted() {
                    outside.push(address.clone());
                }
                if has_arrived(&decision) {
                    plan.arrived.push(address);
                }
                all.join(decision);
            }
        }
    }
    if let Some(sender) = sender(submitter)
        && !outside.is_empty()
    {
        let outgoing = recipients::decide_outgoing(&current.mapping, sender, &outside, mail);
        approve = outgoing.approve;
        all.join(outgoing.decision);
        if outgoing.instead {
            outside.clear();
        }
    }
    if !submitter.is_trusted() {
        let envelope: Vec<Address> =
            submission.envelope.recipients.iter().filter_map(|rcpt| recipient_address(current, &rcpt.to)).collect();
        plan.trace.push(("received", format!("by smtp from {} [{}], {} bytes", submission.client, submission.peer, facts.size)));
        plan.trace.extend(all.steps.iter().map(|step| ("mapped", format!("{}: {} → {}", step.stage, step.evidence, step.result))));
        let entry = || NewEntry { collector: BY_SMTP.to_owned(), decision: journal::decision(all.json(), &envelope) };
        plan.journal = current.config.storage.journal.map(|_| entry());
    }
    for recipient in &all.recipients {
        plan.trace.push(("delivered", format!("to {}", recipient.mailbox)));
        plan.deposits.push(deposit(current, submission, recipient, &dedupe));
    }
    if !outside.is_empty() {
        let identity = identity(current, submitter, from)?;
        let shown: Vec<String> = outside.iter().map(Address::to_string).collect();
        plan.trace.push(("queued", format!("for {} as {}", shown.join(", "), identity.address)));
        if let Some(manager) = approve {
            plan.trace.push(("held", format!("until {manager} approves it")));
            plan.approve = Some(manager);
        }
        let mut mail = outgoing(current, submission, &identity, outside);
        mail.approval = plan.approve.clone().map(|manager| Approval { manager, question: String::new() });
        plan.queue.push(mail);
        plan.identity = Some(identity);
    }
    let forwarding = Forwarding { config: &current.config, mapping: &current.mapping, key: mark_key };
    for forward in &all.forwards {
        match forwarding.mail(forward, &facts.header, hop(current, submission)) {
            Ok(mail) => {
                plan.trace.push(("forwarded", format!("to {}", forward.to)));
                plan.queue.push(NewMail { dedupe: dedupe.clone(), ..mail });
            }
            Err(why) => {
                let reason = format!("it should go on to {}, but {why}", forward.to);
                all.held.get_or_insert(Held { reason, addresses: vec![] });
            }
        }
    }
    let origin = Origin {
        sender: sender_address(current, &submission.envelope.mail.from),
        owner: owner(current, submitter),
        from_outside: !submitter.is_trusted(),
        wishes: wishes(current, submission),
        dedupe,
    };
    let (handed_over, problem) = handover::mails(&all, &facts.header, &origin, mark_key, hop(current, submission));
    for mail in handed_over {
        let shown: Vec<String> = mail.recipients.iter().map(Address::to_string).collect();
        plan.trace.push(("forwarded", format!("to {} at the mail system {}", shown.join(", "), mail.lmtp.as_deref().unwrap_or_default())));
        plan.queue.push(mail);
    }
    if let Some(reason) = problem {
        all.held.get_or_insert(Held { reason, addresses: vec![] });
    }
    let refused = all.refused.take().map(|reason| (reason, vec![]));
    if let Some((reason, addresses)) = all.held.take().map(|held| (held.reason, held.addresses)).or(refused) {
        plan.trace.push(("held", reason.clone()));
        plan.tray = Some(NewHeld {
            reason,
            addresses: addresses.iter().map(Address::to_string).collect(),
            from: facts.from.as_ref().map(|mailbox| mailbox.address.to_string()).unwrap_or_default(),
            subject: facts.subject.clone(),
            kind: Kind::Held,
            collector: None,
        });
    }
    if all.discarded {
        plan.trace.push(("discarded", "the mapping says so".into()));
    }
    Ok(plan)
}

/// Whether this is the end of the way that its sender can know of: elsewhere somebody else will say.
fn has_arrived(decision: &Decision) -> bool {
    let somebody = !decision.recipients.is_empty() || !decision.forwards.is_empty();
    somebody && decision.remote.is_empty() && decision.lmtp.is_empty() && decision.held.is_none() && decision.refused.is_none()
}

/// A colleague's copy: as written, below what every server adds on top.
fn deposit(current: &Current, submission: &Submission<'_>, recipient: &Recipient, dedupe: &Option<String>) -> Deposit {
    let address = recipient.address.clone().or_else(|| match &recipient.mailbox {
        Mailbox::User(user) => current.mapping.lan_address(user),
        Mailbox::Shared(_) => None,
    });
    Deposit {
        mailbox: recipient.mailbox.clone(),
        folder: recipient.folder.clone(),
        prefix: prefix(current, submission, address.as_ref()).into(),
        flags: 0,
        internal_date: submission.now,
        dedupe: dedupe.clone(),
    }
}

/// See [`Deposit::dedupe`]. Who sends a colleague a message again, by hand, means it.
fn dedupe(submission: &Submission<'_>, header: &Header<'_>) -> Option<String> {
    header.first("Resent-From").is_none().then(|| submission.id.clone())
}

/// The lines on top of a copy that stays here.
fn prefix(current: &Current, submission: &Submission<'_>, address: Option<&Address>) -> Vec<u8> {
    let sender = sender_address(current, &submission.envelope.mail.from);
    let hop = Hop {
        from: Some(submission.client),
        ip: Some(submission.peer),
        by: &current.config.office.hostname,
        with: &submission.protocol,
        id: &submission.id,
        recipient: address,
        date: submission.now,
    };
    Prefix { return_path: Some(sender.as_ref()), delivered_to: address, hop: Some(hop) }.render()
}

/// Our line on top of a mail that leaves: which client it came from is nobody's business outside.
fn hop<'a>(current: &'a Current, submission: &'a Submission<'_>) -> Hop<'a> {
    let by = &current.config.office.hostname;
    Hop { by, with: &submission.protocol, id: &submission.id, date: submission.now, ..Hop::default() }
}

fn outgoing(current: &Current, submission: &Submission<'_>, identity: &Identity, recipients: Vec<Address>) -> NewMail {
    let header = &submission.taken.facts.header;
    let named = match submission.submitter {
        Submitter::Device(_) => named(header, identity),
        _ => header.clone(),
    };
    let (user, lan) = (submission.submitter.user().unwrap_or_default(), &current.config.office.lan_domain);
    let header = look::outgoing_header(&current.mapping, lan, user, identity, &named);
    NewMail {
        owner: owner(current, submission.submitter),
        sender: Some(identity.address.clone()),
        recipients,
        header: Some(forward::outside(Rewrite::new(&header), hop(current, submission))),
        wishes: wishes(current, submission),
        copy_to: copy_to(&current.config, submission.submitter, identity),
        ..NewMail::default()
    }
}

/// The collector whose mailbox gets a copy of what this person sends as this address. What machines send is nobody's correspondence.
fn copy_to(config: &Config, submitter: &Submitter, identity: &Identity) -> Option<String> {
    let keeps =
        |collector: &&Collector| collector.enabled && collector.sent.is_some() && collector.address.as_ref() == Some(&identity.address);
    let person = matches!(submitter, Submitter::User(_));
    config.collectors.iter().find(keeps).filter(|_| person).map(|collector| collector.name.clone())
}

/// What the sender wants to hear.
fn wishes(current: &Current, submission: &Submission<'_>) -> Wishes {
    let envelope = submission.envelope;
    let said = envelope.recipients.iter().filter(|rcpt| rcpt.wish != Wish::default());
    let each = said.filter_map(|rcpt| Some((recipient_address(current, &rcpt.to)?, rcpt.wish.clone()))).collect();
    Wishes { ret: envelope.mail.ret, envid: envelope.mail.envid.clone(), each }
}

/// A device's header with the sender that it was given, under the name that it gave itself.
fn named(header: &[u8], identity: &Identity) -> Vec<u8> {
    let mut new = Rewrite::new(header);
    let written = new.header().all("From").flat_map(|field| address_list::mailboxes(field.value)).next();
    if written.as_ref().map(|mailbox| &mailbox.address) != Some(&identity.address) {
        let name = identity.name.clone().or(written.and_then(|mailbox| mailbox.name));
        new.set("From", &address_list::Mailbox { name, address: identity.address.clone() }.render());
    }
    new.remove("Sender");
    new.finish()
}

/// Who hears when it fails.
pub(super) fn owner(current: &Current, submitter: &Submitter) -> String {
    let postmaster = &current.config.office.postmaster;
    match submitter {
        Submitter::User(user) => user.clone(),
        Submitter::Device(device) => device.bounces.as_deref().or(submitter.user()).unwrap_or(postmaster).to_owned(),
        Submitter::Outside => postmaster.clone(),
    }
}
