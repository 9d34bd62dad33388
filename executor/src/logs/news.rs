//! What has happened to a log, told to whoever runs its attempt.
//!
//! A listener that is busy never holds up a log: what it did not hear yet is kept, of two of a kind the
//! later one, and told when there is room.

use std::collections::BTreeMap;

use ocelot_core::frame::Offset;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::attempt::{AttemptId, LogLoss};

/// What has happened to a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogNews {
    /// Its first byte of output was captured at this moment.
    FirstByte { unix_us: u64 },
    /// The capture before this place is in the spool, synced.
    Taken(Offset),
    /// The capture of the service at this place in the plan, before this place, is in the spool, synced.
    ServiceTaken { service: u16, offset: Offset },
    /// The log before this place is safe in the home of bytes.
    Durable(Offset),
    /// Bytes differ, or are gone.
    Broken(LogLoss),
    /// The attempt is not ours any more.
    Fenced,
}

pub type NewsSender = mpsc::Sender<(AttemptId, LogNews)>;

/// News that were not heard yet.
#[derive(Debug, Default)]
pub(super) struct Unsaid {
    pub(super) first_byte: Option<u64>,
    pub(super) taken: Option<Offset>,
    pub(super) services_taken: BTreeMap<u16, Offset>,
    pub(super) durable: Option<Offset>,
    pub(super) broken: Option<LogLoss>,
    pub(super) fenced: bool,
}

impl Unsaid {
    /// Tells what there is room for, and returns whether nothing is left.
    pub(super) fn say(&mut self, id: AttemptId, news: &NewsSender) -> bool {
        while let Some(next) = self.next() {
            match news.try_send((id, next)) {
                Ok(()) => self.forget_next(),
                Err(TrySendError::Full(_)) => return false,
                Err(TrySendError::Closed(_)) => *self = Self::default(),
            }
        }
        true
    }

    fn next(&self) -> Option<LogNews> {
        let first = self.first_byte.map(|unix_us| LogNews::FirstByte { unix_us });
        let fenced = self.fenced.then_some(LogNews::Fenced);
        let broken = || self.broken.clone().map(LogNews::Broken);
        let offsets = || self.taken.map(LogNews::Taken).or(self.durable.map(LogNews::Durable));
        let of_services = || {
            let (service, offset) = self.services_taken.first_key_value()?;
            Some(LogNews::ServiceTaken { service: *service, offset: *offset })
        };
        first.or(fenced).or_else(broken).or_else(offsets).or_else(of_services)
    }

    fn forget_next(&mut self) {
        if self.first_byte.take().is_some() || std::mem::take(&mut self.fenced) {
            return;
        }
        if self.broken.take().is_none() && self.taken.take().is_none() && self.durable.take().is_none() {
            self.services_taken.pop_first();
        }
    }
}
