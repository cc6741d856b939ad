//! The files and the user list together make what is in force: [`Current`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::LoadError;
use crate::config::providers::Profiles;
use crate::config::{self, Auth, Config, Current, ImpliedAddresses, Loaded, SecretSource, SmarthostLogin};
use crate::document::{Problem, nearest};
use crate::inbound::expectations;
use crate::mapping::{self, Fetched, Mailbox, Mapping};
use crate::service::platform;
use crate::store::{Store, StoreError};

/// A configuration or mapping file beyond this is a mistake (a mailbox, a database), not a list of rules.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Where `init` puts the store, beside the configuration, outside the system's place.
pub const USUAL_STORE: &str = "store";
/// What tells a store from any other directory.
const STORE_FILE: &str = "mailroom.db";

/// Texts of the configuration, the mappings and the provider profiles, by absolute path.
pub type Texts = BTreeMap<PathBuf, String>;

/// What the files and the users came to.
pub struct Compiled {
    /// Configuration and mapping.
    pub current: Current,
    /// Not errors, but worth a word.
    pub warnings: Vec<Problem>,
    /// Users that the files name and that do not exist, each where it is named first.
    pub missing: Vec<Problem>,
    /// The files that it was made from.
    pub texts: Texts,
    /// The provider profiles that it chose from.
    pub profiles: Profiles,
}

/// Reads `mailroom.toml`, `mappings/*.toml` and `mappings/providers/*.toml` beside it.
pub fn gather(file: &Path) -> Result<Texts, LoadError> {
    let mut texts = Texts::new();
    texts.insert(file.to_owned(), text_of(file)?);
    let mappings = mappings_beside(file);
    for folder in [mappings.join("providers"), mappings] {
        let unreadable = |error: std::io::Error| LoadError::one(format!("{}: can't be read: {error}", folder.display()), advice(&error));
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Neither folder need exist. One that can't be read is not an empty one: whose mail is whose would be forgotten.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Editors leave `.#office.toml` and the like behind while they work.
            if name.ends_with(".toml") && !name.starts_with('.') && path.is_file() {
                texts.insert(path.clone(), text_of(&path)?);
            }
        }
    }
    Ok(texts)
}

/// Checks `mailroom.toml`.
pub fn parse(file: &Path, texts: Texts) -> Result<Loaded, LoadError> {
    config::parse(file, texts).map_err(LoadError)
}

/// Compiles the mapping with the users that the store knows. A user that is missing is no error here: see [`Compiled::missing`].
pub async fn compile(loaded: Loaded, store: &Store) -> Result<Compiled, LoadError> {
    let accounts = store.accounts().await.map_err(unreadable)?;
    let users = accounts.into_iter().filter_map(|account| match account.mailbox {
        Mailbox::User(name) => Some((name, account.full_name)),
        Mailbox::Shared(_) => None,
    });
    compile_for(loaded, users.collect())
}

/// As [`compile`], with these users: log-in name and full name.
pub fn compile_for(loaded: Loaded, users: Vec<(String, Option<String>)>) -> Result<Compiled, LoadError> {
    let Loaded { config, mut warnings, files: texts, profiles } = loaded;
    let mappings: Vec<(PathBuf, String)> = mapping_texts(&config.file, &texts);
    let office = mapping_office(&config, users);
    let (mapping, more) = Mapping::load(&mappings, &office).map_err(LoadError)?;
    let mut missing = mapping.unknown_users().to_vec();
    let known: Vec<&str> = office.users.iter().map(|(name, _)| name.as_str()).collect();
    let in_mapping = mapping.named_users();
    let unknown = config.named_users.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    missing.extend(unknown.filter(|(name, _)| !in_mapping.iter().any(|(named, _)| named == name)).map(|(name, place)| Problem {
        place: Some(place.clone()),
        help: Some(format!("`mailroom user add {name}` adds one")),
        ..Problem::general(match nearest(name, known.iter().copied()) {
            Some(near) => format!("unknown user \"{name}\"; did you mean \"{near}\"?"),
            None => format!("unknown user \"{name}\""),
        })
    }));
    warnings.extend(more);
    Ok(Compiled { current: Current { config, mapping }, warnings, missing, texts, profiles })
}

/// Refuses what would not work as its author meant: users that do not exist, and expectations of the mapping that do not hold.
pub fn require_whole(compiled: &Compiled) -> Result<(), LoadError> {
    require_users(compiled)?;
    let failures = expectations::failures(&compiled.current, &|file| std::fs::read(file));
    if failures.is_empty() { Ok(()) } else { Err(LoadError(failures)) }
}

