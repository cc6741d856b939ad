//! The same commands to our IMAP server and to Dovecot: both say the same, but for what [`answer`] names and leaves out.

mod answer;
mod generated;
mod sessions;

use mailroom::serve::imap;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::TcpStream;

use crate::interop::isp::{self, Dovecot};
use crate::support::lan::{self, Lan};
use answer::Answer;

/// What an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// One difference leads to others; so many are enough to see what it is.
const MAX_DIFFERENCES: u32 = 15;

/// What stands for the answer of a server that ended the connection.
const HUNG_UP: &str = "HUNG UP";

/// One conversation.
struct Talk<S> {
    stream: BufReader<S>,
    tags: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn begin(stream: S, user: &str, password: &str) -> Talk<S> {
        let mut talk = Talk { stream: BufReader::new(stream), tags: 0 };
        talk.line().await.expect("no greeting");
        let answer = talk.ask(format!("LOGIN {user} \"{password}\"").as_bytes()).await;
        assert!(answer.tagged.starts_with("OK"), "{answer:?}");
        talk
    }

    /// A command, literals in place and announced as non-synchronizing.
    async fn ask(&mut self, command: &[u8]) -> Answer {
        self.tags += 1;
        let tag = format!("t{} ", self.tags);
        // Who hung up does not read it.
        let _ = self.stream.write_all(&[tag.as_bytes(), command, b"\r\n"].concat()).await;
        let _ = self.stream.flush().await;
        let mut untagged = Vec::new();
        loop {
            let Some(line) = self.line().await else { return Answer::new(&untagged, HUNG_UP) };
            match line.strip_prefix(&tag) {
                Some(tagged) => return Answer::new(&untagged, tagged),
                None => untagged.push(line),
            }
        }
    }

    /// With its literals, as Latin-1; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = async {
            loop {
                let start = line.len();
                if self.stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                    return None;
                }
                let end = String::from_utf8_lossy(&line[start..]).into_owned();
                let Some(length) = end.strip_suffix("}\r\n").and_then(|end| end.rsplit_once('{')?.1.parse::<u64>().ok()) else {
                    return Some(());
                };
                (&mut self.stream).take(length).read_to_end(&mut line).await.ok()?;
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the server said nothing")?;
        Some(line.iter().map(|byte| char::from(*byte)).collect())
    }
}

/// Ours and Dovecot.
struct Both {
    ours: Talk<DuplexStream>,
    theirs: Talk<TcpStream>,
    /// What was asked so far, for the one who has to find out.
    asked: Vec<String>,
    /// Each was printed.
    differences: u32,
    /// Dovecot ended the connection, as it does when it finds itself in the wrong: there is nothing to compare with any more.
    alone: bool,
    /// A mod-sequence of each; commands have it as `{modseq}`, the next one as `{later}`.
    modseqs: [u64; 2],
}

impl Both {
    /// Both as a new user of that name; ours has alice and bob.
    async fn open(lan: &Lan, dovecot: &Dovecot, user: &str) -> Both {
        let (client, stream, peer) = lan.connect("192.168.1.7", true);
        tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
        let ours = Talk::begin(client.0.into_inner(), user, lan::PASSWORD).await;
        let stream = TcpStream::connect(("127.0.0.1", dovecot.imap)).await.unwrap();
        Both {
            ours,
            theirs: Talk::begin(stream, user, isp::PASSWORD).await,
            asked: Vec::new(),
            differences: 0,
            alone: false,
            modseqs: [1; 2],
        }
    }

    /// Takes away the folders that ours makes for everybody.
    async fn level(&mut self) {
        for name in ["Archive", "Drafts", "Junk", "Sent", "Trash", "INBOX"] {
            self.tell(format!("UNSUBSCRIBE {name}").as_bytes()).await;
            self.tell(format!("DELETE {name}").as_bytes()).await;
        }
    }

    /// To both, whatever they say.
    async fn tell(&mut self, command: &[u8]) -> (Answer, Answer) {
        self.asked.push(String::from_utf8_lossy(command).into_owned());
        let [ours, theirs] = self.modseqs.map(|modseq| with_modseq(command, modseq));
        (self.ours.ask(&ours).await, self.theirs.ask(&theirs).await)
    }

    /// From here on `{modseq}` is what a mailbox has now.
    async fn remember(&mut self, mailbox: &str) {
        let (ours, theirs) = self.tell(format!("STATUS {mailbox} (HIGHESTMODSEQ)").as_bytes()).await;
        for (modseq, answer) in self.modseqs.iter_mut().zip([ours, theirs]) {
            *modseq = answer.modseq.unwrap_or(*modseq);
        }
    }

    /// To both, who have to say the same.
    async fn same(&mut self, command: &[u8]) -> Answer {
        self.compared(command, false).await
    }

    /// The same of what somebody else did meanwhile.
    async fn hear(&mut self) -> Answer {
        self.compared(b"NOOP", true).await
    }

    async fn compared(&mut self, command: &[u8], unasked: bool) -> Answer {
        let (ours, theirs) = self.tell(command).await;
        if theirs.tagged == HUNG_UP && ours.tagged != HUNG_UP {
            println!("Dovecot hung up at {}", String::from_utf8_lossy(command));
            self.alone = true;
        }
        if self.alone {
            return ours;
        }
        if let Some(difference) = ours.difference(&theirs, &String::from_utf8_lossy(command), unasked) {
            let telling = self.asked.iter().filter(|line| *line != "NOOP").map(|line| format!("{line:.300}\n")).collect::<Vec<_>>();
            println!("{difference}\nafter\n{}", telling[telling.len().saturating_sub(25)..].concat());
            self.differences += 1;
            assert!(self.differences < MAX_DIFFERENCES, "they differ too often");
        }
        ours
    }
}

/// With a number for each `{modseq}`, and the next one for each `{later}`.
fn with_modseq(command: &[u8], modseq: u64) -> Vec<u8> {
    let mut command = command.to_vec();
    for (name, number) in [("{modseq}", modseq), ("{later}", modseq + 1)] {
        while let Some(at) = memchr::memmem::find(&command, name.as_bytes()) {
            command.splice(at..at + name.len(), number.to_string().into_bytes());
        }
    }
    command
}
