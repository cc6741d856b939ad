//! A connection to a smarthost: greeting, EHLO, STARTTLS, AUTH, and then mails (RFC 5321, 3207, 4954). Or one to another mail system's
//! delivery agent, by LMTP (RFC 2033): LHLO, and an answer for each recipient at the end.
//!
//! Knows neither queue nor store: it is handed envelopes and pieces of messages, and gives back what the server said about each
//! recipient. STARTTLS, where it is configured, is not negotiable.

mod capabilities;
mod exchange;

pub use capabilities::Capabilities;
pub use exchange::{Envelope, SPECULATIVE, Stage, Verdict, WINDOW};

use crate::config::{Endpoint, Tls};
use crate::mapping::LmtpServer;
use crate::smtp::canonical::Canonical;
use crate::smtp::reply::{self, Class, Reply, ReplyError};
use crate::wire::dial::{self, DialError};
use crate::wire::dot::Stuffer;
use crate::wire::sasl::{self, Channel, Mechanism, SaslError, Secret};
use crate::wire::{Connection, Instant, LineEnd, Stream, WireError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exchange::Flight;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::wire::dial::Phase;

/// Nobody waits long for a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// Challenges of one SASL exchange: no mechanism has more than four.
const MAX_CHALLENGES: usize = 8;

/// RFC 4954 §4: a longer initial response waits for the server's empty challenge. Tokens are that long, passwords never.
const MAX_AUTH_LINE: usize = 512;

/// How long each phase of a conversation with a smarthost may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Look-up, TCP, TLS and the greeting.
    pub dial: dial::Patience,
    /// EHLO, STARTTLS, AUTH, MAIL, RCPT and RSET.
    pub command: Duration,
    /// The answer to DATA.
    pub data: Duration,
    /// Each piece of a message.
    pub piece: Duration,
    /// The answer to the whole message.
    pub end: Duration,
}

/// RFC 5321 §4.5.3.2: servers check at length before they answer, and whoever leaves too early sends twice.
impl Default for Patience {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            dial: dial::Patience { greeting: minutes(5), ..dial::Patience::default() },
            command: minutes(5),
            data: minutes(2),
            piece: minutes(3),
            end: minutes(10),
        }
    }
}

/// Name and password, or token, at a smarthost.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Log-in name.
    pub user: String,
    /// Never shown.
    pub secret: Secret,
}

/// Why a connection could not be made, or did not last.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or no TLS.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It broke or fell silent.
    #[error("{0}: {1}")]
    Wire(Phase, WireError),
    /// The server speaks something else.
    #[error(transparent)]
    Answer(#[from] ReplyError),
    /// The server does not want to talk to us now or at all.
    #[error("{0}: the server said: {1}")]
    Refused(Phase, Reply),
    /// Configured, but not offered: somebody may have taken it out on the way.
    #[error("the server offers no STARTTLS. Nothing was sent to it; check port and tls")]
    NoStarttls,
    /// It asks for a log-in in a way that we can't.
    #[error("the server offers no log-in that works with a password; it offers: {0}")]
    NoMechanism(String),
    /// Name and password were refused.
    #[error("the log-in was refused: {0}{hint}", hint = switched_off(.0))]
    Login(Reply),
    /// The conversation about the password failed.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// No randomness for SCRAM.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

impl ClientError {
    /// Whether a person has to mend the log-in: waiting alone won't.
    pub fn is_login(&self) -> bool {
        match self {
            Self::Login(reply) => reply.class() == Class::Permanent,
            Self::NoMechanism(_) | Self::Sasl(_) => true,
            _ => false,
        }
    }

    /// Whether the server could not be reached at all, so that another one may take the mail.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Answer(_) | Self::NoStarttls | Self::Random(_) => true,
            Self::Wire(phase, _) | Self::Refused(phase, _) => *phase == Phase::Greeting,
            Self::Login(_) | Self::NoMechanism(_) | Self::Sasl(_) => false,
        }
    }
}

/// A connection that is ready for mails.
#[derive(Debug)]
pub struct Client<S> {
    connection: Connection<S>,
    patience: Patience,
    collector: reply::Collector,
    capabilities: Capabilities,
    trusts_pipelining: bool,
    flights: VecDeque<Flight>,
    stuffer: Stuffer,
    canonical: Canonical,
    chunk: Vec<u8>,
    reset: bool,
    closing: bool,
    lmtp: bool,
}

