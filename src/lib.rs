//! Mailroom.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod config;
pub mod document;
pub mod inbound;
pub mod mapping;
pub mod message;
pub mod outbound;
pub mod schedule;
pub mod smtp;
pub mod store;
pub mod wire;
