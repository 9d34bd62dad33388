//! What takes longer than a full run of the tests may: each row prints what it did and found.

mod itself;
mod kills;
mod logs;
mod push;
mod requeue;
mod talk;

use std::future::Future;

use anyhow::{Context, Result, bail};
use ocelot_e2e::fleet::Fleet;

/// Runs the row of this name.
pub(crate) fn run(row: &str, count: &str, seed: &str) -> Result<()> {
    if row == "crash" {
        return crate::store::crash::long(count, seed);
    }
    let (count, seed) = (count.parse()?, seed.parse()?);
    match row {
        "itself" => block_on(itself::row(count)),
        "disk" => block_on(crate::disk::row(count)),
        "graph" => block_on(crate::pipelines::graph::row(count)),
        "deliveries" => block_on(crate::pipelines::deliveries::row(count, seed)),
        "kills" => block_on(kills::row(count, seed)),
        "push" => block_on(push::row(count)),
        "talk" => talk::row(),
        "requeue" => block_on(requeue::row(count)),
        "readopt" => block_on(logs::readopt(count)),
        "schedules" => block_on(crate::schedules::row(count, seed)),
        "logs" => block_on(logs::row(count, seed)),
        other => bail!("there is no long row {other}"),
    }
}

fn block_on(row: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(row)
}

/// Ends a fleet; after a failure its folder stays, and the failure names it.
pub(crate) fn kept(mut fleet: Fleet, done: Result<()>) -> Result<()> {
    done.with_context(|| format!("what the fleet wrote is in {}", fleet.keep_folder().display()))
}

/// A sequence of numbers that the seed determines (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

/// Returns the value at a fraction of the sorted values.
pub(crate) fn percentile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * at) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
