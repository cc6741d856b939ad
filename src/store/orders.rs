//! What people see of the queue, and what they can ask of it.

use super::queue::{Approval, DOT_UNANSWERED, DOT_UNDERWAY, HOLD_ASKED, MailId, address};
use super::{Change, ContentId, SMALL, Store, StoreError, Work, handed_on, now, trace};
use crate::address::Address;
use rusqlite::params;

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

/// What a person can ask of a queued mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Due now.
    Retry,
    /// Wait for [`Order::Release`].
    Hold,
    /// No longer held: due now.
    Release,
    /// The same for a mail that waits for approval, by this person's word.
    Approve(String),
    /// Through this smarthost, whatever the mapping says; `None`: as the mapping says.
    Reroute(Option<String>),
    /// To this mail system by LMTP instead of the one that the mapping named: only mail that goes to one.
    HandTo(String),
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// To so many mails it was done.
    pub mails: usize,
    /// For so many it came too late, in whole or in part: they are on their way.
    pub too_late: usize,
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
    /// When it was accepted.
    pub queued_at: i64,
    /// See [`super::queue::Lease::smarthost`].
    pub smarthost: Option<String>,
    /// See [`super::queue::NewMail::lmtp`].
    pub lmtp: Option<String>,
    /// Who has to agree before it goes out, and how he was asked.
    pub approval: Option<Approval>,
    /// See [`super::queue::Lease::data_sent`].
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

impl Store {
    /// Mails that wait, oldest first, with all their recipients: those that are done are listed while others wait.
    pub async fn queue(&self) -> Result<Vec<Queued>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT queue.id, owner, queue.sender, content, size, message_id, queued_at, smarthost, data_sent & ?1 <> 0, lmtp, manager,
                        question
                 FROM queue JOIN content ON content.id = queue.content LEFT JOIN approval ON approval.mail = queue.id ORDER BY queue.id",
            )?;
            let mails = select.query_map([DOT_UNDERWAY | DOT_UNANSWERED], |row| {
                Ok(Queued {
                    id: MailId(row.get(0)?),
                    owner: row.get(1)?,
                    sender: address(row.get(2)?),
                    content: ContentId(row.get(3)?),
                    size: row.get(4)?,
                    message_id: row.get(5)?,
                    queued_at: row.get(6)?,
                    smarthost: row.get(7)?,
                    data_sent: row.get(8)?,
                    lmtp: row.get(9)?,
                    approval: match (row.get(10)?, row.get(11)?) {
                        (Some(manager), Some(question)) => Some(Approval { manager, question }),
                        _ => None,
                    },
                    recipients: vec![],
                })
            })?;
            let mut mails = mails.collect::<Result<Vec<_>, _>>()?;
            let mut select = connection.prepare_cached(
                "SELECT address, iif(state = 'sending' AND data_sent & ?2, 'held', state), due, attempts, last_reply
                 FROM queue_recipient JOIN queue ON queue.id = mail WHERE mail = ?1 ORDER BY address",
            )?;
            for mail in &mut mails {
                let mut rows = select.query([mail.id.0, HOLD_ASKED])?;
                while let Some(row) = rows.next()? {
                    let Some(address) = address(row.get(0)?) else { continue };
                    mail.recipients.push(QueuedRecipient {
                        address,
                        state: State::parse(&row.get::<_, String>(1)?),
                        due: row.get(2)?,
                        attempts: row.get(3)?,
                        last_reply: row.get(4)?,
                    });
                }
            }
            Ok(mails)
        })
        .await
    }

    /// Does it to one mail or (`None`) to all: `queue retry|hold|release|reroute`. What waits for its
    /// turn obeys; what has had it is too late to be held.
    pub async fn queue_order(&self, id: Option<MailId>, order: Order, now: i64) -> Result<Done, StoreError> {
        self.write(SMALL, move |work| {
            let (mut done, one) = (Done::default(), id.is_some());
            for (id, content) in mails(work, id)? {
                let changed = match &order {
                    Order::Retry => recipients(work, id, "state IN ('queued', 'delayed')", None, Some(now))?,
                    Order::Hold => {
                        done.too_late += usize::from(is_on_its_way(work, id)?);
                        let leased = "UPDATE queue SET data_sent = data_sent | ?2 WHERE id = ?1 AND data_sent & (?2 | ?3) = 0
                                      AND EXISTS (SELECT 1 FROM queue_recipient WHERE mail = ?1 AND state = 'sending')";
                        let leased = work.prepare_cached(leased)?.execute([id, HOLD_ASKED, DOT_UNDERWAY])?;
                        leased + recipients(work, id, "state IN ('queued', 'delayed')", Some("held"), None)?
                    }
                    Order::Release => {
                        work.prepare_cached("DELETE FROM approval WHERE mail = ?1")?.execute([id])?;
                        let leased = "UPDATE queue SET data_sent = data_sent & ~?2 WHERE id = ?1 AND data_sent & ?2 <> 0";
                        let leased = work.prepare_cached(leased)?.execute([id, HOLD_ASKED])?;
                        leased + release(work, id, now)?
                    }
                    Order::Approve(_) => match work.prepare_cached("DELETE FROM approval WHERE mail = ?1")?.execute([id])? {
                        0 => 0,
                        _ => release(work, id, now)?,
                    },
                    Order::Reroute(smarthost) => work
                        .prepare_cached("UPDATE queue SET smarthost = ?2 WHERE id = ?1 AND lmtp IS NULL")?
                        .execute(params![id, smarthost])?,
                    Order::HandTo(server) => work
                        .prepare_cached("UPDATE queue SET lmtp = ?2 WHERE id = ?1 AND lmtp IS NOT NULL")?
                        .execute(params![id, server])?,
                };
                if let (0, Some(why)) = (changed, order.not_for_all())
                    && one
                {
                    return Err(StoreError::Conflict(format!("mail {id} {why}")));
                }
                if changed > 0 {
                    done.mails += 1;
                    trace::about(work, content, "queue", order.to_string())?;
                }
            }
            work.changed(Change::Queue);
            Ok(done)
        })
        .await
    }

    /// Takes mails out of the queue for good, without a bounce; what is on its way stays until its outcome is known.
    pub async fn queue_delete(&self, id: Option<MailId>, by: &str) -> Result<Done, StoreError> {
        let by = by.to_owned();
        self.write(SMALL, move |work| {
            let mut done = Done::default();
            for (id, content) in &mails(work, id)? {
                if is_on_its_way(work, *id)? {
                    done.too_late += 1;
                    continue;
                }
                done.mails += 1;
                trace::about(work, *content, "queue", format!("{by} deleted it from the queue"))?;
                handed_on::forget(work, MailId(*id), None)?;
                work.prepare_cached("DELETE FROM queue WHERE id = ?1")?.execute([id])?;
            }
            work.changed(Change::Queue);
            Ok(done)
        })
        .await
    }
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

    /// The other way round.
    fn parse(text: &str) -> State {
        const ALL: [State; 6] = [State::Queued, State::Sending, State::Delayed, State::Held, State::Relayed, State::Failed];
        ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(State::Held)
    }
}

