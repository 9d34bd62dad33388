//! A controller on loopback, and executors that say what a test wants them to say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ocelot_core::frame::{self, Body, Frame};
use ocelot_core::id::{ExecutorId, Incarnation, RunId, SessionId};
use ocelot_domain::outcome::Actor;
use ocelot_domain::placement::Limits as Placement;
use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::shutdown::Shutdown;
use ocelot_proto::wire;
use ocelot_proto::wire::executor_service_client::ExecutorServiceClient;
use ocelot_proto::wire::object_service_client::ObjectServiceClient;
use ocelot_proto::wire::push_log_response::Answer;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::auth::{ApiTokens, Gate};
use crate::bytes::{Identity, LocalHome};
use crate::grpc::executor::{Executors, ObjectCalls};
use crate::records::{Digest, SourceRecord, Subject, Trigger, TriggerKind, Trust};
use crate::server::{Health, Limits, Listener, NotReady, RequestIds, Routes, Transport};
use crate::service::logs::{Logs, MachineDisk, Retention, Settings as LogSettings, SyncPolicy};
use crate::service::objects::{ObjectLimits, Objects};
use crate::service::testing::{ManualClock, MemoryPlans, Sequence};
use crate::service::{
    AskService, Challenge, Ed25519, ExecuteRequest, NewRegistrationToken, Parts, Seen, Service,
    signed_message,
};
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, Settings};

const JOB: &str = "name: build\nimage: alpine\ncommand: [make]\n";

pub(super) type Client = ExecutorServiceClient<InterceptedService<Channel, Bearer>>;

pub(super) type ObjectClient = ObjectServiceClient<InterceptedService<Channel, Bearer>>;

pub(super) struct Bench {
    pub(super) service: Arc<Service>,
    pub(super) store: Arc<EmbeddedStore>,
    address: SocketAddr,
    _shutdown: Shutdown,
    _directory: tempfile::TempDir,
}

