//! One request, one answer, read whole (RFC 9112). Enough for token services and settings files, and nothing more: no redirect is
//! followed, since a secret must not go where the configuration does not say.

use super::dial::{self, Patience};
use super::{Connection, Instant, LineEnd, Stream, WireError};
use crate::config::{Endpoint, Tls};
use std::time::Duration;
use url::Url;

/// Token services answer within seconds; whoever waits holds up a fetch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Microsoft's tokens come near 4 KB each, three in an answer.
const MAX_BODY: usize = 256 * 1024;
/// Cookies and security policies make long lines.
const MAX_LINE: usize = 16 * 1024;
/// Microsoft sends about thirty.
const MAX_FIELDS: usize = 200;

/// An answer.
pub struct Answer {
    /// 200 to 599.
    pub status: u16,
    /// All of it.
    pub body: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not reached.
    #[error(transparent)]
    Dial(#[from] dial::DialError),
    /// Cut, or too slow.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Not HTTP/1.
    #[error("its answer is no HTTP")]
    Malformed,
    /// More than a token or a page of settings.
    #[error("its answer is longer than {MAX_BODY} bytes")]
    TooLong,
    /// Neither https:// nor http://.
    #[error("its address is not of the form https://…")]
    Address,
}

/// Posts a form.
pub async fn post(address: &str, form: &[(&str, &str)]) -> Result<Answer, HttpError> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let fields =
        format!("Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
    exchange("POST", address, &fields, &body, Instant::now() + PATIENCE).await
}

/// Fetches what lies at an address.
pub async fn get(address: &str, patience: Duration) -> Result<Answer, HttpError> {
    exchange("GET", address, "Accept: */*\r\n", "", Instant::now() + patience).await
}

async fn exchange(method: &str, address: &str, fields: &str, body: &str, deadline: Instant) -> Result<Answer, HttpError> {
    let url = Url::parse(address).map_err(|_| HttpError::Address)?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(HttpError::Address) };
    // Whoever names an address lets plain http through for loopback alone.
    let tls = if url.scheme() == "https" { Tls::Implicit } else { Tls::None };
    let endpoint = Endpoint { host: host.to_owned(), port, tls, ca: None, pin: None };
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: mailroom/{}\r\n{fields}Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
    );
    let opened = tokio::time::timeout_at(deadline, dial::open(&endpoint, &Patience::default())).await;
    let mut connection = opened.map_err(|_| WireError::TimedOut)??;
    connection.hush(true);
    connection.queue(head.as_bytes());
    connection.send(body.as_bytes(), deadline).await?;
    read(&mut connection, deadline).await
}

async fn read(connection: &mut Connection<Stream>, deadline: Instant) -> Result<Answer, HttpError> {
    loop {
        let status = status(&connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await?).ok_or(HttpError::Malformed)?;
        let (mut length, mut chunked) = (None, false);
        for count in 0.. {
            let line = connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await?;
            if line.is_empty() {
                break;
            }
            if count == MAX_FIELDS {
                return Err(HttpError::Malformed);
            }
            let line = String::from_utf8_lossy(&line).to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = Some(value.parse::<usize>().map_err(|_| HttpError::Malformed)?),
                Some(("transfer-encoding", value)) => chunked = value.ends_with("chunked"),
                _ => {}
            }
        }
        if status < 200 {
            continue;
        }
        let body = match (chunked, length) {
            (true, _) => chunks(connection, deadline).await?,
            (false, Some(length)) => exactly(connection, length, deadline).await?,
            (false, None) => rest(connection, deadline).await?,
        };
        return Ok(Answer { status, body });
    }
}

/// `HTTP/1.1 200 OK`
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let status = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

async fn exactly(connection: &mut Connection<Stream>, length: usize, deadline: Instant) -> Result<Vec<u8>, HttpError> {
    if length > MAX_BODY {
        return Err(HttpError::TooLong);
    }
    let mut body = Vec::new();
    while body.len() < length {
        body.extend_from_slice(&connection.chunk(length - body.len(), deadline).await?);
    }
    Ok(body)
}

/// RFC 9112 §7.1.
async fn chunks(connection: &mut Connection<Stream>, deadline: Instant) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    loop {
        let line = connection.line(MAX_LINE, LineEnd::Tolerant, deadline).await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        match size.ok_or(HttpError::Malformed)? {
            // What may follow are trailers of a connection that ends here.
            0 => return Ok(body),
            size if size > MAX_BODY - body.len() => return Err(HttpError::TooLong),
            size => body.extend(exactly(connection, size, deadline).await?),
        }
        connection.line(0, LineEnd::Tolerant, deadline).await?;
    }
}

/// Up to the end of the connection. Servers end it without a TLS goodbye.
async fn rest(connection: &mut Connection<Stream>, deadline: Instant) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while body.len() <= MAX_BODY {
        match connection.chunk(MAX_BODY, deadline).await {
            Ok(piece) => body.extend_from_slice(&piece),
            Err(WireError::TimedOut) => return Err(WireError::TimedOut.into()),
            Err(_) => return Ok(body),
        }
    }
    Err(HttpError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What one sees of a server that says this.
    async fn answered(said: &'static [u8]) -> Result<(u16, String), String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut seen = 0;
            while !request[..seen].ends_with(b"grant=a%26b&x=1") {
                seen += stream.read(&mut request[seen..]).await.unwrap();
            }
            let _ = stream.write_all(said).await;
            String::from_utf8(request[..seen].to_vec()).unwrap()
        });
        let answer = post(&format!("http://127.0.0.1:{port}/token?p=1"), &[("grant", "a&b"), ("x", "1")]).await;
        let request = server.await.unwrap();
        assert!(request.starts_with(&format!("POST /token?p=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")), "{request}");
        answer.map(|answer| (answer.status, String::from_utf8(answer.body).unwrap())).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_ways_a_body_ends() {
        let ok = |status, text: &str| Ok((status, text.to_owned()));
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}x").await, ok(200, "{}"));
        assert_eq!(answered(b"HTTP/1.0 400 Bad\r\n\r\n{}x").await, ok(400, "{}x"));
        let chunked =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{\"\r\n3\r\nx\"}\r\n0\r\n\r\n";
        assert_eq!(answered(chunked).await, ok(200, "{\"x\"}"));
    }

    #[tokio::test]
    async fn nonsense_and_flood_are_errors() {
        assert!(answered(b"SSH-2.0-x\r\n").await.unwrap_err().contains("no HTTP"));
        assert!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n").await.unwrap_err().contains("longer than"));
        let flood = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n";
        assert!(answered(flood).await.unwrap_err().contains("longer than"));
        assert!(answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n").await.unwrap_err().contains("no HTTP"));
        assert!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}").await.is_err());
    }
}
