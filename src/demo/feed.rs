//! One line a fetched message: who got it and why, read from the journal as messages come in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::Page;
use super::samples::SAMPLES;
use super::sandbox::Side;
use crate::message::header::Header;

/// Enough for the header of a sample.
const HEADER: usize = 64 * 1024;
/// Columns for the subject and for the people.
const SUBJECT: usize = 42;
const PEOPLE: usize = 16;

/// Between two looks, if nothing happens.
const GLANCE: Duration = Duration::from_millis(200);

/// What was fetched since it was made.
pub struct Feed<'a> {
    office: &'a Side,
    page: &'a mut Page,
    after: i64,
    /// Who has which message already.
    had: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Feed<'a> {
    /// Starts with all that is in the journal.
    pub fn new(office: &'a Side, page: &'a mut Page) -> Feed<'a> {
        Feed { office, page, after: 0, had: BTreeMap::new() }
    }

    /// Leaves out what is in the journal already.
    pub async fn skip(mut self) -> anyhow::Result<Feed<'a>> {
        while let Some(last) = self.office.store().journal(0, self.after, 100).await?.last() {
            self.after = last.id;
        }
        Ok(self)
    }

    /// Prints lines as messages come, until `done` says so or the gateway ends.
    pub async fn until(&mut self, mut done: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let mut changes = self.office.store().changes();
        loop {
            self.print().await?;
            if done().await? {
                return self.print().await;
            }
            // Not everything that `done` looks at is told of as a change.
            if let Ok(Err(RecvError::Closed)) = timeout(GLANCE, changes.recv()).await {
                return Ok(());
            }
        }
    }

    async fn print(&mut self) -> anyhow::Result<()> {
        let store = self.office.store();
        for entry in store.journal(0, self.after, 100).await? {
            self.after = entry.id;
            let header = store.content(entry.content, 0, HEADER).await?;
            let header = Header::parse(&header);
            let subject = header.text("subject").unwrap_or_default();
            let id = header.text("message-id").unwrap_or_default();
            let decision: Value = serde_json::from_str(&entry.decision)?;
            let note = SAMPLES.iter().find(|sample| id.contains(sample.message_id())).map_or("", |sample| sample.note);
            let had = self.had.entry(id).or_default();
            let people: BTreeSet<String> = names(&decision).difference(had).cloned().collect();
            let again: Vec<String> = names(&decision).intersection(had).cloned().collect();
            had.extend(people.iter().cloned());
            let mut to = people.into_iter().collect::<Vec<_>>().join(", ");
            if to.is_empty() {
                to = decision["outcome"]
                    .as_str()
                    .filter(|_| again.is_empty())
                    .map_or("nobody new", |outcome| match outcome {
                        "held" => "the tray",
                        outcome => outcome,
                    })
                    .to_owned();
            }
            let mut why = reason(&decision);
            if !note.is_empty() {
                why.push_str(&format!(" ({note})"));
            }
            if !again.is_empty() {
                why.push_str(&format!("; {} has it already", again.join(", ")));
            }
            let line = format!("  {}  → {}  {}", column(&subject, SUBJECT), column(&to, PEOPLE), self.page.aside(&why));
            self.page.say(&line);
        }
        Ok(())
    }
}

/// Recipients of a decision, as `explain --json` prints it.
fn names(decision: &Value) -> BTreeSet<String> {
    let recipients = decision["recipients"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |recipient: &Value| {
        let user = recipient["user"].as_str()?;
        let folder = recipient["folder"].as_str().filter(|folder| *folder != "INBOX");
        Some(folder.map_or(user.to_owned(), |folder| format!("{user}/{folder}")))
    };
    recipients.iter().filter_map(name).collect()
}

/// What led somewhere, in few words; `mailroom explain` tells all of it.
fn reason(decision: &Value) -> String {
    let steps = decision["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told = |step: &Value| -> Option<String> {
        let (stage, evidence) = (step["stage"].as_str()?, step["evidence"].as_str()?);
        let found = step["addresses"].as_array().is_some_and(|addresses| !addresses.is_empty());
        match stage {
            "bind" => Some(format!("bind: {evidence}: all of its mail")),
            // The share's own steps: what tells its members apart.
            "name" | "tag" | "reply" if !step["result"].as_str().is_some_and(|result| result.starts_with("tells nobody")) => {
                Some(format!("share, by {stage}: {evidence}"))
            }
            "name" | "tag" | "reply" => Some("share: nobody is named, so “otherwise” gets it".into()),
            _ if found => Some(evidence.replace(['\r', '\n', '\t'], " ")),
            _ => None,
        }
    };
    let told: Vec<String> = steps.iter().filter_map(told).collect();
    // Of a share only what told its members apart, of the rest the evidence.
    told.last().cloned().unwrap_or_default()
}

/// Cut or filled to so many characters.
fn column(text: &str, width: usize) -> String {
    let count = text.chars().count();
    match count <= width {
        true => format!("{text}{}", " ".repeat(width - count)),
        false => text.chars().take(width - 1).chain(['…']).collect(),
    }
}
