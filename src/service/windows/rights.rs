//! Who may read what: the store is open to the service's account, administrators and whoever made it, and its key is sealed to the machine.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use sha1::{Digest, Sha1};
use windows_dpapi::{Scope, decrypt_data, encrypt_data};
use zeroize::Zeroizing;

use super::super::Registration;
use super::{NAME, is_same, system_store};

/// The service's own account: Windows makes it with the service, it has no password and no rights but those that are given to it.
pub const ACCOUNT: &str = r"NT SERVICE\Mailroom";

/// The length of a key that is not sealed: it comes from another system.
const BARE_KEY: usize = 32;

/// Accounts that get everything, by their numbers, since their names differ with the language: the system and administrators.
const KEEPERS: [&str; 2] = ["*S-1-5-18", ADMINISTRATORS];
const ADMINISTRATORS: &str = "*S-1-5-32-544";
/// Whoever owns the file: likewise, where somebody has made a store of his own.
const OWNER: &str = "*S-1-3-4";

/// Gives a directory in which nothing secret lies yet, and what lies there, to administrators; whatever rights were on it are gone.
pub fn take(dir: &Path) -> io::Result<()> {
    own(dir)?;
    icacls(dir, &["/reset", "/T", "/C", "/Q"].map(str::to_owned))
}

/// Who owns a directory may change the rights on it: administrators do.
fn own(dir: &Path) -> io::Result<()> {
    icacls(dir, &["/setowner", ADMINISTRATORS, "/T", "/C", "/Q"].map(str::to_owned))
}

/// Closes a directory to everybody but the keepers and the service, with all that will be made in it. `of_the_machine`: its owner gets
/// no rights as such either.
pub fn close(dir: &Path, of_the_machine: bool) -> io::Result<()> {
    icacls(dir, &close_to(&service_number(), of_the_machine))
}

/// Gives an account what it needs of this registration: the store to itself, the files to read, and mappings to write.
pub fn give(registration: &Registration, account: &str) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("{account} can't be given rights on {}: {error}", path.display());
    let Registration { program, configuration, storage, beside, backup } = registration;
    std::fs::create_dir_all(storage).map_err(|error| failed(storage, error))?;
    let of_the_machine = is_same(storage, &system_store());
    if of_the_machine {
        own(storage).map_err(|error| failed(storage, error))?;
    }
    icacls(storage, &close_to(account, of_the_machine)).map_err(|error| failed(storage, error))?;
    // What lies there already takes the directory's rights over.
    if std::fs::read_dir(storage).is_ok_and(|mut entries| entries.next().is_some()) {
        let all = storage.join("*");
        icacls(&all, &["/reset", "/T", "/C", "/Q"].map(str::to_owned)).map_err(|error| failed(storage, error))?;
    }
    icacls(program, &grant(account, "RX")).map_err(|error| failed(program, error))?;
    if !configuration.starts_with(storage) {
        icacls(configuration, &grant(account, "M")).map_err(|error| failed(configuration, error))?;
        let mappings = configuration.with_file_name("mappings");
        if mappings.is_dir() {
            icacls(&mappings, &grant(account, "(OI)(CI)M")).map_err(|error| failed(&mappings, error))?;
        }
    }
    if let Some(backup) = backup.as_ref().filter(|backup| backup.is_dir()) {
        icacls(backup, &grant(account, "(OI)(CI)M")).map_err(|error| failed(backup, error))?;
    }
    for file in beside.iter().filter(|file| file.exists() && !file.starts_with(storage)) {
        icacls(file, &grant(account, "R")).map_err(|error| failed(file, error))?;
    }
    Ok(())
}

/// Seals a key so that only this machine can open it. Who may read the file is another matter: see [`close`].
pub fn seal(key: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    // The service and administrators' commands use the same key: it belongs to the machine, not to one of them.
    encrypt_data(key, Scope::Machine, None).map(Zeroizing::new).map_err(io::Error::other)
}

/// Opens what [`seal`] made; a bare key is taken as it is.
pub fn unseal(sealed: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    if sealed.len() == BARE_KEY {
        return Ok(sealed);
    }
    decrypt_data(&sealed, Scope::Machine, None).map(Zeroizing::new).map_err(io::Error::other)
}

fn close_to(account: &str, of_the_machine: bool) -> Vec<String> {
    let owner = (!of_the_machine).then_some(&OWNER);
    let keepers = KEEPERS.iter().chain(owner).map(|keeper| format!("{keeper}:(OI)(CI)F"));
    let rights = keepers.chain([format!("{account}:(OI)(CI)M")]).flat_map(|right| ["/grant:r".to_owned(), right]);
    ["/inheritance:r".to_owned()].into_iter().chain(rights).chain(["/Q".to_owned()]).collect()
}

fn grant(account: &str, right: &str) -> Vec<String> {
    ["/grant".to_owned(), format!("{account}:{right}"), "/Q".to_owned()].into()
}

/// Windows' own tool. It speaks the system's language, so of its words only the first line is passed on.
fn icacls(path: &Path, arguments: &[String]) -> io::Result<()> {
    let output = Command::new("icacls").arg(path).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("icacls: {}", said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why"))))
}

/// The number of the service's account, which follows from its name: the store can be given to it before the service is registered.
fn service_number() -> String {
    let name: Vec<u8> = NAME.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let parts: Vec<String> = Sha1::digest(name)
        .chunks(4)
        .map(|part| part.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)).to_string())
        .collect();
    format!("*S-1-5-80-{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_is_opened_again_and_a_bare_one_stays() {
        let key = Zeroizing::new(vec![7; BARE_KEY]);
        let sealed = seal(&key).unwrap();
        assert_ne!(*sealed, *key);
        assert_eq!(unseal(sealed).unwrap(), key);
        assert_eq!(unseal(key.clone()).unwrap(), key);
    }
}
