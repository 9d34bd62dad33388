//! How an attempt ended, as the journal keeps it, and as the wire says it.
//!
//! The wire's messages are never stored, so the stored shape is a type of its own. A field is only
//! ever added, with a default.

use ocelot_core::frame::Offset;
use ocelot_proto::wire;
use ocelot_proto::wire::outcome as end;
use serde::{Deserialize, Serialize};

/// The result of an attempt. Once journalled it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub outcome: Outcome,
    pub log: LogDigest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactDigest>,
    /// Bytes of the log that nobody has any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LogLoss>,
}

/// How the task's work ended here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed {
        /// None when it failed outside its stages.
        stage: Option<String>,
        failure: Failure,
    },
    TimedOut(Timeout),
    Cancelled,
    /// This machine failed the task, not the task itself.
    Lost {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    Exit(i32),
    Signal(i32),
    OutOfMemory {
        limit_bytes: Option<u64>,
    },
    Image {
        why: String,
    },
    Disk {
        why: String,
    },
    Policy {
        why: String,
    },
    /// What the first stage needed and was not there: a service, a commit.
    Setup {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timeout {
    Run,
    Stage { stage: String },
    Quiet,
}

/// The whole log, to be compared before the task counts as finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDigest {
    pub length: Offset,
    pub sha256: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLoss {
    pub at: Offset,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactDigest {
    pub name: String,
    pub sha256: [u8; 32],
    pub size_bytes: u64,
    #[serde(default)]
    pub files: u64,
}

/// Returns the outcome as `Complete` carries it. Who cancelled is the controller's to say.
pub fn outcome_to_wire(outcome: &Outcome) -> wire::Outcome {
    let outcome = match outcome {
        Outcome::Succeeded => end::Outcome::Succeeded(end::Succeeded {}),
        Outcome::Failed { stage, failure } => end::Outcome::Failed(end::Failed {
            stage: stage.clone().unwrap_or_default(),
            failure: Some(failure_to_wire(failure)),
        }),
        Outcome::TimedOut(timeout) => end::Outcome::TimedOut(end::TimedOut {
            limit: Some(match timeout {
                Timeout::Run => end::timed_out::Limit::Run(true),
                Timeout::Stage { stage } => end::timed_out::Limit::Stage(stage.clone()),
                Timeout::Quiet => end::timed_out::Limit::Quiet(true),
            }),
        }),
        Outcome::Cancelled => {
            end::Outcome::Cancelled(Box::new(end::Cancelled { by: String::new(), result: None }))
        }
        Outcome::Lost { why } => end::Outcome::Lost(end::Lost { why: why.clone() }),
    };
    wire::Outcome { outcome: Some(outcome) }
}

fn failure_to_wire(failure: &Failure) -> end::failed::Failure {
    match failure {
        Failure::Exit(code) => end::failed::Failure::Exit(*code),
        Failure::Signal(signal) => end::failed::Failure::Signal(*signal),
        Failure::OutOfMemory { limit_bytes } => {
            end::failed::Failure::OutOfMemory(wire::OutOfMemory { limit_bytes: limit_bytes.unwrap_or(0) })
        }
        Failure::Image { why } => end::failed::Failure::Image(why.clone()),
        Failure::Disk { why } => end::failed::Failure::Disk(why.clone()),
        Failure::Policy { why } => end::failed::Failure::Policy(why.clone()),
        Failure::Setup { why } => end::failed::Failure::Setup(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_reaches_the_wire_as_itself() {
        let why = || "why".to_owned();
        let failed = |failure| Outcome::Failed { stage: Some("build".into()), failure };
        let said = |outcome: &Outcome| outcome_to_wire(outcome).outcome.unwrap();
        let failure = |failure| match said(&failed(failure)) {
            end::Outcome::Failed(failed) => (failed.stage, failed.failure.unwrap()),
            other => panic!("{other:?}"),
        };
        let build = |failure| ("build".to_owned(), failure);
        assert_eq!(failure(Failure::Exit(3)), build(end::failed::Failure::Exit(3)));
        assert_eq!(failure(Failure::Signal(9)), build(end::failed::Failure::Signal(9)));
        let memory = end::failed::Failure::OutOfMemory(wire::OutOfMemory { limit_bytes: 7 });
        assert_eq!(failure(Failure::OutOfMemory { limit_bytes: Some(7) }), build(memory));
        assert_eq!(failure(Failure::Image { why: why() }), build(end::failed::Failure::Image(why())));
        assert_eq!(failure(Failure::Disk { why: why() }), build(end::failed::Failure::Disk(why())));
        assert_eq!(failure(Failure::Policy { why: why() }), build(end::failed::Failure::Policy(why())));
        assert_eq!(failure(Failure::Setup { why: why() }), build(end::failed::Failure::Setup(why())));
        let limit = |timeout| match said(&Outcome::TimedOut(timeout)) {
            end::Outcome::TimedOut(timed_out) => timed_out.limit.unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(Timeout::Run), end::timed_out::Limit::Run(true));
        assert_eq!(limit(Timeout::Quiet), end::timed_out::Limit::Quiet(true));
        assert_eq!(limit(Timeout::Stage { stage: "a".into() }), end::timed_out::Limit::Stage("a".into()));
        assert_eq!(said(&Outcome::Lost { why: why() }), end::Outcome::Lost(end::Lost { why: why() }));
        assert_eq!(said(&Outcome::Succeeded), end::Outcome::Succeeded(end::Succeeded {}));
        assert!(matches!(said(&Outcome::Cancelled), end::Outcome::Cancelled(_)));
    }
}
