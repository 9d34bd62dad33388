//! The attempt's entries on their way to the disk: in order, one append at a time.

use std::time::Duration;

use ocelot_proto::kit::chaos;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire::held::Phase as WirePhase;

use super::{Done, Driver, pace};
use crate::attempt::state::{Event, Written};
use crate::disk::DiskError;
use crate::journal::{Entry, JournalError, Phase, Record};

impl Driver {
    pub(super) fn write(&mut self, entry: Entry) {
        let too_early = match entry {
            Entry::Accepted(_) if chaos::bug("acknowledge.before_journal") => Some(Written::Accepted),
            Entry::Starting if chaos::bug("start.without_journal") => Some(Written::Starting),
            _ => None,
        };
        self.queue.push_back(entry);
        self.append();
        if let Some(written) = too_early {
            self.event(Event::Journalled(written));
        }
    }

    fn append(&mut self) {
        if self.writing || self.queue.is_empty() {
            return;
        }
        self.writing = true;
        let entries: Vec<Entry> = self.queue.drain(..).collect();
        let (shared, id) = (self.shared.clone(), self.id);
        self.work(async move {
            let records = entries.iter().map(|entry| Record::Attempt { id, entry: entry.clone() });
            match shared.journal.append(records.collect()).await {
                Ok(_) => Done::Written(entries.iter().map(written).collect()),
                Err(error) => Done::NotWritten(entries, error),
            }
        });
    }

    /// Takes what another process wrote as if this one had: an ended attempt needs no slot, and only
    /// the answer to its completion decides about its log.
    pub(super) fn was_written(&mut self, phase: &Phase) {
        match phase {
            Phase::Ended(_) => {
                self.ended = true;
                self.show(WirePhase::Ended);
            }
            Phase::Fenced => self.show(WirePhase::Ended),
            Phase::Accepted | Phase::Starting | Phase::Started(_) => {}
        }
    }

    pub(super) fn written(&mut self, written: Vec<Written>) {
        self.writing = false;
        self.append();
        for written in written {
            match written {
                Written::Accepted => chaos::point("accept.journalled"),
                Written::Starting => chaos::point("start.journalled"),
                Written::Ended => {
                    chaos::point("end.journalled");
                    self.ended = true;
                    self.show(WirePhase::Ended);
                    self.shared.ready.attempt_ended();
                }
                Written::Fenced => self.show(WirePhase::Ended),
                Written::Done => {
                    chaos::point("remove.journalled");
                    self.remove_directory();
                }
                Written::Started => {}
            }
            self.event(Event::Journalled(written));
        }
    }

    /// A full disk is waited for. Anything else is for a new process to judge.
    pub(super) fn not_written(&mut self, entries: Vec<Entry>, error: &JournalError) {
        match error {
            JournalError::Disk(DiskError::NoSpace { .. }) => {
                tracing::error!(attempt = %self.id, error = %chain(error), "waiting for room in the journal");
                let shared = self.shared.clone();
                let id = self.id;
                self.work(async move {
                    shared.wait(pace(Duration::from_secs(1), Duration::from_secs(10)), 1).await;
                    let records = entries.iter().map(|entry| Record::Attempt { id, entry: entry.clone() });
                    match shared.journal.append(records.collect()).await {
                        Ok(_) => Done::Written(entries.iter().map(written).collect()),
                        Err(error) => Done::NotWritten(entries, error),
                    }
                });
            }
            JournalError::Held { .. }
            | JournalError::Damaged { .. }
            | JournalError::Version { .. }
            | JournalError::NotAJournal { .. }
            | JournalError::Disk(DiskError::Io { .. })
            | JournalError::Failed
            | JournalError::Stopped
            | JournalError::Thread(_)
            | JournalError::Illegal(_) => {
                tracing::error!(attempt = %self.id, error = %chain(error), "the journal failed");
                self.shared.failed.notify_one();
            }
        }
    }
}

fn written(entry: &Entry) -> Written {
    match entry {
        Entry::Accepted(_) => Written::Accepted,
        Entry::Starting => Written::Starting,
        Entry::Started(_) => Written::Started,
        Entry::Ended(_) => Written::Ended,
        Entry::Fenced => Written::Fenced,
        Entry::Done => Written::Done,
    }
}
