use proptest::prelude::*;

use super::*;

/// What the store holds of twelve tasks, one group and who ended.
#[derive(Default)]
struct Store {
    record: GroupRecord,
    /// Of the group's record.
    revision: u64,
    live: BTreeSet<TaskId>,
    done: BTreeSet<TaskId>,
}

/// A controller, and the revision of the group's record that it saw last.
struct Racer {
    bench: Bench,
    seen: u64,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    /// A controller offers on what it last saw.
    Offer(usize),
    /// A controller sees the store as it is now.
    Look(usize),
    End(prop::sample::Index),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0..3_usize).prop_map(Move::Offer),
        2 => (0..3_usize).prop_map(Move::Look),
        2 => any::<prop::sample::Index>().prop_map(Move::End),
    ];
    proptest::collection::vec(one, 1..120)
}

impl Store {
    /// The transaction of an offer: compare the task and the group as the controller saw them, then put.
    fn commit(&mut self, racer: &mut Racer, offer: &Offer) {
        let is_queued = !self.live.contains(&offer.task) && !self.done.contains(&offer.task);
        let Some(claim) = offer.slots.first() else {
            if is_queued {
                self.live.insert(offer.task);
            }
            return;
        };
        if is_queued && racer.seen == self.revision {
            self.record = self.record.take(claim).expect("the view was current");
            self.live.insert(offer.task);
            self.revision += 1;
            racer.seen = self.revision;
        }
    }

    fn end(&mut self, which: prop::sample::Index) {
        let live: Vec<TaskId> = self.live.iter().copied().collect();
        if !live.is_empty() {
            let ended = live[which.index(live.len())];
            self.live.remove(&ended);
            self.done.insert(ended);
            self.record = self.record.release(&Holder::Task(ended));
            self.revision += 1;
        }
    }

    fn show(&self, racer: &mut Racer, tasks: &[QueuedTask]) {
        let queue = &mut racer.bench.queue;
        for task in tasks {
            match (self.live.contains(&task.id), self.done.contains(&task.id)) {
                (true, _) => queue.live(task.id, &task.project, &task.owner, executor_id(1)),
                (false, true) => drop(queue.gone(&task.id)),
                (false, false) => queue.insert(task.clone()),
            }
        }
        for claim in tasks.iter().flat_map(|task| &task.groups) {
            queue.set_group(&claim.group, self.record.clone());
        }
        racer.seen = self.revision;
    }
}

/// Lets three controllers race over the tasks, and returns the most that were live at a time.
fn race(limits: &Limits, tasks: &[QueuedTask], moves: Vec<Move>) -> usize {
    let names: Vec<Arc<str>> = ["a", "b", "c"].map(Into::into).to_vec();
    let racer = |me: &Arc<str>| {
        let bench = Bench::with_limits(limits.clone(), [executor(1)]).queued(tasks.iter().cloned());
        Racer { bench: Bench { peers: Peers::new(me, &names), ..bench }, seen: 0 }
    };
    let mut racers: Vec<Racer> = names.iter().map(racer).collect();
    let mut store = Store::default();
    let mut most = 0;
    for step in moves {
        match step {
            Move::Offer(controller) => {
                for offer in racers[controller].bench.offers(9) {
                    store.commit(&mut racers[controller], &offer);
                }
            }
            Move::Look(controller) => store.show(&mut racers[controller], tasks),
            Move::End(which) => store.end(which),
        }
        most = most.max(store.live.len());
    }
    most
}

#[test]
fn controllers_that_see_each_other_fill_a_limit() {
    let tasks: Vec<_> = (0..12).map(task).collect();
    let limits = Limits { project: Some(5), ..Limits::default() };
    let round = [Move::Offer(0), Move::Look(0), Move::Look(1), Move::Look(2)];
    assert_eq!(race(&limits, &tasks, round.repeat(9)), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn controllers_that_race_never_exceed_a_groups_limit(limit in 1..4_u32, moves in moves()) {
        let tasks: Vec<_> = (0..12).map(|n| grouped("production", limit, task(n))).collect();
        prop_assert!(race(&Limits::default(), &tasks, moves) <= limit as usize);
    }

    #[test]
    fn controllers_that_race_exceed_a_soft_limit_by_at_most_one_each(limit in 1..6_u32, moves in moves()) {
        let tasks: Vec<_> = (0..12).map(task).collect();
        let limits = Limits { project: Some(limit), ..Limits::default() };
        prop_assert!(race(&limits, &tasks, moves) < limit as usize + 3);
    }
}
