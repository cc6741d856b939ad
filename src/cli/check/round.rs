//! `check --send`: a real mail out through every smarthost, and a look whether it comes back in a mailbox that is fetched here.
//!
//! Beside a running gateway the mail makes the whole way: it is fetched and delivered as any other, and the trace says to whom. Without one,
//! the mailboxes are only looked into, and the mail stays where it is.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::online::{self, Try};
use crate::address::Address;
use crate::config::{Collector, Current, Deliver, Language};
use crate::inbound::shape::Expected;
use crate::inbound::upstream::{Upstream, UpstreamError};
use crate::message::date;
use crate::message::header::Header;
use crate::outbound::judge::{Ruling, judge};
use crate::smtp::client::{self, ClientError, Envelope};
use crate::store::Store;
use crate::wire::dial::Patience;

/// Between two looks into a mailbox; a provider that wants longer pauses gets them.
const LOOK: Duration = Duration::from_secs(10);
/// Between two looks at the trace.
const TRACE: Duration = Duration::from_millis(500);
/// The mail is among the last so many of a mailbox, or it is not looked for further.
const NEWEST: usize = 25;

/// A mail under way.
struct Round<'a> {
    what: String,
    recipient: Address,
    message_id: String,
    sent: Instant,
    /// Where it may come back.
    mailboxes: Vec<&'a Collector>,
}

/// Sends the mails, waits for them at most so long, and writes what happened. How many rounds failed.
pub async fn check(current: &Current, store: Result<&Store, &str>, patience: Duration, out: &mut impl Write) -> std::io::Result<usize> {
    let (mut rounds, mut failures) = (Vec::new(), 0);
    for attempt in online::tries(current) {
        let what = attempt.what.clone();
        match send(current, store, attempt).await {
            Ok((round, line)) => {
                online::tell(out, &what, &[line])?;
                rounds.extend(round);
            }
            Err(reason) => {
                failures += 1;
                online::tell(out, &what, &[format!("FAILED: {reason}")])?;
            }
        }
    }
    let deadline = Instant::now() + patience;
    let gateway = store.ok().filter(|store| store.gateway_runs());
    if let Some(place) = rounds.first().map(|_| if gateway.is_some() { "fetched" } else { "in its mailbox" }) {
        writeln!(out, "Waiting up to {} for what comes back to be {place} …", crate::document::duration_text(patience))?;
        out.flush()?;
    }
    let back = match (gateway, store) {
        (Some(store), _) => arrive(store, &rounds, deadline).await,
        (None, store) => appear(&rounds, store, deadline).await,
    };
    for (at, round) in rounds.iter().enumerate() {
        let line = match back.get(&at) {
            Some((after, where_)) => format!("back after {:.1} s: {where_}", after.as_secs_f64()),
            None => {
                failures += 1;
                format!(
                    "FAILED: not back at {} after {}. It may still come: look into that mailbox, its spam folder too, for “{}”",
                    round.recipient,
                    crate::document::duration_text(patience),
                    round.message_id
                )
            }
        };
        online::tell(out, &round.what, &[line])?;
    }
    Ok(failures)
}

/// Hands a mail to the smarthost: what happened, and the round if it can come back.
async fn send<'a>(current: &'a Current, store: Result<&Store, &str>, attempt: Try<'a>) -> Result<(Option<Round<'a>>, String), String> {
    let Try { what, smarthost, account, senders } = attempt;
    let account = account?;
    let Some(sender) = senders.first() else { return Ok((None, "nobody sends through it: no mail was sent".into())) };
    let (recipient, mailboxes) = way_back(current, sender);
    let config = &current.config;
    let credentials = online::credentials(config, smarthost, &account, store).await?;
    let began = Instant::now();
    let hostname = &config.office.hostname;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let message_id = format!("check.{:016x}@{hostname}", u64::from_be_bytes(random));
    let text = letter(current, sender, &recipient, &message_id);
    let conversation = async {
        let mut client = client::connect(&smarthost.endpoint, hostname, credentials.as_ref(), client::Patience::default()).await?;
        let envelope =
            Envelope { sender: Some(sender.clone()), recipients: vec![recipient.clone()], size: text.len() as u64, ..Envelope::default() };
        client.begin(&envelope);
        if client.ready().await? {
            client.body(text.as_bytes()).await?;
            client.end().await?;
        }
        let verdict = client.verdict().await?.into_iter().next();
        client.quit().await;
        Ok::<_, ClientError>(verdict)
    };
    let reply = match conversation.await.map_err(|error| error.to_string())?.as_ref().map(judge) {
        Some(Ruling::Relayed(reply)) => reply,
        Some(Ruling::Refused(reply)) => return Err(format!("it does not take a mail from {sender} to {recipient}: {reply}")),
        Some(Ruling::Later(reply, wait)) if !wait.is_zero() => {
            return Err(format!("it wants the mail from {sender} to {recipient} later, as greylisting servers do: {reply}"));
        }
        Some(Ruling::Later(reply, _) | Ruling::TooMany(reply) | Ruling::Unanswered(reply) | Ruling::Login(reply)) => {
            return Err(format!("it did not take a mail from {sender} to {recipient} now: {reply}"));
        }
        None => return Err("it gave no answer".into()),
    };
    let took = began.elapsed().as_secs_f64();
    let line = format!("took a mail from {sender} to {recipient} in {took:.1} s: {reply}");
    if mailboxes.is_empty() {
        let line = format!("{line}\n  No mailbox that is fetched here gets mail for {recipient}: whether it arrives has to be seen there");
        return Ok((None, line));
    }
    Ok((Some(Round { what, recipient, message_id, sent: began, mailboxes }), line))
}

