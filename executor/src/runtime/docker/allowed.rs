//! The last look at a container before the engine is asked for it.
//!
//! What is not on the list is refused, also a field that a later engine invents: a plan that found a
//! way around everything before this still gets no mount, device, namespace or right of the machine.

use std::path::{Component, Path};

use bollard::models::ContainerCreateBody;
use serde_json::{Map, Value};

use super::body::{
    Asked, CAPABILITIES, CONTROL, LABEL_CONTROL, LABEL_SERVICE, NO_NEW_PRIVILEGES, OWN, SUPERVISOR, SYSCTLS,
    WORKSPACE,
};

/// What the container may contain that differs from one attempt to the next.
#[derive(Debug)]
pub(super) struct Allowance<'a> {
    /// Our own mounts come from below it only, links followed.
    pub data: &'a Path,
    /// Files of the task come from its own folder in here only.
    pub memory: &'a Path,
    pub supervisor: &'a Path,
    pub asked: Asked<'a>,
    pub network: &'a str,
}

/// A field that no container of ours has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the container may not have {field} = {value}")]
pub(super) struct Forbidden {
    pub field: String,
    pub value: String,
}

type Check = Result<(), Forbidden>;

/// Refuses whatever is not allowed.
pub(super) fn check(body: &ContainerCreateBody, allowance: &Allowance<'_>) -> Check {
    let Ok(Value::Object(body)) = serde_json::to_value(body) else {
        return Err(forbidden("Container", &Value::Null));
    };
    each(&body, "", |field, value| match field {
        "Image" => value.as_str().is_some_and(|image| image.starts_with("sha256:")),
        "Entrypoint" => is_entry_point(value),
        "Cmd" => *value == Value::Array(Vec::new()),
        "User" => value == "0:0",
        "WorkingDir" => value == allowance.asked.directory(),
        "Labels" => is_labels(value, &allowance.asked),
        "NetworkingConfig" => is_alias(value, allowance),
        "Healthcheck" => *value == serde_json::json!({"Test": ["NONE"]}),
        "HostConfig" => value.is_object(),
        _ => false,
    })?;
    let Some(Value::Object(host)) = body.get("HostConfig") else {
        return Err(forbidden("HostConfig", &Value::Null));
    };
    each(host, "HostConfig.", |field, value| match field {
        // Looked at one by one below.
        "Mounts" => value.is_array(),
        "NetworkMode" => value == allowance.network && is_network(allowance.network),
        "NanoCpus" | "Memory" | "MemorySwap" | "PidsLimit" => value.as_i64().is_some_and(|limit| limit > 0),
        "StorageOpt" => value.as_object().is_some_and(|options| options.keys().eq(["size"])),
        "CapDrop" => *value == serde_json::json!(["ALL"]),
        "CapAdd" => *value == serde_json::json!(CAPABILITIES),
        "SecurityOpt" => *value == serde_json::json!([NO_NEW_PRIVILEGES]),
        "IpcMode" | "CgroupnsMode" => value == "private",
        "Privileged" | "Init" => *value == Value::Bool(false),
        "Ulimits" => *value == serde_json::json!([{"Name": "core", "Soft": 0, "Hard": 0}]),
        "LogConfig" => value["Type"] == "json-file",
        "Sysctls" => {
            value.as_object().is_some_and(|set| set.len() == SYSCTLS.len())
                && SYSCTLS.iter().all(|(name, wanted)| value[*name] == *wanted)
        }
        _ => false,
    })?;
    for required in ["Mounts", "NetworkMode", "PidsLimit", "CapDrop", "SecurityOpt", "IpcMode"] {
        if host.get(required).is_none_or(Value::is_null) {
            return Err(forbidden(&format!("HostConfig.{required}"), &Value::Null));
        }
    }
    check_mounts(&host["Mounts"], allowance)
}

/// Calls for each field that is set.
fn each(object: &Map<String, Value>, prefix: &str, allowed: impl Fn(&str, &Value) -> bool) -> Check {
    for (field, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        if !allowed(field, value) {
            return Err(forbidden(&format!("{prefix}{field}"), value));
        }
    }
    Ok(())
}

