//! Asking on a terminal, with an answer that is taken when nobody is there to ask.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use secrecy::SecretString;

/// Who answers: a person, or the defaults.
pub struct Questions {
    somebody: bool,
}

impl Questions {
    /// `defaults`: take the usual answers even on a terminal.
    pub fn new(defaults: bool) -> Self {
        Self { somebody: !defaults && std::io::stdin().is_terminal() }
    }

    /// Whether a person answers.
    pub fn somebody(&self) -> bool {
        self.somebody
    }

    /// A line; the usual answer if it is empty. `flag` is what to give where nobody can be asked and there is no usual answer.
    pub fn line(&mut self, question: &str, usual: Option<&str>, flag: &str) -> anyhow::Result<String> {
        if !self.somebody {
            return usual.map(str::to_owned).with_context(|| format!("there is no terminal to ask on: give {flag}"));
        }
        loop {
            match usual {
                Some(usual) if !usual.is_empty() => print!("{question} [{usual}]: "),
                _ => print!("{question}: "),
            }
            std::io::stdout().flush()?;
            let mut answer = String::new();
            anyhow::ensure!(std::io::stdin().lock().read_line(&mut answer)? > 0, "no answer; nothing was written");
            match (answer.trim(), usual) {
                ("", Some(usual)) => return Ok(usual.to_owned()),
                ("", None) => continue,
                (answer, _) => return Ok(answer.to_owned()),
            }
        }
    }

    /// A line that has to be something: what is wrong is said, and it is asked again.
    pub fn parsed<T>(
        &mut self,
        question: &str,
        usual: Option<&str>,
        flag: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        loop {
            match parse(&self.line(question, usual, flag)?) {
                Ok(value) => return Ok(value),
                Err(error) if self.somebody => println!("{error}"),
                Err(error) => anyhow::bail!("{flag}: {error}"),
            }
        }
    }

    /// Yes or no.
    pub fn yes_or_no(&mut self, question: &str, usual: bool) -> anyhow::Result<bool> {
        let usual_word = if usual { "yes" } else { "no" };
        self.parsed(&format!("{question} (yes or no)"), Some(usual_word), "--yes", |answer| match answer.to_lowercase().as_str() {
            "y" | "yes" | "j" | "ja" => Ok(true),
            "n" | "no" | "nein" => Ok(false),
            _ => Err("Please answer yes or no.".to_owned()),
        })
    }

    /// A password, unseen; none if it is empty or nobody is there.
    pub fn password(&mut self, question: &str) -> anyhow::Result<Option<SecretString>> {
        if !self.somebody {
            return Ok(None);
        }
        let text = rpassword::prompt_password(format!("{question}: ")).context("asking on the terminal")?;
        Ok(if text.is_empty() { None } else { Some(SecretString::from(text)) })
    }
}
