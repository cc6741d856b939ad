//! The client side: a chain to a trusted root, or one pinned key.

use super::super::{Stream, certificate};
use super::{TlsError, pin_text, provider};
use crate::config::Endpoint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Connects to one endpoint.
pub struct Connector {
    host: String,
    name: ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
    seen: Arc<Mutex<Option<[u8; 32]>>>,
}

impl Connector {
    /// Reads the endpoint's `ca` file, if it has one.
    pub fn new(endpoint: &Endpoint) -> Result<Self, TlsError> {
        let host = endpoint.host.trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::Certificate { host: host.into(), reason: "can't be checked: this is no host name".into() })?;
        let trust = match (endpoint.pin, &endpoint.ca) {
            (Some(pin), _) => Trust::Pin(pin),
            (None, Some(file)) => Trust::Extra(extra_roots(file)?),
            (None, None) => Trust::Public(public_roots()?),
        };
        let seen = Arc::default();
        let verifier = Verifier { trust, seen: Arc::clone(&seen) };
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Key(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { host: host.into(), name, config: Arc::new(config), seen })
    }

    /// The handshake.
    pub async fn connect(&self, stream: TcpStream, deadline: Instant) -> Result<Stream, TlsError> {
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        match timeout_at(deadline, connector.connect(self.name.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.handshake("the server did not answer in time")),
        }
    }

    fn handshake(&self, reason: &str) -> TlsError {
        TlsError::Handshake { host: self.host.clone(), reason: reason.into() }
    }

    fn explain(&self, error: &std::io::Error) -> TlsError {
        let Some(error) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
            return self.handshake(&match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
                _ => error.to_string(),
            });
        };
        let seen = self.seen.lock().ok().and_then(|seen| *seen);
        let reason = match error {
            rustls::Error::InvalidCertificate(problem) => in_words(problem, seen.as_ref()),
            rustls::Error::General(reason) => reason.clone(),
            rustls::Error::InvalidMessage(_) => {
                return self.handshake("the server does not speak TLS on this port; check port and tls (implicit or starttls)");
            }
            other => return self.handshake(&other.to_string()),
        };
        TlsError::Certificate { host: self.host.clone(), reason }
    }
}

fn in_words(problem: &CertificateError, seen: Option<&[u8; 32]>) -> String {
    let day = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| "long ago".into(), |t| t.strftime("%Y-%m-%d").to_string())
    };
    let pin = seen.map_or_else(String::new, |pin| format!(", or pin = \"{}\" after comparing it with the provider", pin_text(pin)));
    match problem {
        CertificateError::Expired => "has expired; the provider must renew it".into(),
        CertificateError::ExpiredContext { not_after, .. } => format!("expired on {}; the provider must renew it", day(not_after)),
        CertificateError::NotValidYet => "is not valid yet; is this machine's clock right?".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is valid only from {}; is this machine's clock right?", day(not_before))
        }
        CertificateError::UnknownIssuer => {
            format!(
                "is a stranger's: nobody whom this machine trusts has signed it. If the provider signs its own, set ca = \"its-ca.pem\"{pin}"
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("is for another name ({problem}); set host to the name that the provider gives")
        }
        CertificateError::Revoked => "was revoked by who issued it".into(),
        CertificateError::Other(_) => format!("can't be used ({problem}); pin it instead{pin}"),
        other => format!("can't be accepted: {other}"),
    }
}

fn extra_roots(file: &Path) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let wrong = |reason: String| TlsError::File { file: file.to_owned(), reason };
    let text = std::fs::read(file).map_err(|error| wrong(format!("can't be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(format!("is no PEM file: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("holds a certificate that can't be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate (a line BEGIN CERTIFICATE is missing)".into()));
    }
    chain_verifier(roots)
}

fn chain_verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().map_err(|error| TlsError::Key(error.to_string()))
}

