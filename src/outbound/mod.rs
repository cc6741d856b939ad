//! From the people to the outside: submit → route → queue → relay.

pub mod approval;
pub mod complete;
pub mod copies;
pub mod credentials;
pub mod dsn;
pub mod forward;
pub mod handover;
pub mod intake;
pub mod judge;
pub mod look;
pub mod notice;
pub mod recode;
pub mod relay;
pub mod route;
pub mod size;
pub mod subject;
pub mod submit;
pub mod vacation;
