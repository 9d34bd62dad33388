//! Schedules, under controllers whose clocks jump and that die between two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ocelot_core::schedule::{CatchUp, Overlap};
use ocelot_domain::outcome::Actor;
use ocelot_domain::schedule::{Due, Mark, Moment, Passed, Rule, Times, due, offset};

use super::world::*;
use crate::reconcile::schedules::once;
use crate::records::{Digest, RunRecord, ScheduleRecord, SchedulesRecord, TriggerKind};
use crate::service::Error;
use crate::store::codec::{decode, encode};
use crate::store::keys::{Folder, Key};
use crate::store::{Store, Txn};
use crate::timetable::Timetable;

/// The clock of these tests begins at 2027-01-15 08:00 UTC.
const HOURLY: &str = "name: hourly\nimage: alpine\ncommand: [make]\n\
                      schedule: [{cron: \"0 * * * *\", overlap: OVERLAP, catch_up: CATCH_UP}]\n";

fn hourly(overlap: &str, catch_up: &str) -> String {
    HOURLY.replace("OVERLAP", overlap).replace("CATCH_UP", catch_up)
}

fn ana() -> Actor {
    Actor("ana".into())
}

/// Every run there is, in the order of acceptance.
async fn made(world: &World) -> Vec<RunRecord> {
    let items = page(world, &Folder::Runs.to_string()).await.items;
    let mut runs: Vec<RunRecord> = items.iter().map(|item| decode(&item.value).unwrap()).collect();
    runs.sort_by_key(|run| run.number);
    runs
}

async fn record(world: &World) -> SchedulesRecord {
    let items = page(world, &Folder::Schedules.to_string()).await.items;
    decode(&items.first().expect("it is there").value).unwrap()
}

async fn finish(controller: &Controller, executor: &mut Executor) {
    let attempt = executor.take(controller).await;
    executor.succeed(controller, attempt).await;
    controller.ended(attempt.task.run).await;
}

#[tokio::test]
async fn a_moment_makes_one_run_however_many_controllers_look() {
    let world = World::new();
    let (one, two) = (world.controller("one").await, world.controller("two").await);
    one.put_job(&hourly("allow", "one")).await;
    one.settle().await;
    two.settle().await;
    once(&one.service).await.unwrap();
    assert_eq!(made(&world).await.len(), 0);
    world.clock.jump(3600);
    let (first, second) = tokio::join!(once(&one.service), once(&two.service));
    first.unwrap();
    second.unwrap();
    let runs = made(&world).await;
    assert_eq!(runs.len(), 1);
    let trigger = &runs[0].trigger;
    assert_eq!((trigger.kind, trigger.by.0.as_str()), (TriggerKind::Schedule, "hourly/1"));
    assert_eq!(trigger.schedule.as_deref(), Some("hourly/1"));
    // Neither by looking again, nor when the clock goes back and comes by once more.
    for jump in [0, -1800, -86_400, 86_400 + 1800] {
        world.clock.jump(jump);
        once(&one.service).await.unwrap();
        once(&two.service).await.unwrap();
    }
    assert_eq!(made(&world).await.len(), 1);
    let seen = two.service.schedule("hourly").await.unwrap();
    assert_eq!(seen.shown(seen.next[0]), "2027-01-15 10:00:00 UTC");
}

#[tokio::test]
async fn a_controller_that_dies_between_run_and_record_fires_nothing_twice() {
    let world = World::new();
    let (one, two) = (world.controller("one").await, world.controller("two").await);
    one.put_job(&hourly("skip", "none")).await;
    one.settle().await;
    world.clock.jump(3600);
    let before = record(&world).await;
    two.settle().await;
    once(&one.service).await.unwrap();
    // As it is when the first has died before the record moved on.
    let key = Key::Schedule("hourly".into()).to_string();
    let back = async || {
        world.embedded.commit(Txn::new().put(key.as_str(), encode(&before, None))).await.unwrap();
        two.settle().await;
    };
    back().await;
    once(&two.service).await.unwrap();
    assert_eq!(made(&world).await.len(), 1);
    assert_eq!(record(&world).await.schedules[0].runs.len(), 1);
    // Nor much later, when the moment would be passed: its run goes on, and so the next is skipped.
    back().await;
    world.clock.jump(3600);
    once(&two.service).await.unwrap();
    assert_eq!(made(&world).await.len(), 1);
    let schedule = record(&world).await.schedules.remove(0);
    assert_eq!(schedule.runs.len(), 1);
    assert_eq!(schedule.passed.map(|passed| passed.why), Some(Passed::GoesOn));
}

