//! `mailroom init`: asks for the ISP mailbox, finds its settings, tests the log-in, shows what is there and what will be deleted when, and
//! writes the files. Every question is a flag too. Nothing is ever overwritten, and nothing is written before a password worked; where
//! somebody has to consent, the store has to be there first.

mod answers;
mod autoconfig;
mod files_text;
mod questions;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::check::{consequences, online};
use super::{Exit, Global};
use crate::config::Loaded;
use crate::gateway::files;
use crate::mapping::{Mailbox, Mapping};
use crate::outbound::credentials;
use crate::service::platform;
use crate::store::Store;
use crate::wire::sasl::Secret;
use answers::{Answers, LogIn, User};
use questions::Questions;

/// What packages put where these files go.
const ANNOTATED: [&str; 2] = [include_str!("../../packaging/mailroom.toml"), include_str!("../../packaging/office.toml")];

/// `init [DIR]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where the files go
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The mailbox's address at the ISP
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A provider that is known, such as gmx or ionos; by default found by the address
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Where the mailbox's settings for mail programs lie (config-v1.1.xml); by default the usual places are asked
    #[arg(long, value_name = "URL", conflicts_with_all = ["host", "provider"])]
    autoconfig: Option<String>,
    /// pop3 or imap
    #[arg(long, value_parser = ["pop3", "imap"])]
    protocol: Option<String>,
    /// The server that mail is fetched from
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Its port
    #[arg(long)]
    port: Option<u16>,
    /// implicit, starttls, or none (which also sets insecure = true)
    #[arg(long, value_parser = ["implicit", "starttls", "none"])]
    tls: Option<String>,
    /// A PEM file with the root of the servers' certificates, if it is not a public one
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The log-in name; by default the address
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the mailbox's password from standard input: one line
    #[arg(long)]
    password_stdin: bool,
    /// Keep the password encrypted in the store instead of in a file
    #[arg(long)]
    secret: bool,
    /// What becomes of mail at the ISP that was fetched: delete, keep, or an age such as 7d
    #[arg(long, value_name = "WHAT")]
    after: Option<String>,
    /// The server that sends mail
    #[arg(long, value_name = "HOST", conflicts_with = "no_smarthost")]
    smtp_host: Option<String>,
    /// Its port
    #[arg(long, value_name = "PORT")]
    smtp_port: Option<u16>,
    /// implicit, starttls, or none (which also sets insecure = true)
    #[arg(long, value_parser = ["implicit", "starttls", "none"])]
    smtp_tls: Option<String>,
    /// Nothing is sent to the outside
    #[arg(long)]
    no_smarthost: bool,
    /// Somebody who works here: NAME, or NAME=Full Name; may come several times
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,
    /// How the mailbox is used: bind (one person's), multidrop (many addresses of a domain of yours), share (one address of several people)
    #[arg(long, value_parser = ["bind", "multidrop", "share"])]
    way: Option<String>,
    /// Where mail is stored
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Where passwords are refused: what the provider calls this program after you have registered it there
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Microsoft: the organisation's directory
    #[arg(long)]
    tenant: Option<String>,
    /// Look nothing up, and don't try the log-in
    #[arg(long)]
    offline: bool,
    /// Take the usual answer instead of asking
    #[arg(long, short)]
    yes: bool,
}

