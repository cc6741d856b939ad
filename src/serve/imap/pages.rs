//! The rows of many messages, page by page: one is read while another is used.

use std::ops::RangeInclusive;
use std::pin::Pin;

use super::Session;
use super::fetch::uids;
use super::outcome::Failure;
use crate::imap::sequence::Ranges;
use crate::store::messages::{MessageRow, Wanted};
use crate::store::{FolderId, Store, StoreError};

/// Rows of one query: enough that the query's own cost vanishes, few enough to stand in memory.
const PAGE: usize = 256;
/// Headers are up to 64 KB each.
const PAGE_WITH_HEADERS: usize = 32;
/// Of messages that were stored before fields were kept apart, and of odd ones, this many headers come along instead.
const PAGE_WITH_FIELDS: usize = 128;

/// See above.
pub struct Pages {
    store: Store,
    folder: FolderId,
    wanted: Wanted,
    left: Left,
    underway: Option<Reading>,
}

type Reading = Pin<Box<dyn Future<Output = Result<Vec<MessageRow>, StoreError>> + Send>>;

impl Session {
    /// The rows of these messages of the open mailbox. The first page is read from now on.
    pub(super) fn pages(&mut self, spans: &Ranges, wanted: Wanted) -> Result<Pages, Failure> {
        let (store, folder) = (self.store(), self.selected()?.folder.id);
        let mut pages = Pages { store, folder, wanted, left: Left { ranges: uids(spans), at: 0 }, underway: None };
        pages.read_ahead();
        Ok(pages)
    }
}

impl Pages {
    /// The next page; `None` behind the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<MessageRow>>, StoreError> {
        let Some(reading) = self.underway.take() else { return Ok(None) };
        let rows = reading.await?;
        self.left.go_behind(rows.last().filter(|_| rows.len() == limit(self.wanted)).map(|row| row.view.uid));
        self.read_ahead();
        Ok(Some(rows))
    }

    fn read_ahead(&mut self) {
        if !self.left.rest().is_empty() {
            self.underway = Some(Box::pin(self.store.rows(self.folder, self.left.rest(), self.wanted, limit(self.wanted))));
        }
    }
}

/// Rows that stand in memory at a time; while one page is used and another is read, twice that.
fn limit(wanted: Wanted) -> usize {
    match wanted {
        Wanted { header: true, .. } => PAGE_WITH_HEADERS,
        Wanted { fields: true, .. } => PAGE_WITH_FIELDS,
        _ => PAGE,
    }
}

/// What has not been read.
struct Left {
    ranges: Vec<RangeInclusive<u32>>,
    at: usize,
}

impl Left {
    fn rest(&self) -> &[RangeInclusive<u32>] {
        &self.ranges[self.at..]
    }

    /// Everything up to `uid` was read; `None`: everything.
    fn go_behind(&mut self, uid: Option<u32>) {
        let Some(uid) = uid else {
            self.at = self.ranges.len();
            return;
        };
        while let Some(range) = self.ranges.get_mut(self.at) {
            if *range.end() > uid {
                let start = (*range.start()).max(uid.saturating_add(1));
                *range = start..=*range.end();
                return;
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_by_page() {
        let mut left = Left { ranges: uids(&Ranges::from_pairs([(1, 5), (9, 9), (12, 20)])), at: 0 };
        left.go_behind(Some(3));
        assert_eq!(left.rest(), [4..=5, 9..=9, 12..=20]);
        left.go_behind(Some(9));
        assert_eq!(left.rest(), [12..=20]);
        left.go_behind(Some(20));
        assert!(left.rest().is_empty());
        left.go_behind(None);
        assert!(left.rest().is_empty());
    }
}
