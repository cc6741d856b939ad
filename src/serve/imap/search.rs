//! SEARCH (RFC 9051 §6.4.4, RFC 4731, RFC 5182). What rows can tell is asked of the store; headers and bodies are scanned, page by page.

use super::Session;
use super::fetch::{Pages, uids};
use super::outcome::{Done, Failure, Performed};
use super::section::Message;
use crate::imap::command::{ResultOption, Search};
use crate::imap::partial::Partial;
use crate::imap::response::Esearch;
use crate::imap::search::{Candidate, Needle, Program, Test, fold};
use crate::imap::sequence::{Ranges, SequenceSet};
use crate::message::content_type::MediaType;
use crate::message::header::Header;
use crate::message::layout::Kind;
use crate::message::{text, transfer, words};
use crate::store::messages::{MessageRow, Wanted};
use crate::store::search::Filter;

/// Messages between two looks at the store.
const PAGE: usize = 128;
/// Of one text part that is searched. Deviation: what stands behind it is not found; nobody wrote so much by hand.
const MAX_SEARCHED_PART: u64 = 8 * 1024 * 1024;
/// Of one header that is searched.
const MAX_SEARCHED_HEADER: u64 = 256 * 1024;
/// What a page of a day's difference may be: Date fields are compared as written, the store compares instants.
const A_DAY: i64 = 24 * 60 * 60 * 1000;

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// UIDs, ascending.
    pub uids: Vec<u32>,
    /// Their mod-sequences, if the search asked for them.
    pub modseqs: Option<Vec<u64>>,
}

impl Found {
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
        let (filter, covered) = filter(&program, last);
        let candidates = self.filtered(filter).await?;
        if program.modseq {
            self.enable_condstore().await?;
        } else if covered {
            return Ok(Found { uids: candidates, modseqs: None });
        }
        self.scan(&program, &Ranges::from_sorted(candidates)).await
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

    async fn scan(&mut self, program: &Program, candidates: &Ranges) -> Result<Found, Failure> {
        let wanted = Wanted { header: program.header, ..Wanted::default() };
        let mut found = Found { uids: Vec::new(), modseqs: program.modseq.then(Vec::new) };
        let mut pages = Pages::new(candidates);
        while !pages.rest().is_empty() {
            let store = self.store();
            let folder = self.selected()?.folder.id;
            let rows = store.rows(folder, pages.rest(), wanted, PAGE).await?;
            pages.go_behind(rows.last().filter(|_| rows.len() == PAGE).map(|row| row.view.uid));
            for row in &rows {
                if Box::pin(self.passes(program, row)).await? {
                    found.uids.push(row.view.uid);
                    if let Some(modseqs) = &mut found.modseqs {
                        modseqs.push(row.view.modseq);
                    }
                }
            }
        }
        Ok(found)
    }

    async fn passes(&mut self, program: &Program, row: &MessageRow) -> Result<bool, Failure> {
        let store = self.store();
        let selected = self.selected()?;
        let mut message = Message::new(store, selected.folder.id, row);
        let keywords = selected.keyword_names(row.view.keywords);
        let bytes = match (&row.header, program.header) {
            (Some(header), true) => header.clone(),
            (None, true) => message.collect(0, row.header_size.min(MAX_SEARCHED_HEADER)).await?,
            (_, false) => bytes::Bytes::new(),
        };
        let header = program.header.then(|| Header::parse(&bytes));
        let mut candidate = Candidate {
            uid: row.view.uid,
            flags: row.view.flags,
            keywords: &keywords,
            internal_date: row.internal_date,
            saved: row.saved,
            size: row.size,
            modseq: row.view.modseq,
            email_id: &row.email_id,
            header: header.as_ref(),
            found: None,
        };
        if let Some(decided) = program.test(&candidate) {
            return Ok(decided);
        }
        let found = look(&mut message, row, &program.needles).await?;
        candidate.found = Some(&found);
        Ok(program.test(&candidate).unwrap_or(false))
    }
}

/// Which needles are in the text parts (and, for TEXT, in the headers) of a message, transfer encodings and charsets taken off.
/// Deviation: of HTML only the words count, not its tags: people look for what they read.
async fn look(message: &mut Message<'_>, row: &MessageRow, needles: &[Needle]) -> Result<Vec<bool>, Failure> {
    let mut found = vec![false; needles.len()];
    let mut note = |text: &str, is_header: bool| {
        let text = fold(text);
        for (needle, found) in needles.iter().zip(&mut found) {
            *found |= (needle.header || !is_header) && text.contains(&needle.text);
        }
        found.iter().all(|found| *found)
    };
    let prefix = u64::from(row.prefix_size);
    let places = message.layout().await?.places().to_vec();
    for (at, place) in places.iter().enumerate() {
        let start = if at == 0 { 0 } else { prefix + place.start };
        let header = message.collect(start, (prefix + place.body).saturating_sub(start).min(MAX_SEARCHED_HEADER)).await?;
        let header = Header::parse(&header);
        let fields = header.fields().iter().map(|field| format!("{}: {}", words::lossless(field.name), field.text()));
        let of_message = at == 0;
        if note(&fields.collect::<Vec<_>>().join("\n"), of_message) {
            break;
        }
        if place.kind != Kind::Leaf {
            continue;
        }
        let media = header.first("content-type").and_then(|field| MediaType::parse(field.value)).unwrap_or_else(MediaType::plain_text);
        if !media.main.eq_ignore_ascii_case(b"text") {
            continue;
        }
        let body = message.collect(prefix + place.body, (place.end - place.body).min(MAX_SEARCHED_PART)).await?;
        let text = text::readable(&media, &transfer::decode(place.encoding, &body));
        if note(&text, false) {
            break;
        }
    }
    Ok(found)
}

/// What the store can decide of a program, and whether that is all of it.
fn filter(program: &Program, last: u32) -> (Filter, bool) {
    let mut filter = Filter::default();
    let mut spans = Ranges::from_pairs([(1, last)]);
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
fn to_be_saved(uids: &[u32], options: &[ResultOption]) -> Ranges {
    let asked = |option| options.contains(&option);
    let part = partial(options);
    let ends_only = (asked(ResultOption::Min) || asked(ResultOption::Max) || part.is_some())
        && !asked(ResultOption::All)
        && !asked(ResultOption::Count);
    if !ends_only {
        return Ranges::from_sorted(uids.iter().copied());
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
