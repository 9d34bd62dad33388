//! One executor's talk with the controllers: a session, the one open poll, and the end of it all.
//!
//! What a poll brings is passed to the attempts' drivers at once; nothing here waits for them.

mod board;
mod heartbeat;
mod leave;
mod offer;
mod open;
mod poll;
mod recover;
mod standing;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ocelot_core::id::ExecutorId;
use ocelot_core::plan::Class;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use ocelot_proto::wire::directive::Directive;
use tokio::sync::{Notify, watch};

use crate::alive::Alive;
use crate::attempt::AttemptId;
use crate::attempt::driver::Shared;
use crate::attempt::ready::{Bounds, Ready};
use crate::attempt::state::Event;
use crate::connection::{CallError, Credential, Route};
use crate::identity::Key;

pub use board::Board;
pub use leave::{Leave, Why};
pub use standing::{Refusal, Standing};

/// After a stop that was ordered, what runs has so long to be killed.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// After the grace, what has ended has so long to be told; less than the program has to stop in.
const TOLD_WITHIN: Duration = Duration::from_secs(8);

/// Why an executor stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("everything it held is done")]
    Drained,
    /// As it was told at its start.
    #[error("{0}, and everything it held is done")]
    Leaves(Why),
    /// What runs goes on, and the next process takes it over.
    #[error("the grace is over; {left} attempts go on, and are taken over by the next start")]
    Left { left: usize },
    #[error(
        "another process of this executor has taken over: two of them use one key or a copied data directory"
    )]
    Fenced,
    #[error("this executor was removed: {why}. Register it again to use it")]
    Removed { why: String },
    #[error("the journal failed; the log says how. What runs goes on, and is taken over by the next start")]
    Journal,
}

/// The intervals that the fleet works with now.
#[derive(Debug)]
pub(crate) struct Timing {
    heartbeat_ms: AtomicU64,
    poll_ms: AtomicU64,
    guard_exclusive_ms: AtomicU64,
    guard_normal_ms: AtomicU64,
}

impl Timing {
    fn new() -> Self {
        Self {
            heartbeat_ms: 2_000.into(),
            poll_ms: 25_000.into(),
            guard_exclusive_ms: 60_000.into(),
            guard_normal_ms: 600_000.into(),
        }
    }

    fn take(&self, timing: Option<&wire::Timing>) {
        let Some(timing) = timing else { return };
        let known = [
            (&self.heartbeat_ms, timing.heartbeat_ms),
            (&self.poll_ms, timing.poll_ms),
            (&self.guard_exclusive_ms, timing.guard_exclusive_ms),
            (&self.guard_normal_ms, timing.guard_normal_ms),
        ];
        for (known, told) in known.into_iter().filter(|(_, told)| *told > 0) {
            known.store(told, Ordering::Relaxed);
        }
    }

    fn guard(&self, class: Class) -> Duration {
        Duration::from_millis(match class {
            Class::Exclusive => self.guard_exclusive_ms.load(Ordering::Relaxed),
            Class::Normal | Class::Once => self.guard_normal_ms.load(Ordering::Relaxed),
        })
    }
}

/// What it takes and how long it waits.
#[derive(Debug, Clone)]
pub struct Rules {
    pub slots: usize,
    /// Containers that wait for tasks.
    pub warm: usize,
    pub disk_floor: u64,
    pub allow_process: bool,
    pub drain_grace: Duration,
    pub leave: Leave,
}

/// All that speaks for this executor.
#[derive(Debug)]
pub(crate) struct Speech {
    pub(crate) shared: Arc<Shared>,
    pub(crate) credential: Credential,
    pub(crate) executor: ExecutorId,
    pub(crate) key: Key,
    pub(crate) data: PathBuf,
    pub(crate) rules: Rules,
    pub(crate) timing: Timing,
    draining: Mutex<Draining>,
    removed: Mutex<Option<String>>,
    stop: Notify,
    /// What health checks are told.
    alive: watch::Sender<Option<Alive>>,
}

