//! What is stored beside the domain's own records: versioned types, never the messages of a wire.

mod controller;
mod digest;
mod executor;
mod job;
mod object;
mod outbox;
mod progress;
mod project;
mod run;
mod schedule;
mod secret;
mod stored;
#[cfg(test)]
mod tests;

pub use controller::ControllerRecord;
pub use digest::Digest;
pub use executor::{
    Condition, ExecutorEpoch, ExecutorRecord, Machine, NameOf, Notice, RuntimeSupport, SessionRecord,
};
pub use job::{JobNumber, JobRecord, JobVersion};
pub use object::{ArtifactRecord, CacheRecord, Kept};
pub use outbox::{OutboxEntry, OutboxStep, OutboxTarget, Wanted};
pub use progress::{ProgressRecord, StageExit, StageRecord, Told, Used};
pub use project::{
    EventDecision, EventRecord, ForgeLink, HeadRecord, HookRecord, LookRecord, NoProjectName, PreviousSecret,
    ProjectName, ProjectRecord, SuccessRecord, TagsRecord,
};
pub use run::{
    Cancel, PLAN_INLINE_MAX, RetryOf, RunRecord, SourceRecord, Stage, StoredPlan, Subject, Trigger,
    TriggerKind, Trust,
};
pub use schedule::{PassedMoment, Paused, ScheduleRecord, ScheduledRun, SchedulesRecord};
pub use secret::{BareSecrets, RunSecretsRecord, SealRecord, SecretAbout, SecretRecord, SecretUseRecord};
pub use stored::Stored;

use ocelot_domain::placement::GroupRecord;
use ocelot_domain::task::Task;

use crate::store::codec::Record;

impl Record for Task {
    const KIND: &'static str = "task";
    const VERSION: u32 = 1;
}

impl Record for GroupRecord {
    const KIND: &'static str = "group";
    const VERSION: u32 = 1;
}
