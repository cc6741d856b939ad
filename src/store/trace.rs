//! Everything that ever happened to a message, in or out. Kept 400 days.

use super::{ContentId, Store, StoreError};

/// One line of a message's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub time: i64,
    /// The original, if there was one.
    pub content: Option<ContentId>,
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// A word.
    pub event: String,
    /// In plain words. Never a secret.
    pub detail: String,
}

impl Store {
    /// Adds lines about stored content, or about none.
    pub async fn trace_add(&self, content: Option<ContentId>, lines: Vec<(&'static str, String)>) -> Result<(), StoreError> {
        todo!("{content:?} {lines:?}")
    }

    /// Every line of the messages that have this Message-ID (with or without angle brackets), or that have this text in some line, in
    /// their subject or their sender. By time.
    pub async fn trace(&self, text: &str) -> Result<Vec<Line>, StoreError> {
        todo!("{text}")
    }
}
