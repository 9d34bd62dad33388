//! An executor's part of the way of a log: from a written capture, through masker and spool, to a
//! controller that only counts. It shows what the executor costs by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use ocelot_core::frame::{Body, Frame, Offset, encode};
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_executor::attempt::AttemptId;
use ocelot_executor::disk::MachineDisk;
use ocelot_executor::logs::{AttemptLog, Link, LogSettings, Pusher};
use ocelot_executor::mask::{MaskSet, Short};
use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::shutdown::{Shutdown, Tasks};
use ocelot_proto::wire::executor_service_client::ExecutorServiceClient;
use ocelot_proto::wire::{PushLogRequest, PushLogResponse};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::{Measuring, Row};
use crate::counting;
use crate::measure::{Effort, Round, in_turns};

const MIB: usize = 256;
const LINES: usize = 500;
const LINE: &[u8] = b"   Compiling a-crate-of-some-length v0.1.0 (/build/a-crate-of-some-length)\n";
const SECRETS: [&str; 3] = ["hunter2-hunter2", "ghp_0123456789abcdefghij", "correct horse battery"];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "executor.log.rate",
        about: "MB/s from a capture of large frames to a controller; beside cat through a pipe",
        measure: |effort| rate(effort, 64 * 1024),
    },
    Row {
        name: "executor.log.rate.small",
        about: "the same with frames of two lines each",
        measure: |effort| rate(effort, 2 * LINE.len()),
    },
    Row {
        name: "executor.log.latency",
        about: "from a captured line to the controller; beside a pipe",
        measure: latency,
    },
];

/// One log on its way to a controller.
struct Way {
    log: AttemptLog,
    received: watch::Receiver<u64>,
    _news: mpsc::Receiver<(AttemptId, ocelot_executor::logs::LogNews)>,
    _controller: counting::Controller,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct To(Channel);

#[async_trait]
impl Link for To {
    async fn open(
        &self,
        pieces: ReceiverStream<PushLogRequest>,
    ) -> Result<Streaming<PushLogResponse>, Status> {
        Ok(ExecutorServiceClient::new(self.0.clone()).push_log(pieces).await?.into_inner())
    }
}

impl Way {
    async fn open(directory: &Path, control: &Path) -> Result<Self> {
        let controller = counting::Controller::start().await?;
        let channel = Endpoint::from_shared(controller.address.clone())?.connect().await?;
        let shutdown = Shutdown::new(Duration::ZERO);
        let tasks: Tasks = shutdown.tasks();
        let pusher = Pusher::start(Arc::new(To(channel)), Arc::new(SystemClock), &tasks);
        let settings = LogSettings::new(Arc::new(MachineDisk), Arc::new(SystemClock), None);
        let mut masks = MaskSet::new([1; 16]);
        for secret in SECRETS {
            masks.add(secret.as_bytes(), Short::Refuse)?;
        }
        let task = TaskId { run: RunId::from_parts(1, [0; 10]), index: 0 };
        let id = AttemptId { task, number: Attempt::FIRST, epoch: Epoch(0) };
        let (sender, news) = mpsc::channel(64);
        let log = AttemptLog::create(&settings, id, directory, masks, sender).await?;
        log.follow(control);
        pusher.add(&log);
        let received = controller.received.subscribe();
        Ok(Self { log, received, _news: news, _controller: controller, shutdown })
    }

