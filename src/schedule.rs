//! When is the next fetch or retry due. Pure: the time and the jitter come in as arguments.

use jiff::Zoned;
use std::time::Duration;

/// `every 5m` or a cron expression with five fields.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// A fixed interval.
    Every(Duration),
    /// Minute, hour, day of month, month, day of week.
    Cron(Box<croner::Cron>),
}

impl Schedule {
    /// Parses `every DURATION` or a cron expression; refuses one that never comes (31 February).
    pub fn parse(text: &str) -> Result<Self, String> {
        todo!("{text}")
    }
    /// The first due time after `last` (the last run's start) and not before `now`: a gap of missed runs yields one run at once.
    pub fn next(&self, last: Option<&Zoned>, now: &Zoned) -> Option<Zoned> {
        todo!("{last:?} {now}")
    }
}
