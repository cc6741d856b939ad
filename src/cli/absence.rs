//! `mailroom vacation` and `mailroom copy`: people who are away, and those who stand in for them.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::user::require;
use super::{Exit, Global, configuration, store_of};
use crate::store::absence::Away;

/// More than this is no reply that anybody reads.
const MAX_TEXT: u64 = 64 * 1024;

/// `vacation USER on|off …`
#[derive(Debug, Args)]
pub struct Vacation {
    /// Whose
    user: String,
    /// on or off
    state: Switch,
    /// First day, as 2026-12-24; default: now
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// Last day; default: until it is switched off
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// A file with what the reply says; default: the usual words
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// `copy USER to OTHER [--until DATE]`
#[derive(Debug, Args)]
pub struct Copy {
    /// Whose mail
    user: String,
    /// The word `to`
    #[arg(value_parser = ["to"])]
    to: String,
    /// Who gets copies
    other: String,
    /// Last day; default: until it is switched off
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// No more copies
    #[arg(long, conflicts_with = "until")]
    off: bool,
}

/// Runs `vacation`.
pub async fn vacation(arguments: Vacation, global: &Global) -> anyhow::Result<Exit> {
    let config = configuration(global)?;
    let store = store_of(&config)?;
    let zone = config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let user = require(&store, &arguments.user).await?;
    if arguments.state == Switch::Off {
        let given = arguments.from.is_some() || arguments.until.is_some() || arguments.text.is_some();
        anyhow::ensure!(!given, "`vacation {} off` takes no --from, --until or --text", arguments.user);
        store.vacation_set(user.id, None).await?;
        println!("{}: no automatic reply", arguments.user);
        return Ok(Exit::Done);
    }
    if let (Some(from), Some(until)) = (arguments.from, arguments.until) {
        anyhow::ensure!(from <= until, "the last day, {until}, is before the first, {from}");
    }
    let today = jiff::Zoned::now().with_time_zone(zone.clone()).date();
    anyhow::ensure!(arguments.until.is_none_or(|until| until >= today), "the last day is over already");
    let text = match &arguments.text {
        Some(path) => {
            let size = path.metadata().with_context(|| format!("{}", path.display()))?.len();
            anyhow::ensure!(size <= MAX_TEXT, "{} is longer than a reply should be: {MAX_TEXT} bytes at most", path.display());
            let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read as text", path.display()))?;
            anyhow::ensure!(!text.trim().is_empty(), "{} is empty", path.display());
            Some(text)
        }
        None => None,
    };
    let away = Away {
        user: arguments.user.clone(),
        starts: arguments.from.map(|day| start(day, &zone)).transpose()?,
        ends: arguments.until.map(|day| end(day, &zone)).transpose()?,
        text,
    };
    store.vacation_set(user.id, Some(away)).await?;
    let from = arguments.from.map(|day| format!(" from {day}")).unwrap_or_default();
    let until = arguments.until.map(|day| format!(" until {day}")).unwrap_or_default();
    println!("{}: who writes gets an automatic reply{from}{until}, once in seven days", arguments.user);
    Ok(Exit::Done)
}

/// Runs `copy`.
pub async fn copy(arguments: Copy, global: &Global) -> anyhow::Result<Exit> {
    let config = configuration(global)?;
    let store = store_of(&config)?;
    let zone = config.office.timezone.clone().unwrap_or_else(TimeZone::system);
    let (user, other) = (require(&store, &arguments.user).await?, require(&store, &arguments.other).await?);
    anyhow::ensure!(user.id != other.id, "{} has that mail anyway", arguments.user);
    if arguments.off {
        anyhow::ensure!(store.copy_end(user.id, other.id).await?, "{} gets no copies of what is for {}", arguments.other, arguments.user);
        println!("{} gets no more copies of what is for {}", arguments.other, arguments.user);
        return Ok(Exit::Done);
    }
    let today = jiff::Zoned::now().with_time_zone(zone.clone()).date();
    anyhow::ensure!(arguments.until.is_none_or(|until| until >= today), "the last day is over already");
    let ends = arguments.until.map(|day| end(day, &zone)).transpose()?;
    store.copy_start(user.id, other.id, ends).await?;
    let until = arguments.until.map(|day| format!(" until {day}")).unwrap_or_default();
    println!("{} gets copies of what is for {}{until}", arguments.other, arguments.user);
    Ok(Exit::Done)
}

fn start(day: Date, zone: &TimeZone) -> anyhow::Result<i64> {
    Ok(day.to_zoned(zone.clone())?.timestamp().as_millisecond())
}

/// The moment after the day.
fn end(day: Date, zone: &TimeZone) -> anyhow::Result<i64> {
    start(day.tomorrow()?, zone)
}
