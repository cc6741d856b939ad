//! Part of a result, counted from its beginning or its end (RFC 9394). Pure.

use std::fmt;

use super::command::Invalid;
use super::command::lexer::Lexer;

/// `1:100`, or `-1:-100` from the end. The smaller number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    from: u32,
    to: u32,
    from_end: bool,
}

impl Partial {
    /// `partial-range = nz-number ":" nz-number / "-" nz-number ":-" nz-number`
    pub fn parse(lexer: &mut Lexer<'_>) -> Result<Partial, Invalid> {
        let from_end = lexer.take(b'-');
        let first = lexer.nz_number()?;
        lexer.expect(b':')?;
        if lexer.take(b'-') != from_end {
            return Err(Invalid::new("Both ends of a partial range are counted from the same side."));
        }
        let second = lexer.nz_number()?;
        Ok(Partial { from: first.min(second), to: first.max(second), from_end })
    }

    /// That part of a result, in the result's own order.
    pub fn of<'a>(&self, result: &'a [u32]) -> &'a [u32] {
        let position = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).min(result.len());
        let (before, up_to) = (position(self.from - 1), position(self.to));
        if self.from_end { &result[result.len() - up_to..result.len() - before] } else { &result[before..up_to] }
    }
}

impl fmt::Display for Partial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.from_end { "-" } else { "" };
        write!(out, "{sign}{}:{sign}{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::command::Dialect;

    #[test]
    fn slices() {
        let check = |text: &str, expected: Option<(&str, &[u32])>| {
            let partial = Partial::parse(&mut Lexer::new(text.as_bytes(), Dialect::default())).ok();
            let got = partial.map(|partial| (partial.to_string(), partial.of(&[5, 6, 7, 9]).to_vec()));
            assert_eq!(got, expected.map(|(shown, part)| (shown.to_owned(), part.to_vec())), "{text}");
        };
        check("1:2", Some(("1:2", &[5, 6])));
        check("4:2", Some(("2:4", &[6, 7, 9])));
        check("3:100", Some(("3:100", &[7, 9])));
        check("5:9", Some(("5:9", &[])));
        check("-1:-1", Some(("-1:-1", &[9])));
        check("-3:-2", Some(("-2:-3", &[6, 7])));
        check("-2:-4294967295", Some(("-2:-4294967295", &[5, 6, 7])));
        check("-9:-8", Some(("-8:-9", &[])));
        for bad in ["1", "1:*", "*:1", "0:1", "-1:2", "1:-2", ""] {
            check(bad, None);
        }
    }
}
