//! The judgements that all doctors share. They are told what was seen, and decide how it stands.

use super::Finding;
use super::moment::{self, UnixSeconds, Validity};
use crate::kit::words::bytes;

const DAY: i64 = 86_400;
/// A certificate that ends sooner is warned of.
const SOON: i64 = 21 * DAY;
/// Clocks of one network differ by so much, an answer's way included.
const CLOCK_WARN: u64 = 5;
/// Beyond this, times in logs and schedules mean nothing.
const CLOCK_FAIL: u64 = 60;

/// What is known of a folder or file that is private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// The permission bits.
    pub mode: u32,
    pub owner: u32,
}

/// Judges the room on a disk below which a program stops taking work.
pub fn disk(check: &'static str, path: &str, free: u64, floor: u64) -> Finding {
    let says = format!("{} free under {path}", bytes(free));
    let see = format!("du -xh --max-depth=2 {path} | sort -h | tail");
    if free < floor {
        Finding::fail(check, format!("{says}; below {} no new work is taken", bytes(floor)), see)
    } else if free / 2 < floor {
        Finding::warn(check, format!("{says}; it is near the floor of {}", bytes(floor)), see)
    } else {
        Finding::ok(check, says)
    }
}

/// Judges whether what is private is: `others` are the bits that nobody else may have.
pub fn private(check: &'static str, path: &str, rights: Rights, user: u32, others: u32) -> Finding {
    if rights.owner != user {
        let says = format!("{path} belongs to user {}, and this is user {user}", rights.owner);
        return Finding::fail(check, says, format!("chown -R {user} {path}"));
    }
    if rights.mode & others != 0 {
        let says = format!("{path} can be used by others: its mode is {:03o}", rights.mode & 0o777);
        return Finding::fail(check, says, format!("chmod {:03o} {path}", rights.mode & 0o777 & !others));
    }
    Finding::ok(check, format!("{path} is this user's alone"))
}

/// Judges this machine's clock by the one that answered. `way` is how long the answer took, in seconds.
pub fn clock(whose: &str, here: UnixSeconds, there: UnixSeconds, way: u64) -> Finding {
    let apart = here.abs_diff(there).saturating_sub(way);
    let side = if here > there { "ahead of" } else { "behind" };
    let says = format!("this machine's clock is {apart} s {side} {whose}");
    let mend = "timedatectl set-ntp true";
    match apart {
        0..=1 => Finding::ok("clock", format!("it is the same as that of {whose}")),
        2..=CLOCK_WARN => Finding::ok("clock", says),
        _ if apart <= CLOCK_FAIL => Finding::warn("clock", says, mend),
        _ => Finding::fail("clock", says, mend),
    }
}

/// Judges the git of this machine: its version and what is to be said of it, or why there is none.
pub fn git(found: Result<(String, Option<String>), String>) -> Finding {
    let install = "apt-get install git";
    match found {
        Ok((version, None)) => Finding::ok("git", format!("git {version}")),
        Ok((_, Some(advice))) => Finding::warn("git", advice, install),
        Err(why) => Finding::fail("git", format!("repositories cannot be read: {why}"), install),
    }
}

/// Judges the dates of a certificate. `renew` is what to type for a new one.
pub fn certificate(whose: &str, dates: Option<Validity>, now: UnixSeconds, renew: &str) -> Finding {
    let check = "certificate";
    let Some(Validity { from, until }) = dates else {
        return Finding::fail(check, format!("{whose} has no dates that can be read"), renew);
    };
    let day = moment::day(until);
    if now < from {
        let says = format!("{whose} counts only from {}", moment::day(from));
        Finding::fail(check, says, "date; timedatectl set-ntp true").or(renew)
    } else if now > until {
        Finding::fail(check, format!("{whose} has expired on {day}"), renew)
    } else if until - now < SOON {
        let left = (until - now) / DAY;
        Finding::warn(check, format!("{whose} expires on {day}, in {left} days"), renew)
    } else {
        Finding::ok(check, format!("{whose} counts until {day}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_disk_is_warned_of_before_its_floor() {
        let verdict = |free| disk("disk", "/d", free, 2 * GIB).verdict;
        assert_eq!(verdict(2 * GIB - 1), Verdict::Fail);
        assert_eq!(verdict(2 * GIB), Verdict::Warn);
        assert_eq!(verdict(4 * GIB - 2), Verdict::Warn);
        assert_eq!(verdict(4 * GIB), Verdict::Ok);
        assert_eq!(disk("disk", "/d", 3 * GIB / 2, 0).says, "1.5 GiB free under /d");
    }

    #[test]
    fn rights_are_mended_by_what_is_said() {
        let open = private("data", "/d", Rights { mode: 0o755, owner: 1 }, 1, 0o066);
        assert_eq!((open.verdict, &open.mend[..]), (Verdict::Fail, &["chmod 711 /d".to_owned()][..]));
        let passed = private("data", "/d", Rights { mode: 0o711, owner: 1 }, 1, 0o066);
        assert_eq!(passed.verdict, Verdict::Ok);
        let foreign = private("data", "/d", Rights { mode: 0o700, owner: 0 }, 1, 0o066);
        assert_eq!((foreign.verdict, &foreign.mend[..]), (Verdict::Fail, &["chown -R 1 /d".to_owned()][..]));
    }

    #[test]
    fn clocks_may_differ_by_what_the_answer_took() {
        let verdict = |here, way| clock("c", here, 1_000, way).verdict;
        assert_eq!(verdict(1_001, 0), Verdict::Ok);
        assert_eq!(verdict(1_009, 0), Verdict::Warn);
        assert_eq!(verdict(1_009, 5), Verdict::Ok);
        assert_eq!(verdict(900, 0), Verdict::Fail);
        assert_eq!(clock("c", 900, 1_000, 0).says, "this machine's clock is 100 s behind c");
    }

    #[test]
    fn a_certificate_has_a_beginning_and_an_end() {
        let dates = Some(Validity { from: 100 * DAY, until: 200 * DAY });
        let verdict = |day: i64| certificate("its certificate", dates, day * DAY, "renew").verdict;
        assert_eq!(verdict(99), Verdict::Fail);
        assert_eq!(verdict(100), Verdict::Ok);
        assert_eq!(verdict(180), Verdict::Warn);
        assert_eq!(verdict(201), Verdict::Fail);
        assert_eq!(certificate("c", None, 0, "renew").verdict, Verdict::Fail);
    }
}