/// The operating system's roots; Mozilla's, where the system has none (a minimal container). Loaded once.
fn public_roots() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    static ROOTS: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let roots: Arc<dyn ServerCertVerifier> = match rustls_platform_verifier::Verifier::new(provider()) {
        Ok(platform) => Arc::new(platform),
        Err(error) => {
            tracing::info!("this machine has no trust store ({error}); using the built-in list of certificate authorities");
            chain_verifier(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })?
        }
    };
    Ok(Arc::clone(ROOTS.get_or_init(|| roots)))
}

#[derive(Debug)]
enum Trust {
    Public(Arc<dyn ServerCertVerifier>),
    Extra(Arc<WebPkiServerVerifier>),
    Pin([u8; 32]),
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    seen: Arc<Mutex<Option<[u8; 32]>>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pin = certificate::pin(end_entity).ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Some(pin);
        }
        match &self.trust {
            Trust::Public(roots) => roots.verify_server_cert(end_entity, intermediates, server_name, ocsp, now),
            Trust::Extra(extra) => {
                let by_extra = extra.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
                by_extra.or_else(|error| {
                    let Ok(public) = public_roots() else { return Err(error) };
                    public.verify_server_cert(end_entity, intermediates, server_name, ocsp, now).map_err(|_| error)
                })
            }
            Trust::Pin(wanted) if *wanted == pin => Ok(ServerCertVerified::assertion()),
            Trust::Pin(_) => Err(rustls::Error::General(format!(
                "has another key than the pinned one: pin = \"{}\" was seen. If the provider has changed its key, set that; if not, somebody is in between",
                pin_text(&pin)
            ))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Acceptor, Identity};
    use super::*;
    use crate::config::Tls;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use std::path::PathBuf;

    /// A server certificate for `name` that ends in `year`, and the authority that signed it.
    fn server(name: &str, year: i32) -> (Identity, String) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 2, 3));
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        (Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap(), authority_pem)
    }

    async fn connect(identity: Identity, host: &str, ca: Option<PathBuf>, pin: Option<[u8; 32]>) -> Result<(), String> {
        let acceptor = Acceptor::new(identity).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream, deadline).await;
        });
        let endpoint = Endpoint { host: host.into(), port, tls: Tls::Implicit, ca, pin };
        let connector = Connector::new(&endpoint).map_err(|error| error.to_string())?;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let result = connector.connect(stream, deadline).await;
        server.await.unwrap();
        result.map(|_| ()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn trap_47_whom_we_trust_and_what_we_say_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let (good, authority) = server("mail.example", 2049);
        std::fs::write(&ca, &authority).unwrap();
        let pin = good.pin().unwrap();
        assert_eq!(connect(good.clone(), "mail.example", Some(ca.clone()), None).await, Ok(()));
        assert_eq!(connect(good.clone(), "any.name.example", None, Some(pin)).await, Ok(()));

        let stranger = connect(good.clone(), "mail.example", None, None).await.unwrap_err();
        assert!(stranger.contains("a stranger's") && stranger.contains(&pin_text(&pin)), "{stranger}");
        let renamed = connect(good.clone(), "other.example", Some(ca.clone()), None).await.unwrap_err();
        assert!(renamed.contains("another name"), "{renamed}");
        let swapped = connect(good, "mail.example", None, Some([7; 32])).await.unwrap_err();
        assert!(swapped.contains("another key") && swapped.contains(&pin_text(&pin)), "{swapped}");

        let (old, authority) = server("mail.example", 2020);
        std::fs::write(&ca, authority).unwrap();
        let expired = connect(old, "mail.example", Some(ca), None).await.unwrap_err();
        assert!(expired.contains("expired on 2020-02-03"), "{expired}");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_recognised() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"+OK POP3 ready\r\n").await;
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
        });
        let endpoint = Endpoint { host: "localhost".into(), port, tls: Tls::Implicit, ca: None, pin: Some([0; 32]) };
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        let error = Connector::new(&endpoint).unwrap().connect(stream, deadline).await.unwrap_err();
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
    }
}
