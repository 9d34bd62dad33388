//! Why an executor does not take a task, or nobody does: the one place that says so.
//!
//! Offering and explaining ask the same functions, so that what `ocelot why` says is what happened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::plan::Label;

use super::demand::{
    Admits, Avoid, AvoidWhy, Demand, EnginePermit, Executor, Fleet, Grant, Kill, Obstacle, QueuedTask,
    Resource, RuntimeKind, Trust, Written,
};
use super::group::{GroupName, Holder};
use super::limits::Limits;

/// Why this executor does not take this task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    Label(Label),
    /// It holds the label as `!word`, and the task does not ask for it.
    Reserved(Label),
    Short {
        resource: Resource,
        asked: u64,
        has: u64,
    },
    Runtime(RuntimeKind),
    /// An exclusive task needs a kill that reaches all its processes.
    Kill,
    Engine,
    Trust,
    Obstacle(Obstacle),
    Full {
        slots: u32,
    },
    /// The operator's limit for one executor, below its own slots.
    ExecutorLimit {
        limit: u32,
    },
    Declined {
        left: Duration,
    },
    Failed {
        left: Duration,
    },
}

impl Refusal {
    /// Returns whether only a change of the task or of the machine's registration would help.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Label(_)
            | Self::Reserved(_)
            | Self::Short { .. }
            | Self::Runtime(_)
            | Self::Kill
            | Self::Engine
            | Self::Trust => true,
            Self::Obstacle(_)
            | Self::Full { .. }
            | Self::ExecutorLimit { .. }
            | Self::Declined { .. }
            | Self::Failed { .. } => false,
        }
    }
}

/// Why nobody may take this task now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    Needs { tasks: Vec<String> },
    Approval { by: Vec<String> },
    Backoff { left: Duration },
    Group { group: GroupName, limit: u32, holders: Vec<Holder>, ahead: usize },
    ProjectLimit { project: Arc<str>, live: u32, limit: u32 },
    OwnerLimit { owner: Arc<str>, live: u32, limit: u32 },
}

/// What makes this executor unfit for every task with this demand, as long as it is registered so.
pub(super) fn lasting<'a>(demand: &'a Demand, executor: &'a Executor) -> impl Iterator<Item = Refusal> + 'a {
    let labels = demand.labels.iter().filter(|label| !executor.labels.contains_key(*label));
    let reserved = executor.labels.iter().filter(|(label, grant)| match grant {
        Grant::Reserved => !demand.labels.contains(*label),
        Grant::Open => false,
    });
    let short = demand.amounts.iter().filter_map(|(resource, asked)| {
        let has = executor.has.get(resource).copied().unwrap_or(0);
        (*asked > has).then_some(Refusal::Short { resource: *resource, asked: *asked, has })
    });
    let labels = labels.cloned().map(Refusal::Label);
    let reserved = reserved.map(|(label, _)| Refusal::Reserved(label.clone()));
    labels.chain(reserved).chain(short).chain(rights(demand, executor))
}

fn rights(demand: &Demand, executor: &Executor) -> impl Iterator<Item = Refusal> {
    let runtime = match executor.runtimes.get(&demand.runtime) {
        None => Some(Refusal::Runtime(demand.runtime)),
        Some(kill) if *kill < demand.kill => Some(Refusal::Kill),
        Some(Kill::BestEffort | Kill::ReachesAll) => None,
    };
    let engine = match (&demand.engine, &executor.engine) {
        (None, _) | (Some(_), EnginePermit::Everybody) => None,
        (Some(_), EnginePermit::Nobody) => Some(Refusal::Engine),
        (Some(project), EnginePermit::Projects(projects)) => {
            (!projects.contains(project)).then_some(Refusal::Engine)
        }
    };
    let trust = match (demand.trust, executor.admits) {
        (Trust::Untrusted, Admits::TrustedOnly) => Some(Refusal::Trust),
        (Trust::Trusted, _) | (Trust::Untrusted, Admits::Everybody) => None,
    };
    [runtime, engine, trust].into_iter().flatten()
}

/// What keeps this executor, with so many live tasks, from taking anything now.
pub(super) fn passing(executor: &Executor, live: u32, limits: &Limits) -> impl Iterator<Item = Refusal> {
    let obstacles = executor.obstacles.iter().copied().map(Refusal::Obstacle);
    let full = (live >= executor.slots).then_some(Refusal::Full { slots: executor.slots });
    let limit = limits.executor.filter(|limit| full.is_none() && live >= *limit);
    let limit = limit.map(|limit| Refusal::ExecutorLimit { limit });
    obstacles.chain(full).chain(limit)
}

