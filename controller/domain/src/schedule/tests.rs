//! Every decision beside one that goes through all moments, one after the other.

use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60_000;
const START: u64 = 1_800_000_000_000;

fn at(minutes: u64) -> Moment {
    Moment { unix_ms: START + minutes * MINUTE }
}

/// Every so many minutes, and later by what looks like chance.
struct Every {
    minutes: u64,
    jitter: Duration,
}

impl Every {
    fn from(rule: &Rule, minutes: u64) -> Self {
        Self { minutes, jitter: rule.jitter }
    }
}

impl Times for Every {
    fn next(&self, after: Moment) -> Option<Moment> {
        let step = self.minutes * MINUTE;
        Some(Moment { unix_ms: (after.unix_ms / step + 1) * step })
    }

    fn offset(&self, moment: Moment) -> Duration {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&moment.unix_ms.to_le_bytes());
        offset(RunId::from_bytes(id), self.jitter)
    }
}

fn rule(overlap: Overlap, catch_up: CatchUp) -> Rule {
    Rule { overlap, catch_up, jitter: Duration::ZERO }
}

fn mark(minutes: u64) -> Mark {
    Mark { until: at(minutes), waiting: Vec::new() }
}

fn hourly(rule: &Rule, since: u64, goes_on: bool, now: Moment) -> Due {
    due(rule, &mark(since), &Every::from(rule, 60), goes_on, now)
}

#[test]
fn a_moment_begins_when_it_comes_and_never_again() {
    let rule = rule(Overlap::Skip, CatchUp::One);
    // The times are whole hours since 1970, and so is the start.
    let before = Moment { unix_ms: at(60).unix_ms - 1 };
    assert_eq!(hourly(&rule, 0, false, before), Due::Nothing { until: Some(at(60)) });
    let fire = Due::Fire { moment: at(60), mark: mark(60), passed: Vec::new() };
    assert_eq!(hourly(&rule, 0, false, at(60)), fire);
    // The clock has gone back behind it.
    assert_eq!(hourly(&rule, 60, false, at(3)), Due::Nothing { until: Some(at(120)) });
}

#[test]
fn what_was_missed_is_made_up_for_as_the_rule_says() {
    let missed =
        |hours: &[u64]| -> Vec<_> { hours.iter().map(|hour| (at(hour * 60), Passed::Missed)).collect() };
    let rule_of = |catch_up| rule(Overlap::Allow, catch_up);
    // Three were missed, and none is on time.
    let none = hourly(&rule_of(CatchUp::None), 0, false, at(190));
    assert_eq!(none, Due::Move { mark: mark(180), passed: missed(&[1, 2, 3]) });
    let one = hourly(&rule_of(CatchUp::One), 0, false, at(190));
    assert_eq!(one, Due::Fire { moment: at(180), mark: mark(180), passed: missed(&[1, 2]) });
    let all = hourly(&rule_of(CatchUp::All), 0, false, at(190));
    let waiting = Mark { until: at(180), waiting: vec![at(120), at(180)] };
    assert_eq!(all, Due::Fire { moment: at(60), mark: waiting, passed: Vec::new() });
    // What is on time stands for what was missed, unless all are wanted.
    let one = hourly(&rule_of(CatchUp::One), 0, false, at(181));
    assert_eq!(one, Due::Fire { moment: at(180), mark: mark(180), passed: missed(&[1, 2]) });
    let none = hourly(&rule_of(CatchUp::None), 0, false, at(181));
    assert_eq!(none, Due::Fire { moment: at(180), mark: mark(180), passed: missed(&[1, 2]) });
}

#[test]
fn while_the_last_run_goes_on_a_moment_is_skipped_waits_or_begins() {
    let skip = hourly(&rule(Overlap::Skip, CatchUp::One), 0, true, at(60));
    assert_eq!(skip, Due::Move { mark: mark(60), passed: vec![(at(60), Passed::GoesOn)] });
    let allow = hourly(&rule(Overlap::Allow, CatchUp::One), 0, true, at(60));
    assert_eq!(allow, Due::Fire { moment: at(60), mark: mark(60), passed: Vec::new() });
    let queue = rule(Overlap::Queue, CatchUp::One);
    let waiting = Mark { until: at(60), waiting: vec![at(60)] };
    assert_eq!(hourly(&queue, 0, true, at(60)), Due::Move { mark: waiting.clone(), passed: Vec::new() });
    let times = Every::from(&queue, 60);
    assert_eq!(due(&queue, &waiting, &times, true, at(70)), Due::Nothing { until: Some(at(120)) });
    // However long it has waited, it was not missed.
    let fire = Due::Fire { moment: at(60), mark: mark(60), passed: Vec::new() };
    assert_eq!(due(&queue, &waiting, &times, false, at(119)), fire);
}

#[test]
fn no_more_wait_than_there_is_room_for() {
    let queue = rule(Overlap::Queue, CatchUp::All);
    let waiting: Vec<Moment> = (1..=MADE_UP_MAX as u64).map(|hour| at(hour * 60)).collect();
    let full = Mark { until: *waiting.last().unwrap(), waiting: waiting.clone() };
    let next = at((MADE_UP_MAX as u64 + 1) * 60);
    let moved = due(&queue, &full, &Every::from(&queue, 60), true, next);
    let waiting = [waiting[1..].to_vec(), vec![next]].concat();
    let passed = vec![(at(60), Passed::TooMany)];
    assert_eq!(moved, Due::Move { mark: Mark { until: next, waiting }, passed });
}

#[test]
fn ten_years_of_minutes_are_looked_at_in_a_moment() {
    let all = rule(Overlap::Allow, CatchUp::All);
    let now = at(10 * 366 * 24 * 60);
    let Due::Fire { mark, .. } = due(&all, &mark(0), &Every::from(&all, 1), false, now) else {
        panic!("something is due")
    };
    assert_eq!((mark.until, mark.waiting.len()), (now, MADE_UP_MAX - 1));
}

