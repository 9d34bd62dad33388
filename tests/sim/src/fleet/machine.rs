//! A machine: its disk, which survives, and its engine, whose containers outlive the executor.
//!
//! The supervisor in each container ends it when nobody vouched for it in time. The witness hears of
//! every begin and end from here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use ocelot_core::frame::Exit;
use ocelot_core::id::ExecutorId;
use ocelot_core::plan::TaskPlan;
use ocelot_executor::attempt::AttemptId;
use ocelot_executor::attempt::state::{BootTime, Cause, Event, Found, Gone, StageEnd};
use ocelot_executor::journal::{Container, State};

use super::Bug;
use super::dice::{Dice, mixed};
use super::executor::Process;
use super::faults::Reach;
use super::gate::Gate;
use super::world::World;

#[derive(Debug)]
pub(super) struct Machine {
    pub index: usize,
    pub dice: Dice,
    pub gate: Arc<Gate>,
    pub slots: u32,
    seed: u64,
    origin: Instant,
    inside: Mutex<Inside>,
    process: Mutex<Option<Arc<Process>>>,
}

/// What the machine has on disk and in its engine.
#[derive(Debug, Default)]
pub(super) struct Inside {
    pub id: Option<ExecutorId>,
    /// How often it registered, each time with a key and a name of its own.
    pub registered: u8,
    /// As far as it is synced.
    pub journal: State,
    pub plans: BTreeMap<AttemptId, TaskPlan>,
    /// How long the log of each attempt is in its spool.
    pub spools: BTreeMap<AttemptId, u64>,
    boxes: BTreeMap<AttemptId, Running>,
    /// Starts that a kill has given up.
    doomed: BTreeSet<AttemptId>,
}

#[derive(Debug)]
struct Running {
    deadline: Instant,
    /// The stage that runs, when it ends by itself, and its exit code.
    stage: Option<(u16, Instant, i32)>,
    ended: Vec<(u16, StageEnd)>,
    cancelled: Option<u16>,
    changed: Arc<Notify>,
}

