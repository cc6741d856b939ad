//! What the ISP wrote into the header when it put the message into the mailbox: envelope recipients, recognised by name *and place*.

use super::trust::Trusted;
use super::{Case, MAX_RECIPIENTS, shown};
use crate::address::{Address, Domain};
use crate::config::{Anchor, EnvelopeHabit};
use crate::message::address_list;
use crate::message::header::{Field, Header};

/// Headers that carry the envelope recipient, before aliases were followed; the most reliable first.
pub(super) const NAMES: [&str; 9] = [
    "X-Original-To",
    "Envelope-To",
    "X-Envelope-To",
    "X-Delivered-To",
    "X-Real-To",
    "X-Apparently-To",
    "Original-Recipient",
    "X-RCPT-TO",
    "X-MMDF-To",
];
/// Written after aliases were followed: often the name of a mailbox, not of a person.
const MAILBOX: &str = "Delivered-To";
/// Words that stand before an address in `Delivered-To`.
const BEFORE_RECIPIENT: &[&str] = &["GMX delivery to "];
/// Of one value this much is read: fifty addresses of usual length.
const MAX_VALUE: usize = 4000;

/// A header that names addresses of ours.
#[derive(Debug)]
pub(super) struct Evidence {
    /// As found: `Envelope-To: sales@example.com`.
    pub(super) text: String,
    pub(super) addresses: Vec<Address>,
    /// More addresses than [`MAX_RECIPIENTS`] stand there.
    pub(super) cut: bool,
}

/// What the envelope stage comes to.
pub(super) enum Envelope {
    Found(Evidence),
    /// Why not, in words; and the header that was looked at, if one was.
    Nothing {
        evidence: String,
        reason: String,
    },
    /// A pinned header is missing or names none of ours: nothing else may be tried.
    Hold {
        evidence: String,
        reason: String,
    },
}

pub(super) fn envelope(case: &Case<'_>) -> Envelope {
    let header = case.mail.header;
    let trusted = Trusted::of(header);
    if let Some(pinned) = case.source.pinned {
        return by_pinned(case, pinned, &trusted);
    }
    // A header that was there, but named nobody of ours.
    let mut seen = None;
    let mut look = |found: Option<Evidence>| match found {
        Some(evidence) if !evidence.addresses.is_empty() => Some(evidence),
        Some(evidence) => {
            seen.get_or_insert(evidence.text);
            None
        }
        None => None,
    };
    for habit in case.source.habits {
        if let Some(evidence) = look(by_habit(case, habit, &trusted)) {
            return Envelope::Found(evidence);
        }
    }
    let run = || &header.fields()[..trusted.end(header)];
    for name in NAMES {
        if let Some(evidence) = look(first_of_ours(case, run().iter().filter(|field| field.is(name)), Kind::Recipient, "")) {
            return Envelope::Found(evidence);
        }
    }
    if let Some(evidence) = look(received_for(case, &trusted)) {
        return Envelope::Found(evidence);
    }
    if let Some(evidence) = look(first_of_ours(case, run().iter().filter(|field| field.is(MAILBOX)), Kind::Mailbox, "")) {
        return Envelope::Found(evidence);
    }
    match seen {
        Some(evidence) => Envelope::Nothing { evidence, reason: "names no address of yours but perhaps the mailbox itself".to_owned() },
        None => Envelope::Nothing { evidence: String::new(), reason: "the provider gives no envelope header".to_owned() },
    }
}

fn by_pinned(case: &Case<'_>, pinned: &EnvelopeHabit, trusted: &Trusted) -> Envelope {
    match by_habit(case, pinned, trusted) {
        Some(evidence) if !evidence.addresses.is_empty() => Envelope::Found(evidence),
        Some(evidence) => {
            Envelope::Hold { reason: format!("the pinned header {} names no address of yours", pinned.header), evidence: evidence.text }
        }
        None => Envelope::Hold { evidence: String::new(), reason: format!("the pinned header {} is missing", pinned.header) },
    }
}

