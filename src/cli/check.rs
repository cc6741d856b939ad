//! `mailroom check`: what is wrong, shadowed, unreachable or dangerous in the files, and what will happen to the mail.

pub(super) mod consequences;
pub(super) mod online;
mod round;

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{Exit, Global, config_file, log};
use crate::config::providers::Profiles;
use crate::config::{Auth, Collector, Config, Deliver, Level, Log, SecretSource, SmarthostLogin};
use crate::document::{Problem, duration};
use crate::gateway::files;
use crate::mapping::{Identity, Mailbox, Mapping};
use crate::service::platform;
use crate::store::Store;

/// `check [--online] [--send]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Log in to every collector and smarthost, and try each sender address
    #[arg(long)]
    online: bool,
    /// Send a real mail through every smarthost, and time how long it takes to come back
    #[arg(long)]
    send: bool,
    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, requires = "send")]
    wait: Duration,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    let file = config_file(global)?;
    log::start(&Log { level: Level::Warn, json: false }, global.verbose);
    let loaded = files::parse(&file, files::gather(&file)?)?;
    let store = existing_store(&loaded.config);
    let compiled = match &store {
        Ok(store) => files::compile(loaded, store).await?,
        Err(_) => files::compile_for(loaded, Vec::new())?,
    };
    let config = &compiled.current.config;

    print!("{}", summary(config, compiled.texts.len() - 1));
    print!("{}", consequences::text(config, &compiled.profiles));
    let mut worth_a_word: Vec<String> = compiled.warnings.iter().map(Problem::to_string).collect();
    worth_a_word.extend(dangers(config));
    worth_a_word.extend(guesses(config, &compiled.profiles));
    worth_a_word.extend(unable_to_send(config, &compiled.current.mapping, &users(&store).await));
    if !worth_a_word.is_empty() {
        println!("\nWorth a look:");
        worth_a_word.iter().for_each(|text| println!("- {}", text.replace('\n', "\n  ")));
    }
    let whole = files::require_whole(&compiled);
    let store = store.as_ref().map_err(String::as_str);
    let (out, mut failures) = (&mut std::io::stdout(), 0);
    if arguments.online {
        println!("\nOnline:");
        failures += online::check(&compiled.current, store, out).await?;
    }
    if arguments.send {
        println!("\nSending:");
        failures += round::check(&compiled.current, store, arguments.wait, out).await?;
    }
    whole?;
    match (failures, arguments.online || arguments.send) {
        (0, true) => Ok(Exit::Done),
        (0, false) => {
            println!("\nThe files are in order. `mailroom check --online` also tries the servers, `--send` sends a mail round.");
            Ok(Exit::Done)
        }
        _ => {
            eprintln!("mailroom: {failures} of these did not work");
            Ok(Exit::Failed)
        }
    }
}

/// The store, if there is one: looking at the files must not make it. `Err` says why there is none.
fn existing_store(config: &Config) -> Result<Store, String> {
    let path = &config.storage.path;
    if !path.is_dir() {
        return Err(format!("there is no store in {} yet; `mailroom user add` makes it", path.display()));
    }
    platform::act_as_owner(path)?;
    Store::open(path).map_err(|error| format!("the store in {} does not open: {error}", path.display()))
}

async fn users(store: &Result<Store, String>) -> Vec<String> {
    let Ok(store) = store else { return Vec::new() };
    let accounts = store.accounts().await.unwrap_or_default();
    let name = |account: crate::store::Account| match account.mailbox {
        Mailbox::User(name) => Some(name),
        Mailbox::Shared(_) => None,
    };
    accounts.into_iter().filter_map(name).collect()
}

fn summary(config: &Config, others: usize) -> String {
    let count = |number: usize, one: &str, many: &str| match number {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    };
    format!(
        "{} and {} beside it: {}, {}\n",
        config.file.display(),
        count(others, "file", "files"),
        count(config.collectors.len(), "collector", "collectors"),
        count(config.smarthosts.len(), "smarthost", "smarthosts"),
    )
}

