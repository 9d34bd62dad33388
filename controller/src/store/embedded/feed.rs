//! The newest changes, for the watches that keep up.
//!
//! The writer publishes here after a group is durable and never waits for anyone: who falls behind
//! what is kept here reads the history table instead.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::store::range::Revision;
use crate::store::watch::{Change, Event, WatchBatch};

/// All changes of one revision.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) revision: Revision,
    pub(super) events: Vec<Event>,
}

/// What the feed has for a watch.
#[derive(Debug)]
pub(super) enum Fed {
    /// Everything from where it stood up to the batch's revision.
    Batch(WatchBatch),
    /// It has seen all there is.
    CaughtUp,
    /// What it needs is older than what is kept here.
    Older,
}

/// Revisions without a gap, up to the newest.
#[derive(Debug, Default)]
struct Recent {
    changes: VecDeque<Changes>,
    bytes: usize,
    /// What is older counts as forgotten, even while it is still here.
    compacted: Revision,
}

#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<Recent>,
    newest: watch::Sender<Revision>,
}

impl Feed {
    const REVISIONS_MAX: usize = 4096;
    const BYTES_MAX: usize = 16 * 1024 * 1024;

    pub(super) fn new(newest: Revision) -> Self {
        Self { recent: Mutex::default(), newest: watch::Sender::new(newest) }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().expect("nothing panics while it holds the feed")
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Takes in what has become durable, in order, and how far history is compacted.
    pub(super) fn publish(&self, group: Vec<Changes>, compacted: Revision) {
        self.recent().compacted = compacted;
        let Some(newest) = group.last().map(|changes| changes.revision) else { return };
        let mut recent = self.recent();
        for changes in group {
            recent.bytes += size_bytes(&changes.events);
            recent.changes.push_back(changes);
            while recent.changes.len() > Self::REVISIONS_MAX || recent.bytes > Self::BYTES_MAX {
                let Some(oldest) = recent.changes.pop_front() else { break };
                recent.bytes -= size_bytes(&oldest.events);
            }
        }
        drop(recent);
        self.newest.send_replace(newest);
    }

    /// Returns what a watch of `prefix` that stands before `from` gets next, in whole revisions.
    pub(super) fn after(&self, from: Revision, prefix: &str) -> Fed {
        let newest = *self.newest.borrow();
        if from > newest {
            return Fed::CaughtUp;
        }
        let recent = self.recent();
        if from < recent.compacted {
            return Fed::Older;
        }
        let oldest = recent.changes.front().map(|changes| changes.revision);
        let Some(skip) = oldest.and_then(|oldest| usize::try_from(from.0 - oldest.0).ok()) else {
            return Fed::Older;
        };
        let mut batch = WatchBatch { events: Vec::new(), revision: Revision(from.0 - 1) };
        let mut bytes = 0;
        for changes in recent.changes.iter().skip(skip) {
            let events = changes.events.iter().filter(|event| event.key().starts_with(prefix));
            batch.events.extend(events.cloned());
            batch.revision = changes.revision;
            bytes += size_bytes(&changes.events);
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Fed::Batch(batch)
    }
}

/// A batch ends with the first revision that fills this.
pub(super) const BATCH_BYTES: usize = 256 * 1024;

/// What an event costs beside its key and value.
const EVENT_BYTES: usize = 128;

pub(super) fn event_bytes(event: &Event) -> usize {
    EVENT_BYTES
        + match &event.change {
            Change::Put(item) => item.key.len() + item.value.len(),
            Change::Delete { key } => key.len(),
        }
}

fn size_bytes(events: &[Event]) -> usize {
    EVENT_BYTES + events.iter().map(event_bytes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(revision: i64, key: &str) -> Changes {
        let revision = Revision(revision);
        let events = vec![Event { change: Change::Delete { key: key.into() }, mod_revision: revision }];
        Changes { revision, events }
    }

    #[test]
    fn what_was_pushed_out_must_be_read_from_the_history() {
        let feed = Feed::new(Revision(1));
        let count = Feed::REVISIONS_MAX as i64;
        feed.publish((2..count + 3).map(|revision| deleted(revision, "a")).collect(), Revision(0));
        assert!(matches!(feed.after(Revision(2), "a"), Fed::Older));
        assert!(matches!(feed.after(Revision(3), "a"), Fed::Batch(_)));
        assert!(matches!(feed.after(Revision(count + 3), "a"), Fed::CaughtUp));
    }

    #[test]
    fn what_is_compacted_counts_as_forgotten() {
        let feed = Feed::new(Revision(1));
        feed.publish(vec![deleted(2, "a"), deleted(3, "a")], Revision(3));
        assert!(matches!(feed.after(Revision(2), "a"), Fed::Older));
        assert!(matches!(feed.after(Revision(3), "a"), Fed::Batch(_)));
    }

    #[test]
    fn a_batch_passes_over_what_is_not_asked_for() {
        let feed = Feed::new(Revision(1));
        feed.publish(vec![deleted(2, "a/1"), deleted(3, "b/1"), deleted(4, "c/1")], Revision(0));
        let Fed::Batch(batch) = feed.after(Revision(2), "b/") else { panic!("nothing was fed") };
        assert_eq!(batch.events, deleted(3, "b/1").events);
        assert_eq!(batch.revision, Revision(4));
    }
}
