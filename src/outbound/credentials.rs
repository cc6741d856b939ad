//! The password of a smarthost, from wherever the configuration keeps it, at the moment it is needed: a changed one counts at once.

use crate::address::Address;
use crate::config::{Auth, Config, SecretSource, Smarthost, SmarthostLogin};
use crate::smtp::client::Credentials;
use crate::store::Store;
use secrecy::SecretString;

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
        let (user, auth, whose) = match (self, &smarthost.login) {
            (Self::Own(_), SmarthostLogin::Own(user, auth)) => (user, auth, format!("smarthost {}", smarthost.name)),
            (Self::Collector(name, _), _) => match config.collectors.iter().find(|collector| collector.name == *name) {
                Some(collector) => (&collector.username, &collector.auth, format!("collector {name}")),
                None => return Err(format!("there is no collector “{name}” any more")),
            },
            _ => return Ok(None),
        };
        match auth {
            Auth::Password(source) => Ok(Some(Credentials { user: user.clone(), password: reveal(source, whose, store).await? })),
            Auth::OAuth2(_) => Err("log-in by OAuth 2 is not built yet".into()),
        }
    }
}

/// The secret itself; `Err` says in words what is missing. `whose` is such as `smarthost isp`.
pub async fn reveal(source: &SecretSource, whose: String, store: &Store) -> Result<SecretString, String> {
    let stored = match source.stored_name() {
        Some(name) => store.secret(name).await.map_err(|error| error.to_string())?,
        None => None,
    };
    let source = source.clone();
    let read = tokio::task::spawn_blocking(move || source.resolve(&whose, stored).map_err(|error| error.to_string()));
    read.await.map_err(|error| error.to_string())?
}
