//! From the offer to the last stage.

use super::stages::{Next, Progress};
use super::{
    Answer, AttemptState, BootTime, Cause, Effect, Event, Fencing, Found, Gone, Life, Step, Written,
    guard_over,
};
use crate::attempt::{Failure, Outcome};
use crate::journal::{Entry, Held, Phase};

impl AttemptState {
    pub(super) fn on_accepting(self, cancelled: bool, event: &Event, now: BootTime) -> Step {
        match event {
            Event::Journalled(Written::Accepted) => self.acknowledge(now, cancelled),
            Event::Cancel => self.enter(Life::Accepting { cancelled: true }, vec![]),
            _ => self.enter(Life::Accepting { cancelled }, vec![]),
        }
    }

    fn acknowledge(self, now: BootTime, cancelled: bool) -> Step {
        let effects = vec![Effect::Acknowledge { sent: now, repeat: 0 }];
        self.enter(Life::Acknowledging { sent: now, repeat: 0, cancelled }, effects)
    }

    pub(super) fn on_acknowledging(
        mut self,
        (sent, repeat, cancelled): (BootTime, u32, bool),
        event: &Event,
        now: BootTime,
    ) -> Step {
        match event {
            Event::Acknowledged(Answer::Yes) => {
                self.deadline = Some(sent.after(self.spec.guard));
                if cancelled {
                    return self.close(Outcome::Cancelled, vec![]);
                }
                if !self.may_start(now) {
                    return self.close(guard_over(), vec![]);
                }
                let secrets = !self.spec.secrets;
                let mut effects = vec![Effect::Prepare];
                if self.spec.secrets {
                    effects.insert(0, Effect::FetchSecrets { repeat: 0 });
                }
                self.enter(Life::Preparing { secrets, environment: false, repeat: 0 }, effects)
            }
            Event::Acknowledged(Answer::Fenced) => {
                self.enter(Life::Acknowledging { sent, repeat, cancelled }, vec![]).0.fence()
            }
            Event::Acknowledged(Answer::Unknown) => {
                let repeat = repeat + 1;
                let effects = vec![Effect::Acknowledge { sent, repeat }];
                self.enter(Life::Acknowledging { sent, repeat, cancelled }, effects)
            }
            Event::Cancel => self.enter(Life::Acknowledging { sent, repeat, cancelled: true }, vec![]),
            _ => self.enter(Life::Acknowledging { sent, repeat, cancelled }, vec![]),
        }
    }

    pub(super) fn on_preparing(
        self,
        (mut secrets, mut environment, repeat): (bool, bool, u32),
        event: Event,
        now: BootTime,
    ) -> Step {
        match event {
            Event::SecretsFetched(Answer::Yes) => secrets = true,
            Event::SecretsFetched(Answer::Unknown) if !secrets => {
                let repeat = repeat + 1;
                let effects = vec![Effect::FetchSecrets { repeat }];
                return self.enter(Life::Preparing { secrets, environment, repeat }, effects);
            }
            Event::SecretsFetched(Answer::Fenced) => {
                return self.enter(Life::Preparing { secrets, environment, repeat }, vec![]).0.fence();
            }
            Event::SecretsRefused { why } => {
                let failed = Outcome::Failed { stage: None, failure: Failure::Policy { why } };
                return self.close(failed, vec![Effect::StopPreparing]);
            }
            Event::Prepared => environment = true,
            Event::NotPrepared(cause) => return self.close(outcome_of(cause), vec![]),
            Event::Cancel => return self.close(Outcome::Cancelled, vec![Effect::StopPreparing]),
            _ => {}
        }
        if !(secrets && environment) {
            return self.enter(Life::Preparing { secrets, environment, repeat }, vec![]);
        }
        if !self.may_start(now) {
            return self.close(guard_over(), vec![]);
        }
        self.enter(Life::Starting { cancelled: false }, vec![Effect::Journal(Entry::Starting)])
    }

    pub(super) fn on_starting(self, cancelled: bool, event: &Event, now: BootTime) -> Step {
        match (event, self.deadline) {
            (Event::Journalled(Written::Starting), _) if cancelled => self.close(Outcome::Cancelled, vec![]),
            (Event::Journalled(Written::Starting), Some(deadline)) if self.may_start(now) => {
                let effects = vec![Effect::StartContainer { deadline }];
                self.enter(Life::Launching { cancelled: false }, effects)
            }
            (Event::Journalled(Written::Starting), _) => self.close(guard_over(), vec![]),
            (Event::Cancel, _) => self.enter(Life::Starting { cancelled: true }, vec![]),
            _ => self.enter(Life::Starting { cancelled }, vec![]),
        }
    }

