mod flaky;
mod ship;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt;
use ocelot_core::frame::{self, Body, Decoder, Frame, Mark};
use ocelot_core::id::{Attempt, Epoch, ExecutorId, Incarnation, RunId, SessionId, TaskId};
use ocelot_proto::kit::clock::SystemClock;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;
use flaky::FlakyDisk;

/// Says what a test wants, and counts how often it was asked.
#[derive(Debug, Default)]
struct OneHolder {
    gone: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl Holders for OneHolder {
    async fn holds(
        &self,
        _log: LogId,
        session: Session,
    ) -> std::result::Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(session == SESSION && !self.gone.load(Ordering::SeqCst))
    }
}

const SESSION: Session = session(1);

const fn session(number: u8) -> Session {
    Session {
        id: SessionId::from_bytes([number; 16]),
        executor: ExecutorId::from_bytes([number; 16]),
        incarnation: Incarnation(1),
    }
}

struct Bench {
    logs: Arc<Logs>,
    disk: FlakyDisk,
    holder: Arc<OneHolder>,
    directory: TempDir,
}

/// Syncs at once.
const EAGER: SyncPolicy = SyncPolicy { after: Duration::ZERO, bytes: 1 };
/// Never syncs before the end.
const LAZY: SyncPolicy = SyncPolicy { after: Duration::from_secs(3600), bytes: usize::MAX };

fn bench(sync: SyncPolicy) -> Bench {
    bench_in(tempfile::tempdir().unwrap(), sync, Retention::default())
}

fn bench_in(directory: TempDir, sync: SyncPolicy, retention: Retention) -> Bench {
    bench_of(directory, sync, retention, None)
}

fn bench_of(
    directory: TempDir,
    sync: SyncPolicy,
    retention: Retention,
    home: Option<Arc<dyn Home>>,
) -> Bench {
    let (disk, holder) = (FlakyDisk::default(), Arc::new(OneHolder::default()));
    let logs = Logs::open(Settings {
        directory: directory.path().to_owned(),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock),
        holders: Arc::clone(&holder) as Arc<dyn Holders>,
        sync,
        retention,
        home,
    });
    Bench { logs: Arc::new(logs.unwrap()), disk, holder, directory }
}

fn id(index: u32) -> LogId {
    let task = TaskId { run: RunId::from_parts(1, [0; 10]), index };
    LogId { task, attempt: Attempt::FIRST, epoch: Epoch(0) }
}

/// The log of an executor whose build wrote these.
fn source<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (unix_us, line) in (1..).zip(lines) {
        frame::encode(&Frame { unix_us, stage: Some(0), body: Body::Stdout(line) }, &mut bytes);
    }
    bytes
}

fn sent(source: &[u8], from: usize, to: usize) -> Sent {
    let bytes = Bytes::copy_from_slice(&source[from..to]);
    Sent { offset: from as u64, crc32c: crc32c::crc32c(&bytes), bytes }
}

fn claim(source: &[u8]) -> Claim {
    Claim { length: source.len() as u64, sha256: Digest(Sha256::digest(source).into()) }
}

impl Bench {
    async fn push(&self, source: &[u8], from: usize, to: usize) -> Result<Answer> {
        self.logs.append(SESSION, id(0), sent(source, from, to)).await
    }

    async fn all(&self, from: u64) -> Result<Vec<u8>> {
        let mut reader = self.logs.read(id(0), from, Follow::No).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await? {
            assert_eq!(chunk.offset, from + bytes.len() as u64);
            bytes.extend_from_slice(&chunk.frames);
        }
        Ok(bytes)
    }

    /// Waits until everything visible is received.
    async fn synced(&self) -> u64 {
        let mut progress = self.logs.follow(id(0)).await.unwrap();
        let all = |progress: &Progress| progress.received == progress.visible;
        progress.wait_for(all).await.unwrap().received
    }
}

fn marks(log: &[u8]) -> Vec<(Mark, String)> {
    let mut decoder = Decoder::default();
    decoder.push(log);
    let mut marks = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        if let Body::Mark(mark, why) = frame.body {
            marks.push((mark, why.to_owned()));
        }
    }
    marks
}

