//! A certificate authority of the office's own, and a server certificate by it: made when first needed, renewed in time.
//!
//! The authority's certificate (`ca.pem`) is what people install on their machines; its key never leaves the store's directory.

use super::{Identity, TlsError};
use crate::service::platform;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::path::Path;

/// Apple's systems refuse server certificates that are valid for longer than 825 days, even below an authority of one's own.
const SERVER_DAYS: i64 = 397;
/// A new one is made when fewer days than this are left.
const RENEW_DAYS: i64 = 30;
const AUTHORITY_YEARS: i16 = 20;
const DAY: i64 = 86_400;

/// The names that clients may use for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNames {
    /// Host names.
    pub hosts: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl LocalNames {
    /// `hostname`, the machine's own name with and without `.local`, localhost, and the addresses of its interfaces.
    pub fn of_machine(hostname: &str) -> Self {
        let machine = gethostname::gethostname().to_string_lossy().to_lowercase();
        let first = machine.split('.').next().unwrap_or_default().to_owned();
        let mut hosts = vec![hostname.to_lowercase(), machine, format!("{first}.local"), first, "localhost".into()];
        let mut kept = std::collections::HashSet::new();
        hosts.retain(|host| matches!(ServerName::try_from(host.as_str()), Ok(ServerName::DnsName(_))) && kept.insert(host.clone()));
        let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect();
        // Link-local IPv6 can't be named without its zone, and temporary addresses come and go by the day.
        addresses.retain(|address| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
        });
        addresses.sort();
        addresses.dedup();
        Self { hosts, addresses }
    }
}

/// Loads the local certificate from `dir`, or makes it there, and the authority too if there is none. `now` is in seconds since 1970.
/// A certificate is made anew when it nears its end or lacks one of the names.
pub fn local_identity(dir: &Path, names: &LocalNames, now: i64) -> Result<Identity, TlsError> {
    let [chain, key] = ["server.pem", "server-key.pem"].map(|name| dir.join(name));
    if chain.exists()
        && key.exists()
        && let Ok(identity) = Identity::from_files(&chain, &key)
        && serves(&identity, names, now)
    {
        return Ok(identity);
    }
    let failed = |error: rcgen::Error| TlsError::Key(format!("no certificate could be made: {error}"));
    let (authority_pem, authority) = authority(dir, now)?;
    let server_key = KeyPair::generate().map_err(failed)?;
    let certificate = server_parameters(names, now).and_then(|p| p.signed_by(&server_key, &authority)).map_err(failed)?;
    let chain_pem = certificate.pem() + &authority_pem;
    let key_pem = server_key.serialize_pem();
    let identity = Identity::from_pem(chain_pem.as_bytes(), key_pem.as_bytes())?;
    write_key(&key, &key_pem)?;
    write(&chain, &chain_pem)?;
    Ok(identity)
}

fn serves(identity: &Identity, names: &LocalNames, now: i64) -> bool {
    let (Some(validity), Some(leaf)) = (identity.validity, identity.leaf()) else { return false };
    let Ok(parsed) = webpki::EndEntityCert::try_from(leaf) else { return false };
    let named = |name: ServerName<'_>| parsed.verify_is_valid_for_subject_name(&name).is_ok();
    (validity.not_before..validity.not_after - RENEW_DAYS * DAY).contains(&now)
        && names.hosts.iter().all(|host| ServerName::try_from(host.as_str()).is_ok_and(named))
        && names.addresses.iter().all(|address| named(ServerName::IpAddress((*address).into())))
}

/// The authority's parameters follow from its key and the year of its making, so that what signs today has the same name as `ca.pem`.
fn authority(dir: &Path, now: i64) -> Result<(String, Issuer<'static, KeyPair>), TlsError> {
    let failed = |error: rcgen::Error| TlsError::Key(format!("no certificate authority could be made: {error}"));
    let [certificate_file, key_file] = ["ca.pem", "ca-key.pem"].map(|name| dir.join(name));
    if certificate_file.exists() && key_file.exists() {
        let read = |file: &Path| {
            std::fs::read_to_string(file).map_err(|error| TlsError::File { file: file.into(), reason: format!("can't be read: {error}") })
        };
        let pem = read(&certificate_file)?;
        let key = KeyPair::from_pem(&read(&key_file)?).map_err(failed)?;
        return Ok((pem, Issuer::new(authority_parameters(&key, now), key)));
    }
    std::fs::create_dir_all(dir).map_err(|error| TlsError::File { file: dir.into(), reason: format!("can't be made: {error}") })?;
    let key = KeyPair::generate().map_err(failed)?;
    let parameters = authority_parameters(&key, now);
    let pem = parameters.self_signed(&key).map_err(failed)?.pem();
    write_key(&key_file, &key.serialize_pem())?;
    write(&certificate_file, &pem)?;
    Ok((pem, Issuer::new(parameters, key)))
}

