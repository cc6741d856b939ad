//! What can go wrong in a session, what a server's refusal means (RFC 2449 §8, RFC 3206), and what follows for the next attempt.

use crate::schedule::Failure;
use crate::wire::dial::{DialError, Phase};
use crate::wire::sasl::SaslError;
use crate::wire::tls::TlsError;
use crate::wire::{WireError, redact};

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
    /// The server said no.
    #[error("{}; the server said: {text}", refusal.in_words(what))]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Its words.
        text: String,
        /// Their class.
        refusal: Refusal,
    },
    /// What came can't be the answer to what was asked: the session can't go on.
    #[error("the server's answers are out of step with our requests: “{0}”")]
    OutOfStep(String),
    /// The log-in conversation failed on our side.
    #[error("logging in: {0}")]
    Sasl(#[from] SaslError),
}

/// Why a server says no, as far as it tells (RFC 2449 §8, RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `[IN-USE]`: another session has the mailbox.
    InUse,
    /// `[LOGIN-DELAY]`: too soon after the last one.
    LoginDelay,
    /// `[AUTH]`: name or password are wrong.
    Auth,
    /// `[SYS/TEMP]`
    Temporary,
    /// `[SYS/PERM]`
    Permanent,
    /// It did not say.
    Unknown,
}

impl Refusal {
    fn in_words(self, what: &str) -> String {
        match self {
            Self::InUse => "the mailbox is in use by another session".into(),
            Self::Auth | Self::Unknown if what == TOKEN => REFUSED_TOKEN.into(),
            Self::LoginDelay => "the provider wants a longer pause between log-ins".into(),
            Self::Auth => "the server refused user name or password".into(),
            Self::Temporary => format!("the server can't do this now ({what})"),
            Self::Unknown if what == LOG_IN => "the server refused the log-in, perhaps because of the password".into(),
            Self::Permanent | Self::Unknown => format!("the server refused {what}"),
        }
    }
}

impl ClientError {
    /// Whether the greeting was a refusal.
    pub fn is_turned_away(&self) -> bool {
        matches!(self, Self::Refused { what: CONNECTION, .. })
    }

    /// What it means for the next attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Dial(DialError::Tls(TlsError::Certificate { .. })) => Failure::Certificate,
            Self::Dial(_) | Self::Wire { .. } | Self::OutOfStep(_) => Failure::Network,
            Self::Refused { refusal: Refusal::InUse | Refusal::Temporary | Refusal::Permanent, .. } => Failure::Temporary,
            Self::Refused { refusal: Refusal::LoginDelay, .. } => Failure::Throttled,
            Self::Refused { refusal: Refusal::Auth, .. } => Failure::LogIn,
            Self::Refused { what: LOG_IN | TOKEN, refusal: Refusal::Unknown, .. } => Failure::LogInPerhaps,
            Self::Refused { .. } => Failure::Temporary,
            Self::Sasl(SaslError::Refused) => Failure::LogIn,
            Self::Sasl(SaslError::Downgrade) => Failure::LogInPerhaps,
            Self::Sasl(_) => Failure::Temporary,
        }
    }
}

/// [`ClientError::Refused::what`] of a greeting.
pub(super) const CONNECTION: &str = "the connection";
/// [`ClientError::Refused::what`] of a log-in.
pub(super) const LOG_IN: &str = "the log-in";

/// [`ClientError::Refused::what`] of a log-in with an OAuth token.
pub(super) const TOKEN: &str = "the OAuth token";

/// What a refused token means for who set it up.
const REFUSED_TOKEN: &str = "the server refused the OAuth token; the next attempt gets another one. If that is refused too: is username the \
                             mailbox's own, does its administrator allow POP3, was “mailroom oauth login” done with that account?";

/// `+OK` or `-ERR` (RFC 1939 §3), in any case.
pub(super) fn status_of(line: &[u8], what: &'static str) -> Result<(), ClientError> {
    let begins = |word: &[u8]| {
        line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && line.get(word.len()).is_none_or(|next| next.is_ascii_whitespace())
    };
    if begins(b"+OK") {
        return Ok(());
    }
    if begins(b"-ERR") {
        let text = line[4..].trim_ascii();
        return Err(ClientError::Refused { what, text: redact::shown(text), refusal: refusal(text) });
    }
    Err(ClientError::OutOfStep(redact::shown(line)))
}

fn refusal(text: &[u8]) -> Refusal {
    let code = text.strip_prefix(b"[").and_then(|rest| rest.split(|b| *b == b']').next()).unwrap_or_default();
    let code = String::from_utf8_lossy(code).to_ascii_uppercase();
    match code.as_str() {
        "IN-USE" => Refusal::InUse,
        "LOGIN-DELAY" => Refusal::LoginDelay,
        "AUTH" => Refusal::Auth,
        "SYS/PERM" => Refusal::Permanent,
        code if code == "SYS/TEMP" || code.starts_with("SYS/") => Refusal::Temporary,
        _ => Refusal::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        for (line, expected) in [
            ("-ERR [IN-USE] locked", Refusal::InUse),
            ("-err [login-delay] slow down", Refusal::LoginDelay),
            ("-ERR [AUTH] no", Refusal::Auth),
            ("-ERR [SYS/TEMP] later", Refusal::Temporary),
            ("-ERR no", Refusal::Unknown),
            ("-ERR", Refusal::Unknown),
        ] {
            assert!(
                matches!(status_of(line.as_bytes(), LOG_IN), Err(ClientError::Refused { refusal, .. }) if refusal == expected),
                "{line}"
            );
        }
        assert!(status_of(b"+ok", LOG_IN).is_ok());
        for line in ["", "OK", "+OKAY", "Subject: x", "* OK", "."] {
            assert!(matches!(status_of(line.as_bytes(), LOG_IN), Err(ClientError::OutOfStep(_))), "{line}");
        }
    }
}
