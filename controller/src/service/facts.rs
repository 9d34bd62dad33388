//! What a transition requires of other keys, turned into the compares and writes of its transaction.
//!
//! Facts are what was last read of those keys. A stale one only makes the transaction fail: every
//! fact that was used is compared by its revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ocelot_core::id::{Epoch, RunId};
use ocelot_domain::placement::{GroupName, GroupRecord, Holder, SlotClaim};
use ocelot_domain::task::{Require, Step, Write};
use ocelot_proto::kit::chaos;

use crate::records::{Stage, Stored};
use crate::store::codec::encode;
use crate::store::keys::Key;
use crate::store::{Expected, KeyValue, Result, Revision, Txn};

/// What was read under a key, and when it last changed; none if nothing is there.
pub(crate) type Fact = Option<(Revision, Arc<Stored>)>;

/// What is known of keys beside the record that changes.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    known: BTreeMap<String, Fact>,
}

/// Why a transition cannot be carried out as things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// These have to be read first.
    Lacking(Vec<String>),
    /// The record belongs to another life of the store.
    OtherEpoch,
    RunNotActive,
    GroupFull(GroupName),
}

impl Facts {
    pub(crate) fn learn(&mut self, key: String, item: Option<&KeyValue>) -> Result<()> {
        let fact = match item {
            Some(item) => Some((item.mod_revision, Arc::new(Stored::read(item)?))),
            None => None,
        };
        self.known.insert(key, fact);
        Ok(())
    }

    pub(crate) fn note(&mut self, key: String, fact: Fact) {
        self.known.insert(key, fact);
    }

    pub(crate) fn fact(&self, key: &str) -> std::result::Result<&Fact, Obstacle> {
        self.known.get(key).ok_or_else(|| Obstacle::Lacking(vec![key.to_owned()]))
    }
}

/// The compares and writes of one or several transitions, beside the records themselves.
#[derive(Debug)]
pub(crate) struct Beside<'a> {
    facts: &'a Facts,
    epoch: (Epoch, Revision),
    compares: BTreeMap<String, Expected>,
    groups: BTreeMap<String, GroupRecord>,
    changed: BTreeSet<String>,
}

