//! From a commit to the end of its tasks: real repositories, real fleets.

mod canaries;
pub(crate) mod deliveries;
mod files;
pub(crate) mod graph;
mod hostile;
mod points;
mod push;
mod semantics;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        canaries::trials(),
        deliveries::trials(),
        files::trials(),
        graph::trials(),
        hostile::trials(),
        points::trials(),
        push::trials(),
        semantics::trials(),
    ];
    trials.into_iter().flatten().collect()
}