impl Machine {
    pub(super) fn new(seed: u64, index: usize) -> Self {
        let dice = Dice::new(seed, &format!("machine {index}"));
        Self {
            index,
            slots: u32::try_from(1 + dice.below(3)).unwrap_or(1),
            dice,
            gate: Arc::default(),
            seed,
            origin: Instant::now(),
            inside: Mutex::default(),
            process: Mutex::default(),
        }
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn boot_time(&self) -> BootTime {
        BootTime(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn moment(&self, at: BootTime) -> Instant {
        self.origin + Duration::from_millis(at.0)
    }

    /// Starts the executor's process, unless it runs.
    pub(super) fn start(&self, world: &Arc<World>) {
        let mut process = self.process();
        if process.is_none() {
            world.laws.note(|| format!("executor {} starts", self.index));
            *process = Some(Process::start(world, self.index));
        }
    }

    /// Ends the process without a word; what was not synced is lost, containers go on.
    pub(super) fn kill(&self, world: &World) {
        let process = self.process().take();
        if let Some(process) = process {
            world.laws.note(|| format!("executor {} is killed", self.index));
            process.end();
        }
        self.gate.go_on();
    }

    /// The machine loses its power: nothing but the disk is left.
    pub(super) fn lose_power(&self, world: &World) {
        self.kill(world);
        let boxes = std::mem::take(&mut self.inside().boxes);
        for (attempt, running) in boxes {
            running.changed.notify_one();
            world.laws.ends(attempt, "the machine lost its power");
        }
    }

    /// Nothing is left of the machine but its name: it starts as one that nobody knows.
    pub(super) fn lose_disk(&self, world: &World) {
        self.lose_power(world);
        let mut inside = self.inside();
        let lost = std::mem::take(&mut *inside);
        inside.registered = lost.registered;
        inside.doomed = lost.journal.attempts.iter().map(|held| held.id).collect();
        drop(inside);
        world.laws.note(|| format!("the disk of machine {} is lost", self.index));
        for held in lost.journal.attempts {
            world.laws.spool_lost(held.id);
        }
    }

    /// The key that this life of the disk has.
    pub(super) fn key(&self) -> [u8; 32] {
        let own = u8::try_from(self.index + 1).unwrap_or(u8::MAX);
        let mut key = [own; 32];
        key[31] = self.inside().registered;
        key
    }

    /// Tells the executor, if it runs, of something that happened to an attempt.
    pub(super) fn tell(&self, attempt: AttemptId, event: Event) {
        if let Some(process) = &*self.process() {
            process.tell(attempt, event);
        }
    }

    /// The controller that its executor asks, if it runs.
    pub(super) fn preferred(&self) -> Option<usize> {
        self.process().as_ref().map(|process| process.preferred())
    }

    pub(super) fn containers(&self) -> Vec<AttemptId> {
        self.inside().boxes.keys().copied().collect()
    }

    /// What the engine and the supervisor say about an attempt's container.
    pub(super) fn found(&self, attempt: AttemptId) -> Option<Found> {
        let inside = self.inside();
        let running = inside.boxes.get(&attempt)?;
        Some(Found {
            container: container(attempt),
            ended: running.ended.clone(),
            running: running.stage.map(|(index, ..)| index),
            cancelled: running.cancelled,
        })
    }

    /// The engine starts a container, whatever becomes of who asked for it.
    pub(super) fn start_container(&self, world: &Arc<World>, attempt: AttemptId, deadline: BootTime) {
        let takes = if self.dice.hits(50) { self.dice.ms(1_000, 8_000) } else { self.dice.ms(20, 400) };
        let fails = self.dice.hits(10) && world.reach == Reach::Everything;
        let (world, index) = (Arc::clone(world), self.index);
        super::detached(async move {
            tokio::time::sleep(takes).await;
            let machine = &world.machines[index];
            let until = machine.moment(deadline);
            let is_late = until <= Instant::now() && world.bug != Some(Bug::GuardNeverEnds);
            if fails || is_late || machine.inside().doomed.contains(&attempt) {
                let why = "the engine did not start it".to_owned();
                machine.tell(attempt, Event::NotLaunched(Cause::Platform { why }));
                return;
            }
            let changed = Arc::new(Notify::new());
            let running = Running {
                deadline: until,
                stage: None,
                ended: Vec::new(),
                cancelled: None,
                changed: Arc::clone(&changed),
            };
            machine.inside().boxes.insert(attempt, running);
            machine.tell(attempt, Event::Launched(container(attempt)));
            supervise(&world, index, attempt, changed).await;
        });
    }

    pub(super) fn set_guard(&self, attempt: AttemptId, deadline: BootTime) {
        let moment = self.moment(deadline);
        if let Some(running) = self.inside().boxes.get_mut(&attempt) {
            running.deadline = running.deadline.max(moment);
            running.changed.notify_one();
        }
    }

    /// The supervisor runs a stage; how long and how it ends follows from the attempt's name.
    pub(super) fn run_stage(&self, world: &World, attempt: AttemptId, index: u16) {
        let class = self.inside().plans.get(&attempt).map(|plan| plan.class);
        let luck = mixed(self.seed ^ mixed(u64::from(attempt.number.number()) ^ fold(attempt)));
        let takes = match luck % 100 {
            0..=59 => 100 + luck / 100 % 4_000,
            60..=89 => luck / 100 % 30_000,
            _ => luck / 100 % 150_000,
        };
        let code = i32::from((luck / 7).is_multiple_of(8));
        let mut inside = self.inside();
        let Some(running) = inside.boxes.get_mut(&attempt) else {
            drop(inside);
            let why = "there is no such container".to_owned();
            return self.tell(attempt, Event::ContainerGone(Gone::Died { why }));
        };
        running.stage = Some((index, Instant::now() + Duration::from_millis(takes), code));
        running.changed.notify_one();
        drop(inside);
        if let Some(class) = class {
            world.laws.begins(attempt, class);
        }
    }

    pub(super) fn cancel_stage(&self, attempt: AttemptId, index: u16) {
        let grace = self.dice.ms(10, 3_000);
        let kind = self.dice.hits(300);
        if let Some(running) = self.inside().boxes.get_mut(&attempt)
            && let Some((stage, until, code)) = &mut running.stage
            && *stage == index
        {
            running.cancelled = Some(index);
            *until = (*until).min(Instant::now() + grace);
            *code = if kind { 0 } else { 143 };
            running.changed.notify_one();
        }
    }

    /// Kills whatever of the attempt runs or is being started.
    pub(super) fn kill_container(&self, world: &World, attempt: AttemptId) {
        let gone = {
            let mut inside = self.inside();
            inside.doomed.insert(attempt);
            inside.boxes.remove(&attempt)
        };
        if let Some(gone) = gone {
            gone.changed.notify_one();
            world.laws.ends(attempt, "killed");
        }
    }
}

/// Looks after one container until it is gone.
async fn supervise(world: &Arc<World>, machine: usize, attempt: AttemptId, changed: Arc<Notify>) {
    let machine = &world.machines[machine];
    loop {
        let (deadline, ends) = {
            let inside = machine.inside();
            let Some(running) = inside.boxes.get(&attempt) else { return };
            (running.deadline, running.stage.map(|(_, ends, _)| ends))
        };
        let guarded = world.bug != Some(Bug::GuardNeverEnds);
        let guard = if guarded { deadline } else { deadline + Duration::from_secs(86_400) };
        let next = ends.map_or(guard, |ends| ends.min(guard));
        tokio::select! {
            biased;
            () = changed.notified() => continue,
            () = tokio::time::sleep_until(next) => {}
        }
        if guarded && deadline <= Instant::now() {
            machine.inside().boxes.remove(&attempt);
            world.laws.ends(attempt, "nobody vouched for it in time");
            return machine.tell(attempt, Event::ContainerGone(Gone::GuardOver));
        }
        let Some((index, code, dies)) = machine.stage_over(world.reach, attempt) else { continue };
        world.laws.stage_ends(attempt, code);
        if dies {
            machine.inside().boxes.remove(&attempt);
            world.laws.ends(attempt, "its container died");
            let why = "the engine says it died".to_owned();
            return machine.tell(attempt, Event::ContainerGone(Gone::Died { why }));
        }
        world.laws.ends(attempt, &format!("exit {code}"));
        machine.tell(attempt, Event::StageEnded { index, end: StageEnd::Exit(Exit::Code(code)) });
    }
}

impl Machine {
    fn stage_over(&self, reach: Reach, attempt: AttemptId) -> Option<(u16, i32, bool)> {
        let dies = self.dice.hits(5) && reach == Reach::Everything;
        let bytes = self.dice.below(20_000);
        let mut inside = self.inside();
        let running = inside.boxes.get_mut(&attempt)?;
        let (index, _, code) = running.stage.take_if(|(_, ends, _)| *ends <= Instant::now())?;
        running.ended.push((index, StageEnd::Exit(Exit::Code(code))));
        *inside.spools.entry(attempt).or_default() += bytes;
        Some((index, code, dies))
    }
}

fn fold(attempt: AttemptId) -> u64 {
    attempt.task.run.as_bytes().iter().fold(u64::from(attempt.task.index), |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn container(attempt: AttemptId) -> Container {
    let id = attempt.to_string();
    Container { control: format!("/attempts/{id}").into(), id }
}
