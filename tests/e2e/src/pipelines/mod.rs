//! From a commit to the end of its tasks: real repositories, real fleets.

mod push;
mod semantics;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [push::trials(), semantics::trials()].into_iter().flatten().collect()
}
