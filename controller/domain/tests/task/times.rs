//! The times of the protocol hold together for every fleet.

use std::time::Duration;

use proptest::prelude::*;

use ocelot_core::plan::Class;
use ocelot_domain::task::Timing;
use ocelot_domain::task::timing::{CONFIRMED, Unsafe};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn assert_safe(timing: &Timing) {
    let (guard, reassign) = (timing.guard(Class::Exclusive), timing.reassign(Class::Exclusive));
    assert_eq!(guard, seconds(60).max(seconds(58) + timing.heartbeat()));
    assert_eq!(reassign, guard + seconds(15));
    assert!(reassign - guard - CONFIRMED > seconds(1) + reassign / 10 + seconds(1));
    assert!(timing.session_ttl() >= timing.heartbeat() * 4);
}

#[test]
fn a_small_fleet_has_the_times_of_the_protocol() {
    let timing = Timing::for_fleet(3);
    assert_eq!((timing.heartbeat(), timing.session_ttl()), (seconds(2), seconds(10)));
    assert_eq!(
        (timing.guard(Class::Exclusive), timing.reassign(Class::Exclusive)),
        (seconds(60), seconds(75))
    );
    assert_eq!((timing.guard(Class::Normal), timing.reassign(Class::Normal)), (seconds(600), seconds(2)));
}

#[test]
fn ten_thousand_executors_beat_every_ten_seconds() {
    let timing = Timing::for_fleet(10_000);
    assert_eq!((timing.heartbeat(), timing.session_ttl()), (seconds(10), seconds(45)));
    assert_safe(&timing);
}

#[test]
fn times_under_which_clocks_could_overlap_are_refused() {
    assert!(matches!(Timing::new(seconds(52), seconds(240)), Err(Unsafe::Overlap { .. })));
    assert!(matches!(Timing::new(seconds(1), seconds(10)), Err(Unsafe::HeartbeatTooOften(_))));
    assert!(matches!(Timing::new(seconds(10), seconds(20)), Err(Unsafe::SessionTooShort { .. })));
}

proptest! {
    #[test]
    fn every_fleet_has_safe_times(executors in any::<u32>()) {
        assert_safe(&Timing::for_fleet(executors));
    }

    #[test]
    fn whatever_times_are_accepted_are_safe(heartbeat in 0u64..100_000, ttl in 0u64..500_000) {
        if let Ok(timing) = Timing::new(Duration::from_millis(heartbeat), Duration::from_millis(ttl)) {
            assert_safe(&timing);
        }
    }
}
