//! A provider's POP3 server that keeps a mailbox, and that stalls, lies, cuts and drops where a test tells it to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it does wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Stands in the greeting.
    pub greeting: &'static str,
    /// Says nothing any more at this command (`greeting` too).
    pub stall: Option<&'static str>,
    /// Answers this command with that line.
    pub answers: Vec<(&'static str, &'static str)>,
    /// Hangs up half-way through this message (its UIDL), so many times.
    pub cut: Option<(&'static str, usize)>,
    /// Hangs up instead of answering QUIT; deletions are forgotten.
    pub lose_quit: bool,
    /// Says no to QUIT, and deletes nothing.
    pub keeps_deleted: bool,
    /// Lists so many at a time, and those that were retrieved never again.
    pub shows: Option<usize>,
    /// Sends this message (its UIDL) over and over, without an end.
    pub endless: Option<&'static str>,
    /// Hangs up at this message (its UIDL) without a byte.
    pub hangs_up_at: Option<&'static str>,
    /// Hangs up where the header of this message (its UIDL) is asked for.
    pub hangs_up_at_top: Option<&'static str>,
    /// Does not give this message (its UIDL).
    pub refuses: Option<&'static str>,
    /// Leaves this message (its UIDL) out of UIDL.
    pub without_uidl: Option<&'static str>,
    /// Falls silent at this message (its UIDL).
    pub silent_at: Option<&'static str>,
    /// What LIST says of every size.
    pub size: Option<u64>,
    /// Further capabilities: before the log-in, and after it.
    pub capabilities: [&'static str; 2],
    /// Sends the whole message for TOP.
    pub whole_top: bool,
    /// Lines put into the listings.
    pub listing: Vec<&'static str>,
    /// Bytes sent behind the terminator of every message.
    pub behind: &'static str,
    /// Sends lines that begin with a dot as they are.
    pub forgets_stuffing: bool,
    /// Has no UIDL.
    pub no_uidl: bool,
    /// Claims PIPELINING and drops what was sent ahead.
    pub false_pipelining: bool,
    /// Sends bytes right behind the answer to STLS.
    pub injects: bool,
    /// Turns further sessions away.
    pub at_most: Option<usize>,
}

/// The mailbox and the log.
#[derive(Debug, Default)]
pub struct State {
    pub messages: Vec<(String, Vec<u8>)>,
    pub faults: Faults,
    pub commands: Vec<String>,
    /// Requests for messages that came before the one before them was answered.
    pub ahead: usize,
    /// How often a server waited for more commands.
    pub flights: usize,
    /// Sessions that are open.
    pub open: usize,
}

/// A running server.
pub struct Pop3Upstream {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
}

impl Pop3Upstream {
    pub async fn start(messages: &[(&str, &str)], faults: Faults) -> Self {
        let messages = messages.iter().map(|(uidl, text)| ((*uidl).to_owned(), text.as_bytes().to_vec())).collect();
        let state = Arc::new(Mutex::new(State { messages, faults, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, state }
    }

    pub fn faults(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    pub fn uidls(&self) -> Vec<String> {
        self.state.lock().unwrap().messages.iter().map(|(uidl, _)| uidl.clone()).collect()
    }

    /// How often a command was said, since the last time this was asked.
    pub fn count(&self, verb: &str) -> usize {
        self.state.lock().unwrap().commands.iter().filter(|command| command.starts_with(verb)).count()
    }

    pub fn forget_commands(&self) {
        self.state.lock().unwrap().commands.clear();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    state.lock().unwrap().open += 1;
    let _ = session(stream, &state).await;
    state.lock().unwrap().open -= 1;
}

async fn session(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let faults = state.lock().unwrap().faults.clone();
    let mut messages = state.lock().unwrap().messages.clone();
    messages.truncate(faults.shows.unwrap_or(usize::MAX));
    let mut retrieved = vec![false; messages.len()];
    let mut logged_in = false;
    let mut deleted = vec![false; messages.len()];
    if faults.stall == Some("greeting") {
        return std::future::pending().await;
    }
    let open = state.lock().unwrap().open;
    if faults.at_most.is_some_and(|most| open > most) {
        return stream.write_all(b"-ERR too many connections\r\n").await;
    }
    stream.write_all(format!("+OK ready{}\r\n", faults.greeting).as_bytes()).await?;
    loop {
        state.lock().unwrap().flights += usize::from(stream.buffer().is_empty());
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        let verb = line.split(' ').next().unwrap_or_default().to_uppercase();
        state.lock().unwrap().commands.push(line.clone());
        if faults.stall == Some(verb.as_str()) {
            return std::future::pending().await;
        }
        if let Some((_, answer)) = faults.answers.iter().find(|(at, _)| *at == verb) {
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            continue;
        }
        if faults.false_pipelining {
            let ahead = stream.buffer().len();
            stream.consume(ahead);
        }
        let number = line.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        let message = messages.get(number.wrapping_sub(1));
        match (verb.as_str(), message) {
            ("CAPA", _) => {
                let pipelining = if faults.behind.is_empty() && !faults.forgets_stuffing { "PIPELINING\r\n" } else { "" };
                let stls = if faults.injects { "STLS\r\n" } else { "" };
                let more = faults.capabilities[usize::from(logged_in)];
                let usual = if more.is_empty() { format!("user\r\n{pipelining}{stls}TOP\r\n") } else { more.to_owned() };
                stream.write_all(format!("+OK\r\n{usual}.\r\n").as_bytes()).await?;
            }
            ("STLS", _) if faults.injects => stream.write_all(b"+OK begin\r\n+OK injected\r\n").await?,
            ("LIST", _) => {
                let mut text = String::from("+OK\r\n");
                faults.listing.iter().for_each(|line| text += &format!("{line}\r\n"));
                let size = |message: &Vec<u8>| faults.size.unwrap_or(message.len() as u64);
                (1..).zip(&messages).for_each(|(n, (_, message))| text += &format!("{n} {}\r\n", size(message)));
                stream.write_all((text + ".\r\n").as_bytes()).await?;
            }
            ("UIDL", _) if faults.no_uidl => stream.write_all(b"-ERR what?\r\n").await?,
            ("UIDL", _) => {
                let mut text = String::from("+OK\r\n");
                faults.listing.iter().for_each(|line| text += &format!("{line}\r\n"));
                let listed = (1..).zip(&messages).filter(|(_, (uidl, _))| faults.without_uidl != Some(uidl));
                listed.for_each(|(n, (uidl, _))| text += &format!("{n} {uidl}\r\n"));
                stream.write_all((text + ".\r\n").as_bytes()).await?;
            }
            ("RETR", Some((uidl, _))) if faults.hangs_up_at == Some(uidl) => return Ok(()),
            ("TOP", Some((uidl, _))) if faults.hangs_up_at_top == Some(uidl) => return Ok(()),
            ("RETR", Some((uidl, _))) if faults.refuses == Some(uidl) => stream.write_all(b"-ERR it is broken\r\n").await?,
            ("RETR", Some((uidl, _))) if faults.silent_at == Some(uidl) => return std::future::pending().await,
            ("RETR", Some((uidl, message))) if faults.endless == Some(uidl) => {
                stream.write_all(b"+OK\r\n").await?;
                // Until nobody listens any more.
                loop {
                    stream.write_all(message).await?;
                }
            }
            ("RETR", Some((uidl, message))) => {
                retrieved[number - 1] = true;
                state.lock().unwrap().ahead += usize::from(stream.buffer().starts_with(b"RETR"));
                let encoded = if faults.forgets_stuffing { [message.as_slice(), b".\r\n"].concat() } else { stuffed(message) };
                if faults.cut.is_some_and(|(at, _)| at == uidl) && cuts_left(state) {
                    stream.write_all(b"+OK\r\n").await?;
                    return stream.write_all(&encoded[..encoded.len() / 2]).await;
                }
                stream.write_all(b"+OK\r\n").await?;
                stream.write_all(&encoded).await?;
                stream.write_all(faults.behind.as_bytes()).await?;
            }
            ("TOP", Some((_, message))) => {
                let end = message.windows(4).position(|w| w == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
                stream.write_all(b"+OK\r\n").await?;
                let end = if faults.whole_top { message.len() } else { end };
                stream.write_all(&stuffed(&message[..end])).await?;
            }
            ("DELE", Some(_)) => {
                deleted[number - 1] = true;
                stream.write_all(b"+OK\r\n").await?;
            }
            ("QUIT", _) if faults.lose_quit => return Ok(()),
            ("QUIT", _) if faults.keeps_deleted => return stream.write_all(b"-ERR some messages were not removed\r\n").await,
            ("QUIT", _) => {
                if faults.shows.is_some() {
                    deleted.clone_from(&retrieved);
                }
                let gone: Vec<&(String, Vec<u8>)> =
                    messages.iter().zip(&deleted).filter(|(_, deleted)| **deleted).map(|(m, _)| m).collect();
                state.lock().unwrap().messages.retain(|message| !gone.contains(&message));
                return stream.write_all(b"+OK bye\r\n").await;
            }
            ("STAT", _) => {
                let bytes: usize = messages.iter().map(|(_, message)| message.len()).sum();
                stream.write_all(format!("+OK {} {bytes}\r\n", messages.len()).as_bytes()).await?;
            }
            ("PASS", _) => {
                logged_in = true;
                stream.write_all(b"+OK\r\n").await?;
            }
            ("USER", _) => stream.write_all(b"+OK\r\n").await?,
            _ => stream.write_all(b"-ERR what?\r\n").await?,
        }
    }
}

fn cuts_left(state: &Mutex<State>) -> bool {
    match &mut state.lock().unwrap().faults.cut {
        Some((_, left)) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

/// Written for the tests, so that a mistake in the program's own is not made twice.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut line_start = true;
    for (at, byte) in message.iter().enumerate() {
        if line_start && *byte == b'.' {
            encoded.push(b'.');
        }
        encoded.push(*byte);
        line_start = *byte == b'\n' && at > 0 && message[at - 1] == b'\r';
    }
    if !line_start && !message.is_empty() {
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b".\r\n");
    encoded
}
