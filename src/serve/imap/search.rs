//! SEARCH (RFC 9051 §6.4.4, RFC 4731, RFC 5182). What rows can tell is asked of the store, and where a text may be as well; headers and
//! bodies of what is left are looked through, page by page.

use std::collections::HashMap;

use super::Session;
use super::fetch::uids;
use super::outcome::{Done, Failure, Performed};
use super::section::Message;
use crate::imap::command::{ResultOption, Search};
use crate::imap::partial::Partial;
use crate::imap::response::Esearch;
use crate::imap::search::{Candidate, Program, Test};
use crate::imap::sequence::{Ranges, SequenceSet};
use crate::message::header::Header;
use crate::message::searched::{MAX_HEADER, Sought};
use crate::store::messages::{MessageRow, Wanted};
use crate::store::search::Filter;
use crate::store::{FolderId, Store, StoreError};

/// What a page of a day's difference may be: Date fields are compared as written, the store compares instants.
const A_DAY: i64 = 24 * 60 * 60 * 1000;

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// UIDs, ascending, or as they were sorted.
    pub uids: Vec<u32>,
    /// Their mod-sequences, if the search asked for them.
    pub modseqs: Option<Vec<u64>>,
}

impl Found {
    /// The same in another order.
    pub fn in_order(self, uids: Vec<u32>) -> Found {
        let modseqs = self.modseqs.map(|modseqs| {
            let known: HashMap<u32, u64> = self.uids.into_iter().zip(modseqs).collect();
            uids.iter().filter_map(|uid| known.get(uid).copied()).collect()
        });
        Found { uids, modseqs }
    }

    /// The highest mod-sequence of what is reported: of all messages, or of those at the ends if only they were asked for (RFC 7162 §3.1.10).
    pub fn modseq(&self, options: &[ResultOption]) -> Option<u64> {
        let modseqs = self.modseqs.as_ref()?;
        let asked = |option| options.contains(&option);
        let (min, max) = (asked(ResultOption::Min), asked(ResultOption::Max));
        if (min || max) && !asked(ResultOption::All) && !asked(ResultOption::Count) {
            let ends = modseqs.first().filter(|_| min).into_iter().chain(modseqs.last().filter(|_| max));
            return ends.max().copied();
        }
        modseqs.iter().max().copied()
    }
}

impl Session {
    pub(super) async fn search(&mut self, tag: &str, search: &Search, by_uid: bool) -> Performed {
        let saves = search.returns.as_ref().is_some_and(|options| options.contains(&ResultOption::Save));
        let found = self.find_messages(search).await;
        if saves && found.is_err() {
            self.selected()?.saved = Ranges::default();
        }
        let found = found?;
        let numbers = self.numbers(&found.uids, by_uid)?;
        let default = [ResultOption::All];
        let options = match &search.returns {
            Some(options) => options.as_slice(),
            None if self.enabled.rev2 => &default,
            None => {
                self.send_numbers("SEARCH", &numbers, found.modseq(&[])).await?;
                return Ok(Done::ok("Searched."));
            }
        };
        if saves {
            self.selected()?.saved = to_be_saved(&found.uids, options);
        }
        if options.iter().any(|option| *option != ResultOption::Save) {
            let set = |numbers: &[u32]| Ranges::from_sorted(numbers.iter().copied()).to_string();
            let line = esearch(tag, by_uid, options, &numbers, set, found.modseq(options)).to_string();
            self.send(line.as_bytes()).await?;
        }
        Ok(Done::ok("Searched."))
    }

    /// Message numbers, or UIDs as they are. Messages that the client was not told of yet are left out.
    pub(super) fn numbers(&mut self, uids: &[u32], by_uid: bool) -> Result<Vec<u32>, Failure> {
        let view = &self.selected()?.view;
        Ok(uids.iter().filter_map(|uid| view.number(*uid).map(|number| if by_uid { *uid } else { number })).collect())
    }

    /// The messages that pass.
    pub(super) async fn find_messages(&mut self, search: &Search) -> Result<Found, Failure> {
        let now = now();
        let selected = self.selected()?;
        let (view, saved) = (&selected.view, &selected.saved);
        let resolve = |set: &SequenceSet, by_uid: bool| {
            if *set == SequenceSet::Saved || by_uid {
                return view.spans(set, true, saved).unwrap_or_default();
            }
            // Numbers beyond the end find nothing.
            let numbers = set.resolve(view.exists());
            let within = numbers.as_slice().iter().filter(|(low, _)| *low <= view.exists());
            Ranges::from_pairs(within.filter_map(|(low, high)| Some((view.uid(*low)?, view.uid((*high).min(view.exists()))?))))
        };
        let program = Program::new(&search.keys, now, &Ranges::from_pairs(selected.recent.iter().copied()), &resolve);
        let last = view.last_uid();
        let whereabouts = self.whereabouts(&program, last).await?;
        let (filter, covered) = filter(&program, last, &whereabouts);
        let candidates = self.filtered(filter).await?;
        if program.modseq {
            self.enable_condstore().await?;
        } else if covered {
            return Ok(Found { uids: candidates, modseqs: None });
        }
        self.scan(&program, &whereabouts, &Ranges::from_sorted(candidates)).await
    }

