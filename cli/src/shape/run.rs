//! Runs, tasks and attempts, with the moment of each phase.

use ocelot_proto::wire;
use serde::Serialize;

use super::{text, uuid};
use crate::show::precise;
use crate::words::{self, OutcomeWord, StateWord};

/// One run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) id: String,
    /// `name#number`.
    pub(crate) name: String,
    pub(crate) job: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) number: u64,
    pub(crate) state: StateWord,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) trigger: &'static str,
    pub(crate) by: Option<String>,
    /// The schedule that it is a run of.
    pub(crate) schedule: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) accepted: Option<String>,
    pub(crate) started: Option<String>,
    pub(crate) finished: Option<String>,
    pub(crate) tasks_finished: u32,
    pub(crate) tasks_total: u32,
    /// What of a repository it works on.
    pub(crate) commit: Option<Commit>,
    /// Why it was rejected before it had tasks.
    pub(crate) rejected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tasks: Option<Vec<Task>>,
}

/// The commit that a run works on, and what happened to it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) branch: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) pull_request: Option<u64>,
    pub(crate) target_branch: Option<String>,
    pub(crate) subject: String,
    pub(crate) author: Option<String>,
    pub(crate) fork: bool,
}

/// How something ended; only the fields that fit it are there.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub(crate) result: OutcomeWord,
    /// In one sentence.
    pub(crate) says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    /// `exit` `signal` `out_of_memory` `image` `disk` `policy` `queue` `run` `stage` `quiet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Task {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) state: StateWord,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) tries: u32,
    pub(crate) note: Option<String>,
    /// Names of tasks that must end before it begins.
    pub(crate) waits_for: Vec<String>,
    pub(crate) queued: Option<String>,
    pub(crate) log_bytes: u64,
    pub(crate) stages: Vec<Stage>,
    pub(crate) attempts: Vec<Attempt>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) began: Option<String>,
    pub(crate) ended: Option<String>,
    pub(crate) exit: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) timed_out: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) skipped: Option<String>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) max_rss_bytes: Option<u64>,
}

/// One attempt, and when it came to each phase.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) executor: String,
    pub(crate) executor_name: Option<String>,
    pub(crate) offered: Option<String>,
    pub(crate) acknowledged: Option<String>,
    pub(crate) up: Option<String>,
    pub(crate) first_byte: Option<String>,
    pub(crate) ended: Option<String>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) preparing: Option<String>,
    pub(crate) log_bytes: u64,
    /// What of its log is missing.
    pub(crate) log_loss: Option<Loss>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Loss {
    pub(crate) at: u64,
    pub(crate) reason: String,
}

/// Why one task is where it is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reason {
    pub(crate) task: String,
    pub(crate) summary: String,
    pub(crate) executors: Vec<Refusals>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Refusals {
    pub(crate) executor: String,
    pub(crate) refusals: Vec<String>,
}

impl From<&wire::RunSummary> for Run {
    fn from(run: &wire::RunSummary) -> Self {
        let (job, project) = match &run.of {
            Some(wire::run_summary::Of::Job(job)) => (Some(job.clone()), None),
            Some(wire::run_summary::Of::Project(project)) => (None, Some(project.clone())),
            None => (None, None),
        };
        let trigger = run.trigger.clone().unwrap_or_default();
        let state = run.state.as_ref().and_then(|state| state.state.as_ref());
        let outcome = match state {
            Some(wire::run_state::State::Finished(outcome)) => Some(Outcome::from(outcome)),
            Some(wire::run_state::State::Expanding(_) | wire::run_state::State::Active(_)) | None => None,
        };
        Self {
            id: uuid(&run.id),
            name: words::run_name(run),
            job,
            project,
            number: run.number,
            state: words::run_state(run),
            outcome,
            trigger: words::trigger(trigger.kind()),
            by: text(&trigger.by),
            schedule: text(&trigger.schedule),
            group: text(&run.group),
            accepted: precise(run.accepted_unix_us),
            started: precise(run.started_unix_us),
            finished: precise(run.finished_unix_us),
            tasks_finished: run.tasks_finished,
            tasks_total: run.tasks_total,
            commit: run.commit.as_ref().map(Commit::from),
            rejected: text(&run.rejected),
            tasks: None,
        }
    }
}

