//! Keeping etcd small: who compacts, to where, and when a member is defragmented.
//!
//! etcd's own auto-compaction is to be off, because it knows nothing of how long our readers need
//! history. One controller does it, the one whose name is in the claim record; another takes over when
//! the record stands still for [`TAKEOVER`] by its own clock. The claim only spares work: two that
//! compact do no harm. What to do is decided here without a clock; [`super::Etcd::upkeep_once`] does it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::maintenance::MemberStatus;
use crate::store::{KeyValue, Revision};

/// The time between two passes.
pub const PASS: Duration = Duration::from_secs(10);
/// How long history is kept, so that a watch that was away can resume.
const KEEP: Duration = Duration::from_secs(120);
const KEEP_WHEN_FILLING: Duration = Duration::from_secs(30);
const FILLING: f64 = 0.4;
/// A claim that stands still for so long is taken over.
const TAKEOVER: Duration = Duration::from_secs(45);
/// A member is worth defragmenting when so much of its file is free, and the file is not small.
const FREE_PART: f64 = 0.5;
/// A full member is defragmented after a compaction whatever it says about its free space: it only
/// counts anew when something is written, and nothing is. Again after this time, if it stays full.
const AGAIN: Duration = Duration::from_secs(300);
const SMALL_BYTES: u64 = 16 * 1024 * 1024;
/// Writes are let in again below this, or the alarm would come straight back.
const ROOM: f64 = 0.9;
/// More passes than fit into [`KEEP`].
const SAMPLES_MAX: usize = 64;

/// The claim record's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    version: u32,
    holder: String,
}

const CLAIM_VERSION: u32 = 1;

/// One controller's part in the upkeep.
#[derive(Debug)]
pub struct Upkeep {
    name: String,
    /// The claim as last seen to change, and when.
    stands: Option<(Revision, Duration)>,
    /// Revisions and when they were the newest, oldest first.
    samples: VecDeque<(Duration, Revision)>,
    compacted: Revision,
    /// When each member was last defragmented while etcd was out of space.
    defragmented: BTreeMap<usize, Duration>,
}

/// What to do about the claim record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClaimStep {
    /// Write our name if the record is still at this revision, or still absent.
    Take { value: String, at: Option<Revision> },
    /// Another one holds it.
    Leave,
}

/// What a pass found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub revision: Revision,
    pub out_of_space: bool,
    /// By member; none where a member did not answer.
    pub members: Vec<Option<MemberStatus>>,
}

/// What one pass does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Compact(Revision),
    /// The member's place among the endpoints.
    Defragment(usize),
    /// Let writes in again.
    Disarm,
}

