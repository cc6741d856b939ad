//! A message that somebody hands in by SMTP: checked, delivered to colleagues and queued for outside, in one transaction.
//!
//! Who may send as whom and to whom is asked at `MAIL FROM` and `RCPT TO` ([`check_sender`], [`check_recipient`]), where the client can
//! still tell its user which address is wrong; the message itself is asked once more, since `From` is in it. What becomes of it is a
//! [`plan`]; what the plan says is one [`Arrival`].

mod arrived;
pub mod limits;
mod plan;

use crate::address::Address;
use crate::config::{Current, Device, DeviceSender};
use crate::message::address_list::{self, RawMailbox};
use crate::outbound::{approval, intake, size, vacation};
use crate::smtp::command::{Mail, Path, Rcpt};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Envelope, too_large};
use crate::store::{Arrival, Store, StoreError};
use plan::Place;
use std::collections::HashMap;
use std::net::IpAddr;

pub use intake::Taken;

/// Identities that a refusal lists: more would not be read.
const LISTED: usize = 12;
/// Characters of a writer that is none that a refusal shows.
const SHOWN: usize = 80;

/// Who hands mail in.
#[derive(Debug, Clone)]
pub enum Submitter {
    /// Somebody who logged in.
    User(String),
    /// `[[device]]`, known by its address.
    Device(Box<Device>),
    /// Somebody who may deliver to our addresses, and nothing else.
    Outside,
}

impl Submitter {
    /// One of ours, whose odd line ends are mended rather than refused.
    pub fn is_trusted(&self) -> bool {
        !matches!(self, Self::Outside)
    }

    /// Who stands in From if the message names nobody; `None`: it stays as it is.
    pub fn author(&self, current: &Current, sender: &Path) -> Option<Address> {
        match self {
            Self::Outside => None,
            Self::User(_) => sender_address(current, sender),
            Self::Device(device) => match &device.sender {
                DeviceSender::SendAs(address) => Some(address.clone()),
                DeviceSender::User(user) => current.mapping.lan_address(user),
            },
        }
    }

    /// What people here call it.
    fn name(&self) -> &str {
        match self {
            Self::User(name) => name,
            Self::Device(device) => self.user().unwrap_or(&device.name),
            Self::Outside => "",
        }
    }

    /// The user as whom it is sent, if there is one.
    fn user(&self) -> Option<&str> {
        match self {
            Self::User(name) => Some(name),
            Self::Device(device) => match &device.sender {
                DeviceSender::User(name) => Some(name),
                DeviceSender::SendAs(_) => None,
            },
            Self::Outside => None,
        }
    }
}

/// A message with all that is known about it.
pub struct Submission<'a> {
    /// Whose.
    pub submitter: &'a Submitter,
    /// From whom and for whom, as accepted.
    pub envelope: &'a Envelope,
    /// The message.
    pub taken: Taken,
    /// What the client calls itself.
    pub client: &'a str,
    /// Where it is.
    pub peer: IpAddr,
    /// `with` of the `Received` line.
    pub protocol: String,
    /// Tells it from others in our `Received` line and the log.
    pub id: String,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// Who may hand in mail from this address without log-in; `None`: nobody.
pub fn stranger(current: &Current, peer: IpAddr) -> Option<Submitter> {
    let config = &current.config;
    let within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&peer));
    if let Some(device) = config.devices.iter().find(|device| within(&device.address)) {
        return Some(Submitter::Device(Box::new(device.clone())));
    }
    within(&config.access.inbound).then_some(Submitter::Outside)
}

/// Whether it may be sent as that.
pub fn check_sender(current: &Current, submitter: &Submitter, mail: &Mail) -> Result<(), Reply> {
    if let Path::Mailbox(address) = &mail.from
        && address.needs_smtputf8()
        && !mail.smtputf8
    {
        return Err(needs_smtputf8());
    }
    match (submitter, sender_address(current, &mail.from)) {
        (Submitter::User(user), Some(address)) if !may_use(current, user, &address) => Err(not_yours(current, user, &address.to_string())),
        _ => Ok(()),
    }
}

