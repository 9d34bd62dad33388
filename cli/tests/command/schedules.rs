//! `ocelot schedule`: what a person sees, and what is sent.

use ocelot_proto::wire;
use ocelot_proto::wire::schedule::{Moment, Passed, Paused, ScheduledRun};
use tonic::{Code, Status};

use crate::fleet::{Fleet, MINUTE, Script, ago, run, succeeded};

const HOUR_US: i64 = 3_600_000_000;

/// A moment so many and a half hours from now.
fn moment(hours: i64, local: &str) -> Moment {
    Moment { unix_us: ago(MINUTE) + hours * HOUR_US + HOUR_US / 2, local: local.into() }
}

pub(crate) fn schedules() -> Vec<wire::Schedule> {
    let by_clock = wire::Trigger {
        kind: wire::trigger::Kind::Schedule.into(),
        by: "restore-check/1".into(),
        schedule: "restore-check/1".into(),
    };
    let by_hand = wire::Trigger { by: "ada".into(), ..by_clock.clone() };
    let of = |number, trigger, moment| ScheduledRun {
        run: Some(wire::RunSummary {
            of: Some(wire::run_summary::Of::Job("restore-check".into())),
            trigger: Some(trigger),
            ..run(number, Some(succeeded()))
        }),
        moment,
    };
    let nightly = wire::Schedule {
        name: "restore-check/1".into(),
        job: "restore-check".into(),
        cron: "30 3 * * *".into(),
        timezone: "Europe/Berlin".into(),
        arguments: [("DB".to_owned(), "orders".to_owned())].into(),
        overlap: wire::schedule::Overlap::Skip.into(),
        catch_up: wire::schedule::CatchUp::One.into(),
        jitter_ms: 600_000,
        next: ["22", "23", "24", "25", "26"]
            .iter()
            .zip(0..)
            .map(|(day, days)| moment(3 + 24 * days, &format!("2026-11-{day} 03:30:00 CET")))
            .collect(),
        waiting: Vec::new(),
        runs: vec![of(3, by_hand, None), of(2, by_clock, Some(moment(-21, "2026-11-21 03:30:00 CET")))],
        passed: Some(Passed {
            moment: Some(moment(-45, "2026-11-20 03:30:00 CET")),
            why: wire::schedule::passed::Why::GoesOn.into(),
        }),
        paused: None,
        trouble: String::new(),
    };
    let paused = wire::Schedule {
        name: "restore-check/2".into(),
        cron: "*/20 1-2 * * sun".into(),
        timezone: "UTC".into(),
        arguments: std::collections::HashMap::new(),
        overlap: wire::schedule::Overlap::Queue.into(),
        catch_up: wire::schedule::CatchUp::All.into(),
        jitter_ms: 0,
        next: vec![moment(50, "2026-11-22 01:00:00 UTC")],
        runs: Vec::new(),
        passed: None,
        paused: Some(Paused { by: "bea\u{1b}[2J".into(), at_unix_us: ago(MINUTE * 130) }),
        ..nightly.clone()
    };
    let troubled = wire::Schedule {
        name: "sweep/1".into(),
        job: "sweep".into(),
        paused: None,
        trouble: "the argument `DIR` is missing\nsee the file".into(),
        ..paused.clone()
    };
    vec![nightly, paused, troubled]
}

pub(crate) fn fleet() -> Fleet {
    Fleet::start(Script { schedules: schedules(), ..Script::default() })
}

#[test]
fn a_list_tells_what_comes_next_and_what_is_wrong() {
    let fleet = fleet();
    insta::assert_snapshot!("schedule_list", fleet.transcript(&["schedule", "list"]));
    insta::assert_snapshot!(
        "schedule_list_names",
        fleet.transcript(&["schedules", "ls", "sweep", "--names"])
    );
    insta::assert_snapshot!("schedule_list_none", fleet.transcript(&["schedule", "list", "hello"]));
    let empty = Fleet::start(Script::default());
    insta::assert_snapshot!("schedule_list_empty", empty.transcript(&["schedule", "list"]));
}

#[test]
fn a_description_has_the_next_five_moments_in_its_zone_and_in_utc() {
    let fleet = fleet();
    insta::assert_snapshot!(
        "schedule_describe",
        fleet.transcript(&["schedule", "describe", "restore-check/1"])
    );
    insta::assert_snapshot!(
        "schedule_describe_paused",
        fleet.transcript(&["schedule", "describe", "restore-check/2"])
    );
    insta::assert_snapshot!("schedule_describe_none", fleet.transcript(&["schedule", "describe", "other"]));
}

#[test]
fn a_schedule_is_paused_and_goes_on() {
    let fleet = fleet();
    insta::assert_snapshot!("schedule_pause", fleet.transcript(&["schedule", "pause", "restore-check/1"]));
    assert!(fleet.script().schedules[0].paused.is_some());
    insta::assert_snapshot!("schedule_resume", fleet.transcript(&["schedule", "resume", "restore-check/1"]));
    assert!(fleet.script().schedules[0].paused.is_none());
}

#[test]
fn a_run_by_hand_is_asked_for_under_one_id_however_often_the_answer_is_lost() {
    let fleet = fleet();
    let lost = Status::new(Code::Unavailable, "the controller is leaving");
    fleet.script().refusals.insert("run_schedule", [lost].into());
    insta::assert_snapshot!("schedule_run", fleet.transcript(&["schedule", "run", "restore-check/1"]));
    let asked = fleet.script().schedule_runs.clone();
    assert_eq!((asked.len(), asked[0].name.as_str(), asked[0].id.len()), (1, "restore-check/1", 16));
    insta::assert_snapshot!("schedule_run_none", fleet.transcript(&["schedule", "run", "restore-check/9"]));
}
