//! The password of a smarthost, from wherever the configuration keeps it, at the moment it is needed: a changed one counts at once.

use crate::address::Address;
use crate::config::{Auth, Config, SecretSource, Smarthost, SmarthostLogin};
use crate::smtp::client::Credentials;
use crate::store::Store;
use secrecy::SecretString;
use std::time::Duration;

/// A password manager may have to ask its server, but not its user.
const COMMAND: Duration = Duration::from_secs(30);

/// As whom to log in at a smarthost. Two of them never share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// It knows us by our address.
    None,
    /// The smarthost's own.
    Own(String),
    /// That of the collector of this name.
    Collector(String, String),
}

impl Account {
    /// The account through which mail with this sender leaves; `Err` says in words why there is none.
    pub fn of(config: &Config, smarthost: &Smarthost, sender: Option<&Address>) -> Result<Self, String> {
        match &smarthost.login {
            SmarthostLogin::None => Ok(Self::None),
            SmarthostLogin::Own(user, _) => Ok(Self::Own(user.clone())),
            SmarthostLogin::Collector => {
                let own = |address: &Option<Address>| address.is_some() && address.as_ref() == sender;
                match config.collectors.iter().find(|collector| own(&collector.address)) {
                    Some(collector) => Ok(Self::Collector(collector.name.clone(), collector.username.clone())),
                    None => Err(format!(
                        "smarthost “{}” logs in as the sender's own collector, and no collector has the address {}",
                        smarthost.name,
                        sender.map_or_else(|| "<>".to_owned(), Address::to_string)
                    )),
                }
            }
        }
    }

    /// Name and password, read now.
    pub async fn credentials(&self, config: &Config, smarthost: &Smarthost, store: &Store) -> Result<Option<Credentials>, String> {
        let (user, auth) = match (self, &smarthost.login) {
            (Self::Own(_), SmarthostLogin::Own(user, auth)) => (user, auth),
            (Self::Collector(name, _), _) => match config.collectors.iter().find(|collector| collector.name == *name) {
                Some(collector) => (&collector.username, &collector.auth),
                None => return Err(format!("there is no collector “{name}” any more")),
            },
            _ => return Ok(None),
        };
        match auth {
            Auth::Password(source) => Ok(Some(Credentials { user: user.clone(), password: reveal(source, store).await? })),
            Auth::OAuth2(_) => Err("log-in by OAuth 2 is not built yet".into()),
        }
    }
}

/// The secret itself; `Err` says in words what is missing.
pub async fn reveal(source: &SecretSource, store: &Store) -> Result<SecretString, String> {
    let first_line = |text: &str| match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line.to_owned())),
        _ => Err("the password is empty".to_owned()),
    };
    match source {
        SecretSource::Plain(plain) => first_line(&plain.0),
        SecretSource::Env(name) => match std::env::var(name) {
            Ok(text) => first_line(&text),
            Err(_) => Err(format!("the environment variable {name} with the password is not set")),
        },
        SecretSource::File(path) => match tokio::task::spawn_blocking({
            let path = path.clone();
            move || std::fs::read_to_string(path)
        })
        .await
        {
            Ok(Ok(text)) => first_line(&text),
            Ok(Err(error)) => Err(format!("the password file {} can't be read: {error}", path.display())),
            Err(error) => Err(error.to_string()),
        },
        SecretSource::Command(words) => {
            let [program, arguments @ ..] = words.as_slice() else { return Err("the password command is empty".into()) };
            let mut command = tokio::process::Command::new(program);
            command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
            match tokio::time::timeout(COMMAND, command.output()).await {
                Ok(Ok(output)) if output.status.success() => first_line(&String::from_utf8_lossy(&output.stdout)),
                Ok(Ok(output)) => Err(format!("the password command {program} failed ({})", output.status)),
                Ok(Err(error)) => Err(format!("the password command {program} can't be run: {error}")),
                Err(_) => Err(format!("the password command {program} did not end within {} seconds", COMMAND.as_secs())),
            }
        }
        SecretSource::Stored(name) => match store.secret(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(format!("there is no secret “{name}”; set it with: mailroom secret set {name}")),
            Err(error) => Err(error.to_string()),
        },
    }
}