#[derive(Clone)]
pub(super) struct Bearer(Option<String>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value: AsciiMetadataValue = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

#[derive(Debug)]
struct Ready;

#[async_trait]
impl Health for Ready {
    async fn missing(&self) -> Vec<NotReady> {
        Vec::new()
    }
}

impl Bench {
    /// Time stands still but for the connection's own limits, so nothing lapses under a slow test.
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let settings = Settings { clock: Arc::clone(&clock) as _, ..Settings::new(directory.path()) };
        let store = Arc::new(EmbeddedStore::open(settings).unwrap());
        let ask = Arc::new(AskService::default());
        let logs = Logs::open(LogSettings {
            directory: directory.path().join("logs"),
            disk: Arc::new(MachineDisk),
            clock: Arc::clone(&clock) as _,
            holders: Arc::clone(&ask) as _,
            sync: SyncPolicy::default(),
            retention: Retention::default(),
            home: None,
        });
        let logs = Arc::new(logs.unwrap());
        let chance = Arc::new(Sequence::new(7));
        let (service, follower) = Service::new(Parts {
            name: "a".into(),
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&clock) as _,
            chance: Arc::clone(&chance) as _,
            unguessable: chance,
            verify: Arc::new(Ed25519),
            logs: Arc::clone(&logs) as _,
            plans: Arc::new(MemoryPlans::default()),
            limits: Placement::default(),
        });
        ask.set(&service);
        let shutdown = Shutdown::new(Duration::from_secs(60));
        let tasks = shutdown.tasks();
        tasks.spawn("view", follower.run());
        let own = Arc::clone(&service);
        tasks.spawn("dispatch", async move { own.dispatch().await });
        let own = Arc::clone(&service);
        tasks.spawn("duties", async move {
            crate::reconcile::run(&own, crate::reconcile::Keep::default()).await;
        });
        service.view.loaded().await;

        let api = Arc::new(ApiTokens::new(Arc::clone(&store) as _, Arc::new(SystemClock)));
        let gate = Gate::new(api, Arc::clone(&service) as _);
        let executors = Executors::new(Arc::clone(&service), logs, gate.clone(), tasks.clone());
        let home = LocalHome::open(directory.path().join("bytes"), Identity([1; 16])).unwrap();
        service.set_objects(Objects::new(Arc::new(home), ObjectLimits::default()));
        let objects = ObjectCalls::new(Arc::clone(&service), Arc::new(SystemClock), tasks.clone());
        let app = tonic::service::Routes::new(executors.into_server()).add_service(objects.into_server());
        let app = app.into_axum_router().reset_fallback();
        let routes = Routes::new(app, gate, Arc::new(Ready), RequestIds::new(7));
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(here, Transport::Plain, Limits::default()).await.unwrap();
        let address = listener.address();
        listener.serve(routes, Arc::new(SystemClock), &tasks);
        Self { service, store, address, _shutdown: shutdown, _directory: directory }
    }

    pub(super) async fn client(&self, token: Option<String>) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        ExecutorServiceClient::with_interceptor(channel, Bearer(token))
    }

    pub(super) async fn objects(&self, executor: &Executor) -> ObjectClient {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.connect().await.unwrap();
        ObjectServiceClient::with_interceptor(channel, Bearer(Some(executor.token.clone())))
    }

    pub(super) async fn registration_token(&self, uses: u32) -> String {
        let new = NewRegistrationToken {
            labels: vec!["gpu".into()],
            uses,
            valid_for: Duration::from_secs(900),
            by: Actor("ana".into()),
        };
        self.service.make_registration_token(new).await.unwrap()
    }

    pub(super) fn registration(&self, name: &str, token: &str) -> wire::RegisterRequest {
        wire::RegisterRequest {
            registration_token: token.into(),
            public_key: key(name).public_key().as_ref().to_vec().into(),
            name: name.into(),
            labels: Vec::new(),
            slots: 4,
            version: "0.1.0".into(),
            machine: Some(machine()),
        }
    }

    /// Registers an executor and opens its first session.
    pub(super) async fn executor(&self, name: &str) -> Executor {
        let token = self.registration_token(1).await;
        let mut client = self.client(None).await;
        let registered = client.register(self.registration(name, &token)).await.unwrap().into_inner();
        let id = ExecutorId::from_bytes(registered.executor[..].try_into().unwrap());
        let session = SessionId::from_bytes([0; 16]);
        let (incarnation, poll, token) = (0, 0, String::new());
        let mut executor = Executor { id, name: name.into(), incarnation, session, token, client, poll };
        executor.open(self).await;
        executor
    }

    pub(super) async fn execute(&self) -> RunId {
        self.execute_job(JOB, "build", BTreeMap::new()).await.unwrap()
    }

    pub(super) async fn execute_job(
        &self,
        text: &str,
        job: &str,
        arguments: BTreeMap<String, String>,
    ) -> crate::service::Result<RunId> {
        let ana = Actor("ana".into());
        self.service.put_job(text, &ana, Seen::Any).await?;
        let id = RunId::from_parts(1_800_000_000_000, ten_random_bytes());
        let trigger = Trigger { kind: TriggerKind::CommandLine, by: ana, schedule: None };
        let request = ExecuteRequest { id, job: job.into(), arguments, env: BTreeMap::new(), trigger };
        Ok(self.service.execute(request).await?.run.id)
    }

    /// Accepts a run of a project whose one task names the secret `token`.
    pub(super) async fn build(&self, project: &str, number: u8, trust: Trust) {
        const FILE: &str = "name: build\nimage: alpine\nsecrets: [token]\ncommand: [make]\n";
        let job = ocelot_spec::Job::parse("build", FILE.as_bytes()).unwrap();
        let execution = ocelot_spec::Execution {
            event: ocelot_spec::JobEvent::Manual,
            run_number: 1,
            env: BTreeMap::new(),
        };
        let plan = job.resolve(&BTreeMap::new(), &execution).unwrap().plan;
        let source = SourceRecord {
            url: "https://forge.example/acme/api".into(),
            commit: "0".repeat(40),
            reference: "refs/heads/main".into(),
            event: ocelot_spec::Event::Push { branch: "main".into() },
            message: "a change".into(),
            author: "ana".into(),
            previous_success: None,
            trust,
        };
        let draft = crate::service::Draft {
            id: RunId::from_parts(1_800_000_000_000, [number; 10]),
            payload: Digest::of(&[number]),
            subject: Subject::Project { name: project.into() },
            trigger: Trigger { kind: TriggerKind::Webhook, by: Actor("ana".into()), schedule: None },
            retry: None,
            source: Some(source),
            rejected: None,
        };
        self.service.accept(draft, plan).await.unwrap();
    }

    pub(super) async fn revision(&self) -> crate::store::Revision {
        self.store.health().await.unwrap().revision
    }

    /// Waits until the view has everything that is committed.
    pub(super) async fn settle(&self) {
        self.service.view.wait_for(self.revision().await).await;
    }

    /// Waits until a run is over, and nothing more is written for it.
    pub(super) async fn ended(&self, run: RunId) {
        let mut changes = self.service.view.changes();
        loop {
            if self.service.run(run).await.unwrap().run.is_finished() {
                return self.settle().await;
            }
            changes.next().await;
        }
    }

    /// Waits until a session's poll hangs.
    pub(super) async fn polls(&self, session: SessionId) {
        while !self.service.waiters.is_asleep(&session) {
            tokio::task::yield_now().await;
        }
    }
}

