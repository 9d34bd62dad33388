//! Moments as others write them: the date of an HTTP answer, and the dates of a certificate.

/// Seconds since 1970, UTC.
pub type UnixSeconds = i64;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 86_400;

/// From when to when a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: UnixSeconds,
    pub until: UnixSeconds,
}

/// Reads `Sat, 21 Nov 2026 18:22:37 GMT`.
pub fn http_date(text: &str) -> Option<UnixSeconds> {
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let day = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    (words.next() == Some("GMT")).then_some(())?;
    moment((year, i64::try_from(month).ok()? + 1, day), (hour, minute, second))
}

/// Writes a day as `2026-11-21`.
pub fn day(moment: UnixSeconds) -> String {
    // The civil calendar, counted from the first of March of the year 0.
    let days = moment.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn moment((year, month, day): (i64, i64, i64), (hour, minute, second): (i64, i64, i64)) -> Option<i64> {
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    fits.then(|| {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let of_year = (153 * shifted + 2) / 5 + day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        days * DAY + hour * 3_600 + minute * 60 + second
    })
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads the dates of an X.509 certificate in DER form; none if it is no such thing.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, certificate, _) = element(certificate, &[SEQUENCE])?;
    let (_, mut rest, _) = element(certificate, &[SEQUENCE])?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest, &[VERSION])?.2;
    }
    // The serial number, the algorithm of the signature, who signed it.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = element(rest, &[tag])?.2;
    }
    let (_, dates, _) = element(rest, &[SEQUENCE])?;
    let times = [UTC_TIME, GENERALIZED_TIME];
    let (kind, from, rest) = element(dates, &times)?;
    let from = time(kind, from)?;
    let (kind, until, _) = element(rest, &times)?;
    Some(Validity { from, until: time(kind, until)? })
}

/// Takes one element of a tag that may stand here: its tag, its content, and what follows.
fn element<'a>(bytes: &'a [u8], tags: &[u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let (tag, rest) = bytes.split_first()?;
    tags.contains(tag).then_some(())?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let digits = rest.get(..long - 0x80).filter(|digits| (1..=4).contains(&digits.len()))?;
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, &rest[digits.len()..])
        }
    };
    let (content, rest) = (rest.get(..length)?, rest.get(length..)?);
    Some((*tag, content, rest))
}

/// Reads `261121182237Z` and `20261121182237Z`.
fn time(kind: u8, text: &[u8]) -> Option<UnixSeconds> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let long = kind == GENERALIZED_TIME;
    let (digits, rest) = text.split_at_checked(if long { 4 } else { 2 })?;
    let year: i64 = digits.parse().ok()?;
    let year = match long {
        true => year,
        false if year < 50 => 2000 + year,
        false => 1900 + year,
    };
    let part = |at: usize| rest.get(2 * at..2 * at + 2)?.parse::<i64>().ok();
    (rest.len() == 10).then_some(())?;
    moment((year, part(0)?, part(1)?), (part(2)?, part(3)?, part(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for wrong in
            ["", "now", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 XXX 1994 08:49:37 GMT"]
        {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_are_written_as_they_were_read() {
        for moment in [0, 784_111_777, 951_782_400, 1_709_164_800, 1_795_285_357, 253_402_300_799] {
            let text = day(moment);
            let read = |at: std::ops::Range<usize>| text[at].parse::<i64>().unwrap();
            let midnight = super::moment((read(0..4), read(5..7), read(8..10)), (0, 0, 0)).unwrap();
            assert_eq!(midnight, moment - moment.rem_euclid(DAY), "{text}");
        }
        assert_eq!(day(1_795_285_357), "2026-11-21");
    }

    /// A certificate without anything that is not looked at.
    fn certificate(from: (u8, &str), until: (u8, &str), version: bool) -> Vec<u8> {
        let element =
            |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let dates = [element(from.0, from.1.as_bytes()), element(until.0, until.1.as_bytes())].concat();
        let mut inner = if version { element(VERSION, &element(INTEGER, &[2])) } else { Vec::new() };
        inner.extend(element(INTEGER, &[1]));
        inner.extend(element(SEQUENCE, &[]));
        inner.extend(element(SEQUENCE, &[]));
        inner.extend(element(SEQUENCE, &dates));
        element(SEQUENCE, &element(SEQUENCE, &inner))
    }

    #[test]
    fn the_dates_of_a_certificate_are_read_in_both_forms() {
        let made = certificate((UTC_TIME, "941106084937Z"), (GENERALIZED_TIME, "20240229000000Z"), true);
        let dates = Validity { from: 784_111_777, until: 1_709_164_800 };
        assert_eq!(validity(&made), Some(dates));
        let old = certificate((UTC_TIME, "941106084937Z"), (UTC_TIME, "240229000000Z"), false);
        assert_eq!(validity(&old), Some(dates));
    }

    #[test]
    fn what_is_cut_short_or_no_certificate_has_no_dates() {
        let made = certificate((UTC_TIME, "941106084937Z"), (UTC_TIME, "240229000000Z"), true);
        for length in 0..made.len() {
            assert_eq!(validity(&made[..length]), None);
        }
        assert_eq!(validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
        assert_eq!(validity(&[0x30, 0xff, 0, 0]), None);
    }
}
