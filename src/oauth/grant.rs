//! What came of a consent: kept, renewed in time, and buried when the provider says so.

use super::{Consent, OAuthError, Refusal, Tokens, reply};
use crate::store::locks::Lease;
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// A token that ends sooner than this is renewed first: a long session may begin with it, and clocks differ.
const EARLY: i64 = 5 * 60 * 1000;
/// How long to wait for another process or task that renews the same grant.
const TURN_WAIT: Duration = Duration::from_secs(120);
/// How often to look whether it has finished.
const TURN_LOOK: Duration = Duration::from_millis(50);

/// As it is stored; never printed.
#[derive(Serialize, Deserialize)]
struct Grant {
    client_id: String,
    /// What was consented to.
    scope: String,
    refresh_token: String,
    access_token: Option<String>,
    /// When the access token was given and when it ends, milliseconds since 1970.
    renewed: i64,
    expires: i64,
    /// When the person consented.
    granted: i64,
    /// Why the provider takes the refresh token no more.
    refused: Option<String>,
}

/// How a grant fares, for `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// When the person consented; `None`: never.
    pub granted: Option<i64>,
    /// When the token ends that is in use now; it is renewed before.
    pub expires: Option<i64>,
    /// Why somebody has to log in, and how; `None`: all is well.
    pub trouble: Option<String>,
}

/// A token that is good for a while.
pub async fn token(store: &Store, consent: &Consent) -> Result<SecretString, OAuthError> {
    if let Some(token) = read(store, consent).await?.fresh(EARLY) {
        return Ok(token);
    }
    let _turn = turn(store, consent).await?;
    let mut grant = read(store, consent).await?;
    if let Some(token) = grant.fresh(EARLY) {
        return Ok(token);
    }
    match renew(store, consent, &mut grant).await {
        Ok(token) => Ok(token),
        // The old one may still do.
        Err(error @ (OAuthError::Network { .. } | OAuthError::Refused(_))) => grant.fresh(0).ok_or(error),
        Err(error) => Err(error),
    }
}

/// The mail server refused this token before its time: it is not given again.
pub async fn spend(store: &Store, consent: &Consent, token: &SecretString) -> Result<(), OAuthError> {
    let _turn = turn(store, consent).await?;
    let mut grant = read(store, consent).await?;
    if grant.access_token.as_deref() == Some(token.expose_secret()) {
        grant.access_token = None;
        write(store, consent, &grant).await?;
    }
    Ok(())
}

/// Keeps what a log-in brought. Whoever waits for it is told.
pub async fn keep(store: &Store, consent: &Consent, tokens: &Tokens) -> Result<(), OAuthError> {
    let Some(refresh) = &tokens.refresh else {
        return Err(OAuthError::Setting(
            "the provider gave no refresh token, so the log-in would end within the hour; does scope ask for it (offline_access)?".into(),
        ));
    };
    let _turn = turn(store, consent).await?;
    let mut grant = Grant {
        client_id: consent.client_id.clone(),
        scope: granted(&consent.scopes, tokens.scope.as_deref()),
        refresh_token: refresh.expose_secret().to_owned(),
        access_token: None,
        renewed: 0,
        expires: 0,
        granted: now(),
        refused: None,
    };
    grant.take(tokens);
    Ok(store.secret_set(&consent.secret_name(), &grant.text()?).await?)
}

/// How the grant of a consent fares. Asks nobody.
pub async fn health(store: &Store, consent: &Consent) -> Result<Health, StoreError> {
    match read(store, consent).await {
        Ok(grant) => {
            Ok(Health { granted: Some(grant.granted), expires: grant.access_token.is_some().then_some(grant.expires), trouble: None })
        }
        Err(OAuthError::Store(error)) => Err(error),
        Err(error) => Ok(Health { granted: None, expires: None, trouble: Some(error.to_string()) }),
    }
}

impl Grant {
    /// The access token, if it lasts this much longer. One that never lasted long is used for three quarters of its life.
    fn fresh(&self, early: i64) -> Option<SecretString> {
        let early = early.min((self.expires - self.renewed) / 4);
        let token = self.access_token.as_ref().filter(|_| now() < self.expires - early);
        token.map(|token| SecretString::from(token.clone()))
    }

    fn take(&mut self, tokens: &Tokens) {
        self.access_token = Some(tokens.access.expose_secret().to_owned());
        self.renewed = now();
        self.expires = self.renewed.saturating_add(i64::try_from(tokens.lifetime.as_millis()).unwrap_or(i64::MAX));
        if let Some(refresh) = &tokens.refresh {
            self.refresh_token = refresh.expose_secret().to_owned();
        }
    }

    fn text(&self) -> Result<SecretString, OAuthError> {
        serde_json::to_string(self).map(SecretString::from).map_err(|error| OAuthError::Setting(error.to_string()))
    }
}

