//! `ocelot status`: where a run is, task by task, and when it came to each phase.

use std::fmt::Write;

use ocelot_proto::wire;

use super::Session;
use crate::args::Status;
use crate::error::Result;
use crate::follow::{phases, rejection};
use crate::graph;
use crate::shape;
use crate::show::{Output, Table, Tone, duration, plain};
use crate::words::{self, OutcomeWord, commit};

pub(crate) async fn run(status: &Status, session: &Session) -> Result<()> {
    let client = session.client()?;
    let wire::GetRunResponse { run, tasks } = session.find(&client, status.run.run.as_deref()).await?;
    let run = run.unwrap_or_default();
    let output = &session.output;
    output.result(text(&run, &tasks, output), &shape::Run::whole(&run, &tasks))
}

fn text(run: &wire::RunSummary, tasks: &[wire::Task], output: &Output) -> String {
    let mut text = String::new();
    let mut field = |title: &str, value: String| {
        let title = output.style.paint(Tone::Dim, format!("{title:<10}"));
        // Writing to a string cannot fail.
        let _always = writeln!(text, "{title}{value}");
    };
    let shape = shape::Run::from(run);
    field("Run", output.style.paint(Tone::Strong, plain(&shape.name)).to_string());
    field("Id", shape.id.clone());
    let (tone, word) = words::run_word(run);
    let says = words::run_outcome(run).map_or_else(|| word.to_owned(), words::outcome);
    field("State", output.style.paint(tone, plain(&says)).to_string());
    if let Some(commit) = &run.commit {
        let (what, standing) = commit::standing(commit);
        field(what, plain(&standing));
        field("Commit", plain(&commit::line(commit)));
    }
    let by = shape.by.as_ref().filter(|by| shape.schedule.as_ref() != Some(*by));
    let by = by.map(|by| format!(" by {}", plain(by))).unwrap_or_default();
    let how = match &shape.schedule {
        Some(schedule) => format!("schedule {}", plain(schedule)),
        None => shape.trigger.replace('_', " "),
    };
    field("Accepted", format!("{}{by}, {how}", output.times.moment(run.accepted_unix_us)));
    if run.finished_unix_us > 0 {
        let took = duration(run.finished_unix_us - run.accepted_unix_us);
        field("Finished", format!("{}, after {took}", output.times.moment(run.finished_unix_us)));
    }
    let rejection = rejection(run, output.style);
    if !rejection.is_empty() {
        text.push_str(&format!("{rejection}\n"));
    }
    if tasks.len() > 1 {
        let table = graph::table(tasks, output.times.now_us, output.style, output.width);
        text.push_str(&format!("\n{table}"));
    }
    // Of many tasks, those are shown in full that a person asks about.
    for task in tasks.iter().filter(|task| tasks.len() == 1 || is_asked_about(task)) {
        text.push_str(&of_task(run, task, tasks.len() > 1, output));
    }
    text
}

/// It runs, or ended otherwise than it should.
fn is_asked_about(task: &wire::Task) -> bool {
    match words::task_outcome(task).map(words::outcome_word) {
        None => !task.attempts.is_empty(),
        Some(OutcomeWord::Succeeded | OutcomeWord::Skipped) => false,
        Some(
            OutcomeWord::Failed
            | OutcomeWord::TimedOut
            | OutcomeWord::Cancelled
            | OutcomeWord::Rejected
            | OutcomeWord::Lost
            | OutcomeWord::Unknown,
        ) => true,
    }
}

