//! The offices in `mappings/examples/`: each loads without a warning, and its own expectations hold.

use std::fs;
use std::path::Path;

use mailroom::gateway::files;
use mailroom::inbound::expectations;

#[test]
fn every_example_keeps_its_promises() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/examples");
    let mut count = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let file = entry.unwrap().path().join("mailroom.toml");
        let load = |users: &[String]| {
            let loaded = files::parse(&file, files::gather(&file).unwrap()).unwrap_or_else(|error| panic!("{error}"));
            let users = users.iter().map(|user| (user.clone(), None)).collect();
            files::compile_for(loaded, users).unwrap_or_else(|error| panic!("{error}"))
        };
        let unnamed = load(&[]);
        let named = unnamed.current.mapping.named_users().into_iter().chain(unnamed.current.config.named_users.clone());
        let users: Vec<String> = named.map(|(name, _)| name).collect();
        let compiled = load(&users);
        assert!(compiled.warnings.is_empty(), "{}: {:#?}", file.display(), compiled.warnings);
        assert!(compiled.missing.is_empty(), "{}: {:?}", file.display(), compiled.missing);
        assert!(compiled.current.mapping.expectations().len() > 2, "{}", file.display());
        let failures = expectations::failures(&compiled.current, &|file| fs::read(file));
        assert!(failures.is_empty(), "{}", failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        count += 1;
    }
    assert_eq!(count, 6);
}