/// To whom a mail of this sender goes that is to come back, and where it may.
fn way_back<'a>(current: &'a Current, sender: &Address) -> (Address, Vec<&'a Collector>) {
    let enabled = || current.config.collectors.iter().filter(|collector| collector.enabled);
    let own: Vec<&Collector> = enabled().filter(|collector| collector.address.as_ref() == Some(sender)).collect();
    if !own.is_empty() {
        return (sender.clone(), own);
    }
    if current.mapping.is_ours(sender) {
        let covers = |collector: &&Collector| collector.domains.is_empty() || collector.domains.contains(sender.domain());
        let multidrop: Vec<&Collector> = enabled().filter(|collector| collector.deliver == Deliver::Mapped).filter(covers).collect();
        if !multidrop.is_empty() {
            return (sender.clone(), multidrop);
        }
    }
    match enabled().find_map(|collector| Some((collector.address.clone()?, collector))) {
        Some((address, collector)) => (address, vec![collector]),
        None => (sender.clone(), vec![]),
    }
}

fn letter(current: &Current, sender: &Address, recipient: &Address, message_id: &str) -> String {
    // ASCII in either language: what a smarthost can't take is not what is tried here.
    let (subject, text) = match current.config.office.language {
        Language::English => ("Mailroom test mail", "This is a test by \"mailroom check --send\". The mail can be deleted."),
        Language::German => ("Mailroom-Testmail", "Dies ist ein Test von \"mailroom check --send\". Die Mail kann weg."),
    };
    let now = date::render(jiff::Timestamp::now().as_millisecond());
    format!(
        "From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\nDate: {now}\r\nMessage-ID: <{message_id}>\r\n\
         Auto-Submitted: auto-generated\r\n\r\n{text}\r\n"
    )
}

/// Round → when it was back, and where.
type Back = HashMap<usize, (Duration, String)>;

/// The gateway fetches; its trace tells.
async fn arrive(store: &Store, rounds: &[Round<'_>], deadline: Instant) -> Back {
    let mut back = Back::new();
    let mut asked: HashMap<&str, Instant> = HashMap::new();
    while back.len() < rounds.len() && Instant::now() < deadline {
        for (at, round) in rounds.iter().enumerate().filter(|(at, _)| !back.contains_key(at)).collect::<Vec<_>>() {
            let lines = store.trace(&round.message_id).await.unwrap_or_default();
            if !lines.is_empty() {
                let told: Vec<String> = lines.iter().map(|line| format!("{}: {}", line.event, line.detail)).collect();
                back.insert(at, (round.sent.elapsed(), told.join("; ")));
                continue;
            }
            for collector in &round.mailboxes {
                let pause = LOOK.max(collector.minimum_interval);
                if asked.get(collector.name.as_str()).is_none_or(|last| last.elapsed() >= pause) {
                    asked.insert(&collector.name, Instant::now());
                    // Its figures are of no interest; the trace is.
                    if let Err(error) = store.request_post("fetch", json!({ "names": [collector.name] })).await {
                        tracing::warn!(%error, "the gateway can't be asked to fetch");
                    }
                }
            }
        }
        tokio::time::sleep(TRACE).await;
    }
    back
}

/// Nobody fetches: each mailbox is looked into, and left as it is.
async fn appear(rounds: &[Round<'_>], store: Result<&Store, &str>, deadline: Instant) -> Back {
    let mut back = Back::new();
    let mut looked: HashMap<&str, Instant> = HashMap::new();
    let mut told: HashSet<String> = HashSet::new();
    while back.len() < rounds.len() && Instant::now() < deadline {
        let open: Vec<usize> = (0..rounds.len()).filter(|at| !back.contains_key(at)).collect();
        let mut mailboxes: Vec<&Collector> = open.iter().flat_map(|at| rounds[*at].mailboxes.iter().copied()).collect();
        mailboxes.dedup_by_key(|collector| &collector.name);
        for collector in mailboxes {
            let pause = LOOK.max(collector.minimum_interval);
            if looked.get(collector.name.as_str()).is_some_and(|last| last.elapsed() < pause) {
                continue;
            }
            looked.insert(&collector.name, Instant::now());
            match newest(collector, store).await {
                Ok(ids) => {
                    for at in open.iter().filter(|at| ids.contains(&rounds[**at].message_id)) {
                        let place = format!("in the mailbox of collector {}, where it stays until it is fetched", collector.name);
                        back.entry(*at).or_insert((rounds[*at].sent.elapsed(), place));
                    }
                }
                Err(reason) if told.insert(format!("{} {reason}", collector.name)) => {
                    eprintln!("mailroom: collector {}: {reason}", collector.name)
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(TRACE).await;
    }
    back
}

/// The Message-IDs of the newest mails of a mailbox.
async fn newest(collector: &Collector, store: Result<&Store, &str>) -> Result<HashSet<String>, String> {
    let secret = online::secret(collector, store).await?;
    let look = async {
        let mut upstream = Upstream::open(collector, &secret, true, Patience::default()).await?;
        let mut ids = HashSet::new();
        for (folder, _) in &collector.folders {
            let listing = upstream.list(folder, false, Expected::Unknown).await?;
            let skip = listing.items.len().saturating_sub(NEWEST);
            let handles: Vec<u32> = listing.items.items().skip(skip).map(|item| item.handle).collect();
            let headers = upstream.headers(&handles).await?;
            ids.extend(headers.values().filter_map(|header| Header::parse(header).text("message-id")).map(|id| bare(&id)));
        }
        // What the goodbye brings changes nothing: nothing was to be deleted.
        let _ = upstream.leave().await;
        Ok::<_, UpstreamError>(ids)
    };
    look.await.map_err(|error| error.to_string())
}

fn bare(id: &str) -> String {
    id.trim().trim_start_matches('<').trim_end_matches('>').to_owned()
}
