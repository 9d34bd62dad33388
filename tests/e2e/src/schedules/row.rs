//! Many schedules, both changes of the clock, and controllers that are killed on the way.
//!
//! What should have come is found by looking at every minute of the time, in the zone of each schedule.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use ocelot_e2e::fleet::{Build, Caller, Fleet, Settings};
use ocelot_proto::wire;
use tokio::time::Instant;

use super::clocks::{Clocks, true_now};
use super::{HOUR, Made, job, runs, take};
use crate::long::{Chance, kept};

/// Clocks go forward in the first and the last, and a week later back in the others.
const ZONES: [&str; 4] = ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Auckland", "Europe/London"];
const DAYS: i64 = 9;
/// How long two controllers may take for one step; nothing is timed by it.
const PATIENCE: Duration = Duration::from_secs(600);

/// One schedule, and what becomes of it.
struct Watched {
    name: String,
    /// Every moment that may come, found minute by minute.
    moments: BTreeSet<i64>,
    made: Made,
}

/// What a schedule is about.
struct Times {
    minute: i8,
    /// The hours of the day; none for every third hour that the clock shows.
    hours: Option<Vec<i8>>,
    zone: TimeZone,
}

pub(crate) async fn row(count: u64, seed: u64) -> Result<()> {
    let mut fleet = Fleet::start(Settings::etcd(Build::Chaos, 2, 1)).await?;
    let done = schedules(&mut fleet, count, Chance(seed)).await;
    kept(fleet, done)
}

async fn schedules(fleet: &mut Fleet, count: u64, mut chance: Chance) -> Result<()> {
    let began = Instant::now();
    let start = start()?;
    let clocks = Clocks::start(fleet, start - true_now()).await?;
    let mut watched = put(&fleet.caller(0)?, &clocks, count, &mut chance).await?;
    let end = start + DAYS * 24 * HOUR;
    eprintln!("{count} schedules put in {:.1?}", began.elapsed());
    let (mut kills, mut jumps, mut back) = (0, 0, 0);
    let mut furthest = clocks.now(0);
    while furthest < end {
        // One goes ahead by up to a day, and the other is anywhere behind it, or has gone back.
        let ahead = chance.below(2);
        let to = furthest + HOUR + chance.below(24 * HOUR as usize) as i64;
        let behind = to - chance.below(30 * HOUR as usize) as i64;
        back += u32::from(behind < clocks.now(1 - ahead));
        clocks.set(ahead, to - true_now())?;
        clocks.set(1 - ahead, behind - true_now())?;
        jumps += 2;
        furthest = to;
        if chance.below(3) == 0 {
            // In the midst of its work, as far as chance wills it.
            tokio::time::sleep(Duration::from_millis(chance.below(1500) as u64)).await;
            let who = chance.below(2);
            fleet.controllers[who].kill()?;
            fleet.controllers[who].start_with(Build::Chaos, &clocks.planted(who))?;
            fleet.ready().await?;
            kills += 1;
        }
        let late = settled(fleet, &mut watched, furthest).await?;
        eprintln!("{:.1?}: {} hours on, {late} late", began.elapsed(), (furthest - start) / HOUR);
    }
    let missed: usize = watched.iter().map(|one| one.missing(furthest)).sum();
    let doubled: usize =
        watched.iter().map(|one| one.made.values().filter(|runs| runs.len() > 1).count()).sum();
    let fired: usize = watched.iter().map(|one| one.made.len()).sum();
    let wrong: usize = watched.iter().map(|one| one.unasked()).sum();
    let accepted = runs(&fleet.caller(0)?).await?;
    eprintln!(
        "schedules {count}, clocks set {jumps} times, {back} of them back, controllers killed {kills} times: \
         fired {fired}, missed {missed}, doubled {doubled}, at no moment of theirs {wrong}; {accepted} runs; \
         {:.0?}",
        began.elapsed()
    );
    ensure!(missed == 0 && doubled == 0 && wrong == 0, "a promise is broken");
    // The clocks go on: some may have come since the last look.
    ensure!(accepted >= fired && accepted <= fired + watched.len(), "{accepted} runs of {fired} moments");
    Ok(())
}

