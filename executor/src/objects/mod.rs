//! What attempts keep and need: artifacts and caches between a workspace and the controllers.
//!
//! Nothing here decides about an attempt. What is chosen is decided by globs, what is safe to unpack
//! by the archive, and what came is what was meant only once its digest was compared.

mod chosen;
mod client;
mod pack;
mod pipe;
mod said;
#[cfg(test)]
mod tests;
mod unpack;

use ocelot_core::plan::TaskPlan;

pub(crate) use chosen::Chosen;
pub(crate) use client::{Failed, Wanted, fetch, needed, push};
pub(crate) use pack::{Packing, cache_key, pack};
pub(crate) use said::{bytes, files, seconds, shown};
pub(crate) use unpack::{clean, unpack};

/// Returns whether a task finds anything in its workspace beside its commit.
pub(crate) fn fills(plan: &TaskPlan) -> bool {
    let environment = &plan.environment;
    plan.needs.iter().any(|need| need.artifacts)
        || !environment.caches.is_empty()
        // Too many are refused before anything runs.
        || environment.artifacts.len() > ARTIFACTS_MAX
}

/// The most bytes that are sent at a time.
const PIECE_BYTES: usize = 1024 * 1024;
/// Artifacts of one task; more are refused by every controller.
pub(crate) const ARTIFACTS_MAX: usize = 64;
