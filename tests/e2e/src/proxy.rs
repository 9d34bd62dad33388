//! A TCP proxy that does what networks do: cut at a chosen byte, hold everything, hang up.
//!
//! Its counters tell whether a fault has bitten; a trial whose fault did not bite proves nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const NO_CUT: i64 = i64::MAX;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Answers,
}

#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<SocketAddr>,
    holds: watch::Sender<bool>,
    /// Counts hang-ups: a connection that sees it change ends.
    generation: watch::Sender<u64>,
    requests: Lane,
    answers: Lane,
    cuts: AtomicU64,
    accepted: AtomicU64,
}

#[derive(Debug)]
struct Lane {
    passed: AtomicU64,
    /// Bytes that may still pass before all connections are cut.
    left: AtomicI64,
}

impl Proxy {
    pub async fn start(target_port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let lane = || Lane { passed: AtomicU64::new(0), left: AtomicI64::new(NO_CUT) };
        let shared = Arc::new(Shared {
            target: watch::Sender::new(loopback(target_port)),
            holds: watch::Sender::new(false),
            generation: watch::Sender::new(0),
            requests: lane(),
            answers: lane(),
            cuts: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        });
        let accepting = spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends new connections elsewhere and hangs up on the old ones.
    pub fn lead_to(&self, port: u16) {
        self.shared.target.send_replace(loopback(port));
        self.hang_up();
    }

    /// Cuts every connection once `bytes` more have passed in that way, and then lets all through again.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(NO_CUT);
        self.shared.lane(way).left.store(bytes, Ordering::SeqCst);
    }

    pub fn hang_up(&self) {
        self.shared.hang_up();
    }

    /// Passes nothing on in either way while `holds`; nobody is told.
    pub fn hold(&self, holds: bool) {
        self.shared.holds.send_replace(holds);
    }

    /// Returns how often connections were cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    pub fn passed(&self, way: Way) -> u64 {
        self.shared.lane(way).passed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.hang_up();
    }
}

impl Shared {
    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Requests => &self.requests,
            Way::Answers => &self.answers,
        }
    }

    fn hang_up(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.generation.send_modify(|generation| *generation += 1);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness has no telemetry; a proxy ends with its trial's runtime"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        // Its task ends with either side, or at the next hang-up.
        drop(spawn(connection(client, shared)));
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut generation = shared.generation.subscribe();
    let target = *shared.target.borrow();
    let Ok(server) = TcpStream::connect(target).await else { return };
    for side in [&client, &server] {
        // Closing then resets, as a cut does; small frames go at once.
        side.set_nodelay(true).and_then(|()| side.set_zero_linger()).ok();
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, &shared, Way::Requests) => {}
        () = pass(from_server, to_client, &shared, Way::Answers) => {}
        _ = generation.changed() => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, way: Way) {
    let lane = shared.lane(way);
    let mut holds = shared.holds.subscribe();
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if holds.wait_for(|holds| !holds).await.is_err() {
            return;
        }
        let room = lane.left.load(Ordering::SeqCst);
        let passes = read.min(usize::try_from(room).unwrap_or(0));
        if to.write_all(&bytes[..passes]).await.is_err() {
            return;
        }
        lane.passed.fetch_add(passes as u64, Ordering::SeqCst);
        if room == NO_CUT {
            continue;
        }
        if passes == read && room > read as i64 {
            lane.left.store(room - read as i64, Ordering::SeqCst);
            continue;
        }
        lane.left.store(NO_CUT, Ordering::SeqCst);
        shared.hang_up();
        return;
    }
}
