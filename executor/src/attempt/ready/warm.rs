//! Containers that wait for tasks like those that ran lately.
//!
//! What waits is complete: made of the whole of what its kind of task is made of, in a place of its own,
//! which whoever takes it gets with it. It is made while no attempt is on its way to its container, and no
//! attempt ever waits for it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ocelot_core::plan::{Runtime as Wanted, TaskPlan};
use ocelot_supervisor::control;
use ocelot_supervisor::machine::UNASSIGNED_MS;
use ocelot_supervisor::protocol::{Moment, Notice, Request};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::shape::Shape;
use super::shelf::{Room, Shelf};
use super::{Bounds, Names, blocking, make_places, words};
use crate::attempt::driver::Shared;
use crate::attempt::files::{Places, gone};
use crate::attempt::link::{Heard, Link};
use crate::runtime::{Launch, Mount, Runtime, mark_waiting};

/// A supervisor without an attempt ends after ten minutes: it is told to wait on long before.
const VOUCH_AFTER: Duration = Duration::from_secs(240);
const VOUCH_MAX: Duration = Duration::from_secs(5);
/// An attempt is on its way before the next container is made.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at whether all that waits is still what it should be.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// An engine that needs longer has other things to do.
const MAKE_MAX: Duration = Duration::from_secs(30);

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Warm {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    shelf: Shelf<Launch, Waiting>,
    /// Being made just now.
    making: Option<Launch>,
    /// Not fit any more, and not taken away yet.
    worn: Vec<Launch>,
    /// Nothing is kept.
    is_off: bool,
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    launch: Launch,
    /// When its supervisor was last told to wait.
    vouched: Instant,
}

impl Warm {
    /// Takes a place that fits, if there is one whose supervisor still waits.
    pub(super) fn take(&self, plan: &TaskPlan, now: Instant) -> Option<Places> {
        let shape = Shape::of(plan)?;
        loop {
            let Waiting { launch, .. } = self.state().shelf.take(&shape, now)?;
            if control::connect(&launch.control).is_ok() {
                return Some(places(&launch));
            }
            self.state().worn.push(launch);
            self.news.notify_one();
        }
    }

    pub(super) fn learn(&self, shared: &Shared, plan: &TaskPlan, launch: &Launch) {
        let Some(shape) = Shape::of(plan) else { return };
        let like = Launch { login: None, ..launch.clone() };
        let mut state = self.state();
        if state.is_off {
            return;
        }
        let forgotten = state.shelf.learn(shape, like, shared.clock.monotonic());
        state.worn.extend(forgotten.into_iter().map(|waiting| waiting.launch));
        drop(state);
        self.news.notify_one();
    }

    /// Keeps containers waiting for as long as it is polled.
    pub(super) async fn keep(&self, shared: &Shared, names: &Names, bounds: &Bounds) {
        self.state().is_off = bounds.most == 0;
        if bounds.most == 0 {
            return;
        }
        loop {
            self.look_through(shared).await;
            let room = room(shared, bounds);
            let now = shared.clock.monotonic();
            let surplus = self.state().shelf.surplus(&room, now);
            self.wear_out(surplus);
            self.take_away(shared).await;
            let next = self.state().shelf.next(&room, now).map(|(shape, like)| (shape.clone(), like.clone()));
            let pause = match next {
                Some(_) if shared.board.starting() > 0 => PAUSE,
                Some((shape, like)) => {
                    self.make(shared, names, shape, &like).await;
                    continue;
                }
                None => LOOK_EVERY,
            };
            tokio::select! {
                () = self.news.notified() => shared.clock.sleep(PAUSE).await,
                () = shared.clock.sleep(pause) => {}
            }
        }
    }

    /// Takes all away for good.
    pub(super) async fn end(&self, shared: &Shared) {
        {
            let mut state = self.state();
            let all = state.shelf.remove(|_| true).into_iter().map(|waiting| waiting.launch);
            let all: Vec<Launch> = all.chain(state.making.take()).collect();
            state.worn.extend(all);
        }
        self.take_away(shared).await;
    }

