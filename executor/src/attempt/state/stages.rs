//! Which stage is next, and what the stages' ends make of the task.
//!
//! The first failure is the task's; after it only `always` stages run. A cancel counts as a failure at
//! the moment it comes.

use ocelot_core::frame::Exit;
use ocelot_core::plan::Tolerance;

use super::{Found, Gone, Limit, Spec, Stage, StageEnd, guard_over};
use crate::attempt::{Failure, Outcome, Timeout};

/// How far the stages are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The first stage that was not looked at.
    next: u16,
    pub(super) running: Option<u16>,
    /// The first failure.
    failure: Option<Outcome>,
    /// Nothing more runs, not even `always` stages.
    over: bool,
}

/// What comes after a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    /// Stages that this run leaves out, passed on the way.
    pub(super) skipped: Vec<u16>,
    /// None when the task's work is over.
    pub(super) run: Option<u16>,
}

impl Progress {
    /// Takes what a supervisor saw as it was, whatever this process would have chosen.
    pub(super) fn replayed(spec: &Spec, found: &Found) -> Self {
        let mut progress = Self::default();
        let ended = found.ended.iter().map(|(index, end)| (*index, Some(*end)));
        for (index, end) in ended.chain(found.running.map(|index| (index, None))) {
            progress.next = index.saturating_add(1);
            progress.running = Some(index).filter(|index| usize::from(*index) < spec.stages.len());
            if found.cancelled == Some(index) {
                progress.cancel(spec);
            }
            if let Some(end) = end {
                progress.ended(spec, index, end);
            }
        }
        progress
    }

    /// Looks for the next stage and takes it as running.
    pub(super) fn advance(&mut self, spec: &Spec) -> Next {
        let mut skipped = Vec::new();
        self.running = None;
        while let Some(stage) = spec.stages.get(usize::from(self.next)) {
            let index = self.next;
            self.next += 1;
            if stage.skipped {
                skipped.push(index);
            } else if !self.over && (self.failure.is_none() || stage.always) {
                self.running = Some(index);
                break;
            }
        }
        Next { skipped, run: self.running }
    }

    /// Whether nothing runs, and nothing is left to run.
    pub(super) fn is_over(&self, spec: &Spec) -> bool {
        self.running.is_none() && self.clone().advance(spec).run.is_none()
    }

    /// Takes the end of the running stage. Returns whether it was that stage.
    pub(super) fn ended(&mut self, spec: &Spec, index: u16, end: StageEnd) -> bool {
        let stage = spec.stages.get(usize::from(index));
        let Some(stage) = stage.filter(|_| self.running == Some(index)) else { return false };
        self.running = None;
        self.over |= end == StageEnd::TimedOut(Limit::Run);
        if let Some(outcome) = failure(stage, end) {
            self.failure.get_or_insert(outcome);
        }
        true
    }

    /// Takes a cancel. Returns the stage that is to be ended for it.
    pub(super) fn cancel(&mut self, spec: &Spec) -> Option<u16> {
        let running = self.running?;
        // An `always` stage that began after the first failure is what a cancel may not take.
        let cleaning = self.failure.is_some() && spec.stages[usize::from(running)].always;
        self.failure.get_or_insert(Outcome::Cancelled);
        (!cleaning).then_some(running)
    }

    /// Takes a cancel that came before anything ran.
    pub(super) fn cancelled() -> Self {
        Self { failure: Some(Outcome::Cancelled), over: true, ..Self::default() }
    }

    /// Takes the end of the container under the stages.
    pub(super) fn gone(&mut self, spec: &Spec, gone: Gone) {
        let stage = self.running.take().and_then(|index| spec.stages.get(usize::from(index)));
        self.over = true;
        self.failure.get_or_insert(match gone {
            Gone::OutOfMemory { limit_bytes } => {
                let stage = stage.map(|stage| stage.name.clone());
                Outcome::Failed { stage, failure: Failure::OutOfMemory { limit_bytes } }
            }
            Gone::GuardOver => guard_over(),
            Gone::Died { why } => Outcome::Lost { why },
            Gone::Blocked { why } => {
                let stage = stage.map(|stage| stage.name.clone());
                Outcome::Failed { stage, failure: Failure::Setup { why } }
            }
        });
    }

    /// Returns what the stages made of the task.
    pub(super) fn outcome(self) -> Outcome {
        self.failure.unwrap_or(Outcome::Succeeded)
    }
}

/// Returns what the end of a stage makes of its task; none if it counts as good.
fn failure(stage: &Stage, end: StageEnd) -> Option<Outcome> {
    let failed = |failure| Outcome::Failed { stage: Some(stage.name.clone()), failure };
    let (outcome, exit) = match end {
        StageEnd::Exit(Exit::Code(0)) => return None,
        StageEnd::Exit(Exit::Code(code)) => (failed(Failure::Exit(code)), Some(code)),
        StageEnd::Exit(Exit::Signal(signal)) => (failed(Failure::Signal(signal)), None),
        StageEnd::OutOfMemory { limit_bytes } => (failed(Failure::OutOfMemory { limit_bytes }), None),
        StageEnd::TimedOut(Limit::Stage) => {
            (Outcome::TimedOut(Timeout::Stage { stage: stage.name.clone() }), None)
        }
        // These limits are the task's, so a stage cannot allow them.
        StageEnd::TimedOut(Limit::Quiet) => return Some(Outcome::TimedOut(Timeout::Quiet)),
        StageEnd::TimedOut(Limit::Run) => return Some(Outcome::TimedOut(Timeout::Run)),
    };
    let allowed = match &stage.allow_failure {
        Tolerance::None => false,
        Tolerance::Any => true,
        Tolerance::ExitCodes(codes) => exit.is_some_and(|code| codes.contains(&code)),
    };
    (!allowed).then_some(outcome)
}
