//! Bounces and delay notices for our own people (RFC 3464 in the envelope of RFC 6522, RFC 3461 §6). Pure.
//!
//! The first part is for somebody who has never heard of SMTP: what happened, to which mail, and what to do. The second is for
//! programs and admins, the third is the header of the mail. Nobody outside ever gets one. lettre's builder has no multipart/report,
//! so the few lines are written here.

use crate::address::Address;
use crate::config::Language;
use crate::message::header::Header;
use crate::message::{date, words};
use jiff::tz::TimeZone;

mod text;

/// Bytes of the original's header that are sent back.
const MAX_HEADER: usize = 64 * 1024;
/// Bytes of a server's answer that are shown.
const MAX_REPLY: usize = 1000;
/// Recipients listed one by one.
const MAX_RECIPIENTS: usize = 1000;

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

/// One recipient that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// As the sender wrote it.
    pub address: Address,
    /// The server's last answer, or our reason.
    pub reply: String,
    /// Given up after days rather than refused.
    pub expired: bool,
}

/// What became of the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It will not arrive.
    Failed,
    /// It is late; attempts go on until this time, milliseconds since 1970.
    Delayed(i64),
}

/// A notice to be written.
#[derive(Debug, Clone)]
pub struct Notice<'a> {
    /// What became of the mail.
    pub fate: Fate,
    /// Of the readable part.
    pub language: Language,
    /// The office's clock, for the readable part.
    pub zone: &'a TimeZone,
    /// Our name.
    pub hostname: &'a str,
    /// Who writes: MAILER-DAEMON or postmaster of the LAN.
    pub from: &'a Address,
    /// Who sent the mail.
    pub to: &'a Address,
    /// The recipients that it is about; at least one.
    pub troubles: &'a [Trouble],
    /// The smarthost that was asked, if one was.
    pub smarthost: Option<&'a str>,
    /// The mail's header as it was sent.
    pub header: &'a [u8],
    /// When the mail was handed in, milliseconds since 1970.
    pub queued_at: i64,
    /// Now, milliseconds since 1970.
    pub now: i64,
    /// Unique: the left side of the Message-ID.
    pub id: &'a str,
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

impl Trouble {
    fn class(&self) -> Class {
        match Class::of(&self.reply) {
            Class::LoginRefused => Class::LoginRefused,
            _ if self.expired => Class::Expired,
            class => class,
        }
    }

    /// `status-code` (RFC 3464 §2.3.4): the server's own, or one that says as much.
    fn status(&self, fate: Fate) -> String {
        let digit = if matches!(fate, Fate::Delayed(_)) { "4" } else { "5" };
        if self.expired {
            return format!("{digit}.4.7");
        }
        match status(&self.reply) {
            Some(status) => format!("{digit}{}", &status[1..]),
            None => {
                let detail = match self.class() {
                    Class::UnknownRecipient => "1.1",
                    Class::DomainUnknown => "1.2",
                    Class::MailboxFull => "2.2",
                    Class::TooLarge => "3.4",
                    Class::Spam => "7.1",
                    Class::LoginRefused => "7.8",
                    Class::Expired => "4.7",
                    Class::Other => "0.0",
                };
                format!("{digit}.{detail}")
            }
        }
    }
}

