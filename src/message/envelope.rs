//! The ten fields of IMAP's ENVELOPE (RFC 9051 §7.5.2) as they stand in a header: raw, nothing decoded. Texts are
//! unfolded, address lists as they were found, to be read by [`super::address_list::entries`].

use super::header::{Header, unfold};

/// Bytes of a text field that are kept.
const MAX_TEXT: usize = 8 * 1024;

/// `None` and empty: the field is missing. Defaults (Sender is From) are the renderer's business.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Date
    pub date: Option<Vec<u8>>,
    /// Subject
    pub subject: Option<Vec<u8>>,
    /// From, one value for each field of that name.
    pub from: Vec<Vec<u8>>,
    /// Sender, one value for each field of that name.
    pub sender: Vec<Vec<u8>>,
    /// Reply-To, one value for each field of that name.
    pub reply_to: Vec<Vec<u8>>,
    /// To, one value for each field of that name.
    pub to: Vec<Vec<u8>>,
    /// Cc, one value for each field of that name.
    pub cc: Vec<Vec<u8>>,
    /// Bcc, one value for each field of that name.
    pub bcc: Vec<Vec<u8>>,
    /// In-Reply-To
    pub in_reply_to: Option<Vec<u8>>,
    /// Message-ID
    pub message_id: Option<Vec<u8>>,
}

impl Envelope {
    /// Takes the fields out of a header. Of texts the first instance counts; lists of one name are read as one.
    pub fn of(header: &Header<'_>) -> Self {
        let text = |name: &str| {
            let mut value = unfold(header.first(name)?.value).into_owned();
            value.truncate(MAX_TEXT);
            Some(value)
        };
        let list = |name: &str| header.all(name).map(|field| field.value.to_vec()).collect();
        Self {
            date: text("date"),
            subject: text("subject"),
            from: list("from"),
            sender: list("sender"),
            reply_to: list("reply-to"),
            to: list("to"),
            cc: list("cc"),
            bcc: list("bcc"),
            in_reply_to: text("in-reply-to"),
            message_id: text("message-id"),
        }
    }

    /// How many bytes it keeps.
    pub(super) fn weight(&self) -> usize {
        let texts = [&self.date, &self.subject, &self.in_reply_to, &self.message_id].into_iter().flatten();
        let lists = [&self.from, &self.sender, &self.reply_to, &self.to, &self.cc, &self.bcc].into_iter().flatten();
        texts.chain(lists).map(|value| size_of::<Vec<u8>>() + value.len()).sum()
    }
}
