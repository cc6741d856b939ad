//! What the tests share: the program run as its admin runs it, and readers of mailboxes that use none of its code.

pub mod lan;
pub mod office;
pub mod reader;
pub mod smarthost;
