//! `mailroom oauth`: a person's log-in at a provider that takes no passwords. Once for each person, whatever fetches and sends with it.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Exit, Global, configuration, store_of};
use crate::config::{Config, OAuthFlow};
use crate::oauth::{self, Consent, OAuthError, Tokens, browser, device};
use crate::store::Store;

/// A browser page that nobody answers for so long is forgotten.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Longer lines on standard input are no address.
const MAX_PASTED: usize = 16 * 1024;

/// `oauth`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Log in by a code typed in on any device, or in a browser; what comes of it is stored encrypted
    Login {
        /// A collector or smarthost
        name: String,
    },
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let Action::Login { name } = arguments.action;
    let config = configuration(global)?;
    // A name that is wrong is said before a store is opened.
    consents(&config, &name)?;
    login(&config, &store_of(&config)?, &name).await?;
    Ok(Exit::Done)
}

/// Has somebody log in for this collector or smarthost, and keeps what comes of it.
pub async fn login(config: &Config, store: &Store, name: &str) -> anyhow::Result<()> {
    for consent in consents(config, name)? {
        let tokens = match consent.flow {
            OAuthFlow::Device => by_code(store, &consent).await?,
            OAuthFlow::Browser => in_browser(store, &consent).await?,
        };
        oauth::keep(store, &consent, &tokens).await?;
        println!("logged in as {}; good for {}", consent.login, beneficiaries(config, &consent).join(", "));
    }
    Ok(())
}

/// What has to be consented to for this name, each widened to all that the same person's log-in is used for. Two, if a collector and a
/// smarthost of one name log in as two people.
fn consents(config: &Config, name: &str) -> anyhow::Result<Vec<Consent>> {
    let collector = config.collectors.iter().find(|collector| collector.name == name);
    let smarthost = config.smarthosts.iter().find(|smarthost| smarthost.name == name);
    let mut found: Vec<Consent> = Vec::new();
    for consent in collector.and_then(Consent::to_fetch).into_iter().chain(smarthost.and_then(Consent::to_send)) {
        if !found.iter().any(|one| one.secret_name() == consent.secret_name()) {
            found.push(consent.widened(config));
        }
    }
    anyhow::ensure!(collector.is_some() || smarthost.is_some(), "there is no collector and no smarthost {name}");
    anyhow::ensure!(!found.is_empty(), "{name} logs in with a password; for OAuth it needs auth = \"oauth2\" and oauth2 = {{ … }}");
    Ok(found)
}

fn beneficiaries(config: &Config, consent: &Consent) -> Vec<String> {
    let same = |one: &Consent| one.secret_name() == consent.secret_name();
    let collectors = config.collectors.iter().filter(|one| Consent::to_fetch(one).as_ref().is_some_and(same));
    let smarthosts = config.smarthosts.iter().filter(|one| Consent::to_send(one).as_ref().is_some_and(same));
    let collectors = collectors.map(|one| format!("collector {}", one.name));
    collectors.chain(smarthosts.map(|one| format!("smarthost {}", one.name))).collect()
}

async fn by_code(store: &Store, consent: &Consent) -> Result<Tokens, OAuthError> {
    let pending = device::begin(store, consent).await?;
    println!("Open {} on any device, log in as {} and enter the code {}", pending.url(), consent.login, pending.code());
    if let Some(url) = pending.complete_url() {
        println!("or open {url}");
    }
    pending.wait(store, consent).await
}

async fn in_browser(store: &Store, consent: &Consent) -> anyhow::Result<Tokens> {
    let pending = browser::begin(consent).await?;
    println!("Open this address in a browser and log in as {}:\n\n{}\n", consent.login, pending.url());
    println!("If the browser runs on another machine it ends at a page that does not open: paste that page's address here.");
    let answer = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            answer = pending.answer() => answer,
            answer = pasted(&pending) => answer,
        }
    });
    let code = answer.await.context("nobody logged in for a quarter of an hour; start again")??;
    Ok(pending.redeem(store, consent, code).await?)
}

/// The answer in a line of standard input; waits for ever if there is none.
async fn pasted(pending: &browser::Pending) -> Result<browser::Code, OAuthError> {
    let mut lines = BufReader::new(tokio::io::AsyncReadExt::take(tokio::io::stdin(), MAX_PASTED as u64)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match pending.pasted(&line) {
            Some(answer) => return answer,
            None if line.trim().is_empty() => {}
            None => eprintln!("that is not the address of this log-in's last page; it begins with http:// and holds “code=”"),
        }
    }
    std::future::pending().await
}
