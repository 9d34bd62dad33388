//! Job files: one task with arguments, and the plan of one execution.
//!
//! The value of a secret argument never enters a plan: the plan says where it goes, and the value
//! travels beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ocelot_core::plan::{Plan, SecretDelivery, SecretUse};
pub use ocelot_core::schedule::{CatchUp, Overlap};

use crate::check::Checker;
use crate::glob::Glob;
use crate::keys;
use crate::pipeline::{PLAN_BYTES_MAX, too_heavy};
use crate::problem::{Findings, Problems, Wrong, nearest, or_list, quote};
use crate::read::task::{Home, Task};
use crate::read::{Fields, text};
use crate::resolve::{Replacer, check_run_env, run_env};
use crate::source::{self, Content, Node};
use crate::template::Name;

/// One argument's value; an environment of more than this starts no process on Linux.
pub(crate) const ARGUMENT_BYTES_MAX: usize = 64 * 1024;

/// A job without mistakes.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: String,
    pub description: String,
    pub organization: String,
    pub authors: Vec<String>,
    pub contributors: Vec<String>,
    pub args: Vec<Arg>,
    /// Empty: everyone who may execute.
    pub authorized_groups: Vec<String>,
    pub schedules: Vec<Schedule>,
    task: Task,
    file: String,
    source: String,
}

/// One argument that a job takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    pub name: String,
    pub description: String,
    pub required: bool,
    pub default: Option<String>,
    pub secret: bool,
    /// Empty: any value.
    pub choices: Vec<String>,
    pub pattern: Option<String>,
}

/// When a job is executed by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub cron: String,
    pub timezone: String,
    pub args: BTreeMap<String, String>,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    pub jitter: Duration,
}

/// What a job is resolved against, beside its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    pub event: JobEvent,
    pub run_number: u64,
    /// Variables given with the run.
    pub env: BTreeMap<String, String>,
}

/// What started an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    Manual,
    Schedule,
    Upstream,
}

impl JobEvent {
    /// The word that `${event}` stands for.
    pub fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Upstream => "upstream",
        }
    }
}

/// The plan of one execution, and the values that must not be in it.
#[derive(Clone, PartialEq)]
pub struct JobResolution {
    pub plan: Plan,
    /// Values of secret arguments, by name; the plan delivers them as [`SecretDelivery::Argument`].
    pub secret_args: BTreeMap<String, String>,
}

impl fmt::Debug for JobResolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.secret_args.keys().collect();
        f.debug_struct("JobResolution").field("plan", &self.plan).field("secret_args", &names).finish()
    }
}

