//! One attempt in a container of the real engine, with everything of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ocelot_core::frame::{Body, Decoder, Offset};
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_core::plan::{self, Environment, Pull, Resources};
pub(super) use ocelot_e2e::engine::docker;
use ocelot_e2e::engine::{IMAGE, host};
use ocelot_executor::attempt::AttemptId;
use ocelot_executor::attempt::state::{BootTime, Cause};
use ocelot_executor::journal::Container;
use ocelot_executor::runtime::docker::{Docker, Settings};
use ocelot_executor::runtime::{Launch, Runtime, Tell, install};
use ocelot_supervisor::client::Client;
use ocelot_supervisor::clock;
use ocelot_supervisor::protocol::{Leftovers, Notice, Program, Request, StageEnd, StageOrder, State};
use ocelot_supervisor::tail::Tail;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const HOUR_MS: u64 = 3_600_000;
const IDENTITY: &str = "the attempt";

/// Lines that an attempt was told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Vec<String>>);

impl Told {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while it tells").clone()
    }
}

impl Tell for Told {
    fn line(&self, text: &str) {
        self.0.lock().expect("no test panics while it tells").push(text.to_owned());
    }
}

/// An executor's directories, and the runtime on them.
#[derive(Debug)]
pub(super) struct Rig {
    pub data: tempfile::TempDir,
    pub runtime: Docker,
    pub executor: String,
}

impl Rig {
    pub(super) fn new() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let name = data.path().file_name().and_then(|name| name.to_str()).context("a name")?;
        let executor = format!("e2e{name}");
        let runtime = runtime(data.path().to_owned(), executor.clone(), None)?;
        let rig = Self { data, runtime, executor };
        rig.renew()?;
        Ok(rig)
    }

    /// Gives the next attempt fresh directories: those of the last one are used.
    pub(super) fn renew(&self) -> Result<()> {
        for name in ["control", "workspace"] {
            let folder = self.data.path().join(name);
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    /// The runtime as the next executor process makes it, or one that reaches the engine elsewhere.
    pub(super) fn another(&self, engine: Option<String>) -> Result<Docker> {
        runtime(self.data.path().to_owned(), self.executor.clone(), engine)
    }

    pub(super) fn control(&self) -> PathBuf {
        self.data.path().join("control")
    }

    pub(super) fn launch(&self, image: &str) -> Launch {
        Launch {
            attempt: AttemptId {
                task: TaskId { run: RunId::from_bytes([7; 16]), index: 0 },
                number: Attempt::FIRST,
                epoch: Epoch(1),
            },
            environment: Environment {
                runtime: plan::Runtime::Container {
                    image: image.to_owned(),
                    pull: Pull::Missing,
                    pull_secret: None,
                    engine: false,
                },
                checkout: None,
                directory: String::new(),
                user: None,
                env: BTreeMap::new(),
                secrets: Vec::new(),
                services: Vec::new(),
                caches: Vec::new(),
                artifacts: Vec::new(),
            },
            resources: Resources::default(),
            control: self.control(),
            workspace: self.data.path().join("workspace"),
            mounts: Vec::new(),
            login: None,
            deadline: BootTime(clock::now().after(HOUR_MS).0),
        }
    }

    /// Starts the launch as an executor does.
    pub(super) async fn start(&self, launch: &Launch) -> Result<Container> {
        self.runtime.prepare(launch, &Told::default()).await.map_err(|cause| anyhow!("{cause:?}"))?;
        self.runtime.start(launch).await.map_err(|cause| anyhow!("{cause:?}"))
    }

    /// Starts a container of the usual image, assigned, and returns a connection to it.
    pub(super) async fn started(&self, resources: Resources) -> Result<(Container, Client)> {
        let container = self.start(&Launch { resources, ..self.launch(IMAGE) }).await?;
        Ok((container, self.assigned()?))
    }

    pub(super) fn assigned(&self) -> Result<Client> {
        let (mut client, _) = self.connect()?;
        fs::write(self.control().join("identity"), IDENTITY)?;
        let deadline = clock::now().after(HOUR_MS);
        client.ask(&Request::Assign { identity: IDENTITY.to_owned(), deadline })?;
        Ok(client)
    }

    pub(super) fn connect(&self) -> Result<(Client, State)> {
        Ok(Client::connect(&self.control(), PATIENCE)?)
    }

    /// What a stage wrote to its standard output, as far as it is captured.
    pub(super) fn output(&self, stage: u16) -> Result<String> {
        let mut tail = Tail::at(&self.control(), Offset(0));
        let mut buffer = vec![0; 1 << 16];
        let mut decoder = Decoder::default();
        loop {
            match tail.read(&mut buffer)? {
                0 => break,
                count => decoder.push(&buffer[..count]),
            }
        }
        let mut output = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            match frame.body {
                Body::Stdout(bytes) if frame.stage == Some(stage) => output.extend_from_slice(bytes),
                _ => {}
            }
        }
        Ok(String::from_utf8(output)?)
    }

    /// Runs one stage to its end and returns how it ended and what it printed.
    pub(super) fn run(&self, client: &mut Client, order: StageOrder) -> Result<(StageEnd, String)> {
        let stage = order.stage;
        client.ask(&Request::RunStage(Box::new(order)))?;
        let end = ended(client)?;
        Ok((end, self.output(stage)?))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let label = format!("label=ocelot.executor={}", self.executor);
        for (list, remove) in
            [(vec!["ps", "-aq"], vec!["rm", "-fv"]), (vec!["network", "ls", "-q"], vec!["network", "rm"])]
        {
            let found = docker(&[&list[..], &["--filter", &label]].concat()).unwrap_or_default();
            let found: Vec<&str> = found.split_whitespace().collect();
            if !found.is_empty() {
                let _left = docker(&[&remove[..], &found[..]].concat());
            }
        }
    }
}

