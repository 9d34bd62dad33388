//! From the last stage, or a fence, until nothing is left.

use ocelot_core::frame::Offset;
use ocelot_core::plan::Keep;

use super::opening::outcome_of;
use super::{
    Answer, AttemptState, CompleteAnswer, Completing, Effect, Event, Fencing, Life, LogHome, Step, Written,
};
use crate::attempt::{ArtifactDigest, Ended, Outcome};
use crate::journal::{Entry, Phase};

impl AttemptState {
    /// Ends an attempt that has nothing to collect.
    pub(super) fn close(self, outcome: Outcome, mut effects: Vec<Effect>) -> Step {
        effects.push(Effect::SealLog);
        self.enter(Life::Closing { outcome, artifacts: Some(vec![]) }, effects)
    }

    pub(super) fn on_closing(
        self,
        outcome: Outcome,
        artifacts: Option<Vec<ArtifactDigest>>,
        event: Event,
    ) -> Step {
        match (event, artifacts) {
            (Event::Collected(Ok(artifacts)), None) => {
                let life = Life::Closing { outcome, artifacts: Some(artifacts) };
                self.enter(life, vec![Effect::SealLog])
            }
            (Event::Collected(Err(cause)), None) => {
                // The task's own failure came first.
                let failed = match outcome {
                    Outcome::Succeeded => outcome_of(cause),
                    outcome => outcome,
                };
                self.close(failed, vec![])
            }
            // A cancel that came before is the outcome already: then what is kept all the same goes on.
            (Event::Cancel, None) if outcome != Outcome::Cancelled => {
                let ended = match outcome {
                    Outcome::Succeeded => Outcome::Cancelled,
                    outcome => outcome,
                };
                self.close(ended, vec![Effect::StopCollecting])
            }
            (Event::Sealed { log, loss }, Some(artifacts)) => {
                let ended = Box::new(Ended { outcome, log, artifacts, loss });
                let effects = vec![Effect::Journal(Entry::Ended(ended.clone()))];
                self.enter(Life::Ending(ended), effects)
            }
            (Event::GuardLow, artifacts) => {
                self.enter(Life::Closing { outcome, artifacts }, vec![Effect::HeartbeatNow])
            }
            (_, artifacts) => self.enter(Life::Closing { outcome, artifacts }, vec![]),
        }
    }

    pub(super) fn on_ending(self, ended: Box<Ended>, event: &Event) -> Step {
        match event {
            Event::Journalled(Written::Ended) => self.complete(ended),
            _ => self.enter(Life::Ending(ended), vec![]),
        }
    }

    /// The result is durable: the container can go, and the controller is told until it knows.
    pub(super) fn complete(self, ended: Box<Ended>) -> Step {
        let keep = self.spec.keep == Keep::OnFailure && ended.outcome != Outcome::Succeeded;
        let effects = vec![
            Effect::RemoveContainer { keep },
            Effect::PushLog { from: Offset(0) },
            Effect::Complete { ended: ended.clone(), repeat: 0 },
        ];
        let settled = ended.loss.is_some() || ended.log.length <= self.durable;
        let log = if settled { LogHome::Settled } else { LogHome::Spool };
        let ended = *ended;
        let completing = Completing { ended, repeat: 0, recorded: false, container_gone: false, log };
        self.enter(Life::Completing(Box::new(completing)), effects)
    }

