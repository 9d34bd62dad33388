//! One task of a file: a plan with its `${...}` still in it, and what decides about its place in a run.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ocelot_core::plan;

use crate::check::was_meant;
use crate::keys;
use crate::problem::{At, Findings, PROBLEMS_MAX, Wrong, quote};
use crate::read::matrix::{self, Variant};
use crate::read::{Fields, parts, stages, text};
use crate::source::{Content, Node};
use crate::template::{self, Name};
use crate::templates::{self, Field};
use crate::value;
use crate::when::When;

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) needs: Vec<NeedRef>,
    pub(crate) when: When,
    /// Empty for a task without a matrix.
    pub(crate) variants: Vec<Variant>,
    /// What each of its plans begins as; `${...}` is not replaced yet.
    pub(crate) prototype: plan::TaskPlan,
    /// The conditions of its stages, in their order.
    pub(crate) stage_conditions: Vec<When>,
    /// Where the keys stand in which `${...}` is replaced.
    pub(crate) places: BTreeMap<&'static str, At>,
    /// Whether the image's tag decides how it is fetched, which is known once `${...}` is replaced.
    pub(crate) pulls_by_tag: bool,
    /// What one plan of it weighs, for the limit on all of them.
    pub(crate) weight: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct NeedRef {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) optional: bool,
    pub(crate) artifacts: bool,
}

