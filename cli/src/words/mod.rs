//! The words for states and ends: one place, so that a table, a sentence and a script say the same.

pub(crate) mod commit;

pub(crate) use ocelot_proto::kit::words::{bytes, outcome};

use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome as End;
use ocelot_proto::wire::outcome::failed::Failure;
use ocelot_proto::wire::outcome::timed_out::Limit;
use ocelot_proto::wire::task_state::State;
use ocelot_proto::wire::trigger::Kind;
use serde::Serialize;

use crate::show::Tone;

/// Where a run or a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateWord {
    Expanding,
    Waiting,
    Queued,
    Offered,
    Running,
    Cancelling,
    Finished,
    /// A newer controller knows more states than this command.
    Unknown,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeWord {
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Skipped,
    Rejected,
    Lost,
    Unknown,
}

/// Whether an executor takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExecutorWord {
    Online,
    Offline,
    Draining,
    Quarantined,
    Refusing,
    Unknown,
}

impl StateWord {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Expanding => "expanding",
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Offered => "offered",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Finished => "finished",
            Self::Unknown => "unknown",
        }
    }
}

impl OutcomeWord {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
            Self::Unknown => "ended",
        }
    }

    pub(crate) fn tone(self) -> Tone {
        match self {
            Self::Succeeded => Tone::Good,
            Self::Failed | Self::TimedOut | Self::Rejected | Self::Lost => Tone::Bad,
            Self::Cancelled => Tone::Warn,
            Self::Skipped | Self::Unknown => Tone::Dim,
        }
    }
}

impl ExecutorWord {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Refusing => "refusing",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn tone(self) -> Tone {
        match self {
            Self::Online => Tone::Good,
            Self::Offline | Self::Unknown => Tone::Dim,
            Self::Draining | Self::Refusing => Tone::Warn,
            Self::Quarantined => Tone::Bad,
        }
    }
}

/// What a run is of: a job's or a project's name.
pub(crate) fn run_of(run: &wire::RunSummary) -> &str {
    match &run.of {
        Some(wire::run_summary::Of::Job(name) | wire::run_summary::Of::Project(name)) => name,
        None => "",
    }
}

/// `name#number`: how people name a run.
pub(crate) fn run_name(run: &wire::RunSummary) -> String {
    format!("{}#{}", run_of(run), run.number)
}

pub(crate) fn run_state(run: &wire::RunSummary) -> StateWord {
    match run.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(wire::run_state::State::Expanding(_)) => StateWord::Expanding,
        Some(wire::run_state::State::Active(active)) if active.cancelling => StateWord::Cancelling,
        Some(wire::run_state::State::Active(_)) if run.started_unix_us == 0 => StateWord::Queued,
        Some(wire::run_state::State::Active(_)) => StateWord::Running,
        Some(wire::run_state::State::Finished(_)) => StateWord::Finished,
        None => StateWord::Unknown,
    }
}

/// How the run ended; nothing before.
pub(crate) fn run_outcome(run: &wire::RunSummary) -> Option<&wire::Outcome> {
    match run.state.as_ref()?.state.as_ref()? {
        wire::run_state::State::Finished(outcome) => Some(outcome),
        wire::run_state::State::Expanding(_) | wire::run_state::State::Active(_) => None,
    }
}

/// One word for a run and its tone: its end, or where it is.
pub(crate) fn run_word(run: &wire::RunSummary) -> (Tone, &'static str) {
    match run_outcome(run).map(outcome_word) {
        Some(word) => (word.tone(), word.word()),
        None => (Tone::Busy, run_state(run).word()),
    }
}

pub(crate) fn task_state(task: &wire::Task) -> StateWord {
    match task.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(State::Waiting(_)) => StateWord::Waiting,
        Some(State::Queued(_)) => StateWord::Queued,
        Some(State::Offered(_)) => StateWord::Offered,
        Some(State::Running(_)) => StateWord::Running,
        Some(State::Cancelling(_)) => StateWord::Cancelling,
        Some(State::Finished(_)) => StateWord::Finished,
        None => StateWord::Unknown,
    }
}

pub(crate) fn task_outcome(task: &wire::Task) -> Option<&wire::Outcome> {
    match task.state.as_ref()?.state.as_ref()? {
        State::Finished(outcome) => Some(outcome),
        State::Waiting(_)
        | State::Queued(_)
        | State::Offered(_)
        | State::Running(_)
        | State::Cancelling(_) => None,
    }
}

/// Names of tasks that must end before this one begins.
pub(crate) fn waits_for(task: &wire::Task) -> &[String] {
    match task.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(State::Waiting(waiting)) => &waiting.needs,
        Some(
            State::Queued(_)
            | State::Offered(_)
            | State::Running(_)
            | State::Cancelling(_)
            | State::Finished(_),
        )
        | None => &[],
    }
}

/// Names of tasks in a row; several variants of one are called by what the file calls them.
pub(crate) fn names(names: &[String]) -> String {
    fn base(name: &str) -> &str {
        name.split('[').next().unwrap_or(name)
    }
    let mut said: Vec<&str> = Vec::new();
    for name in names {
        let alike = names.iter().filter(|other| base(other) == base(name)).count();
        let name = if alike > 1 { base(name) } else { name };
        if !said.contains(&name) {
            said.push(name);
        }
    }
    said.join(", ")
}

/// One word for a task and its tone: its end, or where it is.
pub(crate) fn task_word(task: &wire::Task) -> (Tone, &'static str) {
    match task_outcome(task).map(outcome_word) {
        Some(word) => (word.tone(), word.word()),
        None => (Tone::Busy, task_state(task).word()),
    }
}

