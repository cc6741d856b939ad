//! When a collector's next fetch is due, on clocks that jump and machines that sleep.
//!
//! The wall clock's time is an argument. How long ago something was is known by the monotonic clock too, which nobody sets back.

use crate::config::Collector;
use crate::schedule;
use crate::wire::Instant;
use jiff::{SignedDuration, Timestamp, Zoned};
use std::time::Duration;

/// The clock may jump, and the machine may sleep: due times are looked at this often.
const LOOK: Duration = Duration::from_secs(30);
/// A clock that is put right by less has not jumped.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// Something that happened, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: Timestamp,
    instant: Instant,
}

impl Moment {
    fn at(now: Timestamp) -> Self {
        Self { wall: now, instant: Instant::now() }
    }

    /// When it was, by the wall clock as it goes now. One that was set back since would have it too late.
    fn by(self, now: Timestamp) -> Timestamp {
        let ago = SignedDuration::try_from(self.instant.elapsed()).unwrap_or(SignedDuration::MAX);
        match now.checked_sub(ago) {
            Ok(truly) if self.wall.duration_since(truly) > JUMP => truly,
            _ => self.wall,
        }
    }
}

/// What the next fetch depends on, besides configuration and store.
#[derive(Debug, Default)]
pub struct Waiting {
    /// What the server itself wants between log-ins.
    pub least: Duration,
    /// The end of the last fetch that this process has seen.
    ran: Option<Moment>,
    /// After a failure: so long behind that fetch, not before.
    retry: Option<SignedDuration>,
    /// Something has arrived since.
    news: bool,
}

impl Waiting {
    /// A fetch has ended; after a failure, when it is to be tried again.
    pub fn ran(&mut self, now: Timestamp, retry: Option<Zoned>) {
        self.ran = Some(Moment::at(now));
        self.retry = retry.map(|retry| retry.timestamp().duration_since(now));
        self.news = false;
    }

    /// Something has arrived: the next fetch need not wait for the schedule.
    pub fn heard(&mut self) {
        self.news = true;
    }

    /// When the next fetch is due; `last` is the end of the last one by the store. Whatever is the reason, the pause is kept that the provider
    /// wants between two log-ins.
    pub fn due(&self, collector: &Collector, last: Timestamp, now: &Zoned) -> Option<Zoned> {
        let zoned = |at: Timestamp| at.to_zoned(now.time_zone().clone());
        let last = match (last, self.ran) {
            (last, Some(ran)) if last <= ran.wall => last.min(ran.by(now.timestamp())),
            (last, _) => last,
        };
        let least = collector.minimum_interval.max(self.least);
        let earliest = match last <= now.timestamp() {
            true => zoned(last.checked_add(least).ok()?),
            // The clock was set back before this process began.
            false => now.clone(),
        };
        if let (Some(retry), Some(ran)) = (self.retry, self.ran) {
            return Some(zoned(ran.by(now.timestamp()).checked_add(retry).ok()?).max(earliest));
        }
        let scheduled = schedule::next(&collector.schedule, Some(&zoned(last)), now, least, &collector.name);
        if self.news { Some(scheduled.map_or(earliest.clone(), |scheduled| scheduled.min(earliest))) } else { scheduled }
    }
}

/// Waits until a time of the wall clock has come, however that goes. False: it was set back, and what is due has to be worked out anew.
pub async fn until(due: Option<&Zoned>, clock: impl Fn() -> Timestamp) -> bool {
    let Some(due) = due else { return std::future::pending().await };
    let mut seen = Moment::at(clock());
    loop {
        let now = clock();
        if seen.by(now) != seen.wall {
            return false;
        }
        seen = Moment::at(now);
        match Duration::try_from(due.timestamp().duration_since(now)) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK)).await,
            _ => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use jiff::tz::TimeZone;
    use std::collections::BTreeMap;
    use std::path::Path;

    const DAY: i64 = 86_400;

    fn collector(minimum: u64) -> Collector {
        let file = Path::new("/mailroom.toml");
        let text = "[office]\ndomains = []\npostmaster = \"alice\"\n[[collector]]\nname = \"isp\"\nprotocol = \"pop3\"\nhost = \"pop.example\"\n\
                    username = \"office\"\npassword = \"secret\"\nschedule = \"every 5m\"\n";
        let loaded = config::parse(file, BTreeMap::from([(file.to_owned(), text.to_owned())])).unwrap();
        Collector { minimum_interval: Duration::from_secs(minimum), ..loaded.config.collectors[0].clone() }
    }

    /// When fetches begin within 25 minutes, in seconds, while the wall clock jumps at the second `at` by so many. `step` may do something
    /// after each of them.
    async fn runs(collector: &Collector, (at, by): (u64, i64), step: impl Fn(&mut Waiting, Timestamp)) -> Vec<u64> {
        let began = Instant::now();
        let wall = || {
            let passed = began.elapsed();
            let jumped = SignedDuration::from_secs(if passed.as_secs() >= at { by } else { 0 });
            "2026-11-02T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::try_from(passed).unwrap() + jumped
        };
        let (mut waiting, mut last, mut runs) = (Waiting::default(), None, Vec::new());
        let all = async {
            loop {
                let now = wall().to_zoned(TimeZone::UTC);
                let due = last.map_or(Some(now.clone()), |last| waiting.due(collector, last, &now));
                if until(due.as_ref(), wall).await {
                    runs.push(began.elapsed().as_secs());
                    last = Some(wall());
                    waiting.ran(wall(), None);
                    step(&mut waiting, wall());
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(1490), all).await.is_err());
        runs
    }

    #[tokio::test(start_paused = true)]
    async fn trap_46_a_clock_that_is_set_back_or_forward_delays_no_fetch_and_doubles_none() {
        let quiet = |_: &mut Waiting, _| {};
        let often = collector(0);
        assert_eq!(runs(&often, (0, 0), quiet).await, [0, 300, 600, 900, 1200]);
        for back in [-DAY, -3600, -60] {
            assert_eq!(runs(&often, (400, back), quiet).await, [0, 300, 600, 900, 1200], "{back}");
        }
        // It may have slept as well: one run at the next look.
        assert_eq!(runs(&often, (400, DAY), quiet).await, [0, 300, 420, 720, 1020, 1320]);
    }

    #[tokio::test(start_paused = true)]
    async fn trap_40_neither_a_retry_nor_news_comes_sooner_than_the_provider_wants() {
        let failed = |waiting: &mut Waiting, now: Timestamp| {
            waiting.ran(now, Some((now + SignedDuration::from_secs(60)).to_zoned(TimeZone::UTC)));
        };
        let heard = |waiting: &mut Waiting, _| waiting.heard();
        let seldom = collector(420);
        for at in [(0, 0), (500, -DAY)] {
            assert_eq!(runs(&seldom, at, failed).await, [0, 420, 840, 1260], "{at:?}");
            assert_eq!(runs(&seldom, at, heard).await, [0, 420, 840, 1260], "{at:?}");
        }
        let often = collector(0);
        assert_eq!(runs(&often, (30, -DAY), failed).await.len(), 25, "every minute");
        let news = collector(200);
        assert_eq!(runs(&news, (0, 0), heard).await[..3], [0, 200, 400]);
    }
}
