//! `tests/TRAPS.md` says which tests guard against which trap; here it is held against the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Traps that must have a test.
const GUARDED: [std::ops::RangeInclusive<u32>; 1] = [1..=66];

/// Every function that follows a test's attribute.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            for behind in text.split("#[test]").chain(text.split("#[tokio::test")).skip(1) {
                let name = behind.split_once("fn ").and_then(|(_, name)| name.split_once('('));
                found.extend(name.map(|(name, _)| name.trim().to_owned()));
            }
        }
    }
}

/// `| NN | … | `test`, `test` |` → number and tests.
fn rows(text: &str) -> BTreeMap<u32, Vec<String>> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.trim_end_matches(" |").split(" | ").collect();
        let names = cells.last()?.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap().to_owned()).collect();
        Some((cells.first()?.trim().parse().ok()?, names))
    };
    let mut rows: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    // A trap on both legs has a row for each.
    text.lines().filter_map(row).for_each(|(trap, names): (u32, Vec<String>)| rows.entry(trap).or_default().extend(names));
    rows
}

#[test]
fn every_trap_has_tests_of_its_name_and_every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut existing = BTreeSet::new();
    tests_in(&root.join("src"), &mut existing);
    tests_in(&root.join("tests"), &mut existing);
    let rows = rows(&fs::read_to_string(root.join("tests/TRAPS.md")).unwrap());
    let mut named = BTreeSet::new();
    let mut wrong = Vec::new();
    for (trap, names) in &rows {
        let begin = format!("trap_{trap:02}_");
        if !names.iter().any(|name| name.contains(&begin)) {
            wrong.push(format!("trap {trap} names no test {begin}…"));
        }
        wrong.extend(names.iter().filter(|name| !existing.contains(*name)).map(|name| format!("trap {trap}: there is no test {name}")));
        named.extend(names.iter().cloned());
    }
    wrong.extend(GUARDED.into_iter().flatten().filter(|trap| !rows.contains_key(trap)).map(|trap| format!("trap {trap} has no row")));
    let guarded = |name: &str| GUARDED.into_iter().flatten().any(|trap| name.starts_with(&format!("trap_{trap:02}_")));
    let guards = existing.iter().filter(|name| guarded(name) && !named.contains(*name));
    wrong.extend(guards.map(|name| format!("{name} is in no row")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
