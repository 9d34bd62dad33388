//! An engine whose answers are lost, and what half a start leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::plan::{Ready, Resources, Service};
use ocelot_e2e::engine::{IMAGE, keeps_apart, network_of, socket};
use ocelot_e2e::runner::trial;
use ocelot_e2e::wait::{wait_until, within};
use ocelot_executor::attempt::state::Cause;
use ocelot_executor::runtime::{Runtime, Standing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

use super::rig::{Rig, Told, derived, docker, why};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("runtime::losses::a_creation_whose_answer_is_lost_leaves_nothing", lost_answer),
        trial("runtime::losses::a_start_that_is_repeated_finds_the_first_one", repeated),
        trial("runtime::losses::a_start_that_is_given_up_is_removed_by_its_directory", given_up),
        trial("runtime::losses::volumes_and_networks_go_with_the_container", left),
        trial("runtime::losses::a_container_that_somebody_removed_is_absent", removed_by_others),
        trial("runtime::losses::a_network_that_somebody_removed_is_made_again", pruned),
        trial("runtime::losses::networks_go_with_executors_that_are_gone_and_no_others", deserted),
    ]
}

/// A way to the engine that loses the answer to the next creation.
struct Relay {
    address: String,
    loses: Arc<AtomicBool>,
    _open: JoinSet<()>,
}

impl Relay {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("tcp://{}", listener.local_addr()?);
        let loses = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&loses);
        let mut open = JoinSet::new();
        open.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                connections.spawn(async move {
                    let Ok(mut engine) = UnixStream::connect(socket()).await else { return };
                    let mut head = vec![0; 1 << 16];
                    let Ok(count) = client.read(&mut head).await else { return };
                    let creates = head.starts_with(b"POST /containers/create");
                    if engine.write_all(&head[..count]).await.is_err() {
                        return;
                    }
                    if creates && seen.swap(false, Ordering::SeqCst) {
                        // The rest of the request, then the whole answer, which nobody gets.
                        let mut answer = vec![0; 1 << 16];
                        loop {
                            tokio::select! {
                                more = client.read(&mut head) => match more {
                                    Ok(count) if count > 0 => { let _gone = engine.write_all(&head[..count]).await; }
                                    _ => return,
                                },
                                _ = engine.read(&mut answer) => return,
                            }
                        }
                    }
                    let _ended = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
                });
            }
        });
        Ok(Self { address, loses, _open: open })
    }
}

async fn lost_answer() -> Result<()> {
    let rig = Rig::new()?;
    let relay = Relay::start().await?;
    let runtime = rig.another(Some(relay.address.clone()))?;
    let launch = rig.launch(IMAGE);
    runtime.prepare(&launch, &Told::default()).await.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    let cause = why(within("the start", runtime.start(&launch)).await?)?;
    ensure!(matches!(cause, Cause::Platform { .. }), "{cause:?}");
    ensure!(!relay.loses.load(Ordering::SeqCst), "no answer was lost");
    ensure!(rig.runtime.list().await?.is_empty(), "the container that was created is left");
    // The same attempt may start again.
    let container = runtime.start(&launch).await.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    ensure!(runtime.inspect(&container).await? == Standing::Running);
    Ok(())
}

async fn repeated() -> Result<()> {
    let rig = Rig::new()?;
    let launch = rig.launch(IMAGE);
    let first = rig.start(&launch).await?;
    let second = rig.another(None)?.start(&launch).await.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    ensure!(first == second, "{first:?} {second:?}");
    ensure!(rig.runtime.list().await?.len() == 1);
    Ok(())
}

async fn given_up() -> Result<()> {
    let rig = Rig::new()?;
    let launch = rig.launch(IMAGE);
    rig.runtime.prepare(&launch, &Told::default()).await.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    let control = launch.control.display().to_string();
    {
        let start = rig.runtime.start(&launch);
        let exists = wait_until("a container that is there", || async {
            let found = docker(&["ps", "-aq", "--filter", &format!("label=ocelot.control={control}")])?;
            ensure!(!found.is_empty());
            Ok(())
        });
        tokio::select! {
            started = start => { started.map_err(|cause| anyhow::anyhow!("{cause:?}"))?; }
            exists = exists => exists?,
        }
    }
    rig.runtime.remove(&launch.control).await?;
    ensure!(rig.runtime.list().await?.is_empty());
    Ok(())
}

async fn left() -> Result<()> {
    let rig = Rig::new()?;
    let image = derived(&rig, "volume", &["VOLUME /kept"])?;
    let mut launch = rig.launch(&image);
    launch.environment.services.push(Service {
        name: "db".to_owned(),
        image: IMAGE.to_owned(),
        env: Default::default(),
        command: Vec::new(),
        secrets: Vec::new(),
        pull_secret: None,
        resources: Resources::default(),
        ready: Ready::Started,
    });
    let container = rig.start(&launch).await?;
    let volume = docker(&[
        "inspect",
        "-f",
        "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}}{{end}}{{end}}",
        &container.id,
    ])?;
    ensure!(!volume.is_empty());
    let network = network_of(&container.id)?;
    docker(&["network", "inspect", &network])?;
    rig.runtime.remove(&launch.control).await?;
    ensure!(docker(&["volume", "inspect", &volume]).is_err(), "the volume is left");
    ensure!(docker(&["network", "inspect", &network]).is_err(), "the network is left");
    docker(&["rmi", "-f", &image]).map(drop)
}

async fn removed_by_others() -> Result<()> {
    let rig = Rig::new()?;
    let (container, _client) = rig.started(Resources::default()).await?;
    let ended = rig.runtime.ended(&container);
    let remove = async { docker(&["rm", "-f", &container.id]) };
    let (ended, removed) = tokio::join!(ended, remove);
    removed?;
    ensure!(matches!(ended?, Standing::Absent | Standing::Ended { .. }));
    ensure!(rig.runtime.inspect(&container).await? == Standing::Absent);
    rig.runtime.kill(&container).await?;
    rig.runtime.remove(&container.control).await?;
    Ok(())
}

async fn pruned() -> Result<()> {
    let rig = Rig::new()?;
    let launch = rig.launch(IMAGE);
    let first = rig.start(&launch).await?;
    let network = network_of(&first.id)?;
    let shared = keeps_apart(&network)?;
    rig.runtime.remove(&launch.control).await?;
    let removed = docker(&["network", "rm", &network]);
    // One that is not shared has gone with its container.
    ensure!(removed.is_ok() == shared, "{removed:?}");
    rig.renew()?;
    let second = rig.start(&launch).await?;
    ensure!(rig.runtime.inspect(&second).await? == Standing::Running);
    Ok(())
}

async fn deserted() -> Result<()> {
    let network = |rig: &Rig| {
        docker(&["network", "ls", "-q", "--filter", &format!("label=ocelot.executor={}", rig.executor)])
    };
    let (gone, idle, starting) = (Rig::new()?, Rig::new()?, Rig::new()?);
    for rig in [&gone, &idle] {
        let container = rig.start(&rig.launch(IMAGE)).await?;
        docker(&["rm", "-f", &container.id])?;
        ensure!(!network(rig)?.is_empty(), "it has one");
    }
    std::fs::remove_dir_all(gone.data.path())?;
    starting.runtime.check().await?;
    ensure!(network(&gone)?.is_empty(), "the network of an executor without a home is left");
    ensure!(!network(&idle)?.is_empty(), "one that only idles lost its network");
    Ok(())
}
