//! Stories of a whole executor with a real container engine: services beside a task.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

#[expect(dead_code, reason = "the stories without an engine use the rest")]
#[path = "../stories/controller.rs"]
mod controller;
#[path = "../stories/repository.rs"]
mod repository;
mod warm;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ocelot_core::frame::{Body, Decoder};
use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_core::plan::{
    Checkout, Class, Environment, Gate, Keep, Limits, Pull, Ready, Resources, Retry, Runtime as Wanted,
    SecretDelivery, SecretUse, Service, Stage, TaskPlan, Tolerance, Work,
};
use ocelot_executor::app::{Register, RuntimeChoice, Settings, StartError, register, start};
use ocelot_executor::attempt::AttemptId;
use ocelot_executor::connection::Proxies;
use ocelot_executor::journal::JournalError;
use ocelot_executor::runtime::docker::usual_socket;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::kit::shutdown::{Ended, Shutdown};
use ocelot_proto::wire;
use ocelot_proto::wire::outcome::{Outcome, failed};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use controller::{Controller, PATIENCE, cancel, kill, spawn};
use repository::repository;

const IMAGE: &str = "ocelot-test/busybox:1";

/// The engine that is asked, as the command of the engine finds it too.
#[expect(clippy::disallowed_methods, reason = "whoever runs these stories chooses the engine")]
fn socket() -> PathBuf {
    usual_socket(std::env::var("DOCKER_HOST").ok().as_deref())
}

struct World {
    controller: Controller,
    data: tempfile::TempDir,
    /// Containers that may wait.
    warm: u32,
    running: Option<(mpsc::Sender<()>, oneshot::Receiver<Ended>)>,
}

impl World {
    async fn started() -> Self {
        Self::started_with(0).await
    }

    async fn started_with(warm: u32) -> Self {
        let controller = Controller::start().await;
        let data = tempfile::tempdir().unwrap();
        let invitation =
            Invitation { token: "t".to_owned(), addresses: vec![controller.url()], fingerprint: None };
        let registered = register(Register {
            data: data.path().to_owned(),
            invitation,
            name: Some("one".to_owned()),
            labels: vec![],
            slots: Some(2),
            ca: None,
            proxies: Proxies::default(),
        });
        registered.await.unwrap();
        let mut world = Self { controller, data, warm, running: None };
        world.start().await;
        world
    }

    async fn start(&mut self) {
        let shutdown = Shutdown::new(PATIENCE);
        let tasks = shutdown.tasks();
        let mut settings = Settings::new(self.data.path().to_owned());
        settings.runtime = RuntimeChoice::Docker;
        settings.engine = socket();
        settings.disk_floor = 0;
        settings.warm = Some(self.warm);
        settings.repositories.file = true;
        // The lock of a process that has just ended is free a moment later.
        loop {
            match start(settings.clone(), &tasks).await {
                Err(StartError::Journal(JournalError::Held { .. })) => tokio::task::yield_now().await,
                started => {
                    started.unwrap();
                    break;
                }
            }
        }
        let (requests, received) = mpsc::channel(2);
        let (tell, ended) = oneshot::channel();
        spawn(async move {
            tell.send(shutdown.run(received).await).ok();
        });
        self.running = Some((requests, ended));
    }

    /// Ends the executor as kill -9 would: nothing is finished, nothing is told.
    async fn killed(&mut self) {
        let (requests, ended) = self.running.take().unwrap();
        requests.send(()).await.unwrap();
        requests.send(()).await.unwrap();
        ended.await.unwrap();
    }

    fn offer(&self, plan: &TaskPlan) {
        self.offer_source(plan, None);
    }

    fn offer_source(&self, plan: &TaskPlan, source: Option<wire::Source>) {
        self.offer_as(id(), plan, source);
    }

    fn offer_as(&self, id: AttemptId, plan: &TaskPlan, source: Option<wire::Source>) {
        let plan = serde_json::to_vec(plan).unwrap();
        let offer = wire::Offer {
            attempt: Some(id.to_wire()),
            plan_digest: Sha256::digest(&plan).to_vec().into(),
            plan: plan.into(),
            env: [].into(),
            source,
            masks: false,
        };
        self.controller.set(|model| model.offers.push(offer));
    }

    async fn outcome(&self) -> Outcome {
        self.controller.until("a completion", |model| !model.completed.is_empty()).await;
        let model = self.controller.model();
        model.completed[0].outcome.clone().unwrap().outcome.unwrap()
    }

