//! What becomes true when one message comes in, from whichever side: one transaction.

use super::messages::changing;
use super::{
    AccountId, ContentFacts, ContentId, DAY, FolderId, SMALL, Store, StoreError, Work, absence, accounts, content, folders, handed_on,
    journal, ledger, now, queue, settings, trace, tray,
};
use crate::mapping::Mailbox;
use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

/// Bytes to be stored: small ones whole, large ones through [`Store::spool`].
#[derive(Debug, Clone)]
pub enum NewContent {
    /// Whole.
    Inline(Bytes, Box<ContentFacts>),
    /// Chunks that are in the store already, finished, but not yet referenced.
    Spooled(ContentId, Box<ContentFacts>),
    /// Content that is referenced already (hand-over, copies).
    Existing(ContentId),
}

/// One copy for one mailbox.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// Whose. A shared mailbox is made with its first message; a user has to exist.
    pub mailbox: Mailbox,
    /// Which folder, made if missing; `None` is INBOX.
    pub folder: Option<String>,
    /// Rendered once per delivery, above the original: Delivered-To, Received, perhaps Return-Path.
    pub prefix: Bytes,
    /// System flags, see [`super::flags`].
    pub flags: u32,
    /// INTERNALDATE, milliseconds since 1970.
    pub internal_date: i64,
    /// Refuse it as a duplicate if this person got the same message in the last 30 days (product page, "One person gets one copy").
    /// The text tells listings apart: without Message-ID two of one listing are never duplicates.
    pub dedupe: Option<String>,
}

/// Everything that becomes true when one message comes in, from whichever side: one transaction.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The bytes.
    pub content: NewContent,
    /// Local copies.
    pub deposits: Vec<Deposit>,
    /// Outgoing copies.
    pub queue: Vec<queue::NewMail>,
    /// A place in the tray.
    pub tray: Option<tray::NewHeld>,
    /// What the ledger says of it. [`StoreError::Conflict`] if it is in the ledger as stored already (other than as a stub).
    pub ledger: Option<ledger::Row>,
    /// Keep the original in the journal (the store's age decides how long).
    pub journal: Option<journal::NewEntry>,
    /// Lines of its life: event and detail.
    pub trace: Vec<(&'static str, String)>,
    /// It is ours and goes out: remember (Message-ID, user), so that replies find their way.
    pub sent_by: Option<String>,
    /// It counts among what that user hands in: [`Store::submitted_since`].
    pub counts: bool,
    /// Settings that become true with it, by name: that something was told, say.
    pub settings: Vec<(String, String)>,
    /// It is an automatic reply: nothing becomes of it if that sender was told lately.
    pub telling: Option<absence::Telling>,
}

/// What became of an [`Arrival`].
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The stored original.
    pub content: ContentId,
    /// One for each deposit, in order: folder and UID, or `None` for a duplicate.
    pub deposits: Vec<Option<(FolderId, u32)>>,
    /// One for each queued mail, in order, except those that were duplicates for all their recipients.
    pub queue: Vec<queue::MailId>,
    /// It was for people who all have the message already, and nothing else became of it.
    pub duplicate: bool,
}

impl Arrival {
    /// Nothing but the bytes; the rest is filled in by struct update.
    pub fn new(content: NewContent) -> Arrival {
        Arrival {
            content,
            deposits: vec![],
            queue: vec![],
            tray: None,
            ledger: None,
            journal: None,
            trace: vec![],
            telling: None,
            sent_by: None,
            counts: false,
            settings: vec![],
        }
    }
}

/// How long a second copy is recognised (product page).
const DEDUPE_DAYS: i64 = 30;

impl Store {
    /// Stores any number of arrivals, each atomically, all in one commit if possible. The result is in order. If everybody whom one is for
    /// has it already and nothing else was asked for but ledger and journal, the ledger's outcome becomes `duplicate`. They are handed over
    /// at once; whoever has something else to do meanwhile waits for the result later.
    pub fn arrive(&self, arrivals: Vec<Arrival>) -> impl Future<Output = Vec<Result<Arrived, StoreError>>> + Send + use<> {
        // All are handed over before the first is waited for: that makes them one batch.
        let underway: Vec<_> = arrivals
            .into_iter()
            .map(|arrival| {
                let bytes = match &arrival.content {
                    NewContent::Inline(bytes, _) => bytes.len(),
                    _ => SMALL,
                };
                self.send(bytes, move |work| store(work, &arrival))
            })
            .collect();
        async {
            let mut results = Vec::with_capacity(underway.len());
            for result in underway {
                results.push(result.await.unwrap_or(Err(StoreError::Closed)));
            }
            results
        }
    }

