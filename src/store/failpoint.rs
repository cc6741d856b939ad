//! Places at which a test may end the process, as a power cut would, or let it fail as a fault of the program would: around commit points.

/// Ends the process here if it was built with the feature `failpoints` and `MAILROOM_FAILPOINT` is `name` or `name:n` (the n-th time);
/// panics if it is `name:n:panic`.
#[cfg(feature = "failpoints")]
pub fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("MAILROOM_FAILPOINT") else { return };
    let (wanted, panics) = wanted.strip_suffix(":panic").map_or((wanted.as_str(), false), |wanted| (wanted, true));
    let (wanted, nth) = wanted.split_once(':').unwrap_or((wanted, "1"));
    if wanted == name && Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) == nth.parse() {
        assert!(!panics, "the fault that was asked for at {name}");
        std::process::abort();
    }
}

/// Nothing: built without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
pub fn failpoint(_name: &str) {}
