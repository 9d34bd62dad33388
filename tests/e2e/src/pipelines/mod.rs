//! From a commit to the end of its tasks: real repositories, real fleets.

mod canaries;
mod hostile;
mod semantics;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [semantics::trials(), hostile::trials(), canaries::trials()].into_iter().flatten().collect()
}
