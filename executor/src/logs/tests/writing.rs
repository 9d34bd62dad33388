//! From the capture to the spool, without any controller.

use ocelot_core::frame::{Frame, Mark, encode};
use sha2::{Digest as _, Sha256};

use super::capture::Capture;
use super::disk::MortalDisk;
use super::*;
use crate::runtime::Tell;

struct Bench {
    root: tempfile::TempDir,
    capture: Capture,
    news: News,
    sender: NewsSender,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("log")).unwrap();
        let capture = Capture::begin(&root.path().join("control"));
        let (sender, news) = news();
        Self { root, capture, news, sender }
    }

    fn directory(&self) -> std::path::PathBuf {
        self.root.path().join("log")
    }

    async fn create(&self, settings: &LogSettings) -> AttemptLog {
        AttemptLog::create(settings, id(0), &self.directory(), masks(), self.sender.clone()).await.unwrap()
    }

    async fn recover(&self, settings: &LogSettings) -> AttemptLog {
        AttemptLog::recover(settings, id(0), &self.directory(), self.sender.clone()).await.unwrap()
    }

    /// What the spool holds.
    fn spooled(&self) -> Vec<u8> {
        let limits = Limits::default();
        let spool = self.directory().join("spool");
        let left = spool::Spool::open(&spool, limits, Arc::new(MachineDisk), spool::Tail::KeepFrames);
        let spool = left.unwrap().spool;
        let mut bytes = Vec::new();
        while Offset(bytes.len() as u64) < spool.end() {
            bytes.extend_from_slice(&spool.read(Offset(bytes.len() as u64), 1 << 20).unwrap().bytes);
        }
        bytes
    }
}

fn whole(log: &[u8]) -> LogDigest {
    LogDigest { length: Offset(log.len() as u64), sha256: Sha256::digest(log).into() }
}

#[tokio::test]
async fn a_sealed_log_is_the_masked_capture_and_says_the_same_again() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    bench.capture.out(&format!("token {SECRET}\n"));
    bench.capture.out("half of hunter2-");
    bench.capture.end();
    let (digest, loss) = log.seal().await.unwrap();
    assert_eq!(loss, None);
    let expected = masked_whole(masks(), &bench.capture.raw);
    assert_eq!(digest, whole(&expected));
    assert_eq!((log.end(), log.seal().await.unwrap()), (digest.length, (digest, None)));
    left(log).await;
    let log = bench.recover(&machine()).await;
    assert_eq!(log.seal().await.unwrap(), (digest, None));
    assert_eq!(bench.spooled(), expected);
    assert_eq!(found_in(&bench.directory(), SECRET), Vec::<String>::new());
}

#[tokio::test]
async fn the_first_output_is_told_with_its_moment_also_by_the_next_process() {
    let mut bench = Bench::new();
    let log = bench.create(&small(Arc::new(MachineDisk))).await;
    bench.capture.frame(Some(0), Body::Begin("build"));
    let end = bench.capture.out("hello\n");
    bench.capture.out("more\n");
    log.follow(&bench.capture.directory);
    log.captured(end);
    let first = LogNews::FirstByte { unix_us: 1_002 };
    assert_eq!(heard(&mut bench.news, "output", |_| true).await, first);
    heard(&mut bench.news, "taken", |news| matches!(news, LogNews::Taken(_))).await;
    left(log).await;
    let _log = bench.recover(&machine()).await;
    assert_eq!(heard(&mut bench.news, "output", |_| true).await, first);
}

#[tokio::test]
async fn lines_of_the_executor_are_in_the_log_before_there_is_a_capture_and_masked() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.line("pulling image");
    log.line(&format!("login with {SECRET} failed"));
    log.follow(&bench.capture.directory);
    bench.capture.out("hello\n");
    let (digest, _) = log.seal().await.unwrap();
    left(log).await;
    let spooled = bench.spooled();
    assert_eq!(whole(&spooled), digest);
    let (lines, rest) = lines_and_rest(&spooled);
    assert_eq!(lines, ["pulling image", "login with *** failed"]);
    assert_eq!(rest, masked_whole(masks(), &bench.capture.raw));
}

