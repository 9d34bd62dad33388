//! Starts, ends and what is left of them.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::frame::Exit;
use ocelot_core::plan::Resources;
use ocelot_e2e::engine::IMAGE;
use ocelot_e2e::runner::trial;
use ocelot_executor::runtime::process::Process;
use ocelot_executor::runtime::{Runtime, Standing, install};
use ocelot_supervisor::protocol::{Outcome, Request};

use tokio::time::Instant;

use super::rig::{Rig, Told, docker, script};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("runtime::starts::the_probe_proves_paths_and_leaves_nothing", probe),
        trial("runtime::starts::a_stage_runs_and_the_container_ends_and_is_gone", whole),
    ]
}

/// Measures what a start costs, beside the engine's own program and its bare calls.
#[expect(clippy::print_stdout, reason = "the rows are what it is run for")]
pub(crate) fn measure(count: &str) -> Result<()> {
    let count = count.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let rig = Rig::new()?;
        rig.runtime.check().await?;
        let network = format!("label=ocelot.executor={}", rig.executor);
        let network = docker(&["network", "ls", "-q", "--no-trunc", "--filter", &network])?;
        let supervisor = install(rig.data.path())?;
        let process = Process::new(rig.data.path(), supervisor, Resources::default());
        let mut rows = [const { Vec::new() }; 7];
        for _ in 0..count {
            let launch = rig.launch(IMAGE);
            let begin = Instant::now();
            let prepared = rig.runtime.prepare(&launch, &Told::default()).await;
            prepared.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
            rows[0].push(begin.elapsed());
            let begin = Instant::now();
            let started = rig.runtime.start(&launch).await;
            started.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
            rows[1].push(begin.elapsed());
            let mut client = rig.assigned()?;
            let begin = Instant::now();
            rig.run(&mut client, script(0, "exit 0"))?;
            rows[2].push(begin.elapsed());
            let begin = Instant::now();
            rig.runtime.remove(&launch.control).await?;
            rows[3].push(begin.elapsed());
            rig.renew()?;
            let begin = Instant::now();
            docker(&["run", "--rm", "--entrypoint", "/bin/true", IMAGE])?;
            rows[4].push(begin.elapsed());
            let begin = Instant::now();
            let bare = docker(&["run", "-d", "--network", &network, IMAGE, "sleep", "60"])?;
            rows[5].push(begin.elapsed());
            docker(&["rm", "-f", &bare])?;
            let begin = Instant::now();
            let started = process.start(&launch).await;
            started.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
            rows[6].push(begin.elapsed());
            process.remove(&launch.control).await?;
            rig.renew()?;
        }
        let names = [
            "prepare",
            "start",
            "a stage of `exit 0`",
            "remove",
            "docker run --rm",
            "docker run -d, same network",
            "start without a container",
        ];
        for (name, mut row) in names.into_iter().zip(rows) {
            row.sort_unstable();
            let at = |percent: usize| row[(row.len() * percent / 100).min(row.len() - 1)];
            println!("{name:30} p50 {:?} p99 {:?}", at(50), at(99));
        }
        Ok(())
    })
}

async fn probe() -> Result<()> {
    let rig = Rig::new()?;
    let support = rig.runtime.check().await?;
    ensure!(support.whole_kill && !support.version.is_empty(), "{support:?}");
    ensure!(rig.runtime.list().await?.is_empty());
    ensure!(!rig.data.path().join("probe").exists());
    Ok(())
}

async fn whole() -> Result<()> {
    let rig = Rig::new()?;
    let (container, mut client) = rig.started(Resources::default()).await?;
    ensure!(rig.runtime.inspect(&container).await? == Standing::Running);
    let (end, output) = rig.run(&mut client, script(0, "pwd; echo kept > file; exit 7"))?;
    ensure!(end.outcome == Outcome::Ended(Exit::Code(7)), "{end:?}");
    ensure!(output == "/workspace\n", "{output:?}");
    ensure!(std::fs::read_to_string(rig.data.path().join("workspace/file"))? == "kept\n");
    client.ask(&Request::Finish { grace_ms: 10 })?;
    let ended = rig.runtime.ended(&container).await?;
    ensure!(ended == Standing::Ended { status: 0, out_of_memory: None }, "{ended:?}");
    rig.runtime.remove(&container.control).await?;
    rig.runtime.remove(&container.control).await?;
    rig.runtime.kill(&container).await?;
    ensure!(rig.runtime.inspect(&container).await? == Standing::Absent);
    ensure!(rig.runtime.list().await?.is_empty());
    let left = docker(&["ps", "-aq", "--filter", &format!("id={}", container.id)])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
