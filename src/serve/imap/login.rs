//! STARTTLS, LOGIN and AUTHENTICATE (RFC 9051 §6.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;

use super::outcome::{Done, Failure, Performed};
use super::{Enabled, Flow, Session};
use crate::serve::login::Refused;
use crate::wire::{Connection, WireError, sasl};

/// Failed log-ins on one connection; a person who mistypes comes back with a new one.
pub const MAX_FAILED: u32 = 5;
/// A line of a SASL exchange, in base64: a name and a password of a kilobyte each.
const MAX_SASL_LINE: usize = 4096;

impl Session {
    /// Whether a password may come over this connection.
    pub(super) fn may_log_in(&self) -> bool {
        self.tls || self.context.plaintext_login(self.peer.ip())
    }

    pub(super) fn allow_tls(&self) -> Performed {
        if self.tls {
            return Err(Failure::Bad("This connection is encrypted already.".into()));
        }
        Ok(Done { flow: Flow::StartTls, ..Done::ok("Begin TLS now.") })
    }

    /// After the tagged OK. What the client sent ahead of the handshake ends the connection (CVE-2011-0411).
    pub(super) async fn start_tls(mut self) -> Result<Session, WireError> {
        self.flush().await?;
        let stream = self.wire.into_inner()?;
        let stream = self.context.upgrade(stream).await?;
        Ok(Session { wire: Connection::new(stream), tls: true, ..self })
    }

    pub(super) async fn login(&mut self, user: &str, password: &SecretString) -> Performed {
        if !self.may_log_in() {
            return Err(privacy_required());
        }
        match self.context.login.check(self.peer.ip(), user, password).await {
            Ok(account) => {
                tracing::info!(user = account.name(), "logged in");
                self.account = Some(account);
                self.changes = Some(self.context.store.changes());
                Ok(Done::with_code(format!("CAPABILITY {}", self.capabilities()), "Logged in."))
            }
            Err(refused) => {
                self.failed_logins += 1;
                Err(match refused {
                    Refused::Wrong => Failure::no("AUTHENTICATIONFAILED", "Wrong name or password."),
                    Refused::Disabled => Failure::no("CONTACTADMIN", "This user is disabled."),
                    Refused::Throttled => Failure::no("LIMIT", "Too many failed log-ins from your address; wait ten minutes."),
                    Refused::Temporary => Failure::no("UNAVAILABLE", "Log-ins don't work at the moment; try again later."),
                })
            }
        }
    }

    /// RFC 8437: as before log-in, but for TLS, compression and the count of failed log-ins.
    pub(super) fn unauthenticate(&mut self) -> Performed {
        self.account = None;
        self.selected = None;
        self.changes = None;
        self.enabled = Enabled::default();
        Ok(Done::with_code(format!("CAPABILITY {}", self.capabilities()), "Logged off; who is next?"))
    }

    /// PLAIN (RFC 4616) and LOGIN, with or without initial response (RFC 4959).
    pub(super) async fn authenticate(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Performed {
        if !matches!(mechanism, "PLAIN" | "LOGIN") {
            return Err(Failure::No { code: None, text: "There is no such mechanism here.".into() });
        }
        if !self.may_log_in() {
            return Err(privacy_required());
        }
        self.wire.hush(true);
        let credentials = self.credentials(mechanism, initial).await;
        self.wire.hush(false);
        let (user, password) = credentials?;
        self.login(&user, &password).await
    }

    async fn credentials(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Result<(String, SecretString), Failure> {
        if mechanism == "PLAIN" {
            let message = match initial {
                Some(initial) => decode(&initial)?,
                None => self.challenge(b"").await?,
            };
            let plain = sasl::plain_response(&message).map_err(|_| Failure::Bad("This is no PLAIN message.".into()))?;
            if !plain.authorize_as.is_empty() && plain.authorize_as != plain.user {
                return Err(Failure::no("AUTHORIZATIONFAILED", "Nobody may act for somebody else here."));
            }
            return Ok((plain.user, plain.password));
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| Failure::Bad("Names and passwords are UTF-8.".into()));
        let user = match initial {
            Some(initial) => decode(&initial)?,
            None => self.challenge(b"Username:").await?,
        };
        let password = self.challenge(b"Password:").await?;
        Ok((text(user)?, SecretString::from(text(password)?)))
    }

    async fn challenge(&mut self, challenge: &[u8]) -> Result<Vec<u8>, Failure> {
        self.queue(&format!("+ {}\r\n", BASE64.encode(challenge)));
        self.flush().await?;
        match self.read_line(MAX_SASL_LINE).await? {
            Some(line) if *line == *b"*" => Err(Failure::Bad("Log-in cancelled.".into())),
            Some(line) => decode(&line),
            None => Err(Failure::Wire(WireError::Closed)),
        }
    }
}

fn privacy_required() -> Failure {
    Failure::no("PRIVACYREQUIRED", "Use TLS: passwords are not taken over an open connection from your address.")
}

/// An initial response of `=` is the empty one.
fn decode(line: &[u8]) -> Result<Vec<u8>, Failure> {
    if line == b"=" {
        return Ok(Vec::new());
    }
    BASE64.decode(line.trim_ascii()).map_err(|_| Failure::Bad("This is no base64.".into()))
}
