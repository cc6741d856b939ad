//! IMAP4rev1 and rev2 as values: what a client says, what it is told, and how message numbers follow the mailbox
//! (RFC 9051, RFC 3501 and extensions). Pure but for the client; names neither the store nor the other protocols.

pub mod bodystructure;
mod casemap;
pub mod client;
pub mod command;
pub mod date;
pub mod envelope;
pub mod fetch_response;
pub mod flags;
pub mod legal;
pub mod partial;
pub mod pattern;
pub mod response;
pub mod search;
pub mod sequence;
pub mod sort;
pub mod thread;
pub mod url;
pub mod utf7;
pub mod view;
