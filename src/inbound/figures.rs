//! What a fetch counts, and what it tells while it runs.

use crate::schedule::Failure;
use serde::Serialize;

/// One collector in `fetch --json`: messages, not copies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Figures {
    /// The collector.
    pub name: String,
    /// In the mailbox.
    pub listed: u64,
    /// Of those, dealt with before.
    pub known: u64,
    /// The sum of the eight below.
    pub fetched: u64,
    /// To at least one mailbox here.
    pub delivered: u64,
    /// To nobody here, but sent on.
    pub forwarded: u64,
    /// In the tray.
    pub held: u64,
    /// Everybody had it already.
    pub duplicate: u64,
    /// Too large: its header is in the tray.
    pub stub: u64,
    /// Thrown away because a rule says so.
    pub discarded: u64,
    /// Somebody else's, left where it is.
    pub remote: u64,
    /// Could not be handled: its bytes are in the tray.
    pub quarantined: u64,
    /// Deleted (or moved) at the provider.
    pub deleted: u64,
    /// Still there and not here; tried again next time.
    pub failed: u64,
    /// Of what was fetched.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Why it ended early, in plain words.
    pub error: Option<String>,
}

impl Figures {
    /// Adds what was stored.
    pub fn add(&mut self, more: &Self) {
        self.fetched += more.fetched;
        self.delivered += more.delivered;
        self.forwarded += more.forwarded;
        self.held += more.held;
        self.duplicate += more.duplicate;
        self.stub += more.stub;
        self.discarded += more.discarded;
        self.remote += more.remote;
        self.quarantined += more.quarantined;
        self.bytes += more.bytes;
    }

    /// Counts one message that is safely here.
    pub fn count(&mut self, outcome: &str, bytes: u64) {
        let place = match outcome {
            "delivered" => &mut self.delivered,
            "forwarded" => &mut self.forwarded,
            "held" => &mut self.held,
            "duplicate" => &mut self.duplicate,
            "stub" => &mut self.stub,
            "discarded" => &mut self.discarded,
            "remote" => &mut self.remote,
            _ => &mut self.quarantined,
        };
        *place += 1;
        self.fetched += 1;
        self.bytes += bytes;
    }
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What it did, with the reason if it ended early.
    pub figures: Figures,
    /// The kind of reason.
    pub failure: Option<Failure>,
    /// The server ended the connection before it asked who we are.
    pub turned_away: bool,
    /// Seconds that the server wants between log-ins.
    pub login_delay: Option<u64>,
    /// A fault of the program ended it.
    pub fault: bool,
}

/// Published while a fetch runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages to be fetched, as far as known.
    pub wanted: u64,
    /// Of those, received.
    pub received: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Something to tell the person: what a new mailbox holds, and what will become of it.
    pub notices: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetched_is_the_sum() {
        let mut figures = Figures::default();
        for outcome in ["delivered", "forwarded", "held", "duplicate", "stub", "discarded", "remote", "quarantined"] {
            figures.count(outcome, 10);
        }
        assert_eq!((figures.fetched, figures.bytes), (8, 80));
        assert!([figures.delivered, figures.held, figures.remote, figures.quarantined].iter().all(|n| *n == 1));
    }
}
