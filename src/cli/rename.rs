//! A user's new name, in the store and wherever the files name the user: only the name itself is rewritten, comments and layout stay.
//!
//! Which texts are user names is known to those who read the files. So they are read, the first place that names the user is
//! rewritten in memory, and they are read again until no place is left; only then anything is written.

use std::path::Path;

use anyhow::Context as _;

use super::{Exit, Global, Office, config_file, user};
use crate::document::Place;
use crate::gateway::files::{self, Texts};
use crate::service::platform;
use crate::store::Store;
use crate::store::accounts::check_user_name;

/// More places than any office has: a guard against rewriting for ever.
const MAX_PLACES: usize = 10_000;

/// `user rename NAME NEW`
pub async fn run(global: &Global, name: &str, new: &str) -> anyhow::Result<Exit> {
    let office = Office::open(global).await?;
    let user = user::require(&office.store, name).await?;
    check_user_name(new).map_err(anyhow::Error::msg)?;
    let mailbox = crate::mapping::Mailbox::User(new.to_owned());
    anyhow::ensure!(office.store.account(&mailbox).await?.is_none(), "there is a user {new} already");
    let file = config_file(global)?;
    let before = files::gather(&file)?;
    let (after, places) = renamed(&office.store, &file, before.clone(), name, new).await?;
    for (path, text) in after.iter().filter(|(path, text)| before.get(*path) != Some(*text)) {
        // In place: the file keeps its owner and mode, and the store keeps the last text that loaded.
        platform::with_own_rights(|| std::fs::write(path, text)).with_context(|| format!("writing {}", path.display()))?;
        println!("{} was rewritten", path.display());
    }
    office.store.account_rename(user.id, new).await?;
    println!("{name} is {new} now, in {} of the files", super::show::count(places.len() as u64, "place", "places"));
    Ok(Exit::Done)
}

/// Every place of the files that names the user.
pub async fn places(office: &Office, name: &str) -> anyhow::Result<Vec<Place>> {
    // Any other name would do: nothing is written.
    let elsewhere = "somebody-else";
    let mut places = renamed(&office.store, &office.current().config.file, office.compiled.texts.clone(), name, elsewhere).await?.1;
    places.sort();
    Ok(places)
}

async fn renamed(store: &Store, file: &Path, mut texts: Texts, name: &str, new: &str) -> anyhow::Result<(Texts, Vec<Place>)> {
    let mut places = Vec::new();
    while places.len() < MAX_PLACES {
        let current = files::compile(files::parse(file, texts.clone())?, store).await?.current;
        let named = current.mapping.named_users().into_iter().chain(current.config.named_users.iter().cloned());
        let Some((_, place)) = named.into_iter().find(|(user, _)| user == name) else { break };
        let text = texts.get_mut(&place.file).with_context(|| format!("{place} vanished"))?;
        *text = rewritten(text, &place, name, new)
            .with_context(|| format!("{place}: the name is written in a way that only you can change"))?;
        places.push(place);
    }
    Ok((texts, places))
}

/// The text with the name at that place replaced; `None` if the name does not stand there.
fn rewritten(text: &str, place: &Place, name: &str, new: &str) -> Option<String> {
    let line_start: usize = text.split_inclusive('\n').take(place.line.checked_sub(1)?).map(str::len).sum();
    let line = text.get(line_start..)?;
    let column: usize = line.chars().take(place.column.checked_sub(1)?).map(char::len_utf8).sum();
    let quoted = line.get(column..)?.starts_with(['"', '\'']);
    let at = line_start + column + usize::from(quoted);
    let rest = text.get(at..)?.strip_prefix(name)?;
    let bare = new.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let new = if quoted || bare { new.to_owned() } else { format!("\"{new}\"") };
    Some(format!("{}{new}{rest}", &text[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: usize, column: usize, new: &str, expected: Option<&str>) {
        let place = Place { file: "x.toml".into(), line, column };
        assert_eq!(rewritten(text, &place, "alice", new).as_deref(), expected, "{text}");
    }

    #[test]
    fn only_the_name_changes() {
        check("a = 1\nb = \"alice\" # alice\n", 2, 5, "anna", Some("a = 1\nb = \"anna\" # alice\n"));
        check("ä = ['alice', 'bob']", 1, 6, "anna", Some("ä = ['anna', 'bob']"));
        check("alice = {}", 1, 1, "anna", Some("anna = {}"));
        check("alice = {}", 1, 1, "anna.b", Some("\"anna.b\" = {}"));
        check("bob = {}", 1, 1, "anna", None);
        check("alice", 2, 1, "anna", None);
        check("alice", 1, 90, "anna", None);
    }
}
