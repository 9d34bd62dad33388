//! What clients do: runs of one and of several tasks, of every class, repeated and cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ocelot_controller::records::{Machine, RuntimeSupport, Trigger, TriggerKind};
use ocelot_controller::service::{CancelRequest, Cancelled, Error};
use ocelot_core::id::RunId;
use ocelot_core::plan::{
    Cause, Class, Concurrency, Environment, Gate, Keep, Limits, Need, Plan, Resources, Retry, Runtime,
    Supersede, TaskPlan, Tolerance, Work,
};
use ocelot_domain::outcome::Actor;

use super::Bug;
use super::dice::Dice;
use super::world::{CONTROLLERS, MACHINES, World};

const CALL: Duration = Duration::from_secs(5);

/// One run that a client wants.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub id: RunId,
    job: String,
    plan: Plan,
    at: Duration,
    /// How long after its acceptance it is cancelled.
    cancel: Option<Duration>,
    /// Asked for by two at once, and again afterwards.
    doubled: bool,
}

/// Returns what clients of one world want.
pub(super) fn wishes(seed: u64, until: Duration) -> Vec<Wish> {
    let dice = Dice::new(seed, "workload");
    let span = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
    let count = 6 + dice.below(10);
    (0..count)
        .map(|number| {
            let mut random = [0; 10];
            random[..8].copy_from_slice(&dice.number().to_be_bytes());
            Wish {
                id: RunId::from_parts(1_800_000_000_000 + number, random),
                job: format!("job-{}", dice.below(3)),
                plan: plan(&dice),
                at: dice.ms(0, span),
                cancel: dice.hits(250).then(|| dice.ms(0, 40_000)),
                doubled: dice.hits(300),
            }
        })
        .collect()
}

fn plan(dice: &Dice) -> Plan {
    let count = if dice.hits(500) { 1 } else { 1 + dice.below(5) };
    let mut tasks: Vec<TaskPlan> = Vec::new();
    for index in 0..u32::try_from(count).unwrap_or(1) {
        let mut task = task(dice, index);
        if index > 0 && dice.hits(600) {
            let need = u32::try_from(dice.below(u64::from(index))).unwrap_or(0);
            task.needs = vec![Need { task: need, optional: dice.hits(200), artifacts: false }];
        }
        tasks.push(task);
    }
    Plan { tasks, concurrency: None, notify: Vec::new(), group: None }
}

fn task(dice: &Dice, index: u32) -> TaskPlan {
    let class = match dice.below(10) {
        0..=4 => Class::Normal,
        5..=7 => Class::Exclusive,
        _ => Class::Once,
    };
    let on = if dice.hits(500) { vec![Cause::Lost] } else { vec![Cause::Lost, Cause::Exit] };
    let group = ["deploy", "/shared"][dice.place(2)].to_owned();
    let name = format!("task-{index}");
    TaskPlan {
        base: name.clone(),
        name,
        variant: BTreeMap::new(),
        fail_fast: false,
        needs: Vec::new(),
        gate: [Gate::OnSuccess, Gate::OnSuccess, Gate::Always, Gate::OnFailure][dice.place(4)].clone(),
        class,
        priority: 0,
        labels: Vec::new(),
        resources: Resources::default(),
        limits: Limits {
            timeout: Duration::from_secs(3600),
            queue_timeout: Duration::from_secs(86_400),
            quiet_timeout: None,
            grace: Duration::from_secs(10),
        },
        retry: Retry { limit: 3, on, exit_codes: Vec::new(), delay: dice.ms(0, 3_000) },
        allow_failure: if dice.hits(100) { Tolerance::Any } else { Tolerance::None },
        concurrency: dice.hits(300).then_some(Concurrency { group, limit: 1, cancel: Supersede::Never }),
        approval: None,
        keep: Keep::Never,
        environment: Environment {
            runtime: Runtime::Process,
            checkout: None,
            directory: ".".into(),
            user: None,
            env: BTreeMap::new(),
            secrets: Vec::new(),
            services: Vec::new(),
            caches: Vec::new(),
            artifacts: Vec::new(),
        },
        work: Work::Command(vec!["make".into()]),
    }
}

