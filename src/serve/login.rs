//! Names and passwords on the LAN: who it is, or why not, at a pace that makes guessing useless.
//!
//! A right password is remembered for ten minutes as a keyed hash, in memory alone: mail programs open a connection every few minutes, and
//! argon2id costs 19 MiB and some 30 ms each time. What is remembered is void as soon as the account changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Current;
use crate::mapping::Mailbox;
use crate::store::password::{ITERATIONS, ScramHash, Verdict};
use crate::store::{Account, Store, StoreError};
use crate::wire::sasl::ScramKeys;

/// How long a right password is remembered, and how long a wrong one counts.
const MEMORY: Duration = Duration::from_secs(600);
/// So many addresses with failures are remembered: an attacker with more of them than that is not stopped by counting.
const MAX_ADDRESSES: usize = 10_000;
/// So many right passwords: several times what an office has.
const MAX_REMEMBERED: usize = 10_000;

/// Why a log-in was refused. A client is told [`Refused::Wrong`] in the same words and after the same time whether the name, the password
/// or both were wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Name or password. POP3 `[AUTH]`, IMAP `[AUTHENTICATIONFAILED]`, SMTP 535 5.7.8.
    Wrong,
    /// The password is right, but the user is disabled. POP3 `[AUTH]`, IMAP `[CONTACTADMIN]`, SMTP 535 5.7.13.
    Disabled,
    /// Too many failures from this address; not even looked at. POP3 `[SYS/TEMP]`, IMAP `[LIMIT]`, SMTP 454 4.7.0.
    Throttled,
    /// The store did not answer. POP3 `[SYS/TEMP]`, IMAP `[UNAVAILABLE]`, SMTP 454 4.7.0.
    Temporary,
}

/// Checks log-ins; one for the whole gateway.
pub struct Login {
    store: Store,
    current: watch::Receiver<Arc<Current>>,
    /// Of this process alone, so that the hashes below are worth nothing elsewhere.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    /// Log-ins with the same name and password that are being checked: one hash serves all of them, if it is right.
    underway: Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
    failures: Mutex<Failures>,
}

struct Remembered {
    generation: i64,
    until: Instant,
}

