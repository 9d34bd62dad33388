//! Stages in a container: whose rights they have, how they end, and who goes on without whom.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::frame::Exit;
use ocelot_core::plan::Resources;
use ocelot_e2e::engine::{IMAGE, is_podman, keeps_apart, network_of};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::wait_until;
use ocelot_executor::attempt::state::{BootTime, Gone};
use ocelot_executor::runtime::{Launch, Runtime, Standing};
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::{Outcome, Program, Request, StageOrder, Stop};

use super::rig::{Rig, derived, docker, ended, script};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("runtime::stages::exit_codes_and_signals_are_exact", exits),
        trial("runtime::stages::run_as_the_images_user_and_cannot_look_into_the_control_directory", user),
        trial("runtime::stages::have_no_capability_beyond_the_list", capabilities),
        trial("runtime::stages::orphans_are_reaped", orphans),
        trial("runtime::stages::a_cancel_kills_what_ignores_it", cancel),
        trial("runtime::stages::the_guard_ends_the_container", guard),
        trial("runtime::stages::want_of_memory_is_told_with_its_count", memory),
        trial("runtime::stages::a_fork_bomb_stays_inside_its_limit", bomb),
        trial("runtime::stages::a_command_needs_no_shell_in_the_image", no_shell),
        trial("runtime::stages::output_goes_on_while_no_executor_is_there", adopted),
        trial("runtime::stages::tasks_do_not_reach_each_other", neighbours),
    ]
}

async fn exits() -> Result<()> {
    let rig = Rig::new()?;
    let (_, mut client) = rig.started(Resources::default()).await?;
    for (stage, text, exit) in [
        (0, "exit 0", Exit::Code(0)),
        (1, "exit 255", Exit::Code(255)),
        (2, "kill -9 $$", Exit::Signal(9)),
        (3, "kill -TERM $$", Exit::Signal(15)),
        (4, "exit 137", Exit::Code(137)),
    ] {
        let (end, _) = rig.run(&mut client, script(stage, text))?;
        ensure!(end.outcome == Outcome::Ended(exit), "{text}: {end:?}");
    }
    Ok(())
}

async fn user() -> Result<()> {
    let rig = Rig::new()?;
    let mut changes = vec!["USER 1234:55", "ENV FROM_IMAGE=yes"];
    // Podman makes no such image without a build.
    if !is_podman()? {
        changes.push("HEALTHCHECK CMD touch /healthy");
    }
    let image = derived(&rig, "user", &changes)?;
    let container = rig.start(&rig.launch(&image)).await?;
    let given = rig.runtime.given(&container).await?;
    ensure!(given.user.as_deref() == Some("1234:55"), "{given:?}");
    ensure!(given.env.get("FROM_IMAGE").map(String::as_str) == Some("yes"), "{given:?}");
    // The same, when it was another process that started it.
    ensure!(rig.another(None)?.given(&container).await? == given);
    let mut client = rig.assigned()?;
    let order = StageOrder {
        user: given.user,
        ..script(
            0,
            "id -u; id -g; touch here && echo wrote; ls /.ocelot/control || cat /.ocelot/control/identity || echo end",
        )
    };
    let (end, output) = rig.run(&mut client, order)?;
    ensure!(end.outcome == Outcome::Ended(Exit::Code(0)), "{end:?}");
    ensure!(output == "1234\n55\nwrote\nend\n", "{output:?}");
    ensure!(!rig.data.path().join("workspace/healthy").exists());
    docker(&["rmi", "-f", &image]).map(drop)
}

