//! TOML files whose every value knows its place, and what can be said about a place: [`Problem`].
//!
//! Configuration and mapping files are read with it; it knows the keys of neither.

mod problem;
mod table;

pub use problem::{Place, Problem};
pub use table::{Document, Table, Value};
