//! How often an address may be wrong.
//!
//! Only failures count, and a right credential is always let in: an attacker must not be able to
//! shut out those who share his address. What is remembered is bounded, whoever asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Failures of each address. An IPv6 network of 64 bits counts as one address.
#[derive(Debug)]
pub struct FailureLimit {
    per_address: Pace,
    all: Pace,
    /// When each address will have made good for its failures.
    addresses: HashMap<IpAddr, Instant>,
    everyone: Option<Instant>,
}

/// The failure is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyFailures {
    pub retry_after: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    every: Duration,
    at_once: u32,
}

/// Addresses that are remembered: about 6 MB.
const ADDRESSES_MAX: usize = 1 << 16;

impl Default for FailureLimit {
    fn default() -> Self {
        Self {
            per_address: Pace { every: Duration::from_secs(6), at_once: 10 },
            // 100,000 an hour, from everywhere together.
            all: Pace { every: Duration::from_millis(36), at_once: 1_000 },
            addresses: HashMap::new(),
            everyone: None,
        }
    }
}

impl FailureLimit {
    /// Counts a failure, or says that it is one too many; that one is not counted.
    pub fn count(&mut self, address: IpAddr, now: Instant) -> Result<(), TooManyFailures> {
        let address = network(address);
        let all = self.all.step(self.everyone, now)?;
        let known = self.addresses.get(&address).copied();
        let own = self.per_address.step(known, now)?;
        if known.is_none() && self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.retain(|_, good| *good > now);
        }
        // When even the others are all in use, the limit of all together is what is left.
        if known.is_some() || self.addresses.len() < ADDRESSES_MAX {
            self.addresses.insert(address, own);
        }
        self.everyone = Some(all);
        Ok(())
    }

    /// Tells whether another failure of this address would be too many.
    pub fn is_over(&self, address: IpAddr, now: Instant) -> bool {
        let known = self.addresses.get(&network(address)).copied();
        self.per_address.step(known, now).is_err() || self.all.step(self.everyone, now).is_err()
    }
}

impl Pace {
    /// Returns the moment by which everything so far is made good for.
    fn step(self, good: Option<Instant>, now: Instant) -> Result<Instant, TooManyFailures> {
        let next = good.map_or(now, |good| good.max(now)) + self.every;
        let limit = now + self.every * self.at_once;
        if next > limit { Err(TooManyFailures { retry_after: next - limit }) } else { Ok(next) }
    }
}

/// Returns the address that counts for all of its network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[tokio::test(start_paused = true)]
    async fn ten_failures_at_once_then_one_every_six_seconds() {
        let (mut limit, start) = (FailureLimit::default(), Instant::now());
        for _ in 0..10 {
            assert!(!limit.is_over(v4(1), start));
            limit.count(v4(1), start).unwrap();
        }
        assert!(limit.is_over(v4(1), start));
        let refused = limit.count(v4(1), start);
        assert_eq!(refused, Err(TooManyFailures { retry_after: Duration::from_secs(6) }));
        assert_eq!(limit.count(v4(2), start), Ok(()), "another address is not concerned");
        assert_eq!(limit.count(v4(1), start + Duration::from_secs(6)), Ok(()));
        assert!(limit.count(v4(1), start + Duration::from_secs(6)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_addresses_cost_no_more_than_some_thousands() {
        let (mut limit, start) = (FailureLimit::default(), Instant::now());
        for number in 0..1_000_000u32 {
            let now = start + Duration::from_millis(36) * number;
            limit.count(v4(number), now).unwrap();
            assert!(limit.addresses.len() <= ADDRESSES_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_may_be_wrong_a_hundred_thousand_times_an_hour() {
        let (mut limit, start) = (FailureLimit::default(), Instant::now());
        let mut counted = 0;
        for number in 0..400_000u32 {
            let now = start + Duration::from_millis(9) * number;
            counted += u32::from(limit.count(v4(number), now).is_ok());
        }
        assert!((99_000..=101_100).contains(&counted), "{counted}");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2:3::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:10.0.0.1"), v4(0x0a00_0001));
    }
}
