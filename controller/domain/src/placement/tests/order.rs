use proptest::prelude::*;

use super::*;

#[test]
fn a_higher_priority_goes_first_whatever_its_age() {
    let tasks = [task(1), with_priority(5, task(2)), with_priority(-5, task(0)), with_priority(5, task(3))];
    assert_eq!(Bench::new([executor(1)]).queued(tasks).order(9), [2, 3, 1, 0]);
}

#[test]
fn the_oldest_of_one_owner_goes_first() {
    let tasks = [task(3), task(1), task(2)];
    assert_eq!(Bench::new([executor(1)]).queued(tasks).order(9), [1, 2, 3]);
}

#[test]
fn projects_take_turns_and_inside_a_project_its_owners() {
    let shop = (0..6).map(|n| of_owner(if n < 5 { "ana" } else { "bo" }, task(n)));
    let docs = (6..9).map(|n| of_project("acme/docs", task(n)));
    let mut bench = Bench::new([executor(1)]).queued(shop.chain(docs));
    assert_eq!(bench.order(20), [0, 6, 5, 7, 1, 8, 2, 3, 4]);
}

#[test]
fn a_project_of_twice_the_weight_gets_two_tasks_for_one() {
    let weights = BTreeMap::from([("acme/shop".into(), 2)]);
    let limits = Limits { weights, ..Limits::default() };
    let shop = (0..40).map(task);
    let docs = (40..80).map(|n| of_project("acme/docs", task(n)));
    let mut bench = Bench::with_limits(limits, [executor(1)]).queued(shop.chain(docs));
    let of_shop = bench.order(30).into_iter().filter(|n| *n < 40).count();
    assert_eq!(of_shop, 20);
}

#[test]
fn a_project_saves_up_no_turns_while_nobody_can_take_its_work() {
    let gpu = (0..20).map(|n| of_project("acme/vision", asking(&["gpu"], task(n))));
    let plain = (20..60).map(task);
    let mut bench = Bench::new([executor(1)]).queued(gpu.chain(plain));
    assert_eq!(bench.order(20).len(), 20);
    bench.fleet = fleet([granted(&["gpu"], executor(2))]);
    let of_gpu = bench.order(10).into_iter().filter(|n| *n < 20).count();
    assert_eq!(of_gpu, 5);
}

#[test]
fn what_another_controller_offered_counts_for_the_share() {
    let shop = (0..4).map(task);
    let docs = (4..8).map(|n| of_project("acme/docs", task(n)));
    let mut bench = Bench::new([executor(1)]).queued(shop.chain(docs));
    bench.queue.live(id(0), &"acme/shop".into(), &"ana".into(), executor_id(9));
    assert_eq!(bench.order(3), [4, 1, 5]);
}

#[test]
fn repeating_what_is_known_changes_nothing() {
    let mut bench = Bench::new([executor(1)]).queued([task(1), task(2), of_project("acme/docs", task(3))]);
    bench.queue.insert(task(1));
    bench.queue.gone(&id(77));
    assert_eq!(bench.queue.len(), 3);
    assert_eq!(bench.order(9), [1, 3, 2]);
    assert!(bench.queue.is_empty());
}

#[test]
fn limits_of_projects_and_owners_hold_for_one_controller() {
    let limits = Limits { project: Some(3), owner: Some(2), ..Limits::default() };
    let ana = (0..4).map(task);
    let bo = (4..8).map(|n| of_owner("bo", task(n)));
    let mut bench = Bench::with_limits(limits, [executor(1)]).queued(ana.chain(bo));
    assert_eq!(bench.order(20), [0, 4, 1]);
    bench.queue.gone(&id(0));
    assert_eq!(bench.order(20), [5]);
}

#[test]
fn one_of_several_controllers_waits_to_see_its_offer_before_the_next_of_a_limited_project() {
    let limits = Limits { project: Some(3), ..Limits::default() };
    let mut bench = Bench::with_limits(limits, [executor(1)]).queued((0..4).map(task));
    bench.peers = Peers::new("a", &["a".into(), "b".into()]);
    let first = bench.offers(9);
    assert_eq!(first.len(), 1);
    assert_eq!(bench.offers(9), []);
    bench.queue.live(first[0].task, &"acme/shop".into(), &"ana".into(), executor_id(1));
    assert_eq!(bench.offers(9).len(), 1);
}

#[test]
fn the_hash_gives_each_task_to_one_controller_and_each_controller_its_share() {
    let names: Vec<Arc<str>> = ["a", "b", "c"].map(Into::into).to_vec();
    let peers: Vec<Peers> = names.iter().map(|me| Peers::new(me, &names)).collect();
    let mut shares = [0; 3];
    for n in 0..3000 {
        let owners: Vec<usize> = (0..3).filter(|peer| peers[*peer].is_mine(&id(n))).collect();
        assert_eq!(owners.len(), 1, "task {n}");
        shares[owners[0]] += 1;
    }
    // Written down: another build must answer the same.
    assert_eq!(shares, [987, 1027, 986]);
}

