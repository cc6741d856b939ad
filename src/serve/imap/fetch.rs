//! FETCH (RFC 9051 §6.4.5): rows by the page, bytes by the piece. ENVELOPE and the structures were rendered when the message came in.

use std::ops::RangeInclusive;

use super::Session;
use super::outcome::{Done, Failure, Performed};
use super::preview::preview;
use super::section::{FIRST, Measured, Message, Piece, listed};
use crate::imap::command::{FetchItem, FetchModifiers, Section, SectionText};
use crate::imap::response;
use crate::imap::sequence::{Ranges, SequenceSet};
use crate::imap::{date, flags};
use crate::store::messages::changing::{FlagAction, FlagChange};
use crate::store::messages::{MessageRow, Wanted};
use crate::store::search::Filter;
use crate::wire::WireError;

/// Bytes of messages that are read at once, while others are sent: to hand each of them over by itself takes longer than to read it.
const AHEAD: usize = 256 * 1024;
/// What most rows take besides the structures that they bring along.
const ROW: usize = 512;

impl Session {
    pub(super) async fn fetch(&mut self, set: &SequenceSet, items: &[FetchItem], modifiers: FetchModifiers, by_uid: bool) -> Performed {
        if modifiers.vanished && !(by_uid && self.enabled.qresync && modifiers.changed_since.is_some()) {
            return Err(Failure::Bad("VANISHED goes with UID FETCH and CHANGEDSINCE, after ENABLE QRESYNC.".into()));
        }
        if modifiers.partial.is_some() && !by_uid {
            return Err(Failure::Bad("PARTIAL goes with UID FETCH.".into()));
        }
        let mut plan = Plan::new(items, by_uid);
        if modifiers.changed_since.is_some() || plan.modseq {
            self.enable_condstore().await?;
            plan.modseq |= modifiers.changed_since.is_some();
        }
        let mut spans = self.spans(set, by_uid)?;
        // RFC 9394 §3.4: the messages of a page, and of those the ones that changed; not a page of all that changed.
        if let Some(partial) = modifiers.partial {
            let within = self.selected()?.view.within(&spans);
            spans = Ranges::from_sorted(partial.of(&within).iter().copied());
        }
        if let Some(modseq) = modifiers.changed_since {
            if modifiers.vanished {
                let asked = set.resolve(u32::MAX - 1);
                let vanished = self.vanished_since(modseq, &asked).await?;
                if !vanished.is_empty() {
                    self.send(response::vanished(&vanished, true).as_bytes()).await?;
                }
            }
            let filter = Filter { uids: Some(uids(&spans)), modseq: Some(modseq.saturating_add(1)), ..Filter::default() };
            spans = Ranges::from_sorted(self.filtered(filter).await?);
        }
        let mut expected = self.selected()?.view.count(&spans);
        let mut gone = false;
        let mut pages = self.pages(&spans, plan.wanted)?;
        while let Some(mut rows) = pages.next().await? {
            let newly_seen = if plan.sets_seen { self.mark_seen(&mut rows).await? } else { Vec::new() };
            expected = expected.saturating_sub(rows.len());
            gone |= !self.fetch_rows(&rows, &plan, &newly_seen).await?;
        }
        if !by_uid && (gone || expected > 0) {
            return Err(Failure::no("EXPUNGEISSUED", "Some of these messages no longer exist."));
        }
        Ok(Done::ok("Fetched."))
    }

    /// The UIDs that a set names.
    pub(super) fn spans(&mut self, set: &SequenceSet, by_uid: bool) -> Result<Ranges, Failure> {
        let selected = self.selected()?;
        selected.view.spans(set, by_uid, &selected.saved).map_err(|_| Failure::Bad("There is no message with such a number.".into()))
    }

    /// Fetching a body reads it. Returns the UIDs that were not seen before, ascending.
    async fn mark_seen(&mut self, rows: &mut [MessageRow]) -> Result<Vec<u32>, Failure> {
        let store = self.store();
        let selected = self.selected()?;
        let unseen: Vec<u32> = rows.iter().filter(|row| row.view.flags & flags::SEEN == 0).map(|row| row.view.uid).collect();
        if selected.read_only || unseen.is_empty() {
            return Ok(Vec::new());
        }
        let change = FlagChange { action: FlagAction::Add, flags: flags::SEEN, keywords: Vec::new(), unchanged_since: None };
        let flagged = store.flag(selected.folder.id, uids(&Ranges::from_sorted(unseen.iter().copied())), change).await?;
        selected.folder.keywords = flagged.folder.keywords;
        selected.dirty = true;
        for row in rows {
            if let Ok(at) = flagged.rows.binary_search_by_key(&row.view.uid, |now| now.uid) {
                row.view = flagged.rows[at];
            }
        }
        // Somebody else may have made keywords that these rows have.
        let selected = self.selected()?;
        if selected.keywords_told != selected.folder.keywords {
            self.queue_flags();
        }
        Ok(unseen)
    }

