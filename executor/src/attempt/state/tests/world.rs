//! The world around one attempt: disk, engine, supervisor, controller. It asserts at each effect what
//! must hold then, and dies at any step.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::journal::{Record, State};

use super::*;

struct World {
    state: AttemptState,
    now: BootTime,
    journal: State,
    /// On their way to the disk.
    writing: VecDeque<Entry>,
    /// Asked for and not answered.
    pending: Vec<Effect>,
    container: Option<Found>,
    starts: u32,
    begun: Vec<u16>,
    /// Whether the controller still names this executor.
    ours: bool,
    told_yes: bool,
    set_up: bool,
    result: Option<Ended>,
    spool: bool,
    latest_vouched: BootTime,
}

impl World {
    fn new() -> Self {
        Self {
            state: AttemptState::accepting(World::spec()),
            now: BootTime(1_000),
            journal: State::default(),
            writing: VecDeque::from([Entry::Accepted(accepted())]),
            pending: vec![],
            container: None,
            starts: 0,
            begun: vec![],
            ours: true,
            told_yes: false,
            set_up: false,
            result: None,
            spool: true,
            latest_vouched: BootTime(0),
        }
    }

    fn spec() -> Spec {
        let tolerant = Stage { allow_failure: Tolerance::Any, ..stage("b") };
        let skipped = Stage { skipped: true, ..stage("c") };
        let stages = vec![stage("a"), tolerant, skipped, stage("d"), always("e"), always("f")];
        Spec { setup: true, ..spec(stages) }
    }

    fn phase(&self) -> Option<&Phase> {
        self.journal.attempt(id()).map(|held| &held.phase)
    }

    fn event(&mut self, event: Event) {
        let state = self.state.clone();
        let (state, effects) = state.step(event, self.now);
        self.state = state;
        for effect in effects {
            self.ask(effect);
        }
    }

    /// What must hold whenever something is asked for.
    fn ask(&mut self, effect: Effect) {
        match &effect {
            Effect::Journal(entry) => return self.writing.push_back(entry.clone()),
            Effect::FetchSecrets { .. } | Effect::Prepare => assert!(self.told_yes, "{effect:?} too early"),
            Effect::StartContainer { deadline } => {
                assert_eq!(self.phase(), Some(&Phase::Starting), "started before the journal said so");
                assert!(self.told_yes, "started before the acknowledgement was answered");
                assert!(self.now.0 + 5_000 <= deadline.0, "started with too little of the guard");
                assert!(*deadline <= self.latest_vouched.after(GUARD), "nobody vouched for so long");
            }
            Effect::RunStage { .. } if self.begun.is_empty() => {
                assert!(self.set_up, "a stage began before its services were ready");
            }
            Effect::Complete { ended, .. } => {
                let durable = matches!(self.phase(), Some(Phase::Ended(_)));
                assert!(durable, "told a result before it was durable");
                let first = self.result.as_ref().unwrap();
                assert_eq!((&ended.outcome, ended.log), (&first.outcome, first.log), "the result changed");
            }
            Effect::ConfirmFenced { .. } => {
                assert_eq!(self.phase(), Some(&Phase::Fenced));
                assert!(self.container.is_none() && !self.spool, "confirmed with something left");
            }
            _ => {}
        }
        self.pending.push(effect);
    }

    /// The oldest entry becomes durable.
    fn write(&mut self) -> Option<Written> {
        let entry = self.writing.pop_front()?;
        let written = match &entry {
            Entry::Accepted(_) => Written::Accepted,
            Entry::Starting => Written::Starting,
            Entry::Started(_) => Written::Started,
            Entry::Ended(ended) => {
                assert!(self.result.is_none(), "a second result");
                self.result = Some(*ended.clone());
                Written::Ended
            }
            Entry::Fenced => Written::Fenced,
            Entry::Done => {
                assert!(self.container.is_none() && !self.spool, "done with something left");
                Written::Done
            }
        };
        self.journal.apply(&Record::Attempt { id: id(), entry }).unwrap();
        Some(written)
    }

    fn start(&mut self) {
        self.starts += 1;
        assert_eq!(self.starts, 1, "started twice");
        self.container =
            Some(Found { container: container(), ended: vec![], running: None, cancelled: None });
    }

