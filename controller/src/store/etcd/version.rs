//! Which etcd versions can be trusted with what.

use std::fmt;

/// `major.minor.patch` as a member tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// A version that may lose an answered write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error(
        "{endpoint} runs etcd {version}, which can lose an answered write when it crashes (etcd 14370); \
         upgrade to 3.4.21, 3.5.5 or later, or set `unsafe_version` to use it all the same"
    )]
    LosesWrites { endpoint: String, version: Version },
    #[error("{endpoint} says that it runs etcd {text:?}, which is no version of etcd")]
    Unreadable { endpoint: String, text: String },
}

/// A known fault of etcd, and the first version of each line without it.
#[derive(Debug)]
struct Bug {
    what: &'static str,
    fixed: &'static [(u32, u32)],
}

/// What this crate lives with, told once at connect. Lines that are not named have it fixed.
const BUGS: &[Bug] = &[
    Bug { what: "a slow leader that steps down revokes all leases (etcd 15247)", fixed: &[(4, 31), (5, 13)] },
    Bug { what: "a keep-alive may succeed for a lease that was revoked", fixed: &[(4, 38), (5, 23), (6, 5)] },
    Bug {
        what: "a paused member answers linearizable reads from the past (etcd 20418)",
        fixed: &[(4, 42), (5, 28), (6, 9)],
    },
    Bug { what: "a watch can lose or repeat events around compactions", fixed: &[(4, 38), (5, 22)] },
];

/// From here on the answer to a progress request comes in order with the events before it.
const PROGRESS_IN_ORDER: &[(u32, u32)] = &[(4, 25), (5, 8)];
const LOSES_NO_WRITES: &[(u32, u32)] = &[(4, 21), (5, 5)];

impl Version {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `3.4.23` and `3.6.0-rc.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.').map(|part| part.parse().ok());
        let version = Self::new(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// Tells whether a fix is in, given the first fixed patch of each minor line.
    fn has(self, fixed: &[(u32, u32)]) -> bool {
        let oldest_line = fixed.iter().map(|(minor, _)| *minor).min().unwrap_or(0);
        if self.major != 3 {
            return self.major > 3;
        }
        match fixed.iter().find(|(minor, _)| *minor == self.minor) {
            Some((_, patch)) => self.patch >= *patch,
            None => self.minor > oldest_line,
        }
    }

    pub(super) fn answers_progress_in_order(self) -> bool {
        self.has(PROGRESS_IN_ORDER)
    }

    /// Returns what is known to be wrong with it and fixed in a later one.
    pub fn known_faults(self) -> Vec<&'static str> {
        BUGS.iter().filter(|bug| !self.has(bug.fixed)).map(|bug| bug.what).collect()
    }
}

/// Reads a member's version and refuses one that loses writes, unless that is wanted.
pub fn check(endpoint: &str, text: &str, unsafe_version: bool) -> Result<Version, Distrust> {
    let version = Version::parse(text)
        .ok_or_else(|| Distrust::Unreadable { endpoint: endpoint.to_owned(), text: text.to_owned() })?;
    if version.has(LOSES_NO_WRITES) || unsafe_version {
        return Ok(version);
    }
    Err(Distrust::LosesWrites { endpoint: endpoint.to_owned(), version })
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_lose_answered_writes_are_refused_unless_wanted() {
        for old in ["3.3.27", "3.4.20", "3.5.0", "3.5.4", "2.3.8"] {
            assert!(matches!(check("a:1", old, false), Err(Distrust::LosesWrites { .. })), "{old}");
            assert!(check("a:1", old, true).is_ok(), "{old}");
        }
        for good in ["3.4.21", "3.4.23", "3.5.5", "3.6.0", "3.7.0-rc.1", "4.0.0"] {
            assert!(check("a:1", good, false).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let refusal = check("http://a:2379", "3.4.20", false).expect_err("too old");
        assert_eq!(
            refusal.to_string(),
            "http://a:2379 runs etcd 3.4.20, which can lose an answered write when it crashes \
             (etcd 14370); upgrade to 3.4.21, 3.5.5 or later, or set `unsafe_version` to use it all the same"
        );
    }

    #[test]
    fn what_is_no_version_is_refused_even_if_unsafe_ones_are_wanted() {
        for text in ["", "three", "3.4", "3.4.5.6", "3.4.x"] {
            assert!(matches!(check("a:1", text, true), Err(Distrust::Unreadable { .. })), "{text:?}");
        }
    }

    #[test]
    fn known_faults_go_line_by_line() {
        assert_eq!(Version::new(3, 4, 23).known_faults().len(), 4);
        assert_eq!(Version::new(3, 4, 42).known_faults(), Vec::<&str>::new());
        assert_eq!(Version::new(3, 6, 4).known_faults().len(), 2);
        assert_eq!(Version::new(3, 7, 0).known_faults(), Vec::<&str>::new());
    }

    #[test]
    fn progress_is_believed_only_where_it_is_in_order() {
        assert!(!Version::new(3, 4, 23).answers_progress_in_order());
        assert!(!Version::new(3, 5, 7).answers_progress_in_order());
        assert!(Version::new(3, 4, 25).answers_progress_in_order());
        assert!(Version::new(3, 6, 0).answers_progress_in_order());
    }
}