/// What this one task and this executor have had with each other.
pub(super) fn personal(
    task: &QueuedTask,
    executor: &Executor,
    fleet: &Fleet,
    now: Duration,
) -> impl Iterator<Item = Refusal> {
    let fresh = move |avoid: &&Avoid| avoid.executor == executor.id && avoid.until > now;
    task.avoid.iter().filter(fresh).filter_map(move |avoid| {
        let left = avoid.until.saturating_sub(now);
        match avoid.why {
            AvoidWhy::Declined => Some(Refusal::Declined { left }),
            AvoidWhy::Failed => another_could(task, executor, fleet, now).then_some(Refusal::Failed { left }),
        }
    })
}

/// Whether some other executor that this task has no quarrel with could take it, be it later.
fn another_could(task: &QueuedTask, than: &Executor, fleet: &Fleet, now: Duration) -> bool {
    fleet.values().any(|other| {
        let avoided = task.avoid.iter().any(|avoid| avoid.executor == other.id && avoid.until > now);
        let able =
            other.obstacles.is_empty() && other.slots > 0 && lasting(&task.demand, other).next().is_none();
        other.id != than.id && !avoided && able
    })
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "needs label {}", Written(label)),
            Self::Reserved(label) => write!(f, "takes only tasks that ask for {}", Written(label)),
            Self::Short { resource, asked, has } => {
                write!(f, "needs {}, has {}", Amount(*resource, *asked), Amount(*resource, *has))
            }
            Self::Runtime(RuntimeKind::Container) => f.write_str("runs no containers"),
            Self::Runtime(RuntimeKind::Process) => f.write_str("permits no tasks outside a container"),
            Self::Kill => f.write_str("cannot end every process of a task, which an exclusive task needs"),
            Self::Engine => f.write_str("gives this project no image-building engine"),
            Self::Trust => f.write_str("takes no untrusted work"),
            Self::Obstacle(Obstacle::Offline) => f.write_str("offline"),
            Self::Obstacle(Obstacle::Quarantined) => f.write_str("quarantined"),
            Self::Obstacle(Obstacle::Draining) => f.write_str("draining"),
            Self::Obstacle(Obstacle::DiskFloor) => f.write_str("disk below its floor"),
            Self::Full { slots } => write!(f, "no free slot of {slots}"),
            Self::ExecutorLimit { limit } => {
                write!(f, "at the limit of {} for one executor", Counted(*limit, "task"))
            }
            Self::Declined { left } => write!(f, "declined this task, asked again in {}", Seconds(*left)),
            Self::Failed { left } => write!(f, "failed this task, avoided for {}", Seconds(*left)),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needs { tasks } => write!(f, "waits for {}", tasks.join(", ")),
            Self::Approval { by } => write!(f, "waits for the approval of {}", by.join(" or ")),
            Self::Backoff { left } => write!(f, "next try in {}", Seconds(*left)),
            Self::Group { group, limit, holders, ahead } => {
                write!(f, "group {group} admits {limit} at a time")?;
                if let Some(first) = holders.first() {
                    write!(f, ", held by {first}")?;
                }
                match holders.len() {
                    0 | 1 => {}
                    more => write!(f, " and {} more", more - 1)?,
                }
                match ahead {
                    0 => Ok(()),
                    ahead => write!(f, "; {ahead} older before it"),
                }
            }
            Self::ProjectLimit { project: whose, live, limit }
            | Self::OwnerLimit { owner: whose, live, limit } => {
                if live < limit {
                    write!(f, "{whose} has just been given a task, its next one follows in a moment")
                } else {
                    write!(f, "{whose} has {} running, the limit is {limit}", Counted(*live, "task"))
                }
            }
        }
    }
}

/// An amount with its unit, exact: a rounded figure could say that 4 GiB are less than 4 GiB.
pub(super) struct Amount(pub(super) Resource, pub(super) u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(resource, amount) = *self;
        match resource {
            Resource::CpuMillis if amount % 1000 == 0 => Counted(amount / 1000, "cpu").fmt(f),
            Resource::CpuMillis => {
                let thousandths = format!("{:03}", amount % 1000);
                write!(f, "{}.{} cpus", amount / 1000, thousandths.trim_end_matches('0'))
            }
            Resource::MemoryBytes => write!(f, "{} memory", Bytes(amount)),
            Resource::DiskBytes => write!(f, "{} disk", Bytes(amount)),
            Resource::Pids => write!(f, "room for {}", Counted(amount, "pid")),
            Resource::Gpus => Counted(amount, "gpu").fmt(f),
        }
    }
}

/// A number with its noun.
pub(super) struct Counted<N>(pub(super) N, pub(super) &'static str);

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Counted<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = self;
        let plural = if *number == N::from(1) { "" } else { "s" };
        write!(f, "{number} {noun}{plural}")
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let exact = |(shift, _): &(u32, &str)| self.0 >> shift > 0 && self.0.trailing_zeros() >= *shift;
        match units.into_iter().find(exact) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// A duration in whole seconds, rounded up: "in 0 s" would be a lie.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_millis().div_ceil(1000))
    }
}
