//! A smarthost that does as a script says: refuses, stalls, lies and hangs up, and keeps what it took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does differently from a good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers the nth command of that verb (from 0, over all connections) so.
    Answer(&'static str, usize, &'static str),
    /// Answers every command of that verb so.
    Always(&'static str, &'static str),
    /// Answers every command whose line has that text so.
    Matching(&'static str, &'static str),
    /// Hangs up instead of answering the nth command of that verb; `.` and the last
    /// BDAT are the end of a message, which was taken.
    HangUp(&'static str, usize),
    /// Says nothing more when the nth command of that verb comes; `.` and the
    /// last BDAT are the end of a message, which was taken.
    Stall(&'static str, usize),
    /// Answers the nth command of that verb once the test says so: [`Smarthost::go_on`].
    Pause(&'static str, usize),
    /// Takes so many recipients in one mail.
    Recipients(usize),
    /// Hangs up behind its answer to the nth message (from 0, over all connections), with these last words.
    Leaves(usize, &'static str),
    /// Offers PIPELINING and throws away what came ahead.
    FalsePipelining,
    /// Sends an answer to a command inside TLS ahead of the handshake.
    Injection,
    /// A reply whose line does not end.
    EndlessLine(&'static str),
    /// A reply whose lines do not end.
    EndlessReply(&'static str),
    /// Leaves this extension out of EHLO.
    Without(&'static str),
    /// Adds this line to EHLO.
    With(&'static str),
    /// Speaks LMTP (RFC 2033): LHLO, and behind a message an answer for each recipient, each a `.` with his address.
    Lmtp,
}

/// A mail that the server said 250 to, or took and never answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub sender: String,
    pub recipients: Vec<String>,
    pub message: Vec<u8>,
    /// It said 250.
    pub answered: bool,
    /// Which connection, from 0.
    pub connection: usize,
}

#[derive(Default)]
struct Seen {
    received: Vec<Received>,
    commands: Vec<String>,
    connections: usize,
    ended: usize,
    closed: bool,
    going_on: bool,
}

/// A listening server; ends with the test.
pub struct Smarthost {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Smarthost {
    pub async fn start(faults: impl IntoIterator<Item = Fault>) -> Smarthost {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let faults: Arc<Vec<Fault>> = Arc::new(faults.into_iter().collect());
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut seen = shared.lock().unwrap();
                    seen.connections += 1;
                    seen.connections - 1
                };
                tokio::spawn(serve(stream, faults.clone(), shared.clone(), number));
            }
        });
        Smarthost { address, seen, task }
    }

    /// What it has taken so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.lock().unwrap().received.clone()
    }

    /// Every command line.
    pub fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// From now on whoever connects is sent away, or not.
    pub fn close(&self, closed: bool) {
        self.seen.lock().unwrap().closed = closed;
    }

    /// Ends every [`Fault::Pause`].
    pub fn go_on(&self) {
        self.seen.lock().unwrap().going_on = true;
    }

    /// Waits until it has seen a command of that verb.
    pub async fn until(&self, verb: &str) {
        tokio::time::timeout(Duration::from_secs(60), async {
            while !self.commands().iter().any(|command| command.starts_with(verb)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the command never came");
    }

    /// Of these, those that have ended.
    pub fn ended(&self) -> usize {
        self.seen.lock().unwrap().ended
    }
}

impl Drop for Smarthost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, faults: Arc<Vec<Fault>>, seen: Arc<Mutex<Seen>>, connection: usize) {
    let _ = converse(stream, &faults, &seen, connection).await;
    seen.lock().unwrap().ended += 1;
}

/// What to do with a command.
enum Act {
    Answer(String),
    Stall,
    HangUp,
}

/// Commands of that verb so far.
fn count(seen: &Mutex<Seen>, verb: &str) -> usize {
    let seen = seen.lock().unwrap();
    seen.commands.iter().filter(|c| c.split([' ', ':']).next().is_some_and(|v| v.eq_ignore_ascii_case(verb))).count()
}

/// Says nothing more, or hangs up.
async fn silence(act: Act) -> std::io::Result<()> {
    if matches!(act, Act::Stall) { std::future::pending().await } else { Ok(()) }
}

fn act(faults: &[Fault], seen: &Mutex<Seen>, verb: &str, line: &str, good: &str) -> Act {
    let before = count(seen, verb);
    seen.lock().unwrap().commands.push(line.to_owned());
    for fault in faults {
        match fault {
            Fault::Answer(v, n, answer) if *v == verb && *n == before => return Act::Answer(format!("{answer}\r\n")),
            Fault::Always(v, answer) if *v == verb => return Act::Answer(format!("{answer}\r\n")),
            Fault::Matching(text, answer) if line.contains(text) => return Act::Answer(format!("{answer}\r\n")),
            Fault::Stall(v, n) if *v == verb && *n == before => return Act::Stall,
            Fault::HangUp(v, n) if *v == verb && *n == before => return Act::HangUp,
            Fault::EndlessLine(v) if *v == verb => return Act::Answer("250 ".to_owned() + &"x".repeat(60_000_000)),
            Fault::EndlessReply(v) if *v == verb => return Act::Answer("250-more\r\n".repeat(100_000)),
            _ => {}
        }
    }
    Act::Answer(good.to_owned())
}

async fn converse(stream: TcpStream, faults: &[Fault], seen: &Mutex<Seen>, connection: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    if seen.lock().unwrap().closed {
        return stream.write_all(b"421 4.3.2 closed\r\n").await;
    }
    match act(faults, seen, "greeting", "greeting", "220 smarthost.example ESMTP\r\n") {
        Act::Answer(greeting) => stream.write_all(greeting.as_bytes()).await?,
        Act::Stall => return std::future::pending().await,
        Act::HangUp => return Ok(()),
    }
    let (mut sender, mut recipients, mut message) = (None, Vec::<String>::new(), Vec::new());
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let argument = || line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address.to_owned());
        let mut chunk = Vec::new();
        let mut last = false;
        if verb == "BDAT" {
            let mut words = line.split(' ').skip(1);
            chunk = vec![0; words.next().unwrap().parse().unwrap()];
            last = words.next().is_some();
            stream.read_exact(&mut chunk).await?;
        }
        let good = match verb.as_str() {
            "EHLO" if faults.contains(&Fault::Lmtp) => "500 5.5.1 this is LMTP\r\n".into(),
            "EHLO" | "LHLO" => {
                let mut lines = vec!["smarthost.example", "PIPELINING", "8BITMIME", "SIZE 30000000", "ENHANCEDSTATUSCODES"];
                lines.retain(|line| !faults.contains(&Fault::Without(line.split(' ').next().unwrap())));
                lines.extend(faults.iter().filter_map(|f| if let Fault::With(line) = f { Some(*line) } else { None }));
                let last = lines.pop().unwrap();
                lines.iter().map(|line| format!("250-{line}\r\n")).collect::<String>() + &format!("250 {last}\r\n")
            }
            "MAIL" if sender.is_some() => "503 5.5.1 nested\r\n".into(),
            "RCPT" if sender.is_none() => "503 5.5.1 MAIL first\r\n".into(),
            "RCPT" if faults.contains(&Fault::Recipients(recipients.len())) => "452 4.5.3 too many recipients\r\n".into(),
            "DATA" | "BDAT" if recipients.is_empty() => "554 5.5.1 no recipients\r\n".into(),
            "DATA" => "354 go on\r\n".into(),
            "STARTTLS" => "220 2.0.0 begin\r\n".into(),
            "AUTH" => "235 2.7.0 ok\r\n".into(),
            "QUIT" => "221 2.0.0 bye\r\n".into(),
            _ => "250 2.0.0 ok\r\n".into(),
        };
        let answer = match act(faults, seen, &verb, &line, &good) {
            Act::Answer(answer) => answer,
            silent => {
                if last && !recipients.is_empty() {
                    message.extend(chunk);
                    take(seen, &mut sender, &mut recipients, message, false, connection);
                }
                return silence(silent).await;
            }
        };
        if faults.iter().any(|fault| matches!(fault, Fault::Pause(v, n) if *v == verb && count(seen, v) == n + 1)) {
            while !seen.lock().unwrap().going_on {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if faults.contains(&Fault::FalsePipelining) && verb != "EHLO" {
            // What is in the buffer already came ahead of this answer.
            let ahead = stream.buffer().len();
            stream.consume(ahead);
        }
        let answer = if verb == "STARTTLS" && faults.contains(&Fault::Injection) { answer + "250 injected\r\n" } else { answer };
        stream.write_all(answer.as_bytes()).await?;
        let accepted = answer.starts_with('2');
        match verb.as_str() {
            "MAIL" if accepted => sender = argument(),
            "RCPT" if accepted => recipients.extend(argument()),
            "RSET" | "EHLO" | "LHLO" => (sender, recipients, message) = (None, Vec::new(), Vec::new()),
            "QUIT" => return Ok(()),
            _ if answer.starts_with("421") => return Ok(()),
            "BDAT" if accepted => {
                message.extend(chunk);
                if last {
                    take(seen, &mut sender, &mut recipients, std::mem::take(&mut message), true, connection);
                    if leaves(&mut stream, faults, seen).await? {
                        return Ok(());
                    }
                }
            }
            "DATA" if answer.starts_with("354") => {
                let message = body(&mut stream).await?;
                if faults.contains(&Fault::Lmtp) {
                    for recipient in std::mem::take(&mut recipients) {
                        let answer = match act(faults, seen, ".", &format!(". {recipient}"), "250 2.0.0 taken\r\n") {
                            Act::Answer(answer) => answer,
                            silent => {
                                take(seen, &mut sender.clone(), &mut vec![recipient], message, false, connection);
                                return silence(silent).await;
                            }
                        };
                        if answer.starts_with('2') {
                            take(seen, &mut sender.clone(), &mut vec![recipient], message.clone(), true, connection);
                        }
                        stream.write_all(answer.as_bytes()).await?;
                    }
                    sender = None;
                    if leaves(&mut stream, faults, seen).await? {
                        return Ok(());
                    }
                    continue;
                }
                let answer = match act(faults, seen, ".", ".", "250 2.0.0 taken\r\n") {
                    Act::Answer(answer) => answer,
                    silent => {
                        take(seen, &mut sender, &mut recipients, message, false, connection);
                        return silence(silent).await;
                    }
                };
                if answer.starts_with('2') {
                    take(seen, &mut sender, &mut recipients, message, true, connection);
                }
                (sender, recipients) = (None, Vec::new());
                stream.write_all(answer.as_bytes()).await?;
                if answer.starts_with("421") || leaves(&mut stream, faults, seen).await? {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

/// Whether the connection ends here, see [`Fault::Leaves`].
async fn leaves(stream: &mut BufReader<TcpStream>, faults: &[Fault], seen: &Mutex<Seen>) -> std::io::Result<bool> {
    let taken = seen.lock().unwrap().received.len();
    let words = faults.iter().find_map(|fault| if let Fault::Leaves(n, words) = fault { (n + 1 == taken).then_some(*words) } else { None });
    stream.write_all(words.unwrap_or_default().as_bytes()).await?;
    Ok(words.is_some())
}

fn take(
    seen: &Mutex<Seen>,
    sender: &mut Option<String>,
    recipients: &mut Vec<String>,
    message: Vec<u8>,
    answered: bool,
    connection: usize,
) {
    let received =
        Received { sender: sender.take().unwrap_or_default(), recipients: std::mem::take(recipients), message, answered, connection };
    if !received.recipients.is_empty() {
        seen.lock().unwrap().received.push(received);
    }
}

/// The message, unstuffed by rules of its own: line by line, as servers do.
async fn body(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if tokio::time::timeout(Duration::from_secs(60), stream.read_until(b'\n', &mut line)).await?? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        assert!(line.ends_with(b"\r\n"), "a bare line feed came out");
        assert!(!line[..line.len() - 2].contains(&b'\r'), "a bare carriage return came out");
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
