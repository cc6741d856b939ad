//! Reading mail, and writing the few header lines that we add (RFC 5322, RFC 2045, RFC 2047). Hostile input is normal here.
//!
//! Everything is bytes first: a reader takes whatever there is, keeps to named limits, and calls what it can't make sense of opaque
//! instead of failing. No reader recurses without a bound, so no nesting can exhaust a stack. Whose mail it is, and what becomes of it,
//! is none of its business; neither are the clock and the disk.

pub mod address_list;
pub mod content_type;
pub mod date;
pub mod envelope;
pub mod facts;
pub mod fields;
pub mod fold;
pub mod header;
pub mod html;
pub mod layout;
pub mod mime;
pub mod part;
pub mod received;
pub mod rewrite;
pub mod searched;
pub mod sketch;
pub mod subject;
pub mod text;
pub mod trace;
pub mod transfer;
pub mod wish;
pub mod words;
