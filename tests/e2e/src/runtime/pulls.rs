//! Pulls, from a registry of the test's own.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::plan::{self, Pull};
use ocelot_e2e::engine::{IMAGE, is_podman};
use ocelot_e2e::runner::trial;
use ocelot_executor::attempt::Failure;
use ocelot_executor::attempt::state::Cause;
use ocelot_executor::runtime::{Launch, Login, Runtime};

use super::registry::{PASSWORD, Registry, USER};
use super::rig::{Rig, Told, docker, why};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("runtime::pulls::an_image_is_pulled_once_for_all_who_want_it", success),
        trial("runtime::pulls::an_image_that_is_not_there_is_told_apart", missing),
        trial("runtime::pulls::a_private_image_needs_its_login", private),
        trial("runtime::pulls::a_registry_that_does_not_answer_is_told_apart", unreachable),
        trial("runtime::pulls::never_means_never", never),
        trial("runtime::pulls::only_what_was_pulled_here_and_nobody_uses_may_go", ours),
    ]
}

fn launch(rig: &Rig, image: &str, pull: Pull, login: Option<Login>) -> Launch {
    let mut launch = Launch { login, ..rig.launch(image) };
    launch.environment.runtime =
        plan::Runtime::Container { image: image.to_owned(), pull, pull_secret: None, engine: false };
    launch
}

