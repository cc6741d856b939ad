//! Opening what a command works on: the configuration, the store, and the mapping that both make.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Global, log};
use crate::config::{Config, Current, Level, Log};
use crate::gateway::{LoadError, files};
use crate::service::platform;
use crate::store::Store;

/// An open office: what nearly every command starts with.
pub struct Office {
    /// The store that `[storage]` names.
    pub store: Store,
    /// What the files came to; its warnings, and the users that are missing.
    pub compiled: files::Compiled,
}

impl Office {
    /// Loads the files and opens the store. Users that the files name need not exist yet.
    pub async fn open(global: &Global) -> anyhow::Result<Office> {
        let file = config_file(global)?;
        log::start(&Log { level: Level::Warn, json: false }, global.verbose);
        let loaded = files::parse(&file, files::gather(&file)?)?;
        let path = loaded.config.storage.path.clone();
        let store = Store::open(&path).with_context(|| format!("the store in {} does not open", path.display()))?;
        let compiled = files::compile(loaded, &store).await?;
        Ok(Office { store, compiled })
    }

    /// As [`Office::open`], but every user that the files name has to exist; all that are missing are named at once.
    pub async fn open_complete(global: &Global) -> anyhow::Result<Office> {
        let office = Self::open(global).await?;
        files::require_users(&office.compiled)?;
        Ok(office)
    }

    /// As [`Office::open_complete`], and the mapping's own expectations have to hold: for what moves mail.
    pub async fn open_whole(global: &Global) -> anyhow::Result<Office> {
        let office = Self::open(global).await?;
        files::require_whole(&office.compiled)?;
        Ok(office)
    }

    /// Configuration and mapping as the files say now.
    pub fn current(&self) -> &Current {
        &self.compiled.current
    }
}

/// `mailroom.toml` alone: for commands that work whatever the mapping says.
pub fn configuration(global: &Global) -> anyhow::Result<Config> {
    let file = config_file(global)?;
    log::start(&Log { level: Level::Warn, json: false }, global.verbose);
    Ok(files::parse(&file, files::gather(&file)?)?.config)
}

/// The store that the configuration names.
pub fn store_of(config: &Config) -> anyhow::Result<Store> {
    let path = &config.storage.path;
    Store::open(path).with_context(|| format!("the store in {} does not open", path.display()))
}

/// Both.
pub fn store(global: &Global) -> anyhow::Result<Store> {
    store_of(&configuration(global)?)
}

/// The configuration file: `--config`, `$MAILROOM_CONFIG`, `./mailroom.toml`, then the system's place.
pub fn config_file(global: &Global) -> Result<PathBuf, LoadError> {
    let named = global.config.clone().or_else(|| std::env::var_os("MAILROOM_CONFIG").map(PathBuf::from));
    if let Some(file) = named {
        return match is_file(&file)? {
            true => Ok(std::path::absolute(&file).unwrap_or(file)),
            false => {
                Err(LoadError::one(format!("there is no configuration file {}", file.display()), Some("`mailroom init` writes one".into())))
            }
        };
    }
    let usual = [PathBuf::from("mailroom.toml"), platform::system_configuration()];
    for file in &usual {
        if is_file(file)? {
            return Ok(std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        }
    }
    Err(LoadError::one(
        format!("there is neither ./mailroom.toml nor {}", usual[1].display()),
        Some("`mailroom init` writes one; `--config FILE` names one elsewhere; `mailroom demo` needs none".into()),
    ))
}

/// Whether a file is there. That nobody may look is no answer.
fn is_file(file: &Path) -> Result<bool, LoadError> {
    match file.metadata() {
        Ok(about) => Ok(about.is_file()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(LoadError::one(format!("{}: {error}", file.display()), files::advice(&error)))
        }
        Err(_) => Ok(false),
    }
}
