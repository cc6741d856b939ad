//! The password of a smarthost or collector, or its OAuth token, from wherever the configuration keeps it, at the moment it is needed: a changed one counts at once.

use crate::address::Address;
use crate::config::{Auth, Collector, Config, SecretSource, Smarthost, SmarthostLogin};
use crate::oauth::{self, Consent, OAuthError};
use crate::outbound::route;
use crate::smtp::client::Credentials;
use crate::store::Store;
use crate::wire::sasl::Secret;
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
            SmarthostLogin::Collector => match sender.and_then(|sender| route::collector_of(config, sender)) {
                Some(collector) => Ok(Self::Collector(collector.name.clone(), collector.username.clone())),
                None => Err(format!(
                    "smarthost “{}” logs in as the sender's own collector, and no collector has the address {}",
                    smarthost.name,
                    sender.map_or_else(|| "<>".to_owned(), Address::to_string)
                )),
            },
        }
    }

    /// Name and password or token, read now.
    pub async fn credentials(
        &self,
        config: &Config,
        smarthost: &Smarthost,
        store: &Store,
    ) -> Result<Option<Credentials>, CredentialsError> {
        let (user, auth, whose) = match (self, &smarthost.login) {
            (Self::Own(_), SmarthostLogin::Own(user, auth)) => (user, auth, format!("smarthost {}", smarthost.name)),
            (Self::Collector(name, _), _) => match config.collectors.iter().find(|collector| collector.name == *name) {
                Some(collector) => (&collector.username, &collector.auth, format!("collector {name}")),
                None => return Err(CredentialsError::Password(format!("there is no collector “{name}” any more"))),
            },
            _ => return Ok(None),
        };
        let secret = secret(auth, self.consent(config, smarthost).as_ref(), whose, store).await?;
        Ok(Some(Credentials { user: auth.log_in_as(user).to_owned(), secret }))
    }

    /// What a person has to consent to for this; `None`: there is a password, or no log-in at all.
    pub fn consent(&self, config: &Config, smarthost: &Smarthost) -> Option<Consent> {
        match self {
            Self::None => None,
            Self::Own(_) => Consent::to_send(smarthost),
            Self::Collector(name, _) => config.collectors.iter().find(|collector| collector.name == *name).and_then(Consent::to_send_as),
        }
    }
}

/// Why there is nothing to log in with.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The password is not where the configuration says; in words.
    #[error("{0}")]
    Password(String),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] OAuthError),
}

impl CredentialsError {
    /// Whether a person has to mend it: waiting alone won't.
    pub fn is_login(&self) -> bool {
        !matches!(self, Self::Token(OAuthError::Network { .. } | OAuthError::Refused(_) | OAuthError::Store(_)))
    }
}

/// What a collector logs in with.
pub async fn of_collector(collector: &Collector, store: &Store) -> Result<Secret, CredentialsError> {
    let whose = format!("collector {}", collector.name);
    secret(&collector.auth, Consent::to_fetch(collector).as_ref(), whose, store).await
}

async fn secret(auth: &Auth, consent: Option<&Consent>, whose: String, store: &Store) -> Result<Secret, CredentialsError> {
    match (auth, consent) {
        (Auth::Password(source), _) => Ok(Secret::Password(reveal(source, whose, store).await.map_err(CredentialsError::Password)?)),
        (Auth::OAuth2(_), Some(consent)) => Ok(Secret::Token(oauth::token(store, consent).await?)),
        (Auth::OAuth2(_), None) => Err(CredentialsError::Password(format!("{whose} has no log-in"))),
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
