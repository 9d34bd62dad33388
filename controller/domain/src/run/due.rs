//! What is due in a run, given the lives of its tasks.
//!
//! Every duty is one compare-and-swap of one record (a batch: of its records and the run's), so
//! two controllers that see the same duty do it once. A task is decided when all its needs have
//! ended, so the reason that people read does not depend on which need ended first. A plan whose
//! needs point nowhere or at each other is damaged: the tasks that can never be decided are
//! rejected, so that the run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use ocelot_core::plan::{Gate, Plan, TaskPlan};

use crate::outcome::{Actor, Outcome};

use super::{FAIL_FAST, RunOutcome, RunStage, RunView, TASKS_PER_BATCH, TaskLife, ended, is_tolerated};

/// Something that follows from the state of a run and has not been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// Puts the records of these tasks where they are absent, comparing the run still `Expanding`;
    /// with `activate` the same transaction makes the run `Active`.
    Put { tasks: Range<u32>, activate: bool },
    /// Takes the task out of waiting for its needs: they are met.
    Release { task: u32 },
    /// Ends a task that will not run: from `Waiting`, or where it has no record at all.
    End { task: u32, outcome: Outcome },
    /// Cancels a task, whatever it is doing.
    Cancel { task: u32, by: Actor },
    /// Ends the run, with its entries in the outbox.
    Finish { outcome: RunOutcome },
}

/// Returns everything that is due in this run now, in the order of the plan.
pub fn due(run: &RunView<'_>) -> Vec<Duty> {
    match run.stage {
        RunStage::Expanding => expand(run).into_iter().collect(),
        RunStage::Active => match ended(run) {
            Some(outcome) => vec![Duty::Finish { outcome }],
            None => task_duties(run),
        },
        RunStage::Finished(_) => Vec::new(),
    }
}

/// The first batch that is not whole. The last one comes only when all before it are there, because
/// its transaction makes the run `Active`.
fn expand(run: &RunView<'_>) -> Option<Duty> {
    let count = u32::try_from(run.plan.tasks.len()).ok()?;
    let last = count.saturating_sub(1) / TASKS_PER_BATCH * TASKS_PER_BATCH;
    let absent = (0..count).find(|task| run.life(*task as usize).is_none());
    let start = absent.map_or(last, |task| task / TASKS_PER_BATCH * TASKS_PER_BATCH);
    let end = start.saturating_add(TASKS_PER_BATCH).min(count);
    Some(Duty::Put { tasks: start..end, activate: start == last })
}

fn task_duties(run: &RunView<'_>) -> Vec<Duty> {
    let failed_fast = bases_that_failed_fast(run);
    // Looking for damage walks the whole graph, and only a task that still waits can suffer from it.
    let mut damaged: Option<BTreeMap<usize, String>> = None;
    let mut duties = Vec::new();
    for (index, plan) in run.plan.tasks.iter().enumerate() {
        let Ok(task) = u32::try_from(index) else { break };
        let Some(life) = run.life(index) else {
            let why = "its record is missing from the store".to_owned();
            duties.push(Duty::End { task, outcome: Outcome::Lost { why } });
            continue;
        };
        let duty = match life {
            TaskLife::Finished(_) | TaskLife::Cancelling => None,
            TaskLife::Waiting | TaskLife::Approval | TaskLife::Queued | TaskLife::Live => {
                cancel(run, plan, task, &failed_fast).or_else(|| match life {
                    TaskLife::Waiting => {
                        let damaged = damaged.get_or_insert_with(|| undecidable(run.plan));
                        decide(run, plan, task, damaged.get(&index))
                    }
                    TaskLife::Approval
                    | TaskLife::Queued
                    | TaskLife::Live
                    | TaskLife::Cancelling
                    | TaskLife::Finished(_) => None,
                })
            }
        };
        duties.extend(duty);
    }
    duties
}

fn cancel(run: &RunView<'_>, plan: &TaskPlan, task: u32, failed_fast: &BTreeSet<&str>) -> Option<Duty> {
    if let Some(by) = run.cancel {
        return Some(Duty::Cancel { task, by: by.clone() });
    }
    let fail_fast = plan.fail_fast && failed_fast.contains(plan.base.as_str());
    fail_fast.then(|| Duty::Cancel { task, by: Actor(FAIL_FAST.into()) })
}

fn bases_that_failed_fast<'a>(run: &RunView<'a>) -> BTreeSet<&'a str> {
    let plans = run.plan.tasks.iter().enumerate().filter(|(_, plan)| plan.fail_fast);
    plans
        .filter(|(index, plan)| run.outcome(*index).is_some_and(|end| has_failed(plan, end)))
        .map(|(_, plan)| plan.base.as_str())
        .collect()
}