    pub(super) fn on_completing(self, mut completing: Box<Completing>, event: Event) -> Step {
        let mut effects = Vec::new();
        match event {
            Event::Completed(CompleteAnswer::Recorded) => completing.recorded = true,
            Event::Completed(CompleteAnswer::Fenced) => {
                return self.enter(Life::Completing(completing), vec![]).0.fence();
            }
            Event::Completed(answer @ (CompleteAnswer::LogIncomplete { .. } | CompleteAnswer::Unknown))
                if !completing.recorded =>
            {
                if let CompleteAnswer::LogIncomplete { expected } = answer {
                    effects.push(Effect::PushLog { from: expected });
                }
                completing.repeat += 1;
                effects.push(completing.again());
            }
            Event::Completed(CompleteAnswer::ArtifactMissing { index }) if !completing.recorded => {
                completing.repeat += 1;
                let missing = completing.ended.artifacts.get(usize::from(index)).cloned();
                effects.push(match missing {
                    Some(artifact) => {
                        Effect::PushArtifact { artifact: Box::new(artifact), repeat: completing.repeat }
                    }
                    None => completing.again(),
                });
            }
            Event::PushedAgain if !completing.recorded => effects.push(completing.again()),
            Event::Durable(durable)
                if completing.log == LogHome::Spool && durable >= completing.ended.log.length =>
            {
                completing.log = LogHome::Settled;
            }
            // Said with the next repeat; the outcome stays what it is.
            Event::LogBroken(loss) if completing.ended.loss.is_none() => {
                completing.ended.loss = Some(loss);
                if completing.log == LogHome::Spool {
                    completing.log = LogHome::Settled;
                }
            }
            Event::ContainerRemoved => completing.container_gone = true,
            Event::SpoolDropped if completing.log == LogHome::Dropping => completing.log = LogHome::Dropped,
            _ => {}
        }
        if completing.recorded && completing.log == LogHome::Settled {
            completing.log = LogHome::Dropping;
            effects.push(Effect::DropSpool);
        }
        if completing.container_gone && completing.log == LogHome::Dropped {
            effects.push(Effect::Journal(Entry::Done));
            return self.enter(Life::Leaving, effects);
        }
        self.enter(Life::Completing(completing), effects)
    }

    /// The attempt is not ours any more, from whatever state.
    pub(super) fn fence(self) -> Step {
        let fencing = match &self.life {
            Life::Fencing(_) | Life::Leaving | Life::Done => return (self, vec![]),
            Life::Recovering { held, .. } => {
                Fencing { journalled: held.phase == Phase::Fenced, ..Fencing::default() }
            }
            Life::Completing(completing) => Fencing {
                container_gone: completing.container_gone,
                spool_dropped: completing.log == LogHome::Dropped,
                ..Fencing::default()
            },
            Life::Accepting { .. } | Life::Acknowledging { .. } | Life::Preparing { .. } => {
                Fencing::default()
            }
            Life::Starting { .. } | Life::Launching { .. } | Life::SettingUp => Fencing::default(),
            Life::Running(_) | Life::Closing { .. } | Life::Ending(_) => Fencing::default(),
        };
        self.fencing(fencing)
    }

    pub(super) fn fencing(self, fencing: Fencing) -> Step {
        // The kill is first: it needs no disk.
        let mut effects = Vec::new();
        if matches!(self.life, Life::Preparing { .. }) {
            effects.push(Effect::StopPreparing);
        }
        if matches!(self.life, Life::Closing { artifacts: None, .. }) {
            effects.push(Effect::StopCollecting);
        }
        if !fencing.container_gone {
            effects.push(Effect::KillContainer);
        }
        if !fencing.journalled {
            effects.push(Effect::Journal(Entry::Fenced));
        }
        if !fencing.spool_dropped {
            effects.push(Effect::DropSpool);
        }
        self.enter(Life::Fencing(fencing), effects)
    }

    pub(super) fn on_fencing(self, mut fencing: Fencing, event: &Event) -> Step {
        match (event, fencing.confirmed) {
            (Event::Journalled(Written::Fenced), _) => fencing.journalled = true,
            (Event::ContainerRemoved, _) => fencing.container_gone = true,
            (Event::SpoolDropped, _) => fencing.spool_dropped = true,
            // A start that was under way when the fence came.
            (Event::Launched(_), None) => {
                fencing.container_gone = false;
                return self.enter(Life::Fencing(fencing), vec![Effect::KillContainer]);
            }
            (Event::Confirmed(Answer::Unknown), Some(repeat)) => {
                fencing.confirmed = Some(repeat + 1);
                let effects = vec![Effect::ConfirmFenced { repeat: repeat + 1 }];
                return self.enter(Life::Fencing(fencing), effects);
            }
            (Event::Confirmed(Answer::Yes | Answer::Fenced), Some(_)) => {
                return self.enter(Life::Leaving, vec![Effect::Journal(Entry::Done)]);
            }
            _ => {}
        }
        let clean = fencing.journalled && fencing.container_gone && fencing.spool_dropped;
        if clean && fencing.confirmed.is_none() {
            fencing.confirmed = Some(0);
            return self.enter(Life::Fencing(fencing), vec![Effect::ConfirmFenced { repeat: 0 }]);
        }
        self.enter(Life::Fencing(fencing), vec![])
    }
}

impl Completing {
    /// Tells the same result once more.
    fn again(&self) -> Effect {
        Effect::Complete { ended: Box::new(self.ended.clone()), repeat: self.repeat }
    }
}
