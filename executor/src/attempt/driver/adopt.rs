//! What another process left: found on disk and in the runtimes, before a session is opened.

use std::time::Duration;

use ocelot_proto::kit::telemetry::chain;
use ocelot_supervisor::protocol::{Running, State as Seen, Stop};

use crate::attempt::link::Link;
use crate::attempt::progress::judged;
use crate::attempt::state::Found;
use crate::journal::{Container, Held, Phase};
use crate::runtime::{Given, Runtime, Standing};

/// A supervisor answers at once; a machine that has just started may be slow.
const CONNECT: Duration = Duration::from_secs(10);

/// What another process left of an attempt.
#[derive(Debug)]
pub struct Left {
    pub held: Held,
    pub found: Option<Found>,
    pub(super) up: Option<Up>,
}

/// A container that is up, and what is known of it.
#[derive(Debug)]
pub(crate) struct Up {
    pub(super) container: Container,
    pub(super) given: Given,
    /// None: it is to be asked again.
    pub(super) link: Option<(Link, Seen)>,
}

impl Left {
    /// Something of which no process can be left.
    pub(crate) fn without_container(held: Held) -> Self {
        Self { held, found: None, up: None }
    }

    /// Looks for the container of a held attempt, and asks its supervisor.
    pub(crate) async fn look(
        held: Held,
        runtime: &dyn Runtime,
        container: Container,
        memory_bytes: Option<u64>,
    ) -> Result<Self, crate::runtime::RuntimeError> {
        match &held.phase {
            Phase::Starting | Phase::Started(_) => {}
            Phase::Accepted | Phase::Ended(_) | Phase::Fenced => return Ok(Self::without_container(held)),
        }
        if runtime.inspect(&container).await? != Standing::Running {
            return Ok(Self::without_container(held));
        }
        let linked = tokio::time::timeout(CONNECT, Link::connect(&container.control)).await;
        let (link, seen) = match linked {
            Ok(Ok(linked)) => linked,
            Ok(Err(error)) => {
                tracing::error!(attempt = %held.id, error = %chain(&error), "a running container does not speak");
                return Ok(Self::without_container(held));
            }
            Err(_) => {
                tracing::error!(attempt = %held.id, "a running container does not speak");
                return Ok(Self::without_container(held));
            }
        };
        let given = runtime.given(&container).await?;
        let found = found(&container, &seen, memory_bytes);
        Ok(Self { held, found: Some(found), up: Some(Up { container, given, link: Some((link, seen)) }) })
    }
}

/// Returns what a supervisor's state says about its stages.
fn found(container: &Container, seen: &Seen, memory_bytes: Option<u64>) -> Found {
    let cancelled = seen.ended.iter().find(|end| end.stopped == Some(Stop::Cancelled));
    let running = seen.running.as_ref();
    let is_cancelled = |running: &&Running| running.stopped == Some(Stop::Cancelled);
    Found {
        container: container.clone(),
        ended: seen.ended.iter().map(|end| (end.stage, judged(end, memory_bytes))).collect(),
        running: running.map(|running| running.stage),
        cancelled: cancelled
            .map(|end| end.stage)
            .or(running.filter(is_cancelled).map(|running| running.stage)),
    }
}
