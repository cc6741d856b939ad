//! A mail program in a hundred lines: what it sees is what any other one would see. It shares no code with the servers but TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::{Endpoint, Tls};
use crate::wire::Stream;
use crate::wire::tls::Connector;

/// For each line of an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Everything here is sample mail; more than this is a mistake.
const MAX_LITERAL: usize = 1_000_000;

/// Where and as whom to log in.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// A socket with TLS from the first byte.
    pub server: SocketAddr,
    /// The authority that signed its certificate.
    pub ca: &'a Path,
    /// Log-in name.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
}

impl Account<'_> {
    /// All messages of the mailbox by POP3, as bytes.
    pub async fn by_pop3(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut talk = Talk::open(self).await?;
        talk.expect("", "+OK").await?;
        talk.expect(&format!("USER {}", self.user), "+OK").await?;
        talk.expect(&format!("PASS {}", self.password), "+OK").await?;
        let stat = talk.expect("STAT", "+OK").await?;
        let count: usize = stat.split(' ').nth(1).context("STAT without a number")?.parse()?;
        let mut messages = Vec::new();
        for number in 1..=count {
            talk.expect(&format!("RETR {number}"), "+OK").await?;
            let mut message = Vec::new();
            loop {
                let line = talk.line().await?;
                match &line[..] {
                    b".\r\n" => break,
                    [b'.', stuffed @ ..] => message.extend_from_slice(stuffed),
                    line => message.extend_from_slice(line),
                }
            }
            messages.push(message);
        }
        talk.expect("QUIT", "+OK").await?;
        Ok(messages)
    }

    /// All messages of a folder by IMAP, as bytes; none if there is no such folder.
    pub async fn by_imap(&self, folder: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut talk = Talk::open(self).await?;
        talk.expect("", "* OK").await?;
        talk.imap(&format!("LOGIN \"{}\" \"{}\"", self.user, self.password)).await?;
        if talk.imap(&format!("EXAMINE \"{folder}\"")).await.is_err() {
            return Ok(Vec::new());
        }
        let messages = talk.imap("UID FETCH 1:* (BODY.PEEK[])").await?;
        talk.imap("LOGOUT").await?;
        Ok(messages)
    }

    /// Hands in a message.
    pub async fn submit(&self, from: &str, to: &str, message: &str) -> anyhow::Result<()> {
        let mut talk = Talk::open(self).await?;
        talk.smtp("", "220").await?;
        talk.smtp("EHLO demo.invalid", "250").await?;
        let plain = BASE64_STANDARD.encode(format!("\0{}\0{}", self.user, self.password));
        talk.smtp(&format!("AUTH PLAIN {plain}"), "235").await?;
        talk.smtp(&format!("MAIL FROM:<{from}>"), "250").await?;
        talk.smtp(&format!("RCPT TO:<{to}>"), "250").await?;
        talk.smtp("DATA", "354").await?;
        let stuffed = message.replace('\n', "\r\n").replace("\r\n.", "\r\n..");
        talk.smtp(&format!("{stuffed}\r\n."), "250").await?;
        talk.smtp("QUIT", "221").await
    }
}

/// A line-wise conversation.
struct Talk {
    stream: BufReader<Stream>,
}

impl Talk {
    async fn open(account: &Account<'_>) -> anyhow::Result<Talk> {
        let endpoint = Endpoint {
            host: account.server.ip().to_string(),
            port: account.server.port(),
            tls: Tls::Implicit,
            ca: Some(account.ca.to_owned()),
            pin: None,
        };
        let stream = timeout(PATIENCE, TcpStream::connect(account.server)).await??;
        let stream = Connector::new(&endpoint)?.connect(stream, Instant::now() + PATIENCE).await?;
        Ok(Talk { stream: BufReader::new(stream) })
    }

    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut line = Vec::new();
        timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await.context("no answer in time")??;
        ensure!(line.ends_with(b"\n"), "the server hung up");
        Ok(line)
    }

    async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends a command, if there is one, and reads a line that has to start like this.
    async fn expect(&mut self, command: &str, start: &str) -> anyhow::Result<String> {
        if !command.is_empty() {
            self.send(command).await?;
        }
        let line = String::from_utf8_lossy(&self.line().await?).trim_end().to_owned();
        ensure!(line.starts_with(start), "the server answered “{line}”");
        Ok(line)
    }

    /// As [`Talk::expect`], for replies of several lines (RFC 5321 §4.2.1).
    async fn smtp(&mut self, command: &str, code: &str) -> anyhow::Result<()> {
        let mut line = self.expect(command, code).await?;
        while line.as_bytes().get(3) == Some(&b'-') {
            line = self.expect("", code).await?;
        }
        Ok(())
    }

    /// Sends a command and reads to its tagged answer; what came in literals.
    async fn imap(&mut self, command: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        self.send(&format!("a {command}")).await?;
        let mut literals = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.line().await?).trim_end().to_owned();
            if let Some(size) = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')) {
                let size: usize = size.1.parse()?;
                ensure!(size <= MAX_LITERAL, "a literal of {size} bytes");
                let mut literal = vec![0; size];
                timeout(PATIENCE, self.stream.read_exact(&mut literal)).await.context("no answer in time")??;
                literals.push(literal);
            } else if line.starts_with("a OK") {
                return Ok(literals);
            } else if line.starts_with("a ") {
                bail!("the server answered “{line}”");
            }
        }
    }
}

/// A header field of a message, unfolded; empty if it has none.
pub fn field(message: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(message);
    let header = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ").replace("\r\n\t", " ");
    let prefix = format!("{}:", name.to_ascii_lowercase());
    let found = header.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix));
    found.map(|line| line[prefix.len()..].trim().to_owned()).unwrap_or_default()
}
