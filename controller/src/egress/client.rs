//! One request to one checked address, and its answer.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use url::Host;

use super::rules::{Denied, Rules, Target};

/// From the first look at the name to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// For one of several addresses of a name.
const CONNECT: Duration = Duration::from_secs(3);
/// Of an answer so much is kept; what is longer is cut.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const ADDRESSES_MAX: usize = 16;
/// Calls that are open at a time.
const CALLS_MAX: usize = 64;

/// What the way out is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub rules: Rules,
    /// Certificates that are trusted besides those of the system, as PEM.
    pub ca: Option<PathBuf>,
}

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own way.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolve;

#[async_trait]
impl Resolve for SystemResolve {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A request. Its `Debug` shows neither headers nor body, which may hold a secret.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    /// Makes a call of plain parts; none if a header is none.
    pub fn new(method: &str, url: &str, headers: &[(&'static str, String)], body: Bytes) -> Option<Self> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            map.insert(HeaderName::from_static(name), value);
        }
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        Some(Self { method, url: url.to_owned(), headers: map, body })
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.method)
    }
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer. All but a denial may have happened at the other end all the same.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("{host} cannot be resolved")]
    Unresolved { host: String, source: io::Error },
    #[error("{host} cannot be reached")]
    Unreachable { host: String, source: io::Error },
    #[error("{host} does not prove who it is")]
    Tls { host: String, source: io::Error },
    #[error("{host} did not answer in time")]
    TimedOut { host: String },
    #[error("the conversation with {host} broke off")]
    Broken { host: String, source: hyper::Error },
}

impl EgressError {
    /// Tells whether asking again may go better without anybody doing anything here.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Denied(_) => false,
            Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::TimedOut { .. }
            | Self::Broken { .. } => true,
        }
    }
}

/// Why no way out could be made.
#[derive(Debug, thiserror::Error)]
#[error("{} holds no certificates in PEM form", path.display())]
pub struct InvalidCa {
    path: PathBuf,
    source: rustls::pki_types::pem::Error,
}

/// Calls what may be called.
pub struct Egress {
    rules: Rules,
    tls: Arc<ClientConfig>,
    resolve: Arc<dyn Resolve>,
    free: Semaphore,
    deadline: Duration,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Egress {
    /// Makes the way out, with the system's certificates. Blocks.
    pub fn new(settings: &Settings) -> Result<Self, InvalidCa> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate of the system cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if let Some(path) = &settings.ca {
            let wrong = |source| InvalidCa { path: path.clone(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
                roots.add_parsable_certificates([certificate.map_err(wrong)?]);
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            rules: settings.rules.clone(),
            tls: Arc::new(tls),
            resolve: Arc::new(SystemResolve),
            free: Semaphore::new(CALLS_MAX),
            deadline: DEADLINE,
        })
    }

    /// Takes another way of finding addresses.
    #[must_use]
    pub fn resolving(self, resolve: Arc<dyn Resolve>) -> Self {
        Self { resolve, ..self }
    }

    /// Takes another deadline for each call.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Calls, and returns what came back. No redirect is followed.
    pub async fn call(&self, call: Call) -> Result<Answer, EgressError> {
        let target = self.rules.target(&call.url)?;
        let host = target.host.to_string();
        let asked = async {
            let _place = self.free.acquire().await.ok();
            let addresses = self.addresses(&target).await?;
            let stream = connect(&target, &addresses).await?;
            if !target.is_encrypted {
                return exchange(stream, &target, call).await;
            }
            let name = server_name(&target.host);
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            let stream = match name {
                Some(name) => connector.connect(name, stream).await,
                None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            };
            let tls = |source| EgressError::Tls { host: host.clone(), source };
            exchange(stream.map_err(tls)?, &target, call).await
        };
        let timed_out = |_| EgressError::TimedOut { host: host.clone() };
        tokio::time::timeout(self.deadline, asked).await.map_err(timed_out)?
    }

    /// Resolves a server for somebody who speaks to it by another way, and checks everything that comes
    /// back. Whether that way is encrypted is theirs to decide.
    pub async fn may_reach(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, EgressError> {
        let target = Rules::server(host, port)?;
        let timed_out = |_| EgressError::TimedOut { host: host.to_owned() };
        let found =
            tokio::time::timeout(self.deadline, self.addresses(&target)).await.map_err(timed_out)??;
        Ok(found.into_iter().map(|address| address.ip()).collect())
    }

    /// Resolves the host once and checks everything that comes back.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, EgressError> {
        let mut addresses = match &target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let unresolved = |source| EgressError::Unresolved { host: name.clone(), source };
                self.resolve.resolve(name).await.map_err(unresolved)?
            }
        };
        self.rules.check(target, &addresses)?;
        addresses.truncate(ADDRESSES_MAX);
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, target.port)).collect())
    }
}

async fn connect(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, EgressError> {
    let mut why = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error,
            Err(_) => why = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(EgressError::Unreachable { host: target.host.to_string(), source: why })
}

fn server_name(host: &Host<String>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        Host::Ipv4(address) => Some(ServerName::IpAddress(IpAddr::V4(*address).into())),
        Host::Ipv6(address) => Some(ServerName::IpAddress(IpAddr::V6(*address).into())),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    call: Call,
) -> Result<Answer, EgressError> {
    let broken = |source| EgressError::Broken { host: target.host.to_string(), source };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut request = Request::new(Full::new(call.body));
    *request.method_mut() = call.method;
    *request.headers_mut() = call.headers;
    if let (Ok(path), Ok(authority)) = (target.path.parse(), HeaderValue::from_str(&target.authority)) {
        *request.uri_mut() = path;
        request.headers_mut().insert(HOST, authority);
    }
    let asked = async {
        let response = sender.send_request(request).await?;
        let (parts, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            let room = BODY_BYTES_MAX - read.len();
            read.extend_from_slice(&piece[..piece.len().min(room)]);
            if read.len() == BODY_BYTES_MAX {
                break;
            }
        }
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: read.freeze() })
    };
    let (mut asked, mut connection) = (pin!(asked), pin!(connection));
    let mut is_open = true;
    // What the connection has read is still to be had when it has ended.
    loop {
        tokio::select! {
            biased;
            answer = &mut asked => return answer.map_err(broken),
            _ended = &mut connection, if is_open => is_open = false,
        }
    }
}
