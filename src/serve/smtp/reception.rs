//! A message while a client hands it in, by DATA or BDAT: line ends made canonical, sizes counted, and why it will not be taken.

use crate::outbound::intake::{Intake, IntakeError};
use crate::outbound::submit::{self, Submitter};
use crate::smtp::canonical::Canonical;
use crate::smtp::reply::Reply;
use crate::smtp::session::too_large;

/// See above.
pub(super) struct Reception {
    intake: Intake,
    canonical: Canonical,
    /// Bytes that this sender may hand in.
    pub(super) max_size: u64,
    /// Bytes as they came.
    pub(super) received: u64,
    /// Why it will not be taken.
    failed: Option<Reply>,
}

impl Reception {
    /// Nothing has come yet of at most so many bytes.
    pub(super) fn new(intake: Intake, max_size: u64) -> Self {
        Self { intake, canonical: Canonical::default(), max_size, received: 0, failed: None }
    }

    /// Whether it will not be taken, whatever else comes.
    pub(super) fn is_hopeless(&self) -> bool {
        self.failed.is_some()
    }

    /// The next bytes, as long as there is hope.
    pub(super) async fn take(&mut self, piece: &[u8]) {
        self.received += piece.len() as u64;
        if self.failed.is_some() {
            return;
        }
        if self.received > self.max_size {
            self.failed = Some(too_large(self.max_size));
            return;
        }
        let mut lines = Vec::with_capacity(piece.len());
        self.canonical.feed(piece, &mut lines);
        if let Err(error) = self.intake.feed(&lines).await {
            self.failed = Some(not_taken(&error));
        }
    }

    pub(super) async fn finish(mut self, submitter: &Submitter) -> Result<submit::Taken, Reply> {
        if let Some(reply) = self.failed {
            return Err(reply);
        }
        if self.canonical.changed() {
            if !submitter.is_trusted() {
                return Err(Reply::new(554, "5.6.0", "A line of the message does not end in CR LF; such mail is not taken from outside"));
            }
            tracing::info!("the message had bare CR or LF characters; they were made line ends");
        }
        let mut last = Vec::new();
        self.canonical.finish(&mut last);
        match self.intake.feed(&last).await {
            Ok(()) => self.intake.finish().await.map_err(|error| not_taken(&error)),
            Err(error) => Err(not_taken(&error)),
        }
    }
}

fn not_taken(error: &IntakeError) -> Reply {
    match error {
        IntakeError::Header => Reply::new(554, "5.6.0", format!("{error}; nobody could read it")),
        IntakeError::Store(error) => submit::temporary(error),
    }
}
