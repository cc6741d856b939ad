//! When the next fetch or retry is due.
//!
//! Pure: the time is an argument, and so is what jitter is made from. Knows no collector and no task.

mod window;

pub use window::{Window, opens};

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::fmt;
use std::time::Duration;

/// Collectors with one schedule are spread over at most this long, so that they don't all start in the same second.
const MAX_SPREAD: Duration = Duration::from_secs(30);
/// A shorter interval can only be a mistake.
const SHORTEST: Duration = Duration::from_secs(10);
/// So many early retries before a failing collector falls back to its schedule.
const EARLY_RETRIES: u32 = 5;
/// Two refused log-ins count as a wrong password only if they are this far apart: providers refuse the second of two quick ones.
const LOGIN_APART: Duration = Duration::from_secs(10 * 60);
/// A server that gives no response code may mean "too many log-ins" when it says "wrong password": it is asked again at this pace …
const PROBE: Duration = Duration::from_secs(2 * 3600);
/// … for this long.
const PROBE_FOR: Duration = Duration::from_secs(86_400);

/// `every 5m` or a cron expression with five fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// A fixed interval.
    Every(Duration),
    /// Minute, hour, day of month, month, day of week.
    Cron(Box<croner::Cron>),
}

impl Schedule {
    /// Parses `every DURATION` or a cron expression; refuses one that never comes (31 February).
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(interval) = text.trim().strip_prefix("every ") {
            let interval = crate::document::duration(interval.trim())?;
            return match interval >= SHORTEST {
                true => Ok(Schedule::Every(interval)),
                false => Err(format!("\"{text}\" is shorter than {} seconds", SHORTEST.as_secs())),
            };
        }
        let wanted = "write \"every 5m\", or the five fields of cron: minute, hour, day of month, month, day of week";
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| match text.split_whitespace().count() {
            5 => format!("\"{text}\" is no schedule ({error}); {wanted}"),
            _ => format!("\"{text}\" is no schedule; {wanted}"),
        })?;
        // Any start will do: the calendar repeats, and a rule that fits no day of it fits none at all.
        let start = date(2024, 1, 1).to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        match cron.find_next_occurrence(&start, true) {
            Ok(_) => Ok(Schedule::Cron(Box::new(cron))),
            Err(_) => Err(format!("\"{text}\" never comes: no month that it names has that day")),
        }
    }

    /// The first due time after `last` (the start of the last run) and not before `now`: any number of missed runs yields one, at once.
    /// What never ran is due at once by an interval, at its next time by cron. `None`: never again.
    ///
    /// `name` spreads schedules that are alike, always by the same amount for one name.
    pub fn next(&self, last: Option<&Zoned>, now: &Zoned, name: &str) -> Option<Zoned> {
        // A clock that was set back must not make the next run wait for the time it had before.
        let last = last.filter(|last| *last <= now);
        match self {
            Schedule::Every(interval) => {
                let due = match last {
                    Some(last) => last.checked_add(*interval).ok()?,
                    None => now.checked_add(spread(name, *interval)).ok()?,
                };
                Some(due.max(now.clone()))
            }
            Schedule::Cron(cron) => {
                let offset = spread(name, gap(cron, now)?);
                let occurrence = match last {
                    Some(last) => cron.find_next_occurrence(last, false),
                    None => cron.find_next_occurrence(&now.checked_sub(offset).ok()?, true),
                };
                Some(occurrence.ok()?.checked_add(offset).ok()?.max(now.clone()))
            }
        }
    }
}

/// As it is written.
impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Every(interval) => write!(out, "every {}", crate::document::duration_text(*interval)),
            Schedule::Cron(cron) => out.write_str(cron.as_str()),
        }
    }
}

/// The earliest of several schedules, but never within `minimum` of the last run.
pub fn next(schedules: &[Schedule], last: Option<&Zoned>, now: &Zoned, minimum: Duration, name: &str) -> Option<Zoned> {
    let due = schedules.iter().filter_map(|schedule| schedule.next(last, now, name)).min()?;
    match last.filter(|last| *last <= now) {
        Some(last) => Some(due.max(last.checked_add(minimum).ok()?)),
        None => Some(due),
    }
}

