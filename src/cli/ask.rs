//! Asking for a secret: on the terminal, unseen and twice, or one line of standard input.

use std::io::{BufRead, IsTerminal, Read};

use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// No password or token is longer; whoever pipes a file in by mistake learns it.
const MAX_SECRET: u64 = 64 * 1024;

/// A secret that is not empty. `from_stdin`: one line, without a question; also if there is no terminal to ask on.
pub fn secret(what: &str, from_stdin: bool) -> anyhow::Result<SecretString> {
    let secret = match from_stdin || !std::io::stdin().is_terminal() {
        true => line()?,
        false => twice(what)?,
    };
    anyhow::ensure!(!secret.expose_secret().is_empty(), "the {what} is empty; nothing was changed");
    Ok(secret)
}

fn line() -> anyhow::Result<SecretString> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin().lock().take(MAX_SECRET).read_until(b'\n', &mut bytes).context("reading standard input")?;
    let text = std::str::from_utf8(&bytes).context("standard input is not UTF-8")?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}

fn twice(what: &str) -> anyhow::Result<SecretString> {
    let first = Zeroizing::new(rpassword::prompt_password(format!("{what}: ")).context("asking on the terminal")?);
    let second = Zeroizing::new(rpassword::prompt_password(format!("{what} again: ")).context("asking on the terminal")?);
    anyhow::ensure!(*first == *second, "the two differ; nothing was changed");
    Ok(SecretString::from(first.as_str()))
}
