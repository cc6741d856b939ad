//! `mailroom fetch`: now, and then end. Beside a running gateway it asks that one, so that the two never compete for a mailbox.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::office::Office;
use super::{Exit, Global, show};
use crate::config::{Collector, Current};
use crate::gateway::require_a_set_clock;
use crate::inbound::fetch::Order;
use crate::inbound::figures::{Figures, Progress};
use crate::inbound::places::Places;
use crate::inbound::scheduler::fetch_and_record;
use crate::store::requests::RequestId;
use crate::store::{Change, Store};
use crate::wire::dial::Patience;

/// Whether the gateway still runs is looked at this often.
const LOOK: Duration = Duration::from_secs(2);

/// `fetch [NAME…] [--json]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Collectors; none: all that are enabled
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let office = Office::open_whole(global).await?;
    require_a_set_clock(jiff::Timestamp::now())?;
    let Office { store, compiled } = office;
    let current = Arc::new(compiled.current);
    let Some(collectors) = wanted(&arguments.names, &current) else { return Ok(Exit::Configuration) };
    let figures = match store.gateway_runs() {
        true => beside_gateway(&store, &collectors).await?,
        false => {
            if !arguments.json && !agreed(&store, &collectors).await? {
                return Ok(Exit::Done);
            }
            alone(&store, &current, collectors, arguments.json).await
        }
    };
    report(&figures, arguments.json)?;
    for (name, error) in figures.iter().filter_map(|f| Some((&f.name, f.error.as_ref()?))) {
        eprintln!("mailroom: collector {name}: {error}");
    }
    Ok(if figures.iter().any(|figures| figures.error.is_some()) { Exit::Failed } else { Exit::Done })
}

/// `None`: a name is wrong, and that was said.
fn wanted(names: &[String], current: &Current) -> Option<Vec<Arc<Collector>>> {
    let all = &current.config.collectors;
    if names.is_empty() {
        return Some(all.iter().filter(|collector| collector.enabled).cloned().map(Arc::new).collect());
    }
    let mut wanted = Vec::new();
    for name in names {
        let Some(collector) = all.iter().find(|collector| collector.name == *name) else {
            let known: Vec<&str> = all.iter().map(|collector| collector.name.as_str()).collect();
            eprintln!("mailroom: there is no collector “{name}”; there are: {}", known.join(", "));
            return None;
        };
        wanted.push(Arc::new(collector.clone()));
    }
    Some(wanted)
}

