//! Encoded words (RFC 2047) and raw 8-bit text of header values → what a person reads.

use super::transfer;
use base64::Engine;
use mail_parser::decoders::charsets::map::charset_decoder;
use memchr::memmem;
use std::borrow::Cow;

/// Bytes of one value that are decoded: a subject of more is no subject.
pub const MAX_VALUE: usize = 64 * 1024;
/// RFC 2047 §2 says 75; broken writers put whole subjects into one.
const MAX_WORD: usize = 8 * 1024;
/// Bytes of text in one encoded word that we write: 45 make 60 in base64, and 75 are allowed (RFC 2047 §2).
const MAX_ENCODED: usize = 45;

/// Decodes a header value: line ends taken out, encoded words replaced, raw 8-bit text taken as UTF-8 or else as Windows-1252. The
/// result holds no control characters: they become spaces. Words that can't be decoded stay as they are. Of a value that is longer than
/// [`MAX_VALUE`] the beginning.
pub fn decode(value: &[u8]) -> String {
    decode_all(&value[..value.len().min(MAX_VALUE)])
}

/// The same, whatever the length: for values that are searched, and are no longer than [`super::header::MAX_BYTES`].
pub fn decode_all(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut pending: Option<Run> = None;
    let mut rest = value;
    while let Some(start) = memmem::find(rest, b"=?") {
        let (before, at) = rest.split_at(start);
        let Some((word, length)) = Word::parse(at) else {
            flush(&mut text, &mut pending);
            push_raw(&mut text, &rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        };
        // RFC 2047 §6.2: white space between two encoded words is not shown.
        if pending.is_none() || !before.iter().all(u8::is_ascii_whitespace) {
            flush(&mut text, &mut pending);
            push_raw(&mut text, before);
        }
        Run::add(&mut text, &mut pending, word);
        rest = &at[length..];
    }
    flush(&mut text, &mut pending);
    push_raw(&mut text, rest);
    text.trim().to_owned()
}

/// Text for an unstructured field such as Subject: as it is if it is printable ASCII, else in encoded words, folded.
pub fn encode(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_ascii() && !text.contains("=?") {
        return text;
    }
    let mut words: Vec<String> = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        if piece.len() + c.len_utf8() > MAX_ENCODED {
            words.push(std::mem::take(&mut piece));
        }
        piece.push(c);
    }
    words.push(piece);
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", base64::engine::general_purpose::STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

/// A display name (RFC 5322 §3.2.5): atoms as they are, else quoted, else in encoded words.
pub fn phrase(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if name.chars().all(is_atom) && !name.contains("=?") && !name.is_empty() {
        return name;
    }
    if name.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && !name.contains("=?") {
        return format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    encode(&name)
}

/// Raw 8-bit text as text: UTF-8, or else Windows-1252, which is what such senders mean.
pub fn lossless(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => charset(b"windows-1252", bytes).unwrap_or_else(|| String::from_utf8_lossy(bytes)),
    }
}

/// Decodes bytes of a named charset; `None` if nobody knows the name.
pub fn charset<'b>(name: &[u8], bytes: &'b [u8]) -> Option<Cow<'b, str>> {
    if name.eq_ignore_ascii_case(b"utf-8") {
        // Nearly always it is what it claims to be, and that is seen faster than what is wrong with it.
        return Some(std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed));
    }
    let name: &[u8] = match () {
        _ if is_one_of(name, LOST) => return None,
        _ if is_one_of(name, SHIFT_JIS) => b"shift_jis",
        _ if is_one_of(name, EUC_KR) => b"euc-kr",
        // RFC 2781 §4.3: without a mark of the byte order, the high byte comes first.
        _ if is_one_of(name, UTF_16) && !bytes.starts_with(b"\xFE\xFF") && !bytes.starts_with(b"\xFF\xFE") => b"utf-16be",
        _ => name,
    };
    charset_decoder(name).map(|decode| Cow::Owned(decode(bytes)))
}

/// Charsets of which the decoder makes a single sign that something was there (as browsers do, for fear of scripts): even the words in ASCII
/// would be lost.
const LOST: &[&str] = &["iso-2022-kr", "csiso2022kr", "iso-2022-cn", "iso-2022-cn-ext", "hz-gb-2312", "replacement"];
/// What Windows calls its Japanese charset, by numbers that the decoder doesn't know.
const SHIFT_JIS: &[&str] = &["cp932", "ms932", "windows-932"];
/// The same for Korean.
const EUC_KR: &[&str] = &["cp949", "ms949", "uhc", "windows-949"];
/// UTF-16 of either byte order.
const UTF_16: &[&str] = &["utf-16", "csutf16"];

/// Whether a charset has one of these names, whatever the case; `_` is taken for `-`.
fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    let same = |byte: u8, other: u8| byte.eq_ignore_ascii_case(&other) || byte == b'_' && other == b'-';
    names.iter().any(|other| name.len() == other.len() && name.iter().zip(other.bytes()).all(|(byte, other)| same(*byte, other)))
}

/// `=?charset?encoding?text?=`, its text decoded to bytes.
struct Word<'a> {
    charset: &'a [u8],
    bytes: Vec<u8>,
}

