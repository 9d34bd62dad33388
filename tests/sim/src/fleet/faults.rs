//! What strikes a world, and when: until the last fault heals everything may happen to everybody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::dice::Dice;
use super::world::{CONTROLLERS, MACHINES, Way, World};

/// Whom faults may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Everything,
    /// Controllers, and one by one: no build may end by it.
    Controllers,
}

impl Reach {
    /// One world in five is struck gently.
    pub(super) fn of(seed: u64) -> Self {
        if seed.is_multiple_of(5) { Self::Controllers } else { Self::Everything }
    }
}

/// Lets faults strike until a moment; all of them are healed soon after.
pub(super) async fn strike(world: Arc<World>, dice: Dice, reach: Reach, until: Duration) {
    let began = Instant::now();
    weather(&world, &dice, reach);
    while began.elapsed() < until {
        tokio::time::sleep(dice.ms(200, 9_000)).await;
        match reach {
            Reach::Everything => one(&world, &dice),
            Reach::Controllers => gentle(&world, &dice).await,
        }
    }
    heal(&world);
}

/// What is always so in this world, a little.
fn weather(world: &World, dice: &Dice, reach: Reach) {
    let rough = reach == Reach::Everything;
    let of = |most: u64| if rough { [0, most / 4, most][dice.place(3)] } else { 0 };
    world.net.loss.store(of(120), Ordering::Relaxed);
    world.net.slow.store(of(100), Ordering::Relaxed);
    world.weather.loss.store(of(80), Ordering::Relaxed);
    world.weather.slow.store(of(80), Ordering::Relaxed);
    world.store.set_forgetful(of(60));
}

/// Everything goes on again, and nothing strikes any more.
pub(super) fn heal(world: &Arc<World>) {
    world.laws.note(|| "the last fault heals".into());
    for level in [&world.net.loss, &world.net.slow, &world.weather.loss, &world.weather.slow] {
        level.store(0, Ordering::Relaxed);
    }
    world.store.set_forgetful(0);
    world.weather.is_down.store(false, Ordering::Relaxed);
    super::executor::lock(&world.net.cuts).clear();
    for place in &world.controllers {
        place.is_cut.store(false, Ordering::Relaxed);
        depose(world, place.index, false);
        place.gate.go_on();
        place.start(world);
    }
    for machine in &world.machines {
        machine.gate.go_on();
        machine.start(world);
    }
}

fn later(world: &Arc<World>, after: Duration, act: impl FnOnce(&Arc<World>) + Send + 'static) {
    let world = Arc::clone(world);
    super::detached(async move {
        tokio::time::sleep(after).await;
        act(&world);
    });
}

fn one(world: &Arc<World>, dice: &Dice) {
    match dice.below(19) {
        0 | 1 => kill_controller(world, dice),
        2 => stop_controller(world, dice, 40_000),
        3 | 4 => kill_executor(world, dice),
        5 => {
            let index = dice.place(MACHINES);
            world.struck.add("machines without power");
            world.machines[index].lose_power(world);
            later(world, dice.ms(1_000, 60_000), move |world| world.machines[index].start(world));
        }
        6 | 7 => {
            let index = dice.place(MACHINES);
            world.struck.add("executors stopped");
            world.laws.note(|| format!("executor {index} is stopped"));
            world.machines[index].gate.stop();
            later(world, dice.ms(500, 110_000), move |world| {
                world.laws.note(|| format!("executor {index} goes on"));
                world.machines[index].gate.go_on();
            });
        }
        8 | 9 => cut(world, dice),
        10 => {
            world.struck.add("store down");
            world.laws.note(|| "the store is down".into());
            world.weather.is_down.store(true, Ordering::Relaxed);
            later(world, dice.ms(200, 30_000), |world| world.weather.is_down.store(false, Ordering::Relaxed));
        }
        11 => {
            let index = dice.place(CONTROLLERS);
            world.struck.add("controllers cut from the store");
            world.laws.note(|| format!("controller {index} is cut from the store"));
            world.controllers[index].is_cut.store(true, Ordering::Relaxed);
            later(world, dice.ms(200, 40_000), move |world| {
                world.controllers[index].is_cut.store(false, Ordering::Relaxed);
            });
        }
        12 => {
            if dice.hits(300) {
                drop_leases(world);
            } else {
                blink(world, dice);
            }
        }
        13 => {
            world.struck.add("leases renewed by the store");
            world.store.renew_leases();
        }
        14 => {
            world.struck.add("compactions");
            world.store.compact(world.store.revision());
            world.store.cut_watches();
        }
        15 => {
            let index = dice.place(MACHINES);
            world.struck.add("machines' disks lost");
            world.machines[index].lose_disk(world);
            later(world, dice.ms(1_000, 60_000), move |world| world.machines[index].start(world));
        }
        16 | 17 => part(world, dice),
        _ => jump(world, dice),
    }
}