#[tokio::test]
async fn what_waits_for_the_last_run_begins_when_it_has_ended() {
    let world = World::new();
    let controller = world.controller("one").await;
    let mut executor = Executor::ready(&controller, "box", 1).await;
    controller.put_job(&hourly("queue", "one")).await;
    controller.settle().await;
    for _ in 0..3 {
        world.clock.jump(3600);
        once(&controller.service).await.unwrap();
        controller.settle().await;
    }
    assert_eq!((made(&world).await.len(), record(&world).await.schedules[0].mark.waiting.len()), (1, 2));
    for runs in [2, 3, 3] {
        finish(&controller, &mut executor).await;
        controller.settle().await;
        once(&controller.service).await.unwrap();
        assert_eq!(made(&world).await.len(), runs);
    }
}

#[tokio::test]
async fn a_paused_schedule_rests_and_can_be_run_by_hand() {
    let world = World::new();
    let controller = world.controller("one").await;
    controller.put_job(&hourly("allow", "all")).await;
    controller.settle().await;
    let paused = controller.service.pause_schedule("hourly/1", &ana()).await.unwrap();
    assert_eq!(paused.schedule.paused.map(|paused| paused.by), Some(ana()));
    world.clock.jump(7200);
    once(&controller.service).await.unwrap();
    assert_eq!(made(&world).await.len(), 0);
    let executed = controller.service.run_schedule("hourly", run_id(9), &ana()).await.unwrap();
    assert_eq!((executed.run.trigger.by.0.as_str(), executed.existed), ("ana", false));
    assert_eq!(executed.run.trigger.schedule.as_deref(), Some("hourly/1"));
    assert!(controller.service.run_schedule("hourly", run_id(9), &ana()).await.unwrap().existed);
    assert_eq!(record(&world).await.schedules[0].runs.len(), 1);
    // What came meanwhile is not made up for.
    let resumed = controller.service.resume_schedule("hourly", &ana()).await.unwrap();
    assert!(resumed.schedule.paused.is_none());
    once(&controller.service).await.unwrap();
    assert_eq!(made(&world).await.len(), 1);
    world.clock.jump(3600);
    once(&controller.service).await.unwrap();
    assert_eq!(made(&world).await.len(), 2);
    let error = controller.service.schedule("hourly/2").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no schedule \"hourly/2\"");
}

#[tokio::test]
async fn schedules_change_and_go_with_their_job_in_one_transaction() {
    let world = World::new();
    let controller = world.controller("one").await;
    controller.put_job(&hourly("allow", "one")).await;
    let together = async || {
        let schedules = page(&world, &Folder::Schedules.to_string()).await.items;
        let jobs = page(&world, &Folder::Jobs.to_string()).await.items;
        assert_eq!(schedules[0].mod_revision, jobs[0].mod_revision);
    };
    together().await;
    let before = record(&world).await;
    let two = hourly("allow", "one").replace("[{cron", "[{cron: \"5 4 * * *\", timezone: Asia/Tokyo}, {cron");
    controller.put_job(&two).await;
    together().await;
    let after = record(&world).await;
    assert_eq!((after.version, after.schedules.len()), (2, 2));
    assert_eq!(after.schedules[1].seed, before.schedules[0].seed);
    let error = controller.service.schedule("hourly").await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    let nowhere = two.replace("Asia/Tokyo", "Asia/Tokio");
    let error = controller.service.put_job(&nowhere, &ana(), crate::service::Seen::Any).await.unwrap_err();
    assert_eq!(error.to_string(), "\"Asia/Tokio\" is no time zone: write one as `Europe/Berlin` or `UTC`");
    controller.settle().await;
    let names = |limit, after: Option<&(String, usize)>| {
        let page = controller.service.schedules(None, after, limit);
        let names: Vec<String> = page.schedules.into_iter().map(|schedule| schedule.name).collect();
        (names, page.next)
    };
    let (first, next) = names(1, None);
    assert_eq!((first, names(1, next.as_ref()).0), (vec!["hourly/1".into()], vec!["hourly/2".to_owned()]));
    controller.service.delete_job("hourly").await.unwrap();
    assert_eq!(page(&world, &Folder::Schedules.to_string()).await.items, []);
    // A job from before there were such records.
    controller.put_job(&two).await;
    let key = Key::Schedule("hourly".into()).to_string();
    world.embedded.commit(Txn::new().delete(key.as_str())).await.unwrap();
    controller.settle().await;
    controller.service.adopt_schedules().await.unwrap();
    assert_eq!(record(&world).await.schedules.len(), 2);
}