#[tokio::test]
async fn a_follower_sees_bytes_before_they_are_durable() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice(), b"second"]);
    let mut reader = bench.logs.read(id(0), 0, Follow::ToTheEnd).await.unwrap();
    bench.push(&source, 0, source.len()).await.unwrap();
    let chunk = reader.next().await.unwrap().unwrap();
    assert_eq!((chunk.frames, chunk.complete), (Bytes::from(source), false));
    assert_eq!(bench.logs.progress(id(0)).await.unwrap().received, 0);
    assert_eq!(bench.disk.syncs(), 0);
}

#[tokio::test]
async fn a_reader_never_sees_half_a_frame() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice(), b"second"]);
    let first = 25;
    bench.push(&source, 0, first + 7).await.unwrap();
    assert_eq!(bench.all(0).await.unwrap(), &source[..first]);
    assert_eq!(bench.synced().await, first as u64, "half a frame is not acknowledged");
    bench.push(&source, first + 7, source.len()).await.unwrap();
    assert_eq!(bench.all(0).await.unwrap(), source);
    assert_eq!(bench.all(first as u64).await.unwrap(), &source[first..]);
    assert!(matches!(bench.all(3).await, Err(Error::NoFrame { at: 3 })));
}

#[tokio::test]
async fn a_log_without_a_byte_is_over_without_a_file() {
    let bench = bench(EAGER);
    let Sealing::Ended(end) = bench.logs.seal(id(0), claim(b"")).await.unwrap() else {
        panic!("it is whole")
    };
    assert_eq!((end.length, bench.disk.syncs()), (0, 0));
    let Bench { logs, directory, .. } = bench;
    drop(logs);
    let reopened = bench_in(directory, EAGER, Retention { bytes: 0, age: Duration::ZERO });
    assert_eq!(reopened.logs.ended(id(0)).await.unwrap(), Some(end));
    assert_eq!(reopened.all(0).await.unwrap(), b"");
    let source = source([b"late".as_slice()]);
    assert_eq!(reopened.push(&source, 0, source.len()).await.unwrap(), Answer::Diverged { at: 0 });
    assert_eq!(reopened.logs.expire_once().await.unwrap().logs, [id(0)]);
}

#[tokio::test]
async fn a_log_that_is_over_is_not_synced_again() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice()]);
    bench.push(&source, 0, source.len()).await.unwrap();
    bench.logs.seal(id(0), claim(&source)).await.unwrap();
    bench.logs.ensure_open(id(0)).await.unwrap().log.sync();
    assert_eq!(bench.disk.syncs(), 1);
}

#[tokio::test]
async fn a_log_is_over_once_all_of_it_is_there_and_stays_so() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice(), b"second"]);
    bench.push(&source, 0, 25).await.unwrap();
    let incomplete = bench.logs.seal(id(0), claim(&source)).await.unwrap();
    assert_eq!(incomplete, Sealing::Incomplete { expected: 25 });
    bench.push(&source, 25, source.len()).await.unwrap();
    let end = End { length: source.len() as u64, sha256: claim(&source).sha256, loss: None };
    for _ in 0..2 {
        let sealing = bench.logs.seal(id(0), claim(&source)).await.unwrap();
        assert_eq!(sealing, Sealing::Ended(end.clone()));
    }
    let again = bench.push(&source, 10, 30).await.unwrap();
    assert!(matches!(again, Answer::Taken(progress) if progress.ended && progress.durable == end.length));
    let reopened = bench_in(bench.directory, LAZY, Retention::default());
    assert_eq!(reopened.logs.ended(id(0)).await.unwrap(), Some(end.clone()));
    assert_eq!(reopened.all(0).await.unwrap(), source);
    let lost = reopened.logs.end_with_loss(id(0), LossKind::Attempt, "gone".into()).await.unwrap();
    assert_eq!(lost, end, "what is over stays as it is");
}

