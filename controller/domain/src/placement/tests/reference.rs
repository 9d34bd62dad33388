//! The obvious queue: a list, searched whole for every offer. The index must do what it does.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::placement::refusal::{lasting, passing, personal};

const COST: u64 = 1 << 20;

/// Tickets of a round robin: who has work holds one.
#[derive(Default)]
struct Tickets {
    clock: u64,
    stamps: u64,
    held: BTreeMap<Arc<str>, (u64, u64)>,
}

impl Tickets {
    fn admit(&mut self, name: &Arc<str>, weight: u32) {
        if !self.held.contains_key(name) {
            self.renew(name, weight);
        }
    }

    fn serve(&mut self, name: &Arc<str>, weight: u32) {
        self.clock = self.clock.max(self.held[name].0);
        self.renew(name, weight);
    }

    fn renew(&mut self, name: &Arc<str>, weight: u32) {
        self.stamps += 1;
        self.held.insert(Arc::clone(name), (self.clock + COST / u64::from(weight), self.stamps));
    }
}

#[derive(Default)]
struct Plain {
    limits: Limits,
    tasks: Vec<QueuedTask>,
    live: Vec<(QueuedTask, ExecutorId)>,
    held: BTreeMap<GroupName, BTreeSet<Holder>>,
    projects: BTreeMap<i8, Tickets>,
    owners: BTreeMap<(i8, Arc<str>), Tickets>,
    /// How far it has let tasks come due.
    now: Duration,
}

impl Plain {
    fn weight(&self, project: &Arc<str>) -> u32 {
        self.limits.weights.get(project).copied().unwrap_or(1)
    }

    /// A task is admitted to a group if every older member that does not hold a slot fits before it.
    fn is_admitted(&self, task: &QueuedTask) -> bool {
        task.groups.iter().all(|claim| {
            let none = BTreeSet::new();
            let held = self.held.get(&claim.group).unwrap_or(&none);
            let mut line: Vec<(u64, Holder, u32)> = Vec::new();
            for other in &self.tasks {
                for theirs in other.groups.iter().filter(|theirs| theirs.group == claim.group) {
                    line.push((other.accepted, theirs.holder, theirs.limit));
                }
            }
            line.sort_unstable();
            line.dedup_by_key(|(_, holder, _)| *holder);
            line.retain(|(_, holder, _)| !held.contains(holder));
            let fits =
                |(place, (_, _, limit)): (usize, &(u64, Holder, u32))| held.len() + place < *limit as usize;
            let place = line.iter().position(|(_, holder, _)| *holder == claim.holder);
            place.is_none_or(|place| line[..=place].iter().enumerate().all(fits))
        })
    }

    fn is_ready(&self, task: &QueuedTask) -> bool {
        task.after.is_none_or(|after| after <= self.now) && self.is_admitted(task)
    }

    /// Who has no ready work gives the ticket back, who has and holds none gets one, oldest work first.
    fn settle(&mut self) {
        let mut ready: Vec<QueuedTask> =
            self.tasks.iter().filter(|task| self.is_ready(task)).cloned().collect();
        ready.sort_by_key(|task| (task.accepted, task.id));
        let projects: BTreeSet<_> = ready.iter().map(|task| (task.priority, &task.project)).collect();
        let owners: BTreeSet<_> =
            ready.iter().map(|task| (task.priority, &task.project, &task.owner)).collect();
        self.projects.retain(|priority, tickets| {
            tickets.held.retain(|project, _| projects.contains(&(*priority, project)));
            !tickets.held.is_empty()
        });
        self.owners.retain(|(priority, project), tickets| {
            tickets.held.retain(|owner, _| owners.contains(&(*priority, project, owner)));
            !tickets.held.is_empty()
        });
        for task in &ready {
            let weight = self.weight(&task.project);
            self.projects.entry(task.priority).or_default().admit(&task.project, weight);
            let of_project = self.owners.entry((task.priority, Arc::clone(&task.project))).or_default();
            of_project.admit(&task.owner, 1);
        }
    }

    fn insert(&mut self, task: QueuedTask) {
        if !self.tasks.contains(&task) {
            self.gone(&task.id);
            self.tasks.push(task);
            self.settle();
        }
    }

    fn gone(&mut self, id: &TaskId) {
        self.tasks.retain(|task| task.id != *id);
        self.live.retain(|(task, _)| task.id != *id);
        self.settle();
    }

    fn set_group(&mut self, group: &GroupName, record: GroupRecord) {
        self.held.insert(group.clone(), record.holders);
        self.settle();
    }

    fn count(&self, counts: impl Fn(&(QueuedTask, ExecutorId)) -> bool) -> u32 {
        self.live.iter().filter(|live| counts(live)).count() as u32
    }

