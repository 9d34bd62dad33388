//! The numbers of a job's runs: the last one that was given, as a lane remembers it, as the view has it
//! or as it is stored.
//!
//! Whoever takes the next number compares the last one. What is remembered or seen may be old: that
//! costs another try, and no number is given twice.

use std::collections::BTreeMap;

use ocelot_core::id::Epoch;

use super::Service;
use super::error::Result;
use super::follow::known;
use crate::records::JobNumber;
use crate::store::codec::decode;
use crate::store::keys::Key;
use crate::store::{Expected, Revision};

/// Jobs whose numbers a lane remembers.
const JOBS_MAX: usize = 256;

/// The last number of a job, and what a transaction compares of it.
pub(super) struct Counter {
    pub(super) last: u64,
    pub(super) expected: Expected,
}

/// Where a number is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// In memory.
    Near,
    /// In the store.
    Far,
}

/// The last numbers that were given in a lane, and when, in one epoch of the store.
#[derive(Debug, Default)]
pub(super) struct Given {
    epoch: Option<Epoch>,
    numbers: BTreeMap<String, (Revision, u64)>,
}

impl Given {
    /// Forgets what was given in another epoch: its revisions mean nothing in this one.
    pub(super) fn keep_to(&mut self, epoch: Epoch) {
        if self.epoch.replace(epoch) != Some(epoch) {
            self.numbers.clear();
        }
    }

    pub(super) fn note(&mut self, job: String, last: u64, at: Revision) {
        if self.numbers.len() >= JOBS_MAX && !self.numbers.contains_key(&job) {
            // Any will do: the view has it, too.
            self.numbers.pop_first();
        }
        self.numbers.insert(job, (at, last));
    }
}

impl Service {
    pub(super) async fn counter(&self, job: &str, look: Look, given: &Given) -> Result<Counter> {
        match look {
            Look::Near => Ok(self.counter_nearby(job, given)),
            Look::Far => self.counter_stored(job).await,
        }
    }

    pub(super) async fn counter_stored(&self, job: &str) -> Result<Counter> {
        let item = self.read(&Key::JobNumber(job.to_owned()).to_string()).await?;
        let last = item.as_ref().map(|item| decode::<JobNumber>(&item.value)).transpose()?;
        let expected = item.map_or(Expected::Absent, |item| Expected::At(item.mod_revision));
        Ok(Counter { last: last.map_or(0, |JobNumber(last)| last), expected })
    }

    fn counter_nearby(&self, job: &str, given: &Given) -> Counter {
        let seen = known(self.view.get(&Key::JobNumber(job.to_owned()).to_string()).as_ref());
        let seen = seen.and_then(|(at, stored)| Some((at, stored.number()?.0)));
        match seen.max(given.numbers.get(job).copied()) {
            Some((at, last)) => Counter { last, expected: Expected::At(at) },
            None => Counter { last: 0, expected: Expected::Absent },
        }
    }
}
