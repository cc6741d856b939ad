//! The targets of `fuzz/` on any compiler: samples, changed by chance. Some seconds in each run of the tests; for longer,
//! `MAILROOM_FUZZ_SECONDS=3600 cargo nextest run --release fuzz_` gives each target an hour.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Long inputs cost time and find little.
const MAX_INPUT: usize = 16 * 1024;
/// One input that takes longer is a finding, too: somebody could send it all day.
const PATIENCE: Duration = Duration::from_secs(10);
/// What makes readers stumble, in whatever language.
const WORDS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    "{",
    "}",
    "\"",
    "\\",
    "\r\n",
    "\n",
    "\0",
    " ",
    ",",
    ";",
    ":",
    "@",
    "*",
    "%",
    "$",
    "=?utf-8?q?=C3?=",
    "=?x?b?/w==?=",
    "~{3+}\r\n",
    "{3}\r\nabc",
    "4294967295",
    "18446744073709551616",
    "0",
    "-1",
    "1:*",
    "NOT ",
    "OR ",
    "UID ",
    "BODY[",
    "HEADER.FIELDS (",
    "CATENATE (",
    "URL ",
    "TEXT ",
    "UTF8 (",
    "\r\n\r\n",
    "--b\r\n",
    "--b--",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: message/rfc822\r\n\r\n",
    "charset=",
    "*0*=",
    "é",
    "\u{fffd}",
    "[addresses]\n",
    "[[rule]]\n",
    "[[collector]]\n",
    "\"\"\"",
    "= { ",
    "group:",
    "SIZE=",
    "MAIL FROM:<",
    "BODY=8BITMIME",
];

/// xorshift: the same inputs in each run, but for how far it gets.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn mutate(input: &mut Vec<u8>, samples: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    let length = 1 + chance.below(32);
    let end = (at + length).min(input.len());
    match chance.below(9) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 if at < input.len() => input[at] = chance.below(256) as u8,
        2 => drop(input.drain(at..end)),
        3 => {
            let copy = input[at..end].to_vec();
            let times = 1 + chance.below(20);
            input.splice(at..at, copy.repeat(times));
        }
        4 => input.truncate(at),
        5 => {
            let other = &samples[chance.below(samples.len())];
            let (from, to) = (chance.below(other.len() + 1), chance.below(other.len() + 1));
            input.splice(at..end, other[from.min(to)..from.max(to)].iter().copied());
        }
        _ => {
            let word = WORDS[chance.below(WORDS.len())].as_bytes();
            input.splice(at..if chance.below(2) == 0 { at } else { end }, word.iter().copied());
        }
    }
    input.truncate(MAX_INPUT);
}

/// Lines of the dialogues, mails, configurations: whatever is at hand for a target.
fn samples(name: &str) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = |folder: &str, extension: &str| -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(tests.join(folder)) else { return Vec::new() };
        let mut paths: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        paths.sort();
        paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
    };
    let lines = |folder: &str, side: &str| -> Vec<Vec<u8>> {
        let texts = files(folder, "txt").concat();
        let text = String::from_utf8_lossy(&texts).into_owned();
        text.lines().filter(|line| line.starts_with(side)).filter_map(|line| Some(line.split_once(": ")?.1.as_bytes().to_vec())).collect()
    };
    let mails = || {
        let mut mails = files("messages", "eml");
        if let Some(shared) = std::env::var_os("MAILROOM_SHARED") {
            let hostile = std::fs::read_dir(Path::new(&shared).join("corpus/hostile")).into_iter().flatten().flatten();
            mails.extend(hostile.filter_map(|entry| std::fs::read(entry.path()).ok()).filter(|mail| mail.len() < MAX_INPUT).take(300));
        }
        mails
    };
    match name {
        "imap_command" => lines("dialogues/imap", "C"),
        "imap_answer" => lines("dialogues/imap", "S")
            .into_iter()
            .filter_map(|line| Some(line[memchr::memmem::find(&line, b"FETCH ")? + 6..].to_vec()))
            .collect(),
        "smtp_command" => lines("dialogues/smtp", "C"),
        "pop3_command" => lines("dialogues/pop3", "C"),
        "message" => mails(),
        "header_values" => {
            let all = mails().concat();
            all.split(|byte| *byte == b'\n').filter_map(|line| Some(line[memchr::memchr(b':', line)? + 1..].to_vec())).take(2000).collect()
        }
        _ => [files("configs", "toml"), vec![std::fs::read(tests.join("../packaging/mailroom.toml")).unwrap_or_default()]].concat(),
    }
}

fn fuzz(name: &str) {
    let seconds = std::env::var("MAILROOM_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
    let (_, target) = targets::TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let samples = samples(name);
    assert!(samples.len() > 5, "{name} has no samples");
    let seed = std::env::var("MAILROOM_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x9e37_79b9_7f4a_7c15);
    let mut chance = Chance(seed);
    let (begin, mut runs) = (Instant::now(), 0_u64);
    let run = |input: &[u8]| {
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
        assert!(ended.is_ok() && started.elapsed() < PATIENCE, "{name} after {:?}: b\"{}\"", started.elapsed(), input.escape_ascii());
    };
    samples.iter().for_each(|sample| run(sample));
    while begin.elapsed() < Duration::from_secs(seconds) {
        let mut input = samples[chance.below(samples.len())].clone();
        for _ in 0..1 + chance.below(12) {
            mutate(&mut input, &samples, &mut chance);
            run(&input);
            runs += 1;
        }
    }
    println!("{name}: {runs} inputs in {:?}", begin.elapsed());
}

macro_rules! tests {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            fuzz($name);
        })*

        #[test]
        fn every_target_is_run() {
            let mut run = [$($name),*];
            run.sort_unstable();
            let mut known: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            known.sort_unstable();
            assert_eq!(run.as_slice(), known);
            for name in run {
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                assert!(file.exists(), "{}", file.display());
            }
        }
    };
}

tests! {
    fuzz_imap_command "imap_command"
    fuzz_smtp_command "smtp_command"
    fuzz_pop3_command "pop3_command"
    fuzz_message "message"
    fuzz_header_values "header_values"
    fuzz_imap_answer "imap_answer"
    fuzz_mapping_file "mapping_file"
}
