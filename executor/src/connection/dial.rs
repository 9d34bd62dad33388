//! One address, and how a connection to it is made: directly or through a proxy, plain or with TLS.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use ocelot_proto::kit::doctor::ask::{Answer, ask};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Uri;

use super::proxy::{self, Proxy};

/// For the connection, the proxy and the handshake together.
const CONNECT: Duration = Duration::from_secs(5);

/// Anything that bytes go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An address of a controller and the way to it.
#[derive(Clone)]
pub struct Route {
    host: String,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
    proxy: Option<Proxy>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin().fmt(f)
    }
}

/// What a controller said to a doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub answer: Answer,
    /// What it showed, if it speaks TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is no address of a controller; `https://ci.example.com:7070` would be one")]
pub struct InvalidAddress {
    address: String,
}

impl InvalidAddress {
    /// There is none at all.
    pub fn none() -> Self {
        Self { address: String::new() }
    }
}

impl Route {
    /// Reads `https://host:port`, or `http://host:port` where nothing is encrypted.
    pub fn new(
        address: &str,
        tls: &Arc<rustls::ClientConfig>,
        proxy: Option<Proxy>,
    ) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress { address: address.to_owned() };
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if uri.path().len() > 1 || uri.query().is_some() {
            return Err(invalid());
        }
        let (tls, default) = match uri.scheme_str() {
            Some("https") => (Some(Arc::clone(tls)), 443),
            Some("http") => (None, 80),
            Some(_) | None => return Err(invalid()),
        };
        let port = uri.port_u16().unwrap_or(default);
        Ok(Self { host, port, tls, proxy })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where requests say that they go.
    pub(super) fn origin(&self) -> Uri {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let built = Uri::builder().scheme(scheme).authority(self.host_and_port()).path_and_query("/");
        built.build().expect("it was read out of a valid address")
    }

    /// The same without a word about TLS, which is ours to do.
    pub(super) fn authority(&self) -> Uri {
        let built = Uri::builder().scheme("http").authority(self.host_and_port()).path_and_query("/");
        built.build().expect("it was read out of a valid address")
    }

    fn host_and_port(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    pub(super) async fn dial(&self) -> io::Result<TokioIo<Box<dyn Stream>>> {
        let dialled = tokio::time::timeout(CONNECT, self.connect()).await;
        dialled.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(TokioIo::new)
    }

    /// Asks the controller there whether it is ready, for a doctor.
    pub async fn look(&self) -> io::Result<Looked> {
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let (stream, certificate) =
            tokio::time::timeout(CONNECT, self.connect_to_look()).await.map_err(timed_out)??;
        Ok(Looked { answer: ask(stream, &self.host_and_port()).await?, certificate })
    }

    async fn connect_to_look(&self) -> io::Result<(Box<dyn Stream>, Option<Vec<u8>>)> {
        let stream = self.reach().await?;
        let Some(tls) = &self.tls else { return Ok((Box::new(stream), None)) };
        let mut tls = rustls::ClientConfig::clone(tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.map(|certificate| certificate.to_vec());
        Ok((Box::new(stream), shown))
    }

    async fn reach(&self) -> io::Result<TcpStream> {
        let stream = match &self.proxy {
            Some(proxy) => proxy::tunnel(proxy, &self.host_and_port()).await?,
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = self.reach().await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}