fn of_task(run: &wire::RunSummary, task: &wire::Task, several: bool, output: &Output) -> String {
    let mut text = String::new();
    if several {
        let (tone, word) = words::task_word(task);
        let says = words::task_outcome(task).map_or_else(|| word.to_owned(), words::outcome);
        let name = output.style.paint(Tone::Strong, plain(&task.name));
        text.push_str(&format!("\n{name}  {}\n", output.style.paint(tone, plain(&says))));
    }
    if !task.note.is_empty() {
        text.push_str(&format!("note: {}\n", plain(&task.note)));
    }
    if !task.attempts.is_empty() {
        text.push_str(&format!("\n{}", attempts(task, output)));
        let phases = phases(run, task);
        if !phases.is_empty() {
            let phases: Vec<String> =
                phases.iter().map(|(name, us)| format!("{name} {}", duration(*us))).collect();
            text.push_str(&format!("{}\n", output.style.paint(Tone::Dim, phases.join(" · "))));
        }
    }
    if !task.stages.is_empty() {
        text.push_str(&format!("\n{}", stages(task, output)));
    }
    text
}

fn attempts(task: &wire::Task, output: &Output) -> Table {
    let mut table =
        Table::new(["ATTEMPT", "EXECUTOR", "STARTED", "LOG", "STATE"], output.style, output.width);
    for attempt in &task.attempts {
        let state = match (&attempt.outcome, attempt.preparing.as_str()) {
            (Some(outcome), _) => (words::outcome_word(outcome).tone(), words::outcome(outcome)),
            (None, "") if attempt.up_unix_us > 0 => (Tone::Busy, "running".to_owned()),
            (None, "") if attempt.acknowledged_unix_us > 0 => (Tone::Busy, "starting".to_owned()),
            (None, "") => (Tone::Busy, "offered".to_owned()),
            (None, preparing) => (Tone::Busy, preparing.to_owned()),
        };
        let loss = attempt.loss.as_ref().map(|loss| format!(", not whole: {}", loss.reason));
        table.row([
            (Tone::Strong, attempt.number.to_string()),
            (Tone::Plain, attempt.executor_name.clone()),
            (Tone::Plain, output.times.ago(attempt.acknowledged_unix_us)),
            (Tone::Plain, format!("{}{}", words::bytes(attempt.log_bytes), loss.unwrap_or_default())),
            state,
        ]);
    }
    table
}

fn stages(task: &wire::Task, output: &Output) -> Table {
    use wire::stage_exit::Exit;
    let mut table = Table::new(["STAGE", "TOOK", "CPU", "MEMORY", "STATE"], output.style, output.width);
    for stage in &task.stages {
        let state = match stage.exit.as_ref().and_then(|exit| exit.exit.as_ref()) {
            Some(Exit::Code(0)) => (Tone::Good, "ok".to_owned()),
            Some(Exit::Code(code)) => (Tone::Bad, format!("exited with {code}")),
            Some(Exit::Signal(signal)) => (Tone::Bad, format!("ended by signal {signal}")),
            Some(Exit::TimedOut(_)) => (Tone::Bad, "its time was over".to_owned()),
            Some(Exit::OutOfMemory(_)) => (Tone::Bad, "out of memory".to_owned()),
            None if !stage.skipped.is_empty() => (Tone::Dim, format!("skipped: {}", stage.skipped)),
            None if stage.ended_unix_us > 0 => (Tone::Dim, "ended".to_owned()),
            None if stage.began_unix_us > 0 => (Tone::Busy, "running".to_owned()),
            None => (Tone::Dim, "-".to_owned()),
        };
        let took = match (stage.began_unix_us, stage.ended_unix_us) {
            (0, _) => "-".to_owned(),
            (began, 0) => duration(output.times.now_us - began),
            (began, ended) => duration(ended - began),
        };
        let usage = stage.r#use.as_ref();
        let cpu =
            usage.map(|usage| i64::try_from(usage.user_cpu_us + usage.system_cpu_us).unwrap_or(i64::MAX));
        table.row([
            (Tone::Strong, stage.name.clone()),
            (Tone::Plain, took),
            (Tone::Plain, cpu.map_or_else(|| "-".to_owned(), duration)),
            (Tone::Plain, usage.map_or_else(|| "-".to_owned(), |usage| words::bytes(usage.max_rss_bytes))),
            state,
        ]);
    }
    table
}
