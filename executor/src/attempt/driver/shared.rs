//! What all attempts of an executor share, and how they wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::clock::Clock;
use tokio::sync::{Notify, watch};

use crate::attempt::ports::Logs;
use crate::attempt::ready::Ready;
use crate::boot::BootClock;
use crate::checkout::Checkouts;
use crate::collect::left::Signs;
use crate::connection::Line;
use crate::journal::Journal;
use crate::runtimes::Runtimes;
use crate::session::Board;

/// What all attempts of an executor share.
#[derive(Debug)]
pub struct Shared {
    pub journal: Journal,
    pub line: Arc<Line>,
    pub runtimes: Arc<Runtimes>,
    pub logs: Arc<dyn Logs>,
    pub clock: Arc<dyn Clock>,
    pub boot: Arc<dyn BootClock>,
    pub board: Arc<Board>,
    /// The directory with one directory for each attempt.
    pub attempts: PathBuf,
    /// Places of attempts to come.
    pub ready: Ready,
    /// In memory, for secrets.
    pub memory: PathBuf,
    pub checkouts: Arc<Checkouts>,
    /// What the collector of garbage is told.
    pub signs: Arc<Signs>,
    /// The number of the open poll.
    pub poll: AtomicU64,
    /// Asks for a heartbeat now.
    pub beat: Arc<Notify>,
    /// Whether the session counts, so that it may be heard.
    pub live: watch::Sender<bool>,
    /// The session's credential does not count any more.
    pub reopen: Arc<Notify>,
    /// The journal failed: only a new process knows what holds.
    pub failed: Arc<Notify>,
    /// Set when drivers are to leave everything as it is.
    pub over: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn random(&self) -> f64 {
        let number = getrandom::u32().unwrap_or(u32::MAX / 2);
        f64::from(number) / f64::from(u32::MAX)
    }

    pub(super) async fn wait(&self, policy: Policy, repeat: u32) {
        if repeat > 0 {
            self.clock.sleep(policy.wait(repeat, self.random())).await;
        }
    }
}
