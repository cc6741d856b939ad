//! Every file `tests/configs/bad-*.toml` is refused with exactly what stands in the `.txt` beside it: a mistake that gets a new answer
//! shows it in the diff. To write them anew after a change of wording: `MAILROOM_BLESS=1 cargo nextest run config::`.

use mailroom::config;
use mailroom::gateway::{LoadError, files};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads a text as `/office/mailroom.toml` and gives all problems as they are printed, without that directory.
fn problems(text: &str) -> String {
    let file = std::path::absolute("/office/mailroom.toml").unwrap();
    let directory = format!("{}{}", file.parent().unwrap().display(), std::path::MAIN_SEPARATOR);
    let users = ["alice", "bob"].map(|user| (user.to_owned(), None)).to_vec();
    let loaded = files::parse(&file, BTreeMap::from([(file.clone(), text.to_owned())]));
    match loaded.and_then(|loaded| files::compile_for(loaded, users)) {
        Ok(_) => "it loads\n".to_owned(),
        Err(LoadError(found)) => found.iter().map(|problem| format!("{problem}\n")).collect::<String>().replace(&directory, ""),
    }
}

fn bad_files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_write() {
    let files = bad_files();
    assert!(files.len() >= 40, "only {} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let told = problems(&std::fs::read_to_string(&path).unwrap());
        let expected = path.with_extension("txt");
        if std::env::var_os("MAILROOM_BLESS").is_some() {
            std::fs::write(&expected, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default().replace("\r\n", "\n");
        if told != expected {
            wrong.push(format!("{}:\n{told}expected:\n{expected}", path.display()));
        }
        if !told.starts_with("mailroom.toml") {
            wrong.push(format!("{}: {told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_provider_file_of_the_office_adds_a_provider() {
    let file = std::path::absolute("/office/mailroom.toml").unwrap();
    let beside = |name: &str| file.parent().unwrap().join(name);
    let text = "[office]\npostmaster = \"alice\"\n[[collector]]\nname = \"a\"\nprovider = \"ours\"\nusername = \"u\"\npassword = { env = \"P\" }\n";
    let profile = "name = \"Ours\"\n[imap]\nhost = \"imap.isp.example\"\nport = 993\ntls = \"implicit\"\nminimum_interval = \"10m\"\n";
    let files = BTreeMap::from([
        (file.clone(), text.to_owned()),
        (beside("mappings/providers/ours.toml"), profile.to_owned()),
        (beside("mappings/office.toml"), "[addresses]\n".to_owned()),
    ]);
    let loaded = config::parse(&file, files.clone()).unwrap();
    assert_eq!(loaded.config.collectors[0].endpoint.host, "imap.isp.example");
    assert_eq!(loaded.config.collectors[0].minimum_interval.as_secs(), 600);
    assert_eq!(loaded.files, files);
    // What was loaded is enough to load it again, without the disk.
    assert!(config::parse(&loaded.config.file, loaded.files).is_ok());
}

#[test]
fn listeners_that_are_not_built_yet_are_warned_about_only_where_they_are_asked_for() {
    let file = std::path::absolute("/office/mailroom.toml").unwrap();
    let check = |listen: &str, warnings: usize| {
        let text = format!("[office]\npostmaster = \"alice\"\n[listen]\n{listen}\n");
        let loaded = config::parse(&file, BTreeMap::from([(file.clone(), text)])).unwrap();
        assert_eq!(loaded.warnings.len(), warnings, "{listen}: {:?}", loaded.warnings);
    };
    check("imaps = [\"127.0.0.1:993\"]", 0);
    check("smtp = []\nadmin = []", 0);
    check("smtp = [\"0.0.0.0:25\"]\nadmin = [\"127.0.0.1:8025\"]", 1);
}

#[test]
fn what_needs_port_25_is_warned_about_without_it() {
    let file = std::path::absolute("/office/mailroom.toml").unwrap();
    let check = |tables: &str, expected: &[&str]| {
        let text = format!("[office]\npostmaster = \"alice\"\n{tables}\n");
        let loaded = config::parse(&file, BTreeMap::from([(file.clone(), text)])).unwrap();
        assert_eq!(loaded.warnings.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(), expected, "{tables}");
    };
    let device = "[[device]]\nname = \"copier\"\naddress = [\"192.168.1.40\"]\nuser = \"alice\"";
    check(device, &["[[device]] does nothing without listen.smtp"]);
    check(&format!("[listen]\nsmtp = [\"0.0.0.0:25\"]\n{device}"), &[]);
    check("[access]\ninbound = [\"192.0.2.0/24\"]", &["access.inbound does nothing without listen.smtp"]);
    check("[access]\ninbound = []", &[]);
}
