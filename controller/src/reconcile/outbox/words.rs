//! What is said of a run. Pure.

use std::time::Duration;

use ocelot_domain::run::RunOutcome;
use ocelot_forge::api::{Status, StatusState};
use ocelot_forge::notice::{NoticeOutcome, RunNotice};

use crate::records::{RunRecord, Stage, Wanted};
use crate::service::context;

/// The status of a run's commit; none for a run that has none.
pub(super) fn status(run: &RunRecord, wanted: Wanted, url: &str) -> Option<Status> {
    let source = run.source.as_ref()?;
    let event = &source.event;
    let (state, description) = match wanted {
        Wanted::Pending => (StatusState::Pending, format!("#{} has begun", run.number)),
        Wanted::Ended { outcome, .. } => (state(outcome), format!("#{} {}", run.number, ended(run, outcome))),
    };
    Some(Status {
        state,
        context: context(event).to_owned(),
        description,
        target_url: url.to_owned(),
        reference: event.tag().or(event.built_branch()).map(str::to_owned),
    })
}

fn state(outcome: RunOutcome) -> StatusState {
    match outcome {
        RunOutcome::Succeeded => StatusState::Success,
        RunOutcome::Skipped => StatusState::Skipped,
        RunOutcome::Failed | RunOutcome::TimedOut => StatusState::Failure,
        RunOutcome::Lost | RunOutcome::Rejected => StatusState::Error,
        RunOutcome::Cancelled => StatusState::Cancelled,
    }
}

fn ended(run: &RunRecord, outcome: RunOutcome) -> String {
    let word = match outcome {
        RunOutcome::Succeeded => "succeeded",
        RunOutcome::Skipped => return "had nothing to do".into(),
        RunOutcome::Failed => "failed",
        RunOutcome::TimedOut => "timed out",
        RunOutcome::Lost => "was lost",
        RunOutcome::Rejected => return format!("was rejected: {}", fault(run)),
        RunOutcome::Cancelled => "was cancelled",
    };
    match duration(run) {
        Some(duration) => format!("{word} after {}", in_words(duration)),
        None => word.into(),
    }
}

/// What is wrong, in one line: the page of the run shows the place in the file, and all the rest.
fn fault(run: &RunRecord) -> &str {
    let first = run.rejected.as_deref().and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    first.unwrap_or("it could not be built").trim()
}

fn duration(run: &RunRecord) -> Option<Duration> {
    match run.stage {
        Stage::Finished { at, .. } => {
            Some(Duration::from_millis(at.unix_ms.saturating_sub(run.accepted_at.unix_ms)))
        }
        Stage::Expanding | Stage::Active => None,
    }
}

fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// The notification of a run's end; none while it has not ended.
pub(super) fn notice(run: &RunRecord, wanted: Wanted, url: &str) -> Option<RunNotice> {
    let Wanted::Ended { outcome, is_fixed } = wanted else { return None };
    let outcome = match outcome {
        RunOutcome::Succeeded if is_fixed => NoticeOutcome::Fixed,
        RunOutcome::Succeeded | RunOutcome::Skipped => NoticeOutcome::Success,
        RunOutcome::Cancelled => NoticeOutcome::Cancelled,
        RunOutcome::Rejected | RunOutcome::Lost | RunOutcome::TimedOut | RunOutcome::Failed => {
            NoticeOutcome::Failure
        }
    };
    let source = run.source.as_ref();
    let reference = source.and_then(|source| source.event.tag().or(source.event.built_branch()));
    Some(RunNotice {
        project: run.subject.name().to_owned(),
        number: run.number,
        run: run.id.to_string(),
        outcome,
        reference: reference.unwrap_or_default().to_owned(),
        commit: source.map(|source| source.commit.clone()),
        message: source.map(|source| source.message.clone()),
        author: source.map(|source| source.author.clone()),
        url: url.to_owned(),
        duration_seconds: duration(run).map(|duration| duration.as_secs()),
    })
}
