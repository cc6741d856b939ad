//! Text of a peer as it may stand in a log: bounded, escaped, without what follows a log-in command.

/// As much of a line as a log gets to see.
const SHOWN: usize = 200;

/// Bounded and escaped (control characters, invalid UTF-8), for text that a stranger wrote.
pub fn shown(bytes: &[u8]) -> String {
    let cut = bytes.len() > SHOWN;
    let mut text: String = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)])
        .chars()
        .flat_map(|c| {
            let escape = c.is_control() || c == '\u{2028}' || c == '\u{2029}' || ('\u{202a}'..='\u{202e}').contains(&c);
            let (escaped, plain) = if escape { (Some(c.escape_default()), None) } else { (None, Some(c)) };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if cut {
        text.push('…');
    }
    text
}

/// The same for a command line: whatever follows PASS, APOP, AUTH, AUTHENTICATE or LOGIN is left out.
pub fn command(line: &[u8]) -> String {
    let words = line.split(|b| *b == b' ').scan(0, |at, word| {
        let start = *at;
        *at += word.len() + 1;
        Some((start, word))
    });
    for (start, word) in words.take(2) {
        let secret: &[&[u8]] = &[b"PASS", b"APOP", b"AUTH", b"AUTHENTICATE", b"LOGIN"];
        if secret.iter().any(|s| word.eq_ignore_ascii_case(s)) && start + word.len() < line.len() {
            return shown(&line[..start + word.len()]) + " …";
        }
    }
    shown(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_55_secrets_are_left_out() {
        for (line, logged) in [
            ("PASS geheim", "PASS …"),
            ("pass geheim", "pass …"),
            ("a1 LOGIN alice geheim", "a1 LOGIN …"),
            ("AUTH PLAIN AGEAYg==", "AUTH …"),
            ("a AUTHENTICATE PLAIN AGEAYg==", "a AUTHENTICATE …"),
            ("AUTH", "AUTH"),
            ("RETR 1", "RETR 1"),
        ] {
            assert_eq!(command(line.as_bytes()), logged);
        }
    }

    #[test]
    fn trap_28_hostile_text_is_escaped_and_bounded() {
        assert_eq!(shown(b"a\r\n\x1b[31m\xff"), "a\\r\\n\\u{1b}[31m\u{fffd}");
        assert!(shown(&[b'x'; 100_000]).len() < 300);
    }
}
