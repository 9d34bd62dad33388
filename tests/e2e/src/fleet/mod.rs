//! A fleet of real processes: controllers on a store, executors, and a witness beside them.

mod caller;
pub mod forge;
mod ground;
mod light;
mod network;
mod program;
mod remains;
mod talk;
mod witness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use ocelot_core::id::ExecutorId;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire;
use tempfile::TempDir;

pub use caller::{Caller, RunId, finished, is_transient, new_run_id, reference};
pub use ground::{Ground, Repository};
pub use light::{Light, LightSession};
pub use network::{Direction, Network};
pub use program::{Build, Program, Start};
pub use talk::{ASKED, Said};
pub use witness::{Life, Witness};

use self::remains::Home;
use self::talk::Talk;
use crate::engine::Traces;
use crate::etcd::Cluster;
use crate::ports::free_port;
use crate::wait::wait_until;

/// How to start a fleet.
#[derive(Debug)]
pub struct Settings {
    pub build: Build,
    pub controllers: usize,
    /// Members of an etcd cluster; 0 is the embedded store.
    pub etcd: usize,
    /// Listens beyond loopback, and so speaks TLS only.
    pub beyond: bool,
    /// More flags of each controller.
    pub more: Vec<String>,
    /// Where the first controller keeps its things, such as on a disk of its own.
    pub data: Option<PathBuf>,
}

impl Settings {
    pub fn embedded(build: Build) -> Self {
        Self { build, controllers: 1, etcd: 0, beyond: false, more: Vec::new(), data: None }
    }

    pub fn etcd(build: Build, controllers: usize, members: usize) -> Self {
        Self { build, controllers, etcd: members, beyond: false, more: Vec::new(), data: None }
    }
}

/// How to add an executor.
#[derive(Debug, Default)]
pub struct Newcomer<'a> {
    pub name: &'a str,
    pub slots: u32,
    /// Granted to it, and taken by it.
    pub labels: &'a [&'a str],
    /// Where it looks for controllers, such as at a proxy; none: every controller by its own address.
    pub urls: Vec<String>,
    /// A network of its own to live in.
    pub network: Option<&'a Network>,
    /// More flags of its start.
    pub more: &'a [&'a str],
}

/// A fleet; all its processes end with it.
#[derive(Debug)]
pub struct Fleet {
    build: Build,
    beyond: bool,
    more: Vec<String>,
    data: Option<PathBuf>,
    pub executors: Vec<Program>,
    pub controllers: Vec<Program>,
    ports: Vec<u16>,
    talk: Talk,
    pub etcd: Option<Cluster>,
    /// What its executors have in the container engine.
    pub traces: Traces,
    /// Of each executor, in their order.
    homes: Vec<Home>,
    token: String,
    pub witness: Witness,
    folder: TempDir,
}

impl Fleet {
    /// Starts one controller on the embedded store.
    pub async fn embedded(build: Build) -> Result<Self> {
        Self::start(Settings::embedded(build)).await
    }

