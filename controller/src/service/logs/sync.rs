//! One thread that makes the bytes of all logs durable together.
//!
//! It waits until there is enough, or until the oldest byte has waited long enough, so that many
//! slow logs share their syncs and one fast log does not wait for the clock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::log::Log;

/// When written bytes are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncPolicy {
    /// No byte waits longer for its sync to begin.
    pub after: Duration,
    /// So many bytes, of all logs together, do not wait at all.
    pub bytes: usize,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self { after: Duration::from_millis(50), bytes: 256 * 1024 }
    }
}

#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    policy: SyncPolicy,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    logs: Vec<Arc<Log>>,
    bytes: usize,
    stopping: bool,
}

impl Syncer {
    pub(super) fn start(policy: SyncPolicy) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { policy, waiting: Mutex::default(), changed: Condvar::new() });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("log-sync".into()).spawn(move || own.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notes new bytes; `log` is given with the first ones since its last sync.
    pub(super) fn note(&self, bytes: usize, log: Option<Arc<Log>>) {
        let mut waiting = self.shared.waiting();
        let idle = waiting.logs.is_empty();
        let was_enough = waiting.bytes >= self.shared.policy.bytes;
        waiting.bytes += bytes;
        waiting.logs.extend(log);
        if idle || (!was_enough && waiting.bytes >= self.shared.policy.bytes) {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for Syncer {
    /// Syncs what was noted, then ends the thread.
    fn drop(&mut self) {
        self.shared.waiting().stopping = true;
        self.shared.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that syncs logs panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let waiting = self.waiting();
            let none_yet = |waiting: &mut Waiting| waiting.logs.is_empty() && !waiting.stopping;
            let waiting = self.changed.wait_while(waiting, none_yet).expect(UNPOISONED);
            let too_few = |waiting: &mut Waiting| waiting.bytes < self.policy.bytes && !waiting.stopping;
            let (mut waiting, _) =
                self.changed.wait_timeout_while(waiting, self.policy.after, too_few).expect(UNPOISONED);
            let logs = std::mem::take(&mut waiting.logs);
            waiting.bytes = 0;
            let stopping = waiting.stopping;
            drop(waiting);
            sync_all(&logs);
            if stopping && logs.is_empty() {
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nothing panics while it holds the list of waiting logs";

/// Syncs side by side: the file system joins syncs that wait for its journal together.
const SIDE_BY_SIDE: usize = 4;

fn sync_all(logs: &[Arc<Log>]) {
    if let [log] = logs {
        return log.sync();
    }
    thread::scope(|scope| {
        for part in logs.chunks(logs.len().div_ceil(SIDE_BY_SIDE).max(1)) {
            drop(scope.spawn(|| part.iter().for_each(|log| log.sync())));
        }
    });
}
