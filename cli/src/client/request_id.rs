//! Ids and chance, drawn from the system in one place.

use ocelot_core::id::RunId;
use ocelot_proto::kit::clock::UnixMicros;

use crate::error::{Error, Result, Whose};

/// Makes the id of a run that does not exist yet: kept by the caller, so that asking twice makes one.
pub(crate) fn new_run_id(now: UnixMicros) -> Result<RunId> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| Error::Refused {
        what: format!("this machine gives no random bytes: {error}"),
        hint: None,
        whose: Whose::State,
    })?;
    Ok(RunId::from_parts(now.0 / 1_000, random))
}

/// A number from 0 to 1. Without chance the waits are only less spread.
pub(super) fn random_share() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}
