//! Dates as IMAP writes them (RFC 9051 §9, `date-time` and `date`). Times are milliseconds since 1970, UTC. Pure.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `date-day-fixed "-" date-month "-" date-year SP time SP zone`, without the quotes, in UTC.
pub fn render(milliseconds: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = timestamp.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let month = usize::try_from(time.month() - 1).ok().and_then(|index| MONTHS.get(index)).unwrap_or(&MONTHS[0]);
    // A year beyond four digits has no form.
    let year = time.year().clamp(0, 9999);
    format!("{:2}-{month}-{year:04} {:02}:{:02}:{:02} +0000", time.day(), time.hour(), time.minute(), time.second())
}

/// `date-time` without its quotes; leading zeros and one-digit days are both accepted.
pub fn parse_date_time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let mut words = text.split(' ');
    let (date, time, zone) = (parse_date(words.next()?.as_bytes())?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let mut parts = time.split(':');
    let mut next = || parts.next().filter(|part| part.len() == 2)?.parse::<i8>().ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    // A leap second is written 60 and kept as the second before.
    let clock = jiff::civil::Time::new(hour, minute, second.min(59), 0).ok().filter(|_| second <= 60 && parts.next().is_none())?;
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits =
        Some(digits).filter(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i32>().ok()?;
    let seconds = sign * (digits / 100 * 3600 + digits % 100 * 60);
    let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
    Some(offset.to_timestamp(date.to_datetime(clock)).ok()?.as_millisecond())
}

/// `date-day "-" date-month "-" date-year`, without quotes.
pub fn parse_date(text: &[u8]) -> Option<jiff::civil::Date> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split('-');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || day.is_empty() || day.len() > 2 {
        return None;
    }
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    jiff::civil::Date::new(year.parse().ok()?, i8::try_from(month + 1).ok()?, day.parse().ok()?).ok()
}

/// The first instant of a day in UTC, in which [`render`] writes INTERNALDATE. Counted, since a [`jiff::Timestamp`] ends before the year does
/// that clients name when they mean "ever".
pub fn start_of_day(date: jiff::civil::Date) -> i64 {
    date.duration_since(jiff::civil::date(1970, 1, 1)).as_secs() * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let check = |text: &str, expected| assert_eq!(parse_date(text.as_bytes()).map(start_of_day), Some(expected), "{text}");
        check("1-Jan-1970", 0);
        check("2-Jan-1970", 86_400_000);
        check("31-Dec-1969", -86_400_000);
        check("1-Mar-2024", 1_709_251_200_000);
        check("31-Dec-9999", 253_402_214_400_000);
    }

    #[test]
    fn date_times() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_date_time(text.as_bytes()).map(render).as_deref(), expected, "{text}");
        };
        check("17-Jul-1996 02:44:25 -0700", Some("17-Jul-1996 09:44:25 +0000"));
        check(" 1-jan-2024 00:00:00 +0100", Some("31-Dec-2023 23:00:00 +0000"));
        check("01-Jan-2024 23:59:60 +0000", Some(" 1-Jan-2024 23:59:59 +0000"));
        for bad in [
            "",
            "1-Jan-2024",
            "32-Jan-2024 00:00:00 +0000",
            "1-Jan-2024 24:00:00 +0000",
            "1-Jan-2024 00:00:00 GMT",
            "1-Jan-2024 00:00 +0000",
        ] {
            check(bad, None);
        }
    }
}