pub(super) fn machine() -> Machine {
    let runtime = |name: &str| RuntimeSupport { name: name.into(), version: "1".into(), whole_kill: true };
    Machine {
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu_millis: 64_000,
        memory_bytes: 1 << 40,
        disk_bytes: 1 << 40,
        gpus: 0,
        runtimes: vec![runtime("docker"), runtime("process")],
    }
}

/// Has one wish until it is granted, whatever gets lost on the way.
pub(super) async fn client(world: Arc<World>, number: usize, wish: Wish, dice: Dice) {
    tokio::time::sleep(wish.at).await;
    let caller = MACHINES + number;
    if wish.doubled {
        let (world, wish) = (Arc::clone(&world), wish.clone());
        let other = Dice::new(dice.number(), "double");
        super::detached(async move { accept(&world, caller, &wish, &other).await });
    }
    accept(&world, caller, &wish, &dice).await;
    if wish.doubled {
        other_payload(&world, caller, &wish, &dice).await;
    }
    let Some(after) = wish.cancel else { return };
    tokio::time::sleep(after).await;
    cancel(&world, caller, &wish, &dice).await;
}

async fn accept(world: &Arc<World>, caller: usize, wish: &Wish, dice: &Dice) {
    loop {
        let asked = ask(world, (caller, dice.place(CONTROLLERS)), wish.clone());
        match asked.await {
            Some(Ok(())) => return world.laws.accepted(wish.id),
            Some(Err(Error::AlreadyExists { .. } | Error::Invalid { .. })) => {
                return world.laws.broken(format!("I8: {} is refused to who made it", wish.id));
            }
            Some(Err(_)) | None => {
                world.struck.add("executes repeated");
                tokio::time::sleep(dice.ms(50, 1_500)).await;
            }
        }
    }
}

async fn ask(world: &Arc<World>, way: (usize, usize), wish: Wish) -> Option<Result<(), Error>> {
    let early = world.bug == Some(Bug::ExecuteAnswersBeforeCommit);
    world
        .call(way, CALL, move |service| {
            let wish = wish.clone();
            let trigger = Trigger { kind: TriggerKind::CommandLine, by: Actor("ana".into()), schedule: None };
            let accepting = async move { service.accept_plan(wish.id, &wish.job, &wish.plan, trigger).await };
            async move {
                if early {
                    super::detached(async move { drop(accepting.await) });
                    return Ok(());
                }
                accepting.await.map(drop)
            }
        })
        .await
}

/// Asks with the same id for something else, which must be refused.
async fn other_payload(world: &Arc<World>, caller: usize, wish: &Wish, dice: &Dice) {
    let mut other = wish.clone();
    other.plan.tasks.truncate(1);
    other.plan.tasks[0].priority = 7;
    if let Some(Ok(())) = ask(world, (caller, dice.place(CONTROLLERS)), other).await {
        world.laws.broken(format!("I8: {} was accepted with two payloads", wish.id));
    }
}

async fn cancel(world: &Arc<World>, caller: usize, wish: &Wish, dice: &Dice) {
    let run = wish.id;
    for _ in 0..500 {
        let asked = world.call((caller, dice.place(CONTROLLERS)), CALL, move |service| {
            let request = CancelRequest { run, by: Actor("ana".into()), reason: None, force: false };
            async move { service.cancel(request).await }
        });
        match asked.await {
            Some(Ok(Cancelled::Cancelled)) => return world.laws.cancelled(run),
            Some(Ok(Cancelled::Cancelling | Cancelled::AlreadyEnded)) => return,
            Some(Err(_)) | None => tokio::time::sleep(dice.ms(100, 2_000)).await,
        }
    }
}

/// Drains machines now and then, and lets them take work again.
pub(super) async fn operator(world: Arc<World>, dice: Dice, until: Duration) {
    let began = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(dice.ms(5_000, 40_000)).await;
        let over = began.elapsed() > until;
        let drains = dice.hits(300) && !over;
        for index in 0..MACHINES {
            let Some(id) = world.machines[index].inside().id else { continue };
            if drains && !dice.hits(300) {
                continue;
            }
            let asked = world.call((MACHINES, dice.place(CONTROLLERS)), CALL, move |service| async move {
                if drains {
                    return service.drain_executor(id, "to look", &Actor("ana".into())).await;
                }
                service.resume_executor(id).await
            });
            drop(asked.await);
            world.struck.add(if drains { "drains" } else { "resumes" });
        }
    }
}
