//! A script: a head of `key: value` lines, then commands with what has to come of them.
//!
//! A command stands behind its outcome (`ok noop`), or before it on a line of its own; several with tags of their own go out at once.
//! `* ` says what has to come untagged, `! ` what may not, `? ` what may.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use super::client::Client;
use super::value::{self, Variables};
use crate::support::lan::{Lan, PASSWORD};

/// The mailbox of every script.
const MAILBOX: &str = "imaptest";

/// Around the index of a literal in a line, until it is put in.
const LITERAL: char = '\u{e000}';

pub struct Script {
    head: HashMap<String, String>,
    lines: VecDeque<String>,
    literals: Vec<String>,
    messages: Vec<Message>,
    has_messages: bool,
    next_message: usize,
}

/// One of an mbox: its text, and its date for APPEND.
struct Message {
    text: String,
    date: Option<String>,
}

pub enum Played {
    Passed,
    /// For want of this capability.
    Skipped(String),
}

/// Commands that go out together, and what has to come.
#[derive(Default)]
struct Step {
    client: usize,
    /// Tag, if the script gives one; command; outcome; response code.
    commands: Vec<(Option<String>, String, String, String)>,
    wanted: Vec<String>,
    banned: Vec<String>,
}

impl Script {
    pub fn read(file: &Path) -> Script {
        let latin1 = |bytes: Vec<u8>| bytes.into_iter().map(char::from).collect::<String>();
        let (text, literals) = take_literals(&latin1(std::fs::read(file).unwrap()));
        let mut lines: VecDeque<String> = text.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect();
        let mut head = HashMap::new();
        while let Some(line) = lines.front() {
            match line.split_once(':') {
                Some((key, value)) if key.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b' ' | b'0'..=b'9')) => {
                    head.insert(key.to_owned(), value.trim().to_owned());
                }
                _ if line.starts_with('#') => {}
                _ => break,
            }
            lines.pop_front();
        }
        lines.retain(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let own = std::fs::read(file.with_extension("mbox"));
        let has_messages = own.is_ok();
        let mbox = own.or_else(|_| std::fs::read(file.with_file_name("default.mbox"))).unwrap_or_default();
        Script { head, lines, literals, messages: messages(&latin1(mbox)), has_messages, next_message: 0 }
    }

    pub async fn play(mut self, lan: &Lan) -> Result<Played, String> {
        let state = self.head.get("state").map_or("selected", String::as_str).to_owned();
        if self.head.contains_key("user 2") {
            // All of these need URLAUTH.
            return Ok(Played::Skipped("a second user".into()));
        }
        let mut janitor = Client::open(lan).await?;
        janitor.ok(&format!("LOGIN alice \"{PASSWORD}\"")).await?;
        let offered = janitor.ok("CAPABILITY").await?.join(" ").to_ascii_uppercase();
        for capability in self.head.get("capabilities").map_or("", String::as_str).to_ascii_uppercase().split(' ') {
            if !capability.is_empty() && !offered.split(' ').any(|known| known == capability) {
                return Ok(Played::Skipped(capability.to_owned()));
            }
        }
        janitor.clear(MAILBOX).await?;
        let mut clients = Vec::new();
        for _ in 0..self.connections() {
            let mut client = Client::open(lan).await?;
            if state != "nonauth" {
                client.ok(&format!("LOGIN alice \"{PASSWORD}\"")).await?;
            }
            clients.push(client);
        }
        if matches!(state.as_str(), "created" | "appended" | "selected") {
            janitor.ok(&format!("CREATE {MAILBOX}")).await?;
        }
        if matches!(state.as_str(), "appended" | "selected") {
            let count = match self.head.get("messages").map(String::as_str) {
                None if !self.has_messages => 0,
                None | Some("all") => self.messages.len(),
                Some(count) => count.parse().map_err(|_| "how many messages?")?,
            };
            for _ in 0..count {
                let append = self.append(&format!("append {MAILBOX}"));
                janitor.ok(&append).await?;
            }
        }
        if state == "selected" {
            for client in &mut clients {
                client.ok(&format!("SELECT {MAILBOX}")).await?;
            }
        }
        let mut variables: Variables = [("mailbox", MAILBOX), ("mailbox_url", MAILBOX), ("user", "alice"), ("username", "alice")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        while !self.lines.is_empty() {
            let step = self.step()?;
            self.perform(step, &mut clients, &mut variables).await?;
        }
        Ok(Played::Passed)
    }

    fn connections(&self) -> usize {
        self.head.get("connections").map_or(1, |count| count.parse().unwrap())
    }

    async fn perform(&mut self, step: Step, clients: &mut [Client], variables: &mut Variables) -> Result<(), String> {
        let client = clients.get_mut(step.client).ok_or("there is no such connection")?;
        let mut sent = Vec::new();
        for (tag, command, _, _) in &step.commands {
            let tag = tag.clone().unwrap_or_else(|| client.tag());
            let mut command = self.put_literals(&value::substitute(command, variables), "+");
            if command.to_ascii_lowercase().starts_with("append") && !command.contains('{') {
                let command_with_mailbox = if command.trim().len() == "append".len() { format!("append {MAILBOX}") } else { command };
                command = self.append(&command_with_mailbox);
            }
            sent.push((tag, command));
        }
        variables.insert("tag".into(), sent[0].0.clone());
        let answers = client.run(&sent).await.map_err(|why| format!("{:.80}: {why}", sent[0].1))?;
        for (((_, command), outcome), (_, _, wanted, code)) in sent.iter().zip(&answers.tagged).zip(&step.commands) {
            let (word, text) = outcome.split_once(' ').unwrap_or((outcome, ""));
            if wanted != "\"\"" && !word.eq_ignore_ascii_case(wanted) {
                return Err(format!("{command:.80}: {wanted} expected, got {outcome}"));
            }
            if !code.is_empty() && !value::fits(&value::parse(code), &value::parse(text), variables, None) {
                return Err(format!("{command:.80}: {code} expected, got {outcome}"));
            }
        }
        let got: Vec<_> = answers.untagged.iter().map(|(line, number)| (value::parse(line), *number)).collect();
        let all = || answers.untagged.iter().map(|(line, _)| format!("\n    {line:.300}")).collect::<String>();
        for wanted in &step.wanted {
            let expected = value::parse(&self.put_literals(wanted, ""));
            let found = got.iter().any(|(got, number)| {
                let mut tried = variables.clone();
                let fit = value::fits(&expected, got, &mut tried, *number);
                if fit {
                    *variables = tried;
                }
                fit
            });
            if !found {
                return Err(format!("{:.80}: missing “* {wanted:.200}” in{}", sent[0].1, all()));
            }
        }
        for banned in &step.banned {
            let expected = value::parse(&self.put_literals(banned, ""));
            if got.iter().any(|(got, number)| value::fits(&expected, got, &mut variables.clone(), *number)) {
                return Err(format!("{:.80}: “* {banned:.200}” should not be in{}", sent[0].1, all()));
            }
        }
        Ok(())
    }

    /// The next commands with what belongs to them.
    fn step(&mut self) -> Result<Step, String> {
        let mut step = Step::default();
        let (client, line) = self.take(&mut step);
        step.client = client;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if is_outcome(word) && !rest.is_empty() {
            step.commands.push((None, rest.to_owned(), word.to_owned(), String::new()));
            self.take_expectations(&mut step);
            return Ok(step);
        }
        if !self.is_tag(word) {
            self.take_expectations(&mut step);
            let (_, outcome) = self.take(&mut step);
            let (outcome, code) = outcome.split_once(' ').unwrap_or((&outcome, ""));
            if !is_outcome(outcome) {
                return Err(format!("{line}: where is its outcome?"));
            }
            step.commands.push((None, line.clone(), outcome.to_owned(), code.to_owned()));
            self.take_expectations(&mut step);
            return Ok(step);
        }
        step.commands.push((Some(word.to_owned()), rest.to_owned(), String::new(), String::new()));
        while step.commands.iter().any(|(_, _, outcome, _)| outcome.is_empty()) {
            self.take_expectations(&mut step);
            if self.lines.is_empty() {
                return Err(format!("{line}: where is its outcome?"));
            }
            let (_, line) = self.take(&mut step);
            let (tag, rest) = line.split_once(' ').ok_or_else(|| format!("what is “{line}”?"))?;
            let (outcome, code) = rest.split_once(' ').unwrap_or((rest, ""));
            match step.commands.iter_mut().find(|(known, ..)| known.as_deref() == Some(tag)) {
                Some(command) if is_outcome(outcome) => (command.2, command.3) = (outcome.to_owned(), code.to_owned()),
                _ => step.commands.push((Some(tag.to_owned()), rest.to_owned(), String::new(), String::new())),
            }
        }
        self.take_expectations(&mut step);
        Ok(step)
    }

    /// The next line and its connection.
    fn take(&mut self, step: &mut Step) -> (usize, String) {
        self.take_expectations(step);
        let line = self.lines.pop_front().unwrap_or_default();
        match line.split_once(' ') {
            Some((number, rest)) if self.connections() > 1 => match number.parse::<usize>() {
                Ok(number) => (number.saturating_sub(1), rest.to_owned()),
                Err(_) => (0, line),
            },
            _ => (0, line),
        }
    }

    fn take_expectations(&mut self, step: &mut Step) {
        while let Some(line) = self.lines.front() {
            match line.split_at_checked(2) {
                Some(("* ", wanted)) => step.wanted.push(wanted.to_owned()),
                Some(("! ", banned)) => step.banned.push(banned.to_owned()),
                Some(("? ", _)) => {}
                _ => return,
            }
            self.lines.pop_front();
        }
    }

    /// Whether some later line gives the outcome of a command with this tag.
    fn is_tag(&self, word: &str) -> bool {
        self.lines.iter().any(|line| {
            let mut words = line.split(' ').skip_while(|first| self.connections() > 1 && first.parse::<usize>().is_ok());
            words.next() == Some(word) && words.next().is_some_and(is_outcome)
        })
    }

    /// APPEND of the next message.
    fn append(&mut self, command: &str) -> String {
        let message = &self.messages[self.next_message % self.messages.len()];
        self.next_message += 1;
        let date = message.date.as_ref().filter(|_| !command.contains('"')).map_or(String::new(), |date| format!(" \"{date}\""));
        format!("{command}{date} {{{}+}}\r\n{}", message.text.len_latin1(), message.text)
    }

    fn put_literals(&self, line: &str, plus: &str) -> String {
        let mut written = String::new();
        for (at, piece) in line.split(LITERAL).enumerate() {
            match piece.parse::<usize>() {
                Ok(index) if at % 2 == 1 => {
                    let literal = lines_of(&self.literals[index], written.ends_with('~'));
                    written.push_str(&format!("{{{}{plus}}}\r\n{literal}", literal.len_latin1()));
                }
                _ => written.push_str(piece),
            }
        }
        written
    }
}