/// A number that looks like chance (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

struct Moments<'a>(&'a Timetable, &'a ScheduleRecord);

impl Times for Moments<'_> {
    fn next(&self, after: Moment) -> Option<Moment> {
        self.0.next(after)
    }

    fn offset(&self, moment: Moment) -> Duration {
        offset(self.1.run_of(moment), self.1.rule().jitter)
    }
}

/// A schedule that makes up for everything.
fn scheduled(seed: u64, start: Moment) -> ScheduleRecord {
    ScheduleRecord {
        seed,
        cron: String::new(),
        timezone: String::new(),
        arguments: Digest::of(b""),
        overlap: Overlap::Allow,
        catch_up: CatchUp::All,
        jitter_ms: [0, 0, 300_000][seed as usize % 3],
        mark: Mark { until: start, waiting: Vec::new() },
        runs: Vec::new(),
        passed: None,
        paused: None,
        trouble: None,
    }
}

/// Five hundred schedules, a year with both changes of the clock, two controllers whose own clocks jump
/// for and back, that decide on what they read a while ago, and die between the run and the record's
/// move. A run is forgotten when its record has moved on, as if it had long left the store.
#[test]
fn of_five_hundred_schedules_nothing_is_missed_and_nothing_doubled() {
    const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
    const HOUR: i64 = 3_600_000;
    let mut chance = Chance(11);
    let start = Moment { unix_ms: 1_767_225_600_000 };
    let mut doubled = 0;
    let (mut fired, mut missed) = (0, 0);
    for number in 0..500_u64 {
        let minute = chance.below(60);
        let cron = match number % 4 {
            0 => format!("{minute} * * * *"),
            1 => format!("{minute} {} * * *", chance.below(4)),
            2 => format!("{minute} */3 * * *"),
            _ => format!("{minute} 1-3 * * *"),
        };
        let table = Timetable::new(&cron, ZONES[number as usize % ZONES.len()]).unwrap();
        let mut record = scheduled(number, start);
        let rule: Rule = record.rule();
        let mut made: BTreeMap<Moment, u32> = BTreeMap::new();
        let mut live: BTreeSet<Moment> = BTreeSet::new();
        let mut clocks = [start.unix_ms as i64; 2];
        let (mut read, mut furthest) = ([record.clone(), record.clone()], start);
        for _ in 0..100 {
            let who = chance.below(2) as usize;
            // Mostly on, by up to two days; now and then back by as much.
            let jump = chance.below(48 * HOUR as u64) as i64 - 6 * HOUR;
            clocks[who] = (clocks[who] + jump).max(start.unix_ms as i64);
            let now = Moment { unix_ms: clocks[who] as u64 };
            // What it decides on may be old.
            if chance.below(3) > 0 {
                read[who] = record.clone();
            }
            loop {
                let seen = read[who].clone();
                let is_current = seen.mark == record.mark;
                match due(&rule, &seen.mark, &Moments(&table, &seen), false, now) {
                    Due::Nothing { .. } => break,
                    Due::Move { mark, .. } if is_current => record.mark = mark,
                    Due::Fire { moment, mark, .. } if is_current => {
                        if live.insert(moment) {
                            *made.entry(moment).or_default() += 1;
                        }
                        // Else it dies here, and begins anew with what is stored.
                        if chance.below(8) > 0 {
                            record.mark = mark;
                            live.remove(&moment);
                        }
                    }
                    // The store refuses what was decided on an old record.
                    Due::Move { .. } | Due::Fire { .. } => {}
                }
                read[who] = record.clone();
            }
            if read[who].mark == record.mark {
                furthest = furthest.max(now);
            }
        }
        let moments = Moments(&table, &record);
        let behind = std::iter::successors(Some(start), |after| moments.next(*after)).skip(1);
        let settled = Moment { unix_ms: furthest.unix_ms.min(record.mark.until.unix_ms) };
        let all: BTreeSet<Moment> = behind.take_while(|moment| *moment <= settled).collect();
        let waiting: BTreeSet<Moment> = record.mark.waiting.iter().copied().collect();
        fired += made.len();
        doubled += made.values().filter(|times| **times > 1).count();
        missed += all.iter().filter(|moment| !made.contains_key(moment) && !waiting.contains(moment)).count();
    }
    assert_eq!((missed, doubled), (0, 0), "of {fired}");
    assert!(fired > 100_000, "{fired}");
}