pub(super) struct Executor {
    pub(super) id: ExecutorId,
    name: String,
    incarnation: u64,
    pub(super) session: SessionId,
    token: String,
    pub(super) client: Client,
    poll: u64,
}

impl Executor {
    /// Starts its process anew.
    pub(super) async fn open(&mut self, bench: &Bench) -> wire::OpenSessionResponse {
        self.open_with(bench, Vec::new()).await
    }

    pub(super) async fn open_with(
        &mut self,
        bench: &Bench,
        held: Vec<wire::AttemptId>,
    ) -> wire::OpenSessionResponse {
        self.incarnation += 1;
        let executor = bytes::Bytes::copy_from_slice(self.id.as_bytes());
        let challenge = self.client.challenge(wire::ChallengeRequest { executor: executor.clone() }).await;
        let challenge = challenge.unwrap().into_inner().challenge;
        let signed = Challenge(challenge[..].try_into().unwrap());
        let message = signed_message(self.id, Incarnation(self.incarnation), &signed);
        let signature = key(&self.name).sign(&message).as_ref().to_vec().into();
        let held =
            held.into_iter().map(|attempt| wire::Held { attempt: Some(attempt), phase: 3, log_end: 0 });
        let request = wire::OpenSessionRequest {
            executor,
            challenge,
            signature,
            incarnation: self.incarnation,
            held: held.collect(),
            version: "0.1.0".into(),
            machine: Some(machine()),
        };
        let opened = self.client.open_session(request).await.unwrap().into_inner();
        self.session = SessionId::from_bytes(opened.session[..].try_into().unwrap());
        self.token = opened.session_token.clone();
        self.client = bench.client(Some(opened.session_token.clone())).await;
        self.poll = 0;
        bench.settle().await;
        opened
    }

    /// Polls until there is an offer.
    pub(super) async fn offer(&mut self) -> wire::Offer {
        loop {
            self.poll += 1;
            let request =
                wire::PollRequest { poll: self.poll, journal_sequence: 0, held: Vec::new(), wait_ms: 0 };
            let answer = self.client.poll(request).await.unwrap().into_inner();
            if let Some(offer) = answer.offers.into_iter().next() {
                return offer;
            }
        }
    }

    pub(super) async fn acknowledge(&mut self, attempt: &wire::AttemptId) -> Result<(), Status> {
        let request = wire::AcknowledgeRequest {
            attempt: Some(attempt.clone()),
            journal_sequence: 1,
            sent_boottime_ms: 1,
        };
        self.client.acknowledge(request).await.map(drop)
    }

    pub(super) async fn report(
        &mut self,
        attempt: &wire::AttemptId,
        told: wire::Progress,
    ) -> Result<(), Status> {
        let request = wire::ReportRequest { attempt: Some(attempt.clone()), progress: Some(told) };
        self.client.report(request).await.map(drop)
    }