    /// Which messages may hold the texts of a program.
    async fn whereabouts(&mut self, program: &Program, last: u32) -> Result<Whereabouts, Failure> {
        let store = self.store();
        let folder = self.selected()?.folder.id;
        let mut whereabouts = Whereabouts::new();
        for sought in program.sought() {
            if let Some(uids) = store.whereabouts(folder, 1..=last, &sought.text, sought.header).await? {
                whereabouts.insert(sought.text, Ranges::from_sorted(uids));
            }
        }
        Ok(whereabouts)
    }

    /// `* SEARCH` or `* SORT` with its numbers, which may be many.
    pub(super) async fn send_numbers(&mut self, name: &str, numbers: &[u32], modseq: Option<u64>) -> Result<(), Failure> {
        self.queue(&format!("* {name}"));
        for page in numbers.chunks(1000) {
            let line: String = page.iter().map(|number| format!(" {number}")).collect();
            self.send(line.as_bytes()).await?;
        }
        if let Some(modseq) = modseq {
            self.queue(&format!(" (MODSEQ {modseq})"));
        }
        self.queue("\r\n");
        Ok(())
    }

    async fn scan(&mut self, program: &Program, whereabouts: &Whereabouts, candidates: &Ranges) -> Result<Found, Failure> {
        let wanted = Wanted { header: program.header && !program.listed, fields: program.header && program.listed, ..Wanted::default() };
        let mut found = Found { uids: Vec::new(), modseqs: program.modseq.then(Vec::new) };
        let mut pages = self.pages(candidates, wanted)?;
        while let Some(rows) = pages.next().await? {
            for row in self.passing(program, whereabouts, rows).await? {
                found.uids.push(row.view.uid);
                if let Some(modseqs) = &mut found.modseqs {
                    modseqs.push(row.view.modseq);
                }
            }
        }
        Ok(found)
    }

    /// Those of the rows that pass. The bytes of those that nothing else decides are looked through.
    async fn passing(&mut self, program: &Program, whereabouts: &Whereabouts, rows: Vec<MessageRow>) -> Result<Vec<MessageRow>, Failure> {
        let mut verdicts = Vec::with_capacity(rows.len());
        let mut open = Vec::new();
        for row in &rows {
            let header = if program.header { self.header(row).await? } else { bytes::Bytes::new() };
            let known: Vec<Option<bool>> = program
                .needles
                .iter()
                .map(|needle| whereabouts.get(&needle.text).filter(|uids| !uids.contains(row.view.uid)).map(|_| false))
                .collect();
            let verdict = self.verdict(program, row, &header, &known)?;
            if verdict.is_none() {
                open.push(row.view.uid);
            }
            verdicts.push((verdict, header));
        }
        let store = self.store();
        let folder = self.selected()?.folder.id;
        let looked = look(&store, folder, &open, &program.needles).await?;
        let mut passing = Vec::new();
        for (row, (verdict, header)) in rows.into_iter().zip(verdicts) {
            let passes = match (verdict, looked.get(&row.view.uid)) {
                (Some(verdict), _) => verdict,
                (None, Some(found)) => self.verdict(program, &row, &header, found)?.unwrap_or(false),
                (None, None) => false,
            };
            if passes {
                passing.push(row);
            }
        }
        Ok(passing)
    }

    fn verdict(&mut self, program: &Program, row: &MessageRow, header: &[u8], found: &[Option<bool>]) -> Result<Option<bool>, Failure> {
        let header = program.header.then(|| Header::parse(header));
        let email_id = if program.email_ids { row.email_id() } else { String::new() };
        Ok(program.test(&Candidate {
            uid: row.view.uid,
            flags: row.view.flags,
            keywords: &self.selected()?.keyword_names(row.view.keywords),
            internal_date: row.internal_date,
            saved: row.saved,
            size: row.size,
            modseq: row.view.modseq,
            email_id: &email_id,
            header: header.as_ref(),
            found,
        }))
    }

    /// As far as it is searched.
    async fn header(&mut self, row: &MessageRow) -> Result<bytes::Bytes, Failure> {
        if let Some(header) = row.fields.as_ref().or(row.header.as_ref()) {
            return Ok(header.clone());
        }
        let store = self.store();
        let folder = self.selected()?.folder.id;
        Message::new(store, folder, row).collect(0, row.header_size.min(MAX_HEADER)).await
    }
}

/// Messages that may hold a folded text; texts that nobody can tell of are not in it.
type Whereabouts = HashMap<String, Ranges>;

/// Which of the texts are in which message. Two of the store's readers work at it, so that others find one free.
async fn look(store: &Store, folder: FolderId, uids: &[u32], sought: &[Sought]) -> Result<HashMap<u32, Vec<Option<bool>>>, StoreError> {
    let (one, other) = uids.split_at(uids.len() / 2);
    let (one, other) = tokio::try_join!(look_through(store, folder, one, sought), look_through(store, folder, other, sought))?;
    Ok(one.into_iter().chain(other).collect())
}

