//! Containers beside a task: like the task's own, but for the workspace, in its network, under their
//! names.
//!
//! A service has a supervisor of its own. So its secrets are in no container's description, what it
//! writes is kept whatever becomes of the executor, and it ends when nobody vouches for it any more. The
//! rights of a task are enough: a database begins as root, gives its files to an account and goes on as
//! that.

use std::net::IpAddr;
use std::time::Duration;

use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::StreamExt;
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::Moment;

use super::body::Asked;
use super::{Docker, failure, image, refused, within};
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::journal::Container;
use crate::runtime::{Exec, RuntimeError, ServiceLaunch, Tell};

/// Between two looks at whether a command has ended; the first ones come sooner.
const LOOK_MAX: Duration = Duration::from_millis(250);
const LOOK_FIRST: Duration = Duration::from_millis(10);

impl Docker {
    pub(super) async fn pull_service(&self, launch: &ServiceLaunch, tell: &dyn Tell) -> Result<(), Cause> {
        let service = &launch.service;
        if service.resources.gpus.is_some_and(|gpus| gpus > 0) {
            return Err(refused("this executor gives no GPU to containers"));
        }
        let pull = image::usual_pull(&service.image);
        let got = self.pulls.get(&self.engine, &service.image, pull, launch.login.as_ref(), tell).await;
        self.images().insert(launch.control.clone(), got?);
        Ok(())
    }

    pub(super) async fn run_service(&self, launch: &ServiceLaunch) -> Result<Container, Cause> {
        if clock::now() >= Moment(launch.deadline.0) {
            return Err(failure::platform("start the service", "its deadline is over"));
        }
        let prepared = self.images().get(&launch.control).cloned();
        let image = match prepared {
            Some(image) => image,
            None => {
                let name = &launch.service.image;
                let missing =
                    || Cause::Failed(Failure::Image { why: format!("image {name} is not there any more") });
                image::find(&self.engine, name).await?.ok_or_else(missing)?
            }
        };
        self.networks
            .make_own(&self.engine, &launch.task)
            .await
            .map_err(|error| failure::platform("make the task's network", &failure::words(&error)))?;
        self.run_asked(&Asked::service(launch), &image).await
    }

    /// Returns the container's address in the network of its task.
    pub(super) async fn address_of(&self, id: &str) -> Result<IpAddr, RuntimeError> {
        let doing = "find the container's address";
        let found = within(self.engine.inspect_container(id, None::<InspectContainerOptions>)).await;
        let found = found.map_err(|error| failure::runtime(doing, error))?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.into_values().find_map(|network| network.ip_address?.parse().ok());
        address.ok_or_else(|| RuntimeError {
            doing: format!("the engine could not {doing}"),
            source: "it has none".into(),
        })
    }

    /// Runs a command and waits for its end; whoever calls bounds the time. Nobody reads what it says.
    pub(super) async fn exec_in(&self, id: &str, exec: &Exec) -> Result<i64, RuntimeError> {
        let doing = "run a command in a container";
        let failed = |error| failure::runtime(doing, error);
        let config = ExecConfig {
            cmd: Some(exec.command.clone()),
            env: Some(exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            user: exec.user.clone(),
            working_dir: Some(exec.directory.clone()).filter(|directory| !directory.is_empty()),
            privileged: Some(false),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let made = within(self.engine.create_exec(id, config)).await.map_err(failed)?;
        // Podman tells the end of a command only to who hears it out, and Docker tells it to anyone.
        let mut said = match within(self.engine.start_exec(&made.id, None)).await.map_err(failed)? {
            StartExecResults::Attached { output, input: _ } => output.fuse(),
            StartExecResults::Detached => futures_util::stream::empty().boxed().fuse(),
        };
        let (mut pause, mut is_heard_out) = (LOOK_FIRST, false);
        loop {
            let seen = within(self.engine.inspect_exec(&made.id)).await.map_err(failed)?;
            if let (Some(false), Some(code)) = (seen.running, seen.exit_code) {
                return Ok(code);
            }
            let silence = async { while said.next().await.is_some() {} };
            // What it left running may hold its output open for long.
            let is_silent = tokio::time::timeout(pause, silence).await.is_ok();
            if is_silent && std::mem::replace(&mut is_heard_out, true) {
                tokio::time::sleep(pause).await;
            }
            pause = (pause * 2).min(LOOK_MAX);
        }
    }
}
