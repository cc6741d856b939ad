//! What a sender wants to hear about a mail (RFC 3461): the words of `RET`, `ENVID`, `NOTIFY` and `ORCPT`, wherever they are carried.
//!
//! How they stand in a command is SMTP's business, what becomes of them the relay's.

use crate::address::Address;

/// What a failure notice gives back (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

impl Return {
    /// `ret-value` (RFC 3461 §4.3).
    pub fn as_str(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Headers => "HDRS",
        }
    }

    /// The other way round, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Return::Full, Return::Headers].into_iter().find(|word| word.as_str().eq_ignore_ascii_case(text))
    }
}

/// What the sender wants to hear about (RFC 3461 §4.1). All false is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// Delivered, or handed to a server that won't say.
    pub success: bool,
    /// Not deliverable.
    pub failure: bool,
    /// Late.
    pub delay: bool,
}

impl Notify {
    /// Nothing at all.
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };
    /// What we do where the sender leaves it to us.
    pub const USUAL: Notify = Notify { success: false, failure: true, delay: true };

    /// `notify-esmtp-value = "NEVER" / 1#notify-list-element` (RFC 3461 §4.1).
    pub fn parse(list: &str) -> Option<Self> {
        let mut notify = Notify::NEVER;
        if list.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for element in list.split(',') {
            match element.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

/// As `NOTIFY=` has it.
impl std::fmt::Display for Notify {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [("SUCCESS", self.success), ("FAILURE", self.failure), ("DELAY", self.delay)];
        let words: Vec<&str> = words.iter().filter(|(_, wanted)| *wanted).map(|(word, _)| *word).collect();
        if words.is_empty() { out.write_str("NEVER") } else { out.write_str(&words.join(",")) }
    }
}

/// For one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// `None` leaves it to us.
    pub notify: Option<Notify>,
    /// `ORCPT`: type and address as the sender knew it, `rfc822;Bob@example.com`; no xtext.
    pub original: Option<String>,
}

impl Wish {
    /// What it comes to.
    pub fn notify(&self) -> Notify {
        self.notify.unwrap_or(Notify::USUAL)
    }
}

/// For a mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// `RET`; `None` leaves it to us.
    pub ret: Option<Return>,
    /// `ENVID`, no xtext.
    pub envid: Option<String>,
    /// Of recipients who have one.
    pub each: Vec<(Address, Wish)>,
}

impl Wishes {
    /// That nothing is ever said about mail to these.
    pub fn never(recipients: &[Address]) -> Self {
        let never = Wish { notify: Some(Notify::NEVER), original: None };
        Wishes { each: recipients.iter().map(|address| (address.clone(), never.clone())).collect(), ..Wishes::default() }
    }

    /// That for this recipient.
    pub fn of(&self, address: &Address) -> Wish {
        self.each.iter().find(|(one, _)| one == address).map(|(_, wish)| wish.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Notify::parse(text).map(|notify| notify.to_string()).as_deref(), expected, "{text}");
        };
        check("never", Some("NEVER"));
        check("delay,SUCCESS", Some("SUCCESS,DELAY"));
        check("NEVER,DELAY", None);
        check("", None);
        assert_eq!(Return::parse("hdrs"), Some(Return::Headers));
        assert_eq!(Return::parse("BODY"), None);
    }
}
