//! A message's facts, and beside them, where blank lines stand above its header, what that header says.
//!
//! Such a message is stored as it came, and clients see it so: with nothing in its header. Whom it is for is told by what stands below.

use super::recipients::blank_start;
use crate::message::facts::{Facts, Scanner};

/// See the module.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Of the message as it came.
    pub facts: Facts,
    below: Option<Box<Facts>>,
}

impl Scanned {
    /// Of a message that is in memory anyway.
    pub fn of(message: &[u8]) -> Scanned {
        let mut scanning = Scanning::default();
        scanning.feed(message);
        scanning.finish()
    }

    /// What is decided by.
    pub fn said(&self) -> &Facts {
        self.below.as_deref().unwrap_or(&self.facts)
    }
}

/// Takes a message in pieces; the first one holds more than blank lines.
#[derive(Debug, Default)]
pub struct Scanning {
    whole: Scanner,
    below: Option<Scanner>,
    begun: bool,
}

impl Scanning {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.whole.feed(piece);
        let blank = if self.begun { 0 } else { blank_start(piece) };
        self.begun |= !piece.is_empty();
        if blank > 0 {
            self.below = Some(Scanner::default());
        }
        if let Some(below) = &mut self.below {
            below.feed(&piece[blank..]);
        }
    }

    /// What was found.
    pub fn finish(self) -> Scanned {
        Scanned { facts: self.whole.finish(), below: self.below.map(|below| Box::new(below.finish())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_below_blank_lines_is_read() {
        let message = b"\r\n\r\nEnvelope-To: alice@example.com\r\nSubject: x\r\n\r\nhello\r\n";
        let scanned = Scanned::of(message);
        assert_eq!((scanned.facts.size, scanned.facts.header_size, scanned.facts.subject.as_str()), (message.len() as u64, 2, ""));
        assert_eq!((scanned.said().subject.as_str(), scanned.said().size), ("x", message.len() as u64 - 4));
        let plain = Scanned::of(&message[4..]);
        assert_eq!(plain.said(), &plain.facts);
        assert_eq!(Scanned::of(b"\r\n").said().size, 2);
    }
}
