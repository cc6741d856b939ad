//! NOTIFY (RFC 5465): a client says what it wants to be told of, in which mailboxes, and is told between its commands, too.
//!
//! What it was told last of each mailbox is remembered; when something changed, what is there now is compared with that. So nothing is
//! lost however many changes come at once, and none is told twice.

use std::collections::{BTreeMap, BTreeSet};

use super::Session;
use super::list::level_line;
use super::outcome::{Done, Failure, Performed};
use crate::imap::command::{Events, Mailboxes, Notify, SelectedEvents, StatusItem};
use crate::imap::pattern::{SEPARATOR, superiors};
use crate::store::{Change, Folder, FolderId};

/// What a client watches.
#[derive(Debug, Default)]
pub struct Watch {
    asked: Notify,
    /// Mailboxes as the client was told of them.
    known: BTreeMap<FolderId, Folder>,
}

/// What was published and has not been looked at yet.
#[derive(Debug, Default)]
pub struct Noticed {
    folders: BTreeSet<FolderId>,
    names: bool,
    annotations: bool,
    /// Whether the user is still one.
    pub users: bool,
    everything: bool,
}

/// Which changes are worth waking up for.
#[derive(Debug, Clone, Copy)]
pub struct Concern {
    others: bool,
    open: Option<FolderId>,
}

impl Concern {
    /// Whether this is one.
    pub fn is(self, change: Change) -> bool {
        match change {
            Change::Folder(id) => self.others || self.open == Some(id),
            Change::Folders(_) | Change::Annotations => self.others,
            Change::Anything | Change::Users => true,
            _ => false,
        }
    }
}

impl Session {
    pub(super) async fn set_notify(&mut self, asked: Notify) -> Performed {
        // An implied NOOP, by the rules that held until now.
        self.sync(true, true).await?;
        let mut watch = Watch { asked, known: BTreeMap::new() };
        if !watch.asked.groups.is_empty() {
            watch.known = self.all_folders().await?.into_iter().map(|folder| (folder.id, folder)).collect();
        }
        if watch.asked.groups.iter().any(|group| group.events.metadata || group.events.server_metadata) && !self.enabled.metadata {
            self.annotations_told = self.store().annotations_now().await?;
        }
        if watch.asked.status {
            let open = self.selected.as_ref().map(|selected| selected.folder.id);
            for folder in watch.known.values().filter(|folder| Some(folder.id) != open) {
                let events = self.events(&watch.asked, folder);
                if events.messages {
                    let mut items = vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
                    items.extend(events.flags.then_some(StatusItem::HighestModSeq));
                    let line = self.status_line(folder, &items).await?;
                    self.send(line.as_bytes()).await?;
                }
            }
        }
        self.notify = Some(Box::new(watch));
        Ok(Done::ok("You will be told."))
    }

    /// Whether something may have to be told between commands.
    pub(super) fn is_watching(&self) -> bool {
        self.enabled.metadata || self.notify.as_ref().is_some_and(|watch| watch.asked.selected.is_some() || !watch.asked.groups.is_empty())
    }

    /// What is told of the open mailbox; `None` is nothing. Without NOTIFY it is everything.
    pub(super) fn told_of_selected(&self) -> Option<SelectedEvents> {
        match &self.notify {
            None => Some(SelectedEvents { flags: true, ..SelectedEvents::default() }),
            Some(watch) => watch.asked.selected.clone(),
        }
    }

    /// Whether removals wait for a command.
    pub(super) fn delays_removals(&self) -> bool {
        self.notify.as_ref().is_none_or(|watch| watch.asked.selected.as_ref().is_none_or(|selected| selected.delayed))
    }

    pub(super) fn concern(&self) -> Concern {
        Concern { others: self.is_watching(), open: self.selected.as_ref().map(|selected| selected.folder.id) }
    }

    /// This client made, removed, renamed or subscribed a mailbox itself: that is no news to it.
    pub(super) fn did(&mut self, name: &str) {
        if self.is_watching() {
            self.own_names.push(name.to_owned());
        }
    }

