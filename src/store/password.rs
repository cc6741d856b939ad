//! Passwords: argon2id for those that arrive in clear, salted keys for SCRAM (RFC 5802, RFC 7677). Never kept otherwise.

use super::{Account, AccountId, Change, SMALL, Store, StoreError, accounts};
use argon2::password_hash::{Output, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use rusqlite::{OptionalExtension, params};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// What checking a name and a password came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Right.
    Right(Account),
    /// Right, but the user may not log in.
    Disabled,
    /// No such user, no password, or not this one. All take the same time.
    Wrong,
}

/// The server's side of one SCRAM mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Random, per user and mechanism.
    pub salt: Vec<u8>,
    /// PBKDF2 rounds.
    pub iterations: u32,
    /// H(ClientKey)
    pub stored_key: Vec<u8>,
    /// HMAC(SaltedPassword, "Server Key")
    pub server_key: Vec<u8>,
}

/// Which hash SCRAM uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramHash {
    /// RFC 5802
    Sha1,
    /// RFC 7677
    Sha256,
}

/// 19 MiB, two passes, one lane: the OWASP minimum for argon2id, since a small office's machine is small too.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// So many 19 MiB are in use at most, whoever knocks.
pub const HASHES_AT_A_TIME: usize = 2;

/// RFC 7677 §4 asks for 4096 at least.
pub const ITERATIONS: u32 = 10_000;

/// Salt of every hash and key, from the system's generator.
const SALT: usize = 16;

impl ScramHash {
    fn as_str(self) -> &'static str {
        match self {
            ScramHash::Sha1 => "sha1",
            ScramHash::Sha256 => "sha256",
        }
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ScramKeys(…)")
    }
}

impl Store {
    /// Sets a user's password: argon2id and both SCRAM keys.
    pub async fn password_set(&self, id: AccountId, password: &SecretString) -> Result<(), StoreError> {
        let prepared = prepare(password);
        let (phc, scram) = self
            .hashing(move || {
                let phc = hash(&prepared)?;
                let mut scram = Vec::new();
                for hash in [ScramHash::Sha1, ScramHash::Sha256] {
                    scram.push((hash, scram_keys(hash, &prepared)?));
                }
                Ok((phc, scram))
            })
            .await?;
        self.write(SMALL, move |work| {
            let changed = work
                .prepare_cached("UPDATE account SET password = ?2, generation = generation + 1 WHERE id = ?1")?
                .execute(params![id.0, phc])?;
            if changed == 0 {
                return Err(StoreError::NotFound("the user no longer exists".into()));
            }
            let mut insert = work.connection.prepare_cached(
                "INSERT OR REPLACE INTO scram (account, hash, salt, iterations, stored_key, server_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (hash, keys) in &scram {
                insert.execute(params![id.0, hash.as_str(), keys.salt, keys.iterations, keys.stored_key, keys.server_key])?;
            }
            work.changed(Change::Users);
            Ok(())
        })
        .await
    }

    /// Checks a user's password by log-in name, at most two at a time and off the async threads: 19 MiB and some 30 ms each. Callers
    /// remember a success themselves ([`Account::generation`] tells when to forget it).
    pub async fn password_check(&self, name: &str, password: &SecretString) -> Result<Verdict, StoreError> {
        let name = name.to_owned();
        let found = self
            .read(move |connection| {
                let sql = format!("{} WHERE kind = 'user' AND name = ?1", accounts::SELECT.replace(" FROM", ", password FROM"));
                let mut select = connection.prepare_cached(&sql)?;
                Ok(select.query_row([name], |row| Ok((accounts::account(row)?, row.get::<_, Option<String>>(10)?))).optional()?)
            })
            .await?;
        let (account, phc) = match found {
            Some((account, phc)) => (Some(account), phc),
            None => (None, None),
        };
        let prepared = prepare(password);
        let right = self
            .hashing(move || match phc {
                Some(phc) => Ok(verify(&phc, &prepared)),
                // Nobody of that name: the same work, so that the clock does not tell.
                None => hash(&prepared).map(|_| false),
            })
            .await?;
        Ok(match account {
            Some(account) if right && account.disabled => Verdict::Disabled,
            Some(account) if right => Verdict::Right(account),
            _ => Verdict::Wrong,
        })
    }

