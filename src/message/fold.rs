//! How texts are compared: in lower case, white space of any length being one space.

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
        each(ascii.as_bytes());
        let Some(first) = other.chars().next() else { break };
        match first.is_whitespace() {
            true => each(b" "),
            false => first.to_lowercase().for_each(|character| each(character.encode_utf8(&mut [0; 4]).as_bytes())),
        }
        rest = &other[first.len_utf8()..];
    }
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

    proptest! {
        /// The fast way for ASCII is the same way.
        #[test]
        fn folding(text in "(A|b| |\t|\r\n|ß|İ|Σ|\u{a0}|\u{2003}|é|日){0,40}") {
            let mut expected = String::new();
            for character in text.chars() {
                match character.is_whitespace() {
                    true if expected.ends_with(' ') => {}
                    true => expected.push(' '),
                    false => expected.extend(character.to_lowercase()),
                }
            }
            prop_assert_eq!(fold(&text), expected);
        }
    }
}