/// Where a task stands, which decides what it inherits and which names it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Home<'n> {
    /// A pipeline, with the variables of its top level.
    Pipeline { env: Option<&'n Node> },
    /// A job file, with its readable arguments and its secret ones.
    Job { args: &'n [(String, bool)] },
}

impl Task {
    /// Returns the bytes of all `paths` that its plans compare changed files with.
    pub(crate) fn paths_bytes(&self) -> usize {
        let stages: usize = self.stage_conditions.iter().map(When::paths_bytes).sum();
        (self.when.paths_bytes() + stages).saturating_mul(self.variants.len().max(1))
    }

    pub(crate) fn place(&self, field: Field) -> At {
        self.places.get(field.key()).copied().unwrap_or(self.at)
    }

    pub(crate) fn read(
        name: &str,
        at: At,
        fields: &Fields<'_>,
        home: Home<'_>,
        findings: &mut Findings,
    ) -> Self {
        let (work, stage_conditions) = stages::work(fields, findings);
        let variants = match home {
            Home::Pipeline { .. } => matrix::variants(fields, findings),
            Home::Job { .. } => Vec::new(),
        };
        let env = match home {
            Home::Pipeline { env: Some(top) } => {
                let mut env = crate::read::variables(top.entries().iter());
                env.extend(fields.env());
                env
            }
            Home::Pipeline { env: None } | Home::Job { .. } => fields.env(),
        };
        let environment = environment(fields, env, home, findings);
        let prototype = plan::TaskPlan {
            name: name.to_owned(),
            variant: BTreeMap::new(),
            base: name.to_owned(),
            fail_fast: fields.flag("fail_fast", false),
            needs: Vec::new(),
            gate: plan::Gate::OnSuccess,
            class: parts::class(fields),
            priority: fields.integer("priority").unwrap_or(0),
            labels: labels(fields),
            resources: parts::resources(fields),
            limits: parts::limits(fields),
            retry: parts::retry(fields, findings),
            allow_failure: parts::tolerance(fields),
            concurrency: parts::concurrency(fields),
            approval: parts::approval(fields),
            keep: if fields.word("keep") == Some("on-failure") {
                plan::Keep::OnFailure
            } else {
                plan::Keep::Never
            },
            environment,
            work,
        };
        let places = Field::ALL.into_iter().map(|field| (field.key(), fields.place(field.key()))).collect();
        let mut task = Self {
            name: name.to_owned(),
            at,
            needs: needs(fields),
            when: fields.fields("when").map(|when| When::read(&when)).unwrap_or_default(),
            variants,
            prototype,
            stage_conditions,
            places,
            pulls_by_tag: !fields.has("pull"),
            weight: weight(fields.own) + fields.defaults.map_or(0, weight),
        };
        if let Some(when) = fields.fields("when") {
            stages::refuse_status_in_any(&when, findings);
        }
        if fields.has("fail_fast") && !fields.has("matrix") && Fields::of(fields.own).has("fail_fast") {
            let wrong = Wrong::new("`fail_fast` is about the variants of a `matrix`, and this task has none");
            findings.add(fields.place("fail_fast"), wrong.hint("remove it"));
        }
        task.check_names(fields, home, findings);
        task
    }

    /// Checks that every name in `${...}` has a value in each variant, and that scripts use none.
    fn check_names(&mut self, fields: &Fields<'_>, home: Home<'_>, findings: &mut Findings) {
        let (variants, places, at) = (&self.variants, &self.places, self.at);
        let has_matrix = fields.has("matrix");
        let mut problems: Vec<(At, Wrong)> = Vec::new();
        let mut seen: HashSet<(&'static str, String)> = HashSet::new();
        templates::each(&mut self.prototype, &mut |field, text| {
            for part in template::parts(text).unwrap_or_default() {
                let template::Part::Name(written) = part else { continue };
                let Some(known) = Name::of(written) else { continue };
                let is_new = problems.len() < PROBLEMS_MAX && seen.insert((field.key(), written.to_owned()));
                if !is_new {
                    continue;
                }
                if let Err(wrong) = has_value(&known, written, variants, has_matrix, home) {
                    problems.push((places.get(field.key()).copied().unwrap_or(at), wrong));
                }
            }
        });
        let lines = fields.maps("stages").flat_map(|stage| stage.items("script"));
        for line in lines {
            let used: BTreeSet<&str> =
                text(line).map(template::known_names).unwrap_or_default().into_iter().collect();
            let wrongs =
                used.into_iter().filter_map(|name| in_script(name, variants, home)).take(PROBLEMS_MAX);
            problems.extend(wrongs.map(|wrong| (line.at, wrong)));
        }
        problems.into_iter().for_each(|(at, wrong)| findings.add(at, wrong));
    }
}

/// Text and structure, in bytes: an estimate of what one plan takes in memory.
pub(crate) fn weight(node: &Node) -> usize {
    const NODE_BYTES: usize = 64;
    node.text_bytes + node.nodes * NODE_BYTES
}

fn has_value(
    known: &Name<'_>,
    written: &str,
    variants: &[Variant],
    has_matrix: bool,
    home: Home<'_>,
) -> Result<(), Wrong> {
    let is_job = matches!(home, Home::Job { .. });
    match known {
        Name::Matrix(_) if !has_matrix => {
            Err(Wrong::new(format!("`${{{written}}}`: this task has no matrix")).hint("give it a `matrix`"))
        }
        Name::Matrix(axis) => match variants.iter().find(|variant| variant.get(axis).is_none()) {
            Some(variant) => {
                let wrong =
                    Wrong::new(format!("`${{{written}}}` has no value in the variant `{}`", variant.label()));
                Err(wrong.hint("every variant needs a value for it, those of `include` too"))
            }
            None => Ok(()),
        },
        Name::Args(name) => match home {
            Home::Pipeline { .. } => {
                Err(Wrong::new(format!("`${{{written}}}`: only a job file has arguments"))
                    .hint("use a variable of `env`"))
            }
            Home::Job { args } => match args.iter().find(|(arg, _)| arg == name) {
                None => Err(Wrong::new(format!("`${{{written}}}`: there is no argument `{name}`"))
                    .hint(near_hint(name, args.iter().map(|(arg, _)| arg.as_str())))),
                Some((_, true)) => Err(Wrong::new(format!(
                    "`${{{written}}}` is a secret and would stand readable in the plan"
                ))
                .hint(format!("the stages find it in the variable `{name}`"))),
                Some((_, false)) => Ok(()),
            },
        },
        Name::Branch | Name::Tag | Name::Commit | Name::Pr | Name::Project if is_job => {
            Err(Wrong::new(format!("`${{{written}}}`: a job belongs to no repository"))
                .hint("give the job an argument for it"))
        }
        Name::Branch
        | Name::Tag
        | Name::Commit
        | Name::Pr
        | Name::Event
        | Name::Project
        | Name::RunNumber => Ok(()),
    }
}

fn near_hint<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match crate::problem::nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there is {}", crate::problem::or_list(&known.collect::<Vec<_>>())),
    }
}

