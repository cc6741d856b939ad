//! Passwords: argon2id for those that arrive in clear, salted keys for SCRAM (RFC 5802, RFC 7677). Never kept otherwise.

use super::{Account, AccountId, Store, StoreError};
use secrecy::SecretString;

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

impl Store {
    /// Sets a user's password: argon2id and both SCRAM keys.
    pub async fn password_set(&self, id: AccountId, password: &SecretString) -> Result<(), StoreError> {
        let _ = (id, password);
        todo!()
    }

    /// Checks a user's password by log-in name, at most two at a time and off the async threads: 19 MiB and some 30 ms each. Callers
    /// remember a success themselves ([`Account::generation`] tells when to forget it).
    pub async fn password_check(&self, name: &str, password: &SecretString) -> Result<Verdict, StoreError> {
        let _ = (name, password);
        todo!()
    }

    /// The keys of a user who may log in.
    pub async fn scram_keys(&self, name: &str, hash: ScramHash) -> Result<Option<(Account, ScramKeys)>, StoreError> {
        todo!("{name} {hash:?}")
    }
}
