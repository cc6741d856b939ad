//! A message on its way in: completed, scanned and stored while it arrives, in bounded memory.

use crate::address::{Address, Domain};
use crate::inbound::facts::{content_facts, whole};
use crate::message::facts::{Facts, Scanner};
use crate::message::header::{EndFinder, MAX_BYTES};
use crate::outbound::complete::{self, Missing};
use crate::store::{NewContent, Spool, Store, StoreError};

/// Messages up to this size are kept in memory until they are stored whole.
const INLINE: usize = 1_000_000;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Its header is larger than any reader of mail accepts.
    #[error("the header is larger than {MAX_BYTES} bytes")]
    Header,
    /// Nothing of it is kept; the client should try again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes one message in pieces. Dropped, it leaves nothing visible.
pub struct Intake {
    store: Store,
    completion: Option<Completion>,
    end: EndFinder,
    header: Option<Vec<u8>>,
    scanner: Scanner,
    held: Vec<u8>,
    spool: Option<Spool>,
}

/// With what a message of ours is completed.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Who stands in From if nobody does.
    pub author: Option<Address>,
    /// Makes a missing Message-ID unique.
    pub domain: Domain,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// A message that is in, but not yet visible.
#[derive(Debug)]
pub struct Taken {
    /// For the store.
    pub content: NewContent,
    /// What it says about itself.
    pub facts: Facts,
}

impl Intake {
    /// Without a completion the message stays as it is: somebody else's.
    pub fn new(store: Store, completion: Option<Completion>) -> Self {
        Self {
            store,
            completion,
            end: EndFinder::default(),
            header: Some(Vec::new()),
            scanner: Scanner::default(),
            held: Vec::new(),
            spool: None,
        }
    }

    /// Takes the next bytes; line ends are CRLF already.
    pub async fn feed(&mut self, piece: &[u8]) -> Result<(), IntakeError> {
        let Some(header) = &mut self.header else { return self.keep(piece).await };
        match self.end.feed(piece) {
            Some(end) => {
                header.extend_from_slice(&piece[..end]);
                self.end_header().await?;
                self.keep(&piece[end..]).await
            }
            None if header.len() + piece.len() > MAX_BYTES => Err(IntakeError::Header),
            None => {
                header.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// The message is complete.
    pub async fn finish(mut self) -> Result<Taken, IntakeError> {
        self.end_header().await?;
        let facts = self.scanner.finish();
        let content = match self.spool {
            Some(mut spool) => {
                spool.write(&self.held).await?;
                NewContent::Spooled(spool.finish().await?, Box::new(content_facts(&facts)))
            }
            None => whole(self.held, &facts),
        };
        Ok(Taken { content, facts })
    }

    async fn end_header(&mut self) -> Result<(), IntakeError> {
        let Some(header) = self.header.take() else { return Ok(()) };
        if header.len() > MAX_BYTES {
            return Err(IntakeError::Header);
        }
        let Some(completion) = &self.completion else { return self.keep(&header).await };
        let message_id = format!("{}@{}", unique(completion.now), completion.domain);
        let missing = Missing { from: completion.author.as_ref(), date: completion.now, message_id };
        let completed = complete::complete(&header, &missing);
        self.keep(&completed).await
    }

    async fn keep(&mut self, piece: &[u8]) -> Result<(), IntakeError> {
        self.scanner.feed(piece);
        self.held.extend_from_slice(piece);
        if self.held.len() > INLINE {
            let spool = self.spool.get_or_insert_with(|| self.store.spool());
            spool.write(&self.held).await?;
            self.held.clear();
        }
        Ok(())
    }
}

/// A name that no other message has: time and 64 random bits.
fn unique(now: i64) -> String {
    let mut random = [0; 8];
    // Without randomness the time alone has to do; two mails in one millisecond are one office's rare bad luck.
    let _ = getrandom::fill(&mut random);
    format!("{now:x}.{:016x}", u64::from_be_bytes(random))
}
