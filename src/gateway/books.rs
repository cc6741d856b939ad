//! The nightly proof that nothing was lost: what was ever listed at each mailbox, and what became of it, in a line of the log.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Current;
use crate::store::reconciliation::Reconciliation;
use crate::store::{Store, StoreError};

/// Setting: the day of the last one.
const MARK: &str = "reconciled";

/// Reconciles every mailbox, once on each day of the office's clock. `now` is milliseconds since 1970.
pub async fn reconcile_if_due(store: &Store, current: &Current, now: i64) -> Result<(), StoreError> {
    let zone = current.config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let Ok(time) = Timestamp::from_millisecond(now) else { return Ok(()) };
    let today = time.to_zoned(zone).date().to_string();
    if store.setting(MARK).await?.as_deref() == Some(&today) {
        return Ok(());
    }
    for (collector, books) in of_all(store, current).await? {
        match books.unaccounted {
            0 => tracing::info!(collector, "{books}"),
            _ => tracing::error!(collector, "{books}"),
        }
    }
    store.setting_set(MARK, Some(&today)).await
}

/// What became of everything at each mailbox that is configured.
pub async fn of_all(store: &Store, current: &Current) -> Result<Vec<(String, Reconciliation)>, StoreError> {
    let mut all = Vec::with_capacity(current.config.collectors.len());
    for collector in &current.config.collectors {
        let books = store.reconcile(&collector.endpoint.host.to_ascii_lowercase(), collector.log_in_as()).await?;
        all.push((collector.name.clone(), books));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::files;
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_line_comes_once_on_each_day_of_the_office() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let file = dir.path().join("mailroom.toml");
        let collector =
            "protocol = \"pop3\"\nhost = \"pop.isp.example\"\nusername = \"office\"\npassword = { env = \"X\" }\ndeliver = \"alice\"";
        let text = format!(
            "[office]\npostmaster = \"alice\"\ntimezone = \"Europe/Berlin\"\n[[collector]]\nname = \"isp\"\n{collector}\n[[collector]]\nname = \"other\"\n{}\n",
            collector.replace("\"office\"", "\"other\"")
        );
        let account = crate::mapping::Mailbox::User("alice".into());
        store.account_add(&account, None, None).await.unwrap();
        let loaded = files::parse(&file, BTreeMap::from([(file.clone(), text)])).unwrap_or_else(|error| panic!("{error}"));
        let current = files::compile(loaded, &store).await.unwrap_or_else(|error| panic!("{error}")).current;
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _shown = tracing::subscriber::set_default(subscriber);
        for (time, lines) in [
            ("2026-03-01T22:00:00Z", 2),
            ("2026-03-01T22:59:00Z", 0),
            // Midnight in Berlin.
            ("2026-03-01T23:00:00Z", 2),
            ("2026-03-02T22:59:59Z", 0),
            // After a night without power.
            ("2026-03-05T10:00:00Z", 2),
        ] {
            reconcile_if_due(&store, &current, time.parse::<Timestamp>().unwrap().as_millisecond()).await.unwrap();
            let said = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
            assert_eq!(said.matches("0 unaccounted for").count(), lines, "{time}: {said}");
            assert_eq!(said.matches("collector=\"isp\"").count(), lines / 2, "{time}: {said}");
        }
    }
}