#[tokio::test]
async fn another_digest_is_never_taken_for_the_whole_log() {
    let bench = bench(LAZY);
    let (source, other) = (source([b"first".as_slice()]), source([b"other".as_slice()]));
    bench.push(&source, 0, source.len()).await.unwrap();
    let sealing = bench.logs.seal(id(0), claim(&other)).await.unwrap();
    assert_eq!(sealing, Sealing::Incomplete { expected: 0 });
    let answer = bench.push(&other, 0, other.len()).await.unwrap();
    assert!(matches!(answer, Answer::Diverged { .. }), "{answer:?}");
}

#[tokio::test]
async fn other_bytes_than_before_end_the_log_with_a_loss_that_readers_see() {
    let bench = bench(EAGER);
    let (first, second) = (source([b"first".as_slice()]), source([b"fi__t".as_slice(), b"more"]));
    bench.push(&first, 0, first.len()).await.unwrap();
    let at = first.iter().zip(&second).position(|(one, other)| one != other).unwrap() as u64;
    assert_eq!(bench.push(&second, 0, second.len()).await.unwrap(), Answer::Diverged { at });
    let log = bench.all(0).await.unwrap();
    assert_eq!(&log[..first.len()], first, "what was stored stays");
    assert_eq!(marks(&log), [(Mark::Loss, "the executor sent other bytes than before".into())]);
    let more = bench.push(&first, 0, first.len()).await.unwrap();
    assert!(matches!(more, Answer::Taken(progress) if progress.ended), "{more:?}");
    let beyond = [&first[..], &second[first.len()..]].concat();
    let contradicts_the_mark = bench.push(&beyond, 0, beyond.len()).await.unwrap();
    assert!(matches!(contradicts_the_mark, Answer::Diverged { .. }), "{contradicts_the_mark:?}");
    assert_eq!(bench.all(0).await.unwrap(), log, "what is over never changes");
    let Sealing::Ended(end) = bench.logs.seal(id(0), claim(&second)).await.unwrap() else {
        panic!("the log is over")
    };
    assert_eq!(end.loss.map(|loss| loss.at), Some(first.len() as u64));
    assert_eq!(end.sha256, claim(&log).sha256);
}

#[tokio::test]
async fn what_is_no_frame_ends_the_log_behind_the_last_whole_one() {
    let bench = bench(EAGER);
    let mut source = source([b"first".as_slice()]);
    let whole = source.len();
    source.extend_from_slice(&[0; 64]);
    let answer = bench.push(&source, 0, source.len()).await.unwrap();
    assert_eq!(answer, Answer::Diverged { at: whole as u64 });
    let log = bench.all(0).await.unwrap();
    assert_eq!(&log[..whole], &source[..whole]);
    assert_eq!(marks(&log), [(Mark::Loss, "the executor sent bytes that are no log".into())]);
}

#[tokio::test]
async fn a_lost_attempt_keeps_its_bytes_before_the_mark() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice(), b"second"]);
    let mut reader = bench.logs.read(id(0), 0, Follow::ToTheEnd).await.unwrap();
    bench.push(&source, 0, 30).await.unwrap();
    let end = bench.logs.end_with_loss(id(0), LossKind::Attempt, "its executor is gone".into()).await;
    let end = end.unwrap();
    let mut log = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        log.extend_from_slice(&chunk.frames);
        assert_eq!(chunk.complete, log.len() as u64 == end.length);
    }
    assert_eq!(&log[..25], &source[..25]);
    assert_eq!(marks(&log), [(Mark::Lost, "its executor is gone".into())]);
    assert_eq!(claim(&log).sha256, end.sha256);
}

