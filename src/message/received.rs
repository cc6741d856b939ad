//! `Received` lines (RFC 5321 §4.4), as the servers of this world write them: what the client said, what the server saw, whom it was for.
//!
//! The client's own words are kept apart from what the server verified. Its HELO may hold anything, whole clauses included, so the
//! clauses are read behind the last `by`, and `for` is the last one before the last semicolon. Where two readings of quotes in comments
//! disagree about `for`, nobody is named.

use super::address_list;
use super::date;
use crate::address::Address;
use std::net::IpAddr;

/// Bytes of one line that are read; longer ones say nothing. Exchange writes about 600.
const MAX_VALUE: usize = 8 * 1024;

/// What one `Received` line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Received {
    /// Whom the server got it from; `None`: the line has no `from`.
    pub from: Option<Peer>,
    /// The server that wrote the line, by its own word.
    pub by: Option<String>,
    /// The link, if it is named.
    pub via: Option<String>,
    /// The protocol: `ESMTPS`, `LMTP`, `local` …
    pub with: Option<String>,
    /// The server's id of the message.
    pub id: Option<String>,
    /// The text of `for`, as found: `<anna@office.example>`, `anna`, `<multiple recipients>`.
    pub for_text: Option<String>,
    /// The addresses in it; more than one is rare.
    pub recipients: Vec<Address>,
    /// When, in milliseconds since 1970.
    pub date: Option<i64>,
}

/// The other side, as one `Received` line tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// The first word behind `from`, or what `helo=` or `HELO` says: the client's own word, if nothing else.
    pub helo: Option<String>,
    /// The name that the server found for the client's address, without a final dot.
    pub host: Option<String>,
    /// The client's address as the server saw it.
    pub ip: Option<IpAddr>,
    /// The server says that it came through a socket of its own machine.
    pub local: bool,
}

/// Reads the value of a `Received` field. Never fails; what isn't there is `None`.
pub fn parse(value: &[u8]) -> Received {
    if value.len() > MAX_VALUE {
        return Received::default();
    }
    let text = String::from_utf8_lossy(value);
    let received = read(&text, false);
    if !text.contains('"') {
        return received;
    }
    // A quoted parenthesis in a comment (Exim prints the envelope sender in one) ends the comment in one reading and not in the other.
    let other = read(&text, true);
    if received.for_text != other.for_text {
        return Received { for_text: None, recipients: Vec::new(), ..received };
    }
    received
}

fn read(text: &str, quotes_in_comments: bool) -> Received {
    let tokens = tokens(text, quotes_in_comments);
    let semicolon = tokens.iter().rposition(|token| matches!(token, Token::Semicolon(_)));
    let date = match semicolon.map(|at| &tokens[at]) {
        Some(Token::Semicolon(after)) => date::parse(after.as_bytes()),
        _ => None,
    };
    let clauses = &tokens[..semicolon.unwrap_or(tokens.len())];
    let by = clauses.iter().rposition(|token| token.is("by"));
    let (before, behind) = clauses.split_at(by.unwrap_or(clauses.len()));
    // Lines without `by` exist: `from x with LISTAR (…)`.
    let behind = match by {
        Some(_) => behind,
        None if !clauses.first().is_some_and(|token| token.is("from")) => clauses,
        // What stands behind the last comment, where the server tells the client's address, is the server's own.
        None => clauses.iter().rposition(|token| token.comment().is_some()).map_or(behind, |comment| &clauses[comment..]),
    };
    let for_text = for_text(behind);
    Received {
        from: before.first().filter(|token| token.is("from")).map(|_| peer(&before[1..], behind)),
        by: clause(behind, "by"),
        via: clause(behind, "via"),
        with: clause(behind, "with"),
        id: clause(behind, "id"),
        recipients: for_text.as_deref().map(addresses).unwrap_or_default(),
        for_text,
        date,
    }
}

fn addresses(for_text: &str) -> Vec<Address> {
    address_list::mailboxes(for_text.as_bytes()).into_iter().map(|mailbox| mailbox.address).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// Without its outer parentheses.
    Comment(&'a str),
    /// With everything behind it.
    Semicolon(&'a str),
}

impl<'a> Token<'a> {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn word(&self) -> Option<&'a str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn comment(&self) -> Option<&'a str> {
        match self {
            Token::Comment(text) => Some(text),
            _ => None,
        }
    }
}

fn tokens(text: &str, quotes_in_comments: bool) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.bytes().next() else { return tokens };
        let length = match first {
            b'(' => {
                let (inside, length) = comment(rest, quotes_in_comments);
                tokens.push(Token::Comment(inside));
                length
            }
            b';' => {
                tokens.push(Token::Semicolon(&rest[1..]));
                1
            }
            _ => {
                let length = word_length(rest);
                tokens.push(Token::Word(&rest[..length]));
                length
            }
        };
        rest = &rest[length..];
    }
}

/// The text inside the comment at the start, and its length with parentheses. Unclosed, it reaches to the end.
fn comment(text: &str, quotes: bool) -> (&str, usize) {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if quotes => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' if depth == 1 => return (&text[1..at], at + 1),
            b')' => depth -= 1,
            _ => {}
        }
    }
    (&text[1..], text.len())
}

