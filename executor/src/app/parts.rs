//! The parts that a real executor is put together from, by its settings.

use super::{Parts, Settings, StartError};

/// No runtime is part of this build yet: they come with the merge of their branch.
#[derive(Debug, thiserror::Error)]
#[error("this build has no runtimes")]
struct NoRuntimes;

pub(super) fn standard(_settings: &Settings) -> Result<Parts, StartError> {
    Err(StartError::Runtime(Box::new(NoRuntimes)))
}
