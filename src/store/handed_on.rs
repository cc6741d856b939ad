//! Whom a message was sent on to lately: one person gets one copy, also where his mailbox is elsewhere (product page).

use super::queue::{MailId, NewMail};
use super::{StoreError, Work, now};
use crate::address::Address;
use rusqlite::{OptionalExtension, params};

/// What tells whether two messages are one, inside a transaction.
pub struct Likeness<'a> {
    /// Of Message-ID and body, or of all bytes.
    pub key: &'a [u8; 16],
    /// The listing that it came in, if there is no Message-ID: two of one listing are two messages.
    pub listing: Option<&'a str>,
    /// Times before this are forgotten.
    pub since: i64,
}

impl Likeness<'_> {
    /// Whether somebody who got a message at that time, in that listing, got this one.
    pub fn is_again(&self, before: Option<(i64, Option<String>)>) -> bool {
        before.is_some_and(|(time, listing)| {
            let same_listing = self.listing.is_some() && listing.as_deref() == self.listing;
            time > self.since && !same_listing
        })
    }
}

/// Those recipients of a mail who did not get the same message lately; inside a transaction.
pub fn first(work: &Work<'_>, mail: &NewMail, message: &Likeness<'_>) -> Result<Vec<Address>, StoreError> {
    let mut select =
        work.connection.prepare_cached("SELECT time, listing FROM handed_on WHERE system = ?1 AND address = ?2 AND key = ?3")?;
    let mut first = Vec::new();
    for address in &mail.recipients {
        let before =
            select.query_row(params![system(mail), address.key(), message.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if !message.is_again(before) {
            first.push(address.clone());
        }
    }
    Ok(first)
}

/// This mail, with this number, is on its way to its recipients; inside a transaction.
pub fn remember(work: &Work<'_>, id: MailId, mail: &NewMail, message: &Likeness<'_>) -> Result<(), StoreError> {
    let mut insert = work
        .connection
        .prepare_cached("INSERT OR REPLACE INTO handed_on (system, address, key, time, listing, mail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for address in &mail.recipients {
        insert.execute(params![system(mail), address.key(), message.key, now(), message.listing, id.0])?;
    }
    Ok(())
}

/// It will not arrive there, or at none of its recipients: another copy is no duplicate. Inside a transaction.
pub fn forget(work: &Work<'_>, id: MailId, address: Option<&Address>) -> Result<(), StoreError> {
    work.connection
        .prepare_cached("DELETE FROM handed_on WHERE mail = ?1 AND (?2 IS NULL OR address = ?2)")?
        .execute(params![id.0, address.map(Address::key)])?;
    Ok(())
}

fn system(mail: &NewMail) -> &str {
    mail.lmtp.as_deref().unwrap_or_default()
}
