use proptest::prelude::*;

use super::*;

/// Offers that one search asks for.
const AT_MOST: usize = 3;

/// A controller that looks only where something is new.
struct Looker {
    bench: Bench,
    polling: BTreeSet<ExecutorId>,
    /// Those that polled since it looked.
    fresh: BTreeSet<ExecutorId>,
    live: Vec<Offer>,
    queued: u64,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Queue { label: usize, in_group: bool },
    End(prop::sample::Index),
    Poll(u8),
    Close(u8),
}

const LABELS: [&str; 4] = ["red", "blue", "green", "nobody"];

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0..LABELS.len(), any::<bool>()).prop_map(|(label, in_group)| Move::Queue { label, in_group }),
        2 => any::<prop::sample::Index>().prop_map(Move::End),
        3 => (0..5_u8).prop_map(Move::Poll),
        1 => (0..5_u8).prop_map(Move::Close),
    ];
    proptest::collection::vec(one, 1..80)
}

impl Looker {
    fn new(limits: Limits) -> Self {
        let executors = (0..5_u8).map(|n| {
            let own = LABELS[usize::from(n) % 3];
            with_slots(2, granted(&[own], executor(n)))
        });
        let bench = Bench::with_limits(limits, executors);
        Self { bench, polling: BTreeSet::new(), fresh: BTreeSet::new(), live: Vec::new(), queued: 0 }
    }

    fn go(&mut self, step: Move) {
        match step {
            Move::Queue { label, in_group } => {
                self.queued += 1;
                let task = asking(&[LABELS[label]], task(self.queued));
                self.bench.queue.insert(if in_group { grouped("one", 1, task) } else { task });
            }
            Move::End(which) if !self.live.is_empty() => {
                let ended = self.live.remove(which.index(self.live.len()));
                self.bench.queue.gone(&ended.task);
                for slot in &ended.slots {
                    self.bench.queue.set_group(&slot.group, GroupRecord::default());
                }
            }
            Move::End(_) => {}
            Move::Poll(n) => {
                self.polling.insert(executor_id(n));
                self.fresh.insert(executor_id(n));
            }
            Move::Close(n) => _ = self.polling.remove(&executor_id(n)),
        }
    }

    /// Looks where something is new, until that is all.
    fn look(&mut self) {
        loop {
            let fresh = std::mem::take(&mut self.fresh);
            let asked: Vec<ExecutorId> = match self.bench.queue.take_news(self.bench.now) {
                News::Everything => self.polling.iter().copied().collect(),
                News::Executors(freed) => self
                    .polling
                    .iter()
                    .filter(|id| freed.contains(*id) || fresh.contains(*id))
                    .copied()
                    .collect(),
            };
            let found = self.search(&asked);
            if found == 0 {
                return;
            }
        }
    }

    fn search(&mut self, asked: &[ExecutorId]) -> usize {
        let view = View { fleet: &self.bench.fleet, peers: &self.bench.peers, now: self.bench.now };
        let offers = self.bench.queue.offers(asked, &view, AT_MOST);
        // An answered poll is not open any more.
        offers.iter().for_each(|offer| _ = self.polling.remove(&offer.executor));
        let found = offers.len();
        self.live.extend(offers);
        found
    }
}

fn law(limits: &Limits, moves: Vec<Move>) {
    let mut looker = Looker::new(limits.clone());
    for step in moves {
        looker.go(step);
        looker.look();
        let all: Vec<ExecutorId> = looker.polling.iter().copied().collect();
        assert_eq!(looker.search(&all), 0, "a look at everything found what the news had not told");
    }
}

proptest! {
    #[test]
    fn who_looks_only_where_something_is_new_misses_nothing(moves in moves()) {
        law(&Limits::default(), moves);
    }

    #[test]
    fn nor_where_a_project_is_limited(moves in moves()) {
        law(&Limits { project: Some(2), ..Limits::default() }, moves);
    }
}

#[test]
fn the_end_of_a_task_is_news_of_its_executor_only_and_a_search_that_was_cut_short_of_everything() {
    let mut bench = Bench::new([with_slots(1, executor(1)), executor(2)]).queued([task(1), task(2), task(3)]);
    assert_eq!(bench.queue.take_news(bench.now), News::Everything);
    assert_eq!(bench.offers(2).len(), 2);
    assert_eq!(bench.queue.take_news(bench.now), News::Everything);
    let last = bench.offers(2);
    assert_eq!(bench.queue.take_news(bench.now), News::Executors(BTreeSet::new()));
    bench.queue.gone(&last[0].task);
    assert_eq!(bench.queue.take_news(bench.now), News::Executors(BTreeSet::from([last[0].executor])));
}

#[test]
fn a_task_that_becomes_due_is_news() {
    let mut bench = Bench::new([executor(1)]);
    bench.queue.insert(QueuedTask { after: Some(seconds(105)), ..task(1) });
    bench.queue.take_news(bench.now);
    assert_eq!(bench.queue.take_news(seconds(104)), News::Executors(BTreeSet::new()));
    assert_eq!(bench.queue.take_news(seconds(105)), News::Everything);
}
