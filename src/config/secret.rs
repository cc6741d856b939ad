//! Where a secret comes from, and the secret itself, which can't be printed.
//!
//! Knows no store: what is kept there is looked up by whoever calls.

use crate::document::Value;
use secrecy::SecretString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A command that asks somebody for a password would keep the gateway waiting for ever.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// OAuth tokens come near 4 KB; a file that is longer is not a password file.
const MAX_SECRET: u64 = 64 * 1024;

/// `password = …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; its first line.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command's first line of output.
    Command(Vec<String>),
    /// From the store, by name.
    Stored(String),
    /// Written in the file itself; warned about.
    Plain(Plain),
}

/// A secret written into the configuration: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(pub String);

impl std::fmt::Debug for Plain {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("…")
    }
}

/// Why a secret is not to be had, and what to do, with whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password of {whose} is not there: {reason}")]
pub struct SecretError {
    /// `collector isp`
    pub whose: String,
    /// In plain words.
    pub reason: String,
}

impl SecretSource {
    /// Reads `"…"`, `{ file }`, `{ env }`, `{ command }` or `{ secret }`.
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        if let Some(text) = value.as_text() {
            if text.is_empty() {
                value.mark().wrong_with("the password is empty", "write { file = \"isp.pass\" }");
                return None;
            }
            value.mark().warn(
                "this password can be read by everybody who reads this file or a copy of it",
                Some("write { file = \"isp.pass\" }, or { secret = \"isp\" } after `mailroom secret set isp`".to_owned()),
            );
            return Some(Self::Plain(Plain(text.to_owned())));
        }
        let Some(table) = value.as_table() else {
            value.wrong_type("{ file = \"isp.pass\" }, { env = \"NAME\" }, { command = [\"pass\", \"isp\"] } or { secret = \"isp\" }");
            return None;
        };
        let file = table.path("file").map(|found| Self::File(found.value));
        let env = table.text("env").map(|found| Self::Env(found.value.to_owned()));
        let stored = table.text("secret").map(|found| Self::Stored(found.value.to_owned()));
        let command = table.texts("command").map(|words| Self::Command(words.iter().map(|word| word.value.to_owned()).collect()));
        if let Some(Self::Command(words)) = &command
            && words.is_empty()
        {
            table.mark().wrong_with("this command is empty", "write { command = [\"pass\", \"isp\"] }");
            return None;
        }
        let known = ["file", "env", "command", "secret"];
        let given: Vec<&str> = known.into_iter().filter(|key| table.has(key)).collect();
        let mark = table.mark();
        table.finish();
        match given.len() {
            1 => file.or(env).or(stored).or(command),
            0 => {
                mark.wrong_with("this does not say where the password is", "write { file = \"isp.pass\" }");
                None
            }
            _ => {
                mark.wrong_with(format!("{} exclude each other", given.join(" and ")), "leave one of them");
                None
            }
        }
    }

    /// The name of the stored secret that [`resolve`](Self::resolve) will ask for.
    pub fn stored_name(&self) -> Option<&str> {
        match self {
            Self::Stored(name) => Some(name),
            _ => None,
        }
    }

    /// Gets the secret: reads the file or the variable, runs the command. May block for ten seconds.
    ///
    /// `whose` names its owner in errors (`collector isp`); `stored` is what the store has under [`stored_name`](Self::stored_name).
    pub fn resolve(&self, whose: &str, stored: Option<SecretString>) -> Result<SecretString, SecretError> {
        let secret = match self {
            Self::File(path) => from_file(path),
            Self::Env(name) => match std::env::var(name) {
                Ok(value) => Ok(SecretString::from(first_line(&value))),
                Err(_) => Err(format!("the environment variable {name} is not set; set it, or write {{ file = \"…\" }}")),
            },
            Self::Command(words) => from_command(words),
            Self::Stored(name) => stored.ok_or_else(|| format!("no secret \"{name}\" is stored; run `mailroom secret set {name}`")),
            Self::Plain(plain) => Ok(SecretString::from(plain.0.clone())),
        };
        let error = |reason| SecretError { whose: whose.to_owned(), reason };
        let secret = secret.map_err(error)?;
        match secrecy::ExposeSecret::expose_secret(&secret).is_empty() {
            true => Err(error(format!("{self} is empty"))),
            false => Ok(secret),
        }
    }
}

