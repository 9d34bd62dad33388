//! Timetables beside a look at every minute, and at the changes of clocks that people know.

use jiff::civil::Weekday;
use proptest::prelude::*;

use super::*;

const MINUTE: u64 = 60_000;
const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"];

fn moment(text: &str) -> Moment {
    let at: jiff::Timestamp = text.parse().unwrap();
    Moment { unix_ms: at.as_millisecond().try_into().unwrap() }
}

/// The next moments as the zone's clock shows them.
fn shown(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let table = Timetable::new(cron, zone).unwrap();
    let mut at = moment(after);
    let mut shown = Vec::new();
    for _ in 0..count {
        at = table.next(at).unwrap();
        shown.push(table.shown(at));
    }
    shown
}

#[test]
fn a_time_that_the_clock_jumps_over_comes_right_after_the_jump() {
    insta::assert_debug_snapshot!(shown("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3), @r#"
    [
        "2026-03-28 02:30:00 CET",
        "2026-03-29 03:00:00 CEST",
        "2026-03-30 02:30:00 CEST",
    ]
    "#);
    insta::assert_debug_snapshot!(shown("15 2 * * *", "America/New_York", "2026-03-07T00:00:00Z", 3), @r#"
    [
        "2026-03-07 02:15:00 EST",
        "2026-03-08 03:00:00 EDT",
        "2026-03-09 02:15:00 EDT",
    ]
    "#);
    // Half an hour only.
    insta::assert_debug_snapshot!(shown("0,10,40 2 * * *", "Australia/Lord_Howe", "2026-10-03T14:00:00Z", 4), @r#"
    [
        "2026-10-04 02:30:00 +11",
        "2026-10-04 02:40:00 +11",
        "2026-10-05 02:00:00 +11",
        "2026-10-05 02:10:00 +11",
    ]
    "#);
}

#[test]
fn a_time_that_the_clock_shows_twice_comes_once() {
    insta::assert_debug_snapshot!(shown("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3), @r#"
    [
        "2026-10-25 02:30:00 CEST",
        "2026-10-26 02:30:00 CET",
        "2026-10-27 02:30:00 CET",
    ]
    "#);
    insta::assert_debug_snapshot!(shown("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 3), @r#"
    [
        "2026-11-01 01:30:00 EDT",
        "2026-11-02 01:30:00 EST",
        "2026-11-03 01:30:00 EST",
    ]
    "#);
    insta::assert_debug_snapshot!(shown("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 3), @r#"
    [
        "2026-04-05 01:45:00 +11",
        "2026-04-06 01:45:00 +1030",
        "2026-04-07 01:45:00 +1030",
    ]
    "#);
}

#[test]
fn what_comes_every_so_often_goes_by_the_clock_on_both_days() {
    insta::assert_debug_snapshot!(shown("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 4), @r#"
    [
        "2026-03-29 01:30:00 CET",
        "2026-03-29 03:00:00 CEST",
        "2026-03-29 03:30:00 CEST",
        "2026-03-29 04:00:00 CEST",
    ]
    "#);
    insta::assert_debug_snapshot!(shown("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 5), @r#"
    [
        "2026-10-25 02:30:00 CEST",
        "2026-10-25 02:00:00 CET",
        "2026-10-25 02:30:00 CET",
        "2026-10-25 03:00:00 CET",
        "2026-10-25 03:30:00 CET",
    ]
    "#);
    insta::assert_debug_snapshot!(shown("*/20 1-2 * * *", "Australia/Lord_Howe", "2026-04-04T14:30:00Z", 6), @r#"
    [
        "2026-04-05 01:40:00 +11",
        "2026-04-05 01:40:00 +1030",
        "2026-04-05 02:00:00 +1030",
        "2026-04-05 02:20:00 +1030",
        "2026-04-05 02:40:00 +1030",
        "2026-04-06 01:00:00 +1030",
    ]
    "#);
}

#[test]
fn rare_days_are_found_and_unknown_zones_are_named() {
    insta::assert_debug_snapshot!(shown("0 0 29 2 *", "America/New_York", "2097-01-01T00:00:00Z", 2), @r#"
    [
        "2104-02-29 00:00:00 EST",
        "2108-02-29 00:00:00 EST",
    ]
    "#);
    insta::assert_debug_snapshot!(shown("0 0 31 2 mon", "UTC", "2026-11-21T00:00:00Z", 2), @r#"
    [
        "2027-02-01 00:00:00 UTC",
        "2027-02-08 00:00:00 UTC",
    ]
    "#);
    let wrong = Timetable::new("0 0 * * *", "Europe/Berlín").unwrap_err();
    insta::assert_snapshot!(wrong, @r#""Europe/Berlín" is no time zone: write one as `Europe/Berlin` or `UTC`"#);
}

/// The values of a field, by the rules that everybody knows.
fn values(text: &str, least: u32, most: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (range, step) =
            part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if part.contains('/') => (range.parse().unwrap(), most),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        all.extend((from..=to).step_by(step));
    }
    all
}

/// Whether a clock that shows this is meant.
fn is_meant(cron: &str, at: DateTime) -> bool {
    let fields: Vec<&str> = cron.split_whitespace().collect();
    let has =
        |field: usize, least, most, value: i8| values(fields[field], least, most).contains(&(value as u32));
    let weekday = match at.weekday() {
        Weekday::Sunday => has(4, 0, 7, 0) || has(4, 0, 7, 7),
        day => has(4, 0, 7, day.to_monday_one_offset()),
    };
    let day = has(2, 1, 31, at.day());
    let on_day = match (fields[2] == "*", fields[4] == "*") {
        (true, true) => true,
        (true, false) => weekday,
        (false, true) => day,
        (false, false) => day || weekday,
    };
    has(0, 0, 59, at.minute()) && has(1, 0, 23, at.hour()) && has(3, 1, 12, at.month()) && on_day
}

/// Every moment of some days, found by looking at each minute.
fn by_hand(cron: &str, zone: &TimeZone, from: Moment, days: u64) -> Vec<Moment> {
    let every_reading = cron.split_whitespace().take(2).any(|field| field.starts_with('*'));
    let reading = |moment: Moment| {
        zone.to_datetime(jiff::Timestamp::from_millisecond(moment.unix_ms.try_into().unwrap()).unwrap())
    };
    let mut found = Vec::new();
    // What the clock has shown up to here: a named time comes when it is reached or passed.
    let mut furthest = reading(from);
    for minute in 1..=days * 1440 {
        let moment = Moment { unix_ms: from.unix_ms + minute * MINUTE };
        let now = reading(moment);
        let meant = if every_reading {
            is_meant(cron, now)
        } else {
            let mut passed = false;
            while furthest < now {
                furthest = furthest.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
                passed |= is_meant(cron, furthest);
            }
            passed
        };
        if meant {
            found.push(moment);
        }
    }
    found
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("*".to_owned()),
        2 => (least..=most).prop_map(|value| value.to_string()),
        1 => (2..7_u32).prop_map(|step| format!("*/{step}")),
        1 => (least..=most, 2..9_u32).prop_map(|(from, step)| format!("{from}/{step}")),
        1 => (least..=most, 0..20_u32, 1..4_u32)
            .prop_map(move |(from, more, step)| format!("{from}-{}/{step}", (from + more).min(most))),
        1 => prop::collection::vec(least..=most, 1..4)
            .prop_map(|list| list.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    ]
}

proptest! {
    #[test]
    fn moments_are_those_that_a_look_at_every_minute_finds(
        minute in field(0, 59),
        hour in prop_oneof![3 => (0..4_u32).prop_map(|hour| hour.to_string()), 3 => field(0, 23)],
        days in prop_oneof![3 => Just("* * *".to_owned()),
            1 => (field(1, 31), field(1, 12), field(0, 6)).prop_map(|(day, month, weekday)| format!("{day} {month} {weekday}"))],
        zone in prop::sample::select(&ZONES[..]),
        // Around the days on which the clocks of these zones change.
        start in prop::sample::select(&["2026-03-06T05:17:00Z", "2026-03-27T22:00:00Z", "2026-04-03T03:00:00Z",
            "2026-09-04T12:30:00Z", "2026-10-02T11:11:00Z", "2026-10-23T20:00:00Z", "2026-10-30T09:00:00Z"][..]),
    ) {
        let cron = format!("{minute} {hour} {days}");
        let table = Timetable::new(&cron, zone).unwrap();
        let from = moment(start);
        let wanted = by_hand(&cron, &table.zone, from, 3);
        let until = from.unix_ms + 3 * 1440 * MINUTE;
        let mut found = Vec::new();
        let mut at = from;
        while let Some(next) = table.next(at).filter(|next| next.unix_ms <= until) {
            prop_assert!(next > at, "{cron} in {zone} stands still");
            found.push(next);
            at = next;
        }
        prop_assert_eq!(found, wanted, "{} in {}", cron, zone);
    }
}