    fn end_stage(&mut self, end: StageEnd) {
        let Some(found) = &mut self.container else { return };
        let Some(index) = found.running.take() else { return };
        found.ended.push((index, end));
        self.event(Event::StageEnded { index, end });
    }

    /// Carries out a pending effect; `luck` says how it ends, 0 is well.
    fn answer(&mut self, place: usize, luck: u16) {
        if self.pending.is_empty() {
            return;
        }
        let effect = self.pending.remove(place % self.pending.len());
        let answer = match (self.ours, luck % 4) {
            (_, 1) => Answer::Unknown,
            (true, _) => Answer::Yes,
            (false, _) => Answer::Fenced,
        };
        match effect {
            Effect::Acknowledge { sent, .. } => {
                self.told_yes |= answer == Answer::Yes;
                if answer == Answer::Yes {
                    self.latest_vouched = self.latest_vouched.max(sent);
                }
                self.event(Event::Acknowledged(answer));
            }
            Effect::FetchSecrets { .. } if luck == 9 => self.event(Event::SecretsRefused { why: "x".into() }),
            Effect::FetchSecrets { .. } => self.event(Event::SecretsFetched(answer)),
            Effect::Prepare if luck % 8 == 7 => {
                self.event(Event::NotPrepared(Cause::Platform { why: "engine".into() }));
            }
            Effect::Prepare => self.event(Event::Prepared),
            Effect::StartContainer { .. } if luck % 8 == 7 => {
                self.event(Event::NotLaunched(Cause::Platform { why: "engine".into() }));
            }
            Effect::StartContainer { .. } => {
                self.start();
                self.event(Event::Launched(container()));
            }
            Effect::SetUp if luck % 8 == 7 => {
                self.event(Event::NotSetUp(Cause::Failed(Failure::Setup { why: "service".into() })));
            }
            Effect::SetUp => {
                self.set_up = true;
                self.event(Event::SetUp);
            }
            Effect::RunStage { index } => {
                if let Some(found) = &mut self.container {
                    assert!(!self.begun.contains(&index), "stage {index} began twice");
                    self.begun.push(index);
                    found.running = Some(index);
                }
            }
            Effect::CancelStage { index } => match &mut self.container {
                Some(found) if found.running == Some(index) => {
                    found.cancelled = Some(index);
                    let ends = [StageEnd::Exit(Exit::Signal(15)), StageEnd::Exit(Exit::Code(0))];
                    self.end_stage(ends[usize::from(luck % 2)]);
                }
                Some(_) | None => {}
            },
            Effect::StopCollecting => {
                self.pending.retain(|effect| !matches!(effect, Effect::Collect { .. }));
            }
            Effect::StopPreparing => self.pending.retain(|effect| *effect != Effect::Prepare),
            Effect::SetGuard { .. } | Effect::HeartbeatNow | Effect::TellSkipped { .. } => {}
            other => self.answer_closing(other, luck, answer),
        }
    }

    fn answer_closing(&mut self, effect: Effect, luck: u16, answer: Answer) {
        match effect {
            Effect::Collect { .. } => self.event(Event::Collected(match luck % 4 {
                3 => Err(Cause::Failed(Failure::Disk { why: "full".into() })),
                2 => Ok(vec![artifact("one"), artifact("two")]),
                _ => Ok(vec![]),
            })),
            Effect::SealLog => self.event(Event::Sealed { log: log(9), loss: None }),
            Effect::KillContainer | Effect::RemoveContainer { .. } => {
                self.pending.retain(|effect| !matches!(effect, Effect::StartContainer { .. }));
                self.container = None;
                self.event(Event::ContainerRemoved);
            }
            Effect::PushArtifact { .. } => self.event(Event::PushedAgain),
            Effect::PushLog { from } => {
                let whole = luck % 4 != 2;
                if !self.spool {
                    let why = "the spool is gone".to_owned();
                    self.event(Event::LogBroken(LogLoss { at: from, why }));
                } else if whole {
                    self.event(Event::Durable(Offset(9)));
                } else {
                    self.pending.push(Effect::PushLog { from });
                    self.event(Event::Durable(Offset(3)));
                }
            }
            Effect::Complete { .. } => self.event(Event::Completed(match (answer, luck % 4) {
                (Answer::Unknown, _) => CompleteAnswer::Unknown,
                (Answer::Fenced, _) => CompleteAnswer::Fenced,
                (Answer::Yes, 2) => CompleteAnswer::LogIncomplete { expected: Offset(3) },
                (Answer::Yes, 1) if luck % 8 == 1 => CompleteAnswer::ArtifactMissing { index: luck % 3 },
                (Answer::Yes, _) => CompleteAnswer::Recorded,
            })),
            Effect::DropSpool => {
                self.spool = false;
                self.event(Event::SpoolDropped);
            }
            Effect::ConfirmFenced { .. } => self.event(Event::Confirmed(answer)),
            other => unreachable!("{other:?} is of the opening"),
        }
    }