    fn is_open(&self, task: &QueuedTask) -> bool {
        let project = self.limits.of_project(&task.project);
        let owner = self.limits.of_owner(&task.owner);
        project.is_none_or(|limit| self.count(|(live, _)| live.project == task.project) < limit)
            && owner.is_none_or(|limit| self.count(|(live, _)| live.owner == task.owner) < limit)
    }

    fn offer(
        &mut self,
        polling: &[ExecutorId],
        fleet: &Fleet,
        now: Duration,
    ) -> Option<(TaskId, ExecutorId)> {
        self.now = self.now.max(now);
        self.settle();
        let willing = |task: &QueuedTask, executor: &Executor| {
            let live = self.count(|(_, on)| *on == executor.id);
            lasting(&task.demand, executor).next().is_none()
                && passing(executor, live, &self.limits).next().is_none()
                && personal(task, executor, fleet, now).next().is_none()
        };
        let takers = |task: &QueuedTask| -> Vec<&Executor> {
            polling.iter().filter_map(|id| fleet.get(id)).filter(|executor| willing(task, executor)).collect()
        };
        let candidates = self.tasks.iter().filter(|task| self.is_ready(task) && self.is_open(task));
        let placeable = candidates.filter(|task| !takers(task).is_empty());
        let task = placeable.min_by_key(|task| {
            let project = self.projects[&task.priority].held[&task.project];
            let owner = self.owners[&(task.priority, Arc::clone(&task.project))].held[&task.owner];
            (Reverse(task.priority), project, owner, task.accepted, task.id)
        })?;
        let task = task.clone();
        let load = |executor: &&Executor| {
            let live = self.count(|(_, on)| *on == executor.id);
            let failed = task.avoid.iter().any(|avoid| avoid.executor == executor.id);
            (failed, u64::from(live) * 1000 / u64::from(executor.slots), executor.id)
        };
        let executor = takers(&task).into_iter().min_by_key(load)?.id;
        let weight = self.weight(&task.project);
        self.projects.get_mut(&task.priority)?.serve(&task.project, weight);
        self.owners.get_mut(&(task.priority, Arc::clone(&task.project)))?.serve(&task.owner, 1);
        for claim in &task.groups {
            self.held.entry(claim.group.clone()).or_default().insert(claim.holder);
        }
        self.gone(&task.id);
        self.live.push((task.clone(), executor));
        Some((task.id, executor))
    }
}

#[derive(Debug, Clone)]
enum Move {
    Insert(Box<QueuedTask>),
    Gone(u64),
    Release(u64),
    Pass(u64),
    Offers(Vec<u8>, usize),
}

fn tasks() -> impl Strategy<Value = QueuedTask> {
    let asks = prop_oneof![
        3 => Just(vec![]),
        1 => Just(vec!["gpu"]),
        1 => Just(vec!["arm"]),
        1 => Just(vec!["arm", "gpu"]),
    ];
    let party = (0..3_u8, 0..3_u8);
    let after = proptest::option::weighted(0.2, 100..120_u64);
    let groups = proptest::collection::btree_set(0..2_u8, 0..2);
    let avoid = proptest::option::weighted(0.3, (1..4_u8, any::<bool>(), 100..120_u64));
    (0..25_u64, asks, party, -1..2_i8, after, groups, avoid).prop_map(
        |(n, asks, (project, owner), priority, after, groups, avoid)| {
            let task =
                of_owner(&format!("o{owner}"), of_project(&format!("p{project}"), asking(&asks, task(n))));
            let claim = |group| slot(&format!("/g{group}"), 1 + u32::from(group), Holder::Task(task.id));
            let avoid = avoid.map(|(executor, declined, until)| Avoid {
                executor: executor_id(executor),
                why: if declined { AvoidWhy::Declined } else { AvoidWhy::Failed },
                until: seconds(until),
            });
            QueuedTask {
                groups: groups.into_iter().map(claim).collect(),
                avoid: avoid.into_iter().collect(),
                after: after.map(seconds),
                priority,
                ..task
            }
        },
    )
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => tasks().prop_map(|task| Move::Insert(Box::new(task))),
        2 => (0..25_u64).prop_map(Move::Gone),
        2 => (0..25_u64).prop_map(Move::Release),
        1 => (1..6_u64).prop_map(Move::Pass),
        5 => (proptest::collection::vec(1..5_u8, 1..4), 1..4_usize)
            .prop_map(|(polling, at_most)| Move::Offers(polling, at_most)),
    ];
    proptest::collection::vec(one, 1..60)
}

