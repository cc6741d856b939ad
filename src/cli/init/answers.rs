//! What `init` has to know, from flags, questions and provider profiles.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::SecretString;

use super::Arguments;
use super::questions::Questions;
use crate::address::{Address, Domain};
use crate::cli::ask;
use crate::config::providers::{Profile, Profiles};
use crate::config::{Loaded, Protocol};
use crate::gateway::files;
use crate::mapping::user_name;
use crate::service::platform;

/// Beside the configuration.
pub const PASSWORD_FILE: &str = "isp.pass";
/// In the store.
pub const SECRET_NAME: &str = "isp";

/// Somebody who works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Log-in name.
    pub name: String,
    /// Full name.
    pub full_name: Option<String>,
}

/// The three ways to use a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One person's.
    Bind,
    /// Many addresses of a domain.
    Multidrop,
    /// One address of several people.
    Share,
}

/// A server as the file will name it: only what differs from the profile and the defaults.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// Host, if the profile has none or another one.
    pub host: Option<String>,
    /// Port, likewise.
    pub port: Option<u16>,
    /// Protection, likewise.
    pub tls: Option<String>,
}

/// All answers.
#[derive(Debug)]
pub struct Answers {
    /// The mailbox's address.
    pub email: Address,
    /// The provider, if it is known.
    pub provider: Option<Profile>,
    /// POP3 or IMAP.
    pub protocol: Protocol,
    /// Where mail comes from.
    pub server: Server,
    /// Extra root for both servers.
    pub ca: Option<PathBuf>,
    /// Log-in name.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// The password goes into the store.
    pub in_store: bool,
    /// `after`, if not the default.
    pub after: Option<String>,
    /// Where mail leaves.
    pub smarthost: Option<Server>,
    /// The store, if not at its usual place.
    pub storage: Option<PathBuf>,
    /// Domains of the office.
    pub domains: Vec<Domain>,
    /// How the mailbox is used.
    pub way: Way,
    /// Who works here; the first is the postmaster.
    pub users: Vec<User>,
    asked_users: Vec<String>,
    asked_way: Option<String>,
}

