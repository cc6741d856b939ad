//! What is in the mailbox: LIST and UIDL (RFC 1939 §5, §7).

use super::{Client, ClientError};
use crate::wire::dial::Phase;
use crate::wire::redact;

/// A listing of more messages is no mailbox but an attack; the rest is seen when these are gone.
const MAX_LISTED: usize = 500_000;
/// RFC 1939 §7 allows 70 characters; servers with longer ones exist.
const MAX_UIDL: usize = 512;

/// One message of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number; good for this session only.
    pub number: u32,
    /// As announced: a hint.
    pub size: u64,
    /// Its unique id, in [`Listing::uidls`].
    uidl: (u32, u32),
}

/// What LIST and UIDL brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By number.
    pub messages: Vec<Listed>,
    uidls: String,
    /// Lines that could not be read, and were passed over.
    pub malformed: usize,
}

impl Listing {
    /// The unique id of one of the messages, if the server has such.
    pub fn uidl(&self, message: &Listed) -> Option<&str> {
        self.uidls.get(message.uidl.0 as usize..message.uidl.1 as usize).filter(|uidl| !uidl.is_empty())
    }
}

/// Where an id stands among the others. Those beyond 4 GB are none.
fn note(uidls: &mut String, uidl: &str) -> (u32, u32) {
    match (u32::try_from(uidls.len()), u32::try_from(uidls.len() + uidl.len())) {
        (Ok(start), Ok(end)) => {
            uidls.push_str(uidl);
            (start, end)
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
impl FromIterator<(u32, u64, Option<&'static str>)> for Listing {
    fn from_iter<I: IntoIterator<Item = (u32, u64, Option<&'static str>)>>(listed: I) -> Self {
        let mut listing = Self::default();
        for (number, size, uidl) in listed {
            let uidl = note(&mut listing.uidls, uidl.unwrap_or_default());
            listing.messages.push(Listed { number, size, uidl });
        }
        listing
    }
}

impl Client {
    /// LIST and UIDL. Lines that can't be read are counted and passed over. A server without UIDL gives messages without ids.
    pub async fn list(&mut self) -> Result<Listing, ClientError> {
        let mut listing = Listing::default();
        let asked = std::mem::take(&mut self.ahead);
        let together = asked || self.pipelining;
        if !asked {
            self.say(if together { "LIST\r\nUIDL\r\nSTAT" } else { "LIST" }, Phase::Command).await?;
        }
        self.status("LIST", Phase::Command).await.map_err(|error| self.doubt(error))?;
        self.lines(MAX_LISTED, |line| match scan_listing(line) {
            Some((number, size)) => listing.messages.push(Listed { number, size, uidl: (0, 0) }),
            None => listing.malformed += 1,
        })
        .await?;
        // Servers list in order; the first line about a message counts.
        listing.messages.sort_by_key(|message| message.number);
        let lines = listing.messages.len();
        listing.messages.dedup_by_key(|message| message.number);
        listing.malformed += lines - listing.messages.len();
        if !together {
            self.say("UIDL", Phase::Command).await?;
        }
        match self.status("UIDL", Phase::Command).await.map_err(|error| self.doubt(error)) {
            Ok(_) => {
                let malformed = &mut listing.malformed;
                let (messages, uidls) = (&mut listing.messages, &mut listing.uidls);
                self.lines(MAX_LISTED, |line| match scan_uidl(line) {
                    Some((number, uidl)) => match messages.binary_search_by_key(&number, |message| message.number) {
                        Ok(at) => messages[at].uidl = note(uidls, &uidl),
                        Err(_) => *malformed += 1,
                    },
                    None => *malformed += 1,
                })
                .await?;
            }
            Err(ClientError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        if together {
            let line = self.status("STAT", Phase::Command).await.map_err(|error| self.doubt(error))?;
            if !is_drop_listing(&line) {
                return Err(ClientError::OutOfStep(redact::shown(&line)));
            }
        }
        Ok(listing)
    }
}

/// `+OK nn mm`, what STAT is answered with (RFC 1939 §5).
pub(super) fn is_drop_listing(line: &[u8]) -> bool {
    let is_number = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).skip(1);
    words.next().is_some_and(is_number) && words.next().is_some_and(is_number)
}

/// `n size`, whatever follows.
fn scan_listing(line: &[u8]) -> Option<(u32, u64)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
    Some((number, words.next()?.parse().ok()?))
}

/// `n unique-id`. Ids with spaces or beyond ASCII exist; they are taken as they are.
fn scan_uidl(line: &[u8]) -> Option<(u32, String)> {
    let space = line.iter().position(u8::is_ascii_whitespace)?;
    let number = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let uidl = line[space..].trim_ascii();
    (!uidl.is_empty() && uidl.len() <= MAX_UIDL).then(|| (number, String::from_utf8_lossy(uidl).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_lines() {
        for (line, expected) in [
            ("1 120", Some((1, 120))),
            ("2  200 octets", Some((2, 200))),
            ("0 5", None),
            ("x 5", None),
            ("3", None),
            ("3 -1", None),
            ("", None),
            ("4294967296 1", None),
        ] {
            assert_eq!(scan_listing(line.as_bytes()), expected, "{line}");
        }
        for (line, expected) in [
            ("1 abc", Some((1, "abc"))),
            ("2 a b", Some((2, "a b"))),
            ("3 ", None),
            ("3", None),
            ("x y", None),
            ("5 \u{e4}", Some((5, "ä"))),
        ] {
            assert_eq!(scan_uidl(line.as_bytes()), expected.map(|(n, u)| (n, u.to_owned())), "{line}");
        }
        assert_eq!(scan_uidl(format!("1 {}", "x".repeat(MAX_UIDL + 1)).as_bytes()), None);
    }
}
