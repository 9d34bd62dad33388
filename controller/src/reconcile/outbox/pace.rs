//! What is told now, and what waits: for another controller's claim, for a pause after failures, for
//! room at its host. Pure; each controller measures its own waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ocelot_proto::kit::backoff::Policy;

use crate::records::OutboxStep;
use crate::service::Owed;
use crate::store::Revision;

/// How long another controller's claim is heeded: twice as long as one telling may take, and more.
const CLAIM: Duration = Duration::from_secs(30);
/// After which a terminal state is looked at once where the forge can be read.
const LOOK: Duration = Duration::from_secs(60);
/// Open at one host; one only while it fails.
const AT_HOST: usize = 4;
/// Open at all hosts.
const AT_ALL: usize = 48;

/// An entry, and the host that it waits for.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) owed: Owed,
    pub(super) host: String,
}

/// How a telling ended.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) key: String,
    pub(super) host: String,
    pub(super) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    /// It failed: not before a wait, which may be the other side's own word.
    Later {
        wait: Option<Duration>,
        /// It is the host that fails, for everybody.
        is_hosts: bool,
    },
}

#[derive(Debug)]
struct Entry {
    revision: Revision,
    /// When this version was seen first.
    since: Duration,
    failures: u32,
    not_before: Duration,
    is_open: bool,
}

#[derive(Debug, Default)]
struct Host {
    open: usize,
    failures: u32,
    not_before: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Pace {
    entries: BTreeMap<String, Entry>,
    hosts: BTreeMap<String, Host>,
}

impl Pace {
    /// Returns what is to be told now; it counts as open until [`Pace::done`].
    pub(super) fn due(&mut self, seen: Vec<Seen>, own: &str, now: Duration) -> Vec<Seen> {
        let there: BTreeSet<String> = seen.iter().map(|seen| seen.owed.key.clone()).collect();
        let waited_for: BTreeSet<String> = seen.iter().map(|seen| seen.host.clone()).collect();
        self.entries.retain(|key, entry| entry.is_open || there.contains(key));
        self.hosts.retain(|name, host| host.open > 0 || waited_for.contains(name));
        let mut due = Vec::new();
        for seen in seen {
            let revision = seen.owed.revision;
            let fresh = Entry { revision, since: now, failures: 0, not_before: now, is_open: false };
            let entry = self.entries.entry(seen.owed.key.clone()).or_insert(fresh);
            if entry.revision != revision {
                (entry.revision, entry.since) = (revision, now);
            }
            let open: usize = self.hosts.values().map(|host| host.open).sum();
            let host = self.hosts.entry(seen.host.clone()).or_default();
            let room = if host.failures > 0 { 1 } else { AT_HOST };
            let is_free = host.open < room && open < AT_ALL && now >= host.not_before;
            if is_free && !entry.is_open && now >= entry.not_before && is_ripe(&seen.owed, entry, own, now) {
                entry.is_open = true;
                host.open += 1;
                due.push(seen);
            }
        }
        due
    }

    /// Notes how a telling ended; `random` is from 0 to 1.
    pub(super) fn done(&mut self, told: Told, now: Duration, random: f64) {
        let host = self.hosts.entry(told.host).or_default();
        host.open = host.open.saturating_sub(1);
        let entry = self.entries.get_mut(&told.key);
        match told.end {
            End::Done => {
                (host.failures, host.not_before) = (0, now);
                if let Some(entry) = entry {
                    (entry.is_open, entry.failures, entry.not_before) = (false, 0, now);
                }
            }
            End::Later { wait, is_hosts } => {
                if is_hosts {
                    host.failures = host.failures.saturating_add(1);
                    let pause = policy(Duration::from_secs(60)).wait(host.failures, random);
                    host.not_before = now + wait.unwrap_or(pause);
                }
                if let Some(entry) = entry {
                    entry.is_open = false;
                    entry.failures = entry.failures.saturating_add(1);
                    let pause = policy(Duration::from_secs(300)).wait(entry.failures, random);
                    entry.not_before = now + wait.unwrap_or(pause);
                }
            }
        }
    }
}

fn policy(longest: Duration) -> Policy {
    Policy::new(Duration::from_secs(1), longest, 0.5).expect("a second is shorter than a minute")
}

/// Tells whether an entry's own time has come.
fn is_ripe(owed: &Owed, entry: &Entry, own: &str, now: Duration) -> bool {
    let age = now.saturating_sub(entry.since);
    match &owed.entry.step {
        OutboxStep::Owed { claim: None, .. } => true,
        OutboxStep::Owed { claim: Some(by), .. } => by == own || age >= CLAIM,
        OutboxStep::Posted => age >= LOOK,
        OutboxStep::GivenUp { .. } => false,
    }
}
