//! Whole revisions out of etcd's watch answers.
//!
//! etcd may split one revision over several answers (fragments), repeat events after a reconnection,
//! and, in some versions, send ones from the past. What comes out of here never goes back and never
//! tears a revision.

use crate::store::{Event, Revision, WatchBatch};

#[derive(Debug)]
pub(super) struct Assembler {
    /// Everything up to here was passed on.
    seen: Revision,
    /// Events of a revision that may go on in the next answer.
    held: Vec<Event>,
    repeated: u64,
}

impl Assembler {
    /// Begins after `seen`.
    pub(super) fn after(seen: Revision) -> Self {
        Self { seen, held: Vec::new(), repeated: 0 }
    }

    pub(super) fn seen(&self) -> Revision {
        self.seen
    }

    /// Returns how many events came again or from the past.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Forgets a half of a revision: the stream that would bring the rest is gone.
    pub(super) fn reconnect(&mut self) {
        self.held.clear();
    }

    /// Takes one answer; `goes_on` tells that the next one continues it.
    pub(super) fn feed(&mut self, events: Vec<Event>, goes_on: bool) -> Option<WatchBatch> {
        let seen = self.seen;
        let before = self.held.len() + events.len();
        self.held.extend(events.into_iter().filter(|event| event.mod_revision > seen));
        self.repeated += (before - self.held.len()) as u64;
        self.held.sort_by_key(|event| event.mod_revision);
        let last = self.held.last()?.mod_revision;
        let whole = if goes_on {
            self.held.iter().take_while(|event| event.mod_revision < last).count()
        } else {
            self.held.len()
        };
        let rest = self.held.split_off(whole);
        let events = std::mem::replace(&mut self.held, rest);
        self.seen = events.last()?.mod_revision;
        Some(WatchBatch { events, revision: self.seen })
    }

    /// Takes the news that everything up to `revision` was sent.
    pub(super) fn progress(&mut self, revision: Revision) -> Option<WatchBatch> {
        if !self.held.is_empty() || revision <= self.seen {
            return None;
        }
        self.seen = revision;
        Some(WatchBatch { events: Vec::new(), revision })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Change;

    fn event(key: &str, revision: i64) -> Event {
        Event { change: Change::Delete { key: key.to_owned() }, mod_revision: Revision(revision) }
    }

    fn revisions(batch: &WatchBatch) -> Vec<i64> {
        batch.events.iter().map(|event| event.mod_revision.0).collect()
    }

    #[test]
    fn a_revision_split_over_answers_comes_whole() {
        let mut assembler = Assembler::after(Revision(4));
        let first = assembler.feed(vec![event("a", 5), event("b", 6)], true).expect("revision 5");
        assert_eq!(revisions(&first), [5]);
        assert_eq!(first.revision, Revision(5));
        assert_eq!(assembler.feed(vec![event("c", 6)], true), None);
        let rest = assembler.feed(vec![event("d", 6), event("a", 7)], false).expect("the rest");
        assert_eq!(revisions(&rest), [6, 6, 6, 7]);
    }

    #[test]
    fn what_was_seen_is_not_told_again() {
        let mut assembler = Assembler::after(Revision(4));
        assert_eq!(assembler.feed(vec![event("a", 3), event("a", 4)], false), None);
        assert!(assembler.feed(vec![event("a", 5)], false).is_some());
        assert_eq!(assembler.feed(vec![event("a", 5)], false), None);
        assert_eq!(assembler.repeated(), 3);
    }

    #[test]
    fn half_a_revision_is_forgotten_with_its_stream() {
        let mut assembler = Assembler::after(Revision(4));
        assert_eq!(assembler.feed(vec![event("a", 5)], true), None);
        assembler.reconnect();
        assert_eq!(assembler.seen(), Revision(4));
        let again = assembler.feed(vec![event("a", 5), event("b", 5)], false).expect("whole");
        assert_eq!(revisions(&again), [5, 5]);
    }

    #[test]
    fn progress_does_not_overtake_a_half_revision() {
        let mut assembler = Assembler::after(Revision(4));
        assert_eq!(assembler.feed(vec![event("a", 5)], true), None);
        assert_eq!(assembler.progress(Revision(9)), None);
        assert!(assembler.feed(vec![event("b", 5)], false).is_some());
        assert_eq!(assembler.progress(Revision(9)).map(|batch| batch.revision), Some(Revision(9)));
        assert_eq!(assembler.progress(Revision(9)), None);
    }

    proptest! {
        #[test]
        fn any_cutting_with_repetitions_gives_the_same_history(
            sizes in prop::collection::vec(1usize..5, 1..20),
            cuts in prop::collection::vec(1usize..7, 1..60),
            again in prop::collection::vec(0usize..3, 1..60),
        ) {
            let history: Vec<Event> = sizes.iter().enumerate().flat_map(|(step, size)| {
                (0..*size).map(move |key| event(&format!("k{key}"), 10 + step as i64))
            }).collect();
            let mut assembler = Assembler::after(Revision(9));
            let mut out = Vec::new();
            let mut batches = Vec::new();
            let mut at = 0;
            let steps = cuts.iter().cycle().zip(again.iter().cycle()).enumerate();
            for (step, (cut, again)) in steps {
                if at >= history.len() { break; }
                // A reconnection resumes from what was seen, with some of the past in front.
                if *again == 2 && step < 200 {
                    assembler.reconnect();
                    let from = history.iter().position(|event| event.mod_revision > assembler.seen());
                    at = from.expect("not at the end").saturating_sub(1);
                }
                let end = (at + cut).min(history.len());
                let torn = end < history.len() && history[end].mod_revision == history[end - 1].mod_revision;
                batches.extend(assembler.feed(history[at..end].to_vec(), torn));
                at = end;
            }
            for batch in batches {
                prop_assert_eq!(batch.events.last().map(|event| event.mod_revision), Some(batch.revision));
                out.extend(batch.events);
            }
            prop_assert_eq!(out, history);
        }
    }
}
