//! HTTP proxies: which one an address needs, and the tunnel through it.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Uri;

/// A proxy answers with a few headers; more is not read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What the environment says about proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    pub https: Option<Proxy>,
    pub http: Option<Proxy>,
    /// Hosts that are reached without one.
    pub except: Vec<String>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The value of `proxy-authorization`.
    credential: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names no HTTP proxy; `http://proxy.example.com:3128` would be one")]
pub struct ProxyError {
    pub variable: &'static str,
}

impl Proxy {
    /// Reads `http://name:password@host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = text.parse().ok()?;
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let login = uri.authority()?.as_str().rsplit_once('@').map(|(login, _)| login);
        let credential = login.map(|login| format!("Basic {}", STANDARD.encode(unescaped(login))));
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { host, port: uri.port_u16().unwrap_or(3128), credential })
    }
}

impl Proxies {
    /// Returns the proxy that an address needs.
    pub fn for_address(&self, address: &str) -> Option<&Proxy> {
        let uri: Uri = address.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || host == "127.0.0.1" || host == "::1";
        if loopback || self.except.iter().any(|except| covers(except, host)) {
            return None;
        }
        if uri.scheme_str() == Some("https") { self.https.as_ref() } else { self.http.as_ref() }
    }
}

/// `*`, a host, or a domain with all under it.
fn covers(except: &str, host: &str) -> bool {
    let except = except.trim().trim_start_matches('.');
    let under = host.strip_suffix(except).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    except == "*" || (!except.is_empty() && under)
}

/// `%40` and its like, as a password in an address has them.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Asks the proxy for a tunnel to `target`. Whoever calls bounds the time.
pub(super) async fn tunnel(proxy: &Proxy, target: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((proxy.host.as_str(), proxy.port)).await?;
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
    if let Some(credential) = &proxy.credential {
        request.push_str("proxy-authorization: ");
        request.push_str(credential);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what comes behind the headers belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == ANSWER_BYTES_MAX {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        answer.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    if line.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        return Ok(stream);
    }
    Err(io::Error::other(format!("the proxy {proxy:?} does not let us through: {line}")))
}
