//! One connection to one address: TCP, then TLS unless it stays on this machine, then HTTP/2.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use ocelot_proto::kit::doctor::ask::{Answer, ask};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::tls;
use crate::config::{Scheme, Trust, Url};

/// For TCP and TLS together.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// A silent connection is asked so often whether it is still there, and given so long to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// What may be on its way: enough for a fast log over a slow line.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Why an address could not be reached.
#[derive(Debug)]
pub(crate) struct DialError {
    pub(crate) url: Url,
    pub(crate) why: Why,
}

#[derive(Debug)]
pub(crate) enum Why {
    Network(io::Error),
    TimedOut,
    Tls(io::Error),
    /// Another certificate than the one that is trusted.
    Stranger {
        seen: [u8; 32],
    },
    /// The authorities to trust could not be had.
    Authorities(io::Error),
    Protocol(tonic::transport::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.url)?;
        match &self.why {
            Why::Network(error) => f.write_str(&words(error)),
            Why::TimedOut => write!(f, "no answer within {} s", DIAL_DEADLINE.as_secs()),
            Why::Tls(error) => write!(f, "no encrypted connection: {error}"),
            Why::Stranger { seen } => {
                write!(f, "it shows another certificate, {}", Trust::show_fingerprint(seen))
            }
            Why::Authorities(error) => write!(f, "the authorities to trust cannot be read: {error}"),
            Why::Protocol(error) => write!(f, "it does not speak our protocol: {error}"),
        }
    }
}

/// The system's words without its numbers.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// By which a controller knows what is too old.
const AGENT: &str = concat!("ocelot/", env!("CARGO_PKG_VERSION"));

/// Connects to one address.
pub(super) async fn connect(url: &Url, trust: &Trust) -> Result<Channel, DialError> {
    let failed = |why| DialError { url: url.clone(), why };
    let stream = tokio::time::timeout(DIAL_DEADLINE, open(url, trust));
    let stream = stream.await.map_err(|_| failed(Why::TimedOut))?.map_err(failed)?;
    let origin = url.to_string().parse::<Uri>().ok();
    let endpoint = Endpoint::from_shared(format!("http://{}", url.authority()))
        .and_then(|endpoint| endpoint.user_agent(AGENT))
        .map_err(|error| failed(Why::Protocol(error)))?
        .origin(origin.unwrap_or_default())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    // The one connection that there is: a second one is the client's to make, elsewhere perhaps.
    let only = Arc::new(Mutex::new(Some(stream)));
    let connector = service_fn(move |_: Uri| {
        let stream = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { stream.map(TokioIo::new).ok_or(io::Error::from(io::ErrorKind::NotConnected)) }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| failed(Why::Protocol(error)))
}

async fn open(url: &Url, trust: &Trust) -> Result<Box<dyn Stream>, Why> {
    let tcp = tcp(url).await?;
    match url.scheme {
        Scheme::Http => Ok(Box::new(tcp)),
        Scheme::Https => Ok(Box::new(tls::handshake(tcp, &url.host, trust).await?)),
    }
}

async fn tcp(url: &Url) -> Result<TcpStream, Why> {
    let tcp = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(Why::Network)?;
    tcp.set_nodelay(true).map_err(Why::Network)?;
    Ok(tcp)
}

/// What an address said to a doctor.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) answer: Answer,
    /// What it showed, if it speaks TLS.
    pub(crate) certificate: Option<Vec<u8>>,
}

/// Asks an address whether the controller there is ready.
pub(crate) async fn ask_ready(url: &Url, trust: &Trust) -> Result<Looked, DialError> {
    let failed = |why| DialError { url: url.clone(), why };
    let asked = async {
        let tcp = tcp(url).await?;
        let host = url.authority();
        match url.scheme {
            Scheme::Http => {
                let answer = ask(tcp, &host).await.map_err(Why::Network)?;
                Ok(Looked { answer, certificate: None })
            }
            Scheme::Https => {
                let stream = tls::handshake_for(b"http/1.1", tcp, &url.host, trust).await?;
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let certificate = shown.map(|certificate| certificate.to_vec());
                Ok(Looked { answer: ask(stream, &host).await.map_err(Why::Network)?, certificate })
            }
        }
    };
    tokio::time::timeout(DIAL_DEADLINE, asked).await.map_err(|_| failed(Why::TimedOut))?.map_err(failed)
}

/// Asks an address for its certificate, trusts it in nothing, and returns the fingerprint.
pub(crate) async fn look(url: &Url) -> Result<[u8; 32], DialError> {
    let failed = |why| DialError { url: url.clone(), why };
    let seen = async {
        let tcp = tcp(url).await?;
        tls::look(tcp, &url.host).await
    };
    tokio::time::timeout(DIAL_DEADLINE, seen).await.map_err(|_| failed(Why::TimedOut))?.map_err(failed)
}
