//! One face for both kinds of mailbox at the ISP: list, retrieve in pieces, remove, say goodbye.
//!
//! A message is known by its *handle* inside a session (POP3 number, IMAP UID) and by its [`UpstreamId`] in the ledger.

use super::roll::Roll;
use super::shape::{Expected, Shape};
use crate::config::{After, Collector, Protocol};
use crate::imap::client as imap;
use crate::pop3::client as pop3;
use crate::schedule::Failure;
use crate::store::ledger::UpstreamId;
use crate::wire::dial::Patience;
use crate::wire::sasl::Secret;
use std::collections::{HashMap, HashSet};

/// As much of a header as is looked at before a message is fetched.
const MAX_HEADER: usize = 256 * 1024;
/// Headers to ask for at once with [`Upstream::headers`]: the longest of them together are 16 MB.
pub const HEADERS_AT_ONCE: usize = 64;
/// What comes for one header has an end, though some servers send the whole message for `TOP n 0`.
const MAX_HEADER_ANSWER: u64 = 256 * 1024 * 1024;

/// An open, logged-in session.
pub enum Upstream {
    /// POP3.
    Pop3(Box<pop3::Client>),
    /// IMAP.
    Imap(Box<imap::Client>),
}

/// A listed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Good for this session.
    pub handle: u32,
    /// Good for ever; empty text: the server has no ids, see [`Listing::without_ids`].
    pub id: UpstreamId,
    /// As announced; `None`: not asked yet (IMAP).
    pub size: Option<u64>,
    /// When it arrived upstream, if known (IMAP), milliseconds since 1970.
    pub arrived: Option<i64>,
}

/// What a mailbox or folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// All of it.
    pub items: Roll,
    /// Lines that could not be read, or are missing.
    pub malformed: usize,
    /// The server has no UIDL: ids have to be made from headers.
    pub without_ids: bool,
    /// What tells it from others (IMAP).
    pub shape: Option<Shape>,
    /// All is as it was expected, and was not listed.
    pub unchanged: bool,
}

/// The next thing that a session brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The bytes of a message begin (whose, if that is known already): [`Upstream::piece`] until they have ended.
    Begins(Option<u32>),
    /// A message won't come.
    Refused(u32, String),
    /// The server agreed to remove these.
    Removed(Vec<u32>),
    /// All of one [`Upstream::retrieve`] has been answered, and was well framed.
    InStep,
    /// Nothing to tell.
    Noted,
    /// Nothing is pending.
    Done,
}

/// Whose bytes have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// `None`: the server did not say; nothing can be done with it.
    pub handle: Option<u32>,
    /// INTERNALDATE, for IMAP.
    pub internal_date: Option<i64>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// POP3
    #[error(transparent)]
    Pop3(#[from] pop3::ClientError),
    /// IMAP
    #[error(transparent)]
    Imap(#[from] imap::ClientError),
    /// What comes for a header does not end.
    #[error("the server sends a header without end")]
    EndlessHeader,
}

impl UpstreamError {
    /// What it means for the next attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Pop3(error) => error.failure(),
            Self::Imap(error) => error.failure(),
            Self::EndlessHeader => Failure::Network,
        }
    }

    /// Whether the server ended the connection before it asked who we are: it may have too many.
    pub fn is_turned_away(&self) -> bool {
        match self {
            Self::Pop3(error) => error.is_turned_away(),
            Self::Imap(error) => error.is_turned_away(),
            Self::EndlessHeader => false,
        }
    }

    /// Whether asking for one thing at a time may help.
    pub fn is_out_of_step(&self) -> bool {
        matches!(self, Self::Pop3(pop3::ClientError::OutOfStep(_)))
    }
}

impl Upstream {
    /// Connects and logs in. `pipeline` allows POP3 several requests at once.
    pub async fn open(collector: &Collector, secret: &Secret, pipeline: bool, patience: Patience) -> Result<Self, UpstreamError> {
        let user = collector.log_in_as();
        match collector.protocol {
            Protocol::Pop3 => {
                let mut client = pop3::Client::connect(&collector.endpoint, patience, pipeline).await?;
                client.log_in(user, secret).await?;
                Ok(Self::Pop3(Box::new(client)))
            }
            Protocol::Imap => {
                let mut client = imap::Client::connect(&collector.endpoint, patience).await?;
                client.log_in(user, secret).await?;
                Ok(Self::Imap(Box::new(client)))
            }
        }
    }

