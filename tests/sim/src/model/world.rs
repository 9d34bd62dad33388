//! The state of the modelled world, small enough to keep millions of.
//!
//! The task's record is kept packed; [`Record::task`] and [`Record::pack`] lead to the real record
//! and back, so that every transition can go through the `step` that ships.

use std::time::Duration;

use ocelot_core::id::{Attempt, Epoch, ExecutorId, Incarnation, RunId, SessionId, TaskId};
use ocelot_core::plan::{Cause, Class};
use ocelot_domain::outcome::{Actor, Failure, Outcome};
use ocelot_domain::task::state::{
    Completed, CompletionId, Ended, Failing, JournalSequence, Live, LogEnd, Policy, Timestamp,
};
use ocelot_domain::task::{Claim, Session, Task, TaskState, retry};

/// The most offers of a task that are modelled; a task queued after them counts as served.
pub(super) const ATTEMPTS: u8 = 3;
/// How often an executor may start again.
pub(super) const INCARNATIONS: u8 = 2;
/// Ticks that a container lives after the last request that was vouched for.
pub(super) const GUARD_TICKS: u8 = 1;
/// Ticks that a controller waits before it takes an exclusive task away.
pub(super) const REASSIGN_TICKS: i8 = 2;

pub(super) const NOW: Timestamp = Timestamp { unix_ms: 0 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Stands {
    #[default]
    Queued,
    Offered,
    Running,
    Cancelling,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Fate {
    #[default]
    Open,
    Succeeded,
    Failed,
    Cancelled,
    Lost,
}

/// The task's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Record {
    pub stands: Stands,
    pub fate: Fate,
    /// The newest offer, 0 before the first.
    pub attempt: u8,
    /// Whose it is, while it is live.
    pub executor: u8,
    pub incarnation: u8,
    pub tries: u8,
    pub failed_deliveries: u8,
    /// Attempts whose completion was accepted, as bits.
    pub completed: u8,
}

/// What a controller has seen of the holder's absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wait {
    /// Ticks since it began, -1 without one.
    pub ticks: i8,
    /// Whether `executors/ID/epoch` is still at the revision that was noted.
    pub fresh: bool,
    /// Whether the attempt was acknowledged when it began.
    pub acknowledged: bool,
}

impl Wait {
    pub(super) const NONE: Self = Self { ticks: -1, fresh: true, acknowledged: false };
}

/// A transaction that takes the task away, sent and not applied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Pending {
    #[default]
    None,
    Lost {
        fresh: bool,
        acknowledged: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Power {
    Down,
    Up,
    Paused,
}

/// How far the executor's journal says an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Phase {
    Nothing,
    Accepted,
    Starting,
    Started,
    Ended,
}

/// One executor: its process, its journal, its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Executor {
    pub power: Power,
    pub incarnation: u8,
    /// In memory: the attempt whose acknowledgement was answered.
    pub confirmed: u8,
    /// In memory: ticks of the latest deadline that was vouched for.
    pub vouched: u8,
    /// In the journal.
    pub held: u8,
    pub phase: Phase,
    /// The container, 0 for none: its attempt, whether its first process runs, ticks of its guard.
    pub container: u8,
    pub forked: bool,
    pub guard: u8,
}

/// A heartbeat on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Beat {
    None,
    Request { incarnation: u8, attempt: u8, ticks: u8 },
    Answer { incarnation: u8, attempt: u8, ticks: u8 },
}

/// Everything: the store, two controllers, two executors, the messages between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub record: Record,
    /// Per executor: the incarnations whose session key exists, as bits.
    pub sessions: [u8; 2],
    /// Per executor: the incarnation that `executors/ID/epoch` names.
    pub registered: [u8; 2],
    pub waits: [Wait; 2],
    pub pending: [Pending; 2],
    /// With records not compared: what the pending transaction was decided on.
    pub decided_on: [Record; 2],
    /// What a view that lags by one change still says, where views are trusted.
    pub view: Record,
    /// Ticks since the task was first missing from its holder's lists, -1 if it is not.
    pub missing: i8,
    pub executors: [Executor; 2],
    pub beats: [Beat; 2],
    /// Per attempt: to which executor and incarnation its offer went (0: none).
    pub offered: [u8; ATTEMPTS as usize],
    /// Per attempt: incarnations that sent an acknowledgement, were answered, sent a completion.
    pub acknowledged: [u8; ATTEMPTS as usize],
    pub answered: [u8; ATTEMPTS as usize],
    pub completed: [u8; ATTEMPTS as usize],
    pub faults: u8,
    /// Containers whose first process ran, up to two.
    pub starts: u8,
    /// Attempts that were ever acknowledged in the record, as bits.
    pub tried: u8,
    pub cancel_asked: bool,
}

