//! Services beside a task: their output in its log, whatever dies in between.

use ocelot_core::frame::{Mark, encode, service_stage};
use ocelot_proto::kit::shutdown::Shutdown;
use sha2::{Digest as _, Sha256};

use super::capture::Capture;
use super::controller::Controller;
use super::disk::MortalDisk;
use super::*;

struct Bench {
    root: tempfile::TempDir,
    task: Capture,
    service: Capture,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("log")).unwrap();
        let task = Capture::begin(&root.path().join("control"));
        let service = Capture::begin(&root.path().join("service"));
        Self { root, task, service }
    }

    fn directory(&self) -> std::path::PathBuf {
        self.root.path().join("log")
    }

    async fn create(&self, settings: &LogSettings, sender: NewsSender) -> AttemptLog {
        let log = AttemptLog::create(settings, id(0), &self.directory(), masks(), sender).await.unwrap();
        self.follow(&log);
        log
    }

    fn follow(&self, log: &AttemptLog) {
        log.follow(&self.task.directory);
        log.follow_service(0, &self.service.directory);
    }

    fn spooled(&self) -> Vec<u8> {
        let spool = self.directory().join("spool");
        let left =
            spool::Spool::open(&spool, Limits::default(), Arc::new(MachineDisk), spool::Tail::KeepFrames);
        let spool = left.unwrap().spool;
        let mut bytes = Vec::new();
        while Offset(bytes.len() as u64) < spool.end() {
            bytes.extend_from_slice(&spool.read(Offset(bytes.len() as u64), 1 << 20).unwrap().bytes);
        }
        bytes
    }

    /// The log is both captures, each whole, once and in its own order.
    fn check(&self, log: &[u8], what: &str) {
        let (task, service) = apart(log);
        assert!(task == masked_whole(masks(), &self.task.raw), "{what}: the task's own output");
        assert!(service == masked_service(&self.service.raw), "{what}: the service's output");
        assert!(!String::from_utf8_lossy(log).contains(SECRET), "{what}");
    }
}

/// Takes apart what the task and what services said.
fn apart(log: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut decoder, mut task, mut service) = (Decoder::default(), Vec::new(), Vec::new());
    decoder.push(log);
    while let Some(frame) = decoder.next_frame().unwrap() {
        encode(&frame, if frame.service().is_some() { &mut service } else { &mut task });
    }
    (task, service)
}

fn masked_service(raw: &[u8]) -> Vec<u8> {
    let (mut masker, mut log) = (Masker::new(masks()).unwrap(), Vec::new());
    masker.push_service(service_stage(0).unwrap(), &mut Decoder::default(), raw, &mut log).unwrap();
    log
}

#[tokio::test]
async fn a_service_is_masked_told_apart_and_gone_on_with_by_the_next_process() {
    let mut bench = Bench::new();
    let (sender, mut news) = news();
    let log = bench.create(&machine(), sender.clone()).await;
    bench.service.frame(Some(0), Body::Begin("db"));
    bench.service.out("it begins with half a hunter2");
    let end = bench.service.out("-hunter2 and ends\n");
    bench.task.out(&format!("a stage says {SECRET}\n"));
    log.service_captured(0, end);
    let taken = LogNews::ServiceTaken { service: 0, offset: end };
    assert_eq!(heard(&mut news, "taken", |news| *news == taken).await, taken);
    left(log).await;
    let end = bench.service.out("later\n");
    let log = AttemptLog::recover(&machine(), id(0), &bench.directory(), sender).await.unwrap();
    log.follow_service(0, &bench.service.directory);
    log.service_captured(0, end);
    bench.task.end();
    bench.service.end();
    let (digest, loss) = log.seal().await.unwrap();
    assert_eq!(loss, None);
    let bytes = bench.spooled();
    assert_eq!(digest.length, Offset(bytes.len() as u64));
    bench.check(&bytes, "two processes");
}

#[tokio::test]
async fn only_stages_have_a_first_output() {
    let mut bench = Bench::new();
    let (sender, mut news) = news();
    let log = bench.create(&machine(), sender).await;
    let end = bench.service.out("a service speaks\n");
    log.service_captured(0, end);
    heard(&mut news, "taken", |news| matches!(news, LogNews::ServiceTaken { .. })).await;
    log.captured(bench.task.out("a stage speaks\n"));
    let first = heard(&mut news, "output", |news| !matches!(news, LogNews::ServiceTaken { .. })).await;
    assert_eq!(first, LogNews::FirstByte { unix_us: 1_001 });
}

