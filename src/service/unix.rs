//! Unix: where files usually lie, signals, and what systemd wants to hear.

use std::path::PathBuf;

/// Where the configuration lies unless somebody says otherwise.
pub fn system_configuration() -> PathBuf {
    PathBuf::from("/etc/mailroom/mailroom.toml")
}
