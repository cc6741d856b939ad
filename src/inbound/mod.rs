//! From the ISP's mailbox to the people: fetch → identify → map → deliver.

pub mod again;
pub mod deliver;
pub mod expectations;
pub mod facts;
pub mod fetch;
pub mod figures;
mod guard;
pub mod habits;
mod idle;
pub mod intention;
pub mod letter;
mod likeness;
mod listing;
mod mailbox;
pub mod places;
pub mod plan;
pub mod receive;
pub mod recipients;
mod refusal;
pub mod remap;
pub mod roll;
mod rounds;
pub mod scanned;
pub mod scheduler;
mod storing;
pub mod upstream;
mod waiting;
