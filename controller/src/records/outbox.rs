//! What somebody outside is to be told of a run: the wanted state, and a number.

use serde::{Deserialize, Serialize};

use ocelot_core::id::RunId;
use ocelot_domain::run::RunOutcome;

use crate::store::codec::Record;

/// One message that is owed; a newer state overwrites it under a higher number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    pub run: RunId,
    pub target: String,
    pub wanted: RunOutcome,
    pub number: u64,
}

impl Record for OutboxEntry {
    const KIND: &'static str = "outbox";
    const VERSION: u32 = 1;
}
