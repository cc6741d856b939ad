//! Outgoing mail: rows, leases, outcomes.
//!
//! What the states mean and who moves a recipient from one to the next stands in [`crate::outbound`]; here is only the durable side.

pub use super::orders::{Done, Order, Queued, QueuedRecipient, State};
use super::tray::{self, NewHeld};
use super::{Arrival, Change, ContentId, SMALL, Store, StoreError, Work, arrival, handed_on, now, sent_copies, trace};
use crate::address::Address;
use crate::message::wish::{Notify, Return, Wish, Wishes};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

/// A mail that goes on to another server, with the content of its [`super::Arrival`].
#[derive(Debug, Clone, Default)]
pub struct NewMail {
    /// The local user (or device's bounce address) who gets bounces.
    pub owner: String,
    /// Envelope sender outside; `None` is `<>`.
    pub sender: Option<Address>,
    /// Envelope recipients.
    pub recipients: Vec<Address>,
    /// Replaces the original's header, if the sender was rewritten: the whole new header, blank line included.
    pub header: Option<Vec<u8>>,
    /// The mail system that gets it by LMTP, as the mapping names it; `None`: it goes out through a smarthost.
    pub lmtp: Option<String>,
    /// Nobody here wrote it: what fails for good goes to the tray, for nobody outside gets a bounce.
    pub from_outside: bool,
    /// It is held until somebody agrees.
    pub approval: Option<Approval>,
    /// What its sender wants to hear of it.
    pub wishes: Wishes,
    /// Once it has left, a copy goes into the mailbox that this collector fetches.
    pub copy_to: Option<String>,
    /// Leave out recipients who were sent the same message on in the last 30 days, see [`super::Deposit::dedupe`].
    pub dedupe: Option<String>,
}

/// What a held mail waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The user who decides.
    pub manager: String,
    /// Message-ID of the mail that asks him, without angle brackets; nobody can guess it.
    pub question: String,
}

/// A mail for more people than this is a mailing.
const LETTER_RECIPIENTS: usize = 10;
/// A mail of more bytes than this holds up the line as a mailing does.
const LETTER_SIZE: u64 = 5_000_000;
/// So do mails of one person of whom so many wait already.
const LETTERS_WAITING: usize = 20;

/// Of one mail in the queue; shown to people as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailId(pub i64);

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
    /// A mailing rather than a letter: many recipients, many bytes, or one of many by the same person.
    pub bulk: bool,
    /// See [`NewMail::lmtp`].
    pub lmtp: Option<String>,
    /// See [`NewMail::from_outside`].
    pub from_outside: bool,
    /// An earlier attempt had sent everything and never learnt the answer (RFC 1047): this one may be the second copy.
    pub data_sent: bool,
    /// The owner knows already that it is late.
    pub notified: bool,
    /// See [`Wishes::ret`].
    pub ret: Option<Return>,
    /// See [`Wishes::envid`].
    pub envid: Option<String>,
}

/// One recipient of a [`Lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whom for.
    pub address: Address,
    /// Attempts before this one.
    pub attempts: u32,
    /// What the sender wants to hear of this one.
    pub wish: Wish,
}

/// What a notice for the sender tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It will not arrive.
    Failure,
    /// It is late.
    Delay,
    /// It has left or arrived, as the sender wanted to know.
    Success,
}

impl Told {
    /// The event of the trace, and what it says.
    fn in_trace(self) -> (&'static str, &'static str) {
        match self {
            Told::Failure => ("bounced", "a bounce"),
            Told::Delay => ("notified", "a notice of delay"),
            Told::Success => ("notified", "the confirmation that was asked for"),
        }
    }
}

/// What an attempt did for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken by the smarthost.
    Relayed,
    /// To be tried again at this time, milliseconds since 1970.
    Delayed(i64),
    /// To be tried in the next mail, from this time on: the smarthost took this one for others, and that was no attempt for him.
    LeftOver(i64),
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
    /// What the owner is told.
    pub notices: Vec<(Told, Arrival)>,
    /// A place in the tray, for what came from outside and can't be handed on.
    pub tray: Option<Box<NewHeld>>,
    /// The notice says that it is late: not to be said again.
    pub notified: bool,
    /// Everything was sent, and the answer to the final dot never came: the next attempt may be a second copy.
    pub unanswered: bool,
}

impl Settlement {
    /// Nothing has happened yet; the rest is filled in by struct update.
    pub fn of(id: MailId) -> Self {
        Self { id, outcomes: vec![], attempted: false, notices: vec![], tray: None, notified: false, unanswered: false }
    }
}