    /// What is there. `change`: something may be removed, moved or marked later.
    pub async fn list(&mut self, folder: &str, change: bool, expected: Expected) -> Result<Listing, UpstreamError> {
        let client = match self {
            Self::Pop3(client) => return Ok(pop3_listing(&client.list().await?)),
            Self::Imap(client) => client,
        };
        let before = match expected {
            Expected::Same(before) => {
                let selected = client.select(folder, change).await?;
                if Shape::of(&selected) == Some(before) {
                    return Ok(Listing { shape: Some(before), unchanged: true, ..Listing::default() });
                }
                Some(selected)
            }
            _ => None,
        };
        let sizes_from = match expected {
            Expected::Same(before) | Expected::More(before) => Some(before.uid_next),
            Expected::AllNew => Some(1),
            Expected::Unknown => None,
        };
        let found = match before {
            Some(selected) => imap::Survey { selected, ..client.survey(None, sizes_from).await? },
            None => client.survey(Some((folder, change)), sizes_from).await?,
        };
        let validity = found.selected.uid_validity;
        let mut sizes = found.sizes;
        let mut items = Roll::default();
        for uid in found.uids {
            let (size, arrived) = sizes.remove(&uid).map_or((None, None), |(size, arrived)| (Some(size), arrived));
            items.push(uid, (&format!("{validity}.{uid}"), 0), size, arrived);
        }
        Ok(Listing { items, shape: Shape::of(&found.selected), ..Listing::default() })
    }

    /// Fills in sizes (and arrival dates, if the server knows them) that the listing did not bring.
    pub async fn measure(&mut self, items: &mut [Item]) -> Result<(), UpstreamError> {
        let Self::Imap(client) = self else { return Ok(()) };
        let unknown: Vec<u32> = items.iter().filter(|item| item.size.is_none()).map(|item| item.handle).collect();
        let sizes = client.sizes(&unknown).await?;
        for item in items {
            if let Some((size, arrived)) = sizes.get(&item.handle) {
                (item.size, item.arrived) = (Some(*size), *arrived);
            }
        }
        Ok(())
    }

    /// Headers of some messages, cut off at 256 KB each; those that the server won't give are missing, and those that nobody asked for are
    /// passed over. Ask for [`HEADERS_AT_ONCE`] at most. Nothing may be pending.
    pub async fn headers(&mut self, handles: &[u32]) -> Result<HashMap<u32, Vec<u8>>, UpstreamError> {
        match self {
            Self::Pop3(client) if !client.offers_top() => return Ok(HashMap::new()),
            Self::Pop3(client) => handles.iter().for_each(|handle| client.header(*handle)),
            Self::Imap(client) => client.headers(handles),
        }
        let mut wanted: HashSet<u32> = handles.iter().copied().collect();
        let mut found = HashMap::new();
        loop {
            let begun = match self {
                Self::Pop3(client) => match client.next().await? {
                    Some(pop3::Answer::Begins(number)) => Some(number),
                    Some(_) => continue,
                    None => {
                        if found.is_empty() && !handles.is_empty() {
                            client.distrust_top();
                        }
                        return Ok(found);
                    }
                },
                Self::Imap(client) => match client.next().await? {
                    Some(imap::Answer::Begins(uid)) => uid,
                    Some(_) => continue,
                    None => return Ok(found),
                },
            };
            let mut header = Vec::new();
            let mut came = 0;
            let ended = loop {
                let before = header.len();
                let ended = self.piece(&mut header).await?;
                came += (header.len() - before) as u64;
                match ended {
                    Some(ended) => break ended,
                    None if came > MAX_HEADER_ANSWER => return Err(UpstreamError::EndlessHeader),
                    None => header.truncate(MAX_HEADER),
                }
            };
            if let Some(handle) = begun.or(ended.handle).filter(|handle| wanted.remove(handle)) {
                header.truncate(header_end(&header).min(MAX_HEADER));
                found.insert(handle, header);
            }
        }
    }

