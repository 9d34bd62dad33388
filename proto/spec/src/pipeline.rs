//! `ocelot.yml`: the whole file, read and found to be right.

use std::collections::{HashMap, HashSet};

use ocelot_core::plan;

use crate::check::Checker;
use crate::glob::Globs;
use crate::keys;
use crate::problem::{At, Findings, Problems, Wrong, nearest, quote};
use crate::read::task::{Home, Task, weight};
use crate::read::{Fields, concurrency};
use crate::source::{self, Content, Node};

pub const TASKS_MAX: usize = 200;
/// Once matrices are expanded.
pub const PLAN_TASKS_MAX: usize = 1000;
/// What the plan of a file may weigh: its text, and a little for each key, for each task again.
pub const PLAN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A pipeline without mistakes, ready to be resolved against an event.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(crate) file: String,
    pub(crate) source: String,
    pub(crate) branches: Globs,
    pub(crate) tags: Globs,
    pub(crate) pull_requests: bool,
    pub(crate) concurrency: Option<(plan::Concurrency, At)>,
    pub(crate) notify: Vec<(plan::Notify, Option<Globs>)>,
    pub(crate) group: Option<String>,
    pub(crate) tasks: Vec<Task>,
}

impl Pipeline {
    /// Reads and checks a file; `file` is its name in messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Problems> {
        let mut findings = Findings::default();
        let shown = source::shown(bytes);
        let pipeline = source::read(bytes, &mut findings).map(|root| {
            Checker { findings: &mut findings }.file(&root, &keys::PIPELINE);
            Self::read(file, shown, &root, &mut findings)
        });
        findings.finish(file, shown, pipeline)
    }

    /// The names of its tasks, in the order of the file.
    pub fn tasks(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| task.name.as_str())
    }

    fn read(file: &str, shown: &str, root: &Node, findings: &mut Findings) -> Self {
        let fields = Fields::of(root);
        let tasks = if fields.has("tasks") { several(&fields, findings) } else { one(&fields, findings) };
        check_needs(&tasks, findings);
        check_size(&tasks, findings);
        let concurrency = run_concurrency(&fields, findings);
        Self {
            file: file.to_owned(),
            source: shown.to_owned(),
            branches: fields.globs("branches").unwrap_or_else(|| Globs::of(["**"])),
            tags: fields.globs("tags").unwrap_or_default(),
            pull_requests: fields.flag("pull_requests", true),
            concurrency,
            notify: fields.maps("notify").map(|notify| read_notify(&notify)).collect(),
            group: fields.text("group"),
            tasks,
        }
    }
}

/// The run's own concurrency; a matrix has no value there, it belongs to no task.
fn run_concurrency(fields: &Fields<'_>, findings: &mut Findings) -> Option<(plan::Concurrency, At)> {
    use crate::template::{Name, known_names};

    let found = concurrency(fields)?;
    let at = fields.fields("concurrency")?.node("group")?.at;
    for name in known_names(&found.group) {
        if matches!(Name::of(name), Some(Name::Matrix(_) | Name::Args(_))) {
            let wrong =
                Wrong::new(format!("`${{{name}}}` has no value here: this group is about the whole run"));
            findings.add(at, wrong.hint("put `concurrency` into the task"));
        }
    }
    Some((found, at))
}

fn read_notify(fields: &Fields<'_>) -> (plan::Notify, Option<Globs>) {
    use plan::NotifyOn;

    let given = fields.words("on").into_iter().filter_map(|word| match word {
        "success" => Some(NotifyOn::Success),
        "failure" => Some(NotifyOn::Failure),
        "fixed" => Some(NotifyOn::Fixed),
        "always" => Some(NotifyOn::Always),
        _ => None,
    });
    let on = if fields.has("on") { given.collect() } else { vec![NotifyOn::Failure, NotifyOn::Fixed] };
    (plan::Notify { to: fields.text("to").unwrap_or_default(), on }, fields.globs("branch"))
}

