//! Which git this is, and whether it is one whose checkout of a hostile repository is safe.
//!
//! CVE-2025-48384: a submodule's path that ends in a carriage return makes git run a hook. Distributions
//! mend it without a new number, which the version does not show: below the floor means *ask*, not *no*.

use std::fmt;

/// The version of a git program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

/// How a version stands to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    Met,
    /// Older than the mended release of its line; a distribution may have mended it nonetheless.
    Below,
}

/// The first patch of each line that holds the mend; later lines have it from their first.
const MENDED: &[(u16, u16, u16)] =
    &[(2, 43, 7), (2, 44, 4), (2, 45, 4), (2, 46, 4), (2, 47, 3), (2, 48, 2), (2, 49, 1), (2, 50, 1)];

impl Version {
    /// Reads what `git version` prints.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.trim().strip_prefix("git version ")?.split_whitespace().next()?;
        let mut parts = number.split(['.', '-']).map(|part| part.parse().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(Self { major, minor, patch: parts.next().flatten().unwrap_or(0) })
    }

    pub fn floor(self) -> Floor {
        let line = MENDED.iter().find(|line| (line.0, line.1) == (self.major, self.minor));
        let met = match line {
            Some((_, _, patch)) => self.patch >= *patch,
            None => (self.major, self.minor) > (2, 50),
        };
        if met { Floor::Met } else { Floor::Below }
    }

    /// Tells an operator what a version below the floor means.
    pub fn advice(self) -> Option<String> {
        match self.floor() {
            Floor::Met => None,
            Floor::Below => Some(format!(
                "git {self} may run a hook of a hostile submodule (CVE-2025-48384): submodules are refused. \
                 Install git 2.43.7, 2.47.3, 2.50.1 or later; or allow them if your distribution has mended \
                 it under the old number (Debian 12: 1:2.39.5-0+deb12u2 and later)"
            )),
        }
    }
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
    fn each_line_has_a_floor_of_its_own() {
        let floor = |text: &str| Version::parse(&format!("git version {text}\n")).unwrap().floor();
        for met in ["2.43.7", "2.47.3", "2.50.1", "2.51.0", "2.53.0.rc1", "3.0.0", "2.50.1 (Apple Git-155)"] {
            assert_eq!(floor(met), Floor::Met, "{met}");
        }
        for below in ["2.39.5", "2.43.6", "2.47.2", "2.50.0", "1.9.1", "2.50.0-rc1", "2.17"] {
            assert_eq!(floor(below), Floor::Below, "{below}");
        }
        assert_eq!(Version::parse("git version unknown"), None);
        assert!(Version::parse("git version 2.39.5").unwrap().advice().unwrap().contains("deb12u2"));
    }
}
