//! The memory of a test's own process.

use std::process::Command;

/// Set where a test has a process to itself.
const ALONE: &str = "MAILROOM_TEST_ALONE";

/// Whether nothing but this test fills the process's memory. If others run beside it, the test is run again in a process of its own, has
/// to pass there, and is over here.
pub fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test}, alone in a process:\n{said}\n{errors}");
    print!("{said}");
    false
}

/// Kilobytes that this process holds.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("no VmRSS in /proc/self/status");
    line.split_ascii_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("VmRSS is no number")
}