/// A file of one task: its keys stand at the top level, and it is called `main`.
fn one(fields: &Fields<'_>, findings: &mut Findings) -> Vec<Task> {
    if !matches!(fields.own.content, Content::Map(_)) {
        return Vec::new();
    }
    if fields.has("defaults") {
        let wrong = Wrong::new("`defaults` are for each of `tasks`, and there are none");
        findings.add(fields.place("defaults"), wrong.hint("put these keys at the top level"));
    }
    let mut task = Task::read("main", fields.at(), fields, Home::Pipeline { env: None }, findings);
    task.prototype.concurrency = None;
    vec![task]
}

fn several(fields: &Fields<'_>, findings: &mut Findings) -> Vec<Task> {
    for entry in fields.own.entries() {
        let own = keys::PIPELINE.keys.iter().any(|key| key.name == &*entry.key);
        if !own && keys::TASK.key(&entry.key).is_some() {
            let wrong = Wrong::new(format!("`{}` stands at the top level, beside `tasks`", entry.key));
            findings.add(entry.key_at, wrong.hint("put it into a task, or under `defaults` for all of them"));
        }
    }
    let entries = fields.entries("tasks");
    if entries.len() > TASKS_MAX {
        let message = format!("there are {} tasks, at most {TASKS_MAX} are allowed", entries.len());
        findings.add(
            fields.place("tasks"),
            Wrong::new(message).hint("use a `matrix` for tasks that differ in a value"),
        );
        return Vec::new();
    }
    if entries.is_empty()
        && fields.node("tasks").is_some_and(|tasks| matches!(tasks.content, Content::Map(_)))
    {
        findings.add(
            fields.place("tasks"),
            Wrong::new("there are no tasks").hint("give it one, or remove the key"),
        );
    }
    let shared =
        [fields.node("defaults"), fields.node("env")].into_iter().flatten().map(weight).sum::<usize>();
    if shared.saturating_mul(entries.len()) > PLAN_BYTES_MAX {
        findings.add(fields.place("tasks"), too_heavy("`defaults` and `env`, repeated for each task"));
        return Vec::new();
    }
    let defaults = fields.node("defaults").filter(|node| matches!(node.content, Content::Map(_)));
    let home = Home::Pipeline { env: fields.node("env") };
    let tasks = entries.iter().filter(|entry| matches!(entry.value.content, Content::Map(_))).map(|entry| {
        Task::read(&entry.key, entry.key_at, &Fields { own: &entry.value, defaults }, home, findings)
    });
    let mut tasks: Vec<Task> = tasks.collect();
    tasks.iter_mut().for_each(|task| task.weight += fields.node("env").map_or(0, weight));
    tasks
}

pub(crate) fn too_heavy(what: &str) -> Wrong {
    let mib = PLAN_BYTES_MAX / (1024 * 1024);
    Wrong::new(format!("{what} come to more than {mib} MiB"))
        .hint("put large texts into files of the repository")
}

/// What one need of one variant takes in a plan.
const NEED_BYTES: usize = 48;

fn check_size(tasks: &[Task], findings: &mut Findings) {
    let plans = |task: &Task| task.variants.len().max(1);
    let count: usize = tasks.iter().map(plans).sum();
    let Some(first) = tasks.first() else { return };
    if count > PLAN_TASKS_MAX {
        let message =
            format!("with all variants there are {count} tasks, at most {PLAN_TASKS_MAX} are allowed");
        findings.add(first.at, Wrong::new(message).hint("make a matrix smaller"));
    }
    let bytes =
        tasks.iter().fold(0_usize, |sum, task| sum.saturating_add(task.weight.saturating_mul(plans(task))));
    let count_of: HashMap<&str, usize> = tasks.iter().map(|task| (task.name.as_str(), plans(task))).collect();
    let needed =
        |task: &Task| task.needs.iter().filter_map(|need| count_of.get(need.name.as_str())).sum::<usize>();
    let links: usize = tasks.iter().map(|task| plans(task) * needed(task)).sum();
    if bytes.saturating_add(links * NEED_BYTES) > PLAN_BYTES_MAX {
        findings.add(first.at, too_heavy("the tasks, with all their variants,"));
    }
}

