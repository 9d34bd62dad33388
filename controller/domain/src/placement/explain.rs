//! Why a task is not running: every executor with its reasons, and the same in a few words.
//!
//! The reasons come from the functions that offers obey: what is offered has none, and a task with
//! an executor that has none is only waiting for its turn.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ocelot_core::id::ExecutorId;
use ocelot_core::plan::Label;

use super::demand::{Executor, QueuedTask, Resource, Written};
use super::offer::View;
use super::queue::{Queue, seat};
use super::refusal::{Amount, Hold, Refusal, lasting, passing, personal};

/// Executors that a summary names before it only counts them.
const NAMED: usize = 3;

/// How many tasks `why` counts before it says *more than*.
const COUNTED: usize = 10_000;

/// What keeps one task from running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What keeps it from every executor.
    pub holds: Vec<Hold>,
    pub verdicts: Vec<Verdict>,
    /// Its place, if nothing holds it and some executor has no reason against it.
    pub place: Option<Place>,
}

/// What one executor says to the task; no refusal: it would take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub executor: ExecutorId,
    pub name: Arc<str>,
    pub refusals: Vec<Refusal>,
}

/// How many tasks go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Behind(usize),
    BehindMoreThan(usize),
}

/// No registered executor could ever take the task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unplaceable {
    pub reasons: Vec<Reason>,
}

/// One line of a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    NoExecutors,
    Label {
        label: Label,
        have: usize,
        of: usize,
    },
    /// `most` is what the best of them has.
    Short {
        resource: Resource,
        asked: u64,
        most: u64,
        have: usize,
        of: usize,
    },
    /// Any other refusal, with the names of those that give it.
    Refused {
        refusal: Refusal,
        by: Vec<Arc<str>>,
        of: usize,
    },
}

/// An explanation in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub holds: Vec<Hold>,
    pub reasons: Vec<Reason>,
    pub place: Option<Place>,
}

impl Queue {
    /// Explains why a task is not running. `waits` is what its own record says, for a task that is
    /// not queued yet.
    pub fn explain(&self, task: &QueuedTask, waits: Vec<Hold>, view: &View<'_>) -> Explanation {
        let mut holds = waits;
        holds.extend(self.holds(task, view));
        let verdict = |executor: &Executor| Verdict {
            executor: executor.id,
            name: Arc::clone(&executor.name),
            refusals: self.refusals(task, executor, view),
        };
        let verdicts: Vec<Verdict> = view.fleet.values().map(verdict).collect();
        let is_free = holds.is_empty() && verdicts.iter().any(|verdict| verdict.refusals.is_empty());
        let place = if is_free { self.place(task, view) } else { None };
        Explanation { holds, verdicts, place }
    }

    /// Says at once if no registered executor could ever take such a task.
    pub fn placeable(&self, task: &QueuedTask, view: &View<'_>) -> Result<(), Unplaceable> {
        let refused = |executor: &Executor| Verdict {
            executor: executor.id,
            name: Arc::clone(&executor.name),
            refusals: lasting(&task.demand, executor).collect(),
        };
        let verdicts: Vec<Verdict> = view.fleet.values().map(refused).collect();
        if verdicts.iter().any(|verdict| verdict.refusals.is_empty()) {
            return Ok(());
        }
        Err(Unplaceable { reasons: reasons(&verdicts) })
    }

    fn holds(&self, task: &QueuedTask, view: &View<'_>) -> Vec<Hold> {
        let several = view.peers.count() > 1;
        let left = task.after.map(|after| after.saturating_sub(view.now)).filter(|left| !left.is_zero());
        let groups = self.blocking(task).map(|claim| {
            let line = self.lines.get(&claim.group);
            Hold::Group {
                group: claim.group.clone(),
                limit: claim.limit,
                holders: line.map(|line| line.holders()).unwrap_or_default(),
                ahead: line.map_or(0, |line| line.ahead(task.accepted, &claim.holder)),
            }
        });
        let project = self.live.project_hold(&self.limits, &task.project, several);
        let owner = self.live.owner_hold(&self.limits, &task.owner, several);
        left.map(|left| Hold::Backoff { left })
            .into_iter()
            .chain(groups)
            .chain(project)
            .chain(owner)
            .collect()
    }

    fn refusals(&self, task: &QueuedTask, executor: &Executor, view: &View<'_>) -> Vec<Refusal> {
        let live = self.live.on(&executor.id);
        let passing = passing(executor, live, &self.limits);
        let personal = personal(task, executor, view.fleet, view.now);
        lasting(&task.demand, executor).chain(passing).chain(personal).collect()
    }

