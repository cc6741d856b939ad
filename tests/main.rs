//! All integration tests in one binary.
#![allow(clippy::unwrap_used)]

mod admin;
mod architecture;
mod backup;
mod colleagues;
mod collectors;
mod config;
mod corpus;
mod desk;
mod devices;
mod differential;
mod explain;
mod fuzz;
mod hostile;
mod imap;
mod imaptest;
mod inbound;
mod interop;
mod mapping;
mod members;
mod outbound;
mod pop3;
mod probes;
mod search;
mod service;
mod setup;
mod smarthosts;
mod smtp;
mod store;
mod support;
mod traps;
