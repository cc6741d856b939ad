//! Names and passwords on the LAN: who it is, or why not, at a pace that makes guessing useless.
//!
//! A right password is remembered for ten minutes as a keyed hash, in memory alone: mail programs open a connection every few minutes, and
//! argon2id costs 19 MiB and some 30 ms each time. What is remembered is void as soon as the account changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
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
    attempts: Mutex<Attempts>,
    /// One of them is over: whoever waits for it looks again.
    settled: Notify,
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
        let (remembered, underway, attempts) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Login { store, current, key, remembered, underway, attempts, settled: Notify::new() })
    }

    /// The user who is logged in by that name (`alice`, `alice@` the LAN domain, or an address that maps to that user alone) and password
    /// from that address. Failures are logged here.
    pub async fn check(&self, from: IpAddr, name: &str, password: &SecretString) -> Result<Account, Refused> {
        // A name that leads nowhere is checked all the same, against no account: the answer takes as long as any other.
        let user = self.user(name);
        let key = self.hash(&user, password);
        let place = self.admit(from, name, key, usize::MAX).await?;
        let now = Instant::now();
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
        match outcome {
            Err(Refused::Wrong) => place.was_wrong(),
            _ => place.was_right(),
        }
        outcome
    }

    /// The keys by which somebody of that name proves his password without saying it, and whose they are. Nobody of that name, or nobody who
    /// may log in: keys that nothing fits, for one name always the same, so that a stranger learns nothing from them.
    pub async fn keys(&self, from: IpAddr, name: &str) -> Result<(Option<Account>, ScramKeys), Refused> {
        let user = self.user(name);
        let limit = self.limit();
        if self.attempts().are_too_many(from, &self.hash_of_name(&user), (limit, limit), Instant::now()) {
            return Err(throttled(from, name));
        }
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

    /// The end of a log-in that began with [`Login::keys`]: `proved` says whether the proof was right. However many began side by side, no
    /// more are looked at than other log-ins.
    ///
    /// A proof does not tell one wrong password from another. All of one name's count as one against the address, so that a telephone with
    /// last year's password keeps nobody else out; and so many of one name's alone are too many for that name, until the last is forgotten.
    pub async fn settle(&self, from: IpAddr, name: &str, account: Option<Account>, proved: bool) -> Result<Account, Refused> {
        let place = self.admit(from, name, self.hash_of_name(&self.user(name)), self.limit()).await?;
        match account {
            Some(account) if proved => Ok(account),
            _ => {
                tracing::warn!(client = %from, name = shown(name), "log-in refused: wrong name or password");
                place.was_wrong();
                Err(Refused::Wrong)
            }
        }
    }

    /// Lets a log-in be looked at; waits while as many from that address are as may still fail, so that guesses side by side don't all slip
    /// in before the first one is counted. `of_key`: so many failures with this very key are too many.
    async fn admit(&self, from: IpAddr, name: &str, key: [u8; 32], of_key: usize) -> Result<Place<'_>, Refused> {
        loop {
            let settled = self.settled.notified();
            let admission = self.attempts().admit(from, key, (self.limit(), of_key), Instant::now());
            match admission {
                Admission::Granted => return Ok(Place { login: self, from, key }),
                Admission::Refused => return Err(throttled(from, name)),
                Admission::Later => settled.await,
            }
        }
    }

    fn limit(&self) -> usize {
        self.current.borrow().config.access.login_failures as usize
    }

    /// Who that is; a name that leads nowhere stands for itself.
    fn user(&self, name: &str) -> String {
        self.current.borrow().mapping.login(name).unwrap_or_else(|| name.to_owned())
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

    fn hash_of_name(&self, user: &str) -> [u8; 32] {
        *blake3::Hasher::new_keyed(&self.key).update(b"a proof by ").update(user.as_bytes()).finalize().as_bytes()
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        lock(&self.attempts)
    }
}

/// A log-in that is being looked at.
struct Place<'a> {
    login: &'a Login,
    from: IpAddr,
    key: [u8; 32],
}

