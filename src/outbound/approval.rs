//! Outgoing mail that waits until somebody agrees (`approve` of a rule): the question to the manager, and the answer.
//!
//! The manager answers the question like any mail; the answer is known by the question's Message-ID, which nobody can guess, and counts
//! only from the manager's own log-in.

use crate::address::Address;
use crate::config::{Current, Language};
use crate::inbound::letter;
use crate::mapping::Mailbox;
use crate::message::content_type::MediaType;
use crate::message::layout::Kind;
use crate::message::{date, transfer, words};
use crate::outbound::subject::subject;
use crate::outbound::submit::{Submission, Submitter, Taken, temporary};
use crate::smtp::reply::Reply;
use crate::store::queue::{NewMail, Order, Outcome, Queued, Settlement, State, Told};
use crate::store::{Arrival, NewContent, Store, StoreError};

/// The name at the LAN domain that questions come from and answers go to.
const DESK: &str = "approval";
/// Characters of a refusal that are passed on.
const MAX_WORDS: usize = 1000;
/// Recipients that a question lists.
const LISTED: usize = 20;

/// What the manager says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Yes,
    /// With what follows the first word.
    No(String),
    /// Neither.
    Unclear,
}

/// Who is asked about whose mail.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The user who decides.
    pub manager: &'a str,
    /// The user or device that wants to send.
    pub sender: &'a str,
}

/// Whether an address is the one that answers go to, and this is somebody who may answer.
pub fn is_desk(current: &Current, submitter: &Submitter, address: &Address) -> bool {
    let desk = desk(current).is_some_and(|desk| desk == *address);
    desk && matches!(submitter, Submitter::User(_)) && current.mapping.resolve(address).is_none()
}

