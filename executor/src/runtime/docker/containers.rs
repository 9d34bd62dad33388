//! What happens to one container in the engine: created, started, waited for, removed.
//!
//! A creation whose answer was lost is remembered until a removal has looked for it long enough.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptions, LogsOptions,
    RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use ocelot_core::plan::Runtime as Place;
use ocelot_proto::kit::chaos;
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::Moment;

use super::allowed::{self, Allowance};
use super::body::{self, Asked, Ground};
use super::failure::{self, Answer, answer};
use super::image::{self, Image};
use super::network::Shared;
use super::{AWAY_STEP, CALL_MAX, Docker, refused, within};
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::journal::Container;
use crate::runtime::listening::Arrival;
use crate::runtime::{Launch, OutOfMemory, Runtime, Standing, UNKNOWN_STATUS};

/// Before an unusual start is looked into.
const LISTEN_SOON: Duration = Duration::from_secs(1);
const LISTEN_MAX: Duration = Duration::from_secs(30);
/// A creation whose answer was lost shows itself within this time, or was never begun.
const LATE_ROUNDS_MAX: u32 = 40;
const COMPLAINT_CHARS_MAX: usize = 1000;
/// What the shell says of a process that was killed.
const STATUS_KILLED: i64 = 137;

impl Docker {
    pub(super) async fn image(&self, launch: &Launch) -> Result<Image, Cause> {
        let prepared = self.images().get(&launch.control).cloned();
        if let Some(image) = prepared {
            return Ok(image);
        }
        let Place::Container { image: name, .. } = &launch.environment.runtime else {
            return Err(refused("the task asks for no container"));
        };
        let missing = || Cause::Failed(Failure::Image { why: format!("image {name} is not there any more") });
        image::find(&self.engine, name).await?.ok_or_else(missing)
    }

    pub(super) async fn network(&self, asked: &Asked<'_>) -> Result<String, Cause> {
        if !asked.own_network {
            let shared = self.networks.shared(&self.engine).await;
            let shared =
                shared.map_err(|error| failure::platform("make a network", &failure::words(&error)))?;
            match shared {
                Shared::All(id) => return Ok(id),
                Shared::Apart => {}
            }
        }
        Ok(body::name(asked.task))
    }

    /// Returns what is asked of the engine, looked at once more.
    pub(super) fn body(
        &self,
        asked: &Asked<'_>,
        image: &Image,
        network: &str,
    ) -> Result<ContainerCreateBody, Cause> {
        let settings = &self.settings;
        let body = body::container(
            asked,
            &Ground {
                executor: &settings.executor,
                supervisor: &settings.supervisor,
                image: &image.id,
                network,
                defaults: &settings.defaults,
                limits_disk: self.limits_disk.load(Ordering::Relaxed),
            },
        );
        let allowance = Allowance {
            data: &settings.data,
            memory: &settings.memory,
            supervisor: &settings.supervisor,
            asked: *asked,
            network,
        };
        match allowed::check(&body, &allowance) {
            Ok(()) => Ok(body),
            Err(forbidden) => Err(refused(&forbidden.to_string())),
        }
    }

    async fn create(&self, asked: &Asked<'_>, body: ContainerCreateBody) -> Result<String, Cause> {
        let name = body::name(asked.control);
        let network = body.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
        let owns_network = network == Some(&body::name(asked.task));
        let own_network = async {
            match owns_network {
                false => Ok(()),
                true => self.networks.make_own(&self.engine, asked.task).await,
            }
        };
        let no_network = |error: Error| failure::platform("make the task's network", &failure::words(&error));
        let created = if owns_network && self.networks.come_first() {
            own_network.await.map_err(no_network)?;
            Box::pin(self.create_now(asked, &name, body)).await
        } else {
            let (created, network) =
                tokio::join!(Box::pin(self.create_now(asked, &name, body.clone())), own_network);
            network.map_err(no_network)?;
            match created {
                Err(error) if owns_network && is_without_network(&failure::words(&error)) => {
                    self.networks.let_come_first();
                    Box::pin(self.create_now(asked, &name, body)).await
                }
                created => created,
            }
        };
        match created {
            Ok(id) => Ok(id),
            Err(error) if answer(&error) == Answer::Conflict => self.earlier(asked, &name).await,
            Err(error) => Err(failure::platform("create the container", &failure::words(&error))),
        }
    }