/// Runs it.
pub async fn run(arguments: Arguments, global: &Global) -> anyhow::Result<Exit> {
    super::log::start(&crate::config::Log { level: crate::config::Level::Warn, json: false }, global.verbose);
    let directory = std::path::absolute(&arguments.directory)?;
    let [configuration, mapping] = [directory.join("mailroom.toml"), directory.join("mappings").join("office.toml")];
    let password_file = directory.join(answers::PASSWORD_FILE);
    require_writable(&directory)?;
    for (file, annotated) in [(&configuration, Some(ANNOTATED[0])), (&mapping, Some(ANNOTATED[1])), (&password_file, None)] {
        // A package brings files that explain every key and that nobody has worked on.
        if file.exists() && std::fs::read_to_string(file).map_or(true, |text| Some(text.as_str()) != annotated) {
            eprintln!("mailroom: {} is there already, and is never overwritten; give another directory, or edit it", file.display());
            return Ok(Exit::Configuration);
        }
    }
    let mut questions = Questions::new(arguments.yes);
    let offline = arguments.offline;
    let mut answers = Answers::of_mailbox(arguments, &directory, &mut questions).await?;
    // The files are read by the same code that will read them later, so what init writes always loads.
    let loaded = answers.load(&configuration)?;
    if let LogIn::Password { password, .. } = &answers.log_in
        && !offline
    {
        let secret = Secret::Password(password.clone());
        if !show_mailbox(&loaded, &secret).await? && !questions.yes_or_no("Write the files all the same?", false)? {
            println!("Nothing was written.");
            return Ok(Exit::Failed);
        }
    }
    answers.ask_users(&mut questions)?;
    let loaded = answers.load(&configuration)?;
    let texts = [(mapping.clone(), answers.mapping_text())];
    let users = answers.users.iter().map(|user| (user.name.clone(), user.full_name.clone())).collect();
    let office = files::mapping_office(&loaded.config, users);
    Mapping::load(&texts, &office).map_err(crate::gateway::LoadError)?;
    // Nothing is asked from here on: who breaks off before this line leaves nothing behind.
    let passwords = ask_passwords(&answers.users, &mut questions)?;

    std::fs::create_dir_all(&directory).with_context(|| format!("{} can't be made", directory.display()))?;
    let password_in_file = match &answers.log_in {
        LogIn::Password { password, in_store: false } => Some(password),
        _ => None,
    };
    if let Some(password) = password_in_file {
        write_secret(&password_file, password)?;
    }
    let (opened, passwords) = match write_all(&loaded, &answers, passwords, &configuration, &mapping).await {
        Ok(done) => done,
        Err(error) => {
            // It would keep the next try from starting.
            if password_in_file.is_some() {
                let _ = platform::with_own_rights(|| std::fs::remove_file(&password_file));
            }
            return Err(error);
        }
    };
    println!("\nWritten: {}, {}", configuration.display(), mapping.display());
    print!("{}", what_to_enter(&loaded, &answers.users, &passwords));
    let logged_in = match &answers.log_in {
        LogIn::OAuth { .. } if !offline => log_in(&loaded, &opened).await?,
        LogIn::OAuth { .. } => {
            println!("\nThe mailbox is not logged in to yet: `mailroom oauth login {}` does that.", answers::SECRET_NAME);
            true
        }
        LogIn::Password { .. } => true,
    };
    print!("{}", what_next(&directory, &configuration));
    Ok(if logged_in { Exit::Done } else { Exit::Failed })
}

/// A password for a user, and whether it was made up.
type Chosen = (SecretString, bool);

/// The store with its users, and the files: `mailroom.toml` last, since the next `init` refuses and the service starts where it is.
async fn write_all(
    loaded: &Loaded,
    answers: &Answers,
    passwords: Vec<Chosen>,
    configuration: &Path,
    mapping: &Path,
) -> anyhow::Result<(Store, Vec<(String, SecretString)>)> {
    let store = &loaded.config.storage.path;
    let opened = Store::open(store).with_context(|| format!("the store in {} can't be made", store.display()))?;
    match &answers.log_in {
        LogIn::Password { password, in_store: true } => opened.secret_set(answers::SECRET_NAME, password).await?,
        LogIn::OAuth { client_secret: Some(secret), .. } => opened.secret_set(answers::CLIENT_SECRET_NAME, secret).await?,
        _ => {}
    }
    let made_up = add_users(&opened, &answers.users, passwords).await?;
    // The files are not the store's owner's, as whom this process acts since the store is open.
    let new_mapping = !mapping.exists();
    platform::with_own_rights(|| write(mapping, &answers.mapping_text()))?;
    if let Err(error) = platform::with_own_rights(|| write(configuration, &answers.configuration_text())) {
        if new_mapping {
            let _ = platform::with_own_rights(|| std::fs::remove_file(mapping));
        }
        return Err(error);
    }
    Ok((opened, made_up))
}

/// Refuses before anything is asked where nothing could be written in the end.
fn require_writable(directory: &Path) -> anyhow::Result<()> {
    let refused = |error: &std::io::Error| {
        let advice = files::advice(error).map_or(String::new(), |advice| format!("; {advice}"));
        anyhow::anyhow!("{} can't be written to: {error}{advice}", directory.display())
    };
    for place in directory.ancestors() {
        match place.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refused(&error)),
            Ok(_) => {}
        }
        let probe = place.join(format!(".mailroom-init-{}", std::process::id()));
        std::fs::File::create_new(&probe).map_err(|error| refused(&error))?;
        return std::fs::remove_file(&probe).map_err(|error| refused(&error));
    }
    Ok(())
}

/// Somebody consents; then as for a password. False: it has to be done again.
async fn log_in(loaded: &Loaded, store: &Store) -> anyhow::Result<bool> {
    println!();
    if let Err(error) = super::oauth::login(&loaded.config, store, answers::SECRET_NAME).await {
        println!("That did not work: {error:#}. The files are written; `mailroom oauth login {}` tries again.", answers::SECRET_NAME);
        return Ok(false);
    }
    let [collector] = loaded.config.collectors.as_slice() else { anyhow::bail!("the mailbox is missing") };
    let secret = credentials::of_collector(collector, store).await?;
    show_mailbox(loaded, &secret).await
}