fn authority_parameters(key: &KeyPair, now: i64) -> CertificateParams {
    let fingerprint = Sha256::digest(key.der_bytes());
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named(&format!("Mailroom local CA {:02x}{:02x}{:02x}", fingerprint[0], fingerprint[1], fingerprint[2]));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let year = date(now - DAY).year();
    parameters.not_before = date_time_ymd(year.into(), 1, 1);
    parameters.not_after = date_time_ymd((year + AUTHORITY_YEARS).into(), 1, 1);
    parameters
}

fn server_parameters(names: &LocalNames, now: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names.hosts.clone())?;
    parameters.subject_alt_names.extend(names.addresses.iter().map(|address| SanType::IpAddress(*address)));
    parameters.distinguished_name = named(names.hosts.first().map_or("mailroom", String::as_str));
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    let (from, to) = (date(now - DAY), date(now + SERVER_DAYS * DAY));
    // Clients refuse a second certificate with the same issuer and serial number.
    parameters.serial_number = Some(SerialNumber::from_slice(&now.to_be_bytes()));
    parameters.not_before = date_time_ymd(from.year().into(), from.month().unsigned_abs(), from.day().unsigned_abs());
    parameters.not_after = date_time_ymd(to.year().into(), to.month().unsigned_abs(), to.day().unsigned_abs());
    Ok(parameters)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished.push(DnType::OrganizationName, "Mailroom");
    distinguished
}

fn date(seconds: i64) -> jiff::civil::Date {
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn write(file: &Path, text: &str) -> Result<(), TlsError> {
    std::fs::write(file, text).map_err(|error| unwritten(file, &error))
}

fn write_key(file: &Path, text: &str) -> Result<(), TlsError> {
    platform::write_private(file, text.as_bytes()).map_err(|error| unwritten(file, &error))
}

fn unwritten(file: &Path, error: &std::io::Error) -> TlsError {
    TlsError::File { file: file.into(), reason: format!("can't be written: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_770_000_000;

    fn names(hosts: &[&str]) -> LocalNames {
        LocalNames { hosts: hosts.iter().map(|h| (*h).to_owned()).collect(), addresses: vec!["192.168.1.2".parse().unwrap()] }
    }

    #[test]
    fn is_made_once_and_renewed_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = local_identity(dir.path(), &names(&["mail.office.lan"]), NOW).unwrap();
        let authority = std::fs::read(dir.path().join("ca.pem")).unwrap();
        for key in ["ca-key.pem", "server-key.pem"] {
            assert!(!platform::others_can_read(&dir.path().join(key)), "{key}");
        }
        let again = local_identity(dir.path(), &names(&["mail.office.lan"]), NOW + 100 * DAY).unwrap();
        assert_eq!(first.pin(), again.pin());
        let renewed = local_identity(dir.path(), &names(&["mail.office.lan"]), NOW + 380 * DAY).unwrap();
        assert_ne!(first.pin(), renewed.pin());
        let renamed = local_identity(dir.path(), &names(&["mail.office.lan", "post.office.lan"]), NOW + 381 * DAY).unwrap();
        assert_ne!(renewed.pin(), renamed.pin());
        assert_eq!(authority, std::fs::read(dir.path().join("ca.pem")).unwrap(), "people have installed it");
    }

    #[test]
    fn a_machine_has_names() {
        let names = LocalNames::of_machine("Mail.Office.LAN");
        assert_eq!(names.hosts.first().map(String::as_str), Some("mail.office.lan"));
        assert!(names.hosts.iter().any(|host| host == "localhost"));
    }
}
