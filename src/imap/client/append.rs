//! A message for a folder at the server (APPEND), in pieces, and whether one is there already.

use super::mailbox::mailbox;
use super::{Client, ClientError, MAX_LINE, tagged};
use crate::imap::date;
use crate::wire::Instant;
use crate::wire::dial::Phase;

/// [`ClientError::Refused::what`] of a message that is not taken.
const APPEND: &str = "the message for a folder";

/// Untagged responses between the command and the server's consent.
const MAX_LINES: usize = 1000;

/// A message on its way: [`Client::append_piece`] until all its bytes are given, then [`Client::appended`].
#[derive(Debug)]
pub struct Append {
    tag: String,
    started: Instant,
    bytes: u64,
}

impl Client {
    /// Announces a message of exactly so many bytes, marked `\\Seen`, with its date in milliseconds since 1970. The folder is made if there
    /// is none.
    pub async fn append(&mut self, folder: &str, date: i64, size: u64) -> Result<Append, ClientError> {
        match self.announce(folder, date, size).await {
            Err(ClientError::Refused { code, .. }) if code == "TRYCREATE" => {
                let name = mailbox(folder);
                self.command(&format!("CREATE {name}"), "a new folder", Phase::Command, |_| Ok(())).await?;
                // Whether people see it in their programs is no reason to fail.
                match self.command(&format!("SUBSCRIBE {name}"), "a new folder", Phase::Command, |_| Ok(())).await {
                    Ok(_) | Err(ClientError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
                self.announce(folder, date, size).await
            }
            other => other,
        }
    }

    async fn announce(&mut self, folder: &str, date: i64, size: u64) -> Result<Append, ClientError> {
        let tag = self.queue(&format!("APPEND {} (\\Seen) \"{}\" {{{size}}}", mailbox(folder), date::render(date)));
        self.flush(Phase::Command).await?;
        for _ in 0..MAX_LINES {
            let line = self.line(MAX_LINE, Phase::Command).await?;
            if line.first() == Some(&b'+') {
                return Ok(Append { tag, started: Instant::now(), bytes: 0 });
            }
            match line.strip_prefix(b"* ") {
                Some(rest) => self.unasked(rest).await?,
                None => {
                    super::status(tagged(&line, &tag)?, APPEND)?;
                    return Err(ClientError::OutOfStep("the message was taken before it was sent".into()));
                }
            }
        }
        Err(ClientError::OutOfStep("endless responses".into()))
    }

    /// The next bytes.
    pub async fn append_piece(&mut self, append: &mut Append, bytes: &[u8]) -> Result<(), ClientError> {
        append.bytes += bytes.len() as u64;
        self.connection.queue(bytes);
        let deadline = self.patience.transfer_deadline(append.started, append.bytes);
        self.connection.flush(deadline).await.map_err(|source| ClientError::Wire { phase: Phase::Transfer, source })
    }

    /// All bytes are given; the server has the message.
    pub async fn appended(&mut self, append: Append) -> Result<(), ClientError> {
        self.connection.queue(b"\r\n");
        self.flush(Phase::Transfer).await?;
        self.answer(&append.tag, APPEND, Phase::Transfer, |_| Ok(())).await.map(drop)
    }

    /// Whether a folder has a message with that Message-ID, given without angle brackets. A folder that does not open has none.
    pub async fn has_message(&mut self, folder: &str, message_id: &str) -> Result<bool, ClientError> {
        match self.select(folder, false).await {
            Ok(_) => {}
            Err(ClientError::Refused { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        let wanted: String = message_id.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
        Ok(!self.search_for(&format!("UID SEARCH HEADER Message-ID \"{wanted}\"")).await?.is_empty())
    }
}
