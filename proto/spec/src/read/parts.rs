//! The parts of a task that stand for themselves: resources, retry, caches, artifacts, services, secrets.

use std::collections::HashSet;
use std::time::Duration;

use ocelot_core::plan;

use crate::problem::{At, Findings, Wrong, quote};
use crate::read::{Fields, text};
use crate::source::{Content, Node};
use crate::value;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn limits(task: &Fields<'_>) -> plan::Limits {
    plan::Limits {
        timeout: task.duration("timeout").unwrap_or(HOUR),
        queue_timeout: task.duration("queue_timeout").unwrap_or(DAY),
        quiet_timeout: task.duration("quiet_timeout"),
        grace: task.duration("grace").unwrap_or(Duration::from_secs(10)),
    }
}

pub(crate) fn retry(task: &Fields<'_>, findings: &mut Findings) -> plan::Retry {
    use plan::Cause;

    let default = [Cause::Lost, Cause::Image, Cause::Disk];
    let fields = task.fields("retry");
    let given = fields.as_ref().filter(|retry| retry.has("on")).map(|retry| retry.words("on"));
    let on: Vec<Cause> = match given {
        None => default.to_vec(),
        Some(words) => words
            .into_iter()
            .filter_map(|word| match word {
                "exit" => Some(Cause::Exit),
                "signal" => Some(Cause::Signal),
                "oom" => Some(Cause::Oom),
                "timeout" => Some(Cause::Timeout),
                "image" => Some(Cause::Image),
                "disk" => Some(Cause::Disk),
                "lost" => Some(Cause::Lost),
                _ => None,
            })
            .collect(),
    };
    let exit_codes = fields.as_ref().map(exit_codes).unwrap_or_default();
    if let Some(retry) = fields.filter(|retry| retry.has("exit_codes") && !on.contains(&Cause::Exit)) {
        let wrong = Wrong::new("`exit_codes` are for the cause `exit`, which is not in `on`");
        findings.add(retry.place("exit_codes"), wrong.hint("write `on: [exit]`"));
    }
    plan::Retry {
        limit: fields.and_then(|retry| retry.integer("limit")).unwrap_or(2),
        on,
        exit_codes,
        delay: fields.and_then(|retry| retry.duration("delay")).unwrap_or(Duration::from_secs(10)),
    }
}

fn exit_codes(fields: &Fields<'_>) -> Vec<i32> {
    fields.words("exit_codes").into_iter().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) fn tolerance(fields: &Fields<'_>) -> plan::Tolerance {
    match fields.fields("allow_failure") {
        Some(codes) => plan::Tolerance::ExitCodes(exit_codes(&codes)),
        None if fields.flag("allow_failure", false) => plan::Tolerance::Any,
        None => plan::Tolerance::None,
    }
}

pub(crate) fn class(task: &Fields<'_>) -> plan::Class {
    match task.word("class") {
        Some("exclusive") => plan::Class::Exclusive,
        Some("once") => plan::Class::Once,
        None if task.has("approval") => plan::Class::Exclusive,
        Some(_) | None => plan::Class::Normal,
    }
}

pub(crate) fn approval(task: &Fields<'_>) -> Option<plan::Approval> {
    let approval = task.fields("approval")?;
    Some(plan::Approval {
        by: approval.texts("by"),
        message: approval.text("message"),
        expires: approval.duration("expires").unwrap_or(7 * DAY),
    })
}

pub(crate) fn concurrency(fields: &Fields<'_>) -> Option<plan::Concurrency> {
    let concurrency = fields.fields("concurrency")?;
    Some(plan::Concurrency {
        group: concurrency.text("group")?,
        limit: concurrency.integer("limit").unwrap_or(1),
        cancel: match concurrency.word("cancel") {
            Some("waiting") => plan::Supersede::Waiting,
            Some("running") => plan::Supersede::Running,
            Some(_) | None => plan::Supersede::Never,
        },
    })
}

pub(crate) fn resources(fields: &Fields<'_>) -> plan::Resources {
    let Some(resources) = fields.fields("resources") else { return plan::Resources::default() };
    plan::Resources {
        cpu_millis: resources.word("cpus").and_then(|text| value::cpus(text).ok()),
        memory_bytes: resources.size("memory"),
        disk_bytes: resources.size("disk"),
        pids: resources.integer("pids"),
        gpus: resources.integer("gpus"),
    }
}

/// A job has no repository, so its default is no checkout.
pub(crate) fn checkout(
    task: &Fields<'_>,
    has_repository: bool,
    findings: &mut Findings,
) -> Option<plan::Checkout> {
    let fields = task.fields("checkout");
    if !has_repository {
        if fields.is_some() {
            let wrong = Wrong::new("a job has no repository to check out");
            findings.add(task.place("checkout"), wrong.hint("remove `checkout`, or clone in a stage"));
        }
        return None;
    }
    if task.has("checkout") && fields.is_none() {
        return None;
    }
    Some(plan::Checkout {
        depth: fields.and_then(|checkout| checkout.integer("depth")).unwrap_or(0),
        submodules: fields.is_some_and(|checkout| checkout.flag("submodules", false)),
        lfs: fields.is_some_and(|checkout| checkout.flag("lfs", false)),
    })
}

pub(crate) fn caches(task: &Fields<'_>, findings: &mut Findings) -> Vec<plan::Cache> {
    unique(task, "cache", "cache", findings);
    let caches = task.maps("cache").map(|cache| plan::Cache {
        name: cache.text("name").unwrap_or_default(),
        paths: cache.texts("paths"),
        key_files: cache.texts("key_files"),
        key: cache.text("key").unwrap_or_default(),
        fallback: cache.flag("fallback", true),
    });
    caches.collect()
}

