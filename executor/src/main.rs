//! `ocelot-executor`: registers this machine, and runs what controllers offer it.
//!
//! Exit status: 0 it was asked to end and did, 1 it could not do what it was asked, 2 it was called or
//! configured wrongly, 5 another process has taken its place, 6 it was removed.

mod config;
mod install;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ocelot_executor::app::{self, Registration, Settings};
use ocelot_executor::doctor;
use ocelot_executor::session::Stopped;
use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::shutdown::{self, Shutdown};
use ocelot_proto::kit::telemetry;

use config::{Arguments, Command, ConfigError, Output, Registering, Starting};

const USAGE: u8 = 2;
const FENCED: u8 = 5;
const REMOVED: u8 = 6;
/// Beside the grace of what is drained.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Register(arguments) => match arguments.read() {
            Ok(registering) => ended(register(registering)),
            Err(error) => misused(&error),
        },
        Command::Start(arguments) => match arguments.read() {
            Ok(starting) => ended(start(starting)),
            Err(error) => misused(&error),
        },
        Command::Doctor(arguments) => match arguments.read() {
            Ok((settings, running, output)) => ended(examine(&settings, running, output)),
            Err(error) => misused(&error),
        },
        Command::Collect(arguments) => match arguments.read() {
            Ok((settings, dry)) => ended(collect(settings, dry)),
            Err(error) => misused(&error),
        },
    }
}

fn misused(error: &ConfigError) -> ExitCode {
    eprintln!("ocelot-executor: {}", telemetry::chain(error));
    ExitCode::from(USAGE)
}

fn ended(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        eprintln!("ocelot-executor: {error:#}");
        ExitCode::FAILURE
    })
}

fn register(registering: Registering) -> anyhow::Result<ExitCode> {
    let Registering { register, install, start, telemetry } = registering;
    telemetry::init(telemetry.format, &telemetry.filter)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let registered = runtime.block_on(app::register(register)).context("this machine is not registered")?;
    let labels = match registered.labels.is_empty() {
        true => String::new(),
        false => format!(" with the labels {}", registered.labels.join(", ")),
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} is registered as executor {}{labels}, {} slots",
        registered.name, registered.executor, registered.slots
    )?;
    match install {
        Some(install) => writeln!(out, "{}", install::install(&install)?)?,
        None => writeln!(out, "start it with: {start}")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn examine(settings: &Settings, running: bool, output: Output) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match running {
        true => doctor::of_running(&settings.data, &SystemClock),
        false => runtime.block_on(doctor::examine(settings, &SystemClock)),
    };
    runtime.shutdown_background();
    let text = match output {
        Output::Text => report.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn collect(settings: Settings, dry: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(app::collect_now(settings, dry)).context("nothing was collected")?;
    runtime.shutdown_background();
    let mut out = std::io::stdout().lock();
    for why in &report.stays {
        writeln!(out, "{why}")?;
    }
    writeln!(out, "{}{report}", if dry { "it would be: " } else { "" })?;
    Ok(if report.stays.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(starting: Starting) -> anyhow::Result<ExitCode> {
    let Starting { settings, register, telemetry } = starting;
    telemetry::init(telemetry.format, &telemetry.filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(joining) = register
        && Registration::read(&settings.data)?.is_none()
    {
        let register = joining.read(&settings)?;
        let registered = runtime.block_on(app::register(register));
        let registered = registered.context("this machine is not registered")?;
        tracing::info!(executor.id = %registered.executor, "registered as {}", registered.name);
    }
    let stopped = runtime.block_on(run(settings))?;
    // What still writes has so long; a process that hangs is of no use to the next one.
    runtime.shutdown_timeout(SHUTDOWN_MARGIN);
    Ok(match stopped {
        Some(Stopped::Drained | Stopped::Leaves(_) | Stopped::Left { .. }) => ExitCode::SUCCESS,
        Some(Stopped::Journal) | None => ExitCode::FAILURE,
        Some(Stopped::Fenced) => ExitCode::from(FENCED),
        Some(Stopped::Removed { .. }) => ExitCode::from(REMOVED),
    })
}

async fn run(settings: Settings) -> anyhow::Result<Option<Stopped>> {
    let shutdown = Shutdown::new(settings.drain_grace + SHUTDOWN_MARGIN);
    let tasks = shutdown.tasks();
    let requests = shutdown::signals(&tasks)?;
    let started = app::start(settings, &tasks).await.context("the executor cannot start")?;
    tracing::info!(executor.id = %started.executor, name = started.name, "executor {} is at work", started.name);
    let watching = tasks.clone();
    let stopped = async move {
        let stopped = started.stopped.await.ok();
        if let Some(stopped) = &stopped {
            tracing::info!("the executor ends: {stopped}");
        }
        watching.begin_drain();
        stopped
    };
    let (stopped, ended) = tokio::join!(stopped, shutdown.run(requests));
    if let shutdown::Ended::TaskDied(name) = ended {
        anyhow::bail!("its part {name:?} broke; the log says how");
    }
    Ok(stopped)
}
