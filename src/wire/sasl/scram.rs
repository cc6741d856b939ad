//! SCRAM (RFC 5802, RFC 7677), both sides; the client's with channel binding.

use super::{ChannelBinding, SaslError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;

/// A hostile server could otherwise keep us computing for hours.
const MAX_ITERATIONS: u32 = 1_000_000;
/// No channel binding, no other user to act as (RFC 5802 §7, `gs2-header`).
///
/// Deviation: `y,,`, which lets a server find out that somebody took its -PLUS out of the offer, is not sent: servers that know no binding
/// at all refuse it, and inside TLS with a checked certificate there is nobody to take it out.
const HEADER: &str = "n,,";

#[derive(Debug, Clone, Copy)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }

    fn keyed(self, key: &[u8], bytes: &[u8]) -> Vec<u8> {
        // HMAC takes keys of any length.
        match self {
            Self::Sha1 => Hmac::<Sha1>::new_from_slice(key).map(|mac| mac.chain_update(bytes).finalize().into_bytes().to_vec()),
            Self::Sha256 => Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(bytes).finalize().into_bytes().to_vec()),
        }
        .unwrap_or_default()
    }

    /// `Hi` of RFC 5802 §2.2.
    fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let password = prepared(password);
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password.as_bytes(), salt, iterations).to_vec(),
            Self::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations).to_vec(),
        }
    }
}

pub(super) struct ScramClient {
    hash: Hash,
    /// `gs2-header`, and the bytes that bind to the channel behind it.
    header: String,
    binding: Vec<u8>,
    first_bare: String,
    nonce: String,
    step: Step,
}

enum Step {
    First,
    Proof { server_signature: Vec<u8> },
    Verified,
}

impl ScramClient {
    pub(super) fn new(hash: Hash, user: &str, nonce: &str) -> Self {
        let user = prepared(user).replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Self { hash, header: HEADER.into(), binding: Vec::new(), first_bare, nonce: nonce.to_owned(), step: Step::First }
    }

    /// Ties the log-in to its connection.
    pub(super) fn bound_to(self, binding: Option<&ChannelBinding>) -> Self {
        match binding {
            Some(ChannelBinding { name, data }) => Self { header: format!("p={name},,"), binding: data.clone(), ..self },
            None => self,
        }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.first_bare).into_bytes()
    }

    pub(super) fn answer(&mut self, challenge: &[u8], password: &str) -> Result<Vec<u8>, SaslError> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| SaslError::Malformed("SCRAM is not UTF-8"))?;
        match &self.step {
            Step::First if challenge.is_empty() => Ok(self.first()),
            Step::First => self.prove(challenge, password),
            Step::Proof { server_signature } => {
                if attribute(challenge, 0, "e=").is_some() {
                    return Err(SaslError::Refused);
                }
                let signature = attribute(challenge, 0, "v=").and_then(|v| STANDARD.decode(v).ok()).ok_or(SaslError::Impostor)?;
                if !bool::from(signature.ct_eq(server_signature)) {
                    return Err(SaslError::Impostor);
                }
                self.step = Step::Verified;
                Ok(Vec::new())
            }
            Step::Verified => Err(SaslError::Malformed("SCRAM is over")),
        }
    }

    pub(super) fn is_verified(&self) -> bool {
        matches!(self.step, Step::Verified)
    }

    fn prove(&mut self, server_first: &str, password: &str) -> Result<Vec<u8>, SaslError> {
        let malformed = SaslError::Malformed("SCRAM's first answer");
        let nonce = attribute(server_first, 0, "r=").ok_or(malformed.clone())?;
        let salt = attribute(server_first, 1, "s=").and_then(|s| STANDARD.decode(s).ok()).ok_or(malformed.clone())?;
        let iterations: u32 = attribute(server_first, 2, "i=").and_then(|i| i.parse().ok()).ok_or(malformed.clone())?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() || !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(malformed);
        }
        let salted = self.hash.salted(password, &salt, iterations);
        let client_key = self.hash.keyed(&salted, b"Client Key");
        let bound = [self.header.as_bytes(), &self.binding].concat();
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(bound));
        let all = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_signature = self.hash.keyed(&self.hash.of(&client_key), all.as_bytes());
        let server_key = self.hash.keyed(&salted, b"Server Key");
        self.step = Step::Proof { server_signature: self.hash.keyed(&server_key, all.as_bytes()) };
        Ok(format!("{without_proof},p={}", STANDARD.encode(xor(&client_key, &client_signature))).into_bytes())
    }
}

/// What the server keeps of a password for SCRAM-SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Random.
    pub salt: Vec<u8>,
    /// At least 4096 (RFC 7677 §4).
    pub iterations: u32,
    /// H(ClientKey)
    pub stored_key: [u8; 32],
    /// ServerKey
    pub server_key: [u8; 32],
}

