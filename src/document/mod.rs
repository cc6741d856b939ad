//! TOML files whose every value knows its place, and what can be said about a place: [`Problem`].
//!
//! [`Document::parse`] reads a text; [`Table`] and [`Value`] hand out typed values, note what is wrong instead of stopping at the first
//! mistake, and know which keys nobody asked for. Configuration, mapping and provider files are read with it; it knows the keys of none.
//! TOML 1.1.

mod measure;
mod parse;
mod problem;
mod syntax;
mod table;
mod value;

pub use measure::{duration, duration_text, size, size_text};
pub use parse::{Document, Mark};
pub use problem::{Place, Problem};
pub use table::Table;
pub use value::{Found, Value, nearest};
