//! The postmaster's daily mail: what waits in the tray and why, and what is in trouble. Nothing to say, no mail.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::books;
use crate::config::{Current, Language};
use crate::inbound::again::lan_address;
use crate::inbound::letter::Letter;
use crate::mapping::Mailbox;
use crate::store::queue::State;
use crate::store::tray::{Held, Kind};
use crate::store::{Arrival, Store, StoreError};

/// The hour, by the office's clock, from which on the day's digest is due.
const HOUR: i8 = 6;
/// Of each kind of trouble, so many are listed; the rest is counted.
const LISTED: usize = 50;
/// Characters of a sender, a subject or a reply.
const SHOWN: usize = 100;
/// Setting: the day of the last digest.
const MARK: &str = "digest";
/// A day in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

/// What there is to say.
#[derive(Debug, Default)]
struct Report {
    tray: Vec<Held>,
    /// Age at which mail leaves the tray.
    tray_age: Option<i64>,
    expired: Vec<String>,
    /// Name and what is wrong.
    collectors: Vec<(String, String)>,
    queue: Vec<String>,
    /// Mailboxes whose books do not balance, or whose provider does not delete.
    books: Vec<String>,
}

/// Writes the digest if it is due. `now` is milliseconds since 1970.
pub async fn write_if_due(store: &Store, current: &Current, now: i64) -> Result<(), StoreError> {
    let Some(time) = local(current, now) else { return Ok(()) };
    let mark = store.setting(MARK).await?;
    let Some(before) = mark.as_deref().and_then(|mark| mark.parse::<Date>().ok()) else {
        // A new office has nothing to hear of yet.
        return store.setting_set(MARK, Some(&last_due(&time).to_string())).await;
    };
    let today = last_due(&time);
    if before >= today {
        return Ok(());
    }
    let report = gather(store, current, now - DAY).await?;
    let Some(mut arrival) = arrival(current, &report, &time, now) else {
        return store.setting_set(MARK, Some(&today.to_string())).await;
    };
    // Told and marked as told in one step: neither twice nor not at all.
    arrival.settings.push((MARK.to_owned(), today.to_string()));
    store.arrive(vec![arrival]).await.pop().unwrap_or(Err(StoreError::Closed)).map(drop)
}

/// How long until the next one is due, in seconds.
pub fn seconds_until_due(current: &Current, now: i64) -> Option<u64> {
    let time = local(current, now)?;
    let next = last_due(&time).checked_add(1.day()).ok()?.at(HOUR, 0, 0, 0).to_zoned(time.time_zone().clone()).ok()?;
    u64::try_from(next.timestamp().as_second() - time.timestamp().as_second()).ok()
}

fn local(current: &Current, now: i64) -> Option<Zoned> {
    let zone = current.config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    Timestamp::from_millisecond(now).ok().map(|time| time.to_zoned(zone))
}

/// The day whose digest was due last.
fn last_due(time: &Zoned) -> Date {
    if time.hour() >= HOUR { time.date() } else { time.date().checked_sub(1.day()).unwrap_or(time.date()) }
}

async fn gather(store: &Store, current: &Current, since: i64) -> Result<Report, StoreError> {
    let mut collectors = Vec::new();
    for (name, state) in store.collector_states().await? {
        let configured = current.config.collectors.iter().any(|collector| collector.name == name && collector.enabled);
        if let Some(trouble) = state.suspended.or(state.last_error).filter(|_| configured) {
            collectors.push((name, trouble));
        }
    }
    let mut queue = Vec::new();
    for mail in store.queue().await? {
        for one in mail.recipients.iter().filter(|one| matches!(one.state, State::Held | State::Delayed | State::Failed)) {
            let reply = one.last_reply.as_deref().unwrap_or_default();
            queue.push(format!("{}  {} → {}: {}: {}", mail.id.0, mail.owner, one.address, one.state.as_str(), short(reply)));
        }
    }
    let books = books::of_all(store, current).await?;
    let books = books.into_iter().filter(|(_, books)| books.unaccounted + books.undeleted > 0);
    let books = books.map(|(name, books)| format!("{name}: {books}")).collect();
    let expired = store.trace_events("expired", since).await?.into_iter().map(|line| short(&line.detail)).collect();
    let tray_age = current.config.storage.tray.and_then(|age| i64::try_from(age.as_millis()).ok());
    Ok(Report { tray: store.tray().await?, tray_age, expired, collectors, queue, books })
}

fn arrival(current: &Current, report: &Report, time: &Zoned, now: i64) -> Option<Arrival> {
    let (subject, text) = report.words(current.config.office.language, time)?;
    let mailbox = Mailbox::User(current.config.office.postmaster.clone());
    let to = lan_address(&current.config, &mailbox)?;
    let letter = Letter { to: &to, subject: &subject, text: &text, id: "digest", now };
    letter.arrival(&current.config, mailbox).inspect_err(|error| tracing::error!(error, "the digest can't be written")).ok()
}