#[tokio::test]
async fn too_many_lines_of_the_executor_are_counted() {
    let bench = Bench::new();
    let log = bench.create(&machine()).await;
    // Under one lock, so that the thread takes none of them meanwhile.
    for number in 0..5_000 {
        log.line(&format!("line {number}"));
    }
    log.seal().await.unwrap();
    left(log).await;
    let (lines, _) = lines_and_rest(&bench.spooled());
    let left_out: u64 = lines
        .iter()
        .filter_map(|line| line.strip_suffix(" more lines of the executor's were left out"))
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    let told = lines.iter().filter(|line| line.starts_with("line ")).count() as u64;
    assert_eq!(told + left_out, 5_000, "each is there or counted");
}

#[tokio::test]
async fn a_log_that_was_prepared_only_is_begun_again_with_what_was_said() {
    let bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.line("pulling image");
    // A line is in the spool as soon as it is checkpointed; a seal would end the log.
    until("the line is kept", || log.shared().look(|standing| standing.fixed) > Offset(0)).await;
    left(log).await;
    let log = bench.create(&machine()).await;
    log.line("pulling image again");
    log.seal().await.unwrap();
    left(log).await;
    assert_eq!(lines_and_rest(&bench.spooled()).0, ["pulling image", "pulling image again"]);
}

#[tokio::test]
async fn a_log_that_was_ended_before_anything_ran_goes_on_with_what_runs() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.line("cancelled");
    log.seal().await.unwrap();
    left(log).await;
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    bench.capture.out("it ran\n");
    let (digest, loss) = log.seal().await.unwrap();
    left(log).await;
    let spooled = bench.spooled();
    assert_eq!((whole(&spooled), loss), (digest, None));
    let (lines, rest) = lines_and_rest(&spooled);
    assert_eq!((lines, rest), (vec!["cancelled".to_owned()], masked_whole(masks(), &bench.capture.raw)));
}

#[tokio::test]
async fn a_log_that_nobody_opened_is_taken_away_with_what_is_masked_in_it() {
    let bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.line("pulling image");
    left(log).await;
    for _ in 0..2 {
        AttemptLog::remove(&machine(), id(0), &bench.directory()).await;
    }
    assert_eq!(std::fs::read_dir(bench.directory()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_log_whose_capture_was_followed_is_never_begun_anew() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    let end = bench.capture.out("hello\n");
    log.captured(end);
    heard(&mut bench.news, "output", |_| true).await;
    left(log).await;
    let again =
        AttemptLog::create(&machine(), id(0), &bench.directory(), masks(), bench.sender.clone()).await;
    assert!(matches!(again, Err(LogError::Begun)));
}

#[tokio::test]
async fn what_is_to_be_masked_is_gone_so_the_rest_is_dropped_and_its_loss_recorded() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    let end = bench.capture.out("seen\n");
    log.captured(end);
    heard(&mut bench.news, "taken", |news| matches!(news, LogNews::Taken(_))).await;
    let kept = log.end();
    left(log).await;
    std::fs::remove_file(bench.directory().join("masks")).unwrap();
    bench.capture.out(&format!("{SECRET}\n"));
    let log = bench.recover(&machine()).await;
    let (digest, loss) = log.seal().await.unwrap();
    let loss = loss.unwrap();
    assert_eq!((digest.length, loss.at), (kept, kept));
    assert_eq!(loss.why.split(':').next(), Some("what to mask is not known any more"));
    let broken = heard(&mut bench.news, "broken", |news| matches!(news, LogNews::Broken(_))).await;
    assert_eq!(broken, LogNews::Broken(loss));
    left(log).await;
    assert_eq!(found_in(&bench.directory(), SECRET), Vec::<String>::new());
}

#[tokio::test]
async fn a_whole_log_needs_no_mask_set_any_more() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    bench.capture.out("all of it\n");
    let sealed = log.seal().await.unwrap();
    left(log).await;
    std::fs::remove_file(bench.directory().join("masks")).unwrap();
    assert_eq!(bench.recover(&machine()).await.seal().await.unwrap(), sealed);
}

#[tokio::test]
async fn a_spool_that_is_gone_is_a_loss_and_no_end_of_the_attempt() {
    let mut bench = Bench::new();
    let log = bench.recover(&machine()).await;
    let (digest, loss) = log.seal().await.unwrap();
    assert_eq!((digest.length, loss.map(|loss| loss.at)), (Offset(0), Some(Offset(0))));
    heard(&mut bench.news, "broken", |news| matches!(news, LogNews::Broken(_))).await;
}