/// Asks for the next token, and keeps it before anybody uses it: the old refresh token may be void already.
async fn renew(store: &Store, consent: &Consent, grant: &mut Grant) -> Result<SecretString, OAuthError> {
    let refresh = grant.refresh_token.clone();
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    match ask(store, consent, &form).await? {
        Ok(tokens) => {
            grant.take(&tokens);
            write(store, consent, grant).await?;
            tracing::debug!(login = consent.login, "the OAuth token is renewed");
            Ok(tokens.access)
        }
        Err(refusal) if refusal.is_final() => {
            let reason = refusal.to_string();
            grant.refused = Some(reason.clone());
            grant.access_token = None;
            write(store, consent, grant).await?;
            tracing::error!(login = consent.login, reason, "the provider has ended our access; somebody has to log in again");
            Err(void(consent, &reason))
        }
        Err(refusal) => Err(OAuthError::Refused(refusal)),
    }
}

/// A question to the token service, with who asks.
pub(super) async fn ask(store: &Store, consent: &Consent, form: &[(&str, &str)]) -> Result<Result<Tokens, Refusal>, OAuthError> {
    let secret = consent.client_secret(store).await?;
    let mut form = form.to_vec();
    form.push(("client_id", &consent.client_id));
    if let Some(secret) = &secret {
        form.push(("client_secret", secret.expose_secret()));
    }
    let answer = super::post(&consent.token_url, &form).await?;
    reply::tokens(&consent.token_url, &answer)
}

async fn read(store: &Store, consent: &Consent) -> Result<Grant, OAuthError> {
    let needed = |reason: String| OAuthError::LogIn { name: consent.name.clone(), reason };
    let Some(text) = store.secret(&consent.secret_name()).await? else {
        return Err(needed(format!("nobody has logged in as {} yet", consent.login)));
    };
    let grant: Grant = serde_json::from_str(text.expose_secret()).map_err(|_| needed("the stored log-in can't be read".into()))?;
    if let Some(reason) = &grant.refused {
        return Err(void(consent, reason));
    }
    if grant.client_id != consent.client_id {
        return Err(needed(format!("{} has logged in for another client_id", consent.login)));
    }
    let granted: Vec<&str> = grant.scope.split(' ').collect();
    match consent.scopes.iter().find(|scope| !granted.contains(&scope.as_str())) {
        Some(scope) => Err(needed(format!("{} has not consented to {scope} yet", consent.login))),
        None => Ok(grant),
    }
}

/// Nobody is told: nothing has changed for those who use it.
async fn write(store: &Store, consent: &Consent, grant: &Grant) -> Result<(), OAuthError> {
    Ok(store.secret_renew(&consent.secret_name(), &grant.text()?).await?)
}

fn void(consent: &Consent, reason: &str) -> OAuthError {
    OAuthError::LogIn {
        name: consent.name.clone(),
        reason: format!("the provider no longer accepts the log-in of {}: {reason}", consent.login),
    }
}

/// The right to change the grant. Two refreshes at once with one refresh token look like theft to a provider that changes it each time.
async fn turn(store: &Store, consent: &Consent) -> Result<Lease, OAuthError> {
    let name = consent.secret_name();
    let waited = tokio::time::timeout(TURN_WAIT, async {
        loop {
            if let Some(lease) = store.lease("oauth", &name)? {
                return Ok::<_, StoreError>(lease);
            }
            tokio::time::sleep(TURN_LOOK).await;
        }
    });
    match waited.await {
        Ok(lease) => Ok(lease?),
        Err(_) => Err(OAuthError::Setting("another process has been renewing the OAuth token for long; wait for its end".into())),
    }
}

/// What was consented to: what was asked for, without what the provider leaves out of what it says that it gave (RFC 6749 §3.3). Only scopes
/// that are addresses count there: of the others, some are not repeated (Microsoft's offline_access) and some are renamed (Google's email).
fn granted(asked: &BTreeSet<String>, given: Option<&str>) -> String {
    let is_named = |scope: &str| given.is_some_and(|given| given.split_whitespace().any(|one| one.eq_ignore_ascii_case(scope)));
    // A service that names none of them speaks of them in words of its own.
    let tells = asked.iter().any(|scope| scope.contains("://") && is_named(scope));
    let granted: Vec<&str> = asked.iter().map(String::as_str).filter(|scope| !tells || !scope.contains("://") || is_named(scope)).collect();
    granted.join(" ")
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_for_what_was_given_and_not_for_all_that_was_asked_for() {
        let asked = ["https://o/IMAP", "https://o/SMTP", "offline_access"].map(str::to_owned);
        let all = asked.join(" ");
        for (given, expected) in [
            (None, all.as_str()),
            (Some("https://o/imap https://o/SMTP"), &all),
            (Some("https://o/IMAP openid"), "https://o/IMAP offline_access"),
            (Some("mail everything"), &all),
            (Some("offline_access"), &all),
        ] {
            assert_eq!(granted(&BTreeSet::from_iter(asked.clone()), given), expected, "{given:?}");
        }
    }
}
