//! Why each task and stage would run or not, for one event; what `ocelot explain` prints.
//!
//! The verdicts are read from the plan that the same event gets, so an explanation cannot promise what
//! the run does not keep.

use ocelot_core::plan::{Gate, Plan, TaskPlan, Work};
use serde::Serialize;

use crate::context::Context;
use crate::pipeline::Pipeline;
use crate::problem::Problems;
use crate::read::task::Task;
use crate::resolve::Resolution;
use crate::when::Fact;

/// What would happen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Explanation {
    Run { tasks: Vec<TaskExplanation>, notifies: Vec<String> },
    NoRun { why: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskExplanation {
    pub name: String,
    pub verdict: Verdict,
    /// Every condition of its `when`, judged; empty when it has none.
    pub facts: Vec<Fact>,
    pub stages: Vec<StageExplanation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageExplanation {
    pub name: String,
    pub runs: bool,
    pub facts: Vec<Fact>,
}

/// Whether a task would run, as far as the event decides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Runs,
    /// Only if one of these tasks fails.
    RunsIfFails {
        needs: Vec<String>,
    },
    /// However these tasks end.
    RunsAfter {
        needs: Vec<String>,
    },
    /// Once these tasks have succeeded.
    RunsIfSucceed {
        needs: Vec<String>,
    },
    Skipped {
        why: String,
    },
}

impl Pipeline {
    /// Explains what an event would start.
    pub fn explain(&self, context: &Context) -> Result<Explanation, Problems> {
        let context = &*self.comparable(context);
        let plan = match self.resolve(context)? {
            Resolution::Run(plan) => plan,
            Resolution::NoRun { why } => return Ok(Explanation::NoRun { why }),
        };
        let verdicts = verdicts(&plan);
        let tasks = plan.tasks.iter().zip(verdicts).filter_map(|(planned, verdict)| {
            let task = self.tasks.iter().find(|task| task.name == planned.base)?;
            Some(explain_task(task, planned, verdict, context))
        });
        let tasks = tasks.collect();
        Ok(Explanation::Run { tasks, notifies: plan.notify.into_iter().map(|notify| notify.to).collect() })
    }
}

fn explain_task(task: &Task, planned: &TaskPlan, verdict: Verdict, context: &Context) -> TaskExplanation {
    let stages = match &planned.work {
        Work::Stages { stages, .. } => stages.as_slice(),
        Work::Command(_) => &[],
    };
    let stages = stages.iter().zip(&task.stage_conditions).map(|(stage, when)| StageExplanation {
        name: stage.name.clone(),
        runs: stage.skip.is_none(),
        facts: when.facts(context),
    });
    TaskExplanation {
        name: planned.name.clone(),
        verdict,
        facts: task.when.facts(context),
        stages: stages.collect(),
    }
}

/// Judges every task after those it needs: a skipped need skips it too, unless it is optional or
/// `status` is `always`.
fn verdicts(plan: &Plan) -> Vec<Verdict> {
    let mut verdicts: Vec<Option<Verdict>> = vec![None; plan.tasks.len()];
    let mut left: Vec<usize> = (0..plan.tasks.len()).collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|index| {
            let task = &plan.tasks[*index];
            let is_ready = task.needs.iter().all(|need| verdicts[need.task as usize].is_some());
            if is_ready {
                verdicts[*index] = Some(verdict(task, plan, &verdicts));
            }
            !is_ready
        });
        assert!(left.len() < before, "a parsed pipeline has no cycle");
    }
    verdicts.into_iter().flatten().collect()
}

fn verdict(task: &TaskPlan, plan: &Plan, verdicts: &[Option<Verdict>]) -> Verdict {
    let is_skipped = |index: u32| matches!(verdicts[index as usize], Some(Verdict::Skipped { .. }));
    let name_of = |index: u32| plan.tasks[index as usize].name.clone();
    let needs: Vec<String> =
        task.needs.iter().filter(|need| !is_skipped(need.task)).map(|need| name_of(need.task)).collect();
    let missing = task.needs.iter().find(|need| !need.optional && is_skipped(need.task));
    match (&task.gate, missing) {
        (Gate::Skip { why }, _) => Verdict::Skipped { why: why.clone() },
        (Gate::OnSuccess | Gate::OnFailure, Some(need)) => {
            Verdict::Skipped { why: format!("it needs {}, which is skipped", name_of(need.task)) }
        }
        (Gate::OnFailure, None) if needs.is_empty() => {
            Verdict::Skipped { why: "it runs when a need fails, and all of them are skipped".to_owned() }
        }
        (Gate::OnFailure, None) => Verdict::RunsIfFails { needs },
        (Gate::Always | Gate::OnSuccess, _) if needs.is_empty() => Verdict::Runs,
        (Gate::Always, _) => Verdict::RunsAfter { needs },
        (Gate::OnSuccess, None) => Verdict::RunsIfSucceed { needs },
    }
}
