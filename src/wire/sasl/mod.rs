//! SASL mechanisms as values: challenges in, responses out (RFC 4422, 4616, 2195, 5802, 7628, 7677, 9266). Base64 and the commands around them
//! are the protocols' business.

mod bearer;
mod channel;
mod scram;

pub use channel::{Channel, ChannelBinding};
pub use scram::{ClientFirst, ScramKeys, ServerFinal, client_first};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bearer::Form;
use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use scram::{Hash, ScramClient};
use secrecy::{ExposeSecret, SecretString};
use std::fmt::Write;

/// What a log-in is proved with.
#[derive(Debug, Clone)]
pub enum Secret {
    /// A password.
    Password(SecretString),
    /// An OAuth 2 access token.
    Token(SecretString),
}

impl Secret {
    /// The secret text, of whichever kind.
    pub fn text(&self) -> &SecretString {
        match self {
            Self::Password(text) | Self::Token(text) => text,
        }
    }

    /// Those of the offered mechanisms that can use it over this connection, best first; names in any case.
    pub fn mechanisms<'a>(&self, offered: impl IntoIterator<Item = &'a str>, channel: &Channel) -> Vec<Mechanism> {
        match self {
            Self::Password(_) => Mechanism::among(offered, channel),
            Self::Token(_) => Mechanism::known(&Mechanism::BEARER, offered),
        }
    }
}

/// Mechanisms of a client, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 7628
    OAuthBearer,
    /// Its forerunner.
    XOAuth2,
    /// RFC 7677, bound to the TLS connection
    ScramSha256Plus,
    /// RFC 7677
    ScramSha256,
    /// RFC 5802
    ScramSha1,
    /// RFC 2195
    CramMd5,
    /// RFC 4616
    Plain,
    /// draft-murchison-sasl-login
    Login,
}

impl Mechanism {
    /// Those for tokens, best first.
    pub const BEARER: [Mechanism; 2] = [Self::OAuthBearer, Self::XOAuth2];
    /// Those for passwords, best first.
    pub const ALL: [Mechanism; 6] = [Self::ScramSha256Plus, Self::ScramSha256, Self::ScramSha1, Self::CramMd5, Self::Plain, Self::Login];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// Those of the offered names that take a password, best first; names in any case.
    pub fn among<'a>(offered: impl IntoIterator<Item = &'a str>, channel: &Channel) -> Vec<Mechanism> {
        let mut found = Self::known(&Self::ALL, offered);
        found.retain(|mechanism| *mechanism != Self::ScramSha256Plus || channel.binding().is_some());
        found
    }

    /// Whether it shows the password to whoever reads along.
    pub fn is_in_clear(self) -> bool {
        matches!(self, Self::OAuthBearer | Self::XOAuth2 | Self::Plain | Self::Login)
    }

    fn known<'a>(ours: &[Mechanism], offered: impl IntoIterator<Item = &'a str>) -> Vec<Mechanism> {
        let offered: Vec<&str> = offered.into_iter().collect();
        ours.iter().copied().filter(|known| offered.iter().any(|name| name.eq_ignore_ascii_case(known.name()))).collect()
    }
}

/// Why a log-in by SASL can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The message makes no sense at this point.
    #[error("the log-in conversation got out of step: {0}")]
    Malformed(&'static str),
    /// The password is wrong, as far as this side can tell.
    #[error("wrong user name or password")]
    Refused,
    /// The server does not know the password it asked for.
    #[error("the server could not prove that it knows the password; it may not be the one it says it is")]
    Impostor,
    /// A way that hides the password was refused on a line that anybody can read: no weaker one is tried.
    #[error(
        "the server offered a log-in that hides the password, and refused it; no weaker one is tried after that, and the password is not sent in \
         clear. Is it right? Better set tls = \"implicit\" or \"starttls\""
    )]
    Downgrade,
    /// The server has neither mechanism for tokens.
    #[error("the server takes no OAuth tokens; is host right? If it takes passwords, set auth = \"password\"")]
    NoTokens,
}

/// The client's side of one log-in.
pub struct Client {
    user: String,
    password: SecretString,
    state: State,
}

enum State {
    Bearer(Form),
    Explained(Form),
    Scram(Box<ScramClient>),
    CramMd5,
    Plain,
    LoginUser,
    LoginPassword,
    Finished,
}

