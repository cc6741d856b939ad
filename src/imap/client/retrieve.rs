//! Messages as they come: asked for in sets, a few commands ahead, and read in pieces.

use super::super::fetch_response::{self, Fetched, Next, Reader};
use super::{
    About, Answer, Ask, COMMANDS_AHEAD, Client, ClientError, MAX_LINE, MAX_SET, MAX_UNASKED, MAX_UNTAGGED, fetch_text, is_tagged, status,
    tagged,
};
use crate::wire::dial::Phase;
use crate::wire::{Instant, redact};

/// A message that is being read.
pub(super) struct Body {
    reader: Reader,
    left: u64,
    started: Instant,
    bytes: u64,
    quoted: Option<Vec<u8>>,
}

impl Client {
    /// Asks for whole messages of the selected folder, by UID, ascending. As many [`Answer::InStep`] will follow.
    pub fn retrieve(&mut self, uids: &[u32]) -> usize {
        self.ask_for("(UID INTERNALDATE BODY.PEEK[])", uids)
    }

    /// Asks for headers only.
    pub fn headers(&mut self, uids: &[u32]) {
        self.ask_for("(UID INTERNALDATE BODY.PEEK[HEADER])", uids);
    }

    /// The next answer; `None` when everything that was asked for has been answered, and well.
    pub async fn next(&mut self) -> Result<Option<Answer>, ClientError> {
        while self.body.is_some() {
            self.piece(&mut Vec::new()).await?;
        }
        self.begin_answer();
        let mut untagged = 0;
        loop {
            if let Some(answer) = self.refused.pop_front() {
                return Ok(Some(answer));
            }
            self.send_waiting().await?;
            if self.sent.is_empty() {
                return Ok(None);
            }
            let line = self.line(MAX_LINE, Phase::Command).await?;
            if let Some(rest) = line.strip_prefix(b"* ") {
                untagged += 1;
                if untagged > MAX_UNTAGGED || self.unasked > MAX_UNASKED {
                    return Err(ClientError::OutOfStep("endless responses".into()));
                }
                if let Some(text) = fetch_text(rest) {
                    if self.begins(text).await? {
                        let uid = self.body.as_ref().and_then(|body| body.reader.fetched.uid);
                        return Ok(Some(Answer::Begins(uid)));
                    }
                } else {
                    self.unasked(rest).await?;
                }
                continue;
            }
            // Servers may carry out several commands side by side, and end them in any order (RFC 3501 §5.5).
            let Some(at) = self.sent.iter().position(|(tag, _)| is_tagged(&line, tag)) else {
                return Err(ClientError::OutOfStep(format!("“{}”", redact::shown(&line))));
            };
            let Some((tag, ask)) = self.sent.remove(at) else { return Ok(None) };
            let reason = match status(tagged(&line, &tag)?, "messages") {
                Ok(_) => None,
                Err(ClientError::Refused { text, .. }) => Some(text),
                Err(error) => return Err(error),
            };
            match (ask.about, reason) {
                (About::Messages(missing), reason) => {
                    // Some that were asked for may have come before; the others must not be taken for gone.
                    let reason = reason.unwrap_or_else(|| "the message is no longer there".to_owned());
                    self.refused.extend(missing.into_iter().map(|uid| Answer::Refused(uid, reason.clone())));
                    self.refused.push_back(Answer::InStep);
                }
                (About::Removal(uids), None) => return Ok(Some(Answer::Removed(uids))),
                (About::Removal(_), Some(reason)) => {
                    tracing::warn!(reason, "the server does not delete messages");
                    return Ok(Some(Answer::Removed(Vec::new())));
                }
                (About::Leave, _) => {}
            }
        }
    }

