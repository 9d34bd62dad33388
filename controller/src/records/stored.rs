//! Any record of the store, told apart by its key: what one view of everything holds.

use ocelot_domain::placement::GroupRecord;
use ocelot_domain::task::Task;

use super::{
    ArtifactRecord, CacheRecord, ControllerRecord, EventRecord, ExecutorEpoch, ExecutorRecord, HeadRecord,
    JobNumber, JobRecord, LookRecord, OutboxEntry, ProgressRecord, ProjectRecord, RunRecord, SchedulesRecord,
    SecretAbout, SecretRecord, SecretUseRecord, SessionRecord,
};
use crate::store::codec::decode;
use crate::store::keys::Key;
use crate::store::{Error, KeyValue};

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    Job(JobRecord),
    JobNumber(JobNumber),
    Project(ProjectRecord),
    Event(EventRecord),
    Head(HeadRecord),
    Look(LookRecord),
    Run(RunRecord),
    Task(Task),
    Progress(ProgressRecord),
    Executor(ExecutorRecord),
    ExecutorEpoch(ExecutorEpoch),
    Session(SessionRecord),
    Group(GroupRecord),
    Controller(ControllerRecord),
    Outbox(OutboxEntry),
    Schedules(SchedulesRecord),
    /// All but the value.
    Secret(SecretAbout),
    SecretUse(SecretUseRecord),
    Artifact(ArtifactRecord),
    Cache(CacheRecord),
    /// What no view is asked for.
    Other,
}

macro_rules! accessor {
    ($name:ident, $variant:ident, $record:ty) => {
        pub fn $name(&self) -> Option<&$record> {
            if let Self::$variant(record) = self { Some(record) } else { None }
        }
    };
}

impl Stored {
    /// Reads what is stored under a key.
    pub fn read(item: &KeyValue) -> Result<Self, Error> {
        let key: Key = item.key.parse().map_err(|unknown| Error::Corrupt(Box::new(unknown)))?;
        Ok(match key {
            Key::Job(_) => Self::Job(decode(&item.value)?),
            Key::JobNumber(_) => Self::JobNumber(decode(&item.value)?),
            Key::Project { .. } => Self::Project(decode(&item.value)?),
            Key::Event { .. } => Self::Event(decode(&item.value)?),
            Key::Head { .. } => Self::Head(decode(&item.value)?),
            Key::Look { .. } => Self::Look(decode(&item.value)?),
            Key::Run(_) => Self::Run(decode(&item.value)?),
            Key::Task(_) => Self::Task(decode(&item.value)?),
            Key::Progress(..) => Self::Progress(decode(&item.value)?),
            Key::Executor(_) => Self::Executor(decode(&item.value)?),
            Key::ExecutorEpoch(_) => Self::ExecutorEpoch(decode(&item.value)?),
            Key::Session(_) => Self::Session(decode(&item.value)?),
            Key::Group(_) => Self::Group(decode(&item.value)?),
            Key::Controller(_) => Self::Controller(decode(&item.value)?),
            Key::Outbox { .. } => Self::Outbox(decode(&item.value)?),
            Key::Schedule(_) => Self::Schedules(decode(&item.value)?),
            Key::Secret(..) => Self::Secret(decode::<SecretRecord>(&item.value)?.about),
            Key::SecretUse(..) => Self::SecretUse(decode(&item.value)?),
            Key::Artifact(..) => Self::Artifact(decode(&item.value)?),
            Key::Cache { .. } => Self::Cache(decode(&item.value)?),
            Key::Epoch
            | Key::Home
            | Key::Tags { .. }
            | Key::ExecutorName(_)
            | Key::Token(_)
            | Key::RunSecrets(_)
            | Key::Seal => Self::Other,
        })
    }

    accessor!(job, Job, JobRecord);
    accessor!(number, JobNumber, JobNumber);
    accessor!(project, Project, ProjectRecord);
    accessor!(event, Event, EventRecord);
    accessor!(head, Head, HeadRecord);
    accessor!(look, Look, LookRecord);
    accessor!(run, Run, RunRecord);
    accessor!(task, Task, Task);
    accessor!(progress, Progress, ProgressRecord);
    accessor!(executor, Executor, ExecutorRecord);
    accessor!(epoch, ExecutorEpoch, ExecutorEpoch);
    accessor!(session, Session, SessionRecord);
    accessor!(group, Group, GroupRecord);
    accessor!(controller, Controller, ControllerRecord);
    accessor!(outbox, Outbox, OutboxEntry);
    accessor!(schedules, Schedules, SchedulesRecord);
    accessor!(secret, Secret, SecretAbout);
    accessor!(secret_use, SecretUse, SecretUseRecord);
    accessor!(artifact, Artifact, ArtifactRecord);
    accessor!(cache, Cache, CacheRecord);
}
