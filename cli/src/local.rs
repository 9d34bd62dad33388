//! A whole fleet in this process: a controller on its embedded store, and one executor.
//!
//! It is what the two programs are, put side by side; they speak over loopback as they would over
//! any network.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelot_controller::app as controller;
use ocelot_controller::auth::{NewApiToken, random_secret};
use ocelot_controller::egress::{Allow, Rules};
use ocelot_controller::service::Service;
use ocelot_executor::app as executor;
use ocelot_executor::runtime::docker::small_image;
use ocelot_git::Allowed;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::kit::shutdown::{Shutdown, signals};
use ocelot_proto::kit::telemetry::{self, Format, chain};
use ocelot_proto::wire;
use tokio::sync::mpsc;

use crate::client::{Api, Client, Repeat};
use crate::commands::Session;
use crate::config::{Environment, Wanted};
use crate::error::{Error, Result};
use crate::show::Output;

/// The name of the token that this process makes for its user, anew with each start.
const TOKEN: &str = "up";
/// How long what was begun before a restart, such as the following of a run, goes on with the token from then.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
const GRACE: Duration = Duration::from_secs(30);

/// What the machine runs containers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engine {
    None,
    /// Its images are asked for a small one that is here already.
    There {
        socket: PathBuf,
        small: Option<String>,
    },
}

impl Engine {
    pub(crate) async fn look(environment: &Environment) -> Self {
        let socket = environment.engine_socket();
        match small_image(&socket).await {
            Ok(small) => Self::There { socket, small },
            Err(_) => Self::None,
        }
    }

    pub(crate) fn for_people(&self) -> &'static str {
        match self {
            Self::None => "no container engine answers: jobs run as plain processes",
            Self::There { .. } => "jobs run in containers",
        }
    }
}

/// A fleet that runs in this process.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) fingerprint: Option<String>,
    pub(crate) engine: Engine,
    controller: controller::Started,
    parts: Parts,
}

/// What is reached besides public addresses over https and ssh.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beyond {
    pub(crate) egress: Vec<Allow>,
    /// Other ways to reach repositories.
    pub(crate) git: Allowed,
}

/// The two ends of a process that is both: the executor goes first.
#[derive(Debug)]
struct Parts {
    executor: Shutdown,
    controller: Shutdown,
}

impl Local {
    /// Starts everything in `data`, which may hold what an earlier start left.
    pub(crate) async fn start(
        data: &Path,
        listen: SocketAddr,
        beyond: &Beyond,
        engine: Engine,
    ) -> Result<Self> {
        telemetry::init(Format::Text, "error")
            .map_err(|error| broken("the log cannot be written", &error))?;
        let parts = Parts { executor: Shutdown::new(GRACE), controller: Shutdown::new(GRACE) };
        let mut settings =
            controller::Settings { listen, ..controller::Settings::local(data.join("controller")) };
        settings.egress.rules = Rules::new(beyond.egress.clone());
        settings.repositories = beyond.git;
        let started = controller::start(settings, &parts.controller.tasks()).await;
        let started = started.map_err(|error| broken("the controller cannot start", &error))?;
        let token = token(&started).await?;
        let url = match listen.ip().is_unspecified() {
            true => format!("https://127.0.0.1:{}", started.address.port()),
            false => started.url.clone(),
        };
        let fingerprint = started.fingerprint.map(|one| one.to_string());
        Ok(Self { url, token, fingerprint, engine, controller: started, parts })
    }

    /// Returns the use cases of the controller.
    pub(crate) fn service(&self) -> &Service {
        &self.controller.service
    }

    /// Returns a session of this command with the fleet.
    pub(crate) fn session(&self, output: Output, environment: &Environment) -> Session {
        let environment = Environment { token: Some(self.token.clone()), ..environment.clone() };
        let wanted = Wanted { server: Some(self.url.clone()), context: None };
        Session { output, environment, wanted }
    }

