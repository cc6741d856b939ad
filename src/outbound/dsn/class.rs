//! Why a mail did not arrive, sorted as a person would sort it. Pure.

/// Why a mail did not arrive, as a person would sort it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Nobody of that name.
    UnknownRecipient,
    /// Somebody, but no room.
    MailboxFull,
    /// A limit on size.
    TooLarge,
    /// Taken for spam, or refused by policy.
    Spam,
    /// The smarthost doesn't accept our log-in or our sender address.
    LoginRefused,
    /// No such domain, or it takes no mail.
    DomainUnknown,
    /// Tried for days.
    Expired,
    /// Something else.
    Other,
}

impl Class {
    /// Sorts a server's answer by its code, its enhanced code (RFC 3463) and, where those say little, its words.
    pub fn of(reply: &str) -> Self {
        let lower = reply.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let code = code(reply);
        match status(reply).as_deref().and_then(|status| status.split_once('.')).map(|(_, detail)| detail) {
            Some("1.1" | "1.3" | "1.6") => Class::UnknownRecipient,
            Some("1.2" | "1.10" | "4.4") => Class::DomainUnknown,
            Some("2.2") => Class::MailboxFull,
            Some("3.4" | "2.3") => Class::TooLarge,
            Some("7.8" | "7.9" | "7.139" | "7.57" | "7.60") => Class::LoginRefused,
            _ if matches!(code, Some(530 | 534 | 535 | 538)) => Class::LoginRefused,
            _ if says(&["not owned", "sender address rejected", "not allowed to send as", "authentication"]) => Class::LoginRefused,
            _ if says(&["quota", "mailbox full", "mailbox is full", "over quota", "insufficient storage"]) => Class::MailboxFull,
            _ if says(&["too large", "too big", "exceeds", "size limit"]) => Class::TooLarge,
            _ if says(&["user unknown", "unknown user", "no such user", "does not exist", "mailbox unavailable", "recipient rejected"])
                || says(&["unknown recipient", "no mailbox", "invalid recipient", "recipient not found"]) =>
            {
                Class::UnknownRecipient
            }
            _ if says(&["domain not found", "host not found", "no such domain", "unknown domain", "nullmx", "null mx"]) => {
                Class::DomainUnknown
            }
            Some(detail) if detail.starts_with("7.") => Class::Spam,
            _ if code == Some(554) || says(&["spam", "blocked", "blacklist", "policy", "reputation", "content rejected"]) => Class::Spam,
            _ => Class::Other,
        }
    }
}

/// The first three digits, if the text is an SMTP answer.
pub(super) fn code(reply: &str) -> Option<u16> {
    let digits = reply.get(..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|code| (200..600).contains(code))
}

/// The enhanced code behind them: `status-code = ("2"/"4"/"5") "." 1*3digit "." 1*3digit`.
pub(super) fn status(reply: &str) -> Option<String> {
    code(reply)?;
    let word = reply[3..].trim_start_matches([' ', '-']).split_whitespace().next()?;
    let digits: Vec<&str> = word.split('.').collect();
    let is_number = |text: &&str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    (digits.len() == 3 && matches!(digits[0], "2" | "4" | "5") && digits[1..].iter().all(is_number)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted() {
        for (reply, expected) in [
            ("550 5.1.1 <x@y>: Recipient address rejected: User unknown", Class::UnknownRecipient),
            ("550 No such user here", Class::UnknownRecipient),
            ("552 5.2.2 Over quota", Class::MailboxFull),
            ("452 4.2.2 Mailbox full", Class::MailboxFull),
            ("552 5.3.4 Message size exceeds fixed limit", Class::TooLarge),
            ("552 message too large", Class::TooLarge),
            ("554 5.7.1 Blocked as spam", Class::Spam),
            ("550 5.7.26 unauthenticated", Class::Spam),
            ("535 5.7.8 Authentication failed", Class::LoginRefused),
            ("553 5.7.1 <a@b>: Sender address rejected: not owned by user c", Class::LoginRefused),
            ("550 5.1.2 Host unknown", Class::DomainUnknown),
            ("556 5.1.10 nullMX", Class::DomainUnknown),
            ("the connection to the smarthost ended too early", Class::Other),
            ("5ö", Class::Other),
        ] {
            assert_eq!(Class::of(reply), expected, "{reply}");
        }
    }
}
