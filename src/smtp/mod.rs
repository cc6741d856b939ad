//! SMTP as values: commands, replies, the server's session (RFC 5321, 6409, 4954, 3207, 3030, 2034, 3461), and a client.
//!
//! Knows neither the store nor whose mail it is. All but [`client`] is pure.

pub mod canonical;
pub mod client;
pub mod command;
pub mod reply;
pub mod session;
pub mod xtext;
