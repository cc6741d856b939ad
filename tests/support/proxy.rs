//! Stands between a mail client and a real server and does to their connection what networks, firewalls and virus scanners do: cuts it,
//! falls silent, dawdles, says something twice, garbles a byte; at any command or answer or inside of one, in either direction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which half of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Commands.
    ToServer,
    /// Answers.
    ToClient,
}

/// What goes wrong, once in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub way: Way,
    /// At which command or answer, counted from 1. A boundary lies behind it; 0 is the one ahead of the first.
    pub unit: usize,
    pub spot: Spot,
    pub harm: Harm,
}

/// Where, at a command or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// At the boundary behind it. What is said twice is all of it; what is garbled is its first byte.
    Boundary,
    /// In the middle of its first line.
    Line,
    /// Between the CR and the LF of its first line.
    LineEnd,
    /// In the middle of what follows its first line; of the line, if nothing does.
    Body,
    /// Ahead of its last byte.
    Last,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// The connection ends.
    Cut,
    /// Nothing more gets through, and the connection stays open.
    Stall,
    /// Everything else comes so much later.
    Delay(Duration),
    /// What came of this command or answer so far comes twice.
    Repeat,
    /// One byte comes as another one.
    Garble,
}

/// How commands and answers are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// RFC 1939
    Pop3,
    /// RFC 9051
    Imap,
    /// RFC 8446 §5.1: nothing can be told apart, so records are counted.
    Tls,
}

/// A proxy on a port of its own.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// For the next connection only.
    fault: Mutex<Option<Fault>>,
    /// Whether the last connection came to its fault.
    struck: Mutex<bool>,
    /// Commands and answers that the last connection carried.
    seen: Mutex<[usize; 2]>,
    /// The answer with the most bytes, and how many.
    largest: Mutex<(usize, usize)>,
    open: watch::Sender<usize>,
}

impl Proxy {
    pub async fn start(server: u16, speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            fault: Mutex::default(),
            struck: Mutex::default(),
            seen: Mutex::default(),
            largest: Mutex::default(),
            open: watch::Sender::new(0),
        });
        let proxy = Self { port, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                shared.open.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                        connection(client, server, speech, &shared).await;
                    }
                    shared.open.send_modify(|open| *open -= 1);
                });
            }
        });
        proxy
    }

    /// The next connection, and no other, suffers this.
    pub fn spoil(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = Some(fault);
        *self.shared.struck.lock().unwrap() = false;
    }

    /// Whether a connection came as far as the fault that was asked for.
    pub fn struck(&self) -> bool {
        *self.shared.struck.lock().unwrap()
    }

    /// How many commands and answers the last connection carried.
    pub fn seen(&self) -> [usize; 2] {
        *self.shared.seen.lock().unwrap()
    }

    /// Which answer of the last connection had the most bytes.
    pub fn largest(&self) -> usize {
        self.shared.largest.lock().unwrap().0
    }

    /// Waits until the server has ended every session, too: then a mailbox that it locks is free.
    pub async fn quiet(&self) {
        self.shared.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    }
}

/// How one direction ended.
enum End {
    Closed,
    Cut,
    Stalled,
}

async fn connection(client: TcpStream, server: TcpStream, speech: Speech, shared: &Shared) {
    let fault = shared.fault.lock().unwrap().take();
    *shared.seen.lock().unwrap() = [0, 0];
    *shared.largest.lock().unwrap() = (0, 0);
    // Small pieces must not wait for each other's acknowledgement.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // The greeting is an answer to nothing.
    let asked = Arc::new(Mutex::new(VecDeque::from([false])));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let end = {
        let commands = Splitter { way: Way::ToServer, speech, asked: Arc::clone(&asked), bytes: Vec::new() };
        let answers = Splitter { way: Way::ToClient, speech, asked, bytes: Vec::new() };
        let on = |way: Way| fault.filter(|fault| fault.way == way);
        let up = pump(&mut from_client, &mut to_server, commands, on(Way::ToServer), shared);
        let down = pump(&mut from_server, &mut to_client, answers, on(Way::ToClient), shared);
        tokio::pin!(up, down);
        tokio::select! {
            end = &mut down => end,
            end = &mut up => match end {
                // The client has said all that it wants to say; the server may still answer.
                End::Closed => down.await,
                end => end,
            },
        }
    };
    if matches!(end, End::Stalled) {
        drain(&mut from_client).await;
    }
    drop((from_client, to_client));
    // The server gets what was passed on before the end, and ends its session in its own time.
    let _ = to_server.shutdown().await;
    drain(&mut from_server).await;
}

