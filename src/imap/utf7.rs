//! Modified UTF-7, in which IMAP4rev1 writes mailbox names (RFC 3501 §5.1.3). Pure.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The name in Unicode; `None` if it is not modified UTF-7. Names that are not in shortest form are accepted: some clients write them.
pub fn decode(name: &[u8]) -> Option<String> {
    let mut decoded = String::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        match first {
            b'&' => {
                let end = memchr::memchr(b'-', tail)?;
                if end == 0 {
                    decoded.push('&');
                } else {
                    let bytes = ENGINE.decode(&tail[..end]).ok()?;
                    if !bytes.len().is_multiple_of(2) {
                        return None;
                    }
                    let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                    for unit in char::decode_utf16(units) {
                        decoded.push(unit.ok()?);
                    }
                }
                rest = &tail[end + 1..];
            }
            0x20..=0x7e => {
                decoded.push(char::from(*first));
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(decoded)
}

/// The name as an IMAP4rev1 client reads it.
pub fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut pending: Vec<u8> = Vec::new();
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            shift_out(&mut pending, &mut encoded);
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                pending.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    shift_out(&mut pending, &mut encoded);
    encoded
}

fn shift_out(pending: &mut Vec<u8>, encoded: &mut String) {
    if !pending.is_empty() {
        encoded.push('&');
        ENGINE.encode_string(&*pending, encoded);
        encoded.push('-');
        pending.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    fn check(encoded: &str, decoded: &str) {
        assert_eq!(decode(encoded.as_bytes()).as_deref(), Some(decoded), "{encoded}");
        assert_eq!(encode(decoded), encoded);
    }

    #[test]
    fn both_ways() {
        check("INBOX", "INBOX");
        check("Entw&APw-rfe", "Entwürfe");
        check("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語");
        check("A&-B", "A&B");
        check("&2D3eAA-", "\u{1f600}");
        check("&AOQA5A-", "ää");
    }

    #[test]
    fn refused() {
        for name in ["&", "&AOQ", "a\u{7f}", "&A-", "&2D0-", "\u{fc}", "&AOQ=-"] {
            assert_eq!(decode(name.as_bytes()), None, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{0,30}") {
            proptest::prop_assert_eq!(decode(encode(&name).as_bytes()), Some(name));
        }
    }
}
