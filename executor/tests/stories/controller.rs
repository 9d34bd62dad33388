//! A controller that a story writes: it remembers all it hears, and answers as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ocelot_executor::attempt::AttemptId;
use ocelot_proto::wire::executor_service_server::{ExecutorService, ExecutorServiceServer};
use ocelot_proto::wire::fetch_object_response::{Head, Piece as Sent};
use ocelot_proto::wire::object_service_server::{ObjectService, ObjectServiceServer};
use ocelot_proto::wire::push_object_request::{Piece, begin};
use ocelot_proto::wire::{self, directive};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Bounds a story that has failed; nothing waits for it otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const EXECUTOR: [u8; 16] = [7; 16];

/// How a call is answered instead of well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It happens, and nobody learns it.
    Lost,
    Fenced,
    /// It did not happen.
    Unavailable,
    /// It misses the log from here on.
    LogIncomplete(u64),
    /// It has not the artifact of this name.
    ArtifactMissing(&'static str),
    /// The disk has no room.
    Full,
    /// An object breaks off after so many bytes.
    Cut(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Told with each poll until they are acknowledged or declined.
    pub(crate) offers: Vec<wire::Offer>,
    pub(crate) directives: Vec<wire::Directive>,
    /// Faults to come, by the name of the call.
    pub(crate) faults: BTreeMap<&'static str, Vec<Fault>>,
    /// Held attempts that an opened session is not given.
    pub(crate) not_kept: Vec<AttemptId>,
    /// Heartbeats vouch for nothing.
    pub(crate) silent: bool,
    /// Every call that came, in order.
    pub(crate) calls: Vec<&'static str>,
    pub(crate) opened: Vec<wire::OpenSessionRequest>,
    pub(crate) polls: Vec<wire::PollRequest>,
    pub(crate) heartbeats: Vec<wire::HeartbeatRequest>,
    pub(crate) acknowledged: Vec<wire::AcknowledgeRequest>,
    pub(crate) declined: Vec<wire::DeclineRequest>,
    pub(crate) completed: Vec<wire::CompleteRequest>,
    pub(crate) confirmed: Vec<AttemptId>,
    /// Whole objects, by what they are called.
    pub(crate) artifacts: BTreeMap<String, Vec<u8>>,
    pub(crate) caches: BTreeMap<String, Vec<u8>>,
    /// Pushes end only when the story says so.
    pub(crate) held_push: bool,
    pub(crate) pushes_begun: u32,
    /// From where objects were asked for.
    pub(crate) offsets: Vec<u64>,
    pub(crate) open_polls: u32,
    pub(crate) open_polls_most: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Controller {
    model: Arc<Mutex<Model>>,
    changed: watch::Sender<u64>,
    pub(crate) address: SocketAddr,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let controller = Self { model: Arc::default(), changed: watch::Sender::new(0), address };
        let service = ExecutorServiceServer::new(controller.clone());
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .add_service(ObjectServiceServer::new(controller.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        spawn(async move { serving.await.unwrap() });
        controller
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Changes something, and wakes open polls.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.model());
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn fault(&self, call: &'static str, faults: &[Fault]) {
        self.set(|model| model.faults.entry(call).or_default().extend(faults));
    }

    /// Waits until the story has come so far.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Model) -> bool) {
        let mut changed = self.changed.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if holds(&self.model()) {
                    return;
                }
                changed.changed().await.unwrap();
            }
        });
        if waited.await.is_err() {
            panic!("it never came to this: {what}; {:?}", self.model());
        }
    }

    fn hear(&self, call: &'static str, note: impl FnOnce(&mut Model)) -> Result<(), Status> {
        let mut fault = None;
        self.set(|model| {
            model.calls.push(call);
            let faults = model.faults.entry(call).or_default();
            fault = (!faults.is_empty()).then(|| faults.remove(0));
            match fault {
                None
                | Some(Fault::Lost | Fault::LogIncomplete(_) | Fault::ArtifactMissing(_) | Fault::Cut(_)) => {
                    note(model);
                }
                Some(Fault::Fenced | Fault::Unavailable | Fault::Full) => {}
            }
        });
        match fault {
            None | Some(Fault::LogIncomplete(_) | Fault::ArtifactMissing(_) | Fault::Cut(_)) => Ok(()),
            Some(Fault::Lost | Fault::Unavailable) => Err(Status::unavailable("as the story says")),
            Some(Fault::Fenced) => Err(fenced()),
            Some(Fault::Full) => Err(Status::resource_exhausted("as the story says")),
        }
    }
}

