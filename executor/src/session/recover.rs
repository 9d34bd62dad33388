//! What another process of this executor left: looked for in the journal, on disk and in every
//! runtime, before a session says what is held.
//!
//! A container of ours that the journal does not know is ended, and so is one that waited for an attempt
//! and that no start took over. A directory that the journal does not know is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ocelot_core::plan::{
    Class, Environment, Gate, Keep, Limits, Resources, Retry, Runtime as Wanted, TaskPlan, Tolerance, Work,
};
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::kit::telemetry::chain;

use super::Timing;
use crate::attempt::driver::{Driver, Left, Shared};
use crate::attempt::files::{Offered, Places, gone};
use crate::attempt::state::Spec;
use crate::journal::{Entry, Held, JournalError, Phase, Record};
use crate::logs::kept;
use crate::runtime::{Ours, Runtime};

/// A runtime that does not answer is asked so often before its attempts are judged without it.
const ASKS_MAX: u32 = 30;

/// Makes a driver for each attempt that is held, and takes away what nobody holds.
pub(super) async fn recover(shared: &Arc<Shared>, timing: &Timing) -> Result<Vec<Driver>, JournalError> {
    let held = shared.journal.state().attempts;
    let mut running = list(shared, &held).await;
    let known: BTreeSet<PathBuf> =
        held.iter().map(|held| Places { directory: held.accepted.directory.clone() }.control()).collect();
    for (runtime, ours) in &mut running {
        let is_held = |ours: &Ours| !ours.waiting && known.contains(&ours.container.control);
        let (kept, strays): (Vec<_>, Vec<_>) = ours.drain(..).partition(|ours| is_held(ours));
        join_all(strays.iter().map(|stray| end(&**runtime, stray))).await;
        *ours = kept;
    }
    sweep(shared, &held).await;
    let mut drivers = Vec::new();
    for held in held {
        drivers.extend(driver(shared, held, &running, timing).await?);
    }
    Ok(drivers)
}

type Running = Vec<(Arc<dyn Runtime>, Vec<Ours>)>;

async fn list(shared: &Shared, held: &[Held]) -> Running {
    let pace = Policy::new(Duration::from_millis(100), Duration::from_secs(2), 0.5)
        .expect("the pace is written down here");
    // Only what may have a container is worth waiting for.
    let needed = held.iter().any(|held| matches!(held.phase, Phase::Starting | Phase::Started(_)));
    let mut running = Vec::new();
    for runtime in shared.runtimes.all() {
        let mut asks = 0;
        let ours = loop {
            asks += 1;
            match runtime.list().await {
                Ok(ours) => break ours,
                Err(error) if needed && asks < ASKS_MAX => {
                    let name = runtime.name();
                    tracing::warn!(runtime = name, error = %chain(&error), "waiting for what runtime {name} has");
                    shared.clock.sleep(pace.wait(asks, shared.random())).await;
                }
                Err(error) => {
                    tracing::error!(runtime = runtime.name(), error = %chain(&error), "not known what it has");
                    break vec![];
                }
            }
        };
        running.push((Arc::clone(runtime), ours));
    }
    running
}

async fn end(runtime: &dyn Runtime, Ours { container, waiting, .. }: &Ours) {
    match waiting {
        true => tracing::debug!(container = container.id, "a container that waited for an attempt is ended"),
        false => tracing::warn!(container = container.id, "a container that nobody holds is ended"),
    }
    if let Err(error) = runtime.kill(container).await {
        tracing::error!(container = container.id, error = %chain(&error), "it cannot be ended");
    }
    if let Err(error) = runtime.remove(&container.control).await {
        tracing::error!(container = container.id, error = %chain(&error), "it cannot be removed");
    }
}

/// Takes away directories, and secrets in memory, that belong to nothing that is held.
async fn sweep(shared: &Shared, held: &[Held]) {
    let directories = held.iter().filter_map(|held| Some(held.accepted.directory.file_name()?.to_owned()));
    // A place that was made ready is not named after the attempt that took it; its mask set is.
    let masks = held.iter().map(|held| kept::name_of(held.id).into());
    let names: BTreeSet<OsString> = directories.chain(masks).collect();
    let folders = [shared.attempts.clone(), shared.memory.clone()];
    let swept = tokio::task::spawn_blocking(move || {
        for folder in folders {
            clear(&folder, &names);
        }
    });
    drop(swept.await);
}

