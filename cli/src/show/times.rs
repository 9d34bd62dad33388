//! Times as people read them: how long ago, how long it took, and the moment where it matters.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Where and when the reader is.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) now_us: i64,
}

impl Times {
    /// Returns how long ago a moment was, or how long it is until then; nothing for none.
    pub(crate) fn ago(&self, unix_us: i64) -> String {
        match unix_us {
            0 => "-".to_owned(),
            then if then > self.now_us + 1_000_000 => format!("in {}", coarse(then - self.now_us)),
            then => match coarse(self.now_us - then) {
                text if text == "0s" => "just now".to_owned(),
                text => format!("{text} ago"),
            },
        }
    }

    /// Returns a moment in the reader's own time, to the second.
    pub(crate) fn moment(&self, unix_us: i64) -> String {
        if unix_us == 0 {
            return "-".to_owned();
        }
        let Ok(moment) = Timestamp::from_microsecond(unix_us) else { return "-".to_owned() };
        moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    /// Returns a moment in the time of everybody, to the second.
    pub(crate) fn utc(&self, unix_us: i64) -> String {
        let moment = Timestamp::from_microsecond(unix_us).ok().filter(|_| unix_us != 0);
        moment.map_or("-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
    }

    /// Understands `2h`, `3d`, `today`, `yesterday`, a date, a date and time, and RFC 3339.
    pub(crate) fn since(&self, text: &str) -> Option<i64> {
        let zone = TimeZone::system();
        let now = Timestamp::from_microsecond(self.now_us).ok()?.to_zoned(zone.clone());
        let at = match text {
            "today" => now.start_of_day().ok()?.timestamp(),
            "yesterday" => now.checked_sub(1.day()).ok()?.start_of_day().ok()?.timestamp(),
            _ => match parse_duration(text.strip_suffix(" ago").unwrap_or(text)) {
                Some(before) => return self.now_us.checked_sub(i64::try_from(before.as_micros()).ok()?),
                None => match (text.parse::<Timestamp>(), text.parse::<jiff::civil::DateTime>()) {
                    (Ok(moment), _) => moment,
                    (_, Ok(local)) => local.to_zoned(zone).ok()?.timestamp(),
                    _ => text.parse::<jiff::civil::Date>().ok()?.to_zoned(zone).ok()?.timestamp(),
                },
            },
        };
        Some(at.as_microsecond())
    }
}

/// Returns a moment for scripts: RFC 3339 in UTC, to the microsecond; nothing for none.
pub(crate) fn precise(unix_us: i64) -> Option<String> {
    let moment = Timestamp::from_microsecond(unix_us).ok().filter(|_| unix_us != 0)?;
    Some(format!("{moment:.6}"))
}

/// The largest unit that fits, and no more.
fn coarse(us: i64) -> String {
    let seconds = us.max(0) / 1_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns how long something took, as exactly as it matters.
pub(crate) fn duration(us: i64) -> String {
    let us = us.max(0);
    let seconds = us / 1_000_000;
    match us {
        0..1_000 => format!("{us}µs"),
        1_000..10_000 => format!("{}.{}ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{}ms", us / 1_000),
        1_000_000..60_000_000 => format!("{seconds}.{}s", us % 1_000_000 / 100_000),
        _ if seconds < 3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Understands `90s`, `15m`, `1h30m`, `7d`, `500ms`, `2w`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut whole = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let ms: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        rest = &rest[letters..];
        whole = whole.checked_add(Duration::from_millis(number.checked_mul(ms)?))?;
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { now_us: 1_795_238_400_000_000 };

    #[test]
    fn how_long_something_took_is_as_exact_as_it_matters() {
        let shown = [0, 850, 4_230, 45_000, 1_200_000, 75_000_000, 7_260_000_000].map(duration);
        assert_eq!(shown, ["0µs", "850µs", "4.2ms", "45ms", "1.2s", "1m15s", "2h01m"]);
    }

    #[test]
    fn a_moment_is_told_by_its_distance() {
        let ago = |seconds: i64| TIMES.ago(TIMES.now_us - seconds * 1_000_000);
        assert_eq!(
            [ago(0), ago(59), ago(3_599), ago(86_399), ago(86_400)],
            ["just now", "59s ago", "59m ago", "23h ago", "1d ago"]
        );
        assert_eq!(TIMES.ago(TIMES.now_us + 900_000_000), "in 15m");
        assert_eq!(TIMES.ago(0), "-");
    }

    #[test]
    fn durations_are_read_as_they_are_said() {
        let read = ["90s", "1h30m", "7d", "500ms"].map(|text| parse_duration(text).unwrap().as_millis());
        assert_eq!(read, [90_000, 5_400_000, 604_800_000, 500]);
        for wrong in ["", "5", "h", "1y", "-1s", "99999999999999999999s", "18446744073709551615w"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn since_takes_what_people_say() {
        assert_eq!(TIMES.since("2h"), Some(TIMES.now_us - 7_200_000_000));
        assert_eq!(TIMES.since("2026-11-20T08:00:00Z"), Some(1_795_161_600_000_000));
        assert!(TIMES.since("yesterday") < TIMES.since("today"));
        assert!(TIMES.since("2026-11-20").is_some());
        assert_eq!(TIMES.since("soon"), None);
    }
}
