//! Controllers as processes: the service that ships, with its duties, behind a door of its own.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use ocelot_controller::reconcile::{self, Keep};
use ocelot_controller::service::testing::{DigestSigned, MemoryPlans, Sequence};
use ocelot_controller::service::{Parts, Service};
use ocelot_domain::placement::Limits;
use ocelot_proto::kit::clock::{Clock, Sleep, UnixMicros};

use super::Bug;
use super::dice::Dice;
use super::door::Door;
use super::gate::{Gate, through};
use super::logs::LogsAt;
use super::world::World;

/// The time of day when a world begins.
const DAWN_US: u64 = 1_800_000_000_000_000;

/// One machine's clocks: the time of day jumps, the other goes on.
#[derive(Debug)]
pub(super) struct SimClock {
    origin: Instant,
    pub jumped_s: AtomicI64,
    /// How fast its monotonic clock is; one, unless a bug is planted.
    rate: u32,
}

impl SimClock {
    pub(super) fn new(rate: u32) -> Self {
        Self { origin: Instant::now(), jumped_s: AtomicI64::new(0), rate }
    }
}

impl Clock for SimClock {
    fn wall(&self) -> UnixMicros {
        let since = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(0);
        UnixMicros((DAWN_US + since).saturating_add_signed(self.jumped_s.load(Ordering::Relaxed) * 1_000_000))
    }

    fn monotonic(&self) -> Instant {
        self.origin + self.origin.elapsed() * self.rate
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A place where a controller runs, or does not.
#[derive(Debug)]
pub(super) struct Place {
    pub index: usize,
    pub clock: Arc<SimClock>,
    pub gate: Arc<Gate>,
    pub is_cut: Arc<AtomicBool>,
    pub is_deposed: Arc<AtomicBool>,
    pub is_blind: Arc<AtomicBool>,
    dice: Arc<Dice>,
    starts: AtomicU64,
    alive: Mutex<Option<Alive>>,
}

#[derive(Debug)]
struct Alive {
    service: Arc<Service>,
    tasks: JoinSet<()>,
}

impl Place {
    pub(super) fn new(seed: u64, index: usize, bug: Option<Bug>) -> Self {
        let rate = if bug == Some(Bug::LostWithoutWait) { 50 } else { 1 };
        Self {
            index,
            clock: Arc::new(SimClock::new(rate)),
            gate: Arc::default(),
            is_cut: Arc::default(),
            is_deposed: Arc::default(),
            is_blind: Arc::default(),
            dice: Arc::new(Dice::new(seed, &format!("controller {index}"))),
            starts: AtomicU64::new(0),
            alive: Mutex::new(None),
        }
    }

    fn alive(&self) -> MutexGuard<'_, Option<Alive>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process, unless it runs.
    pub(super) fn start(&self, world: &Arc<World>) {
        let mut alive = self.alive();
        if alive.is_some() {
            return;
        }
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let seed = self.dice.number();
        world.laws.note(|| format!("controller {} starts, for the {}. time", self.index, start + 1));
        let chance = Arc::new(Sequence::new(seed));
        let door = Door {
            store: Arc::clone(&world.store),
            weather: Arc::clone(&world.weather),
            dice: Arc::clone(&self.dice),
            is_cut: Arc::clone(&self.is_cut),
            is_deposed: Arc::clone(&self.is_deposed),
            is_blind: Arc::clone(&self.is_blind),
            struck: Arc::clone(&world.struck),
        };
        let parts = Parts {
            name: format!("controller-{}", self.index),
            store: Arc::new(door),
            clock: Arc::clone(&self.clock) as _,
            chance: Arc::clone(&chance) as _,
            unguessable: chance,
            verify: Arc::new(DigestSigned),
            logs: Arc::new(LogsAt { home: Arc::clone(&world.logs), controller: self.index }),
            plans: Arc::new(MemoryPlans::default()),
            limits: Limits::default(),
        };
        let (service, follower) = Service::new(parts);
        let names: Vec<Arc<str>> =
            (0..world.controllers.len()).map(|index| format!("controller-{index}").into()).collect();
        service.set_peers(&names);
        let mut tasks = JoinSet::new();
        tasks.spawn(through(Arc::clone(&self.gate), follower.run()));
        let dispatching = Arc::clone(&service);
        tasks.spawn(through(Arc::clone(&self.gate), async move { dispatching.dispatch().await }));
        let reconciling = Arc::clone(&service);
        let duties = async move { reconcile::run(&reconciling, Keep::default()).await };
        tasks.spawn(through(Arc::clone(&self.gate), duties));
        let (home, index) = (Arc::clone(&world.logs), self.index);
        tasks.spawn(through(Arc::clone(&self.gate), async move {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                home.ship(index);
            }
        }));
        *alive = Some(Alive { service, tasks });
    }

    /// Ends the process without a word.
    pub(super) fn kill(&self, world: &World) {
        let was = self.alive().take();
        if was.is_some() {
            world.laws.note(|| format!("controller {} is killed", self.index));
        }
        drop(was);
        self.gate.go_on();
    }

    /// Lets the process serve one call; false if there is none.
    pub(super) fn serve(
        &self,
        world: &World,
        serve: impl FnOnce(Arc<Service>) -> BoxFuture<'static, ()>,
    ) -> bool {
        let mut alive = self.alive();
        let Some(alive) = alive.as_mut() else { return false };
        while let Some(ended) = alive.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                world.laws.broken(format!("a controller panicked: {error}"));
            }
        }
        let call = serve(Arc::clone(&alive.service));
        alive.tasks.spawn(through(Arc::clone(&self.gate), call));
        true
    }
}
