//! The laws of the records: each change is judged against what was before, by the store's word alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use ocelot_controller::records::{RunRecord, Stage, Stored};
use ocelot_controller::store::KeyValue;
use ocelot_controller::store::keys::Key;
use ocelot_core::id::{ExecutorId, TaskId};
use ocelot_core::plan::Class;
use ocelot_domain::outcome::Outcome;
use ocelot_domain::task::Task;
use ocelot_domain::task::state::{LogEnd, Session, TaskState};
use ocelot_domain::task::timing::{REASSIGN_NORMAL, Timing};
use ocelot_executor::attempt::{self, Ended};

use super::{Seen, Tried};
use crate::fleet::logs::LogHome;

/// Bytes that an executor still has may be called lost only when they did not come for this long.
const LOG_WAITS: Duration = Duration::from_secs(300);
impl Seen {
    pub(super) fn put(&mut self, (revision, at): (i64, Duration), item: &KeyValue, logs: &LogHome) {
        match Stored::read(item) {
            Ok(Stored::Task(task)) => self.task((revision, at), task, logs),
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
                | Stored::JobNumber(_)
                | Stored::ExecutorEpoch(_)
                | Stored::Group(_)
                | Stored::Progress(_)
                | Stored::Controller(_)
                | Stored::Project(_)
                | Stored::Event(_)
                | Stored::Head(_)
                | Stored::Look(_)
                | Stored::Outbox(_)
                | Stored::Secret(_)
                | Stored::SecretUse(_)
                | Stored::Artifact(_)
                | Stored::Cache(_)
                | Stored::Schedules(_)
                | Stored::Other,
            ) => {}
            Err(error) => self.break_law(at, format!("a record cannot be read: {error}")),
        }
    }

    pub(super) fn deleted(&mut self, (revision, at): (i64, Duration), key: &str) {
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
        let name = run.subject.name();
        let first = *self.numbers.entry((name.to_owned(), run.number)).or_insert(run.id);
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

    fn task(&mut self, (revision, at): (i64, Duration), task: Task, logs: &LogHome) {
        self.note(at, || {
            format!(
                "@{revision} task {} attempt {:?} tries {}: {:?}",
                task.id, task.attempt, task.tries, task.state
            )
        });
        let before = self.tasks.insert(task.id, task.clone());
        if let Some(live) = before.as_ref().and_then(Task::live)
            && task.live().is_none_or(|now| now.attempt != live.attempt)
        {
            self.left.insert((task.id, live.attempt.number()), Instant::now());
        }
        if let Some(why) = self.wrong(at, before.as_ref(), &task, logs) {
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
    fn wrong(&mut self, at: Duration, before: Option<&Task>, task: &Task, logs: &LogHome) -> Option<String> {
        if self.restored.is_some_and(|epoch| task.epoch < epoch) {
            return Some("a record of before the restore was written after it".into());
        }
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
        self.wrong_way(before, task).or_else(|| self.wrong_end(at, before, task, logs))
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
    fn wrong_end(&mut self, at: Duration, before: &Task, task: &Task, logs: &LogHome) -> Option<String> {
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
        if live.attempt != end.attempt || live.session.executor != end.executor {
            return Some("I3: a report of another attempt was taken".into());
        }
        let Some((result, journalled)) = self.results.get(&key).cloned() else {
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
        self.wrong_log(key, &completion.log, (&result, at.saturating_sub(journalled)), logs)
    }

    /// Judges how a log ended, `since` after its executor had the whole end on disk.
    fn wrong_log(
        &mut self,
        tried: Tried,
        log: &LogEnd,
        (result, since): (&Ended, Duration),
        logs: &LogHome,
    ) -> Option<String> {
        match log {
            LogEnd::Whole { bytes, sha256 } => {
                if *bytes != result.log.length.0 || *sha256 != result.log.sha256 {
                    return Some("I15: the log's end is not the build's".to_owned());
                }
                let lacks = logs.lacks(tried, *bytes);
                lacks.then(|| "I14: a log was called whole that no controller ever had".to_owned())
            }
            LogEnd::Truncated { why, .. } => {
                self.counts.logs_lost += 1;
                let is_there = result.loss.is_none() && !self.spools_lost.contains(&tried);
                let hasty = is_there && since < LOG_WAITS;
                hasty.then(|| format!("I14: a log that its executor has was called lost: {why}"))
            }
        }
    }

    /// Judges what tasks hold together.
    pub(super) fn together(&mut self, at: Duration) {
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
            let own = own.map(|run| run.subject.name().to_owned());
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
