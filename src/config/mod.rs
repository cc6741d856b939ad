//! `mailroom.toml`, read and checked whole: text in, a [`Config`] or a list of [`Problem`]s out.
//!
//! Keeps no state and starts nothing; what needs a user list or the network is checked by those who have them.

mod collector;
mod listen;
mod load;
mod office;
mod planned;
pub mod providers;
pub mod secret;
mod server;
mod smarthost;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use collector::{After, Anchor, Collector, Deliver, EnvelopeHabit, Protocol, Start};
pub use listen::{Access, Device, DeviceSender, Listen, TlsFiles};
pub use load::parse;
pub use office::{Backup, ImpliedAddresses, Language, Level, Log, Office, Storage, UnknownLocal};
pub use secret::SecretSource;
pub use server::{Auth, Endpoint, OAuth2, OAuthFlow, OAuthProvider, Tls};
pub use smarthost::{Smarthost, SmarthostLogin};

use crate::document::{Place, Problem};
use crate::mapping;
use load::{Reading, name};
use providers::Profiles;

/// The whole of `mailroom.toml`, checked, with every default filled in and every path absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[office]`
    pub office: Office,
    /// `[storage]`
    pub storage: Storage,
    /// `[listen]`
    pub listen: Listen,
    /// `[tls]`: certificate and key files; none: the local CA.
    pub tls: Option<TlsFiles>,
    /// `[access]`
    pub access: Access,
    /// `[log]`
    pub log: Log,
    /// `[[device]]`
    pub devices: Vec<Device>,
    /// `[[collector]]`
    pub collectors: Vec<Collector>,
    /// `[[smarthost]]`
    pub smarthosts: Vec<Smarthost>,
    /// The users that the file names, each time with its place: postmaster, targets of collectors, devices.
    pub named_users: Vec<(String, Place)>,
    /// The other targets of collectors, each with its place: groups, addresses and the like, for the mapping to check.
    pub mentions: Vec<mapping::Mention>,
}

/// What a load found: the configuration, and what to warn about.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The provider profiles that it chose from.
    pub profiles: Profiles,
    /// Not errors, but worth a word.
    pub warnings: Vec<Problem>,
    /// Every file that was read, with its text: what "the last good configuration" consists of.
    pub files: BTreeMap<PathBuf, String>,
}

/// The configuration and the mapping that are in force together. Whoever works by it holds an `Arc` for one message or command and
/// takes the next one from the gateway's watch channel.
#[derive(Debug)]
pub struct Current {
    /// `mailroom.toml`
    pub config: Config,
    /// `mappings/*.toml`
    pub mapping: mapping::Mapping,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    fn load(text: &str) -> Loaded {
        let file = Path::new("/office/mailroom.toml");
        let problems = |problems: Vec<Problem>| problems.iter().map(|problem| format!("{problem}\n")).collect::<String>();
        parse(file, BTreeMap::from([(file.to_owned(), text.to_owned())])).unwrap_or_else(|found| panic!("{}", problems(found)))
    }

    const SMALL: &str = "[office]\npostmaster = \"alice\"\n";

