//! Provider profiles: built in from `mappings/providers/*.toml`, added to and overridden by the office's own.
