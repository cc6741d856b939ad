//! Greeting, capabilities, log-in.

use super::super::fetch_response::response_code;
use super::error::{LOG_IN, TOKEN};
use super::{Client, ClientError, tagged};
use crate::config::Tls;
use crate::wire::dial::Phase;
use crate::wire::redact;
use crate::wire::sasl::{self, Mechanism, SaslError, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

/// Capabilities that a server may claim.
const MAX_CAPABILITIES: usize = 500;
/// Lines in one log-in: challenges, and what the server says besides.
const MAX_LINES: usize = 100;

impl Client {
    pub(super) async fn greeting(&mut self, tls: Tls) -> Result<(), ClientError> {
        let line = self.line(super::MAX_LINE, Phase::Greeting).await?;
        // A tagged answer before anything was asked is somebody's injection.
        let greeting = line.strip_prefix(b"* ").ok_or_else(|| ClientError::OutOfStep(redact::shown(&line)))?;
        let (word, rest) = greeting.split_at(memchr::memchr(b' ', greeting).unwrap_or(greeting.len()));
        let rest = rest.trim_ascii_start();
        match word.to_ascii_uppercase().as_slice() {
            b"OK" => {}
            b"PREAUTH" if tls == Tls::Starttls => {
                return Err(ClientError::Unprotected(
                    "the server takes us for logged in before TLS could be set up; somebody may be in between. Nothing was fetched",
                ));
            }
            b"PREAUTH" => self.logged_in = true,
            b"BYE" => return Err(ClientError::TurnedAway(redact::shown(rest))),
            _ => return Err(ClientError::OutOfStep(redact::shown(&line))),
        }
        self.note_capabilities(rest);
        Ok(())
    }

    /// Logs in by the best way that is offered.
    pub async fn log_in(&mut self, user: &str, secret: &Secret) -> Result<(), ClientError> {
        if self.logged_in {
            return Ok(());
        }
        self.connection.hush(true);
        let result = self.authenticate(user, secret).await;
        self.connection.hush(false);
        result?;
        self.logged_in = true;
        if self.capabilities.is_empty() {
            self.read_capabilities().await?;
        }
        Ok(())
    }

    pub(super) async fn read_capabilities(&mut self) -> Result<(), ClientError> {
        let mut found = Vec::new();
        self.command("CAPABILITY", "CAPABILITY", Phase::Command, |response| {
            if response.get(..11).is_some_and(|word| word.eq_ignore_ascii_case(b"CAPABILITY ")) {
                found = response[11..].to_vec();
            }
            Ok(())
        })
        .await?;
        self.set_capabilities(&found);
        Ok(())
    }

    /// Servers tell their capabilities along with the greeting and the log-in (RFC 3501 §7.1); what was known before is void then.
    fn note_capabilities(&mut self, text: &[u8]) {
        if let Some((code, words)) = response_code(text)
            && code == "CAPABILITY"
        {
            self.set_capabilities(words);
        }
    }

    fn set_capabilities(&mut self, words: &[u8]) {
        let words = String::from_utf8_lossy(words).to_ascii_uppercase();
        self.capabilities = words.split_ascii_whitespace().take(MAX_CAPABILITIES).map(str::to_owned).collect();
    }

    async fn authenticate(&mut self, user: &str, secret: &Secret) -> Result<(), ClientError> {
        let offered: Vec<String> = self.capabilities.iter().filter_map(|c| c.strip_prefix("AUTH=")).map(str::to_owned).collect();
        let channel = self.connection.get_ref().channel();
        for mechanism in secret.mechanisms(offered.iter().map(String::as_str), &channel) {
            match self.sasl(mechanism, user, secret.text()).await {
                // Who reads along could have refused it himself, to see a weaker one.
                Ok(false) if !mechanism.is_in_clear() && !channel.is_protected() => return Err(SaslError::Downgrade.into()),
                Ok(false) => {}
                Err(ClientError::Refused { text, code, .. }) if matches!(secret, Secret::Token(_)) => {
                    return Err(ClientError::Refused { what: TOKEN, text, code });
                }
                other => return other.map(drop),
            }
        }
        let Secret::Password(password) = secret else { return Err(SaslError::NoTokens.into()) };
        if self.offers("LOGINDISABLED") {
            return Err(ClientError::Unprotected("the server allows no log-in with a password on this connection; is tls right?"));
        }
        self.capabilities.clear();
        let command = format!("LOGIN {} {}", quoted(user)?, quoted(password.expose_secret())?);
        let text = self.command(&command, LOG_IN, Phase::Login, |_| Ok(())).await?;
        self.note_capabilities(text.strip_prefix(b"OK ").unwrap_or_default());
        Ok(())
    }

    /// False: the server does not do this mechanism after all, and has seen no password.
    async fn sasl(&mut self, mechanism: Mechanism, user: &str, password: &SecretString) -> Result<bool, ClientError> {
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(|_| SaslError::Malformed("this machine has no random numbers"))?;
        let mut client = sasl::Client::new(mechanism, user, password.clone(), &nonce, &self.connection.get_ref().channel());
        let tag = self.next_tag();
        let initial = if self.offers("SASL-IR") { client.initial() } else { None };
        let mut answered = initial.is_some();
        let command = match initial {
            Some(initial) => format!("{tag} AUTHENTICATE {} {}", mechanism.name(), STANDARD.encode(initial)),
            None => format!("{tag} AUTHENTICATE {}", mechanism.name()),
        };
        self.say(&command, Phase::Login).await?;
        for _ in 0..MAX_LINES {
            let line = self.line(super::MAX_LINE, Phase::Login).await?;
            if let Some(rest) = line.strip_prefix(b"* ") {
                self.unasked(rest).await?;
                continue;
            }
            if let Some(challenge) = line.strip_prefix(b"+") {
                let challenge =
                    STANDARD.decode(challenge.trim_ascii()).map_err(|_| SaslError::Malformed("a challenge is not in Base64"))?;
                let first = if answered || !challenge.is_empty() { None } else { client.initial() };
                let answer = match first {
                    Some(initial) => initial,
                    None => {
                        let answer;
                        (client, answer) = client.answered(challenge).await?;
                        answer
                    }
                };
                answered = true;
                self.say(&STANDARD.encode(answer), Phase::Login).await?;
                continue;
            }
            return match super::status(tagged(&line, &tag)?, LOG_IN) {
                Ok(text) => {
                    client.finish()?;
                    self.capabilities.clear();
                    self.note_capabilities(text);
                    Ok(true)
                }
                Err(ClientError::Refused { code, .. }) if !answered && code.is_empty() => Ok(false),
                Err(error) => Err(error),
            };
        }
        Err(SaslError::Malformed("too many challenges").into())
    }
}

/// A quoted string (RFC 9051 §4.3). Names and passwords beyond ASCII go by AUTHENTICATE; LOGIN has no way for them that all servers know.
fn quoted(text: &str) -> Result<String, ClientError> {
    if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(SaslError::Malformed("user name or password contain a line break").into());
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}