#[tokio::test]
async fn a_log_without_a_byte_can_be_over() {
    let bench = bench(LAZY);
    let mut reader = bench.logs.read(id(0), 0, Follow::ToTheEnd).await.unwrap();
    bench.logs.seal(id(0), claim(b"")).await.unwrap();
    let chunk = reader.next().await.unwrap().unwrap();
    assert_eq!((chunk.frames.len(), chunk.complete), (0, true));
    assert_eq!(reader.next().await.unwrap(), None);
    let reopened = bench_in(bench.directory, LAZY, Retention::default());
    assert!(reopened.logs.ended(id(0)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_piece_is_synced_although_its_sender_does_not_wait_for_the_answer() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice()]);
    let mut progress = bench.logs.follow(id(0)).await.unwrap();
    let stopped = bench.disk.hold();
    assert!(bench.push(&source, 0, source.len()).now_or_never().is_none(), "it has to write first");
    drop(stopped);
    progress.wait_for(|progress| progress.received == source.len() as u64).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_once_there_is_room() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice(), b"second", b"third"]);
    bench.push(&source, 0, 25).await.unwrap();
    assert_eq!(bench.synced().await, 25);
    bench.disk.change(|faults| faults.room = Some(10));
    for _ in 0..2 {
        assert!(matches!(bench.push(&source, 25, source.len()).await, Err(Error::Full(_))));
    }
    assert_eq!(bench.all(0).await.unwrap(), &source[..25]);
    bench.disk.change(|faults| faults.room = None);
    bench.push(&source, 25, source.len()).await.unwrap();
    bench.logs.seal(id(0), claim(&source)).await.unwrap();
    assert_eq!(bench.all(0).await.unwrap(), source);
}

#[tokio::test]
async fn after_a_failed_sync_the_disk_is_read_again_and_what_it_lost_is_sent_again() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice(), b"second", b"third"]);
    bench.push(&source, 0, 25).await.unwrap();
    assert_eq!(bench.synced().await, 25);
    let mut progress = bench.logs.follow(id(0)).await.unwrap();
    bench.disk.change(|faults| faults.sync_fails = true);
    bench.push(&source, 25, source.len()).await.unwrap();
    assert_eq!(progress.wait_for(|progress| progress.failed).await.unwrap().received, 25);
    assert!(bench.push(&source, 25, source.len()).await.is_err(), "the disk still fails");
    bench.disk.change(|faults| faults.sync_fails = false);
    let sealing = bench.logs.seal(id(0), claim(&source)).await.unwrap();
    assert_eq!(sealing, Sealing::Incomplete { expected: 25 });
    bench.push(&source, 25, source.len()).await.unwrap();
    let sealing = bench.logs.seal(id(0), claim(&source)).await.unwrap();
    assert!(matches!(sealing, Sealing::Ended(End { loss: None, .. })), "{sealing:?}");
    assert_eq!(bench.all(0).await.unwrap(), source);
}

#[tokio::test]
async fn who_follows_a_log_that_fails_is_told_so() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice(), b"second"]);
    bench.push(&source, 0, 25).await.unwrap();
    let mut reader = bench.logs.read(id(0), 0, Follow::ToTheEnd).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    assert_eq!(bench.synced().await, 25);
    bench.disk.change(|faults| faults.sync_fails = true);
    bench.push(&source, 25, source.len() - 1).await.unwrap();
    assert!(matches!(reader.next().await, Err(Error::Failed(_))));
}

#[tokio::test]
async fn a_log_is_not_sealed_while_a_sync_of_it_is_under_way_that_fails() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice()]);
    bench.push(&source, 0, source.len()).await.unwrap();
    let log = Arc::clone(&bench.logs.ensure_open(id(0)).await.unwrap().log);
    bench.disk.change(|faults| faults.sync_fails = true);
    let faults = bench.disk.hold();
    let syncing = std::thread::spawn({
        let log = Arc::clone(&log);
        move || log.sync()
    });
    while !log.is_syncing() {
        std::thread::yield_now();
    }
    let claim = claim(&source);
    let sealing = std::thread::spawn(move || log.seal(claim, 1));
    drop(faults);
    syncing.join().unwrap();
    assert!(matches!(sealing.join().unwrap(), Err(Error::Failed(_))), "only one of two syncs hears of it");
}