/// Refuses if the files name users that do not exist, naming them all at once.
pub fn require_users(compiled: &Compiled) -> Result<(), LoadError> {
    if compiled.missing.is_empty() {
        return Ok(());
    }
    Err(LoadError(compiled.missing.clone()))
}

/// Makes the mailboxes of `[shared]` that are not there yet.
pub async fn make_shared(current: &Current, store: &Store) -> Result<(), StoreError> {
    for (name, _) in current.mapping.shared() {
        let mailbox = Mailbox::Shared(name);
        if store.account(&mailbox).await?.is_none() {
            store.account_add(&mailbox, None, None).await?;
        }
    }
    Ok(())
}

/// Files beside the texts whose change matters too: secrets, certificates, trust roots.
pub fn beside(config: &Config) -> Vec<PathBuf> {
    let secret = |auth: &Auth| match auth {
        Auth::Password(SecretSource::File(file)) => Some(file.clone()),
        _ => None,
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for collector in &config.collectors {
        files.extend(secret(&collector.auth));
        files.extend(collector.endpoint.ca.clone());
    }
    for smarthost in &config.smarthosts {
        if let SmarthostLogin::Own(_, auth) = &smarthost.login {
            files.extend(secret(auth));
        }
        files.extend(smarthost.endpoint.ca.clone());
    }
    files.extend(config.tls.iter().flat_map(|tls| [tls.cert.clone(), tls.key.clone()]));
    files.sort();
    files.dedup();
    files
}

/// `storage.path` of a configuration that does not load: what comes nearest to it, for `run --last-good` and `status`.
pub fn storage_path_of_broken(file: &Path) -> Option<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    // Cut inside of a letter, saved as UTF-16, not to be read at all: of each of them as much as there is.
    let bytes = bytes_of(file).unwrap_or_default();
    let text = utf16(&bytes).unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
    if let Some(path) = path_in_storage(&text) {
        return Some(folder.join(path));
    }
    // Nothing is said of it, or not any more: the file may have been cut. The system's own file usually leaves it out; `init` writes
    // "store" into any other.
    if platform::is_same(file, &platform::system_configuration()) {
        return Some(platform::system_store()).filter(|path| path.is_dir());
    }
    Some(folder.join(USUAL_STORE)).filter(|path| path.join(STORE_FILE).is_file())
}

/// The value of `path` in `[storage]`, if both its quotes are there.
fn path_in_storage(text: &str) -> Option<&str> {
    let mut in_storage = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_storage = line.trim_start_matches('[').trim_start().starts_with("storage");
        } else if in_storage && let Some(value) = line.strip_prefix("path").and_then(|rest| rest.trim_start().strip_prefix('=')) {
            let value = value.trim_start();
            let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
            return value[1..].split_once(quote).map(|(path, _)| path);
        }
    }
    None
}

/// What an editor wrote as UTF-16, which begins with a byte order mark.
fn utf16(bytes: &[u8]) -> Option<String> {
    let read: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return None,
    };
    let units: Vec<u16> = bytes[2..].as_chunks().0.iter().map(|pair| read(*pair)).collect();
    Some(String::from_utf16_lossy(&units))
}

/// The folder that holds the mappings.
pub fn mappings_beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("mappings")
}

/// Those of the texts that are mappings.
pub fn mapping_texts(file: &Path, texts: &Texts) -> Vec<(PathBuf, String)> {
    let folder = mappings_beside(file);
    texts.iter().filter(|(path, _)| path.parent() == Some(&folder)).map(|(path, text)| (path.clone(), text.clone())).collect()
}

fn text_of(file: &Path) -> Result<String, LoadError> {
    let bytes = bytes_of(file)?;
    String::from_utf8(bytes).map_err(|error| {
        let what = if utf16(error.as_bytes()).is_some() { "is UTF-16" } else { "is not UTF-8" };
        LoadError::one(format!("{}: {what}: save it as UTF-8 text", file.display()), None)
    })
}

fn bytes_of(file: &Path) -> Result<Vec<u8>, LoadError> {
    let fail = |what: String, help: Option<String>| LoadError::one(format!("{}: {what}", file.display()), help);
    let unreadable = |error: std::io::Error| fail(format!("can't be read: {error}"), advice(&error));
    let about = std::fs::metadata(file).map_err(unreadable)?;
    if about.len() > MAX_FILE {
        return Err(fail(format!("is larger than {} MB", MAX_FILE / 1024 / 1024), None));
    }
    std::fs::read(file).map_err(unreadable)
}

