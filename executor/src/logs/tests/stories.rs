//! Whole lives of a log, by a seed: output, lines, cuts, other controllers, deaths at any write.
//!
//! What is proved of each: the controller's bytes are those of one uninterrupted run, the digest is
//! theirs, and no secret is in anything that was written or sent.

use ocelot_proto::kit::shutdown::Shutdown;
use sha2::{Digest as _, Sha256};

use super::capture::Capture;
use super::controller::Controller;
use super::disk::MortalDisk;
use super::*;
use crate::runtime::Tell;

const ADDED: &str = "added-while-it-ran";

/// A small, good enough source of numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}

/// One process of the executor.
struct Process {
    log: AttemptLog,
    disk: Arc<MortalDisk>,
    pusher: Pusher,
    news: News,
}

struct Story {
    seed: u64,
    dice: Dice,
    root: tempfile::TempDir,
    capture: Capture,
    controller: Controller,
    shutdown: Shutdown,
    told: Vec<String>,
    deaths: usize,
    unended: Vec<u16>,
}

impl Story {
    async fn begin(seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("log")).unwrap();
        let capture = Capture::begin(&root.path().join("control"));
        Self {
            seed,
            dice: Dice(seed),
            root,
            capture,
            controller: Controller::start().await,
            shutdown: Shutdown::new(PATIENCE),
            told: Vec::new(),
            deaths: 0,
            unended: Vec::new(),
        }
    }

    /// Starts a process. One that dies does so at a write or a sync of its own.
    async fn start(&mut self, first: bool, mortal: bool) -> Process {
        let directory = self.root.path().join("log");
        let (log, disk, news) = loop {
            let disk = match mortal {
                true => MortalDisk::dying_after(self.dice.roll(40)),
                false => MortalDisk::default(),
            };
            let disk = Arc::new(disk);
            let settings = small(disk.clone());
            let (sender, news) = news();
            let log = match first {
                true => AttemptLog::create(&settings, id(0), &directory, masks(), sender).await,
                false => AttemptLog::recover(&settings, id(0), &directory, sender).await,
            };
            match log {
                Ok(log) => break (log, disk, news),
                // It died while it recovered.
                Err(error) => assert!(disk.is_dead(), "seed {}: {error}", self.seed),
            }
        };
        if first {
            log.follow(&self.capture.directory);
        }
        let clock = Arc::new(SystemClock);
        let pusher = Pusher::start(self.controller.link(), clock, &self.shutdown.tasks());
        pusher.add(&log);
        Process { log, disk, pusher, news }
    }

    /// Writes a piece of output: ordinary text, secrets in pieces, starts of secrets.
    fn write(&mut self) -> Offset {
        let index = self.dice.roll(2) as u16;
        let stage = Some(index);
        let words =
            ["word ", "line\n", SECRET, &SECRET[..9], &SECRET[9..], OTHER_SECRET, ADDED, "hunter2-", "x"];
        let mut text = String::new();
        for _ in 0..=self.dice.roll(4) {
            text.push_str(words[self.dice.roll(words.len())]);
        }
        if !self.unended.contains(&index) {
            self.unended.push(index);
        }
        match self.dice.roll(12) {
            0 => self.capture.frame(stage, Body::AddMask(ADDED.as_bytes())),
            1 => self.capture.frame(stage, Body::Stdout("y".repeat(1_500).as_bytes())),
            2 | 3 => self.capture.frame(stage, Body::Stderr(text.as_bytes())),
            _ => self.capture.frame(stage, Body::Stdout(text.as_bytes())),
        }
    }

    fn hear(&mut self, process: &mut Process) {
        while let Ok((_, news)) = process.news.try_recv() {
            match news {
                // A dead process tells nobody that it gave up.
                LogNews::Taken(_) if process.disk.is_dead() => {}
                LogNews::Taken(offset) => self.capture.taken(offset),
                LogNews::FirstByte { .. } | LogNews::Durable(_) | LogNews::ServiceTaken { .. } => {}
                LogNews::Broken(loss) => {
                    assert!(process.disk.is_dead(), "seed {}: {loss:?}", self.seed);
                }
                LogNews::Fenced => panic!("seed {}: nobody fenced it", self.seed),
            }
        }
    }

    /// Does something, or has something done to it.
    async fn step(&mut self, process: &mut Process) {
        match self.dice.roll(10) {
            0 => {
                let line = format!("line {} with {SECRET}", self.told.len());
                self.told.push(line.replace(SECRET, "***"));
                process.log.line(&line);
            }
            1 => {
                let after = self.dice.roll(3_000);
                self.controller.kept(|kept| kept.faults.cut_after = Some(after));
            }
            2 => {
                // Another controller, with what was durable of it.
                let lag = self.dice.roll(600);
                self.controller.kept(|kept| {
                    let durable = kept.durable.get(&0).copied().unwrap_or_default();
                    if let Some(log) = kept.logs.get_mut(&0) {
                        log.truncate(durable);
                    }
                    kept.faults.durable_lag = lag;
                });
            }
            3 => {
                let end = Offset(self.capture.raw.len() as u64);
                process.log.captured(end);
                tokio::task::yield_now().await;
            }
            _ => {
                let end = self.write();
                if self.dice.roll(2) == 0 {
                    process.log.captured(end);
                }
            }
        }
        self.hear(process);
    }

    async fn finish(mut self, mut process: Process) {
        for stage in std::mem::take(&mut self.unended) {
            self.capture.frame(Some(stage), Body::End(ocelot_core::frame::Exit::Code(0)));
        }
        let (digest, loss) = soon("the seal", process.log.seal()).await.unwrap();
        let seed = self.seed;
        assert_eq!(loss, None, "seed {seed}");
        self.controller.kept(|kept| kept.faults.cut_after = None);
        let whole = |kept: &super::controller::Kept| kept.log(0).len() as u64 >= digest.length.0;
        let what = format!("seed {seed}: all is sent");
        let broken = |news: &LogNews| matches!(news, LogNews::Broken(_));
        tokio::select! {
            () = self.controller.until(&what, whole) => {}
            news = heard(&mut process.news, &what, broken) => panic!("seed {seed}: {news:?}"),
        }
        let log = self.controller.kept(|kept| kept.log(0).to_vec());
        let sha256: [u8; 32] = Sha256::digest(&log).into();
        assert_eq!(digest, LogDigest { length: Offset(log.len() as u64), sha256 }, "seed {seed}");
        let (lines, rest) = lines_and_rest(&log);
        let expected = masked_whole(masks(), &self.capture.raw);
        let same = rest.iter().zip(&expected).take_while(|(one, other)| one == other).count();
        assert!(rest == expected, "seed {seed}: {same} of {} bytes, not {}", rest.len(), expected.len());
        let mut told = self.told.iter();
        assert!(lines.iter().all(|line| told.any(|told| told == line)), "seed {seed}: {lines:?}");
        if self.deaths == 0 {
            assert_eq!(lines, self.told, "seed {seed}");
        }
        for secret in [SECRET, OTHER_SECRET] {
            assert!(!String::from_utf8_lossy(&log).contains(secret), "seed {seed}");
            assert_eq!(found_in(&self.root.path().join("log"), secret), Vec::<String>::new(), "seed {seed}");
        }
        process.log.drop_spool().await;
        process.pusher.stop();
    }
}

