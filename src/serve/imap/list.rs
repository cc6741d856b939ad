//! LIST and LSUB (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154).
//!
//! A level above a mailbox is shown even if it is no mailbox itself: `\NonExistent`.

use std::collections::BTreeMap;

use super::Session;
use super::folders::attribute;
use super::outcome::{Done, Performed};
use crate::imap::command::ListOptions;
use crate::imap::pattern::{matches, superiors};
use crate::store::Folder;

/// One line of the hierarchy.
#[derive(Default)]
struct Level<'a> {
    folder: Option<&'a Folder>,
    subscribed: bool,
    has_children: bool,
    has_subscribed_descendant: bool,
    has_special_descendant: bool,
}

impl Session {
    pub(super) async fn list(&mut self, options: &ListOptions) -> Performed {
        // RFC 9051 §6.3.9: the empty pattern asks for the separator.
        if !options.extended && options.patterns.iter().all(String::is_empty) {
            self.queue("* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Done::ok("This is the separator."));
        }
        let folders = self.store().folders(self.account()?.id).await?;
        let levels = hierarchy(&folders);
        let patterns: Vec<String> = options.patterns.iter().map(|pattern| format!("{}{pattern}", options.reference)).collect();
        for (name, level) in &levels {
            if !patterns.iter().any(|pattern| matches(pattern, name)) {
                continue;
            }
            let Some((attributes, child_info)) = shown(level, options) else { continue };
            let mut line = format!("* LIST ({}) \"/\" {}", attributes.join(" "), self.name(name));
            if !child_info.is_empty() {
                line.push_str(&format!(" (CHILDINFO ({}))", child_info.join(" ")));
            }
            line.push_str("\r\n");
            self.send(line.as_bytes()).await?;
            if let Some(folder) = level.folder.filter(|_| !options.returns.status.is_empty()) {
                let line = self.status_line(folder, &options.returns.status);
                self.send(line.as_bytes()).await?;
            }
        }
        Ok(Done::ok("These are the mailboxes."))
    }

    /// RFC 3501 §6.3.9: with `%`, a level that is not subscribed but has something subscribed below is shown as `\Noselect`.
    pub(super) async fn lsub(&mut self, reference: &str, pattern: &str) -> Performed {
        let folders = self.store().folders(self.account()?.id).await?;
        let pattern = format!("{reference}{pattern}");
        for (name, level) in &hierarchy(&folders) {
            let implied = pattern.ends_with('%') && level.has_subscribed_descendant;
            if !(level.subscribed || implied) || !matches(&pattern, name) {
                continue;
            }
            let attributes = if level.subscribed { "" } else { "\\Noselect" };
            self.queue(&format!("* LSUB ({attributes}) \"/\" {}\r\n", self.name(name)));
        }
        Ok(Done::ok("These are the subscribed mailboxes."))
    }
}

fn hierarchy(folders: &[Folder]) -> BTreeMap<&str, Level<'_>> {
    let mut levels: BTreeMap<&str, Level<'_>> = BTreeMap::new();
    for folder in folders {
        let level = levels.entry(&folder.name).or_default();
        level.folder = Some(folder);
        level.subscribed = folder.subscribed;
        for name in superiors(&folder.name) {
            let above = levels.entry(name).or_default();
            above.has_children = true;
            above.has_subscribed_descendant |= folder.subscribed;
            above.has_special_descendant |= folder.special_use.is_some();
        }
    }
    levels
}

/// Attributes and CHILDINFO of a level, or `None` if the options leave it out.
fn shown(level: &Level, options: &ListOptions) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
    let special_use = level.folder.and_then(|folder| folder.special_use);
    let mut child_info = Vec::new();
    if options.recursive_match && options.subscribed && level.has_subscribed_descendant {
        child_info.push("\"SUBSCRIBED\"");
    }
    if options.recursive_match && options.special_use && level.has_special_descendant {
        child_info.push("\"SPECIAL-USE\"");
    }
    let selected = (!options.subscribed || level.subscribed) && (!options.special_use || special_use.is_some());
    if !selected && child_info.is_empty() {
        return None;
    }
    let mut attributes = Vec::new();
    match level.folder {
        Some(_) => {}
        None if options.extended => attributes.push("\\NonExistent"),
        None => attributes.push("\\Noselect"),
    }
    if (options.subscribed || options.returns.subscribed) && level.subscribed {
        attributes.push("\\Subscribed");
    }
    // CHILDREN (RFC 3348) without being asked: it costs nothing.
    attributes.push(if level.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    attributes.extend(special_use.map(attribute));
    Some((attributes, child_info))
}
