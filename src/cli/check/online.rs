//! `check --online`: logs in everywhere and leaves everything as it is.

use std::collections::BTreeSet;
use std::io::Write;

use crate::address::Address;
use crate::config::{After, Auth, Collector, Config, Current, Smarthost, SmarthostLogin};
use crate::document::duration_text;
use crate::inbound::fetch::EXPIRY_WARNING_DAYS;
use crate::inbound::shape::Expected;
use crate::inbound::upstream::Upstream;
use crate::outbound::credentials::{Account, of_collector};
use crate::outbound::dsn;
use crate::smtp::client;
use crate::smtp::reply::{Class, Reply};
use crate::store::Store;
use crate::wire::dial::Patience;
use crate::wire::sasl::Secret;

/// What [`look_into`] says of a server that fetched mail can't be told from new at.
const NEITHER: &str =
    "the server has neither UIDL nor TOP, so that fetched mail can't be told from new: only after = \"delete\" is possible";
/// So many refused senders are named for one smarthost.
const MAX_REFUSED: usize = 20;

/// Tries every enabled collector and smarthost and writes a line or more about each. How many did not work. `store` has the stored
/// secrets, or says why there is none.
pub async fn check(current: &Current, store: Result<&Store, &str>, out: &mut impl Write) -> std::io::Result<usize> {
    let mut failures = 0;
    for collector in current.config.collectors.iter().filter(|collector| collector.enabled) {
        let found = match try_collector(collector, store).await {
            Ok(found) => found,
            Err(reason) => {
                failures += 1;
                vec![format!("FAILED: {reason}")]
            }
        };
        tell(out, &format!("collector {}", collector.name), &found)?;
    }
    for Try { what, smarthost, account, senders } in tries(current) {
        let found = match account {
            Ok(account) => try_smarthost(&current.config, smarthost, &account, &senders, store).await,
            Err(reason) => Err(reason),
        };
        let (lines, failed) = match found {
            Ok((lines, refused)) => (lines, usize::from(refused > 0)),
            Err(reason) => (vec![format!("FAILED: {reason}")], 1),
        };
        failures += failed;
        tell(out, &what, &lines)?;
    }
    Ok(failures)
}

/// A log-in at a smarthost.
pub(super) struct Try<'a> {
    /// What to call it.
    pub(super) what: String,
    pub(super) smarthost: &'a Smarthost,
    /// `Err`: there is none, and why.
    pub(super) account: Result<Account, String>,
    /// As whom people may send by it.
    pub(super) senders: Vec<Address>,
}

/// Every log-in of every enabled smarthost.
pub(super) fn tries(current: &Current) -> Vec<Try<'_>> {
    let mut tries = Vec::new();
    for smarthost in current.config.smarthosts.iter().filter(|smarthost| smarthost.enabled) {
        let senders = senders_of(current, smarthost);
        for (what, account) in accounts(&current.config, smarthost, &senders) {
            let own = |sender: &&Address| match &account {
                Ok(Account::Collector(name, _)) => is_of(&current.config, name, sender),
                _ => true,
            };
            let senders = senders.iter().filter(own).cloned().collect();
            tries.push(Try { what, smarthost, account, senders });
        }
    }
    tries
}

/// As [`look_into`], with the password or token that the configuration names.
async fn try_collector(collector: &Collector, store: Result<&Store, &str>) -> Result<Vec<String>, String> {
    look_into(collector, &secret(collector, store).await?).await
}

/// The password or token that the configuration names.
pub(super) async fn secret(collector: &Collector, store: Result<&Store, &str>) -> Result<Secret, String> {
    Ok(match (store, &collector.auth) {
        (Ok(store), _) => of_collector(collector, store).await.map_err(|error| error.to_string())?,
        (Err(reason), Auth::OAuth2(_)) => return Err(reason.to_owned()),
        (Err(reason), Auth::Password(source)) if source.stored_name().is_some() => return Err(reason.to_owned()),
        (Err(_), Auth::Password(source)) => {
            let (source, whose) = (source.clone(), format!("collector {}", collector.name));
            let read = tokio::task::spawn_blocking(move || source.resolve(&whose, None));
            Secret::Password(read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?)
        }
    })
}

/// What an account logs in with at a smarthost; `None`: nothing is needed.
pub(super) async fn credentials(
    config: &Config,
    smarthost: &Smarthost,
    account: &Account,
    store: Result<&Store, &str>,
) -> Result<Option<client::Credentials>, String> {
    match (account, store) {
        (Account::None, _) => Ok(None),
        (_, Ok(store)) => account.credentials(config, smarthost, store).await.map_err(|error| error.to_string()),
        (_, Err(reason)) => Err(reason.to_owned()),
    }
}