impl Upkeep {
    /// `name` is this controller's; no two may share it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stands: None,
            samples: VecDeque::new(),
            compacted: Revision(0),
            defragmented: BTreeMap::new(),
        }
    }

    /// Decides about the claim record as it stands.
    pub(super) fn claim(&mut self, now: Duration, record: Option<&KeyValue>) -> ClaimStep {
        let value = serde_json::to_string(&Claim { version: CLAIM_VERSION, holder: self.name.clone() })
            .expect("a claim is plain text");
        let Some(record) = record else { return ClaimStep::Take { value, at: None } };
        let at = record.mod_revision;
        let ours = serde_json::from_slice::<Claim>(&record.value)
            .is_ok_and(|claim| claim.version == CLAIM_VERSION && claim.holder == self.name);
        let since = match self.stands {
            Some((revision, since)) if revision == at => since,
            Some(_) | None => {
                self.stands = Some((at, now));
                now
            }
        };
        if ours || now.saturating_sub(since) >= TAKEOVER {
            return ClaimStep::Take { value, at: Some(at) };
        }
        // What was noted while another one held the claim is of no use.
        self.samples.clear();
        ClaimStep::Leave
    }

    /// Forgets the last compaction that was planned, so that it is planned again.
    pub(super) fn compaction_failed(&mut self) {
        self.compacted = Revision(0);
    }

    /// Decides what the holder of the claim does now.
    pub(super) fn plan(&mut self, now: Duration, found: &Found) -> Vec<Task> {
        let mut tasks = Vec::new();
        let known = || found.members.iter().flatten();
        let fullness = known().map(MemberStatus::fullness).fold(0.0, f64::max);
        let keep = if fullness > FILLING { KEEP_WHEN_FILLING } else { KEEP };
        self.note(now, found.revision);
        let old = self.samples.iter().rev().find(|(at, _)| now.saturating_sub(*at) >= keep);
        if let Some((_, revision)) = old
            && *revision > self.compacted
        {
            self.compacted = *revision;
            tasks.push(Task::Compact(*revision));
        }
        // With one member away, another one's absence could cost the majority.
        if found.members.iter().any(Option::is_none) {
            return tasks;
        }
        if !found.out_of_space {
            self.defragmented.clear();
            tasks.extend(leader_last(found, |_, member| {
                member.free_part() > FREE_PART && member.file_bytes > SMALL_BYTES
            }));
        } else if known().all(|member| member.fullness() < ROOM) {
            tasks.push(Task::Disarm);
        } else if tasks.is_empty() && self.compacted > Revision(0) {
            let task = leader_last(found, |index, _| {
                self.defragmented.get(&index).is_none_or(|at| now.saturating_sub(*at) >= AGAIN)
            });
            if let Some(Task::Defragment(index)) = task {
                self.defragmented.insert(index, now);
            }
            tasks.extend(task);
        }
        tasks
    }

    fn note(&mut self, now: Duration, revision: Revision) {
        self.samples.push_back((now, revision));
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }
}