#[test]
fn an_offset_is_less_than_the_jitter_and_spread_over_it() {
    let jitter = Duration::from_secs(600);
    let offsets: Vec<u64> =
        (0..=255).map(|byte| offset(RunId::from_bytes([byte; 16]), jitter).as_secs()).collect();
    assert!(offsets.iter().all(|offset| *offset < 600));
    for part in 0..4 {
        let here = offsets.iter().filter(|offset| **offset / 150 == part).count();
        assert!((32..=96).contains(&here), "{here} of 256 in quarter {part}");
    }
    assert_eq!(offset(RunId::from_bytes([7; 16]), Duration::ZERO), Duration::ZERO);
}

/// The same decision, by going through everything since the mark.
fn by_hand(rule: &Rule, mark: &Mark, times: &Every, goes_on: bool, now: Moment) -> Due {
    let mut come = Vec::new();
    let mut at = mark.until;
    let next = loop {
        let next = times.next(at).unwrap();
        let begins = Moment { unix_ms: next.unix_ms + times.offset(next).as_millis() as u64 };
        if begins > now {
            break begins;
        }
        come.push(next);
        at = next;
    };
    let come = come.split_off(come.len().saturating_sub(MADE_UP_MAX));
    let until = come.last().copied().unwrap_or(mark.until);
    let late = |moment: &Moment| {
        moment.unix_ms + rule.jitter.as_millis() as u64 + ON_TIME.as_millis() as u64 >= now.unix_ms
    };
    let (on_time, missed): (Vec<_>, Vec<_>) = come.into_iter().partition(late);
    let (left, made_up) = match rule.catch_up {
        CatchUp::All => (Vec::new(), missed),
        CatchUp::One if on_time.is_empty() && !missed.is_empty() => {
            (missed[..missed.len() - 1].to_vec(), vec![*missed.last().unwrap()])
        }
        CatchUp::One | CatchUp::None => (missed, Vec::new()),
    };
    let mut passed: Vec<_> = left.into_iter().map(|moment| (moment, Passed::Missed)).collect();
    let mut waiting = [mark.waiting.clone(), made_up, on_time].concat();
    while waiting.len() > MADE_UP_MAX {
        passed.push((waiting.remove(0), Passed::TooMany));
    }
    if goes_on && rule.overlap == Overlap::Skip {
        passed.extend(waiting.drain(..).map(|moment| (moment, Passed::GoesOn)));
    }
    let rests = waiting.is_empty() || goes_on && rule.overlap == Overlap::Queue;
    let first = (!rests).then(|| waiting.remove(0));
    let after = Mark { until, waiting };
    match first {
        Some(moment) => Due::Fire { moment, mark: after, passed },
        None if after == *mark => Due::Nothing { until: Some(next) },
        None => Due::Move { mark: after, passed },
    }
}

fn rules() -> impl Strategy<Value = Rule> {
    let overlap = prop_oneof![Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::Allow)];
    let catch_up = prop_oneof![Just(CatchUp::None), Just(CatchUp::One), Just(CatchUp::All)];
    let jitter = prop_oneof![Just(0_u64), 1..600_u64, Just(20_000)].prop_map(Duration::from_secs);
    (overlap, catch_up, jitter).prop_map(|(overlap, catch_up, jitter)| Rule { overlap, catch_up, jitter })
}

proptest! {
    #[test]
    fn a_look_decides_as_one_through_everything_does(
        rule in rules(),
        minutes in prop_oneof![Just(1_u64), Just(7), Just(60), Just(1440)],
        (since, waits, goes_on) in (0..5000_u64, 0..3_u64, any::<bool>()),
        (later, seconds) in (0..20_000_u64, 0..60_u64),
    ) {
        let times = Every::from(&rule, minutes);
        let until = at(since);
        let waiting = (0..waits).map(|back| Moment { unix_ms: until.unix_ms - (waits - back) * MINUTE });
        let mark = Mark { until, waiting: waiting.collect() };
        let now = Moment { unix_ms: at(since + later).unix_ms + seconds * 1000 };
        let decided = due(&rule, &mark, &times, goes_on, now);
        prop_assert_eq!(decided, by_hand(&rule, &mark, &times, goes_on, now));
    }

    /// Whatever the clock does: what begins lies behind the mark of before and not behind that of after,
    /// and the mark never goes back.
    #[test]
    fn no_moment_begins_twice_under_any_clock(
        rule in rules(),
        minutes in prop_oneof![Just(1_u64), Just(60), Just(1440)],
        steps in prop::collection::vec((-3000_i64..6000, any::<bool>()), 1..60),
    ) {
        let times = Every::from(&rule, minutes);
        let (mut mark, mut now) = (mark(10_000), at(10_000).unix_ms as i64);
        let mut begun = std::collections::BTreeSet::new();
        for (jump, goes_on) in steps {
            now = (now + jump * MINUTE as i64).max(START as i64);
            // Bounded, because each of them moves on.
            for _ in 0..3 * MADE_UP_MAX {
                let wall = Moment { unix_ms: now as u64 };
                let after = match due(&rule, &mark, &times, goes_on, wall) {
                    Due::Nothing { until } => {
                        prop_assert!(until.is_some_and(|until| until > wall), "it would be asked for ever");
                        break;
                    }
                    Due::Move { mark: after, .. } => after,
                    Due::Fire { moment, mark: after, .. } => {
                        prop_assert!(begun.insert(moment), "{moment:?} begins a second time");
                        after
                    }
                };
                prop_assert!(after.until >= mark.until && after != mark);
                mark = after;
            }
        }
    }
}
