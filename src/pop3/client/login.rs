//! Who we are: SASL (RFC 5034), APOP (RFC 1939 §7), or USER and PASS.

use super::error::{LOG_IN, TOKEN, status_of};
use super::{AHEAD, Client, ClientError, Refusal};
use crate::wire::dial::Phase;
use crate::wire::redact;
use crate::wire::sasl::{self, Mechanism, SaslError, Secret};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

/// Name and password that fit into one command line of 255 bytes (RFC 5034 §4), in Base64.
const MAX_INITIAL: usize = 170;
/// Challenges of one log-in.
const MAX_CHALLENGES: usize = 8;

impl Client {
    /// By SASL where the server offers a mechanism that hides the password, else by APOP, else in clear words.
    pub(super) async fn authenticate(&mut self, user: &str, password: &SecretString) -> Result<(), ClientError> {
        let offered = self.capabilities.0.get("SASL").cloned().unwrap_or_default();
        let channel = self.connection.get_ref().channel();
        let mechanisms = Mechanism::among(offered.iter().map(String::as_str), &channel);
        let has_apop = self.timestamp.is_some();
        for mechanism in mechanisms.iter().filter(|mechanism| !(mechanism.is_in_clear() && has_apop)) {
            if self.sasl(*mechanism, user, password).await? {
                return Ok(());
            }
            // Who reads along could have refused it himself, to see a weaker one.
            if !mechanism.is_in_clear() && !channel.is_protected() {
                return Err(SaslError::Downgrade.into());
            }
        }
        if let Some(timestamp) = self.timestamp.clone() {
            let digest = sasl::apop(&timestamp, password);
            self.say_last(&format!("APOP {} {digest}", plain(user)?)).await?;
            match self.status(LOG_IN, Phase::Login).await {
                // Servers show a timestamp and have no APOP, or not for this user.
                Err(ClientError::Refused { refusal: Refusal::Unknown, .. }) => {
                    self.drop_ahead().await?;
                    if !channel.is_protected() {
                        return Err(SaslError::Downgrade.into());
                    }
                }
                other => return other.map(|_| ()),
            }
        }
        let user_is_hidden = !self.capabilities.0.is_empty() && !self.capabilities.has("USER");
        if user_is_hidden {
            for mechanism in mechanisms.iter().filter(|mechanism| mechanism.is_in_clear()) {
                if self.sasl(*mechanism, user, password).await? {
                    return Ok(());
                }
            }
        }
        self.ask(&format!("USER {}", plain(user)?), LOG_IN, Phase::Login).await?;
        self.say_last(&format!("PASS {}", plain(password.expose_secret())?)).await?;
        self.status(LOG_IN, Phase::Login).await?;
        Ok(())
    }

    /// Says what the log-in ends with, and what comes next if the server pipelines.
    async fn say_last(&mut self, text: &str) -> Result<(), ClientError> {
        if !self.pipelining {
            return self.say(text, Phase::Login).await;
        }
        self.ahead = true;
        self.connection.queue(text.as_bytes());
        self.connection.queue(b"\r\n");
        self.connection.queue(AHEAD);
        self.flush(Phase::Login).await
    }