impl ScramKeys {
    /// From a password. Slow on purpose.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = Hash::Sha256.salted(password, salt, iterations);
        let fixed = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).unwrap_or_default();
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: fixed(Hash::Sha256.of(&Hash::Sha256.keyed(&salted, b"Client Key"))),
            server_key: fixed(Hash::Sha256.keyed(&salted, b"Server Key")),
        }
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ScramKeys(…)")
    }
}

/// A client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// Who logs in.
    pub user: String,
    /// Whom to act as; empty is the same.
    pub authorize_as: String,
    /// What the client's last message repeats: its `gs2-header`, and the channel's own bytes.
    bound: Vec<u8>,
    bare: String,
    nonce: String,
}

/// Reads a client's first message (RFC 5802 §7, `client-first-message`). `offered` is what a log-in over this connection can be bound to, if
/// that was offered; `plus` says that the client chose the mechanism that is. One that believes us to have no binding is refused where we
/// offered it: somebody in between took it out of the offer (§6).
pub fn client_first(message: &[u8], offered: Option<&ChannelBinding>, plus: bool) -> Result<ClientFirst, SaslError> {
    let malformed = SaslError::Malformed("SCRAM's first message");
    let text = std::str::from_utf8(message).map_err(|_| malformed.clone())?;
    let mut parts = text.splitn(3, ',');
    let (Some(flag), Some(acting), Some(bare)) = (parts.next(), parts.next(), parts.next()) else { return Err(malformed) };
    let binding = match (flag, flag.strip_prefix("p="), offered) {
        ("n", ..) if !plus => Vec::new(),
        ("y", _, None) if !plus => Vec::new(),
        (_, Some(name), Some(binding)) if plus && name == binding.name => binding.data.clone(),
        _ => return Err(malformed),
    };
    let authorize_as = match acting {
        "" => String::new(),
        acting => name(acting.strip_prefix("a=").ok_or(malformed.clone())?).ok_or(malformed.clone())?,
    };
    let user = attribute(bare, 0, "n=").and_then(name).filter(|user| !user.is_empty()).ok_or(malformed.clone())?;
    let nonce = attribute(bare, 1, "r=").filter(|nonce| !nonce.is_empty()).ok_or(malformed)?;
    let header = text[..text.len() - bare.len()].to_owned();
    Ok(ClientFirst { user, authorize_as, bound: [header.as_bytes(), &binding].concat(), nonce: nonce.to_owned(), bare: bare.to_owned() })
}

impl ClientFirst {
    /// The server's first message, and what checks the answer. `nonce` is random, printable, without commas.
    pub fn challenge(self, keys: ScramKeys, nonce: &str) -> (Vec<u8>, ServerFinal) {
        let nonce = format!("{}{nonce}", self.nonce);
        let first = format!("r={nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        let before = format!("{},{first}", self.bare);
        (first.into_bytes(), ServerFinal { keys, bound: self.bound, nonce, before })
    }
}

/// Waits for the client's proof.
#[derive(Debug)]
pub struct ServerFinal {
    keys: ScramKeys,
    bound: Vec<u8>,
    nonce: String,
    before: String,
}

impl ServerFinal {
    /// Checks the client's final message; the result is the server's.
    pub fn verify(self, message: &[u8]) -> Result<Vec<u8>, SaslError> {
        let malformed = SaslError::Malformed("SCRAM's last message");
        let text = std::str::from_utf8(message).map_err(|_| malformed.clone())?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(malformed.clone())?;
        let proof = STANDARD.decode(proof).map_err(|_| malformed.clone())?;
        let bound = attribute(without_proof, 0, "c=").and_then(|c| STANDARD.decode(c).ok());
        if bound.as_ref() != Some(&self.bound)
            || attribute(without_proof, 1, "r=") != Some(self.nonce.as_str())
            || proof.len() != self.keys.stored_key.len()
        {
            return Err(malformed);
        }
        let all = format!("{},{without_proof}", self.before);
        let signature = Hash::Sha256.keyed(&self.keys.stored_key, all.as_bytes());
        let client_key = xor(&proof, &signature);
        if !bool::from(Hash::Sha256.of(&client_key).ct_eq(&self.keys.stored_key)) {
            return Err(SaslError::Refused);
        }
        let server = Hash::Sha256.keyed(&self.keys.server_key, all.as_bytes());
        Ok(format!("v={}", STANDARD.encode(server)).into_bytes())
    }
}

fn attribute<'a>(message: &'a str, index: usize, key: &str) -> Option<&'a str> {
    message.split(',').nth(index)?.strip_prefix(key)
}

/// `saslname` (RFC 5802 §5.1): `=2C` and `=3D` are all that may follow an equals sign.
fn name(escaped: &str) -> Option<String> {
    let well_formed = escaped.match_indices('=').all(|(at, _)| matches!(escaped.get(at + 1..at + 3), Some("2C" | "3D")));
    well_formed.then(|| escaped.replace("=2C", ",").replace("=3D", "="))
}

