//! Which way things may point, read off the `use` lines and paths of `src/`: the rows of the picture in `src/lib.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the longest prefix that fits. A module names only modules of lower rows, its own parents and children, and what [`BESIDE`] lists.
const ROWS: &[(&str, u8)] = &[
    ("address", 0),
    ("message", 0),
    ("document", 0),
    ("mapping", 1),
    ("schedule", 1),
    ("config", 1),
    ("inbound::recipients", 1),
    ("outbound::route", 1),
    ("outbound::dsn", 1),
    ("outbound::look", 1),
    ("outbound::recode", 1),
    ("pop3", 1),
    ("imap", 1),
    ("smtp", 1),
    ("pop3::client", 2),
    ("imap::client", 2),
    ("smtp::client", 2),
    ("store", 2),
    ("oauth", 2),
    ("wire", 2),
    ("inbound", 3),
    ("inbound::facts", 3),
    ("inbound::letter", 3),
    ("outbound", 3),
    ("serve", 4),
    ("cli", 5),
    ("web", 5),
    ("service", 5),
    ("gateway", 5),
    ("demo", 5),
];

/// Arrows inside a row, each with its reason.
const BESIDE: &[(&str, &str)] = &[
    ("message", "address"),             // a field holds addresses
    ("document", "address"),            // a value may have to be one
    ("config", "mapping"),              // a collector's `deliver` is a target, and `Current` holds both
    ("config", "schedule"),             // a collector's schedule
    ("inbound::recipients", "mapping"), // the stages end in the mapping's tables
    ("inbound::recipients", "config"),  // a collector's envelope habit
    ("outbound::route", "mapping"),     // identities
    ("outbound::route", "config"),      // smarthosts
    ("outbound::look", "mapping"),      // identities, and who a LAN address is
    ("outbound::dsn", "config"),        // the office's language
    ("pop3::client", "wire"),           // the clients speak over a wire
    ("imap::client", "wire"),
    ("smtp::client", "wire"),
    ("oauth", "wire"),
    ("oauth", "store"),              // tokens are kept among its secrets
    ("outbound", "inbound::facts"),  // what the store keeps of a message is worked out in one place
    ("outbound", "inbound::letter"), // as are the letters to our own people
    ("inbound", "outbound"),         // a forwarding rule's mail goes out through the queue
    ("cli", "gateway"),
    ("cli", "demo"),
    ("cli", "service"),
    ("demo", "gateway"),
    ("demo", "service"), // Ctrl-C ends it
    ("gateway", "web"),
    ("gateway", "service"),
    ("demo", "cli"),
    ("service", "gateway"),
];

/// The platform's few calls are below everything that needs them: opening the store checks who owns it.
const PLATFORM: &str = "service::platform";

/// Words of rows 2 and up that a pure module can't say.
const IMPURE: &[&str] = &["tokio", "rusqlite", "tracing", "getrandom", "SystemTime::now", "Instant::now", "Zoned::now", "Timestamp::now"];

#[test]
fn a_module_names_only_lower_rows() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (line, target) in named(&source.text) {
            if target.starts_with(PLATFORM) {
                continue;
            }
            let (Some((from, from_row)), Some((to, to_row))) = (place(&source.module), place(&target)) else { continue };
            let allowed = from == to || to_row < from_row || family(&source.module, &target, from_row, to_row) || beside(from, to);
            if !allowed {
                wrong.push(format!("{}:{line}: {from} (row {from_row}) names {to} (row {to_row})", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn rows_0_and_1_are_pure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| place(&s.module).is_some_and(|(_, row)| row <= 1)) {
        for (number, line) in code_lines(&source.text) {
            for word in IMPURE {
                if line.contains(&format!("{word}::")) || (word.contains("::") && line.contains(word)) {
                    wrong.push(format!("{}:{number}: {word}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "impure words in rows 0 and 1:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_store_knows_sqlite() {
    for source in sources().iter().filter(|s| !s.module.starts_with("store")) {
        assert!(code_lines(&source.text).all(|(_, line)| !line.contains("rusqlite")), "{} names rusqlite", source.path.display());
    }
}

#[test]
fn only_the_platform_rooms_know_the_platform() {
    for source in sources().iter().filter(|s| !s.module.starts_with("service")) {
        for (number, line) in code_lines(&source.text) {
            let unix = ["std::os::unix", "nix::", "cfg(unix)", "cfg(windows)", "cfg!(", "tokio::signal::unix", "std::os::windows"];
            assert!(!unix.iter().any(|word| line.contains(word)), "{}:{number} is for one platform only: {line}", source.path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for source in sources() {
        assert!(source.text.trim_start().starts_with("//!"), "{} has no //! at its head", source.path.display());
    }
}

struct Source {
    path: PathBuf,
    module: String,
    /// Without the tests at the end.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let relative = path.strip_prefix(&root).unwrap().with_extension("");
                let parts: Vec<_> = relative.iter().map(|p| p.to_string_lossy().into_owned()).filter(|p| p != "mod").collect();
                let whole = fs::read_to_string(&path).unwrap();
                let text = whole.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
                found.push(Source { path, module: parts.join("::"), text });
            }
        }
    }
    assert!(found.len() > 30, "src/ was not found");
    found
}

fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or(line)))
}

/// Every `crate::…` path with the line it stands in; `use crate::{a, b::c}` is taken apart at its first level.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = BTreeSet::new();
    for (number, line) in code_lines(text) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(list) => found.extend(split_list(list).into_iter().map(|item| (number, item))),
                None => {
                    let head: String = rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
                    let inner = rest[head.len()..].strip_prefix('{').map(split_list).unwrap_or_default();
                    found.extend(inner.into_iter().map(|item| (number, format!("{head}{item}"))));
                    found.insert((number, head.trim_end_matches(':').to_owned()));
                }
            }
        }
    }
    found.into_iter().collect()
}

fn split_list(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            c if depth == 0 && !c.is_whitespace() => items.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    items.into_iter().map(|item| item.trim_end_matches(':').to_owned()).filter(|item| !item.is_empty()).collect()
}

fn place(module: &str) -> Option<(&'static str, u8)> {
    ROWS.iter().filter(|(name, _)| module == *name || module.starts_with(&format!("{name}::"))).max_by_key(|(name, _)| name.len()).copied()
}

/// A folder's `mod.rs` may name what is inside it, and an inside its own folder's lower parts.
fn family(module: &str, target: &str, from_row: u8, to_row: u8) -> bool {
    target.starts_with(&format!("{module}::")) && to_row <= from_row
}

fn beside(from: &str, to: &str) -> bool {
    BESIDE.iter().any(|(a, b)| *a == from && *b == to)
}
