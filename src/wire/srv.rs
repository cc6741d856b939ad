//! Asking DNS for SRV records (RFC 2782): one question by UDP, one answer (RFC 1035). The system's own resolver has no call for them.
//!
//! An answer proves nothing, since anybody on the way can make one up: whoever uses it lets a certificate or a person decide.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Without EDNS an answer is no longer (RFC 1035 §4.2.1); a larger one comes truncated, and what fits is enough.
const MAX_ANSWER: usize = 512;
/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// A name in an answer follows at most so many pointers: more than there is room for in an honest one.
const MAX_POINTERS: usize = 16;
const SRV: u16 = 33;
const INTERNET: u16 = 1;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Lower comes first.
    pub priority: u16,
    /// Among the same priority, higher is asked more often.
    pub weight: u16,
    /// Where the service listens.
    pub port: u16,
    /// The host, without final dot; empty says that there is no such service.
    pub target: String,
}

/// The records of this name, the best first. Asks one server after the other until one answers.
pub async fn look_up(name: &str, servers: &[SocketAddr], patience: Duration) -> io::Result<Vec<Record>> {
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
    let question = question(u16::from_be_bytes(number), name).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name"))?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no name server is known");
    let each = patience / u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
    for server in servers {
        match tokio::time::timeout(each, ask(&question, *server)).await {
            Ok(Ok(records)) => return Ok(records),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn ask(question: &[u8], server: SocketAddr) -> io::Result<Vec<Record>> {
    let own = if server.is_ipv4() { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) } else { SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)) };
    let socket = UdpSocket::bind(own).await?;
    // Datagrams of others are dropped by the system from here on.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = [0; MAX_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(records) = answer(question, &buffer[..length]) {
            return Ok(records);
        }
    }
}

fn question(number: u16, name: &str) -> Option<Vec<u8>> {
    // Recursion is desired; one question.
    let mut bytes = [&number.to_be_bytes()[..], &[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    if name.len() > MAX_NAME - 2 {
        return None;
    }
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=MAX_LABEL).contains(&usize::from(*length)))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&SRV.to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    Some(bytes)
}

/// The records of an answer; `None` if it is not one to this question.
fn answer(question: &[u8], bytes: &[u8]) -> Option<Vec<Record>> {
    let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let is_answer = bytes.get(2)? & 0x80 != 0;
    if bytes.get(..2)? != question.get(..2)? || !is_answer || bytes.get(12..question.len())? != question.get(12..)? {
        return None;
    }
    let mut records = Vec::new();
    let mut at = question.len();
    for _ in 0..number(6)? {
        let Some((_, after)) = name(bytes, at) else { break };
        let (Some(kind), Some(length)) = (number(after), number(after + 8)) else { break };
        let data = after + 10;
        at = data + usize::from(length);
        if at > bytes.len() {
            break;
        }
        if kind != SRV || length < 7 {
            continue;
        }
        let Some((target, _)) = name(bytes, data + 6) else { continue };
        records.push(Record { priority: number(data)?, weight: number(data + 2)?, port: number(data + 4)?, target });
    }
    records.sort_by_key(|record| (record.priority, u16::MAX - record.weight));
    Some(records)
}

/// The name at this place, pointers followed (RFC 1035 §4.1.4), and where it ends there.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end) = (String::new(), start, None);
    for _ in 0..MAX_POINTERS + MAX_NAME / 2 {
        let length = usize::from(*bytes.get(at)?);
        match length & 0xc0 {
            0xc0 => {
                end = end.or(Some(at + 2));
                at = (length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
            }
            0 if length == 0 => return Some((text, end.unwrap_or(at + 1))),
            0 => {
                let label = std::str::from_utf8(bytes.get(at + 1..at + 1 + length)?).ok()?;
                if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&label.to_ascii_lowercase());
                if text.len() > MAX_NAME {
                    return None;
                }
                at += 1 + length;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these records, whose owner is a pointer to the question.
    fn reply(question: &[u8], records: &[(u16, u16, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2] |= 0x80;
        bytes[7] = records.len() as u8;
        for (priority, weight, port, target) in records {
            bytes.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
            bytes.extend_from_slice(&(6 + target.len() as u16).to_be_bytes());
            for number in [priority, weight, port] {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            bytes.extend_from_slice(target);
        }
        bytes
    }

    fn asked() -> Vec<u8> {
        question(7, "_imaps._tcp.firma.example").unwrap()
    }

    #[test]
    fn the_best_record_comes_first() {
        // The second target ends in a pointer to "firma.example" of the question.
        let bytes = reply(&asked(), &[(10, 5, 993, b"\x01b\x04host\x07example\0"), (0, 1, 1993, b"\x04IMAP\xc0\x18"), (10, 9, 994, b"\0")]);
        let found: Vec<_> = answer(&asked(), &bytes).unwrap().into_iter().map(|record| (record.port, record.target)).collect();
        assert_eq!(found, [(1993, "imap.firma.example".into()), (994, String::new()), (993, "b.host.example".into())]);
    }

    #[test]
    fn what_is_no_answer_to_the_question() {
        assert_eq!(answer(&asked(), &asked()), None);
        assert_eq!(answer(&asked(), &reply(&question(8, "_imaps._tcp.firma.example").unwrap(), &[])), None);
        assert_eq!(answer(&asked(), &reply(&question(7, "_imaps._tcp.other.example").unwrap(), &[])), None);
        assert_eq!(answer(&asked(), b""), None);
        assert_eq!(question(1, &format!("{}.example", "a".repeat(64))), None);
        assert_eq!(question(1, "a..example"), None);
    }

    #[test]
    fn hostile_answers_end() {
        let circle = reply(&asked(), &[(0, 0, 993, &[0xc0, (asked().len() + 18) as u8])]);
        assert_eq!(answer(&asked(), &circle), Some(Vec::new()));
        let whole = reply(&asked(), &[(0, 0, 993, b"\x04imap\x07example\0")]);
        for length in 0..whole.len() {
            // No cut may do worse than lose records.
            assert!(answer(&asked(), &whole[..length]).is_none_or(|records| records.is_empty()), "{length}");
        }
    }

    #[tokio::test]
    async fn asks_the_next_server_if_one_is_silent() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let servers = [silent.local_addr().unwrap(), server.local_addr().unwrap()];
        let answering = tokio::spawn(async move {
            let mut buffer = [0; MAX_ANSWER];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let bytes = reply(&buffer[..length], &[(0, 0, 993, b"\x04imap\x07example\0")]);
            server.send_to(b"nonsense", from).await.unwrap();
            server.send_to(&bytes, from).await.unwrap();
        });
        let found = look_up("_imaps._tcp.firma.example", &servers, Duration::from_millis(600)).await.unwrap();
        answering.await.unwrap();
        assert_eq!(found, [Record { priority: 0, weight: 0, port: 993, target: "imap.example".into() }]);
    }
}