/// Why a run failed, as far as it matters for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection, no TLS, or one that broke.
    Network,
    /// The server's certificate is not what it should be.
    Certificate,
    /// The server is there but can't now (`[SYS/TEMP]`, `[UNAVAILABLE]`, 4xx), or the mailbox is in use (`[IN-USE]`).
    Temporary,
    /// It said that we come too often (`[LOGIN-DELAY]`, `[LIMIT]`).
    Throttled,
    /// It said by a response code that name or password are wrong (`[AUTH]`, `[AUTHENTICATIONFAILED]`, 535).
    LogIn,
    /// It refused the log-in without saying why.
    LogInPerhaps,
    /// Tokens can't be renewed: a person has to log in at the provider.
    Consent,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again when this long has passed, not earlier.
    Wait(Duration),
    /// Stop until the secret changes or somebody fetches by hand: more attempts get the office's address banned.
    Suspend,
}

/// The memory of failures in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    refused_since: Option<Timestamp>,
}

impl Backoff {
    /// As it was before a restart.
    pub fn resume(failures: u32, refused_since: Option<Timestamp>) -> Self {
        Self { failures, refused_since }
    }

    /// When the first of the log-ins was that have been refused since.
    pub fn refused_since(&self) -> Option<Timestamp> {
        self.refused_since
    }

    /// Notes a success: all is forgotten.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes a failure and says how long to wait.
    pub fn failed(&mut self, failure: Failure, now: Timestamp) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        let minutes = |ladder: &[u64]| {
            let step = (self.failures as usize - 1).min(ladder.len() - 1);
            Verdict::Wait(Duration::from_secs(ladder[step] * 60))
        };
        match failure {
            Failure::Network => minutes(&[1, 2, 5, 10, 15, 30]),
            Failure::Temporary => minutes(&[2, 5, 10, 15, 30]),
            Failure::Certificate => minutes(&[5, 15, 30, 60]),
            Failure::Throttled => minutes(&[15, 30, 60]),
            Failure::Consent => Verdict::Suspend,
            Failure::LogIn | Failure::LogInPerhaps => self.refused(failure == Failure::LogInPerhaps, now),
        }
    }

    /// When to try again: at first sooner than the schedule, later not sooner than it.
    pub fn retry(&self, wait: Duration, scheduled: Option<Zoned>, now: &Zoned) -> Option<Zoned> {
        let earliest = now.checked_add(wait).ok()?;
        match self.failures <= EARLY_RETRIES {
            true => Some(earliest),
            false => scheduled.map(|scheduled| scheduled.max(earliest)),
        }
    }

    fn refused(&mut self, doubtful: bool, now: Timestamp) -> Verdict {
        // A clock that was set back would otherwise have us try every ten minutes until it is there again.
        let since = self.refused_since.filter(|since| *since <= now).unwrap_or(now);
        self.refused_since = Some(since);
        let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        match passed {
            passed if passed < LOGIN_APART => Verdict::Wait(LOGIN_APART),
            _ if !doubtful => Verdict::Suspend,
            passed if passed < PROBE_FOR => Verdict::Wait(PROBE),
            _ => Verdict::Suspend,
        }
    }
}

/// The time between the next two occurrences.
fn gap(cron: &croner::Cron, now: &Zoned) -> Option<Duration> {
    let first = cron.find_next_occurrence(now, false).ok()?;
    match cron.find_next_occurrence(&first, false) {
        Ok(second) => Duration::try_from(second.timestamp().duration_since(first.timestamp())).ok(),
        Err(_) => Some(MAX_SPREAD * 10),
    }
}

