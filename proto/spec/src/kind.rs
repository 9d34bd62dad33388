//! Which of the two files some bytes are.

use crate::problem::Findings;
use crate::source;

/// The two files that this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Pipeline,
    Job,
}

impl FileKind {
    /// Tells a job file by its `name`, which a pipeline never has and a job always has.
    pub fn of(bytes: &[u8]) -> Self {
        let root = source::read(bytes, &mut Findings::default());
        match root.is_some_and(|root| root.entry("name").is_some()) {
            true => Self::Job,
            false => Self::Pipeline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_a_name_and_a_pipeline_does_not() {
        assert_eq!(FileKind::of(b"{name: hello, image: a}"), FileKind::Job);
        assert_eq!(FileKind::of(b"image: a\nstages: [{name: build, script: make}]"), FileKind::Pipeline);
        assert_eq!(FileKind::of(b"[not, a, map"), FileKind::Pipeline);
    }
}
