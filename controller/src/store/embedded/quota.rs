//! How much the file may hold. To look takes three statements, each read anew: it is looked when enough
//! was written since, and while there is no room.

use crate::store::watch::Event;

use super::feed::event_bytes;

/// So small a part of the quota is written without looking.
const PARTS: u64 = 64;

#[derive(Debug)]
pub(super) struct Quota {
    pub(super) bytes: u64,
    pub(super) is_used_up: bool,
    /// Bytes written since it was looked; none before it was.
    unmeasured: Option<u64>,
}

impl Quota {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, is_used_up: false, unmeasured: None }
    }

    pub(super) fn is_due(&self) -> bool {
        self.is_used_up || self.unmeasured.is_none_or(|bytes| bytes >= self.bytes / PARTS)
    }

    pub(super) fn measured(&mut self, used_bytes: u64) {
        self.is_used_up = used_bytes >= self.bytes;
        self.unmeasured = Some(0);
    }

    pub(super) fn wrote(&mut self, events: &[Event]) {
        let bytes: usize = events.iter().map(event_bytes).sum();
        self.unmeasured = self.unmeasured.map(|before| before + bytes as u64);
    }
}
