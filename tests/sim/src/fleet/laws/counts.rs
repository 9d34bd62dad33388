//! What happened in a world, counted, so that one in which nothing did proves nothing.

use std::collections::BTreeMap;
use std::fmt;

/// What happened, so that a world in which nothing did is not taken for a proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub revisions: u64,
    pub runs: u64,
    pub builds: u64,
    pub retried: u64,
    pub reattached: u64,
    pub taken: u64,
    pub logs_lost: u64,
    pub outcomes: BTreeMap<String, u64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revisions, runs, builds, retried, reattached, taken, logs_lost, outcomes } = self;
        write!(
            f,
            "{runs} runs, {builds} builds, {retried} retried, {reattached} re-attached, {taken} taken away, \
             {logs_lost} logs with a loss, {revisions} revisions; ended:"
        )?;
        outcomes.iter().try_for_each(|(outcome, count)| write!(f, " {outcome} {count}"))
    }
}

impl Counts {
    pub(in crate::fleet) fn add(&mut self, other: &Self) {
        self.revisions += other.revisions;
        self.runs += other.runs;
        self.builds += other.builds;
        self.retried += other.retried;
        self.reattached += other.reattached;
        self.taken += other.taken;
        self.logs_lost += other.logs_lost;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
    }
}