impl World {
    pub(super) fn new(class: Class, faults: u8) -> Self {
        let executor = Executor {
            power: Power::Up,
            incarnation: 1,
            confirmed: 0,
            vouched: if class == Class::Exclusive { GUARD_TICKS } else { 0 },
            held: 0,
            phase: Phase::Nothing,
            container: 0,
            forked: false,
            guard: 0,
        };
        Self {
            record: Record::default(),
            sessions: [bit(1); 2],
            registered: [1; 2],
            waits: [Wait::NONE; 2],
            pending: [Pending::None; 2],
            decided_on: [Record::default(); 2],
            view: Record::default(),
            missing: -1,
            executors: [executor; 2],
            beats: [Beat::None; 2],
            offered: [0; 3],
            acknowledged: [0; 3],
            answered: [0; 3],
            completed: [0; 3],
            faults,
            starts: 0,
            tried: 0,
            cancel_asked: false,
        }
    }

    pub(super) fn has_session(&self, executor: u8, incarnation: u8) -> bool {
        self.sessions[usize::from(executor)] & bit(incarnation) != 0
    }

    /// Whether the session that the record names is gone.
    pub(super) fn holder_gone(&self) -> bool {
        self.record.live() && !self.has_session(self.record.executor, self.record.incarnation)
    }

    /// Served: finished, or beyond the modelled number of offers.
    pub(super) fn served(&self) -> bool {
        self.record.stands == Stands::Finished
            || (self.record.stands == Stands::Queued && self.record.attempt >= ATTEMPTS)
    }
}

pub(super) const fn bit(number: u8) -> u8 {
    1 << number
}

pub(super) const fn slot(attempt: u8) -> usize {
    attempt as usize - 1
}

pub(super) fn session(executor: u8, incarnation: u8) -> Session {
    Session {
        id: session_id(executor, incarnation),
        executor: executor_id(executor),
        incarnation: Incarnation(u64::from(incarnation)),
    }
}

fn session_id(executor: u8, incarnation: u8) -> SessionId {
    let mut bytes = [0; 16];
    bytes[0] = executor;
    bytes[1] = incarnation;
    SessionId::from_bytes(bytes)
}

fn executor_id(executor: u8) -> ExecutorId {
    ExecutorId::from_bytes([executor; 16])
}

/// Reads back which executor's which incarnation a session id stands for.
pub(super) fn session_of(id: SessionId) -> (u8, u8) {
    (id.as_bytes()[0], id.as_bytes()[1])
}

pub(super) fn claim(attempt: u8, executor: u8, incarnation: u8) -> Claim {
    Claim { epoch: Epoch(0), attempt: number(attempt), session: session(executor, incarnation) }
}

fn number(attempt: u8) -> Attempt {
    Attempt::new(u32::from(attempt)).expect("modelled attempts count from one")
}

/// The journal's sequence number at the acknowledgement of an attempt; dropping it is the next.
pub(super) fn sequence(attempt: u8) -> JournalSequence {
    JournalSequence(2 * u64::from(attempt))
}

fn actor() -> Actor {
    Actor("person".into())
}

impl Record {
    pub(super) fn live(&self) -> bool {
        match self.stands {
            Stands::Offered | Stands::Running | Stands::Cancelling => true,
            Stands::Queued | Stands::Finished => false,
        }
    }

    pub(super) fn acknowledged(&self) -> bool {
        matches!(self.stands, Stands::Running | Stands::Cancelling)
    }

