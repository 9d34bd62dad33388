//! What the spool's checkpoints say of the log's maker, for the next process to go on.

use std::collections::BTreeMap;

use ocelot_core::frame::Offset;
use serde::{Deserialize, Serialize};

use crate::attempt::LogLoss;
use crate::mask::Checkpoint;

const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Maker {
    pub(super) version: u32,
    /// None once nothing more is made.
    pub(super) masker: Option<Checkpoint>,
    /// When the first byte of output came.
    pub(super) first_byte: Option<u64>,
    /// The log is whole, or ends with its loss.
    pub(super) sealed: bool,
    pub(super) loss: Option<LogLoss>,
    /// How far a controller had the log: where the next process begins to send.
    pub(super) received: Offset,
    /// How far the captures of the services are taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) services: BTreeMap<u16, Offset>,
}

/// The words of a checkpoint are not those of a maker that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum UnknownMaker {
    #[error("the log's checkpoint has version {0}, which this program does not know")]
    Version(u32),
    #[error("the log's checkpoint is not understood")]
    Text(#[from] serde_json::Error),
}

impl Maker {
    pub(super) fn new() -> Self {
        Self {
            version: VERSION,
            masker: None,
            first_byte: None,
            sealed: false,
            loss: None,
            received: Offset(0),
            services: BTreeMap::new(),
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, UnknownMaker> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(UnknownMaker::Version(version));
        }
        Ok(serde_json::from_str(text)?)
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("a maker has text keys only")
    }
}