impl<'a> Beside<'a> {
    pub(crate) fn new(facts: &'a Facts, epoch: (Epoch, Revision)) -> Self {
        Self { facts, epoch, compares: BTreeMap::new(), groups: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// Adds what one transition requires and writes. `slots` are the group slots of its task.
    pub(crate) fn add(&mut self, step: &Step, slots: &[SlotClaim]) -> std::result::Result<(), Obstacle> {
        for require in &step.requires {
            self.require(require)?;
        }
        // The run's own slot is not the task's policy; an offer needs both.
        let joins = step.writes.iter().any(|write| matches!(write, Write::JoinGroup(_)));
        let offered = joins || step.requires.iter().any(|require| matches!(require, Require::RunActive(_)));
        for slot in slots.iter().filter(|_| offered) {
            self.take(slot)?;
        }
        for write in &step.writes {
            match write {
                Write::JoinGroup(_) => {}
                Write::LeaveGroup(group) => {
                    let run = Key::Run(step.next.id.run).to_string();
                    let fact = self.facts.fact(&run)?;
                    let Some(run) = fact.as_ref().and_then(|(_, stored)| stored.run()) else { continue };
                    let name = GroupName::new(&run.project(), &group.name);
                    self.release(&name, &Holder::Task(step.next.id))?;
                }
            }
        }
        Ok(())
    }

    fn require(&mut self, require: &Require) -> std::result::Result<(), Obstacle> {
        let (key, expected) = match require {
            Require::StoreEpoch(epoch) if *epoch == self.epoch.0 => (Key::Epoch, Expected::At(self.epoch.1)),
            Require::StoreEpoch(_) => return Err(Obstacle::OtherEpoch),
            Require::RunActive(run) => return self.run_active(*run),
            Require::SessionPresent(_) if chaos::bug("offer.ignores_session") => return Ok(()),
            Require::SessionPresent(session) => (Key::Session(*session), Expected::Present),
            Require::SessionAbsent(session) => (Key::Session(*session), Expected::Absent),
            Require::ExecutorEpochAt { .. } if chaos::bug("lost.ignores_epoch") => return Ok(()),
            Require::ExecutorEpochAt { executor, revision } => {
                let expected = match i64::try_from(revision.0) {
                    Ok(0) | Err(_) => Expected::Absent,
                    Ok(revision) => Expected::At(Revision(revision)),
                };
                (Key::ExecutorEpoch(*executor), expected)
            }
            // Room is what taking the slots finds out.
            Require::GroupRoom(_) => return Ok(()),
        };
        self.compares.insert(key.to_string(), expected);
        Ok(())
    }

    fn run_active(&mut self, run: RunId) -> std::result::Result<(), Obstacle> {
        let key = Key::Run(run).to_string();
        let Some((revision, stored)) = self.facts.fact(&key)? else { return Err(Obstacle::RunNotActive) };
        match stored.run().map(|run| (run.stage, &run.cancel)) {
            Some((Stage::Active, None)) => {}
            Some((Stage::Expanding | Stage::Active | Stage::Finished { .. }, _)) | None => {
                return Err(Obstacle::RunNotActive);
            }
        }
        self.compares.insert(key, Expected::At(*revision));
        Ok(())
    }

    fn take(&mut self, slot: &SlotClaim) -> std::result::Result<(), Obstacle> {
        let key = group_key(&slot.group);
        let record = self.group(&key)?;
        let next = record.take(slot).map_err(|full| Obstacle::GroupFull(full.group))?;
        self.set(key, &record, next);
        Ok(())
    }

    /// Takes a holder out of a group. The group is compared even when it is not in there: only
    /// then is what was read true.
    pub(crate) fn release(
        &mut self,
        group: &GroupName,
        holder: &Holder,
    ) -> std::result::Result<(), Obstacle> {
        let key = group_key(group);
        let record = self.group(&key)?;
        let next = record.release(holder);
        self.set(key, &record, next);
        Ok(())
    }

    fn group(&mut self, key: &str) -> std::result::Result<GroupRecord, Obstacle> {
        if let Some(record) = self.groups.get(key) {
            return Ok(record.clone());
        }
        let fact = self.facts.fact(key)?;
        let expected = fact.as_ref().map_or(Expected::Absent, |(revision, _)| Expected::At(*revision));
        let record = fact.as_ref().and_then(|(_, stored)| stored.group().cloned()).unwrap_or_default();
        self.compares.insert(key.to_owned(), expected);
        self.groups.insert(key.to_owned(), record.clone());
        Ok(record)
    }

    fn set(&mut self, key: String, before: &GroupRecord, next: GroupRecord) {
        if *before != next {
            self.changed.insert(key.clone());
            self.groups.insert(key, next);
        }
    }

    /// Returns how many compares or operations there are, whichever is more.
    pub(crate) fn len(&self) -> usize {
        self.compares.len().max(self.changed.len())
    }

    pub(crate) fn into_txn(self) -> Txn {
        let Self { compares, groups, changed, .. } = self;
        let txn = compares.into_iter().fold(Txn::new(), |txn, (key, expected)| txn.when(key, expected));
        let groups = groups.into_iter().filter(|(key, _)| changed.contains(key));
        groups.fold(txn, |txn, (key, record)| {
            if record.holders.is_empty() { txn.delete(key) } else { txn.put(key, encode(&record, None)) }
        })
    }
}

/// Returns the key of a group: `/name` for a shared one, `project//name` for a project's own.
pub(crate) fn group_key(group: &GroupName) -> String {
    let name = match &group.project {
        None => format!("/{}", group.name),
        Some(project) => format!("{project}//{}", group.name),
    };
    Key::Group(name).to_string()
}

/// Reads the name that [`group_key`] wrote.
pub(crate) fn group_name(written: &str) -> Option<GroupName> {
    match written.strip_prefix('/') {
        Some(name) => Some(GroupName { project: None, name: name.into() }),
        None => {
            let (project, name) = written.split_once("//")?;
            Some(GroupName { project: Some(project.into()), name: name.into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_key_tells_its_name() {
        for (project, name) in [(None, "deploy"), (None, "/a//b"), (Some("o/p"), "x//y"), (Some("job"), "")] {
            let group = GroupName { project: project.map(Into::into), name: name.into() };
            let Ok(Key::Group(written)) = group_key(&group).parse::<Key>() else { panic!("a group's key") };
            assert_eq!(group_name(&written), Some(group));
        }
    }
}
