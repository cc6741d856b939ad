//! The words of bounces and confirmations, in the languages that an office can choose.

use super::{Class, Fate};
use crate::config::Language;
use jiff::tz::TimeZone;

/// Who signs.
pub(super) const SENDER: &str = "Mailroom";

pub(super) fn subject(language: Language, fate: Fate) -> &'static str {
    match (language, fate) {
        (Language::English, Fate::Failed) => "Not delivered",
        (Language::English, Fate::Delayed(_)) => "Not delivered yet",
        (Language::English, Fate::Relayed) => "Sent",
        (Language::English, Fate::Delivered) => "Delivered",
        (Language::German, Fate::Failed) => "Nicht zugestellt",
        (Language::German, Fate::Delayed(_)) => "Noch nicht zugestellt",
        (Language::German, Fate::Relayed) => "Gesendet",
        (Language::German, Fate::Delivered) => "Zugestellt",
    }
}

pub(super) fn opening(language: Language, fate: Fate, subject: Option<&str>, when: &str) -> String {
    let what = match (language, fate) {
        (Language::English, Fate::Failed) => "could not be delivered to",
        (Language::English, Fate::Delayed(_)) => "has not yet reached",
        (Language::English, Fate::Relayed) => "was taken by the provider of this office for",
        (Language::English, Fate::Delivered) => "has reached",
        (Language::German, Fate::Failed) => "konnte nicht zugestellt werden an",
        (Language::German, Fate::Delayed(_)) => "ist noch nicht angekommen bei",
        (Language::German, Fate::Relayed) => "hat der Anbieter dieses Büros angenommen für",
        (Language::German, Fate::Delivered) => "ist angekommen bei",
    };
    match (language, subject) {
        (Language::English, Some(subject)) => format!("Your mail “{subject}” of {when} {what}"),
        (Language::English, None) => format!("Your mail of {when} {what}"),
        (Language::German, Some(subject)) => format!("Ihre Mail „{subject}“ vom {when} {what}"),
        (Language::German, None) => format!("Ihre Mail vom {when} {what}"),
    }
}

/// A time as people write it, on the office's clock.
pub(super) fn moment(language: Language, instant: i64, zone: &TimeZone) -> String {
    let local = jiff::Timestamp::from_millisecond(instant).unwrap_or_default().to_zoned(zone.clone());
    match language {
        Language::English => local.strftime("%-d %B %Y, %H:%M").to_string(),
        Language::German => {
            let month = GERMAN_MONTHS.get(usize::from(local.month().unsigned_abs()) - 1).copied().unwrap_or_default();
            format!("{}. {month} {}, {}", local.day(), local.year(), local.strftime("%H:%M Uhr"))
        }
    }
}

const GERMAN_MONTHS: [&str; 12] =
    ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"];

