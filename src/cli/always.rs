//! `--always`: the narrowest line in a mapping file that sends such mail to the right person from now on.
//!
//! Lines are tried in memory: the files have to load with them, every `[[expect]]` has to hold, and the mail has to find its way. Only
//! then a file is replaced, in one step.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Global, config_file};
use crate::address::Address;
use crate::gateway::LoadError;
use crate::gateway::files::{self, Compiled, Texts};
use crate::inbound::again::Known;
use crate::mapping::edit::{self, Claim};
use crate::mapping::{Decision, Mailbox, Outcome};
use crate::service::platform;
use crate::store::tray::{Held, Kind};
use crate::store::{ContentId, Store};

/// What should become of such mail.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// Somebody gets it.
    For(&'a Mailbox),
    /// Nobody does.
    Nobody,
}

impl Wanted<'_> {
    fn target(self) -> String {
        match self {
            Wanted::For(mailbox) => mailbox.to_string(),
            Wanted::Nobody => "discard".to_owned(),
        }
    }

    fn is_met(self, decision: &Decision) -> bool {
        match self {
            Wanted::For(mailbox) => decision.held.is_none() && decision.recipients.iter().any(|one| one.mailbox == *mailbox),
            Wanted::Nobody => decision.outcome() == Outcome::Discarded,
        }
    }
}

/// The mapping files with new lines, not yet written.
pub struct Always<'s> {
    store: &'s Store,
    /// The upstream folder that each original lay in.
    folders: HashMap<ContentId, String>,
    file: PathBuf,
    before: Texts,
    compiled: Compiled,
    /// File and line, in words.
    added: Vec<(PathBuf, String)>,
}

impl<'s> Always<'s> {
    /// Starts from the files as they are; they have to load.
    pub async fn begin(global: &Global, store: &'s Store) -> anyhow::Result<Always<'s>> {
        let file = config_file(global)?;
        let before = files::gather(&file)?;
        let compiled = compile(store, &file, before.clone()).await?;
        let folders = store.upstream_folders().await?;
        Ok(Always { store, folders, file, before, compiled, added: Vec::new() })
    }

    /// Finds the line for a held mail, unless an earlier one serves it already.
    pub async fn learn(&mut self, held: &Held, wanted: Wanted<'_>) -> anyhow::Result<()> {
        anyhow::ensure!(held.kind == Kind::Held, "{}: it is not in the tray for want of a rule; leave --always out", held.id);
        let known =
            Known::read(self.store, held.content, held.collector.as_deref(), self.folders.get(&held.content).map(String::as_str)).await?;
        if wanted.is_met(&known.decide_now(&self.compiled.current)) {
            return Ok(());
        }
        let mut objections = String::new();
        for claims in candidates(held, &known) {
            let words = claims.iter().map(|claim| claim.words(&wanted.target())).collect::<Vec<_>>();
            match self.attempt(&claims, &wanted.target()).await {
                Ok((compiled, files)) if wanted.is_met(&known.decide_now(&compiled.current)) => {
                    self.added.extend(files.into_iter().zip(words));
                    self.compiled = compiled;
                    return Ok(());
                }
                Ok(_) => objections += &format!("\n  {}: such mail would still go another way", words.join("; ")),
                Err(error) => objections += &format!("\n  {}: {error}", words.join("; ")),
            }
        }
        anyhow::bail!("{}: no line in the mapping files does it, so nothing was done{objections}", held.id)
    }

    async fn attempt(&self, claims: &[Claim], target: &str) -> anyhow::Result<(Compiled, Vec<PathBuf>)> {
        let mut texts = self.compiled.texts.clone();
        let mut files = Vec::new();
        for claim in claims {
            let folder = files::mappings_beside(&self.file);
            let mappings = files::mapping_texts(&self.file, &texts);
            let path = edit::home(&mappings, claim).map_or_else(|| folder.join("office.toml"), |at| mappings[at].0.clone());
            let text = texts.entry(path.clone()).or_default();
            *text = edit::add(text, claim, target).map_err(anyhow::Error::msg)?;
            files.push(path);
        }
        Ok((compile(self.store, &self.file, texts).await?, files))
    }

    /// Replaces the files that changed, each in one step, unless somebody changed them meanwhile.
    pub fn write(&self) -> anyhow::Result<()> {
        let changed: Vec<_> = self.compiled.texts.iter().filter(|(path, text)| self.before.get(*path) != Some(*text)).collect();
        for (path, _) in &changed {
            let now = std::fs::read_to_string(path).ok();
            anyhow::ensure!(now.as_ref() == self.before.get(*path), "{} was changed meanwhile; nothing was done", path.display());
        }
        for (path, text) in changed {
            platform::with_own_rights(|| replace(path, text)).with_context(|| format!("writing {}", path.display()))?;
        }
        for (path, line) in &self.added {
            eprintln!("{}: {line}", path.display());
        }
        Ok(())
    }
}

async fn compile(store: &Store, file: &Path, texts: Texts) -> Result<Compiled, LoadError> {
    let compiled = files::compile(files::parse(file, texts)?, store).await?;
    files::require_whole(&compiled)?;
    Ok(compiled)
}

/// The lines that might do, the narrowest first. Nothing with a wildcard: senders choose what stands in a header.
fn candidates(held: &Held, known: &Known) -> Vec<Vec<Claim>> {
    let plain = |text: &str| !text.is_empty() && !text.contains(['*', '?']);
    let mut found = Vec::new();
    found.extend(known.facts.list_id.clone().filter(|id| plain(id)).map(|id| vec![Claim::List(id)]));
    let addresses: Vec<Claim> =
        held.addresses.iter().filter(|text| plain(text)).filter_map(|text| Address::parse(text).ok().map(Claim::Address)).collect();
    if !addresses.is_empty() && addresses.len() == held.addresses.len() {
        found.push(addresses);
    }
    let from = known.facts.from.as_ref().and_then(|from| Address::parse(&from.address.to_string()).ok());
    found.extend(from.filter(|from| plain(from.key())).map(|from| vec![Claim::Sender(from)]));
    found
}

/// A file beside the old one takes its place, so that nobody ever reads half of it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The dot keeps it from being read as a mapping meanwhile.
    let new = path.with_file_name(format!(".{name}.new"));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let write = || {
        let mut file = std::fs::File::create(&new)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        if path.exists() {
            platform::make_like(&new, path)?;
        }
        platform::replace(&new, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&new)))
}