/// Strikes only controllers, one by one and shorter than any guard.
async fn gentle(world: &Arc<World>, dice: &Dice) {
    match dice.below(4) {
        0 | 1 => kill_controller(world, dice),
        2 => stop_controller(world, dice, 8_000),
        _ => jump(world, dice),
    }
    // The next only when this one is over.
    tokio::time::sleep(Duration::from_secs(25)).await;
}

fn kill_controller(world: &Arc<World>, dice: &Dice) {
    let index = dice.place(CONTROLLERS);
    world.struck.add("controllers killed");
    world.controllers[index].kill(world);
    if dice.hits(100) {
        world.struck.add("controllers' disks lost");
        world.logs.forget(index);
    }
    later(world, dice.ms(100, 20_000), move |world| world.controllers[index].start(world));
}

fn stop_controller(world: &Arc<World>, dice: &Dice, most_ms: u64) {
    let index = dice.place(CONTROLLERS);
    world.struck.add("controllers stopped");
    world.laws.note(|| format!("controller {index} is stopped"));
    world.controllers[index].gate.stop();
    later(world, dice.ms(500, most_ms), move |world| {
        world.laws.note(|| format!("controller {index} goes on"));
        world.controllers[index].gate.go_on();
    });
}

fn kill_executor(world: &Arc<World>, dice: &Dice) {
    let index = dice.place(MACHINES);
    world.struck.add("executors killed");
    world.machines[index].kill(world);
    later(world, dice.ms(50, 30_000), move |world| world.machines[index].start(world));
}

fn cut(world: &Arc<World>, dice: &Dice) {
    let machine = dice.place(MACHINES);
    let all = dice.hits(500);
    let ways = match dice.below(3) {
        0 => vec![Way::There],
        1 => vec![Way::Back],
        _ => vec![Way::There, Way::Back],
    };
    let one = dice.place(CONTROLLERS);
    let controllers: Vec<usize> = if all { (0..CONTROLLERS).collect() } else { vec![one] };
    let cuts: Vec<_> = controllers
        .into_iter()
        .flat_map(|controller| ways.iter().map(move |way| (machine, controller, *way)))
        .collect();
    world.struck.add("networks cut");
    world.laws.note(|| format!("cut: {cuts:?}"));
    super::executor::lock(&world.net.cuts).extend(cuts.iter().copied());
    later(world, dice.ms(500, 110_000), move |world| {
        let mut known = super::executor::lock(&world.net.cuts);
        known.retain(|cut| !cuts.contains(cut));
    });
}

fn drop_leases(world: &Arc<World>) {
    for _ in 0..world.store.drop_leases(500) {
        world.struck.add("leases dropped");
    }
}

/// Sessions go, come back and go again, and one controller sees the middle of it too late.
fn blink(world: &Arc<World>, dice: &Dice) {
    let index = dice.place(CONTROLLERS);
    let set = move |world: &Arc<World>, is_blind: bool| {
        world.controllers[index].is_blind.store(is_blind, Ordering::Relaxed);
    };
    drop_leases(world);
    later(world, dice.ms(20, 1_200), move |world| set(world, true));
    later(world, dice.ms(1_500, 4_000), drop_leases);
    later(world, dice.ms(4_000, 8_000), move |world| set(world, false));
}

/// Parts the network in two: on the small side a controller with a member of the store that was
/// deposed and does not know it, and a machine.
fn part(world: &Arc<World>, dice: &Dice) {
    let machine = dice.place(MACHINES);
    let controller = world.machines[machine].preferred().unwrap_or_else(|| dice.place(CONTROLLERS));
    let crossing = |at: usize, other: usize| (at == machine) != (other == controller);
    let ways = (0..MACHINES).flat_map(|at| (0..CONTROLLERS).map(move |other| (at, other)));
    let cuts: Vec<_> = ways
        .filter(|(at, other)| crossing(*at, *other))
        .flat_map(|(at, other)| [(at, other, Way::There), (at, other, Way::Back)])
        .collect();
    world.struck.add("networks parted");
    world.laws.note(|| format!("machine {machine} and controller {controller} are parted from the rest"));
    depose(world, controller, true);
    super::executor::lock(&world.net.cuts).extend(cuts.iter().copied());
    later(world, dice.ms(2_000, 130_000), move |world| {
        world.laws.note(|| format!("machine {machine} and controller {controller} are back"));
        depose(world, controller, false);
        super::executor::lock(&world.net.cuts).retain(|cut| !cuts.contains(cut));
    });
}

fn depose(world: &World, controller: usize, is_deposed: bool) {
    let place = &world.controllers[controller];
    place.is_deposed.store(is_deposed, Ordering::Relaxed);
    place.is_blind.store(is_deposed, Ordering::Relaxed);
}

fn jump(world: &World, dice: &Dice) {
    let seconds = [-86_400, -3_600, -600, 3_600, 86_400][dice.place(5)];
    let index = dice.place(CONTROLLERS);
    world.struck.add("clocks set");
    world.laws.note(|| format!("the clock of controller {index} jumps by {seconds} s"));
    world.controllers[index].clock.jumped_s.store(seconds, Ordering::Relaxed);
}
