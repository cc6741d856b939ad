//! What a folder is known by, without listing it.

use crate::imap::client as imap;

/// What a folder (IMAP) is known by. As long as it is the same, nothing has come, since UIDs are never used again, and nothing has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// UIDs mean something only together with it.
    pub uid_validity: u32,
    /// The UID of the next message.
    pub uid_next: u32,
    /// How many messages.
    pub exists: u32,
}

impl Shape {
    /// Of an open folder; `None` if the server doesn't tell all of it.
    pub fn of(selected: &imap::Selected) -> Option<Self> {
        Some(Self { uid_validity: selected.uid_validity, uid_next: selected.uid_next?, exists: selected.exists })
    }

    /// As the store keeps it.
    pub fn to_text(self) -> String {
        format!("{} {} {}", self.uid_validity, self.uid_next, self.exists)
    }

    /// Back from there.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut numbers = text.split(' ').map(|number| number.parse().ok());
        Some(Self { uid_validity: numbers.next()??, uid_next: numbers.next()??, exists: numbers.next()?? })
    }
}

/// What is thought of a folder before it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Unknown,
    /// It was never listed, and all of it will be fetched.
    AllNew,
    /// It was like this, and something is to be done about what is there.
    More(Shape),
    /// It was like this, and if it still is, nothing is to be done.
    Same(Shape),
}
