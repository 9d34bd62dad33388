//! What must hold: judged at every revision of the store, and by a witness of what really ran.
//!
//! The witness hears from the simulated machines when a build begins and ends, and from nobody else.
//! The first law that is broken is kept, and the world stops at it. Nothing here is told what the
//! code believes.

mod counts;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use ocelot_controller::records::RunRecord;
use ocelot_controller::store::{Change, Event};
use ocelot_core::id::{Epoch, ExecutorId, RunId, SessionId, TaskId};
use ocelot_core::plan::Class;
use ocelot_domain::outcome::Outcome;
use ocelot_domain::task::Task;
use ocelot_domain::task::state::{LogEnd, Session};
use ocelot_domain::task::timing::{CONFIRMED, Timing};
use ocelot_executor::attempt::{AttemptId, Ended};

pub use counts::Counts;

use super::logs::LogHome;

/// What a supervisor may be late by.
const MOMENT: Duration = Duration::from_secs(1);

/// One attempt of a task, as the witness names it.
pub(super) type Tried = (TaskId, u32);

#[derive(Debug)]
pub(super) struct Laws {
    seen: Mutex<Seen>,
    origin: Instant,
    /// What the controllers really have of the logs.
    logs: Arc<LogHome>,
}

#[derive(Debug)]
struct Seen {
    tasks: BTreeMap<TaskId, Task>,
    runs: BTreeMap<RunId, RunRecord>,
    numbers: BTreeMap<(String, u64), RunId>,
    sessions: BTreeMap<SessionId, Session>,
    vanished: BTreeMap<SessionId, Instant>,
    slots: BTreeMap<ExecutorId, usize>,
    acknowledged: BTreeSet<Tried>,
    builds: BTreeMap<Tried, Build>,
    /// When the record stopped naming an attempt.
    left: BTreeMap<Tried, Instant>,
    /// Attempts whose bytes their executors lost with their disks.
    spools_lost: BTreeSet<Tried>,
    /// When the last request was sent that vouched for an exclusive attempt.
    vouched: BTreeMap<Tried, Instant>,
    /// The epoch that a restore raised.
    restored: Option<Epoch>,
    /// What executors journalled as an attempt's end, and when.
    results: BTreeMap<Tried, (Ended, Duration)>,
    counts: Counts,
    broken: Option<String>,
    digest: u64,
    history: Option<Vec<String>>,
}

#[derive(Debug)]
struct Build {
    runs: bool,
    /// The exit code of each stage, as the machine saw it.
    codes: Vec<i32>,
}

pub(super) fn tried(attempt: AttemptId) -> Tried {
    (attempt.task, attempt.number.number())
}

