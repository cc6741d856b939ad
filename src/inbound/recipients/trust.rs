//! The trusted run: the `Received` lines on top that the provider itself wrote. What stands above the last of them is the provider's
//! too; what stands below is the sender's, whatever it says.

use std::net::IpAddr;

use crate::address::Domain;
use crate::message::header::Header;
use crate::message::received::{self, Received};

/// Hops inside one provider; a longer row is somebody's game.
const MAX_RUN: usize = 20;

/// The part of a header that the provider wrote.
pub(super) struct Trusted {
    /// The trusted `Received` lines: index of the field, and what it says.
    pub(super) lines: Vec<(usize, Received)>,
}

impl Trusted {
    pub(super) fn of(header: &Header<'_>) -> Self {
        let mut lines = Vec::new();
        let fields = header.fields().iter().enumerate();
        for (index, field) in fields.filter(|(_, field)| field.is("Received")) {
            let line = received::parse(field.value);
            let go_on = is_from_itself(&line, field.value);
            lines.push((index, line));
            if !go_on || lines.len() == MAX_RUN {
                break;
            }
        }
        Self { lines }
    }

    /// The index of the topmost `Received`: fields before it were written last.
    pub(super) fn top(&self, header: &Header<'_>) -> usize {
        self.lines.first().map_or_else(|| leading_trace(header), |(index, _)| *index)
    }

    /// Whether the last instance of a header stands below every `Received`, where servers append.
    pub(super) fn is_below_all(&self, header: &Header<'_>, name: &str) -> bool {
        let last = |name: &str| header.fields().iter().rposition(|field| field.is(name));
        last(name) > last("Received")
    }

    /// The index of the last trusted line: fields before it are the provider's.
    pub(super) fn end(&self, header: &Header<'_>) -> usize {
        self.lines.last().map_or_else(|| leading_trace(header), |(index, _)| *index)
    }
}

/// Whether the server that wrote this line says that it got the message from the provider's own machines. Its `by` proves nothing: a
/// stranger who connects to the provider can write a line with any `by` under the provider's.
fn is_from_itself(line: &Received, value: &[u8]) -> bool {
    let Some(peer) = &line.from else {
        // Gmail's `by …`, qmail's `(qmail 1 invoked by alias)`, a list manager's `with ECARTIS`. A line that is too long to be read has
        // nothing in it either, but may begin with a stranger's long name.
        return !value.trim_ascii_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"from"));
    };
    // Nobody offers LMTP to strangers.
    let inner = line.with.as_deref().is_some_and(|with| with.to_ascii_uppercase().starts_with("LMTP"));
    if peer.local || inner || peer.ip.is_some_and(is_private) {
        return true;
    }
    let (Some(host), Some(by)) = (&peer.host, &line.by) else { return false };
    match (Domain::parse(host), Domain::parse(by)) {
        (Ok(host), Ok(by)) => host.as_str().contains('.') && host.registered() == by.registered(),
        _ => false,
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Without any `Received`, the message came by no server that a stranger could reach; still, only what stands before the first
/// field of the sender's own counts.
fn leading_trace(header: &Header<'_>) -> usize {
    let is_trace = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        super::evidence::NAMES.iter().chain(TRACE).any(|known| known.as_bytes().eq_ignore_ascii_case(&name))
    };
    header.fields().iter().position(|field| !is_trace(field.name)).unwrap_or(header.fields().len())
}

const TRACE: &[&str] = &["", "Return-Path", "Delivered-To", "Delivery-date", "Received-SPF", "Authentication-Results", "X-Spam-Status"];
