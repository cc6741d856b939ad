//! `mailroom user`: works before the users that the files name exist, and beside a running gateway.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;

use super::{Exit, Global, Office, ask, rename, show, store};
use crate::document;
use crate::mapping::Mailbox;
use crate::store::{Account, Store};

/// `user`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user with a mailbox
    Add {
        /// The log-in name: small letters, digits, dots, hyphens, underscores; or a full address
        name: String,
        #[command(flatten)]
        password: Password,
        /// Full name, shown to outside and matched in share mode
        #[arg(long = "name", value_name = "FULL NAME")]
        full_name: Option<String>,
        /// Largest size of the mailbox; mail that is delivered is never refused
        #[arg(long, value_name = "SIZE", value_parser = document::size)]
        quota: Option<u64>,
    },
    /// All users
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Set a new password
    Passwd {
        /// Whose
        name: String,
        #[command(flatten)]
        password: Password,
    },
    /// Change the log-in name, in the store and in the files
    Rename {
        /// The name now
        name: String,
        /// The new one
        new: String,
    },
    /// No log-in any more; mail still arrives
    Disable {
        /// Whom
        name: String,
        /// The mail becomes this user's, and what still arrives goes to him as well
        #[arg(long, value_name = "OTHER")]
        give_to: Option<String>,
    },
    /// Log-in again
    Enable {
        /// Whom
        name: String,
    },
    /// Remove a user that no file names any more; the mail is kept
    Remove {
        /// Whom
        name: String,
        /// The mail becomes this user's
        #[arg(long, value_name = "OTHER", conflicts_with = "delete_mail")]
        give_to: Option<String>,
        /// The mail too, for good
        #[arg(long)]
        delete_mail: bool,
    },
}

#[derive(Debug, Args)]
struct Password {
    /// Read the password from standard input: one line
    #[arg(long)]
    password_stdin: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    match arguments.action {
        Action::Add { name, password, full_name, quota } => add(&store(global)?, &name, &password, full_name.as_deref(), quota).await,
        Action::List { json } => list(&store(global)?, json).await,
        Action::Passwd { name, password } => passwd(&store(global)?, &name, &password).await,
        Action::Disable { name, give_to } => disable(&store(global)?, &name, give_to.as_deref()).await,
        Action::Enable { name } => enable(&store(global)?, &name).await,
        Action::Rename { name, new } => rename::run(global, &name, &new).await,
        Action::Remove { name, give_to, delete_mail } => remove(global, &name, give_to.as_deref(), delete_mail).await,
    }
}

async fn add(store: &Store, name: &str, password: &Password, full_name: Option<&str>, quota: Option<u64>) -> anyhow::Result<Exit> {
    let mailbox = Mailbox::User(name.to_owned());
    crate::store::accounts::check_user_name(name).map_err(anyhow::Error::msg)?;
    anyhow::ensure!(store.account(&mailbox).await?.is_none(), "there is a user {name} already");
    let password = ask::secret("password", password.password_stdin)?;
    let id = store.account_add(&mailbox, full_name, quota).await?;
    store.password_set(id, &password).await?;
    println!("{name} was added");
    Ok(Exit::Done)
}