    /// When a user handed in mail that counts, since that time; the oldest first, milliseconds since 1970.
    pub async fn submitted_since(&self, user: &str, since: i64) -> Result<Vec<i64>, StoreError> {
        let user = user.to_owned();
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT time FROM submitted JOIN account ON account.id = submitted.account
                 WHERE kind = 'user' AND name = ?1 AND time >= ?2 ORDER BY time",
            )?;
            Ok(select.query_map(params![user, since], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Who sent the messages with these Message-IDs (without angle brackets), as far as we know: (Message-ID, user).
    pub async fn sent_by(&self, message_ids: Vec<String>) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| {
            let mut select = connection
                .prepare_cached("SELECT name FROM sent JOIN account ON account.id = sent.account WHERE message_id = ?1 ORDER BY time")?;
            let mut found = Vec::new();
            for message_id in message_ids {
                for name in select.query_map([content::clip(&message_id)], |row| row.get(0))? {
                    found.push((message_id.clone(), name?));
                }
            }
            Ok(found)
        })
        .await
    }
}

/// What is needed of content to file it.
struct Original {
    id: ContentId,
    size: u64,
    message_id: Option<String>,
    /// Tells whether two deliveries are one message.
    key: [u8; 16],
}

impl Original {
    fn likeness<'a>(&'a self, listing: &'a str) -> handed_on::Likeness<'a> {
        let listing = self.message_id.is_none().then_some(listing);
        handed_on::Likeness { key: &self.key, listing, since: now() - DEDUPE_DAYS * DAY }
    }
}

/// The whole of an arrival, inside a transaction.
pub fn store(work: &mut Work<'_>, arrival: &Arrival) -> Result<Arrived, StoreError> {
    let (source, stub) = match &arrival.ledger {
        Some(row) => {
            let source = ledger::admit(work, row)?;
            (Some(source), ledger::stub_of(work, source, row)?)
        }
        None => (None, None),
    };
    if let Some(telling) = &arrival.telling
        && !absence::tell(work, telling)?
    {
        return Ok(Arrived { content: ContentId(0), deposits: vec![], queue: vec![], duplicate: false });
    }
    let original = original(work, &arrival.content)?;
    let mut arrived = Arrived { content: original.id, deposits: vec![], queue: vec![], duplicate: false };
    for deposit in &arrival.deposits {
        arrived.deposits.push(deliver(work, &original, deposit)?);
    }
    copy(work, &original, arrival, &arrived)?;
    for mail in &arrival.queue {
        arrived.queue.extend(send_on(work, &original, mail)?);
    }
    if let (Some(row), Some(source)) = (&arrival.ledger, source)
        && !arrived.queue.is_empty()
        && ledger::sent_on_before(work, source, row)?
    {
        for mail in &arrived.queue {
            queue::may_be_the_second(work, *mail)?;
        }
    }
    let readers = arrived.deposits.len() + arrival.queue.len();
    arrived.duplicate = readers > 0 && arrived.deposits.iter().all(Option::is_none) && arrived.queue.is_empty() && arrival.tray.is_none();
    if let Some(held) = &arrival.tray {
        tray::insert(work, original.id, held)?;
    }
    if let Some(entry) = &arrival.journal {
        journal::insert(work, original.id, entry)?;
    }
    if arrived.deposits.iter().all(Option::is_none) {
        content::release_if_unused(work, original.id)?;
    }
    trace::insert(work, Some(original.id), original.message_id.as_deref(), &arrival.trace)?;
    if let (Some(user), Some(message_id)) = (&arrival.sent_by, &original.message_id) {
        remember_sender(work, message_id, user)?;
    }
    if let (Some(user), true) = (&arrival.sent_by, arrival.counts) {
        count(work, user)?;
    }
    for (name, value) in &arrival.settings {
        settings::set(work, name, Some(value))?;
    }
    if let (Some(row), Some(source)) = (&arrival.ledger, source) {
        let outcome = if arrived.duplicate { "duplicate" } else { &row.outcome };
        ledger::enter(work, source, row, outcome, original.id)?;
    }
    if let Some(header) = stub {
        tray::take_out_all(work, header)?;
    }
    Ok(arrived)
}

