//! Pulls, from a registry of the test's own.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use ocelot_core::plan::{self, Pull};
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
    ensure!(lines.iter().any(|line| line.starts_with("Status: Downloaded newer image")), "{lines:?}");
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