    /// Looks whether each is what would be made now, and tells those to wait on that were not told for
    /// long.
    async fn look_through(&self, shared: &Shared) {
        let all: Vec<(Shape, Launch)> = {
            let state = self.state();
            state.shelf.waiting().map(|(shape, waiting)| (shape.clone(), waiting.launch.clone())).collect()
        };
        for (shape, launch) in all {
            let is_this = |waiting: &Waiting| waiting.launch.control == launch.control;
            let Some(runtime) = runtime_of(shared, &launch) else { continue };
            if !runtime.is_current(&launch).await {
                let stale = self.state().shelf.remove(is_this);
                self.wear_out(stale);
                continue;
            }
            let now = shared.clock.monotonic();
            let is_due = |waiting: &Waiting| is_this(waiting) && now - waiting.vouched >= VOUCH_AFTER;
            // Nobody can take it meanwhile: a word that came after its assignment would count for that.
            let due = self.state().shelf.remove(is_due);
            for waiting in due {
                let deadline = Moment(shared.boot.now().0).after(UNASSIGNED_MS);
                let told = tokio::time::timeout(VOUCH_MAX, vouch(&launch.control, deadline)).await;
                let kept = match told {
                    Ok(Ok(())) => self.state().shelf.put(&shape, Waiting { vouched: now, ..waiting }),
                    Ok(Err(_)) | Err(_) => Err(waiting),
                };
                self.wear_out(kept.err());
            }
        }
    }

    async fn make(&self, shared: &Shared, names: &Names, shape: Shape, like: &Launch) {
        let places = names.next(shared);
        let Some(launch) = beside(like, &places, &shared.memory) else { return };
        self.state().making = Some(launch.clone());
        let made = tokio::time::timeout(MAKE_MAX, make(shared, &launch, &places)).await;
        let made = made.unwrap_or_else(|_| Err(format!("it was not up after {MAKE_MAX:?}")));
        self.state().making = None;
        let now = shared.clock.monotonic();
        match made {
            Ok(()) => {
                let refused = self.put_new(&shape, Waiting { launch, vouched: now });
                self.wear_out(refused);
            }
            Err(why) => {
                tracing::debug!(why, "no container was made ready");
                let mut state = self.state();
                state.shelf.not_made(&shape, now);
                state.worn.push(launch);
            }
        }
    }

    /// Puts one out, marked, or gives it back. Who sees the mark can have it.
    fn put_new(&self, shape: &Shape, waiting: Waiting) -> Option<Waiting> {
        let mut state = self.state();
        match mark_waiting(&waiting.launch.control) {
            Ok(()) => state.shelf.put(shape, waiting).err(),
            Err(error) => {
                tracing::debug!(%error, "a container that waits cannot be marked");
                Some(waiting)
            }
        }
    }

    fn wear_out(&self, waiting: impl IntoIterator<Item = Waiting>) {
        self.state().worn.extend(waiting.into_iter().map(|waiting| waiting.launch));
    }

