//! The little that we want to know of a certificate: from when to when it is valid, and the hashes of its key and of itself (RFC 5280 §4.1).

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: i64,
    /// To.
    pub not_after: i64,
}

/// SHA-256 of the SubjectPublicKeyInfo; `None` if the bytes are no certificate.
pub fn pin(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    Some(Sha256::digest(parsed.subject_public_key_info().as_ref()).into())
}

/// `tls-server-end-point` (RFC 5929 §4.1): the certificate's hash, by the function of its signature, but no weaker than SHA-256. `None` if
/// that signature has no single one.
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    /// 1.2.840.113549.1.1 and 1.2.840.10045.4: RSA and ECDSA signatures; what follows tells the hash.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let (_, outer, _) = element(certificate.as_ref())?;
    let (_, _, behind) = element(outer)?;
    let (_, algorithm, _) = element(behind)?;
    let (_, name, _) = element(algorithm)?;
    let kind = name.strip_prefix(RSA).or_else(|| name.strip_prefix(ECDSA))?;
    let bytes = certificate.as_ref();
    match (name.starts_with(RSA), kind) {
        (true, [4 | 5 | 11]) | (false, [1] | [3, 2]) => Some(Sha256::digest(bytes).to_vec()),
        (true, [12]) | (false, [3, 3]) => Some(Sha384::digest(bytes).to_vec()),
        (true, [13]) | (false, [3, 4]) => Some(Sha512::digest(bytes).to_vec()),
        _ => None,
    }
}

/// `None` if the bytes are no certificate.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let (_, outer, _) = element(certificate.as_ref())?;
    let (_, mut fields, _) = element(outer)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // serialNumber, signature, issuer
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, dates, _) = element(fields)?;
    let (from_tag, from, rest) = element(dates)?;
    let (to_tag, to, _) = element(rest)?;
    (tag == SEQUENCE).then_some(())?;
    Some(Validity { not_before: time(from_tag, from)?, not_after: time(to_tag, to)? })
}

/// Tag, contents and what follows of the first DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 restricts them.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let number = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let moment = jiff::civil::DateTime::new(year, number(0)?, number(2)?, number(4)?, number(6)?, number(8)?, 0).ok()?;
    Some(moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_kinds_of_time() {
        let mut parameters = rcgen::CertificateParams::new(vec!["mail.example".into()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2024, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        assert_eq!(validity(certificate.der()), Some(Validity { not_before: 1_709_164_800, not_after: 2_556_144_000 }));
        assert!(pin(certificate.der()).is_some());
    }

    #[test]
    fn an_end_point_is_hashed_as_it_was_signed() {
        for (algorithm, length) in
            [(&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)), (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)), (&rcgen::PKCS_ED25519, None)]
        {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::new(vec!["mail.example".into()]).unwrap().self_signed(&key).unwrap();
            assert_eq!(end_point(certificate.der()).map(|hash| hash.len()), length);
        }
    }

    #[test]
    fn garbage_is_no_certificate() {
        for garbage in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\xa0"] {
            assert_eq!(validity(&CertificateDer::from(garbage)), None);
        }
    }
}
