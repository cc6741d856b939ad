//! From the ISP's mailbox to the people: fetch → identify → map → deliver.

pub mod facts;
pub mod plan;
pub mod recipients;
pub mod upstream;
