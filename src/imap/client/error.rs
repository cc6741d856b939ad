//! What can go wrong in a session, what a server's refusal means (RFC 5530), and what follows for the next attempt.

use crate::imap::fetch_response::Malformed;
use crate::schedule::Failure;
use crate::wire::WireError;
use crate::wire::dial::{DialError, Phase};
use crate::wire::sasl::SaslError;
use crate::wire::tls::TlsError;

/// Why a session ended, or what it could not do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection failed.
    #[error("{phase}: {source}")]
    Wire {
        /// When.
        phase: Phase,
        /// How.
        source: WireError,
    },
    /// NO or BAD.
    #[error("{}; the server said: {text}", in_words(what, code))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its words.
        text: String,
        /// The response code (RFC 5530), upper case; may be empty.
        code: String,
    },
    /// BYE.
    #[error("the server ended the session: {0}")]
    Bye(String),
    /// BYE instead of a greeting.
    #[error("the server takes no session now: {0}")]
    TurnedAway(String),
    /// What came is no answer to what was asked: the session can't go on.
    #[error("the server's answers make no sense: {0}")]
    OutOfStep(String),
    /// The server offers no protection although the configuration wants it.
    #[error("{0}")]
    Unprotected(&'static str),
    /// The log-in conversation failed on our side.
    #[error("logging in: {0}")]
    Sasl(#[from] SaslError),
}

/// [`ClientError::Refused::what`] of a log-in.
pub(super) const LOG_IN: &str = "the log-in";

/// [`ClientError::Refused::what`] of a log-in with an OAuth token.
pub(super) const TOKEN: &str = "the OAuth token";

/// What a refused token means for who set it up.
const REFUSED_TOKEN: &str = "the server refused the OAuth token; the next attempt gets another one. If that is refused too: is username the \
                             mailbox's own, does its administrator allow IMAP, was “mailroom oauth login” done with that account?";

/// A refusal by its response code (RFC 5530 §3).
fn in_words(what: &str, code: &str) -> String {
    match code {
        "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "" if what == TOKEN => REFUSED_TOKEN.into(),
        "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" => "the server refused user name or password".into(),
        "INUSE" => "the mailbox is in use by another session".into(),
        "LIMIT" => "the provider wants fewer or slower log-ins".into(),
        "UNAVAILABLE" | "SERVERBUG" => format!("the server can't do this now ({what})"),
        _ if what == LOG_IN => "the server refused the log-in, perhaps because of the password".into(),
        _ => format!("the server refused {what}"),
    }
}

impl ClientError {
    /// Whether the greeting was a refusal.
    pub fn is_turned_away(&self) -> bool {
        matches!(self, Self::TurnedAway(_))
    }

    /// What it means for the next attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused { code, .. } if code == "AUTHENTICATIONFAILED" || code == "AUTHORIZATIONFAILED" => Failure::LogIn,
            Self::Refused { code, .. } if code == "LIMIT" => Failure::Throttled,
            Self::Refused { what: LOG_IN | TOKEN, code, .. } if code.is_empty() || code == "ALERT" => Failure::LogInPerhaps,
            Self::Refused { .. } | Self::Bye(_) | Self::TurnedAway(_) | Self::Unprotected(_) => Failure::Temporary,
            Self::Sasl(SaslError::Refused) => Failure::LogIn,
            Self::Sasl(SaslError::Downgrade) => Failure::LogInPerhaps,
            Self::Sasl(_) => Failure::Temporary,
            Self::Dial(DialError::Tls(TlsError::Certificate { .. })) => Failure::Certificate,
            Self::Dial(_) | Self::Wire { .. } | Self::OutOfStep(_) => Failure::Network,
        }
    }
}

impl From<Malformed> for ClientError {
    fn from(malformed: Malformed) -> Self {
        Self::OutOfStep(malformed.0.into())
    }
}