impl Answers {
    /// Everything about the mailbox: enough to try the log-in.
    pub fn of_mailbox(arguments: Arguments, directory: &Path, questions: &mut Questions) -> anyhow::Result<Self> {
        let profiles = Profiles::built_in();
        let parse_email = |text: &str| Address::parse(text).map_err(|error| format!("That is no mail address: {error}"));
        let email = match &arguments.email {
            Some(text) => parse_email(text).map_err(anyhow::Error::msg)?,
            None => questions.parsed("The mailbox's address at the ISP", None, "--email", parse_email)?,
        };
        let mut server = Server { host: arguments.host.clone(), port: arguments.port, tls: arguments.tls.clone() };
        let provider = find_provider(&arguments, &email, &profiles, &mut server, questions)?;
        if let Some(profile) = &provider {
            println!("{}:", profile.name);
            profile.notes.iter().for_each(|note| println!("- {note}"));
            anyhow::ensure!(
                profile.oauth2.is_none() || arguments.host.is_some(),
                "{} accepts no passwords, only OAuth 2: copy packaging/mailroom.toml, set auth and oauth2 in it, then run `mailroom oauth login`",
                profile.name
            );
        }
        let usual = provider.as_ref().and_then(Profile::usual_protocol).unwrap_or(Protocol::Imap);
        let protocol = match &arguments.protocol {
            Some(word) => protocol_of(word).map_err(anyhow::Error::msg)?,
            None => {
                if questions.somebody() {
                    println!(
                        "With imap the mail stays at the ISP, for phones say; with pop3 it is deleted there a week after it was fetched."
                    );
                }
                questions.parsed("imap or pop3", Some(&usual.name().to_lowercase()), "--protocol", protocol_of)?
            }
        };
        let known = provider.as_ref().is_some_and(|profile| profile.server(protocol).is_some());
        if !known && server.host.is_none() {
            let example = format!("{}.{}", if protocol == Protocol::Imap { "imap" } else { "pop" }, email.domain());
            server.host = Some(questions.line(&format!("The {} server, such as {example}", protocol.name()), None, "--host")?);
        }
        let username = match &arguments.username {
            Some(name) => name.clone(),
            None => {
                let local = provider.as_ref().and_then(|profile| profile.username.as_deref());
                if let Some(form) = local.filter(|_| questions.somebody()) {
                    println!("The log-in name at this provider is {form}.");
                }
                let usual = match local {
                    Some(form) if form.starts_with("the part before") => email.local().to_owned(),
                    _ => email.to_string(),
                };
                questions.line("Log-in name", Some(&usual), "--username")?
            }
        };
        let smarthost = find_smarthost(&arguments, provider.as_ref(), &email, questions)?;
        let password = match arguments.password_stdin || !questions.somebody() {
            true => ask::secret("password", true).context("the mailbox's password; give it by --password-stdin")?,
            false => questions.password("The mailbox's password")?.context("without a password nothing can be fetched")?,
        };
        let system = platform::system_configuration();
        let in_system_place = system.parent() == Some(directory);
        let ca = arguments.ca.as_ref().map(std::path::absolute).transpose()?;
        Ok(Self {
            domains: if provider.as_ref().is_some_and(|p| p.domains.contains(email.domain())) {
                vec![]
            } else {
                vec![email.domain().clone()]
            },
            email,
            provider,
            protocol,
            server,
            ca,
            username,
            password,
            // The service may not read a file that belongs to whoever runs init.
            in_store: arguments.secret || in_system_place,
            after: arguments.after,
            smarthost,
            storage: match arguments.storage {
                Some(path) => Some(std::path::absolute(path)?),
                None if in_system_place => None,
                None => Some(PathBuf::from("store")),
            },
            way: Way::Bind,
            users: vec![User { name: "postmaster".to_owned(), full_name: None }],
            asked_users: arguments.users,
            asked_way: arguments.way,
        })
    }

    /// Who works here, and whose mail the mailbox holds.
    pub fn ask_users(&mut self, questions: &mut Questions) -> anyhow::Result<()> {
        let mut users = Vec::new();
        for text in &self.asked_users {
            users.push(user(text).map_err(|error| anyhow::anyhow!("--user: {error}"))?);
        }
        if users.is_empty() {
            if questions.somebody() {
                println!(
                    "\nWho works here? Names to log in with, in small letters; alice or alice=Alice Smith. The first one gets alarms."
                );
            }
            users.push(questions.parsed("First user", None, "--user", user)?);
            while questions.somebody() {
                let text = questions.line("Next user (empty: nobody else)", Some(""), "--user")?;
                match text.as_str() {
                    "" => break,
                    text => match user(text) {
                        Ok(user) => users.push(user),
                        Err(error) => println!("{error}"),
                    },
                }
            }
        }
        if let Some(twice) = users.iter().enumerate().find_map(|(at, one)| users[..at].iter().find(|other| other.name == one.name)) {
            anyhow::bail!("the user {} is named twice", twice.name);
        }
        self.users = users;
        let usual = self.suggestion();
        self.way = match &self.asked_way {
            Some(word) => way(word).map_err(anyhow::Error::msg)?,
            None => {
                if questions.somebody() {
                    println!("\nWhose mail is in {}?", self.email);
                    println!("- bind: one person's; all of it goes to {}, who also sends as that address.", self.users[0].name);
                    println!("- share: several people use that one address; replies find the person whom they answer.");
                    println!("- multidrop: it holds mail for many addresses at {}; each mail goes to whom it is for.", self.email.domain());
                }
                questions.parsed("bind, share or multidrop", Some(usual), "--way", way)?
            }
        };
        anyhow::ensure!(
            self.way != Way::Multidrop || !self.domains.is_empty(),
            "multidrop needs a domain of your own: at {} everybody else has a mailbox too",
            self.email.domain()
        );
        if self.way == Way::Multidrop && self.provider.as_ref().is_some_and(|profile| profile.no_envelope) {
            println!(
                "Careful: this provider does not write down whom a mail was for. Mail to many, and blind copies, will wait in the tray."
            );
        }
        Ok(())
    }

