//! What a `doctor` found: a line for each thing that it looked at, and what mends each finding.
//!
//! Here are the judgements that all three programs share; they are pure. Looking at the machine is each
//! program's own. A doctor changes nothing: what it says to type is for people to type.

pub mod ask;
pub mod judge;
pub mod moment;

use std::fmt;

use serde::Serialize;

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub says: String,
    /// What to type; a line that is no command begins with `#`.
    pub mend: Vec<String>,
}

impl Finding {
    pub fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, says: says.into(), mend: Vec::new() }
    }

    pub fn warn(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, says: says.into(), mend: vec![mend.into()] }
    }

    pub fn fail(check: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, says: says.into(), mend: vec![mend.into()] }
    }

    /// Adds another line of what to type.
    #[must_use]
    pub fn or(mut self, mend: impl Into<String>) -> Self {
        self.mend.push(mend.into());
        self
    }
}

/// Everything that was looked at, in the order in which it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether something does not work.
    pub fn has_failed(&self) -> bool {
        self.count(Verdict::Fail) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Says in one line how all of it stands.
    pub fn summary(&self) -> String {
        let many = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        match (self.count(Verdict::Fail), self.count(Verdict::Warn)) {
            (0, 0) => "all is well".to_owned(),
            (0, warnings) => many(warnings, "warning"),
            (failures, 0) => many(failures, "failure"),
            (failures, warnings) => format!("{}, {}", many(failures, "failure"), many(warnings, "warning")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        for finding in &self.findings {
            let Finding { check, verdict, says, mend } = finding;
            writeln!(f, "{:<4}  {check:<wide$}  {}", verdict.word(), shown(says))?;
            for line in mend {
                writeln!(f, "      {:wide$}  $ {}", "", shown(line))?;
            }
        }
        writeln!(f, "{}", self.summary())
    }
}

/// Takes what could move a terminal's cursor out of what others said.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_mends_each_finding_and_ends_with_the_count() {
        let mut report = Report::default();
        report.add(Finding::ok("data", "/d is this user's alone"));
        report.add(Finding::warn("clock", "it is 9 s\nbehind", "timedatectl set-ntp true"));
        report.add(Finding::fail("engine", "none answers", "apt-get install docker.io").or("# or podman"));
        assert!(report.has_failed());
        insta::assert_snapshot!(report, @r"
        ok    data    /d is this user's alone
        warn  clock   it is 9 s behind
                      $ timedatectl set-ntp true
        fail  engine  none answers
                      $ apt-get install docker.io
                      $ # or podman
        1 failure, 1 warning
        ");
    }
}