    /// The keys of a user who may log in.
    pub async fn scram_keys(&self, name: &str, hash: ScramHash) -> Result<Option<(Account, ScramKeys)>, StoreError> {
        let name = name.to_owned();
        self.read(move |connection| {
            let sql = format!(
                "{} JOIN scram ON scram.account = account.id WHERE kind = 'user' AND name = ?1 AND hash = ?2 AND NOT disabled",
                accounts::SELECT.replace(" FROM", ", salt, iterations, stored_key, server_key FROM")
            );
            let mut select = connection.prepare_cached(&sql)?;
            let found = select.query_row([&name, hash.as_str()], |row| {
                let keys = ScramKeys { salt: row.get(10)?, iterations: row.get(11)?, stored_key: row.get(12)?, server_key: row.get(13)? };
                Ok((accounts::account(row)?, keys))
            });
            Ok(found.optional()?)
        })
        .await
    }

    /// Runs costly work off the async threads, two at a time.
    async fn hashing<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let _permit = self.0.hashing.acquire().await.map_err(|_| StoreError::Closed)?;
        tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Database(format!("hashing a password failed: {error}")))?
    }
}

/// The password as it is hashed: NFKC, odd spaces as plain ones, so that every keyboard and mechanism gives the same bytes.
/// Deviation: of SASLprep (RFC 4013) the tables of forbidden characters are left out; nothing that anyone can type is refused.
fn prepare(password: &SecretString) -> Zeroizing<String> {
    let plain = |c: char| if c.is_whitespace() && !c.is_ascii() { ' ' } else { c };
    Zeroizing::new(password.expose_secret().chars().map(plain).nfkc().collect())
}

fn argon2() -> Result<Argon2<'static>, StoreError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| StoreError::Database(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, StoreError> {
    let failed = |error: argon2::password_hash::Error| StoreError::Database(format!("hashing a password failed: {error}"));
    let argon2 = argon2()?;
    let salt = random::<SALT>()?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let hashed = argon2.hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, working_memory(argon2.params()));
    hashed.map_err(|error| failed(error.into()))?;
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2.params().try_into().map_err(failed)?,
        salt: Some(salt.as_salt()),
        hash: Some(Output::new(&output).map_err(failed)?),
    };
    Ok(phc.to_string())
}

/// With the parameters that the stored text names, whatever this program uses for new ones.
fn verify(phc: &str, password: &str) -> bool {
    let right = || {
        let parsed = PasswordHash::new(phc).ok()?;
        let version = parsed.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let argon2 = Argon2::new(Algorithm::try_from(parsed.algorithm).ok()?, version, Params::try_from(&parsed).ok()?);
        let (mut salt, expected) = ([0; Salt::MAX_LENGTH], parsed.hash?);
        let salt = parsed.salt?.decode_b64(&mut salt).ok()?;
        let mut output = vec![0; expected.len()];
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut output, working_memory(argon2.params())).ok()?;
        // Outputs compare in constant time.
        Some(Output::new(&output).ok()? == expected)
    };
    right().unwrap_or(false)
}

/// What a hash is computed in. The GNU C library keeps what was freed for later unless it was more than 32 MB; small things then settle in
/// it, and after twenty log-ins a gateway would hold 380 MB for nothing. So more is asked for, and what is not used is never touched.
fn working_memory(params: &Params) -> Vec<Block> {
    const GIVEN_BACK: usize = 33 * 1024 * 1024 / Block::SIZE;
    let mut blocks = Vec::with_capacity(params.block_count().max(GIVEN_BACK));
    blocks.resize(params.block_count(), Block::default());
    blocks
}

/// RFC 5802 §3.
fn scram_keys(hash: ScramHash, password: &str) -> Result<ScramKeys, StoreError> {
    let salt = random::<SALT>()?;
    let (stored_key, server_key) = match hash {
        ScramHash::Sha1 => {
            let salted = Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password.as_bytes(), &salt, ITERATIONS));
            (Sha1::digest(mac::<Hmac<Sha1>>(&*salted, b"Client Key")?).to_vec(), mac::<Hmac<Sha1>>(&*salted, b"Server Key")?)
        }
        ScramHash::Sha256 => {
            let salted = Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), &salt, ITERATIONS));
            (Sha256::digest(mac::<Hmac<Sha256>>(&*salted, b"Client Key")?).to_vec(), mac::<Hmac<Sha256>>(&*salted, b"Server Key")?)
        }
    };
    Ok(ScramKeys { salt: salt.to_vec(), iterations: ITERATIONS, stored_key, server_key })
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut mac = <M as Mac>::new_from_slice(key).map_err(|error| StoreError::Database(error.to_string()))?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// From the system's generator.
pub fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Database(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}