/// Why nothing new is taken.
#[derive(Debug, Default)]
struct Draining {
    /// A controller said so, and may take it back.
    told: Option<String>,
    /// It ends by itself once everything is done.
    leaving: Option<Why>,
    /// The program ends.
    ending: bool,
}

impl Speech {
    pub(crate) fn new(
        shared: Arc<Shared>,
        credential: Credential,
        (executor, key): (ExecutorId, Key),
        data: PathBuf,
        rules: Rules,
    ) -> Self {
        Self {
            shared,
            credential,
            executor,
            key,
            data,
            rules,
            timing: Timing::new(),
            draining: Mutex::default(),
            removed: Mutex::default(),
            stop: Notify::new(),
            alive: watch::Sender::new(None),
        }
    }

    /// Looks at what decides whether work is taken.
    pub(crate) fn look(&self) -> Standing {
        let disk_free = self.disk_free();
        if disk_free < self.rules.disk_floor {
            self.shared.signs.ask();
        }
        let draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = draining.ending.then(|| "the executor is being stopped".to_owned());
        let leaving = draining.leaving.or_else(|| self.has_its_one());
        Standing {
            draining: ending.or_else(|| leaving.map(|why| why.to_string())).or_else(|| draining.told.clone()),
            disk_free,
            disk_floor: self.rules.disk_floor,
            working: self.shared.board.working(),
            slots: self.rules.slots,
            runtimes: self.shared.runtimes.refusing(),
        }
    }

    /// Returns what is free on the disk that has least: ours, or that of an engine.
    fn disk_free(&self) -> u64 {
        let own = crate::identity::disk(&self.data).map(|disk| disk.free).unwrap_or_else(|error| {
            tracing::error!(%error, "the disk cannot be looked at");
            0
        });
        let storages = self.shared.runtimes.all().filter_map(|runtime| runtime.storage());
        // Where an engine keeps its things may be out of sight.
        let theirs = storages.filter_map(|path| Some(crate::identity::disk(&path).ok()?.free));
        theirs.fold(own, u64::min)
    }

    /// The session does not count: nothing is said any more before another one is open.
    pub(crate) fn lost(&self, error: &CallError) {
        if self.shared.live.send_replace(false) {
            tracing::warn!(error = %chain(error), "the session is lost: {error}");
        }
        self.shared.reopen.notify_one();
    }

    /// Whether the program ends: then others may, too, and that is no trouble.
    fn is_ending(&self) -> bool {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).ending
    }

    fn begin_ending(&self) {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).ending = true;
        self.shared.beat.notify_one();
    }
}

/// Does what a controller says.
pub(crate) fn apply(speech: &Speech, directive: wire::Directive) {
    let board = &speech.shared.board;
    let Some(directive) = directive.directive else { return };
    let attempt = |id: &wire::AttemptId| AttemptId::from_wire(id);
    match directive {
        Directive::Cancel(id) => {
            if let Some(id) = attempt(&id) {
                board.tell(id, Event::Cancel);
            }
        }
        Directive::Kill(id) => {
            if let Some(id) = attempt(&id) {
                board.kill(id);
            }
        }
        Directive::Drain(drain) => {
            tracing::info!(reason = drain.reason, "draining, as a controller says: {}", drain.reason);
            let told = format!("draining: {}", drain.reason);
            speech.draining.lock().unwrap_or_else(PoisonError::into_inner).told = Some(told);
            speech.shared.beat.notify_one();
        }
        Directive::Resume(_) => {
            tracing::info!("taking work again, as a controller says");
            speech.draining.lock().unwrap_or_else(PoisonError::into_inner).told = None;
            speech.shared.beat.notify_one();
        }
        Directive::Stop(stop) => {
            *speech.removed.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop.reason);
            speech.stop.notify_one();
        }
    }
}

