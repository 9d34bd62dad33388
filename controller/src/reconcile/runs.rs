//! Runs: whatever `due` says, by a compare-and-swap of its own for each duty.

use std::collections::BTreeSet;
use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use ocelot_core::id::{RunId, TaskId};
use ocelot_core::plan::Plan;
use ocelot_domain::outcome::{Actor, Outcome};
use ocelot_domain::placement::{GroupName, Holder};
use ocelot_domain::run::{Duty, RunOutcome, RunView, TaskLife, due};
use ocelot_domain::task::Task;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::{Approval, Needs, TaskState};

use super::{SWEEP, TICK, groups, note};
use crate::records::{RunRecord, Stage};
use ocelot_proto::kit::chaos;

use crate::service::{Error, Result, Service, run_word, task_word};
use crate::store::codec::encode;
use crate::store::keys::{Folder, Key};
use crate::store::view::Changed;
use crate::store::{Expected, Revision, Txn};

/// How often a run's end is tried in one look.
const FINISHES: usize = 3;
/// Runs that are looked at side by side.
const LOOKS: usize = 64;

/// A run as the view has it.
struct Sighted {
    record: RunRecord,
    revision: Revision,
}

/// Looks at each run that changed, again soon where that failed, and at all of them now and then.
pub(super) async fn follow(service: &Service) {
    let mut changes = service.view.changes();
    let mut failed = BTreeSet::new();
    let (mut sweep, mut again) = (service.now() + SWEEP, service.now() + TICK);
    loop {
        let left = sweep.min(again).saturating_sub(service.now());
        // Both are cancel-safe.
        let mut runs = tokio::select! {
            biased;
            changed = changes.next() => match changed {
                Changed::Everything => unfinished(service),
                Changed::Keys(keys) => keys.iter().filter_map(|key| run_of(key)).collect(),
            },
            () = service.sleep(left) => BTreeSet::new(),
        };
        // By the clock and not by a pause in the news: where there is much of it, there is none.
        let now = service.now();
        if now >= sweep {
            sweep = now + SWEEP;
            runs = unfinished(service);
        }
        if now >= again {
            again = now + TICK;
            runs.append(&mut failed);
        }
        // Side by side, so that they share the store's syncs; never two looks at one run.
        let looks = stream::iter(runs).map(async |run| (run, look(service, run).await));
        let mut looks = pin!(looks.buffer_unordered(LOOKS));
        while let Some((run, looked)) = looks.next().await {
            if looked.as_ref().is_err_and(Error::is_retryable) {
                failed.insert(run);
            }
            note("runs", looked.map(drop));
        }
    }
}

/// Carries out what is due in every unfinished run; returns how many duties were carried out.
pub async fn once(service: &Service) -> Result<usize> {
    let mut done = 0;
    for run in unfinished(service) {
        done += look(service, run).await?;
    }
    Ok(done)
}

fn run_of(key: &str) -> Option<RunId> {
    match key.parse().ok()? {
        Key::Run(run) | Key::Task(TaskId { run, .. }) => Some(run),
        Key::Epoch
        | Key::Progress(..)
        | Key::Home
        | Key::Job(_)
        | Key::JobNumber(_)
        | Key::Project { .. }
        | Key::Event { .. }
        | Key::Head { .. }
        | Key::Look { .. }
        | Key::Tags { .. }
        | Key::Executor(_)
        | Key::ExecutorEpoch(_)
        | Key::ExecutorName(_)
        | Key::Session(_)
        | Key::Controller(_)
        | Key::Group(_)
        | Key::Token(_)
        | Key::Secret(..)
        | Key::SecretUse(..)
        | Key::RunSecrets(_)
        | Key::Seal
        | Key::Schedule(_)
        | Key::Outbox { .. }
        | Key::Artifact(..)
        | Key::Cache { .. } => None,
    }
}

fn unfinished(service: &Service) -> BTreeSet<RunId> {
    let folder = Folder::Runs.to_string();
    service.view.read(|items| {
        let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        let runs = items.filter_map(|(_, entry)| entry.known()?.run());
        runs.filter(|run| !run.is_finished()).map(|run| run.id).collect()
    })
}

/// Carries out what is due in one run.
async fn look(service: &Service, id: RunId) -> Result<usize> {
    let Some((entry, record)) = service.run_at_hand(id) else { return Ok(0) };
    if record.is_finished() {
        return Ok(0);
    }
    let sighted = Sighted { record, revision: entry.mod_revision };
    let plan = service.plan_of(&sighted.record).await?;
    let mut done = match sighted.record.cancel {
        None => groups::supersede(service, &sighted.record, &plan).await?,
        Some(_) => 0,
    };
    let tasks = lives(service, id, plan.tasks.len());
    let cancel = sighted.record.cancel.as_ref().map(|cancel| &cancel.by);
    let view = RunView { plan: &plan, stage: sighted.record.stage(), cancel, tasks: &tasks };
    let duties = due(&view);
    for duty in duties {
        done += usize::from(carry_out(service, &sighted, &plan, duty).await?);
    }
    Ok(done)
}

fn lives(service: &Service, run: RunId, count: usize) -> Vec<Option<TaskLife>> {
    let folder = Folder::TasksOf(run).to_string();
    let mut lives = vec![None; count];
    service.view.read(|items| {
        let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        for task in items.filter_map(|(_, entry)| entry.known()?.task()) {
            if let Some(life) = lives.get_mut(task.id.index as usize) {
                *life = Some(life_of(task));
            }
        }
    });
    lives
}

