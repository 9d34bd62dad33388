//! Why: what each unfinished task waits for, executor by executor, in words.
//!
//! The reasons come from the placement that offers obey.

use std::time::Duration;

use ocelot_core::id::{ExecutorId, RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::placement::{Explanation, Hold, Verdict, View as Sight};
use ocelot_domain::task::state::{Approval, Needs, Task, TaskState, Timestamp};

use super::board::RunOf;
use super::error::Result;
use super::{RunWithTasks, Service};
use crate::bytes::Room;
use crate::store::keys::Key;

/// Why one task is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReason {
    pub task: TaskId,
    pub name: String,
    /// In one line.
    pub why: String,
    pub executors: Vec<VerdictOf>,
}

/// What one executor says to the task; no refusal: it would take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictOf {
    pub executor: String,
    pub refusals: Vec<String>,
}

impl Service {
    /// Explains every task of a run that has not ended.
    pub async fn why(&self, id: RunId) -> Result<Vec<TaskReason>> {
        let found = self.run(id).await?;
        let plan = self.plan_of(&found.run).await?;
        let open = found.tasks.iter().filter(|task| task.outcome().is_none());
        Ok(open.filter_map(|task| self.reason(&found, &plan, task)).collect())
    }

    fn reason(&self, found: &RunWithTasks, plan: &Plan, task: &Task) -> Option<TaskReason> {
        let name = plan.tasks.get(task.id.index as usize)?.name.clone();
        let reason =
            |why: String| TaskReason { task: task.id, name: name.clone(), why, executors: Vec::new() };
        let waits = match &task.state {
            TaskState::Finished { .. } => return None,
            TaskState::Offered { live } => {
                return Some(reason(format!("offered to {}", self.name_of(live.session.executor))));
            }
            TaskState::Running { live, .. } => {
                return Some(reason(self.running_words(live.session.executor, task)));
            }
            TaskState::Cancelling { live, by, .. } => {
                let executor = self.name_of(live.session.executor);
                return Some(reason(format!("being cancelled on {executor}, asked by {}", by.0)));
            }
            TaskState::Waiting { needs, approval } => waits(found, plan, task, (*needs, approval)),
            TaskState::Queued { .. } => Vec::new(),
        };
        let entry = self.view.get(&Key::Run(found.run.id).to_string());
        let accepted = entry.map(|entry| entry.create_revision).unwrap_or_default();
        let now = self.now();
        let board = self.board();
        let queued = board.queued(task, &RunOf { record: &found.run, plan, accepted })?;
        let sight = Sight { fleet: &board.fleet, peers: &board.peers, now };
        let explanation = board.queue.explain(&queued, waits, &sight);
        let room = match self.floor().room() {
            Room::Enough => "",
            Room::NoNewRuns | Room::Backpressure => ". Also: the controller's disk is nearly full",
        };
        let why = format!("{}{room}", explanation.summary());
        Some(TaskReason { executors: verdicts(&explanation), ..reason(why) })
    }

    /// Says where a task runs, since when, and when its executor was last heard here.
    fn running_words(&self, executor: ExecutorId, task: &Task) -> String {
        let now = self.timestamp();
        let ago = |at: Timestamp| Duration::from_millis(now.unix_ms.saturating_sub(at.unix_ms));
        let name = self.name_of(executor);
        let heard = match self.last_heartbeat(&executor) {
            Some(at) => format!("its last heartbeat was {} s ago", ago(at).as_secs()),
            None => "its heartbeats go to another controller".to_owned(),
        };
        format!("running on {name} for {} s; {heard}", ago(task.changed_at).as_secs())
    }

    pub(crate) fn name_of(&self, executor: ExecutorId) -> String {
        let board = self.board();
        board.fleet.get(&executor).map_or_else(|| executor.to_string(), |known| known.name.to_string())
    }
}

fn verdicts(explanation: &Explanation) -> Vec<VerdictOf> {
    let verdict = |Verdict { name, refusals, .. }: &Verdict| VerdictOf {
        executor: name.to_string(),
        refusals: refusals.iter().map(ToString::to_string).collect(),
    };
    explanation.verdicts.iter().map(verdict).collect()
}

fn waits(found: &RunWithTasks, plan: &Plan, task: &Task, (needs, approval): (Needs, &Approval)) -> Vec<Hold> {
    let planned = plan.tasks.get(task.id.index as usize);
    let mut holds = Vec::new();
    if let (Needs::Unmet, Some(planned)) = (needs, planned) {
        let is_open = |index: u32| {
            let task = found.tasks.iter().find(|task| task.id.index == index);
            task.is_none_or(|task| task.outcome().is_none())
        };
        let open = planned.needs.iter().filter(|need| is_open(need.task));
        let names = open.filter_map(|need| Some(plan.tasks.get(need.task as usize)?.name.clone()));
        holds.push(Hold::Needs { tasks: names.collect() });
    }
    if let (Approval::Pending, Some(approval)) = (approval, planned.and_then(|plan| plan.approval.as_ref())) {
        holds.push(Hold::Approval { by: approval.by.clone() });
    }
    holds
}
