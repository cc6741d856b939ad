//! Automatic replies of people who are away (RFC 3834, with the manners of RFC 5230).
//!
//! Only somebody who wrote to the user himself hears of it, once in seven days; never a list, a program, a bounce or a mailing.
//!
//! Deviation: RFC 3834 §3.3 wants the null sender on an automatic reply, and smarthosts refuse it. The reply leaves as the user, with
//! `Auto-Submitted` and NOTIFY=NEVER, and nothing that comes back for it is reported.

use crate::address::Address;
use crate::config::{Current, Language};
use crate::inbound::facts::whole;
use crate::mapping::{Identity, Mailbox};
use crate::message::address_list::{self, Mailbox as Named};
use crate::message::facts::Facts;
use crate::message::header::Header;
use crate::message::trace::Prefix;
use crate::message::wish::Wishes;
use crate::message::{date, words};
use crate::outbound::route;
use crate::store::absence::{Away, Telling};
use crate::store::queue::NewMail;
use crate::store::{Arrival, Deposit};
use std::fmt::Write as _;

/// Nobody reads what is sent to these, or a program does (RFC 5230 §4.6).
const PROGRAMS: [&str; 9] =
    ["mailer-daemon", "listserv", "majordomo", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply", "bounce"];
/// Bytes of the original's Message-ID that are quoted.
const MAX_ID: usize = 900;

/// The replies to a message that these deposits bring to people who are away. `sender` is the envelope's; `None` is `<>`.
pub fn replies(current: &Current, away: &[Away], facts: &Facts, sender: Option<&Address>, deposits: &[Deposit], now: i64) -> Vec<Arrival> {
    let Some(sender) = sender.filter(|_| !away.is_empty()) else { return vec![] };
    let header = facts.header();
    if !may_be_answered(&header, sender) {
        return vec![];
    }
    let named: Vec<Address> = ["To", "Cc", "Resent-To", "Resent-Cc"]
        .iter()
        .flat_map(|name| header.all(name))
        .flat_map(|field| address_list::mailboxes(field.value))
        .map(|mailbox| mailbox.address)
        .collect();
    let one = |deposit: &Deposit| {
        let Mailbox::User(user) = &deposit.mailbox else { return None };
        let away = away.iter().find(|away| away.user == *user && away.holds(now))?;
        let junk = deposit.folder.as_deref().is_some_and(|folder| folder.eq_ignore_ascii_case("junk"));
        let own = named.iter().find(|address| is_his_alone(current, user, address))?;
        if junk || is_his_alone(current, user, sender) {
            return None;
        }
        reply(current, away, own, facts, sender, now)
    };
    deposits.iter().filter_map(one).collect()
}

/// Whether the message was written by a person to a person, as far as it tells.
fn may_be_answered(header: &Header<'_>, sender: &Address) -> bool {
    let local = sender.local().to_lowercase();
    let program =
        PROGRAMS.iter().any(|name| local == *name || local.starts_with(&format!("{name}-")) || local.starts_with(&format!("{name}+")))
            || local.starts_with("owner-")
            || local.ends_with("-owner")
            || local.ends_with("-request")
            || local.ends_with("-bounces");
    let word = |name: &str| header.text(name).map(|value| value.trim().to_lowercase());
    let automatic = word("Auto-Submitted").is_some_and(|value| !value.starts_with("no"));
    let mailing = word("Precedence").is_some_and(|value| ["bulk", "list", "junk"].contains(&value.as_str()));
    let suppressed =
        word("X-Auto-Response-Suppress").is_some_and(|value| ["all", "oof", "autoreply"].iter().any(|kind| value.contains(kind)));
    let spam = word("X-Spam-Flag").is_some_and(|value| value == "yes");
    let report = word("Content-Type").is_some_and(|value| value.starts_with("multipart/report"));
    let list = header.fields().iter().any(|field| field.name.len() > 5 && field.name[..5].eq_ignore_ascii_case(b"list-"));
    !(program || automatic || mailing || suppressed || spam || report || list)
}

/// Whether an address leads to this user and to nobody else.
fn is_his_alone(current: &Current, user: &str, address: &Address) -> bool {
    let Some(found) = current.mapping.resolve(address) else { return false };
    matches!(found.recipients.as_slice(), [only] if only.mailbox == Mailbox::User(user.to_owned())) && found.forwards.is_empty()
}

fn reply(current: &Current, away: &Away, own: &Address, facts: &Facts, sender: &Address, now: i64) -> Option<Arrival> {
    let (config, mapping) = (&current.config, &current.mapping);
    let colleague = mapping.resolve(sender).filter(|found| !found.recipients.is_empty()).map(|found| found.recipients);
    let identity = match &colleague {
        Some(_) => Identity { address: mapping.lan_address(&away.user)?, name: None, reply_to: None, smarthost: None },
        // Without a way out nobody is told; the user's own mail would not leave either.
        None => {
            route::identity(config, mapping, &away.user, Some(own)).or_else(|_| route::identity(config, mapping, &away.user, None)).ok()?
        }
    };
    let text = text(current, away, &identity, facts, sender, now);
    let stated = Facts::of(text.as_bytes());
    let prefix = Prefix { return_path: Some(None), delivered_to: Some(sender), hop: None }.render();
    let deposit =
        |mailbox: Mailbox| Deposit { mailbox, folder: None, prefix: prefix.clone().into(), flags: 0, internal_date: now, dedupe: None };
    let (recipients, owner) = (vec![sender.clone()], away.user.clone());
    let mail = NewMail { owner, sender: Some(identity.address), wishes: Wishes::never(&recipients), recipients, ..NewMail::default() };
    Some(Arrival {
        queue: if colleague.is_none() { vec![mail] } else { vec![] },
        deposits: colleague.into_iter().flatten().map(|recipient| deposit(recipient.mailbox)).collect(),
        trace: vec![("replied", format!("{} is away; {sender} is told so", away.user))],
        telling: Some(Telling { user: away.user.clone(), sender: sender.key().to_owned() }),
        ..Arrival::new(whole(text.into_bytes(), &stated))
    })
}

fn text(current: &Current, away: &Away, identity: &Identity, facts: &Facts, sender: &Address, now: i64) -> String {
    let office = &current.config.office;
    let name = identity.name.as_deref().or_else(|| current.mapping.full_name(&away.user)).map(str::to_owned);
    let from = Named { name, address: identity.address.clone() }.render();
    let (automatic, usual) = usual_words(current, away);
    let subject = words::encode(&format!("{automatic}: {}", facts.subject));
    let mut text = format!("From: {from}\r\nTo: <{sender}>\r\nSubject: {subject}\r\nDate: {}\r\n", date::render(now));
    let mark = blake3::hash(format!("{}{sender}{now}", away.user).as_bytes()).to_hex();
    let _ = write!(text, "Message-ID: <away.{now:x}.{}@{}>\r\n", &mark[..16], office.hostname);
    if let Some(id) = facts.message_id.as_deref().filter(|id| id.is_ascii() && id.len() < MAX_ID && !id.contains(char::is_control)) {
        let _ = write!(text, "In-Reply-To: <{id}>\r\nReferences: <{id}>\r\n");
    }
    text.push_str("Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n");
    text.push_str("Content-Transfer-Encoding: 8bit\r\n\r\n");
    for line in away.text.as_deref().unwrap_or(&usual).lines() {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text
}

fn usual_words(current: &Current, away: &Away) -> (&'static str, String) {
    let office = &current.config.office;
    let zone = office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
    // The last day away, not the moment after it.
    let last = away.ends.and_then(|ends| jiff::Timestamp::from_millisecond(ends - 1).ok()).map(|ends| ends.to_zoned(zone).date());
    match (office.language, last) {
        (Language::English, last) => {
            let until = last.map(|day| format!(" until {}", day.strftime("%-d %b %Y"))).unwrap_or_default();
            ("Automatic reply", format!("Thank you for your mail. I am away{until} and will read it when I am back.\n"))
        }
        (Language::German, last) => {
            let until = last.map(|day| format!(" bis {}", day.strftime("%d.%m.%Y"))).unwrap_or_default();
            (
                "Automatische Antwort",
                format!("Vielen Dank für Ihre E-Mail. Ich bin{until} nicht im Büro und lese sie nach meiner Rückkehr.\n"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_are_answered() {
        let check = |sender: &str, header: &str, expected: bool| {
            let header = format!("From: x@y.example\r\n{header}\r\n");
            let answered = may_be_answered(&Header::parse(header.as_bytes()), &Address::parse(sender).unwrap());
            assert_eq!(answered, expected, "{sender} {header}");
        };
        check("carol@customer.example", "", true);
        check("carol@customer.example", "Auto-Submitted: no\r\nPrecedence: normal\r\nX-Spam-Flag: NO\r\n", true);
        check("bouncer@customer.example", "Listen: x\r\n", true);
        for sender in
            ["noreply", "No-Reply", "no-reply-17", "MAILER-DAEMON", "owner-list", "list-owner", "list-request", "list-bounces", "bounce+7"]
        {
            check(&format!("{sender}@customer.example"), "", false);
        }
        for field in [
            "Auto-Submitted: auto-replied",
            "auto-submitted: Auto-Generated; x",
            "Precedence: Bulk",
            "Precedence: list",
            "List-Id: <x.y>",
            "List-Unsubscribe: <mailto:x@y>",
            "X-Auto-Response-Suppress: DR, OOF",
            "X-Spam-Flag: YES",
            "Content-Type: multipart/report; report-type=disposition-notification",
        ] {
            check("carol@customer.example", &format!("{field}\r\n"), false);
        }
    }
}