/// What happened and what to do about it. A delay names the reason without the advice to send again.
pub(super) fn explanation(language: Language, fate: Fate, class: Class) -> &'static str {
    match (language, fate) {
        (Language::English, Fate::Failed) => match class {
            Class::UnknownRecipient => {
                "Nobody there has this address. Please check how it is spelt, and ask the recipient by telephone if in doubt."
            }
            Class::MailboxFull => "The recipient's mailbox is full. Please tell them by another way, or send the mail again in a few days.",
            Class::TooLarge => {
                "The mail is too large for the recipient or for our provider. Please send smaller attachments, or a link to them."
            }
            Class::Spam => {
                "The other side refused the mail because it looks like spam or breaks its rules. Please word it differently, \
                 leave out links and attachments, or ask the recipient how to reach them."
            }
            Class::LoginRefused => {
                "Our provider did not accept this office's log-in or sender address. You did nothing wrong: \
                 please tell whoever looks after the mail system, and send the mail again when it is repaired."
            }
            Class::DomainUnknown => "There is no mail at the part of the address behind the @. Please check how it is spelt.",
            Class::Expired => {
                "We tried for days, and the other side never took the mail. Nothing more will be tried. \
                 Please reach the recipient by another way, or send the mail again."
            }
            Class::Other => "The other side refused the mail. Its reason stands below; whoever looks after the mail system can read it.",
        },
        (Language::English, _) => match class {
            Class::MailboxFull => "The recipient's mailbox is full at the moment.",
            Class::LoginRefused => {
                "Our provider does not accept this office's log-in at the moment. Please tell whoever looks after the mail system."
            }
            _ => "The other side, or our provider, does not take the mail at the moment.",
        },
        (Language::German, Fate::Failed) => match class {
            Class::UnknownRecipient => "Diese Adresse gibt es dort nicht. Bitte prüfen Sie die Schreibweise und rufen Sie im Zweifel an.",
            Class::MailboxFull => {
                "Das Postfach des Empfängers ist voll. Bitte sagen Sie es ihm auf anderem Weg, oder senden Sie die Mail in einigen Tagen noch einmal."
            }
            Class::TooLarge => {
                "Die Mail ist zu groß für den Empfänger oder für unseren Anbieter. Bitte senden Sie kleinere Anhänge oder einen Link darauf."
            }
            Class::Spam => {
                "Die Gegenseite hat die Mail abgelehnt, weil sie wie Werbung aussieht oder gegen ihre Regeln verstößt. \
                 Bitte formulieren Sie sie anders, lassen Sie Links und Anhänge weg, oder fragen Sie den Empfänger, wie er erreichbar ist."
            }
            Class::LoginRefused => {
                "Unser Anbieter hat die Anmeldung oder die Absenderadresse dieses Büros nicht angenommen. Es liegt nicht an Ihnen: \
                 bitte sagen Sie dem Betreuer der Mailanlage Bescheid, und senden Sie die Mail noch einmal, wenn es behoben ist."
            }
            Class::DomainUnknown => "Unter dem Teil der Adresse hinter dem @ gibt es keine Mail. Bitte prüfen Sie die Schreibweise.",
            Class::Expired => {
                "Wir haben es tagelang versucht, die Gegenseite hat die Mail nicht angenommen. Weitere Versuche folgen nicht. \
                 Bitte erreichen Sie den Empfänger auf anderem Weg, oder senden Sie die Mail noch einmal."
            }
            Class::Other => "Die Gegenseite hat die Mail abgelehnt. Ihr Grund steht unten; der Betreuer der Mailanlage kann ihn lesen.",
        },
        (Language::German, _) => match class {
            Class::MailboxFull => "Das Postfach des Empfängers ist zur Zeit voll.",
            Class::LoginRefused => {
                "Unser Anbieter nimmt zur Zeit die Anmeldung dieses Büros nicht an. Bitte sagen Sie dem Betreuer der Mailanlage Bescheid."
            }
            _ => "Die Gegenseite oder unser Anbieter nimmt die Mail zur Zeit nicht an.",
        },
    }
}

/// What a confirmation does not say.
pub(super) fn confirmation(language: Language, fate: Fate) -> Option<&'static str> {
    match (language, fate) {
        (Language::English, Fate::Relayed) => {
            Some("It confirms no arrivals, so this is the last you hear of it, unless the mail comes back.")
        }
        (Language::German, Fate::Relayed) => {
            Some("Er bestätigt keine Zustellung; Sie hören also nichts mehr davon, es sei denn, die Mail kommt zurück.")
        }
        _ => None,
    }
}

pub(super) fn patience(language: Language, until: &str) -> String {
    match language {
        Language::English => {
            format!(
                "You don't have to do anything. We keep trying until {until}, and tell you if it fails. Please don't send the mail again."
            )
        }
        Language::German => format!(
            "Sie müssen nichts tun. Wir versuchen es weiter bis zum {until} und melden uns, falls es nicht gelingt. \
             Bitte senden Sie die Mail nicht noch einmal."
        ),
    }
}

pub(super) fn technical(language: Language) -> &'static str {
    match language {
        Language::English => "For whoever looks after the mail system, the last answer for each address:",
        Language::German => "Für den Betreuer der Mailanlage die letzte Antwort zu jeder Adresse:",
    }
}