    /// Remembers a published change; `None`: so many that they could not be kept.
    pub(super) fn note(&mut self, change: Option<Change>) {
        let watching = self.is_watching();
        match change {
            Some(Change::Folder(id)) => match &mut self.selected {
                Some(selected) if selected.folder.id == id => selected.dirty = true,
                _ if watching => {
                    self.noticed.folders.insert(id);
                }
                _ => {}
            },
            Some(Change::Folders(_)) => self.noticed.names = true,
            Some(Change::Annotations) => self.noticed.annotations = true,
            Some(Change::Users) => self.noticed.users = true,
            Some(Change::Anything) | None => {
                (self.noticed.users, self.noticed.everything) = (true, true);
                if let Some(selected) = &mut self.selected {
                    selected.dirty = true;
                }
            }
            Some(_) => {}
        }
    }

    /// Who shares what with whom has changed.
    pub(super) fn note_mapping(&mut self) {
        self.noticed.names = true;
    }

    /// Tells of what is not the open mailbox's messages.
    pub(super) async fn tell_of_others(&mut self) -> Result<(), Failure> {
        let noticed = std::mem::take(&mut self.noticed);
        if !self.is_watching() {
            return Ok(());
        }
        if noticed.names || noticed.everything {
            self.tell_names().await?;
        }
        let folders: Vec<FolderId> = match (&self.notify, noticed.everything) {
            (Some(watch), true) => watch.known.keys().copied().collect(),
            (Some(_), false) => noticed.folders.into_iter().collect(),
            (None, _) => Vec::new(),
        };
        for id in folders {
            self.tell_status(id).await?;
        }
        if noticed.annotations || noticed.everything {
            self.tell_annotations().await?;
        }
        Ok(())
    }

    /// What is wanted of a mailbox: several groups may say something.
    fn events(&self, asked: &Notify, folder: &Folder) -> Events {
        let own = self.account.as_ref().is_some_and(|account| account.id == folder.account);
        let mut events = Events::default();
        for group in &asked.groups {
            let covered = match &group.mailboxes {
                // Rules deliver into any folder: all of them are inboxes (RFC 5465 §6.3).
                Mailboxes::Inboxes | Mailboxes::Personal => own,
                Mailboxes::Subscribed => folder.subscribed,
                Mailboxes::Subtree(names) => names.iter().any(|name| {
                    folder.name.strip_prefix(name.as_str()).is_some_and(|below| below.is_empty() || below.starts_with(SEPARATOR))
                }),
                Mailboxes::Named(names) => names.contains(&folder.name),
            };
            if covered {
                events.messages |= group.events.messages;
                events.flags |= group.events.flags;
                events.names |= group.events.names;
                events.subscriptions |= group.events.subscriptions;
                events.metadata |= group.events.metadata;
            }
        }
        events
    }

    /// LIST responses for mailboxes that came, went, were renamed or subscribed, but not by this client.
    async fn tell_names(&mut self) -> Result<(), Failure> {
        let own_names = std::mem::take(&mut self.own_names);
        let Some(mut watch) = self.notify.take() else { return Ok(()) };
        let told = self.compare_names(&mut watch, &own_names).await;
        self.notify = Some(watch);
        for line in told? {
            self.send(line.as_bytes()).await?;
        }
        Ok(())
    }

    async fn compare_names(&mut self, watch: &mut Watch, own_names: &[String]) -> Result<Vec<String>, Failure> {
        if watch.asked.groups.is_empty() {
            return Ok(Vec::new());
        }
        let folders = self.all_folders().await?;
        let now: BTreeMap<FolderId, &Folder> = folders.iter().map(|folder| (folder.id, folder)).collect();
        // Each affected name, with its old one.
        let mut affected: BTreeMap<String, Option<String>> = BTreeMap::new();
        let renamed: Vec<(&str, &str)> = watch
            .known
            .values()
            .filter_map(|was| Some((was.name.as_str(), now.get(&was.id)?.name.as_str())))
            .filter(|(old, new)| old != new)
            .collect();
        let came_or_went = |folder: &Folder, affected: &mut BTreeMap<String, Option<String>>| {
            if self.events(&watch.asked, folder).names && !own_names.contains(&folder.name) {
                affected.entry(folder.name.clone()).or_default();
                let parent = superiors(&folder.name).next().map(str::to_owned);
                let parent = parent.map(|name| Folder { name, ..folder.clone() });
                if let Some(parent) = parent.filter(|parent| self.events(&watch.asked, parent).names) {
                    affected.entry(parent.name).or_default();
                }
            }
        };
        for folder in &folders {
            let Some(was) = watch.known.get(&folder.id) else {
                came_or_went(folder, &mut affected);
                continue;
            };
            let events = self.events(&watch.asked, folder);
            if was.name != folder.name && (events.names || self.events(&watch.asked, was).names) && !own_names.contains(&folder.name) {
                let with_another = renamed.iter().any(|(old, new)| {
                    let below =
                        |name: &'_ str, above: &str| name.strip_prefix(above).filter(|rest| rest.starts_with(SEPARATOR)).map(str::to_owned);
                    below(&was.name, old).is_some_and(|rest| below(&folder.name, new) == Some(rest))
                });
                if !with_another {
                    affected.insert(folder.name.clone(), Some(was.name.clone()));
                }
            }
            if was.subscribed != folder.subscribed && events.subscriptions && !own_names.contains(&folder.name) {
                affected.entry(folder.name.clone()).or_default();
            }
        }
        for was in watch.known.values().filter(|was| !now.contains_key(&was.id)) {
            came_or_went(was, &mut affected);
        }
        watch.known.retain(|id, _| now.contains_key(id));
        for folder in &folders {
            let known = watch.known.entry(folder.id).or_insert_with(|| folder.clone());
            (known.name, known.subscribed) = (folder.name.clone(), folder.subscribed);
        }
        Ok(affected
            .iter()
            .map(|(name, old)| level_line(&folders, name, &self.name(name), old.as_ref().map(|old| self.name(old)).as_deref()))
            .collect())
    }

