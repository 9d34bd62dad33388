//! The last line about a run: how it ended, and how long each phase took.

use ocelot_proto::wire;

use crate::graph;
use crate::show::{Output, Style, Tone, duration, plain};
use crate::words;

/// The end of a run for people: its tasks if there are several, its last line, why it was rejected.
pub(crate) fn ending(run: &wire::RunSummary, tasks: &[wire::Task], output: &Output) -> String {
    let mut text = String::new();
    if tasks.len() > 1 {
        text.push_str(&format!(
            "\n{}\n",
            graph::table(tasks, output.times.now_us, output.notes, output.width)
        ));
    }
    text.push_str(&closing(run, tasks, output.notes));
    text.push_str(&rejection(run, output.notes));
    text
}

/// Why a run was rejected before it had tasks, line by line; nothing for any other.
pub(crate) fn rejection(run: &wire::RunSummary, style: Style) -> String {
    let lines = run.rejected.lines().map(|line| format!("\n{}", style.paint(Tone::Plain, plain(line))));
    lines.collect()
}

/// Says how a run ended, and where its time went.
pub(crate) fn closing(run: &wire::RunSummary, tasks: &[wire::Task], style: Style) -> String {
    let Some(outcome) = words::run_outcome(run) else {
        return format!("{} has not ended", words::run_name(run));
    };
    let says = plain(&words::outcome(outcome));
    let tone = words::outcome_word(outcome).tone();
    let took = duration(run.finished_unix_us - run.accepted_unix_us);
    let mut line = format!("{} {} in {took}", plain(&words::run_name(run)), style.paint(tone, says));
    let phases = match tasks {
        [task] => phases(run, task),
        [] | [_, _, ..] => Vec::new(),
    };
    for (name, us) in phases {
        line.push_str(&format!(" · {name} {}", duration(us)));
    }
    line
}

/// What lay between the phases of a task's last attempt. Clocks of two machines meet here, so no
/// phase is less than nothing.
pub(crate) fn phases(run: &wire::RunSummary, task: &wire::Task) -> Vec<(&'static str, i64)> {
    let Some(last) = task.attempts.last() else { return Vec::new() };
    let mut moments = vec![
        ("accepted", run.accepted_unix_us),
        ("queued", last.offered_unix_us),
        ("taken", last.acknowledged_unix_us),
        ("up", last.up_unix_us),
        ("first output", last.first_byte_unix_us),
        ("ran", last.ended_unix_us),
    ];
    moments.retain(|(_, moment)| *moment > 0);
    moments.windows(2).map(|pair| (pair[1].0, (pair[1].1 - pair[0].1).max(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_outcome_and_each_phase() {
        let finished =
            wire::Outcome { outcome: Some(wire::outcome::Outcome::Succeeded(wire::outcome::Succeeded {})) };
        let run = wire::RunSummary {
            of: Some(wire::run_summary::Of::Job("hello".into())),
            number: 3,
            accepted_unix_us: 1_000_000,
            finished_unix_us: 2_450_000,
            state: Some(wire::RunState { state: Some(wire::run_state::State::Finished(finished)) }),
            ..wire::RunSummary::default()
        };
        let attempt = wire::Attempt {
            number: 1,
            offered_unix_us: 1_001_200,
            acknowledged_unix_us: 1_003_000,
            up_unix_us: 1_310_000,
            first_byte_unix_us: 1_309_000,
            ended_unix_us: 2_440_000,
            ..wire::Attempt::default()
        };
        let task = wire::Task { attempts: vec![attempt], ..wire::Task::default() };
        insta::assert_snapshot!(
            closing(&run, &[task], Style { coloured: false }),
            @"hello#3 succeeded in 1.4s · queued 1.2ms · taken 1.8ms · up 307ms · first output 0µs · ran 1.1s"
        );
    }
}
