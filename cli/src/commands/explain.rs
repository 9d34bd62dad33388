//! `ocelot explain`: what an event would start, task by task, with the reason of each.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_spec::{Context, Event, Explanation, Fact, FileKind, Pipeline, TaskExplanation, Verdict};

use crate::args::{EventKind, Explain};
use crate::checkout::Checkout;
use crate::error::Error;
use crate::show::Output;

use super::{own_definition, read};

pub(crate) fn run(explain: &Explain, output: &Output) -> Result<(), Error> {
    let file = explain.file.clone().unwrap_or_else(own_definition);
    let bytes = read(&file)?;
    let name = file.display().to_string();
    if FileKind::of(&bytes) == FileKind::Job {
        return Err(Error::NotAPipeline { file });
    }
    let pipeline = Pipeline::parse(&name, &bytes).map_err(Error::Mistakes)?;
    let context = context(explain, Checkout::here());
    let explanation = pipeline.explain(&context).map_err(Error::Mistakes)?;
    output.result(Shown { context: &context, explanation: &explanation }, &explanation)
}

fn context(explain: &Explain, checkout: Checkout) -> Context {
    let here = checkout.branch.unwrap_or_else(|| "main".to_owned());
    let branch = explain.branch.clone().unwrap_or(here);
    let event = match explain.event() {
        EventKind::Push => Event::Push { branch },
        EventKind::Tag => Event::Tag { tag: explain.tag.clone().unwrap_or_default() },
        EventKind::PullRequest => {
            let source = explain.source.clone().unwrap_or_default();
            Event::PullRequest { number: 1, source, target: branch }
        }
        EventKind::Schedule => Event::Schedule { branch },
        EventKind::Manual => Event::Manual { branch: Some(branch), tag: explain.tag.clone() },
        EventKind::Upstream => Event::Upstream { branch },
    };
    Context {
        event,
        commit: checkout.commit.unwrap_or_else(|| "0".repeat(40)),
        message: explain.message.clone().or(checkout.message).unwrap_or_default(),
        changed: (!explain.changed.is_empty()).then(|| explain.changed.clone()),
        project: checkout.project.unwrap_or_else(|| "owner/name".to_owned()),
        run_number: 1,
        env: BTreeMap::new(),
    }
}

/// An explanation for people.
struct Shown<'a> {
    context: &'a Context,
    explanation: &'a Explanation,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = &self.context.event;
        write!(f, "{}", event.word())?;
        match (event.source(), event.branch(), event.tag()) {
            (Some(source), Some(target), _) => writeln!(f, " from {source} into {target}")?,
            (_, _, Some(tag)) => writeln!(f, " of {tag}")?,
            (_, Some(branch), None) => writeln!(f, " on {branch}")?,
            (_, None, None) => writeln!(f)?,
        }
        match self.explanation {
            Explanation::NoRun { why } => writeln!(f, "no run: {why}"),
            Explanation::Run { tasks, .. } => {
                let mut alike = tasks.chunk_by(|one, next| base(one) == base(next) && is_alike(one, next));
                alike.try_for_each(|tasks| show_task(&tasks[0], tasks.len() - 1, f))
            }
        }
    }
}

/// The name that the file gives the task: `test` of `test[node=20]`.
fn base(task: &TaskExplanation) -> &str {
    task.name.split('[').next().unwrap_or(&task.name)
}

fn is_alike(one: &TaskExplanation, other: &TaskExplanation) -> bool {
    one.verdict == other.verdict && one.facts == other.facts && one.stages == other.stages
}

/// Shows a task, and how many more variants share its fate.
fn show_task(task: &TaskExplanation, more: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "\n  {}", task.name)?;
    match more {
        0 => {}
        1 => write!(f, " and 1 more variant")?,
        more => write!(f, " and {more} more variants")?,
    }
    match &task.verdict {
        Verdict::Skipped { why } => return writeln!(f, "  is skipped: {why}"),
        Verdict::Runs => writeln!(f, "  runs")?,
        Verdict::RunsIfSucceed { needs } => writeln!(f, "  runs once {} succeeded", all(needs))?,
        Verdict::RunsIfFails { needs } => writeln!(f, "  runs if one of these fails: {}", needs.join(", "))?,
        Verdict::RunsAfter { needs } => writeln!(f, "  runs after {}, however it ends", needs.join(", "))?,
    }
    show_facts(&task.facts, "    ", f)?;
    for stage in &task.stages {
        writeln!(f, "    {} {}", if stage.runs { "+" } else { "-" }, stage.name)?;
        show_facts(&stage.facts, "        ", f)?;
    }
    Ok(())
}

fn show_facts(facts: &[Fact], indent: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    facts.iter().try_for_each(|fact| {
        writeln!(f, "{indent}{} {}", if fact.holds { "yes:" } else { "no: " }, fact.says)
    })
}

fn all(names: &[String]) -> String {
    match names {
        [] => "its needs".to_owned(),
        [one] => format!("{one} has"),
        [most @ .., last] => format!("{} and {last} have", most.join(", ")),
    }
}
