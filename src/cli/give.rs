//! `mailroom give`: hand a mail that is stored here to a colleague.

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;

use super::{Exit, Global, configuration, store_of, user};
use crate::inbound::again::Known;
use crate::mapping::Mailbox;
use crate::store::{Arrival, ContentId, NewContent, Store};

/// `give MESSAGE USER`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Message-ID, or the number that `trace` prints
    message: String,
    /// Who gets it; or shared:NAME
    user: String,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let config = configuration(global)?;
    let store = store_of(&config)?;
    let mailbox = reader(&store, &arguments.user).await?;
    let content = find(&store, &arguments.message).await?;
    if store.copies(content).await?.iter().any(|copy| copy.mailbox == mailbox) {
        println!("{mailbox} has it already; nothing was done");
        return Ok(Exit::Done);
    }
    let now = Timestamp::now().as_millisecond();
    let known = Known::read(&store, content, None, None).await?;
    let deposit = known.copy_for(&config, &mailbox, None, &format!("mail-{}", content.0), now, now);
    // What waits in the tray for somebody to take it has found him.
    match store.tray().await?.into_iter().find(|held| held.content == content) {
        Some(held) => drop(store.tray_give(held.id, vec![deposit], "the admin").await?),
        None => {
            let trace = vec![("given", format!("the admin gave it to {mailbox}"))];
            let arrival = Arrival { deposits: vec![deposit], trace, ..Arrival::new(NewContent::Existing(content)) };
            store.arrive(vec![arrival]).await.pop().context("the store said nothing")??;
        }
    }
    println!("given to {mailbox}");
    Ok(Exit::Done)
}

/// The mailbox of a user, or a shared one.
pub async fn reader(store: &Store, name: &str) -> anyhow::Result<Mailbox> {
    match name.strip_prefix("shared:") {
        None => Ok(user::require(store, name).await?.mailbox),
        Some(shared) => {
            let mailbox = Mailbox::Shared(shared.to_owned());
            store.account(&mailbox).await?.with_context(|| format!("there is no shared mailbox “{shared}”"))?;
            Ok(mailbox)
        }
    }
}

/// The newest of several copies of a message that came more than once.
async fn find(store: &Store, message: &str) -> anyhow::Result<ContentId> {
    let text = message.trim();
    let number = text.strip_prefix('#').unwrap_or(text).parse().ok().map(ContentId);
    if let Some(content) = number
        && store.facts(content).await.is_ok()
    {
        return Ok(content);
    }
    let bare = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    let found = store.content_by_message_id(bare).await?;
    found.last().copied().with_context(|| format!("no mail with the Message-ID “{bare}” is stored here; `mailroom trace` finds others"))
}
