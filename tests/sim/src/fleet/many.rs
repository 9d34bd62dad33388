//! Many worlds, seed by seed, on as many threads as there are processors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Counts, Ended, LeftOut, Named, Planted, world};

/// What all worlds were together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    pub worlds: u64,
    pub counts: Counts,
    pub struck: BTreeMap<&'static str, u64>,
    pub compares: BTreeMap<Named, u64>,
    /// What a compare that was left out would have done.
    pub left_out: LeftOut,
}

/// The first world, by its seed, in which a promise broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub seed: u64,
    pub why: String,
    /// How many worlds passed before.
    pub passed: u64,
}

impl Failed {
    /// Returns the one command that shows this world again.
    pub fn replay(&self) -> String {
        format!("cargo run --release -p ocelot-sim -- simulate --seed {} --history", self.seed)
    }
}

/// Lets `count` worlds happen, from this seed on.
///
/// # Errors
/// With the least seed of those whose world has failed.
///
/// # Panics
/// If a world's thread does, which is a fault of the simulation.
pub fn run(count: u64, seed: u64, planted: &Planted) -> Result<Passed, Failed> {
    let next = AtomicU64::new(0);
    let passed = Mutex::new(Passed::default());
    let failed = Mutex::new(BTreeMap::<u64, String>::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || !failed.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            let seed = seed.wrapping_add(number);
            let Ended { broken, counts, struck, compares, left_out, .. } = world(seed, planted, false);
            if let Some(why) = broken {
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, why);
                return;
            }
            let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.worlds += 1;
            passed.counts.add(&counts);
            passed.left_out.add(left_out);
            struck.into_iter().for_each(|(fault, times)| *passed.struck.entry(fault).or_default() += times);
            compares
                .into_iter()
                .for_each(|(named, times)| *passed.compares.entry(named).or_default() += times);
        }
    };
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let passed = passed.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().next() {
        Some((seed, why)) => Err(Failed { seed, why, passed: passed.worlds }),
        None => Ok(passed),
    }
}

/// Returns every kind of compare that transactions make in these worlds.
///
/// # Errors
/// With the seed of a world that has failed.
pub fn compares(count: u64, seed: u64) -> Result<BTreeSet<Named>, Failed> {
    let planted = Planted { names: true, ..Planted::default() };
    Ok(run(count, seed, &planted)?.compares.into_keys().collect())
}