/// Whether it may be sent there.
pub fn check_recipient(current: &Current, submitter: &Submitter, rcpt: &Rcpt, utf8: bool) -> Result<(), Reply> {
    let Some(address) = recipient_address(current, &rcpt.to) else {
        return Err(Reply::new(553, "5.1.3", "The recipient is no mail address"));
    };
    if address.needs_smtputf8() && !utf8 {
        return Err(needs_smtputf8());
    }
    if approval::is_desk(current, submitter, &address) {
        return Ok(());
    }
    match (plan::place(current, submitter, &address), submitter) {
        // A group may have a member who is elsewhere.
        (Place::Here, _) if plan::leaves_too(current, submitter, &address) => check_outside(current, submitter),
        (Place::Here, _) => Ok(()),
        (Place::Refused(why), _) => Err(Reply::new(550, "5.7.1", why)),
        (Place::Nobody, Submitter::Outside) => Err(Reply::new(550, "5.1.1", format!("{address}: nobody of that name here"))),
        (Place::Nobody, _) => {
            let hint = current.mapping.nearest(&address).map(|near| format!("; do you mean {near}?")).unwrap_or_default();
            Err(Reply::new(550, "5.1.1", format!("{address}: nobody of that name here{hint}")))
        }
        (Place::Outside, Submitter::Outside) => {
            Err(Reply::new(550, "5.7.1", format!("{address}: we take mail for our own addresses only")))
        }
        (Place::Outside, _) => check_outside(current, submitter),
    }
}

/// Whether it may be sent to anybody outside.
fn check_outside(current: &Current, submitter: &Submitter) -> Result<(), Reply> {
    match submitter {
        Submitter::Device(device) if device.local_only => {
            Err(Reply::new(550, "5.7.1", format!("The device {} may send to people here only", device.name)))
        }
        _ => limits::check_outside(current, submitter).and_then(|()| plan::may_leave(current, submitter)),
    }
}

/// Whether a mail of that announced size may be sent there: the smarthosts have limits of their own, colleagues have not.
pub async fn check_size(store: &Store, current: &Current, submitter: &Submitter, rcpt: &Rcpt, size: u64) -> Result<(), Reply> {
    let identities = plan::identities(current, submitter);
    let limit = size::limit(store, current, &identities).await.map_err(|error| temporary(&error))?;
    let Some(limit) = limit.filter(|limit| size > *limit) else { return Ok(()) };
    let outside = |address| plan::whereabouts(current, submitter, &address) == Place::Outside;
    if recipient_address(current, &rcpt.to).is_some_and(outside) { Err(too_large(limit)) } else { Ok(()) }
}

/// Stores a message for everybody whom it is for. The reply is final: 250 means that all of it is durable.
pub async fn submit(store: &Store, current: &Current, submission: Submission<'_>) -> Reply {
    let header = submission.taken.facts.header();
    let from = address_list::writers(&header);
    if let Submitter::User(user) = submission.submitter {
        if let Some(foreign) = from.iter().find(|address| !may_use(current, user, address)) {
            return not_yours(current, user, &foreign.to_string());
        }
        // Colleagues see the copy as it was written, and programs make an address even of what is none.
        if let Some(odd) = address_list::odd_writers(&header).iter().find(|odd| !is_own_name(user, odd)) {
            return not_yours(current, user, &format!("\"{}\" in From or Sender", shown(odd)));
        }
    }
    // Others of his may have come in since MAIL FROM.
    if let Err(reply) = limits::check_rate(store, current, submission.submitter, submission.now).await {
        return reply;
    }
    let sent = match earlier_senders(store, &submission.taken.facts.references).await {
        Ok(sent) => sent,
        Err(error) => return temporary(&error),
    };
    let mark_key = match store.mark_key().await {
        Ok(key) => key,
        Err(error) => return temporary(&error),
    };
    if let Some(reply) = approval::answered(store, current, &submission).await {
        return reply;
    }
    let mut plan = match plan::plan(current, &submission, &from, &|id| sent.get(id).cloned(), &mark_key) {
        Ok(plan) => plan,
        Err(reply) => return reply,
    };
    if let Some(identity) = &plan.identity {
        match size::limit(store, current, std::slice::from_ref(identity)).await {
            Ok(Some(limit)) if submission.taken.facts.size > limit => return too_large(limit),
            Ok(_) => {}
            Err(error) => return temporary(&error),
        }
    }
    let (here, outside) = (plan.deposits.len(), plan.queue.iter().map(|mail| mail.recipients.len()).sum::<usize>());
    let message_id = submission.taken.facts.message_id.clone().unwrap_or_default();
    let question = plan.approve.clone().and_then(|manager| {
        let asked = approval::Asked { manager: &manager, sender: submission.submitter.name() };
        approval::ask(current, &asked, &submission.taken, &mut plan.queue, submission.now)
    });
    let owner = plan::owner(current, submission.submitter);
    let confirmation = match arrived::confirmation(store, current, &submission, &owner, &plan.arrived).await {
        Ok(confirmation) => confirmation,
        Err(error) => return temporary(&error),
    };
    let away = match store.vacations().await {
        Ok(away) => away,
        Err(error) => return temporary(&error),
    };
    let sender = sender_address(current, &submission.envelope.mail.from);
    let replies = vacation::replies(current, &away, &submission.taken.facts, sender.as_ref(), &plan.deposits, submission.now);
    let arrival = Arrival {
        deposits: plan.deposits,
        queue: plan.queue,
        tray: plan.tray,
        journal: plan.journal,
        trace: plan.trace,
        sent_by: submission.submitter.user().map(str::to_owned),
        counts: limits::counts(current, submission.submitter),
        ..Arrival::new(submission.taken.content)
    };
    let mut arrivals = vec![arrival];
    arrivals.extend(replies);
    arrivals.extend(question);
    arrivals.extend(confirmation);
    match store.arrive(arrivals).await.into_iter().next() {
        Some(Ok(arrived)) => {
            tracing::info!(message_id, here, outside, "taken");
            let number = arrived.queue.first().map(|id| format!(", number {} in the queue", id.0)).unwrap_or_default();
            Reply::new(250, "2.0.0", format!("Taken: {here} here, {outside} outside{number}"))
        }
        Some(Err(error)) => temporary(&error),
        None => temporary(&StoreError::Closed),
    }
}