    /// A page of messages; the bytes of the next ones are read while some are sent. False if somebody removed some of them a moment ago.
    async fn fetch_rows(&mut self, rows: &[MessageRow], plan: &Plan<'_>, newly_seen: &[u32]) -> Result<bool, Failure> {
        let (store, folder) = (self.store(), self.selected()?.folder.id);
        let seen_now = |row: &MessageRow| newly_seen.binary_search(&row.view.uid).is_ok();
        if !plan.reads_bytes {
            for row in rows {
                Box::pin(self.fetch_row(Message::new(store.clone(), folder, row), plan, seen_now(row))).await?;
            }
            return Ok(true);
        }
        let open = |rows: &[MessageRow]| {
            let uids: Vec<u32> = rows.iter().map(|row| row.view.uid).collect();
            (!uids.is_empty()).then(|| store.messages(folder, uids, FIRST, AHEAD))
        };
        let (mut rest, mut all) = (rows, true);
        let mut underway = open(rest);
        while let Some(opening) = underway.take() {
            let opened = opening.await?;
            let (now, later) = rest.split_at(opened.len());
            (rest, underway) = (later, open(later));
            for (row, opened) in now.iter().zip(opened) {
                // Once the length of a literal is out, its bytes have to come.
                let Some(opened) = opened else {
                    all = false;
                    continue;
                };
                let message = Message::new(store.clone(), folder, row).opened_as(opened);
                Box::pin(self.fetch_row(message, plan, seen_now(row))).await?;
            }
        }
        Ok(all)
    }