impl Laws {
    pub(super) fn new(with_history: bool, logs: Arc<LogHome>) -> Self {
        Self {
            seen: Mutex::new(Seen {
                tasks: BTreeMap::new(),
                runs: BTreeMap::new(),
                numbers: BTreeMap::new(),
                sessions: BTreeMap::new(),
                vanished: BTreeMap::new(),
                slots: BTreeMap::new(),
                acknowledged: BTreeSet::new(),
                builds: BTreeMap::new(),
                left: BTreeMap::new(),
                spools_lost: BTreeSet::new(),
                vouched: BTreeMap::new(),
                restored: None,
                results: BTreeMap::new(),
                counts: Counts::default(),
                broken: None,
                digest: 0xcbf2_9ce4_8422_2325,
                history: with_history.then(Vec::new),
            }),
            origin: Instant::now(),
            logs,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Keeps a line of the history.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        let at = self.at();
        self.seen().note(at, line);
    }

    /// Says that a promise is broken.
    pub(super) fn broken(&self, why: String) {
        let at = self.at();
        self.seen().break_law(at, why);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.seen().broken.is_some()
    }

    pub(super) fn first_broken(&self) -> Option<String> {
        self.seen().broken.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        self.seen().counts.clone()
    }

    pub(super) fn digest(&self) -> u64 {
        self.seen().digest
    }

    pub(super) fn history(&self) -> Vec<String> {
        self.seen().history.clone().unwrap_or_default()
    }

    /// Takes in what one revision changes, before anybody else sees it.
    pub(super) fn commit(&self, revision: i64, events: &[Event]) {
        let at = self.at();
        let mut seen = self.seen();
        seen.counts.revisions += 1;
        seen.hash(&at.as_millis().to_le_bytes());
        for event in events {
            seen.hash(event.key().as_bytes());
            match &event.change {
                Change::Put(item) => {
                    seen.hash(&item.value);
                    seen.put((revision, at), item, &self.logs);
                }
                Change::Delete { key } => seen.deleted((revision, at), key),
            }
        }
        seen.together(at);
    }

    /// A stage of a build begins on a machine.
    pub(super) fn begins(&self, attempt: AttemptId, class: Class) {
        let at = self.at();
        let mut seen = self.seen();
        let tried = tried(attempt);
        seen.note(at, || format!("build of {attempt} begins"));
        if !seen.acknowledged.contains(&tried) {
            seen.break_law(at, format!("a build began that no record ever had running: {attempt}"));
        }
        let others: Vec<(Tried, bool)> = seen
            .builds
            .range((attempt.task, 0)..=(attempt.task, u32::MAX))
            .filter(|(other, _)| **other != tried)
            .map(|(other, build)| (*other, build.runs))
            .collect();
        match class {
            Class::Once if !others.is_empty() => {
                seen.break_law(at, format!("I5: a task of class once began a second time: {attempt}"));
            }
            Class::Exclusive if others.iter().any(|(_, runs)| *runs) => {
                seen.break_law(at, format!("I5: two builds of an exclusive task at once: {attempt}"));
            }
            Class::Normal | Class::Once | Class::Exclusive => {}
        }
        if seen.builds.contains_key(&tried) {
            seen.break_law(at, format!("one attempt began twice: {attempt}"));
        }
        seen.counts.builds += 1;
        seen.builds.insert(tried, Build { runs: true, codes: Vec::new() });
        seen.hash(b"begins");
    }

    pub(super) fn stage_ends(&self, attempt: AttemptId, code: i32) {
        if let Some(build) = self.seen().builds.get_mut(&tried(attempt)) {
            build.codes.push(code);
        }
    }

    /// Nothing of a build runs any more.
    pub(super) fn ends(&self, attempt: AttemptId, how: &str) {
        let at = self.at();
        let mut seen = self.seen();
        seen.note(at, || format!("build of {attempt} ends: {how}"));
        seen.hash(how.as_bytes());
        let Some(build) = seen.builds.get_mut(&tried(attempt)) else { return };
        let ran = std::mem::replace(&mut build.runs, false);
        let guard = Timing::for_fleet(1).guard(Class::Exclusive) + MOMENT;
        let alone = seen.vouched.get(&tried(attempt)).map(Instant::elapsed);
        if ran && alone.is_some_and(|alone| alone > guard) {
            seen.break_law(at, format!("{attempt} ran {alone:?} after the last word of a controller"));
        }
    }

    /// The store was put back: what is of an older epoch no longer counts.
    pub(super) fn restored(&self, epoch: Epoch) {
        let at = self.at();
        let mut seen = self.seen();
        seen.note(at, || format!("the store is restored: epoch {epoch}"));
        seen.restored = Some(epoch);
    }

    /// An executor was told that its exclusive attempt may go on, by an answer to what it asked then.
    pub(super) fn vouched(&self, attempt: AttemptId, asked: Instant) {
        let at = self.at();
        let mut seen = self.seen();
        seen.guarded_from(attempt, asked);
        let live = seen.tasks.get(&attempt.task).and_then(|task| task.live().cloned());
        let since = match live.filter(|live| live.attempt == attempt.number) {
            Some(live) if seen.sessions.contains_key(&live.session.id) => return,
            Some(live) => seen.vanished.get(&live.session.id).copied(),
            None => seen.left.get(&tried(attempt)).copied(),
        };
        let gone = since.map(|since| asked.saturating_duration_since(since));
        if gone.is_some_and(|gone| gone > CONFIRMED) {
            seen.break_law(
                at,
                format!("vouched for {attempt}, which had been without a holder for {gone:?}"),
            );
        }
    }

    /// An executor asks for the first time whether an exclusive attempt may begin.
    pub(super) fn guarded_from(&self, attempt: AttemptId, asked: Instant) {
        self.seen().guarded_from(attempt, asked);
    }

    /// An executor's disk was lost, and the log of an attempt with it.
    pub(super) fn spool_lost(&self, attempt: AttemptId) {
        self.seen().spools_lost.insert(tried(attempt));
    }

    pub(super) fn is_spool_lost(&self, tried: Tried) -> bool {
        self.seen().spools_lost.contains(&tried)
    }

    /// An executor has let go of a log; `early` is its length if nobody else has it for good.
    pub(super) fn freed(&self, attempt: AttemptId, early: Option<u64>) {
        let at = self.at();
        let mut seen = self.seen();
        if early.is_none() || seen.spools_lost.contains(&tried(attempt)) {
            return;
        }
        let Some(task) = seen.tasks.get(&attempt.task) else { return };
        let is_live = task.live().is_some_and(|live| live.attempt == attempt.number);
        let is_whole = task
            .ended
            .iter()
            .filter(|end| end.attempt == attempt.number)
            .any(|end| matches!(end.completion.as_ref().map(|end| &end.log), Some(LogEnd::Whole { .. })));
        if is_live || is_whole {
            seen.break_law(at, format!("I14: the log of {attempt} was freed before it was durable"));
        }
    }

    /// A result became durable at its executor.
    pub(super) fn result(&self, attempt: AttemptId, ended: &Ended) {
        let at = self.at();
        let mut seen = self.seen();
        seen.note(at, || format!("{attempt} is journalled as {:?}", ended.outcome));
        // A journal that is written again by a later process says the same.
        seen.results.entry(tried(attempt)).or_insert_with(|| (ended.clone(), at));
    }

    /// A client was told that its run is accepted.
    pub(super) fn accepted(&self, run: RunId) {
        let at = self.at();
        let mut seen = self.seen();
        seen.note(at, || format!("a client knows that {run} is accepted"));
        if !seen.runs.contains_key(&run) {
            seen.break_law(at, format!("I7: a client was told that {run} is accepted, and it is not there"));
        }
    }

    /// A client was told that a run is cancelled, for good.
    pub(super) fn cancelled(&self, run: RunId) {
        let at = self.at();
        let mut seen = self.seen();
        seen.note(at, || format!("a client knows that {run} is cancelled"));
        let range = TaskId { run, index: 0 }..=TaskId { run, index: u32::MAX };
        if seen.tasks.range(range).any(|(_, task)| task.outcome().is_none()) {
            seen.break_law(at, format!("I10: cancelled, a client was told, and a task of {run} goes on"));
        }
    }

    pub(super) fn has(&self, run: RunId) -> bool {
        self.seen().runs.contains_key(&run)
    }

    /// Returns the runs that have not ended.
    pub(super) fn unfinished(&self) -> Vec<RunId> {
        let seen = self.seen();
        seen.runs.values().filter(|run| !run.is_finished()).map(|run| run.id).collect()
    }

    /// Returns what the store says about a task, for people.
    pub(super) fn tasks_of(&self, run: RunId) -> Vec<String> {
        let seen = self.seen();
        let tasks = seen.tasks.values().filter(|task| task.id.run == run);
        tasks.map(|task| format!("{}: {:?}", task.id, task.state)).collect()
    }

    /// Returns the whole logs that finished attempts have by their records.
    pub(super) fn whole_logs(&self) -> Vec<(Tried, u64, [u8; 32])> {
        let seen = self.seen();
        let ends = seen.tasks.values().flat_map(|task| task.ended.iter().map(|end| (task.id, end)));
        ends.filter_map(|(task, end)| match &end.completion.as_ref()?.log {
            LogEnd::Whole { bytes, sha256 } => Some(((task, end.attempt.number()), *bytes, *sha256)),
            LogEnd::Truncated { .. } => None,
        })
        .collect()
    }

    /// Returns why attempts were lost, without their own end.
    pub(super) fn losses(&self) -> Vec<String> {
        let seen = self.seen();
        let ends = seen.tasks.values().flat_map(|task| task.ended.iter().map(|end| (task.id, end)));
        let lost = ends.filter(|(_, end)| matches!(end.outcome, Outcome::Lost { .. }));
        let mut lost: Vec<String> = lost
            .map(|(task, end)| format!("{task} attempt {}: {:?}", end.attempt.number(), end.outcome))
            .collect();
        lost.extend(
            seen.tasks
                .values()
                .filter(|task| task.ended.is_empty() && matches!(task.outcome(), Some(Outcome::Lost { .. })))
                .map(|task| format!("{}: {:?}", task.id, task.state)),
        );
        lost
    }
}

impl Seen {
    fn note(&mut self, at: Duration, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(format!("{:>10.3}  {}", at.as_secs_f64(), line()));
        }
    }

    fn guarded_from(&mut self, attempt: AttemptId, asked: Instant) {
        let last = self.vouched.entry(tried(attempt)).or_insert(asked);
        *last = asked.max(*last);
    }

    fn break_law(&mut self, at: Duration, why: String) {
        self.note(at, || format!("BROKEN: {why}"));
        self.broken.get_or_insert(format!("after {:.3} s: {why}", at.as_secs_f64()));
    }

    fn hash(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