/// Bits of `queue.data_sent`: the final dot is about to go; an earlier one got no answer; a person wants it held, and it is leased.
pub(super) const DOT_UNDERWAY: i64 = 1;
pub(super) const DOT_UNANSWERED: i64 = 2;
pub(super) const HOLD_ASKED: i64 = 4;

impl Store {
    /// Takes up to `limit` mails that have due recipients, letters before mailings and then the longest due first, each with all its due
    /// recipients. Of mailings it takes no more than `bulk`.
    pub async fn queue_lease(&self, now: i64, limit: usize, bulk: usize) -> Result<Vec<Lease>, StoreError> {
        let all_due = move |connection: &Connection| {
            let mut found = due(connection, now, false, limit)?;
            found.extend(due(connection, now, true, bulk.min(limit - found.len()))?);
            Ok::<_, StoreError>(found)
        };
        // Asked at every change: without due mail it must not write.
        if self.read(all_due).await?.is_empty() {
            return Ok(vec![]);
        }
        self.write(SMALL, move |work| {
            let mut leases = Vec::new();
            for id in all_due(work.connection)? {
                leases.extend(lease(work, id, now)?);
            }
            Ok(leases)
        })
        .await
    }

    /// When the next recipient that is neither held nor leased comes due after this time, milliseconds since 1970. What is due already
    /// waits for room, not for a time.
    pub async fn queue_next_due(&self, after: i64) -> Result<Option<i64>, StoreError> {
        self.read(move |connection| {
            let mut select =
                connection.prepare_cached("SELECT min(due) FROM queue_recipient WHERE state IN ('queued', 'delayed') AND due > ?1")?;
            Ok(select.query_row([after], |row| row.get(0))?)
        })
        .await
    }

    /// Everything of this mail is about to be on the wire, and only the answer to the final dot is missing: durable before that dot goes.
    /// `departure`: through a smarthost that counts mails, from this time on for so long (milliseconds). `false`: somebody held or deleted
    /// it while it waited for its turn; it must not go, and its lease is over.
    pub async fn queue_data_sent(&self, id: MailId, departure: Option<(String, i64, i64)>) -> Result<bool, StoreError> {
        self.write(SMALL, move |work| {
            let marked = work
                .prepare_cached("UPDATE queue SET data_sent = data_sent | ?2 WHERE id = ?1 AND data_sent & ?3 = 0")?
                .execute([id.0, DOT_UNDERWAY, HOLD_ASKED])?;
            if marked == 0 {
                work.prepare_cached(
                    "UPDATE queue_recipient SET state = 'held', due = NULL, changed = ?2 WHERE mail = ?1 AND state = 'sending'",
                )?
                .execute([id.0, now()])?;
                work.prepare_cached("UPDATE queue SET data_sent = data_sent & ~?2 WHERE id = ?1")?.execute([id.0, HOLD_ASKED])?;
                work.changed(Change::Queue);
                return Ok(false);
            }
            if let Some((smarthost, time, period)) = &departure {
                work.prepare_cached("INSERT INTO departure (smarthost, time) VALUES (?1, ?2)")?.execute(params![smarthost, time])?;
                let mut forget = work.prepare_cached("DELETE FROM departure WHERE smarthost = ?1 AND time <= ?2")?;
                forget.execute(params![smarthost, time - period])?;
            }
            Ok(true)
        })
        .await
    }

    /// When mail left through the smarthosts that count it, oldest first.
    pub async fn queue_departures(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT smarthost, time FROM departure ORDER BY time")?;
            Ok(select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Writes down what an attempt did; the notice becomes visible in the same transaction. Clears the mark of
    /// [`Store::queue_data_sent`] if the answer came. A mail without open recipients leaves the queue.
    pub async fn queue_settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.write(SMALL, move |work| settle(work, &settlement)).await
    }

    /// After an unclean end: leased recipients are due again, those with the mark at `not_before` at the earliest. Returns how many mails.
    pub async fn queue_recover(&self, not_before: i64) -> Result<usize, StoreError> {
        self.write(SMALL, move |work| {
            let mut select = work
                .prepare_cached("SELECT id, data_sent FROM queue WHERE id IN (SELECT mail FROM queue_recipient WHERE state = 'sending')")?;
            let left: Vec<(i64, i64)> = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            drop(select);
            for (id, data_sent) in &left {
                let underway = data_sent & DOT_UNDERWAY != 0;
                let (state, due) = match (data_sent & HOLD_ASKED != 0, underway) {
                    (true, _) => ("held", None),
                    (false, true) => ("delayed", Some(not_before)),
                    (false, false) => ("delayed", Some(now())),
                };
                work.prepare_cached("UPDATE queue_recipient SET state = ?4, due = ?2, changed = ?3 WHERE mail = ?1 AND state = 'sending'")?
                    .execute(params![id, due, now(), state])?;
                set_data_sent(work, MailId(*id), underway)?;
            }
            if !left.is_empty() {
                work.changed(Change::Queue);
            }
            Ok(left.len())
        })
        .await
    }
}

/// Mails with due recipients, the longest due first.
fn due(connection: &Connection, now: i64, bulk: bool, limit: usize) -> Result<Vec<MailId>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT mail FROM queue_recipient JOIN queue ON queue.id = mail
         WHERE state IN ('queued', 'delayed') AND due <= ?1 AND bulk = ?2 GROUP BY mail ORDER BY min(due), mail LIMIT ?3",
    )?;
    Ok(select.query_map(params![now, bulk, limit], |row| row.get(0).map(MailId))?.collect::<Result<_, _>>()?)
}

