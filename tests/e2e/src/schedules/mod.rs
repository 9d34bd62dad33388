//! Schedules at two real controllers, each with a clock of its own that the test sets.

mod clocks;
mod row;

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_e2e::fleet::{Build, Caller, Fleet, Settings};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_proto::wire;

use self::clocks::{Clocks, to_ten_past, true_now};

pub(crate) use row::row;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
/// Its runs are accepted and wait for an executor, of which there is none.
const JOB: &str = "name: NAME\nimage: none\ncommand: [none]\nschedule: [{cron: \"CRON\", RULE}]\n";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("schedules::two_controllers_make_one_run_of_each_moment", each_moment_once),
        trial("schedules::a_paused_schedule_rests_until_it_is_resumed", paused),
    ];
    for point in ["schedule.fired", "schedule.moved"] {
        let name = format!("schedules::a_kill_at_{}_fires_none_twice", point.replace('.', "_"));
        trials.push(trial(&name, move || killed_at(point)));
    }
    trials
}

fn job(name: &str, cron: &str, rule: &str) -> String {
    JOB.replace("NAME", name).replace("CRON", cron).replace("RULE", rule)
}

/// The runs of each moment of one schedule, in seconds since 1970.
type Made = BTreeMap<i64, Vec<Vec<u8>>>;

fn take(made: &mut Made, schedule: &wire::Schedule) {
    for run in &schedule.runs {
        let (Some(moment), Some(run)) = (&run.moment, &run.run) else { continue };
        let runs = made.entry(moment.unix_us / 1_000_000).or_default();
        if !runs.contains(&run.id.to_vec()) {
            runs.push(run.id.to_vec());
        }
    }
}

async fn schedule(caller: &Caller, name: &str) -> Result<wire::Schedule> {
    let request = wire::GetScheduleRequest { name: name.to_owned() };
    let answer = caller.schedules().get_schedule(request).await?;
    answer.into_inner().schedule.context("the schedule is in the answer")
}

/// Counts every run there is.
async fn runs(caller: &Caller) -> Result<usize> {
    let mut request = wire::ListRunsRequest { page_size: 500, ..wire::ListRunsRequest::default() };
    let mut count = 0;
    loop {
        let page = caller.runs().list_runs(request.clone()).await?.into_inner();
        count += page.runs.len();
        if page.next_page_token.is_empty() {
            return Ok(count);
        }
        request.page_token = page.next_page_token;
    }
}

async fn each_moment_once() -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Chaos, 2, 1)).await?;
    let clocks = Clocks::start(&mut fleet, 0).await?;
    let (one, two) = (fleet.caller(0)?, fleet.caller(1)?);
    one.put_job(&job("minutely", "* * * * *", "overlap: allow, catch_up: all")).await?;
    let first = schedule(&one, "minutely").await?.next[0].unix_us / 1_000_000;
    let made = RefCell::new(Made::new());
    // Never more than the ten moments that a schedule remembers the runs of.
    for (who, seconds) in [(0, 5 * MINUTE), (1, 4 * MINUTE), (1, 9 * MINUTE), (0, -HOUR), (0, 13 * MINUTE)] {
        clocks.set(who, seconds)?;
        let wall = clocks.now(who);
        wait_until("every moment to have its run", || async {
            let seen = schedule(&two, "minutely/1").await?;
            let mut made = made.borrow_mut();
            take(&mut made, &seen);
            let last = made.last_key_value().map_or(first - MINUTE, |(moment, _)| *moment);
            ensure!(last + MINUTE > wall, "{last} is the last, and it is {wall}");
            Ok(())
        })
        .await
        .with_context(|| fleet.last_words())?;
    }
    let made = made.into_inner();
    let last = made.last_key_value().map_or(first, |(moment, _)| *moment);
    let wanted: Vec<i64> = (0..=(last - first) / MINUTE).map(|minutes| first + minutes * MINUTE).collect();
    ensure!(made.keys().eq(&wanted), "{:?} and not {wanted:?}", made.keys());
    ensure!(made.values().all(|runs| runs.len() == 1), "{made:?}");
    let count = runs(&one).await?;
    // The clock goes on: another moment may have come.
    ensure!((made.len()..=made.len() + 2).contains(&count), "{count} runs of {} moments", made.len());
    let shown = fleet.run("ocelot", &["schedule", "describe", "minutely"])?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(text.contains("IN UTC") && text.contains("minutely#1"), "{text}");
    Ok(())
}