/// Logs in and says what is there and what will become of it, or why that did not work.
async fn show_mailbox(loaded: &Loaded, secret: &Secret) -> anyhow::Result<bool> {
    let [collector] = loaded.config.collectors.as_slice() else { anyhow::bail!("the mailbox is missing") };
    println!("\nTrying {} at {}:{} …", collector.username, collector.endpoint.host, collector.endpoint.port);
    match online::look_into(collector, secret).await {
        Ok(found) => {
            found.iter().for_each(|line| println!("{line}"));
            println!("{}.", consequences::fate(collector));
            Ok(true)
        }
        Err(reason) => {
            println!("That did not work: {reason}");
            if let Some(profile) = collector.provider.as_deref().and_then(|id| loaded.profiles.get(id)) {
                profile.notes.iter().for_each(|note| println!("- {note}"));
            }
            Ok(false)
        }
    }
}

/// One for each user, in their order.
fn ask_passwords(users: &[User], questions: &mut Questions) -> anyhow::Result<Vec<Chosen>> {
    let ask = |user: &User| match questions.password(&format!("Password for {} (empty: one is made up)", user.name))? {
        Some(password) => Ok((password, false)),
        None => made_up_password().map(|password| (password, true)),
    };
    users.iter().map(ask).collect()
}

/// Makes the users; those whose password was made up are given back with it.
async fn add_users(store: &Store, users: &[User], passwords: Vec<Chosen>) -> anyhow::Result<Vec<(String, SecretString)>> {
    let mut given = Vec::new();
    for (user, (password, made_up)) in users.iter().zip(passwords) {
        let mailbox = Mailbox::User(user.name.clone());
        if store.account(&mailbox).await?.is_some() {
            println!("{} is a user already; the password stays", user.name);
            continue;
        }
        let id = store.account_add(&mailbox, user.full_name.as_deref(), None).await?;
        store.password_set(id, &password).await?;
        if made_up {
            given.push((user.name.clone(), password));
        }
    }
    Ok(given)
}

/// Sixteen letters and digits that can't be mixed up, in groups: 79 bits.
fn made_up_password() -> anyhow::Result<SecretString> {
    const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gave no random numbers: {error}"))?;
    let letters = bytes.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]).to_string());
    Ok(SecretString::from(letters.chunks(4).map(|group| group.concat()).collect::<Vec<_>>().join("-")))
}

fn what_to_enter(loaded: &Loaded, users: &[User], passwords: &[(String, SecretString)]) -> String {
    let listen = &loaded.config.listen;
    let port = |list: &[std::net::SocketAddr]| list.first().map_or(0, std::net::SocketAddr::port);
    let mut text = format!(
        "\nWhat to enter in mail programs:\n  server    {host}\n  receiving IMAP, port {imap}, SSL/TLS (or POP3, port {pop3}, SSL/TLS)\n  sending   SMTP, port {smtp}, SSL/TLS\n",
        host = loaded.config.office.hostname,
        imap = port(&listen.imaps),
        pop3 = port(&listen.pop3s),
        smtp = port(&listen.submissions),
    );
    for user in users {
        let password = passwords.iter().find(|(name, _)| *name == user.name).map(|(_, password)| password.expose_secret());
        let password = password.map_or_else(|| "the one that was entered".to_owned(), |password| format!("{password}   (shown only now)"));
        text.push_str(&format!("  user name {}   password {password}\n", user.name));
    }
    let authority = loaded.config.storage.path.join("tls").join("ca.pem");
    text.push_str(&format!(
        "  The certificate is signed by this office's own authority: {} can be imported into mail programs.\n",
        authority.display()
    ));
    text
}

/// The configuration is found in the system's place and in the directory where one is.
fn what_next(directory: &Path, configuration: &Path) -> String {
    let system = platform::is_same(configuration, &platform::system_configuration());
    let place = match system || std::env::current_dir().is_ok_and(|here| here == directory) {
        true => String::new(),
        false => format!(", in {}", directory.display()),
    };
    let gateway = match system {
        true => "mailroom service start    starts the gateway; without a service, `mailroom service install` comes before",
        false => "mailroom run              serves, until it is told to stop",
    };
    format!(
        "\nNext{place}:\n  mailroom check --online   tries every log-in\n  mailroom fetch            fetches once, to see what comes\n  {gateway}\n"
    )
}

/// Makes a file, or replaces an annotated one. In the system's place the service has to read it, and nobody else.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("{} can't be made", directory.display()))?;
    }
    let written = || -> std::io::Result<()> {
        let new = if file.exists() { file.with_extension("new") } else { file.to_owned() };
        let mut open = std::fs::File::create_new(&new)?;
        open.write_all(text.as_bytes()).and_then(|()| open.sync_all())?;
        if new == file {
            return platform::give_to_owner_of_directory(file);
        }
        platform::make_like(&new, file)?;
        platform::replace(&new, file)
    };
    written().with_context(|| format!("{} can't be written", file.display()))
}

fn write_secret(file: &Path, secret: &SecretString) -> anyhow::Result<()> {
    let line = Zeroizing::new(format!("{}\n", secret.expose_secret()));
    platform::write_private(file, line.as_bytes()).with_context(|| format!("{} can't be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_made_up_anew_each_time() {
        let (one, other) = (made_up_password().unwrap(), made_up_password().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), 19);
    }
}
