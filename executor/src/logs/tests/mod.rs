mod capture;
mod controller;
mod disk;
mod sending;
mod services;
mod stories;
mod writing;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_proto::kit::clock::SystemClock;
use tokio::sync::mpsc;

use super::spool::Limits;
use super::*;
use crate::attempt::{AttemptId, LogDigest};
use crate::disk::{Disk, MachineDisk};
use crate::mask::{MaskSet, Masker, Short};

/// Only bounds a test that has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "hunter2-hunter2";
const OTHER_SECRET: &str = "correct horse battery";

fn id(index: u32) -> AttemptId {
    let task = TaskId { run: RunId::from_parts(1, [7; 10]), index };
    AttemptId { task, number: Attempt::FIRST, epoch: Epoch(0) }
}

fn masks() -> MaskSet {
    let mut masks = MaskSet::new([3; 16]);
    for value in [SECRET, OTHER_SECRET] {
        masks.add(value.as_bytes(), Short::Refuse).unwrap();
    }
    masks
}

fn settings(disk: Arc<dyn Disk>) -> LogSettings {
    LogSettings::new(disk, Arc::new(SystemClock), None)
}

fn machine() -> LogSettings {
    settings(Arc::new(MachineDisk))
}

fn small(disk: Arc<dyn Disk>) -> LogSettings {
    let limits = Limits { segment_bytes: 2_000, quota_bytes: 1 << 20 };
    LogSettings {
        limits,
        checkpoint_bytes: 700,
        checkpoint_every: Duration::from_millis(1),
        ..settings(disk)
    }
}

/// Gives a log up, as the end of a process does.
async fn left(log: AttemptLog) {
    let shared = Arc::clone(log.shared());
    drop(log);
    until("the thread is over", || shared.is_closed()).await;
}

/// Waits until it is so, without sleeping.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits for what must happen.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("it never happened: {what}"),
    }
}

type News = mpsc::Receiver<(AttemptId, LogNews)>;

fn news() -> (NewsSender, News) {
    mpsc::channel(100)
}

async fn heard(news: &mut News, what: &str, wanted: impl Fn(&LogNews) -> bool) -> LogNews {
    soon(what, async {
        loop {
            let (_, one) = news.recv().await.unwrap();
            if wanted(&one) {
                return one;
            }
        }
    })
    .await
}

/// What the log of a capture must be.
fn masked_whole(masks: MaskSet, raw: &[u8]) -> Vec<u8> {
    let (mut masker, mut log) = (Masker::new(masks).unwrap(), Vec::new());
    masker.push(raw, &mut log).unwrap();
    masker.finish(&mut log);
    log
}

/// Takes apart the executor's own lines and the frames of the capture.
fn lines_and_rest(log: &[u8]) -> (Vec<String>, Vec<u8>) {
    let (mut decoder, mut lines, mut rest) = (Decoder::default(), Vec::new(), Vec::new());
    decoder.push(log);
    while let Some(frame) = decoder.next_frame().unwrap() {
        match (frame.stage, frame.body) {
            (None, Body::Platform(line)) => lines.push(String::from_utf8_lossy(line).trim_end().to_owned()),
            _ => ocelot_core::frame::encode(&frame, &mut rest),
        }
    }
    (lines, rest)
}

/// Looks for a text in every file below a directory but the mask set itself.
fn found_in(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(found_in(&path, text));
        } else if path.file_name().is_some_and(|name| name != "masks") {
            // Freed meanwhile.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