async fn capabilities() -> Result<()> {
    let rig = Rig::new()?;
    let (_, mut client) = rig.started(Resources::default()).await?;
    let text = "grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status; \
                mknod /tmp/x b 8 0 2>/dev/null && echo device; \
                mount -t tmpfs x /tmp 2>/dev/null && echo mount; \
                chroot / true 2>/dev/null && echo chroot; \
                hostname other 2>/dev/null && echo hostname; \
                [ -e /var/run/docker.sock ] && echo engine; \
                echo > /.ocelot/supervisor 2>/dev/null && echo supervisor; true";
    let (_, output) = rig.run(&mut client, script(0, text))?;
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7.
    let rights = "00000000000000fb";
    let none = "0000000000000000";
    let expected = format!(
        "CapPrm:\t{rights}\nCapEff:\t{rights}\nCapBnd:\t{rights}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    );
    ensure!(output == expected, "{output}");
    Ok(())
}

async fn orphans() -> Result<()> {
    let rig = Rig::new()?;
    let (_, mut client) = rig.started(Resources::default()).await?;
    rig.run(&mut client, script(0, "for i in 1 2 3; do (sh -c 'exit 0' &) ; done"))?;
    // Ends only when nothing is dead and not looked at.
    let text = "while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done; echo end";
    let (_, output) = rig.run(&mut client, script(1, text))?;
    ensure!(output == "end\n", "{output}");
    Ok(())
}

async fn cancel() -> Result<()> {
    let rig = Rig::new()?;
    let (_, mut client) = rig.started(Resources::default()).await?;
    let stubborn = script(0, "trap '' TERM; echo up; while :; do sleep 1; done");
    client.ask(&Request::RunStage(Box::new(stubborn)))?;
    wait_until("the trap is set", || async {
        let output = rig.output(0)?;
        ensure!(output == "up\n", "{output:?}");
        Ok(())
    })
    .await?;
    client.ask(&Request::Cancel { through: 0, grace_ms: 50 })?;
    let end = ended(&mut client)?;
    ensure!(end.outcome == Outcome::Ended(Exit::Signal(9)), "{end:?}");
    ensure!(end.stopped == Some(Stop::Cancelled), "{end:?}");
    Ok(())
}

async fn guard() -> Result<()> {
    let rig = Rig::new()?;
    // Long enough to start in, even on a loaded machine; nobody vouches for it afterwards.
    let deadline = BootTime(clock::now().after(30_000).0);
    let container = rig.start(&Launch { deadline, ..rig.launch(IMAGE) }).await?;
    let ended = rig.runtime.ended(&container).await?;
    ensure!(ended == Standing::Ended { status: 3, out_of_memory: None }, "{ended:?}");
    ensure!(ended.gone() == Some(Gone::GuardOver), "{ended:?}");
    Ok(())
}

async fn memory() -> Result<()> {
    let rig = Rig::new()?;
    let limits = Resources { memory_bytes: Some(32 << 20), ..Resources::default() };
    let (container, mut client) = rig.started(limits).await?;
    let (end, _) = rig.run(&mut client, script(0, "exec tail /dev/zero"))?;
    ensure!(end.outcome == Outcome::Ended(Exit::Signal(9)), "{end:?}");
    ensure!(end.oom_kills.is_some_and(|kills| kills >= 1), "{end:?}");
    // The supervisor went on: it is no end of the container.
    ensure!(rig.runtime.inspect(&container).await? == Standing::Running);
    let limit =
        docker(&["inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", &container.id])?;
    ensure!(limit == "33554432 33554432", "{limit}");
    Ok(())
}

async fn bomb() -> Result<()> {
    let rig = Rig::new()?;
    let limits = Resources { pids: Some(16), ..Resources::default() };
    let (container, mut client) = rig.started(limits).await?;
    let text = "for i in $(seq 40); do sleep 600 & done; echo never";
    let (end, output) = rig.run(&mut client, script(0, text))?;
    ensure!(end.outcome != Outcome::Ended(Exit::Code(0)) && output.is_empty(), "{end:?} {output}");
    rig.runtime.kill(&container).await?;
    let ended = rig.runtime.ended(&container).await?;
    ensure!(ended == Standing::Ended { status: 137, out_of_memory: None }, "{ended:?}");
    Ok(())
}

async fn no_shell() -> Result<()> {
    let rig = Rig::new()?;
    rig.runtime.check().await?;
    // The probe's image holds no file at all; what is there is our own program, which without a
    // directory ends with 2.
    let container = rig.start(&rig.launch("ocelot-probe-1:latest")).await?;
    ensure!(rig.runtime.inspect(&container).await? == Standing::Running);
    let mut client = rig.assigned()?;
    let program = Program::Command(vec!["/.ocelot/supervisor".to_owned()]);
    let (end, _) = rig.run(&mut client, StageOrder { program, env: BTreeMap::new(), ..script(0, "") })?;
    ensure!(end.outcome == Outcome::Ended(Exit::Code(2)), "{end:?}");
    Ok(())
}

async fn adopted() -> Result<()> {
    let rig = Rig::new()?;
    let (container, mut client) = rig.started(Resources::default()).await?;
    let text = "i=0; while [ ! -e stop ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 5";
    client.ask(&Request::RunStage(Box::new(script(0, text))))?;
    drop(client);
    let seen = rig.output(0)?.len();
    wait_until("output without anybody who listens", || async {
        let now = rig.output(0)?.len();
        ensure!(now > seen + 20, "{now} bytes");
        Ok(())
    })
    .await?;
    let later = rig.another(None)?;
    let ours = later.list().await?;
    ensure!(ours.len() == 1 && ours[0].container == container && ours[0].running, "{ours:?}");
    let (mut client, state) = rig.connect()?;
    ensure!(state.running.is_some() && state.identity.is_some(), "{state:?}");
    std::fs::write(rig.data.path().join("workspace/stop"), "")?;
    let end = ended(&mut client)?;
    ensure!(end.outcome == Outcome::Ended(Exit::Code(5)), "{end:?}");
    let output = rig.output(0)?;
    let expected = (0..output.lines().count()).map(|line| format!("{line}\n")).collect::<String>();
    ensure!(output == expected, "a line is missing or comes twice");
    Ok(())
}

async fn neighbours() -> Result<()> {
    let left = Rig::new()?;
    let (container, mut client) = left.started(Resources::default()).await?;
    let launch = Launch {
        control: left.data.path().join("second/control"),
        workspace: left.data.path().join("second/workspace"),
        ..left.launch(IMAGE)
    };
    for folder in [&launch.control, &launch.workspace] {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    }
    let second = left.start(&launch).await?;
    let address =
        |id: &str| docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id]);
    let (own, other) = (address(&container.id)?, address(&second.id)?);
    let (one, other_one) = (network_of(&container.id)?, network_of(&second.id)?);
    // Where they would reach each other in it, they share none.
    ensure!((one == other_one) == keeps_apart(&one)?, "{one} {other_one}");
    std::fs::write(launch.control.join("identity"), "second").context("identity")?;
    let (mut peer, _) = ocelot_supervisor::client::Client::connect(&launch.control, super::rig::PATIENCE)?;
    let deadline = clock::now().after(super::rig::HOUR_MS);
    peer.ask(&Request::Assign { identity: "second".to_owned(), deadline })?;
    let listens = script(0, "while :; do echo hello | nc -l -p 9000; done");
    peer.ask(&Request::RunStage(Box::new(listens)))?;
    // The listener can be reached from its own side, so silence on the other side means the wall.
    wait_until("the listener", || async {
        let seen = docker(&["exec", &second.id, "nc", "-w", "1", &other, "9000"])?;
        ensure!(seen == "hello", "{seen:?}");
        Ok(())
    })
    .await?;
    let text = format!("nc -w 1 {other} 9000 && echo reached; ping -c 1 -w 1 {own} >/dev/null 2>&1; true");
    let (_, output) = left.run(&mut client, script(0, &text))?;
    ensure!(!output.contains("reached") && !output.contains("hello"), "{output}");
    left.runtime.remove(&launch.control).await?;
    Ok(())
}
