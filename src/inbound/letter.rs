//! A mail that Mailroom itself writes to somebody of ours: plain text, answered by nobody.

use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};

use super::facts::whole;
use crate::address::Address;
use crate::config::Config;
use crate::mapping;
use crate::message::facts::Facts;
use crate::message::trace::Prefix;
use crate::store::{Arrival, Deposit, NewContent};

/// What is to be said, to whom.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Somebody of ours.
    pub to: &'a Address,
    /// In the office's language, as the text is.
    pub subject: &'a str,
    /// Lines end with `\n`.
    pub text: &'a str,
    /// What tells it from others of its second.
    pub id: &'a str,
    /// Milliseconds since 1970.
    pub now: i64,
}

impl Letter<'_> {
    /// The message. The error names what can't stand in one.
    pub fn write(&self, config: &Config) -> Result<Vec<u8>, String> {
        let office = &config.office;
        let mailbox = |local: &str, domain: &str| lettre::Address::new(local, domain).map_err(|error| error.to_string());
        let from = Mailbox::new(Some("Mailroom".to_owned()), mailbox("MAILER-DAEMON", office.lan_domain.as_str())?);
        let to = self.to.to_string();
        let (local, domain) = to.rsplit_once('@').unwrap_or((&to, office.lan_domain.as_str()));
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now).unwrap_or(0));
        let mut message = Message::builder()
            .from(from)
            .to(Mailbox::new(None, mailbox(local, domain)?))
            .subject(self.subject)
            .date(date)
            .message_id(Some(format!("<{}.{:x}@{}>", self.id, self.now, office.hostname)))
            .singlepart(SinglePart::plain(self.text.to_owned()))
            .map_err(|error| error.to_string())?;
        // RFC 3834 §5: no vacation reply comes back to it.
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        message.headers_mut().insert_raw(automatic);
        Ok(message.formatted())
    }

    /// The message, ready to be stored.
    pub fn content(&self, config: &Config) -> Result<NewContent, String> {
        self.write(config).map(content)
    }

    /// The message on its way into somebody's INBOX.
    pub fn arrival(&self, config: &Config, mailbox: mapping::Mailbox) -> Result<Arrival, String> {
        Ok(arrival(mailbox, self.to, self.write(config)?, self.now))
    }
}

/// A mail written here on its way into somebody's INBOX: never a duplicate, never rewritten, never bounced.
pub fn arrival(mailbox: mapping::Mailbox, to: &Address, mail: Vec<u8>, now: i64) -> Arrival {
    let prefix = Prefix { return_path: Some(None), delivered_to: Some(to), hop: None }.render();
    let trace = vec![("delivered", format!("to {mailbox}, INBOX; written here"))];
    let deposit = Deposit { mailbox, folder: None, prefix: prefix.into(), flags: 0, internal_date: now, dedupe: None };
    Arrival { deposits: vec![deposit], trace, ..Arrival::new(content(mail)) }
}

fn content(mail: Vec<u8>) -> NewContent {
    let facts = Facts::of(&mail);
    whole(mail, &facts)
}