/// Where it is, never what it is.
impl std::fmt::Display for SecretSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(out, "the file {}", path.display()),
            Self::Env(name) => write!(out, "the environment variable {name}"),
            Self::Command(words) => write!(out, "the output of {}", words.first().map_or("", String::as_str)),
            Self::Stored(name) => write!(out, "the stored secret {name}"),
            Self::Plain(_) => out.write_str("the password in the configuration"),
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn from_file(path: &Path) -> Result<SecretString, String> {
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {}; write the password into it, on its first line", path.display()),
        std::io::ErrorKind::PermissionDenied => {
            format!("the file {} may not be read by the user that Mailroom runs as; make that user its owner", path.display())
        }
        _ => format!("the file {} can't be read: {error}", path.display()),
    })?;
    let mut text = String::new();
    match file.take(MAX_SECRET).read_to_string(&mut text) {
        Ok(_) => Ok(SecretString::from(first_line(text.strip_prefix('\u{feff}').unwrap_or(&text)))),
        Err(error) => Err(format!("the file {} can't be read as text: {error}", path.display())),
    }
}

/// Runs a program without a shell and takes the first line that it prints.
fn from_command(words: &[String]) -> Result<SecretString, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("the command is empty".to_owned()) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the command {program} can't be started: {error}"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(format!("the command {program} has no output"));
    };
    // Both pipes are read beside the wait, or a talkative command would block for ever.
    let (send, received) = mpsc::channel();
    let read = |pipe: Box<dyn std::io::Read + Send>, send: mpsc::Sender<(bool, String)>, is_stdout: bool| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let result = pipe.take(MAX_SECRET).read_to_string(&mut text);
            let _ = send.send((is_stdout, result.map(|_| text).unwrap_or_default()));
        })
    };
    read(Box::new(stdout), send.clone(), true);
    read(Box::new(stderr), send, false);
    let (mut printed, mut complaint) = (String::new(), String::new());
    for _ in 0..2 {
        match received.recv_timeout(COMMAND_LIMIT) {
            Ok((true, text)) => printed = text,
            Ok((false, text)) => complaint = first_line(&text),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "the command {program} did not end within {} seconds; it must not ask for anything",
                    COMMAND_LIMIT.as_secs()
                ));
            }
        }
    }
    let status = ended(&mut child).map_err(|error| format!("the command {program} failed: {error}"))?;
    match status.success() {
        true => Ok(SecretString::from(first_line(&printed))),
        false => Err(format!("the command {program} failed ({status}){}{complaint}", if complaint.is_empty() { "" } else { ": " })),
    }
}

/// Waits for a process that has closed its output; one that lingers is ended.
fn ended(child: &mut std::process::Child) -> std::io::Result<std::process::ExitStatus> {
    for _ in 0..100 {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(COMMAND_LIMIT / 1000);
    }
    child.kill()?;
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn resolved(source: &SecretSource) -> Result<String, String> {
        source.resolve("collector isp", None).map(|s| s.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("isp.pass");
        let source = SecretSource::File(path.clone());
        assert!(resolved(&source).unwrap_err().contains("there is no file"));
        for (content, expected) in [("hunter2\r\nsecond\n", "hunter2"), ("\u{feff}ünter \n", "ünter "), ("x", "x")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(resolved(&source).as_deref(), Ok(expected));
        }
        std::fs::write(&path, "\nhunter2\n").unwrap();
        assert!(resolved(&source).unwrap_err().contains("is empty"));
    }

    #[test]
    fn a_command_gives_the_first_line_it_prints() {
        assert_eq!(resolved(&command(&["echo", "hunter2"])).as_deref(), Ok("hunter2"));
        assert!(resolved(&command(&["false"])).unwrap_err().contains("failed"));
        assert!(resolved(&command(&["no-such-program-anywhere"])).unwrap_err().contains("can't be started"));
        // No shell: what looks like one is an argument.
        assert_eq!(resolved(&command(&["echo", "$HOME; rm x"])).as_deref(), Ok("$HOME; rm x"));
    }

    #[test]
    fn a_stored_secret_comes_from_the_caller() {
        let source = SecretSource::Stored("isp".into());
        assert_eq!(source.stored_name(), Some("isp"));
        assert!(resolved(&source).unwrap_err().contains("mailroom secret set isp"));
        assert!(source.resolve("collector isp", Some(SecretString::from("x".to_owned()))).is_ok());
    }

    #[test]
    fn nothing_prints_a_secret() {
        let source = SecretSource::Plain(Plain("hunter2".into()));
        assert!(!format!("{source:?} {source}").contains("hunter2"));
    }
}