    #[test]
    fn the_smallest_office() {
        let Loaded { config, warnings, .. } = load(SMALL);
        assert_eq!(warnings, []);
        assert_eq!(config.office.lan_domain.as_str(), "office.lan");
        assert_eq!(config.storage.journal, Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(config.storage.tray, None);
        let ports = |list: &[std::net::SocketAddr]| list.iter().map(std::net::SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(ports(&config.listen.imaps), ["0.0.0.0:993"]);
        assert_eq!(ports(&config.listen.pop3s), ["0.0.0.0:995"]);
        assert_eq!(ports(&config.listen.submission), ["0.0.0.0:587"]);
        assert_eq!(ports(&config.listen.submissions), ["0.0.0.0:465"]);
        assert_eq!(ports(&config.listen.admin), ["127.0.0.1:8025"]);
        assert!(config.listen.pop3.is_empty() && config.listen.imap.is_empty() && config.listen.smtp.is_empty());
        assert_eq!((config.access.max_connections, config.access.max_message_size, config.access.login_failures), (2000, 50_000_000, 10));
        assert_eq!(config.named_users.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["alice"]);
    }

    fn collector(keys: &str) -> Collector {
        let text = format!(
            "{SMALL}domains = [\"example.com\"]\n[[collector]]\nname = \"isp\"\nusername = \"u@isp.example\"\npassword = {{ env = \"P\" }}\n{keys}"
        );
        load(&text).config.collectors.remove(0)
    }

    #[test]
    fn a_collector_and_its_defaults() {
        let pop3 = collector("protocol = \"pop3\"\nhost = \"pop.isp.example\"");
        assert_eq!((pop3.endpoint.port, pop3.endpoint.tls), (995, Tls::Implicit));
        assert_eq!(pop3.after, After::Age(Duration::from_secs(7 * 86_400)));
        assert_eq!(pop3.address.map(|address| address.to_string()).as_deref(), Some("u@isp.example"));
        assert!(!pop3.idle);
        assert_eq!(pop3.line, 4);
        let imap = collector("protocol = \"imap\"\nhost = \"imap.isp.example\"\ntls = \"starttls\"");
        assert_eq!((imap.endpoint.port, imap.endpoint.tls), (143, Tls::Starttls));
        assert_eq!((imap.after, imap.idle), (After::Keep, true));
        assert_eq!(imap.folders, [("INBOX".to_owned(), None)]);
        assert_eq!(collector("protocol = \"imap\"\nhost = \"x\"\nport = 143").endpoint.tls, Tls::Starttls);
        assert_eq!(collector("protocol = \"imap\"\nhost = \"x\"\nafter = \"0d\"").after, After::Delete);
        assert_eq!(collector("protocol = \"imap\"\nhost = \"x\"\nafter = { move = \"Done\" }").after, After::Move("Done".into()));
        assert_eq!(collector("protocol = \"imap\"\nhost = \"x\"\nstart = 2026-01-31").start, Start::Date(jiff::civil::date(2026, 1, 31)));
        assert_eq!(collector("protocol = \"imap\"\nhost = \"x\"\nstart = \"3d\"").start, Start::Age(Duration::from_secs(3 * 86_400)));
        let folders = collector("protocol = \"imap\"\nhost = \"x\"\nfolders = { INBOX = \"INBOX\", Spamverdacht = \"Junk\" }").folders;
        assert_eq!(folders[1], ("Spamverdacht".to_owned(), Some("Junk".to_owned())));
    }

    #[test]
    fn a_provider_fills_in_what_the_file_leaves_out() {
        let gmx = collector("provider = \"gmx\"\nprotocol = \"pop3\"");
        assert_eq!((gmx.endpoint.host.as_str(), gmx.endpoint.port), ("pop.gmx.net", 995));
        assert_eq!(gmx.habits[0].header, "Envelope-To");
        assert_eq!(gmx.envelope, None);
        assert_eq!(collector("provider = \"gmx\"").protocol, Protocol::Imap);
        let own = collector("provider = \"gmx\"\nprotocol = \"imap\"\nhost = \"127.0.0.1\"\nport = 1143");
        assert_eq!((own.endpoint.host.as_str(), own.endpoint.port, own.endpoint.tls), ("127.0.0.1", 1143, Tls::Implicit));
    }

    #[test]
    fn a_smarthost_and_its_defaults() {
        let smarthost = |keys: &str| load(&format!("{SMALL}[[smarthost]]\nname = \"isp\"\n{keys}")).config.smarthosts.remove(0);
        let plain = smarthost("host = \"smtp.isp.example\"");
        assert_eq!((plain.endpoint.port, plain.endpoint.tls), (587, Tls::Starttls));
        assert_eq!(plain.retry.iter().map(Duration::as_secs).collect::<Vec<_>>(), [60, 300, 900, 3600, 14_400]);
        assert_eq!((plain.connections, plain.expire), (2, Duration::from_secs(5 * 86_400)));
        assert!(matches!(plain.login, SmarthostLogin::None));
        assert_eq!(smarthost("host = \"x\"\nport = 465").endpoint.tls, Tls::Implicit);
        assert_eq!(smarthost("host = \"x\"\ntls = \"implicit\"").endpoint.port, 465);
        assert_eq!(smarthost("host = \"x\"\nrate = \"100/h\"").rate, Some((100, Duration::from_secs(3600))));
        let text = format!(
            "{SMALL}[[collector]]\nname = \"a\"\nprovider = \"gmx\"\nusername = \"u@gmx.de\"\npassword = {{ env = \"P\" }}\n[[smarthost]]\nname = \"a\"\nprovider = \"gmx\"\nlogin = \"collector\""
        );
        assert_eq!(load(&text).config.smarthosts[0].senders, ["u@gmx.de"]);
    }

    #[test]
    fn nothing_prints_a_password() {
        let loaded = load(&format!("{SMALL}[[collector]]\nname = \"a\"\nprovider = \"gmx\"\nusername = \"u\"\npassword = \"hunter2\""));
        let warning = &loaded.warnings[0];
        assert!(warning.message.contains("this password can be read"), "{warning}");
        assert!(!format!("{warning} {:?}", loaded.config).contains("hunter2"));
    }

    const EXAMPLE: &str = include_str!("../../packaging/mailroom.toml");

    /// (table, key, whether it is commented out) for every `key =` of the example, those in braces included.
    fn mentioned() -> Vec<(String, String, bool)> {
        let mut table = String::new();
        let mut found = Vec::new();
        for line in EXAMPLE.lines() {
            let (text, commented) = line.strip_prefix('#').map_or((line, false), |text| (text, true));
            if text.starts_with('[') {
                table = text.trim_matches(['[', ']']).to_owned();
            }
            let Some((key, value)) = text.split_once('=') else { continue };
            let key = key.trim();
            if !key.contains(' ') {
                found.push((table.clone(), key.to_owned(), commented));
                let inner = value.split(['{', ',']).skip(1).filter_map(|part| Some(part.split_once('=')?.0.trim().to_owned()));
                found.extend(inner.map(|inner| (key.to_owned(), inner, commented)));
            }
        }
        found
    }

    #[test]
    fn the_annotated_example_loads() {
        let loaded = load(EXAMPLE);
        assert_eq!(loaded.warnings, []);
        assert_eq!((loaded.config.collectors.len(), loaded.config.smarthosts.len()), (1, 1));
    }

    #[test]
    fn the_annotated_example_names_every_key() {
        // Everything that is commented out becomes live, one alternative of each key, so that its tables are read too.
        let mut seen = std::collections::BTreeSet::new();
        let mut table = String::new();
        let live: String = EXAMPLE
            .lines()
            .filter_map(|line| {
                // Prose has a blank behind the mark, a key has none.
                let text = line.strip_prefix('#').filter(|text| !text.starts_with(' ')).unwrap_or(line);
                if text.starts_with('[') {
                    table = text.to_owned();
                    return Some(format!("{text}\n"));
                }
                let key = text.split_once('=')?.0.trim();
                let fresh = !key.contains(' ') && seen.insert((table.clone(), key.to_owned()));
                fresh.then(|| format!("{text}\n"))
            })
            .collect();
        let document = crate::document::Document::parse("example.toml", &live).unwrap();
        load::read_config(&document, &Profiles::built_in());
        let mentioned = mentioned();
        let by_hand = ["after", "folders", "oauth2"];
        for (table, key) in document.keys() {
            let shown = mentioned.iter().any(|(t, k, _)| (t, k) == (&table, &key));
            let header = table.is_empty() && EXAMPLE.contains(&format!("[{key}]"));
            assert!(
                shown || header || by_hand.contains(&table.as_str()),
                "packaging/mailroom.toml says nothing of \"{key}\" in \"{table}\""
            );
        }
    }

    #[test]
    fn the_annotated_example_holds_what_is_not_built_as_comments() {
        let mentioned = mentioned();
        for (table, key) in planned::keys() {
            if table.is_empty() {
                assert!(EXAMPLE.contains(&format!("\n#[[{key}]]\n")), "{key}");
                continue;
            }
            let lines: Vec<_> = mentioned.iter().filter(|(t, k, _)| (t.as_str(), k.as_str()) == (table, key)).collect();
            assert!(!lines.is_empty(), "{table}.{key} is not mentioned");
            assert!(key == "auth" || lines.iter().all(|(_, _, commented)| *commented), "{table}.{key} is not a comment");
        }
    }
}
