//! Originals of fetched mail, kept for a time so that a wrong mapping can be undone.

/// The journal's view of an arrival.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The collector's name.
    pub collector: String,
    /// The decision, as `explain --json` prints it.
    pub decision: String,
}
