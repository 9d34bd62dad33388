//! What a supervisor decides, without any I/O.
//!
//! `step` takes what happened and the present moment and returns what must be done, in order.
//! Invariants: past the guard's deadline nothing is started and everything ends; at most one stage
//! runs; a stage is started at most once; each started stage ends exactly once, and its end is the
//! last thing said of it. It must not know of descriptors, paths or clocks.

mod happening;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub use self::happening::{Input, Leave, Output, Signal, Target};
use self::stage::{Phase, Stage};
use crate::protocol::{Moment, Notice, Refusal, Request, Running, StageEnd, StageOrder, Stop};

/// A supervisor that was never told a deadline waits this long for the first beat.
pub const UNASSIGNED_MS: u64 = 10 * 60 * 1000;
/// After SIGKILL nothing is waited for longer: what still stands is stuck in the kernel.
const AFTER_KILL_MS: u64 = 5_000;
/// A state tells of every stage, and must fit into a message.
const STAGES_MAX: u16 = 4096;
/// What a frame holds.
const MASK_BYTES_MAX: usize = 64 * 1024;

/// All that a supervisor knows.
#[derive(Debug)]
pub struct Machine {
    deadline: Moment,
    identity: Option<String>,
    /// What was ordered, as a digest: orders hold secrets.
    ordered: BTreeMap<u16, u64>,
    ended: Vec<StageEnd>,
    stage: Option<Stage>,
    sweep: Option<Sweep>,
    held: bool,
    left: Option<Leave>,
}

/// Ending everything: first asked, then forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sweep {
    phase: SweepPhase,
    then: Option<Leave>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SweepPhase {
    Asked { kill_at: Moment },
    Killed { give_up_at: Moment },
    Over,
}

impl Machine {
    /// Makes a machine that dies at `deadline` unless somebody vouches for it.
    pub fn new(deadline: Moment) -> Self {
        Self {
            deadline,
            identity: None,
            ordered: BTreeMap::new(),
            ended: Vec::new(),
            stage: None,
            sweep: None,
            held: false,
            left: None,
        }
    }

    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    pub fn deadline(&self) -> Moment {
        self.deadline
    }

    pub fn running(&self) -> Option<Running> {
        self.stage.as_ref().map(Stage::running)
    }

    pub fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    pub fn ended(&self) -> &[StageEnd] {
        &self.ended
    }

    /// Returns whether the supervisor's end is decided.
    pub fn left(&self) -> Option<Leave> {
        self.left
    }

    /// Returns when `Tick` is due at the latest.
    pub fn next_deadline(&self) -> Moment {
        let stage = self.stage.as_ref().and_then(|stage| stage.next_deadline(self.held));
        let sweep = self.sweep.and_then(|sweep| match sweep.phase {
            SweepPhase::Asked { kill_at } => Some(kill_at),
            SweepPhase::Killed { give_up_at } => Some(give_up_at),
            SweepPhase::Over => None,
        });
        [stage, sweep].into_iter().flatten().fold(self.deadline, Moment::min)
    }

    /// Returns whose end must be reported as `Gone`.
    pub fn awaits(&self) -> Option<Target> {
        match self.sweep {
            Some(Sweep { phase: SweepPhase::Over, .. }) => None,
            Some(_) => Some(Target::All),
            None => self.stage.as_ref().and_then(Stage::awaits).map(Target::Group),
        }
    }

