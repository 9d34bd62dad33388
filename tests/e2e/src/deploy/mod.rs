//! What people install: the archive, the installer, the units, the image and the compose file.
//!
//! Nothing is built with optimization for it: the programs are those that all trials start.

mod archive;
mod compose;
mod image;
mod install;
mod units;
mod upgrade;
mod versions;

use std::path::PathBuf;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        archive::trials(),
        install::trials(),
        units::trials(),
        upgrade::trials(),
        versions::trials(),
        compose::trials(),
    ];
    trials.into_iter().flatten().collect()
}

/// A file or folder of the source tree.
fn source(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../")).join(path)
}