fn lease(work: &mut Work<'_>, id: MailId, now: i64) -> Result<Option<Lease>, StoreError> {
    let mut select = work.connection.prepare_cached(
        "SELECT owner, queue.sender, content, size, header_size, header, message_id, queued_at, smarthost, data_sent, notified,
                lmtp, from_outside, bulk, ret, envid
         FROM queue JOIN content ON content.id = queue.content WHERE queue.id = ?1",
    )?;
    let found = select.query_row([id.0], |row| {
        Ok(Lease {
            id,
            owner: row.get(0)?,
            sender: address(row.get::<_, Option<String>>(1)?),
            content: ContentId(row.get(2)?),
            size: row.get(3)?,
            header_size: row.get(4)?,
            header: row.get::<_, Option<Vec<u8>>>(5)?.map(Bytes::from),
            message_id: row.get(6)?,
            recipients: vec![],
            queued_at: row.get(7)?,
            smarthost: row.get(8)?,
            data_sent: row.get::<_, i64>(9)? & DOT_UNANSWERED != 0,
            notified: row.get(10)?,
            lmtp: row.get(11)?,
            from_outside: row.get(12)?,
            bulk: row.get(13)?,
            ret: row.get::<_, Option<String>>(14)?.and_then(|word| Return::parse(&word)),
            envid: row.get(15)?,
        })
    });
    let Some(mut lease) = found.optional()? else { return Ok(None) };
    let mut select = work.connection.prepare_cached(
        "SELECT address, attempts, notify, orcpt FROM queue_recipient
         WHERE mail = ?1 AND state IN ('queued', 'delayed') AND due <= ?2 ORDER BY address",
    )?;
    let mut rows = select.query(params![id.0, now])?;
    while let Some(row) = rows.next()? {
        let attempts = row.get(1)?;
        let wish = Wish { notify: row.get::<_, Option<String>>(2)?.and_then(|list| Notify::parse(&list)), original: row.get(3)? };
        lease.recipients.extend(address(row.get(0)?).map(|address| Due { address, attempts, wish }));
    }
    work.prepare_cached(
        "UPDATE queue_recipient SET state = 'sending', changed = ?2 WHERE mail = ?1 AND state IN ('queued', 'delayed') AND due <= ?2",
    )?
    .execute(params![id.0, now])?;
    Ok(Some(lease))
}

/// What was stored was an address; one that can't be read back would be a bug here, and must not stop the queue.
pub(super) fn address(text: Option<String>) -> Option<Address> {
    text.and_then(|text| Address::parse(&text).ok())
}