async fn paused() -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Chaos, 2, 1)).await?;
    let begin = to_ten_past();
    let clocks = Clocks::start(&mut fleet, begin).await?;
    fleet.caller(0)?.put_job(&job("hourly", "0 * * * *", "catch_up: all, overlap: allow")).await?;
    let command = |arguments: &[&str]| -> Result<String> {
        let output = fleet.run("ocelot", &[&["schedule"][..], arguments].concat())?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    command(&["pause", "hourly"])?;
    ensure!(command(&["list"])?.contains("paused by admin"), "{}", command(&["list"])?);
    clocks.set_all(begin + 5 * HOUR)?;
    ensure!(command(&["run", "hourly"])? == "hourly#1\n");
    command(&["resume", "hourly/1"])?;
    let next = schedule(&fleet.caller(0)?, "hourly").await?.next[0].unix_us / 1_000_000;
    clocks.set_all(next + MINUTE / 2 - true_now())?;
    wait_until("the run of the next hour", || async {
        let count = runs(&fleet.caller(1)?).await?;
        ensure!(count == 2, "there are {count} runs");
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    let shown = command(&["describe", "hourly"])?;
    ensure!(shown.contains("asked for by admin"), "{shown}");
    let runs = fleet.run("ocelot", &["runs"])?;
    let runs = String::from_utf8_lossy(&runs.stdout).into_owned();
    ensure!(runs.contains("hourly/1 (schedule)"), "{runs}");
    Ok(())
}

async fn killed_at(point: &'static str) -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Chaos, 2, 1)).await?;
    let clocks = Clocks::start(&mut fleet, to_ten_past()).await?;
    fleet.controllers[0].kill()?;
    fleet.controllers[0].start_with(Build::Chaos, &format!("{},kill:{point}:1", clocks.planted(0)))?;
    fleet.ready().await?;
    let caller = fleet.caller(1)?;
    caller.put_job(&job("hourly", "0 * * * *", "overlap: skip, catch_up: none")).await?;
    let moment = schedule(&caller, "hourly").await?.next[0].unix_us / 1_000_000;
    // Only the one that is to die sees the moment come.
    clocks.set(0, moment + MINUTE / 2 - true_now())?;
    let status = fleet.controllers[0].ended().await.with_context(|| fleet.last_words())?;
    ensure!(!status.success(), "it ended by itself: {status}");
    ensure!(runs(&caller).await? == 1, "it died before it had made the run");
    clocks.set(1, moment + MINUTE / 2 - true_now())?;
    wait_until("the record to have moved on", || async {
        let seen = schedule(&caller, "hourly").await?;
        ensure!(seen.runs.len() == 1, "{seen:?}");
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    fleet.controllers[0].start_with(Build::Chaos, &clocks.planted(0))?;
    fleet.ready().await?;
    // Its run goes on, so the next moment makes none, whoever decides.
    clocks.set_all(moment + HOUR + MINUTE / 2 - true_now())?;
    wait_until("the next moment to pass", || async {
        let seen = schedule(&caller, "hourly").await?;
        let why = seen.passed.as_ref().map(wire::schedule::Passed::why);
        ensure!(why == Some(wire::schedule::passed::Why::GoesOn), "{seen:?}");
        Ok(())
    })
    .await
    .with_context(|| fleet.last_words())?;
    let count = runs(&caller).await?;
    ensure!(count == 1, "{count} runs of one moment");
    Ok(())
}
