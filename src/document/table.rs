//! Typed reading of TOML tables, with unknown keys and wrong types as [`super::Problem`]s.

/// A parsed file.
pub struct Document {}
/// A table in it; remembers which keys were asked for, so that the others can be reported.
pub struct Table {}
/// A value and its place.
pub struct Value {}
