//! How much there is of everything, for the metrics, and what of a task's life is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use ocelot_domain::outcome::Outcome;
use ocelot_domain::placement::{Executor, Obstacle};
use ocelot_domain::run::RunOutcome;
use ocelot_domain::task::state::{Task, TaskState, Timestamp};

use super::Service;
use crate::metrics::{Queued, Seen};
use crate::store::keys::Folder;

/// Owed words that are counted; more look like so many.
const OUTBOX_MAX: usize = 10_000;
/// An executor's states, each shown even where nobody is in it.
const STATES: [&str; 5] = ["online", "offline", "draining", "quarantined", "refusing"];

impl Service {
    /// Returns how much there is of everything, from memory: no longer to count than there are
    /// executors, however many tasks there are.
    pub(crate) fn seen(&self) -> Seen {
        let now = self.timestamp();
        let age = |since: u64| Duration::from_millis(now.unix_ms.saturating_sub(since));
        let outbox = Folder::Outbox.to_string();
        let (outbox, records) = self.view.read(|items| {
            let owed = items.range(outbox.clone()..).take_while(|(key, _)| key.starts_with(&outbox));
            (owed.take(OUTBOX_MAX).count(), items.len())
        });
        let open_polls = self.waiters.polling().len();
        let board = self.board();
        let queued: Vec<Queued> = board
            .ages
            .classes()
            .map(|(class, tasks, oldest)| Queued {
                class,
                tasks,
                oldest: oldest.map(age).unwrap_or_default(),
            })
            .collect();
        let in_queue: usize = queued.iter().map(|queued| queued.tasks).sum();
        let [waiting, offered, all] = board.counts();
        let mut states: BTreeMap<&'static str, usize> = STATES.map(|state| (state, 0)).into();
        let (mut used, mut free) = (0, 0);
        for executor in board.fleet.values() {
            let state = state(executor);
            *states.entry(state).or_default() += 1;
            let held = board.holds(&executor.id);
            used += held;
            if state == "online" {
                free += (executor.slots as usize).saturating_sub(held);
            }
        }
        drop(board);
        Seen {
            queued,
            tasks: [
                ("waiting", waiting.saturating_sub(in_queue)),
                ("queued", in_queue),
                ("offered", offered),
                ("running", all.saturating_sub(waiting + offered)),
            ],
            executors: states.into_iter().collect(),
            slots: [("used", used), ("free", free)],
            open_polls,
            outbox,
            records,
            unreadable: self.view.unreadable(),
            log_bytes: 0,
        }
    }

    /// Counts what a transition that was written means.
    pub(super) fn count(&self, before: &Task, after: &Task, now: Timestamp) {
        let since = |then: Timestamp| Duration::from_millis(now.unix_ms.saturating_sub(then.unix_ms));
        match (&before.state, &after.state) {
            // The record of an offer says how long its task had waited when it was made.
            (TaskState::Offered { .. }, TaskState::Running { .. }) => {
                self.metrics.dispatched(before.waited + since(before.changed_at));
            }
            (TaskState::Finished { .. }, TaskState::Finished { .. }) => {}
            (TaskState::Running { .. }, TaskState::Finished { outcome }) => {
                self.metrics.task_ended(task_word(outcome), Some(since(before.changed_at)));
            }
            (_, TaskState::Finished { outcome }) => self.metrics.task_ended(task_word(outcome), None),
            (
                _,
                TaskState::Waiting { .. }
                | TaskState::Queued { .. }
                | TaskState::Offered { .. }
                | TaskState::Running { .. }
                | TaskState::Cancelling { .. },
            ) => {}
        }
    }
}

fn state(executor: &Executor) -> &'static str {
    // As an operator is shown it: what somebody decided comes first.
    let order = [
        (Obstacle::Quarantined, "quarantined"),
        (Obstacle::Offline, "offline"),
        (Obstacle::Draining, "draining"),
        (Obstacle::DiskFloor, "refusing"),
    ];
    let found = order.into_iter().find(|(obstacle, _)| executor.obstacles.contains(obstacle));
    found.map_or("online", |(_, word)| word)
}

/// Returns the word for how a run ended.
pub(crate) fn run_word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Rejected => "rejected",
        RunOutcome::Cancelled => "cancelled",
        RunOutcome::Lost => "lost",
        RunOutcome::TimedOut => "timed_out",
        RunOutcome::Failed => "failed",
        RunOutcome::Succeeded => "succeeded",
        RunOutcome::Skipped => "skipped",
    }
}

/// Returns the word for how a task ended.
pub(crate) fn task_word(outcome: &Outcome) -> &'static str {
    run_word(match outcome {
        Outcome::Succeeded => RunOutcome::Succeeded,
        Outcome::Failed { .. } => RunOutcome::Failed,
        Outcome::TimedOut(_) => RunOutcome::TimedOut,
        Outcome::Cancelled { .. } => RunOutcome::Cancelled,
        Outcome::Skipped { .. } => RunOutcome::Skipped,
        Outcome::Rejected { .. } => RunOutcome::Rejected,
        Outcome::Lost { .. } => RunOutcome::Lost,
    })
}