    /// Why the attempt failed before its first stage.
    async fn unready(&self) -> String {
        match self.outcome().await {
            Outcome::Failed(wire::outcome::Failed { stage, failure: Some(failed::Failure::Setup(why)) }) => {
                assert_eq!(stage, "");
                why
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing of the attempt is left, in the engine or on disk.
    async fn clean(&self) {
        let label = format!("label=ocelot.executor={}", self.controller.executor());
        self.until_none("containers", &["ps", "--all", "--quiet", "--filter", &label]).await;
        let networks = ["network", "ls", "--quiet", "--filter", &label, "--filter", "label=ocelot=task"];
        self.until_none("networks", &networks).await;
        let attempts = self.data.path().join("attempts");
        self.until("directories", || std::fs::read_dir(&attempts).unwrap().next().is_none()).await;
    }

    async fn until_none(&self, what: &str, listing: &[&str]) {
        self.until(what, || docker(listing).is_empty()).await;
    }

    /// Looks again with each heartbeat.
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                let beats = self.controller.model().heartbeats.len();
                self.controller.until("a heartbeat", |model| model.heartbeats.len() > beats).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("it never came to this: {what}; {:?}", self.said());
        }
    }

    fn said(&self) -> BTreeMap<String, String> {
        said(&self.controller.model().log)
    }

    async fn until_said(&self, voice: &str, words: &str) {
        let says =
            |model: &controller::Model| said(&model.log).get(voice).is_some_and(|text| text.contains(words));
        self.controller.until(&format!("{voice} says {words}"), says).await;
    }
}

/// What was said, by whom: services by their names, stages by their indexes.
fn said(log: &[u8]) -> BTreeMap<String, String> {
    let (mut frames, mut said, mut names) = (Decoder::default(), BTreeMap::new(), BTreeMap::new());
    frames.push(log);
    while let Some(frame) = frames.next_frame().unwrap() {
        let unnamed = |service: u16| format!("service {service}");
        let voice = match (frame.service(), frame.stage) {
            (Some(service), _) => names.get(&service).cloned().unwrap_or_else(|| unnamed(service)),
            (None, Some(stage)) => stage.to_string(),
            (None, None) => "platform".to_owned(),
        };
        match (frame.body, frame.service()) {
            (Body::Begin(name), Some(service)) => drop(names.insert(service, name.to_owned())),
            (Body::Stdout(bytes) | Body::Stderr(bytes) | Body::Platform(bytes), _) => {
                let text: &mut String = said.entry(voice).or_default();
                text.push_str(&String::from_utf8_lossy(bytes));
            }
            (Body::Begin(_) | Body::End(_) | Body::AddMask(_) | Body::Mark(..), _) => {}
        }
    }
    said
}

impl Drop for World {
    fn drop(&mut self) {
        let label = format!("label=ocelot.executor={}", self.controller.executor());
        let left = docker(&["ps", "--all", "--quiet", "--filter", &label]);
        for id in left.lines() {
            docker(&["rm", "--force", "--volumes", id]);
        }
        for id in docker(&["network", "ls", "--quiet", "--filter", &label]).lines() {
            docker(&["network", "rm", id]);
        }
    }
}

fn docker(arguments: &[&str]) -> String {
    let ran = Command::new("docker").args(arguments).output().unwrap();
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// Makes an image of what the usual one is after a script ran in it. Not every engine has a `commit`
/// that the command of another one can ask for.
fn make_image(script: &str, changes: &[&str], image: &str) {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("tar").display().to_string();
    let made = docker(&["create", IMAGE, "/bin/sh", "-c", script]);
    docker(&["start", &made]);
    assert_eq!(docker(&["wait", &made]), "0");
    docker(&["export", "--output", &tar, &made]);
    docker(&["rm", "--force", &made]);
    let changes: Vec<&str> = changes.iter().flat_map(|change| ["--change", change]).collect();
    assert_ne!(docker(&[&["import"], &changes[..], &[&tar, image]].concat()), "");
}

fn id() -> AttemptId {
    let task = TaskId { run: RunId::from_bytes([9; 16]), index: 0 };
    AttemptId { task, number: Attempt::FIRST, epoch: Epoch(1) }
}

fn service(name: &str, script: &str, ready: Ready) -> Service {
    Service {
        name: name.to_owned(),
        image: IMAGE.to_owned(),
        env: BTreeMap::new(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        secrets: vec![],
        pull_secret: None,
        resources: Resources::default(),
        ready,
    }
}

fn port(port: u16) -> Ready {
    Ready::Port { port, timeout: PATIENCE }
}

fn command(words: &[&str]) -> Ready {
    Ready::Command { command: words.iter().map(|word| (*word).to_owned()).collect(), timeout: PATIENCE }
}

const WEB: &str = "mkdir /www; echo hello > /www/index.html; echo listening; exec httpd -f -p 8080 -h /www";

fn plan(script: &str, services: Vec<Service>) -> TaskPlan {
    let stage = Stage {
        name: "test".to_owned(),
        script: vec![script.to_owned()],
        skip: None,
        always: false,
        allow_failure: Tolerance::None,
        directory: None,
        user: None,
        timeout: None,
        env: BTreeMap::new(),
        secrets: vec![],
    };
    let clean = Stage {
        name: "clean".to_owned(),
        always: true,
        script: vec!["echo cleaning".to_owned()],
        ..stage.clone()
    };
    TaskPlan {
        name: "t".to_owned(),
        variant: BTreeMap::new(),
        base: "t".to_owned(),
        fail_fast: false,
        needs: vec![],
        gate: Gate::OnSuccess,
        class: Class::Normal,
        priority: 0,
        labels: vec![],
        resources: Resources::default(),
        limits: Limits {
            timeout: Duration::from_secs(3600),
            queue_timeout: Duration::from_secs(3600),
            quiet_timeout: None,
            grace: Duration::from_secs(2),
        },
        retry: Retry { limit: 0, on: vec![], exit_codes: vec![], delay: Duration::ZERO },
        allow_failure: Tolerance::None,
        concurrency: None,
        approval: None,
        keep: Keep::Never,
        environment: Environment {
            runtime: Wanted::Container {
                image: IMAGE.to_owned(),
                pull: Pull::Missing,
                pull_secret: None,
                engine: false,
            },
            checkout: None,
            directory: String::new(),
            user: None,
            env: BTreeMap::new(),
            secrets: vec![],
            services,
            caches: vec![],
            artifacts: vec![],
        },
        work: Work::Stages { shell: "/bin/sh".to_owned(), stages: vec![stage, clean] },
    }
}

#[tokio::test]
async fn a_stage_reaches_services_by_their_names_and_their_words_are_apart_from_its_own() {
    let world = World::started().await;
    let mut secret = service(
        "secret",
        "echo the secret is $TOKEN; touch /ready; exec sleep 1000",
        command(&["test", "-f", "/ready"]),
    );
    secret.secrets =
        vec![SecretUse { name: "token".to_owned(), delivery: SecretDelivery::Env("TOKEN".to_owned()) }];
    let services = vec![service("web", WEB, port(8080)), secret];
    world.offer(&plan("wget -qO- http://web:8080/; nslookup secret > /dev/null && echo found", services));
    let outcome = world.outcome().await;
    let said = world.said();
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    assert_eq!(said["0"], "hello\nfound\n");
    assert_eq!(said["1"], "cleaning\n");
    assert_eq!(said["web"], "listening\n");
    assert_eq!(said["secret"], "the secret is ***\n");
    assert!(said["platform"].contains("service web is ready after"), "{said:?}");
    world.clean().await;
}

#[tokio::test]
async fn a_service_that_ends_before_it_is_ready_fails_the_task_before_its_first_stage() {
    let world = World::started().await;
    let mut db = service("db", "exec >&2; echo begins; echo no room for $TOKEN; exit 3", port(5432));
    db.secrets =
        vec![SecretUse { name: "token".to_owned(), delivery: SecretDelivery::Env("TOKEN".to_owned()) }];
    world.offer(&plan("echo never", vec![db, service("web", WEB, port(8080))]));
    let why = world.unready().await;
    assert_eq!(why, "service db exited with 3 before it was ready; it said last: begins / no room for ***");
    let said = world.said();
    assert_eq!(said.get("0").or(said.get("1")), None, "{said:?}");
    assert_eq!(said["db"], "begins\nno room for ***\n");
    world.clean().await;
}

#[tokio::test]
async fn a_service_that_is_not_ready_in_time_fails_the_task() {
    let world = World::started().await;
    let late = |ready| service("late", "echo slow; exec sleep 1000", ready);
    let timeout = Duration::from_millis(300);
    let never = Ready::Command { command: vec!["false".to_owned()], timeout };
    world
        .offer(&plan("echo never", vec![late(Ready::Port { port: 1, timeout }), service("web", WEB, never)]));
    let why = world.unready().await;
    // Its last words may not be heard yet.
    let late = "service late is not ready after 300ms";
    let web = "service web is not ready after 300ms";
    assert!(why.starts_with(late) || why.starts_with(web), "{why}");
    world.clean().await;
}

#[tokio::test]
async fn a_service_without_a_program_says_so() {
    let world = World::started().await;
    let mut nothing = service("nothing", "", port(1));
    nothing.command = vec!["/no/such/program".to_owned()];
    world.offer(&plan("echo never", vec![nothing]));
    let why = world.unready().await;
    assert!(why.starts_with("service nothing could not be started: cannot start /no/such/program"), "{why}");
    world.clean().await;
}

#[tokio::test]
async fn a_service_that_dies_later_is_shown_and_does_not_end_the_task() {
    let world = World::started().await;
    let dies = "while ! nc -l -p 9 > /dev/null; do :; done; echo bye; exit 4";
    let dying = service("dying", dies, Ready::Started);
    let script = "until echo x | nc -w 1 dying 9; do sleep 0.1; done; sleep 5; echo still here";
    world.offer(&plan(script, vec![dying]));
    let outcome = world.outcome().await;
    let said = world.said();
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    assert_eq!(said["0"].lines().last(), Some("still here"));
    assert_eq!(said["dying"], "bye\n");
    assert!(said["platform"].contains("service dying exited with 4"), "{said:?}");
    world.clean().await;
}

#[tokio::test]
async fn a_cancel_stops_services_with_a_word_and_leaves_nothing() {
    let world = World::started().await;
    let polite = "trap 'echo put away; exit 0' TERM; echo begun; while :; do sleep 0.05; done";
    let mut plan = plan("echo waiting; sleep 1000", vec![service("polite", polite, Ready::Started)]);
    plan.limits.grace = Duration::from_secs(10);
    world.offer(&plan);
    world.until_said("0", "waiting").await;
    world.until_said("polite", "begun").await;
    world.controller.set(|model| model.directives.push(cancel(id())));
    assert!(matches!(world.outcome().await, Outcome::Cancelled(_)));
    let said = world.said();
    // Its shell may say, sooner or later, that the sleep was ended as well.
    assert!(said["polite"].lines().any(|line| line == "put away"), "{said:?}");
    world.clean().await;
}

#[tokio::test]
async fn a_kill_takes_services_away_with_their_volumes() {
    let world = World::started().await;
    let image = format!("ocelot-test/volume:{}", world.controller.address.port());
    make_image("true", &["VOLUME /kept"], &image);
    let mut kept = service(
        "kept",
        "echo x > /kept/file; touch /ready; exec sleep 1000",
        command(&["test", "-f", "/kept/file"]),
    );
    kept.image.clone_from(&image);
    world.offer(&plan("echo waiting; sleep 1000", vec![kept]));
    world.until_said("0", "waiting").await;
    let label = format!("label=ocelot.executor={}", world.controller.executor());
    let container = docker(&["ps", "--quiet", "--filter", &label, "--filter", "label=ocelot.service=kept"]);
    let format = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}}{{end}}{{end}}";
    let volume = docker(&["inspect", "--format", format, &container]);
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]), volume);
    world.controller.set(|model| model.directives.push(kill(id())));
    world.controller.until("a confirmation", |model| model.confirmed == [id()]).await;
    world.clean().await;
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]), "");
    docker(&["rmi", &image]);
}

