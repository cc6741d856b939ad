//! Reading mailboxes as bytes, without any of the program's own code: what two servers serve can then be compared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A plain connection that talks in lines.
pub struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).unwrap();
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        line
    }
}

/// POP3 (RFC 1939), one command at a time.
pub struct Pop3(Line);

impl Pop3 {
    pub fn login(port: u16, user: &str, password: &str) -> Self {
        let mut line = Line::open(port);
        line.line();
        let mut pop = Self(line);
        pop.ok(&format!("USER {user}"));
        pop.ok(&format!("PASS {password}"));
        pop
    }

    /// Sends a command that has to be answered +OK.
    pub fn ok(&mut self, command: &str) -> String {
        self.0.send(command);
        let reply = String::from_utf8_lossy(&self.0.line()).trim_end().to_owned();
        assert!(reply.starts_with("+OK"), "{command}: {reply}");
        reply
    }

    /// A multi-line answer, unstuffed, every line with its end.
    pub fn lines(&mut self, command: &str) -> Vec<Vec<u8>> {
        self.ok(command);
        let mut lines = Vec::new();
        loop {
            let mut line = self.0.line();
            assert!(!line.is_empty(), "the connection ended inside the answer to {command}");
            if line == b".\r\n" {
                return lines;
            }
            if line[0] == b'.' {
                line.remove(0);
            }
            lines.push(line);
        }
    }

    /// Every message of the mailbox.
    pub fn messages(&mut self) -> Vec<Vec<u8>> {
        let numbers = self.lines("LIST").len();
        (1..=numbers).map(|n| self.lines(&format!("RETR {n}")).concat()).collect()
    }

    pub fn quit(mut self) {
        self.ok("QUIT");
    }
}

/// IMAP (RFC 9051): enough to read whole folders.
pub struct Imap {
    line: Line,
    serial: u32,
}

impl Imap {
    pub fn login(port: u16, user: &str, password: &str) -> Self {
        let mut line = Line::open(port);
        line.line();
        let mut imap = Self { line, serial: 0 };
        imap.run(&format!("LOGIN \"{user}\" \"{password}\""));
        imap
    }

    /// Runs a command that has to end in OK; the untagged answers, literals as they stand.
    pub fn run(&mut self, command: &str) -> Vec<Vec<u8>> {
        self.serial += 1;
        let tag = format!("t{}", self.serial);
        self.line.send(&format!("{tag} {command}"));
        let mut answers = Vec::new();
        loop {
            let answer = self.answer();
            if let Some(end) = answer.strip_prefix(format!("{tag} ").as_bytes()) {
                assert!(end.starts_with(b"OK"), "{command}: {}", String::from_utf8_lossy(end));
                return answers;
            }
            answers.push(answer);
        }
    }

    /// One answer with its literals.
    fn answer(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let line = self.line.line();
            assert!(!line.is_empty(), "the connection ended inside an answer");
            whole.extend_from_slice(&line);
            let Some(size) = literal(&line) else { return whole };
            let start = whole.len();
            whole.resize(start + size, 0);
            self.line.stream.read_exact(&mut whole[start..]).unwrap();
        }
    }

    /// Every message of a folder.
    pub fn messages(&mut self, folder: &str) -> Vec<Vec<u8>> {
        let selected = self.run(&format!("EXAMINE \"{folder}\""));
        if selected.iter().any(|line| line.starts_with(b"* 0 EXISTS")) {
            return Vec::new();
        }
        let answers = self.run("UID FETCH 1:* (BODY.PEEK[])");
        answers.iter().filter(|a| a.windows(7).any(|w| w == b" FETCH ")).map(|answer| body(answer)).collect()
    }

    /// The names of all folders.
    pub fn folders(&mut self) -> Vec<String> {
        let answers = self.run("LIST \"\" \"*\"");
        answers
            .iter()
            .map(|line| String::from_utf8_lossy(line).trim_end().rsplit("\"/\" ").next().unwrap().trim_matches('"').to_owned())
            .collect()
    }
}

fn literal(line: &[u8]) -> Option<usize> {
    let text = line.strip_suffix(b"}\r\n")?;
    let start = text.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&text[start + 1..]).ok()?.parse().ok()
}

/// The first literal of a FETCH answer, or the quoted string in its place.
fn body(answer: &[u8]) -> Vec<u8> {
    let end = answer.iter().position(|b| *b == b'\n').unwrap() + 1;
    match literal(&answer[..end]) {
        Some(size) => answer[end..end + size].to_vec(),
        None => {
            let text = String::from_utf8_lossy(answer);
            let value = text.split("BODY[] ").nth(1).unwrap_or_else(|| panic!("no body in {text}"));
            assert!(value.starts_with("\"\"") || value.starts_with("NIL"), "{text}");
            Vec::new()
        }
    }
}