    /// Unpacks the record that the product would have stored.
    pub(super) fn task(&self, class: Class) -> Task {
        let run = RunId::from_bytes([7; 16]);
        let ended = (1..=ATTEMPTS).filter(|attempt| self.completed & bit(*attempt) != 0);
        Task {
            id: TaskId { run, index: 0 },
            epoch: Epoch(0),
            policy: policy(class),
            state: self.state(),
            attempt: Attempt::new(u32::from(self.attempt)),
            tries: u32::from(self.tries),
            waited: Duration::ZERO,
            failing: (self.failed_deliveries > 0).then_some(Failing {
                deliveries: u32::from(self.failed_deliveries),
                since_waited: Duration::ZERO,
            }),
            avoided: Vec::new(),
            ended: ended.map(ended_by_report).collect(),
            changed_at: NOW,
        }
    }

    fn state(&self) -> TaskState {
        let live =
            || Live { attempt: number(self.attempt), session: session(self.executor, self.incarnation) };
        let acknowledged = sequence(self.attempt);
        match self.stands {
            Stands::Queued => TaskState::Queued { after: Duration::ZERO },
            Stands::Offered => TaskState::Offered { live: live() },
            Stands::Running => TaskState::Running { live: live(), acknowledged },
            Stands::Cancelling => TaskState::Cancelling { live: live(), acknowledged, by: actor() },
            Stands::Finished => TaskState::Finished { outcome: self.outcome() },
        }
    }

    fn outcome(&self) -> Outcome {
        match self.fate {
            Fate::Failed => Outcome::Failed { stage: None, failure: Failure::Exit(1) },
            Fate::Cancelled => Outcome::Cancelled { by: actor(), result: None },
            Fate::Lost => Outcome::Lost { why: String::new() },
            Fate::Open | Fate::Succeeded => Outcome::Succeeded,
        }
    }

    /// Packs a record of the product.
    pub(super) fn pack(task: &Task) -> Self {
        let (stands, fate) = match &task.state {
            TaskState::Waiting { .. } | TaskState::Queued { .. } => (Stands::Queued, Fate::Open),
            TaskState::Offered { .. } => (Stands::Offered, Fate::Open),
            TaskState::Running { .. } => (Stands::Running, Fate::Open),
            TaskState::Cancelling { .. } => (Stands::Cancelling, Fate::Open),
            TaskState::Finished { outcome } => (Stands::Finished, fate_of(outcome)),
        };
        let (executor, incarnation) = task.live().map_or((0, 0), |live| session_of(live.session.id));
        let completed = task.ended.iter().filter(|ended| ended.completion.is_some());
        Self {
            stands,
            fate,
            attempt: task.attempt.map_or(0, small_attempt),
            executor,
            incarnation,
            tries: small(task.tries),
            failed_deliveries: task.failing.map_or(0, |failing| small(failing.deliveries)),
            completed: completed.fold(0, |bits, ended| bits | bit(small_attempt(ended.attempt))),
        }
    }
}

fn fate_of(outcome: &Outcome) -> Fate {
    match outcome {
        Outcome::Succeeded => Fate::Succeeded,
        Outcome::Cancelled { .. } => Fate::Cancelled,
        Outcome::Lost { .. } => Fate::Lost,
        Outcome::Failed { .. }
        | Outcome::TimedOut(_)
        | Outcome::Skipped { .. }
        | Outcome::Rejected { .. } => Fate::Failed,
    }
}

fn small_attempt(attempt: Attempt) -> u8 {
    small(attempt.number())
}

fn small(count: u32) -> u8 {
    u8::try_from(count).expect("the model's bounds keep every count below 256")
}

fn policy(class: Class) -> Policy {
    Policy {
        class,
        retry: retry::Policy {
            limit: 1,
            on: vec![Cause::Exit, Cause::Lost],
            exit_codes: Vec::new(),
            delay: Duration::ZERO,
        },
        queue_timeout: Duration::from_secs(86_400),
        approval_expires: None,
        group: None,
    }
}

fn ended_by_report(attempt: u8) -> Ended {
    Ended {
        attempt: number(attempt),
        executor: executor_id(0),
        outcome: Outcome::Succeeded,
        completion: Some(Completed { id: CompletionId(u128::from(attempt)), log: whole() }),
        at: NOW,
    }
}

pub(super) fn whole() -> LogEnd {
    LogEnd::Whole { bytes: 0, sha256: [0; 32] }
}
