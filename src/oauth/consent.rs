//! What a person is asked to consent to, and where.

use super::OAuthError;
use crate::config::{Auth, Collector, Config, OAuth2, OAuthFlow, OAuthProvider, Protocol, SecretSource, Smarthost, SmarthostLogin};
use crate::store::Store;
use secrecy::SecretString;
use std::collections::BTreeSet;

/// Microsoft's scopes for mail all begin so; the Graph ones open no mailbox.
const OUTLOOK: &str = "https://outlook.office.com/";

/// One person's consent at one provider, as one collector or smarthost needs it.
#[derive(Debug, Clone)]
pub struct Consent {
    /// The collector or smarthost that asks.
    pub name: String,
    /// Who consents.
    pub login: String,
    /// `microsoft`, `google`, or the token service's address.
    pub provider: String,
    /// How a person consents.
    pub flow: OAuthFlow,
    pub(super) device_url: Option<String>,
    pub(super) auth_url: Option<String>,
    pub(super) token_url: String,
    pub(super) client_id: String,
    client_secret: Option<SecretSource>,
    pub(super) scopes: BTreeSet<String>,
}

/// What a token is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Fetch(Protocol),
    Send,
}

impl Consent {
    /// What a collector needs for fetching; `None`: it has a password.
    pub fn to_fetch(collector: &Collector) -> Option<Self> {
        Self::of(&collector.name, &collector.username, &collector.auth, Use::Fetch(collector.protocol))
    }

    /// What sending with a collector's log-in needs.
    pub fn to_send_as(collector: &Collector) -> Option<Self> {
        Self::of(&collector.name, &collector.username, &collector.auth, Use::Send)
    }

    /// What a smarthost with a log-in of its own needs.
    pub fn to_send(smarthost: &Smarthost) -> Option<Self> {
        match &smarthost.login {
            SmarthostLogin::Own(user, auth) => Self::of(&smarthost.name, user, auth, Use::Send),
            SmarthostLogin::None | SmarthostLogin::Collector => None,
        }
    }

    /// Every consent that the configuration needs, a use at a time.
    pub fn all(config: &Config) -> Vec<Self> {
        let relayed = config.smarthosts.iter().any(|smarthost| matches!(smarthost.login, SmarthostLogin::Collector));
        let sending = config.collectors.iter().filter(|_| relayed).filter_map(Self::to_send_as);
        config
            .collectors
            .iter()
            .filter_map(Self::to_fetch)
            .chain(sending)
            .chain(config.smarthosts.iter().filter_map(Self::to_send))
            .collect()
    }

    /// Widened to what anybody needs of this person at this provider: a second consent would put an end to the first one.
    pub fn widened(mut self, config: &Config) -> Self {
        let same = |one: &Consent| one.secret_name() == self.secret_name() && one.client_id == self.client_id;
        let scopes: Vec<String> = Self::all(config).into_iter().filter(same).flat_map(|one| one.scopes).collect();
        self.scopes.extend(scopes);
        self
    }

    /// Under which name the store keeps what came of it.
    pub fn secret_name(&self) -> String {
        format!("oauth/{}/{}", self.provider, self.login.to_lowercase())
    }

    /// The scopes as they are asked for (RFC 6749 §3.3).
    pub(super) fn scope(&self) -> String {
        self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Google gives a refresh token only to who asks for one, and anew only after asking the person again.
    pub(super) fn is_google(&self) -> bool {
        self.provider == "google"
    }

    /// Microsoft lets a program on any port of `localhost` have the answer, and no number.
    pub(super) fn loopback_name(&self) -> &'static str {
        if self.provider == "microsoft" { "localhost" } else { "127.0.0.1" }
    }

    /// The client's secret, if it has one.
    pub(super) async fn client_secret(&self, store: &Store) -> Result<Option<SecretString>, OAuthError> {
        let Some(source) = self.client_secret.clone() else { return Ok(None) };
        let stored = match source.stored_name() {
            Some(name) => store.secret(name).await?,
            None => None,
        };
        let whose = format!("{}'s OAuth client (client_secret)", self.name);
        let read = tokio::task::spawn_blocking(move || source.resolve(&whose, stored)).await;
        match read {
            Ok(Ok(secret)) => Ok(Some(secret)),
            Ok(Err(error)) => Err(OAuthError::Setting(error.to_string())),
            Err(error) => Err(OAuthError::Setting(error.to_string())),
        }
    }

