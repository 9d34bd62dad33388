//! A whole controller over a real listener, asked as clients ask it.

mod calls;
mod doctor;
mod logs;
mod metrics;
mod rest;
mod starts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ocelot_core::id::{Incarnation, RunId};
use ocelot_domain::outcome::Actor;
use ocelot_domain::task::Session;
use ocelot_domain::task::state::JournalSequence;
use ocelot_domain::task::timing::POLL_MIN;
use ocelot_proto::kit::shutdown::{Shutdown, Tasks};
use ocelot_proto::wire;
use ocelot_proto::wire::admin_service_client::AdminServiceClient;
use ocelot_proto::wire::job_service_client::JobServiceClient;
use ocelot_proto::wire::run_service_client::RunServiceClient;
use tempfile::TempDir;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::*;
use crate::records::Machine;
use crate::records::RuntimeSupport;
use crate::service::{
    AttemptRef, NewRegistrationToken, OpenSessionRequest, PollRequest, RegisterRequest, signed_message,
};
use crate::store::embedded::Settings as EmbeddedSettings;

const JOB: &str = "name: build\nimage: alpine\ncommand: [make]\n";
/// Nothing in a test takes this long unless it never happens.
const NEVER: Duration = Duration::from_secs(60);

struct Bench {
    started: Started,
    token: String,
    _shutdown: Shutdown,
    _directory: TempDir,
}

type With = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value: AsciiMetadataValue = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

async fn bench() -> Bench {
    bench_with(|settings| settings).await
}

async fn bench_with(change: impl FnOnce(Settings) -> Settings) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new(NEVER);
    let settings = change(Settings::local(directory.path()));
    let started = start(settings, &shutdown.tasks()).await.unwrap();
    let token = started.first_token.as_ref().unwrap().reveal().to_owned();
    Bench { started, token, _shutdown: shutdown, _directory: directory }
}

fn channel(address: SocketAddr) -> Channel {
    tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

impl Bench {
    fn runs(&self) -> RunServiceClient<With> {
        runs_at(&self.started, &self.token)
    }

    fn jobs(&self) -> JobServiceClient<With> {
        JobServiceClient::with_interceptor(channel(self.started.address), Bearer(self.token.clone()))
    }

    fn admin(&self) -> AdminServiceClient<With> {
        AdminServiceClient::with_interceptor(channel(self.started.address), Bearer(self.token.clone()))
    }

    async fn execute(&self, number: u8) -> wire::RunSummary {
        let put = wire::PutJobRequest { definition: JOB.into(), ..Default::default() };
        self.jobs().put_job(put).await.unwrap();
        let answer = self.runs().execute(execution(number)).await.unwrap().into_inner();
        answer.run.unwrap()
    }
}

fn runs_at(started: &Started, token: &str) -> RunServiceClient<With> {
    RunServiceClient::with_interceptor(channel(started.address), Bearer(token.to_owned()))
}

fn run_id(number: u8) -> RunId {
    RunId::from_parts(1_700_000_000_000 + u64::from(number), [number; 10])
}

fn execution(number: u8) -> wire::ExecuteRequest {
    let id = run_id(number).as_bytes().to_vec().into();
    wire::ExecuteRequest { id, job: "build".into(), ..Default::default() }
}

fn text(reference: &str) -> Option<wire::RunReference> {
    let reference = wire::run_reference::Reference::Text(reference.to_owned());
    Some(wire::RunReference { reference: Some(reference) })
}

fn executor_named(reference: &str) -> Option<wire::ExecutorReference> {
    Some(wire::ExecutorReference { text: reference.to_owned() })
}

/// Registers a machine and opens its session.
async fn executor(service: &Service, name: &str) -> Session {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let new = NewRegistrationToken {
        labels: vec!["pool=test".into()],
        uses: 1,
        valid_for: Duration::from_secs(60),
        by: Actor("ana".into()),
    };
    let runtime = RuntimeSupport { name: "docker".into(), version: "1".into(), whole_kill: true };
    let machine = Machine {
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu_millis: 4000,
        memory_bytes: 1 << 33,
        disk_bytes: 1 << 36,
        gpus: 0,
        runtimes: vec![runtime],
    };
    let registered = service
        .register(RegisterRequest {
            token: service.make_registration_token(new).await.unwrap(),
            public_key: pair.public_key().as_ref().try_into().unwrap(),
            name: name.into(),
            labels: Vec::new(),
            slots: 1,
            version: "0.1.0".into(),
            machine: machine.clone(),
        })
        .await
        .unwrap();
    let challenge = service.challenge(registered.executor, None);
    let message = signed_message(registered.executor, Incarnation(1), &challenge);
    let opened = service.open_session(OpenSessionRequest {
        executor: registered.executor,
        challenge,
        signature: pair.sign(&message).as_ref().to_vec(),
        incarnation: Incarnation(1),
        held: Vec::new(),
        version: "0.1.0".into(),
        machine,
    });
    opened.await.unwrap().session
}

/// Takes the first task that is offered.
async fn take(service: &Service, session: Session) -> AttemptRef {
    let poll = PollRequest { poll: 1, sequence: JournalSequence(1), held: Vec::new(), wait: POLL_MIN };
    let answer = tokio::time::timeout(NEVER, service.poll(session, poll)).await.unwrap().unwrap();
    let attempt = answer.offers.first().unwrap().attempt;
    service.acknowledge(session, attempt, JournalSequence(2)).await.unwrap();
    attempt
}

/// Two controllers on one store, with one home of bytes.
async fn pair(tasks: &Tasks) -> (Started, Started, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(EmbeddedSettings::new(directory.path().join("store"))).unwrap();
    let store = Arc::new(store);
    let begin = async |name: &str| {
        let nobody = EtcdSettings { members: vec![], ca: None, own: None, server_name: None, login: None };
        let settings = Settings {
            store: StoreSettings::Etcd(nobody),
            logs: Some(directory.path().join("shared")),
            name: Some(name.into()),
            ..Settings::local(directory.path().join(name))
        };
        start_on(Some(Arc::clone(&store)), settings, tasks).await.unwrap()
    };
    let (one, other) = (begin("one").await, begin("other").await);
    (one, other, directory)
}