/// The header of a habit, at its place.
pub(super) fn by_habit(case: &Case<'_>, habit: &EnvelopeHabit, trusted: &Trusted) -> Option<Evidence> {
    let header = case.mail.header;
    let kind = match habit.header.eq_ignore_ascii_case(MAILBOX) {
        true => Kind::Mailbox,
        false => Kind::Recipient,
    };
    if habit.header.eq_ignore_ascii_case("Received") {
        return received_for(case, trusted);
    }
    let named = |fields: std::ops::Range<usize>| header.fields()[fields].iter().filter(|field| field.is(&habit.header));
    match habit.anchor {
        Anchor::Top => first_of_ours(case, named(0..trusted.top(header)).skip(habit.skip), kind, &habit.strip_prefix),
        Anchor::Run => first_of_ours(case, named(0..trusted.end(header)).skip(habit.skip), kind, &habit.strip_prefix),
        Anchor::Last => first_of_ours(case, header.all(&habit.header).rev().skip(habit.skip).take(1), kind, &habit.strip_prefix),
    }
}

/// What a header's value is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The envelope recipient.
    Recipient,
    /// Perhaps only the name of the mailbox.
    Mailbox,
}

/// The first of these fields that names an address of ours. If none does, the first that is there, without addresses.
fn first_of_ours<'f, 'h: 'f>(
    case: &Case<'_>,
    fields: impl Iterator<Item = &'f Field<'h>>,
    kind: Kind,
    strip_prefix: &str,
) -> Option<Evidence> {
    let evidences = fields.map(|field| {
        let value = field.unfolded();
        let mut evidence = ours(case, shown(field), values(case, &value, strip_prefix), kind);
        evidence.cut |= value.len() > MAX_VALUE;
        evidence
    });
    best(case, evidences, kind)
}

/// The first that names an address of ours. Where that may be a mailbox only, a later one in the run that names somebody is the better
/// one: qmail writes the catch-all's name above the person's. If none names one of ours, the first that is there, without addresses.
fn best(case: &Case<'_>, evidences: impl Iterator<Item = Evidence>, kind: Kind) -> Option<Evidence> {
    let (mut unclaimed, mut empty) = (None, None);
    for evidence in evidences {
        if evidence.addresses.is_empty() {
            empty.get_or_insert(evidence);
        } else if kind == Kind::Recipient || evidence.addresses.iter().any(|address| case.mapping.claims(address)) {
            return Some(evidence);
        } else {
            unclaimed.get_or_insert(evidence);
        }
    }
    unclaimed.or(empty)
}

/// The topmost trusted line that names one of ours: whoever gets a line of his own into the run stands below the provider's.
fn received_for(case: &Case<'_>, trusted: &Trusted) -> Option<Evidence> {
    // Below `<multiple recipients>` it was for a list, not for one person.
    let single = trusted.lines.iter().take_while(|(_, line)| line.for_text.as_deref() != Some("<multiple recipients>"));
    let evidences = single.filter_map(|(index, line)| {
        let text = line.for_text.as_deref()?;
        let mut named = line.recipients.clone();
        if named.is_empty() {
            named.extend(bare(case, text));
        }
        Some(ours(case, shown(&case.mail.header.fields()[*index]), named, Kind::Mailbox))
    });
    best(case, evidences, Kind::Mailbox)
}

