//! The tasks of a run, one line each: which runs where, which waits for which, how each ended.

use ocelot_proto::wire;
use ocelot_proto::wire::task_state::State;

use crate::show::{Style, Table, Tone, duration};
use crate::words;

/// Returns the table of a run's tasks, in the order of its plan.
pub(crate) fn table(tasks: &[wire::Task], now_us: i64, style: Style, width: Option<usize>) -> Table {
    let mut table = Table::new(["TASK", "TOOK", "EXECUTOR", "STATE"], style, width);
    for task in tasks {
        let (tone, says) = state(task);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            (Tone::Strong, task.name.clone()),
            (Tone::Plain, or_none(took(task, now_us).map(duration))),
            (Tone::Plain, or_none(executor(task).map(str::to_owned))),
            (tone, says),
        ]);
    }
    table
}

/// Says where a task is, or how it ended, with the reason.
pub(crate) fn state(task: &wire::Task) -> (Tone, String) {
    if let Some(outcome) = words::task_outcome(task) {
        return (words::outcome_word(outcome).tone(), words::outcome(outcome));
    }
    let (tone, word) = words::task_word(task);
    let says = match task.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(State::Waiting(waiting)) if waiting.approval => "waits for somebody to approve it".to_owned(),
        Some(State::Waiting(waiting)) if !waiting.needs.is_empty() => {
            return (Tone::Dim, format!("waits for {}", words::names(&waiting.needs)));
        }
        Some(State::Running(running)) => {
            let attempt = task.attempts.iter().find(|attempt| attempt.number == running.attempt);
            match attempt.map(|attempt| attempt.preparing.as_str()) {
                Some(preparing) if !preparing.is_empty() => preparing.to_owned(),
                Some(_) | None => word.to_owned(),
            }
        }
        Some(
            State::Waiting(_)
            | State::Queued(_)
            | State::Offered(_)
            | State::Cancelling(_)
            | State::Finished(_),
        )
        | None => word.to_owned(),
    };
    (tone, says)
}

/// Returns how long a task took from its first try on, or has taken so far.
pub(crate) fn took(task: &wire::Task, now_us: i64) -> Option<i64> {
    let begun =
        task.attempts.iter().map(|attempt| attempt.acknowledged_unix_us).find(|moment| *moment > 0)?;
    let ended = match words::task_outcome(task) {
        Some(_) => task.attempts.iter().map(|attempt| attempt.ended_unix_us).max().filter(|end| *end > 0)?,
        None => now_us,
    };
    Some((ended - begun).max(0))
}

/// Returns where its newest attempt is or was.
fn executor(task: &wire::Task) -> Option<&str> {
    let taken = task.attempts.iter().rev().find(|attempt| attempt.acknowledged_unix_us > 0)?;
    Some(taken.executor_name.as_str()).filter(|name| !name.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A task of a run that others wait for, or that waits.
    pub(crate) fn task(index: u32, name: &str, state: State, attempts: Vec<wire::Attempt>) -> wire::Task {
        wire::Task {
            id: Some(wire::TaskId { run: vec![1; 16].into(), index }),
            name: name.into(),
            state: Some(wire::TaskState { state: Some(state) }),
            attempts,
            ..wire::Task::default()
        }
    }

    pub(crate) fn attempt(executor: &str, from: i64, to: i64) -> wire::Attempt {
        wire::Attempt {
            number: 1,
            executor_name: executor.into(),
            acknowledged_unix_us: from,
            ended_unix_us: to,
            ..wire::Attempt::default()
        }
    }

    pub(crate) fn waiting(needs: &[&str]) -> State {
        let needs = needs.iter().map(|&name| name.to_owned()).collect();
        State::Waiting(wire::task_state::Waiting { needs, approval: false })
    }

    pub(crate) fn ended(outcome: wire::outcome::Outcome) -> State {
        State::Finished(wire::Outcome { outcome: Some(outcome) })
    }

    #[test]
    fn each_task_says_where_it_is_and_why() {
        use wire::outcome::{Failed, Outcome, Skipped, Succeeded, failed::Failure};
        let failure = Failed { stage: "unit".into(), failure: Some(Failure::Exit(1)) };
        let skipped = Skipped { why: "branch topic does not match main".into() };
        let running = State::Running(wire::task_state::Running { attempt: 1, ..Default::default() });
        let tasks = [
            task(
                0,
                "lint",
                ended(Outcome::Succeeded(Succeeded {})),
                vec![attempt("box-1", 1_000_000, 5_100_000)],
            ),
            task(
                1,
                "test[node=20]",
                ended(Outcome::Failed(failure)),
                vec![attempt("box-2", 1_000_000, 13_000_000)],
            ),
            task(2, "build", running, vec![attempt("box-1", 6_000_000, 0)]),
            task(3, "pack", waiting(&["build", "lint"]), Vec::new()),
            task(4, "deploy", ended(Outcome::Skipped(skipped)), Vec::new()),
        ];
        let shown = table(&tasks, 20_000_000, Style { coloured: false }, None).to_string();
        insta::assert_snapshot!(shown, @"
        TASK           TOOK   EXECUTOR  STATE
        lint           4.1s   box-1     succeeded
        test[node=20]  12.0s  box-2     failed: stage unit exited with 1
        build          14.0s  box-1     running
        pack           -      -         waits for build, lint
        deploy         -      -         skipped: branch topic does not match main
        ");
    }
}
