//! Flags and keywords (RFC 9051 §2.3.2). Pure.

/// `\Seen`
pub const SEEN: u32 = 1;
/// `\Answered`
pub const ANSWERED: u32 = 2;
/// `\Flagged`
pub const FLAGGED: u32 = 4;
/// `\Deleted`
pub const DELETED: u32 = 8;
/// `\Draft`
pub const DRAFT: u32 = 16;

/// The system flags by name, in the order in which they are listed.
pub const SYSTEM: [(&str, u32); 5] =
    [("\\Answered", ANSWERED), ("\\Flagged", FLAGGED), ("\\Deleted", DELETED), ("\\Seen", SEEN), ("\\Draft", DRAFT)];

/// A longer keyword is refused; the store indexes them.
pub const MAX_KEYWORD: usize = 128;

/// System flags as bits, and keywords as first written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// Bits of [`SEEN`] and its like.
    pub system: u32,
    /// Compared without regard to case.
    pub keywords: Vec<String>,
}

impl Flags {
    /// Adds a flag by its name on the wire. `\Recent` may be named but not set, and is passed over; another unknown system flag is an error.
    pub fn insert(&mut self, name: &str) -> Result<(), &'static str> {
        if name.starts_with('\\') {
            if let Some((_, bit)) = SYSTEM.iter().find(|(system, _)| system.eq_ignore_ascii_case(name)) {
                self.system |= bit;
                return Ok(());
            }
            return if name.eq_ignore_ascii_case("\\Recent") { Ok(()) } else { Err("There is no such system flag.") };
        }
        if name.len() > MAX_KEYWORD {
            return Err("This keyword is too long.");
        }
        if !self.keywords.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.keywords.push(name.to_owned());
        }
        Ok(())
    }
}

/// `flag-list` without its parentheses.
pub fn render(system: u32, keywords: &[String], recent: bool) -> String {
    let mut names: Vec<&str> = SYSTEM.iter().filter(|(_, bit)| system & bit != 0).map(|(name, _)| *name).collect();
    if recent {
        names.push("\\Recent");
    }
    names.extend(keywords.iter().map(String::as_str));
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        let mut flags = Flags::default();
        for name in ["\\seen", "$Junk", "\\RECENT", "$junk", "\\Deleted"] {
            flags.insert(name).unwrap();
        }
        assert!(flags.insert("\\Starred").is_err());
        assert_eq!(render(flags.system, &flags.keywords, true), "\\Deleted \\Seen \\Recent $Junk");
    }
}
