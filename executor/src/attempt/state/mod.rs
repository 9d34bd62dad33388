//! The life of one attempt on this machine, decided: `step(state, event, now)` answers with the next
//! state and with what to do as data.
//!
//! What holds whatever comes in whatever order, twice or late:
//! - nothing is started before the journal said `starting` durably and the acknowledgement was answered;
//! - nothing is started twice, and nothing when the guard is nearly over;
//! - a result that was journalled never changes, and is told until it is recorded or fenced;
//! - a fenced attempt is killed, dropped and confirmed, and then nothing of it is left.
//!
//! An effect may be lost with the process: recovery derives what is left to do from the journal and the
//! containers. An event that does not fit changes nothing: repeats and late answers are normal.

mod closing;
mod event;
mod opening;
mod stages;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ocelot_core::frame::Offset;
use ocelot_core::plan::{Keep, Runtime, TaskPlan, Tolerance, Work as PlanWork};

use super::files::Offered;
use super::{ArtifactDigest, AttemptId, Ended, Outcome};
use crate::journal::Held;
use crate::objects::fills;

pub use event::{Answer, Cause, CompleteAnswer, Effect, Event, Found, Gone, Limit, StageEnd, Written};
use stages::Progress;

/// With less of the guard left, nothing is started.
pub const GUARD_LEFT_MIN: Duration = Duration::from_secs(5);

/// A moment on this machine's CLOCK_BOOTTIME, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub u64);

impl BootTime {
    fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What the machine must know of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub id: AttemptId,
    /// How long it lives after the last request that was vouched for.
    pub guard: Duration,
    /// Whether it names secrets.
    pub secrets: bool,
    /// Whether its first stage waits for more than its container: services, a checkout.
    pub setup: bool,
    /// Whether its container stays for people when it failed.
    pub keep: Keep,
    pub stages: Vec<Stage>,
}

/// One stage, in the order of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub name: String,
    /// Left out in this run.
    pub skipped: bool,
    /// Runs after a failure or a cancel too.
    pub always: bool,
    pub allow_failure: Tolerance,
}

impl Spec {
    /// Reads what matters here out of a task's plan.
    pub fn new(id: AttemptId, plan: &TaskPlan, guard: Duration) -> Self {
        let stages = match &plan.work {
            PlanWork::Stages { stages, .. } => {
                let stage = |stage: &ocelot_core::plan::Stage| Stage {
                    name: stage.name.clone(),
                    skipped: stage.skip.is_some(),
                    always: stage.always,
                    allow_failure: stage.allow_failure.clone(),
                };
                stages.iter().map(stage).collect()
            }
            PlanWork::Command(_) => {
                let name = "command".to_owned();
                vec![Stage { name, skipped: false, always: false, allow_failure: Tolerance::None }]
            }
        };
        let of_stages = match &plan.work {
            PlanWork::Stages { stages, .. } => stages.iter().any(|stage| !stage.secrets.is_empty()),
            PlanWork::Command(_) => false,
        };
        let of_services = plan.environment.services.iter();
        let of_services = of_services
            .into_iter()
            .any(|service| !service.secrets.is_empty() || service.pull_secret.is_some());
        let of_image = match &plan.environment.runtime {
            Runtime::Container { pull_secret, .. } => pull_secret.is_some(),
            Runtime::Process => false,
        };
        let secrets = of_stages || of_services || of_image || !plan.environment.secrets.is_empty();
        let setup = !plan.environment.services.is_empty() || fills(plan);
        Self { id, guard, secrets, setup, keep: plan.keep, stages }
    }

    /// Adds what the offer says beside the plan.
    pub fn with(mut self, plan: &TaskPlan, offered: &Offered) -> Self {
        self.setup |= offered.checkout(plan).is_some();
        self.secrets |= offered.needs_credentials(plan);
        self
    }
}