impl Run {
    pub(crate) fn whole(run: &wire::RunSummary, tasks: &[wire::Task]) -> Self {
        Self { tasks: Some(tasks.iter().map(Task::from).collect()), ..Self::from(run) }
    }
}

impl From<&wire::Commit> for Commit {
    fn from(commit: &wire::Commit) -> Self {
        Self {
            id: commit.id.clone(),
            branch: text(&commit.branch),
            tag: text(&commit.tag),
            pull_request: Some(commit.pull_request).filter(|number| *number > 0),
            target_branch: text(&commit.target_branch),
            subject: commit.subject.clone(),
            author: text(&commit.author),
            fork: commit.fork,
        }
    }
}

impl From<&wire::Outcome> for Outcome {
    fn from(outcome: &wire::Outcome) -> Self {
        let evidence = words::evidence(outcome);
        Self {
            result: words::outcome_word(outcome),
            says: words::outcome(outcome),
            stage: evidence.stage,
            exit: evidence.exit,
            signal: evidence.signal,
            cause: evidence.cause,
            by: evidence.by,
        }
    }
}

impl From<&wire::Task> for Task {
    fn from(task: &wire::Task) -> Self {
        let outcome = match task.state.as_ref().and_then(|state| state.state.as_ref()) {
            Some(wire::task_state::State::Finished(outcome)) => Some(Outcome::from(outcome)),
            Some(
                wire::task_state::State::Waiting(_)
                | wire::task_state::State::Queued(_)
                | wire::task_state::State::Offered(_)
                | wire::task_state::State::Running(_)
                | wire::task_state::State::Cancelling(_),
            )
            | None => None,
        };
        Self {
            index: task.id.as_ref().map_or(0, |id| id.index),
            name: task.name.clone(),
            state: words::task_state(task),
            outcome,
            tries: task.tries,
            note: text(&task.note),
            waits_for: words::waits_for(task).to_vec(),
            queued: precise(task.queued_unix_us),
            log_bytes: task.log_bytes,
            stages: task.stages.iter().map(Stage::from).collect(),
            attempts: task.attempts.iter().map(Attempt::from).collect(),
        }
    }
}

impl From<&wire::Stage> for Stage {
    fn from(stage: &wire::Stage) -> Self {
        use wire::stage_exit::Exit;
        let exit = stage.exit.as_ref().and_then(|exit| exit.exit.as_ref());
        let usage = stage.r#use.as_ref();
        Self {
            name: stage.name.clone(),
            began: precise(stage.began_unix_us),
            ended: precise(stage.ended_unix_us),
            exit: if let Some(Exit::Code(code)) = exit { Some(*code) } else { None },
            signal: if let Some(Exit::Signal(signal)) = exit { Some(*signal) } else { None },
            timed_out: matches!(exit, Some(Exit::TimedOut(_))),
            out_of_memory: matches!(exit, Some(Exit::OutOfMemory(_))),
            skipped: text(&stage.skipped),
            cpu_ms: usage.map(|usage| (usage.user_cpu_us + usage.system_cpu_us) / 1_000),
            max_rss_bytes: usage.map(|usage| usage.max_rss_bytes),
        }
    }
}

impl From<&wire::Attempt> for Attempt {
    fn from(attempt: &wire::Attempt) -> Self {
        Self {
            number: attempt.number,
            executor: uuid(&attempt.executor),
            executor_name: text(&attempt.executor_name),
            offered: precise(attempt.offered_unix_us),
            acknowledged: precise(attempt.acknowledged_unix_us),
            up: precise(attempt.up_unix_us),
            first_byte: precise(attempt.first_byte_unix_us),
            ended: precise(attempt.ended_unix_us),
            outcome: attempt.outcome.as_ref().map(Outcome::from),
            preparing: text(&attempt.preparing),
            log_bytes: attempt.log_bytes,
            log_loss: attempt.loss.as_ref().map(|loss| Loss { at: loss.at, reason: loss.reason.clone() }),
        }
    }
}

impl From<&wire::TaskReason> for Reason {
    fn from(reason: &wire::TaskReason) -> Self {
        let refusals = |executor: &wire::ExecutorReason| Refusals {
            executor: executor.executor.clone(),
            refusals: executor.refusals.clone(),
        };
        Self {
            task: reason.name.clone(),
            summary: reason.summary.clone(),
            executors: reason.executors.iter().map(refusals).collect(),
        }
    }
}
