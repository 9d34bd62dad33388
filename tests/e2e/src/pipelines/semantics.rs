//! What the keys of a file mean: many small pipelines, each run for real, and how each task of them ends.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::{self, StreamExt as _};
use libtest_mimic::Trial;
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::fleet::{Build, Ground, Newcomer, Settings, finished};
use ocelot_e2e::runner::trial;
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::Outcome;
use ocelot_proto::wire::outcome::failed::Failure;
use ocelot_proto::wire::outcome::timed_out::Limit;

const TABLE: &str = include_str!("semantics.txt");
const PROJECT: &str = "acme/shop";
/// So many runs are under way at a time.
const AT_ONCE: usize = 6;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("pipelines::semantics::each_small_pipeline_ends_as_its_file_says", || hold("process")),
        trial("pipelines::semantics::those_that_can_end_so_in_containers_too", || hold("docker")),
    ]
}

/// One small pipeline of the table.
#[derive(Debug)]
struct Case {
    name: &'static str,
    /// It is run in containers too.
    docker: bool,
    definition: &'static str,
    /// The run's word, or `rejected`, and words that its reason has.
    run: Vec<&'static str>,
    /// The same of each task.
    tasks: BTreeMap<&'static str, Vec<&'static str>>,
}

fn cases() -> Result<Vec<Case>> {
    TABLE.split("\n== ").skip(1).map(|part| case(part).with_context(|| part.to_owned())).collect()
}

fn case(part: &'static str) -> Result<Case> {
    let (name, rest) = part.split_once('\n').context("a name has a line")?;
    let (definition, ends) = rest.split_once("\n--\n").context("a file ends with `--`")?;
    let mut run = None;
    let mut tasks = BTreeMap::new();
    for line in ends.lines().filter(|line| !line.is_empty()) {
        let (of, words) = line.split_once(": ").context("an end has a name")?;
        let words: Vec<_> = words.split(", ").collect();
        match of {
            "run" => run = Some(words),
            task => drop(tasks.insert(task, words)),
        }
    }
    let docker = name.ends_with(" (containers too)");
    Ok(Case { name, docker, definition, run: run.context("the run has an end")?, tasks })
}

impl Case {
    /// The file for one runtime: where it says nothing of what its tasks run in, it is said here.
    fn definition(&self, runtime: &str) -> String {
        let image = format!("image: {IMAGE}");
        let own = if runtime == "docker" { image.as_str() } else { "runtime: process" };
        match self.definition.contains("runtime: process") {
            true => self.definition.replace("runtime: process", own),
            false => format!("{own}\n{}", self.definition),
        }
    }
}

async fn hold(runtime: &str) -> Result<()> {
    let mut ground = Ground::start(Settings::embedded(Build::Plain)).await?;
    ground.repository(PROJECT, &[("README", "A shop.\n"), ("sub/inside", "")])?;
    ground.add_project(PROJECT, wire::ProjectSettings::default()).await?;
    let more = ["--runtime", runtime];
    let slots = AT_ONCE as u32;
    let one = Newcomer { name: "one", slots, labels: &["blue"], more: &more, ..Newcomer::default() };
    ground.add_executor(one).await?;
    ground.fleet.caller(0)?.online(1).await?;
    let cases: Vec<_> = cases()?.into_iter().filter(|case| runtime == "process" || case.docker).collect();
    ensure!(cases.len() >= 10, "only {} cases are there", cases.len());
    let judged: Vec<_> = stream::iter(&cases)
        .map(|case| async {
            let judged = judge(&ground, case, runtime).await;
            judged.err().map(|error| format!("{}: {error:#}", case.name))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    ensure!(judged.is_empty(), "{} of {} differ\n{}", judged.len(), cases.len(), judged.join("\n"));
    Ok(())
}

async fn judge(ground: &Ground, case: &Case, runtime: &str) -> Result<()> {
    let caller = ground.fleet.caller(0)?;
    let run = match ground.build(PROJECT, &case.definition(runtime)).await {
        Ok(run) => run,
        Err(error) => return agree("the build", &case.run, &format!("refused, {error:#}")),
    };
    let outcome = caller.outcome(run).await?;
    let seen = caller.run(run).await?;
    let summary = seen.run.clone().unwrap_or_default();
    let said = format!("{}, {}", told(&outcome), summary.rejected);
    agree("the run", &case.run, &said)?;
    ensure!(finished(&seen) == Some(outcome), "its end changed");
    for task in &seen.tasks {
        let words = case.tasks.get(task.name.as_str());
        let words = words.with_context(|| format!("the table does not know task {}", task.name))?;
        agree(&task.name, words, &end(task)?)?;
    }
    let missing: Vec<_> =
        case.tasks.keys().filter(|name| seen.tasks.iter().all(|task| task.name != **name)).collect();
    ensure!(missing.is_empty(), "there is no task {missing:?}");
    Ok(())
}

/// What is said begins with the first word and has all others.
pub(super) fn agree(of: &str, words: &[&str], said: &str) -> Result<()> {
    let begins = said.split(", ").next() == words.first().copied();
    let holds = words.iter().all(|word| said.contains(word));
    ensure!(begins && holds, "{of} should be {words:?} and is {said:?}");
    Ok(())
}

pub(super) fn end(task: &wire::Task) -> Result<String> {
    let state = task.state.clone().and_then(|state| state.state);
    let Some(wire::task_state::State::Finished(outcome)) = state else { bail!("{} is {state:?}", task.name) };
    let outcome = outcome.outcome.context("an end has an outcome")?;
    Ok(format!("{}, tries {}, {}", told(&outcome), task.tries, task.note))
}

/// An outcome in the words of the table.
pub(super) fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded(_) => "succeeded".to_owned(),
        Outcome::Failed(failed) => {
            format!("failed, stage {}, {}", failed.stage, why(failed.failure.as_ref()))
        }
        Outcome::TimedOut(timed_out) => match &timed_out.limit {
            Some(Limit::Queue(_)) => "timed_out, queue".to_owned(),
            Some(Limit::Run(_)) => "timed_out, run".to_owned(),
            Some(Limit::Stage(stage)) => format!("timed_out, stage {stage}"),
            Some(Limit::Quiet(_)) => "timed_out, quiet".to_owned(),
            None => "timed_out".to_owned(),
        },
        Outcome::Cancelled(cancelled) => format!("cancelled, {}", cancelled.by),
        Outcome::Skipped(skipped) => format!("skipped, {}", skipped.why),
        Outcome::Rejected(rejected) => format!("rejected, {}", rejected.why),
        Outcome::Lost(lost) => format!("lost, {}", lost.why),
    }
}

fn why(failure: Option<&Failure>) -> String {
    match failure {
        Some(Failure::Exit(code)) => format!("exit {code}"),
        Some(Failure::Signal(signal)) => format!("signal {signal}"),
        Some(Failure::OutOfMemory(_)) => "out of memory".to_owned(),
        Some(Failure::Image(why)) => format!("image, {why}"),
        Some(Failure::Disk(why)) => format!("disk, {why}"),
        Some(Failure::Policy(rule)) => format!("policy, {rule}"),
        Some(Failure::Setup(why)) => format!("setup, {why}"),
        None => String::new(),
    }
}
