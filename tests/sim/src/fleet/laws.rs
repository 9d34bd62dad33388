//! What must hold: judged at every revision of the store, and by a witness of what really ran.
//!
//! The witness hears from the simulated machines when a build begins and ends, and from nobody else.
//! The first law that is broken is kept, and the world stops at it. Nothing here is told what the
//! code believes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use ocelot_controller::records::{RunRecord, Stage, Stored, Subject};
use ocelot_controller::store::{Change, Event, KeyValue};
use ocelot_core::id::{ExecutorId, RunId, SessionId, TaskId};
use ocelot_core::plan::Class;
use ocelot_domain::outcome::Outcome;
use ocelot_domain::task::Task;
use ocelot_domain::task::state::{LogEnd, Session, TaskState};
use ocelot_domain::task::timing::{REASSIGN_NORMAL, Timing};
use ocelot_executor::attempt::{self, AttemptId, Ended};

/// One attempt of a task, as the witness names it.
pub(super) type Tried = (TaskId, u32);

#[derive(Debug)]
pub(super) struct Laws {
    seen: Mutex<Seen>,
    origin: Instant,
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
    results: BTreeMap<Tried, Ended>,
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

/// What happened, so that a world in which nothing did is not taken for a proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub revisions: u64,
    pub runs: u64,
    pub builds: u64,
    pub retried: u64,
    pub reattached: u64,
    pub taken: u64,
    pub logs_lost: u64,
    pub outcomes: BTreeMap<String, u64>,
}

pub(super) fn tried(attempt: AttemptId) -> Tried {
    (attempt.task, attempt.number.number())
}

impl Laws {
    pub(super) fn new(with_history: bool) -> Self {
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
                results: BTreeMap::new(),
                counts: Counts::default(),
                broken: None,
                digest: 0xcbf2_9ce4_8422_2325,
                history: with_history.then(Vec::new),
            }),
            origin: Instant::now(),
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
                    seen.put((revision, at), item);
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
        if let Some(build) = seen.builds.get_mut(&tried(attempt)) {
            build.runs = false;
        }
    }

    /// A result became durable at its executor.
    pub(super) fn result(&self, attempt: AttemptId, ended: &Ended) {
        let at = self.at();
        let mut seen = self.seen();
        seen.note(at, || format!("{attempt} is journalled as {:?}", ended.outcome));
        seen.results.insert(tried(attempt), ended.clone());
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
        lost.extend(seen.tasks.values().filter(|task| task.ended.is_empty()).filter_map(|task| {
            matches!(task.outcome(), Some(Outcome::Lost { .. }))
                .then(|| format!("{}: {:?}", task.id, task.state))
        }));
        lost
    }
}

impl Seen {
    fn note(&mut self, at: Duration, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(format!("{:>10.3}  {}", at.as_secs_f64(), line()));
        }
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

    fn put(&mut self, (revision, at): (i64, Duration), item: &KeyValue) {
        match Stored::read(item) {
            Ok(Stored::Task(task)) => self.task((revision, at), task),
            Ok(Stored::Run(run)) => self.run((revision, at), run),
            Ok(Stored::Session(record)) => {
                let session = record.session;
                self.note(at, || {
                    format!(
                        "@{revision} session {} of incarnation {} is there",
                        session.id, session.incarnation.0
                    )
                });
                self.sessions.insert(session.id, session);
            }
            Ok(Stored::Executor(record)) => {
                self.slots.insert(record.id, record.slots as usize);
            }
            Ok(
                Stored::Job(_)
                | Stored::ExecutorEpoch(_)
                | Stored::Group(_)
                | Stored::Progress(_)
                | Stored::Controller(_)
                | Stored::Other,
            ) => {}
            Err(error) => self.break_law(at, format!("a record cannot be read: {error}")),
        }
    }

    fn deleted(&mut self, (revision, at): (i64, Duration), key: &str) {
        use ocelot_controller::store::keys::Key;
        match key.parse() {
            Ok(Key::Session(session)) => {
                self.note(at, || format!("@{revision} session {session} is gone"));
                self.sessions.remove(&session);
                self.vanished.insert(session, Instant::now());
            }
            Ok(Key::Run(_) | Key::Task(_)) => self.break_law(at, format!("I7: {key} was deleted")),
            Ok(_) | Err(_) => {}
        }
    }