pub(crate) fn outcome_word(outcome: &wire::Outcome) -> OutcomeWord {
    match &outcome.outcome {
        Some(End::Succeeded(_)) => OutcomeWord::Succeeded,
        Some(End::Failed(_)) => OutcomeWord::Failed,
        Some(End::TimedOut(_)) => OutcomeWord::TimedOut,
        Some(End::Cancelled(_)) => OutcomeWord::Cancelled,
        Some(End::Skipped(_)) => OutcomeWord::Skipped,
        Some(End::Rejected(_)) => OutcomeWord::Rejected,
        Some(End::Lost(_)) => OutcomeWord::Lost,
        None => OutcomeWord::Unknown,
    }
}

/// What an end is known by, for scripts.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) stage: Option<String>,
    pub(crate) exit: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) cause: Option<&'static str>,
    pub(crate) by: Option<String>,
}

pub(crate) fn evidence(outcome: &wire::Outcome) -> Evidence {
    match &outcome.outcome {
        Some(End::Failed(failed)) => {
            let stage = (!failed.stage.is_empty()).then(|| failed.stage.clone());
            let evidence = Evidence { stage, ..Evidence::default() };
            match &failed.failure {
                Some(Failure::Exit(code)) => Evidence { exit: Some(*code), cause: Some("exit"), ..evidence },
                Some(Failure::Signal(signal)) => {
                    Evidence { signal: Some(*signal), cause: Some("signal"), ..evidence }
                }
                Some(Failure::OutOfMemory(_)) => Evidence { cause: Some("out_of_memory"), ..evidence },
                Some(Failure::Image(_)) => Evidence { cause: Some("image"), ..evidence },
                Some(Failure::Disk(_)) => Evidence { cause: Some("disk"), ..evidence },
                Some(Failure::Policy(_)) => Evidence { cause: Some("policy"), ..evidence },
                Some(Failure::Setup(_)) => Evidence { cause: Some("setup"), ..evidence },
                None => evidence,
            }
        }
        Some(End::TimedOut(timed_out)) => {
            let (cause, stage) = match &timed_out.limit {
                Some(Limit::Queue(_)) => (Some("queue"), None),
                Some(Limit::Run(_)) => (Some("run"), None),
                Some(Limit::Stage(stage)) => (Some("stage"), Some(stage.clone())),
                Some(Limit::Quiet(_)) => (Some("quiet"), None),
                None => (None, None),
            };
            Evidence { cause, stage, ..Evidence::default() }
        }
        Some(End::Cancelled(cancelled)) => {
            Evidence { by: Some(cancelled.by.clone()).filter(|by| !by.is_empty()), ..Evidence::default() }
        }
        Some(End::Succeeded(_) | End::Skipped(_) | End::Rejected(_) | End::Lost(_)) | None => {
            Evidence::default()
        }
    }
}

/// Who made a run and, unless it was by hand, what they did it with: `ada (webhook)`.
pub(crate) fn who(trigger: &wire::Trigger) -> String {
    match trigger.kind() {
        Kind::Unspecified | Kind::CommandLine => trigger.by.clone(),
        kind if trigger.by.is_empty() => self::trigger(kind).to_owned(),
        kind => format!("{} ({})", trigger.by, self::trigger(kind)),
    }
}

pub(crate) fn trigger(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "unknown",
        Kind::CommandLine => "command_line",
        Kind::Rest => "rest",
        Kind::Webhook => "webhook",
        Kind::Poller => "poller",
        Kind::Schedule => "schedule",
        Kind::Retry => "retry",
        Kind::Upstream => "upstream",
    }
}

pub(crate) fn overlap(overlap: wire::schedule::Overlap) -> &'static str {
    match overlap {
        wire::schedule::Overlap::Unspecified => "unknown",
        wire::schedule::Overlap::Skip => "skip",
        wire::schedule::Overlap::Queue => "queue",
        wire::schedule::Overlap::Allow => "allow",
    }
}

pub(crate) fn catch_up(catch_up: wire::schedule::CatchUp) -> &'static str {
    match catch_up {
        wire::schedule::CatchUp::Unspecified => "unknown",
        wire::schedule::CatchUp::None => "none",
        wire::schedule::CatchUp::One => "one",
        wire::schedule::CatchUp::All => "all",
    }
}

/// Why a moment of a schedule made no run: the word for scripts, and what people are told.
pub(crate) fn passed(why: wire::schedule::passed::Why) -> (&'static str, &'static str) {
    use wire::schedule::passed::Why;
    match why {
        Why::Unspecified => ("unknown", "nobody knows why"),
        Why::Missed => ("missed", "no controller was there, or the clock jumped over it"),
        Why::GoesOn => ("goes_on", "the run before it still went on"),
        Why::TooMany => ("too_many", "more had come than are made up for"),
        Why::Paused => ("paused", "it waited when the schedule was paused"),
    }
}

/// Whether an executor takes work, and if not, why.
pub(crate) fn executor_state(executor: &wire::Executor) -> (ExecutorWord, Option<String>) {
    use wire::executor_state::State;
    let why = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match executor.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(State::Online(_)) => (ExecutorWord::Online, None),
        Some(State::Offline(_)) => (ExecutorWord::Offline, None),
        Some(State::Draining(draining)) => {
            let by = if draining.by.is_empty() { None } else { Some(format!("by {}", draining.by)) };
            let parts: Vec<String> = why(&draining.reason).into_iter().chain(by).collect();
            (ExecutorWord::Draining, why(&parts.join(", ")))
        }
        Some(State::Quarantined(quarantined)) => (ExecutorWord::Quarantined, why(&quarantined.reason)),
        Some(State::Refusing(refusing)) => (ExecutorWord::Refusing, why(&refusing.reason)),
        None => (ExecutorWord::Unknown, None),
    }
}