/// What a script wrote as if it were replaced; `${branch}` may be the script's own variable.
fn in_script(name: &str, variants: &[Variant], home: Home<'_>) -> Option<Wrong> {
    let variable = match Name::of(name)? {
        Name::Matrix(axis) => {
            variants.iter().any(|variant| variant.get(axis).is_some()).then(|| value::axis_variable(axis))
        }
        Name::Args(arg) => match home {
            Home::Job { args } => args.iter().any(|(known, _)| known == arg).then(|| arg.to_owned()),
            Home::Pipeline { .. } => None,
        },
        Name::RunNumber => Some("OCELOT_RUN_NUMBER".to_owned()),
        Name::Branch | Name::Tag | Name::Commit | Name::Pr | Name::Event | Name::Project => None,
    }?;
    let wrong = Wrong::new(format!("`${{{name}}}` is not replaced in a script, which sees variables only"));
    Some(wrong.hint(format!("write `\"${variable}\"`")))
}

fn needs(fields: &Fields<'_>) -> Vec<NeedRef> {
    let needs = fields.items("needs").into_iter().filter_map(|item| {
        let map = Fields::of(item);
        let is_map = matches!(item.content, Content::Map(_));
        let named = if is_map { map.node("task")? } else { item };
        Some(NeedRef {
            name: text(named)?.to_owned(),
            at: named.at,
            optional: map.flag("optional", false),
            artifacts: map.flag("artifacts", true),
        })
    });
    needs.collect()
}

/// Labels as written: they are cut at `=` once `${...}` is replaced.
fn labels(fields: &Fields<'_>) -> Vec<plan::Label> {
    let behind = fields.defaults.map(|defaults| Fields::of(defaults).texts("labels")).unwrap_or_default();
    let mut seen = HashSet::new();
    let written = behind.into_iter().chain(Fields::of(fields.own).texts("labels"));
    written.filter(|key| seen.insert(key.clone())).map(|key| plan::Label { key, value: None }).collect()
}

fn environment(
    fields: &Fields<'_>,
    env: BTreeMap<String, String>,
    home: Home<'_>,
    findings: &mut Findings,
) -> plan::Environment {
    let has_repository = matches!(home, Home::Pipeline { .. });
    plan::Environment {
        runtime: runtime(fields, findings),
        checkout: parts::checkout(fields, has_repository, findings),
        directory: fields.text("directory").unwrap_or_else(|| ".".to_owned()),
        user: fields.text("user"),
        env,
        secrets: parts::secrets(fields, findings),
        services: parts::services(fields, findings),
        caches: parts::caches(fields, findings),
        artifacts: parts::artifacts(fields, findings),
    }
}

fn runtime(fields: &Fields<'_>, findings: &mut Findings) -> plan::Runtime {
    if fields.word("runtime") == Some("process") {
        for key in
            ["image", "pull", "pull_secret", "engine", "services"].into_iter().filter(|key| fields.has(key))
        {
            let wrong = Wrong::new(format!("`{key}` needs a container, and this task runs as `process`"));
            findings.add(fields.place(key), wrong.hint(format!("remove `{key}` or `runtime: process`")));
        }
        absolute_files(fields, findings);
        return plan::Runtime::Process;
    }
    let image = fields.text("image").unwrap_or_default();
    if !fields.has("image") && !was_meant(fields.own, &keys::PIPELINE, &["image", "tasks"]) {
        let wrong = Wrong::new("a task in a container needs `image`");
        findings.add(
            fields.at(),
            wrong.hint("write `image: alpine:3.22`, or `runtime: process` to run without a container"),
        );
    }
    plan::Runtime::Container {
        pull: match fields.word("pull") {
            Some("always") => plan::Pull::Always,
            Some("never") => plan::Pull::Never,
            Some(_) | None => plan::Pull::Missing,
        },
        image,
        pull_secret: fields.text("pull_secret"),
        engine: fields.flag("engine", false),
    }
}

/// Without a container an absolute path would be one of the machine.
fn absolute_files(fields: &Fields<'_>, findings: &mut Findings) {
    let stages = fields.maps("stages").flat_map(|stage| stage.maps("secrets").collect::<Vec<_>>());
    for secret in fields.maps("secrets").chain(stages) {
        if let Some(file) = secret.word("file").filter(|file| file.starts_with('/')) {
            let wrong = Wrong::new(format!("{} would be written on the machine itself", quote(file)));
            findings.add(
                secret.node("file").map_or(secret.at(), |node| node.at),
                wrong.hint("with `process`, name a path in the workspace"),
            );
        }
    }
}
