//! A diagnosed place in a file.

use std::fmt;
use std::path::PathBuf;

/// Of an offending line, this many characters are shown: a minified file has lines of a megabyte.
const MAX_SHOWN: usize = 160;
/// What follows these keys is a secret, and not shown with the line.
const SECRET_KEYS: [&str; 2] = ["password", "client_secret"];

/// File, line and column, both from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// `file:line`, as rules are named in explanations.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file.display(), self.line)
    }
}

/// What is wrong, where, and what to write instead. `Display` prints all of it, with the line and a mark under the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when no file is to blame.
    pub place: Option<Place>,
    /// The offending line, without its end.
    pub text: String,
    /// How many characters are marked.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// One that no line of a file is to blame for.
    pub fn general(message: impl Into<String>) -> Self {
        Self { place: None, text: String::new(), length: 0, message: message.into(), help: None }
    }

    /// One of a whole file: it can't be read, say.
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { place: Some(Place { file: file.into(), line: 0, column: 0 }), ..Self::general(message) }
    }

    /// With what to write instead.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// `FILE:LINE:COLUMN: MESSAGE`, then the line, a mark under the text, and the help.
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) if place.line > 0 => {
                write!(out, "{}:{}:{}: {}", place.file.display(), place.line, place.column, self.message)?;
                let line = without_secret(&self.text);
                if !line.trim().is_empty() {
                    show_line(out, &line, place.column.saturating_sub(1), self.length)?;
                }
            }
            Some(place) => write!(out, "{}: {}", place.file.display(), self.message)?,
            None => out.write_str(&self.message)?,
        }
        match &self.help {
            Some(help) => write!(out, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The line and the marks below it; `before` and `length` in characters, cut to what is shown.
fn show_line(out: &mut fmt::Formatter<'_>, line: &str, before: usize, length: usize) -> fmt::Result {
    let from = before.saturating_sub(MAX_SHOWN * 3 / 4);
    let shown: Vec<char> = line.chars().skip(from).take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let leading = shown.iter().take_while(|c| **c == ' ').count();
    let start = (before - from).clamp(leading, shown.len().max(leading));
    let marks = length.clamp(1, shown.len().saturating_sub(start).max(1));
    let text: String = shown[leading.min(shown.len())..].iter().collect();
    write!(out, "\n  {}\n  {}{}", text.trim_end(), " ".repeat(start - leading), "^".repeat(marks))
}

/// The line with whatever follows a secret's key left out.
fn without_secret(line: &str) -> String {
    for key in SECRET_KEYS {
        let Some(at) = line.find(key) else { continue };
        let behind = &line[at + key.len()..];
        let value = behind.trim_start_matches(['"', '\'']).trim_start();
        if let Some(value) = value.strip_prefix('=').filter(|v| !v.trim_start().starts_with('{')) {
            return format!("{} …", &line[..line.len() - value.len()]);
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, column: usize, length: usize) -> String {
        let place = Place { file: "mailroom.toml".into(), line: 12, column };
        Problem { place: Some(place), text: text.into(), length, message: "no".into(), help: None }.to_string()
    }

    #[test]
    fn marks_the_text() {
        assert_eq!(problem("  port = 70000", 10, 5), "mailroom.toml:12:10: no\n  port = 70000\n         ^^^^^");
        assert_eq!(problem("größe = 1", 1, 5), "mailroom.toml:12:1: no\n  größe = 1\n  ^^^^^");
        assert_eq!(problem("a", 2, 0), "mailroom.toml:12:2: no\n  a\n   ^");
        assert_eq!(problem("", 1, 0), "mailroom.toml:12:1: no");
        let long = "x".repeat(100_000);
        assert!(problem(&long, 50_000, 40_000).len() < 500);
    }

    #[test]
    fn a_secret_is_not_shown() {
        for line in
            ["password = \"hunter2\"", "  x = { password='hunter2', a = 1 }", "client_secret = \"hunter2\"", "\"password\" = \"hunter2"]
        {
            assert!(!problem(line, 12, 9).contains("hunter2"), "{line}");
        }
        assert!(problem("password = { file = \"isp.pass\" }", 12, 1).contains("isp.pass"));
    }

    #[test]
    fn without_a_place() {
        assert_eq!(Problem::general("it is so").with_help("do that").to_string(), "it is so\n  help: do that");
        assert_eq!(Problem::of_file("a.toml", "can't be read").to_string(), "a.toml: can't be read");
    }
}
