//! The numbers of one controller, for Prometheus.
//!
//! What happens is counted where it is committed, so that the sum over all controllers counts each
//! thing once; how much there is of everything is looked at when somebody reads. There is no global
//! state. A label is a word of this program's own and never a text of somebody else: no id, name or
//! branch can make a series.

mod exposition;
mod process;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use exposition::{CONTENT_TYPE, Exposition, Queued, Seen, Sight};
pub use store::{Metered, StoreMetrics};

/// What one controller has done since it started.
#[derive(Debug)]
pub struct Metrics {
    runs_accepted: Family<ByTrigger, Counter>,
    runs_finished: Family<Ended, Counter>,
    run_duration: Family<ByOutcome, Histogram, fn() -> Histogram>,
    tasks_finished: Family<ByOutcome, Counter>,
    task_duration: Family<ByOutcome, Histogram, fn() -> Histogram>,
    dispatch: Histogram,
    attempts_lost: Family<ByWhy, Counter>,
    sessions_vanished: Counter,
    hooks: Family<Decided, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTrigger {
    trigger: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
    trigger: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWhy {
    why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    forge: &'static str,
    decision: &'static str,
}

/// From a second to half a day.
const WORK: [f64; 14] =
    [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 2_400.0, 7_200.0, 21_600.0, 43_200.0];
/// From what nobody notices to an hour in the queue.
const WAIT: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];

fn work() -> Histogram {
    Histogram::new(WORK)
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            runs_accepted: Family::default(),
            runs_finished: Family::default(),
            run_duration: Family::new_with_constructor(work),
            tasks_finished: Family::default(),
            task_duration: Family::new_with_constructor(work),
            dispatch: Histogram::new(WAIT),
            attempts_lost: Family::default(),
            sessions_vanished: Counter::default(),
            hooks: Family::default(),
        }
    }
}

impl Metrics {
    /// Counts a run that was accepted here.
    pub fn run_accepted(&self, trigger: &'static str) {
        self.runs_accepted.get_or_create(&ByTrigger { trigger }).inc();
    }

    /// Counts a run that this controller ended, and how long it took from its acceptance.
    pub fn run_ended(&self, outcome: &'static str, trigger: &'static str, took: Duration) {
        self.runs_finished.get_or_create(&Ended { outcome, trigger }).inc();
        self.run_duration.get_or_create(&ByOutcome { outcome }).observe(took.as_secs_f64());
    }

    /// Counts a task that has ended for ever, and how long its last attempt ran, if one did.
    pub fn task_ended(&self, outcome: &'static str, ran: Option<Duration>) {
        self.tasks_finished.get_or_create(&ByOutcome { outcome }).inc();
        if let Some(ran) = ran {
            self.task_duration.get_or_create(&ByOutcome { outcome }).observe(ran.as_secs_f64());
        }
    }

    /// Notes how long a task waited from when it was queued until an executor took it.
    pub fn dispatched(&self, waited: Duration) {
        self.dispatch.observe(waited.as_secs_f64());
    }

    /// Counts an attempt that was taken from its executor.
    pub fn attempt_lost(&self, why: &'static str) {
        self.attempts_lost.get_or_create(&ByWhy { why }).inc();
    }

    /// Counts executors' sessions that were there a moment ago.
    pub fn sessions_vanished(&self, count: usize) {
        self.sessions_vanished.inc_by(count as u64);
    }

    /// Counts what was decided for one delivery of a webhook.
    pub fn hook(&self, forge: &'static str, decision: &'static str) {
        self.hooks.get_or_create(&Decided { forge, decision }).inc();
    }

    /// Returns how many deliveries were decided so.
    #[cfg(test)]
    pub(crate) fn hooks_decided(&self, forge: &'static str, decision: &'static str) -> u64 {
        self.hooks.get_or_create(&Decided { forge, decision }).get()
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "ocelot_runs_accepted",
            "Runs that this controller accepted",
            self.runs_accepted.clone(),
        );
        registry.register(
            "ocelot_runs_finished",
            "Runs that this controller ended",
            self.runs_finished.clone(),
        );
        registry.register(
            "ocelot_run_duration_seconds",
            "From a run's acceptance to its end",
            self.run_duration.clone(),
        );
        registry.register(
            "ocelot_tasks_finished",
            "Tasks whose end this controller wrote",
            self.tasks_finished.clone(),
        );
        registry.register(
            "ocelot_task_duration_seconds",
            "From an executor's acknowledgement to the end of the task, for tasks that ended running",
            self.task_duration.clone(),
        );
        registry.register(
            "ocelot_dispatch_latency_seconds",
            "From a task's being queued to an executor's acknowledgement",
            self.dispatch.clone(),
        );
        registry.register(
            "ocelot_attempts_lost",
            "Attempts that this controller took from their executors: the session had gone, or the executor did not name them any more",
            self.attempts_lost.clone(),
        );
        registry.register(
            "ocelot_sessions_vanished",
            "Executors' sessions that ended or whose lease was lost, as each controller sees it: do not add them up",
            self.sessions_vanished.clone(),
        );
        registry.register(
            "ocelot_hook_deliveries",
            "Deliveries of webhooks, by what was decided for them",
            self.hooks.clone(),
        );
    }
}
