//! Mail addresses, parsed once: an [`Address`] can't hold CR, LF or NUL (RFC 5321 §4.1.2, RFC 6531).
//!
//! Knows nothing of whose address it is.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use unicode_normalization::UnicodeNormalization;

/// RFC 5321 §4.5.3.1.2.
const MAX_DOMAIN: usize = 255;
/// RFC 5321 §4.5.3.1.1 says 64; VERP and SRS senders write longer ones, and refusing those would lose mail.
const MAX_LOCAL: usize = 256;

/// A domain as it is compared and sent: lower-case A-labels, no final dot, or an address literal in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

/// A mailbox address. Written as it was found; two are equal if their [keys](Address::key) are.
#[derive(Debug, Clone)]
pub struct Address {
    local: String,
    domain: Domain,
    key: String,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub String);

fn refuse<T>(why: impl Into<String>) -> Result<T, AddressError> {
    Err(AddressError(why.into()))
}

impl Domain {
    /// Parses and normalises: IDNA to A-labels, lower case, one final dot dropped.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return refuse("the domain is missing");
        }
        if text.len() > MAX_DOMAIN {
            return refuse("the domain is longer than 255 bytes");
        }
        if let Some(literal) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            let address = literal.strip_prefix("IPv6:").or_else(|| literal.strip_prefix("ipv6:")).unwrap_or(literal);
            return match address.parse::<std::net::IpAddr>() {
                Ok(_) => Ok(Domain(text.to_ascii_lowercase())),
                Err(_) => refuse(format!("“{text}” is no address literal")),
            };
        }
        // Of letters, digits and the like IDNA makes small ones, no more, unless one of the labels is encoded.
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        let mut ascii = text.to_ascii_lowercase();
        if !plain || ascii.contains("xn--") {
            ascii = idna::domain_to_ascii(text).map_err(|_| AddressError(format!("“{text}” is no domain")))?;
        }
        let fits = |label: &str| {
            !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // Encoded, it may have become longer: what goes on the wire counts.
        if ascii.len() > MAX_DOMAIN {
            return refuse("the domain is longer than 255 bytes when it is encoded");
        }
        if !ascii.split('.').all(fits) {
            return refuse(format!("“{text}” is no domain"));
        }
        Ok(Domain(ascii))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registered domain, as far as that can be told without a public-suffix list: the last two labels, or three below a short
    /// second level such as `co.uk`.
    pub fn registered(&self) -> &str {
        let mut dots = self.0.rmatch_indices('.').map(|(at, _)| at);
        let (Some(last), Some(second)) = (dots.next(), dots.next()) else { return &self.0 };
        let below_short_level = self.0.len() - last == 3 && last - second <= 4;
        match (below_short_level, dots.next()) {
            (true, Some(third)) => &self.0[third + 1..],
            (true, None) => &self.0,
            (false, _) => &self.0[second + 1..],
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Address {
    /// Parses `local@domain`, in angle brackets or not; a quoted local part is unquoted.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let text = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
        let Some((local, domain)) = text.rsplit_once('@') else {
            return refuse(format!("“{text}” has no @"));
        };
        let domain = Domain::parse(domain)?;
        match local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
            Some(quoted) => Self::new(&unquote(quoted)?, &domain),
            None if local.chars().all(is_dot_atom_char) => Self::new(local, &domain),
            None => refuse(format!("“{local}” needs quotes before the @")),
        }
    }

    /// Joins two parts; the local part is not quoted.
    pub fn new(local: &str, domain: &Domain) -> Result<Self, AddressError> {
        if local.is_empty() {
            return refuse("there is nothing before the @");
        }
        if local.len() > MAX_LOCAL {
            return refuse(format!("the part before the @ is longer than {MAX_LOCAL} bytes"));
        }
        if local.chars().any(char::is_control) {
            return refuse("a control character stands before the @");
        }
        let folded = if local.is_ascii() { local.to_ascii_lowercase() } else { local.nfc().flat_map(char::to_lowercase).collect() };
        Ok(Self { local: local.to_owned(), domain: domain.clone(), key: format!("{folded}@{domain}") })
    }

    /// The local part as it was written, unquoted.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// What all writings of one address share: the local part in NFC and lower case, `@`, the domain.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The text behind the first `+` of the local part (RFC 5233), if there is some on both sides.
    pub fn tag(&self) -> Option<&str> {
        self.local.split_once('+').filter(|(user, tag)| !user.is_empty() && !tag.is_empty()).map(|(_, tag)| tag)
    }

    /// The address without its tag; `None` if it has none.
    pub fn without_tag(&self) -> Option<Address> {
        self.tag()?;
        Self::new(self.local.split_once('+')?.0, &self.domain).ok()
    }

    /// Whether SMTPUTF8 is needed to name it (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

/// As it goes on the wire and into headers: the local part quoted where RFC 5321 §4.1.2 asks for it, and where it would begin like an
/// encoded word, as which it would be read (RFC 2047 §5).
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.local.chars().all(is_dot_atom_char)
            && !self.local.starts_with('.')
            && !self.local.ends_with('.')
            && !self.local.contains("..")
            && !self.local.starts_with("=?");
        if plain {
            return write!(out, "{}@{}", self.local, self.domain);
        }
        out.write_str("\"")?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                out.write_str("\\")?;
            }
            write!(out, "{c}")?;
        }
        write!(out, "\"@{}", self.domain)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Address {}
impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}
impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// `atext` or a dot (RFC 5322 §3.2.3, widened by RFC 6531 §3.3). Dots in odd places are let through: such addresses exist.
fn is_dot_atom_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// Takes the backslashes out of `qcontent` (RFC 5321 §4.1.2).
fn unquote(quoted: &str) -> Result<String, AddressError> {
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().ok_or_else(|| AddressError("a backslash ends the quotes".into()))?),
            '"' => return refuse("a quote stands inside the quotes"),
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: Option<&str>) {
        assert_eq!(Address::parse(text).ok().map(|a| a.to_string()).as_deref(), shown, "{text}");
    }

    #[test]
    fn parses_and_prints() {
        check("alice@example.com", Some("alice@example.com"));
        check(" <Alice@EXAMPLE.com.> ", Some("Alice@example.com"));
        check("a@bücher.example", Some("a@xn--bcher-kva.example"));
        check("\"a b\"@example.com", Some("\"a b\"@example.com"));
        check("\"a\\\"b\"@example.com", Some("\"a\\\"b\"@example.com"));
        check("o'brien+x@[192.0.2.1]", Some("o'brien+x@[192.0.2.1]"));
        check("rüdiger@example.com", Some("rüdiger@example.com"));
        check("=?d?@example.com", Some("\"=?d?\"@example.com"));
        check("a b@example.com", None);
        check("alice", None);
        check("@example.com", None);
        check("alice@", None);
        check("alice@exa mple.com", None);
        check(&format!("alice@{}example", "é.".repeat(40)), None);
        check("alice@example.com\r\nRCPT TO:<x@y>", None);
        check("\"a\r\nb\"@example.com", None);
        check("a\0b@example.com", None);
    }

    #[test]
    fn compares_without_case_and_composition() {
        assert_eq!(Address::parse("RÜDIGER@example.com"), Address::parse("ru\u{308}diger@EXAMPLE.COM"));
    }

    #[test]
    fn tags() {
        let tagged = Address::parse("office+alice@example.com").unwrap();
        assert_eq!(tagged.tag(), Some("alice"));
        assert_eq!(tagged.without_tag(), Address::parse("office@example.com").ok());
        assert_eq!(Address::parse("+x@example.com").unwrap().tag(), None);
    }

    #[test]
    fn registered_domains() {
        for (domain, registered) in [
            ("mx1.gmx.net", "gmx.net"),
            ("gmx.net", "gmx.net"),
            ("a.b.bbc.co.uk", "bbc.co.uk"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Domain::parse(domain).unwrap().registered(), registered);
        }
    }

    #[test]
    fn trap_54_no_address_holds_a_line_end() {
        for end in ["\r", "\n", "\r\n", "\0"] {
            for text in [
                format!("a{end}b@example.com"),
                format!("a@exam{end}ple.com"),
                format!("\"a{end}b\"@example.com"),
                format!("a@example.com{end}"),
            ] {
                assert!(!Address::parse(&text).is_ok_and(|address| address.to_string().contains(['\r', '\n', '\0'])), "{text:?}");
            }
            assert!(Address::new(&format!("a{end}RCPT TO:<x>"), &Domain::parse("example.com").unwrap()).is_err());
        }
    }
}