fn original(work: &mut Work<'_>, new: &NewContent) -> Result<Original, StoreError> {
    match new {
        NewContent::Inline(bytes, facts) => {
            let id = content::insert(work, bytes, facts)?;
            Ok(Original { id, size: bytes.len() as u64, message_id: message_id(facts), key: dedupe_key(facts) })
        }
        NewContent::Spooled(id, facts) => {
            content::complete(work, *id, facts)?;
            let size = work.prepare_cached("SELECT size FROM content WHERE id = ?1")?.query_row([id.0], |row| row.get(0))?;
            Ok(Original { id: *id, size, message_id: message_id(facts), key: dedupe_key(facts) })
        }
        NewContent::Existing(id) => {
            let mut select = work.prepare_cached("SELECT size, message_id, hash, body_hash FROM content WHERE id = ?1")?;
            let found = select.query_row([id.0], |row| {
                let facts = ContentFacts { message_id: row.get(1)?, hash: row.get(2)?, body_hash: row.get(3)?, ..ContentFacts::default() };
                Ok(Original { id: *id, size: row.get(0)?, message_id: message_id(&facts), key: dedupe_key(&facts) })
            });
            found.optional()?.ok_or_else(|| StoreError::NotFound("the message is no longer stored".into()))
        }
    }
}

/// Stores content for a client's message, inside a transaction: its id and size.
pub fn file(work: &mut Work<'_>, new: &NewContent) -> Result<(ContentId, u64), StoreError> {
    original(work, new).map(|original| (original.id, original.size))
}

/// One copy of stored content for one mailbox, inside a transaction; `None` if its owner has it already.
pub fn deliver_stored(work: &mut Work<'_>, content: ContentId, deposit: &Deposit) -> Result<Option<(FolderId, u32)>, StoreError> {
    let original = original(work, &NewContent::Existing(content))?;
    deliver(work, &original, deposit)
}

/// Somebody has this message no longer: another copy of it will not be a duplicate, inside a transaction.
pub fn forget_delivery(work: &mut Work<'_>, mailbox: &Mailbox, content: ContentId) -> Result<(), StoreError> {
    let key = original(work, &NewContent::Existing(content))?.key;
    if let Some(account) = accounts::id_by_name(work, mailbox)? {
        work.prepare_cached("DELETE FROM delivered WHERE account = ?1 AND key = ?2")?.execute(params![account.0, key])?;
    }
    Ok(())
}

/// Somebody has this message again, inside a transaction.
pub fn remember_delivery(work: &mut Work<'_>, mailbox: &Mailbox, content: ContentId) -> Result<(), StoreError> {
    let original = original(work, &NewContent::Existing(content))?;
    if let Some(account) = accounts::id_by_name(work, mailbox)? {
        is_first(work, account, &original, "")?;
    }
    Ok(())
}

fn message_id(facts: &ContentFacts) -> Option<String> {
    facts.message_id.as_deref().map(|id| content::clip(id).to_owned())
}

/// The same for the same Message-ID with the same body; without Message-ID, for the same bytes.
fn dedupe_key(facts: &ContentFacts) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    match &facts.message_id {
        Some(id) => hasher.update(b"message-id").update(&facts.body_hash).update(content::clip(id).as_bytes()),
        None => hasher.update(b"all bytes").update(&facts.hash),
    };
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

/// Those who get copies of somebody's mail have this one too, unless it is for them anyway.
fn copy(work: &mut Work<'_>, original: &Original, arrival: &Arrival, arrived: &Arrived) -> Result<(), StoreError> {
    for (deposit, delivered) in arrival.deposits.iter().zip(&arrived.deposits) {
        if delivered.is_none() {
            continue;
        }
        for reader in absence::readers(work, &deposit.mailbox)? {
            let mailbox = Mailbox::User(reader);
            if arrival.deposits.iter().any(|other| other.mailbox == mailbox) {
                continue;
            }
            let detail = format!("to {mailbox}, who gets copies of what is for {}", deposit.mailbox);
            let copy = Deposit { mailbox, folder: None, flags: 0, ..deposit.clone() };
            if deliver(work, original, &copy)?.is_some() {
                trace::insert(work, Some(original.id), original.message_id.as_deref(), &[("copied", detail)])?;
            }
        }
    }
    Ok(())
}