fn check_needs(tasks: &[Task], findings: &mut Findings) {
    let index: HashMap<&str, usize> =
        tasks.iter().enumerate().map(|(index, task)| (task.name.as_str(), index)).collect();
    let mut graph: Vec<Vec<usize>> = Vec::with_capacity(tasks.len());
    for task in tasks {
        let mut targets = Vec::new();
        let mut seen = HashSet::new();
        for need in &task.needs {
            if !seen.insert(need.name.as_str()) {
                findings.add(
                    need.at,
                    Wrong::new(format!("{} is needed twice", quote(&need.name))).hint("name it once"),
                );
            }
            match index.get(need.name.as_str()) {
                Some(_) if need.name == task.name => {
                    findings.add(
                        need.at,
                        Wrong::new(format!("the task `{}` needs itself", task.name)).hint("remove it"),
                    );
                }
                Some(target) => targets.push(*target),
                None => findings.add_with(need.at, || unknown_task(&need.name, tasks)),
            }
        }
        graph.push(targets);
    }
    check_status(tasks, findings);
    if let Some(cycle) = cycle(&graph) {
        let names: Vec<&str> = cycle.iter().map(|index| tasks[*index].name.as_str()).collect();
        let at = tasks[cycle[0]]
            .needs
            .iter()
            .find(|need| need.name == names[1])
            .map_or(tasks[cycle[0]].at, |need| need.at);
        let wrong = Wrong::new(format!("these tasks wait for each other: {}", names.join(" -> ")));
        findings.add(at, wrong.hint("remove one of these needs"));
    }
}

fn check_status(tasks: &[Task], findings: &mut Findings) {
    for task in tasks.iter().filter(|task| task.needs.is_empty() && task.when.gate() == plan::Gate::OnFailure)
    {
        let wrong = Wrong::new("`status: failure` is about a task's needs, and this task has none");
        findings.add(task.at, wrong.hint("name the tasks in `needs`"));
    }
}

fn unknown_task(name: &str, tasks: &[Task]) -> Wrong {
    let wrong = Wrong::new(format!("there is no task {}", quote(name)));
    let base = name.split('[').next().unwrap_or(name);
    let names = || tasks.iter().map(|task| task.name.as_str());
    if base != name && names().any(|known| known == base) {
        return wrong.hint(format!("`{base}` means all its variants"));
    }
    match nearest(name, names()) {
        Some(near) => wrong.hint(format!("did you mean `{near}`?")),
        None => wrong.hint(format!("there is {}", crate::problem::or_list(&names().collect::<Vec<_>>()))),
    }
}

/// Finds a cycle and returns its tasks, the first again at the end.
fn cycle(graph: &[Vec<usize>]) -> Option<Vec<usize>> {
    const NEW: u8 = 0;
    const OPEN: u8 = 1;
    const DONE: u8 = 2;
    let mut state = vec![NEW; graph.len()];
    for start in 0..graph.len() {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if state[start] == NEW {
            state[start] = OPEN;
            path.push((start, 0));
        }
        while let Some((task, next)) = path.last_mut() {
            let Some(&target) = graph[*task].get(*next) else {
                state[*task] = DONE;
                path.pop();
                continue;
            };
            *next += 1;
            match state[target] {
                NEW => {
                    state[target] = OPEN;
                    path.push((target, 0));
                }
                OPEN => {
                    let from = path.iter().position(|(task, _)| *task == target)?;
                    return Some(path[from..].iter().map(|(task, _)| *task).chain([target]).collect());
                }
                _ => {}
            }
        }
    }
    None
}
