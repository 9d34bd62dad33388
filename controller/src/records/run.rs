//! A run as it is stored: what was accepted, and where it stands as a whole.
//!
//! A task's transition never writes it. Timestamps are for people.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use ocelot_core::id::{Epoch, RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::{Actor, Outcome};
use ocelot_domain::run::{RunOutcome, RunStage};
use ocelot_domain::task::state::{Task, TaskState, Timestamp};
use ocelot_spec::Event;

use super::Digest;
use crate::store::codec::Record;

/// The longest plan that a run's record holds itself.
pub const PLAN_INLINE_MAX: usize = 64 * 1024;

/// One accepted run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub id: RunId,
    pub subject: Subject,
    /// Counts up per job.
    pub number: u64,
    /// What was asked for; the same id with another digest is an error.
    pub payload: Digest,
    pub plan: StoredPlan,
    pub trigger: Trigger,
    pub retry: Option<RetryOf>,
    pub accepted_at: Timestamp,
    pub stage: Stage,
    pub cancel: Option<Cancel>,
    /// The commit that a project's run works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRecord>,
    /// Why the run was rejected before it had tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Job {
        name: String,
        version: u32,
    },
    /// owner/name.
    Project {
        name: String,
    },
}

/// A commit of a project's repository, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// https or ssh address, without credentials.
    pub url: String,
    /// Full id.
    pub commit: String,
    /// The ref under which the commit can be fetched.
    pub reference: String,
    pub event: Event,
    /// Of the commit; its first line is what lists show.
    pub message: String,
    pub author: String,
    /// The newest commit of the branch that was built with success before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_success: Option<String>,
    pub trust: Trust,
}

/// Whose code it is that a run executes. Decided from the forge's immutable ids, never from a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Of somebody who may push to the project.
    Own,
    /// Of a fork, or of nobody knows whom: no secrets, and no cache that the project's own runs read.
    Fork,
}

/// The plan, or where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredPlan {
    Inline(Arc<Plan>),
    /// In the home of bytes, under its digest.
    Kept {
        digest: Digest,
        tasks: u32,
    },
}

/// What made a run, and who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    pub by: Actor,
    /// The name of the schedule that it is a run of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    CommandLine,
    Rest,
    Webhook,
    Poller,
    Schedule,
    Retry,
    Upstream,
}

/// The run that this one repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOf {
    pub run: RunId,
    /// Tasks that keep their success from there.
    pub succeeded: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Expanding,
    Active,
    Finished { outcome: RunOutcome, at: Timestamp },
}

/// A cancel that was asked for; it stays once it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub by: Actor,
    pub reason: Option<String>,
    /// Without the executor's consent.
    pub force: bool,
    pub at: Timestamp,
}

impl TriggerKind {
    /// Returns the word for it, as tasks and people see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandLine => "command_line",
            Self::Rest => "rest",
            Self::Webhook => "webhook",
            Self::Poller => "poller",
            Self::Schedule => "schedule",
            Self::Retry => "retry",
            Self::Upstream => "upstream",
        }
    }
}

impl Subject {
    /// Returns what numbers, groups and fair shares go by: a job's name, or owner/name of a project.
    pub fn name(&self) -> &str {
        match self {
            Self::Job { name, .. } | Self::Project { name } => name,
        }
    }
}

impl SourceRecord {
    /// Returns the first line of the commit's message.
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

impl Record for RunRecord {
    const KIND: &'static str = "run";
    const VERSION: u32 = 1;
}

impl RunRecord {
    /// Returns the name that limits, groups and fair shares go by.
    pub fn project(&self) -> Arc<str> {
        self.subject.name().into()
    }

    /// Returns whether the run may be given secrets.
    pub fn is_trusted(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.trust == Trust::Own)
    }

    pub fn stage(&self) -> RunStage {
        match self.stage {
            Stage::Expanding => RunStage::Expanding,
            Stage::Active => RunStage::Active,
            Stage::Finished { outcome, .. } => RunStage::Finished(outcome),
        }
    }

    pub fn is_finished(&self) -> bool {
        match self.stage {
            Stage::Finished { .. } => true,
            Stage::Expanding | Stage::Active => false,
        }
    }

    /// Returns the first record of one task of this run; none if the plan has no such task.
    pub fn task(&self, plan: &Plan, index: u32, epoch: Epoch, now: Timestamp) -> Option<Task> {
        let mut task = Task::new(TaskId { run: self.id, index }, plan.tasks.get(index as usize)?, epoch, now);
        if self.retry.as_ref().is_some_and(|retry| retry.succeeded.contains(&index)) {
            task.state = TaskState::Finished { outcome: Outcome::Succeeded };
        }
        Some(task)
    }
}

impl StoredPlan {
    pub fn tasks(&self) -> usize {
        match self {
            Self::Inline(plan) => plan.tasks.len(),
            Self::Kept { tasks, .. } => *tasks as usize,
        }
    }
}
