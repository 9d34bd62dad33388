//! Accepting connections, whatever the kernel or a stranger does.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::routes::Routes;
use super::{Limits, Transport};

/// Accepts, encrypts and serves.
#[derive(Debug)]
pub(super) struct Acceptor {
    serving: Arc<Serving>,
    clock: Arc<dyn Clock>,
    free: Arc<Semaphore>,
}

/// What every connection shares.
#[derive(Debug)]
struct Serving {
    tls: Option<Tls>,
    builder: Builder<Background>,
    routes: Routes,
    handshake: Duration,
    /// For the first bytes of a connection.
    first: Duration,
    tasks: Tasks,
}

/// Runs the streams of a connection, so that the end of the program waits for them.
#[derive(Debug, Clone)]
struct Background(Tasks);

struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl<F> hyper::rt::Executor<F> for Background
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("stream", future);
    }
}

/// Between two accepts that failed for a reason of ours, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Acceptor {
    pub(super) fn new(
        transport: Transport,
        limits: Limits,
        routes: Routes,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let tls = match transport {
            Transport::Plain => None,
            Transport::Tls(certificate) => Some(Tls(TlsAcceptor::from(certificate.server_config()))),
        };
        let builder = builder(&limits, Background(tasks.clone()));
        let serving =
            Serving { tls, builder, routes, handshake: limits.handshake, first: limits.headers, tasks };
        Self { serving: Arc::new(serving), clock, free }
    }

    pub(super) async fn run(self, socket: TcpListener) {
        let tasks = self.serving.tasks.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = tasks.draining() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) if is_theirs(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "connections cannot be accepted just now");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.free).try_acquire_owned() else {
            tracing::warn!(%peer, "a connection was closed: there are as many as the limit allows");
            return;
        };
        let serving = Arc::clone(&self.serving);
        self.serving.tasks.spawn("connection", async move {
            serving.connection(stream, peer).await;
            drop(place);
        });
    }
}

impl Serving {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a connection is gone already");
            return;
        }
        // Boxed, so that a connection without TLS takes no room for one with it.
        match &self.tls {
            None => self.serve(stream, peer).boxed().await,
            Some(Tls(acceptor)) => self.encrypt(acceptor, stream, peer).boxed().await,
        }
    }

    async fn encrypt(&self, acceptor: &TlsAcceptor, stream: TcpStream, peer: SocketAddr) {
        let shaken = tokio::time::timeout(self.handshake, acceptor.accept(stream).boxed()).await;
        match shaken {
            Ok(Ok(stream)) => self.serve(stream, peer).boxed().await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }

    async fn serve(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let begun = tokio::select! {
            begun = tokio::time::timeout(self.first, first_bytes(&mut stream)) => begun,
            () = self.tasks.draining() => return,
        };
        let Ok(Ok(first)) = begun else {
            tracing::debug!(%peer, "a connection said nothing for too long, or broke off");
            return;
        };
        let (reads, writes) = tokio::io::split(stream);
        let stream = tokio::io::join(io::Cursor::new(first).chain(reads), writes);
        let serving = self.builder.serve_connection(TokioIo::new(stream), self.routes.for_peer(peer));
        let mut serving = pin!(serving);
        let mut draining = pin!(self.tasks.draining());
        let mut drains = false;
        let ended = loop {
            tokio::select! {
                ended = serving.as_mut() => break ended,
                () = &mut draining, if !drains => {
                    drains = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection broke off");
        }
    }
}

/// What a client may send ahead of what is read of it. A log comes on one stream: with less, whoever
/// sends it stands still once per window until this side has had its turn.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// How every HTTP/2 connection begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is plain which protocol follows: before that, nothing else limits the wait.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let left = (PREFACE.len() - first.len()) as u64;
        if stream.take(left).read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(first)
}

fn builder(limits: &Limits, background: Background) -> Builder<Background> {
    let mut builder = Builder::new(background);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(limits.header_list_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_list_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive);
    builder
}

/// Tells whether an accept failed because of one client, so that the next may go well.
fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