    /// Adds the next bytes of what [`Answer::Begins`] announced to `to`; false when it has ended.
    pub async fn piece(&mut self, to: &mut Vec<u8>) -> Result<bool, ClientError> {
        let Some(body) = &mut self.body else { return Ok(false) };
        if let Some(quoted) = body.quoted.take() {
            to.extend_from_slice(&quoted);
            self.finish_body();
            return Ok(false);
        }
        if body.left > 0 {
            if self.connection.buffered().is_empty() {
                let deadline = self.patience.transfer_deadline(body.started, body.bytes);
                self.connection.fill(deadline).await.map_err(|source| ClientError::Wire { phase: Phase::Transfer, source })?;
            }
            let buffered = self.connection.buffered();
            let length = usize::try_from(body.left).unwrap_or(usize::MAX).min(buffered.len());
            to.extend_from_slice(&buffered[..length]);
            self.connection.consume(length);
            body.left -= length as u64;
            body.bytes += length as u64;
            if body.left > 0 {
                return Ok(true);
            }
        }
        // What follows the literal belongs to the same response.
        self.begin_answer();
        loop {
            let line = self.line(MAX_LINE, Phase::Transfer).await?;
            let Some(body) = &mut self.body else { return Ok(false) };
            match body.reader.feed(&line)? {
                Next::End(_) => break,
                Next::Skip(length) => self.skip(length).await?,
                Next::Body(_) => return Err(ClientError::OutOfStep("a message has two bodies".into())),
            }
        }
        self.finish_body();
        Ok(false)
    }

    /// Whose bytes the last ones were.
    pub fn ended(&self) -> &Fetched {
        &self.ended
    }

    fn ask_for(&mut self, items: &'static str, uids: &[u32]) -> usize {
        let mut from = 0;
        let sets = fetch_response::uid_sets(uids, &self.listed, MAX_SET);
        let count = sets.len();
        for (set, named) in sets {
            let missing = uids[from..from + named].to_vec();
            from += named;
            self.waiting.push_back(Ask { command: format!("UID FETCH {set} {items}"), about: About::Messages(missing) });
        }
        count
    }

    async fn send_waiting(&mut self) -> Result<(), ClientError> {
        let before = self.sent.len();
        loop {
            // What brings no mail brings only short answers.
            let heavy = |ask: &Ask| matches!(ask.about, About::Messages(_));
            let fits = |next: &Ask| !heavy(next) || self.sent.iter().filter(|(_, ask)| heavy(ask)).count() < COMMANDS_AHEAD;
            if !self.waiting.front().is_some_and(fits) {
                break;
            }
            let Some(ask) = self.waiting.pop_front() else { break };
            self.leaving |= matches!(ask.about, About::Leave);
            let tag = self.queue(&ask.command);
            self.sent.push_back((tag, ask));
        }
        if self.sent.len() > before { self.flush(Phase::Command).await } else { Ok(()) }
    }

    /// Reads a FETCH response up to its body; false if it has none, having been told unasked.
    async fn begins(&mut self, text: &[u8]) -> Result<bool, ClientError> {
        let mut reader = Reader::default();
        let mut next = reader.feed(text)?;
        loop {
            let (left, quoted) = match next {
                Next::Body(length) => (length, None),
                Next::End(Some(body)) => (0, Some(body)),
                Next::End(None) => return Ok(false),
                Next::Skip(length) => {
                    self.skip(length).await?;
                    next = reader.feed(&self.line(MAX_LINE, Phase::Command).await?)?;
                    continue;
                }
            };
            self.body = Some(Body { reader, left, started: Instant::now(), bytes: 0, quoted });
            return Ok(true);
        }
    }

    fn finish_body(&mut self) {
        let Some(body) = self.body.take() else { return };
        self.ended = body.reader.fetched;
        if self.ended.uid.is_some_and(|uid| self.was_missing(uid)) {
            self.unasked = 0;
        } else {
            // It is nobody's.
            self.ended.uid = None;
            self.unasked += 1;
        }
    }

    /// Whether this one was asked for and had not come yet.
    fn was_missing(&mut self, uid: u32) -> bool {
        for (_, ask) in &mut self.sent {
            if let About::Messages(missing) = &mut ask.about
                && let Some(at) = missing.iter().position(|missing| *missing == uid)
            {
                missing.remove(at);
                return true;
            }
        }
        false
    }
}
