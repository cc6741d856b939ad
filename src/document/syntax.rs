//! What a syntax error means to someone who does not know TOML.

use super::parse::Document;
use super::problem::Problem;
use toml::de::Error;

/// One mistake can make every line behind it wrong: more than this is noise.
const MAX_ERRORS: usize = 10;

/// The parser's errors in plain words: the first of each line, in order, until one that misleads about what follows it.
pub(super) fn explain(document: &Document, errors: &[Error]) -> Vec<Problem> {
    let mut errors: Vec<&Error> = errors.iter().collect();
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let problem = explain_one(document, error);
        let line = |p: &Problem| p.place.as_ref().map(|place| place.line);
        if problems.last().is_some_and(|last| line(last) == line(&problem)) {
            continue;
        }
        problems.push(problem);
        let misleads = error.message().contains("unclosed") || error.message().contains("missing comma");
        if misleads || problems.len() == MAX_ERRORS {
            break;
        }
    }
    problems
}

fn explain_one(document: &Document, error: &Error) -> Problem {
    let text = document.text();
    let span = error.span().unwrap_or(0..0);
    let start = boundary(text, span.start);
    let end = boundary(text, span.end.max(start));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[line_start..line_end].trim_end_matches('\r');
    let key = line.split('=').next().unwrap_or_default().trim();
    let key_at = line_start + (line.len() - line.trim_start().len());
    let whole_key = || document.mark(key_at..key_at + key.len());
    let here = document.mark(start..end);
    let message = error.message();
    let found = &text[start..end];

    if message.starts_with("duplicate key") {
        let first = first_use(document, found, start);
        let message = match first {
            Some(line) => format!("\"{found}\" is given a second time (first on line {line})"),
            None => format!("\"{found}\" is given a second time"),
        };
        return here.problem(message).with_help(match line.trim_start().starts_with('[') {
            true => "put the keys of both tables under one header",
            false => "write a list: key = [\"one\", \"two\"]",
        });
    }
    if line.contains('=') && !key.starts_with(['"', '\'', '[', '#']) && start <= key_at + key.len() {
        if key.contains(['@', '*']) {
            return whole_key().problem(format!("the address {key} needs quotes")).with_help(format!("write \"{key}\" = …"));
        }
        if message.contains("unquoted key") || message.starts_with("key with no value") {
            return whole_key().problem(format!("the name {key} needs quotes")).with_help(format!("write \"{key}\" = …"));
        }
    }
    if message.contains("unquoted key") {
        let (at, word) = word_around(text, start);
        if word.contains(['@', '*']) {
            return document
                .mark(at..at + word.len())
                .problem(format!("the address {word} needs quotes"))
                .with_help(format!("write \"{word}\" = …"));
        }
    }
    if let Some(path) = windows_path(text, line_start, line, start) {
        let (at, inner) = path;
        return document
            .mark(at..at + inner.len())
            .problem("in double quotes, a backslash starts a special character")
            .with_help(format!("write the path in single quotes: '{inner}', or with slashes: \"{}\"", inner.replace('\\', "/")));
    }
    if message.starts_with("string values must be quoted") || message.starts_with("invalid boolean") {
        let bare = found.trim();
        let problem = here.problem(format!("{bare} is neither a number nor true or false, and has no quotes"));
        return problem.with_help(match bare.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => "write true".to_owned(),
            "no" | "off" | "false" => "write false".to_owned(),
            _ => format!("write \"{}\"", bare.trim_matches(|c: char| "“”„\"'‘’".contains(c))),
        });
    }
    if message.starts_with("key with no value") {
        return here.problem("an = is missing here").with_help("each line is: key = value");
    }
    let (plain, help) = match message {
        m if m.starts_with("unclosed table") => ("the header has no closing ]", "write [name]"),
        m if m.starts_with("unclosed array") => ("the list has no closing ]", "write [\"one\", \"two\"]"),
        m if m.starts_with("unclosed inline table") => ("the table has no closing }", "write { key = \"value\", other = 2 }"),
        m if m.starts_with("missing comma") => ("a comma, or the end of the list, is missing before this", "write [\"one\", \"two\"]"),
        m if m.starts_with("invalid basic string") && m.contains("`\"`") => ("the text has no closing quote", "write \"text\""),
        m if m.starts_with("invalid literal string") => ("the text has no closing quote", "write 'text'"),
        m if m.starts_with("unexpected key or value") => ("something stands behind the value", "put each key on a line of its own"),
        _ => return here.problem(message.to_owned()),
    };
    here.problem(plain).with_help(help)
}

