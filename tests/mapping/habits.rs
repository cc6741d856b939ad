//! One message for each habit of an ISP: `tests/messages/*.eml`, each with its line in `expected.tsv`. Any file put there is a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mailroom::inbound::recipients::{self, Mail, Source};
use mailroom::message::header::Header;

use super::{gets, mapping, office};

#[test]
fn every_isps_habit_finds_its_people() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mapping = mapping(&fs::read_to_string(folder.join("office.toml")).unwrap(), &office(&["example.com"], &["alice", "bob", "carol"]));
    let expected = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let mut listed = BTreeSet::new();
    for line in expected.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, outcome, people, stage] = columns.as_slice() else { panic!("{line}") };
        listed.insert(format!("{name}.eml"));
        let message = fs::read(folder.join(format!("{name}.eml"))).unwrap();
        let header = Header::parse(recipients::without_blank_start(&message));
        let mail = Mail { header: &header, size: message.len() as u64, returned: None };
        let sent = |id: &str| (id == "offer-12@mail.office.lan").then(|| "carol".to_owned());
        let decision = recipients::decide(&mapping, mail, Source::default(), &sent);
        assert_eq!(decision.outcome().as_str(), *outcome, "{name}: {:#?}", decision.steps);
        assert_eq!(gets(&decision).join(" "), *people, "{name}: {:#?}", decision.steps);
        assert_eq!(decision.steps.last().map(|step| step.stage), Some(*stage), "{name}: {:#?}", decision.steps);
        let also_held = *name == "envelope-of-nobody-beside-a-person" || *outcome == "held";
        assert_eq!(decision.held.is_some(), also_held, "{name}");
    }
    let there: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".eml"))
        .collect();
    assert_eq!(there, listed, "every message has its line in expected.tsv");
}
