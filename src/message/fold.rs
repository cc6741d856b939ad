//! How texts are compared: in lower case, white space of any length being one space, and letters with their marks composed (normalization
//! form C), however they were written.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// A text as it is compared.
pub fn fold(text: &str) -> String {
    let mut folded = Folded { bytes: vec![0; text.len()], length: 0, after_space: false };
    pieces(text, |piece| folded.take(piece));
    folded.bytes.truncate(folded.length);
    // It was put together of whole characters.
    String::from_utf8(folded.bytes).unwrap_or_default()
}

/// A text in pieces of which every byte, as [`small`] makes it, is what [`fold`] makes of the text, but for spaces side by side.
pub fn pieces(text: &str, mut each: impl FnMut(&[u8])) {
    let mut rest = text;
    loop {
        // Nearly all text is ASCII, which needs no tables of characters.
        let (ascii, other) = rest.split_at(ascii_length(rest.as_bytes()));
        let (other, behind) = other.split_at(other.bytes().position(|byte| byte.is_ascii()).unwrap_or(other.len()));
        if other.is_empty() {
            each(ascii.as_bytes());
            break;
        }
        if other.chars().all(is_small) {
            each(ascii.as_bytes());
            each(other.as_bytes());
        } else if is_composed(other) {
            each(ascii.as_bytes());
            other.chars().flat_map(lower).for_each(|character| each(character.encode_utf8(&mut [0; 4]).as_bytes()));
        } else {
            // The last letter may carry the first mark; with what stands behind, no ASCII is composed.
            let (ascii, last) = ascii.split_at(ascii.len().saturating_sub(1));
            each(ascii.as_bytes());
            // Marks are put in order, of which a text may have millions; nothing that is written has more than this allows side by side.
            let characters = last.chars().chain(other.chars()).flat_map(lower).stream_safe();
            characters.nfc().for_each(|character| each(character.encode_utf8(&mut [0; 4]).as_bytes()));
        }
        rest = behind;
    }
}

/// A character as it is compared, by itself.
fn lower(character: char) -> impl Iterator<Item = char> {
    let character = match character {
        // Greek writes its small sigma in another way where a word ends; in capitals nothing tells them apart.
        'ς' => 'σ',
        space if space.is_whitespace() => ' ',
        other => other,
    };
    character.to_lowercase()
}

/// Whether what is no ASCII is composed already (normalization form C), and stays so in small letters: of capitals that are composed only İ
/// comes apart, into a letter and a mark that others may have to stand before.
fn is_composed(text: &str) -> bool {
    text.chars().all(stands_alone) || !text.contains('İ') && is_nfc_quick(text.chars()) == IsNormalized::Yes
}

/// Whether a character, and the small letter of it, is composed and composes with nothing before it. True of what most who don't write
/// in ASCII write in, which is thus found out without tables.
fn stands_alone(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{2ff}'
            | 'Α'..='\u{482}'
            | '\u{e01}'..='\u{e37}'
            | '\u{e40}'..='\u{e47}'
            | '\u{2010}'..='\u{205e}'
            | '\u{20a0}'..='\u{20bf}'
            | '\u{3001}'..='\u{3029}'
            | '\u{3041}'..='\u{3096}'
            | '\u{30a0}'..='\u{30ff}'
            | '\u{4e00}'..='\u{9fff}'
            | '가'..='힣'
            | '\u{ff01}'..='\u{ff5e}'
    )
}

/// Whether a character [stands alone](stands_alone) and is what [`lower`] makes of it: most of what is read in other scripts.
fn is_small(character: char) -> bool {
    matches!(
        character,
        'ß'..='ÿ'
            | 'σ'..='ώ'
            | 'α'..='ρ'
            | 'а'..='џ'
            | '\u{e01}'..='\u{e37}'
            | '\u{e40}'..='\u{e47}'
            | '\u{2010}'..='\u{2027}'
            | '\u{3001}'..='\u{3029}'
            | '\u{3041}'..='\u{3096}'
            | '\u{30a0}'..='\u{30ff}'
            | '\u{4e00}'..='\u{9fff}'
            | '가'..='힣'
            | '\u{ff01}'..='\u{ff20}'
    )
}

/// Whether exactly the ASCII of a text, in small letters, is in what [`fold`] makes of it; if not said so, it may be.
pub fn keeps_ascii(text: &str) -> bool {
    // İ is written with an i and a dot.
    text.is_ascii() || text.chars().all(|character| stands_alone(character) && character != 'İ')
}

