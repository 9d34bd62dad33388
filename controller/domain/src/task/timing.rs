//! The times of the protocol, as values that hold together.
//!
//! A [`Timing`] cannot exist unless a lost executor's containers are certainly gone before its
//! exclusive task is given away. Whether a wait is long enough is decided here: [`Served`] can be
//! had in no other way, and `step` takes nothing away without one.

use std::time::Duration;

use ocelot_core::plan::Class;

use super::event::Claim;
use super::state::{Task, TaskState};

/// How long an offer may stand while its session does not poll.
pub const OFFER: Duration = Duration::from_secs(5);
/// How long a poll is held open in a small fleet, and for who does not say how long.
pub const POLL_MIN: Duration = Duration::from_secs(25);
/// How long a poll is held open at most.
pub const POLL_MAX: Duration = HEARTBEAT_MAX.saturating_mul(POLL_OVER_HEARTBEAT);
/// How long a controller takes nothing away after its own start or trouble with the store.
pub const GRACE: Duration = Duration::from_secs(15);
/// How old the transaction that vouches for an exclusive attempt, or lets its log grow, may be.
pub const CONFIRMED: Duration = Duration::from_secs(2);
/// How long a container of a normal task lives without a controller.
pub const GUARD_NORMAL: Duration = Duration::from_secs(600);
/// How long a session key must be gone before a normal task is given to another.
pub const REASSIGN_NORMAL: Duration = Duration::from_secs(2);
/// What must be left of the guard for an executor to start a container.
pub const START_MARGIN: Duration = Duration::from_secs(5);
/// How long an executor that declined a task is not offered it.
pub const AVOID: Duration = Duration::from_secs(30);
/// How many deliveries may fail, with nothing but failures between them.
pub const DELIVERIES_MAX: u32 = 5;
/// How long deliveries may go on failing, with nothing but failures.
pub const FAILING_MAX: Duration = Duration::from_secs(600);
/// How many failed deliveries in a row by one executor quarantine it.
pub const QUARANTINE_AFTER: u32 = 3;

const HEARTBEAT_MIN: Duration = Duration::from_secs(2);
/// The least time to live of a session's lease.
pub const SESSION_TTL_MIN: Duration = Duration::from_secs(10);
const GUARD_MIN: Duration = Duration::from_secs(60);
/// The guard outlives two confirmations and one heartbeat by this much.
const GUARD_OVER_HEARTBEAT: Duration = Duration::from_secs(58);
const REASSIGN_OVER_GUARD: Duration = Duration::from_secs(15);
/// A tenth of a core is spent on heartbeats at about 0.1 ms each.
const HEARTBEATS_PER_SECOND_MAX: u32 = 1_000;
/// Polls that nothing answers are to be few beside heartbeats.
const POLL_OVER_HEARTBEAT: u32 = 10;
/// Beyond it two clocks that differ by a tenth could overlap.
const HEARTBEAT_MAX: Duration = Duration::from_secs(36);

/// The times that change with the size of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    heartbeat: Duration,
    session_ttl: Duration,
    guard: Duration,
    reassign: Duration,
}

/// Why these times would let a task run twice, or every session lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    #[error("a heartbeat every {0:?} is more often than {HEARTBEAT_MIN:?}")]
    HeartbeatTooOften(Duration),
    #[error("a session of {ttl:?} does not outlive four heartbeats of {heartbeat:?}")]
    SessionTooShort { heartbeat: Duration, ttl: Duration },
    #[error("a guard of {guard:?} is not the longer of 60 s and 58 s and the heartbeat")]
    Guard { guard: Duration },
    #[error("a wait of {reassign:?} is not 15 s longer than the guard of {guard:?}")]
    Reassign { guard: Duration, reassign: Duration },
    #[error("a wait of {reassign:?} does not cover a guard of {guard:?} on a clock that is a tenth slower")]
    Overlap { guard: Duration, reassign: Duration },
}

impl Timing {
    /// Returns the times for a heartbeat and a session of these lengths.
    pub fn new(heartbeat: Duration, session_ttl: Duration) -> Result<Self, Unsafe> {
        let guard = GUARD_MIN.max(GUARD_OVER_HEARTBEAT.saturating_add(heartbeat));
        let reassign = guard.saturating_add(REASSIGN_OVER_GUARD);
        Self { heartbeat, session_ttl, guard, reassign }.checked()
    }