/// One copy for one mailbox; `None` if its owner has it already.
fn deliver(work: &mut Work<'_>, original: &Original, deposit: &Deposit) -> Result<Option<(FolderId, u32)>, StoreError> {
    let account = accounts::find_or_make_shared(work, &deposit.mailbox)?;
    if let Some(listing) = &deposit.dedupe
        && !is_first(work, account, original, listing)?
    {
        let detail = format!("{} has this message already", deposit.mailbox);
        trace::insert(work, Some(original.id), original.message_id.as_deref(), &[("duplicate", detail)])?;
        return Ok(None);
    }
    let folder = folders::find_or_make(work, account, deposit.folder.as_deref().unwrap_or(folders::INBOX))?;
    let prefix = changing::insert_prefix(work, &deposit.prefix)?;
    let new = changing::NewRow {
        content: original.id,
        prefix,
        size: original.size + deposit.prefix.len() as u64,
        flags: deposit.flags,
        keywords: 0,
        internal_date: deposit.internal_date,
    };
    let uid = changing::insert(work, folder, &[new])?;
    Ok(Some((folder, uid)))
}

/// A mail for other servers, without those who were sent the message already; `None` if that is all of them.
fn send_on(work: &mut Work<'_>, original: &Original, mail: &queue::NewMail) -> Result<Option<queue::MailId>, StoreError> {
    let Some(listing) = &mail.dedupe else { return queue::insert(work, original.id, mail).map(Some) };
    let message = original.likeness(listing);
    let first = handed_on::first(work, mail, &message)?;
    for address in mail.recipients.iter().filter(|address| !first.contains(address)) {
        let detail = format!("{address} was sent this message already");
        trace::insert(work, Some(original.id), original.message_id.as_deref(), &[("duplicate", detail)])?;
    }
    if first.is_empty() {
        return Ok(None);
    }
    let mail = queue::NewMail { recipients: first, ..mail.clone() };
    let id = queue::insert(work, original.id, &mail)?;
    handed_on::remember(work, id, &mail, &message)?;
    Ok(Some(id))
}

/// Whether this person did not get this message in the last 30 days; remembers that now he does.
fn is_first(work: &mut Work<'_>, account: AccountId, original: &Original, listing: &str) -> Result<bool, StoreError> {
    let mut select = work.prepare_cached("SELECT time, listing FROM delivered WHERE account = ?1 AND key = ?2")?;
    let before: Option<(i64, Option<String>)> =
        select.query_row(params![account.0, original.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    // Not OR REPLACE: a statement that may delete as well keeps a journal of its own.
    let write = match before {
        None => "INSERT INTO delivered (account, key, time, listing) VALUES (?1, ?2, ?3, ?4)",
        Some(_) => "UPDATE delivered SET time = ?3, listing = ?4 WHERE account = ?1 AND key = ?2",
    };
    let message = original.likeness(listing);
    if message.is_again(before) {
        return Ok(false);
    }
    work.prepare_cached(write)?.execute(params![account.0, message.key, now(), message.listing])?;
    Ok(true)
}

/// What is older than anybody asks goes at once.
fn count(work: &mut Work<'_>, user: &str) -> Result<(), StoreError> {
    const USER: &str = "(SELECT id FROM account WHERE kind = 'user' AND name = ?1)";
    work.prepare_cached(&format!("DELETE FROM submitted WHERE account = {USER} AND time < ?2"))?.execute(params![user, now() - DAY])?;
    work.prepare_cached("INSERT INTO submitted (account, time) SELECT id, ?2 FROM account WHERE kind = 'user' AND name = ?1")?
        .execute(params![user, now()])?;
    Ok(())
}

fn remember_sender(work: &mut Work<'_>, message_id: &str, user: &str) -> Result<(), StoreError> {
    let Some(account) = accounts::id_by_name(work, &Mailbox::User(user.to_owned()))? else { return Ok(()) };
    let row = params![message_id, account.0, now()];
    // Not OR REPLACE, as in `is_first`.
    let new = work.prepare_cached("INSERT OR IGNORE INTO sent (message_id, account, time) VALUES (?1, ?2, ?3)")?.execute(row)?;
    if new == 0 {
        work.prepare_cached("UPDATE sent SET time = ?3 WHERE message_id = ?1 AND account = ?2")?.execute(row)?;
    }
    Ok(())
}
