//! Starts, ends and what is left of them.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::frame::Exit;
use ocelot_core::plan::Resources;
use ocelot_e2e::runner::trial;
use ocelot_executor::runtime::{Runtime, Standing};
use ocelot_supervisor::protocol::{Outcome, Request};

use super::rig::{Rig, docker, script};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("runtime::starts::the_probe_proves_paths_and_leaves_nothing", probe),
        trial("runtime::starts::a_stage_runs_and_the_container_ends_and_is_gone", whole),
    ]
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
