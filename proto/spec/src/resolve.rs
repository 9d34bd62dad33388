//! From a pipeline and an event to the plan of a run, or to the reason why there is none.
//!
//! Deterministic: the same pipeline and context give the same plan. What the pipeline's checks cannot
//! know is checked here, after `${...}` is replaced: labels, paths, groups, and how much text comes out.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use ocelot_core::plan::{self, Gate, Plan, TaskPlan, Work};

use crate::context::{Context, Event};
use crate::pipeline::{PLAN_BYTES_MAX, Pipeline, too_heavy};
use crate::problem::{At, Findings, Problems, Wrong, quote};
use crate::read::matrix::Variant;
use crate::read::task::Task;
use crate::template::{self, Name};
use crate::templates::{self, Field};
use crate::value;

/// Bytes of globs times bytes of changed paths that one event may cost: seconds at the worst, where
/// each glob nearly matches each path; nothing to notice in a repository that exists.
const PATHS_WORK_MAX: usize = 1 << 30;

/// What an event makes of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    Run(Plan),
    /// The event starts no run, for the reason that people are shown.
    NoRun {
        why: String,
    },
}

impl Pipeline {
    /// Makes the plan of the run that an event starts.
    pub fn resolve(&self, context: &Context) -> Result<Resolution, Problems> {
        if let Some(why) = self.refusal(context) {
            return Ok(Resolution::NoRun { why });
        }
        let context = &*self.comparable(context);
        let mut findings = Findings::default();
        check_run_env(&context.env, &mut findings);
        let mut replacer = Replacer { budget: PLAN_BYTES_MAX, findings: &mut findings };
        let mut tasks: Vec<TaskPlan> = Vec::new();
        for task in &self.tasks {
            for variant in variants(task) {
                let values = |name: &Name<'_>| match name {
                    Name::Matrix(axis) => {
                        variant.and_then(|variant| variant.get(axis)).unwrap_or_default().to_owned()
                    }
                    _ => context.value(name),
                };
                let in_group = |name: &Name<'_>| match name {
                    Name::Matrix(_) => values(name),
                    _ => context.value_in_group(name),
                };
                let mut planned = variant_of(task, variant);
                replacer.task(task, &mut planned, &values, &in_group);
                condition(task, &mut planned, context);
                run_env(&mut planned, &context.env, replacer.findings);
                tasks.push(planned);
            }
        }
        let concurrency = self.run_concurrency(context, &mut replacer);
        link_needs(&self.tasks, &mut tasks);
        let plan = Plan { tasks, concurrency, notify: self.notified(context), group: self.group.clone() };
        findings.finish(&self.file, &self.source, Some(Resolution::Run(plan)))
    }

    /// Leaves the changed files out where comparing them with every `paths` would take too long.
    pub(crate) fn comparable<'c>(&self, context: &'c Context) -> Cow<'c, Context> {
        let changed: usize = context.changed.iter().flatten().map(String::len).sum();
        let globs: usize = self.tasks.iter().map(Task::paths_bytes).sum();
        match changed.saturating_mul(globs) > PATHS_WORK_MAX {
            true => Cow::Owned(Context { changed: None, ..context.clone() }),
            false => Cow::Borrowed(context),
        }
    }

    /// Returns why an event starts no run.
    pub(crate) fn refusal(&self, context: &Context) -> Option<String> {
        match &context.event {
            Event::Push { branch } => {
                skip_word(&context.message).or_else(|| self.refuses_branch("branch", branch))
            }
            Event::Tag { tag } => {
                let wanted = !self.tags.is_empty() && self.tags.matches(tag);
                (!wanted).then(|| match self.tags.is_empty() {
                    true => "tags start no runs here: there is no `tags`".to_owned(),
                    false => format!("tag {tag} does not match {}", self.tags.wanted()),
                })
            }
            Event::PullRequest { target, .. } => {
                if !self.pull_requests {
                    return Some("pull requests start no runs here: `pull_requests` is false".to_owned());
                }
                skip_word(&context.message).or_else(|| self.refuses_branch("target branch", target))
            }
            Event::Schedule { .. } | Event::Manual { .. } | Event::Upstream { .. } => None,
        }
    }

    fn refuses_branch(&self, what: &str, branch: &str) -> Option<String> {
        let wanted = !self.branches.is_empty() && self.branches.matches(branch);
        (!wanted).then(|| match self.branches.is_empty() {
            true => "no branch starts a run: `branches` is empty".to_owned(),
            false => format!("{what} {branch} does not match {}", self.branches.wanted()),
        })
    }

    fn notified(&self, context: &Context) -> Vec<plan::Notify> {
        let branch = context.event.branch();
        let wanted = self.notify.iter().filter(|(_, globs)| match globs {
            Some(globs) => branch.is_some_and(|branch| globs.matches(branch)),
            None => true,
        });
        wanted.map(|(notify, _)| notify.clone()).collect()
    }

    fn run_concurrency(&self, context: &Context, replacer: &mut Replacer<'_>) -> Option<plan::Concurrency> {
        let (concurrency, at) = self.concurrency.as_ref()?;
        let mut concurrency = concurrency.clone();
        let written = concurrency.group.clone();
        replacer.group(*at, &mut concurrency.group, &|name| context.value_in_group(name));
        replacer.check_group(*at, &written, &concurrency.group);
        Some(concurrency)
    }
}

