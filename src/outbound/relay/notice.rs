//! Mails that the relay writes to our own people: bounces, notices of delay, and the alarm about a log-in.

use super::{Job, Key};
use crate::address::Address;
use crate::config::{Current, Language};
use crate::inbound::facts::content_facts;
use crate::mapping::Mailbox;
use crate::message::facts::Facts;
use crate::message::trace::Prefix;
use crate::message::{date, words};
use crate::outbound::dsn::{Fate, Notice, Trouble};
use crate::store::queue::Lease;
use crate::store::{Arrival, Deposit, NewContent, Store, StoreError};
use bytes::Bytes;

/// Bytes of the original's header that are looked at.
const MAX_HEADER: usize = 64 * 1024;

/// The bounce or notice of delay for a mail's owner, or for the postmaster if he is gone.
pub(super) async fn report(
    store: &Store,
    current: &Current,
    job: &Job,
    fate: Fate,
    troubles: &[Trouble],
    now: i64,
) -> Result<Option<Arrival>, StoreError> {
    let lease = &job.lease;
    let (mailbox, to) = reader(store, current, &lease.owner).await?;
    let Some((from, to)) = daemon(current).zip(to) else { return Ok(None) };
    let header = header(store, lease).await?;
    let zone = current.config.office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
    let id = format!("{}.{}.{now:x}", if matches!(fate, Fate::Failed) { "bounce" } else { "late" }, job.id().0);
    let notice = Notice {
        fate,
        language: current.config.office.language,
        zone: &zone,
        hostname: &current.config.office.hostname,
        from: &from,
        to: &to,
        troubles,
        smarthost: job.candidates.front().map(|candidate| candidate.smarthost.endpoint.host.as_str()),
        header: &header,
        queued_at: lease.queued_at,
        now,
        id: &id,
    };
    Ok(Some(arrival(mailbox, &to, notice.render(), now)))
}

/// The postmaster's mail about a smarthost that refuses our log-in.
pub(super) fn login_alarm(current: &Current, key: &Key, reason: &str, now: i64) -> Option<Arrival> {
    let office = &current.config.office;
    let (from, to) = daemon(current).zip(current.mapping.lan_address(&office.postmaster))?;
    let name = &key.smarthost;
    let (subject, text) = match office.language {
        Language::English => (
            format!("The smarthost “{name}” refuses our log-in"),
            format!(
                "Outgoing mail through “{name}” ({}) waits in the queue, because the server does not accept our log-in.\n\nIt says:\n\n    {reason}\n\n\
                 Nothing is lost, and nothing bounces as long as it has not expired. Please check user name and password of this smarthost; \
                 a changed password is used at the next attempt, and “mailroom queue retry all” makes that one at once. With the same \
                 password the server is asked at most every ten minutes, so that it does not lock us out.\n",
                key.host
            ),
        ),
        Language::German => (
            format!("Der Postausgangsserver „{name}“ lehnt unsere Anmeldung ab"),
            format!(
                "Ausgehende E-Mails über „{name}“ ({}) warten in der Warteschlange, weil der Server unsere Anmeldung nicht annimmt.\n\nEr \
                 antwortet:\n\n    {reason}\n\nEs geht nichts verloren, und nichts kommt zurück, solange es nicht abgelaufen ist. Bitte prüfen \
                 Sie Benutzernamen und Passwort dieses Servers; ein geändertes Passwort gilt ab dem nächsten Versuch, den „mailroom queue \
                 retry all“ sofort macht. Mit demselben Passwort wird der Server höchstens alle zehn Minuten gefragt, damit er uns nicht sperrt.\n",
                key.host
            ),
        ),
    };
    let mail = format!(
        "From: {} <{from}>\r\nTo: <{to}>\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <alarm.{now:x}@{}>\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}",
        words::phrase("Mailroom"),
        words::encode(&subject),
        date::render(now),
        office.hostname,
        text.replace('\n', "\r\n")
    );
    Some(arrival(Mailbox::User(office.postmaster.clone()), &to, mail.into_bytes(), now))
}

fn daemon(current: &Current) -> Option<Address> {
    Address::new("MAILER-DAEMON", &current.config.office.lan_domain).ok()
}

/// Who reads what is for this user, and his address.
async fn reader(store: &Store, current: &Current, owner: &str) -> Result<(Mailbox, Option<Address>), StoreError> {
    let mailbox = Mailbox::User(owner.to_owned());
    let (mailbox, name) = match store.account(&mailbox).await? {
        Some(_) => (mailbox, owner),
        None => (Mailbox::User(current.config.office.postmaster.clone()), current.config.office.postmaster.as_str()),
    };
    Ok((mailbox, current.mapping.lan_address(name)))
}

pub(super) async fn header(store: &Store, lease: &Lease) -> Result<Bytes, StoreError> {
    match &lease.header {
        Some(header) => Ok(header.slice(..header.len().min(MAX_HEADER))),
        None => {
            let length = usize::try_from(lease.header_size).unwrap_or(MAX_HEADER).min(MAX_HEADER);
            store.content(lease.content, 0, length).await
        }
    }
}

/// Never a duplicate, never rewritten, never bounced: straight into the mailbox.
fn arrival(mailbox: Mailbox, to: &Address, mail: Vec<u8>, now: i64) -> Arrival {
    let facts = content_facts(&Facts::of(&mail));
    let prefix = Prefix { return_path: Some(None), delivered_to: Some(to), hop: None }.render();
    let deposit = Deposit { mailbox, folder: None, prefix: prefix.into(), flags: 0, internal_date: now, dedupe: None };
    let trace = vec![("delivered", format!("to {}, INBOX; written here", deposit.mailbox))];
    Arrival { deposits: vec![deposit], trace, ..Arrival::new(NewContent::Inline(mail.into(), Box::new(facts))) }
}