    fn of(name: &str, login: &str, auth: &Auth, purpose: Use) -> Option<Self> {
        let Auth::OAuth2(oauth) = auth else { return None };
        let OAuth2 { provider, client_id, client_secret, tenant, flow, .. } = oauth.as_ref();
        let (id, [device_url, auth_url], token_url, scopes) = match provider {
            OAuthProvider::Microsoft => {
                let tenant: String = url::form_urlencoded::byte_serialize(tenant.as_deref().unwrap_or("common").as_bytes()).collect();
                let at = |page: &str| format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/{page}");
                let scope = match purpose {
                    Use::Fetch(Protocol::Pop3) => "POP.AccessAsUser.All",
                    Use::Fetch(Protocol::Imap) => "IMAP.AccessAsUser.All",
                    Use::Send => "SMTP.Send",
                };
                let scopes = vec!["offline_access".to_owned(), format!("{OUTLOOK}{scope}")];
                ("microsoft".to_owned(), [Some(at("devicecode")), Some(at("authorize"))], at("token"), scopes)
            }
            OAuthProvider::Google => {
                let auth_url = Some("https://accounts.google.com/o/oauth2/v2/auth".to_owned());
                let token_url = "https://oauth2.googleapis.com/token".to_owned();
                ("google".to_owned(), [None, auth_url], token_url, vec!["https://mail.google.com/".to_owned()])
            }
            OAuthProvider::Other { device_url, auth_url, token_url, scope } => {
                let scopes = scope.split_whitespace().map(str::to_owned).collect();
                (token_url.clone(), [device_url.clone(), auth_url.clone()], token_url.clone(), scopes)
            }
        };
        Some(Self {
            name: name.to_owned(),
            login: login.to_owned(),
            provider: id,
            flow: *flow,
            device_url,
            auth_url,
            token_url,
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            scopes: BTreeSet::from_iter(scopes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn config(text: &str) -> Config {
        let file = Path::new("/office/mailroom.toml");
        let text = format!("[office]\npostmaster = \"alice\"\n{text}");
        crate::config::parse(file, BTreeMap::from([(file.to_owned(), text)])).unwrap_or_else(|problems| panic!("{}", problems[0])).config
    }

    const OAUTH: &str = "auth = \"oauth2\"\noauth2 = { provider = \"microsoft\", client_id = \"1\" }\n";

    #[test]
    fn fetching_and_sending_share_one_consent() {
        let config = config(&format!(
            "[[collector]]\nname = \"in\"\nprotocol = \"imap\"\nhost = \"imap.isp.example\"\nusername = \"Office@example.com\"\n{OAUTH}\
             [[collector]]\nname = \"other\"\nprotocol = \"pop3\"\nhost = \"pop.isp.example\"\nusername = \"info@example.com\"\n{OAUTH}\
             [[smarthost]]\nname = \"out\"\nhost = \"smtp.isp.example\"\nusername = \"office@example.com\"\n{OAUTH}"
        ));
        let fetching = Consent::to_fetch(&config.collectors[0]).unwrap();
        let sending = Consent::to_send(&config.smarthosts[0]).unwrap();
        assert_eq!(fetching.secret_name(), sending.secret_name());
        assert_eq!(fetching.scope(), "https://outlook.office.com/IMAP.AccessAsUser.All offline_access");
        let both = "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access";
        assert_eq!(fetching.widened(&config).scope(), both);
        assert_eq!(sending.widened(&config).scope(), both);
        let other = Consent::to_fetch(&config.collectors[1]).unwrap().widened(&config);
        assert_eq!(other.scope(), "https://outlook.office.com/POP.AccessAsUser.All offline_access");
        assert_eq!(other.token_url, "https://login.microsoftonline.com/common/oauth2/v2.0/token");
    }

    #[test]
    fn a_smarthost_that_logs_in_as_the_collector_widens_the_collectors_consent() {
        let config = config(&format!(
            "[[collector]]\nname = \"in\"\nprotocol = \"imap\"\nhost = \"imap.isp.example\"\nusername = \"office@example.com\"\n{OAUTH}\
             [[smarthost]]\nname = \"out\"\nhost = \"smtp.isp.example\"\nlogin = \"collector\"\n"
        ));
        assert!(Consent::to_fetch(&config.collectors[0]).unwrap().widened(&config).scope().contains("SMTP.Send"));
    }
}