    async fn fetch_row(&mut self, mut message: Message<'_>, plan: &Plan<'_>, seen_now: bool) -> Result<(), Failure> {
        let row = message.row();
        let rev2 = self.enabled.rev2;
        let (condstore, uid_only) = (self.enabled.condstore, self.enabled.uid_only);
        let selected = self.selected()?;
        let Some(number) = selected.view.number(row.view.uid) else { return Ok(()) };
        let recent = selected.is_recent(row.view.uid) && !rev2;
        let shown = selected.changed(&row.view);
        // What may be refused is asked for while nothing of the row is out.
        let mut measured = Vec::new();
        for item in plan.items {
            if let FetchItem::Binary { part, .. } | FetchItem::BinarySize { part } = item {
                measured.push(message.measure(part).await?);
            }
        }
        let mut measured = measured.into_iter();
        let mut begun = false;
        let mut out = Vec::with_capacity(ROW + row.envelope.len() + row.bodystructure.len() + row.body.len());
        out.extend_from_slice(self.fetch_start(number, row.view.uid).as_bytes());
        let mut first = true;
        let mut text = |out: &mut Vec<u8>, text: &str| {
            if !std::mem::take(&mut first) {
                out.push(b' ');
            }
            out.extend_from_slice(text.as_bytes());
        };
        if plan.adds_uid && !uid_only {
            text(&mut out, &format!("UID {}", row.view.uid));
        }
        if plan.adds_modseq() {
            text(&mut out, &format!("MODSEQ ({})", row.view.modseq));
        }
        if seen_now && !plan.has_flags {
            text(&mut out, &format!("FLAGS ({})", flags::render(shown.flags, &shown.keywords, recent)));
        }
        // RFC 7162 §3.2.4: with every change of flags, also that of a FETCH.
        if seen_now && condstore {
            if !plan.modseq {
                text(&mut out, &format!("MODSEQ ({})", row.view.modseq));
            }
            if !plan.has_uid && !uid_only {
                text(&mut out, &format!("UID {}", row.view.uid));
            }
        }
        for item in plan.items {
            // A piece that went out took with it what was rendered before.
            begun |= out.is_empty();
            match item {
                FetchItem::Flags => text(&mut out, &format!("FLAGS ({})", flags::render(shown.flags, &shown.keywords, recent))),
                FetchItem::Uid => text(&mut out, &format!("UID {}", row.view.uid)),
                FetchItem::InternalDate => text(&mut out, &format!("INTERNALDATE \"{}\"", date::render(row.internal_date))),
                FetchItem::SaveDate => text(&mut out, &format!("SAVEDATE \"{}\"", date::render(row.saved))),
                FetchItem::Size => text(&mut out, &format!("RFC822.SIZE {}", row.size)),
                FetchItem::ModSeq => text(&mut out, &format!("MODSEQ ({})", row.view.modseq)),
                FetchItem::EmailId => text(&mut out, &format!("EMAILID ({})", row.email_id())),
                FetchItem::ThreadId => text(&mut out, "THREADID NIL"),
                FetchItem::Preview => {
                    text(&mut out, "PREVIEW ");
                    let shown = preview(&mut message).await.map_err(|failure| or_hang_up(begun, failure))?;
                    response::string(&mut out, shown.as_bytes());
                }
                FetchItem::Envelope => {
                    text(&mut out, "ENVELOPE ");
                    out.extend_from_slice(&row.envelope);
                }
                FetchItem::BodyStructure => {
                    text(&mut out, "BODYSTRUCTURE ");
                    out.extend_from_slice(&row.bodystructure);
                }
                FetchItem::Body => {
                    text(&mut out, "BODY ");
                    out.extend_from_slice(&row.body);
                }
                FetchItem::Section { section, partial, .. } => {
                    text(&mut out, &format!("BODY[{}]", response::section(section)));
                    if let Some((offset, _)) = partial {
                        out.extend_from_slice(format!("<{offset}>").as_bytes());
                    }
                    out.push(b' ');
                    self.section(&mut out, &mut message, section, *partial).await.map_err(|failure| or_hang_up(begun, failure))?;
                }
                FetchItem::Rfc822 { section, .. } => {
                    text(
                        &mut out,
                        match section.text {
                            SectionText::Header => "RFC822.HEADER ",
                            SectionText::Text => "RFC822.TEXT ",
                            _ => "RFC822 ",
                        },
                    );
                    self.section(&mut out, &mut message, section, None).await.map_err(|failure| or_hang_up(begun, failure))?;
                }
                FetchItem::Binary { part, partial, .. } => {
                    let number = part.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
                    text(&mut out, &format!("BINARY[{number}]"));
                    if let Some((offset, _)) = partial {
                        out.extend_from_slice(format!("<{offset}>").as_bytes());
                    }
                    out.push(b' ');
                    let measured = measured.next().flatten();
                    self.binary(&mut out, &mut message, part, measured, *partial).await.map_err(|failure| or_hang_up(begun, failure))?;
                }
                FetchItem::BinarySize { part } => {
                    let number = part.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
                    let size = measured.next().flatten().map_or(0, |measured| measured.length);
                    text(&mut out, &format!("BINARY.SIZE[{number}] {size}"));
                }
            }
        }
        out.extend_from_slice(b")\r\n");
        self.send(&out).await?;
        if seen_now {
            self.selected()?.told.insert((row.view.uid, row.view.modseq));
        }
        Ok(())
    }

    /// A part without its transfer encoding: `literal8` if it holds NUL (RFC 3516 §4.2). Read twice, since its length comes first:
    /// `measured` is what the first time gave.
    async fn binary(
        &mut self,
        out: &mut Vec<u8>,
        message: &mut Message<'_>,
        part: &[u32],
        measured: Option<Measured>,
        partial: Option<(u64, u64)>,
    ) -> Result<(), Failure> {
        let Some(measured) = measured else {
            out.extend_from_slice(b"NIL");
            return Ok(());
        };
        let (mut skip, most) = partial.unwrap_or((0, u64::MAX));
        let mut left = measured.length.saturating_sub(skip).min(most);
        if measured.has_nul {
            out.push(b'~');
        }
        response::literal_start(out, left);
        let mut decoding = message.decoding(part).await?.ok_or(WireError::Closed)?;
        while left > 0 {
            // As with sections: the length is out.
            let piece = decoding.next(message).await.ok().flatten().ok_or(WireError::Closed)?;
            let piece = cut(&piece, Some((skip, left)));
            skip = skip.saturating_sub(decoding.given());
            left -= piece.len() as u64;
            self.send(out).await?;
            out.clear();
            self.pass(piece).await?;
        }
        Ok(())
    }

