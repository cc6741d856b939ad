//! `xtext`: words that may hold spaces and letters of any kind, in a parameter that may not (RFC 3461 §4). Pure.

use std::fmt::Write as _;

/// `xtext = *( xchar / hexchar )`, `hexchar = "+" 2(%x30-39 / %x41-46)`. Control characters are refused, however written.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'+' {
            let digit = |b: u8| (b as char).to_digit(16).filter(|_| !b.is_ascii_lowercase());
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// The same back.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => out.push(byte as char),
            // A String takes whatever is written to it.
            _ => _ = write!(out, "+{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn there_and_back(text in "[^\\p{Cc}]{0,30}") {
            let there = encode(&text);
            proptest::prop_assert!(there.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'='));
            proptest::prop_assert_eq!(decode(&there), Some(text));
        }
    }

    #[test]
    fn what_is_none() {
        for text in ["+4", "+4g", "+4a", "+0D", "a+", "+FF"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(encode("QQ+1 é"), "QQ+2B1+20+C3+A9");
    }
}