async fn live(seed: u64, processes: usize) {
    let mut story = Story::begin(seed).await;
    // What a controller may lose at all: set before anything is sent.
    let lag = story.dice.roll(600);
    story.controller.kept(|kept| kept.faults.durable_lag = lag);
    let mut process = story.start(true, processes > 1).await;
    for number in 1..=processes {
        let last = number == processes;
        for _ in 0..30 + story.dice.roll(60) {
            story.step(&mut process).await;
            if process.disk.is_dead() && !last {
                break;
            }
        }
        if last {
            break;
        }
        process.pusher.stop();
        left(process.log).await;
        story.deaths += 1;
        process = story.start(false, number + 1 < processes).await;
    }
    story.finish(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_the_same_bytes_whatever_cuts_its_streams() {
    for seed in 0..40 {
        live(seed, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_the_same_bytes_however_often_its_process_dies() {
    for seed in 1_000..1_080 {
        live(seed, 4).await;
    }
}

/// Every write and every sync of one story, one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_the_same_bytes_wherever_its_process_dies() {
    for dies_at in 0..60 {
        let mut story = Story::begin(77).await;
        let directory = story.root.path().join("log");
        let disk = Arc::new(MortalDisk::dying_after(dies_at));
        let (sender, _news) = news();
        let log = AttemptLog::create(&small(disk.clone()), id(0), &directory, masks(), sender).await.unwrap();
        log.follow(&story.capture.directory);
        let tasks = story.shutdown.tasks();
        let pusher = Pusher::start(story.controller.link(), Arc::new(SystemClock), &tasks);
        pusher.add(&log);
        for number in 0..30 {
            let end = story.write();
            log.captured(end);
            if number % 7 == 0 {
                let so_far = log.end();
                log.line(&format!("line {number}"));
                story.told.push(format!("line {number}"));
                until("it is in the log", || log.end() > so_far || disk.is_dead()).await;
            }
        }
        pusher.stop();
        left(log).await;
        story.deaths = 1;
        let process = story.start(false, false).await;
        story.finish(process).await;
    }
}
