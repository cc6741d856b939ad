//! What was learnt of a mailbox's headers, kept in the store from fetch to fetch; and the word to the postmaster when it changes.

use super::again::lan_address;
use super::letter::Letter;
use super::recipients::probe::{FIRST, News, Probe, WATCHED};
use crate::config::{Collector, Config, Deliver, EnvelopeHabit, Language};
use crate::mapping::Mailbox;
use crate::store::{Arrival, Store, StoreError};

/// The setting that keeps a collector's probe.
pub fn setting(collector: &str) -> String {
    format!("envelope/{collector}")
}

/// What is known of a collector's mailbox; of one that is bound, nothing needs to be.
pub async fn read(store: &Store, collector: &Collector) -> Result<Probe, StoreError> {
    Ok(Probe::of(kept(store, &collector.name).await?, collector))
}

/// The same by name, for [`Probe::of`]. What can't be read counts as not there: it is learnt again.
pub async fn kept(store: &Store, collector: &str) -> Result<Option<Probe>, StoreError> {
    let text = store.setting(&setting(collector)).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether a collector's messages are mapped, so that their headers matter.
pub fn matter(collector: &Collector) -> bool {
    collector.deliver == Deliver::Mapped
}

/// What the log says.
pub fn tell(collector: &str, news: &News) {
    match news {
        News::Found(habit) => tracing::info!(collector, "{} carries the envelope recipient, by the first {FIRST} mails", habit.header),
        News::NothingFound => tracing::warn!(
            collector,
            "none of the first {FIRST} mails' headers tells whom they were for: mail to many and blind copies can only be guessed or held"
        ),
        News::Lost(habit) => tracing::error!(
            collector,
            "most of the last {WATCHED} mails came without {}: the provider seems to have changed its headers",
            habit.header
        ),
        News::Back(habit) => tracing::info!(collector, "{} is there again", habit.header),
    }
}

/// The letter to the postmaster, if the news is bad. Whoever stores it sets the probe's setting with it, so that it is written once.
pub fn letter(config: &Config, collector: &Collector, news: &News, now: i64) -> Option<Arrival> {
    let News::Lost(habit) = news else { return None };
    let mailbox = Mailbox::User(config.office.postmaster.clone());
    let to = lan_address(config, &mailbox)?;
    let (subject, text) = words(config.office.language, collector, habit);
    let id = format!("envelope-{}", collector.name);
    let letter = Letter { to: &to, subject: &subject, text: &text, id: &id, now };
    letter.arrival(config, mailbox).inspect_err(|error| tracing::error!(error, "the postmaster can't be written to")).ok()
}

fn words(language: Language, collector: &Collector, habit: &EnvelopeHabit) -> (String, String) {
    let (header, name, pinned) = (&habit.header, &collector.name, collector.envelope.is_some());
    match language {
        Language::English => {
            let what = match pinned {
                true => {
                    "That header is pinned in mailroom.toml, so these mails wait in the tray. Look at one of them (“mailroom tray show \
                         NUMBER”): if the provider writes another header now, name it in “envelope” of the collector, and give the mails \
                         with “mailroom remap --since 7d”."
                        .to_owned()
                }
                false => {
                    "Until another header is found, whom a mail is for is told by other evidence, and where there is none, by To and Cc; \
                          what they do not tell waits in the tray."
                        .to_owned()
                }
            };
            (
                format!("Mailroom: {header} is missing in the mail of {name}"),
                format!(
                    "Most of the last {WATCHED} mails of the collector {name} came without the header {header}, which told whom each was \
                     for. The provider seems to have changed its headers.\n\n{what}\n"
                ),
            )
        }
        Language::German => {
            let what = match pinned {
                true => "Der Header ist in mailroom.toml festgelegt, darum warten diese E-Mails in der Ablage. Sehen Sie eine davon an \
                         („mailroom tray show NUMMER“): Schreibt der Anbieter jetzt einen anderen Header, nennen Sie ihn in „envelope“ der \
                         Abholung und verteilen Sie die E-Mails mit „mailroom remap --since 7d“."
                    .to_owned(),
                false => "Bis ein anderer Header gefunden ist, entscheiden andere Spuren über den Empfänger, und wo es keine gibt, To und \
                          Cc; was daraus nicht hervorgeht, wartet in der Ablage."
                    .to_owned(),
            };
            (
                format!("Mailroom: {header} fehlt in den E-Mails von {name}"),
                format!(
                    "Die meisten der letzten {WATCHED} E-Mails der Abholung {name} kamen ohne den Header {header}, der sagte, für wen sie \
                     sind. Der Anbieter scheint seine Header geändert zu haben.\n\n{what}\n"
                ),
            )
        }
    }
}
