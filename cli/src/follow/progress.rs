//! Where a run is, in one line for people who wait for it.

use std::collections::HashMap;

use ocelot_proto::wire;
use ocelot_proto::wire::task_state::State;

use crate::words;

/// Says where a run is. `why` holds a sentence for tasks that wait.
pub(super) fn where_it_is(
    run: &wire::RunSummary,
    tasks: &[wire::Task],
    why: &HashMap<String, String>,
) -> String {
    let name = words::run_name(run);
    let open: Vec<&wire::Task> = tasks.iter().filter(|task| words::task_outcome(task).is_none()).collect();
    let what = match open[..] {
        [] if tasks.is_empty() => "accepted".to_owned(),
        [] => "ending".to_owned(),
        [task] => of_task(task, why),
        _ => of_several(&open, tasks.len()),
    };
    format!("{name} {what}")
}

fn of_several(open: &[&wire::Task], total: usize) -> String {
    let mut parts = vec![format!("{} of {total} tasks are done", total - open.len())];
    for word in ["running", "offered", "queued", "waiting", "cancelling"] {
        let those = open.iter().filter(|task| words::task_state(task).word() == word);
        let names: Vec<String> = those.map(|task| task.name.clone()).collect();
        if !names.is_empty() {
            parts.push(format!("{word}: {}", words::names(&names)));
        }
    }
    parts.join("; ")
}

fn of_task(task: &wire::Task, why: &HashMap<String, String>) -> String {
    let note = |text: String| if task.note.is_empty() { text } else { format!("{text}; {}", task.note) };
    match task.state.as_ref().and_then(|state| state.state.as_ref()) {
        Some(State::Waiting(waiting)) if waiting.approval => "waits for somebody to approve it".to_owned(),
        Some(State::Waiting(waiting)) if waiting.needs.is_empty() => "waits".to_owned(),
        Some(State::Waiting(waiting)) => format!("waits for {}", words::names(&waiting.needs)),
        Some(State::Queued(queued)) if queued.delay_ms > 0 => note("waits before its next try".to_owned()),
        Some(State::Queued(_)) => match why.get(&task.name) {
            Some(reason) if !reason.is_empty() => format!("is queued: {reason}"),
            Some(_) | None => note("is queued".to_owned()),
        },
        Some(State::Offered(offered)) => format!("is offered to {}", executor(task, offered.attempt)),
        Some(State::Running(running)) => {
            let on = executor(task, running.attempt);
            match attempt(task, running.attempt).map(|attempt| attempt.preparing.as_str()) {
                Some(preparing) if !preparing.is_empty() => format!("on {on}: {preparing}"),
                Some(_) | None => format!("is running on {on}"),
            }
        }
        Some(State::Cancelling(cancelling)) => format!("is being cancelled, asked by {}", cancelling.by),
        Some(State::Finished(_)) | None => "is ending".to_owned(),
    }
}

fn attempt(task: &wire::Task, number: u32) -> Option<&wire::Attempt> {
    task.attempts.iter().find(|attempt| attempt.number == number)
}

fn executor(task: &wire::Task, number: u32) -> &str {
    let name = attempt(task, number).map(|attempt| attempt.executor_name.as_str());
    name.filter(|name| !name.is_empty()).unwrap_or("an executor")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, state: State) -> wire::Task {
        let attempt = wire::Attempt {
            number: 1,
            executor_name: "box-1".into(),
            preparing: "pulling busybox:1, 4 of 9 MiB".into(),
            ..wire::Attempt::default()
        };
        wire::Task {
            name: name.into(),
            state: Some(wire::TaskState { state: Some(state) }),
            attempts: vec![attempt],
            ..wire::Task::default()
        }
    }

    #[test]
    fn each_place_has_its_sentence() {
        let run = wire::RunSummary {
            of: Some(wire::run_summary::Of::Job("hello".into())),
            number: 3,
            ..wire::RunSummary::default()
        };
        let why = HashMap::from([("b".to_owned(), "needs label gpu: 0 of 14 have it".to_owned())]);
        let say = |tasks: &[wire::Task]| where_it_is(&run, tasks, &why);
        let queued = || State::Queued(wire::task_state::Queued { delay_ms: 0 });
        let running = || State::Running(wire::task_state::Running { attempt: 1, ..Default::default() });
        let offered = State::Offered(wire::task_state::Offered { attempt: 1, ..Default::default() });
        let waiting = State::Waiting(wire::task_state::Waiting { needs: vec!["a".into()], approval: false });
        let lines = [
            say(&[]),
            say(&[task("a", queued())]),
            say(&[task("b", queued())]),
            say(&[task("a", offered)]),
            say(&[task("a", running())]),
            say(&[task("a", running()), task("b", queued()), task("c", waiting)]),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        hello#3 accepted
        hello#3 is queued
        hello#3 is queued: needs label gpu: 0 of 14 have it
        hello#3 is offered to box-1
        hello#3 on box-1: pulling busybox:1, 4 of 9 MiB
        hello#3 0 of 3 tasks are done; running: a; queued: b; waiting: c
        ");
    }
}
