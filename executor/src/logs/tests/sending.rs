//! From the spool to a controller.

use ocelot_proto::kit::shutdown::{Ended, Shutdown, Tasks};

use super::capture::Capture;
use super::controller::Controller;
use super::disk::MortalDisk;
use super::*;
use crate::logs::push::course::{PIECE_BYTES, WINDOW_BYTES};

struct Bench {
    root: tempfile::TempDir,
    controller: Controller,
    shutdown: Shutdown,
    pusher: Pusher,
}

struct Sent {
    log: AttemptLog,
    capture: Capture,
    news: News,
}

impl Sent {
    fn out(&mut self, text: &str) {
        let end = self.capture.out(text);
        self.log.captured(end);
    }
}

impl Bench {
    async fn new() -> Self {
        let controller = Controller::start().await;
        let shutdown = Shutdown::new(PATIENCE);
        let pusher = Pusher::start(controller.link(), Arc::new(SystemClock), &shutdown.tasks());
        Self { root: tempfile::tempdir().unwrap(), controller, shutdown, pusher }
    }

    fn tasks(&self) -> Tasks {
        self.shutdown.tasks()
    }

    async fn attempt(&self, index: u32) -> Sent {
        self.attempt_with(index, &machine()).await
    }

    async fn attempt_with(&self, index: u32, settings: &LogSettings) -> Sent {
        let directory = self.root.path().join(index.to_string());
        std::fs::create_dir(&directory).unwrap();
        let capture = Capture::begin(&directory.join("control"));
        let (sender, news) = news();
        let log = AttemptLog::create(settings, id(index), &directory, masks(), sender).await.unwrap();
        log.follow(&capture.directory);
        self.pusher.add(&log);
        Sent { log, capture, news }
    }
}

fn has(index: u32, length: Offset) -> impl Fn(&super::controller::Kept) -> bool {
    move |kept| kept.log(index).len() as u64 >= length.0
}

#[tokio::test]
async fn what_is_captured_is_sent_without_waiting_for_a_checkpoint_and_the_end_tells_the_digest() {
    let bench = Bench::new().await;
    let never = LogSettings { checkpoint_every: Duration::from_secs(3_600), ..machine() };
    let mut sent = bench.attempt_with(0, &never).await;
    sent.out("hello\n");
    let expected = masked_whole(masks(), &sent.capture.raw);
    bench.controller.until("it is there", has(0, Offset(expected.len() as u64))).await;
    assert!(sent.news.try_recv().is_ok_and(|(_, news)| matches!(news, LogNews::FirstByte { .. })));
    let (digest, _) = sent.log.seal().await.unwrap();
    bench.controller.until("the end", |kept| kept.ends.contains_key(&0)).await;
    let end = bench.controller.kept(|kept| kept.ends[&0].clone());
    assert_eq!((end.length, &end.sha256[..]), (digest.length.0, &digest.sha256[..]));
    assert_eq!(bench.controller.kept(|kept| kept.log(0).to_vec()), expected);
    let durable = LogNews::Durable(digest.length);
    heard(&mut sent.news, "durable", |news| *news == durable).await;
}

#[tokio::test]
async fn an_attempt_without_answers_holds_up_no_other() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.faults.silent = vec![0]);
    let mut silent = bench.attempt(0).await;
    let text = "z".repeat(64 * 1024);
    for _ in 0..200 {
        silent.out(&text);
    }
    bench.controller.until("a window", has(0, Offset(WINDOW_BYTES))).await;
    let mut other = bench.attempt(1).await;
    for _ in 0..20 {
        other.out(&text);
    }
    let (digest, _) = other.log.seal().await.unwrap();
    bench.controller.until("the other is whole", has(1, digest.length)).await;
    let sent = bench.controller.kept(|kept| kept.log(0).len() as u64);
    assert!(sent < WINDOW_BYTES + PIECE_BYTES as u64, "{sent} bytes without an answer");
}

