//! When a schedule fires: decided from its times, what it has done, and the time of day.
//!
//! This is the one decision of the product that the wall clock makes, and that clock jumps. A schedule
//! therefore keeps a mark: what lies before it is settled and never comes again, whatever the clock says
//! later. A clock that goes back waits until it is past the mark; one that goes forward makes moments
//! late, and what becomes of those is the schedule's own rule.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use ocelot_core::id::RunId;
use ocelot_core::schedule::{CatchUp, Overlap};

/// How late a moment may begin and count as on time: as long as a fleet is without a controller while
/// one is exchanged for another.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// The most moments that are made up for, and that wait for a run to end; the oldest give way.
pub const MADE_UP_MAX: usize = 100;
/// The most moments that one look goes through.
const LOOKED_AT_MAX: usize = 20_000;
/// The span before now that a look begins with; it grows until enough moments lie in it.
const SPAN_MS: u64 = 2 * 3_600_000;

/// A moment of the wall clock, which is what a schedule is about; everything else measures time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment {
    pub unix_ms: u64,
}

/// What a job file says of a schedule beside its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    pub jitter: Duration,
}

/// How far a schedule is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Nothing up to here comes any more, unless it waits.
    pub until: Moment,
    /// Moments that are to begin, one after the other; the oldest first.
    pub waiting: Vec<Moment>,
}

/// The moments of a schedule.
pub trait Times {
    /// Returns the first moment after `after`; none if there never is one.
    fn next(&self, after: Moment) -> Option<Moment>;

    /// Returns how much later than its moment a run begins; never more than the jitter.
    fn offset(&self, moment: Moment) -> Duration;
}

/// Why a moment did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passed {
    /// No controller was there, or the clock jumped over it, and the rule does not make up for it.
    Missed,
    /// The last run still went on.
    GoesOn,
    /// More of them were to be made up for than are.
    TooMany,
    /// The schedule was paused while it waited.
    Paused,
}

/// What a schedule does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing, before the time of day is this; for ever, if there is none.
    Nothing { until: Option<Moment> },
    /// Some moments are settled, and none of them begins now.
    Move { mark: Mark, passed: Vec<(Moment, Passed)> },
    /// The run of one moment begins.
    Fire { moment: Moment, mark: Mark, passed: Vec<(Moment, Passed)> },
}

/// The moments that have come since the mark.
struct Come {
    /// The newest of them, the oldest first.
    moments: Vec<Moment>,
    /// There are more yet, newer than these.
    more: bool,
    /// When the next one begins.
    next: Option<Moment>,
}

/// Decides what a schedule does; `goes_on` says that a run of it has not ended.
pub fn due(rule: &Rule, mark: &Mark, times: &dyn Times, goes_on: bool, now: Moment) -> Due {
    let come = come(rule, mark.until, times, now);
    let until = come.moments.last().copied().unwrap_or(mark.until);
    let mut passed = Vec::new();
    let chosen = choose(rule, &come, now, &mut passed);
    let mut waiting = [mark.waiting.clone(), chosen].concat();
    let too_many = waiting.len().saturating_sub(MADE_UP_MAX);
    passed.extend(waiting.drain(..too_many).map(|moment| (moment, Passed::TooMany)));
    match (rule.overlap, goes_on) {
        (Overlap::Skip, true) => {
            passed.extend(waiting.drain(..).map(|moment| (moment, Passed::GoesOn)));
        }
        (Overlap::Queue, true) => {}
        (Overlap::Allow, _) | (Overlap::Skip | Overlap::Queue, false) => {
            if !waiting.is_empty() {
                let moment = waiting.remove(0);
                return Due::Fire { moment, mark: Mark { until, waiting }, passed };
            }
        }
    }
    let after = Mark { until, waiting };
    if after == *mark { Due::Nothing { until: come.next } } else { Due::Move { mark: after, passed } }
}

/// Returns how much later than its moment a run begins: as its id says, and less than the jitter.
pub fn offset(run: RunId, jitter: Duration) -> Duration {
    let Ok(jitter) = u64::try_from(jitter.as_millis()) else { return Duration::ZERO };
    let number = run.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Duration::from_millis(number.checked_rem(jitter).unwrap_or_default())
}

impl Rule {
    /// Tells whether a moment is too late to be on time. The jitter counts in whole, so that the answer
    /// does not depend on the moments before it, for which this one may have waited.
    fn is_missed(&self, moment: Moment, now: Moment) -> bool {
        plus(plus(moment, self.jitter), ON_TIME) < now
    }
}

/// Says which of the moments that have come are to begin.
fn choose(rule: &Rule, come: &Come, now: Moment, passed: &mut Vec<(Moment, Passed)>) -> Vec<Moment> {
    let split = come.moments.partition_point(|moment| rule.is_missed(*moment, now));
    let (missed, on_time) = come.moments.split_at(split);
    let made_up = match rule.catch_up {
        CatchUp::None => 0,
        // What is on time stands for all that was missed before it.
        CatchUp::One if come.more || !on_time.is_empty() => 0,
        CatchUp::One => missed.len().min(1),
        CatchUp::All => missed.len(),
    };
    let (left, made_up) = missed.split_at(missed.len() - made_up);
    passed.extend(left.iter().map(|moment| (*moment, Passed::Missed)));
    [made_up, on_time].concat()
}

/// Finds the newest moments that have come, without going through all of a long absence.
fn come(rule: &Rule, mark: Moment, times: &dyn Times, now: Moment) -> Come {
    // What lies before this has come, whatever its offset: only after it one may hold up another.
    let sure = minus(now, millis(rule.jitter));
    let mut span = SPAN_MS;
    loop {
        let start = mark.max(minus(sure, span));
        let come = come_since(start, times, now);
        if start == mark || come.moments.len() >= MADE_UP_MAX {
            return come;
        }
        span = span.saturating_mul(8);
    }
}

fn come_since(start: Moment, times: &dyn Times, now: Moment) -> Come {
    let mut moments = Vec::new();
    let mut at = start;
    for _ in 0..LOOKED_AT_MAX {
        let next = times.next(at).filter(|next| *next > at);
        let begins = next.map(|next| plus(next, times.offset(next)));
        let Some(moment) = next.filter(|_| begins.is_some_and(|begins| begins <= now)) else {
            return Come { moments: newest(moments), more: false, next: begins };
        };
        moments.push(moment);
        at = moment;
    }
    Come { moments: newest(moments), more: true, next: Some(now) }
}

fn newest(mut moments: Vec<Moment>) -> Vec<Moment> {
    moments.split_off(moments.len().saturating_sub(MADE_UP_MAX))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn plus(moment: Moment, more: Duration) -> Moment {
    Moment { unix_ms: moment.unix_ms.saturating_add(millis(more)) }
}

fn minus(moment: Moment, less: u64) -> Moment {
    Moment { unix_ms: moment.unix_ms.saturating_sub(less) }
}