    /// Counts the tasks that go first, of those that ask for the same executors, by letting a copy
    /// of the task's level take turns.
    fn place(&self, task: &QueuedTask, view: &View<'_>) -> Option<Place> {
        let mut level = self.level(&task.id)?.clone();
        let able = view.fleet.values().filter(|executor| lasting(&task.demand, executor).next().is_none());
        let mut demands: Vec<_> = able.flat_map(|executor| self.demands.fit(executor)).collect();
        demands.sort_unstable();
        demands.dedup();
        let several = view.peers.count() > 1;
        let higher = self.levels.iter().take_while(|(priority, _)| priority.0 > task.priority);
        let mut ahead =
            higher.flat_map(|(_, level)| self.in_order(level, &demands, several)).take(COUNTED).count();
        while ahead < COUNTED {
            let next = self.in_order(&level, &demands, several).next()?;
            if next == task.id {
                return Some(Place::Behind(ahead));
            }
            let seat = seat(self.tasks.get(&next)?, &self.limits);
            level.serve(&seat);
            level.remove(&seat);
            ahead += 1;
        }
        Some(Place::BehindMoreThan(COUNTED))
    }
}

impl Explanation {
    pub fn summary(&self) -> Summary {
        let nobody = self.verdicts.iter().all(|verdict| !verdict.refusals.is_empty());
        let reasons = if nobody { reasons(&self.verdicts) } else { Vec::new() };
        Summary { holds: self.holds.clone(), reasons, place: self.place }
    }
}

/// Puts equal refusals together. Of an executor that could never take the task only that is said:
/// whether it also drains helps nobody.
fn reasons(verdicts: &[Verdict]) -> Vec<Reason> {
    if verdicts.is_empty() {
        return vec![Reason::NoExecutors];
    }
    let of = verdicts.len();
    let mut labels: BTreeMap<&Label, usize> = BTreeMap::new();
    let mut short: BTreeMap<(Resource, u64), (usize, u64)> = BTreeMap::new();
    let mut others: BTreeMap<&Refusal, Vec<Arc<str>>> = BTreeMap::new();
    for Verdict { name, refusals, .. } in verdicts {
        let is_lasting = refusals.iter().any(Refusal::is_lasting);
        for refusal in refusals.iter().filter(|refusal| !is_lasting || refusal.is_lasting()) {
            match refusal {
                Refusal::Label(label) => *labels.entry(label).or_default() += 1,
                Refusal::Short { resource, asked, has } => {
                    let (lack, most) = short.entry((*resource, *asked)).or_default();
                    (*lack, *most) = (*lack + 1, (*most).max(*has));
                }
                Refusal::Reserved(_)
                | Refusal::Runtime(_)
                | Refusal::Kill
                | Refusal::Engine
                | Refusal::Trust
                | Refusal::Obstacle(_)
                | Refusal::Full { .. }
                | Refusal::ExecutorLimit { .. }
                | Refusal::Declined { .. }
                | Refusal::Failed { .. } => others.entry(refusal).or_default().push(Arc::clone(name)),
            }
        }
    }
    let labels =
        labels.into_iter().map(|(label, lack)| Reason::Label { label: label.clone(), have: of - lack, of });
    let short = short.into_iter().map(|((resource, asked), (lack, most))| Reason::Short {
        resource,
        asked,
        most,
        have: of - lack,
        of,
    });
    let others = others.into_iter().map(|(refusal, by)| Reason::Refused { refusal: refusal.clone(), by, of });
    labels.chain(short).chain(others).collect()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoExecutors => f.write_str("no executor is registered"),
            Self::Label { label, have, of } => {
                write!(f, "needs label {}: {have} of {of} have it", Written(label))
            }
            Self::Short { resource, asked, most, have: 0, .. } => {
                let (asked, most) = (Amount(*resource, *asked), Amount(*resource, *most));
                write!(f, "needs {asked}: the largest has {most}")
            }
            Self::Short { resource, asked, have, of, .. } => {
                write!(f, "needs {}: {have} of {of} have as much", Amount(*resource, *asked))
            }
            Self::Refused { refusal, by, .. } if by.len() <= NAMED => {
                write!(f, "{}: {refusal}", by.join(", "))
            }
            Self::Refused { refusal, by, of } => write!(f, "{} of {of}: {refusal}", by.len()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind(0) => f.write_str("next in the queue"),
            Self::Behind(1) => f.write_str("in the queue, 1 task goes first"),
            Self::Behind(ahead) => write!(f, "in the queue, {ahead} tasks go first"),
            Self::BehindMoreThan(ahead) => write!(f, "in the queue, more than {ahead} tasks go first"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holds, reasons, place } = self;
        let holds = holds.iter().map(ToString::to_string);
        let lines: Vec<String> = holds.chain(reasons.iter().map(ToString::to_string)).collect();
        match (lines.is_empty(), place) {
            (false, _) => f.write_str(&lines.join("; ")),
            (true, Some(place)) => place.fmt(f),
            (true, None) => f.write_str("not in the queue"),
        }
    }
}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self.reasons.iter().map(ToString::to_string).collect();
        write!(f, "no registered executor can ever take this task: {}", reasons.join("; "))
    }
}