#[tokio::test]
async fn another_controller_gets_what_it_does_not_have() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.faults.durable_lag = 1_000);
    let mut sent = bench.attempt(0).await;
    for _ in 0..40 {
        sent.out(&"a line of output\n".repeat(10));
    }
    let raw = masked_whole(masks(), &sent.capture.raw).len();
    bench.controller.until("all of it", has(0, Offset(raw as u64))).await;
    // What was not durable is gone with the controller that had it.
    bench.controller.kept(|kept| {
        let log = kept.logs.get_mut(&0).unwrap();
        log.truncate(log.len() - 1_000);
    });
    sent.out("and on\n");
    let (digest, _) = sent.log.seal().await.unwrap();
    bench.controller.until("whole again", has(0, digest.length)).await;
    let expected = masked_whole(masks(), &sent.capture.raw);
    assert_eq!(bench.controller.kept(|kept| (kept.log(0).to_vec(), kept.gaps > 0)), (expected, true));
}

#[tokio::test]
async fn a_controller_that_asks_for_the_rest_of_a_whole_log_gets_it() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.faults.never_durable = true);
    let mut sent = bench.attempt(0).await;
    sent.out(&"a line of output\n".repeat(100));
    let (digest, _) = sent.log.seal().await.unwrap();
    bench.controller.until("whole", has(0, digest.length)).await;
    // What it may still be receiving it is not asked for twice.
    until("it is received", || sent.log.shared().received() == digest.length).await;
    bench.controller.kept(|kept| kept.logs.clear());
    sent.log.missing(Offset(0));
    bench.controller.until("whole again", has(0, digest.length)).await;
}

#[tokio::test]
async fn another_controller_gets_the_rest_of_a_whole_log_without_being_asked_to_complete_it() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.faults.never_durable = true);
    let mut sent = bench.attempt(0).await;
    sent.out(&"a line of output\n".repeat(100));
    let (digest, _) = sent.log.seal().await.unwrap();
    bench.controller.until("whole", |kept| kept.ends.contains_key(&0)).await;
    until("it is received", || sent.log.shared().received() == digest.length).await;
    // The controller dies with its disk, and its stream breaks.
    bench.controller.kept(|kept| {
        kept.logs.clear();
        kept.ends.clear();
        kept.faults.cut_after = Some(0);
    });
    let mut other = bench.attempt(1).await;
    other.out("the stream breaks with this\n");
    bench.controller.until("whole again", |kept| kept.ends.contains_key(&0)).await;
    assert!(bench.controller.kept(|kept| kept.streams > 1));
    let expected = masked_whole(masks(), &sent.capture.raw);
    assert_eq!(bench.controller.kept(|kept| kept.log(0).to_vec()), expected);
}

#[tokio::test]
async fn bytes_that_are_asked_for_after_they_were_durable_are_a_loss() {
    let bench = Bench::new().await;
    let mut sent = bench.attempt_with(0, &small(Arc::new(MachineDisk))).await;
    for _ in 0..100 {
        sent.out(&"a line of output\n".repeat(10));
    }
    let (digest, _) = sent.log.seal().await.unwrap();
    let durable = LogNews::Durable(digest.length);
    heard(&mut sent.news, "durable", |news| *news == durable).await;
    bench.controller.kept(|kept| kept.logs.get_mut(&0).unwrap().truncate(10));
    sent.log.missing(Offset(10));
    let broken = heard(&mut sent.news, "broken", |news| matches!(news, LogNews::Broken(_))).await;
    let why = "the controller asks for bytes that were called durable before".to_owned();
    assert_eq!(broken, LogNews::Broken(crate::attempt::LogLoss { at: Offset(10), why }));
}

