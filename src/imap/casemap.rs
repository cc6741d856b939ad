//! The collation of SORT and THREAD: i;unicode-casemap (RFC 5051, RFC 5256 §1). Pure.

use unicode_normalization::UnicodeNormalization;

/// What texts are compared by, byte for byte: title case, decomposed.
pub fn casemap(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_uppercase() } else { text.chars().map(title).nfkd().collect() }
}

/// The simple titlecase mapping of UnicodeData.txt: one character for one, so that `ß` stays as it is.
fn title(character: char) -> char {
    let (number, mut upper) = (u32::from(character), character.to_uppercase());
    let title = match number {
        // Digraphs have a third form, and Georgian letters none but their own.
        0x01c4..=0x01c6 => 0x01c5,
        0x01c7..=0x01c9 => 0x01c8,
        0x01ca..=0x01cc => 0x01cb,
        0x01f1..=0x01f3 => 0x01f2,
        0x10d0..=0x10fa | 0x10fd..=0x10ff => number,
        // What std writes as a letter and an iota has a character of its own here.
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => number + 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => number + 9,
        _ => match (upper.next(), upper.next()) {
            (Some(upper), None) => return upper,
            _ => number,
        },
    };
    char::from_u32(title).unwrap_or(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_case_decomposed() {
        let check = |text: &str, expected: &str| assert_eq!(casemap(text), expected, "{text}");
        check("Plain text", "PLAIN TEXT");
        check("Ärger", "A\u{308}RGER");
        check("a\u{308}rger", "A\u{308}RGER");
        check("Straße", "STRAßE");
        check("ǆ", "Dz\u{30c}");
        check("ᾳ", "Α\u{345}");
        check("ა", "ა");
        check("①½", "11\u{2044}2");
    }
}
