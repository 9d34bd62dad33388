//! The times of the protocol hold together for every fleet.

use std::time::Duration;

use proptest::prelude::*;

use ocelot_core::plan::Class;
use ocelot_domain::task::Timing;
use ocelot_domain::task::timing::{CONFIRMED, POLL_MAX, POLL_MIN, Unsafe};

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
    assert_eq!(timing.poll(), POLL_MIN);
}

#[test]
fn ten_thousand_executors_beat_every_ten_seconds() {
    let timing = Timing::for_fleet(10_000);
    assert_eq!((timing.heartbeat(), timing.session_ttl()), (seconds(10), seconds(45)));
    assert_eq!(timing.poll(), seconds(100));
    assert_eq!(Timing::for_fleet(100_000).poll(), POLL_MAX);
    assert_safe(&timing);
}

#[test]
fn a_session_is_told_only_times_that_its_lease_outlives() {
    let small = Timing::for_fleet(3);
    assert!(small.fits(seconds(10)) && !Timing::for_fleet(2_001).fits(seconds(10)));
    let large = Timing::for_fleet(10_000);
    // Its own, and those of a fleet that is a little larger.
    assert!(large.fits(seconds(45)) && Timing::for_fleet(11_000).fits(seconds(45)));
    assert!(!Timing::for_fleet(12_000).fits(seconds(45)));
    assert_eq!(Timing::for_session(seconds(10)), small);
    assert_eq!(
        small.longest(Timing::for_session(seconds(45))).reassign(Class::Exclusive),
        seconds(84) + Duration::from_millis(250)
    );
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
    fn every_session_has_safe_times_that_its_fleet_fits(executors in 0u32..100_000, ttl in any::<u32>()) {
        let timing = Timing::for_fleet(executors);
        prop_assert!(timing.fits(timing.session_ttl()));
        assert_safe(&Timing::for_session(Duration::from_millis(ttl.into())));
    }

    #[test]
    fn whatever_times_are_accepted_are_safe(heartbeat in 0u64..100_000, ttl in 0u64..500_000) {
        if let Ok(timing) = Timing::new(Duration::from_millis(heartbeat), Duration::from_millis(ttl)) {
            assert_safe(&timing);
        }
    }
}
