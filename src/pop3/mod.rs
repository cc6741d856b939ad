//! POP3 (RFC 1939, with 2449, 2595, 5034, 6856): commands, replies and the server's session as pure values, and the client for the ISP's
//! side. Knows no store and no mailbox: messages are numbers, sizes and unique ids here.

pub mod client;
pub mod command;
pub mod reply;
pub mod session;