async fn list(store: &Store, as_json: bool) -> anyhow::Result<Exit> {
    let (away, copies) = (store.vacations().await?, store.copy_readers().await?);
    let now = jiff::Timestamp::now().as_millisecond();
    let is_away = |name: &str| away.iter().any(|away| away.user == name && away.holds(now));
    let readers = |name: &str| -> Vec<&str> {
        let holds = |ends: Option<i64>| ends.is_none_or(|ends| now < ends);
        copies.iter().filter(|one| one.user == name && holds(one.ends)).map(|one| one.reader.as_str()).collect()
    };
    let users: Vec<Account> = store.accounts().await?.into_iter().filter(|account| matches!(account.mailbox, Mailbox::User(_))).collect();
    if as_json {
        let user = |user: &Account| {
            json!({
                "name": user.name(), "full_name": user.full_name, "disabled": user.disabled,
                "messages": user.messages, "bytes": user.bytes, "quota": user.quota,
                "away": is_away(user.name()), "copies_to": readers(user.name())
            })
        };
        println!("{}", serde_json::to_string_pretty(&users.iter().map(user).collect::<Vec<_>>())?);
        return Ok(Exit::Done);
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for user in &users {
        table.add_row(vec![
            user.name().to_owned(),
            user.full_name.clone().unwrap_or_default(),
            show::count(user.messages, "message", "messages"),
            show::size(user.bytes),
            user.quota.map_or(String::new(), |quota| format!("of {}", show::size(quota))),
            notes(user, is_away(user.name()), &readers(user.name())),
        ]);
    }
    if !users.is_empty() {
        println!("{}", table.trim_fmt());
    }
    Ok(Exit::Done)
}

/// What is out of the ordinary about a user.
fn notes(user: &Account, away: bool, readers: &[&str]) -> String {
    let copies = (!readers.is_empty()).then(|| format!("copies to {}", readers.join(", ")));
    let words = [user.disabled.then(|| "disabled".to_owned()), away.then(|| "away".to_owned()), copies];
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

async fn passwd(store: &Store, name: &str, password: &Password) -> anyhow::Result<Exit> {
    let user = require(store, name).await?;
    store.password_set(user.id, &ask::secret("password", password.password_stdin)?).await?;
    println!("the password of {name} was changed");
    Ok(Exit::Done)
}

async fn disable(store: &Store, name: &str, give_to: Option<&str>) -> anyhow::Result<Exit> {
    let user = require(store, name).await?;
    let Some(other) = give_to else {
        store.account_disable(user.id, true).await?;
        println!("{name} can no longer log in; mail still arrives");
        return Ok(Exit::Done);
    };
    let heir = heir(store, &user, other).await?;
    store.account_disable(user.id, true).await?;
    // First, so that nothing comes between.
    store.copy_start(user.id, heir.id, None).await?;
    store.account_hand_over(user.id, heir.id).await?;
    println!("{name} can no longer log in; {other} has the mail, in folders below {name}, and gets what still arrives");
    Ok(Exit::Done)
}

async fn enable(store: &Store, name: &str) -> anyhow::Result<Exit> {
    let user = require(store, name).await?;
    store.account_disable(user.id, false).await?;
    println!("{name} can log in");
    for copies in store.copy_readers().await?.into_iter().filter(|copies| copies.user == name) {
        println!("{reader} still gets copies; `copy {name} to {reader} --off` ends that", reader = copies.reader);
    }
    Ok(Exit::Done)
}

/// Who takes a user's mail over.
async fn heir(store: &Store, user: &Account, other: &str) -> anyhow::Result<Account> {
    let heir = require(store, other).await?;
    anyhow::ensure!(heir.id != user.id, "{other} can't inherit from {other}");
    Ok(heir)
}

async fn remove(global: &Global, name: &str, give_to: Option<&str>, delete_mail: bool) -> anyhow::Result<Exit> {
    let office = Office::open(global).await?;
    let store = &office.store;
    if delete_mail && let Some(left) = store.account_removed(name).await? {
        store.account_remove(left).await?;
        println!("the mail of {name} was deleted");
        return Ok(Exit::Done);
    }
    let user = require(store, name).await?;
    let places = rename::places(&office, name).await?;
    if !places.is_empty() {
        let lines: Vec<_> = places.iter().map(|place| format!("  {place}")).collect();
        anyhow::bail!("{name} is still named here; take the name out first:\n{}", lines.join("\n"));
    }
    let what = match give_to {
        Some(other) => {
            let heir = heir(store, &user, other).await?;
            store.account_hand_over(user.id, heir.id).await?;
            store.account_remove(user.id).await?;
            format!("{other} has the mail, in folders below {name}")
        }
        None if delete_mail => {
            store.account_remove(user.id).await?;
            "the mail too".to_owned()
        }
        None => {
            store.account_retire(user.id).await?;
            format!("the mail is kept: `user add {name}` brings it back, `user remove {name} --delete-mail` deletes it")
        }
    };
    println!("{name} was removed; {what}");
    Ok(Exit::Done)
}

/// The user of that name, or an error that names the nearest one.
pub async fn require(store: &Store, name: &str) -> anyhow::Result<Account> {
    if let Some(user) = store.account(&Mailbox::User(name.to_owned())).await? {
        return Ok(user);
    }
    let users = store.accounts().await.context("reading the users")?;
    let names: Vec<&str> = users.iter().filter(|user| matches!(user.mailbox, Mailbox::User(_))).map(Account::name).collect();
    match document::nearest(name, names.iter().copied()) {
        Some(nearest) => anyhow::bail!("there is no user “{name}”; did you mean “{nearest}”?"),
        None => anyhow::bail!("there is no user “{name}”"),
    }
}
