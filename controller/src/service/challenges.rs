//! Challenges that were given out: each is answered once and soon, or forgotten.
//!
//! Anybody may ask for one, so what is remembered is bounded, and whoever asks too much pushes out
//! its own: an address its own oldest, and where all is full, the address that has most. An IPv6
//! network of 64 bits counts as one address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ocelot_core::id::ExecutorId;

use crate::auth::network;

/// How long a challenge may be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Of all addresses together: about 8 MB.
const ALL_MAX: usize = 40_000;
/// Of one address: a whole fleet may stand behind one, and comes back all at once.
const ADDRESS_MAX: usize = 20_000;

type Key = [u8; 32];

#[derive(Debug)]
struct Given {
    executor: ExecutorId,
    since: Duration,
    from: Option<IpAddr>,
}

#[derive(Debug, Default)]
pub(super) struct Challenges {
    given: BTreeMap<Key, Given>,
    by_age: BTreeSet<(Duration, Key)>,
    /// Those of each address, the oldest first.
    by_address: BTreeMap<Option<IpAddr>, BTreeSet<(Duration, Key)>>,
}

impl Challenges {
    /// Remembers a new one.
    pub(super) fn give(&mut self, key: Key, executor: ExecutorId, from: Option<IpAddr>, now: Duration) {
        self.forget_old(now);
        let from = from.map(network);
        let own = self.by_address.get(&from).map_or(0, BTreeSet::len);
        if own >= ADDRESS_MAX {
            self.forget_first_of(from);
        } else if self.given.len() >= ALL_MAX {
            let heaviest = self.by_address.iter().max_by_key(|(_, own)| own.len()).map(|(from, _)| *from);
            heaviest.into_iter().for_each(|heaviest| self.forget_first_of(heaviest));
        }
        self.given.insert(key, Given { executor, since: now, from });
        self.by_age.insert((now, key));
        self.by_address.entry(from).or_default().insert((now, key));
    }

    /// Takes one that is answered; returns whom it was given to, if that was not too long ago.
    pub(super) fn take(&mut self, key: &Key, now: Duration) -> Option<ExecutorId> {
        let given = self.forget(key)?;
        (now.saturating_sub(given.since) < ANSWERED_WITHIN).then_some(given.executor)
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((since, key)) = self.by_age.first().copied() {
            if now.saturating_sub(since) < ANSWERED_WITHIN {
                return;
            }
            self.forget(&key);
        }
    }

    fn forget_first_of(&mut self, from: Option<IpAddr>) {
        let first = self.by_address.get(&from).and_then(BTreeSet::first).copied();
        first.and_then(|(_, key)| self.forget(&key));
    }

    fn forget(&mut self, key: &Key) -> Option<Given> {
        let given = self.given.remove(key)?;
        self.by_age.remove(&(given.since, *key));
        if let Some(own) = self.by_address.get_mut(&given.from) {
            own.remove(&(given.since, *key));
            if own.is_empty() {
                self.by_address.remove(&given.from);
            }
        }
        Some(given)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const EXECUTOR: ExecutorId = ExecutorId::from_bytes([7; 16]);

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    fn key(number: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn a_challenge_is_answered_once_and_within_its_time() {
        let mut challenges = Challenges::default();
        challenges.give(key(1), EXECUTOR, address(1), Duration::ZERO);
        challenges.give(key(2), EXECUTOR, address(1), Duration::ZERO);
        assert_eq!(challenges.take(&key(1), Duration::from_secs(29)), Some(EXECUTOR));
        assert_eq!(challenges.take(&key(1), Duration::from_secs(29)), None);
        assert_eq!(challenges.take(&key(2), Duration::from_secs(30)), None);
        challenges.give(key(3), EXECUTOR, address(1), Duration::from_secs(40));
        assert_eq!((challenges.given.len(), challenges.by_age.len(), challenges.by_address.len()), (1, 1, 1));
    }

    #[test]
    fn an_address_that_floods_pushes_out_nobody_but_itself() {
        let mut challenges = Challenges::default();
        challenges.give(key(0), EXECUTOR, address(1), Duration::ZERO);
        for number in 1..=50_000 {
            challenges.give(key(number), EXECUTOR, address(2), Duration::from_millis(1));
        }
        assert_eq!(challenges.given.len(), 1 + ADDRESS_MAX);
        assert_eq!(challenges.take(&key(0), Duration::from_millis(2)), Some(EXECUTOR));
        assert_eq!(challenges.take(&key(50_000), Duration::from_millis(2)), Some(EXECUTOR));
        assert_eq!(challenges.take(&key(1), Duration::from_millis(2)), None);
    }

    #[test]
    fn where_all_is_full_the_address_that_has_most_makes_room() {
        let mut challenges = Challenges::default();
        challenges.give(key(0), EXECUTOR, address(99), Duration::ZERO);
        for number in 1..=60_000 {
            challenges.give(key(number), EXECUTOR, address(number % 20), Duration::from_millis(1));
        }
        assert_eq!(challenges.given.len(), ALL_MAX);
        assert_eq!(challenges.take(&key(0), Duration::from_millis(2)), Some(EXECUTOR));
    }
}
