//! From texts to a [`Loaded`] configuration.

use super::collector::Collector;
use super::listen::{Access, Device, Listen, TlsFiles};
use super::office::{Log, Office, Storage};
use super::providers::Profiles;
use super::smarthost::Smarthost;
use super::{Config, Loaded, planned};
use crate::document::{Document, Mark, Place, Problem, Table};
use crate::mapping::{Mention, Target};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names stand in traces, tables and file names.
const MAX_NAME: usize = 64;

/// What the readers of the tables note beside the values.
#[derive(Default)]
pub(super) struct Reading {
    users: Vec<(String, Place)>,
    mentions: Vec<Mention>,
    names: BTreeMap<(&'static str, String), usize>,
}

impl Reading {
    pub(super) fn name_user(&mut self, name: &str, place: Place) {
        self.users.push((name.to_owned(), place));
    }

    /// A target without its lists and tables.
    pub(super) fn mention(&mut self, target: &Target, mark: Mark<'_>) {
        match target {
            Target::User(name) => self.name_user(name, mark.place()),
            target => self.mentions.push(Mention { target: target.clone(), problem: mark.problem("") }),
        }
    }
}

/// Reads and checks the configuration; all problems at once.
///
/// `files` holds the texts of `file` itself (`mailroom.toml`) and of every `mappings/*.toml` and `mappings/providers/*.toml` beside it, by
/// absolute path: gathered from the disk, or from the store's last good ones. Of the mapping files only the paths matter here; they are
/// compiled by [`crate::mapping::Mapping::load`].
pub fn parse(file: &Path, files: BTreeMap<PathBuf, String>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut profiles = Profiles::built_in();
    let providers = mappings_beside(file).join("providers");
    for (path, text) in files.iter().filter(|(path, _)| path.parent() == Some(&providers)) {
        problems.extend(profiles.add(path.clone(), text).err().unwrap_or_default());
    }
    let Some(text) = files.get(file) else {
        return Err(vec![Problem::of_file(file, "is not among the files")]);
    };
    let document = match Document::parse(file, text) {
        Ok(document) => document,
        Err(errors) => return Err([problems, errors].concat()),
    };
    let config = read_config(&document, &profiles);
    let (errors, warnings) = document.finish();
    problems.extend(errors);
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, profiles, warnings, files }),
        _ => Err(problems),
    }
}

/// The unique name of a collector, smarthost or device.
pub(super) fn name(table: &Table<'_>, reading: &mut Reading, kind: &'static str, example: &str) -> Option<String> {
    let value = table.require("name", &format!("name = \"{example}\""))?;
    let name = value.parse(|text| match text {
        "" => Err("this name is empty".to_owned()),
        _ if text.len() > MAX_NAME => Err(format!("a name has at most {MAX_NAME} characters")),
        _ if text.starts_with('-') || text.contains(|c: char| c.is_control() || c.is_whitespace() || "/\\\"'".contains(c)) => {
            Err(format!("\"{text}\" can't be a name; write one without blanks, slashes and quotes, such as \"{example}\""))
        }
        _ => Ok(text.to_owned()),
    })?;
    if let Some(line) = reading.names.insert((kind, name.clone()), value.place().line) {
        value.mark().wrong(format!("there is another {kind} \"{name}\" on line {line}"));
    }
    Some(name)
}

pub(super) fn read_config(document: &Document, profiles: &Profiles) -> Option<Config> {
    let root = document.root();
    let mut reading = Reading::default();
    let tables = ["office", "storage", "listen", "tls", "access", "log"].map(|key| root.table(key));
    let [office, storage, listen, tls, access, log] = &tables;
    if office.is_none() && !root.has("office") {
        root.missing("[office]", "[office] with postmaster = \"alice\"");
    }
    let office = office.as_ref().and_then(|table| Office::read(table, profiles, &mut reading));
    let domains = office.as_ref().map_or_else(Vec::new, |office| office.domains.clone());
    let storage = match storage {
        Some(table) => Storage::read(table),
        None => Storage::default(),
    };
    let listen = Listen::read(listen.as_ref());
    let tls = tls.as_ref().map(TlsFiles::read);
    let access = Access::read(access.as_ref());
    let log = Log::read(log.as_ref());
    let devices = each(&root, "device", |table| Device::read(table, &mut reading));
    let collectors = each(&root, "collector", |table| Collector::read(table, profiles, &domains, &mut reading));
    let smarthosts = each(&root, "smarthost", |table| Smarthost::read(table, profiles, &collectors, &mut reading));
    warn_of_twins(&root, &collectors);
    warn_of_no_door(&root, &listen);
    planned::note(&root);
    tables.into_iter().flatten().for_each(Table::finish);
    root.finish();
    Some(Config {
        file: document.path().to_owned(),
        office: office?,
        storage,
        listen,
        tls: tls.flatten(),
        access,
        log,
        devices,
        collectors,
        smarthosts,
        named_users: reading.users,
        mentions: reading.mentions,
    })
}

/// Reads `[[key]]`; those with mistakes are left out, the mistakes noted.
fn each<T>(root: &Table<'_>, key: &str, mut read: impl FnMut(&Table<'_>) -> Option<T>) -> Vec<T> {
    let mut all = Vec::new();
    for table in root.tables(key) {
        all.extend(read(&table));
        table.finish();
    }
    all
}

/// Devices and other servers come by port 25 alone.
fn warn_of_no_door(root: &Table<'_>, listen: &Listen) {
    if !listen.smtp.is_empty() {
        return;
    }
    let inbound = root.table("access").filter(|access| access.one_or_more("inbound").is_some_and(|networks| !networks.is_empty()));
    let inbound = inbound.and_then(|access| Some((access.key_mark("inbound")?, "access.inbound")));
    let device = root.tables("device").first().map(|device| (device.mark(), "[[device]]"));
    for (mark, what) in inbound.into_iter().chain(device) {
        mark.warn(format!("{what} does nothing without listen.smtp"), Some("smtp = [\"0.0.0.0:25\"] in [listen]".to_owned()));
    }
}

/// Two collectors for one mailbox fetch each message once, so the second one finds nothing.
fn warn_of_twins(root: &Table<'_>, collectors: &[Collector]) {
    for (index, one) in collectors.iter().enumerate() {
        let same = |other: &&Collector| {
            other.endpoint.host == one.endpoint.host
                && other.log_in_as() == one.log_in_as()
                && other.folders.iter().any(|(folder, _)| one.folders.iter().any(|(mine, _)| mine == folder))
        };
        let Some(twin) = collectors[..index].iter().find(same) else { continue };
        if let Some(table) = root.tables("collector").iter().find(|table| table.place().line == one.line) {
            table.mark().warn(
                format!("\"{}\" fetches the same mailbox as \"{}\": what one has fetched, the other does not see", one.name, twin.name),
                None,
            );
        }
    }
}

fn mappings_beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("mappings")
}