/// The store's failures never lose a mail: the client keeps it.
pub fn temporary(error: &StoreError) -> Reply {
    tracing::error!(%error, "a message could not be stored");
    match error {
        StoreError::Full => Reply::new(452, "4.3.1", "The disk of the mail server is full; try again later"),
        _ => Reply::new(451, "4.3.0", "The message could not be stored; try again later"),
    }
}

/// The sender as an address: a bare name belongs to the LAN. `None` is `<>`.
pub fn sender_address(current: &Current, path: &Path) -> Option<Address> {
    match path {
        Path::Null => None,
        Path::Mailbox(address) => Some(address.clone()),
        Path::Bare(name) => Address::new(name, &current.config.office.lan_domain).ok(),
    }
}

/// The recipient as an address: a bare name belongs to the LAN, `<postmaster>` is the office's (RFC 5321 §4.5.1).
fn recipient_address(current: &Current, path: &Path) -> Option<Address> {
    sender_address(current, path)
}

/// Whether the user may send as that address: an identity of his, or his LAN address.
fn may_use(current: &Current, user: &str, address: &Address) -> bool {
    let mapping = &current.mapping;
    mapping.lan_address(user).as_ref() == Some(address) || mapping.identity(user, address).is_some()
}

/// Whether it is the user's bare name, which stands for his LAN address.
fn is_own_name(user: &str, odd: &RawMailbox) -> bool {
    odd.host.is_empty() && odd.route.is_none() && std::str::from_utf8(&odd.local).is_ok_and(|name| name.to_lowercase() == user)
}

fn shown(odd: &RawMailbox) -> String {
    let text = match (&odd.local[..], &odd.host[..]) {
        (b"", b"") => odd.display_name().unwrap_or_default(),
        (local, b"") => String::from_utf8_lossy(local).into_owned(),
        (local, host) => format!("{}@{}", String::from_utf8_lossy(local), String::from_utf8_lossy(host)),
    };
    text.chars().take(SHOWN).collect()
}

fn not_yours(current: &Current, user: &str, what: &str) -> Reply {
    let mut own: Vec<String> = current.mapping.identities(user).into_iter().map(|identity| identity.address.to_string()).collect();
    own.extend(current.mapping.lan_address(user).map(|address| address.to_string()));
    own.dedup();
    let more = own.len().saturating_sub(LISTED);
    own.truncate(LISTED);
    let mut lines = vec![format!("{what} is not an address that {user} may send as. These are:")];
    lines.extend(own);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    Reply::lines(550, "5.7.1", lines)
}

fn needs_smtputf8() -> Reply {
    Reply::new(553, "5.6.7", "An address with letters outside ASCII needs SMTPUTF8, which your mail program did not ask for")
}

/// Which of our users sent the messages that this one answers.
async fn earlier_senders(store: &Store, references: &[String]) -> Result<HashMap<String, String>, StoreError> {
    if references.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(store.sent_by(references.to_vec()).await?.into_iter().collect())
}
