//! The server side: the certificate that we show, replaceable while running.

use super::super::{WireError, certificate};
use super::{TlsError, Validity, provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::{Arc, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

/// A certificate chain with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    /// Of the leaf.
    pub validity: Option<Validity>,
}

impl Identity {
    /// Loads PEM files, leaf first, and checks that they belong together.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |file: &Path| {
            std::fs::read(file).map_err(|error| TlsError::File { file: file.into(), reason: format!("can't be read: {error}") })
        };
        Self::from_pem(&read(chain)?, &read(key)?).map_err(|error| match error {
            TlsError::Key(reason) => TlsError::File { file: chain.into(), reason },
            other => other,
        })
    }

    /// The same from texts.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Key(format!("no PEM certificate: {error}")))?;
        let Some(leaf) = chain.first() else {
            return Err(TlsError::Key("holds no certificate (a line BEGIN CERTIFICATE is missing)".into()));
        };
        let validity = certificate::validity(leaf);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(format!("no PEM private key: {error}")))?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TlsError::Key(format!("certificate and key do not belong together: {error}")))?;
        Ok(Self { key: Arc::new(key), validity })
    }

    /// The leaf's SPKI pin.
    pub fn pin(&self) -> Option<[u8; 32]> {
        certificate::pin(self.key.cert.first()?)
    }

    pub(super) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }
}

/// Takes TLS connections; clones share the certificate.
#[derive(Clone)]
pub struct Acceptor {
    acceptor: tokio_rustls::TlsAcceptor,
    shown: Arc<Shown>,
}

impl Acceptor {
    /// Shows `identity` until another one replaces it.
    pub fn new(identity: Identity) -> Result<Self, TlsError> {
        let shown = Arc::new(Shown(RwLock::new(identity)));
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Key(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| TlsError::Key(error.to_string()))?;
        Ok(Self { acceptor: Arc::new(config).into(), shown })
    }

    /// New connections see this one from now on.
    pub fn replace(&self, identity: Identity) {
        *self.shown.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = identity;
    }

    /// When the shown certificate is valid.
    pub fn validity(&self) -> Option<Validity> {
        self.shown.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).validity
    }

    /// The handshake.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, deadline: Instant) -> Result<TlsStream<S>, WireError> {
        timeout_at(deadline, self.acceptor.accept(stream)).await.map_err(|_| WireError::TimedOut)?.map_err(WireError::from)
    }
}

#[derive(Debug)]
struct Shown(RwLock<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).key))
    }
}