#[tokio::test]
async fn a_damaged_capture_ends_the_log_with_a_loss_and_the_task_is_not_held_up() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    bench.capture.out("good\n");
    let good = bench.capture.raw.len();
    let mut bad = Vec::new();
    encode(&Frame { unix_us: 1, stage: Some(0), body: Body::Stdout(b"bad") }, &mut bad);
    bad[22] ^= 1;
    let end = bench.capture.write(&bad);
    log.captured(end);
    let broken = heard(&mut bench.news, "broken", |news| matches!(news, LogNews::Broken(_))).await;
    let (digest, loss) = log.seal().await.unwrap();
    assert_eq!(broken, LogNews::Broken(loss.clone().unwrap()));
    assert_eq!(loss.unwrap().at, digest.length);
    assert_eq!(digest, whole(&masked_whole(masks(), &bench.capture.raw[..good])));
    log.captured(Offset(9_999_999));
    let all = LogNews::Taken(Offset(9_999_999));
    heard(&mut bench.news, "the rest is let go", |news| *news == all).await;
}

#[tokio::test]
async fn a_full_disk_makes_the_log_wait_and_loses_nothing() {
    let mut bench = Bench::new();
    let disk = Arc::new(MortalDisk::default());
    let log = bench.create(&small(disk.clone())).await;
    log.follow(&bench.capture.directory);
    disk.fill(true);
    let end = bench.capture.out("waits\n");
    log.captured(end);
    heard(&mut bench.news, "output", |_| true).await;
    log.line("waits too");
    assert_eq!(log.end(), Offset(0));
    disk.fill(false);
    let (digest, loss) = log.seal().await.unwrap();
    assert_eq!(loss, None);
    left(log).await;
    let spooled = bench.spooled();
    assert_eq!(whole(&spooled), digest);
    let (lines, rest) = lines_and_rest(&spooled);
    assert_eq!(lines, ["waits too"]);
    assert_eq!(rest, masked_whole(masks(), &bench.capture.raw));
}

#[tokio::test]
async fn a_full_spool_waits_until_a_part_of_it_is_durable() {
    let mut bench = Bench::new();
    let limits = Limits { segment_bytes: 20_000, quota_bytes: 80_000 };
    let log = bench.create(&LogSettings { limits, ..small(Arc::new(MachineDisk)) }).await;
    log.follow(&bench.capture.directory);
    for _ in 0..20 {
        let end = bench.capture.out(&"x".repeat(10_000));
        log.captured(end);
    }
    until("there is no room for another read", || log.end().0 > limits.quota_bytes - 20_100).await;
    let full = log.end();
    assert!(full.0 <= limits.quota_bytes, "{full}");
    let sealed = log.seal();
    tokio::pin!(sealed);
    let (digest, loss) = soon("all is spooled", async {
        loop {
            log.safe(log.end(), log.end());
            tokio::select! {
                sealed = &mut sealed => break sealed.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    assert_eq!((digest, loss), (whole(&masked_whole(masks(), &bench.capture.raw)), None));
}

#[tokio::test]
async fn a_dropped_log_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let log = bench.create(&machine()).await;
    log.follow(&bench.capture.directory);
    bench.capture.frame(Some(0), Body::Mark(Mark::Cut, "enough"));
    bench.capture.out("gone\n");
    log.seal().await.unwrap();
    log.drop_spool().await;
    log.drop_spool().await;
    assert!(matches!(log.seal().await, Err(LogError::Over)));
    let left: Vec<_> =
        std::fs::read_dir(bench.directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [bench.directory().join("capture")], "it names a directory, nothing more");
}

#[tokio::test]
async fn a_listener_that_does_not_listen_holds_nothing_up() {
    let mut bench = Bench::new();
    let (sender, mut deaf) = mpsc::channel(1);
    bench.sender = sender;
    let log = bench.create(&small(Arc::new(MachineDisk))).await;
    log.follow(&bench.capture.directory);
    for _ in 0..50 {
        let end = bench.capture.out(&"y".repeat(500));
        log.captured(end);
    }
    let (digest, _) = log.seal().await.unwrap();
    assert_eq!(digest, whole(&masked_whole(masks(), &bench.capture.raw)));
    let raw = Offset(bench.capture.raw.len() as u64);
    heard(&mut deaf, "the last word", |news| *news == LogNews::Taken(raw)).await;
}
