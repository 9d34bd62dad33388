//! Journals as each version left them: an executor that was upgraded goes on with what the one before it
//! promised.

#[path = "../../../tests/compat/holds.rs"]
mod holds;
#[path = "../../../tests/compat/versions.rs"]
mod versions;

use std::path::PathBuf;

use ocelot_core::frame::Offset;
use ocelot_core::id::{Attempt, Epoch, ExecutorId, RunId, TaskId};
use serde_json::Value;

use super::*;
use crate::attempt::{ArtifactDigest, AttemptId, Ended, Failure, LogDigest, LogLoss, Outcome, Timeout};
use crate::disk::MachineDisk;
use holds::holds;
use versions::{CURRENT, Kept};

const KIND: &str = "journal";

fn attempt(index: u32, entry: Entry) -> Record {
    let task = TaskId { run: RunId::from_parts(1, [7; 10]), index };
    Record::Attempt { id: AttemptId { task, number: Attempt::FIRST, epoch: Epoch(2) }, entry }
}

fn accepted(index: u32) -> Record {
    let directory = PathBuf::from(format!("attempts/{index}"));
    attempt(index, Entry::Accepted(Accepted { plan_sha256: [3; 32], directory, completion: [4; 16] }))
}

fn ends() -> Vec<Outcome> {
    let failed = |failure| Outcome::Failed { stage: Some("build".into()), failure };
    let why = || "why".to_owned();
    vec![
        Outcome::Succeeded,
        failed(Failure::Exit(5)),
        failed(Failure::Signal(6)),
        failed(Failure::OutOfMemory { limit_bytes: Some(7) }),
        failed(Failure::Image { why: why() }),
        failed(Failure::Disk { why: why() }),
        failed(Failure::Policy { why: why() }),
        Outcome::Failed { stage: None, failure: Failure::Setup { why: why() } },
        Outcome::TimedOut(Timeout::Run),
        Outcome::TimedOut(Timeout::Stage { stage: "build".into() }),
        Outcome::TimedOut(Timeout::Quiet),
        Outcome::Cancelled,
        Outcome::Lost { why: why() },
    ]
}

/// Lives of attempts, each further than the one before it.
fn lives() -> Vec<(&'static str, Vec<Record>)> {
    let identity = Identity { executor: ExecutorId::from_bytes([1; 16]), key_file: "key".into() };
    let started = Entry::Started(Container { id: "c1".into(), control: "control/1".into() });
    let ended = |outcome| {
        let log = LogDigest { length: Offset(8), sha256: [9; 32] };
        let digest = ArtifactDigest { name: "web".into(), sha256: [10; 32], size_bytes: 11, files: 12 };
        let loss = Some(LogLoss { at: Offset(13), why: "a disk".into() });
        Entry::Ended(Box::new(Ended { outcome, log, artifacts: vec![digest], loss }))
    };
    let one = |entries: &[Entry]| {
        let entries = entries.iter().map(|entry| attempt(0, entry.clone()));
        std::iter::once(accepted(0)).chain(entries).collect()
    };
    let all_ends = (0..).zip(ends()).flat_map(|(index, outcome)| {
        [accepted(index), attempt(index, Entry::Starting), attempt(index, ended(outcome))]
    });
    vec![
        ("registered", vec![Record::Registered(identity)]),
        ("opened", vec![Record::Opened { incarnation: Incarnation(1) }]),
        ("accepted", one(&[])),
        ("starting", one(&[Entry::Starting])),
        ("started", one(&[Entry::Starting, started.clone()])),
        ("ended", all_ends.collect()),
        ("fenced", one(&[Entry::Starting, started.clone(), Entry::Fenced])),
        ("done", one(&[Entry::Starting, started, ended(Outcome::Succeeded), Entry::Done])),
    ]
}

/// A journal of these records, and one that was rewritten as its state.
fn journals(records: &[Record]) -> [Vec<u8>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let (mut file, mut state) = JournalFile::open(folder.path(), Arc::new(MachineDisk)).unwrap();
    for record in records {
        state.apply(record).unwrap();
        file.append(state.sequence, std::slice::from_ref(record)).unwrap();
    }
    let appended = std::fs::read(folder.path().join("journal")).unwrap();
    file::write_anew(folder.path(), &folder.path().join("journal"), &MachineDisk, &state).unwrap();
    [appended, std::fs::read(folder.path().join("journal")).unwrap()]
}

fn meaning(name: &str, journal: &[u8]) -> Value {
    let read = file::read(Path::new(name), journal);
    let (state, end) = read.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(end, journal.len(), "{name}");
    serde_json::to_value(state).unwrap()
}

#[test]
fn a_journal_with_each_record_is_kept_for_this_version() {
    let mut kept = Kept::new();
    for (name, records) in lives() {
        let [appended, rewritten] = journals(&records);
        let meant = serde_json::to_string_pretty(&meaning(name, &appended)).unwrap() + "\n";
        kept.insert(format!("{name}.bin"), appended);
        kept.insert(format!("{name}.rewritten.bin"), rewritten);
        kept.insert(format!("{name}.txt"), meant.into_bytes());
    }
    versions::assert_kept(KIND, &kept);
    let all = &versions::all(KIND)[CURRENT];
    assert!(all.keys().all(|name| kept.contains_key(name)), "nobody writes one of {:?}", all.keys());
}

#[test]
fn a_journal_of_any_version_says_what_it_said() {
    for (version, kept) in versions::all(KIND) {
        for (file, journal) in kept.iter().filter(|(file, _)| file.ends_with(".bin")) {
            let name = file.split('.').next().unwrap();
            let then: Value = serde_json::from_slice(&kept[&format!("{name}.txt")]).unwrap();
            let now = meaning(file, journal);
            assert!(holds(&now, &then), "{file} of version {version} meant {then:#} and says {now:#}");
        }
    }
}