fn small_fleet() -> Fleet {
    fleet([
        with_slots(2, executor(1)),
        with_slots(3, granted(&["gpu", "arm"], executor(2))),
        with_slots(2, granted(&["!gpu"], executor(3))),
        hindered(Obstacle::Draining, executor(4)),
    ])
}

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || proptest::option::of(1..4_u32);
    (limit(), limit(), limit(), 1..4_u32).prop_map(|(project, owner, executor, weight)| Limits {
        project,
        owner,
        executor,
        weights: BTreeMap::from([("p1".into(), weight)]),
        ..Limits::default()
    })
}

type Offered = Vec<(TaskId, ExecutorId)>;

/// One controller and the obvious queue, told the same.
struct Pair {
    bench: Bench,
    plain: Plain,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let bench = Bench::with_limits(limits.clone(), small_fleet().into_values());
        Self { bench, plain: Plain { limits, ..Plain::default() } }
    }

    fn tell(&mut self, step: Move) -> (Offered, Offered) {
        match step {
            Move::Insert(task) => {
                self.bench.queue.insert((*task).clone());
                self.plain.insert(*task);
            }
            Move::Gone(n) => {
                self.bench.queue.gone(&id(n));
                self.plain.gone(&id(n));
            }
            Move::Release(n) => {
                for group in ["/g0", "/g1"] {
                    let group = GroupName::new(&"".into(), group);
                    let mut holders = self.plain.held.get(&group).cloned().unwrap_or_default();
                    holders.remove(&Holder::Task(id(n)));
                    self.bench.queue.set_group(&group, GroupRecord { holders: holders.clone() });
                    self.plain.set_group(&group, GroupRecord { holders });
                }
            }
            Move::Pass(n) => self.bench.now += seconds(n),
            Move::Offers(polling, at_most) => {
                let polling: Vec<_> = polling.into_iter().map(executor_id).collect();
                let Bench { queue, fleet, peers, now } = &mut self.bench;
                let view = View { fleet, peers, now: *now };
                let offers = queue.offers(&polling, &view, at_most);
                let found = offers.into_iter().map(|offer| (offer.task, offer.executor)).collect();
                let plain = (0..at_most).map_while(|_| self.plain.offer(&polling, fleet, *now)).collect();
                return (found, plain);
            }
        }
        Default::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn the_index_offers_what_the_obvious_queue_offers(limits in limits(), moves in moves()) {
        let mut pair = Pair::new(limits);
        for step in moves {
            let (found, expected) = pair.tell(step);
            prop_assert_eq!(found, expected);
        }
    }

    /// A task that is first of all is offered to an executor alone exactly if nothing refuses.
    #[test]
    fn an_executor_gets_a_task_exactly_if_nothing_is_said_against_it(
        limits in limits(),
        moves in moves(),
        which: prop::sample::Index,
        n in 1..5_u8,
    ) {
        let mut pair = Pair::new(limits);
        for step in moves {
            pair.tell(step);
        }
        if pair.plain.tasks.is_empty() {
            return Ok(());
        }
        let first = QueuedTask { priority: 100, ..pair.plain.tasks[which.index(pair.plain.tasks.len())].clone() };
        pair.tell(Move::Insert(Box::new(first.clone())));
        let explanation = pair.bench.explain(&first);
        let verdict = &explanation.verdicts[usize::from(n) - 1];
        let nothing = explanation.holds.is_empty() && verdict.refusals.is_empty();
        let (found, _) = pair.tell(Move::Offers(vec![n], 1));
        let got = found == [(first.id, executor_id(n))];
        prop_assert_eq!(got, nothing, "{:?} {:?}", explanation.holds, verdict);
    }
}

proptest! {
    // What they show follows from the properties above; they need fewer cases to say it outright.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_records_in_the_same_order_give_the_same_offers(limits in limits(), moves in moves()) {
        let run = || {
            let mut pair = Pair::new(limits.clone());
            moves.iter().map(|step| pair.tell(step.clone()).0).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_lower_priority_never_goes_before_a_higher_one_that_fits(limits in limits(), moves in moves()) {
        let mut pair = Pair::new(limits);
        for step in moves {
            pair.tell(step);
        }
        let priorities: BTreeMap<TaskId, i8> =
            pair.plain.tasks.iter().map(|task| (task.id, task.priority)).collect();
        let without: Vec<(i8, bool)> = pair.plain.tasks.iter().map(|task| {
            let explanation = pair.bench.explain(task);
            let fits = |verdict: &Verdict| verdict.executor == executor_id(2) && verdict.refusals.is_empty();
            (task.priority, explanation.holds.is_empty() && explanation.verdicts.iter().any(fits))
        }).collect();
        let highest = without.iter().filter(|(_, fits)| *fits).map(|(priority, _)| *priority).max();
        let (found, _) = pair.tell(Move::Offers(vec![2], 1));
        prop_assert_eq!(found.first().map(|(task, _)| priorities[task]), highest);
    }
}