/// Returns the defragmentation of one member that is worth it, the leader last.
fn leader_last(found: &Found, worth: impl Fn(usize, &MemberStatus) -> bool) -> Option<Task> {
    let members = found.members.iter().enumerate();
    let known = members.filter_map(|(index, member)| member.as_ref().map(|member| (index, member)));
    let worthy = known.filter(|(index, member)| worth(*index, member));
    worthy.map(|(index, member)| (member.is_leader, index)).min().map(|(_, index)| Task::Defragment(index))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::etcd::version::Version;

    const MIB: u64 = 1024 * 1024;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn member(file_mib: u64, used_mib: u64, is_leader: bool) -> Option<MemberStatus> {
        Some(MemberStatus {
            endpoint: "http://e:1".to_owned(),
            version: Version::new(3, 4, 23),
            is_leader,
            file_bytes: file_mib * MIB,
            used_bytes: used_mib * MIB,
            quota_bytes: 100 * MIB,
        })
    }

    fn found(revision: i64, members: &[Option<MemberStatus>]) -> Found {
        Found { revision: Revision(revision), out_of_space: false, members: members.to_vec() }
    }

    fn record(holder: &str, revision: i64) -> KeyValue {
        let claim = Claim { version: CLAIM_VERSION, holder: holder.to_owned() };
        KeyValue {
            key: "claim".to_owned(),
            value: Bytes::from(serde_json::to_vec(&claim).expect("text")),
            create_revision: Revision(1),
            mod_revision: Revision(revision),
            lease: None,
        }
    }

    fn takes(step: &ClaimStep) -> bool {
        matches!(step, ClaimStep::Take { .. })
    }

    #[test]
    fn a_claim_is_taken_when_free_kept_while_ours_and_left_while_it_moves() {
        let mut upkeep = Upkeep::new("a");
        assert!(takes(&upkeep.claim(seconds(0), None)));
        assert!(takes(&upkeep.claim(seconds(10), Some(&record("a", 5)))));
        for pass in 0..20 {
            let step = upkeep.claim(seconds(20 + pass * 10), Some(&record("b", 6 + pass as i64)));
            assert_eq!(step, ClaimStep::Leave);
        }
    }

    #[test]
    fn a_claim_that_stands_still_is_taken_over() {
        let mut upkeep = Upkeep::new("a");
        for pass in 0..5 {
            assert_eq!(upkeep.claim(seconds(pass * 10), Some(&record("b", 6))), ClaimStep::Leave);
        }
        let step = upkeep.claim(seconds(50), Some(&record("b", 6)));
        assert!(matches!(step, ClaimStep::Take { at: Some(Revision(6)), .. }), "{step:?}");
    }

    #[test]
    fn history_of_two_minutes_is_kept_and_thirty_seconds_when_filling() {
        let compactions = |used: u64| {
            let mut upkeep = Upkeep::new("a");
            let passes = 0..=15;
            passes
                .map(|pass| {
                    upkeep.plan(seconds(pass * 10), &found(100 + pass as i64, &[member(60, used, true)]))
                })
                .collect::<Vec<_>>()
        };
        let calm = compactions(39);
        assert!(calm[..12].iter().all(Vec::is_empty), "{calm:?}");
        assert_eq!(calm[12], [Task::Compact(Revision(100))]);
        assert_eq!(calm[15], [Task::Compact(Revision(103))]);
        let filling = compactions(41);
        assert!(filling[..3].iter().all(Vec::is_empty), "{filling:?}");
        assert_eq!(filling[3], [Task::Compact(Revision(100))]);
    }

    #[test]
    fn nothing_is_compacted_twice() {
        let mut upkeep = Upkeep::new("a");
        for pass in 0..30 {
            let tasks = upkeep.plan(seconds(pass * 10), &found(7, &[member(20, 15, true)]));
            assert_eq!(tasks.contains(&Task::Compact(Revision(7))), pass == 12, "{pass}");
        }
    }

    #[test]
    fn members_are_defragmented_one_by_one_the_leader_last_and_only_when_all_answer() {
        let mut upkeep = Upkeep::new("a");
        let mut plan = |members: &[Option<MemberStatus>]| upkeep.plan(seconds(0), &found(1, members));
        let (sparse, dense) = (|leader| member(80, 10, leader), |leader| member(20, 15, leader));
        assert_eq!(plan(&[sparse(true), sparse(false), sparse(false)]), [Task::Defragment(1)]);
        assert_eq!(plan(&[sparse(true), dense(false), sparse(false)]), [Task::Defragment(2)]);
        assert_eq!(plan(&[sparse(true), dense(false), dense(false)]), [Task::Defragment(0)]);
        assert_eq!(plan(&[sparse(true), None, sparse(false)]), []);
        assert_eq!(plan(&[member(10, 1, true)]), [], "small files are left alone");
    }

    #[test]
    fn out_of_space_is_healed_by_compacting_defragmenting_and_then_letting_writes_in() {
        let mut upkeep = Upkeep::new("a");
        let mut plan = |at: u64, members: &[Option<MemberStatus>]| {
            upkeep.plan(seconds(at), &Found { out_of_space: true, ..found(7, members) })
        };
        // What etcd says about free space stands still, because nothing is written.
        let full = [member(101, 101, true), member(101, 101, false)];
        assert_eq!(plan(0, &full), [], "nothing to win before a compaction");
        assert_eq!(plan(30, &full), [Task::Compact(Revision(7))]);
        assert_eq!(plan(40, &full), [Task::Defragment(1)]);
        assert_eq!(plan(50, &full), [Task::Defragment(0)]);
        assert_eq!(plan(60, &full), [], "not again and again");
        assert_eq!(plan(340, &full), [Task::Defragment(1)]);
        assert_eq!(plan(350, &[member(60, 60, true), member(60, 60, false)]), [Task::Disarm]);
    }

    #[test]
    fn a_file_over_its_quota_is_full_whatever_is_free_in_it() {
        let over = member(101, 10, true).expect("some");
        assert!(over.fullness() >= 1.0);
        let under = member(99, 10, true).expect("some");
        assert!((under.fullness() - 0.1).abs() < 1e-9);
    }
}
