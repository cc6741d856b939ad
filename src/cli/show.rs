//! How times and sizes look: RFC 3339 with offset in JSON, short for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Milliseconds since 1970 as RFC 3339 with the offset of the office's time zone.
pub fn rfc3339(milliseconds: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        Err(_) => "1970-01-01T00:00:00+00:00".into(),
    }
}

/// Milliseconds since 1970 for people: the day only if it is not today.
pub fn time(milliseconds: i64, now: i64, zone: &TimeZone) -> String {
    let (Ok(time), Ok(now)) = (Timestamp::from_millisecond(milliseconds), Timestamp::from_millisecond(now)) else { return "never".into() };
    let (time, now) = (time.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let format = if time.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
    time.strftime(format).to_string()
}

/// Bytes in the units of the configuration: powers of 1000.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match (unit, value < 9.95) {
        (0, _) => format!("{bytes} B"),
        (_, true) => format!("{value:.1} {}", units[unit]),
        (_, false) => format!("{value:.0} {}", units[unit]),
    }
}

/// `1 mail`, `2 mails`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Text from a message for a terminal: what could steer the terminal is shown as a mark.
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (9_949, "9.9 KB"),
            (12_345, "12 KB"),
            (999_600, "1.0 MB"),
            (2_000_000_000, "2.0 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn times() {
        let berlin = TimeZone::fixed(jiff::tz::offset(2));
        let now = 1_780_000_000_000;
        assert_eq!(rfc3339(now, &berlin), "2026-05-28T22:26:40+02:00");
        assert_eq!(time(now - 60_000, now, &berlin), "22:25:40");
        assert_eq!(time(now - 86_400_000, now, &berlin), "2026-05-27 22:26");
    }
}
