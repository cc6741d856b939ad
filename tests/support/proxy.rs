//! Stands between a mail client and a real server and does to their connection what networks, firewalls and virus scanners do: cuts it,
//! falls silent, says something twice, garbles a byte; at any command or answer, in either direction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

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

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends behind so many commands or answers.
    CutAfter(usize),
    /// The connection ends behind so many bytes.
    CutAtByte(usize),
    /// Nothing more gets through behind so many commands or answers, and the connection stays open.
    StallAfter(usize),
    /// This command or answer, counted from 1, comes twice.
    Repeat(usize),
    /// The first byte of this command or answer, counted from 1, comes as another one.
    Garble(usize),
}

/// How answers are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// RFC 1939
    Pop3,
    /// RFC 9051
    Imap,
}

/// A proxy on a port of its own.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// For the next connection only.
    fault: Mutex<Option<(Way, Fault)>>,
    /// Commands and answers that the last connection carried.
    seen: Mutex<[usize; 2]>,
    open: watch::Sender<usize>,
}

impl Proxy {
    pub async fn start(server: u16, speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { fault: Mutex::default(), seen: Mutex::default(), open: watch::Sender::new(0) });
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
    pub fn spoil(&self, way: Way, fault: Fault) {
        *self.shared.fault.lock().unwrap() = Some((way, fault));
    }

    /// How many commands and answers the last connection carried.
    pub fn seen(&self) -> [usize; 2] {
        *self.shared.seen.lock().unwrap()
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
    let on = |way: Way| fault.filter(|(at, _)| *at == way).map(|(_, fault)| fault);
    // The greeting is an answer to nothing.
    let asked = Arc::new(Mutex::new(VecDeque::from([false])));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let end = {
        let commands = Splitter { speech: None, asked: Arc::clone(&asked), bytes: Vec::new() };
        let answers = Splitter { speech: Some(speech), asked, bytes: Vec::new() };
        let up = pump(&mut from_client, &mut to_server, commands, on(Way::ToServer), &shared.seen);
        let down = pump(&mut from_server, &mut to_client, answers, on(Way::ToClient), &shared.seen);
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

async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut splitter: Splitter,
    fault: Option<Fault>,
    seen: &Mutex<[usize; 2]>,
) -> End {
    let way = usize::from(splitter.speech.is_some());
    let (mut count, mut passed) = (0, 0);
    if fault == Some(Fault::CutAfter(0)) {
        return End::Cut;
    }
    loop {
        if fault == Some(Fault::StallAfter(count)) {
            return End::Stalled;
        }
        let Some(mut unit) = splitter.next(from).await else {
            let _ = to.shutdown().await;
            return End::Closed;
        };
        count += 1;
        seen.lock().unwrap()[way] = count;
        match fault {
            Some(Fault::Repeat(at)) if at == count => unit.extend_from_within(..),
            Some(Fault::Garble(at)) if at == count => unit[0] ^= 0x15,
            Some(Fault::CutAtByte(at)) if at < passed + unit.len() => {
                let _ = to.write_all(&unit[..at - passed]).await;
                return End::Cut;
            }
            _ => {}
        }
        passed += unit.len();
        if to.write_all(&unit).await.is_err() {
            return End::Closed;
        }
        if fault == Some(Fault::CutAfter(count)) {
            return End::Cut;
        }
    }
}

/// Cuts a stream of bytes into commands, or into answers.
struct Splitter {
    /// Of answers; commands are lines.
    speech: Option<Speech>,
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
                match self.speech {
                    None => self.asked.lock().unwrap().push_back(has_many_lines(&unit)),
                    Some(_) => drop(self.asked.lock().unwrap().pop_front()),
                }
                return Some(unit);
            }
            if !from.read_buf(&mut self.bytes).await.is_ok_and(|count| count > 0) {
                return Some(std::mem::take(&mut self.bytes)).filter(|rest| !rest.is_empty());
            }
        }
    }

    fn end(&self) -> Option<usize> {
        let line = self.line_end(0)?;
        match self.speech {
            None => Some(line),
            Some(Speech::Pop3) => match self.asked.lock().unwrap().front() {
                Some(true) if self.bytes.starts_with(b"+OK") => {
                    let found = self.bytes[line - 2..].windows(5).position(|five| five == b"\r\n.\r\n")?;
                    Some(line - 2 + found + 5)
                }
                _ => Some(line),
            },
            Some(Speech::Imap) => {
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
