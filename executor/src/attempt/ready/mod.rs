//! Places of attempts that are made before those come: directories on disk, and a supervisor that waits
//! in them. Who takes one waits neither for the disk nor for a program or a container to start.
//!
//! A place belongs to no attempt: nothing is journalled of it, and the next process takes it away as it
//! does every directory and container that nobody holds. Who takes one takes all of it, and it is used
//! once.

mod process;
mod shape;
mod shelf;
mod warm;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ocelot_core::plan::TaskPlan;
use ocelot_proto::kit::telemetry::chain;

use super::driver::Shared;
use super::files::Places;
use super::state::Cause;
use crate::runtime::Launch;
use process::Bare;
use warm::Warm;

/// At the end so long is waited for places to go; the next start takes away what is left.
const END_MAX: Duration = Duration::from_secs(20);

/// What is kept ready.
#[derive(Debug, Default)]
pub struct Ready {
    bare: Bare,
    warm: Warm,
    names: Names,
}

/// What bounds the containers that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub most: usize,
    /// None waits while less of the disk is free.
    pub disk_floor: u64,
}

impl Ready {
    /// Takes a place that fits, if there is one whose supervisor still waits.
    pub fn take(&self, shared: &Shared, plan: &TaskPlan) -> Option<Places> {
        self.bare.take(plan).or_else(|| self.warm.take(plan, shared.clock.monotonic()))
    }

    /// Notes that nothing of an attempt runs any more.
    pub fn attempt_ended(&self) {
        self.bare.attempt_ended();
    }

    /// Notes that the container of a task is up: another one like it may be made.
    pub fn learn(&self, shared: &Shared, plan: &TaskPlan, launch: &Launch) {
        self.warm.learn(shared, plan, launch);
    }

    /// Keeps places ready until the executor stops; then takes them away.
    pub(crate) async fn keep(shared: Arc<Shared>, bounds: Bounds) {
        let mut over = shared.over.subscribe();
        let mut until = over.clone();
        let own = &shared.ready;
        let warm = async {
            tokio::select! {
                biased;
                _ = until.wait_for(|over| *over) => {}
                () = own.warm.keep(&shared, &own.names, &bounds) => {}
            }
            own.warm.end(&shared).await;
        };
        let mut keeping = pin!(async { tokio::join!(own.bare.keep(&shared, &own.names), warm) });
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => {}
            ((), ()) = &mut keeping => return,
        }
        if tokio::time::timeout(END_MAX, keeping).await.is_err() {
            tracing::debug!("a place that nobody took stays until the next start");
        }
    }
}

/// What places are called that no attempt has given its name.
#[derive(Debug, Default)]
struct Names {
    given: AtomicU64,
}

impl Names {
    fn next(&self, shared: &Shared) -> Places {
        let number = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        // No earlier process had this incarnation, so nothing of one can be in it.
        let name = format!("ready-{}-{number}", shared.journal.incarnation().0);
        Places { directory: shared.attempts.join(name) }
    }
}

async fn blocking(
    places: &Places,
    act: impl FnOnce(&Places) -> std::io::Result<()> + Send + 'static,
) -> Result<(), String> {
    let places = places.clone();
    let done = tokio::task::spawn_blocking(move || act(&places)).await;
    done.map_err(|died| died.to_string())?.map_err(|error| error.to_string())
}

/// Makes what an attempt will find, its log too.
async fn make_places(
    shared: &Shared,
    places: &Places,
    make: impl FnOnce(&Places) -> std::io::Result<()> + Send + 'static,
) -> Result<(), String> {
    blocking(places, make).await?;
    shared.logs.make_ready(&places.log()).await.map_err(|failed| chain(&failed).to_string())
}

fn words(cause: Cause) -> String {
    match cause {
        Cause::Platform { why } => why,
        Cause::Failed(failure) => format!("{failure:?}"),
    }
}
