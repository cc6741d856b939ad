//! What token and device services answer, as values (RFC 6749 §5, RFC 8628 §3.2).

use super::OAuthError;
use crate::wire::http::Answer;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// A token that names no end lasts as long as most do.
const USUAL_LIFETIME: u64 = 3600;
/// So much of a provider's explanation is passed on.
const MAX_EXPLANATION: usize = 300;
/// RFC 8628 §3.2.
const USUAL_INTERVAL: u64 = 5;

/// What a token service gave.
pub struct Tokens {
    /// For the mail server.
    pub access: SecretString,
    /// For the next one; `None`: the old one stays good.
    pub refresh: Option<SecretString>,
    /// How long `access` lasts.
    pub lifetime: Duration,
    /// What it is good for, if the service says so (RFC 6749 §5.1).
    pub scope: Option<String>,
}

/// Why it gave none (RFC 6749 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `invalid_grant`.
    pub error: String,
    /// In the provider's words.
    pub explanation: String,
}

impl Refusal {
    /// The consent is void: only a person can give another one.
    pub fn is_final(&self) -> bool {
        // The latter two are OpenID's, and Microsoft's, for a person that has to look at something.
        matches!(self.error.as_str(), "invalid_grant" | "interaction_required" | "consent_required" | "login_required")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.explanation.as_str() {
            "" => out.write_str(&self.error),
            explanation => write!(out, "{} ({})", explanation.trim_end_matches('.'), self.error),
        }
    }
}

/// What a device service gave.
pub(super) struct Code {
    pub(super) device_code: String,
    pub(super) user_code: String,
    pub(super) url: String,
    pub(super) complete_url: Option<String>,
    pub(super) lifetime: Duration,
    pub(super) interval: Duration,
}

/// Reads a token service's answer. The refusal is inside, since some are not the end.
pub(super) fn tokens(host: &str, answer: &Answer) -> Result<Result<Tokens, Refusal>, OAuthError> {
    let object = object(host, answer)?;
    if let Some(refusal) = refusal(&object) {
        return Ok(Err(refusal));
    }
    let access = text(&object, "access_token").filter(|token| is_token(token));
    let Some(access) = access.filter(|_| answer.status == 200) else {
        return Err(odd(host, "it gave neither a token nor a reason"));
    };
    Ok(Ok(Tokens {
        access: access.into(),
        refresh: text(&object, "refresh_token").map(SecretString::from),
        lifetime: Duration::from_secs(number(&object, "expires_in").unwrap_or(USUAL_LIFETIME)),
        scope: text(&object, "scope"),
    }))
}

/// Reads a device service's answer.
pub(super) fn code(host: &str, answer: &Answer) -> Result<Code, OAuthError> {
    let object = object(host, answer)?;
    if let Some(refusal) = refusal(&object) {
        return Err(OAuthError::Refused(refusal));
    }
    // Google wrote verification_url before there was an RFC.
    let url = text(&object, "verification_uri").or_else(|| text(&object, "verification_url"));
    let (Some(device_code), Some(user_code), Some(url)) = (text(&object, "device_code"), text(&object, "user_code"), url) else {
        return Err(odd(host, "it gave no code"));
    };
    Ok(Code {
        device_code,
        user_code: printable(&user_code),
        url: printable(&url),
        complete_url: text(&object, "verification_uri_complete").map(|url| printable(&url)),
        lifetime: Duration::from_secs(number(&object, "expires_in").unwrap_or(900)),
        interval: Duration::from_secs(number(&object, "interval").unwrap_or(USUAL_INTERVAL).clamp(1, 60)),
    })
}

/// A refusal by its two texts, cleaned for people's eyes.
pub(super) fn refused(error: &str, explanation: &str) -> Refusal {
    // Microsoft's goes on for lines with trace numbers.
    let explanation = printable(explanation.lines().next().unwrap_or_default());
    Refusal { error: printable(error), explanation: explanation.trim().to_owned() }
}

fn refusal(object: &Map<String, Value>) -> Option<Refusal> {
    Some(refused(&text(object, "error")?, &text(object, "error_description").unwrap_or_default()))
}

fn object(host: &str, answer: &Answer) -> Result<Map<String, Value>, OAuthError> {
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(odd(host, &format!("its answer can't be read (HTTP status {}); is the address right?", answer.status))),
    }
}

fn odd(host: &str, reason: &str) -> OAuthError {
    OAuthError::Network { host: host.to_owned(), reason: reason.to_owned() }
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Some services write numbers as texts.
fn number(object: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = object.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).map(|number| number.min(10 * 365 * 86_400))
}

/// A token goes into protocol lines: no control characters (RFC 6750 §2.1 allows far less).
fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_EXPLANATION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn tokens_as_services_write_them() {
        let read =
            |body: &str| tokens("h", &answer(200, body)).unwrap().map(|t| (t.access.expose_secret().to_owned(), t.lifetime.as_secs()));
        assert_eq!(read(r#"{"access_token":"a","expires_in":3599,"refresh_token":"r","token_type":"Bearer"}"#), Ok(("a".into(), 3599)));
        assert_eq!(read(r#"{"access_token":"a","expires_in":"60"}"#), Ok(("a".into(), 60)));
        assert_eq!(read(r#"{"access_token":"a"}"#), Ok(("a".into(), 3600)));
    }

    #[test]
    fn refusals_and_nonsense() {
        let microsoft = r#"{"error":"invalid_grant","error_description":"AADSTS70008: The refresh token has expired.\r\nTrace ID: 1"}"#;
        let Ok(Err(refusal)) = tokens("h", &answer(400, microsoft)) else { panic!("no refusal") };
        assert!(refusal.is_final());
        assert_eq!(refusal.to_string(), "AADSTS70008: The refresh token has expired (invalid_grant)");
        assert!(!refused("slow_down", "").is_final());
        for wrong in ["", "<html>", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\u0001b"}"#, r#"{"access_token":1}"#] {
            assert!(tokens("h", &answer(200, wrong)).is_err(), "{wrong}");
        }
        assert!(tokens("h", &answer(500, r#"{"access_token":"a"}"#)).is_err());
        assert!(!refused("x", "a\u{1b}[31mred").to_string().contains('\u{1b}'));
    }

    #[test]
    fn codes() {
        let microsoft =
            r#"{"user_code":"ABCD","device_code":"d","verification_uri":"https://m/","expires_in":900,"interval":5,"message":"…"}"#;
        let found = code("h", &answer(200, microsoft)).unwrap();
        assert_eq!((found.user_code.as_str(), found.url.as_str(), found.interval.as_secs()), ("ABCD", "https://m/", 5));
        assert!(code("h", &answer(200, r#"{"user_code":"A","device_code":"d","verification_url":"https://g/","interval":0}"#)).is_ok());
        assert!(code("h", &answer(400, r#"{"error":"invalid_client"}"#)).is_err());
        assert!(code("h", &answer(200, "{}")).is_err());
    }
}