/// A word in the message with which its author wants no run.
fn skip_word(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let word = ["[skip ci]", "[ci skip]", "[no ci]"].into_iter().find(|word| lower.contains(word))?;
    Some(format!("the message contains {word}"))
}

fn variants(task: &Task) -> Vec<Option<&Variant>> {
    if task.variants.is_empty() { vec![None] } else { task.variants.iter().map(Some).collect() }
}

fn variant_of(task: &Task, variant: Option<&Variant>) -> TaskPlan {
    let mut planned = task.prototype.clone();
    if let Some(variant) = variant {
        planned.name = format!("{}[{}]", task.name, variant.label());
        planned.variant = variant.values();
    }
    planned
}

/// Sets the gate of the task and the skips of its stages.
fn condition(task: &Task, planned: &mut TaskPlan, context: &Context) {
    planned.gate = match task.when.refusal(context) {
        Some(why) => Gate::Skip { why },
        None => task.when.gate(),
    };
    if let Work::Stages { stages, .. } = &mut planned.work {
        for (stage, when) in stages.iter_mut().zip(&task.stage_conditions) {
            stage.skip = when.refusal(context);
        }
    }
}

pub(crate) fn check_run_env(env: &BTreeMap<String, String>, findings: &mut Findings) {
    for name in env.keys() {
        if let Err(wrong) = value::variable(name) {
            findings.add_outside(wrong);
        }
    }
}

/// Variables given with the run win over those of every place, stages included.
pub(crate) fn run_env(planned: &mut TaskPlan, env: &BTreeMap<String, String>, findings: &mut Findings) {
    let mut secrets: Vec<&plan::SecretUse> = planned.environment.secrets.iter().collect();
    if let Work::Stages { stages, .. } = &mut planned.work {
        for stage in stages {
            stage.env.retain(|name, _| !env.contains_key(name));
            secrets.extend(&stage.secrets);
        }
    }
    for secret in secrets {
        if let plan::SecretDelivery::Env(variable) | plan::SecretDelivery::Argument(variable) =
            &secret.delivery
            && env.contains_key(variable)
        {
            let message =
                format!("`{variable}` is the variable of a secret and cannot be given with the run");
            findings.add_outside(Wrong::new(message));
        }
    }
    planned.environment.env.extend(env.clone());
}

/// A name in `needs` means every variant of that task.
fn link_needs(tasks: &[Task], planned: &mut [TaskPlan]) {
    let mut indexes: HashMap<String, Vec<u32>> = HashMap::new();
    for (index, task) in (0_u32..).zip(planned.iter()) {
        indexes.entry(task.base.clone()).or_default().push(index);
    }
    let by_name: HashMap<&str, &Task> = tasks.iter().map(|task| (task.name.as_str(), task)).collect();
    for task in planned {
        let needs = by_name.get(task.base.as_str()).map(|task| task.needs.as_slice()).unwrap_or_default();
        for need in needs {
            let targets = indexes.get(&need.name).map(Vec::as_slice).unwrap_or_default();
            let link = |target: &u32| plan::Need {
                task: *target,
                optional: need.optional,
                artifacts: need.artifacts,
            };
            task.needs.extend(targets.iter().map(link));
        }
    }
}

