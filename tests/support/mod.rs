//! What the tests share: the program run as its admin runs it, and readers of mailboxes that use none of its code.

pub mod imap_upstream;
pub mod lan;
pub mod memory;
pub mod oauth_server;
pub mod office;
pub mod pop3_upstream;
pub mod proxy;
pub mod reader;
pub mod smarthost;
pub mod smtp_client;