fn image_failure(cause: Cause) -> Result<String> {
    match cause {
        Cause::Failed(Failure::Image { why }) => Ok(why),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn success() -> Result<()> {
    let rig = Rig::new()?;
    let registry = Registry::start(false).await?;
    let image = format!("{}/there:1", registry.address);
    let launch = launch(&rig, &image, Pull::Missing, None);
    let told = [Told::default(), Told::default(), Told::default()];
    let pulled = tokio::join!(
        rig.runtime.prepare(&launch, &told[0]),
        rig.runtime.prepare(&launch, &told[1]),
        rig.runtime.prepare(&launch, &told[2]),
    );
    ensure!(pulled == (Ok(()), Ok(()), Ok(())), "{pulled:?}");
    let lines: Vec<_> = told.iter().flat_map(Told::lines).collect();
    let pulls = lines.iter().filter(|line| **line == format!("pulling {image}")).count();
    ensure!(pulls == 1, "{lines:?}");
    ensure!(registry.layers_sent.load(Ordering::SeqCst) <= 1);
    let is_told = lines.iter().any(|line| line.starts_with("Status: Downloaded newer image"));
    ensure!(is_told || is_podman()?, "{lines:?}");
    let container = rig.runtime.start(&launch).await.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    ensure!(rig.runtime.given(&container).await?.user.as_deref() == Some("7"));
    rig.runtime.remove(&launch.control).await?;
    // It is there now, so nobody is asked.
    let quiet = Told::default();
    ensure!(rig.runtime.prepare(&launch, &quiet).await == Ok(()));
    ensure!(quiet.lines().is_empty(), "{:?}", quiet.lines());
    docker(&["rmi", &image]).map(drop)
}

async fn missing() -> Result<()> {
    let rig = Rig::new()?;
    let registry = Registry::start(false).await?;
    let image = format!("{}/absent:1", registry.address);
    let cause = rig.runtime.prepare(&launch(&rig, &image, Pull::Missing, None), &Told::default()).await;
    let why = image_failure(why(cause)?)?;
    ensure!(why.starts_with(&format!("image {image} was not found: ")), "{why}");
    Ok(())
}

async fn private() -> Result<()> {
    let rig = Rig::new()?;
    let registry = Registry::start(true).await?;
    let image = format!("{}/there:1", registry.address);
    let without = rig.runtime.prepare(&launch(&rig, &image, Pull::Missing, None), &Told::default()).await;
    let words = image_failure(why(without)?)?;
    ensure!(words.starts_with(&format!("the registry refused image {image}: ")), "{words}");
    let login = Login { user: USER.to_owned(), password: "wrong".to_owned() };
    let wrong = launch(&rig, &image, Pull::Missing, Some(login));
    let words = image_failure(why(rig.runtime.prepare(&wrong, &Told::default()).await)?)?;
    ensure!(words.starts_with("the registry refused"), "{words}");
    let login = Login { user: USER.to_owned(), password: PASSWORD.to_owned() };
    let right = launch(&rig, &image, Pull::Missing, Some(login));
    let pulled = rig.runtime.prepare(&right, &Told::default()).await;
    ensure!(pulled == Ok(()), "{pulled:?}");
    docker(&["rmi", &image]).map(drop)
}

async fn unreachable() -> Result<()> {
    let rig = Rig::new()?;
    let cause =
        rig.runtime.prepare(&launch(&rig, "127.0.0.1:1/a:1", Pull::Always, None), &Told::default()).await;
    let why = image_failure(why(cause)?)?;
    ensure!(why.starts_with("the registry of image 127.0.0.1:1/a:1 cannot be reached: "), "{why}");
    Ok(())
}

async fn never() -> Result<()> {
    let rig = Rig::new()?;
    let registry = Registry::start(false).await?;
    let image = format!("{}/there:1", registry.address);
    let cause = rig.runtime.prepare(&launch(&rig, &image, Pull::Never, None), &Told::default()).await;
    let why = image_failure(why(cause)?)?;
    ensure!(why.contains("pull: never"), "{why}");
    ensure!(registry.layers_sent.load(Ordering::SeqCst) == 0);
    Ok(())
}

async fn ours() -> Result<()> {
    let rig = Rig::new()?;
    let registry = Registry::start(false).await?;
    let image = format!("{}/there:1", registry.address);
    let launch = launch(&rig, &image, Pull::Missing, None);
    let told = Told::default();
    // One that was there before is used, and is not ours.
    let old = Launch { control: rig.data.path().join("old/control"), ..rig.launch(IMAGE) };
    ensure!(rig.runtime.prepare(&old, &told).await == Ok(()));
    ensure!(rig.runtime.own_images().await?.is_empty());
    ensure!(rig.runtime.prepare(&launch, &told).await == Ok(()));
    let own = rig.runtime.own_images().await?;
    let [pulled] = &own[..] else { anyhow::bail!("{own:?}") };
    ensure!(pulled.name == image, "{own:?}");
    ensure!(pulled.in_use, "an attempt was given it");
    ensure!(!rig.runtime.remove_image(&pulled.id).await?);
    rig.runtime.remove(&launch.control).await?;
    // The next process knows it; somebody else needs it now.
    let next = rig.another(None)?;
    let container = docker(&["create", &image, "nothing"])?;
    let own = next.own_images().await?;
    ensure!(own.len() == 1 && own[0].in_use, "{own:?}");
    ensure!(!next.remove_image(&pulled.id).await?, "a container needs it");
    docker(&["rm", container.trim()])?;
    let tagged = format!("ocelot-test/mine-{}:1", registry.address.rsplit(':').next().unwrap_or_default());
    docker(&["tag", &image, &tagged])?;
    ensure!(!next.remove_image(&pulled.id).await?, "somebody gave it a name");
    docker(&["rmi", &tagged])?;
    ensure!(!next.own_images().await?[0].in_use);
    ensure!(next.remove_image(&pulled.id).await?);
    ensure!(docker(&["image", "inspect", &image]).is_err());
    ensure!(next.own_images().await?.is_empty());
    // It was asked for again, and is ours again; then somebody else takes it away.
    ensure!(next.prepare(&launch, &told).await == Ok(()));
    next.remove(&launch.control).await?;
    docker(&["rmi", &image])?;
    ensure!(next.own_images().await?.is_empty());
    ensure!(rig.another(None)?.own_images().await?.is_empty());
    Ok(())
}
