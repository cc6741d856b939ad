//! `mailroom trace`: everything that ever happened to a message.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Global, configuration, show, store_of};
use crate::store::trace::Line;

/// `trace`
#[derive(Debug, Args)]
pub struct Arguments {
    /// A Message-ID, or any text: an address, a word of the subject
    text: String,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let config = configuration(global)?;
    let zone = config.office.timezone.clone().unwrap_or_else(jiff::tz::TimeZone::system);
    let lines = store_of(&config)?.trace(&arguments.text).await?;
    if arguments.json {
        let line = |line: &Line| {
            let id = line.content.map(|content| content.0);
            json!({ "time": show::rfc3339(line.time, &zone), "event": line.event, "detail": line.detail, "message_id": line.message_id, "id": id })
        };
        println!("{}", serde_json::to_string_pretty(&Value::Array(lines.iter().map(line).collect()))?);
        return Ok(Exit::Done);
    }
    if lines.is_empty() {
        eprintln!("nothing is known of “{}”", arguments.text);
    }
    let mut message = None;
    for line in &lines {
        let this = (line.content, line.message_id.as_deref());
        if message != Some(this) {
            message = Some(this);
            let number = line.content.map_or(String::new(), |content| format!("#{}  ", content.0));
            println!("{number}{}", line.message_id.as_deref().map_or("no Message-ID".into(), |id| format!("<{}>", show::safe(id))));
        }
        println!("  {}  {:<11} {}", show::rfc3339(line.time, &zone), line.event, show::safe(&line.detail));
    }
    Ok(Exit::Done)
}
