//! Bounces, notices of delay and confirmations for our own people (RFC 3464 in the envelope of RFC 6522, RFC 3461 §6). Pure.
//!
//! The first part is for somebody who has never heard of SMTP: what happened, to which mail, and what to do. The second is for
//! programs and admins, the third is the mail itself or its header. Nobody outside ever gets one. lettre's builder has no multipart/report,
//! so the few lines are written here.

use crate::address::Address;
use crate::config::Language;
use crate::message::header::Header;
use crate::message::{date, words};
use jiff::tz::TimeZone;

mod class;
mod text;

pub use class::Class;
use class::{code, status};

/// Bytes of the original's header that are sent back.
const MAX_HEADER: usize = 64 * 1024;
/// Bytes of a server's answer that are shown.
const MAX_REPLY: usize = 1000;
/// Recipients listed one by one.
const MAX_RECIPIENTS: usize = 1000;

/// One recipient that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Whom it was for.
    pub address: Address,
    /// As the sender knew him, type and address: `ORCPT` (RFC 3461 §4.2).
    pub original: Option<String>,
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
    /// A server has it that won't say what becomes of it.
    Relayed,
    /// It has arrived.
    Delivered,
}

impl Fate {
    /// `action-value` (RFC 3464 §2.3.3).
    fn action(self) -> &'static str {
        match self {
            Fate::Failed => "failed",
            Fate::Delayed(_) => "delayed",
            Fate::Relayed => "relayed",
            Fate::Delivered => "delivered",
        }
    }

    /// The first digit of its status codes (RFC 3463 §2).
    fn digit(self) -> char {
        match self {
            Fate::Failed => '5',
            Fate::Delayed(_) => '4',
            Fate::Relayed | Fate::Delivered => '2',
        }
    }

    fn is_trouble(self) -> bool {
        matches!(self, Fate::Failed | Fate::Delayed(_))
    }
}

/// What all notices to one person have in common.
#[derive(Debug, Clone)]
pub struct Letterhead {
    /// Of the readable part.
    pub language: Language,
    /// The office's clock, for the readable part.
    pub zone: TimeZone,
    /// Our name.
    pub hostname: String,
    /// Who writes: MAILER-DAEMON or postmaster of the LAN.
    pub from: Address,
    /// Who sent the mail.
    pub to: Address,
}

/// A notice to be written.
#[derive(Debug, Clone)]
pub struct Notice<'a> {
    /// From whom to whom.
    pub letterhead: &'a Letterhead,
    /// What became of the mail.
    pub fate: Fate,
    /// The recipients that it is about; at least one.
    pub about: &'a [Addressee],
    /// The smarthost that was asked, if one was.
    pub smarthost: Option<&'a str>,
    /// The mail's header as it was sent.
    pub header: &'a [u8],
    /// The whole mail, if it is to be given back.
    pub message: Option<&'a [u8]>,
    /// The sender's own name for the mail: `ENVID` (RFC 3461 §4.4).
    pub envid: Option<&'a str>,
    /// When the mail was handed in, milliseconds since 1970.
    pub queued_at: i64,
    /// Now, milliseconds since 1970.
    pub now: i64,
    /// Unique: the left side of the Message-ID.
    pub id: &'a str,
}

impl Addressee {
    fn class(&self) -> Class {
        match Class::of(&self.reply) {
            Class::LoginRefused => Class::LoginRefused,
            _ if self.expired => Class::Expired,
            class => class,
        }
    }

