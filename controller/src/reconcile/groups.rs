//! Newer members of a concurrency group end older ones, where their plan says so.
//!
//! Looked at whenever the newer one is; a cancel is kept in the record of what it ends, so doing it
//! twice, or at two controllers, changes nothing.

use std::collections::BTreeSet;

use ocelot_core::plan::{Concurrency, Plan, Supersede};
use ocelot_domain::outcome::Actor;
use ocelot_domain::placement::{GroupName, Holder, Member, Phase, superseded};
use ocelot_domain::task::Task;
use ocelot_domain::task::event::Event;
use ocelot_domain::task::state::TaskState;

use crate::records::RunRecord;
use crate::service::{CancelRequest, Result, Service};
use crate::store::keys::{Folder, Key};

/// Who it is that cancels.
const BY: &str = "rule:superseded";

/// Ends what this run supersedes; returns how many runs and tasks were told to end.
pub(super) async fn supersede(service: &Service, run: &RunRecord, plan: &Plan) -> Result<usize> {
    let ending = all_of(plan).filter(|group| group.cancel != Supersede::Never);
    let groups: BTreeSet<GroupName> =
        ending.map(|group| GroupName::new(&run.project(), &group.group)).collect();
    let mut ended = 0;
    for group in groups {
        let members = members(service, &group).await?;
        for (older, newer) in superseded(&members) {
            ended += usize::from(end(service, older, newer).await?);
        }
    }
    Ok(ended)
}

fn all_of(plan: &Plan) -> impl Iterator<Item = &Concurrency> {
    plan.concurrency.iter().chain(plan.tasks.iter().filter_map(|task| task.concurrency.as_ref()))
}

async fn members(service: &Service, group: &GroupName) -> Result<Vec<Member>> {
    let folder = Folder::Runs.to_string();
    let runs: Vec<(u64, RunRecord)> = service.view.read(|items| {
        let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
        let runs = items.filter_map(|(_, entry)| Some((entry.create_revision, entry.known()?.run()?)));
        let live = runs.filter(|(_, run)| !run.is_finished() && run.cancel.is_none());
        live.map(|(accepted, run)| (u64::try_from(accepted.0).unwrap_or(0), run.clone())).collect()
    });
    let mut members = Vec::new();
    for (accepted, run) in runs {
        let plan = service.plan_of(&run).await?;
        let is_it = |one: &&Concurrency| GroupName::new(&run.project(), &one.group) == *group;
        let tasks: Vec<Task> = service.view.read(|items| {
            let folder = Folder::TasksOf(run.id).to_string();
            let items = items.range(folder.clone()..).take_while(|(key, _)| key.starts_with(&folder));
            items.filter_map(|(_, entry)| entry.known()?.task().cloned()).collect()
        });
        if let Some(own) = plan.concurrency.as_ref().filter(is_it) {
            let has_begun = tasks.iter().any(|task| task.tries > 0 || task.live().is_some());
            let phase = if has_begun { Phase::Running } else { Phase::Waiting };
            members.push(Member { holder: Holder::Run(run.id), accepted, phase, cancel: own.cancel });
        }
        for task in &tasks {
            let planned = plan.tasks.get(task.id.index as usize);
            let own = planned.and_then(|planned| planned.concurrency.as_ref()).filter(is_it);
            let (Some(own), Some(phase)) = (own, phase_of(task)) else { continue };
            members.push(Member { holder: Holder::Task(task.id), accepted, phase, cancel: own.cancel });
        }
    }
    Ok(members)
}

/// Returns how far a task is; none if it is over or about to be.
fn phase_of(task: &Task) -> Option<Phase> {
    match &task.state {
        TaskState::Waiting { .. } | TaskState::Queued { .. } => Some(Phase::Waiting),
        TaskState::Offered { .. } | TaskState::Running { .. } => Some(Phase::Running),
        TaskState::Cancelling { .. } | TaskState::Finished { .. } => None,
    }
}

async fn end(service: &Service, older: Holder, newer: Holder) -> Result<bool> {
    match older {
        Holder::Run(run) => {
            let newer = match newer {
                Holder::Run(run) => run,
                Holder::Task(task) => task.run,
            };
            let by = service.view.get(&Key::Run(newer).to_string());
            let by = by.as_ref().and_then(|entry| entry.known()?.run());
            let by = by.map_or_else(|| newer.to_string(), |run| format!("{}#{}", run.project(), run.number));
            let reason = Some(format!("a newer run of its group, {by}, took its place"));
            let request = CancelRequest { run, by: Actor(BY.into()), reason, force: false };
            service.cancel(request).await.map(|_| true)
        }
        Holder::Task(task) => service.let_happen(task, Event::CancelRequested { by: Actor(BY.into()) }).await,
    }
}