/// One attempt and where it is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptState {
    spec: Spec,
    /// Past this nothing is started and the supervisor ends the container; none before the
    /// acknowledgement, or until someone vouched after a restart.
    deadline: Option<BootTime>,
    /// So much of the log is safe elsewhere; it may be all of it before the result is.
    durable: Offset,
    life: Life,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
    /// `accepted` is on its way to the disk.
    Accepting {
        cancelled: bool,
    },
    /// Asked whether the attempt is still ours.
    Acknowledging {
        sent: BootTime,
        repeat: u32,
        cancelled: bool,
    },
    /// Secrets, image, checkout, caches.
    Preparing {
        secrets: bool,
        environment: bool,
        repeat: u32,
    },
    /// `starting` is on its way to the disk.
    Starting {
        cancelled: bool,
    },
    /// The container was asked for.
    Launching {
        cancelled: bool,
    },
    /// The container is up, and what else the first stage needs is not there yet.
    SettingUp,
    Running(Progress),
    /// Artifacts, then the rest of the log.
    Closing {
        outcome: Outcome,
        artifacts: Option<Vec<ArtifactDigest>>,
    },
    /// The result is on its way to the disk.
    Ending(Box<Ended>),
    Completing(Box<Completing>),
    Fencing(Fencing),
    /// `done` is on its way to the disk.
    Leaving,
    Done,
    /// What another process left; nothing is said or started until the new session decided.
    Recovering {
        held: Box<Held>,
        found: Option<Found>,
        /// The container ended while the session was opened.
        gone: Option<Gone>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Completing {
    ended: Ended,
    repeat: u32,
    recorded: bool,
    container_gone: bool,
    log: LogHome,
}

/// Where the log of an ended attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LogHome {
    /// In the spool; safe elsewhere only in part.
    Spool,
    /// Safe elsewhere as a whole, or never to be: the spool is of no more use.
    Settled,
    Dropping,
    Dropped,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fencing {
    journalled: bool,
    container_gone: bool,
    spool_dropped: bool,
    /// The confirmation was sent so often.
    confirmed: Option<u32>,
}

/// The next state and what to do.
pub type Step = (AttemptState, Vec<Effect>);

impl AttemptState {
    /// Begins with an offer that is being journalled.
    pub fn accepting(spec: Spec) -> Self {
        Self { spec, deadline: None, durable: Offset(0), life: Life::Accepting { cancelled: false } }
    }

    /// Goes on with what the journal holds and the engine has. The session's answer comes as
    /// [`Event::Kept`] or [`Event::Fenced`].
    pub fn recovering(spec: Spec, held: Held, found: Option<Found>) -> Self {
        let life = Life::Recovering { held: Box::new(held), found, gone: None };
        Self { spec, deadline: None, durable: Offset(0), life }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether nothing of the attempt is left.
    pub fn is_done(&self) -> bool {
        self.life == Life::Done
    }

    /// Decides what an event changes.
    pub fn step(mut self, event: Event, now: BootTime) -> Step {
        if event == Event::Fenced {
            return self.fence();
        }
        if let Event::Vouched { sent } = event {
            return self.vouched(sent);
        }
        if let Event::Durable(durable) = event {
            self.durable = self.durable.max(durable);
        }
        let life = std::mem::replace(&mut self.life, Life::Done);
        match life {
            Life::Accepting { cancelled } => self.on_accepting(cancelled, &event, now),
            Life::Acknowledging { sent, repeat, cancelled } => {
                self.on_acknowledging((sent, repeat, cancelled), &event, now)
            }
            Life::Preparing { secrets, environment, repeat } => {
                self.on_preparing((secrets, environment, repeat), event, now)
            }
            Life::Starting { cancelled } => self.on_starting(cancelled, &event, now),
            Life::Launching { cancelled } => self.on_launching(cancelled, event),
            Life::SettingUp => self.on_setting_up(event),
            Life::Running(progress) => self.on_running(progress, event),
            Life::Closing { outcome, artifacts } => self.on_closing(outcome, artifacts, event),
            Life::Ending(ended) => self.on_ending(ended, &event),
            Life::Completing(completing) => self.on_completing(completing, event),
            Life::Fencing(fencing) => self.on_fencing(fencing, &event),
            Life::Leaving => match event {
                Event::Journalled(Written::Done) => self.enter(Life::Done, vec![]),
                _ => self.enter(Life::Leaving, vec![]),
            },
            Life::Done => self.enter(Life::Done, vec![]),
            Life::Recovering { held, found, gone } => self.on_recovering((held, found, gone), event, now),
        }
    }

    fn enter(mut self, life: Life, effects: Vec<Effect>) -> Step {
        self.life = life;
        (self, effects)
    }

    /// A heartbeat of `sent` was vouched for: the attempt may live so much longer.
    fn vouched(mut self, sent: BootTime) -> Step {
        let deadline = sent.after(self.spec.guard);
        let effects = match &self.life {
            Life::Launching { .. } | Life::SettingUp | Life::Running(_) | Life::Closing { .. } => {
                vec![Effect::SetGuard { deadline: self.deadline.unwrap_or(deadline).max(deadline) }]
            }
            Life::Preparing { .. } | Life::Starting { .. } => vec![],
            // Before the acknowledgement nothing counts, and after the result nothing runs.
            Life::Accepting { .. } | Life::Acknowledging { .. } | Life::Recovering { .. } => {
                return (self, vec![]);
            }
            Life::Ending(_) | Life::Completing(_) | Life::Fencing(_) | Life::Leaving | Life::Done => {
                return (self, vec![]);
            }
        };
        self.deadline = Some(self.deadline.unwrap_or(deadline).max(deadline));
        (self, effects)
    }

    /// Whether enough of the guard is left to start something.
    fn may_start(&self, now: BootTime) -> bool {
        self.deadline.is_some_and(|deadline| now.after(GUARD_LEFT_MIN) <= deadline)
    }
}

fn guard_over() -> Outcome {
    Outcome::Lost { why: "no controller vouched for the attempt in time".to_owned() }
}
