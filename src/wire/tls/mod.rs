//! TLS by rustls: whom we trust as a client ([`Connector`]), and what we show as a server ([`Acceptor`], [`Identity`]).
//!
//! There is no switch that turns checking off: a server with a certificate of its own making gets a `ca` or a `pin`.

mod connector;
mod identity;
mod local;

pub use super::certificate::Validity;
pub use connector::Connector;
pub use identity::{Acceptor, Identity};
pub use local::{LocalNames, local_identity};

use super::sasl::{Channel, ChannelBinding};
use super::stream::EXPORTER;
use base64::Engine;
use std::path::PathBuf;
use std::sync::Arc;

/// Why TLS did not come about, for the person who has to do something about it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or holds no certificate or key.
    #[error("{file}: {reason}", file = .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// In plain words.
        reason: String,
    },
    /// The server's certificate is not acceptable.
    #[error("the certificate of {host} {reason}")]
    Certificate {
        /// As configured.
        host: String,
        /// In plain words, a verb first.
        reason: String,
    },
    /// The handshake broke off.
    #[error("no TLS with {host}: {reason}")]
    Handshake {
        /// As configured; a peer's address on the server side.
        host: String,
        /// In plain words.
        reason: String,
    },
    /// A key or certificate could not be made or used.
    #[error("{0}")]
    Key(String),
}

/// A pin as it stands in the configuration: `sha256/…`.
pub fn pin_text(pin: &[u8; 32]) -> String {
    format!("sha256/{}", base64::engine::general_purpose::STANDARD.encode(pin))
}

/// What a log-in can be bound to on a connection that we took. Below TLS 1.3 nothing: the extended master secret is not for sure there.
pub fn server_channel(session: &rustls::ServerConnection) -> Channel {
    let is_new = session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let data = is_new.then(|| session.export_keying_material([0; 32], EXPORTER, Some(b"")).ok()).flatten();
    Channel::Tls(data.map(|data| ChannelBinding { name: "tls-exporter", data: data.to_vec() }))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<rustls::crypto::CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    PROVIDER.clone()
}