pub(crate) fn fenced() -> Status {
    let mut status = Status::aborted("this is not the live one");
    status.metadata_mut().insert("x-error", "fenced".parse().unwrap());
    status
}

#[expect(clippy::disallowed_methods, reason = "a test's server ends with its runtime")]
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(future));
}

fn timing() -> wire::Timing {
    wire::Timing {
        heartbeat_ms: 100,
        session_ttl_ms: 10_000,
        poll_ms: 25_000,
        guard_exclusive_ms: 60_000,
        guard_normal_ms: 600_000,
    }
}

pub(crate) fn id_of(id: &Option<wire::AttemptId>) -> AttemptId {
    AttemptId::from_wire(id.as_ref().unwrap()).unwrap()
}

pub(crate) fn cancel(id: AttemptId) -> wire::Directive {
    wire::Directive { directive: Some(directive::Directive::Cancel(id.to_wire())) }
}

pub(crate) fn kill(id: AttemptId) -> wire::Directive {
    wire::Directive { directive: Some(directive::Directive::Kill(id.to_wire())) }
}

pub(crate) fn drain(reason: &str) -> wire::Directive {
    let drain = directive::Drain { reason: reason.to_owned() };
    wire::Directive { directive: Some(directive::Directive::Drain(drain)) }
}