    /// What `mailroom.toml` comes to when it is read.
    pub fn load(&self, file: &Path) -> anyhow::Result<Loaded> {
        Ok(files::parse(file, [(file.to_owned(), self.configuration_text())].into())?)
    }

    fn suggestion(&self) -> &'static str {
        let role = ["info", "office", "mail", "post", "kontakt", "contact", "buero", "catchall", "catch-all"];
        match (self.users.len(), self.domains.is_empty()) {
            (1, _) => "bind",
            (_, true) => "share",
            (_, false) if role.contains(&self.email.local().to_lowercase().as_str()) => "multidrop",
            (_, false) => "share",
        }
    }
}

fn protocol_of(word: &str) -> Result<Protocol, String> {
    match word.to_lowercase().as_str() {
        "imap" => Ok(Protocol::Imap),
        "pop3" | "pop" => Ok(Protocol::Pop3),
        _ => Err("Please answer imap or pop3.".to_owned()),
    }
}

fn way(word: &str) -> Result<Way, String> {
    match word.to_lowercase().as_str() {
        "bind" => Ok(Way::Bind),
        "multidrop" => Ok(Way::Multidrop),
        "share" => Ok(Way::Share),
        _ => Err("Please answer bind, share or multidrop.".to_owned()),
    }
}

/// `alice` or `alice=Alice Smith`.
fn user(text: &str) -> Result<User, String> {
    let (name, full_name) = match text.split_once('=') {
        Some((name, full_name)) => (name.trim(), Some(full_name.trim().to_owned()).filter(|name| !name.is_empty())),
        None => (text.trim(), None),
    };
    if full_name.as_deref().is_some_and(|name| name.contains(char::is_control)) {
        return Err("there is a control character in the full name".to_owned());
    }
    Ok(User { name: user_name(name)?, full_name })
}

fn find_provider(
    arguments: &Arguments,
    email: &Address,
    profiles: &Profiles,
    server: &mut Server,
    questions: &mut Questions,
) -> anyhow::Result<Option<Profile>> {
    if let Some(id) = &arguments.provider {
        let known = || profiles.iter().map(|profile| profile.id.as_str()).collect::<Vec<_>>().join(", ");
        return Ok(Some(profiles.get(id).with_context(|| format!("--provider: {id} is not known; known are {}", known()))?.clone()));
    }
    if let Some(profile) = profiles.of_domain(email.domain()) {
        return Ok(Some(profile.clone()));
    }
    if arguments.host.is_some() {
        return Ok(None);
    }
    let question = format!("Who hosts {}? A provider's name (ionos, strato, hetzner, …) or its server", email.domain());
    let answer = questions.line(&question, None, "--provider or --host")?;
    match profiles.get(&answer.to_lowercase().replace([' ', '.'], "-")) {
        Some(profile) => Ok(Some(profile.clone())),
        None => {
            server.host = Some(answer);
            Ok(None)
        }
    }
}

fn find_smarthost(
    arguments: &Arguments,
    provider: Option<&Profile>,
    email: &Address,
    questions: &mut Questions,
) -> anyhow::Result<Option<Server>> {
    if arguments.no_smarthost {
        return Ok(None);
    }
    let server = |host: Option<String>| Some(Server { host, port: arguments.smtp_port, tls: arguments.smtp_tls.clone() });
    if let Some(host) = &arguments.smtp_host {
        return Ok(server(Some(host.clone())));
    }
    if provider.is_some_and(|profile| profile.smtp.is_some()) {
        return Ok(server(None));
    }
    let question = format!("The server for sending, such as smtp.{} (empty: none)", email.domain());
    let host = questions.line(&question, Some(""), "--smtp-host")?;
    Ok(if host.is_empty() { None } else { server(Some(host)) })
}
