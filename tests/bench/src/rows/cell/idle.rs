//! Executors that wait: what each costs the controller, and whether work still starts at once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::usage::{Process, kib_each, mib};
use super::{ANYWHERE, Cell, RUNS, list_executors, middle_and_tail};
use crate::measure::{Effort, Figure};
use crate::rows::Measuring;

/// How long idle executors are watched.
const WATCHED: Duration = Duration::from_secs(60);
/// Until every executor was told the times for so many.
const SETTLED: Duration = Duration::from_secs(12);
/// Tasks that nobody can take, for a second look at what idle executors cost.
const STUCK: usize = 1_000;

/// More than so many with two connections each are more files than one program may open in many places.
const TWO_LINES_MAX: usize = 8_000;

/// How the executors speak to their controller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) tls: bool,
    pub(super) two_lines: bool,
}

pub(super) fn idle(effort: Effort, way: Way) -> Measuring {
    Box::pin(async move {
        let count = effort.count.unwrap_or(10_000);
        let count = if way.two_lines { count.min(TWO_LINES_MAX) } else { count };
        ensure!(count > 1, "a fleet has more than one executor");
        let mut cell = Cell::start(way.tls, way.two_lines, count).await?;
        let caller = cell.fleet.caller(0)?;
        let process = Process::of(&cell.fleet)?;
        cell.add(1, 1).await?;
        cell.dispatched(&caller, 10).await?;
        let alone = cell.dispatched(&caller, RUNS).await?;
        let before = process.used()?;
        let (registered, there) = cell.add(count - 1, 1).await?;
        eprintln!(
            "  {count} executors: registered after {:.1} s, each with session, heartbeat and poll after {:.1} s",
            registered.as_secs_f64(),
            there.as_secs_f64()
        );
        eprintln!("  calls that failed meanwhile: {}", cell.crowd.failures());
        tokio::time::sleep(SETTLED).await;
        let settled = process.used()?;
        tokio::time::sleep(WATCHED).await;
        let after = process.used()?;
        eprintln!(
            "  memory {} MiB, was {} MiB: {:.1} KiB each; idle for 60 s: {:.1} % of a core",
            mib(after.resident),
            mib(before.resident),
            kib_each(&before, &after, count - 1),
            after.share_since(&settled) * 100.0
        );
        let among = cell.dispatched(&caller, RUNS).await?;
        let (listed, pages) = list_executors(&caller).await?;
        eprintln!(
            "  executor list: {listed} in {} pages, each {}",
            pages.latencies_ms.len(),
            middle_and_tail(&pages)
        );
        let crowd = &cell.crowd;
        let reopened = crowd.reopened.load(Ordering::Relaxed);
        eprintln!("  calls that failed: {}; sessions opened anew: {reopened}", crowd.failures());
        stuck(&mut cell).await?;
        eprintln!("  calls that failed then: {}", cell.crowd.failures());
        Ok(Figure::beside("run/s", vec![among], "one executor alone", vec![alone]))
    })
}

/// The same with tasks that nobody can take: an idle executor must not cost more for them.
async fn stuck(cell: &mut Cell) -> Result<()> {
    let caller = cell.fleet.caller(0)?;
    let process = Process::of(&cell.fleet)?;
    caller.put_job(&ANYWHERE.replace("anywhere\n", "stuck\nlabels: [nobody]\n")).await?;
    super::backlog::fill(&caller, "stuck", STUCK).await?;
    let before = process.used()?;
    tokio::time::sleep(WATCHED / 2).await;
    let after = process.used()?;
    let round = cell.dispatched(&caller, RUNS).await?;
    eprintln!(
        "  with {STUCK} tasks for a label that nobody has: {:.1} % of a core; execute to offer {}",
        after.share_since(&before) * 100.0,
        middle_and_tail(&round)
    );
    Ok(())
}