/// The part of SASLprep (RFC 4013) that passwords people type meet with: compatibility composition, and one kind of space.
fn prepared(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() && !c.is_ascii() { ' ' } else { c }).nfkc().collect()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7677_example() {
        let mut client = ScramClient::new(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = client.answer(server_first, "pencil").unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(proof).unwrap(), expected);
        assert!(!client.is_verified());
        client.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "pencil").unwrap();
        assert!(client.is_verified());
    }

    #[test]
    fn rfc_5802_example() {
        let mut client = ScramClient::new(Hash::Sha1, "user", "fyko+d2lbbFgONRv9qkxdawL");
        let proof = client.answer(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096", "pencil").unwrap();
        assert!(String::from_utf8(proof).unwrap().ends_with(",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="));
        client.answer(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", "pencil").unwrap();
    }

    #[test]
    fn a_bound_log_in_names_its_channel() {
        let binding = ChannelBinding { name: "tls-exporter", data: vec![0, 1, 2, 0xff] };
        let mut client = ScramClient::new(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO").bound_to(Some(&binding));
        assert_eq!(client.first(), b"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = client.answer(b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "pencil").unwrap();
        let proof = String::from_utf8(proof).unwrap();
        let bound = STANDARD.decode(attribute(&proof, 0, "c=").unwrap()).unwrap();
        assert_eq!(bound, b"p=tls-exporter,,\x00\x01\x02\xff");
    }

    fn log_in(password: &str, typed: &str) -> Result<(), SaslError> {
        let keys = ScramKeys::derive(password, b"salt and pepper", 4096);
        let mut client = ScramClient::new(Hash::Sha256, "a,b=c", "clientnonce");
        let first = client_first(&client.first(), None, false)?;
        assert_eq!(first.user, "a,b=c");
        let (challenge, server) = first.challenge(keys, "servernonce");
        let last = server.verify(&client.answer(&challenge, typed)?)?;
        client.answer(&last, typed).map(|_| ())
    }

    #[test]
    fn a_bound_log_in_is_worth_nothing_over_another_connection() {
        let binding = |byte: u8| ChannelBinding { name: "tls-exporter", data: vec![byte; 32] };
        let log_in = |ours: &ChannelBinding, theirs: &ChannelBinding| {
            let keys = ScramKeys::derive("secret", b"salt and pepper", 4096);
            let mut client = ScramClient::new(Hash::Sha256, "alice", "clientnonce").bound_to(Some(theirs));
            let (challenge, server) = client_first(&client.first(), Some(ours), true)?.challenge(keys, "servernonce");
            server.verify(&client.answer(&challenge, "secret")?).map(drop)
        };
        assert_eq!(log_in(&binding(1), &binding(1)), Ok(()));
        assert!(log_in(&binding(1), &binding(2)).is_err());
        let first = |text: &str, plus| client_first(text.as_bytes(), Some(&binding(1)), plus).is_ok();
        assert!(first("n,,n=u,r=x", false) && first("p=tls-exporter,,n=u,r=x", true));
        assert!(!first("y,,n=u,r=x", false), "somebody hid the offer");
        assert!(!first("p=tls-exporter,,n=u,r=x", false) && !first("n,,n=u,r=x", true) && !first("p=tls-unique,,n=u,r=x", true));
        assert!(client_first(b"y,,n=u,r=x", None, false).is_ok());
    }

    #[test]
    fn both_sides_agree() {
        assert_eq!(log_in("pässwort", "pa\u{308}sswort"), Ok(()));
        assert_eq!(log_in("right", "wrong"), Err(SaslError::Refused));
    }

    #[test]
    fn lying_servers_are_found_out() {
        let challenge = |text: &str| ScramClient::new(Hash::Sha256, "u", "mine").answer(text.as_bytes(), "p").is_err();
        assert!(challenge("r=other,s=QSXCR+Q6sek8bf92,i=4096"), "not our nonce");
        assert!(challenge("r=mine,s=QSXCR+Q6sek8bf92,i=4096"), "nothing added to it");
        assert!(challenge("r=mineX,s=QSXCR+Q6sek8bf92,i=4000000000"), "hours of work");
        assert!(challenge("r=mineX,s=!,i=1"));
        let mut client = ScramClient::new(Hash::Sha256, "u", "mine");
        client.answer(b"r=mineX,s=QSXCR+Q6sek8bf92,i=1", "p").unwrap();
        assert_eq!(client.answer(b"v=QUJD", "p"), Err(SaslError::Impostor));
    }

    #[test]
    fn broken_client_messages_are_refused() {
        for bad in ["", "n,,", "p=tls-unique,,n=u,r=x", "n,,n=,r=x", "n,,n=u", "n,,n=a=zz,r=x", "n,x,n=u,r=x", "n,,m=1,n=u,r=x"] {
            assert!(client_first(bad.as_bytes(), None, false).is_err(), "{bad}");
        }
    }
}
