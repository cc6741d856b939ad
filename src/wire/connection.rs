//! A buffered connection: lines up to a limit, chunks of bytes, queued writes, deadlines.

use super::WireError;
use super::redact;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// A connection that waits for a command holds this much; a read that fills its buffer doubles the next one.
const SMALLEST_READ: usize = 512;
/// Two TLS records at a time keep the fetching of many messages fast.
const LARGEST_READ: usize = 32 * 1024;
/// Queued output beyond this is worth a write of its own.
const WRITE_AT: usize = 64 * 1024;
/// Copying less than this costs less than a write of its own.
const WORTH_PASSING: usize = 16 * 1024;

/// Which line ends are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// CRLF; a CR or LF on its own is an error.
    Strict,
    /// CRLF or LF: for replies of upstream servers, and old clients.
    Tolerant,
}

/// A stream with its input and output buffers. Idle, it holds next to nothing.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
    read_size: usize,
    received: u64,
    hushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Nothing is read or allocated yet.
    pub fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), read_size: SMALLEST_READ, received: 0, hushed: false }
    }

    /// The next line without its end. A line longer than `max` bytes is an error, found without reading more than that.
    pub async fn line(&mut self, max: usize, end: LineEnd, deadline: Instant) -> Result<Bytes, WireError> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.input[searched..]) {
                let lf = searched + at;
                let text = if lf > 0 && self.input[lf - 1] == b'\r' { lf - 1 } else { lf };
                if text > max {
                    return Err(WireError::LineTooLong(max));
                }
                if end == LineEnd::Strict && (text == lf || memchr::memchr(b'\r', &self.input[..text]).is_some()) {
                    return Err(WireError::BareLineEnd);
                }
                let mut line = self.input.split_to(lf + 1);
                line.truncate(text);
                if tracing::enabled!(tracing::Level::TRACE) && !self.hushed {
                    tracing::trace!("< {}", redact::command(&line));
                }
                return Ok(line.freeze());
            }
            searched = self.input.len();
            if searched > max + 1 {
                return Err(WireError::LineTooLong(max));
            }
            self.fill(deadline).await?;
        }
    }

    /// Whatever has arrived, at most `max` bytes and at least one.
    pub async fn chunk(&mut self, max: usize, deadline: Instant) -> Result<Bytes, WireError> {
        if self.input.is_empty() {
            self.fill(deadline).await?;
        }
        let length = self.input.len().min(max);
        Ok(self.input.split_to(length).freeze())
    }

    /// Much is about to come: the next read takes as much as any.
    pub fn expect_much(&mut self) {
        self.read_size = LARGEST_READ;
    }

    /// What has arrived and was not taken yet.
    pub fn buffered(&self) -> &[u8] {
        &self.input
    }

    /// Drops the first `length` buffered bytes (all, if there are fewer).
    pub fn consume(&mut self, length: usize) {
        self.input.advance(length.min(self.input.len()));
    }

    /// Takes the first `length` buffered bytes (all, if there are fewer) without copying them.
    pub fn take(&mut self, length: usize) -> Bytes {
        let length = length.min(self.input.len());
        self.input.split_to(length).freeze()
    }

    /// Waits for more input; the end of the stream is [`WireError::Closed`].
    pub async fn fill(&mut self, deadline: Instant) -> Result<(), WireError> {
        match timeout_at(deadline, self.read_some()).await {
            Ok(read) => read,
            Err(_) => Err(WireError::TimedOut),
        }
    }

    /// Queues bytes for [`Connection::flush`].
    pub fn queue(&mut self, bytes: &[u8]) {
        if tracing::enabled!(tracing::Level::TRACE) && !self.hushed {
            tracing::trace!("> {}", redact::command(bytes));
        }
        self.output.extend_from_slice(bytes);
    }

    /// Whether so much is queued that it should be flushed before more is added.
    pub fn is_full(&self) -> bool {
        self.output.len() >= WRITE_AT
    }

    /// Sends all that is queued.
    pub async fn flush(&mut self, deadline: Instant) -> Result<(), WireError> {
        let Self { stream, output, .. } = self;
        let write = async {
            stream.write_all_buf(output).await?;
            stream.flush().await
        };
        timeout_at(deadline, write).await.map_err(|_| WireError::TimedOut)??;
        // More is to come, as it seems; whoever waits for long calls `rest`. What an overlong line left behind goes at once.
        if self.output.capacity() > 2 * WRITE_AT {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Sends what is queued and these bytes behind it, without copying what is long.
    pub async fn pass(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), WireError> {
        if bytes.len() < WORTH_PASSING {
            self.queue(bytes);
            return if self.is_full() { self.flush(deadline).await } else { Ok(()) };
        }
        if tracing::enabled!(tracing::Level::TRACE) && !self.hushed {
            tracing::trace!("> {}", redact::command(bytes));
        }
        let Self { stream, output, .. } = self;
        let mut all = output.chain(bytes);
        timeout_at(deadline, stream.write_all_buf(&mut all)).await.map_err(|_| WireError::TimedOut)??;
        Ok(())
    }

    /// Queues and sends.
    pub async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), WireError> {
        self.queue(bytes);
        self.flush(deadline).await
    }

    /// Gives back what a burst of data made the buffers grow to; for a connection that is about to wait for long.
    pub fn rest(&mut self) {
        self.read_size = SMALLEST_READ;
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > 0 {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Nothing that is read or queued is logged while `on`: a log-in is going on.
    pub fn hush(&mut self, on: bool) {
        self.hushed = on;
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The stream, for instance for a TLS handshake. Bytes that arrived before it are an error: they were sent in the clear by
    /// whoever could, and would be taken for what the peer says later (CVE-2011-0411).
    pub fn into_inner(self) -> Result<S, WireError> {
        if self.input.is_empty() { Ok(self.stream) } else { Err(WireError::EarlyBytes) }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Says goodbye on the transport (TLS close_notify); errors don't matter any more.
    pub async fn close(&mut self, deadline: Instant) {
        let _ = timeout_at(deadline, self.stream.shutdown()).await;
    }

    async fn read_some(&mut self) -> Result<(), WireError> {
        if self.input.capacity() - self.input.len() < self.read_size {
            self.input.reserve(self.read_size);
        }
        let read = self.stream.read_buf(&mut (&mut self.input).limit(self.read_size)).await?;
        if read == 0 {
            return Err(WireError::Closed);
        }
        if read >= self.read_size {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        }
        self.received += read as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(5)
    }

    async fn fed(bytes: &[u8]) -> Connection<DuplexStream> {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(bytes).await.unwrap();
        Connection::new(near)
    }

    #[tokio::test]
    async fn lines_end_where_they_should() {
        let mut tolerant = fed(b"one\r\ntwo\n\nthree").await;
        for expected in ["one", "two", ""] {
            assert_eq!(tolerant.line(10, LineEnd::Tolerant, soon()).await.unwrap(), expected);
        }
        assert!(matches!(tolerant.line(10, LineEnd::Tolerant, soon()).await, Err(WireError::Closed)));
        for bare in [&b"one\n"[..], b"o\rne\r\n"] {
            assert!(matches!(fed(bare).await.line(10, LineEnd::Strict, soon()).await, Err(WireError::BareLineEnd)));
        }
    }

    #[tokio::test]
    async fn trap_52_an_endless_line_is_cut_off_early() {
        let mut connection = fed(&[b'x'; 1 << 20]).await;
        assert!(matches!(connection.line(100, LineEnd::Strict, soon()).await, Err(WireError::LineTooLong(100))));
        assert!(connection.received() <= SMALLEST_READ as u64);
        let mut exact = fed(b"12345\r\n123456\r\n").await;
        assert_eq!(exact.line(5, LineEnd::Strict, soon()).await.unwrap(), "12345");
        assert!(matches!(exact.line(5, LineEnd::Strict, soon()).await, Err(WireError::LineTooLong(5))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_meets_the_deadline() {
        let (near, _far) = duplex(64);
        let mut connection = Connection::new(near);
        assert!(matches!(connection.line(100, LineEnd::Strict, soon()).await, Err(WireError::TimedOut)));
    }

    #[tokio::test]
    async fn trap_51_bytes_ahead_of_the_handshake_are_an_error() {
        let mut connection = fed(b"+OK begin TLS\r\n+OK injected\r\n").await;
        connection.line(100, LineEnd::Strict, soon()).await.unwrap();
        assert!(matches!(connection.into_inner(), Err(WireError::EarlyBytes)));
    }
}
