//! Hours in which something may be done: `8-18 Mon-Fri`.

use jiff::Zoned;
use jiff::civil::{Time, Weekday};
use std::fmt;

/// A day as people count it in hours.
const MINUTES: u16 = 24 * 60;
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Hours of some days of the week. `22-6 Fri` ends on Saturday morning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// Minutes of the day; the end may be that of the next day.
    from: u16,
    to: u16,
    /// Those on which it opens.
    days: Vec<Weekday>,
}

impl Window {
    /// Reads `8-18 Mon-Fri`, `8:30-12 Sat,Sun`, `22-6`. The error is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || format!("\"{text}\" is no time of the week; write hours and days, such as \"8-18 Mon-Fri\" or \"8:30-12 Sat\"");
        let mut words = text.split_whitespace();
        let (from, to) = words.next().and_then(|hours| hours.split_once('-')).ok_or_else(wanted)?;
        let (from, to) = minutes(from).zip(minutes(to)).filter(|(from, to)| from != to && *from < MINUTES).ok_or_else(wanted)?;
        let days = match words.next() {
            Some(days) => days.split(',').map(range).collect::<Option<Vec<_>>>().ok_or_else(wanted)?.concat(),
            None => DAYS.map(|(_, day)| day).to_vec(),
        };
        match words.next() {
            Some(_) => Err(wanted()),
            None => Ok(Self { text: text.to_owned(), from, to, days }),
        }
    }

    /// Now if it is open, else when it opens next.
    fn opens(&self, now: &Zoned) -> Option<Zoned> {
        // Yesterday's may still be open.
        (-1..=7).find_map(|offset: i64| {
            let day = now.date().checked_add(jiff::Span::new().days(offset)).ok()?;
            if !self.days.contains(&day.weekday()) {
                return None;
            }
            let at = |minute: u16| {
                let (extra, minute) = (i64::from(minute / MINUTES), minute % MINUTES);
                let time = Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
                let day = day.checked_add(jiff::Span::new().days(extra)).ok()?;
                day.to_datetime(time).to_zoned(now.time_zone().clone()).ok()
            };
            let (from, to) = (at(self.from)?, at(if self.to > self.from { self.to } else { self.to + MINUTES })?);
            (*now < to).then(|| from.max(now.clone()))
        })
    }
}

/// As it is written.
impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// When something may be done that may be done in any of these windows: now, or at the next opening. Without windows it is now.
pub fn opens(windows: &[Window], now: &Zoned) -> Zoned {
    windows.iter().filter_map(|window| window.opens(now)).min().unwrap_or_else(|| now.clone())
}

/// `8` or `8:30`, up to `24`.
fn minutes(text: &str) -> Option<u16> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (hours, minutes) = match text.split_once(':') {
        Some((hours, minutes)) => (number(hours)?, number(minutes)?),
        None => (number(text)?, 0),
    };
    let all = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && all <= MINUTES).then_some(all)
}

/// `Mon` or `Mon-Fri`; `Fri-Mon` goes over the weekend.
fn range(text: &str) -> Option<Vec<Weekday>> {
    let day = |text: &str| DAYS.iter().position(|(name, _)| text.eq_ignore_ascii_case(name));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let length = (last + DAYS.len() - first) % DAYS.len();
    Some((0..=length).map(|offset| DAYS[(first + offset) % DAYS.len()].1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(windows: &[&str], now: &str, expected: &str) {
        let windows: Vec<_> = windows.iter().map(|text| Window::parse(text).unwrap()).collect();
        let zoned = |text: &str| format!("{text}[Europe/Berlin]").parse::<Zoned>().unwrap();
        assert_eq!(opens(&windows, &zoned(now)), zoned(expected), "{windows:?} at {now}");
    }

    #[test]
    fn office_hours() {
        // 2025-01-03 is a Friday.
        let office = ["8-18 Mon-Fri"];
        check(&office, "2025-01-03T08:00:00", "2025-01-03T08:00:00");
        check(&office, "2025-01-03T17:59:59", "2025-01-03T17:59:59");
        check(&office, "2025-01-03T18:00:00", "2025-01-06T08:00:00");
        check(&office, "2025-01-03T07:00:00", "2025-01-03T08:00:00");
        check(&["8-18 Mon-Fri", "9:30-12 sat"], "2025-01-03T18:00:00", "2025-01-04T09:30:00");
        check(&["22-6 Fri"], "2025-01-04T05:59:00", "2025-01-04T05:59:00");
        check(&["22-6 Fri"], "2025-01-04T06:00:00", "2025-01-10T22:00:00");
        check(&["0-24 Sat-Mon"], "2025-01-06T23:59:00", "2025-01-06T23:59:00");
        check(&["22-6"], "2025-01-06T12:00:00", "2025-01-06T22:00:00");
        check(&[], "2025-01-06T12:00:00", "2025-01-06T12:00:00");
        // The hour that the spring change leaves out begins at its end.
        check(&["2:30-8 Sun"], "2025-03-30T01:00:00+01:00", "2025-03-30T03:30:00+02:00");
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "8", "8-18 Mon-", "8-18 Montag", "18-18", "8-25", "8:60-9", "8-18 Mon Fri", "24-8", "-1-8"] {
            assert!(Window::parse(text).unwrap_err().contains("8-18 Mon-Fri"), "{text}");
        }
    }
}
