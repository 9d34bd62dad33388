//! The place of the next attempt without a container. It fits tasks that ask for no limits of their own;
//! others make their own place.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocelot_core::plan::{Resources, Runtime as Wanted, TaskPlan};
use ocelot_supervisor::control;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Names, blocking, make_places, words};
use crate::attempt::driver::Shared;
use crate::attempt::files::Places;
use crate::runtime::Runtime;

/// A supervisor without an attempt ends after ten minutes: it is replaced long before.
const RENEW_AFTER: Duration = Duration::from_secs(240);
/// The attempt that took the place is on its way before the next one is made, or over.
const PAUSE: Duration = Duration::from_millis(100);

/// The place that is ready, if one is.
#[derive(Debug, Default)]
pub(super) struct Bare {
    state: Mutex<State>,
    taken: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    place: Option<(Places, Instant)>,
    /// Not fit any more, and not taken away yet.
    worn: Vec<Places>,
}

impl Bare {
    /// Takes the place, if it fits and its supervisor still waits.
    pub(super) fn take(&self, plan: &TaskPlan) -> Option<Places> {
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

    /// Notes that an attempt is over: the next one may follow at once.
    pub(super) fn attempt_ended(&self) {
        self.ended.notify_waiters();
    }

    /// Keeps a place ready until the executor stops, and takes it away then. What is being made is made
    /// first: the threads that make it could not be stopped.
    pub(super) async fn keep(&self, shared: &Shared, names: &Names) {
        let Some(runtime) = shared.runtimes.for_task(&Wanted::Process) else { return };
        let mut over = shared.over.subscribe();
        while !*over.borrow() {
            self.wear_out(shared.clock.monotonic());
            self.take_away(&*runtime).await;
            if shared.runtimes.broken(&Wanted::Process).is_none()
                && self.state().place.is_none()
                && let Err(why) = self.make(shared, names, &*runtime).await
            {
                tracing::debug!(why, "no place was made ready");
            }
            let pause = async {
                tokio::select! {
                    () = self.taken.notified() => tokio::select! {
                        () = self.ended.notified() => {}
                        () = shared.clock.sleep(PAUSE) => {}
                    },
                    () = shared.clock.sleep(RENEW_AFTER) => {}
                }
            };
            tokio::select! {
                _ = over.wait_for(|over| *over) => {}
                () = pause => {}
            }
        }
        let left = self.state().place.take();
        self.state().worn.extend(left.map(|(places, _)| places));
        self.take_away(&*runtime).await;
    }

    fn wear_out(&self, now: Instant) {
        let mut state = self.state();
        if let Some((places, _)) = state.place.take_if(|(_, since)| now - *since >= RENEW_AFTER) {
            state.worn.push(places);
        }
    }

    async fn make(&self, shared: &Shared, names: &Names, runtime: &dyn Runtime) -> Result<(), String> {
        let places = names.next(shared);
        make_places(shared, &places, |places| places.make_ready()).await?;
        match runtime.make_ready(&places.control()).await.map_err(words) {
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