impl Client {
    /// `password` is the token for the bearer mechanisms. `nonce` is 18 or more random bytes; only SCRAM uses them.
    pub fn new(mechanism: Mechanism, user: &str, password: SecretString, nonce: &[u8], channel: &Channel) -> Self {
        let state = match mechanism {
            Mechanism::ScramSha256Plus => {
                State::Scram(Box::new(ScramClient::new(Hash::Sha256, user, &STANDARD.encode(nonce)).bound_to(channel.binding())))
            }
            Mechanism::OAuthBearer => State::Bearer(Form::OAuthBearer),
            Mechanism::XOAuth2 => State::Bearer(Form::XOAuth2),
            Mechanism::ScramSha256 => State::Scram(Box::new(ScramClient::new(Hash::Sha256, user, &STANDARD.encode(nonce)))),
            Mechanism::ScramSha1 => State::Scram(Box::new(ScramClient::new(Hash::Sha1, user, &STANDARD.encode(nonce)))),
            Mechanism::CramMd5 => State::CramMd5,
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginUser,
        };
        Self { user: user.to_owned(), password, state }
    }

    /// What may be sent along with the command, or as the answer to an empty challenge; `None`: the server speaks first.
    pub fn initial(&mut self) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Bearer(form) => {
                let form = *form;
                self.state = State::Explained(form);
                Some(form.message(&self.user, &self.password))
            }
            State::Scram(scram) => Some(scram.first()),
            State::Plain => {
                self.state = State::Finished;
                Some(format!("\0{}\0{}", self.user, self.password.expose_secret()).into_bytes())
            }
            State::Explained(_) | State::CramMd5 | State::LoginUser | State::LoginPassword | State::Finished => None,
        }
    }

    /// Answers a decoded challenge.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let password = self.password.expose_secret();
        match &mut self.state {
            State::Explained(form) => {
                let acknowledgement = form.acknowledgement();
                self.state = State::Finished;
                Ok(acknowledgement)
            }
            State::Scram(scram) => scram.answer(challenge, password),
            State::CramMd5 => {
                self.state = State::Finished;
                let mut mac = Hmac::<Md5>::new_from_slice(password.as_bytes()).map_err(|_| SaslError::Malformed("no password"))?;
                mac.update(challenge);
                Ok(format!("{} {}", self.user, hex(&mac.finalize().into_bytes())).into_bytes())
            }
            State::LoginUser => {
                self.state = State::LoginPassword;
                Ok(self.user.clone().into_bytes())
            }
            State::LoginPassword => {
                self.state = State::Finished;
                Ok(password.as_bytes().to_vec())
            }
            State::Bearer(_) | State::Plain | State::Finished => Err(SaslError::Malformed("the server asks for more than there is")),
        }
    }

    /// The same away from the threads that serve everybody: the server says how long SCRAM computes, up to a second. A failure ends the
    /// conversation.
    pub async fn answered(mut self, challenge: Vec<u8>) -> Result<(Self, Vec<u8>), SaslError> {
        let work = move || self.answer(&challenge).map(|answer| (self, answer));
        tokio::task::spawn_blocking(work).await.unwrap_or(Err(SaslError::Malformed("the answer could not be computed")))
    }

    /// To be called when the server says that we are in: whether it has proved that it knows the password, where the mechanism can.
    pub fn finish(&self) -> Result<(), SaslError> {
        match &self.state {
            State::Scram(scram) if !scram.is_verified() => Err(SaslError::Impostor),
            _ => Ok(()),
        }
    }
}

/// The digest of APOP (RFC 1939 §7): `timestamp` is the greeting's msg-id with its angle brackets.
pub fn apop(timestamp: &[u8], password: &SecretString) -> String {
    hex(&Md5::new().chain_update(timestamp).chain_update(password.expose_secret()).finalize())
}

/// What a client sent with PLAIN.
pub struct PlainResponse {
    /// Whom to act as; empty is the same as `user`.
    pub authorize_as: String,
    /// Who logs in.
    pub user: String,
    /// With this.
    pub password: SecretString,
}