    /// STATUS if the mailbox is not as the client knows it.
    async fn tell_status(&mut self, id: FolderId) -> Result<(), Failure> {
        let open = self.selected.as_ref().is_some_and(|selected| selected.folder.id == id);
        let known = |watch: &Watch| watch.known.get(&id).cloned();
        let Some(was) = self.notify.as_deref().and_then(known).filter(|_| !open) else { return Ok(()) };
        let Some(mut now) = self.store().folder(id).await? else { return Ok(()) };
        let Some(watch) = &self.notify else { return Ok(()) };
        (now.name, now.subscribed) = (was.name.clone(), was.subscribed);
        let events = self.events(&watch.asked, &now);
        let messages = events.messages && (now.messages, now.uidnext) != (was.messages, was.uidnext);
        let (condstore, reads) = (self.enabled.condstore, now.unseen != was.unseen);
        let flags = events.flags && (reads || (condstore && now.highest_modseq != was.highest_modseq));
        let mut items = Vec::new();
        if messages {
            items.extend([StatusItem::Messages, StatusItem::UidNext]);
        }
        if messages || flags {
            items.push(StatusItem::UidValidity);
            items.extend((events.flags && reads).then_some(StatusItem::Unseen));
            items.extend(condstore.then_some(StatusItem::HighestModSeq));
        }
        let line = if items.is_empty() { None } else { Some(self.status_line(&now, &items).await?) };
        if let Some(watch) = &mut self.notify {
            watch.known.insert(id, now);
        }
        if let Some(line) = line {
            self.send(line.as_bytes()).await?;
        }
        Ok(())
    }

    /// Names of notes that others changed (RFC 5464 §4.4.2, RFC 5465 §5.6).
    async fn tell_annotations(&mut self) -> Result<(), Failure> {
        let account = self.account()?.id;
        let changed = self.store().annotations_since(self.annotations_told, account).await?;
        let Some(last) = changed.last().map(|annotation| annotation.change) else { return Ok(()) };
        self.annotations_told = last;
        let own = std::mem::take(&mut self.own_annotations);
        let folders: BTreeMap<FolderId, Folder> = self.all_folders().await?.into_iter().map(|folder| (folder.id, folder)).collect();
        let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for annotation in changed.into_iter().filter(|annotation| !own.contains(&annotation.change)) {
            let (name, asked) = match annotation.hook.folder {
                Some(id) => match folders.get(&id) {
                    Some(folder) => {
                        let asked = self.notify.as_ref().is_some_and(|watch| self.events(&watch.asked, folder).metadata);
                        (self.name(&folder.name), asked)
                    }
                    None => continue,
                },
                None => {
                    let asked = |watch: &Watch| watch.asked.groups.iter().any(|group| group.events.server_metadata);
                    (self.name(""), self.notify.as_deref().is_some_and(asked))
                }
            };
            if asked || self.enabled.metadata {
                lines.entry(name).or_default().push(super::metadata::entry_name(&annotation.entry));
            }
        }
        for (name, entries) in lines {
            self.send(format!("* METADATA {name} {}\r\n", entries.join(" ")).as_bytes()).await?;
        }
        Ok(())
    }
}
