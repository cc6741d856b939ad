//! Names and passwords on the LAN: who it is, or why not, at a pace that makes guessing useless.

use std::net::IpAddr;

use secrecy::SecretString;

/// Why a log-in was refused. A client is told [`Refused::Wrong`] in the same words and the same time whether the name, the password or both
/// were wrong.
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
pub struct Login {}

impl Login {
    /// The user who is logged in by that name and password from that address.
    pub async fn check(&self, from: IpAddr, name: &str, password: &SecretString) -> Result<String, Refused> {
        let _ = (from, name, password);
        Err(Refused::Temporary)
    }
}
