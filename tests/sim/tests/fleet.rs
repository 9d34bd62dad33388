//! Whole fleets, each from one seed; `ocelot-sim simulate` goes further.

use std::collections::BTreeMap;

use ocelot_sim::fleet::{self, Bug, Planted};

/// What must have struck these worlds at the least, or they prove nothing.
const FLOORS: [(&str, u64); 20] = [
    ("answers lost", 900),
    ("clocks set", 120),
    ("compactions", 90),
    ("controllers cut from the store", 100),
    ("controllers killed", 220),
    ("controllers stopped", 110),
    ("controllers' disks lost", 25),
    ("drains", 100),
    ("executes repeated", 1200),
    ("executors killed", 220),
    ("executors stopped", 200),
    ("leases dropped", 250),
    ("leases renewed by the store", 90),
    ("machines without power", 100),
    ("messages doubled", 400),
    ("networks cut", 200),
    ("requests lost", 1500),
    ("store answers lost", 150),
    ("store changes late", 140),
    ("store down", 100),
];

#[test]
fn two_hundred_fleets_keep_every_promise() {
    let passed = fleet::run(200, 1, &Planted::default())
        .unwrap_or_else(|failed| panic!("{}\nreplay: {}", failed.why, failed.replay()));
    assert_eq!(passed.worlds, 200);
    for (fault, floor) in FLOORS {
        let struck = passed.struck.get(fault).copied().unwrap_or(0);
        assert!(struck >= floor, "{fault}: {struck} times, and {floor} are the least that proves anything");
    }
    let counts = &passed.counts;
    assert!(counts.runs > 1_500 && counts.builds > 2_500, "{counts}");
    assert!(counts.retried > 150 && counts.reattached > 70 && counts.taken > 60, "{counts}");
    let ended: BTreeMap<&str, u64> =
        counts.outcomes.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    for (outcome, floor) in [("succeeded", 1_000), ("failed", 100), ("cancelled", 180), ("lost", 5)] {
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

/// Bugs that a few worlds find; `ocelot-sim power` has them all.
#[test]
fn planted_bugs_are_found() {
    for bug in [
        Bug::ExecuteAnswersBeforeCommit,
        Bug::AcknowledgeBeforeJournal,
        Bug::StartWithoutJournal,
        Bug::LostWithoutWait,
        Bug::CancelLosesToComplete,
    ] {
        let planted = Planted { bug: Some(bug), ..Planted::default() };
        assert!(fleet::run(20, 1, &planted).is_err(), "nothing breaks with {}", bug.name());
    }
}
