//! IDLE (RFC 2177): the client is told at once, and costs next to nothing while nothing happens.

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::outcome::{Done, Failure, Performed};
use super::{AUTOLOGOUT, Session};
use crate::store::Change;
use crate::wire::{LineEnd, WireError};

/// `DONE`, with some room for spaces.
const MAX_DONE: usize = 64;

/// What ends a wait.
pub enum Woken {
    Line(Result<bytes::Bytes, WireError>),
    /// `None`: so much that it could not be kept.
    Changed(Option<Change>),
    Remapped,
    Stopping,
}

impl Session {
    pub(super) async fn idle(&mut self) -> Performed {
        self.queue("+ Idling.\r\n");
        let deadline = Instant::now() + AUTOLOGOUT;
        loop {
            self.sync(true, true).await?;
            self.flush().await?;
            self.wire.rest();
            match self.wake(MAX_DONE, deadline).await {
                Woken::Changed(change) => self.note(change),
                Woken::Remapped => self.note_mapping(),
                Woken::Line(Ok(line)) if line.trim_ascii().eq_ignore_ascii_case(b"DONE") => return Ok(Done::ok("No longer idle.")),
                Woken::Line(Ok(_) | Err(WireError::LineTooLong(_))) => return Err(Failure::Bad("DONE ends IDLE.".into())),
                Woken::Line(Err(WireError::TimedOut)) => return Err(Failure::Bye("You were idle for too long.".into())),
                Woken::Line(Err(error)) => return Err(error.into()),
                Woken::Stopping => return Err(Failure::Bye("The server is stopping.".into())),
            }
        }
    }

    /// Until the client speaks, in a line of at most `max` bytes, or something changes that it wants to be told of.
    pub(super) async fn wake(&mut self, max: usize, deadline: Instant) -> Woken {
        let concerned = self.notify.is_some() || self.selected.as_ref().is_some_and(|selected| selected.shared.is_some());
        let concern = self.concern();
        let mapping = &mut self.mapping;
        let remapped = async move {
            match concerned {
                true if mapping.changed().await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        let changes = &mut self.changes;
        let changed = async move {
            let Some(changes) = changes else { return std::future::pending().await };
            loop {
                match changes.recv().await {
                    Ok(change) if concern.is(change) => return Some(change),
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => return None,
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                }
            }
        };
        tokio::select! {
            biased;
            line = self.wire.line(max, LineEnd::Tolerant, deadline) => Woken::Line(line),
            () = self.stop.requested() => Woken::Stopping,
            change = changed => Woken::Changed(change),
            // Who is no longer a member is not told of anything more.
            () = remapped => Woken::Remapped,
        }
    }
}