/// A byte of a text in [`pieces`]: ASCII in small letters, a space for white space, others as they are.
#[inline]
pub fn small(byte: u8) -> u8 {
    SMALL[usize::from(byte)]
}

const SMALL: [u8; 256] = {
    let mut small = [b' '; 256];
    let mut byte = 0;
    while byte < small.len() {
        if !matches!(byte as u8, b' ' | b'\t'..=b'\r') {
            small[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    small
};

/// How much at the front of a text is ASCII.
fn ascii_length(text: &[u8]) -> usize {
    let whole = text.chunks_exact(16).take_while(|chunk| chunk.is_ascii()).count() * 16;
    whole + text[whole..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// Folded text that grows in place.
struct Folded {
    bytes: Vec<u8>,
    length: usize,
    after_space: bool,
}

impl Folded {
    /// Without a branch for each kind of byte, since words are short.
    fn take(&mut self, piece: &[u8]) {
        if self.bytes.len() < self.length + piece.len() {
            self.bytes.resize(self.length + piece.len(), 0);
        }
        let into = &mut self.bytes[self.length..];
        let (mut length, mut after_space) = (0, self.after_space);
        for byte in piece {
            let small = small(*byte);
            let is_space = small == b' ';
            into[length] = small;
            length += usize::from(!(is_space && after_space));
            after_space = is_space;
        }
        self.length += length;
        self.after_space = after_space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unicode_normalization::char::canonical_combining_class;

    #[test]
    fn what_reads_the_same_is_the_same() {
        for (text, expected) in [
            ("zzMu\u{308}ller", "zzmüller"),
            ("ZZMÜLLER", "zzmüller"),
            ("x\u{323}\u{307} \u{212b} A\u{30a}", "ẋ\u{323} å å"),
            ("H\u{331} ẖ", "ẖ ẖ"),
            ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
            ("\u{1112}\u{1161}\u{11ab} 한", "한 한"),
            ("\u{3042}\u{304b}\u{3099}", "あが"),
            ("a\u{a0}\u{308}b", "a \u{308}b"),
            ("\u{308}", "\u{308}"),
        ] {
            assert_eq!(fold(text), fold(expected), "{text}");
        }
        assert_eq!(fold("zzMu\u{308}ller"), "zzmüller");
    }

    #[test]
    fn any_number_of_marks() {
        let folded = fold(&("a".to_owned() + &"\u{308}\u{323}".repeat(100_000)));
        assert!(folded.starts_with('ạ') && folded.len() < 500_000);
    }

    #[test]
    fn what_the_short_ways_take_for_granted() {
        for character in '\0'..='\u{2ffff}' {
            let text = character.to_string();
            let folded: String = text.chars().flat_map(lower).nfc().collect();
            if is_nfc_quick(text.chars()) == IsNormalized::Yes {
                // Marks included, which stay in their order, since they have no small letters.
                assert_eq!(text.chars().flat_map(lower).collect::<String>(), folded, "{character:?}");
                assert!(canonical_combining_class(character) == 0 || folded == text, "{character:?}");
            }
            if stands_alone(character) {
                assert_eq!(canonical_combining_class(character), 0, "{character:?}");
                assert_eq!(is_nfc_quick(text.chars()), IsNormalized::Yes, "{character:?}");
            }
            if is_small(character) {
                assert!(stands_alone(character) && folded == text, "{character:?}");
            }
            let has_ascii = folded.contains(|c: char| c.is_ascii() && c != ' ');
            assert!(!has_ascii || character.is_ascii() || !keeps_ascii(&text), "{character:?}");
        }
    }

    proptest! {
        /// The short ways are the same way, wherever a text is cut.
        #[test]
        fn folding(text in "(A|b| |\t|\r\n|ß|İ|Σ|ς|\u{a0}|\u{2003}|é|日|u|H|\u{308}|\u{331}|\u{323}|\u{334}|\u{338}|<|\u{1100}|\u{1161}|\u{11a8}|가|\u{37e}){0,24}") {
            let mut expected = String::new();
            for character in text.chars().flat_map(lower).nfc() {
                if character != ' ' || !expected.ends_with(' ') {
                    expected.push(character);
                }
            }
            prop_assert_eq!(fold(&text), expected.clone());
            prop_assert_eq!(fold(&expected), expected);
        }

        /// However the marks of a text are written, it is the same.
        #[test]
        fn equal_texts(text in "(A|u|H|ü|Ǘ|ẖ|\u{308}|\u{331}|\u{323}|가|각|\u{212b}|\u{130}|ᾈ){0,12}") {
            let apart: String = text.nfd().collect();
            prop_assert_eq!(fold(&text), fold(&apart));
        }
    }
}