#[tokio::test]
async fn other_bytes_at_the_controller_break_the_log_and_the_task_goes_on() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.logs.insert(0, b"something else".to_vec()));
    let mut sent = bench.attempt(0).await;
    sent.out("hello\n");
    let broken = heard(&mut sent.news, "broken", |news| matches!(news, LogNews::Broken(_))).await;
    let LogNews::Broken(loss) = broken else { unreachable!() };
    assert_eq!((loss.at, &*loss.why), (Offset(0), "the controller has other bytes from here on"));
    let end = sent.capture.out("goes on\n");
    sent.log.captured(end);
    let taken = LogNews::Taken(end);
    heard(&mut sent.news, "the capture is let go", |news| *news == taken).await;
    assert_eq!(sent.log.seal().await.unwrap().1, Some(loss));
}

#[tokio::test]
async fn a_fenced_attempt_is_told_so_and_others_go_on() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.faults.fenced = vec![0]);
    let (mut fenced, mut other) = (bench.attempt(0).await, bench.attempt(1).await);
    fenced.out("hello\n");
    heard(&mut fenced.news, "fenced", |news| *news == LogNews::Fenced).await;
    other.out("hello\n");
    let (digest, _) = other.log.seal().await.unwrap();
    bench.controller.until("the other is whole", has(1, digest.length)).await;
    fenced.log.drop_spool().await;
    assert_eq!(bench.controller.kept(|kept| kept.log(0).len()), 0);
}

#[tokio::test]
async fn a_heartbeat_that_tells_of_more_spares_sending_it() {
    let bench = Bench::new().await;
    let directory = bench.root.path().join("0");
    std::fs::create_dir(&directory).unwrap();
    let mut capture = Capture::begin(&directory.join("control"));
    let (sender, _news) = news();
    let log = AttemptLog::create(&machine(), id(0), &directory, masks(), sender).await.unwrap();
    log.follow(&capture.directory);
    capture.out(&"a line of output\n".repeat(100));
    let (digest, _) = log.seal().await.unwrap();
    let expected = masked_whole(masks(), &capture.raw);
    bench.controller.kept(|kept| kept.logs.insert(0, expected));
    log.safe(digest.length, Offset(0));
    bench.pusher.add(&log);
    let mut other = bench.attempt(1).await;
    other.out("hello\n");
    let (other, _) = other.log.seal().await.unwrap();
    bench.controller.until("the other is whole", has(1, other.length)).await;
    assert_eq!(log.shared().received(), digest.length);
}

#[tokio::test]
async fn the_sending_ends_with_the_program_once_nobody_holds_a_log() {
    let bench = Bench::new().await;
    let mut sent = bench.attempt(0).await;
    sent.out("hello\n");
    bench.controller.until("something is sent", |kept| !kept.log(0).is_empty()).await;
    bench.tasks().begin_drain();
    sent.out("still sent\n");
    let (digest, _) = sent.log.seal().await.unwrap();
    bench.controller.until("the rest is sent", has(0, digest.length)).await;
    drop(sent);
    let (_requests, none) = mpsc::channel(1);
    assert_eq!(soon("the end", bench.shutdown.run(none)).await, Ended::Drained);
}

#[tokio::test]
async fn a_log_that_began_on_a_full_disk_can_be_asked_for_from_its_first_byte() {
    let bench = Bench::new().await;
    bench.controller.kept(|kept| kept.faults.never_durable = true);
    let disk = Arc::new(MortalDisk::default());
    let mut sent = bench.attempt_with(0, &settings(disk.clone())).await;
    disk.fill(true);
    sent.out("waits\n");
    until("the disk is full", || disk.has_refused()).await;
    disk.fill(false);
    let (digest, _) = sent.log.seal().await.unwrap();
    bench.controller.until("all of it", |kept| kept.ends.contains_key(&0)).await;
    until("it is received", || sent.log.shared().received() == digest.length).await;
    // Another controller has nothing of it.
    bench.controller.kept(|kept| {
        kept.logs.remove(&0);
        kept.ends.remove(&0);
    });
    sent.log.missing(Offset(0));
    let expected = masked_whole(masks(), &sent.capture.raw);
    bench.controller.until("all of it again", has(0, Offset(expected.len() as u64))).await;
    assert_eq!(bench.controller.kept(|kept| kept.log(0).to_vec()), expected);
}