/// Makes an image of the usual one with these changes.
pub(super) fn derived(rig: &Rig, name: &str, changes: &[&str]) -> Result<String> {
    let image = format!("ocelot-test/{name}-{}:1", std::process::id());
    let tar = rig.data.path().join("image.tar");
    let container = docker(&["create", IMAGE])?;
    docker(&["export", "-o", tar.to_str().context("a path of text")?, &container])?;
    docker(&["rm", &container])?;
    let mut arguments = vec!["import"];
    for change in changes {
        arguments.extend(["--change", change]);
    }
    let path = tar.to_string_lossy().into_owned();
    arguments.extend([path.as_str(), &image]);
    docker(&arguments)?;
    std::fs::remove_file(tar)?;
    Ok(image)
}

fn runtime(data: PathBuf, executor: String, engine: Option<String>) -> Result<Docker> {
    let supervisor = install(&data)?;
    let (memory, defaults) = (data.join("memory"), Resources::default());
    let engine = engine.or_else(host);
    Ok(Docker::connect(Settings { engine, executor, data, memory, supervisor, defaults })?)
}

/// Runs the engine's own program and returns what it printed.
pub(super) fn ended(client: &mut Client) -> Result<StageEnd> {
    loop {
        if let Notice::Ended(end) = client.next_notice()? {
            return Ok(*end);
        }
    }
}

pub(super) fn script(stage: u16, script: &str) -> StageOrder {
    StageOrder {
        stage,
        name: format!("stage {stage}"),
        program: Program::Script { shell: vec!["/bin/sh".to_owned()], script: script.to_owned() },
        directory: "/workspace".to_owned(),
        user: None,
        env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
        timeout_ms: None,
        task_deadline: None,
        quiet_timeout_ms: None,
        grace_ms: 100,
        leftovers: Leftovers::Keep,
    }
}

/// The reason of a start that failed.
pub(super) fn why<T: std::fmt::Debug>(outcome: Result<T, Cause>) -> Result<Cause> {
    match outcome {
        Err(cause) => Ok(cause),
        Ok(done) => bail!("it worked: {done:?}"),
    }
}