async fn drain(from: &mut OwnedReadHalf) {
    let mut bytes = [0; 4096];
    while from.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut splitter: Splitter, fault: Option<Fault>, shared: &Shared) -> End {
    let way = splitter.way as usize;
    let mut count = 0;
    loop {
        // A boundary is struck when what lies ahead of it has gone through, whether anything follows or not.
        let boundary = fault.filter(|fault| fault.unit == count && fault.spot == Spot::Boundary);
        let strike = || *shared.struck.lock().unwrap() = true;
        match boundary.map(|fault| fault.harm) {
            Some(Harm::Cut) => {
                strike();
                return End::Cut;
            }
            Some(Harm::Stall) => {
                strike();
                return End::Stalled;
            }
            Some(Harm::Delay(time)) => {
                strike();
                tokio::time::sleep(time).await;
            }
            Some(Harm::Repeat | Harm::Garble) | None => {}
        }
        let Some(mut unit) = splitter.next(from).await else {
            let _ = to.shutdown().await;
            return End::Closed;
        };
        count += 1;
        shared.seen.lock().unwrap()[way] = count;
        if splitter.way == Way::ToClient && unit.len() > shared.largest.lock().unwrap().1 {
            *shared.largest.lock().unwrap() = (count, unit.len());
        }
        if let Some(Fault { spot, harm, .. }) = fault.filter(|fault| fault.unit == count) {
            let at = spot.place(&unit);
            match harm {
                Harm::Repeat => {
                    strike();
                    let said = unit[..at].to_vec();
                    unit.splice(..0, said);
                }
                Harm::Garble => {
                    strike();
                    let byte = if spot == Spot::Boundary { 0 } else { at };
                    unit[byte] ^= 0x15;
                }
                _ if spot == Spot::Boundary => {}
                Harm::Cut | Harm::Stall | Harm::Delay(_) => {
                    strike();
                    if to.write_all(&unit[..at]).await.is_err() {
                        return End::Closed;
                    }
                    unit.drain(..at);
                    match harm {
                        Harm::Cut => return End::Cut,
                        Harm::Stall => return End::Stalled,
                        Harm::Delay(time) => tokio::time::sleep(time).await,
                        Harm::Repeat | Harm::Garble => {}
                    }
                }
            }
        }
        if to.write_all(&unit).await.is_err() {
            return End::Closed;
        }
    }
}

impl Spot {
    /// How many bytes of a command or answer lie ahead of it.
    fn place(self, unit: &[u8]) -> usize {
        let line = unit.iter().position(|byte| *byte == b'\n').map_or(unit.len(), |end| end + 1);
        match self {
            Self::Boundary => unit.len(),
            Self::Line => line / 2,
            Self::LineEnd => line - 1,
            Self::Body if line < unit.len() => (line + unit.len()) / 2,
            Self::Body => line / 2,
            Self::Last => unit.len() - 1,
        }
    }
}

/// Cuts a stream of bytes into commands, or into answers.
struct Splitter {
    way: Way,
    speech: Speech,
    /// For each POP3 command that waits for its answer: whether that has several lines.
    asked: Arc<Mutex<VecDeque<bool>>>,
    bytes: Vec<u8>,
}

impl Splitter {
    /// The next whole one; what is left when the stream ends in the middle.
    async fn next(&mut self, from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.end() {
                let rest = self.bytes.split_off(end);
                let unit = std::mem::replace(&mut self.bytes, rest);
                match self.way {
                    Way::ToServer => self.asked.lock().unwrap().push_back(has_many_lines(&unit)),
                    Way::ToClient => drop(self.asked.lock().unwrap().pop_front()),
                }
                return Some(unit);
            }
            if !from.read_buf(&mut self.bytes).await.is_ok_and(|count| count > 0) {
                return Some(std::mem::take(&mut self.bytes)).filter(|rest| !rest.is_empty());
            }
        }
    }

    fn end(&self) -> Option<usize> {
        if self.speech == Speech::Tls {
            let length = u16::from_be_bytes(self.bytes.get(3..5)?.try_into().ok()?);
            return Some(5 + usize::from(length)).filter(|end| *end <= self.bytes.len());
        }
        let line = self.line_end(0)?;
        match (self.way, self.speech) {
            (Way::ToServer, _) => Some(line),
            (Way::ToClient, Speech::Pop3) => match self.asked.lock().unwrap().front() {
                Some(true) if self.bytes.starts_with(b"+OK") => {
                    let found = self.bytes[line - 2..].windows(5).position(|five| five == b"\r\n.\r\n")?;
                    Some(line - 2 + found + 5)
                }
                _ => Some(line),
            },
            (Way::ToClient, _) => {
                let mut end = line;
                while let Some(literal) = literal(&self.bytes[..end]) {
                    end = self.line_end(end + literal)?;
                }
                Some(end)
            }
        }
    }

    fn line_end(&self, start: usize) -> Option<usize> {
        let found = self.bytes.get(start..)?.windows(2).position(|two| two == b"\r\n")?;
        Some(start + found + 2)
    }
}

fn has_many_lines(command: &[u8]) -> bool {
    let text = String::from_utf8_lossy(command).trim_end().to_uppercase();
    matches!(text.as_str(), "CAPA" | "LIST" | "UIDL") || text.starts_with("RETR ") || text.starts_with("TOP ")
}

fn literal(line: &[u8]) -> Option<usize> {
    let text = line.strip_suffix(b"}\r\n")?;
    let start = text.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(&text[start + 1..]).ok()?.parse().ok()
}