fn is_entry_point(value: &Value) -> bool {
    let words: Vec<_> = value.as_array().into_iter().flatten().map(Value::as_str).collect();
    match words[..] {
        [Some(SUPERVISOR), Some(CONTROL), Some("--deadline-ms"), Some(deadline)] => {
            deadline.parse::<u64>().is_ok()
        }
        _ => false,
    }
}

fn is_labels(value: &Value, asked: &Asked<'_>) -> bool {
    let Some(labels) = value.as_object() else { return false };
    let service = labels.get(LABEL_SERVICE).map(Value::as_str);
    labels.len() == if asked.service.is_some() { 4 } else { 3 }
        && service == asked.service.map(Some)
        && labels.get(LABEL_CONTROL).is_some_and(|own| *own == *asked.task.to_string_lossy())
}

/// A service has one more name in its task's own network, and nothing else is set there.
fn is_alias(value: &Value, allowance: &Allowance<'_>) -> bool {
    let Some(name) = allowance.asked.service else { return false };
    *value == serde_json::json!({"EndpointsConfig": {allowance.network: {"Aliases": [name]}}})
}

/// A network that we made, by id or by our name for it: never the machine's, never another container's.
fn is_network(network: &str) -> bool {
    let id = network.len() == 64 && network.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = network.strip_prefix("ocelot-");
    id || name.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn check_mounts(mounts: &Value, allowance: &Allowance<'_>) -> Check {
    let mut targets = Vec::new();
    for mount in mounts.as_array().into_iter().flatten() {
        let path = |name: &str| mount[name].as_str().map(Path::new);
        let (Some(source), Some(target)) = (path("Source"), path("Target")) else {
            return Err(forbidden("HostConfig.Mounts", mount));
        };
        let plain = mount["Type"] == "bind"
            && mount["BindOptions"] == serde_json::json!({"Propagation": "rprivate"})
            && ["VolumeOptions", "TmpfsOptions", "ImageOptions"].iter().all(|name| mount[*name].is_null());
        let read_only = mount["ReadOnly"] == Value::Bool(true);
        let ours = is_below(source, allowance.data);
        let known = match target.to_str() {
            Some(SUPERVISOR) => ours && source == allowance.supervisor && read_only,
            Some(CONTROL) => ours && source == allowance.asked.control,
            Some(WORKSPACE) => ours && allowance.asked.workspace == Some(source),
            Some(_) => read_only && is_free(target, &allowance.asked) && is_in_memory(source, allowance),
            None => false,
        };
        if !plain || !known || targets.contains(&target) {
            return Err(forbidden("HostConfig.Mounts", mount));
        }
        targets.push(target);
    }
    let workspace = allowance.asked.workspace.map(|_| WORKSPACE);
    let all = [Some(SUPERVISOR), Some(CONTROL), workspace];
    let all = all.into_iter().flatten().all(|own| targets.contains(&Path::new(own)));
    if all { Ok(()) } else { Err(forbidden("HostConfig.Mounts", mounts)) }
}

/// Returns whether a file may be put there: nowhere in a workspace, where whatever fills it under the
/// container would unlink it.
fn is_free(target: &Path, asked: &Asked<'_>) -> bool {
    let mut components = target.components();
    let absolute = components.next() == Some(Component::RootDir);
    let plain = components.all(|component| matches!(component, Component::Normal(_)));
    let workspace = asked.workspace.map(|_| WORKSPACE);
    let mut taken = [OWN, "/proc", "/sys", "/dev"].into_iter().chain(workspace);
    let taken = taken.any(|folder| target.starts_with(folder));
    absolute && plain && !taken && target != Path::new("/")
}

/// Returns whether a file is one of the attempt's own secrets: they are below a folder in memory that is
/// called as the attempt's own is.
fn is_in_memory(source: &Path, allowance: &Allowance<'_>) -> bool {
    let name = allowance.asked.task.parent().and_then(Path::file_name);
    name.is_some_and(|name| is_below(source, &allowance.memory.join(name)))
}

/// Returns whether the path is in the folder, also after following every link.
fn is_below(path: &Path, folder: &Path) -> bool {
    let (Ok(path), Ok(folder)) = (path.canonicalize(), folder.canonicalize()) else { return false };
    path.starts_with(&folder) && path != folder
}

fn forbidden(field: &str, value: &Value) -> Forbidden {
    Forbidden { field: field.to_owned(), value: value.to_string() }
}
