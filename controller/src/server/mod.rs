//! The one listener: one port for gRPC and HTTP, encrypted unless it is on loopback.
//!
//! Nothing that a stranger sends may make it grow, hang or stop: every wait and every size here has
//! a limit. Every route needs a credential but those of [`PUBLIC`] and [`PUBLIC_FOLDERS`].

mod accept;
mod admit;
mod body;
mod health;
mod request_id;
mod routes;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use tokio::net::TcpListener;

pub use admit::{PUBLIC, PUBLIC_FOLDERS, Peer};
pub use body::Problem;
pub use health::{Health, NotReady};
pub use request_id::{RequestId, RequestIds};
pub use routes::Routes;
pub use tls::{Certificate, CertificateError, Fingerprint, Names};

use accept::Acceptor;

/// The most bytes of one message or body.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much one listener takes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// More are closed at once, so that a client turns to another controller.
    pub connections: usize,
    /// From the first byte to the end of the TLS handshake.
    pub handshake: Duration,
    /// For the first bytes of a connection, and for the headers of an HTTP/1.1 request.
    pub headers: Duration,
    pub header_list_bytes: usize,
    /// Open at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Streams that were reset and not yet looked at: more are an attack.
    pub pending_resets: usize,
    /// How often a silent HTTP/2 connection is asked whether it is still there, and for how long.
    pub keepalive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An executor has two, one of them for its heartbeats: 10,000 and room for people.
            connections: 32_768,
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            header_list_bytes: 16 * 1024,
            streams: 100,
            pending_resets: 20,
            keepalive: Duration::from_secs(20),
        }
    }
}

/// How bytes travel.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Only on loopback.
    Plain,
    Tls(Arc<Certificate>),
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is beyond loopback, and nothing goes there in plain text")]
    PlainBeyondLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
}

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    transport: Transport,
    limits: Limits,
}

impl Listener {
    /// Binds the address. Port 0 takes any free one.
    pub async fn bind(
        address: SocketAddr,
        transport: Transport,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        if matches!(transport, Transport::Plain) && !address.ip().to_canonical().is_loopback() {
            return Err(ListenError::PlainBeyondLoopback(address));
        }
        let refused = |source| ListenError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, address, transport, limits })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves in the background until the program drains; then lets open calls finish.
    pub fn serve(self, routes: Routes, clock: Arc<dyn Clock>, tasks: &Tasks) {
        let acceptor = Acceptor::new(self.transport, self.limits, routes, clock, tasks.clone());
        tasks.spawn("listener", acceptor.run(self.socket));
    }
}
