//! The place of the next attempt, made before it comes: directories on disk, and a supervisor that waits
//! in them. Who takes it waits neither for the disk nor for a program to start.
//!
//! It belongs to no attempt: nothing is journalled of it, and the next process takes it away as it does
//! every directory and container that nobody holds. It fits tasks without a container that ask for no
//! limits of their own; others make their own place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocelot_core::plan::{Resources, Runtime as Wanted, TaskPlan};
use ocelot_supervisor::control;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::driver::Shared;
use super::files::Places;
use super::state::Cause;
use crate::runtime::Runtime;

/// A supervisor without an attempt ends after ten minutes: it is replaced long before.
const RENEW_AFTER: Duration = Duration::from_secs(240);
/// The attempt that took the place is on its way before the next one is made.
const PAUSE: Duration = Duration::from_millis(100);

/// The place that is ready, if one is.
#[derive(Debug, Default)]
pub struct Ready {
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    place: Option<(Places, Instant)>,
    /// Not fit any more, and not taken away yet.
    worn: Vec<Places>,
    made: u64,
}

impl Ready {
    /// Takes the place, if it fits and its supervisor still waits.
    pub fn take(&self, plan: &TaskPlan) -> Option<Places> {
        if plan.environment.runtime != Wanted::Process || plan.resources != Resources::default() {
            return None;
        }
        let (places, _) = self.state().place.take()?;
        self.taken.notify_one();
        if control::connect(&places.control()).is_ok() {
            return Some(places);
        }
        self.state().worn.push(places);
        None
    }

    /// Keeps a place ready until the executor stops; then takes it away.
    pub(crate) async fn keep(shared: Arc<Shared>) {
        let mut over = shared.over.subscribe();
        let Some(runtime) = shared.runtimes.for_task(&Wanted::Process) else { return };
        loop {
            let own = &shared.ready;
            own.wear_out(shared.clock.monotonic());
            own.take_away(&*runtime).await;
            if shared.runtimes.broken(&Wanted::Process).is_none()
                && own.state().place.is_none()
                && let Err(why) = own.make(&shared, &*runtime).await
            {
                tracing::debug!(why, "no place was made ready");
            }
            let due = async {
                tokio::select! {
                    () = own.taken.notified() => shared.clock.sleep(PAUSE).await,
                    () = shared.clock.sleep(RENEW_AFTER) => {}
                }
            };
            tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => break,
                () = due => {}
            }
        }
        let left = shared.ready.state().place.take();
        shared.ready.state().worn.extend(left.map(|(places, _)| places));
        shared.ready.take_away(&*runtime).await;
    }

    fn wear_out(&self, now: Instant) {
        let mut state = self.state();
        if let Some((places, _)) = state.place.take_if(|(_, since)| now - *since >= RENEW_AFTER) {
            state.worn.push(places);
        }
    }

    async fn make(&self, shared: &Shared, runtime: &dyn Runtime) -> Result<(), String> {
        let number = {
            let mut state = self.state();
            state.made += 1;
            state.made
        };
        // No earlier process had this incarnation, so nothing of one can be in it.
        let name = format!("ready-{}-{number}", shared.journal.incarnation().0);
        let places = Places { directory: shared.attempts.join(name) };
        blocking(&places, Places::make_ready).await?;
        let waits = runtime.make_ready(&places.control()).await;
        match waits.map_err(|cause| match cause {
            Cause::Platform { why } => why,
            Cause::Failed(failure) => format!("{failure:?}"),
        }) {
            Ok(true) => {}
            not => {
                self.state().worn.push(places);
                return not.map(drop);
            }
        }
        // What the supervisor put into it, too: whoever takes the place syncs no directory.
        blocking(&places, Places::sync).await?;
        self.state().place = Some((places, shared.clock.monotonic()));
        Ok(())
    }

    async fn take_away(&self, runtime: &dyn Runtime) {
        let worn = std::mem::take(&mut self.state().worn);
        for places in worn {
            let removed = runtime.remove(&places.control()).await;
            let removed = removed.map_err(|error| error.to_string());
            if let Err(why) = removed.and(blocking(&places, Places::remove).await) {
                tracing::warn!(why, "a place that nobody took stays until the next start");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking(places: &Places, act: fn(&Places) -> std::io::Result<()>) -> Result<(), String> {
    let places = places.clone();
    let done = tokio::task::spawn_blocking(move || act(&places)).await;
    done.map_err(|died| died.to_string())?.map_err(|error| error.to_string())
}