#[tokio::test]
async fn a_power_cut_after_a_failed_sync_leaves_what_was_received() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice(), b"second", b"third"]);
    bench.push(&source, 0, 25).await.unwrap();
    assert_eq!(bench.synced().await, 25);
    let mut progress = bench.logs.follow(id(0)).await.unwrap();
    bench.disk.change(|faults| faults.sync_fails = true);
    bench.push(&source, 25, source.len()).await.unwrap();
    progress.wait_for(|progress| progress.failed).await.unwrap();

    let survivor = tempfile::tempdir().unwrap();
    bench.disk.power_cut(bench.directory.path(), survivor.path(), 0, b"");
    let reopened = bench_in(survivor, EAGER, Retention::default());
    assert_eq!(reopened.all(0).await.unwrap(), &source[..25]);
    reopened.push(&source, 25, source.len()).await.unwrap();
    assert_eq!(reopened.synced().await, source.len() as u64);
}

#[tokio::test]
async fn only_the_session_that_holds_the_attempt_appends() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice()]);
    let stranger = session(2);
    let answer = bench.logs.append(stranger, id(0), sent(&source, 0, 5)).await.unwrap();
    assert_eq!(answer, Answer::Fenced);
    assert_eq!(bench.all(0).await.unwrap(), b"");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_counts_for_less_than_two_seconds() {
    let bench = bench(LAZY);
    let source = source([b"first".as_slice()]);
    for (wait_ms, asked) in [(0, 1), (1_999, 1), (1, 2), (1_000, 2)] {
        tokio::time::advance(Duration::from_millis(wait_ms)).await;
        bench.push(&source, 0, 5).await.unwrap();
        assert_eq!(bench.holder.asked.load(Ordering::SeqCst), asked);
    }
    bench.holder.gone.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_millis(1_000)).await;
    assert_eq!(bench.push(&source, 5, 9).await.unwrap(), Answer::Fenced);
}

#[tokio::test]
async fn a_piece_that_is_too_long_or_damaged_is_refused() {
    let bench = bench(LAZY);
    let long = Sent { offset: 0, bytes: vec![0; PIECE_BYTES_MAX + 1].into(), crc32c: 0 };
    assert!(matches!(bench.logs.append(SESSION, id(0), long).await, Err(Error::TooLong { .. })));
    let damaged = Sent { offset: 0, bytes: Bytes::from_static(b"x"), crc32c: 0 };
    assert!(matches!(bench.logs.append(SESSION, id(0), damaged).await, Err(Error::Damaged)));
}

#[tokio::test]
async fn logs_that_are_over_make_room_and_running_ones_stay() {
    let nothing = Retention { bytes: 0, ..Retention::default() };
    let bench = bench_in(tempfile::tempdir().unwrap(), LAZY, nothing);
    let source = source([b"first".as_slice()]);
    for index in 0..3 {
        bench.logs.append(SESSION, id(index), sent(&source, 0, source.len())).await.unwrap();
    }
    bench.logs.seal(id(1), claim(&source)).await.unwrap();
    let mut reader = bench.logs.read(id(1), 0, Follow::ToTheEnd).await.unwrap();
    assert_eq!(bench.logs.expire_once().await.unwrap().logs, [id(1)]);
    assert_eq!(reader.next().await.unwrap().unwrap().frames, source, "who reads it already goes on");
    let mut left: Vec<_> =
        std::fs::read_dir(bench.directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [0, 2].map(|index| format!("{}.log", id(index).stem())).map(std::ffi::OsString::from));
    assert_eq!(bench.logs.open_logs().count(), 2);
}