    async fn take_away(&self, shared: &Shared) {
        let worn = self.state().worn.clone();
        let removing = worn.iter().map(async |launch| match remove(shared, launch).await {
            Ok(()) => self.state().worn.retain(|worn| worn.control != launch.control),
            Err(why) => tracing::debug!(why, "a container that nobody took is not removed yet"),
        });
        join_all(removing).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn runtime_of(shared: &Shared, launch: &Launch) -> Option<Arc<dyn Runtime>> {
    shared.runtimes.for_task(&launch.environment.runtime)
}

async fn make(shared: &Shared, launch: &Launch, places: &Places) -> Result<(), String> {
    let wanted: &Wanted = &launch.environment.runtime;
    if let Some(why) = shared.runtimes.broken(wanted) {
        return Err(why);
    }
    let runtime = runtime_of(shared, launch).ok_or("it has no runtime")?;
    let mounts = launch.mounts.clone();
    make_places(shared, places, move |places| {
        places.make_ready()?;
        mounts.iter().try_for_each(make_empty)
    })
    .await?;
    if !runtime.make_ready_like(launch).await.map_err(words)? {
        return Err("nothing waits in this runtime".to_owned());
    }
    // What the supervisor put into it, too: whoever takes the place syncs no directory.
    blocking(places, Places::sync).await
}

async fn remove(shared: &Shared, launch: &Launch) -> Result<(), String> {
    let runtime = runtime_of(shared, launch).ok_or("it has no runtime")?;
    runtime.remove(&launch.control).await.map_err(|error| error.to_string())?;
    let memory = shared.memory.clone();
    blocking(&places(launch), move |places| {
        let name = places.directory.file_name().unwrap_or_default();
        gone(fs::remove_dir_all(memory.join(name)))?;
        places.remove()
    })
    .await
}

/// Tells the supervisor there to wait on.
async fn vouch(control: &Path, deadline: Moment) -> Result<(), String> {
    let linked = Link::connect(control).await;
    let (mut link, _) = linked.map_err(|error| error.to_string())?;
    link.send(&Request::Beat { deadline }).map_err(|error| error.to_string())?;
    loop {
        match link.next().await {
            Ok(Heard::Notice(Notice::Done)) => return Ok(()),
            Ok(Heard::Notice(_)) => {}
            Ok(Heard::Refused { refusal, .. }) => return Err(refusal.to_string()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Returns what the same is made of in another place.
fn beside(like: &Launch, places: &Places, memory: &Path) -> Option<Launch> {
    let old = memory.join(like.control.parent()?.file_name()?);
    let new = memory.join(places.directory.file_name()?);
    let moved = |mount: &Mount| {
        let below = mount.source.strip_prefix(&old).ok()?;
        Some(Mount { source: new.join(below), target: mount.target.clone() })
    };
    let mounts = like.mounts.iter().map(moved).collect::<Option<Vec<_>>>()?;
    Some(Launch { control: places.control(), workspace: places.workspace(), mounts, ..like.clone() })
}

fn places(launch: &Launch) -> Places {
    Places { directory: launch.control.parent().unwrap_or(&launch.control).to_owned() }
}

/// Makes the file that a secret will be in.
fn make_empty(mount: &Mount) -> std::io::Result<()> {
    if let Some(folder) = mount.source.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(&mount.source).map(drop)
}

/// Returns how much room there is now. What cannot be known is none.
fn room(shared: &Shared, bounds: &Bounds) -> Room {
    let own = crate::identity::disk(&shared.attempts).map_or(0, |disk| disk.free);
    let storages = shared.runtimes.all().filter_map(|runtime| runtime.storage());
    // Where an engine keeps its things may be out of sight.
    let theirs = storages.filter_map(|path| Some(crate::identity::disk(&path).ok()?.free));
    Room {
        most: bounds.most,
        disk_free: theirs.fold(own, u64::min),
        disk_floor: bounds.disk_floor,
        memory_free: fs::read_to_string("/proc/meminfo").ok().and_then(|text| free(&text)).unwrap_or(0),
    }
}

/// Reads how much memory programs may still take.
fn free(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_word_to_wait_on_counts_until_an_assignment_brings_its_own_deadline() {
        use ocelot_core::plan::Resources;
        use ocelot_supervisor::clock;

        use crate::runtime::{install, process::Process};

        let data = tempfile::tempdir().unwrap();
        let supervisor = install(data.path()).unwrap();
        let runtime = Process::new(data.path(), supervisor, Resources::default());
        let places = Places { directory: data.path().join("ready-1-1") };
        let control = places.control();
        places.make_ready().unwrap();
        assert!(runtime.make_ready(&control).await.unwrap());
        let later = clock::now().after(2 * UNASSIGNED_MS);
        vouch(&control, later).await.unwrap();
        let (mut link, seen) = Link::connect(&control).await.unwrap();
        assert_eq!(seen.deadline, later);
        fs::write(control.join(super::control::IDENTITY), "one").unwrap();
        let sooner = clock::now().after(60_000);
        link.send(&Request::Assign { identity: "one".to_owned(), deadline: sooner }).unwrap();
        assert!(matches!(link.next().await, Ok(Heard::Notice(Notice::Done))));
        let (_, seen) = Link::connect(&control).await.unwrap();
        assert_eq!(seen.deadline, sooner);
        runtime.remove(&control).await.unwrap();
        vouch(&control, later).await.unwrap_err();
    }

    #[test]
    fn what_is_free_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24683788 kB\nMemFree:         100 kB\nMemAvailable:   22580428 kB\n";
        assert_eq!(free(text), Some(22_580_428 * 1024));
        assert_eq!(free("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_file_of_a_secret_lies_in_the_place_that_its_container_waits_in() {
        let mount = |source: &str| Mount { source: source.into(), target: "/run/s".into() };
        let source = "/m/old/files/1";
        assert_eq!(moved("/a/old", mount(source)), Some(vec![mount("/m/ready-1-2/files/1")]));
        assert_eq!(moved("/a/old", mount("/elsewhere/1")), None);
    }

    fn moved(directory: &str, mount: Mount) -> Option<Vec<Mount>> {
        let places = |directory: &str| Places { directory: PathBuf::from(directory) };
        let like = super::super::shape::tests::launch(&places(directory), vec![mount]);
        let made = beside(&like, &places("/a/ready-1-2"), Path::new("/m"))?;
        assert_eq!(made.workspace, Path::new("/a/ready-1-2/workspace"));
        Some(made.mounts)
    }
}
