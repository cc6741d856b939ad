//! Dates of mail (RFC 5322 §3.3, obsolete forms of §4.3, and what broken writers make of them) → milliseconds since 1970.
//!
//! Reads by the look of each piece rather than by position, so `asctime` order, ISO dates, missing commas, doubled zones and German
//! month names all come out right.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Bytes of a date field that are read.
const MAX_VALUE: usize = 256;
/// Years outside are a broken clock or an attempt to stay on top of a sorted list.
const SANE_YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// The instant that the text names. `None`: no date, an impossible one, or a year outside 1970–2199.
pub fn parse(value: &[u8]) -> Option<i64> {
    let value = &value[..value.len().min(MAX_VALUE)];
    let text = without_comments(&String::from_utf8_lossy(value));
    let mut parts = Parts::default();
    for word in text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
        parts.take(word);
    }
    parts.instant()
}

/// Writes an instant as RFC 5322 asks for it, in UTC: `Mon, 1 Jan 2024 10:00:00 +0000`.
pub fn render(instant: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(instant).unwrap_or_default();
    timestamp.strftime("%a, %-d %b %Y %H:%M:%S +0000").to_string()
}

#[derive(Default)]
struct Parts {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    time: Option<(i8, i8, i8)>,
    /// Seconds east of Greenwich.
    zone: Option<i64>,
}

impl Parts {
    fn take(&mut self, word: &str) {
        if let Some((date, time)) = word.split_once('T').filter(|(date, _)| is_iso_date(date)) {
            self.take(date);
            return self.take_time_and_zone(time);
        }
        if is_iso_date(word) {
            let mut numbers = word.split('-');
            self.year = numbers.next().and_then(|n| n.parse().ok());
            self.month = numbers.next().and_then(|n| n.parse().ok());
            self.day = numbers.next().and_then(|n| n.parse().ok());
        } else if word.starts_with(['+', '-']) {
            self.zone = self.zone.or_else(|| offset(word));
        } else if word.contains(':') {
            self.take_time_and_zone(word);
        } else if word.bytes().all(|b| b.is_ascii_digit()) {
            self.take_number(word);
        } else if self.time.is_none() && word.split('.').count() >= 2 && word.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            self.time = clock(word);
        } else if self.time.is_some()
            && let Some(zone) = named_zone(word)
        {
            self.zone = self.zone.or(Some(zone));
        } else if word.contains('-') {
            word.split('-').filter(|piece| !piece.is_empty()).for_each(|piece| self.take(piece));
        } else {
            self.month = self.month.or_else(|| month(word));
        }
    }

    fn take_number(&mut self, word: &str) {
        let Ok(number) = word.parse::<i16>() else { return };
        match (word.len(), self.day) {
            (1 | 2, None) => self.day = i8::try_from(number).ok(),
            _ if self.year.is_some() => {}
            // RFC 5322 §4.3
            (1 | 2, _) if number < 50 => self.year = Some(number + 2000),
            (1..=3, _) => self.year = Some(number + 1900),
            _ => self.year = Some(number),
        }
    }

    fn take_time_and_zone(&mut self, word: &str) {
        if self.time.is_some() {
            return;
        }
        let end = word.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(word.len());
        let (time, zone) = word.split_at(end);
        self.time = clock(time);
        let zone = zone.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        self.zone = self.zone.or_else(|| offset(zone)).or_else(|| named_zone(zone));
    }

    fn instant(&self) -> Option<i64> {
        let year = self.year.filter(|year| SANE_YEARS.contains(year))?;
        let (hour, minute, second) = self.time.unwrap_or_default();
        let local = DateTime::new(year, self.month?, self.day?, hour, minute, second, 0).ok()?;
        let utc = local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        Some(utc - self.zone.unwrap_or(0) * 1000)
    }
}

fn is_iso_date(word: &str) -> bool {
    let bytes = word.as_bytes();
    (8..=10).contains(&bytes.len()) && bytes[4] == b'-' && bytes[..4].iter().all(u8::is_ascii_digit)
}

/// `hh:mm[:ss]`; a leap second is the second before it.
fn clock(text: &str) -> Option<(i8, i8, i8)> {
    let mut numbers = text.split([':', '.']).map(|n| n.parse::<i8>().ok());
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let second = numbers.next().flatten().unwrap_or(0);
    Some((hour, minute, if second == 60 { 59 } else { second }))
}