/// Keeps the addresses of ours. The polled mailbox itself is one only where the header names recipients and the mapping knows it.
fn ours(case: &Case<'_>, text: String, named: Vec<Address>, kind: Kind) -> Evidence {
    let is_mailbox = |address: &Address| case.source.address == Some(address);
    let mut addresses: Vec<Address> = Vec::new();
    for address in named.into_iter().filter(|address| case.is_ours(address)) {
        if is_mailbox(&address) && (kind == Kind::Mailbox || !case.mapping.claims(&address)) {
            continue;
        }
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let cut = addresses.len() > MAX_RECIPIENTS;
    addresses.truncate(MAX_RECIPIENTS);
    Evidence { text, addresses, cut }
}

/// The addresses in the value of an envelope header, in all the ways in which servers write them.
fn values(case: &Case<'_>, value: &[u8], strip_prefix: &str) -> Vec<Address> {
    let value = &value[..value.len().min(MAX_VALUE)];
    let Ok(text) = std::str::from_utf8(value) else { return Vec::new() };
    let mut text = text.trim();
    // `rfc822;ADDR` (RFC 3798 §2.3)
    if let Some((kind, address)) = text.split_once(';')
        && matches!(kind.trim().to_ascii_lowercase().as_str(), "rfc822" | "utf-8")
    {
        text = address.trim();
    }
    // Yahoo: `ADDR via IP; date`
    if let Some((address, _)) = text.split_once(" via ") {
        text = address;
    }
    for words in BEFORE_RECIPIENT {
        text = text.strip_prefix(words).unwrap_or(text);
    }
    // A value may be one bare local part, with brackets or not.
    let named = address_list::mailboxes(text.as_bytes());
    let named: Vec<Address> = named.into_iter().map(|mailbox| stripped(case, mailbox.address, strip_prefix)).collect();
    if named.is_empty() { bare(case, text).into_iter().collect() } else { named }
}

/// A local part alone, at the domain at which somebody has that name; a mailbox's opaque name is nobody's.
fn bare(case: &Case<'_>, text: &str) -> Option<Address> {
    let local = text.trim().trim_start_matches('<').trim_end_matches('>');
    if local.is_empty() || local.contains(['@', ',', ' ', '"', ';', ':', '(', ')']) {
        return None;
    }
    let mut claimed = case.domains().iter().filter_map(|domain| Address::new(local, domain).ok()).filter(|one| case.mapping.claims(one));
    let one = claimed.next()?;
    claimed.next().is_none().then_some(one)
}

/// Takes one level of a qmail virtual domain's prefix off: the configured one, or the domain's own name with dashes or dots.
fn stripped(case: &Case<'_>, address: Address, prefix: &str) -> Address {
    let without = |prefix: &str| {
        let rest = address.local().get(prefix.len()..).filter(|_| address.local()[..prefix.len()].eq_ignore_ascii_case(prefix))?;
        Address::new(rest, address.domain()).ok()
    };
    let fits =
        |prefix: &str| address.local().is_char_boundary(prefix.len().min(address.local().len())) && address.local().len() > prefix.len();
    if !prefix.is_empty() {
        return Some(prefix).filter(|prefix| fits(prefix)).and_then(without).unwrap_or(address);
    }
    if case.mapping.claims(&address) {
        return address;
    }
    let own = |domain: &Domain| [format!("{}-", domain.as_str().replace('.', "-")), format!("{domain}-")];
    own(address.domain()).iter().filter(|prefix| fits(prefix)).find_map(|prefix| without(prefix)).unwrap_or(address)
}

/// The `Resent-` recipients if there are any, else those of To and Cc: each field that names addresses of ours, with them.
pub(super) fn guessed(case: &Case<'_>, header: &Header<'_>, names: &[&str]) -> Vec<Evidence> {
    let mut found: Vec<Evidence> = Vec::new();
    let mut count = 0;
    for name in names {
        for field in header.all(name) {
            let mut addresses: Vec<Address> = Vec::new();
            let mut cut = false;
            for mailbox in address_list::mailboxes(field.value) {
                let address = mailbox.address;
                let known = found.iter().any(|evidence| evidence.addresses.contains(&address)) || addresses.contains(&address);
                if known || !case.is_ours(&address) || is_phantom(&address) {
                    continue;
                }
                if count == MAX_RECIPIENTS {
                    cut = true;
                    break;
                }
                count += 1;
                addresses.push(address);
            }
            if !addresses.is_empty() || cut {
                found.push(Evidence { text: shown(field), addresses, cut });
            }
        }
    }
    found
}

/// `Undisclosed.Recipients@` and the like: servers write them, and complete them with a domain of their own.
fn is_phantom(address: &Address) -> bool {
    let plain: String = address.local().chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    matches!(
        plain.as_str(),
        "undisclosedrecipient" | "undisclosedrecipients" | "unlistedrecipients" | "recipientlistsuppressed" | "recipientsuppressed"
    )
}
