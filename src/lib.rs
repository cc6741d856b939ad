//! Mailroom.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod cli;
pub mod config;
pub mod demo;
pub mod document;
pub mod gateway;
pub mod imap;
pub mod inbound;
pub mod mapping;
pub mod message;
pub mod outbound;
pub mod pop3;
pub mod schedule;
pub mod serve;
pub mod service;
pub mod smtp;
pub mod store;
pub mod wire;