#[tokio::test]
async fn an_executor_that_is_killed_finds_its_services_again_and_no_line_twice_or_never() {
    let mut world = World::started().await;
    let counts = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    let services = vec![service("counts", counts, Ready::Started), service("web", WEB, port(8080))];
    let script = "echo waiting; until test -f /workspace/go; do sleep 0.05; done; wget -qO- http://web:8080/";
    world.offer(&plan(script, services));
    world.until_said("0", "waiting").await;
    world.until_said("counts", "\n5\n").await;
    world.killed().await;
    world.start().await;
    let lines = world.said()["counts"].lines().count();
    let later = (lines + 20).to_string();
    world.until_said("counts", &format!("\n{later}\n")).await;
    let attempt = std::fs::read_dir(world.data.path().join("attempts")).unwrap();
    for attempt in attempt {
        std::fs::write(attempt.unwrap().path().join("workspace/go"), "").unwrap();
    }
    let outcome = world.outcome().await;
    let said = world.said();
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    let numbers: Vec<usize> = said["counts"].lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    assert_eq!(said["0"], "waiting\nhello\n");
    world.clean().await;
}

#[tokio::test]
async fn services_that_nobody_holds_are_taken_away_at_the_next_start() {
    let mut world = World::started().await;
    world.offer(&plan("echo waiting; sleep 1000", vec![service("web", WEB, port(8080))]));
    world.until_said("0", "waiting").await;
    world.killed().await;
    let label = format!("label=ocelot.executor={}", world.controller.executor());
    let all = docker(&["ps", "--quiet", "--filter", &label, "--filter", "label=ocelot=task"]);
    let service = docker(&["ps", "--quiet", "--filter", &label, "--filter", "label=ocelot.service=web"]);
    // The task's own container dies while nobody looks.
    for container in all.lines().filter(|container| *container != service) {
        docker(&["rm", "--force", container]);
    }
    world.start().await;
    let outcome = world.outcome().await;
    assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
    assert_eq!(world.said()["web"], "listening\n");
    world.clean().await;
}

