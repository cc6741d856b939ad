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
    /// Something below, though no pattern names it, is subscribed or special (RFC 5258 §3.5): that is what RECURSIVEMATCH tells of.
    hides_subscribed: bool,
    hides_special: bool,
}

impl Session {
    pub(super) async fn list(&mut self, options: &ListOptions) -> Performed {
        // RFC 9051 §6.3.9: the empty pattern asks for the separator.
        if !options.extended && options.patterns.iter().all(String::is_empty) {
            self.queue("* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Done::ok("This is the separator."));
        }
        let account = self.account()?.id;
        let folders = self.all_folders().await?;
        let lost = if options.subscribed { self.store().lost_subscriptions(account).await? } else { Vec::new() };
        let mut levels = hierarchy(&folders, &lost);
        let patterns: Vec<String> = options.patterns.iter().map(|pattern| format!("{}{pattern}", options.reference)).collect();
        let named = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
        if options.recursive_match {
            tell_of_hidden(&mut levels, &named);
        }
        for (name, level) in levels.iter().filter(|(name, _)| named(name)) {
            let Some(shown) = shown(level, options) else { continue };
            let mut line = format!("* LIST ({}) \"/\" {}", shown.attributes.join(" "), self.name(name));
            if !shown.child_info.is_empty() {
                line.push_str(&format!(" (CHILDINFO ({}))", shown.child_info.join(" ")));
            }
            line.push_str("\r\n");
            self.send(line.as_bytes()).await?;
            // RFC 5819 §3, and RFC 8440 likewise: nothing more of what only stands above something selected.
            let Some(folder) = level.folder.filter(|_| shown.selected) else { continue };
            if options.returns.my_rights {
                let place = self.place(name).await?;
                let line = self.my_rights_line(name, &place);
                self.send(line.as_bytes()).await?;
            }
            if !options.returns.status.is_empty() {
                let line = self.status_line(folder, &options.returns.status).await?;
                self.send(line.as_bytes()).await?;
            }
        }
        Ok(Done::ok("These are the mailboxes."))
    }

    /// RFC 3501 §6.3.9: with `%`, a level that is not subscribed but has something subscribed below is shown as `\Noselect`.
    pub(super) async fn lsub(&mut self, reference: &str, pattern: &str) -> Performed {
        let account = self.account()?.id;
        let folders = self.all_folders().await?;
        let lost = self.store().lost_subscriptions(account).await?;
        let pattern = format!("{reference}{pattern}");
        for (name, level) in &hierarchy(&folders, &lost) {
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

/// What NOTIFY says of a name that something happened to (RFC 5465 §5.4, §5.5), and IMAP4rev2 of one that is opened or made. `written` and
/// `old` are as the client writes them.
pub fn level_line(folders: &[Folder], name: &str, written: &str, old: Option<&str>) -> String {
    let levels = hierarchy(folders, &[]);
    let gone = Level::default();
    let level = levels.get(name).unwrap_or(&gone);
    let mut attributes = Vec::new();
    if level.folder.is_none() {
        attributes.push("\\NonExistent");
    }
    if level.subscribed {
        attributes.push("\\Subscribed");
    }
    attributes.push(if level.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    attributes.extend(level.folder.and_then(|folder| folder.special_use).map(attribute));
    let old = old.map_or_else(String::new, |old| format!(" (OLDNAME ({old}))"));
    format!("* LIST ({}) \"/\" {written}{old}\r\n", attributes.join(" "))
}

/// Folders, subscribed names without folder, and what stands above them.
fn hierarchy<'a>(folders: &'a [Folder], lost: &'a [String]) -> BTreeMap<&'a str, Level<'a>> {
    let mut levels: BTreeMap<&str, Level<'_>> = BTreeMap::new();
    for name in lost {
        levels.entry(name).or_default().subscribed = true;
        for above in superiors(name) {
            levels.entry(above).or_default().has_subscribed_descendant = true;
        }
    }
    for folder in folders {
        let level = levels.entry(&folder.name).or_default();
        level.folder = Some(folder);
        level.subscribed |= folder.subscribed;
        for name in superiors(&folder.name) {
            let above = levels.entry(name).or_default();
            above.has_children = true;
            above.has_subscribed_descendant |= folder.subscribed;
        }
    }
    levels
}

fn tell_of_hidden(levels: &mut BTreeMap<&str, Level<'_>>, named: &dyn Fn(&str) -> bool) {
    let special = |level: &Level| level.folder.is_some_and(|folder| folder.special_use.is_some());
    let hidden: Vec<(&str, bool, bool)> =
        levels.iter().filter(|(name, _)| !named(name)).map(|(name, level)| (*name, level.subscribed, special(level))).collect();
    for (name, subscribed, special) in hidden {
        for above in superiors(name) {
            let above = levels.entry(above).or_default();
            above.hides_subscribed |= subscribed;
            above.hides_special |= special;
        }
    }
}

/// A level in the answer to LIST.
struct Shown {
    attributes: Vec<&'static str>,
    child_info: Vec<&'static str>,
    /// It passes the selection options itself; else it is there for its CHILDINFO.
    selected: bool,
}

/// `None` if the options leave the level out.
fn shown(level: &Level, options: &ListOptions) -> Option<Shown> {
    let special_use = level.folder.and_then(|folder| folder.special_use);
    let mut child_info = Vec::new();
    if options.recursive_match && options.subscribed && level.hides_subscribed {
        child_info.push("\"SUBSCRIBED\"");
    }
    if options.recursive_match && options.special_use && level.hides_special {
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
    Some(Shown { attributes, child_info, selected })
}
