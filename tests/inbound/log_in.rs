//! Who we are, told to servers that want it in a certain way.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use mailroom::schedule::Failure;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::Office;
use crate::support::imap_upstream;
use crate::support::pop3_upstream::{Faults, Pop3Upstream};

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

/// The server's half of RFC 5802, written from the RFC; whether the client proved the password over this very connection.
fn check_proof(first: &str, challenge: &str, last: &str, binding: &[u8]) -> Result<String, String> {
    let bare = first.strip_prefix("p=tls-exporter,,").or_else(|| first.strip_prefix("p=tls-server-end-point,,"));
    let header = &first[..first.len() - bare.ok_or("not bound")?.len()];
    let (without_proof, proof) = last.rsplit_once(",p=").ok_or("no proof")?;
    let bound = STANDARD.encode([header.as_bytes(), binding].concat());
    if without_proof.split(',').next() != Some(&format!("c={bound}")) {
        return Err(format!("bound to another connection: {without_proof}"));
    }
    let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(b"secret", b"salt", 4096);
    let client_key = hmac(&salted, b"Client Key");
    let all = format!("{},{challenge},{without_proof}", bare.unwrap());
    let signature = hmac(&Sha256::digest(&client_key), all.as_bytes());
    let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    if STANDARD.decode(proof).unwrap() != expected {
        return Err("wrong password".into());
    }
    Ok(format!("v={}", STANDARD.encode(hmac(&hmac(&salted, b"Server Key"), all.as_bytes()))))
}

/// A POP3 server inside TLS that takes SCRAM-SHA-256-PLUS alone. Its port, and what became of the first log-in.
async fn bound(
    version: &'static rustls::SupportedProtocolVersion,
    dir: &std::path::Path,
) -> (u16, tokio::task::JoinHandle<Result<(), String>>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let soon = jiff::Zoned::now().date().checked_add(jiff::Span::new().days(5)).unwrap();
    parameters.not_after = rcgen::date_time_ymd(soon.year().into(), soon.month().unsigned_abs(), soon.day().unsigned_abs());
    let certificate = parameters.self_signed(&key).unwrap();
    std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap().with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let end_point = Sha256::digest(certificate.der().as_ref()).to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.map_err(|error| error.to_string())?;
        let binding = match stream.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => {
                stream.get_ref().1.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", None).unwrap()
            }
            _ => end_point,
        };
        let mut stream = BufReader::new(stream);
        let (mut first, mut challenge, mut done) = (String::new(), String::new(), Err("nobody logged in".to_owned()));
        stream.write_all(b"+OK\r\n").await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|count| count > 0) {
            let text = std::mem::take(&mut line).trim_end().to_owned();
            let decoded = STANDARD.decode(&text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
            let answer = match text.as_str() {
                "CAPA" => "+OK\r\nSASL PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\nUIDL\r\nUSER\r\n.\r\n".to_owned(),
                "AUTH SCRAM-SHA-256-PLUS" => "+ \r\n".to_owned(),
                "LIST" | "UIDL" => "+OK\r\n.\r\n".to_owned(),
                "STAT" => "+OK 0 0\r\n".to_owned(),
                "" => "+OK you are in\r\n".to_owned(),
                "QUIT" => {
                    let _ = stream.write_all(b"+OK\r\n").await;
                    return done;
                }
                _ if decoded.starts_with("p=") => {
                    let nonce = decoded.rsplit_once("r=").unwrap().1;
                    challenge = format!("r={nonce}more,s={},i=4096", STANDARD.encode("salt"));
                    first = decoded;
                    format!("+ {}\r\n", STANDARD.encode(&challenge))
                }
                _ if decoded.starts_with("c=") => match check_proof(&first, &challenge, &decoded, &binding) {
                    Ok(signature) => {
                        done = Ok(());
                        format!("+ {}\r\n", STANDARD.encode(signature))
                    }
                    Err(error) => return Err(error),
                },
                other => return Err(format!("it said {other}")),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        done
    });
    (port, served)
}

async fn binds(version: &'static rustls::SupportedProtocolVersion) {
    let dir = tempfile::tempdir().unwrap();
    let (port, served) = bound(version, dir.path()).await;
    let pin = mailroom::wire::tls::pin_text(&pin_of(&dir.path().join("ca.pem")));
    let mut office = Office::new("pop3", port, &format!("tls = \"implicit\"\npin = \"{pin}\"")).await;
    office.moment = std::time::Duration::from_secs(10);
    let (outcome, notices) = office.fetch_telling().await;
    assert_eq!(served.await.unwrap(), Ok(()), "{outcome:?}");
    assert_eq!(outcome.figures.error, None);
    assert!(notices.iter().any(|notice| notice.contains("certificate of 127.0.0.1 ends in")), "{notices:?}");
}

fn pin_of(file: &std::path::Path) -> [u8; 32] {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_file(file).unwrap();
    let parsed = webpki::EndEntityCert::try_from(&der).unwrap();
    Sha256::digest(parsed.subject_public_key_info().as_ref()).into()
}

/// RFC 9266, and a certificate with five days left, which is told.
#[tokio::test]
async fn trap_47_a_log_in_is_bound_to_tls_1_3_and_a_certificate_that_ends_soon_is_told() {
    binds(&rustls::version::TLS13).await;
}

/// RFC 5929.
#[tokio::test]
async fn a_log_in_is_bound_to_the_certificate_in_tls_1_2() {
    binds(&rustls::version::TLS12).await;
}

/// Who reads along could refuse the better way to hear the password.
#[tokio::test]
async fn a_refused_better_way_is_not_followed_by_a_weaker_one_or_the_password_in_clear() {
    for (capabilities, greeting) in [
        ("SASL SCRAM-SHA-256 PLAIN\r\nUSER\r\n", ""),
        ("SASL CRAM-MD5\r\nUSER\r\n", ""),
        ("SASL SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN\r\nUSER\r\n", " <1.2@isp.example>"),
    ] {
        let answers = vec![("AUTH", "-ERR not this one")];
        let isp = Pop3Upstream::start(&[], Faults { capabilities: [capabilities, ""], answers, greeting, ..Faults::default() }).await;
        let outcome = Office::new("pop3", isp.port, "").await.fetch().await;
        assert_eq!(outcome.failure, Some(Failure::LogInPerhaps));
        assert!(outcome.figures.error.unwrap_or_default().contains("not sent in clear"));
        assert_eq!((isp.count("USER"), isp.count("PASS"), isp.count("AUTH"), isp.count("APOP")), (0, 0, 1, 0));
    }
    let script = vec![("AUTHENTICATE".to_owned(), "$ NO not this one\r\n".to_owned())];
    let (port, log) = imap_upstream::start_logged("* OK [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-1 AUTH=CRAM-MD5 AUTH=PLAIN] hi", script).await;
    let outcome = Office::new("imap", port, "").await.fetch().await;
    assert!(outcome.figures.error.unwrap_or_default().contains("not sent in clear"));
    let log = log.lock().unwrap().join("\n");
    assert!(!log.contains("LOGIN") && !log.contains("PLAIN") && !log.contains("CRAM-MD5"), "{log}");
}
