//! What a driver keeps so that an effect can be carried out, and what its work comes to.

use std::sync::Arc;

use bytes::Bytes;
use ocelot_core::frame::Offset;
use ocelot_supervisor::protocol::StageOrder;

use super::adopt::Up;
use super::stops::Stop;
use crate::attempt::link::LinkError;
use crate::attempt::ports::{Log, LogFailed};
use crate::attempt::secrets::Secrets;
use crate::attempt::state::{Cause, CompleteAnswer, Event, Written};
use crate::journal::{Entry, JournalError};
use crate::runtime::{Mount, RuntimeError, Standing};

/// What some work came to.
pub(super) enum Done {
    Event(Event),
    Written(Vec<Written>),
    NotWritten(Vec<Entry>, JournalError),
    Acknowledged(Vec<Bytes>),
    /// With the files of the task, and of each service.
    Secrets(Box<Secrets>, Vec<Mount>, Vec<Vec<Mount>>),
    NoSecrets(Event),
    Log(Result<Arc<dyn Log>, LogFailed>),
    Prepared,
    Launched(Box<Up>),
    NotLaunched(Cause),
    Linked(Result<Box<Up>, LinkError>),
    Looked(Result<Standing, RuntimeError>),
    SweepOver,
    /// The workspace has all that is put into it, or why it has not.
    Filled(Result<(), Stop>),
    StartTooLong,
    Files(Result<(), String>),
    /// With how much of the log a controller had when it was asked.
    Completed(CompleteAnswer, Offset),
    ReportDue,
    Reported,
    Nothing,
}

/// What the supervisor is to be told, again after each break.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub(super) order: Option<StageOrder>,
    pub(super) cancel: Option<u16>,
}

/// Where the log is.
#[derive(Debug)]
pub(super) enum LogPlace {
    None,
    Making,
    Ready(Arc<dyn Log>),
    Failed(String),
}

/// Whether the attempt's directory is made and synced.
#[derive(Debug)]
pub(super) enum Files {
    Making,
    /// The directories are there, what was offered is not.
    Filling,
    Made,
    Failed(String),
}

/// How far the end of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sealing {
    No,
    /// What still runs is being ended.
    Sweeping,
    /// The log is not made yet.
    Waiting,
    Begun,
}