/// The last place at or before `at` where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The word around a place, with its position.
fn word_around(text: &str, at: usize) -> (usize, &str) {
    let ends = |c: char| c.is_whitespace() || "=,{}[]".contains(c);
    let start = text[..at].rfind(ends).map_or(0, |end| end + text[end..].chars().next().map_or(1, char::len_utf8));
    let end = text[at..].find(ends).map_or(text.len(), |end| at + end);
    (start, &text[start..end])
}

/// The line, from 1, of the first definition of the key that is repeated at `at`: the nearest before it that has the same form.
fn first_use(document: &Document, key: &str, at: usize) -> Option<usize> {
    let text = document.text();
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let is_header = text[line_start..].trim_start().starts_with('[');
    let defines = |line: &str| {
        let line = line.trim_start();
        match is_header {
            true => line.starts_with('[') && line.trim_matches(['[', ']', ' ']).rsplit('.').next() == Some(key),
            false => line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')),
        }
    };
    // Backwards, and for a key not beyond its table's header.
    let earlier: Vec<(usize, &str)> = text[..line_start].lines().enumerate().collect();
    let table = earlier.iter().rev().take_while(|(_, line)| is_header || !line.trim_start().starts_with('['));
    table.filter(|(_, line)| defines(line)).last().map(|(index, _)| index + 1)
}

/// The text in double quotes around `at`, with its position, if it looks like a path of Windows.
fn windows_path<'t>(text: &'t str, line_start: usize, line: &'t str, at: usize) -> Option<(usize, &'t str)> {
    let open = text[line_start..at].rfind('"')? + line_start + 1;
    let rest = &text[open..line_start + line.len()];
    let inner = &rest[..rest.find('"').unwrap_or(rest.len())];
    let drive = inner.get(1..3) == Some(":\\") && inner.as_bytes()[0].is_ascii_alphabetic();
    let looks = drive || inner.starts_with('\\') || inner.contains('\\');
    looks.then_some((open, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let problems = Document::parse("a.toml", text).err().unwrap_or_default();
        let shown: Vec<String> = problems.iter().map(|p| format!("{} | {}", p.message, p.help.as_deref().unwrap_or("-"))).collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn says_it_in_plain_words() {
        check(
            "[addresses]\nalice@example.com = \"alice\"",
            &["the address alice@example.com needs quotes | write \"alice@example.com\" = …"],
        );
        check("x = { a@b.example = 1 }", &["the address a@b.example needs quotes | write \"a@b.example\" = …"]);
        check("[addresses]\n*@example.com = \"alice\"", &["the address *@example.com needs quotes | write \"*@example.com\" = …"]);
        check("alice smith = \"a\"", &["the name alice smith needs quotes | write \"alice smith\" = …"]);
        check("[a]\nx = 1\ny = 2\nx = 3", &["\"x\" is given a second time (first on line 2) | write a list: key = [\"one\", \"two\"]"]);
        check("[a]\nx = 1\n[a]\ny = 3", &["\"a\" is given a second time (first on line 1) | put the keys of both tables under one header"]);
        check(
            "path = \"C:\\mail\\in\"",
            &[
                "in double quotes, a backslash starts a special character | write the path in single quotes: 'C:\\mail\\in', or with slashes: \"C:/mail/in\"",
            ],
        );
        check("x = 5m", &["5m is neither a number nor true or false, and has no quotes | write \"5m\""]);
        check("x = yes", &["yes is neither a number nor true or false, and has no quotes | write true"]);
        check("x = “y”", &["“y” is neither a number nor true or false, and has no quotes | write \"y\""]);
        check("x = [1, 2\ny = 3\n", &["a comma, or the end of the list, is missing before this | write [\"one\", \"two\"]"]);
        check("x = \"y\n", &["the text has no closing quote | write \"text\""]);
        check("x 1\n", &["an = is missing here | each line is: key = value"]);
        check("[office\n", &["the header has no closing ] | write [name]"]);
        check("x = 'a' b\n", &["something stands behind the value | put each key on a line of its own"]);
    }

    #[test]
    fn one_error_a_line_and_not_without_end() {
        assert_eq!(Document::parse("a.toml", &"x = y z w\n".repeat(500)).err().map(|p| p.len()), Some(MAX_ERRORS));
    }
}
