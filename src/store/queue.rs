//! Outgoing mail: rows, leases, outcomes.
//!
//! What the states mean and who moves a recipient from one to the next stands in [`crate::outbound`]; here is only the durable side.

use super::{Arrival, ContentId, Store, StoreError};
use crate::address::Address;
use bytes::Bytes;

/// A mail for outside, with the content of its [`super::Arrival`].
#[derive(Debug, Clone)]
pub struct NewMail {
    /// The local user (or device's bounce address) who gets bounces.
    pub owner: String,
    /// Envelope sender outside; `None` is `<>`.
    pub sender: Option<Address>,
    /// Envelope recipients.
    pub recipients: Vec<Address>,
    /// Replaces the original's header, if the sender was rewritten: the whole new header, blank line included.
    pub header: Option<Vec<u8>>,
}

/// Of one mail in the queue; shown to people as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailId(pub i64);

/// Where one recipient of a queued mail stands. The words are those of `queue list --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Due, not tried yet.
    Queued,
    /// Leased by the gateway.
    Sending,
    /// Tried; due again later.
    Delayed,
    /// Waits for a person.
    Held,
    /// A smarthost has taken it.
    Relayed,
    /// It never will; the bounce is stored.
    Failed,
}

/// A queued mail taken for one attempt: these recipients are [`State::Sending`] until [`Store::queue_settle`].
#[derive(Debug, Clone)]
pub struct Lease {
    /// Which mail.
    pub id: MailId,
    /// The local user who gets its bounces.
    pub owner: String,
    /// Envelope sender outside; `None` is `<>`.
    pub sender: Option<Address>,
    /// The original.
    pub content: ContentId,
    /// Bytes of the original.
    pub size: u64,
    /// Bytes of the original's header, blank line included: where its body starts.
    pub header_size: u64,
    /// Stands in for the original's header.
    pub header: Option<Bytes>,
    /// Without angle brackets; for traces.
    pub message_id: Option<String>,
    /// Those that are due.
    pub recipients: Vec<Due>,
    /// When it was accepted, milliseconds since 1970.
    pub queued_at: i64,
    /// A smarthost that somebody chose by `queue reroute`.
    pub smarthost: Option<String>,
    /// An earlier attempt had sent everything and never learnt the answer (RFC 1047): this one may be the second copy.
    pub data_sent: bool,
    /// The owner knows already that it is late.
    pub notified: bool,
}

/// One recipient of a [`Lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whom for.
    pub address: Address,
    /// Attempts before this one.
    pub attempts: u32,
}

/// What an attempt did for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken by the smarthost.
    Relayed,
    /// To be tried again at this time, milliseconds since 1970.
    Delayed(i64),
    /// Waits for a person.
    Held,
    /// Refused for good, expired or deleted.
    Failed,
}

/// The end of one attempt: one transaction.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Which mail.
    pub id: MailId,
    /// Every recipient of the lease, with the reply or reason to show.
    pub outcomes: Vec<(Address, Outcome, String)>,
    /// Counts as an attempt: not so if the mail never had its turn (shutdown, another mail's log-in failure).
    pub attempted: bool,
    /// The bounce or delay notice, for the owner.
    pub notice: Option<Box<Arrival>>,
    /// The notice says that it is late: not to be said again.
    pub notified: bool,
}

impl Store {
    /// Takes up to `limit` mails that have due recipients, the longest due first, each with all its due recipients.
    pub async fn queue_lease(&self, now: i64, limit: usize) -> Result<Vec<Lease>, StoreError> {
        todo!("{now} {limit}")
    }
    /// When the next recipient that is neither held nor leased comes due, milliseconds since 1970.
    pub async fn queue_next_due(&self) -> Result<Option<i64>, StoreError> {
        todo!()
    }
    /// Everything of this mail is about to be on the wire, and only the answer to the final dot is missing: durable before that dot goes.
    pub async fn queue_data_sent(&self, id: MailId) -> Result<(), StoreError> {
        todo!("{id:?}")
    }
    /// Writes down what an attempt did; the notice becomes visible in the same transaction. Clears the mark of
    /// [`Store::queue_data_sent`] if the answer came. A mail without open recipients leaves the queue.
    pub async fn queue_settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        todo!("{settlement:?}")
    }
    /// After an unclean end: leased recipients are due again, those with the mark at `not_before` at the earliest. Returns how many mails.
    pub async fn queue_recover(&self, not_before: i64) -> Result<usize, StoreError> {
        todo!("{not_before}")
    }
    /// Mails that wait, oldest first, with all their recipients that are not done.
    pub async fn queue(&self) -> Result<Vec<Queued>, StoreError> {
        todo!()
    }
    /// Does it to one mail or (`None`) to all: `queue retry|hold|release|reroute`. How many mails it was done to.
    pub async fn queue_order(&self, id: Option<MailId>, order: Order, now: i64) -> Result<usize, StoreError> {
        todo!("{id:?} {order:?} {now}")
    }
    /// Takes mails out of the queue for good, without a bounce. How many.
    pub async fn queue_delete(&self, id: Option<MailId>, by: &str) -> Result<usize, StoreError> {
        todo!("{id:?} {by}")
    }
}

/// What a person can ask of a queued mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Due now.
    Retry,
    /// Wait for [`Order::Release`].
    Hold,
    /// No longer held: due now.
    Release,
    /// Through this smarthost, whatever the mapping says; `None`: as the mapping says.
    Reroute(Option<String>),
}

/// A mail in the queue, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its number.
    pub id: MailId,
    /// The local user who gets its bounces.
    pub owner: String,
    /// Envelope sender outside; `None` is `<>`.
    pub sender: Option<Address>,
    /// The original.
    pub content: ContentId,
    /// Bytes.
    pub size: u64,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Decoded.
    pub subject: String,
    /// When it was accepted.
    pub queued_at: i64,
    /// See [`Lease::smarthost`].
    pub smarthost: Option<String>,
    /// See [`Lease::data_sent`].
    pub data_sent: bool,
    /// Those that are not done, and those that were done while others wait.
    pub recipients: Vec<QueuedRecipient>,
}

/// One recipient of a [`Queued`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRecipient {
    /// Whom for.
    pub address: Address,
    /// How far.
    pub state: State,
    /// When it is tried next.
    pub due: Option<i64>,
    /// Attempts so far.
    pub attempts: u32,
    /// The smarthost's last reply, or the reason.
    pub last_reply: Option<String>,
}

impl State {
    /// The word of `queue list --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Sending => "sending",
            State::Delayed => "delayed",
            State::Held => "held",
            State::Relayed => "relayed",
            State::Failed => "failed",
        }
    }
}
