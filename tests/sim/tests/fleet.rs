//! Whole fleets, each from one seed; `ocelot-sim simulate` goes further.

use std::collections::BTreeMap;

use ocelot_sim::fleet::{self, Bug, Planted};
use ocelot_sim::power;

/// What must have struck these worlds at the least, or they prove nothing: about half of what does.
const FLOORS: [(&str, u64); 25] = [
    ("answers lost", 5_000),
    ("clocks set", 450),
    ("compactions", 350),
    ("controllers cut from the store", 400),
    ("controllers killed", 900),
    ("controllers stopped", 450),
    ("controllers' disks lost", 90),
    ("drains", 400),
    ("executes repeated", 7_500),
    ("executors killed", 900),
    ("executors stopped", 800),
    ("leases dropped", 500),
    ("leases renewed by the store", 350),
    ("leases renewed in word only", 120),
    ("machines without power", 400),
    ("machines' disks lost", 350),
    ("messages doubled", 2_000),
    ("networks cut", 800),
    ("networks parted", 800),
    ("offers declined", 6_000),
    ("requests lost", 6_500),
    ("restores", 100),
    ("store answers lost", 650),
    ("store changes late", 650),
    ("store down", 400),
];

#[test]
fn a_thousand_fleets_keep_every_promise() {
    let passed = fleet::run(1_000, 1, &Planted::default())
        .unwrap_or_else(|failed| panic!("{}\nreplay: {}", failed.why, failed.replay()));
    assert_eq!(passed.worlds, 1_000);
    for (fault, floor) in FLOORS {
        let struck = passed.struck.get(fault).copied().unwrap_or(0);
        assert!(struck >= floor, "{fault}: {struck} times, and {floor} are the least that proves anything");
    }
    let counts = &passed.counts;
    assert!(counts.runs > 8_000 && counts.builds > 12_000, "{counts}");
    assert!(counts.retried > 900 && counts.reattached > 230 && counts.taken > 350, "{counts}");
    let ended: BTreeMap<&str, u64> =
        counts.outcomes.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    for (outcome, floor) in [("succeeded", 5_000), ("failed", 600), ("cancelled", 1_000), ("lost", 20)] {
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
        Bug::OfferIgnoresSession,
        Bug::AcknowledgeIgnoresRecord,
        Bug::AcknowledgeBeforeJournal,
        Bug::StartWithoutJournal,
        Bug::LostWithoutWait,
        Bug::CompleteIgnoresLog,
        Bug::CancelLosesToComplete,
        Bug::LogFreesReceived,
        Bug::FencedKeepsContainer,
    ] {
        let planted = Planted { bug: Some(bug), ..Planted::default() };
        assert!(fleet::run(60, 1, &planted).is_err(), "nothing breaks with {}", bug.name());
    }
}

#[test]
fn every_bug_that_can_be_planted_is_looked_for() {
    assert_eq!(power::untrue().unwrap(), Vec::<String>::new());
}
