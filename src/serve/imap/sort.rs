//! SORT and THREAD (RFC 5256, RFC 5267's ESORT): what is compared was computed when the messages were stored.

use super::Session;
use super::outcome::{Done, Failure, Performed};
use super::search::{esearch, to_be_saved};
use crate::imap::command::{ResultOption, Search, SortCriterion, ThreadAlgorithm};
use crate::imap::response;
use crate::imap::sequence::Ranges;
use crate::imap::sort::{SortRow, sort};
use crate::imap::thread::{ThreadRow, thread};
use crate::message::header::Header;
use crate::message::subject::is_reply;
use crate::store::messages::{MessageRow, Wanted};

impl Session {
    pub(super) async fn sort(&mut self, tag: &str, search: &Search, criteria: &[SortCriterion], by_uid: bool) -> Performed {
        let saves = search.returns.as_ref().is_some_and(|options| options.contains(&ResultOption::Save));
        let found = self.find_messages(search).await;
        if saves && found.is_err() {
            self.selected()?.saved = Ranges::default();
        }
        let found = found?;
        let mut rows = Vec::with_capacity(found.uids.len());
        self.each_row(&found.uids, Wanted { sort: true, ..Wanted::default() }, |row| rows.push(sort_row(row))).await?;
        sort(&mut rows, criteria);
        let sorted: Vec<u32> = rows.iter().map(|row| row.uid).collect();
        let numbers = self.numbers(&sorted, by_uid)?;
        let found = found.in_order(sorted);
        if let Some(options) = &search.returns {
            if saves {
                self.selected()?.saved = to_be_saved(&found.uids, options);
            }
            if options.iter().any(|option| *option != ResultOption::Save) {
                let line = esearch(tag, by_uid, options, &numbers, response::ordered_set, found.modseq(options)).to_string();
                self.send(line.as_bytes()).await?;
            }
            return Ok(Done::ok("Sorted."));
        }
        self.send_numbers("SORT", &numbers, found.modseq(&[])).await?;
        Ok(Done::ok("Sorted."))
    }

    pub(super) async fn thread(&mut self, search: &Search, algorithm: ThreadAlgorithm, by_uid: bool) -> Performed {
        let found = self.find_messages(search).await?;
        let mut rows = Vec::with_capacity(found.uids.len());
        let wanted = Wanted { sort: true, fields: algorithm == ThreadAlgorithm::References, ..Wanted::default() };
        self.each_row(&found.uids, wanted, |row| rows.push(thread_row(row))).await?;
        let view = &self.selected()?.view;
        rows.retain_mut(|row| {
            let number = view.number(row.number);
            row.number = if by_uid { row.number } else { number.unwrap_or(0) };
            number.is_some()
        });
        let threads = thread(&rows, algorithm);
        let space = if threads.is_empty() { "" } else { " " };
        self.send(format!("* THREAD{space}{threads}\r\n").as_bytes()).await?;
        Ok(Done::ok("Put together."))
    }

    /// The rows of these messages, page by page.
    async fn each_row(&mut self, uids: &[u32], wanted: Wanted, mut take: impl FnMut(&MessageRow)) -> Result<(), Failure> {
        let mut pages = self.pages(&Ranges::from_sorted(uids.iter().copied()), wanted)?;
        while let Some(rows) = pages.next().await? {
            rows.iter().for_each(&mut take);
        }
        Ok(())
    }
}

fn sort_row(row: &MessageRow) -> SortRow {
    let keys = row.sort.as_deref().cloned();
    let Some(keys) = keys else { return SortRow { uid: row.view.uid, ..SortRow::default() } };
    SortRow {
        uid: row.view.uid,
        arrival: row.internal_date,
        date: keys.date,
        size: row.size,
        subject: keys.subject,
        from: keys.from,
        to: keys.to,
        cc: keys.cc,
        display_from: keys.display_from,
        display_to: keys.display_to,
    }
}

/// The UID stands for the number until the view is asked.
fn thread_row(row: &MessageRow) -> ThreadRow {
    let keys = row.sort.as_deref();
    let subject = keys.map_or_else(String::new, |keys| keys.subject.clone());
    let written = row.fields.as_ref().or(row.header.as_ref()).and_then(|header| Header::parse(header).text("subject"));
    ThreadRow {
        number: row.view.uid,
        message_id: row.message_id.clone(),
        references: keys.map_or_else(Vec::new, |keys| keys.references.clone()),
        reply: written.is_some_and(|written| is_reply(&written)),
        subject,
        date: keys.map_or(row.internal_date, |keys| keys.date),
    }
}