/// Files that are missing or open to others: `run` would find out too, but later.
fn dangers(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut readable = |file: &Path, what: &str, secret: bool| match std::fs::File::open(file) {
        Err(error) => found.push(format!("{what}: {} can't be read: {error}", file.display())),
        Ok(_) if secret && platform::others_can_read(file) => found.push(format!(
            "{what}: {} can be read by other users of this machine; make it private: chmod 600 {}",
            file.display(),
            file.display()
        )),
        Ok(_) => {}
    };
    for collector in &config.collectors {
        if let Auth::Password(SecretSource::File(file)) = &collector.auth {
            readable(file, &format!("password of collector {}", collector.name), true);
        }
        if let Some(file) = &collector.endpoint.ca {
            readable(file, &format!("ca of collector {}", collector.name), false);
        }
    }
    for smarthost in &config.smarthosts {
        if let SmarthostLogin::Own(_, Auth::Password(SecretSource::File(file))) = &smarthost.login {
            readable(file, &format!("password of smarthost {}", smarthost.name), true);
        }
        if let Some(file) = &smarthost.endpoint.ca {
            readable(file, &format!("ca of smarthost {}", smarthost.name), false);
        }
    }
    if let Some(tls) = &config.tls {
        readable(&tls.cert, "certificate", false);
        readable(&tls.key, "key of the certificate", true);
    }
    found
}

/// Mailboxes for several people at a provider that does not write down whom a mail is for.
fn guesses(config: &Config, profiles: &Profiles) -> Vec<String> {
    let silent = |collector: &&Collector| {
        let profile = collector.provider.as_deref().and_then(|id| profiles.get(id));
        collector.deliver == Deliver::Mapped && collector.envelope.is_none() && profile.is_some_and(|profile| profile.no_envelope)
    };
    let word = |collector: &Collector| {
        format!(
            "collector {}: this provider writes no header that names the envelope recipient, so whom a mail is for is guessed from To and Cc; \
             blind copies and list mail go to the tray. A mailbox for each person, bound with deliver = \"alice\", guesses nothing; so \
             does a mailbox that several share: make the other addresses its aliases and give it a share, or list it in [addresses]",
            collector.name
        )
    };
    config.collectors.iter().filter(silent).map(word).collect()
}

/// Users whose own address no smarthost lets out.
fn unable_to_send(config: &Config, mapping: &Mapping, users: &[String]) -> Vec<String> {
    let smarthosts: Vec<_> = config.smarthosts.iter().filter(|smarthost| smarthost.enabled).collect();
    if smarthosts.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for user in users.iter().filter(|user| mapping.limits(user).external) {
        let identities = mapping.identities(user);
        let refused = |identity: &&Identity| !smarthosts.iter().any(|smarthost| smarthost.accepts(&identity.address));
        match identities.first() {
            None => found.push(format!("{user} can't write to the outside: no address out there leads to them; give them one in [senders]")),
            Some(first) if refused(&first) => found.push(format!(
                "{user} can't write to the outside as {}: no smarthost has it among its senders; add it there, or give them another address in [senders]",
                first.address
            )),
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_that_can_not_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mailroom.toml");
        let text = "[office]\npostmaster = \"alice\"\n[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n[[collector]]\nname = \"a\"\nprovider = \"gmx\"\n\
                    username = \"u\"\npassword = { file = \"p\" }\n";
        std::fs::write(directory.path().join("p"), "secret").unwrap();
        let config = files::parse(&file, [(file.clone(), text.to_owned())].into()).unwrap().config;
        let found = dangers(&config).join("\n");
        assert!(found.contains("certificate: ") && found.contains("c.pem can't be read"), "{found}");
        assert!(!found.contains("secret"), "{found}");
    }

    #[test]
    fn says_where_recipients_are_guessed() {
        let check = |keys: &str, expected: usize| {
            let file = std::path::absolute("/office/mailroom.toml").unwrap();
            let text = format!(
                "[office]\npostmaster = \"alice\"\n[[collector]]\nname = \"a\"\nusername = \"u@x.example\"\npassword = {{ env = \"P\" }}\n{keys}"
            );
            let loaded = files::parse(&file, [(file.clone(), text)].into()).unwrap();
            let said = guesses(&loaded.config, &loaded.profiles);
            assert_eq!(said.len(), expected, "{keys}: {said:?}");
        };
        check("provider = \"microsoft365\"", 1);
        check("provider = \"microsoft365\"\ndeliver = \"alice\"", 0);
        check("provider = \"microsoft365\"\nenvelope = { header = \"X-Ours\" }", 0);
        check("provider = \"gmx\"", 0);
    }

    #[test]
    fn a_broken_file_ends_with_a_load_error() {
        let file = Path::new("/office/mailroom.toml");
        let error = anyhow::Error::from(files::parse(file, [(file.to_owned(), "x = 1".to_owned())].into()).unwrap_err());
        assert!(error.is::<crate::gateway::LoadError>());
    }
}