#[test]
fn controllers_share_the_band_out_and_disagree_about_no_task() {
    let names: Vec<Arc<str>> = ["a", "b", "c"].map(Into::into).to_vec();
    let taken = |me: &str| {
        let mut bench = Bench::new([executor(1)]).queued((0..192).map(task));
        bench.peers = Peers::new(me, &names);
        bench.order(40)
    };
    let mut all: Vec<u64> = names.iter().flat_map(|me| taken(me)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 120);
}

#[test]
fn a_task_whose_controller_takes_nothing_is_passed_over_by_at_most_one_band() {
    let names: Vec<Arc<str>> = ["a", "b", "c"].map(Into::into).to_vec();
    let mut benches: Vec<Bench> = Vec::new();
    for me in ["a", "b"] {
        let mut bench = Bench::new([executor(1)]).queued((0..1000).map(task));
        bench.peers = Peers::new(me, &names);
        benches.push(bench);
    }
    let mut order = Vec::new();
    while order.len() < 500 {
        for turn in 0..2 {
            let offer = benches[turn].offers(1).remove(0);
            benches[1 - turn].queue.live(offer.task, &"acme/shop".into(), &"ana".into(), executor_id(1));
            order.push(number(&offer.task));
        }
    }
    for (place, number) in order.iter().enumerate() {
        let before = order[..place].iter().filter(|other| *other > number).count();
        assert!(before <= 3 * BAND, "{before} went before {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Others may come as they like: other projects, other owners, known or new, ever more of them.
    #[test]
    fn a_task_goes_within_the_promised_number_of_offers(
        backlog in proptest::collection::vec((0..5_u8, 0..4_u8), 0..40),
        arrivals in proptest::collection::vec(proptest::collection::vec((0..30_u8, 0..4_u8), 0..4), 1..20),
    ) {
        let named = |n: u64, (project, owner): (u8, u8)| {
            of_owner(&format!("o{owner}"), of_project(&format!("p{project}"), task(n)))
        };
        let victim = named(1000, (0, 0));
        let mut bench = Bench::new([with_slots(u32::MAX, executor(1))]);
        for (n, party) in backlog.iter().enumerate() {
            bench.queue.insert(named(n as u64, *party));
        }
        bench.queue.insert(victim.clone());
        let mut projects: BTreeSet<u8> = backlog.iter().map(|party| party.0).chain([0]).collect();
        let mut owners: BTreeSet<u8> =
            backlog.iter().filter(|party| party.0 == 0).map(|party| party.1).chain([0]).collect();
        for (project, owner) in arrivals.iter().flatten() {
            projects.insert(*project);
            owners.extend((*project == 0).then_some(*owner));
        }
        let own = backlog.iter().filter(|party| **party == (0, 0)).count() + 1;
        let bound = projects.len() * owners.len() * own;
        let mut next = 2000;
        let mut arriving = arrivals.iter().cycle();
        for offered in 1..=bound {
            let offer = bench.offers(1).remove(0);
            if offer.task == victim.id {
                return Ok(());
            }
            prop_assert!(offered < bound, "it waited for {bound} offers");
            for party in arriving.next().into_iter().flatten() {
                bench.queue.insert(named(next, *party));
                next += 1;
            }
        }
    }

    /// While all projects have work, what each got differs by at most one turn, by weight.
    #[test]
    fn shares_follow_the_weights_to_within_a_turn(
        weights in proptest::collection::vec(1..5_u32, 2..6),
        offers in 1..60_usize,
    ) {
        let name = |project: usize| format!("p{project}");
        let by_name = weights.iter().enumerate().map(|(project, weight)| (name(project).into(), *weight));
        let limits = Limits { weights: by_name.collect(), ..Limits::default() };
        let mut bench = Bench::with_limits(limits, [executor(1)]);
        for project in 0..weights.len() {
            for n in 0..offers {
                bench.queue.insert(of_project(&name(project), task((project * 100 + n) as u64)));
            }
        }
        let mut got = vec![0_u32; weights.len()];
        for number in bench.order(offers) {
            got[number as usize / 100] += 1;
        }
        for (a, weight_a) in weights.iter().enumerate() {
            for (b, weight_b) in weights.iter().enumerate() {
                let (turns_a, turns_b) = (f64::from(got[a]) / f64::from(*weight_a), f64::from(got[b]) / f64::from(*weight_b));
                let bound = 1.0 / f64::from(*weight_a) + 1.0 / f64::from(*weight_b);
                prop_assert!((turns_a - turns_b).abs() <= bound + 1e-4, "{got:?} for {weights:?}");
            }
        }
    }
}
