//! What is told of a graph while it runs: what each task waits for, a line when it begins, and one
//! when it has ended.
//!
//! Pure: the tasks as they are go in, the lines that are new come out, and each is told once.

use std::collections::HashMap;

use ocelot_proto::wire;
use ocelot_proto::wire::task_state::State;

use super::plan::index;
use crate::graph;
use crate::show::{Style, Tone, duration, plain};
use crate::words::{self, OutcomeWord};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Waits,
    Begun,
    Ended,
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub(super) struct News {
    of: HashMap<u32, Told>,
}

impl News {
    /// Returns what is new of a task. Its end is told only once its log is shown to the end.
    pub(super) fn of(
        &mut self,
        task: &wire::Task,
        shown_to_end: bool,
        now_us: i64,
        style: Style,
    ) -> Option<String> {
        let told = self.of.entry(index(task)).or_insert(Told::Nothing);
        let over = words::task_outcome(task);
        match over {
            Some(outcome) if shown_to_end && *told < Told::Ended => {
                *told = Told::Ended;
                Some(end(task, outcome, now_us, style))
            }
            None if *told < Told::Begun => {
                let (now, says) = match (begun(task), words::waits_for(task)) {
                    (Some(on), _) => (Told::Begun, format!("runs on {on}")),
                    (None, [_, ..]) if *told < Told::Waits => {
                        (Told::Waits, format!("waits for {}", words::names(words::waits_for(task))))
                    }
                    (None, _) => return None,
                };
                *told = now;
                Some(style.paint(Tone::Dim, plain(&format!("· {} {says}", task.name))).to_string())
            }
            Some(_) | None => None,
        }
    }
}

/// Returns the executor that a task runs on.
fn begun(task: &wire::Task) -> Option<&str> {
    let Some(State::Running(running)) = task.state.as_ref()?.state.as_ref() else { return None };
    let attempt = task.attempts.iter().find(|attempt| attempt.number == running.attempt)?;
    Some(attempt.executor_name.as_str()).filter(|name| !name.is_empty())
}

fn end(task: &wire::Task, outcome: &wire::Outcome, now_us: i64, style: Style) -> String {
    let word = words::outcome_word(outcome);
    let sign = match word {
        OutcomeWord::Succeeded => "✓",
        OutcomeWord::Skipped => "-",
        OutcomeWord::Failed
        | OutcomeWord::TimedOut
        | OutcomeWord::Cancelled
        | OutcomeWord::Rejected
        | OutcomeWord::Lost
        | OutcomeWord::Unknown => "✗",
    };
    let took = graph::took(task, now_us).map(|us| format!(" in {}", duration(us))).unwrap_or_default();
    let (tone, says) = graph::state(task);
    style.paint(tone, plain(&format!("{sign} {} {says}{took}", task.name))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::{attempt, ended, task, waiting};

    #[test]
    fn each_beginning_and_end_is_told_once_and_the_end_after_the_log() {
        use wire::outcome::{Outcome, Skipped, Succeeded};
        let running = State::Running(wire::task_state::Running { attempt: 1, ..Default::default() });
        let skipped = Outcome::Skipped(Skipped { why: "it needs test, which failed".into() });
        let done = ended(Outcome::Succeeded(Succeeded {}));
        let steps = [
            (task(0, "a", waiting(&["b[n=1]", "b[n=2]", "c"]), Vec::new()), false),
            (task(0, "a", waiting(&["c"]), Vec::new()), false),
            (task(0, "a", running.clone(), vec![attempt("box-1", 1, 0)]), false),
            (task(0, "a", running, vec![attempt("box-1", 1, 0)]), false),
            (task(0, "a", done.clone(), vec![attempt("box-1", 1, 4_100_001)]), false),
            (task(0, "a", done.clone(), vec![attempt("box-1", 1, 4_100_001)]), true),
            (task(0, "a", done, vec![attempt("box-1", 1, 4_100_001)]), true),
            (task(1, "deploy", ended(skipped), Vec::new()), true),
        ];
        let mut news = News::default();
        let style = Style { coloured: false };
        let told = steps.iter().filter_map(|(task, shown)| news.of(task, *shown, 9_000_000, style));
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @"
        · a waits for b, c
        · a runs on box-1
        ✓ a succeeded in 4.1s
        - deploy skipped: it needs test, which failed
        ");
    }
}