/// Connects, protects and logs in as the configuration says.
pub async fn connect(
    endpoint: &Endpoint,
    hostname: &str,
    credentials: Option<&Credentials>,
    patience: Patience,
) -> Result<Client<Stream>, ClientError> {
    let mut client = Client::new(dial::open(endpoint, &patience.dial).await?, patience);
    client.greet(hostname).await?;
    if endpoint.tls == Tls::Starttls {
        if !client.capabilities.starttls {
            client.quit().await;
            return Err(ClientError::NoStarttls);
        }
        let reply = client.command(Phase::Tls, b"STARTTLS\r\n").await?;
        if reply.class() != Class::Done {
            return Err(ClientError::Refused(Phase::Tls, reply));
        }
        client = Client::new(dial::upgrade(client.connection, endpoint, &patience.dial).await?, patience);
        client.hello(hostname).await?;
    }
    if let Some(credentials) = credentials {
        let channel = client.connection.get_ref().channel();
        client.login(credentials, &channel).await?;
    }
    Ok(client)
}

/// Connects to another mail system's LMTP server: on the LAN or on this machine, in the clear and without log-in.
pub async fn connect_lmtp(server: &LmtpServer, hostname: &str, patience: Patience) -> Result<Client<Stream>, ClientError> {
    let connection = match server {
        LmtpServer::Tcp(host, port) => Connection::new(Stream::Plain(dial::tcp(host, *port, &patience.dial).await?)),
        LmtpServer::Local(path) => dial::local(path, &patience.dial).await?,
    };
    let mut client = Client { lmtp: true, ..Client::new(connection, patience) };
    client.greet(hostname).await?;
    Ok(client)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Nothing is read yet.
    pub fn new(connection: Connection<S>, patience: Patience) -> Self {
        Self {
            connection,
            patience,
            collector: reply::Collector::default(),
            capabilities: Capabilities::default(),
            trusts_pipelining: true,
            flights: VecDeque::new(),
            stuffer: Stuffer::default(),
            canonical: Canonical::default(),
            chunk: Vec::new(),
            reset: false,
            closing: false,
            lmtp: false,
        }
    }

    /// Waits for the greeting and says EHLO, or HELO where that is not known.
    pub async fn greet(&mut self, hostname: &str) -> Result<(), ClientError> {
        let greeting = self.reply(Phase::Greeting, self.patience.dial.greeting).await?;
        if greeting.class() != Class::Done {
            return Err(ClientError::Refused(Phase::Greeting, greeting));
        }
        self.hello(hostname).await
    }

    async fn hello(&mut self, hostname: &str) -> Result<(), ClientError> {
        let hello = if self.lmtp { "LHLO" } else { "EHLO" };
        let reply = self.command(Phase::Command, format!("{hello} {hostname}\r\n").as_bytes()).await?;
        if reply.class() == Class::Done {
            self.capabilities = Capabilities::parse(&reply);
            return Ok(());
        }
        if self.lmtp {
            return Err(ClientError::Refused(Phase::Greeting, reply));
        }
        let reply = self.command(Phase::Command, format!("HELO {hostname}\r\n").as_bytes()).await?;
        match reply.class() {
            Class::Done => Ok(()),
            _ => Err(ClientError::Refused(Phase::Command, reply)),
        }
    }

    /// Logs in by the best mechanism that both sides know. One that needs the password in clear follows a better one only inside TLS, and
    /// only where that failed for a reason of its own: a wrong password is said once, or servers ban us twice as fast. CRAM-MD5 fails on
    /// servers that offer it and keep no passwords that it could work with.
    pub async fn login(&mut self, credentials: &Credentials, channel: &Channel) -> Result<(), ClientError> {
        let mechanisms = credentials.secret.mechanisms(self.capabilities.auth.iter().map(String::as_str), channel);
        let mut refused = None;
        for mechanism in mechanisms {
            let in_clear = matches!(mechanism, Mechanism::Plain | Mechanism::Login);
            if refused.is_some() && !(in_clear && channel.is_protected()) {
                continue;
            }
            self.connection.hush(true);
            let outcome = self.authenticate(mechanism, credentials, channel).await;
            self.connection.hush(false);
            match outcome {
                Err(ClientError::Login(reply)) if !in_clear && !self.closing && (reply.code != 535 || mechanism == Mechanism::CramMd5) => {
                    refused = Some(reply);
                }
                outcome => return outcome,
            }
        }
        Err(match refused {
            Some(reply) => ClientError::Login(reply),
            None if matches!(credentials.secret, Secret::Token(_)) => ClientError::Sasl(SaslError::NoTokens),
            None => ClientError::NoMechanism(self.capabilities.auth.join(" ")),
        })
    }

    /// One SASL exchange (RFC 4954 §4).
    async fn authenticate(&mut self, mechanism: Mechanism, credentials: &Credentials, channel: &Channel) -> Result<(), ClientError> {
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce).map_err(ClientError::Random)?;
        let mut client = sasl::Client::new(mechanism, &credentials.user, credentials.secret.text().clone(), &nonce, channel);
        let mut line = format!("AUTH {}", mechanism.name());
        let mut waiting = client.initial();
        if let Some(first) = waiting.as_ref().map(|first| STANDARD.encode(first))
            && line.len() + first.len() + 3 <= MAX_AUTH_LINE
        {
            line = format!("{line} {first}");
            waiting = None;
        }
        line.push_str("\r\n");
        let mut reply = self.command(Phase::Login, line.as_bytes()).await?;
        for _ in 0..MAX_CHALLENGES {
            match reply.class() {
                Class::Done => return client.finish().map_err(ClientError::Sasl),
                Class::More => {
                    let text = reply.lines.first().map(String::as_str).unwrap_or_default();
                    let challenge = STANDARD.decode(text.trim()).map_err(|_| SaslError::Malformed("the challenge is no base64"));
                    let answered = match (challenge, waiting.take()) {
                        (Err(error), _) => Err(error),
                        (Ok(_), Some(first)) => Ok((client, first)),
                        (Ok(challenge), None) => client.answered(challenge).await,
                    };
                    match answered {
                        Ok((next, answer)) => {
                            client = next;
                            reply = self.command(Phase::Login, format!("{}\r\n", STANDARD.encode(answer)).as_bytes()).await?;
                        }
                        Err(error) => {
                            // RFC 4954 §4: a lone asterisk cancels.
                            self.command(Phase::Login, b"*\r\n").await?;
                            return Err(error.into());
                        }
                    }
                }
                Class::Temporary | Class::Permanent => {
                    self.closing = reply.code == 421;
                    return Err(ClientError::Login(reply));
                }
            }
        }
        Err(SaslError::Malformed("there is no end of challenges").into())
    }

    /// What the server can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// This server claims PIPELINING and does not keep to it: one command at a time from now on.
    pub fn distrust_pipelining(&mut self) {
        self.trusts_pipelining = false;
    }

    /// Whether commands may go ahead of answers.
    pub fn pipelining(&self) -> bool {
        self.capabilities.pipelining && self.trusts_pipelining
    }

    /// Whether messages go by BDAT.
    pub fn chunking(&self) -> bool {
        self.capabilities.chunking && self.pipelining() && !self.lmtp
    }

    /// Whether the server has said that it hangs up.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Tries a sender without sending anything: MAIL FROM, RCPT TO its own address, RSET. The answers to the first two; Postfix says only
    /// to the second what it thinks of a sender.
    pub async fn try_sender(&mut self, sender: &crate::address::Address) -> Result<(Reply, Option<Reply>), ClientError> {
        let welcome = self.command(Phase::Command, format!("MAIL FROM:<{sender}>\r\n").as_bytes()).await?;
        let recipient = match welcome.class() {
            Class::Done => Some(self.command(Phase::Command, format!("RCPT TO:<{sender}>\r\n").as_bytes()).await?),
            _ => None,
        };
        self.command(Phase::Command, b"RSET\r\n").await?;
        Ok((welcome, recipient))
    }

    /// Says goodbye; whether that works does not matter.
    pub async fn quit(&mut self) {
        self.connection.queue(b"QUIT\r\n");
        let deadline = Instant::now() + GOODBYE;
        if self.connection.flush(deadline).await.is_ok() {
            let _ = self.connection.line(reply::MAX_LINE, LineEnd::Tolerant, deadline).await;
            self.connection.close(deadline).await;
        }
    }

    async fn command(&mut self, phase: Phase, line: &[u8]) -> Result<Reply, ClientError> {
        let patience = self.patience.command;
        self.connection.send(line, Instant::now() + patience).await.map_err(|source| ClientError::Wire(phase, source))?;
        self.reply(phase, patience).await
    }

    async fn reply(&mut self, phase: Phase, patience: Duration) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            let line = self.connection.line(reply::MAX_LINE, LineEnd::Tolerant, deadline).await;
            let line = line.map_err(|source| ClientError::Wire(phase, source))?;
            if let Some(reply) = self.collector.line(&line)? {
                return Ok(reply);
            }
        }
    }
}

/// What Microsoft means by its code (since 2022, for one tenant after the other): no password will ever do.
fn switched_off(reply: &Reply) -> &'static str {
    match reply.to_string().contains("5.7.139") {
        true => {
            ". Logging in with a password is switched off there: set auth = \"oauth2\" and run `mailroom oauth login`; if that is refused \
             too, the account's administrator has to allow authenticated SMTP"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_in_that_microsoft_has_switched_off_is_said_in_words() {
        let refused = |text: &str| ClientError::Login(Reply::lines(535, "5.7.139", vec![text.to_owned()])).to_string();
        assert!(refused("Authentication unsuccessful, basic authentication is disabled.").contains("auth = \"oauth2\""));
        let plain = ClientError::Login(Reply::lines(535, "5.7.8", vec!["no".to_owned()])).to_string();
        assert!(!plain.contains("oauth2"), "{plain}");
    }
}
