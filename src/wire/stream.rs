//! A connection to a server: TCP, in the clear or inside TLS, or a socket of this machine.

use super::certificate;
use super::sasl::{Channel, ChannelBinding};
use crate::service::platform::LocalStream;
use rustls::ProtocolVersion;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection to a server.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// On this machine.
    Local(LocalStream),
}

/// RFC 9266 §2.
pub(super) const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

impl Stream {
    /// Whether it is protected.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// What a log-in over it can be bound to.
    pub fn channel(&self) -> Channel {
        let Self::Tls(stream) = self else { return Channel::Clear };
        let (_, session) = stream.get_ref();
        let binding = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => {
                let data = session.export_keying_material([0; 32], EXPORTER, Some(b"")).ok();
                data.map(|data| ChannelBinding { name: "tls-exporter", data: data.to_vec() })
            }
            // Below, not every server has the extended master secret that an exporter needs (RFC 9266 §4.2).
            _ => {
                let certificate = session.peer_certificates().and_then(|chain| chain.first());
                let data = certificate.and_then(certificate::end_point);
                data.map(|data| ChannelBinding { name: "tls-server-end-point", data })
            }
        };
        Channel::Tls(binding)
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub fn certificate_ends(&self) -> Option<i64> {
        let Self::Tls(stream) = self else { return None };
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        Some(certificate::validity(certificate)?.not_after)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Local(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Local(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Local(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Local(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
