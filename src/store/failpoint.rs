//! Places at which a test may end the process, as a power cut would: around commit points.

/// Ends the process here if it was built with the feature `failpoints` and `MAILROOM_FAILPOINT` is `name` or `name:n` (the n-th time).
#[cfg(feature = "failpoints")]
pub fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("MAILROOM_FAILPOINT") else { return };
    let (wanted, nth) = wanted.split_once(':').unwrap_or((wanted.as_str(), "1"));
    if wanted == name && Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) == nth.parse() {
        std::process::abort();
    }
}

/// Nothing: built without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
pub fn failpoint(_name: &str) {}