    /// The process dies: some of what it had under way still happens, and the next one begins.
    fn crash(&mut self, luck: u16) {
        for _ in 0..usize::from(luck % 3).min(self.writing.len()) {
            self.write();
        }
        self.writing.clear();
        let starting = self.pending.iter().any(|effect| matches!(effect, Effect::StartContainer { .. }));
        if starting && luck.is_multiple_of(2) {
            self.start();
        }
        self.pending.clear();
        let Some(held) = self.journal.attempt(id()) else {
            // Done, or never accepted: the next process knows nothing of it.
            assert!(self.container.is_none(), "forgot a container");
            self.state.life = Life::Done;
            return;
        };
        self.state = AttemptState::recovering(World::spec(), held.clone(), self.container.clone());
        // What was found goes on while the session is opened.
        if luck % 5 < 2 {
            self.end_stage(StageEnd::Exit(Exit::Code(i32::from(luck % 3))));
        }
        if luck % 11 == 10 && self.container.take().is_some() {
            self.event(Event::ContainerGone(Gone::Died { why: "gone".into() }));
        }
        self.event(if self.ours { Event::Kept } else { Event::Fenced });
    }

    fn random(&mut self, choice: u16) {
        let luck = choice / 32;
        match choice % 32 {
            0..=7 => {
                if let Some(written) = self.write() {
                    self.event(Event::Journalled(written));
                }
            }
            8..=17 => self.answer(usize::from(luck / 8), luck),
            18 | 19 => self.end_stage(StageEnd::Exit(Exit::Code(i32::from(luck % 3)))),
            20 => self.end_stage(StageEnd::TimedOut([Limit::Stage, Limit::Run][usize::from(luck % 2)])),
            21 => self.event(Event::Cancel),
            22 => self.now.0 += u64::from(luck) * 20,
            23 => self.crash(luck),
            24 if luck.is_multiple_of(4) => self.ours = false,
            25 if !self.ours => self.event(Event::Fenced),
            26 if self.ours => {
                self.latest_vouched = self.now;
                self.event(Event::Vouched { sent: self.now });
            }
            27 => self.event(Event::GuardLow),
            28 if self.container.take().is_some() => {
                self.event(Event::ContainerGone(Gone::Died { why: "gone".into() }));
            }
            29 => self.event(Event::Completed(CompleteAnswer::Unknown)),
            30 => self.event(Event::Journalled([Written::Started, Written::Accepted][usize::from(luck % 2)])),
            _ => {}
        }
    }

    /// From here on everything answers.
    fn heal(&mut self) {
        for _ in 0..300 {
            if let Some(written) = self.write() {
                self.event(Event::Journalled(written));
            }
            self.answer(0, 0);
            self.end_stage(StageEnd::Exit(Exit::Code(0)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_nothing_starts_twice_and_nothing_is_left(
        choices in proptest::collection::vec(any::<u16>(), 0..150),
    ) {
        let mut world = World::new();
        for choice in choices {
            world.random(choice);
        }
        world.heal();
        prop_assert!(world.state.is_done(), "{:?}, pending {:?}", world.state, world.pending);
        prop_assert!(world.container.is_none());
        prop_assert!(world.phase().is_none());
    }
}

pub(super) fn artifact(name: &str) -> ArtifactDigest {
    ArtifactDigest { name: name.to_owned(), sha256: [7; 32], size_bytes: 9, files: 2 }
}