fn settle(work: &mut Work<'_>, settlement: &Settlement) -> Result<(), StoreError> {
    let mut select = work.connection.prepare_cached("SELECT content, data_sent & ?2 FROM queue WHERE id = ?1")?;
    let found = select.query_row([settlement.id.0, HOLD_ASKED], |row| Ok((ContentId(row.get(0)?), row.get(1)?))).optional()?;
    // Somebody deleted it before its turn.
    let Some((content, hold_asked)): Option<(ContentId, bool)> = found else { return Ok(()) };
    for (address, outcome, reply) in &settlement.outcomes {
        let (state, due) = match outcome {
            Outcome::Relayed => (State::Relayed, None),
            Outcome::Delayed(_) | Outcome::LeftOver(_) if hold_asked => (State::Held, None),
            Outcome::Delayed(due) | Outcome::LeftOver(due) => (State::Delayed, Some(*due)),
            Outcome::Held => (State::Held, None),
            Outcome::Failed => (State::Failed, None),
        };
        let attempted = settlement.attempted && !matches!(outcome, Outcome::LeftOver(_));
        work.prepare_cached(
            "UPDATE queue_recipient SET state = ?3, due = ?4, attempts = attempts + ?5, last_reply = ?6, changed = ?7
             WHERE mail = ?1 AND address = ?2",
        )?
        .execute(params![settlement.id.0, address.to_string(), state.as_str(), due, attempted, reply, now()])?;
        if *outcome == Outcome::Failed {
            handed_on::forget(work, settlement.id, Some(address))?;
        }
        if attempted || *outcome == Outcome::Failed {
            trace::about(work, content, state.as_str(), format!("{address}: {reply}"))?;
        }
    }
    if settlement.outcomes.iter().any(|(_, outcome, _)| *outcome == Outcome::Relayed) {
        sent_copies::insert(work, settlement.id, now())?;
    }
    for (told, notice) in &settlement.notices {
        let (event, what) = told.in_trace();
        let readers: Vec<_> = notice.deposits.iter().map(|deposit| deposit.mailbox.to_string()).collect();
        trace::about(work, content, event, format!("{what} went to {}", readers.join(", ")))?;
        arrival::store(work, notice)?;
    }
    if let Some(held) = &settlement.tray {
        trace::about(work, content, "held", held.reason.clone())?;
        tray::insert(work, content, held)?;
    }
    set_data_sent(work, settlement.id, settlement.unanswered)?;
    work.prepare_cached("UPDATE queue SET notified = notified OR ?2 WHERE id = ?1")?
        .execute(params![settlement.id.0, settlement.notified])?;
    work.prepare_cached(
        "DELETE FROM queue WHERE id = ?1 AND NOT EXISTS
            (SELECT 1 FROM queue_recipient WHERE mail = ?1 AND state IN ('queued', 'sending', 'delayed', 'held'))",
    )?
    .execute([settlement.id.0])?;
    work.changed(Change::Queue);
    Ok(())
}

/// No dot is under way any more. That one went unanswered is remembered until the mail leaves: a later answer does not say what became
/// of the first copy.
fn set_data_sent(connection: &Connection, id: MailId, unanswered: bool) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE queue SET data_sent = data_sent & ?2 | ?3 WHERE id = ?1")?.execute(params![
        id.0,
        DOT_UNANSWERED,
        if unanswered { DOT_UNANSWERED } else { 0 }
    ])?;
    Ok(())
}

/// It may have gone out before, under another number; inside a transaction.
pub fn may_be_the_second(connection: &Connection, id: MailId) -> Result<(), StoreError> {
    set_data_sent(connection, id, true)
}

/// Puts content into the queue, due at once, inside a transaction.
pub fn insert(work: &mut Work<'_>, content: ContentId, mail: &NewMail) -> Result<MailId, StoreError> {
    let sender = mail.sender.as_ref().map(Address::to_string);
    let bulk = is_bulk(work, content, mail)?;
    let id = work
        .prepare_cached(
            "INSERT INTO queue (content, owner, sender, queued_at, header, lmtp, from_outside, bulk, ret, envid, copy_to)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .insert(params![
            content.0,
            mail.owner,
            sender,
            now(),
            mail.header,
            mail.lmtp,
            mail.from_outside,
            bulk,
            mail.wishes.ret.map(Return::as_str),
            mail.wishes.envid,
            mail.copy_to
        ])?;
    let mut insert = work.connection.prepare_cached(
        "INSERT OR IGNORE INTO queue_recipient (mail, address, state, due, changed, notify, orcpt) VALUES (?1, ?2, 'queued', ?3, ?3, ?4, ?5)",
    )?;
    for recipient in &mail.recipients {
        let wish = mail.wishes.of(recipient);
        insert.execute(params![id, recipient.to_string(), now(), wish.notify.map(|notify| notify.to_string()), wish.original])?;
    }
    if let Some(approval) = &mail.approval {
        let why = format!("waits for the approval of {}", approval.manager);
        work.prepare_cached("UPDATE queue_recipient SET state = 'held', due = NULL, last_reply = ?2 WHERE mail = ?1")?
            .execute(params![id, why])?;
        work.prepare_cached("INSERT INTO approval (mail, manager, question) VALUES (?1, ?2, ?3)")?.execute(params![
            id,
            approval.manager,
            approval.question
        ])?;
    }
    work.changed(Change::Queue);
    Ok(MailId(id))
}

fn is_bulk(work: &Work<'_>, content: ContentId, mail: &NewMail) -> Result<bool, StoreError> {
    if mail.recipients.len() > LETTER_RECIPIENTS {
        return Ok(true);
    }
    let mut select = work.prepare_cached(
        "SELECT (SELECT size FROM content WHERE id = ?1), (SELECT count(*) FROM (SELECT 1 FROM queue WHERE owner = ?2 LIMIT ?3))",
    )?;
    let (size, waiting): (u64, usize) =
        select.query_row(params![content.0, mail.owner, LETTERS_WAITING], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(size > LETTER_SIZE || waiting >= LETTERS_WAITING)
}
