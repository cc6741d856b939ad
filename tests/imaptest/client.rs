//! One connection of a script.

use std::time::Duration;

use mailroom::serve::imap;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use super::value;
use crate::support::lan::{Lan, Pipe};

/// What an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    pipe: Pipe,
    commands: u32,
    /// Messages of the mailbox by the numbers that they had before the command in hand.
    numbers: Vec<u32>,
}

/// What came for one or several commands.
#[derive(Default)]
pub struct Answers {
    /// Without `* `, with the number that the message had before the commands.
    pub untagged: Vec<(String, Option<u32>)>,
    /// Without tag, in the order of the commands.
    pub tagged: Vec<String>,
}

impl Client {
    pub async fn open(lan: &Lan) -> Result<Client, String> {
        let (pipe, stream, peer) = lan.connect("192.168.1.7", true);
        tokio::spawn(imap::serve(stream, peer, lan.context.clone(), lan.stop.clone()));
        let mut client = Client { pipe, commands: 0, numbers: Vec::new() };
        client.read().await?;
        Ok(client)
    }

    /// A tag for a command that has none.
    pub fn tag(&mut self) -> String {
        self.commands += 1;
        format!("x{}", self.commands)
    }

    /// Has to be OK; the untagged answers.
    pub async fn ok(&mut self, command: &str) -> Result<Vec<String>, String> {
        let tag = self.tag();
        let answers = self.run(&[(tag, command.to_owned())]).await?;
        match answers.tagged[0].starts_with("OK") {
            true => Ok(answers.untagged.into_iter().map(|(line, _)| line).collect()),
            false => Err(format!("{command:.60}: {}", answers.tagged[0])),
        }
    }

    /// Sends commands at once (their literals announced as non-synchronizing) and reads until all are answered.
    pub async fn run(&mut self, commands: &[(String, String)]) -> Result<Answers, String> {
        self.numbers = (1..).take(self.numbers.len()).collect();
        let text: String = commands.iter().map(|(tag, command)| format!("{tag} {command}\r\n")).collect();
        self.pipe.send(&text.chars().map(|character| character as u8).collect::<Vec<u8>>()).await;
        let mut answers = Answers { untagged: Vec::new(), tagged: vec![String::new(); commands.len()] };
        while answers.tagged.iter().any(String::is_empty) {
            let line = self.read().await?;
            if let Some(untagged) = line.strip_prefix("* ") {
                let number = self.count(untagged);
                answers.untagged.push((untagged.to_owned(), number));
            } else if let Some((at, rest)) =
                commands.iter().enumerate().find_map(|(at, (tag, _))| Some((at, line.strip_prefix(tag.as_str())?.strip_prefix(' ')?)))
            {
                rest.clone_into(&mut answers.tagged[at]);
            } else {
                return Err(format!("unexpected “{line}”"));
            }
        }
        Ok(answers)
    }

    /// Keeps the count of messages; the number that the one in this line had before the command.
    fn count(&mut self, untagged: &str) -> Option<u32> {
        let (number, rest) = untagged.split_once(' ')?;
        let number: usize = number.parse().ok()?;
        let at = number.wrapping_sub(1);
        match rest.split(' ').next()?.to_ascii_uppercase().as_str() {
            "EXPUNGE" if at < self.numbers.len() => Some(self.numbers.remove(at)),
            "FETCH" => self.numbers.get(at).copied(),
            "EXISTS" => {
                let next = self.numbers.iter().max().map_or(1, |last| last + 1);
                self.numbers.extend((next..).take(number.saturating_sub(self.numbers.len())));
                self.numbers.truncate(number);
                None
            }
            _ => None,
        }
    }

    /// A line with the literals in it, as Latin-1.
    async fn read(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let whole = async {
            loop {
                let start = line.len();
                if self.pipe.0.read_until(b'\n', &mut line).await.unwrap() == 0 {
                    return Err("the server closed the connection".to_owned());
                }
                let end = String::from_utf8_lossy(&line[start..]).into_owned();
                let Some(length) = end.strip_suffix("}\r\n").and_then(|end| end.rsplit_once('{')?.1.parse::<u64>().ok()) else {
                    return Ok(());
                };
                (&mut self.pipe.0).take(length).read_to_end(&mut line).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.map_err(|_| "the server said nothing".to_owned())??;
        let text: String = line.iter().map(|byte| char::from(*byte)).collect();
        Ok(text.strip_suffix("\r\n").ok_or("a line does not end in CR LF")?.to_owned())
    }

    /// Removes every mailbox and subscription that begins so.
    pub async fn clear(&mut self, mailbox: &str) -> Result<(), String> {
        for (ask, remove) in [("LIST", "DELETE"), ("LSUB", "UNSUBSCRIBE")] {
            let mut names = Vec::new();
            for line in self.ok(&format!("{ask} \"\" {mailbox}*")).await? {
                if let Some(value::Value::Atom(name) | value::Value::Text(name)) = value::parse(&line).get(3) {
                    names.push(name.clone());
                }
            }
            names.sort_by_key(|name| std::cmp::Reverse(name.len()));
            for name in names {
                let tag = self.tag();
                self.run(&[(tag, format!("{remove} \"{name}\""))]).await?;
            }
        }
        Ok(())
    }
}