    /// `status-code` (RFC 3464 §2.3.4): the server's own, or one that says as much.
    fn status(&self, fate: Fate) -> String {
        let digit = fate.digit();
        if self.expired {
            return format!("{digit}.4.7");
        }
        if let Some(status) = status(&self.reply) {
            return format!("{digit}{}", &status[1..]);
        }
        let detail = match self.class() {
            _ if !fate.is_trouble() => "0.0",
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
        let (kind, original) = match self.message {
            Some(message) => ("message/rfc822", message.to_vec()),
            None => ("text/rfc822-headers", self.original_header()),
        };
        let encoding = if original.is_ascii() { "7bit" } else { "8bit" };
        mail.extend(part(&format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}")).bytes());
        mail.extend(original);
        mail.extend(format!("\r\n--{boundary}--\r\n").bytes());
        mail
    }

    fn own_header(&self, boundary: &str) -> String {
        let subject = match self.original_subject() {
            Some(subject) => format!("{}: {subject}", text::subject(self.letterhead.language, self.fate)),
            None => text::subject(self.letterhead.language, self.fate).to_owned(),
        };
        let mut lines = vec![
            format!("From: {} <{}>", words::phrase(text::SENDER), self.letterhead.from),
            format!("To: <{}>", self.letterhead.to),
            format!("Subject: {}", words::encode(&subject)),
            format!("Date: {}", date::render(self.now)),
            format!("Message-ID: <{}@{}>", one_line(self.id), self.letterhead.hostname),
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
        let moment = |instant| text::moment(self.letterhead.language, instant, &self.letterhead.zone);
        let subject = self.original_subject();
        let mut paragraphs = vec![text::opening(self.letterhead.language, self.fate, subject.as_deref(), &moment(self.queued_at))];
        if self.fate.is_trouble() {
            let mut classes: Vec<Class> = self.about.iter().map(Addressee::class).collect();
            classes.sort();
            classes.dedup();
            for class in classes {
                paragraphs.push(list(self.about.iter().filter(|one| one.class() == class)));
                paragraphs.push(text::explanation(self.letterhead.language, self.fate, class).to_owned());
            }
        } else {
            paragraphs.push(list(self.about.iter()));
            paragraphs.extend(text::confirmation(self.letterhead.language, self.fate).map(str::to_owned));
        }
        if let Fate::Delayed(until) = self.fate {
            paragraphs.push(text::patience(self.letterhead.language, &moment(until)));
        }
        if self.fate != Fate::Delivered {
            paragraphs.push(text::technical(self.letterhead.language).to_owned());
            let answers = self.about.iter().take(MAX_RECIPIENTS);
            paragraphs.extend(answers.map(|one| format!("    {}:\n    {}", one.address, shown(&one.reply))));
        }
        let wrapped: Vec<String> = paragraphs.iter().map(|paragraph| wrap(paragraph)).collect();
        wrapped.join("\n\n") + "\n"
    }

    /// `message/delivery-status` (RFC 3464 §2).
    fn status_fields(&self) -> String {
        let mut out = String::new();
        if let Some(envid) = self.envid {
            out.push_str(&format!("Original-Envelope-Id: {}\r\n", one_line(envid)));
        }
        out.push_str(&format!("Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n", self.letterhead.hostname, date::render(self.queued_at)));
        for one in self.about.iter().take(MAX_RECIPIENTS) {
            let kind = if one.address.needs_smtputf8() { "utf-8" } else { "rfc822" };
            out.push_str("\r\n");
            if let Some(original) = &one.original {
                out.push_str(&format!("Original-Recipient: {}\r\n", one_line(original)));
            }
            out.push_str(&format!("Final-Recipient: {kind}; {}\r\nAction: {}\r\n", one.address, self.fate.action()));
            out.push_str(&format!("Status: {}\r\n", one.status(self.fate)));
            if let Some(smarthost) = self.smarthost {
                out.push_str(&format!("Remote-MTA: dns; {}\r\n", one_line(smarthost)));
            }
            if code(&one.reply).is_some() {
                out.push_str(&format!("Diagnostic-Code: smtp; {}\r\n", shown(&one.reply)));
            }
            if self.fate != Fate::Delivered {
                out.push_str(&format!("Last-Attempt-Date: {}\r\n", date::render(self.now)));
            }
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

/// The addresses, one a line.
fn list<'a>(about: impl Iterator<Item = &'a Addressee>) -> String {
    about.take(MAX_RECIPIENTS).map(|one| format!("    {}", one.address)).collect::<Vec<_>>().join("\n")
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

    fn notice(fate: Fate, language: Language, about: &[Addressee]) -> String {
        let (from, to) = (Address::parse("MAILER-DAEMON@mail.office.lan").unwrap(), Address::parse("alice@office.lan").unwrap());
        let header = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <1@office.lan>\nX: ü\n y\n\n".as_bytes();
        let letterhead = Letterhead { language, zone: TimeZone::fixed(jiff::tz::offset(1)), hostname: "mail.office.lan".into(), from, to };
        let notice = Notice {
            letterhead: &letterhead,
            fate,
            about,
            smarthost: (fate != Fate::Delivered).then_some("smtp.isp.example"),
            header,
            message: None,
            envid: None,
            queued_at: 1_704_103_200_000,
            now: 1_704_106_800_000,
            id: "dsn.7",
        };
        String::from_utf8(notice.render()).unwrap()
    }

    fn trouble(address: &str, reply: &str, expired: bool) -> Addressee {
        Addressee { address: Address::parse(address).unwrap(), original: None, reply: reply.into(), expired }
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
    fn confirmations() {
        let taken = trouble("bob@x.example", "250 2.0.0 Ok: queued as 4F1", false);
        let relayed = notice(Fate::Relayed, Language::English, std::slice::from_ref(&taken));
        for line in [
            "Your mail “Grüße” of 1 January 2024, 11:00 was taken by the provider of\r\nthis office for\r\n\r\n    bob@x.example\r\n",
            "Final-Recipient: rfc822; bob@x.example\r\nAction: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; smtp.isp.example\r\n\
             Diagnostic-Code: smtp; 250 2.0.0 Ok: queued as 4F1\r\n",
        ] {
            assert!(relayed.contains(line), "{line}\n{relayed}");
        }
        let here = Addressee { original: Some("rfc822;Bob@office.lan".into()), reply: String::new(), ..taken };
        let delivered = notice(Fate::Delivered, Language::German, &[here]);
        for line in [
            "ist angekommen bei\r\n",
            "\r\n\r\nOriginal-Recipient: rfc822;Bob@office.lan\r\nFinal-Recipient: rfc822; bob@x.example\r\nAction: delivered\r\n\
             Status: 2.0.0\r\n\r\n--",
        ] {
            assert!(delivered.contains(line), "{line}\n{delivered}");
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
