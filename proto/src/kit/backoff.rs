//! How long to wait before trying again: doubling, capped, spread by jitter.
//!
//! Randomness enters as an argument, so the sequence is a pure function and never a thundering herd.

use std::time::Duration;

/// A valid policy of waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    first: Duration,
    longest: Duration,
    jitter: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidPolicy {
    #[error("the first wait must be more than nothing")]
    NoFirstWait,
    #[error("the longest wait {longest:?} is shorter than the first, {first:?}")]
    LongestBelowFirst { first: Duration, longest: Duration },
    #[error("jitter must be from 0 to 1, not {0}")]
    JitterOutOfRange(f64),
}

impl Policy {
    /// Makes a policy whose waits are between `(1 - jitter)` of the doubled wait and the whole of it.
    pub fn new(first: Duration, longest: Duration, jitter: f64) -> Result<Self, InvalidPolicy> {
        if first.is_zero() {
            return Err(InvalidPolicy::NoFirstWait);
        }
        if longest < first {
            return Err(InvalidPolicy::LongestBelowFirst { first, longest });
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(InvalidPolicy::JitterOutOfRange(jitter));
        }
        Ok(Self { first, longest, jitter })
    }

    /// Returns the wait after `failures` failures in a row, for a random number from 0 to 1.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let random = if random > 0.0 { random.min(1.0) } else { 0.0 };
        whole.mul_f64(1.0 - self.jitter * random)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(first_ms: u64, longest_ms: u64, jitter: f64) -> Result<Policy, InvalidPolicy> {
        Policy::new(Duration::from_millis(first_ms), Duration::from_millis(longest_ms), jitter)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = policy(100, 1_000, 0.5).unwrap();
        let waits: Vec<_> = (1..=6).map(|failures| policy.wait(failures, 0.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn a_policy_that_cannot_work_is_refused() {
        assert_eq!(policy(0, 1, 0.5), Err(InvalidPolicy::NoFirstWait));
        assert!(matches!(policy(2, 1, 0.5), Err(InvalidPolicy::LongestBelowFirst { .. })));
        assert!(matches!(policy(1, 1, 1.5), Err(InvalidPolicy::JitterOutOfRange(_))));
        assert!(matches!(policy(1, 1, f64::NAN), Err(InvalidPolicy::JitterOutOfRange(_))));
    }

    proptest! {
        #[test]
        fn every_wait_stays_inside_the_policy(
            first in 1u64..10_000, more in 0u64..1_000_000, jitter in 0.0f64..=1.0,
            failures in any::<u32>(), random in any::<f64>(),
        ) {
            let policy = policy(first, first + more, jitter).unwrap();
            let wait = policy.wait(failures, random);
            prop_assert!(wait <= Duration::from_millis(first + more));
            let least = Duration::from_millis(first).mul_f64(1.0 - jitter);
            prop_assert!(wait + Duration::from_nanos(1) >= least);
        }
    }
}