    /// Takes one thing that happened at `now`.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Output> {
        if self.left == Some(Leave::Guard) {
            return Vec::new();
        }
        if now >= self.deadline {
            self.left = Some(Leave::Guard);
            return vec![Output::Signal(Target::All, Signal::Kill), Output::Leave(Leave::Guard)];
        }
        if self.left.is_some() {
            return self.take_last(input, now);
        }
        let mut outputs = self.take(input, now);
        self.pass_time(now, &mut outputs);
        self.settle(now, &mut outputs);
        outputs
    }

    /// The last output may still wait for room in the capture, and only the executor can make some.
    fn take_last(&mut self, input: Input, now: Moment) -> Vec<Output> {
        match input {
            Input::Request(
                request @ (Request::Beat { .. } | Request::Taken { .. } | Request::Finish { .. }),
            ) => self.request(request, now),
            Input::Request(_) | Input::Assign { .. } => vec![Output::Answer(Err(Refusal::Ending))],
            Input::Tick
            | Input::Spawned { .. }
            | Input::NotSpawned { .. }
            | Input::Dying { .. }
            | Input::Exited { .. }
            | Input::Gone
            | Input::Drained
            | Input::Heard { .. }
            | Input::Held(_)
            | Input::Terminate => Vec::new(),
        }
    }

    fn take(&mut self, input: Input, now: Moment) -> Vec<Output> {
        match input {
            Input::Request(request) => return self.request(request, now),
            Input::Assign { identity, deadline, on_disk } => {
                return vec![Output::Answer(self.assign(identity, deadline, on_disk))];
            }
            Input::Tick => {}
            Input::Spawned { pid } => {
                let stage = self.stage.as_mut();
                let notice = stage.map(|stage| Output::Notify(stage.spawned(pid)));
                return notice.into_iter().collect();
            }
            Input::NotSpawned { why } => return self.not_spawned(why, now),
            Input::Dying { pid } => {
                let group = self.stage.as_ref().and_then(|stage| stage.dooms_group(pid));
                let kill = group.map(|group| Output::Signal(Target::Group(group), Signal::Kill));
                return kill.into_iter().collect();
            }
            Input::Exited { pid, exit, usage, oom_kills } => {
                if let Some(stage) = &mut self.stage {
                    stage.exited(pid, (exit, usage, oom_kills));
                }
            }
            Input::Gone => self.gone(),
            Input::Drained => {
                if let Some(stage) = &mut self.stage {
                    stage.drained();
                }
            }
            Input::Heard { stage: index } => {
                if let Some(stage) = self.stage.as_mut().filter(|stage| stage.index() == index) {
                    stage.heard(now);
                }
            }
            Input::Held(held) => {
                let freed = std::mem::replace(&mut self.held, held) && !held;
                if let Some(stage) = self.stage.as_mut().filter(|_| freed) {
                    stage.heard(now);
                }
            }
            Input::Terminate => {
                // Asked a second time, it does not wait any longer.
                let stage = self.stage.as_ref().filter(|_| self.sweep.is_none());
                let grace_ms = stage.map_or(0, Stage::grace_ms);
                return self.begin_sweep(Stop::Terminated, grace_ms, Some(Leave::Terminated), now);
            }
        }
        Vec::new()
    }

    fn assign(&mut self, identity: String, deadline: Moment, on_disk: Option<String>) -> Result<(), Refusal> {
        match &self.identity {
            Some(own) if *own == identity => {
                self.deadline = self.deadline.max(deadline);
                Ok(())
            }
            Some(_) => Err(Refusal::OtherAttempt),
            None if on_disk.as_ref() != Some(&identity) => Err(Refusal::OtherIdentity),
            None => {
                self.identity = Some(identity);
                self.deadline = deadline;
                Ok(())
            }
        }
    }

    fn request(&mut self, request: Request, now: Moment) -> Vec<Output> {
        let done = Output::Answer(Ok(()));
        match request {
            // The identity file is read outside, which makes an `Input::Assign` of it.
            Request::Assign { identity, deadline } => {
                vec![Output::Answer(self.assign(identity, deadline, None))]
            }
            Request::Beat { deadline } => {
                self.deadline = self.deadline.max(deadline);
                vec![done]
            }
            Request::RunStage(order) => match self.admit(&order) {
                Ok(Admission::New(digest)) => {
                    self.ordered.insert(order.stage, digest);
                    self.stage = Some(Stage::new(&order, now));
                    vec![done, Output::Spawn(order)]
                }
                Ok(Admission::Known) => vec![done],
                Err(refusal) => vec![Output::Answer(Err(refusal))],
            },
            Request::Cancel { through, grace_ms } => {
                let mut outputs = vec![done];
                if self.stage.as_ref().is_none_or(|stage| stage.index() <= through) {
                    outputs.extend(self.begin_sweep(Stop::Cancelled, grace_ms, None, now));
                }
                outputs
            }
            Request::AddMask { value, .. } if !(1..=MASK_BYTES_MAX).contains(&value.0.len()) => {
                vec![Output::Answer(Err(Refusal::MaskLength))]
            }
            Request::AddMask { stage, value } => vec![Output::AddMask { stage, value }],
            Request::Taken { offset } => vec![Output::Taken { offset }],
            Request::Finish { grace_ms } => {
                let mut outputs = vec![done];
                outputs.extend(self.begin_sweep(Stop::Terminated, grace_ms, Some(Leave::Finished), now));
                outputs
            }
        }
    }

    fn admit(&self, order: &StageOrder) -> Result<Admission, Refusal> {
        if self.identity.is_none() {
            return Err(Refusal::NotAssigned);
        }
        if order.stage >= STAGES_MAX {
            return Err(Refusal::TooManyStages);
        }
        let digest = digest(order);
        match self.ordered.get(&order.stage) {
            Some(known) if *known == digest => return Ok(Admission::Known),
            Some(_) => return Err(Refusal::OtherOrder),
            None => {}
        }
        match self.sweep {
            Some(Sweep { then: Some(_), .. }) => Err(Refusal::Ending),
            Some(_) => Err(Refusal::Busy),
            None if self.stage.is_some() => Err(Refusal::Busy),
            None => Ok(Admission::New(digest)),
        }
    }

    /// Begins to end everything. A sweep that is under way gets shorter, never longer, and the first
    /// reason to leave stays.
    fn begin_sweep(&mut self, stop: Stop, grace_ms: u64, then: Option<Leave>, now: Moment) -> Vec<Output> {
        let kill_at = now.after(grace_ms);
        let first = self.sweep.is_none();
        let sweep = self.sweep.get_or_insert(Sweep { phase: SweepPhase::Asked { kill_at }, then });
        sweep.then = sweep.then.or(then);
        if let SweepPhase::Asked { kill_at: earlier } = &mut sweep.phase {
            *earlier = kill_at.min(*earlier);
        }
        // Where everything is gone already, nobody would ever end this phase.
        if sweep.phase != SweepPhase::Over
            && let Some(stage) = &mut self.stage
        {
            stage.stop(stop, Phase::Swept);
        }
        let asks = (first && grace_ms > 0).then_some(Output::Signal(Target::All, Signal::Terminate));
        asks.into_iter().collect()
    }

    fn gone(&mut self) {
        if let Some(sweep) = &mut self.sweep {
            sweep.phase = SweepPhase::Over;
        }
        if let Some(stage) = &mut self.stage {
            stage.gone();
        }
    }

    fn not_spawned(&mut self, why: String, now: Moment) -> Vec<Output> {
        let Some(stage) = self.stage.take() else { return Vec::new() };
        self.close(stage.not_started(why, now))
    }

    /// Acts on every timer that is over.
    fn pass_time(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if let Some(sweep) = &mut self.sweep {
            match sweep.phase {
                SweepPhase::Asked { kill_at } if now >= kill_at => {
                    sweep.phase = SweepPhase::Killed { give_up_at: now.after(AFTER_KILL_MS) };
                    outputs.push(Output::Signal(Target::All, Signal::Kill));
                }
                SweepPhase::Killed { give_up_at } if now >= give_up_at => self.gone(),
                SweepPhase::Asked { .. } | SweepPhase::Killed { .. } | SweepPhase::Over => {}
            }
        }
        if let Some(stage) = &mut self.stage
            && let Some((group, signal)) = stage.pass_time(now, self.held)
        {
            outputs.push(Output::Signal(Target::Group(group), signal));
        }
    }

    /// Ends what has nothing left to wait for.
    fn settle(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if let Some(stage) = &mut self.stage {
            if stage.begins_drain() {
                outputs.push(Output::Drain { stage: stage.index() });
            }
            if let Some(end) = stage.end(now) {
                self.stage = None;
                outputs.extend(self.close(end));
                self.sweep = self.sweep.filter(|sweep| sweep.then.is_some());
            }
        }
        if self.stage.is_some() {
            return;
        }
        match self.sweep {
            Some(Sweep { phase: SweepPhase::Over, then: Some(leave) }) => {
                self.left = Some(leave);
                outputs.push(Output::Leave(leave));
            }
            Some(Sweep { phase: SweepPhase::Over, then: None }) => {
                self.sweep = None;
                outputs.push(Output::Notify(Notice::Swept));
            }
            Some(_) | None => {}
        }
    }

    fn close(&mut self, end: StageEnd) -> Vec<Output> {
        self.ended.push(end.clone());
        let frame = Output::End { stage: end.stage, outcome: end.outcome.clone() };
        vec![frame, Output::Notify(Notice::Ended(Box::new(end)))]
    }
}

enum Admission {
    New(u64),
    Known,
}

/// Tells two orders apart that claim to be the same one.
fn digest(order: &StageOrder) -> u64 {
    let mut hasher = DefaultHasher::new();
    let order = serde_json::to_vec(order).expect("an order is text and numbers, which JSON can hold");
    order.hash(&mut hasher);
    hasher.finish()
}