/// Characters, which are bytes in Latin-1.
trait Latin1 {
    fn len_latin1(&self) -> usize;
}

impl Latin1 for String {
    fn len_latin1(&self) -> usize {
        self.chars().count()
    }
}

fn is_outcome(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "ok" | "no" | "bad" | "\"\"")
}

/// `{{{ … }}}` are set aside, since they hold line ends.
fn take_literals(text: &str) -> (String, Vec<String>) {
    let (mut written, mut literals, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, behind)) = rest.split_once("{{{") {
        let (literal, after) = behind.split_once("}}}").unwrap_or((behind, ""));
        written.push_str(&format!("{before}{LITERAL}{}{LITERAL}", literals.len()));
        literals.push(literal.to_owned());
        rest = after;
    }
    (written + rest, literals)
}

/// Without the line ends behind `{{{` and before `}}}`; the others become CR LF, unless the literal is binary.
fn lines_of(literal: &str, binary: bool) -> String {
    let text = if binary { literal.to_owned() } else { literal.replace("\r\n", "\n") };
    let text = text.strip_prefix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    if binary { text.to_owned() } else { text.replace('\n', "\r\n") }
}

fn messages(mbox: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    for line in mbox.lines() {
        match (line.strip_prefix("From "), messages.last_mut()) {
            (Some(separator), _) => {
                let date = separator.split_once(' ').and_then(|(_, date)| append_date(date.trim()));
                messages.push(Message { text: String::new(), date });
            }
            (None, Some(message)) => {
                message.text.push_str(line);
                message.text.push_str("\r\n");
            }
            (None, None) => {}
        }
    }
    messages
}

/// `Fri Feb 22 17:06:23 2008 [+0200]` as APPEND wants it.
fn append_date(date: &str) -> Option<String> {
    let words: Vec<&str> = date.split_whitespace().collect();
    let [_, month, day, time, year, zone @ ..] = words.as_slice() else { return None };
    Some(format!("{:02}-{month}-{year} {time} {}", day.parse::<u32>().ok()?, zone.first().unwrap_or(&"+0000")))
}