/// Takes PLAIN's one message apart (RFC 4616 §2).
pub fn plain_response(message: &[u8]) -> Result<PlainResponse, SaslError> {
    let text = std::str::from_utf8(message).map_err(|_| SaslError::Malformed("PLAIN is not UTF-8"))?;
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(authorize_as), Some(user), Some(password), None) if !user.is_empty() => {
            Ok(PlainResponse { authorize_as: authorize_as.into(), user: user.into(), password: password.to_owned().into() })
        }
        _ => Err(SaslError::Malformed("PLAIN has three parts")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(mechanism: Mechanism, user: &str, password: &str) -> Client {
        Client::new(mechanism, user, password.to_owned().into(), b"nonce", &Channel::Clear)
    }

    #[test]
    fn best_first() {
        let offered = ["login", "Plain", "XOAUTH2", "cram-md5", "scram-sha-256-plus"];
        assert_eq!(Mechanism::among(offered, &Channel::Clear), [Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login]);
        let bound = Channel::Tls(Some(ChannelBinding { name: "tls-exporter", data: vec![1] }));
        assert_eq!(Mechanism::among(offered, &bound)[0], Mechanism::ScramSha256Plus);
    }

    #[test]
    fn rfc_examples() {
        let password = SecretString::from("tanstaaf");
        assert_eq!(apop(b"<1896.697170952@dbc.mtview.ca.us>", &password), "c4c9334bac560ecc979e58001b3e22fb");
        let answer = client(Mechanism::CramMd5, "tim", "tanstaaftanstaaf").answer(b"<1896.697170952@postoffice.reston.mci.net>");
        assert_eq!(answer.unwrap(), b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(client(Mechanism::Plain, "tim", "x").initial().unwrap(), b"\0tim\0x");
    }

    #[test]
    fn login_and_plain_stop_where_they_should() {
        let mut login = client(Mechanism::Login, "tim", "x");
        assert_eq!(login.initial(), None);
        assert_eq!(login.answer(b"User Name\0").unwrap(), b"tim");
        assert_eq!(login.answer(b"Password\0").unwrap(), b"x");
        assert!(login.answer(b"").is_err());
        let mut plain = client(Mechanism::Plain, "tim", "x");
        plain.initial();
        assert!(plain.answer(b"again").is_err());
    }

    #[test]
    fn a_refused_token_is_explained_once() {
        for (mechanism, acknowledgement) in [(Mechanism::OAuthBearer, &b"\x01"[..]), (Mechanism::XOAuth2, b"")] {
            let mut token = client(mechanism, "tim@example.com", "t0ken");
            assert!(token.initial().unwrap().ends_with(b"\x01auth=Bearer t0ken\x01\x01"));
            assert_eq!(token.answer(br#"{"status":"invalid_token"}"#).unwrap(), acknowledgement);
            assert!(token.answer(b"again").is_err());
        }
        let token = Secret::Token("t0ken".to_owned().into());
        assert_eq!(token.mechanisms(["PLAIN", "xoauth2", "OAUTHBEARER"], &Channel::Clear), Mechanism::BEARER);
        assert!(Secret::Password("x".to_owned().into()).mechanisms(["XOAUTH2"], &Channel::Clear).is_empty());
    }

    /// On the one thread of this runtime, a second's computing is no standstill.
    #[tokio::test]
    async fn a_server_that_wants_many_rounds_of_scram_stops_nobody_else() {
        let mut scram = client(Mechanism::ScramSha256, "tim", "x");
        scram.initial();
        let challenge = format!("r={}more,s={},i=200000", STANDARD.encode("nonce"), STANDARD.encode("salt"));
        let mut others = 0;
        tokio::select! {
            biased;
            answered = scram.answered(challenge.into_bytes()) => assert!(answered.is_ok()),
            () = async { loop { others += 1; tokio::task::yield_now().await } } => {}
        }
        assert!(others > 1, "{others}");
    }

    #[test]
    fn plain_comes_apart() {
        let response = plain_response(b"\0alice\0se cret").unwrap();
        assert_eq!((response.user.as_str(), response.password.expose_secret()), ("alice", "se cret"));
        for bad in [&b"alice"[..], b"\0alice", b"\0\0x", b"\0a\0b\0c", b"\0\xff\0x"] {
            assert!(plain_response(bad).is_err());
        }
    }
}