pub(crate) fn artifacts(task: &Fields<'_>, findings: &mut Findings) -> Vec<plan::Artifact> {
    unique(task, "artifacts", "artifact", findings);
    let artifacts = task.maps("artifacts").map(|artifact| plan::Artifact {
        name: artifact.text("name").unwrap_or_default(),
        paths: artifact.texts("paths"),
        when: match artifact.word("when") {
            Some("failure") => plan::ArtifactWhen::Failure,
            Some("always") => plan::ArtifactWhen::Always,
            Some(_) | None => plan::ArtifactWhen::Success,
        },
        expires: artifact.duration("expires").unwrap_or(30 * DAY),
        optional: artifact.flag("optional", false),
    });
    artifacts.collect()
}

/// Reports the second of two items of a list that have one name.
pub(crate) fn unique(fields: &Fields<'_>, key: &str, what: &str, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for item in fields.maps(key) {
        if let Some(name) = item.word("name")
            && !seen.insert(name)
        {
            let wrong = Wrong::new(format!("a second {what} is called {}", quote(name)));
            findings.add(
                item.node("name").map_or(item.at(), |node| node.at),
                wrong.hint("give it a name of its own"),
            );
        }
    }
}

pub(crate) fn services(task: &Fields<'_>, findings: &mut Findings) -> Vec<plan::Service> {
    let services = task.entries("services").iter().map(|entry| {
        let fields = Fields::of(&entry.value);
        plan::Service {
            name: entry.key.to_string(),
            image: fields.text("image").unwrap_or_default(),
            env: fields.env(),
            command: fields.texts("command"),
            secrets: secrets(&fields, findings),
            pull_secret: fields.text("pull_secret"),
            resources: resources(&fields),
            ready: ready(&fields, findings),
        }
    });
    services.collect()
}

fn ready(service: &Fields<'_>, findings: &mut Findings) -> plan::Ready {
    let Some(ready) = service.fields("ready") else { return plan::Ready::Started };
    let timeout = ready.duration("timeout").unwrap_or(MINUTE);
    if ready.has("port") == ready.has("command") {
        let wrong = Wrong::new("`ready` needs exactly one of `port` and `command`");
        findings.add(service.place("ready"), wrong.hint("write `ready: {port: 5432}`"));
    }
    match ready.integer("port") {
        Some(port) => plan::Ready::Port { port, timeout },
        None => plan::Ready::Command { command: ready.texts("command"), timeout },
    }
}

/// Reads secrets, and refuses two that are given under one name or beside a variable of that name.
pub(crate) fn secrets(fields: &Fields<'_>, findings: &mut Findings) -> Vec<plan::SecretUse> {
    let own_env = Fields::of(fields.own).env();
    let mut uses: Vec<plan::SecretUse> = Vec::new();
    let mut seen = HashSet::new();
    for item in fields.items("secrets") {
        let Some(secret) = secret(item, findings) else { continue };
        if let plan::SecretDelivery::Env(variable) = &secret.delivery
            && own_env.contains_key(variable)
        {
            let wrong = Wrong::new(format!("`{variable}` is a variable of `env` and of a secret"));
            findings.add(item.at, wrong.hint("keep one of them"));
        }
        let what = describe(&secret.delivery);
        if !seen.insert(what.clone()) {
            findings.add(
                item.at,
                Wrong::new(format!("a second secret is given as {what}")).hint("keep one of them"),
            );
        }
        uses.push(secret);
    }
    uses
}

fn describe(delivery: &plan::SecretDelivery) -> String {
    match delivery {
        plan::SecretDelivery::Env(variable) | plan::SecretDelivery::Argument(variable) => {
            format!("variable `{variable}`")
        }
        plan::SecretDelivery::File(path) => format!("file {}", quote(path)),
        plan::SecretDelivery::Tool(tool) => format!("login for {tool:?}"),
    }
}

fn secret(item: &Node, findings: &mut Findings) -> Option<plan::SecretUse> {
    if !matches!(item.content, Content::Map(_)) {
        let name = text(item)?.to_owned();
        return Some(plan::SecretUse { delivery: plan::SecretDelivery::Env(name.clone()), name });
    }
    let fields = Fields::of(item);
    let name = fields.text("name")?;
    let given: Vec<&str> = ["env", "file", "as"].into_iter().filter(|key| fields.has(key)).collect();
    if given.len() > 1 {
        let wrong = Wrong::new(format!("a secret goes one way, this has {}", given.join(" and ")));
        findings.add(item.at, wrong.hint("list it a second time to give it both ways"));
    }
    let delivery = match given.first() {
        Some(&"env") => plan::SecretDelivery::Env(fields.text("env")?),
        Some(&"file") => plan::SecretDelivery::File(fields.text("file")?),
        Some(_) => plan::SecretDelivery::Tool(tool(fields.word("as")?)?),
        None => bare(&name, item.at, findings),
    };
    Some(plan::SecretUse { name, delivery })
}

fn bare(name: &str, at: At, findings: &mut Findings) -> plan::SecretDelivery {
    if value::secret_name(name).is_ok()
        && let Err(wrong) = value::bare_secret(name)
    {
        findings.add(at, wrong);
    }
    plan::SecretDelivery::Env(name.to_owned())
}

fn tool(word: &str) -> Option<plan::Tool> {
    match word {
        "docker" => Some(plan::Tool::Docker),
        "ssh-key" => Some(plan::Tool::SshKey),
        "maven" => Some(plan::Tool::Maven),
        "npm" => Some(plan::Tool::Npm),
        "pypi" => Some(plan::Tool::Pypi),
        "netrc" => Some(plan::Tool::Netrc),
        "kubeconfig" => Some(plan::Tool::Kubeconfig),
        _ => None,
    }
}