impl Notice<'_> {
    /// The whole mail, lines ended by CRLF. Its readable part is UTF-8: it never leaves the LAN.
    pub fn render(&self) -> Vec<u8> {
        let boundary = format!("=_report_{}", self.id.chars().filter(char::is_ascii_alphanumeric).take(40).collect::<String>());
        let mut mail = self.own_header(&boundary).into_bytes();
        let part = |head: &str| format!("\r\n--{boundary}\r\n{head}\r\n\r\n");
        mail.extend(part("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit").bytes());
        mail.extend(self.words().replace('\n', "\r\n").bytes());
        mail.extend(part("Content-Type: message/delivery-status").bytes());
        mail.extend(self.status_fields().bytes());
        let original = self.original_header();
        let encoding = if original.is_ascii() { "7bit" } else { "8bit" };
        mail.extend(part(&format!("Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: {encoding}")).bytes());
        mail.extend(original);
        mail.extend(format!("\r\n--{boundary}--\r\n").bytes());
        mail
    }

    fn own_header(&self, boundary: &str) -> String {
        let subject = match self.original_subject() {
            Some(subject) => format!("{}: {subject}", text::subject(self.language, self.fate)),
            None => text::subject(self.language, self.fate).to_owned(),
        };
        let mut lines = vec![
            format!("From: {} <{}>", words::phrase(text::SENDER), self.from),
            format!("To: <{}>", self.to),
            format!("Subject: {}", words::encode(&subject)),
            format!("Date: {}", date::render(self.now)),
            format!("Message-ID: <{}@{}>", one_line(self.id), self.hostname),
        ];
        if let Some(id) = self.original().text("message-id").filter(|id| id.is_ascii() && id.len() < 900) {
            lines.push(format!("In-Reply-To: {id}"));
            lines.push(format!("References: {id}"));
        }
        lines.push("Auto-Submitted: auto-replied".into());
        lines.push("MIME-Version: 1.0".into());
        lines.push(format!("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\""));
        lines.push(String::new());
        lines.join("\r\n")
    }

    /// What a person reads.
    fn words(&self) -> String {
        let moment = |instant| text::moment(self.language, instant, self.zone);
        let subject = self.original_subject();
        let mut paragraphs = vec![text::opening(self.language, self.fate, subject.as_deref(), &moment(self.queued_at))];
        let mut classes: Vec<Class> = self.troubles.iter().map(Trouble::class).collect();
        classes.sort();
        classes.dedup();
        for class in classes {
            let concerned: Vec<&Trouble> = self.troubles.iter().filter(|trouble| trouble.class() == class).take(MAX_RECIPIENTS).collect();
            let list: Vec<String> = concerned.iter().map(|trouble| format!("    {}", trouble.address)).collect();
            paragraphs.push(list.join("\n"));
            paragraphs.push(text::explanation(self.language, self.fate, class).to_owned());
        }
        if let Fate::Delayed(until) = self.fate {
            paragraphs.push(text::patience(self.language, &moment(until)));
        }
        paragraphs.push(text::technical(self.language).to_owned());
        let answers = self.troubles.iter().take(MAX_RECIPIENTS);
        paragraphs.extend(answers.map(|trouble| format!("    {}:\n    {}", trouble.address, shown(&trouble.reply))));
        let wrapped: Vec<String> = paragraphs.iter().map(|paragraph| wrap(paragraph)).collect();
        wrapped.join("\n\n") + "\n"
    }

    /// `message/delivery-status` (RFC 3464 §2).
    fn status_fields(&self) -> String {
        let mut out = format!("Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n", self.hostname, date::render(self.queued_at));
        let action = if matches!(self.fate, Fate::Delayed(_)) { "delayed" } else { "failed" };
        for trouble in self.troubles.iter().take(MAX_RECIPIENTS) {
            let kind = if trouble.address.needs_smtputf8() { "utf-8" } else { "rfc822" };
            out.push_str(&format!("\r\nFinal-Recipient: {kind}; {}\r\nAction: {action}\r\n", trouble.address));
            out.push_str(&format!("Status: {}\r\n", trouble.status(self.fate)));
            if let Some(smarthost) = self.smarthost {
                out.push_str(&format!("Remote-MTA: dns; {}\r\n", one_line(smarthost)));
            }
            if code(&trouble.reply).is_some() {
                out.push_str(&format!("Diagnostic-Code: smtp; {}\r\n", shown(&trouble.reply)));
            }
            out.push_str(&format!("Last-Attempt-Date: {}\r\n", date::render(self.now)));
            if let Fate::Delayed(until) = self.fate {
                out.push_str(&format!("Will-Retry-Until: {}\r\n", date::render(until)));
            }
        }
        out
    }

    fn original(&self) -> Header<'_> {
        Header::parse(self.header)
    }

    fn original_subject(&self) -> Option<String> {
        let subject: String = self.original().text("subject")?.chars().take(200).collect();
        (!subject.is_empty()).then_some(subject)
    }

    /// Whole fields, as they were, in CRLF lines.
    fn original_header(&self) -> Vec<u8> {
        let mut copy = Vec::new();
        for field in self.original().fields() {
            if copy.len() + field.range.len() > MAX_HEADER {
                break;
            }
            let lines = self.header[field.range.clone()].split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end);
            lines.filter(|line| !line.is_empty()).for_each(|line| copy.extend([line, b"\r\n"].concat()));
        }
        copy
    }
}

/// The first three digits, if the text is an SMTP answer.
fn code(reply: &str) -> Option<u16> {
    let digits = reply.get(..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|code| (200..600).contains(code))
}