async fn look_through(
    store: &Store,
    folder: FolderId,
    mut uids: &[u32],
    sought: &[Sought],
) -> Result<Vec<(u32, Vec<Option<bool>>)>, StoreError> {
    let mut all = Vec::with_capacity(uids.len());
    while !uids.is_empty() {
        let mentions = store.look(folder, uids.to_vec(), sought.to_vec()).await?;
        uids = &uids[mentions.len().clamp(1, uids.len())..];
        all.extend(mentions.into_iter().map(|mentions| (mentions.uid, mentions.found.into_iter().map(Some).collect())));
    }
    Ok(all)
}

/// What the store can decide of a program, and whether that is all of it.
fn filter(program: &Program, last: u32, whereabouts: &Whereabouts) -> (Filter, bool) {
    let mut filter = Filter::default();
    let mut spans = Ranges::from_pairs([(1, last)]);
    if let Some(reach) = program.reach(&|text| whereabouts.get(text)) {
        spans = spans.intersection(&reach);
    }
    let mut covered = true;
    for test in program.tests() {
        match test {
            Test::Always(true) => {}
            Test::Always(false) => spans = Ranges::default(),
            Test::Uids(ranges) => spans = spans.intersection(ranges),
            Test::Flag { bit, set: true } => filter.set |= bit,
            Test::Flag { bit, set: false } => filter.unset |= bit,
            Test::Keyword { name, set: true } => filter.keyword.push(name.clone()),
            Test::Keyword { name, set: false } => filter.unkeyword.push(name.clone()),
            Test::Received(from, to) => narrow(&mut filter.received, *from, *to),
            Test::Saved(from, to) => narrow(&mut filter.saved, *from, *to),
            Test::Larger(size) => filter.larger = Some(filter.larger.unwrap_or(0).max(*size)),
            Test::Smaller(size) => filter.smaller = Some(filter.smaller.unwrap_or(u64::MAX).min(*size)),
            Test::ModSeq(modseq) => filter.modseq = Some(filter.modseq.unwrap_or(0).max(*modseq)),
            Test::Sent(from, to) => {
                // The store knows the instant; what was written may be a day off.
                let day = |day: &jiff::civil::Date| crate::imap::date::start_of_day(*day);
                let (from, to) = (from.as_ref().map_or(i64::MIN, day), to.as_ref().map_or(i64::MAX, day));
                narrow(&mut filter.sent, from.saturating_sub(A_DAY), to.saturating_add(A_DAY));
                covered = false;
            }
            Test::EmailId(_) | Test::Header { .. } | Test::Needle(_) | Test::Not(_) | Test::Or(_) | Test::And(_) => covered = false,
        }
    }
    filter.uids = Some(uids(&spans));
    (filter, covered)
}

fn narrow(range: &mut (Option<i64>, Option<i64>), from: i64, to: i64) {
    if from > i64::MIN {
        range.0 = Some(range.0.map_or(from, |known| known.max(from)));
    }
    if to < i64::MAX {
        range.1 = Some(range.1.map_or(to, |known| known.min(to)));
    }
}

/// The answer to what was asked. How numbers are written is the caller's: a set for SEARCH, an order for SORT.
pub fn esearch(
    tag: &str,
    by_uid: bool,
    options: &[ResultOption],
    numbers: &[u32],
    write: impl Fn(&[u32]) -> String,
    modseq: Option<u64>,
) -> Esearch {
    let asked = |option| options.contains(&option);
    Esearch {
        tag: tag.to_owned(),
        by_uid,
        min: numbers.first().copied().filter(|_| asked(ResultOption::Min)),
        max: numbers.last().copied().filter(|_| asked(ResultOption::Max)),
        count: asked(ResultOption::Count).then_some(numbers.len()),
        all: asked(ResultOption::All).then(|| write(numbers)),
        partial: partial(options).map(|partial| (partial, write(partial.of(numbers)))),
        modseq,
    }
}

fn partial(options: &[ResultOption]) -> Option<Partial> {
    options.iter().find_map(|option| if let ResultOption::Partial(partial) = option { Some(*partial) } else { None })
}

/// RFC 5182 §2.4, RFC 9394 §3.2: with MIN, MAX or PARTIAL alone, only those are saved.
pub fn to_be_saved(uids: &[u32], options: &[ResultOption]) -> Ranges {
    let asked = |option| options.contains(&option);
    let part = partial(options);
    let ends_only = (asked(ResultOption::Min) || asked(ResultOption::Max) || part.is_some())
        && !asked(ResultOption::All)
        && !asked(ResultOption::Count);
    if !ends_only {
        return Ranges::from_pairs(uids.iter().map(|uid| (*uid, *uid)));
    }
    let min = uids.first().filter(|_| asked(ResultOption::Min));
    let max = uids.last().filter(|_| asked(ResultOption::Max));
    let part = part.map_or(&[][..], |partial| partial.of(uids));
    Ranges::from_pairs(min.into_iter().chain(max).chain(part).map(|uid| (*uid, *uid)))
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
