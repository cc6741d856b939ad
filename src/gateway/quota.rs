//! Who comes near his quota hears of it, once on the way up: mail keeps arriving, but the mail program can't save any more.

use crate::config::{Current, Language};
use crate::inbound::again::lan_address;
use crate::inbound::letter::Letter;
use crate::store::{Account, Arrival, Store, StoreError};

/// Percent of the quota at which the first and the second notice are due.
const LEVELS: [u64; 2] = [90, 100];
/// Below this percent it is forgotten that there was a notice: who tidies up and fills up again is told again.
const FORGIVEN: u64 = 80;

/// Writes the notices that are due. `now` is milliseconds since 1970.
pub async fn warn(store: &Store, current: &Current, now: i64) -> Result<(), StoreError> {
    for account in store.accounts().await? {
        let mark = format!("quota-notice/{}", account.id.0);
        let told: u64 = store.setting(&mark).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let used = percent(&account);
        if used < FORGIVEN && told > 0 {
            store.setting_set(&mark, None).await?;
        }
        let Some(level) = LEVELS.into_iter().rfind(|level| used >= *level && told < *level) else { continue };
        let Some(arrival) = notice(current, &account, level, now) else { continue };
        store.arrive(vec![arrival]).await.pop().unwrap_or(Err(StoreError::Closed))?;
        // Behind the notice: one too many after a crash is better than none.
        store.setting_set(&mark, Some(&level.to_string())).await?;
        tracing::warn!(mailbox = %account.mailbox, used, "told of the quota");
    }
    Ok(())
}

/// How much of the quota is used; 0 without one.
fn percent(account: &Account) -> u64 {
    account.quota.map_or(0, |quota| account.bytes.saturating_mul(100) / quota.max(1))
}

fn notice(current: &Current, account: &Account, level: u64, now: i64) -> Option<Arrival> {
    let to = lan_address(&current.config, &account.mailbox)?;
    let (subject, text) = words(current.config.office.language, account, level);
    let letter = Letter { to: &to, subject: &subject, text: &text, id: "quota", now };
    letter.arrival(&current.config, account.mailbox.clone()).inspect_err(|error| tracing::error!(error, "the notice can't be written")).ok()
}

fn words(language: Language, account: &Account, level: u64) -> (String, String) {
    let (used, quota) = (megabytes(account.bytes), megabytes(account.quota.unwrap_or(0)));
    match (language, level >= 100) {
        (Language::English, false) => (
            format!("Your mailbox is {}% full", percent(account)),
            format!(
                "Your mailbox holds {used} MB; {quota} MB are allowed.\n\n\
                 Nothing is lost: mail to you keeps arriving. But when it is full, your mail program can no longer save copies of what you send, \
                 nor copy mail into folders. Please delete what you no longer need, and empty the Trash.\n"
            ),
        ),
        (Language::English, true) => (
            "Your mailbox is full".to_owned(),
            format!(
                "Your mailbox holds {used} MB; {quota} MB are allowed.\n\n\
                 Nothing is lost: mail to you keeps arriving. But your mail program can no longer save copies of what you send, nor copy mail \
                 into folders. Please delete what you no longer need, and empty the Trash; or ask for a larger mailbox.\n"
            ),
        ),
        (Language::German, false) => (
            format!("Ihr Postfach ist zu {} % voll", percent(account)),
            format!(
                "Ihr Postfach enthält {used} MB; erlaubt sind {quota} MB.\n\n\
                 Es geht nichts verloren: Post an Sie kommt weiterhin an. Ist es voll, kann Ihr Mailprogramm aber keine Kopien gesendeter \
                 Nachrichten mehr ablegen und keine Nachrichten in Ordner kopieren. Bitte löschen Sie, was Sie nicht mehr brauchen, und leeren Sie den Papierkorb.\n"
            ),
        ),
        (Language::German, true) => (
            "Ihr Postfach ist voll".to_owned(),
            format!(
                "Ihr Postfach enthält {used} MB; erlaubt sind {quota} MB.\n\n\
                 Es geht nichts verloren: Post an Sie kommt weiterhin an. Ihr Mailprogramm kann aber keine Kopien gesendeter Nachrichten mehr \
                 ablegen und keine Nachrichten in Ordner kopieren. Bitte löschen Sie, was Sie nicht mehr brauchen, und leeren Sie den Papierkorb; \
                 oder bitten Sie um ein größeres Postfach.\n"
            ),
        ),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