impl Place<'_> {
    fn was_wrong(self) {
        self.login.attempts().note(self.from, &self.key, Some(Instant::now()));
    }

    fn was_right(self) {
        self.login.attempts().note(self.from, &self.key, None);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.login.attempts().leave(self.from, &self.key);
        self.login.settled.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary(error: &StoreError) -> Refused {
    tracing::error!(%error, "a log-in could not be checked");
    Refused::Temporary
}

fn throttled(from: IpAddr, name: &str) -> Refused {
    tracing::warn!(client = %from, name = shown(name), "log-in not looked at: too many failures from this address");
    Refused::Throttled
}

/// A name as a stranger sent it, for the log: bounded, and escaped by the log's own quoting.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

/// Log-ins by address that were wrong or are being looked at. The same wrong password again counts once: a forgotten telephone with last
/// year's password is no attack.
#[derive(Default)]
struct Attempts {
    by_address: HashMap<IpAddr, HashMap<[u8; 32], Attempt>>,
}

/// Log-ins with one name and password, or with proofs of one name.
#[derive(Default)]
struct Attempt {
    /// The last one, and how many.
    wrong: Option<(Instant, usize)>,
    underway: usize,
}

impl Attempt {
    fn failures(&self, now: Instant) -> usize {
        self.wrong.filter(|(at, _)| now.duration_since(*at) < MEMORY).map_or(0, |(_, times)| times)
    }

    fn matters(&self, now: Instant) -> bool {
        self.underway > 0 || self.failures(now) > 0
    }
}

enum Admission {
    Granted,
    /// If those before it turn out right.
    Later,
    Refused,
}

impl Attempts {
    /// Whether so much failed from there (different keys, this key) that nothing more is looked at.
    fn are_too_many(&self, from: IpAddr, key: &[u8; 32], limits: (usize, usize), now: Instant) -> bool {
        let Some(tries) = self.by_address.get(&network(from)) else { return false };
        let wrong = tries.values().filter(|attempt| attempt.failures(now) > 0).count();
        wrong >= limits.0 || tries.get(key).is_some_and(|attempt| attempt.failures(now) >= limits.1)
    }

    fn admit(&mut self, from: IpAddr, key: [u8; 32], limits: (usize, usize), now: Instant) -> Admission {
        if self.are_too_many(from, &key, limits, now) {
            return Admission::Refused;
        }
        if self.by_address.len() >= MAX_ADDRESSES {
            self.by_address.retain(|_, tries| tries.values().any(|attempt| attempt.matters(now)));
            if self.by_address.len() >= MAX_ADDRESSES {
                return Admission::Granted;
            }
        }
        let tries = self.by_address.entry(network(from)).or_default();
        tries.retain(|_, attempt| attempt.matters(now));
        let room = tries.len() < limits.0;
        match tries.get(&key) {
            None if !room => return Admission::Later,
            Some(known) if known.failures(now) + known.underway >= limits.1 => return Admission::Later,
            _ => {}
        }
        tries.entry(key).or_default().underway += 1;
        Admission::Granted
    }

    /// It was wrong at that time; or right.
    fn note(&mut self, from: IpAddr, key: &[u8; 32], wrong: Option<Instant>) {
        if let Some(attempt) = self.by_address.get_mut(&network(from)).and_then(|tries| tries.get_mut(key)) {
            attempt.wrong = wrong.map(|now| (now, attempt.failures(now) + 1));
        }
    }

    /// It is no longer being looked at.
    fn leave(&mut self, from: IpAddr, key: &[u8; 32]) {
        let Some(tries) = self.by_address.get_mut(&network(from)) else { return };
        if let Some(attempt) = tries.get_mut(key) {
            attempt.underway = attempt.underway.saturating_sub(1);
            if attempt.underway == 0 && attempt.wrong.is_none() {
                tries.remove(key);
            }
        }
        if tries.is_empty() {
            self.by_address.remove(&network(from));
        }
    }
}

/// A customer of an ISP has a whole IPv6 /64 to guess from. On a LAN, a /64 is everybody.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) if address.is_unique_local() || address.is_unicast_link_local() || address.is_loopback() => address.into(),
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

    const TEN: (usize, usize) = (10, usize::MAX);

    impl Attempts {
        fn fail(&mut self, from: IpAddr, key: u8, now: Instant) {
            assert!(matches!(self.admit(from, [key; 32], TEN, now), Admission::Granted));
            self.note(from, &[key; 32], Some(now));
            self.leave(from, &[key; 32]);
        }

        fn of(&self, from: IpAddr, now: Instant) -> usize {
            (0..).take_while(|limit| self.are_too_many(from, &[0; 32], (*limit, usize::MAX), now)).count().saturating_sub(1)
        }
    }

    #[test]
    fn failures_count_by_address_and_age() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        attempts.fail(from("192.0.2.1"), 1, start);
        attempts.fail(from("192.0.2.1"), 2, start + MEMORY / 2);
        assert_eq!(attempts.of(from("192.0.2.1"), start + MEMORY / 2), 2);
        assert_eq!(attempts.of(from("::ffff:192.0.2.1"), start + MEMORY / 2), 2);
        assert_eq!(attempts.of(from("192.0.2.2"), start), 0);
        assert_eq!(attempts.of(from("192.0.2.1"), start + MEMORY), 1);
        assert_eq!(attempts.of(from("192.0.2.1"), start + 2 * MEMORY), 0);
    }

    #[test]
    fn one_old_password_again_and_again_is_one_failure() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        for n in 0..50 {
            attempts.fail(from("192.0.2.1"), 7, start + Duration::from_secs(n));
        }
        assert_eq!(attempts.of(from("192.0.2.1"), start + Duration::from_secs(50)), 1);
        assert!(attempts.are_too_many(from("192.0.2.1"), &[7; 32], (10, 10), start + Duration::from_secs(50)));
    }

    #[test]
    fn what_is_being_looked_at_makes_others_wait_and_is_no_failure() {
        let (mut attempts, now, here) = (Attempts::default(), Instant::now(), from("192.0.2.1"));
        for key in 0..10 {
            assert!(matches!(attempts.admit(here, [key; 32], TEN, now), Admission::Granted));
        }
        assert!(matches!(attempts.admit(here, [10; 32], TEN, now), Admission::Later));
        assert!(matches!(attempts.admit(here, [9; 32], TEN, now), Admission::Granted));
        assert_eq!(attempts.of(here, now), 0);
        attempts.note(here, &[0; 32], None);
        attempts.leave(here, &[0; 32]);
        assert!(matches!(attempts.admit(here, [10; 32], TEN, now), Admission::Granted));
        for key in 1..=10 {
            attempts.note(here, &[key; 32], Some(now));
            attempts.leave(here, &[key; 32]);
        }
        assert!(matches!(attempts.admit(here, [11; 32], TEN, now), Admission::Refused));
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_but_for_a_lan() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        attempts.fail(from("2001:db8::1"), 1, now);
        attempts.fail(from("2001:db8::2"), 2, now);
        assert_eq!(attempts.of(from("2001:db8::ffff:2"), now), 2);
        assert_eq!(attempts.of(from("2001:db8:0:1::1"), now), 0);
        for (guesser, neighbour) in [("fe80::1", "fe80::2"), ("fd00::1", "fd00::2")] {
            attempts.fail(from(guesser), 1, now);
            assert_eq!((attempts.of(from(guesser), now), attempts.of(from(neighbour), now)), (1, 0));
        }
    }
}