    /// Returns the times for a fleet of this size; from 36,000 executors on they grow no more.
    pub fn for_fleet(executors: u32) -> Self {
        // In whole seconds, so that not every executor that comes changes the times of all.
        let spread = Duration::from_secs(executors.div_ceil(HEARTBEATS_PER_SECOND_MAX).into());
        let heartbeat = spread.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX);
        let session_ttl = SESSION_TTL_MIN.max(heartbeat * 9 / 2);
        Self::new(heartbeat, session_ttl).expect("every heartbeat between the bounds gives safe times")
    }

    /// Returns the longest times that a session whose lease lives so long may be told.
    pub fn for_session(ttl: Duration) -> Self {
        let ttl = ttl.clamp(SESSION_TTL_MIN, HEARTBEAT_MAX * 9 / 2);
        let heartbeat = if ttl > SESSION_TTL_MIN { ttl / 4 } else { HEARTBEAT_MIN };
        Self::new(heartbeat.min(HEARTBEAT_MAX), ttl)
            .expect("a quarter of every lease between the bounds gives safe times")
    }

    /// Returns whether a session whose lease lives so long may be told these times.
    pub fn fits(&self, ttl: Duration) -> bool {
        self.heartbeat <= Self::for_session(ttl).heartbeat
    }

    /// Returns the longer of two: what is waited for with it was told either.
    #[must_use]
    pub fn longest(self, other: Self) -> Self {
        if other.heartbeat > self.heartbeat { other } else { self }
    }

    fn checked(self) -> Result<Self, Unsafe> {
        let Self { heartbeat, session_ttl: ttl, guard, reassign } = self;
        if heartbeat < HEARTBEAT_MIN {
            return Err(Unsafe::HeartbeatTooOften(heartbeat));
        }
        if ttl < SESSION_TTL_MIN || ttl < heartbeat.saturating_mul(4) {
            return Err(Unsafe::SessionTooShort { heartbeat, ttl });
        }
        if guard != GUARD_MIN.max(GUARD_OVER_HEARTBEAT.saturating_add(heartbeat)) {
            return Err(Unsafe::Guard { guard });
        }
        if reassign != guard.saturating_add(REASSIGN_OVER_GUARD) {
            return Err(Unsafe::Reassign { guard, reassign });
        }
        let second = Duration::from_secs(1);
        let left = reassign.saturating_sub(guard).saturating_sub(CONFIRMED);
        if left <= second.saturating_add(reassign / 10).saturating_add(second) {
            return Err(Unsafe::Overlap { guard, reassign });
        }
        Ok(self)
    }

    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Returns how long a poll is held open.
    pub fn poll(&self) -> Duration {
        POLL_MIN.max(self.heartbeat * POLL_OVER_HEARTBEAT)
    }

    /// Returns the time to live of a session's lease.
    pub fn session_ttl(&self) -> Duration {
        self.session_ttl
    }

    /// Returns how long a container lives after the last request that was vouched for.
    pub fn guard(&self, class: Class) -> Duration {
        match class {
            Class::Exclusive => self.guard,
            Class::Normal | Class::Once => GUARD_NORMAL,
        }
    }

    /// Returns how long a controller must have seen the session key gone.
    pub fn reassign(&self, class: Class) -> Duration {
        match class {
            Class::Normal => REASSIGN_NORMAL,
            // Nothing overlaps with a lost `once` task, but it has no other try: it gets the
            // longer wait to come back.
            Class::Exclusive | Class::Once => self.reassign,
        }
    }

    /// Returns the proof that a wait is over, once `elapsed` is long enough.
    ///
    /// `elapsed` is this controller's own monotonic measure since it noted what the wait is for,
    /// without any grace in between.
    pub fn served(&self, wait: Wait, elapsed: Duration) -> Option<Served> {
        let needed = if wait.acknowledged { self.reassign(wait.class) } else { REASSIGN_NORMAL };
        (elapsed >= needed).then_some(Served { wait, elapsed })
    }
}

/// The revision of a key, as the store counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What a controller notes when it first sees the holder of a task gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    claim: Claim,
    acknowledged: bool,
    class: Class,
    executor_epoch: Revision,
}

/// The proof that a wait was served in full; only [`Timing::served`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    wait: Wait,
    elapsed: Duration,
}

impl Wait {
    /// Begins a wait for the holder of this task, if it has one. `executor_epoch` is the revision
    /// of the holder's `executors/ID/epoch` as read after its absence was seen.
    pub fn begin(task: &Task, executor_epoch: Revision) -> Option<Self> {
        let claim = task.claim(task.live()?);
        let acknowledged = acknowledged(&task.state);
        Some(Self { claim, acknowledged, class: task.policy.class, executor_epoch })
    }
}

impl Served {
    /// Returns whether the wait was for this record: one from before the acknowledgement does not
    /// count after it, while a cancel in between changes nothing.
    pub(super) fn covers(&self, task: &Task) -> bool {
        let wait = &self.wait;
        task.live().is_some_and(|live| task.claim(live) == wait.claim)
            && acknowledged(&task.state) == wait.acknowledged
            && task.policy.class == wait.class
    }

    pub(super) fn executor_epoch(&self) -> Revision {
        self.wait.executor_epoch
    }

    pub(super) fn claim(&self) -> Claim {
        self.wait.claim
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

fn acknowledged(state: &TaskState) -> bool {
    match state {
        TaskState::Running { .. } | TaskState::Cancelling { .. } => true,
        TaskState::Waiting { .. }
        | TaskState::Queued { .. }
        | TaskState::Offered { .. }
        | TaskState::Finished { .. } => false,
    }
}