    pub(super) async fn complete(
        &mut self,
        attempt: &wire::AttemptId,
        id: [u8; 16],
        log: &[u8],
    ) -> Result<wire::CompleteResponse, Status> {
        let succeeded = wire::outcome::Outcome::Succeeded(wire::outcome::Succeeded {});
        let request = wire::CompleteRequest {
            attempt: Some(attempt.clone()),
            completion: id.to_vec().into(),
            outcome: Some(wire::Outcome { outcome: Some(succeeded) }),
            log: Some(end(log)),
            progress: Some(progress(3, true)),
            ..Default::default()
        };
        Ok(self.client.complete(request).await?.into_inner())
    }

    /// Gets an attempt that runs.
    pub(super) async fn running(&mut self, bench: &Bench) -> (RunId, wire::AttemptId) {
        let run = bench.execute().await;
        let attempt = self.offer().await.attempt.unwrap();
        self.acknowledge(&attempt).await.unwrap();
        (run, attempt)
    }

    pub(super) async fn push(&mut self) -> Push {
        let (sender, receiver) = mpsc::channel(16);
        let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let answers = self.client.push_log(pieces).await.unwrap().into_inner();
        Push { sender, answers }
    }
}

pub(super) struct Push {
    sender: mpsc::Sender<wire::PushLogRequest>,
    answers: Streaming<wire::PushLogResponse>,
}

impl Push {
    pub(super) async fn send(
        &self,
        attempt: &wire::AttemptId,
        offset: u64,
        bytes: &[u8],
        end: Option<wire::LogEnd>,
    ) {
        let piece = wire::PushLogRequest {
            attempt: Some(attempt.clone()),
            offset,
            bytes: bytes.to_vec().into(),
            crc32c: crc32c::crc32c(bytes),
            end,
        };
        self.sender.send(piece).await.unwrap();
    }

    pub(super) async fn answer(&mut self) -> Result<Answer, Status> {
        Ok(self.answers.message().await?.expect("the stream goes on").answer.unwrap())
    }

    /// Waits until the controller has said that so much is received.
    pub(super) async fn until_received(
        &mut self,
        attempt: &wire::AttemptId,
        received: u64,
    ) -> wire::LogOffsets {
        loop {
            match self.answer().await.unwrap() {
                Answer::Offsets(offsets)
                    if offsets.attempt.as_ref() == Some(attempt) && offsets.received >= received =>
                {
                    return offsets;
                }
                Answer::Offsets(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// An attempt that nobody ever had.
pub(super) fn foreign() -> wire::AttemptId {
    let task = Some(wire::TaskId { run: vec![9; 16].into(), index: 0 });
    wire::AttemptId { task, number: 1, epoch: 0 }
}

/// A log of one frame with this output.
pub(super) fn log(output: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Frame { unix_us: 1, stage: Some(0), body: Body::Stdout(output) };
    frame::encode(&frame, &mut bytes);
    bytes
}

pub(super) fn end(log: &[u8]) -> wire::LogEnd {
    wire::LogEnd { length: log.len() as u64, sha256: Sha256::digest(log).to_vec().into() }
}

pub(super) fn progress(sequence: u64, ended: bool) -> wire::Progress {
    let exit = wire::StageExit { exit: Some(wire::stage_exit::Exit::Code(0)) };
    let stage = wire::StageProgress {
        index: 0,
        began_unix_us: 11,
        ended_unix_us: if ended { 13 } else { 0 },
        exit: ended.then_some(exit),
        r#use: None,
    };
    wire::Progress {
        sequence,
        up_unix_us: 10,
        first_byte_unix_us: if ended { 12 } else { 0 },
        stages: vec![stage],
        preparing: String::new(),
    }
}

fn machine() -> wire::Machine {
    let docker = wire::RuntimeSupport { name: "docker".into(), version: "20".into(), whole_kill: true };
    wire::Machine { os: "linux".into(), arch: "x86_64".into(), runtimes: vec![docker], ..Default::default() }
}

fn key(name: &str) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&Sha256::digest(name)).unwrap()
}

fn ten_random_bytes() -> [u8; 10] {
    let mut ten = [0; 10];
    getrandom::fill(&mut ten).unwrap();
    ten
}