fn life_of(task: &Task) -> TaskLife {
    match &task.state {
        TaskState::Waiting { needs: Needs::Met, approval: Approval::Pending } => TaskLife::Approval,
        TaskState::Waiting { .. } => TaskLife::Waiting,
        TaskState::Queued { .. } => TaskLife::Queued,
        TaskState::Offered { .. } | TaskState::Running { .. } => TaskLife::Live,
        TaskState::Cancelling { .. } => TaskLife::Cancelling,
        TaskState::Finished { outcome } => TaskLife::Finished(outcome.clone()),
    }
}

async fn carry_out(service: &Service, run: &Sighted, plan: &Plan, duty: Duty) -> Result<bool> {
    let id = run.record.id;
    match duty {
        Duty::Put { tasks, activate } => put(service, run, plan, (tasks, activate)).await,
        Duty::Release { task } => happen(service, TaskId { run: id, index: task }, Event::GateOpened).await,
        Duty::End { task, outcome } => end(service, run, plan, (task, outcome)).await,
        Duty::Cancel { task, by } => {
            let force = run.record.cancel.as_ref().is_some_and(|cancel| cancel.force && cancel.by == by);
            let event = if force { Event::CancelForced { by } } else { Event::CancelRequested { by } };
            happen(service, TaskId { run: id, index: task }, event).await
        }
        Duty::Finish { outcome } => finish(service, run, plan, outcome).await,
    }
}

async fn happen(service: &Service, id: TaskId, event: Event) -> Result<bool> {
    service.let_happen(id, event).await
}

/// Puts a batch of an expanding run's tasks. Whatever did not happen is due again.
async fn put(
    service: &Service,
    run: &Sighted,
    plan: &Plan,
    (tasks, activate): (Range<u32>, bool),
) -> Result<bool> {
    let (epoch, epoch_revision) = service.epoch().await?;
    let key = Key::Run(run.record.id).to_string();
    let mut txn = Txn::new()
        .when(key.as_str(), Expected::At(run.revision))
        .when(Key::Epoch, Expected::At(epoch_revision));
    let known: BTreeSet<TaskId> = service.tasks_of(run.record.id).into_iter().collect();
    let absent = tasks.filter(|index| !known.contains(&TaskId { run: run.record.id, index: *index }));
    for task in absent.filter_map(|index| run.record.task(plan, index, epoch, service.timestamp())) {
        let key = Key::Task(task.id).to_string();
        txn = txn.when(key.as_str(), Expected::Absent).put(key, encode(&task, None));
    }
    if activate {
        let active = RunRecord { stage: Stage::Active, ..run.record.clone() };
        txn = txn.put(key, encode(&active, None));
    }
    service.commit_duty(txn).await
}

/// Ends a task that will not run.
async fn end(
    service: &Service,
    run: &Sighted,
    plan: &Plan,
    (index, outcome): (u32, Outcome),
) -> Result<bool> {
    let id = TaskId { run: run.record.id, index };
    match (outcome, service.read_task(id).await?) {
        (outcome, None) => {
            let (epoch, epoch_revision) = service.epoch().await?;
            let Some(mut task) = run.record.task(plan, index, epoch, service.timestamp()) else {
                return Ok(false);
            };
            task.state = TaskState::Finished { outcome };
            let txn = Txn::new()
                .when(Key::Task(id), Expected::Absent)
                .when(Key::Run(id.run), Expected::At(run.revision))
                .when(Key::Epoch, Expected::At(epoch_revision))
                .put(Key::Task(id), encode(&task, None));
            let done = service.commit_duty(txn).await?;
            if let (true, Some(outcome)) = (done, task.outcome()) {
                service.metrics().task_ended(task_word(outcome), None);
            }
            Ok(done)
        }
        (Outcome::Skipped { why } | Outcome::Rejected { why } | Outcome::Lost { why }, Some(_)) => {
            happen(service, id, Event::GateClosed { why }).await
        }
        (Outcome::Cancelled { by, .. }, Some(_)) => happen(service, id, Event::CancelRequested { by }).await,
        // Nothing that waits ends in these ways.
        (Outcome::Succeeded | Outcome::Failed { .. } | Outcome::TimedOut(_), Some(_)) => Ok(false),
    }
}

/// Ends the run. What it changes beside itself others change too, and is read anew.
async fn finish(service: &Service, run: &Sighted, plan: &Plan, outcome: RunOutcome) -> Result<bool> {
    for _ in 0..FINISHES {
        if finish_once(service, run, plan, outcome).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends the run, gives its group's slot free, notes the branch's success, and whom to tell.
async fn finish_once(service: &Service, run: &Sighted, plan: &Plan, outcome: RunOutcome) -> Result<bool> {
    let id = run.record.id;
    let at = service.timestamp();
    let ended = RunRecord { stage: Stage::Finished { outcome, at }, ..run.record.clone() };
    let group = plan.concurrency.as_ref();
    let group = group.map(|group| GroupName::new(&run.record.project(), &group.group));
    let slots = service.released(group.as_ref(), &Holder::Run(id)).await?;
    let key = Key::Run(id).to_string();
    let slots = slots.and(service.note_success(&run.record, outcome).await?);
    let txn = slots.when(key.as_str(), Expected::At(run.revision)).put(key, encode(&ended, None));
    let txn = txn.and(service.owed_at_end(&ended, plan, outcome));
    let done = service.commit_duty(txn).await?;
    if done {
        chaos::point("run.ended");
        let took = Duration::from_millis(at.unix_ms.saturating_sub(run.record.accepted_at.unix_ms));
        service.metrics().run_ended(run_word(outcome), run.record.trigger.kind.name(), took);
        let Actor(by) = &run.record.trigger.by;
        tracing::info!(run.id = %id, by, %outcome, "a run has ended");
    }
    Ok(done)
}