/// What helps against an error, if anything is known to.
pub fn advice(error: &std::io::Error) -> Option<String> {
    (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| platform::WITH_MORE_RIGHTS.to_owned())
}

fn unreadable(error: StoreError) -> LoadError {
    LoadError::one(format!("the list of users can't be read: {error}"), None)
}

/// What the mapping needs of the configuration.
pub fn mapping_office(config: &Config, users: Vec<(String, Option<String>)>) -> mapping::Office {
    let implied = match &config.office.implied_addresses {
        ImpliedAddresses::All => config.office.domains.clone(),
        ImpliedAddresses::None => Vec::new(),
        ImpliedAddresses::At(domains) => domains.clone(),
    };
    let fetched = |collector: &config::Collector| Fetched {
        name: collector.name.clone(),
        address: collector.address.clone(),
        deliver: match &collector.deliver {
            config::Deliver::Mapped => None,
            config::Deliver::To(target) => Some(target.clone()),
        },
    };
    mapping::Office {
        domains: config.office.domains.clone(),
        lan_domain: config.office.lan_domain.clone(),
        implied,
        postmaster: config.office.postmaster.clone(),
        collectors: config.collectors.iter().map(fetched).collect(),
        smarthosts: config.smarthosts.iter().map(|smarthost| smarthost.name.clone()).collect(),
        users,
        mentions: config.mentions.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mailroom.toml");
        std::fs::write(&file, text).unwrap();
        assert_eq!(storage_path_of_broken(&file), expected.map(|path| folder.path().join(path)), "{text}");
    }

    #[test]
    fn finds_the_store_of_a_broken_configuration() {
        check("[office]\ndomains = [\n[storage]\npath = \"/var/lib/mailroom\" # here\n", Some("/var/lib/mailroom"));
        check("[storage]\njournal = \"3d\"\n  path='store'\n", Some("store"));
        check("[tls]\npath = \"x\"\n", None);
        check("[storage]\npath = oops\n", None);
        check("[storage]\npath = \"/var/lib/mai", None);
        check("", None);
    }

    #[test]
    fn finds_the_store_of_a_file_that_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mailroom.toml");
        let utf16 = |text: &str| [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let found = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            storage_path_of_broken(&file).map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())
        };
        let half_a_letter = &"[storage]\npath = \"mail\"\n# für".as_bytes()[..28];
        assert_eq!(found(half_a_letter), Some("mail".into()));
        assert_eq!(found(&utf16("[storage]\r\npath = \"mail\"\r\n")), Some("mail".into()));
        assert_eq!(found(b"[office]\n# B\xc3"), None);
        std::fs::create_dir(folder.path().join("store")).unwrap();
        std::fs::write(folder.path().join("store/mailroom.db"), "").unwrap();
        assert_eq!(found(b"[office]\n# B\xc3"), Some("store".into()));
        let said = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            text_of(&file).unwrap_err().to_string()
        };
        assert!(said(&utf16("[office]")).contains("is UTF-16: save it as UTF-8"));
        assert!(said(b"# B\xc3").contains("is not UTF-8: save it as UTF-8"));
    }

    #[test]
    fn mappings_that_cannot_be_read_are_not_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mailroom.toml");
        std::fs::write(&file, "").unwrap();
        assert_eq!(gather(&file).unwrap().len(), 1);
        // Not a folder: who runs the tests may be root, whom no mode keeps out.
        std::fs::write(folder.path().join("mappings"), "").unwrap();
        let said = gather(&file).unwrap_err().to_string();
        assert!(said.contains("mappings") && said.contains("can't be read"), "{said}");
    }

    #[test]
    fn gathers_what_is_loaded_and_nothing_deeper() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mailroom.toml");
        for name in ["mailroom.toml", "other.toml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        for (inner, name) in
            [("", "office.toml"), ("", ".#office.toml"), ("", "notes.txt"), ("providers", "gmx.toml"), ("examples", "a.toml")]
        {
            let inner = folder.path().join("mappings").join(inner);
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(inner.join(name), "").unwrap();
        }
        let texts = gather(&file).unwrap();
        let found: Vec<_> = texts.keys().map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(found, ["mailroom.toml", "mappings/office.toml", "mappings/providers/gmx.toml"]);
        assert_eq!(mapping_texts(&file, &texts).len(), 1);
    }
}