fn checked_out(script: &str, services: Vec<Service>) -> TaskPlan {
    let mut plan = plan(script, services);
    plan.environment.checkout = Some(Checkout { depth: 0, submodules: false, lfs: false });
    plan
}

#[tokio::test]
async fn a_commit_is_in_the_workspace_of_a_container_and_belongs_to_its_user() {
    let world = World::started().await;
    let folder = tempfile::tempdir().unwrap();
    let source = repository(folder.path());
    let image = format!("ocelot-test/worker:{}", world.controller.address.port());
    let add = "echo worker:x:1234:1235::/tmp:/bin/sh >> /etc/passwd";
    make_image(add, &["USER worker", "CMD /bin/sh"], &image);
    let script = "cat file; echo; id -u; stat -c '%u %g' . file .git; touch new; cat .git/HEAD; echo $GIT_CONFIG_KEY_0 $GIT_CONFIG_VALUE_0";
    let mut plan = checked_out(script, vec![]);
    plan.environment.runtime =
        Wanted::Container { image: image.clone(), pull: Pull::Never, pull_secret: None, engine: false };
    world.offer_source(&plan, Some(source));
    let outcome = world.outcome().await;
    let said = world.said();
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    let owner = "1234 1235\n".repeat(3);
    assert_eq!(said["0"], format!("text\n1234\n{owner}ref: refs/heads/main\nsafe.directory /workspace\n"));
    world.clean().await;
    docker(&["rmi", &image]);
}

