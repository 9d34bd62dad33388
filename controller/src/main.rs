//! The program `ocelot-controller`: reads what it is told, starts a controller, waits for its end.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ocelot_controller::app::{self, Settings, Started};
use ocelot_controller::auth::random_secret;
use ocelot_controller::bytes::files::{self, Access};
use ocelot_controller::config::{Args, CertificateOf, Command, Doctor, LogFormat, Output, Start};
use ocelot_controller::seal;
use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::shutdown::{Ended, Shutdown, signals};
use ocelot_proto::kit::telemetry::{self, Format};

/// How long open work may take after the first signal.
const GRACE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Start(start) => begin(*start),
        Command::Doctor(doctor) => examine(*doctor),
        Command::Certificate(of) => certificate(&of),
        Command::RotateSealKey { file } => rotate_seal_key(&file),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell if standard error is gone too.
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn rotate_seal_key(file: &Path) -> anyhow::Result<ExitCode> {
    let rotated = seal::rotate(file, random_secret());
    let (key, count) = rotated.with_context(|| format!("no key was put into {}", file.display()))?;
    let text = format!(
        "key {key} seals secrets from now on; {} before it may still open\n\
         Controllers that read this file take it up within 10 seconds and seal every secret with it. Their\n\
         log says when that is done: then the lines below the first may be taken out.\n",
        match count - 1 {
            1 => "1 key".to_owned(),
            others => format!("{others} keys"),
        }
    );
    std::io::stdout().write_all(text.as_bytes()).context("standard output is gone")?;
    Ok(ExitCode::SUCCESS)
}

fn certificate(of: &CertificateOf) -> anyhow::Result<ExitCode> {
    let certificate = app::certificate(&of.folder, &of.names)?;
    let (chain, key) = (of.folder.join("tls-certificate.pem"), of.folder.join("tls-key.pem"));
    let text = format!(
        "certificate  {}\nstart each controller with: --certificate {} --key {}\n",
        certificate.fingerprint(),
        chain.display(),
        key.display()
    );
    std::io::stdout().write_all(text.as_bytes()).context("standard output is gone")?;
    Ok(ExitCode::SUCCESS)
}

fn examine(doctor: Doctor) -> anyhow::Result<ExitCode> {
    let Doctor { start, running, output } = doctor;
    let settings = Settings::of(start.resolved()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match running {
        true => runtime.block_on(app::doctor::of_running(&settings)),
        false => runtime.block_on(app::doctor::examine(&settings, &SystemClock)),
    };
    runtime.shutdown_background();
    let text = match output {
        Output::Text => report.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    };
    std::io::stdout().write_all(text.as_bytes()).context("standard output is gone")?;
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn begin(start: Start) -> anyhow::Result<ExitCode> {
    let start = start.resolved()?;
    let format = match start.log_format.unwrap_or_default() {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    telemetry::init(format, start.log.as_deref().unwrap_or("info"))?;
    let token = start.first_token_file.clone();
    let settings = Settings::of(start)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the program's threads cannot be started")?.block_on(serve(settings, token.as_deref()))
}

async fn serve(settings: Settings, token: Option<&Path>) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::new(GRACE);
    let tasks = shutdown.tasks();
    let requests = signals(&tasks).context("signals cannot be received")?;
    // Signals are heeded while the start still waits for a store.
    let ending = shutdown.run(requests);
    tokio::pin!(ending);
    let started = tokio::select! {
        started = app::start(settings, &tasks) => started,
        ended = &mut ending => return Ok(code(ended)),
    };
    let started = match started {
        Ok(started) => started,
        Err(app::StartError::Stopped) => return Ok(code(ending.await)),
        Err(error) => {
            tasks.begin_drain();
            ending.await;
            return Err(error.into());
        }
    };
    greet(&started, token);
    let ended = ending.await;
    started.close().await;
    Ok(code(ended))
}

/// Says on standard output what is needed to use it. A token is said once and only here, or put into the
/// file that was named for it.
fn greet(started: &Started, file: Option<&Path>) {
    let mut text = format!("Ocelot controller {} at {}\n", env!("CARGO_PKG_VERSION"), started.url);
    if let Some(fingerprint) = &started.fingerprint {
        text.push_str(&format!("certificate  {fingerprint}\n"));
    }
    if let Some(token) = &started.first_token {
        match file.map(|file| (file, keep(file, token.reveal()))) {
            Some((file, Ok(()))) => {
                text.push_str(&format!("API token    in {}\n", file.display()));
                return say(&text);
            }
            // It is nowhere else: better said aloud than lost.
            Some((file, Err(error))) => {
                tracing::error!(%error, "the first API token cannot be put into {}", file.display());
            }
            None => {}
        }
        text.push_str(&format!("API token    {}\n", token.reveal()));
        text.push_str("             keep it: it is shown this once and stored nowhere\n");
    }
    say(&text);
}

/// Keeps a token where its owner alone can read it.
fn keep(file: &Path, token: &str) -> std::io::Result<()> {
    files::replace(file, format!("{token}\n").as_bytes(), Access::Owner)
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "standard output is gone");
    }
}

fn code(ended: Ended) -> ExitCode {
    match ended {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::GraceOver { left } => {
            tracing::warn!(left, "stopped with work left: the grace was over");
            ExitCode::SUCCESS
        }
        Ended::Forced { left } => {
            tracing::warn!(left, "stopped with work left: a second signal came");
            ExitCode::from(1)
        }
        Ended::TaskDied(task) => {
            tracing::error!(task, "ended because a background task died");
            ExitCode::from(70)
        }
    }
}