/// Whether the task failed in the sense of `when: {status: failure}` and of fail-fast. A cancel is
/// somebody's will, not a failure.
fn has_failed(plan: &TaskPlan, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { .. } | Outcome::TimedOut(_) | Outcome::Rejected { .. } | Outcome::Lost { .. } => {
            !is_tolerated(&plan.allow_failure, outcome)
        }
        Outcome::Succeeded | Outcome::Cancelled { .. } | Outcome::Skipped { .. } => false,
    }
}

/// What becomes of a waiting task; none while one of its needs goes on.
fn decide(run: &RunView<'_>, plan: &TaskPlan, task: u32, damage: Option<&String>) -> Option<Duty> {
    let skip = |why: String| Some(Duty::End { task, outcome: Outcome::Skipped { why } });
    if let Gate::Skip { why } = &plan.gate {
        return skip(why.clone());
    }
    if let Some(why) = damage {
        return Some(Duty::End { task, outcome: Outcome::Rejected { why: why.clone() } });
    }
    let needs = NeedsEnded::of(run, plan)?;
    let skipped = |name: &str| skip(format!("{name} was skipped"));
    match (&plan.gate, needs) {
        (Gate::Skip { why }, _) => skip(why.clone()),
        (Gate::Always, _) => Some(Duty::Release { task }),
        (Gate::OnSuccess | Gate::OnFailure, NeedsEnded { skipped: Some(name), .. }) => skipped(name),
        (Gate::OnSuccess, NeedsEnded { failed: Some(name), .. }) => skip(format!("{name} failed")),
        (Gate::OnSuccess, NeedsEnded { cancelled: Some(name), .. }) => skip(format!("{name} was cancelled")),
        (Gate::OnSuccess, _) => Some(Duty::Release { task }),
        (Gate::OnFailure, NeedsEnded { failed: Some(_), .. }) => Some(Duty::Release { task }),
        (Gate::OnFailure, _) => skip("nothing that it needs failed".into()),
    }
}

/// How the needs of a task ended: the first of each kind that is not simply met.
#[derive(Default)]
struct NeedsEnded<'a> {
    skipped: Option<&'a str>,
    failed: Option<&'a str>,
    cancelled: Option<&'a str>,
}

impl<'a> NeedsEnded<'a> {
    fn of(run: &RunView<'a>, plan: &TaskPlan) -> Option<Self> {
        let mut ended = Self::default();
        for need in &plan.needs {
            let index = need.task as usize;
            let needed = run.plan.tasks.get(index)?;
            let name = needed.name.as_str();
            match run.outcome(index)? {
                Outcome::Succeeded => {}
                Outcome::Skipped { .. } if need.optional => {}
                Outcome::Skipped { .. } => _ = ended.skipped.get_or_insert(name),
                bad if is_tolerated(&needed.allow_failure, bad) => {}
                Outcome::Cancelled { .. } => _ = ended.cancelled.get_or_insert(name),
                Outcome::Failed { .. }
                | Outcome::TimedOut(_)
                | Outcome::Rejected { .. }
                | Outcome::Lost { .. } => _ = ended.failed.get_or_insert(name),
            }
        }
        Some(ended)
    }
}

/// The tasks whose needs can never all end, and why: they point outside the plan, into a circle, or
/// at themselves.
fn undecidable(plan: &Plan) -> BTreeMap<usize, String> {
    let count = plan.tasks.len();
    let mut damaged = BTreeMap::new();
    let mut open: Vec<usize> = Vec::with_capacity(count);
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, task) in plan.tasks.iter().enumerate() {
        let nowhere = task.needs.iter().find(|need| need.task as usize >= count);
        if let Some(need) = nowhere {
            let why = format!("the plan is damaged: it needs task {} of {count}", need.task);
            damaged.insert(index, why);
        }
        let needs = if nowhere.is_some() { &[][..] } else { &task.needs };
        open.push(needs.len());
        for need in needs {
            needed_by[need.task as usize].push(index);
        }
    }
    let mut ready: Vec<usize> = (0..count).filter(|task| open[*task] == 0).collect();
    while let Some(task) = ready.pop() {
        for dependent in &needed_by[task] {
            open[*dependent] -= 1;
            if open[*dependent] == 0 {
                ready.push(*dependent);
            }
        }
    }
    for task in (0..count).filter(|task| open[*task] > 0) {
        damaged.insert(task, "the plan is damaged: its needs lead into a circle".into());
    }
    damaged
}