#[tokio::test]
async fn a_checkout_that_a_dead_executor_left_half_begins_anew_under_the_container() {
    let mut world = World::started().await;
    let folder = tempfile::tempdir().unwrap();
    let source = repository(folder.path());
    // The gate of this service holds the first stage until the second executor is there.
    let gate = service("gate", "echo waits; exec sleep 1000", command(&["test", "-f", "/go"]));
    world.offer_source(&checked_out("cat file; ls -A", vec![gate]), Some(source));
    world.until_said("platform", "checkout: commit").await;
    world.until_said("gate", "waits").await;
    let label = format!("label=ocelot.executor={}", world.controller.executor());
    let services = ["ps", "--quiet", "--filter", &label, "--filter", "label=ocelot.service=gate"];
    let attempts = world.data.path().join("attempts");
    let attempt = std::fs::read_dir(&attempts).unwrap().next().unwrap().unwrap().path();
    let up = || {
        docker(&["ps", "--quiet", "--filter", &label, "--filter", "label=ocelot=task"]).lines().count() == 2
    };
    world.until("both containers", up).await;
    world.killed().await;
    std::fs::remove_file(attempt.join("checked-out")).unwrap();
    std::fs::write(attempt.join("workspace/half"), "x").unwrap();
    world.start().await;
    world.until("a second checkout", || attempt.join("checked-out").exists()).await;
    docker(&["exec", &docker(&services), "touch", "/go"]);
    let outcome = world.outcome().await;
    let said = world.said();
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?} {said:?}");
    assert_eq!(said["0"], "text.git\nfile\n");
    world.clean().await;
}