    async fn create_now(
        &self,
        asked: &Asked<'_>,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, Error> {
        let options =
            CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        // Set before the call and cleared by its answer, so that a dropped call counts as unanswered.
        self.unanswered().insert(asked.control.to_owned());
        let created = within(self.engine.create_container(Some(options), body)).await;
        if created.as_ref().err().is_none_or(|error| answer(error) != Answer::Unknown) {
            self.unanswered().remove(asked.control);
        }
        created.map(|created| created.id)
    }

    /// Returns the container that an earlier call of the same start has made.
    async fn earlier(&self, asked: &Asked<'_>, name: &str) -> Result<String, Cause> {
        let found = within(self.engine.inspect_container(name, None::<InspectContainerOptions>)).await;
        let found =
            found.map_err(|error| failure::platform("find the container", &failure::words(&error)))?;
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        let expected = asked.labels(&self.settings.executor);
        match found.id {
            Some(id)
                if labels.is_some_and(|labels| {
                    expected.iter().all(|(key, value)| labels.get(key) == Some(value))
                }) =>
            {
                Ok(id)
            }
            Some(_) | None => {
                Err(failure::platform("create the container", &format!("another one is named {name}")))
            }
        }
    }

    /// Creates and starts; a shared network that somebody took away is made again once.
    pub(super) async fn run(&self, launch: &Launch) -> Result<Container, Cause> {
        let image = self.image(launch).await?;
        self.run_asked(&Asked::task(launch), &image).await
    }

    pub(super) async fn run_asked(&self, asked: &Asked<'_>, image: &Image) -> Result<Container, Cause> {
        let arrival = Arrival::watch(asked.control)
            .map_err(|error| failure::platform("watch the control directory", &error.to_string()))?;
        let mut again = true;
        let id = loop {
            let network = self.network(asked).await?;
            let body = self.body(asked, image, &network)?;
            let id = self.create(asked, body).await?;
            if clock::now() >= Moment(asked.deadline.0) {
                return Err(failure::platform("start the container", "its deadline is over"));
            }
            match within(self.engine.start_container(&id, None::<StartContainerOptions>)).await {
                Ok(()) => break id,
                Err(error) if answer(&error) == Answer::NotModified => break id,
                Err(error) => {
                    let words = failure::words(&error);
                    if !std::mem::take(&mut again) || !is_without_network(&words) {
                        return Err(failure::platform("start the container", &words));
                    }
                    self.networks.forget().await;
                    let removed = self.remove_one(&id).await;
                    removed
                        .map_err(|error| failure::platform("remove a container", &failure::words(&error)))?;
                }
            }
        };
        let container = Container { id, control: asked.control.to_owned() };
        self.listen(&container, &arrival).await?;
        chaos::point("start.container_up");
        Ok(container)
    }

    async fn listen(&self, container: &Container, arrival: &Arrival) -> Result<(), Cause> {
        if tokio::time::timeout(LISTEN_SOON, arrival.listening()).await.is_ok() {
            return Ok(());
        }
        let ended = tokio::select! {
            biased;
            () = arrival.listening() => return Ok(()),
            ended = self.ended(container) => ended.map_or_else(|error| error.to_string(), |ended| format!("{ended:?}")),
            () = tokio::time::sleep(LISTEN_MAX) => format!("it does not listen after {LISTEN_MAX:?}"),
        };
        let complaint = self.complaint(&container.id).await;
        Err(Cause::Platform {
            why: format!("the supervisor did not start in its container: {complaint}; {ended}"),
        })
    }

    /// Returns what the supervisor itself said.
    async fn complaint(&self, id: &str) -> String {
        let options =
            LogsOptions { stdout: true, stderr: true, tail: "10".to_owned(), ..LogsOptions::default() };
        let mut said = String::new();
        let mut lines = Box::pin(self.engine.logs(id, Some(options)));
        while let Ok(Some(Ok(line))) = tokio::time::timeout(CALL_MAX, lines.next()).await {
            said.push_str(&line.to_string());
            if said.chars().count() >= COMPLAINT_CHARS_MAX {
                break;
            }
        }
        said.trim_end().chars().take(COMPLAINT_CHARS_MAX).collect()
    }