    /// `nstring` with what a section holds. What is long goes out in pieces, `out` before it.
    async fn section(
        &mut self,
        out: &mut Vec<u8>,
        message: &mut Message<'_>,
        section: &Section,
        partial: Option<(u64, u64)>,
    ) -> Result<(), Failure> {
        match message.section(section).await? {
            Piece::Nil => out.extend_from_slice(b"NIL"),
            Piece::Bytes(bytes) => response::literal(out, cut(&bytes, partial)),
            Piece::Range(start, length) => {
                let (skip, most) = partial.unwrap_or((0, u64::MAX));
                let (start, length) = (start.saturating_add(skip), length.saturating_sub(skip).min(most));
                message.open().await?;
                response::literal_start(out, length);
                let (mut at, end) = (start, start.saturating_add(length));
                let mut underway = (at < end).then(|| message.reading(at, end - at));
                while let Some(reading) = underway.take() {
                    // The length is out: the only honest way to say that the rest can't be had is to hang up.
                    let piece = reading.await.ok().filter(|piece| !piece.is_empty()).ok_or(WireError::Closed)?;
                    at += piece.len() as u64;
                    underway = (at < end).then(|| message.reading(at, end - at));
                    self.send(out).await?;
                    out.clear();
                    self.pass(&piece).await?;
                }
            }
        }
        Ok(())
    }
}

/// Behind half of a row no answer can be read: the only honest way to say that the rest can't be had is to hang up.
fn or_hang_up(begun: bool, failure: Failure) -> Failure {
    match failure {
        Failure::No { .. } | Failure::Bad(_) | Failure::Bye(_) if begun => Failure::Wire(WireError::Closed),
        failure => failure,
    }
}

/// `<offset.length>` of bytes; beyond the end there is nothing.
fn cut(bytes: &[u8], partial: Option<(u64, u64)>) -> &[u8] {
    let Some((offset, length)) = partial else { return bytes };
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
    &bytes[start..end]
}

/// Ranges as the store takes them.
pub fn uids(ranges: &Ranges) -> Vec<RangeInclusive<u32>> {
    ranges.as_slice().iter().map(|(low, high)| *low..=*high).collect()
}

/// Items, and what they take.
struct Plan<'a> {
    items: &'a [FetchItem],
    wanted: Wanted,
    adds_uid: bool,
    /// Asked for or added.
    has_uid: bool,
    has_flags: bool,
    modseq: bool,
    asks_modseq: bool,
    sets_seen: bool,
    /// More than a row of the store has.
    reads_bytes: bool,
}

impl<'a> Plan<'a> {
    fn new(items: &'a [FetchItem], by_uid: bool) -> Plan<'a> {
        let has = |wanted: &FetchItem| items.contains(wanted);
        let header = |section: &Section| section.part.is_empty() && matches!(section.text, SectionText::Header | SectionText::Fields(_));
        let listed = |section: &Section| section.part.is_empty() && listed(&section.text);
        let any = |asks: &dyn Fn(&Section) -> bool| {
            items.iter().any(|item| match item {
                FetchItem::Section { section, .. } | FetchItem::Rfc822 { section, .. } => asks(section),
                _ => false,
            })
        };
        Plan {
            items,
            wanted: Wanted {
                envelope: has(&FetchItem::Envelope),
                bodystructure: has(&FetchItem::BodyStructure),
                body: has(&FetchItem::Body),
                sort: false,
                header: any(&|section| header(section) && !listed(section)),
                fields: any(&listed),
            },
            adds_uid: by_uid && !has(&FetchItem::Uid),
            has_uid: by_uid || has(&FetchItem::Uid),
            has_flags: has(&FetchItem::Flags),
            modseq: has(&FetchItem::ModSeq),
            asks_modseq: has(&FetchItem::ModSeq),
            sets_seen: items.iter().any(FetchItem::sets_seen),
            reads_bytes: items.iter().any(|item| match item {
                FetchItem::Section { section, .. } | FetchItem::Rfc822 { section, .. } => !header(section),
                FetchItem::Binary { .. } | FetchItem::BinarySize { .. } | FetchItem::Preview => true,
                _ => false,
            }),
        }
    }

    /// CHANGEDSINCE implies it (RFC 7162 §3.1.4.1).
    fn adds_modseq(&self) -> bool {
        self.modseq && !self.asks_modseq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_bytes() {
        let check = |partial, expected: &[u8]| assert_eq!(cut(b"0123456789", partial), expected);
        check(None, b"0123456789");
        check(Some((2, 3)), b"234");
        check(Some((8, 100)), b"89");
        check(Some((10, 1)), b"");
        check(Some((u64::MAX, u64::MAX)), b"");
    }
}