/// `+hhmm` or `+hh:mm`, in seconds.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text[1..].chars().filter(|&c| c != ':').take_while(char::is_ascii_digit).collect();
    if digits.len() != 4 {
        return None;
    }
    let (hours, minutes) = (digits[..2].parse::<i64>().ok()?, digits[2..].parse::<i64>().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Zones by name (RFC 5322 §4.3, and those that servers still write); military letters count as UTC, as the RFC asks.
fn named_zone(text: &str) -> Option<i64> {
    let hours = match text.to_ascii_uppercase().as_str() {
        "UT" | "UTC" | "GMT" | "WET" => 0,
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        "CET" | "MEZ" | "BST" | "WEST" => 1,
        "CEST" | "MESZ" | "EET" | "MET DST" => 2,
        "EEST" | "MSK" => 3,
        "JST" => 9,
        letter if letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_uppercase() && b != b'J') => 0,
        _ => return None,
    };
    Some(hours * 3600)
}

fn month(word: &str) -> Option<i8> {
    let name: String = word.chars().take(3).flat_map(char::to_lowercase).collect();
    Some(match name.as_str() {
        "jan" => 1,
        "feb" => 2,
        "mar" | "mär" | "mrz" => 3,
        "apr" => 4,
        "may" | "mai" => 5,
        "jun" => 6,
        "jul" => 7,
        "aug" => 8,
        "sep" => 9,
        "oct" | "okt" => 10,
        "nov" => 11,
        "dec" | "dez" => 12,
        _ => return None,
    })
}

/// With a space for each comment (RFC 5322 §3.2.2): they stand where white space may.
pub fn without_comments(text: &str) -> String {
    let mut depth = 0usize;
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    plain.push(' ');
                }
            }
            '\\' if depth > 0 => {
                characters.next();
            }
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(parse(text.as_bytes()).map(render).as_deref(), expected, "{text}");
    }

    #[test]
    fn reads_what_mailers_write() {
        let new_year = Some("Mon, 1 Jan 2024 10:00:00 +0000");
        check("Mon, 1 Jan 2024 10:00:00 +0000", new_year);
        check(" Mon,  1 Jan 2024\r\n 11:00:00 +0100 (CET)", new_year);
        check("1 Jan 2024 10:00 GMT", new_year);
        check("Mon, 01 Jan 24 05:00:00 EST", new_year);
        check("Mon, 1 Jan 2024 02:00:00 -0800 (PST)", new_year);
        check("Mon Jan  1 10:00:00 2024", new_year);
        check("Mon Jan  1 10:00:00 UTC 2024", new_year);
        check("Mon, 1-Jan-2024 10:00:00 Z", new_year);
        check("2024-01-01T10:00:00Z", new_year);
        check("2024-01-01 11:00:00 +01:00", new_year);
        check("2024-01-01T10:00:00.123Z", new_year);
        check("Mo, 1 Januar 2024 10:00:00 +0000", new_year);
        check("Mon,1 Jan 2024 10.00.00 +0000", new_year);
        check("Mon, 1 Jan 2024 10:00:00 +0000 +0100", new_year);
        check("Mon (day), 1 (of) Jan 2024 10:00:00 (a;b) +0000", new_year);
        check("Wed, 31 Mär 1999 10:00:00 +0200", Some("Wed, 31 Mar 1999 08:00:00 +0000"));
        check("Thu, 30 Jun 2016 23:59:60 +0000", Some("Thu, 30 Jun 2016 23:59:59 +0000"));
        check("Fri, 22 Nov 102 10:00:00 -0000", Some("Fri, 22 Nov 2002 10:00:00 +0000"));
        check("Tue, 16 Jun 92 20:33:31 EDT", Some("Wed, 17 Jun 1992 00:33:31 +0000"));
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "yesterday", "31 Feb 2024 10:00:00 +0000", "1 Jan 9999 10:00:00 +0000", "1 Jan 1969 00:00:00", "99:99", "1 Jan"] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "[0-9A-Za-z:+., ()T-]{0,60}") {
            parse(text.as_bytes());
        }

        #[test]
        fn comes_back(seconds in 0i64..7_000_000_000) {
            prop_assert_eq!(parse(render(seconds * 1000).as_bytes()), Some(seconds * 1000));
        }
    }
}