impl Job {
    /// Reads and checks a job file; `file` is its name in messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let shown = source::shown(bytes);
        let job = source::read(bytes, &mut findings).and_then(|root| {
            Checker { findings: &mut findings }.file(&root, &keys::JOB);
            let is_map = matches!(root.content, Content::Map(_));
            is_map.then(|| Self::read(file, shown, &root, &mut findings))
        });
        findings.finish(file, shown, job)
    }

    fn read(file: &str, shown: &str, root: &Node, findings: &mut Findings) -> Self {
        let fields = Fields::of(root);
        let args = args(&fields, findings);
        let known: Vec<(String, bool)> = args.iter().map(|arg| (arg.name.clone(), arg.secret)).collect();
        let name = fields.text("name").unwrap_or_default();
        let task = Task::read("main", fields.at(), &fields, Home::Job { args: &known }, findings);
        check_shadows(&fields, &args, findings);
        if task.weight > PLAN_BYTES_MAX {
            findings.add(fields.at(), too_heavy("the job's texts"));
        }
        Self {
            description: fields.text("description").unwrap_or_default(),
            organization: fields.text("organization").unwrap_or_default(),
            authors: fields.texts("authors"),
            contributors: fields.texts("contributors"),
            authorized_groups: fields.texts("authorized_groups"),
            schedules: fields
                .maps("schedule")
                .map(|schedule| read_schedule(&schedule, &args, findings))
                .collect(),
            name,
            args,
            task,
            file: file.to_owned(),
            source: shown.to_owned(),
        }
    }

    /// Makes the plan of one execution, or says everything that is wrong with its arguments.
    pub fn resolve(
        &self,
        given: &BTreeMap<String, String>,
        run: &Execution,
    ) -> Result<JobResolution, Problems> {
        let mut findings = Findings::default();
        check_run_env(&run.env, &mut findings);
        for arg in self.args.iter().filter(|arg| run.env.contains_key(&arg.name)) {
            let wrong = Wrong::new(format!("`{}` is an argument and not given as a variable", arg.name));
            findings.add_outside(wrong.hint(format!("write `{}=VALUE` among the arguments", arg.name)));
        }
        for wrong in judge(&self.args, given) {
            findings.add_outside(wrong);
        }
        let value_of = |arg: &Arg| given.get(&arg.name).or(arg.default.as_ref()).cloned();
        let mut planned = self.task.prototype.clone();
        let values = |name: &Name<'_>| match name {
            Name::Args(name) => {
                let arg = self.args.iter().find(|arg| arg.name == *name && !arg.secret);
                arg.and_then(value_of).unwrap_or_default()
            }
            Name::RunNumber => run.run_number.to_string(),
            Name::Event => run.event.word().to_owned(),
            Name::Branch | Name::Tag | Name::Commit | Name::Pr | Name::Project | Name::Matrix(_) => {
                String::new()
            }
        };
        let mut replacer = Replacer { budget: PLAN_BYTES_MAX, findings: &mut findings };
        replacer.task(&self.task, &mut planned, &values, &values);
        let mut secret_args = BTreeMap::new();
        for arg in &self.args {
            match (arg.secret, value_of(arg)) {
                (false, value) => {
                    planned.environment.env.insert(arg.name.clone(), value.unwrap_or_default());
                }
                (true, Some(value)) => {
                    let delivery = SecretDelivery::Argument(arg.name.clone());
                    planned.environment.secrets.push(SecretUse { name: arg.name.clone(), delivery });
                    secret_args.insert(arg.name.clone(), value);
                }
                (true, None) => {}
            }
        }
        run_env(&mut planned, &run.env, &mut findings);
        let concurrency = planned.concurrency.take();
        let plan = Plan { tasks: vec![planned], concurrency, notify: Vec::new(), group: None };
        findings.finish(&self.file, &self.source, Some(JobResolution { plan, secret_args }))
    }
}

fn args(fields: &Fields<'_>, findings: &mut Findings) -> Vec<Arg> {
    crate::read::unique(fields, "args", "argument", findings);
    let args = fields.maps("args").filter_map(|item| {
        let arg = Arg {
            name: item.text("name")?,
            description: item.text("description").unwrap_or_default(),
            required: item.flag("required", false),
            default: item.text("default"),
            secret: item.flag("secret", false),
            choices: item.texts("choices"),
            pattern: item.text("pattern"),
        };
        check_arg(&arg, &item, findings);
        Some(arg)
    });
    args.collect()
}

fn check_arg(arg: &Arg, fields: &Fields<'_>, findings: &mut Findings) {
    let Some(default) = &arg.default else { return };
    let at = fields.node("default").map_or(fields.at(), |node| node.at);
    if arg.required {
        let wrong = Wrong::new(format!("`{}` is required, so its default is never used", arg.name));
        findings.add(at, wrong.hint("remove `required` or `default`"));
    }
    if arg.secret {
        let wrong =
            Wrong::new(format!("the default of `{}` would be a secret that everyone can read", arg.name));
        findings.add(at, wrong.hint("put it into the store and name it in `secrets`"));
    }
    if let Err(wrong) = accepts(arg, default) {
        findings.add(at, wrong);
    }
}

/// An argument's variable must not be set a second time beside it.
fn check_shadows(fields: &Fields<'_>, args: &[Arg], findings: &mut Findings) {
    let stages = fields.maps("stages").collect::<Vec<_>>();
    for arg in args {
        let places = std::iter::once(*fields).chain(stages.iter().copied());
        for place in places {
            if let Some(entry) = place.fields("env").and_then(|env| env.entry(&arg.name)) {
                let wrong = Wrong::new(format!("`{}` is an argument and a variable of `env`", arg.name));
                findings.add(entry.key_at, wrong.hint("rename one of them, or use the argument's `default`"));
            }
            for secret in
                place.items("secrets").into_iter().filter(|item| secret_variable(item) == Some(&arg.name))
            {
                let wrong = Wrong::new(format!("`{}` is an argument and the variable of a secret", arg.name));
                findings.add(secret.at, wrong.hint("rename one of them"));
            }
        }
    }
}