/// Takes away all in `folder` but what has one of these names.
fn clear(folder: &Path, held: &BTreeSet<OsString>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if held.contains(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        if let Err(error) = gone(crate::disk::remove_tree(&path)) {
            tracing::warn!(path = %path.display(), %error, "what an old attempt left stays");
        }
    }
}

async fn driver(
    shared: &Arc<Shared>,
    held: Held,
    running: &Running,
    timing: &Timing,
) -> Result<Option<Driver>, JournalError> {
    let places = Places { directory: held.accepted.directory.clone() };
    let reading = places.clone();
    let read = tokio::task::spawn_blocking(move || reading.read()).await;
    let read = read.map_err(std::io::Error::other).and_then(|read| read);
    let read = read.and_then(|offered| Ok((offered.read_plan()?, offered)));
    let (plan, offered) = match (read, &held.phase) {
        (Ok(read), _) => read,
        (Err(error), Phase::Accepted) => {
            // The machine lost its power before the acknowledgement: the offer comes again.
            tracing::warn!(attempt = %held.id, %error, "an offer was not kept, and is forgotten");
            let forget = [Entry::Fenced, Entry::Done].map(|entry| Record::Attempt { id: held.id, entry });
            shared.journal.append(forget.into()).await?;
            return Ok(None);
        }
        (Err(error), Phase::Starting | Phase::Started(_) | Phase::Ended(_) | Phase::Fenced) => {
            tracing::error!(attempt = %held.id, %error, "what was offered is gone");
            (
                unknown_plan(),
                Offered { plan: String::new(), env: BTreeMap::new(), source: None, masks: false },
            )
        }
    };
    let Some(inbox) = shared.board.seat(held.id) else { return Ok(None) };
    let spec = Spec::new(held.id, &plan, timing.guard(plan.class)).with(&plan, &offered);
    let left = look(shared, held, &plan, (running, places.control())).await;
    Ok(Some(Driver::recovering(Arc::clone(shared), spec, (plan, offered), left, inbox)))
}

async fn look(shared: &Shared, held: Held, plan: &TaskPlan, (running, control): (&Running, PathBuf)) -> Left {
    let runtime = shared.runtimes.for_task(&plan.environment.runtime);
    let listed = running.iter().flat_map(|(_, ours)| ours).find(|ours| ours.container.control == control);
    let container = match &held.phase {
        Phase::Started(container) => Some(container.clone()),
        Phase::Starting => listed.map(|ours| ours.container.clone()),
        Phase::Accepted | Phase::Ended(_) | Phase::Fenced => None,
    };
    let (Some(runtime), Some(container)) = (runtime, container) else {
        return Left::without_container(held);
    };
    match Left::look(held.clone(), &*runtime, container, plan.resources.memory_bytes).await {
        Ok(left) => left,
        Err(error) => {
            tracing::error!(attempt = %held.id, error = %chain(&error), "its container cannot be looked at");
            Left::without_container(held)
        }
    }
}

/// Stands for a plan that is gone: nothing of it will run.
fn unknown_plan() -> TaskPlan {
    TaskPlan {
        name: String::new(),
        variant: BTreeMap::new(),
        base: String::new(),
        fail_fast: false,
        needs: vec![],
        gate: Gate::OnSuccess,
        class: Class::Normal,
        priority: 0,
        labels: vec![],
        resources: Resources::default(),
        limits: Limits {
            timeout: Duration::ZERO,
            queue_timeout: Duration::ZERO,
            quiet_timeout: None,
            grace: Duration::ZERO,
        },
        retry: Retry { limit: 0, on: vec![], exit_codes: vec![], delay: Duration::ZERO },
        allow_failure: Tolerance::None,
        concurrency: None,
        approval: None,
        keep: Keep::Never,
        environment: Environment {
            runtime: Wanted::Process,
            checkout: None,
            directory: String::new(),
            user: None,
            env: BTreeMap::new(),
            secrets: vec![],
            services: vec![],
            caches: vec![],
            artifacts: vec![],
        },
        work: Work::Command(vec![]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_an_attempt_that_is_held_stays_and_all_else_goes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["held", "ended"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("secret"), "s").unwrap();
        }
        for name in ["masks-held", "masks-ended", "masks-held.new"] {
            std::fs::write(folder.path().join(name), "s").unwrap();
        }
        clear(folder.path(), &BTreeSet::from(["held", "masks-held"].map(OsString::from)));
        let left = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["held", "masks-held"]);
    }
}
