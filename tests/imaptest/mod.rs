//! The scripts of Dovecot's ImapTest against our server. They are not part of this repository: where their folder is missing, this test
//! says so and passes. `CONFORMANCE.md` tells of what is skipped, and why.

mod client;
mod script;
pub mod value;

use std::path::{Path, PathBuf};

use crate::support::lan::Lan;

fn scripts() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("MAILROOM_SHARED").map_or(beside, PathBuf::from).join("imaptest/scripts")
}

/// Groups that fail with the RFC on our side.
const DEPARTURES: [&str; 1] = ["append-binary"];

/// Each group passes, or needs a capability that we don't advertise.
#[tokio::test]
async fn every_group_passes() {
    let folder = scripts();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is missing (MAILROOM_SHARED says where else it is)", folder.display());
        return;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.retain(|path| path.extension().is_none() && path.file_name().is_some_and(|name| name != "LICENSE"));
    files.sort();
    let lan = Lan::new("max_message_size = \"1MB\"").await;
    let (mut failed, mut skipped, mut departed, mut passed) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        match script::Script::read(file).play(&lan).await {
            Ok(script::Played::Passed) => passed += 1,
            Ok(script::Played::Skipped(capability)) => skipped.push(format!("{name} ({capability})")),
            Err(_) if DEPARTURES.contains(&name.as_str()) => departed.push(name),
            Err(why) => failed.push(format!("{name}: {why}")),
        }
    }
    println!("{passed} passed; skipped: {}", skipped.join(", "));
    assert!(failed.is_empty(), "{} of {} groups failed:\n{}", failed.len(), files.len(), failed.join("\n"));
    let told = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/CONFORMANCE.md")).unwrap();
    let mut named: Vec<&str> =
        told.lines().filter_map(|line| line.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    named.sort_unstable();
    let skipped = skipped.iter().filter_map(|skip| skip.split(' ').next());
    let mut left_out: Vec<&str> = skipped.chain(departed.iter().map(String::as_str)).collect();
    left_out.sort_unstable();
    assert_eq!(named, left_out, "CONFORMANCE.md names what is left out, and nothing else");
}