    fn run(&mut self, (revision, at): (i64, Duration), run: RunRecord) {
        self.note(at, || {
            format!("@{revision} run {}: {:?} cancel {}", run.id, run.stage, run.cancel.is_some())
        });
        let Subject::Job { name, .. } = &run.subject;
        let first = *self.numbers.entry((name.clone(), run.number)).or_insert(run.id);
        if first != run.id {
            self.break_law(at, format!("two runs have the number {} of {name}", run.number));
        }
        if let Stage::Finished { outcome, .. } = run.stage {
            let tasks =
                self.tasks.range(TaskId { run: run.id, index: 0 }..=TaskId { run: run.id, index: u32::MAX });
            if tasks.filter(|(_, task)| task.outcome().is_some()).count() < run.plan.tasks() {
                self.break_law(at, format!("I9: run {} ended before its tasks", run.id));
            }
            if self.runs.get(&run.id).is_none_or(|before| !before.is_finished()) {
                *self.counts.outcomes.entry(outcome.to_string()).or_default() += 1;
            }
        }
        match self.runs.get(&run.id).cloned() {
            None => self.counts.runs += 1,
            Some(before) => {
                let same = before.payload == run.payload && before.number == run.number;
                if !same || before.plan != run.plan || (before.is_finished() && before != run) {
                    let why = format!("I8, I9: run {} became another: {before:?} to {run:?}", run.id);
                    self.break_law(at, why);
                }
                if before.cancel.is_some() && run.cancel.is_none() {
                    self.break_law(at, format!("I10: the cancel of run {} was lost", run.id));
                }
            }
        }
        self.runs.insert(run.id, run);
    }

    fn task(&mut self, (revision, at): (i64, Duration), task: Task) {
        self.note(at, || {
            format!(
                "@{revision} task {} attempt {:?} tries {}: {:?}",
                task.id, task.attempt, task.tries, task.state
            )
        });
        let before = self.tasks.insert(task.id, task.clone());
        if let Some(why) = self.wrong(before.as_ref(), &task) {
            let was = before.map(|before| before.state);
            self.break_law(at, format!("{why}: task {} from {was:?} to {:?}", task.id, task.state));
        }
        if matches!(task.state, TaskState::Running { .. } | TaskState::Cancelling { .. })
            && let Some(live) = task.live()
        {
            self.acknowledged.insert((task.id, live.attempt.number()));
        }
    }

    /// Judges one change of a task's record.
    fn wrong(&mut self, before: Option<&Task>, task: &Task) -> Option<String> {
        let Some(before) = before else {
            let fresh = task.attempt.is_none() && task.tries == 0 && task.live().is_none();
            return (!fresh).then(|| "a task began in the middle of its life".into());
        };
        if before.outcome().is_some() && before != task {
            return Some("I9: a terminal state changed".into());
        }
        if task.attempt < before.attempt || task.tries < before.tries || task.ended.len() < before.ended.len()
        {
            return Some("I2: attempts, tries or ends became fewer".into());
        }
        if !task.ended.starts_with(&before.ended) {
            return Some("I9: the end of an earlier attempt changed".into());
        }
        let acknowledged =
            matches!((&before.state, &task.state), (TaskState::Offered { .. }, TaskState::Running { .. }));
        if task.tries != before.tries + u32::from(acknowledged) {
            return Some("I11: a try was counted that nobody acknowledged, or one was not".into());
        }
        let offered =
            matches!((&before.state, &task.state), (TaskState::Queued { .. }, TaskState::Offered { .. }));
        let number = |task: &Task| task.attempt.map_or(0, |attempt| attempt.number());
        if number(task) != number(before) + u32::from(offered) {
            return Some("I2: the attempt's number is not that of the offers".into());
        }
        self.wrong_way(before, task).or_else(|| self.wrong_end(before, task))
    }

    /// Judges where a task came from, and by whose hand.
    fn wrong_way(&mut self, before: &Task, task: &Task) -> Option<String> {
        let present = |session: &Session| self.sessions.contains_key(&session.id);
        match (before.live(), task.live()) {
            (None, Some(live)) if !present(&live.session) => {
                return Some("I1: offered to a session that is gone".into());
            }
            (Some(was), Some(is)) if was.session != is.session => {
                self.counts.reattached += 1;
                let newer = is.session.incarnation > was.session.incarnation;
                if was.session.executor != is.session.executor || !newer || was.attempt != is.attempt {
                    return Some("I1: an attempt went to another executor".into());
                }
                if !self.sessions.contains_key(&is.session.id) {
                    return Some("I1: attached to a session that is gone".into());
                }
            }
            (Some(_), Some(is)) if task.tries > before.tries && !present(&is.session) => {
                return Some("acknowledged for a session that is gone".into());
            }
            (None | Some(_), _) => {}
        }
        match (&before.state, &task.state) {
            (TaskState::Cancelling { .. }, TaskState::Cancelling { .. })
            | (TaskState::Cancelling { .. }, TaskState::Finished { outcome: Outcome::Cancelled { .. } }) => {
                None
            }
            (TaskState::Cancelling { .. }, _) => Some("I10: a cancel was lost".into()),
            (TaskState::Running { .. }, TaskState::Queued { .. } | TaskState::Offered { .. })
                if task.policy.class == Class::Once =>
            {
                Some("I5: a task of class once was queued again".into())
            }
            (TaskState::Running { .. }, TaskState::Queued { .. }) => {
                self.counts.retried += 1;
                None
            }
            _ => None,
        }
    }