impl<'a> Word<'a> {
    /// Reads one at the start of `at`, and says how long it is.
    fn parse(at: &'a [u8]) -> Option<(Self, usize)> {
        let inside = &at[2..at.len().min(MAX_WORD)];
        let (charset, rest) = split_at_question_mark(inside)?;
        let (encoding, text) = split_at_question_mark(rest)?;
        // RFC 2231 §5: a language may follow the charset.
        let charset = charset.split(|&b| b == b'*').next().unwrap_or(charset);
        if charset.is_empty() || !charset.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let end = memmem::find(text, b"?=")?;
        let bytes = match encoding {
            b"q" | b"Q" => q(&text[..end]),
            b"b" | b"B" => b(&text[..end]),
            _ => return None,
        };
        Some((Word { charset, bytes }, at.len().min(MAX_WORD) - text.len() + end + 2))
    }
}

/// Neighbouring words of one charset, decoded together: many writers cut characters in two.
struct Run {
    charset: Vec<u8>,
    bytes: Vec<u8>,
}

impl Run {
    fn add(text: &mut String, pending: &mut Option<Run>, word: Word<'_>) {
        match pending {
            Some(run) if run.charset.eq_ignore_ascii_case(word.charset) => run.bytes.extend(word.bytes),
            _ => {
                flush(text, pending);
                *pending = Some(Run { charset: word.charset.to_vec(), bytes: word.bytes });
            }
        }
    }
}

fn flush(text: &mut String, pending: &mut Option<Run>) {
    if let Some(run) = pending.take() {
        push_printable(text, &charset(&run.charset, &run.bytes).unwrap_or_else(|| lossless(&run.bytes)));
    }
}

fn push_raw(text: &mut String, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let unfolded: Vec<u8> = bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    push_printable(text, &lossless(&unfolded));
}

fn push_printable(text: &mut String, piece: &str) {
    text.extend(piece.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

fn split_at_question_mark(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // Charset and encoding are short; a limit keeps hostile values linear.
    let at = bytes.iter().take(80).position(|&b| b == b'?')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// RFC 2047 §4.2; what is no `=XX` stays as it is.
fn q(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = |i: usize| text.get(i).and_then(|&b| char::from(b).to_digit(16));
        match (text[at], hex(at + 1), hex(at + 2)) {
            (b'=', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'_', ..) => bytes.push(b' '),
            (b'\r' | b'\n', ..) => {}
            (other, ..) => bytes.push(other),
        }
        at += 1;
    }
    bytes
}

/// RFC 2047 §4.1
fn b(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    transfer::Base64::default().feed(text, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decodes() {
        for (value, expected) in [
            ("  plain text ", "plain text"),
            ("=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus?= Wien", "Grüße aus Wien"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=\r\n =?utf-8?b?w7w=?= x", "aü x"),
            ("=?utf-8?B?ww?= =?utf-8?B?vA==?=", "ü"),
            ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"),
            ("=?utf-8*de?Q?ja?=", "ja"),
            ("=?x-unknown?Q?=E4?=", "ä"),
            ("=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
            ("=?utf-8?Q?open", "=?utf-8?Q?open"),
            ("=?utf-8?Q?a=0D=0ABcc:_b=00?=", "a  Bcc: b"),
            ("=?=?utf-8?Q?a?=", "=?a"),
            ("a\r\n\tb", "a b"),
        ] {
            let got = decode(value.as_bytes());
            assert_eq!(got, expected, "{value}");
        }
        assert_eq!(decode(b"\xE4h"), "äh");
        assert_eq!(decode("äh".as_bytes()), "äh");
    }

    #[test]
    fn charsets_by_their_names() {
        for (name, bytes, expected) in [
            ("iso-2022-kr", &b"\x1b$)CHello"[..], None),
            ("HZ-GB-2312", b"Hello ~{<:Ky~}", None),
            ("csISO2022KR", b"Hello", None),
            ("iso_2022_cn", b"Hello", None),
            ("CP932", b"\x93\xfa\x96{", Some("日本")),
            ("ms932", b"\x87\x40", Some("①")),
            ("cp949", b"\xc7\xd1\x81\x41", Some("한갂")),
            ("UHC", b"\xc7\xd1", Some("한")),
            ("utf-16", b"\0H\0i", Some("Hi")),
            ("UTF-16", b"\xff\xfeH\0i\0", Some("Hi")),
            ("utf-16le", b"H\0i\0", Some("Hi")),
            ("windows-1252", b"\x80", Some("€")),
        ] {
            assert_eq!(charset(name.as_bytes(), bytes).as_deref(), expected, "{name}");
        }
        assert_eq!(decode(b"=?iso-2022-kr?B?GyQpQ0hlbGxv?="), "$)CHello");
    }

    #[test]
    fn phrases() {
        for (name, expected) in [
            ("Alice Smith", "Alice Smith"),
            ("Smith, \"A\"", "\"Smith, \\\"A\\\"\""),
            ("Jürgen", "=?utf-8?B?SsO8cmdlbg==?="),
            ("a\r\nBcc: b", "\"a  Bcc: b\""),
            ("=?x?q?y?=", "=?utf-8?B?PT94P3E/eT89?="),
        ] {
            assert_eq!(phrase(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn encoding_comes_back(text in "[a-zA-Zäöü€😀=?_,]{1,80}") {
            prop_assert_eq!(decode(encode(&text).as_bytes()), text.clone());
            prop_assert!(encode(&text).lines().all(|line| line.len() <= 76 || text.is_ascii()));
        }

        #[test]
        fn never_a_control_character(value in proptest::collection::vec(any::<u8>(), 0..200), words in "(=\\?(utf-8|big5|utf-7|iso-2022-jp)\\?[QB]\\?.{0,9}\\?=| ){0,9}") {
            let value = [value.as_slice(), words.as_bytes()].concat();
            prop_assert!(!decode(&value).contains(char::is_control));
        }
    }
}