    /// The log-in was not the last one: passes over the answers to [`AHEAD`], which was too early.
    async fn drop_ahead(&mut self) -> Result<(), ClientError> {
        if !std::mem::take(&mut self.ahead) {
            return Ok(());
        }
        let known = std::mem::take(&mut self.capabilities);
        self.read_capabilities().await?;
        self.capabilities = known;
        for what in ["LIST", "UIDL", "STAT"] {
            match self.status(what, Phase::Login).await {
                Err(ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
                Ok(line) => return Err(ClientError::OutOfStep(redact::shown(&line))),
            }
        }
        Ok(())
    }

    /// Logs in with a token. Servers that offer nothing (RFC 5034 wants `SASL` in CAPA) are asked all the same.
    pub(super) async fn present(&mut self, user: &str, token: &SecretString) -> Result<(), ClientError> {
        let offered = self.capabilities.0.get("SASL").cloned().unwrap_or_default();
        let mut mechanisms =
            Secret::Token(token.clone()).mechanisms(offered.iter().map(String::as_str), &self.connection.get_ref().channel());
        if mechanisms.is_empty() {
            mechanisms.push(Mechanism::XOAuth2);
        }
        for mechanism in mechanisms {
            match self.sasl(mechanism, user, token).await {
                Ok(false) => {}
                Err(ClientError::Refused { text, refusal, .. }) => return Err(ClientError::Refused { what: TOKEN, text, refusal }),
                other => return other.map(drop),
            }
        }
        Err(SaslError::NoTokens.into())
    }

    /// False: the server does not do this mechanism after all, and has seen no password.
    async fn sasl(&mut self, mechanism: Mechanism, user: &str, password: &SecretString) -> Result<bool, ClientError> {
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(|_| SaslError::Malformed("this machine has no random numbers"))?;
        let mut client = sasl::Client::new(mechanism, user, password.clone(), &nonce, &self.connection.get_ref().channel());
        let command = format!("AUTH {}", mechanism.name());
        // Servers from before RFC 5034 know no initial response, and their refusal would look like that of a wrong password.
        let at_once = mechanism == Mechanism::Plain
            && self.pipelining
            && self.capabilities.has("AUTH-RESP-CODE")
            && user.len() + password.expose_secret().len() < MAX_INITIAL;
        match if at_once { client.initial() } else { None } {
            Some(initial) => self.say_last(&format!("{command} {}", STANDARD.encode(initial))).await?,
            None => self.say(&command, Phase::Login).await?,
        }
        for round in 0..MAX_CHALLENGES {
            let line = self.line(Phase::Login).await?;
            if let Some(challenge) = line.strip_prefix(b"+ ").or_else(|| (line == b"+"[..]).then_some(&b""[..])) {
                if self.ahead {
                    return Err(ClientError::OutOfStep("a challenge after everything was said".into()));
                }
                let challenge = STANDARD.decode(challenge).map_err(|_| SaslError::Malformed("a challenge is not in Base64"))?;
                let answer = match client.initial().filter(|_| round == 0 && challenge.is_empty()) {
                    Some(initial) => initial,
                    None => {
                        let answer;
                        (client, answer) = client.answered(challenge).await?;
                        answer
                    }
                };
                match mechanism {
                    // One answer is all of it, and what comes next is no challenge.
                    Mechanism::Plain | Mechanism::CramMd5 => self.say_last(&STANDARD.encode(answer)).await?,
                    _ => self.say(&STANDARD.encode(answer), Phase::Login).await?,
                }
                continue;
            }
            return match status_of(&line, LOG_IN) {
                Ok(_) => {
                    client.finish()?;
                    Ok(true)
                }
                Err(ClientError::Refused { refusal: Refusal::Unknown, .. }) if round == 0 => {
                    self.drop_ahead().await?;
                    Ok(false)
                }
                Err(error) => Err(error),
            };
        }
        Err(SaslError::Malformed("too many challenges").into())
    }
}

/// The msg-id in a greeting (RFC 1939 §7).
pub(super) fn apop_timestamp(greeting: &Bytes) -> Option<Bytes> {
    let start = memchr::memchr(b'<', greeting)?;
    let end = start + memchr::memchr(b'>', &greeting[start..])?;
    let inside = &greeting[start + 1..end];
    (inside.contains(&b'@') && inside.iter().all(u8::is_ascii_graphic)).then(|| greeting.slice(start..=end))
}

/// A name or password that would end the line could say a command of its own.
fn plain(text: &str) -> Result<&str, ClientError> {
    if text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(SaslError::Malformed("user name or password contain a line break").into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        let check = |greeting: &'static str| apop_timestamp(&Bytes::from_static(greeting.as_bytes()));
        assert_eq!(check("+OK ready <1.2@x>"), Some(Bytes::from_static(b"<1.2@x>")));
        for none in ["+OK ready", "+OK <no at>", "+OK <a@b", "+OK >a@b<", "+OK <a b@c>"] {
            assert_eq!(check(none), None, "{none}");
        }
    }
}
