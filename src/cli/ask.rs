//! Asking for a secret: on the terminal, unseen and twice, or one line of standard input.

use std::io::{BufRead, IsTerminal, Read};

use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// No password or token is longer; whoever pipes a file in by mistake learns it.
const MAX_SECRET: u64 = 64 * 1024;

/// A secret that is not empty. `from_stdin`: one line of standard input, as where there is no terminal to ask on; a person who types it
/// there all the same is asked once, and nobody sees it.
pub fn secret(what: &str, from_stdin: bool) -> anyhow::Result<SecretString> {
    let secret = match (std::io::stdin().is_terminal(), from_stdin) {
        (false, _) => line()?,
        (true, true) => SecretString::from(unseen(&format!("{what}: "))?.as_str()),
        (true, false) => twice(what)?,
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

fn unseen(question: &str) -> anyhow::Result<Zeroizing<String>> {
    rpassword::prompt_password(question).map(Zeroizing::new).context("asking on the terminal")
}

fn twice(what: &str) -> anyhow::Result<SecretString> {
    let (first, second) = (unseen(&format!("{what}: "))?, unseen(&format!("{what} again: "))?);
    anyhow::ensure!(*first == *second, "the two differ; nothing was changed");
    Ok(SecretString::from(first.as_str()))
}