/// The enhanced code behind them: `status-code = ("2"/"4"/"5") "." 1*3digit "." 1*3digit`.
fn status(reply: &str) -> Option<String> {
    code(reply)?;
    let word = reply[3..].trim_start_matches([' ', '-']).split_whitespace().next()?;
    let digits: Vec<&str> = word.split('.').collect();
    let is_number = |text: &&str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    (digits.len() == 3 && matches!(digits[0], "2" | "4" | "5") && digits[1..].iter().all(is_number)).then(|| word.to_owned())
}

fn shown(reply: &str) -> String {
    one_line(reply).chars().take(MAX_REPLY / 4).collect()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Paragraphs of prose at 72 columns; indented lines stay.
fn wrap(paragraph: &str) -> String {
    if paragraph.starts_with(' ') {
        return paragraph.to_owned();
    }
    let mut lines = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let width = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if width == 0 => line.push_str(word),
            Some(line) if width + 1 + word.chars().count() <= 72 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::facts::Facts;

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

    fn notice(fate: Fate, language: Language, troubles: &[Trouble]) -> String {
        let (from, to) = (Address::parse("MAILER-DAEMON@mail.office.lan").unwrap(), Address::parse("alice@office.lan").unwrap());
        let header = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <1@office.lan>\nX: ü\n y\n\n".as_bytes();
        let notice = Notice {
            fate,
            language,
            zone: &TimeZone::fixed(jiff::tz::offset(1)),
            hostname: "mail.office.lan",
            from: &from,
            to: &to,
            troubles,
            smarthost: Some("smtp.isp.example"),
            header,
            queued_at: 1_704_103_200_000,
            now: 1_704_106_800_000,
            id: "dsn.7",
        };
        String::from_utf8(notice.render()).unwrap()
    }

    fn trouble(address: &str, reply: &str, expired: bool) -> Trouble {
        Trouble { address: Address::parse(address).unwrap(), reply: reply.into(), expired }
    }

    #[test]
    fn a_bounce() {
        let troubles = [trouble("bob@x.example", "550 5.1.1 User\r\nunknown", false), trouble("c@x.example", "451 4.4.1 busy", true)];
        let mail = notice(Fate::Failed, Language::English, &troubles);
        let facts = Facts::of(mail.as_bytes());
        let types: Vec<_> = facts.parts.iter().map(|part| String::from_utf8_lossy(&part.media.sub).into_owned()).collect();
        assert_eq!(types, ["report", "plain", "delivery-status", "rfc822-headers"]);
        assert_eq!((facts.subject.as_str(), facts.auto_submitted.as_deref()), ("Not delivered: Grüße", Some("auto-replied")));
        assert_eq!(facts.references, ["1@office.lan"]);
        for line in [
            "Your mail “Grüße” of 1 January 2024, 11:00 could not be delivered to\r\n",
            "    bob@x.example\r\n\r\nNobody there has this address.",
            "    c@x.example\r\n\r\nWe tried for days",
            "Final-Recipient: rfc822; bob@x.example\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; smtp.isp.example\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 User  unknown\r\n",
            "Status: 5.4.7\r\n",
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@office.lan>\r\nX: ü\r\n y\r\n",
        ] {
            assert!(mail.contains(line), "{line}\n{mail}");
        }
        assert!(!mail.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn a_delay_in_german() {
        let mail = notice(Fate::Delayed(1_704_200_000_000), Language::German, &[trouble("jörg@x.example", "421 4.3.2 zu", false)]);
        for line in [
            "Subject: =?utf-8?B?",
            "Ihre Mail „Grüße“ vom 1. Januar 2024, 11:00 Uhr ist noch nicht\r\nangekommen bei\r\n",
            "Final-Recipient: utf-8; jörg@x.example\r\nAction: delayed\r\nStatus: 4.3.2\r\n",
            "Will-Retry-Until: Tue, 2 Jan 2024 12:53:20 +0000\r\n",
        ] {
            assert!(mail.contains(line), "{line}\n{mail}");
        }
    }

    #[test]
    fn lines_stay_short() {
        for language in [Language::English, Language::German] {
            let mail = notice(Fate::Failed, language, &[trouble("a@x.example", &"x".repeat(5000), false)]);
            assert!(mail.lines().all(|line| line.len() < 998));
        }
    }
}