type Values<'v> = dyn Fn(&Name<'_>) -> String + 'v;

/// Replaces `${...}` in tasks, with one budget for the whole plan.
pub(crate) struct Replacer<'f> {
    pub(crate) budget: usize,
    pub(crate) findings: &'f mut Findings,
}

impl Replacer<'_> {
    pub(crate) fn task(
        &mut self,
        task: &Task,
        planned: &mut TaskPlan,
        values: &Values<'_>,
        in_group: &Values<'_>,
    ) {
        templates::each(planned, &mut |field, text| {
            let at = task.place(field);
            let written = text.clone();
            match field {
                Field::Concurrency => self.group(at, text, in_group),
                _ => self.text(at, text, values),
            }
            self.check(at, field, &written, text);
        });
        for label in &mut planned.labels {
            if let Some((key, value)) = label.key.split_once('=') {
                *label = plan::Label { value: Some(value.to_owned()), key: key.to_owned() };
            }
        }
        if let plan::Runtime::Container { image, pull, .. } = &mut planned.environment.runtime
            && task.pulls_by_tag
            && moves(image)
        {
            *pull = plan::Pull::Always;
        }
        if let Some(variant) = (!planned.variant.is_empty()).then_some(&planned.variant) {
            let named = variant.iter().map(|(axis, value)| (value::axis_variable(axis), value.clone()));
            planned.environment.env.extend(named);
        }
    }

    /// A group that comes out empty is the commit's own: `${pr}` of a push limits nothing else.
    fn group(&mut self, at: At, text: &mut String, in_group: &Values<'_>) {
        self.text(at, text, in_group);
        if text.is_empty() {
            *text = format!("commit:{}", in_group(&Name::Commit));
        }
    }

    fn text(&mut self, at: At, text: &mut String, values: &Values<'_>) {
        match template::replace(text, &mut self.budget, values) {
            Ok(replaced) => *text = replaced,
            Err(template::TooLong) => {
                self.findings.add(at, too_heavy("the tasks, with every `${...}` replaced,"));
                text.clear();
            }
        }
    }

    fn check(&mut self, at: At, field: Field, written: &str, text: &str) {
        if template::is_plain(written) {
            return;
        }
        let result = match field {
            Field::Image => value::image(text),
            Field::Labels => value::label(text),
            Field::Directory | Field::StageDirectory => value::path(text),
            Field::Artifacts => value::line(text),
            Field::Concurrency => return self.check_group(at, written, text),
            Field::Env | Field::Command | Field::Cache | Field::Services | Field::Stages => no_nul(text),
        };
        if let Err(wrong) = result {
            self.findings.add(at, said_of(written, wrong));
        }
    }

    /// A value must not turn a group of the project into one that all share.
    fn check_group(&mut self, at: At, written: &str, text: &str) {
        let result = match (written.starts_with('/'), text.starts_with('/')) {
            (false, true) => Err(Wrong::new("a group that all projects share is written with its `/`")),
            (true | false, true | false) => value::group(text),
        };
        if let Err(wrong) = result {
            self.findings.add(at, said_of(written, wrong));
        }
    }
}

/// Whether an image is fetched anew without being told: its tag is one that moves.
fn moves(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !image.contains('@') && (last.ends_with(":latest") || !last.contains(':'))
}

fn no_nul(text: &str) -> Result<(), Wrong> {
    match text.contains('\0') {
        true => Err(Wrong::new("a NUL character can be in no variable and no argument")),
        false => Ok(()),
    }
}

fn said_of(written: &str, wrong: Wrong) -> Wrong {
    Wrong { message: format!("{} after replacing: {}", quote(written), wrong.message), hint: wrong.hint }
}
