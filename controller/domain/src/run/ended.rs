//! The outcome of a run: one word made from the outcomes of its tasks.
//!
//! It depends on the tasks' outcomes only, never on the order in which they came.

use std::fmt;

use ocelot_core::plan::{TaskPlan, Tolerance};
use serde::{Deserialize, Serialize};

use crate::outcome::{Failure, Outcome};

use super::{FAIL_FAST, RunView};

/// How a run ended. The order is the order of weight: the least of its tasks' words is the run's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    Rejected,
    Cancelled,
    Lost,
    TimedOut,
    Failed,
    Succeeded,
    Skipped,
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
        })
    }
}

/// Returns whether the plan lets this bad end pass, for the run and for the tasks that need it.
pub fn is_tolerated(tolerance: &Tolerance, outcome: &Outcome) -> bool {
    match (tolerance, outcome) {
        (_, Outcome::Succeeded | Outcome::Skipped { .. }) | (Tolerance::None, _) => false,
        (Tolerance::Any, _) => true,
        (Tolerance::ExitCodes(codes), Outcome::Failed { failure: Failure::Exit(code), .. }) => {
            codes.contains(code)
        }
        (
            Tolerance::ExitCodes(_),
            Outcome::Failed { .. }
            | Outcome::TimedOut(_)
            | Outcome::Cancelled { .. }
            | Outcome::Rejected { .. }
            | Outcome::Lost { .. },
        ) => false,
    }
}

/// Returns the outcome of a run whose every task has ended, and none before that.
pub fn ended(run: &RunView<'_>) -> Option<RunOutcome> {
    let mut least = RunOutcome::Skipped;
    for (index, plan) in run.plan.tasks.iter().enumerate() {
        least = least.min(weight(plan, run.outcome(index)?, run.cancel.is_some()));
    }
    Some(least)
}

fn weight(plan: &TaskPlan, outcome: &Outcome, run_cancelled: bool) -> RunOutcome {
    let word = match outcome {
        Outcome::Succeeded => return RunOutcome::Succeeded,
        Outcome::Skipped { .. } => return RunOutcome::Skipped,
        // The variant whose failure caused it speaks for the run.
        Outcome::Cancelled { by, .. } if by.0 == FAIL_FAST => return RunOutcome::Succeeded,
        // `allow_failure` forgives the task's own end, not that a person ended the run.
        Outcome::Cancelled { .. } if run_cancelled => return RunOutcome::Cancelled,
        Outcome::Cancelled { .. } => RunOutcome::Cancelled,
        Outcome::Rejected { .. } => RunOutcome::Rejected,
        Outcome::Lost { .. } => RunOutcome::Lost,
        Outcome::TimedOut(_) => RunOutcome::TimedOut,
        Outcome::Failed { .. } => RunOutcome::Failed,
    };
    if is_tolerated(&plan.allow_failure, outcome) { RunOutcome::Succeeded } else { word }
}