    /// Returns the ids of all containers that carry these labels, running or not.
    pub(super) async fn labelled(&self, label: String) -> Result<Vec<ContainerSummary>, Error> {
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        within(self.engine.list_containers(Some(options))).await
    }

    async fn remove_one(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        match within(self.engine.remove_container(id, Some(options))).await {
            Ok(()) => Ok(()),
            Err(error) if answer(&error) == Answer::NotFound => Ok(()),
            // Another call is at it.
            Err(error) if answer(&error) == Answer::Conflict => self.until_removed(id).await,
            Err(error) => Err(error),
        }
    }

    async fn until_removed(&self, id: &str) -> Result<(), Error> {
        for _ in 0..LATE_ROUNDS_MAX {
            let found = within(self.engine.inspect_container(id, None::<InspectContainerOptions>)).await;
            match found {
                Err(error) if answer(&error) == Answer::NotFound => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => tokio::time::sleep(AWAY_STEP).await,
            }
        }
        Err(Error::RequestTimeoutError)
    }

    pub(super) async fn remove_all(&self, control: &Path) -> Result<(), Error> {
        // Those of its services are asked for beside it.
        let attempt = control.parent().unwrap_or(control);
        let late = self.unanswered().iter().any(|unanswered| unanswered.starts_with(attempt));
        for round in 0..LATE_ROUNDS_MAX {
            let found = self.labelled(format!("{}={}", body::LABEL_CONTROL, control.display())).await?;
            let ids = found.iter().filter_map(|container| container.id.as_deref());
            try_join_all(ids.map(|id| self.remove_one(id))).await?;
            // A creation that nobody heard the end of may come true after the first look.
            if !late || !found.is_empty() || round + 1 == LATE_ROUNDS_MAX {
                break;
            }
            tokio::time::sleep(AWAY_STEP).await;
        }
        self.networks.remove_own(&self.engine, control).await?;
        self.unanswered().retain(|unanswered| !unanswered.starts_with(attempt));
        self.waiting().remove(control);
        self.images().retain(|owner, _| !owner.starts_with(attempt));
        Ok(())
    }

    /// Waits once. An answer of any kind means that it is worth looking.
    pub(super) async fn wait(&self, id: &str) -> Result<(), Error> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut waited = Box::pin(self.engine.wait_container(id, Some(options)));
        match waited.next().await {
            Some(Ok(_)) | Some(Err(Error::DockerContainerWaitError { .. })) | None => Ok(()),
            Some(Err(error)) if answer(&error) == Answer::NotFound => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    pub(super) async fn look(&self, id: &str) -> Result<Standing, Error> {
        match within(self.engine.inspect_container(id, None::<InspectContainerOptions>)).await {
            Ok(found) => Ok(standing(found)),
            Err(error) if answer(&error) == Answer::NotFound => Ok(Standing::Absent),
            Err(error) => Err(error),
        }
    }
}

fn is_without_network(words: &str) -> bool {
    words.contains("network") && words.contains("not found")
}

fn standing(found: ContainerInspectResponse) -> Standing {
    let state = found.state.unwrap_or_default();
    // Without an answer it counts as running: what runs is never taken for dead.
    if state.running.unwrap_or(state.exit_code.is_none()) {
        return Standing::Running;
    }
    let begun = state.status != Some(ContainerStateStatusEnum::CREATED);
    let status = state.exit_code.filter(|_| begun).unwrap_or(UNKNOWN_STATUS);
    let limit = found.host_config.and_then(|host| host.memory).filter(|limit| *limit > 0);
    let limit_bytes = limit.and_then(|limit| u64::try_from(limit).ok());
    // The engine's mark is of any process in there; only a killed supervisor ended for it.
    let killed = state.oom_killed == Some(true) && status == STATUS_KILLED;
    Standing::Ended { status, out_of_memory: killed.then_some(OutOfMemory { limit_bytes }) }
}
