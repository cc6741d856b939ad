//! Lines and literals with limits, dot-stuffing, TLS, SASL, time-outs, redaction. Knows no protocol's commands.
//!
//! Everything that is read has a limit named by the caller, and every wait has a deadline.

mod certificate;
mod connection;
pub mod dial;
pub mod dot;
mod error;
pub mod http;
pub mod redact;
pub mod sasl;
pub mod srv;
mod stream;
pub mod tls;

pub use connection::{Connection, LineEnd};
pub use error::WireError;
pub use stream::Stream;
pub use tokio::time::Instant;
