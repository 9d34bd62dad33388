use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use ocelot_core::frame::Offset;
use ocelot_core::id::{Attempt, Epoch, ExecutorId, RunId, TaskId};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::attempt::{AttemptId, Ended, LogDigest, Outcome};
use crate::disk::faulty::{Call, FaultyDisk};
use crate::disk::{DiskError, MachineDisk};

fn id(index: u32) -> AttemptId {
    let task = TaskId { run: RunId::from_parts(1, [7; 10]), index };
    AttemptId { task, number: Attempt::FIRST, epoch: Epoch(0) }
}

fn entry(index: u32, entry: Entry) -> Record {
    Record::Attempt { id: id(index), entry }
}

fn accepted(index: u32) -> Record {
    let directory = PathBuf::from(format!("attempts/{index}"));
    entry(index, Entry::Accepted(Accepted { plan_sha256: [1; 32], directory, completion: [2; 16] }))
}

fn ended() -> Entry {
    let log = LogDigest { length: Offset(5), sha256: [3; 32] };
    Entry::Ended(Box::new(Ended { outcome: Outcome::Succeeded, log, artifacts: vec![], loss: None }))
}

fn container() -> Entry {
    Entry::Started(Container { id: "c1".into(), control: PathBuf::from("control/1") })
}

/// The record that a number stands for in `state`, if it can follow.
fn record(state: &State, number: u8) -> Option<Record> {
    let index = u32::from(number % 5);
    let entries = [Entry::Starting, container(), ended(), Entry::Fenced, Entry::Done];
    let record = match usize::from(number / 5) % 7 {
        0 | 1 => accepted(index),
        2 => entry(index, entries[0].clone()),
        3 => entry(index, entries[1].clone()),
        4 => entry(index, entries[2].clone()),
        5 => entry(index, entries[3].clone()),
        _ => entry(index, entries[4].clone()),
    };
    state.clone().apply(&record).is_ok().then_some(record)
}

/// A journal file made of blocks, and the state after each with the length of the file then.
fn written(directory: &Path, numbers: &[Vec<u8>]) -> Vec<(u64, State)> {
    let (mut file, mut state) = JournalFile::open(directory, Arc::new(MachineDisk)).unwrap();
    let length = || fs::metadata(directory.join("journal")).unwrap().len();
    let mut states = vec![(length(), state.clone())];
    for group in numbers {
        let mut records = Vec::new();
        for number in group {
            if let Some(record) = record(&state, *number) {
                state.apply(&record).unwrap();
                records.push(record);
            }
        }
        if !records.is_empty() {
            file.append(state.sequence, &records).unwrap();
            states.push((length(), state.clone()));
        }
    }
    states
}

fn numbers() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_front_of_the_file_says_a_state_that_was(numbers in numbers()) {
        let root = tempfile::tempdir().unwrap();
        let states = written(root.path(), &numbers);
        let bytes = fs::read(root.path().join("journal")).unwrap();
        for cut in (states[0].0 as usize..bytes.len()).step_by(3).chain([bytes.len()]) {
            let (state, end) = file::read(Path::new("journal"), &bytes[..cut]).unwrap();
            let (length, was) = states.iter().rev().find(|(length, _)| *length as usize <= cut).unwrap();
            prop_assert_eq!(&state, was);
            prop_assert_eq!(end as u64, *length);
        }
    }

    #[test]
    fn damage_is_refused_unless_it_is_the_end(
        numbers in numbers(),
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let root = tempfile::tempdir().unwrap();
        let states = written(root.path(), &numbers);
        let mut bytes = fs::read(root.path().join("journal")).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let read = file::read(Path::new("journal"), &bytes);
        let last_block = states.len().checked_sub(2).map(|before| &states[before]);
        match last_block {
            Some((length, was)) if place as u64 >= *length => prop_assert_eq!(&read.unwrap().0, was),
            _ => prop_assert!(read.is_err(), "a flipped bit at {place} went unseen"),
        }
    }

    #[test]
    fn nothing_that_was_answered_is_lost_in_a_power_cut(
        numbers in proptest::collection::vec(any::<u8>(), 1..30),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 30),
    ) {
        let root = tempfile::tempdir().unwrap();
        let faulty = Arc::new(FaultyDisk::default());
        let mut journal = Journal::open(root.path(), faulty.clone()).unwrap();
        for (step, number) in numbers.into_iter().enumerate() {
            let before = journal.state();
            if let Some(record) = record(&before, number) {
                let full = number % 7 == 0;
                faulty.space(full.then_some(usize::from(number)));
                match journal.append_blocking(vec![record.clone()]) {
                    Ok(sequence) => prop_assert_eq!(sequence, journal.state().sequence),
                    Err(error) => {
                        prop_assert!(matches!(error, JournalError::Disk(DiskError::NoSpace { .. })), "{error}");
                        prop_assert_eq!(&journal.state(), &before);
                    }
                }
                faulty.space(None);
            }
            if number % 4 == 0 {
                let held = journal.state().attempts;
                let incarnation = journal.incarnation();
                drop(journal);
                faulty.cut_power(|most| cuts[step % cuts.len()].index(most));
                journal = Journal::open(root.path(), faulty.clone()).unwrap();
                prop_assert_eq!(journal.state().attempts, held);
                prop_assert_eq!(journal.incarnation().0, incarnation.0 + 1);
            }
        }
    }
}

