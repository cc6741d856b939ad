//! Real messages whose hand-over proves whom they were for, and forged ones that must not be believed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mailroom::address::Address;
use mailroom::inbound::recipients::Source;

use super::{decide, gets, mapping, office, stage};
use crate::support::office::shared;

/// A line of the manifest.
struct Row {
    path: String,
    truth: String,
    evidence: String,
}

fn manifest() -> Option<(std::path::PathBuf, Vec<Row>)> {
    let manifest = shared("corpus/manifest.tsv")?;
    let text = fs::read_to_string(&manifest).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        Row { path: columns[0].to_owned(), truth: columns[4].to_owned(), evidence: columns[5].to_owned() }
    });
    Some((manifest.parent().unwrap().to_owned(), rows.collect()))
}

/// The messages that KNOWN.md lists, and how many of them sit behind a fetchmail hop.
fn known() -> (BTreeSet<String>, usize) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages/KNOWN.md")).unwrap();
    let files = |text: &str| text.split('`').filter(|part| part.starts_with("real/")).map(str::to_owned).collect::<BTreeSet<_>>();
    let (fetchmail, _) = text.split_once("## An inner hop").unwrap();
    (files(&text), files(fetchmail).len())
}

#[test]
fn the_envelope_stage_names_the_truth() {
    let Some((folder, rows)) = manifest() else { return };
    let (mut wrong, mut count) = (BTreeSet::new(), 0);
    for row in rows.iter().filter(|row| !row.truth.is_empty()) {
        // A bare local part is somebody's only at a domain of ours.
        let full = if row.truth.contains('@') { row.truth.clone() } else { format!("{}@office.example", row.truth) };
        let truth = Address::parse(&full).unwrap();
        let office = office(&[truth.domain().as_str()], &["postmaster"]);
        let mapping = mapping(&format!("[addresses]\n'{}' = 'postmaster'\n", truth.key()), &office);
        let message = fs::read(folder.join(&row.path)).unwrap();
        let decision = decide(&mapping, &message, Source::default());
        count += 1;
        if stage(&decision, "envelope") != [truth] {
            wrong.insert(row.path.clone());
        }
    }
    let (known, fetchmail) = known();
    let surprises: Vec<_> = wrong.symmetric_difference(&known).collect();
    assert!(surprises.is_empty(), "KNOWN.md should list exactly the messages that fail; look at {surprises:#?}");
    let (wrong, count) = (wrong.len() - fetchmail, count - fetchmail);
    assert!(wrong * 100 <= count, "{wrong} of {count} real messages are not named by their envelope evidence");
}

#[test]
fn trap_32_nobody_is_named_by_a_forgery() {
    let Some((folder, rows)) = manifest() else { return };
    let office = office(&["office.example"], &["anna", "bert", "carl", "boss", "ceo"]);
    let mapping = mapping("", &office);
    for row in rows.iter().filter(|row| row.path.starts_with("hostile/generated")) {
        let message = fs::read(folder.join(&row.path)).unwrap();
        let decision = decide(&mapping, &message, Source::default());
        let gets = gets(&decision);
        assert!(!gets.iter().any(|user| user == "boss" || user == "ceo"), "{}: {gets:?}", row.path);
        if row.evidence.contains("answer") {
            assert_eq!(gets, ["anna"], "{}", row.path);
        }
    }
}
