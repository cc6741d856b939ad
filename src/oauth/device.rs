//! Log-in by a code that a person types in on any device (RFC 8628).

use super::reply::{self, Code};
use super::{Consent, OAuthError, Refusal, Tokens, grant};
use crate::store::Store;
use crate::wire::Instant;
use std::time::Duration;

/// RFC 8628 §3.5: `slow_down` adds this to the interval, for good.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// A log-in that waits for its person.
pub struct Pending {
    code: Code,
    expires: Instant,
}

/// Asks for a code.
pub async fn begin(store: &Store, consent: &Consent) -> Result<Pending, OAuthError> {
    let Some(url) = &consent.device_url else {
        return Err(OAuthError::Setting("this provider has no log-in by a device code; write flow = \"browser\"".into()));
    };
    let scope = consent.scope();
    let secret = consent.client_secret(store).await?;
    let mut form = vec![("client_id", consent.client_id.as_str()), ("scope", scope.as_str())];
    if let Some(secret) = &secret {
        form.push(("client_secret", secrecy::ExposeSecret::expose_secret(secret)));
    }
    let code = reply::code(url, &super::post(url, &form).await?)?;
    Ok(Pending { expires: Instant::now() + code.lifetime, code })
}

impl Pending {
    /// Where to go.
    pub fn url(&self) -> &str {
        &self.code.url
    }

    /// Where the code is filled in already, if there is such a page.
    pub fn complete_url(&self) -> Option<&str> {
        self.code.complete_url.as_deref()
    }

    /// What to type in there.
    pub fn code(&self) -> &str {
        &self.code.user_code
    }

    /// Waits until the person has consented, refused, or let the code expire.
    pub async fn wait(&self, store: &Store, consent: &Consent) -> Result<Tokens, OAuthError> {
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", self.code.device_code.as_str())];
        let mut interval = self.code.interval;
        loop {
            tokio::time::sleep(interval).await;
            if Instant::now() >= self.expires {
                return Err(expired());
            }
            interval = match grant::ask(store, consent, &form).await {
                Ok(Ok(tokens)) => return Ok(tokens),
                Ok(Err(refusal)) => next_interval(interval, refusal)?,
                // RFC 8628 §3.5: after a time-out, less often.
                Err(OAuthError::Network { .. }) => interval * 2,
                Err(error) => return Err(error),
            };
        }
    }
}

/// How long to wait before asking again, if that makes sense.
fn next_interval(interval: Duration, refusal: Refusal) -> Result<Duration, OAuthError> {
    match refusal.error.as_str() {
        "authorization_pending" => Ok(interval),
        "slow_down" => Ok(interval + SLOW_DOWN),
        "expired_token" => Err(expired()),
        // Microsoft's word for the former.
        "access_denied" | "authorization_declined" => Err(OAuthError::Setting("the log-in was declined in the browser".into())),
        _ => Err(OAuthError::Refused(refusal)),
    }
}

fn expired() -> OAuthError {
    OAuthError::Setting("nobody entered the code in time; start again".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_of_asking() {
        let after = |error: &str| next_interval(Duration::from_secs(5), reply::refused(error, "")).map(|wait| wait.as_secs());
        assert_eq!(after("authorization_pending").ok(), Some(5));
        assert_eq!(after("slow_down").ok(), Some(10));
        for (error, said) in [
            ("expired_token", "in time"),
            ("access_denied", "declined"),
            ("authorization_declined", "declined"),
            ("invalid_client", "invalid_client"),
        ] {
            assert!(after(error).unwrap_err().to_string().contains(said), "{error}");
        }
    }
}