    pub async fn start(settings: Settings) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ocelot-fleet-").tempdir()?;
        let etcd = match settings.etcd {
            0 => None,
            members => Some(Cluster::start(crate::etcd::Settings::members(members)).await?),
        };
        let ports = (0..settings.controllers).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let witness = Witness::new(folder.path());
        let mut places = vec![folder.path().to_owned()];
        places.extend(etcd.as_ref().map(|etcd| etcd.folder().to_owned()));
        let mut fleet = Self {
            build: settings.build,
            beyond: settings.beyond,
            more: settings.more,
            data: settings.data,
            executors: Vec::new(),
            controllers: Vec::new(),
            ports,
            talk: Talk::new(places),
            etcd,
            traces: Traces::default(),
            homes: Vec::new(),
            token: String::new(),
            witness,
            folder,
        };
        for index in 0..settings.controllers {
            let mut controller = fleet.controller(index);
            controller.start()?;
            fleet.controllers.push(controller);
        }
        fleet.token = fleet.first_token().await?;
        fleet.guard("the first token", &fleet.token);
        fleet.ready().await?;
        Ok(fleet)
    }

    fn controller(&self, index: usize) -> Program {
        let data = self.controller_data(index);
        let mut arguments: Vec<String> = ["start", "--data"].map(str::to_owned).to_vec();
        arguments.push(data.display().to_string());
        let host = if self.beyond { "0.0.0.0" } else { "127.0.0.1" };
        arguments.push(format!("--listen={host}:{}", self.ports[index]));
        arguments.push(format!("--name=c{index}"));
        arguments.extend(self.more.iter().cloned());
        arguments.extend(self.talk.flag(&self.more));
        if let Some(etcd) = &self.etcd {
            let members: Vec<_> =
                (0..etcd.len()).map(|member| format!("127.0.0.1:{}", etcd.port(member))).collect();
            arguments.push(format!("--store=etcd://{}", members.join(",")));
            arguments.push(format!("--logs={}", self.path("home").display()));
        }
        let start = Start {
            build: self.build,
            program: "ocelot-controller",
            arguments,
            environment: vec![("HOME".to_owned(), self.folder.path().display().to_string())],
            namespace: None,
        };
        Program::new(start, self.path(&format!("controller-{index}.log")))
    }

    fn controller_data(&self, index: usize) -> PathBuf {
        let own = self.data.clone().filter(|_| index == 0);
        own.unwrap_or_else(|| self.path(&format!("controller-{index}")))
    }

    /// Waits for the token that the first controller prints on its first start.
    async fn first_token(&self) -> Result<String> {
        wait_until("the first token", || async {
            let said: Vec<_> = self.controllers.iter().map(Program::said).collect();
            let said = said.concat();
            let token = said.split_whitespace().find(|word| word.starts_with("oct_api_"));
            token.map(str::to_owned).with_context(|| said.clone())
        })
        .await
    }

    /// Waits until every controller answers.
    pub async fn ready(&self) -> Result<()> {
        for index in 0..self.controllers.len() {
            let caller = self.caller(index)?;
            wait_until("a controller to answer", || async { caller.executors().await.map(drop) })
                .await
                .with_context(|| self.controllers[index].last_words())?;
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn url(&self, controller: usize) -> String {
        let scheme = if self.beyond { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[controller])
    }

    /// Returns the certificate of a controller that speaks TLS.
    pub fn certificate(&self, controller: usize) -> Result<Option<String>> {
        if !self.beyond {
            return Ok(None);
        }
        let data = self.controller_data(controller);
        Ok(Some(std::fs::read_to_string(data.join("tls-certificate.pem"))?))
    }

    pub fn port(&self, controller: usize) -> u16 {
        self.ports[controller]
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns a caller of one controller.
    pub fn caller(&self, controller: usize) -> Result<Caller> {
        Caller::trusting(&self.url(controller), &self.token, self.certificate(controller)?)
    }

    /// Makes a token that lets one executor in.
    pub async fn registration(&self, labels: &[&str]) -> Result<String> {
        let request = wire::CreateRegistrationTokenRequest {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            ..Default::default()
        };
        let answer = self.caller(0)?.admin().create_registration_token(request).await?;
        let token = answer.into_inner().token;
        self.guard("a registration token", token.split('@').next().unwrap_or(&token));
        Ok(token)
    }

    /// Registers an executor that knows every controller, and starts it.
    pub async fn add_executor(&mut self, name: &str, slots: u32, more: &[&str]) -> Result<usize> {
        self.add(Newcomer { name, slots, more, ..Newcomer::default() }).await
    }

    /// The same with the container engine.
    pub async fn add_docker_executor(&mut self, name: &str, slots: u32) -> Result<usize> {
        self.add(Newcomer { name, slots, more: &["--runtime", "docker"], ..Newcomer::default() }).await
    }

    /// Registers an executor and starts it: with processes as its runtime, unless its flags say otherwise.
    pub async fn add(&mut self, newcomer: Newcomer<'_>) -> Result<usize> {
        let Newcomer { name, more, .. } = newcomer;
        let data = self.path(name).display().to_string();
        let id = self.register(&newcomer, &data).await?;
        let mut arguments: Vec<String> = ["start", "--data", &data].map(str::to_owned).to_vec();
        if !more.contains(&"--runtime") {
            arguments.extend(["--runtime", "process"].map(str::to_owned));
        }
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        arguments.extend(self.talk.flag(&arguments));
        if more.contains(&"docker") {
            self.traces.follow(id);
            // What waits for the next attempt is of none, and trials count what is left of theirs.
            if !more.contains(&"--warm") {
                arguments.extend(["--warm", "0"].map(str::to_owned));
            }
        }
        let start = Start {
            build: self.build,
            program: "ocelot-executor",
            arguments,
            environment: vec![("HOME".to_owned(), self.folder.path().display().to_string())],
            namespace: newcomer.network.map(|network| network.name().to_owned()),
        };
        let mut executor = Program::new(start, self.path(&format!("{name}.log")));
        executor.start()?;
        self.executors.push(executor);
        Ok(self.executors.len() - 1)
    }

    /// Registers an executor, and returns its id.
    async fn register(&mut self, newcomer: &Newcomer<'_>, data: &str) -> Result<String> {
        let Newcomer { name, labels, urls, .. } = newcomer;
        let own = (0..self.ports.len()).map(|index| self.url(index));
        let addresses = if urls.is_empty() { own.collect() } else { urls.clone() };
        let invitation: Invitation = self.registration(labels).await?.parse()?;
        let token = Invitation { addresses, ..invitation }.to_string();
        let slots = newcomer.slots.to_string();
        let mut words =
            vec!["register", "--data", data, "--token", &token, "--name", name, "--slots", &slots];
        words.extend(labels.iter().flat_map(|&label| ["--label", label]));
        let output = self.run("ocelot-executor", &words)?;
        ensure!(output.status.success(), "register: {}", String::from_utf8_lossy(&output.stderr));
        let all = self.caller(0)?.executors().await?;
        let own = all.iter().find(|executor| executor.name == *name).context("it registered")?;
        let id = ExecutorId::from_bytes(own.id.as_ref().try_into()?).to_string();
        self.homes.push(Home::new(&id, Path::new(data)));
        Ok(id)
    }

    /// Runs one of our programs to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let path = self.build.program(program)?;
        let output = Command::new(path)
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("OCELOT_SERVER", self.url(0))
            .env("OCELOT_TOKEN", &self.token)
            .output()?;
        Ok(output)
    }

    /// Notes a secret that nothing of the fleet may show; see [`ASKED`].
    pub fn guard(&self, what: &str, value: &str) {
        self.talk.guard(what, value);
    }

    /// Returns what every program said last, for a failure.
    pub fn last_words(&self) -> String {
        let words = |programs: &[Program]| {
            programs.iter().map(Program::last_words).collect::<Vec<_>>().join("\n--\n")
        };
        format!("controllers:\n{}\nexecutors:\n{}", words(&self.controllers), words(&self.executors))
    }

    /// Returns where executors keep secrets while attempts need them.
    pub fn memory(&self) -> impl Iterator<Item = &Path> {
        self.homes.iter().flat_map(Home::memory)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves its folder behind, for whoever looks into what went wrong, and returns it.
    pub fn keep_folder(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }
}
