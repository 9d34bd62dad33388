//! Whole fleets, each from one seed; `ocelot-sim simulate` goes further.

use std::collections::BTreeMap;

use ocelot_sim::fleet::{self, Bug, Planted};
use ocelot_sim::power;

/// What must have struck these worlds at the least, or they prove nothing: about half of what does.
const FLOORS: [(&str, u64); 22] = [
    ("answers lost", 500),
    ("clocks set", 60),
    ("compactions", 45),
    ("controllers cut from the store", 55),
    ("controllers killed", 110),
    ("controllers stopped", 55),
    ("controllers' disks lost", 12),
    ("drains", 50),
    ("executes repeated", 750),
    ("executors killed", 110),
    ("executors stopped", 100),
    ("leases dropped", 60),
    ("leases renewed by the store", 45),
    ("leases renewed in word only", 12),
    ("machines without power", 50),
    ("messages doubled", 230),
    ("networks cut", 100),
    ("offers declined", 700),
    ("requests lost", 750),
    ("store answers lost", 75),
    ("store changes late", 75),
    ("store down", 50),
];

#[test]
fn a_hundred_fleets_keep_every_promise() {
    let passed = fleet::run(100, 1, &Planted::default())
        .unwrap_or_else(|failed| panic!("{}\nreplay: {}", failed.why, failed.replay()));
    assert_eq!(passed.worlds, 100);
    for (fault, floor) in FLOORS {
        let struck = passed.struck.get(fault).copied().unwrap_or(0);
        assert!(struck >= floor, "{fault}: {struck} times, and {floor} are the least that proves anything");
    }
    let counts = &passed.counts;
    assert!(counts.runs > 800 && counts.builds > 1_300, "{counts}");
    assert!(counts.retried > 90 && counts.reattached > 40 && counts.taken > 35, "{counts}");
    let ended: BTreeMap<&str, u64> =
        counts.outcomes.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    for (outcome, floor) in [("succeeded", 500), ("failed", 60), ("cancelled", 100), ("lost", 2)] {
        assert!(ended.get(outcome).is_some_and(|count| *count >= floor), "{outcome}: {counts}");
    }
    println!("{} worlds from seed 1; {counts}; {:?}", passed.worlds, passed.struck);
}

#[test]
fn a_seed_replays_its_fleet_to_the_byte() {
    for seed in [2, 5, 77] {
        let first = fleet::world(seed, &Planted::default(), true);
        let again = fleet::world(seed, &Planted::default(), true);
        assert_eq!(first, again, "seed {seed}");
        assert!(first.history.len() > 50, "its history can be read");
    }
    let digests = [3, 4].map(|seed| fleet::world(seed, &Planted::default(), false).digest);
    assert_ne!(digests[0], digests[1]);
}

/// Each bug that can be planted, and few worlds are needed; `ocelot-sim power` says how many.
#[test]
fn planted_bugs_are_found() {
    for bug in Bug::ALL {
        let planted = Planted { bug: Some(bug), ..Planted::default() };
        assert!(fleet::run(200, 1, &planted).is_err(), "nothing breaks with {}", bug.name());
    }
}

#[test]
fn every_bug_that_can_be_planted_is_looked_for() {
    assert_eq!(power::untrue().unwrap(), Vec::<String>::new());
}
