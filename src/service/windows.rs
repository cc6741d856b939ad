//! Windows: where files usually lie, and how a console program is told to stop.

use std::path::PathBuf;

/// Where the configuration lies unless somebody says otherwise.
pub fn system_configuration() -> PathBuf {
    let data = std::env::var_os("ProgramData").map_or_else(|| PathBuf::from(r"C:\ProgramData"), PathBuf::from);
    data.join("Mailroom").join("mailroom.toml")
}
