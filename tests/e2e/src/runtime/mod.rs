//! Runtimes with a real engine: what runs in a container, and what becomes of it.

mod losses;
mod pulls;
mod registry;
mod rig;
mod stages;
mod starts;
pub(crate) mod warm;

use libtest_mimic::Trial;

pub(crate) use starts::measure;

pub(crate) fn trials() -> Vec<Trial> {
    let parts = [starts::trials(), stages::trials(), losses::trials(), pulls::trials(), warm::trials()];
    parts.into_iter().flatten().collect()
}