impl Report {
    /// Subject and text; `None` if there is nothing to say.
    fn words(&self, language: Language, time: &Zoned) -> Option<(String, String)> {
        let zone = time.time_zone();
        let (held, quarantined): (Vec<&Held>, Vec<&Held>) = self.tray.iter().partition(|held| held.kind != Kind::Quarantine);
        let say = |english: &'static str, german: &'static str| if language == Language::German { german } else { english };
        let mut text = String::new();
        let mut section = |title: &str, lines: Vec<String>, advice: &str| {
            if lines.is_empty() {
                return;
            }
            let rest = lines.len().saturating_sub(LISTED);
            text += &format!("{title} ({})\n\n", lines.len());
            lines.iter().take(LISTED).for_each(|line| text += &format!("{line}\n"));
            if rest > 0 {
                text += &format!("… + {rest}\n");
            }
            text += &if advice.is_empty() { "\n".to_owned() } else { format!("\n{advice}\n\n") };
        };
        section(
            say("In the tray", "In der Ablage"),
            held.iter().map(|held| self.line(held, zone, say("leaves the tray on", "verlässt die Ablage am"))).collect(),
            say(
                "“mailroom tray give NUMBER USER” delivers one; with “--always”, such mail finds its way from then on.\n\
                 “mailroom tray drop NUMBER” throws one away, “mailroom tray show NUMBER” shows more.",
                "„mailroom tray give NUMMER BENUTZER“ stellt eine zu; mit „--always“ findet solche Post künftig von selbst ihren Weg.\n\
                 „mailroom tray drop NUMMER“ wirft eine weg, „mailroom tray show NUMMER“ zeigt mehr.",
            ),
        );
        section(
            say("In quarantine", "In Quarantäne"),
            quarantined.iter().map(|held| self.line(held, zone, say("leaves the tray on", "verlässt die Ablage am"))).collect(),
            "",
        );
        section(say("Left the tray by age", "Wegen ihres Alters aus der Ablage entfernt"), self.expired.clone(), "");
        let collectors = self.collectors.iter().map(|(name, trouble)| format!("{name}: {}", short(trouble))).collect();
        section(say("Mailboxes that can't be fetched", "Postfächer, die nicht abgeholt werden können"), collectors, "");
        section(say("Mail that needs a look", "Post, nach der zu sehen ist"), self.books.clone(), "");
        section(
            say("Outgoing mail that waits", "Ausgehende Post, die wartet"),
            self.queue.clone(),
            say("“mailroom queue list” shows the queue.", "„mailroom queue list“ zeigt die Warteschlange."),
        );
        if text.is_empty() {
            return None;
        }
        let count = self.tray.len();
        let subject = match (language, count) {
            (Language::English, 0) => "Mailroom: something needs your attention".to_owned(),
            (Language::German, 0) => "Mailroom: bitte kümmern Sie sich".to_owned(),
            (Language::English, 1) => "Mailroom: 1 mail waits in the tray".to_owned(),
            (Language::German, 1) => "Mailroom: 1 E-Mail wartet in der Ablage".to_owned(),
            (Language::English, _) => format!("Mailroom: {count} mails wait in the tray"),
            (Language::German, _) => format!("Mailroom: {count} E-Mails warten in der Ablage"),
        };
        Some((subject, text))
    }

    fn line(&self, held: &Held, zone: &TimeZone, leaves: &str) -> String {
        let day = |at: i64| match Timestamp::from_millisecond(at) {
            Ok(time) => time.to_zoned(zone.clone()).date().to_string(),
            Err(_) => String::new(),
        };
        let addresses = if held.addresses.is_empty() { String::new() } else { format!(" → {}", short(&held.addresses.join(", "))) };
        let until = self.tray_age.map_or(String::new(), |age| format!("\n      {leaves} {}", day(held.received.saturating_add(age))));
        format!(
            "{:>5}  {}  {}{addresses}\n      {}\n      {}{until}",
            held.id,
            day(held.received),
            short(&held.from),
            short(&held.subject),
            short(&held.reason)
        )
    }
}

/// Text from elsewhere, in one line.
fn short(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ContentId;

    fn at(time: &str) -> Zoned {
        time.parse().unwrap()
    }

    #[test]
    fn the_day_turns_at_six() {
        for (time, day) in [
            ("2026-03-02T05:59:59+01:00[Europe/Berlin]", "2026-03-01"),
            ("2026-03-02T06:00:00+01:00[Europe/Berlin]", "2026-03-02"),
            ("2026-03-02T23:00:00+01:00[Europe/Berlin]", "2026-03-02"),
        ] {
            assert_eq!(last_due(&at(time)).to_string(), day, "{time}");
        }
    }

    #[test]
    fn says_something_only_if_there_is_something() {
        let time = at("2026-03-02T06:00:00+01:00[Europe/Berlin]");
        assert_eq!(Report::default().words(Language::English, &time), None);
        let held = Held {
            id: 7,
            content: ContentId(1),
            received: time.timestamp().as_millisecond(),
            kind: Kind::Held,
            reason: "nobody claims it".into(),
            addresses: vec!["new@example.com".into()],
            from: "Ann\r\nBcc: x".into(),
            subject: "Hi".into(),
            size: 1,
            collector: None,
        };
        let report = Report { tray: vec![held], tray_age: Some(30 * DAY), ..Report::default() };
        let (subject, text) = report.words(Language::German, &time).unwrap();
        assert_eq!(subject, "Mailroom: 1 E-Mail wartet in der Ablage");
        for part in
            ["    7  2026-03-02  Ann  Bcc: x → new@example.com", "nobody claims it", "verlässt die Ablage am 2026-04-01", "tray give"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let trouble = Report { collectors: vec![("isp".into(), "no".into())], expired: vec!["gone".into()], ..Report::default() };
        let (subject, text) = trouble.words(Language::English, &time).unwrap();
        assert_eq!(subject, "Mailroom: something needs your attention");
        assert!(text.contains("isp: no") && text.contains("Left the tray by age (1)\n\ngone"), "{text}");
    }
}
