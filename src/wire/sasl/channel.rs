//! Channel binding: what a log-in by SCRAM-…-PLUS is tied to, so that nobody who stands between us and the server can pass it on.
//!
//! `tls-exporter` (RFC 9266) inside TLS 1.3, `tls-server-end-point` (RFC 5929 §4) below.

use std::fmt;

/// The connection that a log-in goes over, as far as SASL cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// Anybody can read along.
    Clear,
    /// TLS; with what names it, if anything does.
    Tls(Option<ChannelBinding>),
}

/// What only the two ends of a TLS connection know.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding {
    /// As registered: `tls-exporter` or `tls-server-end-point`.
    pub name: &'static str,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Channel {
    /// Whether nobody can read along.
    pub fn is_protected(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// What names the connection.
    pub fn binding(&self) -> Option<&ChannelBinding> {
        match self {
            Self::Tls(binding) => binding.as_ref(),
            Self::Clear => None,
        }
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ChannelBinding({})", self.name)
    }
}