#[test]
fn a_block_is_written_into_room_that_was_made_before() {
    let (root, journal) = opened();
    let path = root.path().join("journal");
    let length = || fs::metadata(&path).unwrap().len();
    let before = length();
    for index in 0..8 {
        journal.append_blocking(vec![accepted(index)]).unwrap();
    }
    assert_eq!(length(), before, "each sync had a new length to make durable");
    let state = journal.state();
    drop(journal);
    let bytes = fs::read(&path).unwrap();
    let (read, end) = file::read(&path, &bytes).unwrap();
    assert_eq!(read, state);
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_without_room_takes_what_fits() {
    let root = tempfile::tempdir().unwrap();
    let faulty = Arc::new(FaultyDisk::default());
    faulty.space(Some(4096));
    let journal = Journal::open(root.path(), faulty).unwrap();
    journal.append_blocking(vec![accepted(1)]).unwrap();
    assert!(fs::metadata(root.path().join("journal")).unwrap().len() < 4096);
    assert_eq!(state_of(&journal, 1), Some(Phase::Accepted));
}

fn opened() -> (TempDir, Journal) {
    let root = tempfile::tempdir().unwrap();
    let journal = Journal::open(root.path(), Arc::new(MachineDisk)).unwrap();
    (root, journal)
}

#[test]
fn each_opening_is_a_new_incarnation_and_keeps_what_is_held() {
    let (root, journal) = opened();
    let executor = ExecutorId::from_bytes([4; 16]);
    let identity = Identity { executor, key_file: PathBuf::from("key") };
    journal.append_blocking(vec![Record::Registered(identity), accepted(1)]).unwrap();
    journal.append_blocking(vec![entry(1, Entry::Starting), entry(1, container())]).unwrap();
    let before = journal.state();
    drop(journal);
    let journal = Journal::open(root.path(), Arc::new(MachineDisk)).unwrap();
    let state = journal.state();
    assert_eq!((state.attempts, state.identity), (before.attempts, before.identity));
    assert_eq!((state.incarnation, state.sequence), (Incarnation(2), Sequence(6)));
    assert!(matches!(state_of(&journal, 1), Some(Phase::Started(_))));
}

fn state_of(journal: &Journal, index: u32) -> Option<Phase> {
    journal.state().attempt(id(index)).map(|held| held.phase.clone())
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let (root, journal) = opened();
    let refused = Journal::open(root.path(), Arc::new(MachineDisk)).unwrap_err().to_string();
    let process = std::process::id();
    let expected = format!(
        "the data directory {} is used by process {process}: stop that executor, or give this one a directory of its own",
        root.path().display()
    );
    assert_eq!(refused, expected);
    drop(journal);
    Journal::open(root.path(), Arc::new(MachineDisk)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_outlives_its_process_is_waited_for_and_one_that_stays_is_not() {
    let (root, journal) = opened();
    let held = Journal::open_when_free(root.path(), Arc::new(MachineDisk)).await;
    assert!(matches!(held, Err(JournalError::Held { .. })), "{held:?}");
    let freed = async {
        tokio::time::sleep(LOCK_PATIENCE / 2).await;
        drop(journal);
    };
    let (opened, ()) = tokio::join!(Journal::open_when_free(root.path(), Arc::new(MachineDisk)), freed);
    opened.unwrap();
}

#[test]
fn a_record_that_cannot_follow_is_refused_with_its_whole_request() {
    let (_root, journal) = opened();
    journal.append_blocking(vec![accepted(1), entry(1, Entry::Starting)]).unwrap();
    let twice = journal.append_blocking(vec![accepted(2), entry(1, Entry::Starting)]).unwrap_err();
    insta::assert_snapshot!(twice, @"00000000-0001-7707-8707-070707070707/1 attempt 1 epoch 0 is starting, it cannot become starting");
    assert_eq!(state_of(&journal, 2), None);
    journal.append_blocking(vec![entry(1, ended())]).unwrap();
    assert!(journal.append_blocking(vec![entry(1, ended())]).is_err(), "a result changed");
    assert!(journal.append_blocking(vec![entry(1, container())]).is_err());
    journal.append_blocking(vec![entry(1, Entry::Done)]).unwrap();
    assert!(journal.append_blocking(vec![entry(1, Entry::Done)]).is_err());
}

#[test]
fn a_failed_sync_is_never_answered_as_done_and_ends_the_journal() {
    let root = tempfile::tempdir().unwrap();
    let faulty = Arc::new(FaultyDisk::default());
    let journal = Journal::open(root.path(), faulty.clone()).unwrap();
    faulty.fail_syncs(true);
    assert!(matches!(
        journal.append_blocking(vec![accepted(1)]),
        Err(JournalError::Disk(DiskError::Io { doing: "sync", .. }))
    ));
    faulty.fail_syncs(false);
    faulty.take_calls();
    assert!(matches!(journal.append_blocking(vec![accepted(1)]), Err(JournalError::Failed)));
    assert_eq!(faulty.take_calls(), []);
    assert_eq!(state_of(&journal, 1), None);
}

#[test]
fn rewriting_keeps_the_state_and_bounds_the_file() {
    let (root, journal) = opened();
    journal.append_blocking(vec![accepted(1), entry(1, Entry::Starting)]).unwrap();
    for _ in 0..60 {
        let life = |_| [accepted(2), entry(2, ended()), entry(2, Entry::Done)];
        journal.append_blocking((0..100).flat_map(life).collect()).unwrap();
    }
    let before = journal.state();
    drop(journal);
    let length = fs::metadata(root.path().join("journal")).unwrap().len();
    assert!(length < 2 << 20, "{length} bytes");
    let state = Journal::open(root.path(), Arc::new(MachineDisk)).unwrap().state();
    assert_eq!(state.attempts, before.attempts);
    assert_eq!(state.sequence, Sequence(before.sequence.0 + 1));
}

/// A disk that says when a sync begins, and waits to be told to go on.
#[derive(Debug)]
struct GatedDisk {
    began: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
    inner: FaultyDisk,
}

impl Disk for GatedDisk {
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write(path, file, bytes, offset)
    }

    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        self.began.lock().unwrap().send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        self.inner.sync(path, file)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_directory(path)
    }
}

#[test]
fn what_waits_at_the_same_time_shares_one_sync() {
    let root = tempfile::tempdir().unwrap();
    let (began, begins) = channel();
    let (go, goes) = channel();
    let gated = GatedDisk { began: Mutex::new(began), go: Mutex::new(goes), inner: FaultyDisk::default() };
    let gated = Arc::new(gated);
    // The new file and the incarnation.
    (0..2).for_each(|_| go.send(()).unwrap());
    let journal = Journal::open(root.path(), gated.clone()).unwrap();
    begins.iter().take(2).for_each(drop);
    gated.inner.take_calls();
    let answered = std::thread::scope(|scope| {
        let append = |index| {
            let journal = &journal;
            scope.spawn(move || journal.append_blocking(vec![accepted(index)]).unwrap())
        };
        let first = append(0);
        begins.recv().unwrap();
        let others: Vec<_> = (1..=20).map(append).collect();
        let queue = journal.requests.as_ref().unwrap();
        while QUEUE_MAX - queue.capacity() < 20 {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        let others = others.into_iter().map(|thread| thread.join().unwrap());
        others.chain([first.join().unwrap()]).collect::<BTreeSet<_>>()
    });
    assert_eq!(answered, (2..=22).map(Sequence).collect());
    let file = || "journal".to_owned();
    let expected = [Call::Write(file()), Call::Sync(file()), Call::Write(file()), Call::Sync(file())];
    assert_eq!(gated.inner.take_calls(), expected);
}

fn refusal(bytes: &[u8]) -> String {
    file::read(Path::new("journal"), bytes).unwrap_err().to_string()
}

#[test]
fn what_this_program_does_not_know_it_refuses_with_words() {
    let (root, journal) = opened();
    journal.append_blocking(vec![accepted(1)]).unwrap();
    drop(journal);
    let mut bytes = fs::read(root.path().join("journal")).unwrap();
    bytes.truncate(file::read(Path::new("journal"), &bytes).unwrap().1);
    let mut newer = bytes.clone();
    newer[15] = 2;
    insta::assert_snapshot!(refusal(&newer), @"the journal journal has version 2, and this program knows 1: start the version that wrote it");
    insta::assert_snapshot!(refusal(b"something else"), @"journal is not a journal");
    insta::assert_snapshot!(refusal(&bytes[..30]), @"the journal journal is damaged at byte 19: its first block is not whole. Attempts that it held may still run. Stop their containers, move the file away, and start again: the controller will take those attempts for lost");
    let mut unknown = bytes.clone();
    let json = br#"{"records":[{"renamed":{}}]}"#;
    let length = (json.len() as u32).to_le_bytes();
    let last = 3_u64.to_le_bytes();
    let crc = crc32c::crc32c(&[&length[..], &last, json].concat()).to_le_bytes();
    unknown.extend([&b"\xffOJ\xfe"[..], &length, &crc, &last, json].concat());
    let refused = refusal(&unknown);
    assert!(refused.contains("a record is not understood: unknown variant `renamed`"), "{refused}");
}