impl Login {
    /// Nothing is remembered yet. Fails only if the system has no randomness.
    pub fn new(store: Store, current: watch::Receiver<Arc<Current>>) -> Result<Login, std::io::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Login { store, current, key, remembered: Mutex::default(), underway: Mutex::default(), failures: Mutex::default() })
    }

    /// The user who is logged in by that name (`alice`, `alice@` the LAN domain, or an address that maps to that user alone) and password
    /// from that address. Failures are logged here.
    pub async fn check(&self, from: IpAddr, name: &str, password: &SecretString) -> Result<Account, Refused> {
        let now = Instant::now();
        let current = self.current.borrow().clone();
        if self.failures().of(from, now) >= current.config.access.login_failures as usize {
            tracing::warn!(client = %from, name = shown(name), "log-in not looked at: too many failures from this address");
            return Err(Refused::Throttled);
        }
        // A name that leads nowhere is checked all the same, against no account: the answer takes as long as any other.
        let user = current.mapping.login(name).unwrap_or_else(|| name.to_owned());
        let key = self.hash(&user, password);
        // It counts as a failure until it has succeeded: guesses side by side must not all slip in before the first one is counted.
        self.failures().add(from, key, now);
        let outcome = match self.recall(&user, &key, now).await {
            Ok(Some(account)) => Ok(account),
            Ok(None) => self.in_turn(&user, password, key, now).await,
            Err(error) => Err(temporary(&error)),
        };
        match outcome {
            Err(Refused::Wrong) => tracing::warn!(client = %from, name = shown(name), "log-in refused: wrong name or password"),
            Err(Refused::Disabled) => tracing::warn!(client = %from, %user, "log-in refused: the user is disabled"),
            _ => (),
        }
        if !matches!(outcome, Err(Refused::Wrong)) {
            self.failures().forget(from, &key);
        }
        outcome
    }

    /// The keys by which somebody of that name proves his password without saying it, and whose they are. Nobody of that name, or nobody who
    /// may log in: keys that nothing fits, for one name always the same, so that a stranger learns nothing from them.
    pub async fn keys(&self, from: IpAddr, name: &str) -> Result<(Option<Account>, ScramKeys), Refused> {
        let current = self.current.borrow().clone();
        if self.failures().of(from, Instant::now()) >= current.config.access.login_failures as usize {
            tracing::warn!(client = %from, name = shown(name), "log-in not looked at: too many failures from this address");
            return Err(Refused::Throttled);
        }
        let user = current.mapping.login(name).unwrap_or_else(|| name.to_owned());
        let found = self.store.scram_keys(&user, ScramHash::Sha256).await.map_err(|error| temporary(&error))?;
        let whole = |key: Vec<u8>| <[u8; 32]>::try_from(key).ok();
        if let Some((account, keys)) = found
            && let (Some(stored_key), Some(server_key)) = (whole(keys.stored_key), whole(keys.server_key))
        {
            return Ok((Some(account), ScramKeys { salt: keys.salt, iterations: keys.iterations, stored_key, server_key }));
        }
        let secret = self.store.mark_key().await.map_err(|error| temporary(&error))?;
        let decoy = blake3::Hasher::new_derive_key("mailroom: a name that nobody has").update(&secret).update(user.as_bytes()).finalize();
        let (salt, rest) = decoy.as_bytes().split_at(16);
        let stored_key = *blake3::hash(rest).as_bytes();
        Ok((None, ScramKeys { salt: salt.to_vec(), iterations: ITERATIONS, stored_key, server_key: self.key }))
    }

    /// The end of a log-in that began with [`Login::keys`]: `proved` says whether `proof` was right.
    pub fn settle(&self, from: IpAddr, name: &str, account: Option<Account>, proved: bool, proof: &[u8]) -> Result<Account, Refused> {
        match account {
            Some(account) if proved => Ok(account),
            _ => {
                tracing::warn!(client = %from, name = shown(name), "log-in refused: wrong name or password");
                self.failures().add(from, *blake3::hash(proof).as_bytes(), Instant::now());
                Err(Refused::Wrong)
            }
        }
    }

    /// The account, if this very password was right a short while ago and nothing has changed since.
    async fn recall(&self, user: &str, key: &[u8; 32], now: Instant) -> Result<Option<Account>, StoreError> {
        let generation = match lock(&self.remembered).get(key) {
            Some(remembered) if remembered.until > now => remembered.generation,
            _ => return Ok(None),
        };
        let account = self.store.account(&Mailbox::User(user.to_owned())).await?;
        Ok(account.filter(|account| account.generation == generation && !account.disabled))
    }

    /// A mail program opens several connections at once, and each brings the same password.
    async fn in_turn(&self, user: &str, password: &SecretString, key: [u8; 32], now: Instant) -> Result<Account, Refused> {
        let turn = Arc::clone(lock(&self.underway).entry(key).or_default());
        let held = Arc::clone(&turn).lock_owned().await;
        let outcome = match self.recall(user, &key, now).await {
            Ok(Some(account)) => Ok(account),
            Ok(None) => self.verify(user, password, key, now).await,
            Err(error) => Err(temporary(&error)),
        };
        drop((held, turn));
        lock(&self.underway).retain(|_, turn| Arc::strong_count(turn) > 1);
        outcome
    }

    async fn verify(&self, user: &str, password: &SecretString, key: [u8; 32], now: Instant) -> Result<Account, Refused> {
        match self.store.password_check(user, password).await {
            Ok(Verdict::Right(account)) => {
                let mut remembered = lock(&self.remembered);
                if remembered.len() >= MAX_REMEMBERED {
                    remembered.retain(|_, entry| entry.until > now);
                }
                if remembered.len() < MAX_REMEMBERED {
                    remembered.insert(key, Remembered { generation: account.generation, until: now + MEMORY });
                }
                Ok(account)
            }
            Ok(Verdict::Disabled) => Err(Refused::Disabled),
            Ok(Verdict::Wrong) => Err(Refused::Wrong),
            Err(error) => Err(temporary(&error)),
        }
    }

    fn hash(&self, user: &str, password: &SecretString) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(user.len() as u64).to_le_bytes());
        hasher.update(user.as_bytes());
        hasher.update(password.expose_secret().as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        lock(&self.failures)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary(error: &StoreError) -> Refused {
    tracing::error!(%error, "a log-in could not be checked");
    Refused::Temporary
}

/// A name as a stranger sent it, for the log: bounded, and escaped by the log's own quoting.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

/// Wrong log-ins by address. The same wrong password again counts once: a forgotten telephone with last year's password is no attack.
#[derive(Default)]
struct Failures {
    by_address: HashMap<IpAddr, HashMap<[u8; 32], Instant>>,
}

impl Failures {
    fn of(&mut self, from: IpAddr, now: Instant) -> usize {
        let Some(tries) = self.by_address.get_mut(&network(from)) else { return 0 };
        tries.retain(|_, at| now.duration_since(*at) < MEMORY);
        tries.len()
    }

    fn forget(&mut self, from: IpAddr, key: &[u8; 32]) {
        if let Some(tries) = self.by_address.get_mut(&network(from)) {
            tries.remove(key);
            if tries.is_empty() {
                self.by_address.remove(&network(from));
            }
        }
    }

    fn add(&mut self, from: IpAddr, key: [u8; 32], now: Instant) {
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.retain(|_, tries| tries.values().any(|at| now.duration_since(*at) < MEMORY));
        }
        if self.by_address.len() < MAX_ADDRESSES {
            self.by_address.entry(network(from)).or_default().insert(key, now);
        }
    }
}

/// An IPv6 customer has a whole /64 to guess from.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn failures_count_by_address_and_age() {
        let mut failures = Failures::default();
        let start = Instant::now();
        failures.add(from("192.0.2.1"), [1; 32], start);
        failures.add(from("192.0.2.1"), [2; 32], start + MEMORY / 2);
        assert_eq!(failures.of(from("192.0.2.1"), start + MEMORY / 2), 2);
        assert_eq!(failures.of(from("::ffff:192.0.2.1"), start + MEMORY / 2), 2);
        assert_eq!(failures.of(from("192.0.2.2"), start), 0);
        assert_eq!(failures.of(from("192.0.2.1"), start + MEMORY), 1);
        assert_eq!(failures.of(from("192.0.2.1"), start + 2 * MEMORY), 0);
    }

    #[test]
    fn one_old_password_again_and_again_is_one_failure() {
        let mut failures = Failures::default();
        let start = Instant::now();
        for n in 0..50 {
            failures.add(from("192.0.2.1"), [7; 32], start + Duration::from_secs(n));
        }
        assert_eq!(failures.of(from("192.0.2.1"), start + Duration::from_secs(50)), 1);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one() {
        let mut failures = Failures::default();
        let now = Instant::now();
        failures.add(from("2001:db8::1"), [1; 32], now);
        failures.add(from("2001:db8::2"), [2; 32], now);
        failures.forget(from("2001:db8::3"), &[2; 32]);
        assert_eq!(failures.of(from("2001:db8::ffff:2"), now), 1);
        assert_eq!(failures.of(from("2001:db8:0:1::1"), now), 0);
    }
}