    /// Starts the executor, which is registered the first time, and returns its id. It checks repositories
    /// out over https, ssh and what is allowed besides.
    pub(crate) async fn add_executor(
        &self,
        client: &Client,
        data: PathBuf,
        allowed: Allowed,
    ) -> Result<String> {
        let mut settings =
            executor::Settings { allow_process: true, ..executor::Settings::new(data.clone()) };
        settings.repositories = allowed;
        // It runs once what is here.
        settings.warm = Some(0);
        settings.reach.controllers = vec![self.url.clone()];
        match &self.engine {
            Engine::None => settings.runtime = executor::RuntimeChoice::Process,
            Engine::There { socket, .. } => settings.engine = socket.clone(),
        }
        let tasks = self.parts.executor.tasks();
        let started = match executor::start(settings.clone(), &tasks).await {
            Err(executor::StartError::NotRegistered { .. }) => {
                self.register(client, data).await?;
                executor::start(settings, &tasks).await
            }
            started => started,
        };
        let started = started.map_err(|error| broken("the executor cannot start", &error))?;
        Ok(started.executor.to_string())
    }

    async fn register(&self, client: &Client, data: PathBuf) -> Result<()> {
        let text = invitation(client).await?;
        let invitation: Invitation =
            text.parse().map_err(|error| broken("the invitation is not understood", &error))?;
        let invitation = Invitation { addresses: vec![self.url.clone()], ..invitation };
        let register = executor::Register {
            data,
            invitation,
            name: None,
            labels: Vec::new(),
            slots: None,
            ca: None,
            proxies: Default::default(),
        };
        let registered = executor::register(register).await;
        registered.map_err(|error| broken("the executor cannot be registered", &error)).map(drop)
    }

    /// Returns the requests to end that come as signals.
    pub(crate) fn signals(&self) -> Result<mpsc::Receiver<()>> {
        signals(&self.parts.controller.tasks()).map_err(Error::Output)
    }

    /// Waits for a request to end, lets what runs finish, and ends everything.
    pub(crate) async fn until(self, mut requests: mpsc::Receiver<()>) {
        let broke = self.parts.controller.tasks();
        tokio::select! {
            _ = requests.recv() => {}
            () = broke.draining() => {}
        }
        let (request, first) = mpsc::channel(2);
        // There is room for two.
        request.try_send(()).ok();
        let passing = async {
            while let Some(()) = requests.recv().await {
                request.try_send(()).ok();
            }
        };
        tokio::select! {
            _ = self.parts.executor.run(first) => {}
            () = passing => {}
        }
        let (request, last) = mpsc::channel(2);
        request.try_send(()).ok();
        self.parts.controller.run(last).await;
        self.controller.close().await;
    }
}

/// Makes an invitation for one executor.
pub(crate) async fn invitation(client: &Client) -> Result<String> {
    let call = async |api: Api, request| api.admin().create_registration_token(request).await;
    let request = wire::CreateRegistrationTokenRequest::default();
    Ok(client.call("make an invitation", Repeat::Never, request, call).await?.token)
}

/// Puts a job, in place of one of its name.
pub(crate) async fn put_job(client: &Client, definition: String) -> Result<()> {
    let call = async |api: Api, request| api.jobs().put_job(request).await;
    let request = wire::PutJobRequest { definition, update: true, if_version: 0 };
    client.call("create a job", Repeat::Safe, request, call).await.map(drop)
}

/// Makes the token of this start; the one of the start before goes on for a while.
async fn token(started: &controller::Started) -> Result<String> {
    let failed = |error: &_| broken("no token could be made", error);
    let rotated = started.tokens.rotate(TOKEN, OVERLAP, random_secret()).await;
    let token = match rotated {
        Ok((_, token)) => token,
        Err(_) => {
            let new = NewApiToken { name: TOKEN.into(), person: "admin".into(), expires_in: None };
            started.tokens.create(new, random_secret()).await.map_err(|error| failed(&error))?.1
        }
    };
    Ok(token.reveal().to_owned())
}

fn broken(what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Configuration {
        what: format!("{what}: {}", chain(error)),
        hint: "another `ocelot up` may be running here: see `ocelot version`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_before_a_restart_goes_on_with_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::new(GRACE);
        let settings = controller::Settings::local(folder.path());
        let started = controller::start(settings, &shutdown.tasks()).await.unwrap();
        let tokens = [token(&started).await.unwrap(), token(&started).await.unwrap()];
        assert_ne!(tokens[0], tokens[1]);
        for token in tokens {
            let token = token.parse().unwrap();
            let access = started.tokens.authenticate(&token, Ipv4Addr::LOCALHOST.into()).await;
            assert!(access.is_ok(), "{access:?}");
        }
    }
}
