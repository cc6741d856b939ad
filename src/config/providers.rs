//! Provider profiles: what is known of ISPs and hosters, as data. Built in from `mappings/providers/*.toml`, added to and overridden by
//! the office's own files of the same form.

use super::collector::{EnvelopeHabit, Protocol};
use super::server::{Endpoint, OAuthProvider, TLS_WORDS, host};
use crate::address::Domain;
use crate::document::{Document, Problem, Table, Value, nearest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

macro_rules! built_in {
    ($($id:literal)*) => {
        &[$(($id, include_str!(concat!("../../mappings/providers/", $id, ".toml")))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in! {
    "a1" "all-inkl" "aol" "bluewin" "bt" "comcast" "domainfactory" "fastmail" "free-fr" "gandi" "gmail" "gmx" "gmx-com"
    "google-workspace" "hetzner" "host-europe" "icloud" "ionos" "kpn" "laposte" "libero" "mail-com" "mail-ru"
    "mailbox-org" "microsoft365" "one-com" "orange-fr" "outlook" "ovh" "posteo" "proton" "proximus" "rackspace" "seznam"
    "sfr" "strato" "t-online" "vodafone" "web-de" "wp-pl" "yahoo" "yandex" "ziggo" "zoho" "zoho-eu"
};

/// What is known of one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// What `provider = "…"` says: the file's name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Domains where anybody can have a mailbox, so that they belong to no office.
    pub domains: Vec<Domain>,
    /// POP3 server; none if it has none, or one of its own for each customer.
    pub pop3: Option<Server>,
    /// IMAP server, likewise.
    pub imap: Option<Server>,
    /// SMTP server, likewise.
    pub smtp: Option<Server>,
    /// Where it writes the envelope recipient; they only order the evidence.
    pub habits: Vec<EnvelopeHabit>,
    /// It is known to write none.
    pub no_envelope: bool,
    /// The log-in name is not the address, but this; for people.
    pub username: Option<String>,
    /// Password log-ins are refused: whom tokens come from.
    pub oauth2: Option<OAuthProvider>,
    /// A password for mail programs has to be made first, since the account's own is refused.
    pub app_password: bool,
    /// It lists only a part of a full mailbox at a time.
    pub partial_listing: bool,
    /// It keeps a copy of what is sent through its smarthost.
    pub keeps_sent: bool,
    /// At most this many mails in that time.
    pub rate: Option<(u32, Duration)>,
    /// What its customers should know, for `init` and `check`.
    pub notes: Vec<String>,
}

/// One server of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Shortest polite time between two log-ins; zero if none is known.
    pub minimum_interval: Duration,
}

/// All profiles that are known.
#[derive(Debug, Clone)]
pub struct Profiles(BTreeMap<String, Profile>);

impl Profiles {
    /// Those that are built in.
    pub fn built_in() -> Self {
        static BUILT: OnceLock<Profiles> = OnceLock::new();
        let read = || {
            Profiles(BUILT_IN.iter().filter_map(|(id, text)| Some(((*id).to_owned(), read(id, PathBuf::from(id), text).ok()?))).collect())
        };
        BUILT.get_or_init(read).clone()
    }

    /// With a file of the office's own; one with the name of a known provider replaces it.
    pub fn add(&mut self, file: PathBuf, text: &str) -> Result<(), Vec<Problem>> {
        let id = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let profile = read(&id, file, text)?;
        self.0.insert(id, profile);
        Ok(())
    }

    /// By id.
    pub fn get(&self, id: &str) -> Option<&Profile> {
        self.0.get(id)
    }

    /// The provider whose public domain this is.
    pub fn of_domain(&self, domain: &Domain) -> Option<&Profile> {
        self.0.values().find(|profile| profile.domains.contains(domain))
    }

    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }

    /// The profile that `provider = "…"` names; an unknown one is noted.
    pub(super) fn find(&self, value: &Value<'_>) -> Option<&Profile> {
        let id = value.text()?;
        let profile = self.get(id);
        if profile.is_none() {
            let message = format!("\"{id}\" is no provider that is known");
            match nearest(id, self.0.keys().map(String::as_str)) {
                Some(near) => value.mark().wrong(format!("{message}; did you mean \"{near}\"?")),
                None => value
                    .mark()
                    .wrong_with(message, "leave it out and give protocol and host, or describe it in a file in mappings/providers"),
            }
        }
        profile
    }
}

impl Profile {
    /// The server for a protocol.
    pub fn server(&self, protocol: Protocol) -> Option<&Server> {
        match protocol {
            Protocol::Pop3 => self.pop3.as_ref(),
            Protocol::Imap => self.imap.as_ref(),
        }
    }

    /// The protocol for who names none: IMAP, since it leaves the mail for phones.
    pub fn usual_protocol(&self) -> Option<Protocol> {
        [Protocol::Imap, Protocol::Pop3].into_iter().find(|protocol| self.server(*protocol).is_some())
    }
}

fn read(id: &str, file: PathBuf, text: &str) -> Result<Profile, Vec<Problem>> {
    let document = Document::parse(file, text)?;
    let root = document.root();
    let profile = read_profile(id, &root);
    root.finish();
    let (problems, _) = document.finish();
    match profile {
        Some(profile) if problems.is_empty() => Ok(profile),
        _ => Err(problems),
    }
}

fn read_profile(id: &str, root: &Table<'_>) -> Option<Profile> {
    let name = root.require("name", "name = \"My ISP\"").and_then(|value| value.text());
    let domains = root.one_or_more("domains").unwrap_or_default().iter().filter_map(Value::domain).collect();
    let server = |key: &str| {
        let table = root.table(key)?;
        let server = read_server(&table);
        table.finish();
        server
    };
    let envelope = root.get("envelope");
    let no_envelope = envelope.as_ref().is_some_and(|value| value.as_text() == Some("none"));
    let habits = envelope.filter(|_| !no_envelope).map(|value| value.one_or_more()).unwrap_or_default();
    let profile = Profile {
        id: id.to_owned(),
        domains,
        pop3: server("pop3"),
        imap: server("imap"),
        smtp: server("smtp"),
        habits: habits.iter().filter_map(|value| EnvelopeHabit::read(value.table()?)).collect(),
        no_envelope,
        username: root.text("username").map(|f| f.value.to_owned()),
        oauth2: root.word("oauth2", &[("microsoft", OAuthProvider::Microsoft), ("google", OAuthProvider::Google)]).map(|f| f.value),
        app_password: root.boolean("app_password").is_some_and(|f| f.value),
        partial_listing: root.boolean("partial_listing").is_some_and(|f| f.value),
        keeps_sent: root.boolean("keeps_sent").is_some_and(|f| f.value),
        rate: root.get("rate").and_then(|value| value.parse(super::smarthost::rate)),
        notes: root.texts("notes").unwrap_or_default().iter().map(|note| note.value.to_owned()).collect(),
        name: name?.to_owned(),
    };
    Some(profile)
}

fn read_server(table: &Table<'_>) -> Option<Server> {
    let host = table.require("host", "host = \"pop.isp.example\"").and_then(|value| value.parse(host));
    let port = table.require("port", "port = 995").and_then(|value| value.integer(1..=65_535));
    let tls = table.require("tls", "tls = \"implicit\"").and_then(|value| value.word(&TLS_WORDS));
    let minimum_interval = table.duration("minimum_interval").map_or(Duration::ZERO, |f| f.value);
    let endpoint = Endpoint { host: host?, port: u16::try_from(port?).ok()?, tls: tls?, ca: None, pin: None };
    Some(Server { endpoint, minimum_interval })
}

#[cfg(test)]
mod tests {
    use super::super::server::Tls;
    use super::*;

    #[test]
    fn every_built_in_profile_loads() {
        for (id, text) in BUILT_IN {
            let profile = read(id, PathBuf::from(id), text).unwrap_or_else(|problems| panic!("{id}: {}", problems[0]));
            let asks_for_a_host = profile.notes.iter().any(|note| note.contains("give it as host"));
            assert!(profile.pop3.is_some() || profile.imap.is_some() || asks_for_a_host, "{id} has no server to fetch from");
            for (server, implicit) in [(&profile.pop3, 995), (&profile.imap, 993), (&profile.smtp, 465)] {
                let Some(endpoint) = server.as_ref().map(|server| &server.endpoint) else { continue };
                assert_ne!(endpoint.tls, Tls::None, "{id} would send passwords in the clear");
                assert_eq!(endpoint.port == implicit, endpoint.tls == Tls::Implicit, "{id}: {endpoint:?}");
            }
        }
    }

    #[test]
    fn every_profile_file_is_built_in() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/providers");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let built_in: Vec<String> = BUILT_IN.iter().map(|(id, _)| (*id).to_owned()).collect();
        assert_eq!(files, built_in);
    }

    #[test]
    fn a_domain_belongs_to_one_provider() {
        let mut owners: BTreeMap<Domain, String> = BTreeMap::new();
        for profile in Profiles::built_in().iter() {
            for domain in &profile.domains {
                assert_eq!(owners.insert(domain.clone(), profile.id.clone()), None, "{domain}");
            }
        }
    }

    #[test]
    fn an_own_file_replaces_the_built_in_one() {
        let mut profiles = Profiles::built_in();
        let text = "name = \"Ours\"\n[imap]\nhost = \"imap.isp.example\"\nport = 993\ntls = \"implicit\"\n";
        profiles.add(PathBuf::from("mappings/providers/gmx.toml"), text).unwrap();
        assert_eq!(profiles.get("gmx").unwrap().name, "Ours");
        let problems = profiles.add(PathBuf::from("x.toml"), "name = \"X\"\nhots = 1\n").unwrap_err();
        assert!(problems[0].message.contains("unknown key \"hots\""), "{problems:?}");
    }
}
