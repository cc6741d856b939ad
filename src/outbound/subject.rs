//! What a queued mail is about, as its writer put it: its rows know only what servers ask.

use crate::message::header::Header;
use crate::store::queue::Queued;
use crate::store::{Store, StoreError};

/// Bytes of a mail in which its subject is looked for.
const MAX_HEADER: usize = 64 * 1024;

/// Decoded; empty where there is none.
pub async fn subject(store: &Store, mail: &Queued) -> Result<String, StoreError> {
    let header = store.content(mail.content, 0, MAX_HEADER).await?;
    Ok(Header::parse(&header).text("subject").unwrap_or_default())
}
