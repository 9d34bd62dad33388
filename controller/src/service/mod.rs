//! The use cases of the controller, free of any transport.
//!
//! Decisions are `step`'s, `due`'s and placement's; what is here carries them out by transactions
//! that compare what the decision requires. Every call can be repeated. Views are hints: they say
//! where to look, never what is true.

mod accept;
mod ages;
mod approve;
mod attempt;
mod board;
mod cancel;
mod challenges;
mod complete;
mod controllers;
mod dispatch;
mod error;
mod execute;
mod executors;
mod facts;
mod fleet;
mod follow;
mod heartbeat;
mod jobs;
mod lane;
mod local;
mod log_ends;
pub mod logs;
mod memory;
mod numbers;
pub mod objects;
mod owed;
mod parts;
mod plans;
mod poll;
mod progress;
mod projects;
mod query;
mod register;
mod retry;
mod schedules;
mod secrets;
mod session;
mod sight;
mod signature;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub(crate) mod transition;
mod variables;
mod waits;
mod why;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use ocelot_core::id::{Attempt, Epoch, TaskId};
use ocelot_domain::task::state::{Live, Session, Task, Timestamp};
use ocelot_domain::task::timing::SESSION_TTL_MIN;
use ocelot_domain::task::{Claim, Timing};

#[cfg(test)]
pub(crate) use accept::Draft;
pub use approve::Word;
pub use cancel::{CancelRequest, Cancelled};
pub use complete::{CompleteAnswer, CompleteRequest, ReportedLog};
pub use controllers::Load;
pub use error::{Error, Result, What};
pub use execute::{ExecuteRequest, Executed};
pub use executors::Known;
pub use heartbeat::{HeartbeatAnswer, HeartbeatRequest};
pub use jobs::{JobPage, Seen};
pub use local::LocalRun;
pub use log_ends::AskService;
pub(crate) use owed::{Owed, context};
pub use parts::{ClaimedEnd, LogEnds, LogOffsets, LogStanding, Parts, Plans, Unguessable, Verify};
pub use poll::{Directive, OfferedTask, PollAnswer, PollRequest};
pub use projects::{
    BuildRequest, EventPage, HookPut, LeftToDo, MIRRORS_BYTES, Mirrors, Opens, ProjectChange, ProjectFilter,
    ProjectPage, PutProject, Received, SeenProject, Told,
};
pub(crate) use projects::{Reach, Tried, event_of};
pub(crate) use projects::{commit_of, summary};
pub(crate) use query::group_of;
pub use query::{RunFilter, RunPage, RunWithTasks};
pub use register::{NewRegistrationToken, RegisterRequest, Registered};
pub use retry::RetryRequest;
pub(crate) use schedules::{Rest, Turn};
pub use schedules::{SchedulePage, SeenSchedule};
pub use secrets::{
    ListedSecret, NewSecret, Released, Resealed, SECRET_BYTES_MAX, SECRET_BYTES_SHORT, SealStanding,
    SecretPage,
};
pub use session::{Challenge, OpenSessionRequest, OpenedSession, signed_message};
pub(crate) use sight::{run_word, task_word};
pub use signature::Ed25519;
pub use why::{TaskReason, VerdictOf};

use crate::bytes::Floor;
use crate::metrics::Metrics;
use crate::records::{ExecutorEpoch, Stored};
use crate::seal::SealKeys;
use crate::store::Store;
use crate::store::codec::decode;
use crate::store::keys::{Folder, Key};
use crate::store::update::{Patience, Updater};
use crate::store::view::{Follower, View, view};
use crate::store::{KeyValue, RangeRequest, Revision};

/// Attempts that one executor may name in one message.
pub const HELD_MAX: usize = 1024;

/// One attempt of one task, as everybody names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptRef {
    pub task: TaskId,
    pub attempt: Attempt,
    pub epoch: Epoch,
}

/// One attempt that an executor says it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub attempt: AttemptRef,
    /// The end of its masked spool.
    pub log_end: u64,
}

/// The use cases, on one store.
#[derive(Debug)]
pub struct Service {
    name: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) updater: Updater,
    pub(crate) view: View<Stored>,
    parts: Parts,
    origin: Instant,
    epoch: Mutex<Option<(Epoch, Revision)>>,
    pub(crate) waiters: Arc<crate::waiters::Waiters>,
    pub(crate) bell: Notify,
    board: Mutex<board::Board>,
    memory: Mutex<memory::Memory>,
    lanes: lane::Lanes,
    plans: plans::PlanCache,
    url: OnceLock<String>,
    seal: RwLock<Option<Arc<SealKeys>>>,
    objects: OnceLock<objects::Objects>,
    floor: Floor,
    projects: projects::Given,
    metrics: Arc<Metrics>,
}

