//! Every trial again with programs at their most talkative, and no secret in what they leave behind.

use std::process::Command;

use anyhow::{Result, ensure};
use ocelot_e2e::fleet::{ASKED, Said};
use tokio::time::Instant;

pub(super) fn row() -> Result<()> {
    let began = Instant::now();
    let reports = tempfile::Builder::new().prefix("ocelot-talk-").tempdir()?;
    let status = Command::new(std::env::current_exe()?)
        .args(["--skip", "etcd::", "--skip", "store::", "--skip", "runtime::"])
        .env(ASKED, reports.path())
        .status()?;
    let said = Said::read(reports.path())?;
    eprintln!(
        "{} fleets at trace level, {} secrets of theirs looked for in {} MiB: found {} times; {:.0} s",
        said.fleets,
        said.secrets,
        said.bytes >> 20,
        said.found.len(),
        began.elapsed().as_secs_f64()
    );
    ensure!(said.found.is_empty(), "{}", said.found[..said.found.len().min(40)].join("\n"));
    ensure!(status.success(), "a trial failed");
    Ok(())
}