#[tokio::test]
async fn a_log_that_is_over_is_closed_when_nobody_reads_it() {
    let bench = bench(EAGER);
    let source = source([b"first".as_slice()]);
    bench.push(&source, 0, source.len()).await.unwrap();
    bench.synced().await;
    bench.logs.seal(id(0), claim(&source)).await.unwrap();
    let reader = bench.logs.read(id(0), 0, Follow::No).await.unwrap();
    bench.logs.expire_once().await.unwrap();
    assert_eq!(bench.logs.open_logs().count(), 1);
    drop(reader);
    // Who synced it may hold it a moment longer.
    let closed = async {
        while bench.logs.open_logs().count() > 0 {
            tokio::task::yield_now().await;
            bench.logs.expire_once().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.unwrap();
    assert_eq!(bench.all(0).await.unwrap(), source);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_that_race_the_writer_see_the_same_bytes() {
    let bench = bench(SyncPolicy::default());
    let line = vec![b'x'; 3_000];
    let source = Arc::new(source((0..400).map(|_| line.as_slice())));
    let mut readers = tokio::task::JoinSet::new();
    for start in 0..8 {
        let (logs, source) = (Arc::clone(&bench.logs), Arc::clone(&source));
        readers.spawn(async move {
            let from = start * 3_020;
            let mut at = from;
            let mut reader = logs.read(id(0), from as u64, Follow::ToTheEnd).await.unwrap();
            while let Some(chunk) = reader.next().await.unwrap() {
                assert_eq!(chunk.offset, at as u64);
                assert!(source[at..].starts_with(&chunk.frames));
                at += chunk.frames.len();
            }
            at
        });
    }
    for from in (0..source.len()).step_by(7_001) {
        bench.push(&source, from, source.len().min(from + 7_001)).await.unwrap();
    }
    bench.logs.seal(id(0), claim(&source)).await.unwrap();
    while let Some(end) = readers.join_next().await {
        assert_eq!(end.unwrap(), source.len());
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// Sends a piece, from before or behind what the log holds.
    Send {
        back: usize,
        ahead: usize,
        length: usize,
    },
    /// Waits until everything is received, and remembers that it was told so.
    Sync,
    PowerCut {
        kept: u8,
        junk: Vec<u8>,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0usize..300, 0usize..300, 1usize..500)
            .prop_map(|(back, ahead, length)| Act::Send { back, ahead: ahead.saturating_sub(200), length }),
        1 => Just(Act::Sync),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(kept, junk)| Act::PowerCut { kept, junk }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_is_sent_again_or_cut_off_the_log_is_a_beginning_of_the_source(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40),
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(obeys_the_model(source(lines.iter().map(Vec::as_slice)), acts))?;
    }
}

async fn obeys_the_model(source: Vec<u8>, acts: Vec<Act>) -> std::result::Result<(), TestCaseError> {
    let mut bench = bench(EAGER);
    // The model: bytes that are stored, and of them those that were acknowledged.
    let (mut end, mut acknowledged) = (0, 0);
    for act in acts {
        match act {
            Act::Send { back, ahead, length } => {
                let from = (end + ahead).saturating_sub(back).min(source.len());
                let to = (from + length).min(source.len());
                match bench.push(&source, from, to).await.unwrap() {
                    Answer::Gap { expected } => prop_assert_eq!((expected as usize, from > end), (end, true)),
                    Answer::Taken(_) => {
                        prop_assert!(from <= end);
                        end = end.max(to);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            Act::Sync => acknowledged = bench.synced().await as usize,
            Act::PowerCut { kept, junk } => {
                acknowledged = acknowledged.max(bench.logs.progress(id(0)).await.unwrap().received as usize);
                let survivor = tempfile::tempdir().unwrap();
                bench.disk.power_cut(bench.directory.path(), survivor.path(), kept, &junk);
                bench = bench_in(survivor, EAGER, Retention::default());
                end = bench.logs.progress(id(0)).await.unwrap().received as usize;
            }
        }
        prop_assert!(acknowledged <= end, "acknowledged bytes are gone");
        let log = bench.all(0).await.unwrap();
        prop_assert!(source.starts_with(&log));
        prop_assert!(acknowledged <= log.len() && log.len() <= end);
    }
    bench.push(&source, end, source.len()).await.unwrap();
    let whole = bench.logs.seal(id(0), claim(&source)).await.unwrap();
    prop_assert!(matches!(whole, Sealing::Ended(End { loss: None, .. })), "{whole:?}");
    prop_assert_eq!(bench.all(0).await.unwrap(), source);
    Ok(())
}
