//! STARTTLS, LOGIN and AUTHENTICATE (RFC 9051 §6.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;

use super::notify::Noticed;
use super::outcome::{Done, Failure, Performed};
use super::{Enabled, Flow, Session};
use crate::serve::auth::{self, Dialogue, Next};
use crate::serve::login::Refused;
use crate::store::Account;
use crate::wire::{Connection, WireError};

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
        let stream = self.context.upgrade(stream, &mut self.stop).await?;
        Ok(Session { wire: Connection::new(stream), tls: true, ..self })
    }

    pub(super) async fn login(&mut self, user: &str, password: &SecretString) -> Performed {
        if !self.may_log_in() {
            return Err(privacy_required());
        }
        match self.context.login.check(self.peer.ip(), user, password).await {
            Ok(account) => Ok(self.enter(account)),
            Err(refused) => Err(self.refused(refused)),
        }
    }

    fn enter(&mut self, account: Account) -> Done {
        tracing::info!(user = account.name(), "logged in");
        self.account = Some(account);
        self.changes = Some(self.context.store.changes());
        Done::with_code(format!("CAPABILITY {}", self.capabilities()), "Logged in.")
    }

    fn refused(&mut self, refused: Refused) -> Failure {
        self.failed_logins += 1;
        match refused {
            Refused::Wrong => Failure::no("AUTHENTICATIONFAILED", "Wrong name or password."),
            Refused::Disabled => Failure::no("CONTACTADMIN", "This user is disabled."),
            Refused::Throttled => Failure::no("LIMIT", "Too many failed log-ins from your address; wait ten minutes."),
            Refused::Temporary => Failure::no("UNAVAILABLE", "Log-ins don't work at the moment; try again later."),
        }
    }

    /// RFC 8437: as before log-in, but for TLS and the count of failed log-ins. Not offered, and so no command, under compression.
    pub(super) fn unauthenticate(&mut self) -> Performed {
        if self.compressed {
            return Err(Failure::Bad("Not under compression: begin a new connection.".into()));
        }
        self.account = None;
        self.selected = None;
        self.changes = None;
        self.notify = None;
        self.noticed = Noticed::default();
        self.own_names.clear();
        self.own_annotations.clear();
        self.enabled = Enabled::default();
        Ok(Done::with_code(format!("CAPABILITY {}", self.capabilities()), "Logged off; who is next?"))
    }

    /// The mechanisms that may be used here and now, best first.
    pub(super) fn mechanisms(&self) -> Vec<&'static str> {
        if self.may_log_in() { auth::mechanisms(&self.wire.get_ref().channel()).collect() } else { Vec::new() }
    }

    /// The SASL dialogue (RFC 9051 §6.2.2), with or without initial response (RFC 4959).
    pub(super) async fn authenticate(&mut self, mechanism: &str, initial: Option<Vec<u8>>) -> Performed {
        let Some(mut dialogue) = Dialogue::begin(mechanism, self.wire.get_ref().channel(), self.peer.ip()) else {
            return Err(Failure::No { code: None, text: "There is no such mechanism here.".into() });
        };
        if !self.may_log_in() {
            return Err(privacy_required());
        }
        self.wire.hush(true);
        let ended = self.converse(&mut dialogue, initial).await;
        self.wire.hush(false);
        match ended? {
            Next::In(account) => Ok(self.enter(*account)),
            Next::Refused(refused) => Err(self.refused(refused)),
            Next::Ask(_) | Next::Broken => Err(Failure::Bad("This log-in makes no sense.".into())),
        }
    }

    /// Challenges and answers up to the end.
    async fn converse(&mut self, dialogue: &mut Dialogue, initial: Option<Vec<u8>>) -> Result<Next, Failure> {
        let mut message = initial.as_deref().map(decode).transpose()?;
        loop {
            let challenge = match dialogue.step(&self.context.login, message.as_deref()).await {
                Next::Ask(challenge) => challenge,
                end => return Ok(end),
            };
            self.queue(&format!("+ {}\r\n", BASE64.encode(challenge)));
            self.flush().await?;
            message = match self.read_line(MAX_SASL_LINE).await? {
                Some(line) if *line == *b"*" => return Err(Failure::Bad("Log-in cancelled.".into())),
                Some(line) => Some(decode(&line)?),
                None => return Err(Failure::Ended),
            };
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
