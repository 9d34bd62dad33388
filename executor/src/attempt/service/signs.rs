//! How it is seen that a service is ready, and what is said of one that is not.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::frame::{Body, Decoder, Exit};
use ocelot_core::plan::Ready;
use ocelot_proto::kit::clock::Clock;
use ocelot_supervisor::control;
use ocelot_supervisor::protocol::{Outcome, StageEnd as Seen};
use tokio::net::TcpStream;

use super::Waiting;
use crate::attempt::progress::judged;
use crate::attempt::state::{Gone, StageEnd};
use crate::journal::Container;
use crate::runtime::{Exec, Runtime};

/// One try to reach a port, or one run of a command, is given up after so long.
const TRY_MAX: Duration = Duration::from_secs(10);
const PORT_PAUSE: Duration = Duration::from_millis(25);
const COMMAND_PAUSE: Duration = Duration::from_millis(250);
/// What is quoted of a service that failed.
const EVIDENCE_BYTES: usize = 2_000;
const EVIDENCE_LINES: usize = 10;

/// Returns what is over when a service that runs is ready.
pub(super) fn ready(
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    container: Container,
    ready: &Ready,
    exec: impl FnOnce(&[String]) -> Exec,
) -> Waiting {
    match ready {
        Ready::Started => Box::pin(std::future::ready(())),
        Ready::Port { port, .. } => {
            let port = *port;
            Box::pin(async move {
                let mut address = None;
                while !answers(&*runtime, &container, &mut address, port).await {
                    clock.sleep(PORT_PAUSE).await;
                }
            })
        }
        Ready::Command { command, .. } => {
            let exec = exec(command);
            Box::pin(async move {
                let ran = async || tokio::time::timeout(TRY_MAX, runtime.exec(&container, &exec)).await;
                while !matches!(ran().await, Ok(Ok(0))) {
                    clock.sleep(COMMAND_PAUSE).await;
                }
            })
        }
    }
}

/// Whether somebody listens at the port of a container, reached from this machine.
async fn answers(
    runtime: &dyn Runtime,
    container: &Container,
    address: &mut Option<IpAddr>,
    port: u16,
) -> bool {
    if address.is_none() {
        *address = runtime.address(container).await.ok();
    }
    let Some(address) = *address else { return false };
    let connecting = TcpStream::connect(SocketAddr::new(address, port));
    matches!(tokio::time::timeout(TRY_MAX, connecting).await, Ok(Ok(_)))
}

pub(super) fn how_gone(gone: Gone) -> String {
    match gone {
        Gone::OutOfMemory { limit_bytes } => out_of_memory(limit_bytes),
        Gone::GuardOver => "was ended, since no controller vouched for it in time".to_owned(),
        Gone::Died { why } | Gone::Blocked { why } => format!("is gone: {why}"),
    }
}

fn out_of_memory(limit_bytes: Option<u64>) -> String {
    match limit_bytes {
        Some(limit) => format!("ran out of memory: its limit is {} MiB", limit >> 20),
        None => "ran out of the machine's memory".to_owned(),
    }
}

pub(super) fn how_ended(end: &Seen, limit_bytes: Option<u64>) -> String {
    if let Outcome::NotStarted(why) = &end.outcome {
        return format!("could not be started: {why}");
    }
    match judged(end, limit_bytes) {
        StageEnd::Exit(Exit::Code(code)) => format!("exited with {code}"),
        StageEnd::Exit(Exit::Signal(signal)) => format!("was ended by signal {signal}"),
        StageEnd::OutOfMemory { limit_bytes } => out_of_memory(limit_bytes),
        StageEnd::TimedOut(_) => "was ended for a limit".to_owned(),
    }
}

/// Returns the last lines of a capture. Blocks.
pub(super) fn last_said(control: &Path) -> String {
    let Some(begin) = control::segments(control).ok().and_then(|begins| begins.last().copied()) else {
        return String::new();
    };
    let bytes = fs::read(control.join(control::segment_name(begin))).unwrap_or_default();
    let (mut frames, mut said) = (Decoder::default(), Vec::new());
    // A torn frame at the end is the last of it.
    let _torn = frames.each(&bytes, |frame, _| {
        if let Body::Stdout(bytes) | Body::Stderr(bytes) = frame.body {
            said.extend_from_slice(bytes);
            let surplus = said.len().saturating_sub(EVIDENCE_BYTES);
            said.drain(..surplus);
        }
    });
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(EVIDENCE_LINES)..].join("\n")
}