/// Logs in with what is known already, counts, logs out.
pub async fn look_into(collector: &Collector, secret: &Secret) -> Result<Vec<String>, String> {
    let mut upstream = Upstream::open(collector, secret, true, Patience::default()).await.map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (folder, _) in &collector.folders {
        let listing = upstream.list(folder, false, Expected::Unknown).await.map_err(|error| error.to_string())?;
        let name = if collector.folders.len() > 1 || folder != "INBOX" { format!(" in {folder}") } else { String::new() };
        found.push(format!("logged in as {}; {} there{name}", collector.log_in_as(), mails(listing.items.len())));
        if let (true, Some(first)) = (listing.without_ids, listing.items.items().next()) {
            let headers = upstream.headers(&[first.handle]).await.map_err(|error| error.to_string())?;
            match (headers.is_empty(), &collector.after) {
                (false, _) => found.push("the server has no UIDL: mail is told apart by its headers".into()),
                (true, After::Delete) => {
                    found.push("the server has neither UIDL nor TOP; with after = \"delete\" that does no harm".into())
                }
                (true, _) => return Err(NEITHER.into()),
            }
        }
        if listing.malformed > 0 {
            found.push(format!("{} lines of the listing could not be read; those mails wait", listing.malformed));
        }
    }
    let now = jiff::Timestamp::now().as_second();
    if let Some(days) = upstream.certificate_ends().map(|ends| (ends - now).div_euclid(86_400)).filter(|days| *days < EXPIRY_WARNING_DAYS) {
        found.push(format!("its certificate ends in {days} days; the provider has to renew it"));
    }
    if let Some(delay) = upstream.login_delay().filter(|seconds| *seconds > collector.minimum_interval.as_secs()) {
        found.push(format!("the server wants {} between two log-ins", duration_text(std::time::Duration::from_secs(delay))));
    }
    // What the goodbye brings changes nothing: nothing was to be deleted.
    let _ = upstream.leave().await;
    Ok(found)
}

/// Logs in and tries each sender; how many of them were refused.
async fn try_smarthost(
    config: &Config,
    smarthost: &Smarthost,
    account: &Account,
    senders: &[Address],
    store: Result<&Store, &str>,
) -> Result<(Vec<String>, usize), String> {
    let credentials = credentials(config, smarthost, account, store).await?;
    let connected = client::connect(&smarthost.endpoint, &config.office.hostname, credentials.as_ref(), client::Patience::default()).await;
    let mut client = connected.map_err(|error| error.to_string())?;
    let mut found = vec![match &credentials {
        Some(credentials) => format!("logged in as {}", credentials.user),
        None => "connected, without log-in".to_owned(),
    }];
    let mut refused = 0;
    for sender in senders {
        let (welcome, recipient) = client.try_sender(sender).await.map_err(|error| format!("trying {sender} as sender: {error}"))?;
        // That the address takes no mail itself is no concern here.
        let of_sender = |reply: &Reply| reply.class() == Class::Permanent && dsn::Class::of(&reply.to_string()) == dsn::Class::LoginRefused;
        if let Some(reply) = Some(welcome).filter(|reply| reply.class() != Class::Done).or(recipient.filter(of_sender)) {
            refused += 1;
            if refused <= MAX_REFUSED {
                found.push(format!("FAILED: it does not accept {sender} as sender: {reply}"));
            }
        }
    }
    client.quit().await;
    let accepted = senders.len() - refused;
    if accepted > 0 {
        found.push(format!("accepts {accepted} of {} sender addresses", senders.len()));
    }
    Ok((found, refused))
}

/// The addresses that anybody may send as through this smarthost.
fn senders_of(current: &Current, smarthost: &Smarthost) -> BTreeSet<Address> {
    let users = current.config.named_users.iter().map(|(name, _)| name.clone());
    let users: BTreeSet<String> = users.chain(current.mapping.named_users().into_iter().map(|(name, _)| name)).collect();
    let identities = users.iter().flat_map(|user| current.mapping.identities(user));
    identities.map(|identity| identity.address).filter(|address| smarthost.accepts(address)).collect()
}

/// The log-ins of a smarthost, each with what to call it.
fn accounts(config: &Config, smarthost: &Smarthost, senders: &BTreeSet<Address>) -> Vec<(String, Result<Account, String>)> {
    let name = format!("smarthost {}", smarthost.name);
    if !matches!(smarthost.login, SmarthostLogin::Collector) {
        return vec![(name, Account::of(config, smarthost, None))];
    }
    let mut accounts: Vec<(String, Result<Account, String>)> = Vec::new();
    for sender in senders {
        let account = Account::of(config, smarthost, Some(sender));
        let what = match &account {
            Ok(Account::Collector(collector, _)) => format!("{name} as collector {collector}"),
            _ => format!("{name} for {sender}"),
        };
        if !accounts.iter().any(|(known, _)| *known == what) {
            accounts.push((what, account));
        }
    }
    accounts
}

fn is_of(config: &Config, collector: &str, sender: &Address) -> bool {
    config.collectors.iter().any(|one| one.name == collector && one.address.as_ref() == Some(sender))
}

fn mails(count: usize) -> String {
    match count {
        0 => "no mail".to_owned(),
        1 => "1 mail".to_owned(),
        _ => format!("{count} mails"),
    }
}

/// A line about something, and further ones below it.
pub(super) fn tell(out: &mut impl Write, what: &str, lines: &[String]) -> std::io::Result<()> {
    for (at, line) in lines.iter().enumerate() {
        match at {
            0 => writeln!(out, "{what}: {line}")?,
            _ => writeln!(out, "  {line}")?,
        }
    }
    out.flush()
}