/// Completes the held mails with the question's Message-ID, and writes the question.
pub fn ask(current: &Current, asked: &Asked<'_>, taken: &Taken, queue: &mut [NewMail], now: i64) -> Option<Arrival> {
    let mut random = [0; 16];
    // Without randomness nobody can answer by mail; `queue approve` works all the same.
    let question = getrandom::fill(&mut random).ok().map(|()| u128::from_be_bytes(random));
    let id = format!("approve.{:032x}@{}", question.unwrap_or_default(), current.config.office.hostname);
    let mut recipients = Vec::new();
    for mail in queue.iter_mut() {
        if let Some(approval) = &mut mail.approval {
            approval.question = if question.is_some() { id.clone() } else { format!("{id} {now}") };
            recipients.extend(mail.recipients.iter().map(Address::to_string));
        }
    }
    question?;
    let to = current.mapping.lan_address(asked.manager)?;
    let shown = shorten(&recipients);
    let subject = &taken.facts.subject;
    let sender = asked.sender;
    let (subject, text) = match current.config.office.language {
        Language::English => (
            format!("Please approve: {subject}"),
            format!(
                "{sender} wants to send the mail below to {shown}. It waits for you.\n\nAnswer this mail with “yes”, and it is sent; answer \
                 “no”, and {sender} is told so, with whatever you write behind it.\n"
            ),
        ),
        Language::German => (
            format!("Bitte freigeben: {subject}"),
            format!(
                "{sender} möchte die folgende E-Mail an {shown} senden. Sie wartet auf Sie.\n\nAntworten Sie auf diese E-Mail mit „ja“, und \
                 sie wird gesendet; antworten Sie mit „nein“, und {sender} erfährt es, mit dem, was Sie dahinter schreiben.\n"
            ),
        ),
    };
    let boundary = format!("=_approve_{:016x}", u64::from_be_bytes(*random.first_chunk()?));
    let mut mail = head(current, &to, &subject, &id, now)?;
    mail.push_str(&format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n"));
    mail.push_str("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    mail.push_str(&text.replace('\n', "\r\n"));
    let (kind, original): (_, &[u8]) = match &taken.content {
        NewContent::Inline(bytes, _) => ("message/rfc822", bytes),
        // What is that large is shown by its header alone.
        _ => ("text/rfc822-headers", &taken.facts.header),
    };
    mail.push_str(&format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"));
    let mut mail = mail.into_bytes();
    mail.extend_from_slice(original);
    mail.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Some(letter::arrival(Mailbox::User(asked.manager.to_owned()), &to, mail, now))
}

/// Does what a manager's answer says. `Some` is the reply to a mail that can't be taken: one for the desk that answers nothing, or an
/// answer that says neither yes nor no.
pub async fn answered(store: &Store, current: &Current, submission: &Submission<'_>) -> Option<Reply> {
    let Submitter::User(user) = submission.submitter else { return None };
    let facts = &submission.taken.facts;
    let for_desk = desk(current).is_some_and(|desk| {
        let addresses = submission.envelope.recipients.iter().filter_map(|rcpt| super::submit::sender_address(current, &rcpt.to));
        addresses.into_iter().any(|address| address == desk && is_desk(current, submission.submitter, &address))
    });
    if !for_desk {
        return None;
    }
    let mails = match store.queue().await {
        Ok(mails) => mails,
        Err(error) => return Some(temporary(&error)),
    };
    let asked: Vec<&String> = facts.in_reply_to.iter().chain(&facts.references).collect();
    let waits =
        |mail: &&Queued| mail.approval.as_ref().is_some_and(|approval| asked.contains(&&approval.question) && approval.manager == *user);
    let Some(mail) = mails.iter().find(waits) else {
        let text = "This answers no mail that waits for your approval; perhaps it was decided already";
        return Some(Reply::new(550, "5.7.1", text));
    };
    let done = match answer(&submission.taken) {
        Answer::Yes => store.queue_order(Some(mail.id), Order::Approve(user.clone()), submission.now).await.map(drop),
        Answer::No(words) => reject(store, current, mail, user, &words, submission.now).await.map(drop),
        Answer::Unclear => return Some(Reply::new(550, "5.6.0", "Please begin your answer with yes or no, as plain text")),
    };
    done.err().map(|error| temporary(&error))
}

/// The mail is not sent; who wrote it hears who said so, and why. Whether he was still there to be told.
pub async fn reject(store: &Store, current: &Current, mail: &Queued, by: &str, words: &str, now: i64) -> Result<bool, StoreError> {
    let held = mail.recipients.iter().filter(|recipient| recipient.state == State::Held);
    let outcomes: Vec<_> = held.map(|recipient| (recipient.address.clone(), Outcome::Failed, format!("{by} did not approve it"))).collect();
    let subject = subject(store, mail).await?;
    let shown = shorten(&outcomes.iter().map(|(address, ..)| address.to_string()).collect::<Vec<_>>());
    let (subject, text) = match current.config.office.language {
        Language::English => (
            format!("Not sent: {subject}"),
            format!("Your mail to {shown} was not sent: {by} did not approve it.\n{}", quoted("The reason:", words)),
        ),
        Language::German => (
            format!("Nicht gesendet: {subject}"),
            format!("Ihre E-Mail an {shown} wurde nicht gesendet: {by} hat sie nicht freigegeben.\n{}", quoted("Der Grund:", words)),
        ),
    };
    let id = format!("rejected.{}.{now:x}@{}", mail.id.0, current.config.office.hostname);
    let owner = Mailbox::User(mail.owner.clone());
    let notice = current.mapping.lan_address(&mail.owner).and_then(|to| {
        let mut text_mail = head(current, &to, &subject, &id, now)?;
        if let Some(original) = mail.message_id.as_deref().filter(|id| id.is_ascii() && !id.contains(char::is_control)) {
            text_mail.push_str(&format!("In-Reply-To: <{original}>\r\n"));
        }
        text_mail.push_str("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
        text_mail.push_str(&text.replace('\n', "\r\n"));
        Some((Told::Failure, letter::arrival(owner, &to, text_mail.into_bytes(), now)))
    });
    let settlement = Settlement { outcomes, notices: notice.into_iter().collect(), ..Settlement::of(mail.id) };
    match store.queue_settle(settlement.clone()).await {
        // Its owner was removed while it waited.
        Err(StoreError::NotFound(_)) => store.queue_settle(Settlement { notices: vec![], ..settlement }).await.map(|()| false),
        settled => settled.map(|()| !settlement.notices.is_empty()),
    }
}

fn desk(current: &Current) -> Option<Address> {
    Address::new(DESK, &current.config.office.lan_domain).ok()
}

fn quoted(title: &str, words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("\n{title}\n\n    {}\n", words.replace('\n', "\n    ")) }
}

fn shorten(recipients: &[String]) -> String {
    let more = recipients.len().saturating_sub(LISTED);
    let shown = recipients.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} (+ {more})") } else { shown }
}

/// The fields on top of a letter of ours, up to the one that says what it is made of.
fn head(current: &Current, to: &Address, subject: &str, id: &str, now: i64) -> Option<String> {
    let from = desk(current)?;
    Some(format!(
        "From: Mailroom <{from}>\r\nTo: <{to}>\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{id}>\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\n",
        words::encode(subject),
        date::render(now)
    ))
}

/// What the first words say that are not quoted.
fn answer(taken: &Taken) -> Answer {
    let NewContent::Inline(bytes, _) = &taken.content else { return Answer::Unclear };
    let plain = |media: &MediaType| media.is("text", "plain");
    let part = taken.facts.parts.iter().find(|part| part.place.kind == Kind::Leaf && plain(&part.media));
    let range =
        part.and_then(|part| Some((usize::try_from(part.place.body).ok()?..usize::try_from(part.place.end).ok()?, part.place.encoding)));
    let Some((text, encoding)) = range.and_then(|(range, encoding)| Some((bytes.get(range)?, encoding))) else { return Answer::Unclear };
    of_text(&String::from_utf8_lossy(&transfer::decode(encoding, text)))
}

fn of_text(text: &str) -> Answer {
    let own = |line: &&str| !line.trim().is_empty() && !line.starts_with('>');
    let own: Vec<&str> = text.lines().take_while(|line| !line.starts_with("-----")).filter(own).map(str::trim).collect();
    let own = own.join("\n");
    let word: String = own.chars().take_while(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    let rest = own.get(own.chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum::<usize>()..).unwrap_or_default();
    match word.as_str() {
        "yes" | "ok" | "okay" | "approve" | "approved" | "ja" | "freigegeben" => Answer::Yes,
        "no" | "reject" | "rejected" | "nein" | "abgelehnt" => {
            Answer::No(rest.trim_start_matches(|c: char| !c.is_alphanumeric()).chars().take(MAX_WORDS).collect())
        }
        _ => Answer::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no() {
        let check = |text: &str, expected: Answer| assert_eq!(of_text(text), expected, "{text:?}");
        let no = |words: &str| Answer::No(words.to_owned());
        check("Yes.\r\n\r\n> Answer “no”\r\n", Answer::Yes);
        check("\r\n  ok, go\r\n", Answer::Yes);
        check("> quoted\r\nJa\r\n", Answer::Yes);
        check("No - the price is wrong.\r\nCall me.\r\n> x\r\n", no("the price is wrong.\nCall me."));
        check("nein", no(""));
        check("nobody knows", Answer::Unclear);
        check("yesterday", Answer::Unclear);
        check("", Answer::Unclear);
        check("-----Original Message-----\r\nyes\r\n", Answer::Unclear);
    }
}
