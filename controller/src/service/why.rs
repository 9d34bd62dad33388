//! Why: what each unfinished task waits for, executor by executor, in words.
//!
//! The reasons come from the placement that offers obey.

use ocelot_core::id::{RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::placement::{Explanation, Hold, Verdict, View as Sight};
use ocelot_domain::task::state::{Approval, Needs, Task, TaskState};

use super::board::RunOf;
use super::error::Result;
use super::{RunWithTasks, Service};
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
                return Some(reason(format!("running on {}", self.name_of(live.session.executor))));
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
        Some(TaskReason { executors: verdicts(&explanation), ..reason(explanation.summary().to_string()) })
    }

    fn name_of(&self, executor: ocelot_core::id::ExecutorId) -> String {
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
