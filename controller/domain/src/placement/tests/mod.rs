//! Builders with sane defaults; each test states only what matters.

mod explain;
mod group;
mod news;
mod order;
mod race;
mod reference;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::{ExecutorId, RunId, TaskId};
use ocelot_core::plan::Label;

use super::*;

/// The id of the n-th run's only task. Runs are accepted in the order of n.
fn id(n: u64) -> TaskId {
    TaskId { run: RunId::from_parts(n, [0; 10]), index: 0 }
}

fn executor_id(n: u8) -> ExecutorId {
    ExecutorId::from_bytes([n; 16])
}

fn label(written: &str) -> Label {
    match written.split_once('=') {
        Some((key, value)) => Label { key: key.into(), value: Some(value.into()) },
        None => Label { key: written.into(), value: None },
    }
}

fn labels(written: &[&str]) -> BTreeSet<Label> {
    written.iter().map(|written| label(written)).collect()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn demand(asks: &[&str]) -> Demand {
    Demand {
        labels: labels(asks),
        amounts: Amounts::new(),
        runtime: RuntimeKind::Container,
        engine: None,
        kill: Kill::BestEffort,
        trust: Trust::Trusted,
    }
}

/// The n-th accepted task, of one project and owner.
fn task(n: u64) -> QueuedTask {
    QueuedTask {
        id: id(n),
        project: "acme/shop".into(),
        owner: "ana".into(),
        demand: demand(&[]),
        priority: 0,
        accepted: n,
        after: None,
        groups: Vec::new(),
        avoid: Vec::new(),
        image: None,
        caches: Vec::new(),
    }
}

fn of_project(project: &str, task: QueuedTask) -> QueuedTask {
    QueuedTask { project: project.into(), ..task }
}

fn of_owner(owner: &str, task: QueuedTask) -> QueuedTask {
    QueuedTask { owner: owner.into(), ..task }
}

fn with_priority(priority: i8, task: QueuedTask) -> QueuedTask {
    QueuedTask { priority, ..task }
}

fn asking(asks: &[&str], task: QueuedTask) -> QueuedTask {
    QueuedTask { demand: demand(asks), ..task }
}

/// The n-th executor, `x86-n`, with more slots than any test fills.
fn executor(n: u8) -> Executor {
    Executor {
        id: executor_id(n),
        name: format!("x86-{n}").into(),
        labels: BTreeMap::new(),
        has: Amounts::new(),
        runtimes: BTreeMap::from([(RuntimeKind::Container, Kill::ReachesAll)]),
        engine: EnginePermit::Nobody,
        admits: Admits::Everybody,
        slots: 1000,
        obstacles: BTreeSet::new(),
        images: BTreeSet::new(),
        caches: BTreeSet::new(),
    }
}

fn with_slots(slots: u32, executor: Executor) -> Executor {
    Executor { slots, ..executor }
}

/// The labels as an operator grants them, `!word` included.
fn granted(grants: &[&str], executor: Executor) -> Executor {
    let grant = |written: &&str| match written.strip_prefix('!') {
        Some(reserved) => (label(reserved), Grant::Reserved),
        None => (label(written), Grant::Open),
    };
    Executor { labels: grants.iter().map(grant).collect(), ..executor }
}

fn hindered(obstacle: Obstacle, executor: Executor) -> Executor {
    Executor { obstacles: BTreeSet::from([obstacle]), ..executor }
}

fn fleet(executors: impl IntoIterator<Item = Executor>) -> Fleet {
    executors.into_iter().map(|executor| (executor.id, executor)).collect()
}

/// A queue, a fleet and a clock: one controller in a box.
struct Bench {
    queue: Queue,
    fleet: Fleet,
    peers: Peers,
    now: Duration,
}

impl Bench {
    fn new(executors: impl IntoIterator<Item = Executor>) -> Self {
        Self::with_limits(Limits::default(), executors)
    }

    fn with_limits(limits: Limits, executors: impl IntoIterator<Item = Executor>) -> Self {
        let (queue, fleet) = (Queue::new(limits), fleet(executors));
        Self { queue, fleet, peers: Peers::alone(), now: seconds(100) }
    }

    fn queued(mut self, tasks: impl IntoIterator<Item = QueuedTask>) -> Self {
        for task in tasks {
            self.queue.insert(task);
        }
        self
    }

    fn view(&self) -> View<'_> {
        View { fleet: &self.fleet, peers: &self.peers, now: self.now }
    }

    /// Offers to all executors together.
    fn offers(&mut self, at_most: usize) -> Vec<Offer> {
        let polling: Vec<_> = self.fleet.keys().copied().collect();
        let view = View { fleet: &self.fleet, peers: &self.peers, now: self.now };
        self.queue.offers(&polling, &view, at_most)
    }

    /// The numbers of the runs that are offered, in order.
    fn order(&mut self, at_most: usize) -> Vec<u64> {
        self.offers(at_most).iter().map(|offer| number(&offer.task)).collect()
    }

    fn explain(&self, task: &QueuedTask) -> Explanation {
        self.queue.explain(task, Vec::new(), &self.view())
    }

    fn why(&self, task: &QueuedTask) -> String {
        self.explain(task).summary().to_string()
    }
}

fn number(task: &TaskId) -> u64 {
    task.run.unix_ms().expect("runs of tests carry their number as their time")
}

fn slot(group: &str, limit: u32, holder: Holder) -> SlotClaim {
    let project: Arc<str> = "acme/shop".into();
    SlotClaim { group: GroupName::new(&project, group), limit, holder }
}

/// A task that needs a slot of its own in a group.
fn grouped(group: &str, limit: u32, task: QueuedTask) -> QueuedTask {
    QueuedTask { groups: vec![slot(group, limit, Holder::Task(task.id))], ..task }
}
