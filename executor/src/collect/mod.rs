//! Keeps room on this machine's disks: what is ours and nobody needs goes, and what could be fetched
//! again goes when the disk or the budget asks for it.
//!
//! [`plan`] decides; this module looks, and does what was decided. It takes only what this executor made
//! or brought, and looks at what is held after it looked at what there is: what begins meanwhile is never
//! taken for left. It never stops work; that new work is refused below the floor is the session's part.

pub(crate) mod left;
pub mod plan;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ocelot_proto::kit::clock::{Clock, UnixMicros};
use ocelot_proto::kit::telemetry::chain;
use tokio::task::spawn_blocking;

use crate::attempt::files::gone;
use crate::checkout::Checkouts;
use crate::disk::{remove_tree, size_of};
use crate::runtime::Runtime;
use crate::runtimes::Runtimes;

use left::Signs;
use plan::{Disk, Kind, Room, Situation, Thing};

pub use plan::Limits;
pub use report::Report;

/// Between two looks at the free space.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two looks at everything, where no disk is short: it is for the budget and for what is left.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// Between two passes that were asked for.
const LEAST: Duration = Duration::from_secs(1);
/// A pass looks again after it took something away: sizes are guesses where layers are shared.
const ROUNDS_MAX: usize = 3;

/// Returns the directories of attempts that are held just now.
pub(crate) type Holds = Box<dyn Fn() -> BTreeSet<PathBuf> + Send + Sync>;

/// What a collector is made of.
pub(crate) struct Collector {
    pub(crate) data: PathBuf,
    pub(crate) floor: u64,
    pub(crate) limits: Limits,
    /// Of this process: what earlier ones made ready, nobody waits for.
    pub(crate) incarnation: u64,
    pub(crate) holds: Holds,
    pub(crate) signs: Arc<Signs>,
    pub(crate) runtimes: Arc<Runtimes>,
    pub(crate) checkouts: Arc<Checkouts>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How a thing is taken away.
#[derive(Debug, Clone)]
enum Way {
    Directory(PathBuf),
    Idle { runtime: Arc<dyn Runtime>, control: PathBuf, containers: u64, networks: u64 },
    Mirror(PathBuf),
    Image { runtime: Arc<dyn Runtime>, id: String },
}

/// What there is, and how each of it would go.
#[derive(Debug, Default)]
struct Found {
    situation: Situation,
    ways: BTreeMap<(Kind, String), Way>,
}

impl Found {
    fn add(&mut self, thing: Thing, way: Way) {
        self.ways.insert((thing.kind, thing.name.clone()), way);
        self.situation.things.push(thing);
    }
}

impl Collector {
    /// Collects whenever there is need, until the program ends.
    pub(crate) async fn keep(&self) {
        let mut whole = self.clock.monotonic();
        let mut complained = false;
        loop {
            let mut in_vain = false;
            if self.is_short() || self.clock.monotonic() >= whole {
                let report = self.pass(false).await;
                whole = self.clock.monotonic() + WHOLE_EVERY;
                in_vain = report.short && report.freed.is_empty();
                // What cannot be helped is said once.
                if !(in_vain && complained) {
                    report.tell();
                }
                complained = in_vain;
            }
            let asked = async {
                self.signs.asked().await;
                self.clock.sleep(LEAST).await;
            };
            tokio::select! {
                () = self.clock.sleep(LOOK_EVERY) => {}
                () = asked, if !in_vain => {}
            }
        }
    }

    /// Does one pass; a dry one only says what it would do.
    pub(crate) async fn pass(&self, dry: bool) -> Report {
        let mut report = Report::default();
        for _ in 0..ROUNDS_MAX {
            let found = self.look().await;
            let before = report.freed_bytes();
            report.stays.clear();
            for thing in found.situation.plan() {
                let Some(way) = found.ways.get(&(thing.kind, thing.name.clone())) else { continue };
                let taken = if dry { Ok(true) } else { self.take(way).await };
                match taken {
                    Ok(true) => note(&mut report, &thing, way),
                    Ok(false) => {}
                    Err(why) => report.stays.push(format!("{} stays: {why}", thing.name)),
                }
            }
            report.ours_bytes = found.situation.bytes().saturating_sub(report.freed_bytes() - before);
            if dry || report.freed_bytes() == before || !self.is_short() {
                break;
            }
        }
        let (own, engine) = self.rooms();
        report.free_bytes = own.map(|room| room.free);
        report.engine_free_bytes = engine.map(|room| room.free);
        report.short = [own, engine].into_iter().flatten().any(|room| room.is_short());
        report
    }

    fn is_short(&self) -> bool {
        let (own, engine) = self.rooms();
        [own, engine].into_iter().flatten().any(|room| room.is_short())
    }

    /// Returns the room on our disk, and on the engine's if that is another one.
    fn rooms(&self) -> (Option<Room>, Option<Room>) {
        let engine = self.engine_storage().filter(|path| !self.is_own_disk(path));
        (self.room(&self.data), engine.and_then(|path| self.room(&path)))
    }

