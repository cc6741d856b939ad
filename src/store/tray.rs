//! Held mail and quarantine.

/// A place in the tray for the content of its [`super::Arrival`].
#[derive(Debug, Clone)]
pub struct NewHeld {
    /// In plain words.
    pub reason: String,
    /// Addresses that nobody claims, or that it was for.
    pub addresses: Vec<String>,
    /// From and Subject, decoded, for the list.
    pub from: String,
    /// Decoded.
    pub subject: String,
    /// Bytes that could not be handled three times.
    pub quarantine: bool,
    /// The collector that brought it.
    pub collector: Option<String>,
}
