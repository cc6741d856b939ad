//! What a fetch does with a mailbox that was never fetched, in words for its owner: before it begins, and when it has.

use crate::config::{After, Collector, Start};
use std::time::Duration;

/// What a first fetch will do with a mailbox, in a sentence for its owner.
pub fn intention(collector: &Collector) -> String {
    let which = match &collector.start {
        Start::All => "All of its mail is fetched".to_owned(),
        Start::New => "Mail that is there now is left alone, what comes from now on is fetched".to_owned(),
        Start::Age(age) => format!("Mail of the last {} days is fetched", age.as_secs().div_ceil(86_400)),
        Start::Date(date) => format!("Mail since {date} is fetched"),
    };
    format!("{which}; {}.", fate(&collector.after))
}

/// What a first fetch found and does, for its owner.
pub(super) fn notice(collector: &Collector, folder: &str, there: usize, old: usize) -> String {
    let fetched = match old {
        0 => format!("{there} messages are there, all are fetched"),
        _ => format!("{there} messages are there; {old} of them stay as they are (start), {} are fetched", there - old),
    };
    format!("{} (first fetch of {folder}): {fetched}; {}", collector.name, fate(&collector.after))
}

fn fate(after: &After) -> String {
    let days = |age: &Duration| age.as_secs() / 86_400;
    match after {
        After::Delete => "each is deleted at the provider as soon as it is stored here".to_owned(),
        After::Keep => "nothing is deleted at the provider".to_owned(),
        After::Age(age) if days(age) == 0 => {
            format!("each is deleted at the provider {} hours after it was stored here", age.as_secs() / 3600)
        }
        After::Age(age) => format!("each is deleted at the provider {} days after it was stored here", days(age)),
        After::Seen => "each is marked as read at the provider".to_owned(),
        After::Move(to) => format!("each is moved to the folder {to} at the provider"),
    }
}
