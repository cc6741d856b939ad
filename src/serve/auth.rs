//! Log-in by SASL (RFC 4422), the same for every server of ours: what a client says in, what it hears out, who it is in the end. Base64 and the
//! commands around it are the protocols' business.
//!
//! PLAIN and LOGIN carry the password; SCRAM-SHA-256 (RFC 5802, 7677) proves it without, with -PLUS for this TLS connection alone.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use super::login::{Login, Refused};
use crate::store::Account;
use crate::wire::sasl::{self, Channel, ServerFinal};

/// Random bytes in the nonce of a challenge (RFC 5802 §5.1 wants enough of them).
const NONCE: usize = 18;

/// The mechanisms, best first, as a client may be offered them over this channel.
pub fn mechanisms(channel: &Channel) -> impl Iterator<Item = &'static str> {
    let plus = channel.binding().is_some().then_some("SCRAM-SHA-256-PLUS");
    plus.into_iter().chain(["SCRAM-SHA-256", "PLAIN", "LOGIN"])
}

/// One log-in under way.
pub struct Dialogue {
    state: State,
    channel: Channel,
    from: IpAddr,
}

enum State {
    Plain,
    LoginName,
    LoginPassword {
        name: String,
    },
    /// Whether the mechanism is the one that is bound to the channel.
    ScramFirst {
        plus: bool,
    },
    ScramProof {
        name: String,
        account: Option<Box<Account>>,
        server: Box<ServerFinal>,
    },
    /// The client knows that we know the password; it only has to say so.
    Acknowledged(Box<Account>),
    Over,
}

/// What follows from a client's message.
#[derive(Debug)]
pub enum Next {
    /// Send this; the client answers.
    Ask(Vec<u8>),
    /// It is this user.
    In(Box<Account>),
    /// Not this time.
    Refused(Refused),
    /// The message makes no sense in this mechanism.
    Broken,
}

impl Dialogue {
    /// `mechanism` in upper case; `None` if there is no such thing here.
    pub fn begin(mechanism: &str, channel: Channel, from: IpAddr) -> Option<Dialogue> {
        let state = match mechanism {
            "PLAIN" => State::Plain,
            "LOGIN" => State::LoginName,
            "SCRAM-SHA-256" => State::ScramFirst { plus: false },
            "SCRAM-SHA-256-PLUS" if channel.binding().is_some() => State::ScramFirst { plus: true },
            _ => return None,
        };
        Some(Dialogue { state, channel, from })
    }

    /// The client's next message, decoded; `None` at first if it sent nothing along with the mechanism's name.
    pub async fn step(&mut self, login: &Login, message: Option<&[u8]>) -> Next {
        let Some(message) = message else {
            return Next::Ask(if matches!(self.state, State::LoginName) { b"Username:".to_vec() } else { Vec::new() });
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => match sasl::plain_response(message) {
                // Nobody acts for somebody else here.
                Ok(plain) if plain.authorize_as.is_empty() || plain.authorize_as == plain.user => {
                    self.check(login, &plain.user, &plain.password).await
                }
                _ => Next::Broken,
            },
            State::LoginName => match std::str::from_utf8(message) {
                Ok(name) => {
                    self.state = State::LoginPassword { name: name.to_owned() };
                    Next::Ask(b"Password:".to_vec())
                }
                Err(_) => Next::Broken,
            },
            State::LoginPassword { name } => match String::from_utf8(message.to_vec()) {
                Ok(password) => self.check(login, &name, &SecretString::from(password)).await,
                Err(_) => Next::Broken,
            },
            State::ScramFirst { plus } => self.challenge(login, message, plus).await,
            State::ScramProof { name, account, server } => {
                let proved = server.verify(message);
                match login.settle(self.from, &name, account.map(|account| *account), proved.is_ok()).await {
                    Ok(account) => {
                        self.state = State::Acknowledged(Box::new(account));
                        Next::Ask(proved.unwrap_or_default())
                    }
                    Err(refused) => Next::Refused(refused),
                }
            }
            State::Acknowledged(account) if message.is_empty() => Next::In(account),
            State::Acknowledged(_) | State::Over => Next::Broken,
        }
    }

    async fn check(&self, login: &Login, name: &str, password: &SecretString) -> Next {
        match login.check(self.from, name, password).await {
            Ok(account) => Next::In(Box::new(account)),
            Err(refused) => Next::Refused(refused),
        }
    }

    async fn challenge(&mut self, login: &Login, message: &[u8], plus: bool) -> Next {
        let mut random = [0; NONCE];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::error!(%error, "the system gives no random numbers: nobody can log in by SCRAM");
            return Next::Refused(Refused::Temporary);
        }
        let Ok(first) = sasl::client_first(message, self.channel.binding(), plus) else { return Next::Broken };
        if !first.authorize_as.is_empty() && first.authorize_as != first.user {
            return Next::Broken;
        }
        let name = first.user.clone();
        match login.keys(self.from, &name).await {
            Ok((account, keys)) => {
                let (challenge, server) = first.challenge(keys, &STANDARD.encode(random));
                self.state = State::ScramProof { name, account: account.map(Box::new), server: Box::new(server) };
                Next::Ask(challenge)
            }
            Err(refused) => Next::Refused(refused),
        }
    }
}