    /// Asks for whole messages, in this order: how many [`Event::InStep`] will tell that all of them have been answered.
    pub fn retrieve(&mut self, items: &[Item]) -> usize {
        match self {
            Self::Pop3(client) => {
                items.iter().for_each(|item| client.retrieve(item.handle, item.size.unwrap_or(0)));
                // Its answer shows that the last message ended where it seemed to.
                client.check();
                1
            }
            Self::Imap(client) => {
                let mut uids: Vec<u32> = items.iter().map(|item| item.handle).collect();
                uids.sort_unstable();
                client.retrieve(&uids)
            }
        }
    }

    /// Whether what is asked for next comes after all that was asked for before.
    pub fn answers_in_order(&self) -> bool {
        matches!(self, Self::Pop3(_))
    }

    /// Asks for what [`Upstream::dispose`] does while other answers are on their way; [`Event::Removed`] follows. False: it has to wait until
    /// nothing is.
    pub fn ask_to_remove(&mut self, handles: &[u32], after: &After) -> bool {
        match (self, after) {
            (_, After::Keep) => true,
            (Self::Pop3(client), _) => {
                handles.iter().for_each(|handle| client.delete(*handle));
                true
            }
            (Self::Imap(client), After::Delete | After::Age(_)) if client.removes_singly() => {
                let mut uids = handles.to_vec();
                uids.sort_unstable();
                client.ask_to_remove(&uids);
                true
            }
            (Self::Imap(_), _) => false,
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Event, UpstreamError> {
        match self {
            Self::Pop3(client) => Ok(match client.next().await? {
                Some(pop3::Answer::Begins(number)) => Event::Begins(Some(number)),
                Some(pop3::Answer::Refused(number, text)) => Event::Refused(number, text),
                Some(pop3::Answer::Deleted(number)) => Event::Removed(vec![number]),
                Some(pop3::Answer::NotDeleted(number, text)) => {
                    tracing::warn!(number, text, "the server does not delete a message");
                    Event::Noted
                }
                Some(pop3::Answer::InStep) => Event::InStep,
                Some(pop3::Answer::Left(_)) => Event::Noted,
                None => Event::Done,
            }),
            Self::Imap(client) => Ok(match client.next().await? {
                Some(imap::Answer::Begins(uid)) => Event::Begins(uid),
                Some(imap::Answer::Refused(uid, text)) => Event::Refused(uid, text),
                Some(imap::Answer::Removed(uids)) if uids.is_empty() => Event::Noted,
                Some(imap::Answer::Removed(uids)) => Event::Removed(uids),
                Some(imap::Answer::InStep) => Event::InStep,
                None => Event::Done,
            }),
        }
    }

    /// Adds the next bytes of a message to `to`; says whose they were when they have ended.
    pub async fn piece(&mut self, to: &mut Vec<u8>) -> Result<Option<Ended>, UpstreamError> {
        match self {
            Self::Pop3(client) => {
                let more = client.piece(to).await?;
                Ok((!more).then(|| Ended { handle: client.ended(), internal_date: None }))
            }
            Self::Imap(client) => {
                let more = client.piece(to).await?;
                let fetched = client.ended();
                Ok((!more).then_some(Ended { handle: fetched.uid, internal_date: fetched.internal_date }))
            }
        }
    }

    /// Does with messages that are safely here what `after` says, and waits for all that is on its way; which of them the server agreed to
    /// remove. For POP3 deletion takes place with [`Upstream::finish`].
    pub async fn dispose(&mut self, handles: &[u32], after: &After) -> Result<Vec<u32>, UpstreamError> {
        let mut done = Vec::new();
        let asked = handles.is_empty() || self.ask_to_remove(handles, after);
        loop {
            match self.next().await? {
                Event::Removed(handles) => done.extend(handles),
                Event::Done => break,
                _ => {}
            }
        }
        if asked {
            return Ok(done);
        }
        if let Self::Imap(client) = self {
            let mut uids = handles.to_vec();
            uids.sort_unstable();
            let removed = match after {
                After::Seen => {
                    client.mark_seen(&uids).await?;
                    return Ok(done);
                }
                After::Move(folder) => client.relocate(&uids, folder).await?,
                _ => client.remove(&uids).await?,
            };
            if removed == imap::Removed::Marked {
                tracing::warn!(
                    "the server can't remove single messages (no UIDPLUS), and somebody else has marked mail as deleted: \
                     ours is marked too and stays until a mail program compacts the folder"
                );
            }
            done.extend(uids);
        }
        Ok(done)
    }

    /// The last [`Upstream::dispose`] and the end of the session, in one go where the server allows that. Adds what the server agreed to to
    /// `done`, also if the session breaks then. False: the server says that it did not delete what it was asked to.
    pub async fn finish(mut self, handles: &[u32], after: &After, done: &mut Vec<u32>) -> Result<bool, UpstreamError> {
        match self {
            Self::Pop3(mut client) => {
                if *after != After::Keep {
                    handles.iter().for_each(|handle| client.delete(*handle));
                }
                client.leave();
                let mut deleted = true;
                while let Some(answer) = client.next().await? {
                    match answer {
                        pop3::Answer::Deleted(number) => done.push(number),
                        pop3::Answer::NotDeleted(number, text) => tracing::warn!(number, text, "the server does not delete a message"),
                        pop3::Answer::Left(well) => deleted = well,
                        _ => {}
                    }
                }
                client.close().await;
                Ok(deleted)
            }
            Self::Imap(mut client) if matches!(after, After::Delete | After::Age(_)) && client.removes_singly() => {
                let mut uids = handles.to_vec();
                uids.sort_unstable();
                client.ask_to_remove(&uids);
                client.ask_to_log_out();
                while let Some(answer) = client.next().await? {
                    if let imap::Answer::Removed(uids) = answer {
                        done.extend(uids);
                    }
                }
                client.close().await;
                Ok(true)
            }
            Self::Imap(_) => {
                done.extend(self.dispose(handles, after).await?);
                if let Self::Imap(client) = self {
                    client.log_out().await;
                }
                Ok(true)
            }
        }
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub fn certificate_ends(&self) -> Option<i64> {
        match self {
            Self::Pop3(client) => client.certificate_ends(),
            Self::Imap(client) => client.certificate_ends(),
        }
    }

    /// Ends a session that changed nothing.
    pub async fn leave(self) -> Result<bool, UpstreamError> {
        self.finish(&[], &After::Keep, &mut Vec::new()).await
    }

    /// Seconds that the server wants between log-ins.
    pub fn login_delay(&self) -> Option<u64> {
        match self {
            Self::Pop3(client) => client.login_delay(),
            Self::Imap(_) => None,
        }
    }
}

/// Some servers send the whole message for `TOP n 0`.
fn header_end(bytes: &[u8]) -> usize {
    let blank = |end: &[u8]| memchr::memmem::find(bytes, end).map(|at| at + end.len());
    let first = if bytes.starts_with(b"\r\n") { Some(2) } else { None };
    first.or_else(|| blank(b"\r\n\r\n")).unwrap_or(bytes.len())
}

/// Equal UIDLs in one listing are told apart by an ordinal, in the order of the listing (RFC 1939 §7 allows them for equal messages). A
/// message whose UIDL line was missing or broken waits until the server lists it well, unless there are no ids at all.
fn pop3_listing(listing: &pop3::Listing) -> Listing {
    let uidl = |message: &pop3::Listed| listing.uidl(message);
    let without_ids = !listing.messages.is_empty() && listing.messages.iter().all(|message| uidl(message).is_none());
    let mut items = Roll::default();
    for message in listing.messages.iter().filter(|message| without_ids || uidl(message).is_some()) {
        items.push(message.number, (uidl(message).unwrap_or_default(), 0), Some(message.size), None);
    }
    if !without_ids {
        items.number_equal_ids();
    }
    let without_id = listing.messages.len() - items.len();
    Listing { items, malformed: listing.malformed + without_id, without_ids, ..Listing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ids_get_ordinals() {
        let listed = [(1, 10, Some("a")), (2, 10, Some("b")), (3, 10, Some("a")), (4, 10, None)];
        let listing = pop3_listing(&listed.into_iter().collect());
        let ids: Vec<_> = listing.items.items().map(|item| (item.handle, item.id)).collect();
        assert_eq!(ids, [(1, ("a".into(), 0)), (2, ("b".into(), 0)), (3, ("a".into(), 1))]);
        assert!(!listing.without_ids);
        assert_eq!(listing.malformed, 1, "it shows less than is there");
    }

    #[test]
    fn a_server_without_ids_is_recognised() {
        let listing = pop3_listing(&[(1, 10, None), (2, 10, None)].into_iter().collect());
        assert!(listing.without_ids);
        assert_eq!(listing.items.len(), 2);
        assert!(!pop3_listing(&pop3::Listing::default()).without_ids);
    }
}
