//! What transactions and their compares are called: by what they do, as the code that makes them is.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_controller::records::Stored;
use ocelot_controller::store::keys::Key;
use ocelot_controller::store::{Compare, Expected, KeyValue, Op, Revision, Txn};
use ocelot_domain::task::Task;
use ocelot_domain::task::state::TaskState;

use super::store::ModelStore;

/// A compare by what its transaction does and what it compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub txn: String,
    pub compare: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", self.txn, self.compare)
    }
}

/// What a compare that was left out would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How often it would have refused.
    pub refusals: u64,
    /// How often no other compare of its transaction would have.
    pub alone: u64,
    /// Those that refused in its place.
    pub others: BTreeMap<String, u64>,
}

impl LeftOut {
    pub(super) fn mattered(&mut self, others: Vec<String>) {
        self.refusals += 1;
        self.alone += u64::from(others.is_empty());
        others.into_iter().for_each(|other| *self.others.entry(other).or_default() += 1);
    }

    pub(super) fn add(&mut self, more: Self) {
        self.refusals += more.refusals;
        self.alone += more.alone;
        more.others.into_iter().for_each(|(other, times)| *self.others.entry(other).or_default() += times);
    }
}

/// Names what a transaction does: a task's way, or else the kinds of keys that it writes.
pub(super) fn site_of(store: &ModelStore, txn: &Txn) -> String {
    let kinds = |op: &Op| match op {
        Op::Put { .. } => format!("put {}", kind_of(op.key())),
        Op::Delete { .. } => format!("delete {}", kind_of(op.key())),
    };
    let mut words: Vec<String> = txn.ops().iter().map(kinds).collect();
    words.sort();
    words.dedup();
    let writes = |word: &str| words.iter().any(|known| known == word);
    if words.is_empty() {
        return "vouch".to_owned();
    }
    if writes("put run") {
        return if writes("put number") { "execute" } else { "run" }.to_owned();
    }
    if writes("put session") {
        let replaced = if writes("put incarnation") { "session" } else { "session noted" };
        return replaced.to_owned();
    }
    if writes("put executor") {
        return if writes("put name") { "register" } else { "executor" }.to_owned();
    }
    let way = txn.ops().iter().find_map(|op| way_of(store, txn, op));
    way.map_or_else(|| words.join(" + "), str::to_owned)
}

/// Names what becomes of a task by what it was when that was decided.
fn way_of(store: &ModelStore, txn: &Txn, op: &Op) -> Option<&'static str> {
    let Op::Put { key, value, .. } = op else { return None };
    if kind_of(key) != "task" {
        return None;
    }
    let seen = txn.compares().iter().find(|compare| compare.key == *key);
    let before = match seen.map(|compare| compare.expected) {
        Some(Expected::At(at)) => store.version(key, Some(at)),
        Some(Expected::Absent | Expected::Present) | None => None,
    };
    let before = before.and_then(|item| state_of(&item.value, key));
    let after = state_of(value, key)?;
    let by_absence = txn
        .compares()
        .iter()
        .any(|compare| kind_of(&compare.key) == "session" && compare.expected == Expected::Absent);
    Some(match (before, after) {
        (None, _) => "put task",
        (Some(_), _) if by_absence => "take away",
        (Some(TaskState::Waiting { .. }), _) => "gate",
        (Some(TaskState::Queued { .. }), TaskState::Offered { .. }) => "offer",
        (Some(TaskState::Queued { .. }), _) => "end queued",
        (Some(TaskState::Offered { .. }), TaskState::Running { .. }) => "acknowledge",
        (Some(TaskState::Offered { .. }), TaskState::Queued { .. }) => "hand back",
        (Some(TaskState::Offered { .. }), TaskState::Offered { .. })
        | (Some(TaskState::Running { .. }), TaskState::Running { .. })
        | (Some(TaskState::Cancelling { .. }), TaskState::Cancelling { .. }) => "attach",
        (Some(TaskState::Offered { .. }), _) => "end offered",
        (Some(TaskState::Running { .. }), TaskState::Cancelling { .. }) => "cancel",
        (Some(TaskState::Running { .. } | TaskState::Cancelling { .. }), _) => "complete",
        (Some(TaskState::Finished { .. }), _) => "after the end",
    })
}

fn state_of(value: &bytes::Bytes, key: &str) -> Option<TaskState> {
    Some(task_of(value, key)?.state)
}

/// Reads a task from what a transaction puts.
pub(super) fn task_of(value: &bytes::Bytes, key: &str) -> Option<Task> {
    let item = KeyValue {
        key: key.to_owned(),
        value: value.clone(),
        create_revision: Revision(1),
        mod_revision: Revision(1),
        lease: None,
    };
    Stored::read(&item).ok()?.task().cloned()
}

pub(super) fn name_of(compare: &Compare) -> String {
    let expected = match compare.expected {
        Expected::Absent => "absent",
        Expected::Present => "present",
        Expected::At(_) => "unchanged",
    };
    // A record that is made and one that is changed are one record.
    match kind_of(&compare.key) {
        kind @ ("group" | "number" | "incarnation" | "progress") if expected != "present" => {
            format!("{kind} unchanged")
        }
        kind => format!("{kind} {expected}"),
    }
}

/// Returns the word for what a key holds.
pub(super) fn kind_of(key: &str) -> &'static str {
    match key.parse() {
        Ok(Key::Epoch) => "epoch",
        Ok(Key::Job(_)) => "job",
        Ok(Key::JobNumber(_)) => "number",
        Ok(Key::Run(_)) => "run",
        Ok(Key::Task(_)) => "task",
        Ok(Key::Executor(_)) => "executor",
        Ok(Key::ExecutorEpoch(_)) => "incarnation",
        Ok(Key::ExecutorName(_)) => "name",
        Ok(Key::Progress(..)) => "progress",
        Ok(Key::Session(_)) => "session",
        Ok(Key::Group(_)) => "group",
        Ok(Key::Outbox { .. }) => "outbox",
        Ok(
            Key::Home
            | Key::Project { .. }
            | Key::Event { .. }
            | Key::Head { .. }
            | Key::Look { .. }
            | Key::Tags { .. }
            | Key::Controller(_)
            | Key::Token(_)
            | Key::Secret(..)
            | Key::SecretUse(..)
            | Key::RunSecrets(_)
            | Key::Seal
            | Key::Schedule(_),
        ) => "other",
        Err(_) => "unknown",
    }
}
