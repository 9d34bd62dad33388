//! The seeded simulation: controllers and executors that ship, in a world that is all simulated.
//!
//! One seed makes one world: three controllers on one store, four machines, clients, and faults. Time
//! is virtual and everything runs on one thread, so that a seed's history is the same each time, byte
//! for byte. A world has failed when a law is broken, or when an accepted run has not ended in bounded
//! time after the last fault healed.

mod bugs;
mod controllers;
mod dice;
mod door;
mod executor;
mod faults;
mod gate;
mod hands;
mod laws;
mod logs;
mod machine;
mod many;
mod names;
mod reports;
mod store;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ocelot_controller::service::testing::Sequence;
use ocelot_controller::store::update::{Patience, Updater};

pub use bugs::Bug;
pub use laws::Counts;
pub use many::{Failed, Passed, compares, run};
pub use names::{LeftOut, Named};

use dice::Dice;
use door::Door;
use faults::Reach;
use world::{CONTROLLERS, MACHINES, World};

/// A run that was accepted has ended by then, counted from when the last fault healed: five failed
/// deliveries, the guard of a normal task and its wait fit in it twice.
const ENDED_BY: Duration = Duration::from_secs(1_800);
/// What an executor may still hold after that: containers end with their guard.
const QUIET_BY: Duration = Duration::from_secs(900);

/// How long a world goes on that was restored.
const AFTER_RESTORE: Duration = Duration::from_secs(40);

/// What is wrong on purpose.
#[derive(Debug, Clone, Default)]
pub struct Planted {
    pub bug: Option<Bug>,
    /// A compare that every transaction leaves out.
    pub left_out: Option<Named>,
    /// Whether the kinds of compares are noted.
    pub names: bool,
}

/// What became of one world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub broken: Option<String>,
    pub digest: u64,
    pub counts: Counts,
    pub struck: BTreeMap<&'static str, u64>,
    pub history: Vec<String>,
    pub compares: BTreeMap<Named, u64>,
    /// What a compare that was left out would have done.
    pub left_out: LeftOut,
}

/// Runs a task beside everything else; it ends with its world.
#[expect(
    clippy::disallowed_methods,
    reason = "the world ends with its runtime; nothing waits for a shutdown"
)]
fn detached(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Lets one world happen.
///
/// # Panics
/// If the system has no room for one more runtime.
pub fn world(seed: u64, planted: &Planted, with_history: bool) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without a driver for I/O needs nothing of the system");
    runtime.block_on(happen(seed, planted, with_history))
}

async fn happen(seed: u64, planted: &Planted, with_history: bool) -> Ended {
    let world = World::new(seed, planted, with_history);
    let dice = Dice::new(seed, "world");
    let reach = world.reach;
    world.controllers.iter().for_each(|place| place.start(&world));
    let expiring = Arc::clone(&world);
    detached(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            expiring.store.expire();
        }
    });
    for index in 0..MACHINES {
        if !executor::register(&world, index, index % CONTROLLERS).await {
            world.laws.broken("a machine could not register in fair weather".to_owned());
        }
    }
    world.machines.iter().for_each(|machine| machine.start(&world));
    let until = dice.ms(30_000, 150_000);
    let wishes = workload::wishes(seed, until);
    for (number, wish) in wishes.iter().enumerate() {
        let dice = Dice::new(seed, &format!("client {number}"));
        detached(workload::client(Arc::clone(&world), number, wish.clone(), dice));
    }
    detached(workload::operator(Arc::clone(&world), Dice::new(seed, "operator"), until));
    let striking = faults::strike(Arc::clone(&world), Dice::new(seed, "faults"), reach, until);
    tokio::select! {
        biased;
        () = broken(&world) => {}
        () = striking => {}
    }
    if is_restored(seed) {
        restore(&world, seed).await;
    } else {
        settle(&world, &wishes, reach).await;
    }
    let ended = Ended {
        broken: world.laws.first_broken(),
        digest: world.laws.digest(),
        counts: world.laws.counts(),
        struck: world.struck.all(),
        history: world.laws.history(),
        compares: executor::lock(&world.weather.seen).clone(),
        left_out: executor::lock(&world.weather.left_out_did).clone(),
    };
    // A process holds its world, and the world its machines' processes: neither would ever be freed.
    world.machines.iter().for_each(|machine| machine.kill(&world));
    ended
}

/// One world in ten ends as one that was put back from a backup: what was in it no longer counts.
fn is_restored(seed: u64) -> bool {
    seed % 10 == 7
}

/// Raises the store's epoch, and lets everything go on for a while; the laws know what may not.
async fn restore(world: &Arc<World>, seed: u64) {
    let door = Door {
        store: Arc::clone(&world.store),
        weather: Arc::default(),
        dice: Arc::new(Dice::new(seed, "restore")),
        is_cut: Arc::default(),
        is_deposed: Arc::default(),
        is_blind: Arc::default(),
        struck: Arc::clone(&world.struck),
    };
    let updater = Updater::new(Arc::new(door), Arc::new(Sequence::new(seed)), Patience::default());
    world.struck.add("restores");
    match updater.raise_epoch().await {
        Ok(epoch) => world.laws.restored(epoch),
        Err(error) => world.laws.broken(format!("the epoch could not be raised: {error}")),
    }
    tokio::time::sleep(AFTER_RESTORE).await;
}

async fn broken(world: &World) {
    while !world.laws.is_broken() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits, after the last fault, until everything has ended; says what has not.
async fn settle(world: &Arc<World>, wishes: &[workload::Wish], reach: Reach) {
    let began = tokio::time::Instant::now();
    while began.elapsed() < ENDED_BY && !world.laws.is_broken() && !all_ended(world, wishes) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if world.laws.is_broken() {
        return;
    }
    let missing = wishes.iter().find(|wish| !world.laws.has(wish.id));
    if let Some(wish) = missing {
        return world.laws.broken(format!("liveness: {} was never accepted", wish.id));
    }
    if let Some(run) = world.laws.unfinished().first() {
        let tasks = world.laws.tasks_of(*run);
        return world.laws.broken(format!("liveness: run {run} has not ended: {tasks:#?}"));
    }
    while began.elapsed() < ENDED_BY + QUIET_BY && !world.laws.is_broken() && !is_quiet(world) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The last bytes reach the home of bytes.
    tokio::time::sleep(Duration::from_secs(10)).await;
    for machine in &world.machines {
        let held = machine.inside().journal.attempts.clone();
        let left = machine.containers();
        if !held.is_empty() || !left.is_empty() {
            world.laws.broken(format!("I23: machine {} still has {held:?}, {left:?}", machine.index));
        }
    }
    for ((task, attempt), bytes, sha256) in world.laws.whole_logs() {
        let lost_twice =
            world.laws.is_spool_lost((task, attempt)) && world.logs.has_forgotten((task, attempt));
        if !lost_twice && !world.logs.is_whole((task, attempt), bytes, sha256) {
            world.laws.broken(format!("I14: the log of {task} attempt {attempt} lacks bytes"));
        }
    }
    if reach == Reach::Controllers
        && let Some(lost) = world.laws.losses().first()
    {
        world.laws.broken(format!("I24: only controllers were struck, and a build ended by it: {lost}"));
    }
}

fn all_ended(world: &World, wishes: &[workload::Wish]) -> bool {
    wishes.iter().all(|wish| world.laws.has(wish.id)) && world.laws.unfinished().is_empty()
}

fn is_quiet(world: &World) -> bool {
    world
        .machines
        .iter()
        .all(|machine| machine.inside().journal.attempts.is_empty() && machine.containers().is_empty())
}