    async fn close(self) {
        let tasks = self.shutdown.tasks();
        drop(self.log);
        tasks.begin_drain();
        let (_requests, none) = mpsc::channel(1);
        self.shutdown.run(none).await;
    }
}

fn rate(effort: Effort, frame: usize) -> Measuring {
    Box::pin(async move {
        let root = tempfile::Builder::new().prefix("ocelot-bench-").tempdir_in(&effort.directory)?;
        let (control, path) = (root.path().join("control"), root.path().join("text"));
        let text = LINE.repeat((MIB << 20) / LINE.len());
        fs::write(&path, &text)?;
        let end = capture(&control, &text, frame)?;
        let used = std::cell::Cell::new(0.0);
        let ours = async || {
            let directory = tempfile::tempdir_in(root.path())?;
            let before = processor()?;
            let began = Instant::now();
            let mut way = Way::open(directory.path(), &control).await?;
            way.log.captured(end);
            let (digest, loss) = way.log.seal().await?;
            ensure!(loss.is_none(), "{loss:?}");
            way.received.wait_for(|received| *received >= digest.length.0).await?;
            let took = began.elapsed().as_secs_f64();
            used.set((processor()? - before) / (text.len() as f64 / 1e9));
            way.close().await;
            Ok(Round { rate: text.len() as f64 / 1e6 / took, latencies_ms: vec![] })
        };
        let baseline = async || {
            let began = Instant::now();
            let command = format!("cat {} | cat >/dev/null", path.display());
            ensure!(Command::new("sh").args(["-c", &command]).status().await?.success(), "no pipe");
            let took = began.elapsed().as_secs_f64();
            Ok(Round { rate: text.len() as f64 / 1e6 / took, latencies_ms: vec![] })
        };
        let figure = in_turns(&effort, "MB/s", "cat through a pipe", ours, baseline).await?;
        eprintln!("  CPU s per GB, with the counting controller: {:.2}", used.get());
        Ok(figure)
    })
}

/// Writes a capture as a supervisor does, and returns its end.
fn capture(control: &Path, text: &[u8], frame: usize) -> Result<Offset> {
    fs::create_dir(control)?;
    let (mut segment, mut end) = (Vec::new(), Offset(0));
    for (number, piece) in text.chunks(frame).enumerate() {
        let body = Body::Stdout(piece);
        encode(&Frame { unix_us: 1_000 + number as u64, stage: Some(0), body }, &mut segment);
        if segment.len() >= 16 << 20 {
            end = write(control, end, &mut segment)?;
        }
    }
    write(control, end, &mut segment)
}

fn write(control: &Path, begin: Offset, segment: &mut Vec<u8>) -> Result<Offset> {
    let name: PathBuf = control.join(ocelot_supervisor::control::segment_name(begin));
    fs::write(name, &*segment)?;
    let end = begin.advance(segment.len());
    segment.clear();
    Ok(end)
}

fn latency(effort: Effort) -> Measuring {
    Box::pin(async move {
        let rounds = Effort { rounds: effort.rounds.min(3), ..effort };
        in_turns(
            &rounds,
            "line/s",
            "a pipe",
            async || {
                let root = tempfile::tempdir_in(&rounds.directory)?;
                let control = root.path().join("control");
                fs::create_dir(&control)?;
                let name = control.join(ocelot_supervisor::control::segment_name(Offset(0)));
                let mut way = Way::open(root.path(), &control).await?;
                let (mut latencies_ms, mut end, mut bytes) = (Vec::new(), 0, Vec::new());
                for _ in 0..LINES {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let began = Instant::now();
                    encode(&Frame { unix_us: 1, stage: Some(0), body: Body::Stdout(LINE) }, &mut bytes);
                    let file = fs::OpenOptions::new().append(true).create(true).open(&name)?;
                    std::io::Write::write_all(&mut &file, &bytes)?;
                    end += bytes.len() as u64;
                    bytes.clear();
                    way.log.captured(Offset(end));
                    way.received.wait_for(|received| *received >= end).await?;
                    latencies_ms.push(began.elapsed().as_secs_f64() * 1e3);
                }
                way.close().await;
                Ok(Round { rate: 1.0, latencies_ms })
            },
            async || {
                let (mut sender, mut receiver) = tokio::net::unix::pipe::pipe()?;
                let mut latencies_ms = Vec::new();
                let mut bytes = [0; 4096];
                for _ in 0..LINES {
                    let began = Instant::now();
                    tokio::io::AsyncWriteExt::write_all(&mut sender, LINE).await?;
                    tokio::io::AsyncReadExt::read(&mut receiver, &mut bytes).await?;
                    latencies_ms.push(began.elapsed().as_secs_f64() * 1e3);
                }
                Ok(Round { rate: 1.0, latencies_ms })
            },
        )
        .await
    })
}

/// Returns the processor seconds that this process used.
fn processor() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().context("a stat")?.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