impl Order {
    /// What is wrong with a mail that it can't be done to.
    fn not_for_all(&self) -> Option<&'static str> {
        match self {
            Order::Reroute(_) => Some("goes to another mail system, which only lmtp:HOST:PORT can take the place of"),
            Order::HandTo(_) => Some("goes to the outside, through a smarthost"),
            Order::Approve(_) => Some("does not wait for approval"),
            Order::Retry | Order::Hold | Order::Release => None,
        }
    }
}

/// For the trace.
impl std::fmt::Display for Order {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Order::Retry => out.write_str("to be tried again now"),
            Order::Hold => out.write_str("held"),
            Order::Release => out.write_str("released"),
            Order::Approve(by) => write!(out, "approved by {by}"),
            Order::Reroute(Some(smarthost)) => write!(out, "rerouted through {smarthost}"),
            Order::HandTo(server) => write!(out, "rerouted to the mail system {server}"),
            Order::Reroute(None) => out.write_str("rerouted as the mapping says"),
        }
    }
}

fn mails(work: &Work<'_>, id: Option<MailId>) -> Result<Vec<(i64, ContentId)>, StoreError> {
    let mut select = work.connection.prepare_cached("SELECT id, content FROM queue WHERE ?1 IS NULL OR id = ?1 ORDER BY id")?;
    let mails: Vec<(i64, ContentId)> =
        select.query_map([id.map(|id| id.0)], |row| Ok((row.get(0)?, ContentId(row.get(1)?))))?.collect::<Result<_, _>>()?;
    match (id, mails.is_empty()) {
        (Some(id), true) => Err(StoreError::NotFound(format!("there is no mail {} in the queue", id.0))),
        _ => Ok(mails),
    }
}

/// Whether the smarthost may be getting it this moment.
fn is_on_its_way(work: &Work<'_>, mail: i64) -> Result<bool, StoreError> {
    let sql =
        "SELECT EXISTS (SELECT 1 FROM queue JOIN queue_recipient ON mail = id WHERE id = ?1 AND data_sent & ?2 AND state = 'sending')";
    Ok(work.prepare_cached(sql)?.query_row([mail, DOT_UNDERWAY], |row| row.get(0))?)
}

/// What was held is as if it were handed in now: the time in which it waited for a person counts for nothing.
fn release(work: &Work<'_>, mail: i64, now: i64) -> Result<usize, StoreError> {
    let released = recipients(work, mail, "state = 'held'", Some("queued"), Some(now))?;
    if released > 0 {
        work.prepare_cached("UPDATE queue SET queued_at = ?2, notified = 0 WHERE id = ?1")?.execute([mail, now])?;
    }
    Ok(released)
}

fn recipients(work: &Work<'_>, mail: i64, which: &str, state: Option<&str>, due: Option<i64>) -> Result<usize, StoreError> {
    let sql = format!("UPDATE queue_recipient SET state = ifnull(?2, state), due = ?3, changed = ?4 WHERE mail = ?1 AND {which}");
    Ok(work.prepare_cached(&sql)?.execute(params![mail, state, due, now()])?)
}