/// Noon before the last Sunday of the next March, on which the first clocks change.
fn start() -> Result<i64> {
    let now = jiff::Timestamp::from_second(true_now())?.to_zoned(TimeZone::UTC);
    let year = now.year() + i16::from(now.month() >= 3);
    let sunday = jiff::civil::date(year, 3, 1).nth_weekday_of_month(-1, Weekday::Sunday)?;
    let noon = sunday.yesterday()?.at(12, 0, 0, 0);
    Ok(noon.to_zoned(TimeZone::UTC)?.timestamp().as_second())
}

async fn put(caller: &Caller, clocks: &Clocks, count: u64, chance: &mut Chance) -> Result<Vec<Watched>> {
    let mut watched = Vec::new();
    for number in 0..count {
        let minute = chance.below(60);
        let hour = chance.below(4);
        let (cron, hours) = match number % 4 {
            0 => (format!("{minute} */3 * * *"), None),
            1 => (format!("{minute} 1-3 * * *"), Some(vec![1, 2, 3])),
            2 => (format!("{minute} 2 * * *"), Some(vec![2])),
            _ => (format!("{minute} {hour},12 * * *"), Some(vec![hour as i8, 12])),
        };
        let zone = ZONES[chance.below(ZONES.len())];
        let jitter = ["0s", "0s", "90s"][chance.below(3)];
        let rule = format!("timezone: {zone}, overlap: allow, catch_up: all, jitter: {jitter}");
        let name = format!("job-{number}");
        caller.put_job(&job(&name, &cron, &rule)).await?;
        let times = Times { minute: minute as i8, hours, zone: TimeZone::get(zone)? };
        let now = clocks.now(0);
        let moments = times.moments(now, now + (DAYS + 3) * 24 * HOUR);
        watched.push(Watched { name, moments, made: Made::new() });
    }
    Ok(watched)
}

/// Waits until every moment up to now has its run, or far too long; returns how many have none.
async fn settled(fleet: &Fleet, watched: &mut [Watched], now: i64) -> Result<usize> {
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = all(&fleet.caller(1)?).await;
        for seen in seen.iter().flatten() {
            if let Some(one) = watched.iter_mut().find(|one| one.name == seen.job) {
                take(&mut one.made, seen);
            }
        }
        let late: usize = watched.iter().map(|one| one.missing(now)).sum();
        match seen {
            Ok(_) if late == 0 => return Ok(late),
            // It may be on its way up, or have too much to do to answer.
            Ok(_) | Err(_) if Instant::now() < until => {}
            Ok(_) => return Ok(late),
            Err(error) => return Err(error).with_context(|| fleet.last_words()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn all(caller: &Caller) -> Result<Vec<wire::Schedule>> {
    let mut request = wire::ListSchedulesRequest { page_size: 250, ..wire::ListSchedulesRequest::default() };
    let mut found = Vec::new();
    loop {
        let page = caller.schedules().list_schedules(request.clone()).await?.into_inner();
        found.extend(page.schedules);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

impl Times {
    fn moments(&self, from: i64, to: i64) -> BTreeSet<i64> {
        let reading = |at: i64| jiff::Timestamp::from_second(at).map(|at| self.zone.to_datetime(at));
        let (mut found, first) = (BTreeSet::new(), (from / 60 + 1) * 60);
        let Ok(mut furthest) = reading(first - 60) else { return found };
        for at in (first..=to).step_by(60) {
            let Ok(now) = reading(at) else { continue };
            match &self.hours {
                // What the clock shows counts.
                None => {
                    if now.minute() == self.minute && now.hour() % 3 == 0 {
                        found.insert(at);
                    }
                }
                // What it shows or has jumped over counts, once.
                Some(hours) => {
                    while furthest < now {
                        furthest = furthest.saturating_add(jiff::SignedDuration::from_mins(1));
                        if furthest.minute() == self.minute && hours.contains(&furthest.hour()) {
                            found.insert(at);
                        }
                    }
                }
            }
        }
        found
    }
}

impl Watched {
    /// Moments up to now without a run, less those whose jitter may not be over.
    fn missing(&self, now: i64) -> usize {
        self.moments.range(..=now - 100).filter(|moment| !self.made.contains_key(moment)).count()
    }

    /// Runs of moments that are none of this schedule's.
    fn unasked(&self) -> usize {
        self.made.keys().filter(|moment| !self.moments.contains(moment)).count()
    }
}
