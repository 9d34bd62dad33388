//! What a changed job file leaves of its schedules.

use ocelot_core::schedule::{CatchUp, Overlap};

use super::*;

fn schedule(seed: u64, cron: &str, arguments: &str) -> ScheduleRecord {
    ScheduleRecord {
        seed,
        cron: cron.into(),
        timezone: "UTC".into(),
        arguments: Digest::of(arguments.as_bytes()),
        overlap: Overlap::Skip,
        catch_up: CatchUp::One,
        jitter_ms: 0,
        mark: Mark { until: Moment { unix_ms: seed }, waiting: Vec::new() },
        runs: Vec::new(),
        passed: None,
        paused: None,
        trouble: None,
    }
}

#[test]
fn a_schedule_keeps_what_is_behind_it_wherever_the_new_text_has_it() {
    let known = [schedule(1, "0 1 * * *", "a"), schedule(2, "0 1 * * *", "b"), schedule(3, "0 2 * * *", "")];
    let other_rule = ScheduleRecord { overlap: Overlap::Allow, ..schedule(11, "0 2 * * *", "") };
    let timed = [
        other_rule,
        // Its arguments are new, and the one with the old ones is still there.
        schedule(12, "0 1 * * *", "c"),
        schedule(13, "0 1 * * *", "b"),
        schedule(14, "0 9 * * *", ""),
    ];
    let carried = carried_over(&known, &timed);
    let seeds: Vec<(u64, u64)> =
        carried.iter().map(|schedule| (schedule.seed, schedule.mark.until.unix_ms)).collect();
    assert_eq!(seeds, [(3, 3), (1, 1), (2, 2), (14, 14)]);
    assert_eq!(carried[0].overlap, Overlap::Allow);
    assert_eq!(carried[1].arguments, Digest::of(b"c"));
}