fn secret_variable(item: &Node) -> Option<&str> {
    let fields = Fields::of(item);
    match fields.word("env") {
        Some(variable) => Some(variable),
        None if fields.has("file") || fields.has("as") => None,
        None => text(item).or_else(|| fields.word("name")),
    }
}

/// Judges given arguments: unknown ones, missing ones, and values that an argument does not accept.
fn judge(args: &[Arg], given: &BTreeMap<String, String>) -> Vec<Wrong> {
    let mut wrongs = Vec::new();
    for name in given.keys().filter(|name| !args.iter().any(|arg| arg.name == **name)) {
        let wrong = Wrong::new(format!("there is no argument {}", quote(name)));
        let names: Vec<&str> = args.iter().map(|arg| arg.name.as_str()).collect();
        wrongs.push(match (nearest(name, names.iter().copied()), names.is_empty()) {
            (Some(near), _) => wrong.hint(format!("did you mean `{near}`?")),
            (None, true) => wrong.hint("this job takes none"),
            (None, false) => wrong.hint(format!("there is {}", or_list(&names))),
        });
    }
    for arg in args {
        match given.get(&arg.name) {
            Some(value) => wrongs.extend(accepts(arg, value).err()),
            None if arg.required => {
                let wrong = Wrong::new(format!("the argument `{}` is missing", arg.name));
                let about = if arg.description.is_empty() { "it is required" } else { &arg.description };
                wrongs.push(wrong.hint(about));
            }
            None => {}
        }
    }
    wrongs
}

/// Says why an argument does not accept a value; a secret value is not repeated.
fn accepts(arg: &Arg, value: &str) -> Result<(), Wrong> {
    let shown = if arg.secret { "the value given".to_owned() } else { quote(value) };
    if value.len() > ARGUMENT_BYTES_MAX {
        return Err(Wrong::new(format!(
            "`{}` has {} bytes, at most {ARGUMENT_BYTES_MAX}",
            arg.name,
            value.len()
        )));
    }
    if value.contains('\0') {
        return Err(Wrong::new(format!("`{}` contains a NUL character, which no variable can", arg.name)));
    }
    if !arg.choices.is_empty() && !arg.choices.iter().any(|choice| choice == value) {
        return Err(Wrong::new(format!("`{}` cannot be {shown}", arg.name))
            .hint(format!("it is {}", or_list(&arg.choices))));
    }
    if let Some(pattern) = &arg.pattern {
        let (bare, wanted) = match pattern.strip_prefix('!') {
            Some(bare) => (bare, false),
            None => (pattern.as_str(), true),
        };
        if Glob::new(bare).is_ok_and(|glob| glob.matches(value) != wanted) {
            return Err(Wrong::new(format!("`{}` cannot be {shown}", arg.name))
                .hint(format!("it must match `{pattern}`")));
        }
    }
    Ok(())
}

fn read_schedule(fields: &Fields<'_>, args: &[Arg], findings: &mut Findings) -> Schedule {
    let given = crate::read::variables(fields.entries("args").iter());
    for wrong in judge(args, &given) {
        findings.add(fields.node("args").map_or(fields.at(), |node| node.at), wrong);
    }
    for entry in fields.entries("args") {
        if args.iter().any(|arg| arg.secret && arg.name == *entry.key) {
            let wrong = Wrong::new(format!("`{}` is a secret, and here everyone can read it", entry.key));
            findings.add(entry.key_at, wrong.hint("put it into the store and name it in `secrets`"));
        }
    }
    Schedule {
        cron: fields.text("cron").unwrap_or_default(),
        timezone: fields.text("timezone").unwrap_or_else(|| "UTC".to_owned()),
        args: given,
        overlap: match fields.word("overlap") {
            Some("queue") => Overlap::Queue,
            Some("allow") => Overlap::Allow,
            Some(_) | None => Overlap::Skip,
        },
        catch_up: match fields.word("catch_up") {
            Some("none") => CatchUp::None,
            Some("all") => CatchUp::All,
            Some(_) | None => CatchUp::One,
        },
        jitter: fields.duration("jitter").unwrap_or_default(),
    }
}
