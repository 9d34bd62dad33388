//! Runtimes with a real engine: what runs in a container, and what becomes of it.

mod rig;
mod starts;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    starts::trials()
}
