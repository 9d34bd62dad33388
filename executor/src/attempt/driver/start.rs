//! The start of the task's container.

use std::time::Duration;

use futures_util::future::abortable;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::telemetry::chain;

use super::{Done, Driver};
use crate::attempt::link::Link;
use crate::attempt::service::Begin;
use crate::attempt::state::{BootTime, Cause};
use crate::runtime::Runtime;

/// A supervisor answers at once, or it is not there.
const CONNECT: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) fn start(&mut self, deadline: BootTime) {
        let Some(runtime) = self.runtime.clone() else { return };
        let deadline = self.deadline.unwrap_or(deadline).max(deadline);
        let deadline = match chaos::bug("guard.never_ends") {
            true => BootTime(u64::MAX / 2),
            false => deadline,
        };
        self.deadline = Some(deadline);
        self.begin_services(Begin::Fresh);
        let launch = self.launch(deadline);
        let shared = self.shared.clone();
        let (starting, abort) = abortable(async move {
            let started = up(&*runtime, &launch).await;
            if let Err(Cause::Platform { .. }) = &started {
                shared.runtimes.suspect();
            }
            started
        });
        self.starting = Some(abort);
        self.work(async move {
            match starting.await {
                Ok(Ok(up)) => Done::Launched(Box::new(up)),
                Ok(Err(cause)) => Done::NotLaunched(cause),
                Err(_aborted) => Done::Nothing,
            }
        });
    }
}

/// Starts the container and speaks to its supervisor.
async fn up(runtime: &dyn Runtime, launch: &crate::runtime::Launch) -> Result<super::Up, Cause> {
    let container = runtime.start(launch).await?;
    chaos::point("start.container_up");
    let given = runtime.given(&container).await.map_err(|error| Cause::Platform {
        why: format!("the environment of the container is not known: {}", chain(&error)),
    })?;
    let link = match tokio::time::timeout(CONNECT, Link::connect(&container.control)).await {
        Ok(Ok(link)) => Some(link),
        // It may have ended already; whoever looks at the container learns how.
        Ok(Err(error)) => {
            tracing::debug!(error = %chain(&error), "a supervisor that was just started cannot be reached");
            None
        }
        Err(_) => None,
    };
    Ok(super::Up { container, given, link })
}