/// Up to white space, a semicolon or a comment, none of which ends it inside quotes or (if they are closed) angle brackets.
fn word_length(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let mut angle = false;
    for (at, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'<' if !angle && text[at..].contains('>') => angle = true,
            b'>' => angle = false,
            _ if angle => {}
            b' ' | b'\t' | b'\r' | b'\n' | b';' => return at,
            b'(' if at > 0 => return at,
            _ => {}
        }
    }
    text.len()
}

const KEYWORDS: [&str; 6] = ["by", "via", "with", "id", "for", "from"];

/// The word behind the first such keyword.
fn clause(tokens: &[Token<'_>], keyword: &str) -> Option<String> {
    let at = tokens.iter().position(|token| token.is(keyword))?;
    tokens.get(at + 1)?.word().map(str::to_owned)
}

/// What stands behind the last `for`, up to the next comment or keyword.
fn for_text(tokens: &[Token<'_>]) -> Option<String> {
    let at = tokens.iter().rposition(|token| token.is("for"))?;
    let behind = tokens[at + 1..].iter().map_while(Token::word);
    let words: Vec<&str> = behind.take_while(|word| !KEYWORDS.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// From what stands between `from` and `by`: the habits of Postfix and sendmail `helo (name [ip])`, Exim `name ([ip] helo=helo)` and
/// `[ip] (helo=helo)`, qmail `name (HELO helo) (ip)`, Exchange and Courier `helo (ip)` or `helo ([ip])`.
fn peer(tokens: &[Token<'_>], behind_by: &[Token<'_>]) -> Peer {
    let first = tokens.first().and_then(Token::word);
    let mut peer = Peer { helo: first.map(str::to_owned), ..Peer::default() };
    let is_exim = behind_by.iter().filter_map(Token::comment).any(|text| text.starts_with("Exim "));
    if is_exim && let Some(name) = first {
        match bracketed(name) {
            Some(ip) => peer.ip = Some(ip),
            None => peer.host = Some(name.trim_end_matches('.').to_owned()),
        }
    }
    for comment in tokens.iter().filter_map(Token::comment) {
        peer.learn(comment.trim());
    }
    if peer.host.as_deref().is_some_and(|host| host.eq_ignore_ascii_case("unknown")) {
        peer.host = None;
    }
    peer
}

impl Peer {
    /// The last comment that has a server's shape wins: those before it may be the client's.
    fn learn(&mut self, comment: &str) {
        let mut words = comment.split_whitespace();
        let Some(first) = words.next() else { return };
        let rest: Vec<&str> = words.collect();
        if let Some(helo) = comment.split_whitespace().find_map(|word| word.strip_prefix("helo=")) {
            self.helo = Some(helo.to_owned());
        }
        if first.eq_ignore_ascii_case("HELO") || first.eq_ignore_ascii_case("EHLO") {
            self.helo = rest.first().map(|&helo| helo.to_owned());
        } else if let Some(ip) = bracketed(first.rsplit('@').next().unwrap_or(first)).or_else(|| first.parse().ok()) {
            self.ip = Some(ip);
        } else if first.starts_with("[UNIX") || rest.first().is_some_and(|word| *word == "[local]" || word.starts_with("[[UNIX")) {
            self.local = true;
        } else if let Some(ip) = rest.first().and_then(|word| bracketed(word)) {
            let forged = rest.get(1..).is_some_and(|rest| rest.concat().contains("forged"));
            let name = first.rsplit('@').next().unwrap_or(first).trim_end_matches('.');
            self.host = (!forged).then(|| name.to_owned());
            self.ip = Some(ip);
        }
    }
}

/// `[192.0.2.1]`, `[IPv6:2001:db8::1]`, either with `:port` behind.
fn bracketed(word: &str) -> Option<IpAddr> {
    let (inside, _) = word.strip_prefix('[')?.split_once(']')?;
    let inside = inside.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).map_or(inside, |_| &inside[5..]);
    inside.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whom_it_was_for() {
        for (line, expected) in [
            (
                "from a (b [192.0.2.7]) by mx (Postfix)\r\n\twith ESMTPS id 4X for\r\n\t<anna@office.example>; Mon, 1 Jan 2024 10:00:00 +0000",
                "<anna@office.example>",
            ),
            ("from a by mx id 1 for anna@office.example; Mon", "anna@office.example"),
            ("from a by mx id 1 for anna; Mon", "anna"),
            ("from a by mx id 1 for <multiple recipients>; Mon", "<multiple recipients>"),
            ("from a by mx id 1 for <a@x>, <b@x>; Mon", "<a@x>, <b@x>"),
            ("from a by mx id 1 for <a@x> (TLS); Mon", "<a@x>"),
            ("from a by mx id 1; for <a@x>; Mon", "<a@x>"),
            ("from a by mx id 1 for \"a; by b\"@x; Mon", "\"a; by b\"@x"),
            ("from for.anna@office.example.evil by mx id 1; Mon", ""),
            ("from for <boss@x> (unknown [203.0.113.9]) by mx id 1 for <anna@x>; Mon", "<anna@x>"),
            ("from x by y for <boss@x>; z (unknown [203.0.113.9]) by mx id 1 for <anna@x>; Mon", "<anna@x>"),
            ("from x by y for <boss@x>; z (unknown [203.0.113.9]) by mx id 1; Mon", ""),
            ("from a (x; for <boss@x>) by mx id 1; Mon", ""),
            ("from a (((((( by mx id 1 for <anna@x>; Mon", ""),
            ("from a by mx (envelope-from <\"a) by y for boss@x (\"@evil>) id 1; Mon", ""),
            ("by mx id 1 for <a@x> from <b@y>; Mon", "<a@x>"),
            ("from a for <boss@x> (b [192.0.2.7]) for <a@x>; Mon", "<a@x>"),
            ("from a for <boss@x>; Mon", ""),
            ("with LISTAR (v1; list x); Mon", ""),
            ("(qmail 1 invoked for bounce); 1 Jan 2024 10:00:00 -0000", ""),
        ] {
            assert_eq!(parse(line.as_bytes()).for_text.unwrap_or_default(), expected, "{line}");
        }
    }

    #[test]
    fn addresses_of_for() {
        for (line, expected) in [
            ("from a by mx for <@relay.example:anna@office.example>; x", "anna@office.example"),
            ("from a by mx for <jörg@bücher.example>; x", "jörg@xn--bcher-kva.example"),
            ("from a by mx for <a@x.example>, <b@x.example>; x", "a@x.example b@x.example"),
            ("from a by mx for <multiple recipients>; x", ""),
        ] {
            let found: Vec<_> = parse(line.as_bytes()).recipients.iter().map(Address::to_string).collect();
            assert_eq!(found.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn the_other_side() {
        for (line, helo, host, ip, local) in [
            ("from h (n.example [192.0.2.7]) by mx (Postfix) id 1", "h", "n.example", "192.0.2.7", false),
            ("from h (unknown [192.0.2.7]) (using TLSv1.2 (256/256 bits)) (Client CN \"x [10.0.0.1]\") by mx", "h", "", "192.0.2.7", false),
            ("from h (fake [10.0.0.1]) (unknown [192.0.2.7]) by mx", "h", "", "192.0.2.7", false),
            ("from h (n.example. [192.0.2.7]) by mx.google.com", "h", "n.example", "192.0.2.7", false),
            ("from h (n.example [192.0.2.7] (may be forged)) by mx (8.15.2)", "h", "", "192.0.2.7", false),
            ("from h (lists@[192.0.2.7]) by mx (8.7.3/8.7.3)", "h", "", "192.0.2.7", false),
            ("from h (root@n.example [IPv6:2001:db8::1]) by mx", "h", "n.example", "2001:db8::1", false),
            ("from n.example ([192.0.2.7]:2400 helo=h) by mx with esmtps (Exim 4.96)", "h", "n.example", "192.0.2.7", false),
            ("from [192.0.2.7] (port=5 helo=[10.0.0.1]) by mx with esmtp (Exim 4.84_2)", "[10.0.0.1]", "", "192.0.2.7", false),
            ("from [127.0.0.1] by mx with NNFMP", "[127.0.0.1]", "", "", false),
            ("from h ([192.0.2.7]) by mx with Microsoft SMTPSVC(6.0)", "h", "", "192.0.2.7", false),
            ("from H.prod (2603:1096:201:1::37) by mx (2a01::24) with Microsoft SMTP Server", "H.prod", "", "2603:1096:201:1::37", false),
            ("from unknown (HELO h) (192.0.2.7 with plain) by mx with SMTP", "h", "", "192.0.2.7", false),
            ("from localhost (localhost [local]) by mx (OpenSMTPD)", "localhost", "", "", true),
            ("from h (h []) by mx", "h", "", "", false),
        ] {
            let expected =
                Peer { helo: Some(helo.to_owned()), host: (!host.is_empty()).then(|| host.to_owned()), ip: ip.parse().ok(), local };
            assert_eq!(parse(line.as_bytes()).from, Some(expected), "{line}");
        }
        assert_eq!(parse(b"by 10.0.0.1 with SMTP id 7; x").from, None);
    }

    #[test]
    fn clauses() {
        let line =
            b"from a (b [192.0.2.1]) by mx.example (Postfix) via TCP with ESMTPS id 4X for <c@d>; Mon, 1 Jan 2024 10:00:00 +0000 (UTC)";
        let received = parse(line);
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        assert_eq!([of(&received.by), of(&received.via), of(&received.with), of(&received.id)], ["mx.example", "TCP", "ESMTPS", "4X"]);
        assert_eq!(received.date, Some(1_704_103_200_000));
    }

    proptest! {
        #[test]
        fn any_line(line in "(from|by|for|id|with|<|>|\\(|\\)|\\[|\\]|;|\"|\\\\|a@b|é| ){0,40}") {
            parse(line.as_bytes());
        }
    }
}
