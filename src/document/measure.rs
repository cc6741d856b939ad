//! Durations (an integer with s m h d w) and sizes (an integer with KB MB GB, powers of 1000), read and written.

use std::time::Duration;

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
const SIZES: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000)];
/// A hundred years: what is longer is a mistake, and would overflow dates that it is added to.
const MAX_SECONDS: u64 = 100 * 365 * 86_400;

/// Reads `"90s"`, `"5m"`, `"2h"`, `"30d"`, `"1w"`; `"0"` needs no unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("\"{text}\" is no duration; write a number with s, m, h, d or w, such as \"5m\" or \"30d\"");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = text.chars().next_back().ok_or_else(wanted)?;
    let (_, seconds) = UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(wanted)?;
    let number = digits(text[..text.len() - 1].trim_end()).ok_or_else(wanted)?;
    match number.checked_mul(*seconds).filter(|s| *s <= MAX_SECONDS) {
        Some(total) => Ok(Duration::from_secs(total)),
        None => Err(format!("\"{text}\" is longer than a hundred years")),
    }
}

/// Reads `"500MB"`; `"0"` and plain bytes need no unit. In bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let wanted = || format!("\"{text}\" is no size; write a number with KB, MB or GB, such as \"50MB\"");
    let upper = text.to_ascii_uppercase();
    let (number, unit) = match SIZES.iter().find_map(|(name, unit)| Some((upper.strip_suffix(name)?, *unit))) {
        Some((number, unit)) => (number.trim_end(), unit),
        None => (upper.strip_suffix('B').unwrap_or(&upper), 1),
    };
    // SQLite counts in signed 64 bits.
    let total = digits(number).and_then(|n| n.checked_mul(unit)).filter(|n| i64::try_from(*n).is_ok());
    total.ok_or_else(wanted)
}

/// `"7 days"`, in the largest unit that divides it.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let named = [("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    // Weeks only from two on: "7 days" is what people say.
    let unit = named.iter().find(|(name, unit)| seconds >= *unit && seconds.is_multiple_of(*unit) && (*name != "week" || seconds > *unit));
    let (name, count) = unit.map_or(("second", seconds), |(name, unit)| (*name, seconds / unit));
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// `"1.5 GB"`, with at most one decimal.
pub fn size_text(bytes: u64) -> String {
    let Some((name, unit)) = SIZES.iter().find(|(_, unit)| bytes >= *unit) else { return format!("{bytes} bytes") };
    let tenths = (bytes / (unit / 10)) % 10;
    match tenths {
        0 => format!("{} {name}", bytes / unit),
        _ => format!("{}.{tenths} {name}", bytes / unit),
    }
}

/// An unsigned decimal number without sign or blanks, which `str::parse` alone is too lenient about.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, seconds: Option<u64>| assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        check("90s", Some(90));
        check("5m", Some(300));
        check("30d", Some(2_592_000));
        check("1w", Some(604_800));
        check("0", Some(0));
        check("0d", Some(0));
        for wrong in ["", "5", "m", "5 minutes", "-5m", "+5m", "1.5h", "5M", "99999999999999999999s", "400000w", "5µ"] {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(size(text).ok(), bytes, "{text}");
        check("500MB", Some(500_000_000));
        check("1kb", Some(1000));
        check("2 GB", Some(2_000_000_000));
        check("0", Some(0));
        check("123", Some(123));
        for wrong in ["", "MB", "-1MB", "1.5GB", "5TB", "99999999999GB", "x"] {
            check(wrong, None);
        }
    }

    #[test]
    fn texts() {
        for (seconds, text) in
            [(0, "0 seconds"), (90, "90 seconds"), (300, "5 minutes"), (604_800, "7 days"), (86_400, "1 day"), (1_209_600, "2 weeks")]
        {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
        for (bytes, text) in [(12, "12 bytes"), (1500, "1.5 KB"), (50_000_000, "50 MB"), (1_040_000_000, "1 GB")] {
            assert_eq!(size_text(bytes), text);
        }
    }
}
