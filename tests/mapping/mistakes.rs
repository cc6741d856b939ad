//! Every kind of mistake in a mapping file: `tests/configs/mapping/bad-*/` hold the files, and what is said of them in `expected`. Files
//! in `odd-*/` load, with a warning. Any folder put there is a test. With `MAILROOM_BLESS=1` missing expectations are written.

use std::fs;
use std::path::{Path, PathBuf};

use mailroom::address::Address;
use mailroom::mapping::{Fetched, Mapping, Office};

fn an_office() -> Office {
    let mut office = super::office(&["example.com", "old.example"], &["alice", "bob", "carol"]);
    office.collectors = vec![Fetched { name: "isp".into(), address: Address::parse("office@isp.example").ok(), deliver: None }];
    office.smarthosts = vec!["isp".into()];
    office
}

/// What is wrong with the files of a folder, named by their names.
fn told(folder: &Path) -> String {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let toml = files.iter().filter(|file| file.extension().is_some_and(|end| end == "toml"));
    let texts: Vec<_> = toml.map(|file| (PathBuf::from(file.file_name().unwrap()), fs::read_to_string(file).unwrap())).collect();
    let odd = folder.file_name().unwrap().to_string_lossy().starts_with("odd-");
    let problems = match Mapping::load(&texts, &an_office()) {
        Ok((mapping, warnings)) => {
            if odd {
                warnings
            } else {
                mapping.unknown_users().to_vec()
            }
        }
        Err(problems) => {
            assert!(!odd, "{}: {}", folder.display(), problems[0]);
            problems
        }
    };
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn each_mistake_is_told_with_its_place_and_the_likely_fix() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs/mapping");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(fixtures).unwrap() {
        let folder = entry.unwrap().path();
        let told = told(&folder);
        let expected = folder.join("expected");
        if !expected.exists() && std::env::var_os("MAILROOM_BLESS").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default().replace("\r\n", "\n");
        if told.is_empty() || told != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- told\n{told}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
