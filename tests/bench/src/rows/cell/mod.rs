//! One cell at its size: a controller process with as many executors and tasks as it is promised for.
//!
//! The executors live in this program, each with its own connection. Figures that are no rate and no
//! latency are printed as lines of their own.

mod back;
mod backlog;
mod idle;
mod idler;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use ocelot_domain::task::Timing;
use ocelot_e2e::fleet::{Build, Caller, Fleet, RunId, Settings, new_run_id};
use ocelot_e2e::wait::wait_long;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Row;
use crate::measure::{Round, percentile};
use idler::{Crowd, Ground, Idler};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "cell.idle_plain",
        about: "execute to offer while --count executors (10,000) idle, each with one connection; beside one",
        measure: |effort| idle::idle(effort, idle::Way { tls: false, two_lines: false }),
    },
    Row {
        name: "cell.idle_tls",
        about: "the same with TLS",
        measure: |effort| idle::idle(effort, idle::Way { tls: true, two_lines: false }),
    },
    Row {
        name: "cell.idle_two_lines",
        about: "the same with two connections each, as the product's executors have (8,000)",
        measure: |effort| idle::idle(effort, idle::Way { tls: false, two_lines: true }),
    },
    Row {
        name: "cell.backlog",
        about: "runs through one executor beside --count queued tasks (100,000); beside 100",
        measure: backlog::backlog,
    },
    Row {
        name: "cell.return",
        about: "--count executors (10,000) after kill -9 of their controller: how soon each is back",
        measure: back::back,
    },
];

/// Runs that a latency is measured by.
const RUNS: usize = 200;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(20);
/// Callers that register at the same time.
const TOGETHER: usize = 64;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);

const ANYWHERE: &str = "name: anywhere\nruntime: process\nstages: [{name: speak, script: echo spoken}]\n";

/// A controller, and its executors in this program.
#[derive(Debug)]
struct Cell {
    fleet: Fleet,
    crowd: Arc<Crowd>,
    offers: mpsc::Receiver<(RunId, Instant)>,
    living: JoinSet<Result<()>>,
}

impl Cell {
    async fn start(tls: bool, two_lines: bool, count: usize) -> Result<Self> {
        let fleet = Fleet::start(Settings { beyond: tls, ..Settings::embedded(Build::Plain) }).await?;
        fleet.caller(0)?.put_job(ANYWHERE).await?;
        let signs = Timing::for_fleet(u32::try_from(count)?).heartbeat();
        let ground = Ground { url: fleet.url(0), certificate: fleet.certificate(0)?, two_lines, signs };
        let (crowd, offers) = Crowd::new(ground);
        Ok(Self { fleet, crowd, offers, living: JoinSet::new() })
    }

    /// Registers so many executors, and lets them live; returns how long that took until the last one
    /// was registered, and until the last one had its session, a heartbeat and a poll.
    async fn add(&mut self, count: usize, slots: u32) -> Result<(Duration, Duration)> {
        let began = Instant::now();
        let before = self.crowd.back();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for worker in 0..TOGETHER.min(count) {
            let token = self.token(count as u32).await?;
            let (next, crowd) = (Arc::clone(&next), Arc::clone(&self.crowd));
            workers.spawn(async move {
                let mut made = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let name = format!("idle-{before}-{worker}-{}", made.len());
                    made.push(Idler::register(Arc::clone(&crowd), &token, &name, slots).await?);
                }
                anyhow::Ok(made)
            });
        }
        let mut all = Vec::new();
        while let Some(made) = workers.join_next().await {
            all.extend(made??);
        }
        let registered = began.elapsed();
        for idler in all {
            self.living.spawn(idler.live());
        }
        self.wait_back(before + count).await?;
        Ok((registered, began.elapsed()))
    }

    async fn token(&self, uses: u32) -> Result<String> {
        let request = wire::CreateRegistrationTokenRequest { uses, ..Default::default() };
        let answer = self.fleet.caller(0)?.admin().create_registration_token(request).await?;
        let invitation: Invitation = answer.into_inner().token.parse()?;
        Ok(invitation.token)
    }

    async fn wait_back(&self, count: usize) -> Result<()> {
        wait_long("every executor to be there", PATIENCE, || async {
            let back = self.crowd.back();
            anyhow::ensure!(back >= count, "{back} of {count} are");
            Ok(())
        })
        .await
    }

    /// Executes one run after the other, and returns for each how long it took to its offer.
    async fn dispatched(&mut self, caller: &Caller, runs: usize) -> Result<Round> {
        let mut round = Round::default();
        let mut busy = Duration::ZERO;
        for _ in 0..runs {
            let run = new_run_id();
            let began = Instant::now();
            caller.execute_as(run, "anywhere", &[]).await?;
            let offered = self.offer_of(run).await?;
            let after = offered.saturating_duration_since(began);
            busy += after;
            round.latencies_ms.push(after.as_secs_f64() * 1000.0);
            tokio::time::sleep(PAUSE).await;
        }
        round.rate = runs as f64 / busy.as_secs_f64();
        Ok(round)
    }

    async fn offer_of(&mut self, wanted: RunId) -> Result<Instant> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.offers.recv()).await;
            let (run, at) = next.context("no offer came")?.context("the executors are gone")?;
            if run == wanted {
                return Ok(at);
            }
        }
    }
}

/// Returns what is said of latencies: the middle and the tail.
fn middle_and_tail(round: &Round) -> String {
    let mut sorted = round.latencies_ms.clone();
    sorted.sort_by(f64::total_cmp);
    format!("p50 {:.1} ms, p99 {:.1} ms", percentile(&sorted, 0.5), percentile(&sorted, 0.99))
}

/// Lists all executors by pages; returns how many, in how many pages, and how long each page took.
async fn list_executors(caller: &Caller) -> Result<(usize, Round)> {
    let (mut count, mut round, mut token) = (0, Round::default(), String::new());
    loop {
        let request = wire::ListExecutorsRequest { page_size: 500, page_token: token, ..Default::default() };
        let began = Instant::now();
        let page = caller.admin().list_executors(request).await?.into_inner();
        round.latencies_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        count += page.executors.len();
        token = page.next_page_token;
        if token.is_empty() {
            return Ok((count, round));
        }
    }
}
