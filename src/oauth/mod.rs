//! OAuth 2 for mail: a person consents once, tokens renew themselves (RFC 6749, 7636, 8252, 8628).
//!
//! There is one [`Consent`] for each person at each provider, whatever collectors and smarthosts use it, and one *grant* that came of it:
//! refresh and access token together, encrypted among the store's secrets, shared by all processes. Knows no mail protocol: how a
//! token is presented is [`wire::sasl`](crate::wire::sasl)'s business.
//!
//! | the grant | [`token`] |
//! |---|---|
//! | holds a token that lasts a while | gives it |
//! | holds one that ends soon | renews it, one process and task at a time; the others take what that brought |
//! | was refused (`invalid_grant`), or is for less than is needed | asks nobody; says which log-in is needed |

pub mod browser;
mod consent;
pub mod device;
mod grant;
mod reply;

pub use consent::Consent;
pub use grant::{Health, health, keep, spend, token};
pub use reply::{Refusal, Tokens};

use crate::schedule::Failure;
use crate::store::StoreError;
use crate::wire::http::{self, Answer};
use url::Url;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// Only a person can help.
    #[error("{reason}; run `mailroom oauth login {name}`")]
    LogIn {
        /// The collector or smarthost to name.
        name: String,
        /// What happened to the consent.
        reason: String,
    },
    /// The provider refuses for another reason.
    #[error("the provider's log-in service refused: {0}")]
    Refused(Refusal),
    /// It can't be reached, or talks nonsense.
    #[error("the provider's log-in service at {host}: {reason}")]
    Network {
        /// Whom we asked.
        host: String,
        /// In words.
        reason: String,
    },
    /// The client secret is not to be had, or the provider can't do this.
    #[error("{0}")]
    Setting(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Posts a form to the provider.
async fn post(address: &str, form: &[(&str, &str)]) -> Result<Answer, OAuthError> {
    http::post(address, form).await.map_err(|error| {
        let host = Url::parse(address).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        OAuthError::Network { host, reason: error.to_string() }
    })
}

impl OAuthError {
    /// What it means for the next attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::LogIn { .. } => Failure::Consent,
            Self::Network { .. } => Failure::Network,
            Self::Refused(_) | Self::Setting(_) | Self::Store(_) => Failure::Temporary,
        }
    }
}