pub(crate) fn stop(reason: &str) -> wire::Directive {
    let stop = directive::Stop { reason: reason.to_owned() };
    wire::Directive { directive: Some(directive::Directive::Stop(stop)) }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ExecutorService for Controller {
    async fn register(&self, request: Request<wire::RegisterRequest>) -> Answer<wire::RegisterResponse> {
        self.hear("register", |_| {})?;
        let labels = request.into_inner().labels;
        Ok(Response::new(wire::RegisterResponse { executor: EXECUTOR.to_vec().into(), labels }))
    }

    async fn challenge(&self, _: Request<wire::ChallengeRequest>) -> Answer<wire::ChallengeResponse> {
        self.hear("challenge", |_| {})?;
        Ok(Response::new(wire::ChallengeResponse { challenge: vec![1; 32].into() }))
    }

    async fn open_session(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Answer<wire::OpenSessionResponse> {
        let request = request.into_inner();
        let held = request.held.clone();
        self.hear("open", |model| model.opened.push(request))?;
        let not_kept = self.model().not_kept.clone();
        let keep = held.into_iter().filter(|held| !not_kept.contains(&id_of(&held.attempt)));
        Ok(Response::new(wire::OpenSessionResponse {
            session_token: "ost_1".to_owned(),
            session: vec![2; 16].into(),
            timing: Some(timing()),
            keep: keep.filter_map(|held| held.attempt).collect(),
        }))
    }

    async fn poll(&self, request: Request<wire::PollRequest>) -> Answer<wire::PollResponse> {
        let request = request.into_inner();
        let poll = request.poll;
        self.hear("poll", |model| {
            model.polls.push(request);
            model.open_polls += 1;
            model.open_polls_most = model.open_polls_most.max(model.open_polls);
        })?;
        let mut changed = self.changed.subscribe();
        loop {
            {
                let mut model = self.model();
                let voided = model.polls.last().is_some_and(|last| last.poll > poll);
                if voided || !model.offers.is_empty() || !model.directives.is_empty() {
                    model.open_polls -= 1;
                    let directives = std::mem::take(&mut model.directives);
                    let offers = if voided { vec![] } else { model.offers.clone() };
                    return Ok(Response::new(wire::PollResponse { offers, directives, voided }));
                }
            }
            changed.changed().await.map_err(|_| Status::unavailable("over"))?;
        }
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Answer<wire::AcknowledgeResponse> {
        let request = request.into_inner();
        let heard = self.hear("acknowledge", |model| {
            let id = id_of(&request.attempt);
            model.offers.retain(|offer| id_of(&offer.attempt) != id);
            model.acknowledged.push(request.clone());
        });
        if matches!(&heard, Err(status) if status.code() == tonic::Code::Aborted) {
            self.set(|model| model.offers.clear());
        }
        heard?;
        Ok(Response::new(wire::AcknowledgeResponse { mask: vec![] }))
    }

    async fn decline(&self, request: Request<wire::DeclineRequest>) -> Answer<wire::DeclineResponse> {
        let request = request.into_inner();
        self.hear("decline", |model| {
            let id = id_of(&request.attempt);
            model.offers.retain(|offer| id_of(&offer.attempt) != id);
            model.declined.push(request);
        })?;
        Ok(Response::new(wire::DeclineResponse {}))
    }

    async fn heartbeat(&self, request: Request<wire::HeartbeatRequest>) -> Answer<wire::HeartbeatResponse> {
        let request = request.into_inner();
        let held = request.held.clone();
        self.hear("heartbeat", |model| model.heartbeats.push(request))?;
        let silent = self.model().silent;
        let vouched = held.into_iter().filter_map(|held| held.attempt).filter(|_| !silent);
        Ok(Response::new(wire::HeartbeatResponse {
            vouched: vouched.collect(),
            directives: vec![],
            logs: vec![],
            timing: Some(timing()),
        }))
    }

    async fn report(&self, _: Request<wire::ReportRequest>) -> Answer<wire::ReportResponse> {
        self.hear("report", |_| {})?;
        Ok(Response::new(wire::ReportResponse {}))
    }

    async fn fetch_secrets(
        &self,
        request: Request<wire::FetchSecretsRequest>,
    ) -> Answer<wire::FetchSecretsResponse> {
        self.hear("secrets", |_| {})?;
        let names = request.into_inner().names;
        let values = names.into_iter().map(|name| {
            let value = format!("value-of-{name}").into_bytes();
            (name, value.into())
        });
        Ok(Response::new(wire::FetchSecretsResponse { values: values.collect(), checkout: None }))
    }

    type PushLogStream = ReceiverStream<Result<wire::PushLogResponse, Status>>;

    async fn push_log(&self, _: Request<Streaming<wire::PushLogRequest>>) -> Answer<Self::PushLogStream> {
        let (_, nothing) = mpsc::channel(1);
        Ok(Response::new(ReceiverStream::new(nothing)))
    }

    async fn complete(&self, request: Request<wire::CompleteRequest>) -> Answer<wire::CompleteResponse> {
        let request = request.into_inner();
        let incomplete = self.model().faults.get("complete").and_then(|faults| faults.first().copied());
        self.hear("complete", |model| model.completed.push(request))?;
        use wire::complete_response::{Answer, ArtifactMissing, LogIncomplete, Recorded};
        let answer = match incomplete {
            Some(Fault::LogIncomplete(expected)) => Answer::LogIncomplete(LogIncomplete { expected }),
            Some(Fault::ArtifactMissing(name)) => {
                self.set(|model| drop(model.artifacts.remove(name)));
                Answer::ArtifactMissing(ArtifactMissing { name: name.to_owned() })
            }
            Some(Fault::Lost | Fault::Fenced | Fault::Unavailable | Fault::Full | Fault::Cut(_)) | None => {
                Answer::Recorded(Recorded {})
            }
        };
        Ok(Response::new(wire::CompleteResponse { answer: Some(answer) }))
    }

    async fn confirm_fenced(
        &self,
        request: Request<wire::ConfirmFencedRequest>,
    ) -> Answer<wire::ConfirmFencedResponse> {
        let id = id_of(&request.into_inner().attempt);
        self.hear("confirm", |model| model.confirmed.push(id))?;
        Ok(Response::new(wire::ConfirmFencedResponse {}))
    }
}

#[tonic::async_trait]
impl ObjectService for Controller {
    async fn push_object(
        &self,
        request: Request<Streaming<wire::PushObjectRequest>>,
    ) -> Answer<wire::PushObjectResponse> {
        let mut pieces = request.into_inner();
        self.set(|model| model.pushes_begun += 1);
        let (mut object, mut bytes, mut whole) = (None, Vec::new(), false);
        while let Some(piece) = pieces.message().await? {
            match piece.piece.unwrap() {
                Piece::Begin(begin) => object = begin.object,
                Piece::Bytes(more) => bytes.extend_from_slice(&more),
                Piece::End(end) => {
                    assert_eq!(end.length, bytes.len() as u64);
                    assert_eq!(end.sha256, Sha256::digest(&bytes)[..]);
                    whole = true;
                }
            }
        }
        assert!(whole, "a push ends with its end");
        let mut changed = self.changed.subscribe();
        while self.model().held_push {
            changed.changed().await.map_err(|_| Status::unavailable("over"))?;
        }
        self.hear("push", |model| {
            match object.unwrap() {
                begin::Object::Artifact(name) => model.artifacts.insert(name, bytes),
                begin::Object::Cache(cache) => model.caches.insert(cache.key, bytes),
            };
        })?;
        Ok(Response::new(wire::PushObjectResponse { existed: false }))
    }

    async fn list_needed(&self, _: Request<wire::ListNeededRequest>) -> Answer<wire::ListNeededResponse> {
        self.hear("needed", |_| {})?;
        let needed = |(name, bytes): (&String, &Vec<u8>)| wire::list_needed_response::Needed {
            artifact: Some(wire::NeededArtifact { task: 3, name: name.clone() }),
            task: "web".to_owned(),
            size_bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes).to_vec().into(),
            files: 1,
        };
        let needed = self.model().artifacts.iter().map(needed).collect();
        Ok(Response::new(wire::ListNeededResponse { needed }))
    }

    type FetchObjectStream = ReceiverStream<Result<wire::FetchObjectResponse, Status>>;

    async fn fetch_object(
        &self,
        request: Request<wire::FetchObjectRequest>,
    ) -> Answer<Self::FetchObjectStream> {
        use wire::fetch_object_request::Object;
        let request = request.into_inner();
        let cut = match self.model().faults.get("fetch").and_then(|faults| faults.first().copied()) {
            Some(Fault::Cut(bytes)) => Some(bytes),
            Some(_) | None => None,
        };
        self.hear("fetch", |model| model.offsets.push(request.offset))?;
        let found = match request.object.unwrap() {
            Object::Artifact(artifact) => {
                self.model().artifacts.get(&artifact.name).cloned().map(|bytes| (String::new(), bytes))
            }
            Object::Cache(wanted) => {
                let wanted_key = wanted.cache.unwrap().key;
                let model = self.model();
                let exact = model.caches.get_key_value(&wanted_key);
                let near = model.caches.iter().find(|(key, _)| key.starts_with(&wanted.prefix));
                exact.or(near.filter(|_| wanted.fallback)).map(|(key, bytes)| (key.clone(), bytes.clone()))
            }
        };
        let (key, bytes) = found.ok_or_else(|| Status::not_found("there is no such object"))?;
        let (sender, answers) = mpsc::channel(8);
        let sha256 = Sha256::digest(&bytes).to_vec().into();
        let head = Head { length: bytes.len() as u64, sha256, key, offset: request.offset };
        let answer = |piece| Ok(wire::FetchObjectResponse { piece: Some(piece) });
        sender.send(answer(Sent::Head(head))).await.unwrap();
        let rest = &bytes[request.offset as usize..];
        let rest = &rest[..cut.unwrap_or(rest.len()).min(rest.len())];
        sender.send(answer(Sent::Bytes(rest.to_vec().into()))).await.unwrap();
        if cut.is_some() {
            sender.send(Err(Status::unavailable("it breaks off"))).await.unwrap();
        }
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