/// A fixed part of a tenth of the interval, from the name (FNV-1a: it need not be strong, but the same in every version).
fn spread(name: &str, interval: Duration) -> Duration {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let range = (interval / 10).min(MAX_SPREAD).as_secs();
    Duration::from_secs(if range == 0 { 0 } else { (hash >> 16) % range })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Winter: +01:00; the clock jumps from 02:00 to 03:00 on 2025-03-30 and back from 03:00 to 02:00 on 2025-10-26.
    fn berlin(text: &str) -> Zoned {
        format!("{text}[Europe/Berlin]").parse().unwrap()
    }

    /// Without jitter: no name hashes to a spread of zero, so the spread is taken off again.
    fn check(schedule: &str, last: Option<&str>, now: &str, expected: &str) {
        let schedule = Schedule::parse(schedule).unwrap();
        let (last, now) = (last.map(berlin), berlin(now));
        let name = (0..).map(|n| format!("c{n}")).find(|name| {
            spread(name, Duration::from_secs(3600)).is_zero()
                && spread(name, Duration::from_secs(300)).is_zero()
                && spread(name, Duration::from_secs(60)).is_zero()
        });
        assert_eq!(schedule.next(last.as_ref(), &now, &name.unwrap()), Some(berlin(expected)), "{schedule} after {last:?} at {now}");
    }

    #[test]
    fn trap_46_a_jump_of_the_clock_or_a_long_sleep_means_one_run() {
        check("every 5m", None, "2025-01-01T12:00:00", "2025-01-01T12:00:00");
        check("every 5m", Some("2025-01-01T12:00:00"), "2025-01-01T12:01:00", "2025-01-01T12:05:00");
        // The machine slept for a night: one run, at once.
        check("every 5m", Some("2025-01-01T12:00:00"), "2025-01-02T08:00:13", "2025-01-02T08:00:13");
        // The clock was set back by a day.
        check("every 5m", Some("2025-01-03T12:00:00"), "2025-01-02T12:00:00", "2025-01-02T12:00:00");
        // An interval is one of elapsed time, also over the spring change.
        check("every 1h", Some("2025-03-30T01:30:00+01:00"), "2025-03-30T01:31:00+01:00", "2025-03-30T03:30:00+02:00");
    }

    #[test]
    fn cron() {
        check("*/5 8-18 * * Mon-Fri", None, "2025-01-03T18:57:00", "2025-01-06T08:00:00");
        check("*/5 8-18 * * Mon-Fri", Some("2025-01-03T18:50:02"), "2025-01-03T18:52:00", "2025-01-03T18:55:00");
        check("0 3 * * *", None, "2025-01-01T03:00:00", "2025-01-01T03:00:00");
        // 0 and 7 are Sunday; a day of month and a weekday mean either.
        check("0 0 13 * 5", None, "2025-01-01T00:00:00", "2025-01-03T00:00:00");
        check("0 0 * * 7", None, "2025-01-01T00:00:00", "2025-01-05T00:00:00");
        // Three missed nights: one run, at once.
        check("0 3 * * *", Some("2025-01-01T03:00:00"), "2025-01-04T09:12:00", "2025-01-04T09:12:00");
    }

    #[test]
    fn trap_46_a_time_that_does_not_exist_is_its_first_valid_instant() {
        check("30 2 * * *", Some("2025-03-29T02:30:00"), "2025-03-29T12:00:00", "2025-03-30T03:00:00+02:00");
        check("30 2 * * *", Some("2025-03-30T03:00:00"), "2025-03-30T03:00:05", "2025-03-31T02:30:00");
    }

    #[test]
    fn trap_46_a_time_that_exists_twice_comes_once() {
        check("30 2 * * *", Some("2025-10-25T02:30:00"), "2025-10-25T12:00:00", "2025-10-26T02:30:00+02:00");
        check("30 2 * * *", Some("2025-10-26T02:30:00+02:00"), "2025-10-26T02:31:00+02:00", "2025-10-27T02:30:00+01:00");
        // But what runs every half hour does so.
        check("*/30 * * * *", Some("2025-10-26T02:30:00+02:00"), "2025-10-26T02:31:00+02:00", "2025-10-26T02:00:00+01:00");
    }

    #[test]
    fn refuses_what_never_comes() {
        for text in ["0 0 31 2 *", "0 0 31 4,6 *", "0 0 30 Feb *"] {
            assert!(Schedule::parse(text).unwrap_err().contains("never comes"), "{text}");
        }
        for text in ["", "every", "every 5", "every 1s", "5m", "* * * *", "* * * * * *", "61 * * * *", "hourly"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert!(Schedule::parse("0 0 29 2 *").is_ok());
    }

    #[test]
    fn trap_40_the_earliest_of_several_but_not_below_the_minimum() {
        let schedules = ["every 1h", "*/10 * * * *"].map(|text| Schedule::parse(text).unwrap());
        let (last, now) = (berlin("2025-01-01T12:01:00"), berlin("2025-01-01T12:02:00"));
        let due = next(&schedules, Some(&last), &now, Duration::ZERO, "isp").unwrap();
        assert!((berlin("2025-01-01T12:10:00")..berlin("2025-01-01T12:11:00")).contains(&due), "{due}");
        let minimum = Duration::from_secs(720);
        assert_eq!(next(&schedules, Some(&last), &now, minimum, "isp"), Some(berlin("2025-01-01T12:13:00")));
    }

    #[test]
    fn jitter_is_small_and_always_the_same() {
        let schedule = Schedule::parse("*/5 * * * *").unwrap();
        let now = berlin("2025-01-01T12:01:00");
        let due = |name: &str| schedule.next(None, &now, name).unwrap();
        assert_eq!(due("isp"), due("isp"));
        let all: std::collections::BTreeSet<Zoned> = (0..50).map(|n| due(&format!("collector {n}"))).collect();
        assert!(all.len() > 15, "{all:?}");
        assert!(all.iter().all(|due| (berlin("2025-01-01T12:05:00")..berlin("2025-01-01T12:05:30")).contains(due)));
        // What was due at :05 and a few seconds is not lost when it is asked for again in between.
        let late = berlin("2025-01-01T12:05:00");
        assert!((0..50).all(|n| schedule.next(None, &late, &format!("collector {n}")) == Some(due(&format!("collector {n}")))));
    }

    #[test]
    fn failures_back_off() {
        let start: Timestamp = "2025-01-01T12:00:00Z".parse().unwrap();
        let mut backoff = Backoff::default();
        let minutes = [1, 2, 5, 10, 15, 30, 30, 30];
        for expected in minutes {
            assert_eq!(backoff.failed(Failure::Network, start), Verdict::Wait(Duration::from_secs(expected * 60)));
        }
        // By now it keeps to the schedule.
        let (now, scheduled) = (berlin("2025-01-01T12:00:00"), berlin("2025-01-03T08:00:00"));
        assert_eq!(backoff.retry(Duration::from_secs(60), Some(scheduled.clone()), &now), Some(scheduled.clone()));
        backoff.succeeded();
        backoff.failed(Failure::Network, start);
        assert_eq!(backoff.retry(Duration::from_secs(60), Some(scheduled), &now), Some(berlin("2025-01-01T12:01:00")));
    }

    #[test]
    fn trap_41_a_wrong_password_is_not_tried_until_the_office_is_banned() {
        let at = |minute: i64| "2025-01-01T12:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
        let mut sure = Backoff::default();
        assert_eq!(sure.failed(Failure::LogIn, at(0)), Verdict::Wait(LOGIN_APART));
        assert_eq!(sure.failed(Failure::LogIn, at(1)), Verdict::Wait(LOGIN_APART));
        assert_eq!(sure.failed(Failure::LogIn, at(11)), Verdict::Suspend);
        assert_eq!(Backoff::default().failed(Failure::Consent, at(0)), Verdict::Suspend);
        // The clock was set back by a day in between.
        let mut back = Backoff::default();
        let verdicts = [0, -1440, -1429].map(|minute| back.failed(Failure::LogIn, at(minute)));
        assert_eq!(verdicts, [Verdict::Wait(LOGIN_APART), Verdict::Wait(LOGIN_APART), Verdict::Suspend]);
    }

    #[test]
    fn trap_42_a_refusal_without_a_reason_is_probed_for_a_day() {
        let at = |minute: i64| "2025-01-01T12:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
        let mut doubtful = Backoff::default();
        assert_eq!(doubtful.failed(Failure::LogInPerhaps, at(0)), Verdict::Wait(LOGIN_APART));
        assert_eq!(doubtful.failed(Failure::LogInPerhaps, at(10)), Verdict::Wait(PROBE));
        assert_eq!(doubtful.failed(Failure::LogInPerhaps, at(60 * 25)), Verdict::Suspend);
    }
}