    /// Judges how an attempt ended.
    fn wrong_end(&mut self, before: &Task, task: &Task) -> Option<String> {
        let [end] = task.ended.get(before.ended.len()..)? else { return None };
        let live = before.live()?;
        let key = (task.id, end.attempt.number());
        let Some(completion) = &end.completion else {
            self.counts.taken += 1;
            if self.sessions.contains_key(&live.session.id) {
                return None;
            }
            let needed = match task.policy.class {
                Class::Normal => REASSIGN_NORMAL,
                Class::Exclusive | Class::Once => Timing::for_fleet(1).reassign(task.policy.class),
            };
            let gone = self.vanished.get(&live.session.id).map(Instant::elapsed);
            let waited = gone.is_some_and(|gone| gone >= needed);
            return (!waited).then(|| format!("taken {gone:?} after its session was gone"));
        };
        if live.attempt != end.attempt {
            return Some("I3: a report of another attempt was taken".into());
        }
        let Some(result) = self.results.get(&key) else {
            return Some("I3: a result that no executor ever journalled".into());
        };
        let said = match &end.outcome {
            Outcome::Cancelled { result: Some(result), .. } => result,
            outcome => outcome,
        };
        let is_success = matches!(said, Outcome::Succeeded);
        let was_success = result.outcome == attempt::Outcome::Succeeded;
        let build = self.builds.get(&key);
        let really =
            build.is_some_and(|build| !build.codes.is_empty() && build.codes.iter().all(|code| *code == 0));
        if is_success != was_success || (is_success && !really) {
            return Some(format!("I9: the result is not what the build did ({:?})", result.outcome));
        }
        match &completion.log {
            LogEnd::Whole { bytes, sha256 } => {
                let same = *bytes == result.log.length.0 && *sha256 == result.log.sha256;
                (!same).then(|| "I15: the log's end is not the build's".to_owned())
            }
            LogEnd::Truncated { .. } => {
                self.counts.logs_lost += 1;
                None
            }
        }
    }

    /// Judges what tasks hold together.
    fn together(&mut self, at: Duration) {
        let executors: BTreeSet<ExecutorId> =
            self.sessions.values().map(|session| session.executor).collect();
        if executors.len() < self.sessions.len() {
            self.break_law(at, format!("I1: two sessions of one executor: {:?}", self.sessions));
        }
        let mut slots: BTreeMap<ExecutorId, usize> = BTreeMap::new();
        let mut groups: BTreeMap<(Option<String>, String), (usize, u32)> = BTreeMap::new();
        for task in self.tasks.values() {
            let Some(live) = task.live() else { continue };
            if !matches!(task.state, TaskState::Offered { .. }) {
                *slots.entry(live.session.executor).or_default() += 1;
            }
            let Some(group) = &task.policy.group else { continue };
            let own = self.runs.get(&task.id.run).filter(|_| !group.name.starts_with('/'));
            let own = own.map(|run| match &run.subject {
                Subject::Job { name, .. } => name.clone(),
            });
            let held = groups.entry((own, group.name.clone())).or_insert((0, group.limit));
            held.0 += 1;
        }
        let over =
            slots.iter().find(|(executor, held)| self.slots.get(executor).is_some_and(|slots| *held > slots));
        let why = over.map(|(executor, held)| format!("I6: {executor} runs {held} tasks"));
        let full = groups.iter().find(|(_, (held, limit))| *held > *limit as usize);
        let why = why.or_else(|| {
            full.map(|(group, (held, _))| format!("{held} tasks of the group {group:?} at once"))
        });
        if let Some(why) = why {
            self.break_law(at, why);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revisions, runs, builds, retried, reattached, taken, logs_lost, outcomes } = self;
        write!(
            f,
            "{runs} runs, {builds} builds, {retried} retried, {reattached} re-attached, {taken} taken away, \
             {logs_lost} logs with a loss, {revisions} revisions; ended:"
        )?;
        outcomes.iter().try_for_each(|(outcome, count)| write!(f, " {outcome} {count}"))
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.revisions += other.revisions;
        self.runs += other.runs;
        self.builds += other.builds;
        self.retried += other.retried;
        self.reattached += other.reattached;
        self.taken += other.taken;
        self.logs_lost += other.logs_lost;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
    }
}