#[tokio::test]
async fn a_service_that_floods_takes_no_room_from_the_task_and_loses_nothing() {
    let mut bench = Bench::new();
    let (sender, _news) = news();
    let settings = small(Arc::new(MachineDisk));
    let log = bench.create(&settings, sender).await;
    let (mut flood, line) = (Offset(0), "x".repeat(1_000));
    for _ in 0..600 {
        flood = bench.service.out(&line);
    }
    log.service_captured(0, flood);
    let part = settings.limits.quota_bytes / 4;
    until("services have what they may have", || log.end().0 >= part).await;
    // Nothing is safe elsewhere, and the task goes on all the same.
    let before = log.end();
    log.captured(bench.task.out("the task goes on\n"));
    until("the task is heard", || log.end() > before).await;
    assert!(log.end().0 < part * 2, "{}", log.end());
    log.seal().await.unwrap();
    bench.check(&bench.spooled(), "a flood");
}

#[tokio::test]
async fn a_capture_that_cannot_be_read_is_a_mark_and_not_the_end_of_the_log() {
    let mut bench = Bench::new();
    let (sender, _news) = news();
    let log = bench.create(&machine(), sender).await;
    bench.service.out("good\n");
    let end = bench.service.write(&[0xff; 64]);
    log.service_captured(0, end);
    bench.task.out("the task goes on\n");
    let (_, loss) = log.seal().await.unwrap();
    assert_eq!(loss, None);
    let (task, service) = apart(&bench.spooled());
    assert_eq!(task, masked_whole(masks(), &bench.task.raw));
    let (mut frames, mut marks) = (Decoder::default(), Vec::new());
    frames.push(&service);
    while let Some(frame) = frames.next_frame().unwrap() {
        if let Body::Mark(mark, why) = frame.body {
            marks.push((mark, why.to_owned()));
        }
    }
    let why = "its capture is damaged: a frame cannot be that long".to_owned();
    assert_eq!(marks, [(Mark::Loss, why)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_its_process_dies_no_byte_of_a_service_is_lost_or_twice() {
    for dies_at in 0..50 {
        let mut bench = Bench::new();
        let controller = Controller::start().await;
        let shutdown = Shutdown::new(PATIENCE);
        let tasks = shutdown.tasks();
        let disk = Arc::new(MortalDisk::dying_after(dies_at));
        let (sender, _news) = news();
        let log = bench.create(&small(disk.clone()), sender).await;
        let pusher = Pusher::start(controller.link(), Arc::new(SystemClock), &tasks);
        pusher.add(&log);
        for number in 0..20 {
            log.captured(bench.task.out(&format!("stage {number} {SECRET}\n")));
            let so_far = log.end();
            log.service_captured(0, bench.service.out(&format!("service {number} {SECRET}\n")));
            if number % 3 == 0 {
                until("it is in the log", || log.end() > so_far || disk.is_dead()).await;
            }
        }
        pusher.stop();
        left(log).await;
        let (sender, mut news) = news();
        let settings = small(Arc::new(MachineDisk));
        let log = AttemptLog::recover(&settings, id(0), &bench.directory(), sender).await.unwrap();
        bench.follow(&log);
        let pusher = Pusher::start(controller.link(), Arc::new(SystemClock), &tasks);
        pusher.add(&log);
        bench.task.end();
        bench.service.end();
        let (digest, loss) = log.seal().await.unwrap();
        assert_eq!(loss, None, "dies at {dies_at}");
        let what = format!("dies at {dies_at}: all is sent");
        let whole = |kept: &controller::Kept| kept.log(0).len() as u64 >= digest.length.0;
        tokio::select! {
            () = controller.until(&what, whole) => {}
            news = heard(&mut news, &what, |news| matches!(news, LogNews::Broken(_))) => panic!("{what}: {news:?}"),
        }
        let log_there = controller.kept(|kept| kept.log(0).to_vec());
        let sha256: [u8; 32] = Sha256::digest(&log_there).into();
        assert_eq!(digest, LogDigest { length: Offset(log_there.len() as u64), sha256 }, "{what}");
        bench.check(&log_there, &what);
        log.drop_spool().await;
        pusher.stop();
    }
}
