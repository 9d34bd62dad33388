//! What a queued task asks of the machine that takes it, and the machine as the controller sees it.
//!
//! Views made for placement: records are projected into them, they are never stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, TaskId};
use ocelot_core::plan::{Class, Label, Resources, Runtime, TaskPlan};

use super::group::SlotClaim;

/// Something that a machine has an amount of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    CpuMillis,
    MemoryBytes,
    DiskBytes,
    Pids,
    Gpus,
}

/// Amounts by resource; what is not named is not asked for, or not there.
pub type Amounts = BTreeMap<Resource, u64>;

/// Makes amounts of what a plan or a registration names.
pub fn amounts(resources: &Resources) -> Amounts {
    let Resources { cpu_millis, memory_bytes, disk_bytes, pids, gpus } = resources;
    let named = [
        (Resource::CpuMillis, cpu_millis.map(u64::from)),
        (Resource::MemoryBytes, *memory_bytes),
        (Resource::DiskBytes, *disk_bytes),
        (Resource::Pids, pids.map(u64::from)),
        (Resource::Gpus, gpus.map(u64::from)),
    ];
    named.into_iter().filter_map(|(resource, amount)| Some((resource, amount?))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeKind {
    Container,
    Process,
}

/// What ending an attempt reaches, from less to more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kill {
    /// Processes that hide may live on.
    BestEffort,
    /// A PID namespace or a cgroup ends whole.
    ReachesAll,
}

/// Whose work it is; decided by the forge's own ids, never by names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    Trusted,
    Untrusted,
}

/// Everything a task asks that does not change while it waits. Tasks with equal demands are equal
/// to every executor, which is what the queue's index is built on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    pub labels: BTreeSet<Label>,
    pub amounts: Amounts,
    pub runtime: RuntimeKind,
    /// The project for which a private image-building engine is asked.
    pub engine: Option<Arc<str>>,
    pub kill: Kill,
    pub trust: Trust,
}

impl Demand {
    /// Reads the demand off a plan.
    pub fn of(plan: &TaskPlan, project: &Arc<str>, trust: Trust) -> Self {
        let (runtime, engine) = match &plan.environment.runtime {
            Runtime::Container { engine, .. } => (RuntimeKind::Container, *engine),
            Runtime::Process => (RuntimeKind::Process, false),
        };
        let kill = match plan.class {
            Class::Exclusive => Kill::ReachesAll,
            Class::Normal | Class::Once => Kill::BestEffort,
        };
        Self {
            labels: plan.labels.iter().cloned().collect(),
            amounts: amounts(&plan.resources),
            runtime,
            engine: engine.then(|| Arc::clone(project)),
            kill,
            trust,
        }
    }
}

/// An executor that is not asked again for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avoid {
    pub executor: ExecutorId,
    pub why: AvoidWhy,
    /// On this controller's monotonic clock.
    pub until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvoidWhy {
    /// It handed the task back; it is not asked in this time ([`DECLINE_AVOIDED`]).
    Declined,
    /// The task failed there; it is asked in this time ([`FAILURE_AVOIDED`]) only if no other
    /// executor could take the task, be it later.
    Failed,
}

/// How long an executor that declined a task is not asked again.
pub const DECLINE_AVOIDED: Duration = Duration::from_secs(30);

/// How long a task keeps away from an executor on which it failed. It has an end, so that a task
/// does not wait for hours beside an idle machine for a busy one.
pub const FAILURE_AVOIDED: Duration = Duration::from_secs(300);

/// A task that could be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedTask {
    pub id: TaskId,
    /// The project, or the job.
    pub project: Arc<str>,
    /// Who started the run.
    pub owner: Arc<str>,
    pub demand: Demand,
    pub priority: i8,
    /// The store's revision at which the run was accepted: one order for all controllers.
    pub accepted: u64,
    /// Not before this moment of the controller's monotonic clock.
    pub after: Option<Duration>,
    pub groups: Vec<SlotClaim>,
    pub avoid: Vec<Avoid>,
    pub image: Option<Arc<str>>,
    pub caches: Vec<Arc<str>>,
}

/// How an executor holds a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Open,
    /// Granted as `!word`: it takes only tasks that ask for it.
    Reserved,
}

/// For which projects an executor gives a private image-building engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnginePermit {
    Nobody,
    Projects(BTreeSet<Arc<str>>),
    Everybody,
}

/// Whose work an executor takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    Everybody,
    TrustedOnly,
}

/// What keeps an executor from taking any work for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    Offline,
    Quarantined,
    Draining,
    DiskFloor,
}

/// A registered executor. How much it does now is the queue's own count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    pub id: ExecutorId,
    pub name: Arc<str>,
    pub labels: BTreeMap<Label, Grant>,
    pub has: Amounts,
    pub runtimes: BTreeMap<RuntimeKind, Kill>,
    pub engine: EnginePermit,
    pub admits: Admits,
    pub slots: u32,
    pub obstacles: BTreeSet<Obstacle>,
    pub images: BTreeSet<Arc<str>>,
    pub caches: BTreeSet<Arc<str>>,
}

/// Every registered executor.
pub type Fleet = BTreeMap<ExecutorId, Executor>;

/// Shows a label as people write it.
pub(super) struct Written<'a>(pub(super) &'a Label);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.key)?;
        match &self.0.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}