/// Runs the executor until it is to stop, and says why it did.
pub(crate) async fn run(speech: Arc<Speech>, routes: Vec<Route>, tasks: Tasks) -> Stopped {
    let shared = &speech.shared;
    match recover::recover(shared, &speech.timing).await {
        Ok(drivers) => drivers.into_iter().for_each(|driver| tasks.spawn("attempt", driver.run())),
        Err(error) => {
            tracing::error!(error = %chain(&error), "the journal failed");
            return Stopped::Journal;
        }
    }
    let heartbeat = match heartbeat::Heartbeat::start(Arc::clone(&speech), routes) {
        Ok(heartbeat) => heartbeat,
        Err(error) => {
            tracing::error!(%error, "the heartbeat's thread cannot be started");
            return Stopped::Left { left: shared.board.ids().len() };
        }
    };
    let bounds = Bounds { most: speech.rules.warm, disk_floor: speech.rules.disk_floor };
    tasks.spawn("ready", Ready::keep(Arc::clone(shared), bounds));
    tasks.spawn("alive", leave_signs(Arc::clone(&speech)));
    let talking = async {
        loop {
            if let Err(stopped) = speech.open().await {
                return stopped;
            }
            let lost = poll::poll(&speech, &tasks);
            tokio::select! {
                error = lost => speech.lost(&error),
                () = shared.reopen.notified() => { shared.live.send_replace(false); }
            }
            speech.credential.clear();
        }
    };
    let stopped = tokio::select! {
        stopped = talking => stopped,
        () = shared.failed.notified() => Stopped::Journal,
        () = speech.stop.notified() => removed(&speech).await,
        stopped = ending(&speech, &tasks) => stopped,
        stopped = leave::leave(&speech) => stopped,
    };
    shared.live.send_replace(false);
    shared.over.send_replace(true);
    drop(heartbeat);
    stopped
}

/// Leaves signs of life. A disk that hangs is waited for here, and not by the heartbeat.
async fn leave_signs(speech: Arc<Speech>) {
    let mut told = speech.alive.subscribe();
    let mut over = speech.shared.over.subscribe();
    loop {
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            _ = over.wait_for(|over| *over) => return,
        }
        let Some(alive) = told.borrow_and_update().clone() else { continue };
        let data = speech.data.clone();
        match tokio::task::spawn_blocking(move || alive.write(&data)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "no sign of life can be left"),
            Err(error) => tracing::debug!(%error, "no sign of life can be left"),
        }
    }
}

/// Waits for the end of the program, and then for what is held, inside the grace.
async fn ending(speech: &Speech, tasks: &Tasks) -> Stopped {
    tasks.draining().await;
    speech.begin_ending();
    let mut seats = speech.shared.board.watch();
    let left = *seats.borrow();
    tracing::info!(left, "no new work is taken; {left} attempts are being finished");
    let in_time = tokio::select! {
        _ = seats.wait_for(|left| *left == 0) => true,
        () = speech.shared.clock.sleep(speech.rules.drain_grace) => false,
    };
    if in_time { Stopped::Drained } else { told(speech).await }
}

/// The grace is over: what still runs is left, but what has ended is told first.
async fn told(speech: &Speech) -> Stopped {
    let board = &speech.shared.board;
    let mut seats = board.watch();
    let told = async { while board.telling() > 0 && seats.changed().await.is_ok() {} };
    tokio::select! {
        () = told => {}
        () = speech.shared.clock.sleep(TOLD_WITHIN) => {}
    }
    match board.ids().len() {
        0 => Stopped::Drained,
        left => Stopped::Left { left },
    }
}

/// Nothing here is ours any more: all of it is killed.
async fn removed(speech: &Speech) -> Stopped {
    speech.begin_ending();
    speech.shared.board.tell_all(&Event::Fenced);
    let mut working = speech.shared.board.watch();
    tokio::select! {
        _ = working.wait_for(|left| *left == 0) => {}
        () = speech.shared.clock.sleep(KILLED_WITHIN) => {}
    }
    let why = speech.removed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Stopped::Removed { why: why.unwrap_or_default() }
}
