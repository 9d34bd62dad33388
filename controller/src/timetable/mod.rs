//! The moments of a cron text in a time zone.
//!
//! The cron text is matched on the clock on the wall, which changes with summer time; this says what
//! that means. A text whose minute and hour are named, as `30 2 * * *`, means those times of each day:
//! one that the day does not have comes when the clock has jumped over it, one that it has twice comes
//! the first time. A text whose minute or hour begins with `*`, as `*/20 * * * *`, means the clock's
//! every such reading: what is jumped over does not come, what is shown twice comes twice.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use ocelot_domain::schedule::Moment;

/// Times in a row that a search may pass over: more than the minutes that a clock shows twice.
const PASSED_OVER_MAX: usize = 2000;
/// Changes of a zone's clock that one search goes through: some texts come once in eight years.
const CHANGES_MAX: usize = 200;

/// The moments of one schedule.
#[derive(Debug, Clone)]
pub(crate) struct Timetable {
    cron: Cron,
    zone: TimeZone,
    /// Every reading of the clock counts, not the times of a day.
    every_reading: bool,
}

/// Why there is no such timetable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTimetable {
    #[error("{zone:?} is no time zone: write one as `Europe/Berlin` or `UTC`")]
    Zone { zone: String },
    #[error("{cron:?} is not understood as a cron text: {why}")]
    Cron { cron: String, why: String },
}

impl Timetable {
    pub(crate) fn new(cron: &str, zone: &str) -> Result<Self, NoTimetable> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser
            .parse(&spelled_out(cron))
            .map_err(|why| NoTimetable::Cron { cron: cron.to_owned(), why: why.to_string() })?;
        let zone = match zone {
            "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| NoTimetable::Zone { zone: name.to_owned() })?,
        };
        let every_reading = cron.split_whitespace().take(2).any(|field| field.starts_with('*'));
        Ok(Self { cron: parsed, zone, every_reading })
    }

    /// Returns the first moment after `after`; none if none comes within the calendar.
    pub(crate) fn next(&self, after: Moment) -> Option<Moment> {
        let after = jiff::Timestamp::from_millisecond(i64::try_from(after.unix_ms).ok()?).ok()?;
        let next = if self.every_reading { self.next_reading(after) } else { self.next_of_a_day(after) };
        let unix_ms = u64::try_from(next?.as_millisecond()).ok()?;
        Some(Moment { unix_ms })
    }

    /// Returns a moment as the zone's clock shows it.
    pub(crate) fn shown(&self, moment: Moment) -> String {
        let at = i64::try_from(moment.unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        at.map(|at| at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string())
            .unwrap_or_default()
    }

    /// Times of a day follow each other on the wall as they do in truth, but several may be one moment.
    fn next_of_a_day(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut reading = self.zone.to_datetime(after);
        for _ in 0..PASSED_OVER_MAX {
            reading = self.cron.find_next_occurrence(&reading, false).ok()?;
            let moment = self.first(reading)?;
            if moment > after {
                return Some(moment);
            }
        }
        None
    }

    /// Returns the first moment at which the clock shows this, or has jumped over it.
    fn first(&self, reading: DateTime) -> Option<jiff::Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(reading);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            // Read by the offset from before, it lies behind the jump, which is the last one before it.
            AmbiguousOffset::Gap { before, .. } => {
                let behind = before.to_timestamp(reading).ok()?;
                let after = behind.checked_add(jiff::SignedDuration::from_millis(1)).ok()?;
                self.zone.preceding(after).next().map(|change| change.timestamp())
            }
        }
    }

    /// Between two changes of the zone's clock it only goes forward.
    fn next_reading(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        for _ in 0..CHANGES_MAX {
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next().map(|change| change.timestamp());
            let reading = self.cron.find_next_occurrence(&offset.to_datetime(from), inclusive).ok()?;
            let moment = offset.to_timestamp(reading).ok()?;
            match change {
                Some(change) if moment >= change => (from, inclusive) = (change, true),
                Some(_) | None => return Some(moment),
            }
        }
        None
    }
}

/// Returns a cron text whose steps all have a range: `5/10` begins at 5 and goes on to the field's end.
fn spelled_out(cron: &str) -> String {
    const ENDS: [u32; 5] = [59, 23, 31, 12, 7];
    let of_field = |(field, end): (&str, u32)| {
        let parts = field.split(',').map(|part| match part.split_once('/') {
            Some((from, step)) if from != "*" && !from.contains('-') => format!("{from}-{end}/{step}"),
            Some(_) | None => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join(",")
    };
    cron.split_whitespace().zip(ENDS).map(of_field).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