    fn room(&self, path: &Path) -> Option<Room> {
        match crate::identity::disk(path) {
            Ok(disk) => Some(Room { free: disk.free, marks: self.limits.marks(disk.size, self.floor) }),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "the disk cannot be looked at");
                None
            }
        }
    }

    fn engine_storage(&self) -> Option<PathBuf> {
        self.runtimes.all().find_map(|runtime| runtime.storage())
    }

    fn is_own_disk(&self, path: &Path) -> bool {
        let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev());
        matches!((device(path), device(&self.data)), (Ok(one), Ok(other)) if one == other)
    }

    async fn look(&self) -> Found {
        let (own, engine) = self.rooms();
        let situation = Situation { own, engine, budget: self.limits.budget, ..Situation::default() };
        let mut found = Found { situation, ..Found::default() };
        let is_own = self.engine_storage().is_some_and(|path| self.is_own_disk(&path));
        let disk = if is_own { Disk::Own } else { Disk::Engine };
        let mut idle = Vec::new();
        for runtime in self.runtimes.all() {
            self.add_images(&mut found, runtime, disk).await;
            match runtime.idle().await {
                Ok(listed) => idle.extend(listed.into_iter().map(|idle| (Arc::clone(runtime), idle))),
                Err(error) => tracing::debug!(error = %chain(&error), "not known what is idle"),
            }
        }
        for mirror in self.checkouts.known().await {
            let name = mirror.folder.display().to_string();
            let (bytes, last_used, in_use) = (mirror.bytes, mirror.last_used, mirror.in_use);
            let thing = Thing { kind: Kind::Mirror, name, bytes, last_used, in_use, disk: Disk::Own };
            found.add(thing, Way::Mirror(mirror.folder));
        }
        let attempts = self.data.join("attempts");
        let measured = self.limits.budget.is_some();
        let directories =
            spawn_blocking(move || left::directories(&attempts, measured)).await.unwrap_or_default();
        // After all that was looked at, so that what began meanwhile is known.
        let judge = left::Judge {
            held: (self.holds)(),
            incarnation: self.incarnation,
            now: system_time(self.clock.wall()),
            noted: self.signs.left(),
        };
        for directory in directories {
            if !judge.is_left(&directory.path, Some(directory.changed)) {
                found.situation.held_bytes = found.situation.held_bytes.saturating_add(directory.bytes);
                continue;
            }
            let bytes = size_later(directory.path.clone()).await;
            let name = directory.path.display().to_string();
            let last_used = directory.changed;
            let thing =
                Thing { kind: Kind::Leftover, name, bytes, last_used, in_use: false, disk: Disk::Own };
            found.add(thing, Way::Directory(directory.path));
        }
        for (runtime, idle) in idle {
            let Some(directory) = idle.control.parent() else { continue };
            let changed = std::fs::metadata(directory).and_then(|found| found.modified()).ok();
            if !judge.is_left(directory, changed) {
                continue;
            }
            let kind = if idle.containers > 0 { Kind::Container } else { Kind::Network };
            let name = idle.control.display().to_string();
            let last_used = changed.unwrap_or(SystemTime::UNIX_EPOCH);
            let (containers, networks) = (idle.containers, idle.networks);
            let thing = Thing { kind, name, bytes: 0, last_used, in_use: false, disk };
            found.add(thing, Way::Idle { runtime, control: idle.control, containers, networks });
        }
        found
    }

    async fn add_images(&self, found: &mut Found, runtime: &Arc<dyn Runtime>, disk: Disk) {
        let images = match runtime.own_images().await {
            Ok(images) => images,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "not known which images are ours");
                return;
            }
        };
        for image in images {
            let thing = Thing {
                kind: Kind::Image,
                name: format!("{} {}", image.name, image.id),
                bytes: image.bytes,
                last_used: system_time(image.last_used),
                in_use: image.in_use,
                disk,
            };
            found.add(thing, Way::Image { runtime: Arc::clone(runtime), id: image.id });
        }
    }

    /// Returns false where somebody uses it after all.
    async fn take(&self, way: &Way) -> Result<bool, String> {
        match way {
            Way::Directory(path) => {
                if (self.holds)().contains(path) {
                    return Ok(false);
                }
                let removed = path.clone();
                let removed = spawn_blocking(move || gone(remove_tree(&removed))).await;
                removed
                    .map_err(io::Error::other)
                    .and_then(|removed| removed)
                    .map_err(|error| error.to_string())?;
                self.signs.forget(path);
                Ok(true)
            }
            Way::Idle { runtime, control, .. } => {
                runtime.remove(control).await.map_err(|error| chain(&error).to_string())?;
                Ok(true)
            }
            Way::Mirror(folder) => self.checkouts.take_away(folder).await,
            Way::Image { runtime, id } => {
                runtime.remove_image(id).await.map_err(|error| chain(&error).to_string())
            }
        }
    }
}

fn note(report: &mut Report, thing: &Thing, way: &Way) {
    match way {
        Way::Idle { containers, networks, .. } => {
            (0..*containers).for_each(|_| report.gone(Kind::Container, 0));
            (0..*networks).for_each(|_| report.gone(Kind::Network, 0));
        }
        Way::Directory(_) | Way::Mirror(_) | Way::Image { .. } => report.gone(thing.kind, thing.bytes),
    }
}

async fn size_later(path: PathBuf) -> u64 {
    spawn_blocking(move || size_of(&path)).await.unwrap_or_default()
}

fn system_time(at: UnixMicros) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(at.0)
}
