//! What an executor's process does with its attempts: it writes entries down and carries effects out.

use std::sync::Arc;

use tokio::time::Instant;

use ocelot_core::frame::Offset;
use ocelot_core::plan::TaskPlan;
use ocelot_domain::task::Timing;
use ocelot_executor::attempt::state::{Answer, Effect, Event, Spec, Written};
use ocelot_executor::attempt::{AttemptId, Ended};
use ocelot_executor::journal::{Entry, Record};

use super::Bug;
use super::executor::{Process, lock, named};
use super::reports;

impl Process {
    /// Sends an entry on its way to the disk.
    pub(super) fn enter(&self, id: AttemptId, entry: Entry) {
        let skipped = match (self.world.bug, &entry) {
            (Some(Bug::AcknowledgeBeforeJournal), Entry::Accepted(_)) => {
                self.tell(id, Event::Journalled(Written::Accepted));
                false
            }
            (Some(Bug::StartWithoutJournal), Entry::Starting) => {
                self.tell(id, Event::Journalled(Written::Starting));
                true
            }
            (Some(Bug::StartWithoutJournal), Entry::Started(_)) => {
                self.tell(id, Event::Journalled(Written::Started));
                true
            }
            _ => false,
        };
        if !skipped {
            self.journal.send(Record::Attempt { id, entry }).ok();
        }
    }

    pub(super) async fn write(&self, record: Record) {
        self.sync().await;
        self.apply(&record);
        let Record::Attempt { id, entry } = record else { return };
        let written = match &entry {
            Entry::Accepted(_) => Written::Accepted,
            Entry::Starting => Written::Starting,
            Entry::Started(_) => Written::Started,
            Entry::Ended(ended) => {
                self.world.laws.result(id, ended);
                Written::Ended
            }
            Entry::Fenced => Written::Fenced,
            Entry::Done => Written::Done,
        };
        self.tell(id, Event::Journalled(written));
    }

    pub(super) fn apply(&self, record: &Record) {
        let applied = self.machine().inside().journal.apply(record);
        if let Err(illegal) = applied {
            self.world.laws.broken(format!("executor {}: its journal would say that {illegal}", self.index));
        }
    }

    /// Lets something happen to an attempt, and carries out what follows.
    pub(super) fn event(self: &Arc<Self>, id: AttemptId, event: Event) {
        let effects = {
            let mut attempts = lock(&self.attempts);
            let Some(state) = attempts.get(&id).cloned() else { return };
            let (state, effects) = state.step(event, self.machine().boot_time());
            if state.is_done() {
                attempts.remove(&id);
            } else {
                attempts.insert(id, state);
            }
            effects
        };
        for effect in effects {
            self.carry_out(id, effect);
        }
    }

    fn carry_out(self: &Arc<Self>, id: AttemptId, effect: Effect) {
        let machine = self.machine();
        let soon = |after: (u64, u64), event: Event| {
            let (inbox, wait) = (self.inbox.clone(), machine.dice.ms(after.0, after.1));
            self.spawn(async move {
                tokio::time::sleep(wait).await;
                inbox.send((id, event)).ok();
            });
        };
        match effect {
            Effect::Journal(entry) => self.enter(id, entry),
            Effect::FetchSecrets { .. } => soon((1, 20), Event::SecretsFetched(Answer::Yes)),
            Effect::Prepare => soon((1, 400), Event::Prepared),
            Effect::SetUp => soon((1, 400), Event::SetUp),
            Effect::StopPreparing | Effect::HeartbeatNow | Effect::TellSkipped { .. } => {}
            Effect::StartContainer { deadline } => machine.start_container(&self.world, id, deadline),
            Effect::SetGuard { deadline } => machine.set_guard(id, deadline),
            Effect::RunStage { index } => machine.run_stage(&self.world, id, index),
            Effect::CancelStage { index } => machine.cancel_stage(id, index),
            Effect::Collect { .. } => soon((1, 30), Event::Collected(Ok(Vec::new()))),
            Effect::SealLog => soon((1, 5), reports::sealed(machine, id)),
            Effect::KillContainer if self.world.bug == Some(Bug::FencedKeepsContainer) => {
                soon((1, 100), Event::ContainerRemoved);
            }
            Effect::KillContainer | Effect::RemoveContainer { .. } => {
                machine.kill_container(&self.world, id);
                soon((1, 100), Event::ContainerRemoved);
            }
            Effect::DropSpool => {
                let spool = machine.inside().spools.remove(&id);
                let durable = self.world.logs.durable(&named(id));
                self.world.laws.freed(id, spool.filter(|length| *length > durable));
                soon((1, 5), Event::SpoolDropped);
            }
            Effect::StopCollecting => {}
            Effect::PushArtifact { .. } => soon((1, 30), Event::PushedAgain),
            Effect::Acknowledge { .. }
            | Effect::PushLog { .. }
            | Effect::Complete { .. }
            | Effect::ConfirmFenced { .. } => self.say(id, effect),
        }
    }

    /// Carries out what is said to a controller.
    fn say(self: &Arc<Self>, id: AttemptId, effect: Effect) {
        let process = Arc::clone(self);
        match effect {
            Effect::Acknowledge { repeat, .. } => {
                // Its guard counts from here, however often it is said again.
                if repeat == 0 && self.is_exclusive(id) {
                    self.world.laws.guarded_from(id, Instant::now());
                }
                if repeat == 0 && self.machine().inside().journal.attempt(id).is_none() {
                    self.world.laws.broken(format!("acknowledged what is not in the journal: {id}"));
                }
                self.spawn(async move { reports::acknowledge(process, id, repeat).await });
            }
            Effect::PushLog { from: Offset(from) } => {
                self.spawn(async move { reports::push_log(process, id, from).await });
            }
            Effect::Complete { ended, repeat } => {
                let ended: Ended = *ended;
                self.spawn(async move { reports::complete(process, id, ended, repeat).await });
            }
            Effect::ConfirmFenced { repeat } => {
                if repeat == 0 && self.machine().found(id).is_some() {
                    self.world.laws.broken(format!("I4: it is said that {id} was killed, and it is there"));
                }
                self.spawn(async move { reports::confirm(process, id, repeat).await });
            }
            _ => {}
        }
    }
}

pub(super) fn spec(id: AttemptId, plan: &TaskPlan, timing: Timing) -> Spec {
    Spec::new(id, plan, timing.guard(plan.class))
}
