//! Executors as placement sees them, made from their records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocelot_core::plan::{Label, Resources};
use ocelot_domain::placement::{Admits, EnginePermit, Executor, Grant, Kill, Obstacle, RuntimeKind, amounts};

use crate::records::{ExecutorRecord, SessionRecord};

/// Returns the executor as placement sees it; one without a session is offline.
pub(super) fn executor(record: &ExecutorRecord, session: Option<&SessionRecord>) -> Executor {
    let condition = session.map(|session| &session.condition);
    let refusing = condition.is_some_and(|condition| condition.refusing.is_some());
    let obstacles = [
        (Obstacle::Offline, session.is_none()),
        (Obstacle::Quarantined, record.quarantined.is_some()),
        (Obstacle::Draining, record.draining.is_some()),
        (Obstacle::DiskFloor, refusing),
    ];
    let runtimes = record.machine.runtimes.iter().map(|runtime| {
        let kind = if runtime.name == "process" { RuntimeKind::Process } else { RuntimeKind::Container };
        (kind, if runtime.whole_kill { Kill::ReachesAll } else { Kill::BestEffort })
    });
    let mut best: BTreeMap<RuntimeKind, Kill> = BTreeMap::new();
    for (kind, kill) in runtimes {
        let known = best.entry(kind).or_insert(kill);
        *known = kill.max(*known);
    }
    let images = condition.map(|condition| condition.warm_images.iter().map(|image| image.as_str().into()));
    Executor {
        id: record.id,
        name: record.name.as_str().into(),
        labels: labels(record),
        has: amounts(&resources(record)),
        runtimes: best,
        engine: EnginePermit::Nobody,
        admits: Admits::Everybody,
        slots: record.slots,
        obstacles: obstacles.into_iter().filter(|(_, is)| *is).map(|(obstacle, _)| obstacle).collect(),
        images: images.into_iter().flatten().collect::<BTreeSet<Arc<str>>>(),
        caches: BTreeSet::new(),
    }
}

/// The granted labels, and those that every machine has by itself.
fn labels(record: &ExecutorRecord) -> BTreeMap<Label, Grant> {
    shown_labels(record).iter().map(|text| granted(text)).collect()
}

/// Returns an executor's labels as they are written: those it was granted, then its own.
pub(super) fn shown_labels(record: &ExecutorRecord) -> Vec<String> {
    let machine = &record.machine;
    let runtimes = machine.runtimes.iter().map(|runtime| ("runtime", &runtime.name));
    let own = [("os", &machine.os), ("arch", &machine.arch), ("name", &record.name)].into_iter();
    let own = own.chain(runtimes).map(|(key, value)| format!("{key}={value}"));
    record.labels.iter().cloned().chain(own).collect()
}

/// Returns whether an executor has a label; `key` alone fits any value.
pub(super) fn has_label(record: &ExecutorRecord, text: &str) -> bool {
    let (wanted, _) = granted(text);
    labels(record)
        .keys()
        .any(|label| label.key == wanted.key && (wanted.value.is_none() || label.value == wanted.value))
}

fn granted(text: &str) -> (Label, Grant) {
    let (text, grant) = match text.strip_prefix('!') {
        Some(text) => (text, Grant::Reserved),
        None => (text, Grant::Open),
    };
    let label = match text.split_once('=') {
        Some((key, value)) => Label { key: key.to_owned(), value: Some(value.to_owned()) },
        None => Label { key: text.to_owned(), value: None },
    };
    (label, grant)
}

fn resources(record: &ExecutorRecord) -> Resources {
    let machine = &record.machine;
    Resources {
        cpu_millis: Some(machine.cpu_millis),
        memory_bytes: Some(machine.memory_bytes),
        disk_bytes: Some(machine.disk_bytes),
        pids: Some(u32::MAX),
        gpus: Some(machine.gpus),
    }
}
