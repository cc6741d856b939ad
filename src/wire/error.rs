//! What can go wrong on a connection, whatever is spoken on it.

/// Why a read or write ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed the connection, or it broke.
    #[error("the connection was closed")]
    Closed,
    /// The deadline passed.
    #[error("no answer in time")]
    TimedOut,
    /// A line is longer than the caller allows.
    #[error("a line is longer than {0} bytes")]
    LineTooLong(usize),
    /// A CR or LF stands alone where only CRLF may end a line.
    #[error("a line does not end in CR LF")]
    BareLineEnd,
    /// Bytes were sent ahead of the TLS handshake: somebody may have put them there.
    #[error("the peer sent data ahead of the TLS handshake")]
    EarlyBytes,
    /// The operating system's word for it.
    #[error("{0}")]
    Io(std::io::Error),
}

impl From<std::io::Error> for WireError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
