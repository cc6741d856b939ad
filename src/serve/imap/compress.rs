//! COMPRESS=DEFLATE (RFC 4978): phones on a slow line ask for it.
//!
//! A bomb gains nothing: what comes out meets the same limits as what comes in plain.

use async_compression::Level;
use async_compression::tokio::bufread::DeflateDecoder;
use async_compression::tokio::write::DeflateEncoder;
use tokio::io::BufReader;

use super::outcome::{Done, Failure, Performed};
use super::{Flow, Session};
use crate::serve::{Duplex, Stream};
use crate::wire::{Connection, WireError};

/// Compression takes place inside TLS, but a log-in comes before it.
impl Duplex for DeflateEncoder<DeflateDecoder<BufReader<Stream>>> {}

impl Session {
    pub(super) fn compress(&self, mechanism: &str) -> Performed {
        if self.compressed {
            return Err(Failure::no("COMPRESSIONACTIVE", "This connection is compressed already."));
        }
        if mechanism != "DEFLATE" {
            return Err(Failure::Bad("DEFLATE is the only compression here.".into()));
        }
        Ok(Done { flow: Flow::Compress, ..Done::ok("From here on compressed.") })
    }

    /// Behind the tagged OK, which still goes out as it is. What the client sent ahead of it is an error, as it is with STARTTLS.
    pub(super) async fn start_compression(mut self) -> Result<Session, WireError> {
        self.flush().await?;
        let stream = self.wire.into_inner()?;
        // Mail is compressed once and read once: the fastest level saves nearly all that there is to save.
        let stream = DeflateEncoder::with_quality(DeflateDecoder::new(BufReader::new(stream)), Level::Fastest);
        Ok(Session { wire: Connection::new(Box::new(stream)), compressed: true, ..self })
    }
}