    pub(super) fn on_launching(self, cancelled: bool, event: Event) -> Step {
        match event {
            Event::Launched(container) => {
                let mut effects = vec![Effect::Journal(Entry::Started(container))];
                if cancelled {
                    return self.advance(Progress::cancelled(), effects);
                }
                if self.spec.setup {
                    effects.push(Effect::SetUp);
                    return self.enter(Life::SettingUp, effects);
                }
                self.advance(Progress::default(), effects)
            }
            Event::NotLaunched(_) if cancelled => self.close(Outcome::Cancelled, vec![]),
            Event::NotLaunched(cause) => self.close(outcome_of(cause), vec![]),
            Event::GuardLow => self.enter(Life::Launching { cancelled }, vec![Effect::HeartbeatNow]),
            Event::Cancel => self.enter(Life::Launching { cancelled: true }, vec![]),
            _ => self.enter(Life::Launching { cancelled }, vec![]),
        }
    }

    pub(super) fn on_setting_up(self, event: Event) -> Step {
        match event {
            Event::SetUp => self.advance(Progress::default(), vec![]),
            Event::NotSetUp(cause) => self.close(outcome_of(cause), vec![]),
            Event::Cancel => self.close(Outcome::Cancelled, vec![]),
            Event::ContainerGone(gone) => {
                let mut progress = Progress::default();
                progress.gone(&self.spec, gone);
                self.close(progress.outcome(), vec![])
            }
            Event::GuardLow => self.enter(Life::SettingUp, vec![Effect::HeartbeatNow]),
            _ => self.enter(Life::SettingUp, vec![]),
        }
    }

    pub(super) fn on_running(self, mut progress: Progress, event: Event) -> Step {
        match event {
            Event::StageEnded { index, end } if progress.ended(&self.spec, index, end) => {
                self.advance(progress, vec![])
            }
            Event::Cancel => {
                let stage = progress.cancel(&self.spec);
                let effects = stage.map(|index| Effect::CancelStage { index });
                self.enter(Life::Running(progress), effects.into_iter().collect())
            }
            Event::ContainerGone(gone) => {
                progress.gone(&self.spec, gone);
                self.advance(progress, vec![])
            }
            Event::GuardLow => self.enter(Life::Running(progress), vec![Effect::HeartbeatNow]),
            _ => self.enter(Life::Running(progress), vec![]),
        }
    }

    /// Goes on with the next stage, or to the end.
    fn advance(self, mut progress: Progress, mut effects: Vec<Effect>) -> Step {
        let Next { skipped, run } = progress.advance(&self.spec);
        effects.extend(skipped.into_iter().map(|index| Effect::TellSkipped { index }));
        let Some(index) = run else {
            let outcome = progress.outcome();
            effects.push(Effect::Collect { success: outcome == Outcome::Succeeded });
            return self.enter(Life::Closing { outcome, artifacts: None }, effects);
        };
        effects.push(Effect::RunStage { index });
        self.enter(Life::Running(progress), effects)
    }

    /// The new session decided what becomes of what another process left. It may take long to open, and
    /// what was found goes on meanwhile.
    pub(super) fn on_recovering(
        self,
        (held, mut found, mut gone): (Box<Held>, Option<Found>, Option<Gone>),
        event: Event,
        now: BootTime,
    ) -> Step {
        if event != Event::Kept {
            match (event, &mut found) {
                (Event::StageEnded { index, end }, Some(found)) => found.stage_ended(index, end),
                (Event::ContainerGone(how), _) => gone = gone.or(Some(how)),
                _ => {}
            }
            return self.enter(Life::Recovering { held, found, gone }, vec![]);
        }
        match (held.phase, found) {
            (Phase::Accepted, _) => self.acknowledge(now, false),
            (Phase::Starting, Some(found)) => {
                let started = vec![Effect::Journal(Entry::Started(found.container.clone()))];
                self.adopt(&found, gone, started)
            }
            (Phase::Started(_), Some(found)) => self.adopt(&found, gone, vec![]),
            (Phase::Starting | Phase::Started(_), None) => {
                let why = "the executor stopped, and the container is gone".to_owned();
                self.close(Outcome::Lost { why }, vec![])
            }
            (Phase::Ended(ended), _) => self.complete(ended),
            (Phase::Fenced, _) => self.fencing(Fencing { journalled: true, ..Fencing::default() }),
        }
    }

    /// Goes on with a container that ran when it was found.
    fn adopt(self, found: &Found, gone: Option<Gone>, mut effects: Vec<Effect>) -> Step {
        let untouched = found.ended.is_empty() && found.running.is_none();
        if self.spec.setup && untouched && gone.is_none() {
            effects.push(Effect::SetUp);
            return self.enter(Life::SettingUp, effects);
        }
        let mut progress = Progress::replayed(&self.spec, found);
        if let Some(gone) = gone
            && !progress.is_over(&self.spec)
        {
            progress.gone(&self.spec, gone);
        }
        match progress.running {
            Some(_) => self.enter(Life::Running(progress), effects),
            None => self.advance(progress, effects),
        }
    }
}

pub(super) fn outcome_of(cause: Cause) -> Outcome {
    match cause {
        Cause::Failed(failure) => Outcome::Failed { stage: None, failure },
        Cause::Platform { why } => Outcome::Lost { why },
    }
}