impl Service {
    /// Makes the service, and what keeps its view; nothing is offered before that runs.
    pub fn new(parts: Parts) -> (Arc<Self>, Follower<Stored>) {
        let seed = parts.chance.number();
        let prefix = Folder::All.to_string();
        let (view, follower) = view(Arc::clone(&parts.store), prefix, Stored::read, seed);
        let updater = Updater::new(Arc::clone(&parts.store), Arc::clone(&parts.chance), Patience::default());
        let service = Self {
            name: parts.name.clone(),
            store: Arc::clone(&parts.store),
            updater,
            view,
            origin: parts.clock.monotonic(),
            epoch: Mutex::default(),
            waiters: Arc::default(),
            bell: Notify::new(),
            board: Mutex::new(board::Board::new(parts.limits.clone())),
            memory: Mutex::default(),
            lanes: lane::Lanes::default(),
            plans: plans::PlanCache::default(),
            url: OnceLock::new(),
            seal: RwLock::default(),
            objects: OnceLock::new(),
            floor: Floor::default(),
            projects: projects::Given::default(),
            metrics: Arc::default(),
            parts,
        };
        (Arc::new(service), follower)
    }

    /// Tells where people find this fleet, without a `/` at the end: tasks get their run's address
    /// from it. The first word counts.
    pub fn set_url(&self, base: &str) {
        self.url.get_or_init(|| base.trim_end_matches('/').to_owned());
    }

    /// Returns what admission heeds of the disks' room; whoever looks at the disks notes it there.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Returns where what happens here is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns the store's epoch with the revision that a transaction compares.
    pub(crate) async fn epoch(&self) -> Result<(Epoch, Revision)> {
        if let Some(known) = *lock(&self.epoch) {
            return Ok(known);
        }
        for _ in 0..8 {
            let epoch = self.updater.epoch().await?;
            let before = self.epoch_revision().await?;
            // Read twice: only an epoch that did not change in between belongs to its revision.
            if self.updater.epoch().await? == epoch && self.epoch_revision().await? == before {
                *lock(&self.epoch) = Some((epoch, before));
                return Ok((epoch, before));
            }
        }
        Err(Error::NotNow { why: "the store's epoch keeps changing" })
    }

    async fn epoch_revision(&self) -> Result<Revision> {
        let page = self.store.range(RangeRequest::key(Key::Epoch)).await?;
        page.items
            .first()
            .map(|item| item.mod_revision)
            .ok_or(Error::NotNow { why: "the store has no epoch" })
    }

    fn forget_epoch(&self) {
        *lock(&self.epoch) = None;
    }

    /// Returns the time since the service was made, on its monotonic clock.
    pub(crate) fn now(&self) -> Duration {
        self.parts.clock.monotonic().saturating_duration_since(self.origin)
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.parts.clock.sleep(duration).await;
    }

    /// Returns the time of day, for people.
    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp { unix_ms: self.parts.clock.wall().0 / 1000 }
    }

    /// Returns the intervals for the fleet as it is now.
    pub fn timing(&self) -> Timing {
        Timing::for_fleet(lock(&self.board).fleet_size())
    }

    /// Returns whether an offer is on its way, or not seen yet.
    #[cfg(test)]
    pub(crate) fn is_offering(&self) -> bool {
        lock(&self.board).is_asking()
    }

    /// Lets the fleet count as larger than it is.
    #[cfg(test)]
    pub(crate) fn set_fleet_size(&self, least: u32) {
        lock(&self.board).fleet_least = least;
    }

    /// Returns a number from 0 to 1, for waits.
    pub(crate) fn part_of_one(&self) -> f64 {
        (self.parts.chance.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.parts.unguessable.fill(&mut bytes);
        bytes
    }

    fn board(&self) -> MutexGuard<'_, board::Board> {
        lock(&self.board)
    }

    fn memory(&self) -> MutexGuard<'_, memory::Memory> {
        lock(&self.memory)
    }
}

impl AttemptRef {
    pub(crate) fn of(task: &Task, live: &Live) -> Self {
        Self { task: task.id, attempt: live.attempt, epoch: task.epoch }
    }

    pub(crate) fn claim(&self, session: Session) -> Claim {
        Claim { epoch: self.epoch, attempt: self.attempt, session }
    }
}

/// Returns the longest times that an executor may have been told, by its epoch.
pub(crate) fn told_to(epoch: Option<&KeyValue>) -> Result<Timing> {
    let epoch = epoch.map(|item| decode::<ExecutorEpoch>(&item.value)).transpose()?;
    Ok(Timing::for_session(epoch.map_or(SESSION_TTL_MIN, |epoch| epoch.session_ttl())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept in memory is derived from the store again; a panic left nothing half done there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
