//! A fleet whose processes are ended, held and cut off while it works.
//!
//! What was accepted ends, once; what must not run twice does not; the witness beside the fleet says
//! so, not the fleet.

mod bugs;
mod containers;
pub(crate) mod failpoints;
mod members;
mod networks;
mod oracle;
mod pauses;
mod restarts;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        bugs::trials(),
        containers::trials(),
        failpoints::trials(),
        members::trials(),
        networks::trials(),
        pauses::trials(),
        restarts::trials(),
    ];
    trials.into_iter().flatten().collect()
}
