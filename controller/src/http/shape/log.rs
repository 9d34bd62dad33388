//! Entries of logs, and how logs end.

use serde::Serialize;
use utoipa::ToSchema;

use super::Outcome;

/// What of a log is missing: everything from a byte on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Loss {
    pub(in crate::http) at: u64,
    pub(in crate::http) reason: String,
}

/// What an entry of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum LogKind {
    Stdout,
    Stderr,
    Platform,
    Begin,
    End,
    Loss,
    Cut,
    Lost,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct LogLine {
    pub(in crate::http) task: String,
    pub(in crate::http) attempt: u32,
    pub(in crate::http) time: Option<String>,
    pub(in crate::http) kind: LogKind,
    pub(in crate::http) stage: Option<String>,
    pub(in crate::http) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) signal: Option<i32>,
    /// The place in the log behind it: an `offset` to go on from.
    pub(in crate::http) next: u64,
}

/// How an attempt and its log ended: the last event of a log's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct LogEnd {
    pub(in crate::http) task: String,
    /// 0 if the task never began.
    pub(in crate::http) attempt: u32,
    pub(in crate::http) outcome: Option<Outcome>,
    pub(in crate::http) log_loss: Option<Loss>,
}