/// A mailbox that was never fetched may be full of mail that somebody still wants where it is: on a terminal, its owner is asked.
async fn agreed(store: &Store, collectors: &[Arc<Collector>]) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Ok(true);
    }
    for collector in collectors {
        if store.collector_state(&collector.name).await?.last_success.is_some() {
            continue;
        }
        println!("{} was never fetched. {}", collector.name, crate::inbound::intention::intention(collector));
        print!("Go on? [Y/n] ");
        std::io::Write::flush(&mut std::io::stdout())?;
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        if answer.await??.trim_start().to_lowercase().starts_with('n') {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn beside_gateway(store: &Store, collectors: &[Arc<Collector>]) -> anyhow::Result<Vec<Figures>> {
    let names: Vec<&str> = collectors.iter().map(|collector| collector.name.as_str()).collect();
    let mut changes = store.changes();
    let request = store.request_post("fetch", json!({ "names": names })).await?;
    let result = answer(store, request, &mut changes).await;
    store.request_drop(request).await?;
    let result = result?;
    if let Some(error) = result["error"].as_str() {
        anyhow::bail!("{error}");
    }
    Ok(serde_json::from_value(result["collectors"].clone())?)
}

async fn answer(store: &Store, request: RequestId, changes: &mut broadcast::Receiver<Change>) -> anyhow::Result<Value> {
    loop {
        if let Some(result) = store.request_result(request).await? {
            return Ok(result);
        }
        match tokio::time::timeout(LOOK, changes.recv()).await {
            Err(_) if !store.gateway_runs() => anyhow::bail!("the gateway ended before the fetch did; run the command again"),
            Ok(Err(broadcast::error::RecvError::Closed)) => anyhow::bail!("the store was closed"),
            _ => {}
        }
    }
}

async fn alone(store: &Store, current: &Arc<Current>, collectors: Vec<Arc<Collector>>, quiet: bool) -> Vec<Figures> {
    let bars = MultiProgress::new();
    let (_stop, stopped) = watch::channel(false);
    let places = Arc::new(Places::default());
    let mut running = JoinSet::new();
    let mut done: Vec<(usize, Figures)> = Vec::new();
    for (at, collector) in collectors.into_iter().enumerate() {
        let progress = watch::Sender::new(Progress::default());
        let watching = tokio::spawn(show_progress(collector.name.clone(), progress.subscribe(), bars.clone(), quiet));
        let (store, current, stop, places) = (store.clone(), Arc::clone(current), stopped.clone(), Arc::clone(&places));
        running.spawn(async move {
            let state = store.collector_state(&collector.name).await.unwrap_or_default();
            let order = Order { store, current, collector, patience: Patience::default(), progress, stop };
            let (outcome, _) = fetch_and_record(&order, &places, state).await;
            drop(order);
            // Ends when nobody can tell it anything any more.
            let _ = watching.await;
            (at, outcome.figures)
        });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(figures) => done.push(figures),
            Err(error) => eprintln!("mailroom: a fetch ended by a fault of the program: {error}"),
        }
    }
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, figures)| figures).collect()
}

async fn show_progress(name: String, mut progress: watch::Receiver<Progress>, bars: MultiProgress, quiet: bool) {
    let bar = bars.add(ProgressBar::new(0));
    if let Ok(style) = ProgressStyle::with_template("{prefix:16} {bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name);
    let mut told = 0;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        for notice in now.notices.iter().skip(told).filter(|_| !quiet) {
            bars.suspend(|| println!("{notice}"));
        }
        told = now.notices.len();
        bar.set_length(now.wanted);
        bar.set_position(now.received);
        bar.set_message(show::size(now.bytes));
    }
    bar.finish_and_clear();
}

fn report(figures: &[Figures], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({ "collectors": figures }))?);
        return Ok(());
    }
    if figures.is_empty() {
        println!("no collector is enabled");
    }
    for collector in figures {
        println!("{}", line(collector));
    }
    Ok(())
}

/// `isp: 3 new mails (2 delivered, 1 held), 12 known, 2 deleted at the provider; 1.2 MB in 0.9 s`
fn line(figures: &Figures) -> String {
    let kinds = [
        (figures.delivered, "delivered"),
        (figures.forwarded, "forwarded"),
        (figures.held, "held in the tray"),
        (figures.duplicate, "duplicate"),
        (figures.stub, "too large"),
        (figures.discarded, "discarded"),
        (figures.remote, "left for others"),
        (figures.quarantined, "in quarantine"),
    ];
    let parts: Vec<String> = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let failed = if figures.failed > 0 { format!(", {} not fetched", figures.failed) } else { String::new() };
    format!(
        "{}: {}{parts}, {} known, {} deleted at the provider{failed}; {} in {:.1} s",
        figures.name,
        show::count(figures.fetched, "new mail", "new mails"),
        figures.known,
        figures.deleted,
        show::size(figures.bytes),
        figures.seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened() {
        let mut figures = Figures { name: "isp".into(), known: 12, deleted: 2, seconds: 0.94, ..Figures::default() };
        figures.count("delivered", 1_000_000);
        figures.count("delivered", 100_000);
        figures.count("held", 100_000);
        let expected = "isp: 3 new mails (2 delivered, 1 held in the tray), 12 known, 2 deleted at the provider; 1.2 MB in 0.9 s";
        assert_eq!(line(&figures), expected);
    }
}
