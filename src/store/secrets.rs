//! Named secrets, encrypted with XChaCha20-Poly1305 by `secret.key`, which lies beside the database and in no backup.

use super::{Change, SMALL, Store, StoreError, database, now, password};
use crate::service::platform;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rusqlite::{OptionalExtension, params};
use secrecy::{ExposeSecret, SecretString};
use std::io::{Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// The key's file in the store's directory.
pub(super) const KEY_FILE: &str = "secret.key";

/// What the key of [`Store::mark_of`] is derived for.
const MARKS: &str = "mailroom 2026 marks of secrets";

/// Encrypts and opens secrets.
pub struct Key {
    cipher: XChaCha20Poly1305,
    marks: [u8; 32],
}

impl Store {
    /// Sets or replaces a secret.
    pub async fn secret_set(&self, name: &str, secret: &SecretString) -> Result<(), StoreError> {
        let (nonce, ciphertext) = self.sealed(name, secret)?;
        let name = name.to_owned();
        self.write(SMALL, move |work| {
            work.prepare_cached("INSERT OR REPLACE INTO secret (name, nonce, ciphertext, changed) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![name, nonce, ciphertext, now()])?;
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// Replaces what a secret holds, for those that renew themselves: it does not count as set anew, and nobody is told.
    pub async fn secret_renew(&self, name: &str, secret: &SecretString) -> Result<(), StoreError> {
        let (nonce, ciphertext) = self.sealed(name, secret)?;
        let name = name.to_owned();
        self.write(SMALL, move |work| {
            let mut update = work.prepare_cached("UPDATE secret SET nonce = ?2, ciphertext = ?3 WHERE name = ?1")?;
            match update.execute(params![name, nonce, ciphertext])? {
                0 => Err(StoreError::NotFound(format!("there is no secret {name}"))),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Opens a secret; `None` if there is none of that name.
    pub async fn secret(&self, name: &str) -> Result<Option<SecretString>, StoreError> {
        let wanted = name.to_owned();
        let found: Option<(Vec<u8>, Vec<u8>)> = self
            .read(move |connection| {
                let mut select = connection.prepare_cached("SELECT nonce, ciphertext FROM secret WHERE name = ?1")?;
                Ok(select.query_row([wanted], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
            })
            .await?;
        let Some((nonce, ciphertext)) = found else { return Ok(None) };
        if nonce.len() != 24 {
            return Err(unreadable(name));
        }
        let payload = Payload { msg: &ciphertext, aad: name.as_bytes() };
        let opened = self.key(false)?.cipher.decrypt(XNonce::from_slice(&nonce), payload).map_err(|_| unreadable(name))?;
        let secret = String::from_utf8(opened).map_err(|_| unreadable(name))?;
        Ok(Some(SecretString::from(secret)))
    }

    /// Names, and when each was set.
    pub async fn secrets(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT name, changed FROM secret ORDER BY name")?;
            Ok(select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Removes a secret. [`StoreError::NotFound`] if there is none.
    pub async fn secret_remove(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(SMALL, move |work| {
            if work.prepare_cached("DELETE FROM secret WHERE name = ?1")?.execute([&name])? == 0 {
                return Err(StoreError::NotFound(format!("there is no secret {name}")));
            }
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// A keyed hash: tells whether two texts are the same, and nothing to those who have the database alone.
    pub fn mark_of(&self, parts: &[&str]) -> Result<String, StoreError> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key(true)?.marks);
        for part in parts {
            hasher.update(&part.len().to_le_bytes()).update(part.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn sealed(&self, name: &str, secret: &SecretString) -> Result<([u8; 24], Vec<u8>), StoreError> {
        let nonce = password::random::<24>()?;
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: name.as_bytes() };
        let ciphertext = self.key(true)?.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| unreadable(name))?;
        Ok((nonce, ciphertext))
    }

    /// The key itself, for a backup that is to hold it; `None` if no secret was ever set.
    pub(super) fn secret_key_bytes(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let path = self.0.directory.join(KEY_FILE);
        match credential(&path) {
            Some(bytes) => Ok(Some(bytes)),
            None if path.exists() => read_or_make(&path, false).map(Some),
            None => Ok(None),
        }
    }

    /// Another key would open none of the secrets that are there, and those that it seals could not be opened by whoever has the first.
    fn require_no_secrets(&self, key: &Path) -> Result<(), StoreError> {
        let stored: u32 = database::open_reader(&self.0.directory)?.query_row("SELECT count(*) FROM secret", [], |row| row.get(0))?;
        if stored == 0 {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "{} is missing, and {} it: put it back; if only the service is given it, as a credential of systemd, \
             run this as root; if it is lost, `mailroom secret list` names what to remove (`mailroom secret remove NAME`) and set anew",
            key.display(),
            if stored == 1 { "1 stored secret needs".to_owned() } else { format!("{stored} stored secrets need") }
        )))
    }

    /// The key, read once; made with the first secret.
    fn key(&self, make: bool) -> Result<&Key, StoreError> {
        if let Some(key) = self.0.secret_key.get() {
            return Ok(key);
        }
        let path = self.0.directory.join(KEY_FILE);
        let bytes = match credential(&path) {
            Some(bytes) => bytes,
            None if make && !path.metadata().is_ok_and(|about| about.len() > 0) => {
                self.require_no_secrets(&path)?;
                read_or_make(&path, true)?
            }
            None => read_or_make(&path, make)?,
        };
        let marks = blake3::derive_key(MARKS, &bytes);
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| {
            StoreError::Refused(format!("{KEY_FILE} is damaged: put the right one back, or remove it and set every secret anew"))
        })?;
        Ok(self.0.secret_key.get_or_init(|| Key { cipher, marks }))
    }
}

/// A credential named as the key's file takes its place. Elsewhere than in the system's store, a file that is there is the store's own.
fn credential(file: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let of_the_system = file.parent().is_some_and(|directory| platform::is_same(directory, &platform::system_store()));
    platform::credential(KEY_FILE, !of_the_system && file.exists()).map(Zeroizing::new)
}

/// The key's bytes. Whoever finds the file empty makes the key; an OS lock lets only one do so.
fn read_or_make(path: &Path, make: bool) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let lost = |error: std::io::Error| database::cannot(path, error);
    if !make && !path.exists() {
        return Err(StoreError::Refused(format!("{} is missing: put it back, or remove every secret and set it anew", path.display())));
    }
    let mut file = platform::private_file(path).map_err(lost)?;
    file.lock().map_err(lost)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(lost)?;
    if !bytes.is_empty() || !make {
        return platform::unseal(bytes).map_err(lost);
    }
    bytes.extend_from_slice(&password::random::<32>()?);
    // The key is durable before the first secret that needs it.
    platform::seal(&bytes).and_then(|sealed| file.write_all(&sealed)).and_then(|()| file.sync_all()).map_err(lost)?;
    Ok(bytes)
}

fn unreadable(name: &str) -> StoreError {
    StoreError::Refused(format!("the secret {name} can't be opened with {KEY_FILE}: set it anew with `mailroom secret set {name}`"))
}
