//! What `init` has to know, from flags, questions and provider profiles.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::SecretString;

use super::Arguments;
use super::autoconfig::{self, Found, Service};
use super::questions::Questions;
use crate::address::{Address, Domain};
use crate::cli::ask;
use crate::config::providers::{Profile, Profiles};
use crate::config::{Loaded, OAuthProvider, Protocol};
use crate::gateway::files;
use crate::mapping::user_name;
use crate::service::platform;

/// Beside the configuration.
pub const PASSWORD_FILE: &str = "isp.pass";
/// In the store.
pub const SECRET_NAME: &str = "isp";
/// Likewise: what proves to the provider that this is the registered program.
pub const CLIENT_SECRET_NAME: &str = "isp-client";

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

/// How the mailbox is logged in to.
#[derive(Debug)]
pub enum LogIn {
    /// A password; in the store, or in a file.
    Password { password: SecretString, in_store: bool },
    /// Somebody consents, once the files are there.
    OAuth { provider: &'static str, client_id: String, tenant: Option<String>, client_secret: Option<SecretString> },
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
    /// How it is logged in to.
    pub log_in: LogIn,
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
    pub async fn of_mailbox(arguments: Arguments, directory: &Path, questions: &mut Questions) -> anyhow::Result<Self> {
        let profiles = Profiles::built_in();
        let parse_email = |text: &str| Address::parse(text).map_err(|error| format!("That is no mail address: {error}"));
        let email = match &arguments.email {
            Some(text) => parse_email(text).map_err(anyhow::Error::msg)?,
            None => questions.parsed("The mailbox's address at the ISP", None, "--email", parse_email)?,
        };
        let mut server = Server { host: arguments.host.clone(), port: arguments.port, tls: arguments.tls.clone() };
        let known = known_provider(&arguments, &email, &profiles)?;
        let found = match known {
            None if arguments.host.is_none() => look_for_servers(&arguments, &email, questions).await?,
            _ => None,
        };
        let provider = match (known, &found) {
            (None, Some(found)) => profile_of(found, &profiles),
            (None, None) if arguments.host.is_none() => ask_for_provider(&email, &profiles, &mut server, questions)?,
            (known, _) => known,
        };
        if let Some(profile) = &provider {
            println!("{}:", profile.name);
            profile.notes.iter().for_each(|note| println!("- {note}"));
        }
        let found = found.filter(|_| provider.is_none());
        let usual =
            provider.as_ref().and_then(Profile::usual_protocol).or(found.as_ref().map(Found::usual_protocol)).unwrap_or(Protocol::Imap);
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
        let service = found.as_ref().and_then(|found| found.server(protocol));
        if let Some(service) = service {
            server.fill(service);
        }
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
                    None if service.is_some_and(|service| service.username.is_some()) => {
                        service.and_then(|service| service.username.clone()).unwrap_or_default()
                    }
                    Some(form) if form.starts_with("the part before") => email.local().to_owned(),
                    _ => email.to_string(),
                };
                questions.line("Log-in name", Some(&usual), "--username")?
            }
        };
        let smarthost = find_smarthost(&arguments, provider.as_ref(), found.and_then(|found| found.smtp), &email, questions)?;
        let system = platform::system_configuration();
        let in_system_place = system.parent().is_some_and(|place| platform::is_same(place, directory));
        // The service may not read a file that belongs to whoever runs init; and others may read one that its folder leaves open.
        let in_store = arguments.secret || in_system_place || !platform::PRIVATE_FILES;
        let log_in = match provider.as_ref().and_then(|profile| profile.oauth2.as_ref()).filter(|_| arguments.host.is_none()) {
            Some(oauth) => consent(oauth, &arguments, questions)?,
            None => LogIn::Password { password: password(&arguments, questions)?, in_store },
        };
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
            log_in,
            after: arguments.after,
            smarthost,
            storage: match arguments.storage {
                Some(path) => Some(std::path::absolute(path)?),
                None if in_system_place => None,
                None => Some(PathBuf::from(files::USUAL_STORE)),
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

impl Server {
    /// What the mailbox's domain says, where no flag does.
    fn fill(&mut self, service: &Service) {
        self.host.get_or_insert_with(|| service.host.clone());
        if self.port.is_none() && self.tls.is_none() {
            self.port = Some(service.port);
            self.tls = Some(service.tls.to_owned());
        }
    }
}

fn password(arguments: &Arguments, questions: &mut Questions) -> anyhow::Result<SecretString> {
    match arguments.password_stdin || !questions.somebody() {
        true => ask::secret("The mailbox's password", true).context("the mailbox's password; give it by --password-stdin"),
        false => questions.password("The mailbox's password")?.context("without a password nothing can be fetched"),
    }
}

/// A provider that takes no passwords knows programs by their registration.
fn consent(provider: &OAuthProvider, arguments: &Arguments, questions: &mut Questions) -> anyhow::Result<LogIn> {
    let provider = match provider {
        OAuthProvider::Microsoft => "microsoft",
        OAuthProvider::Google => "google",
        OAuthProvider::Other { .. } => {
            anyhow::bail!(
                "this provider wants oauth2 with addresses of its own: write [[collector]] by hand, then run `mailroom oauth login`"
            )
        }
    };
    println!("- passwords are refused: somebody logs in once, in a browser or by a code, and this program must be registered there before");
    let client_id = match &arguments.client_id {
        Some(id) => id.clone(),
        None => questions.line("The registration's client ID", None, "--client-id")?,
    };
    let (mut tenant, mut client_secret) = (arguments.tenant.clone(), None);
    match provider {
        "microsoft" if tenant.is_none() => {
            let answer = questions.line("The organisation's directory (tenant) there (empty: any)", Some(""), "--tenant")?;
            tenant = Some(answer).filter(|answer| !answer.is_empty());
        }
        "google" if arguments.password_stdin || !questions.somebody() => {
            client_secret = Some(
                ask::secret("The registration's client secret", true)
                    .context("the registration's client secret; give it by --password-stdin")?,
            );
        }
        "google" => client_secret = questions.password("The registration's client secret")?,
        _ => {}
    }
    Ok(LogIn::OAuth { provider, client_id, tenant, client_secret })
}

fn known_provider(arguments: &Arguments, email: &Address, profiles: &Profiles) -> anyhow::Result<Option<Profile>> {
    let Some(id) = &arguments.provider else {
        return Ok(profiles.of_domain(email.domain()).filter(|_| arguments.autoconfig.is_none()).cloned());
    };
    let known = || profiles.iter().map(|profile| profile.id.as_str()).collect::<Vec<_>>().join(", ");
    Ok(Some(profiles.get(id).with_context(|| format!("--provider: {id} is not known; known are {}", known()))?.clone()))
}

/// What the domain publishes, if it does and a person or a certificate's name can vouch for it.
async fn look_for_servers(arguments: &Arguments, email: &Address, questions: &mut Questions) -> anyhow::Result<Option<Found>> {
    let found = match &arguments.autoconfig {
        Some(address) => {
            let loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].iter().any(|start| address.starts_with(start));
            anyhow::ensure!(address.starts_with("https://") || loopback, "--autoconfig: settings are taken over https:// alone");
            autoconfig::at(address, email).await.map_err(anyhow::Error::msg)?
        }
        None if arguments.offline => return Ok(None),
        None => {
            println!("Looking for the servers of {} …", email.domain());
            let Some(found) = autoconfig::look_up(email).await else { return Ok(None) };
            found
        }
    };
    println!("{} says: {}.", found.source, found.summary());
    let strangers = found.strangers(email.domain());
    if found.source.starts_with("DNS") && !strangers.is_empty() {
        let question = format!("DNS can be forged on the way. Is {} your provider?", strangers.join(", "));
        if !questions.yes_or_no(&question, false)? {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// The provider whose servers these are: much more is known of it.
fn profile_of(found: &Found, profiles: &Profiles) -> Option<Profile> {
    let same = |profile: &&Profile| {
        [Protocol::Imap, Protocol::Pop3].into_iter().any(|protocol| match (profile.server(protocol), found.server(protocol)) {
            (Some(known), Some(found)) => known.endpoint.host == found.host,
            _ => false,
        })
    };
    profiles.iter().find(same).cloned()
}

fn ask_for_provider(
    email: &Address,
    profiles: &Profiles,
    server: &mut Server,
    questions: &mut Questions,
) -> anyhow::Result<Option<Profile>> {
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
    found: Option<Service>,
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
    if let Some(service) = found {
        let mut server = Server { host: None, port: arguments.smtp_port, tls: arguments.smtp_tls.clone() };
        server.fill(&service);
        return Ok(Some(server));
    }
    let question = format!("The server for sending, such as smtp.{} (empty: none)", email.domain());
    let host = questions.line(&question, Some(""), "--smtp-host")?;
    Ok(if host.is_empty() { None } else { server(Some(host)) })
}
