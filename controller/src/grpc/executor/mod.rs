//! What executors call: messages in and out, and nothing decided.
//!
//! Who is calling comes from the credential that the door has judged, never from a message. A
//! message that cannot be right is refused before any use case sees it.

mod decode;
mod encode;
mod object;
mod push;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use ocelot_core::id::{ExecutorId, Incarnation};
use ocelot_domain::task::Session;
use ocelot_domain::task::state::{CompletionId, JournalSequence};
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire::executor_service_server::{ExecutorService, ExecutorServiceServer};
use ocelot_proto::wire::{self, complete_response};
use tonic::{Request, Response, Status, Streaming};

use crate::auth::{Caller, Gate, Identity};
use crate::error::{Error, Kind};
use crate::records::Condition;
use crate::server::{MESSAGE_BYTES_MAX, Peer};
use crate::service::logs::Logs;
use crate::service::{
    self, Challenge, CompleteAnswer, CompleteRequest, HeartbeatRequest, OpenSessionRequest, PollRequest,
    RegisterRequest, Service,
};
use crate::version::{self, Unserved};

const LABELS_MAX: usize = 64;
const WARM_IMAGES_MAX: usize = 100;
const NAMES_MAX: usize = 256;

/// The executors' side of a controller.
#[derive(Debug, Clone)]
pub struct Executors {
    service: Arc<Service>,
    logs: Arc<Logs>,
    gate: Gate,
    tasks: Tasks,
}

pub use object::ObjectCalls;

type Answer<T> = Result<Response<T>, Status>;

impl Executors {
    pub fn new(service: Arc<Service>, logs: Arc<Logs>, gate: Gate, tasks: Tasks) -> Self {
        Self { service, logs, gate, tasks }
    }

    /// Returns what answers the calls.
    pub fn into_server(self) -> ExecutorServiceServer<Self> {
        ExecutorServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Answers a wrong credential that came in a message as the door answers one in a header.
    fn refused(&self, error: service::Error, from: Option<IpAddr>) -> Status {
        match (error, from) {
            (service::Error::Unauthenticated, Some(from)) => Error::from(self.gate.failed(from)).into(),
            (error, _) => status(error),
        }
    }
}

/// Refuses an executor that is too old.
fn served(version: &str) -> Result<(), Status> {
    version::admit("executor", version).map_err(|unserved| match unserved {
        Unserved::NoVersion => decode::invalid("version", "is none, such as 0.1.0"),
        Unserved::TooOld(why) => Error::new(Kind::Rejected, why).into(),
    })
}

#[tonic::async_trait]
impl ExecutorService for Executors {
    async fn register(&self, request: Request<wire::RegisterRequest>) -> Answer<wire::RegisterResponse> {
        let from = from(&request);
        let given = request.into_inner();
        served(&given.version)?;
        decode::count("labels", &given.labels, LABELS_MAX)?;
        let labels = given.labels.into_iter().map(|label| decode::word("labels", label));
        let request = RegisterRequest {
            token: decode::word("registration_token", given.registration_token)?,
            public_key: decode::bytes("public_key", &given.public_key)?,
            name: decode::word("name", given.name)?,
            labels: labels.collect::<Result<_, _>>()?,
            slots: given.slots,
            version: decode::word("version", given.version)?,
            machine: decode::machine(given.machine)?,
        };
        let registered = self.service.register(request).await.map_err(|error| self.refused(error, from))?;
        let executor = Bytes::copy_from_slice(registered.executor.as_bytes());
        Ok(Response::new(wire::RegisterResponse { executor, labels: registered.labels }))
    }

    async fn challenge(&self, request: Request<wire::ChallengeRequest>) -> Answer<wire::ChallengeResponse> {
        let executor = ExecutorId::from_bytes(decode::bytes("executor", &request.get_ref().executor)?);
        let Challenge(challenge) = self.service.challenge(executor, from(&request));
        Ok(Response::new(wire::ChallengeResponse { challenge: Bytes::copy_from_slice(&challenge) }))
    }

    async fn open_session(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Answer<wire::OpenSessionResponse> {
        let from = from(&request);
        let given = request.into_inner();
        served(&given.version)?;
        let request = OpenSessionRequest {
            executor: ExecutorId::from_bytes(decode::bytes("executor", &given.executor)?),
            challenge: Challenge(decode::bytes("challenge", &given.challenge)?),
            signature: decode::bytes::<64>("signature", &given.signature)?.to_vec(),
            incarnation: Incarnation(given.incarnation),
            held: decode::held(given.held)?,
            version: decode::word("version", given.version)?,
            machine: decode::machine(given.machine)?,
        };
        let opened = self.service.open_session(request).await.map_err(|error| self.refused(error, from))?;
        Ok(Response::new(wire::OpenSessionResponse {
            session: Bytes::copy_from_slice(opened.session.id.as_bytes()),
            session_token: opened.token,
            timing: Some(encode::timing(&opened.timing)),
            keep: opened.keep.iter().map(encode::attempt).collect(),
        }))
    }

    async fn poll(&self, request: Request<wire::PollRequest>) -> Answer<wire::PollResponse> {
        let session = session(&request)?;
        let given = request.into_inner();
        let request = PollRequest {
            poll: given.poll,
            sequence: JournalSequence(given.journal_sequence),
            held: decode::held(given.held)?,
            wait: decode::poll_wait(given.wait_ms),
        };
        let answer = tokio::select! {
            answer = self.service.poll(session, request) => answer.map_err(status)?,
            () = self.tasks.draining() => return Err(leaving()),
        };
        chaos::point("poll.answered");
        Ok(Response::new(encode::poll(answer)))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Answer<wire::AcknowledgeResponse> {
        let session = session(&request)?;
        let given = request.into_inner();
        let attempt = decode::attempt(given.attempt)?;
        let sequence = JournalSequence(given.journal_sequence);
        self.service.acknowledge(session, attempt, sequence).await.map_err(status)?;
        chaos::point("acknowledge.answered");
        Ok(Response::new(wire::AcknowledgeResponse { mask: Vec::new() }))
    }

    async fn decline(&self, request: Request<wire::DeclineRequest>) -> Answer<wire::DeclineResponse> {
        let session = session(&request)?;
        let given = request.into_inner();
        let attempt = decode::attempt(given.attempt)?;
        let why = decode::decline(given.reason, given.detail)?;
        self.service.decline(session, attempt, &why).await.map_err(status)?;
        Ok(Response::new(wire::DeclineResponse {}))
    }

    async fn heartbeat(&self, request: Request<wire::HeartbeatRequest>) -> Answer<wire::HeartbeatResponse> {
        let session = session(&request)?;
        let given = request.into_inner();
        decode::count("warm_images", &given.warm_images, WARM_IMAGES_MAX)?;
        let images = given.warm_images.into_iter().map(|image| decode::word("warm_images", image));
        let refusing = decode::text("refusing", given.refusing)?;
        let condition = Condition {
            refusing: Some(refusing).filter(|why| !why.is_empty()),
            warm_images: images.collect::<Result<_, _>>()?,
        };
        let request = HeartbeatRequest { held: decode::held(given.held)?, condition };
        let answer = self.service.heartbeat(session, request).await.map_err(status)?;
        Ok(Response::new(encode::heartbeat(answer)))
    }

    async fn report(&self, request: Request<wire::ReportRequest>) -> Answer<wire::ReportResponse> {
        let session = session(&request)?;
        let given = request.into_inner();
        let attempt = decode::attempt(given.attempt)?;
        let told = decode::told(decode::need("progress", given.progress)?)?;
        self.service.report(session, attempt, told).await.map_err(status)?;
        Ok(Response::new(wire::ReportResponse {}))
    }

    async fn fetch_secrets(
        &self,
        request: Request<wire::FetchSecretsRequest>,
    ) -> Answer<wire::FetchSecretsResponse> {
        let session = session(&request)?;
        let given = request.into_inner();
        let attempt = decode::attempt(given.attempt)?;
        decode::count("names", &given.names, NAMES_MAX)?;
        let names = given.names.into_iter().map(|name| decode::word("names", name));
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        let released = self.service.fetch_secrets(session, attempt, &names).await.map_err(status)?;
        let checkout = match given.checkout {
            true => self.service.checkout_credentials(session, attempt).await.map_err(status)?,
            false => None,
        };
        Ok(Response::new(wire::FetchSecretsResponse {
            values: released.values.into_iter().collect(),
            checkout: checkout.as_ref().map(encode::credentials),
            withheld: released.withheld.unwrap_or_default().to_owned(),
        }))
    }

    type PushLogStream = Pin<Box<dyn Stream<Item = Result<wire::PushLogResponse, Status>> + Send>>;

    async fn push_log(
        &self,
        request: Request<Streaming<wire::PushLogRequest>>,
    ) -> Answer<Self::PushLogStream> {
        let session = session(&request)?;
        let (logs, tasks) = (Arc::clone(&self.logs), self.tasks.clone());
        let push = push::Push::new(session, logs, tasks, request.into_inner());
        Ok(Response::new(Box::pin(push.answers())))
    }

    async fn complete(&self, request: Request<wire::CompleteRequest>) -> Answer<wire::CompleteResponse> {
        use complete_response::{Answer, ArtifactMissing, LogIncomplete, Recorded};
        let session = session(&request)?;
        let given = request.into_inner();
        let request = CompleteRequest {
            attempt: decode::attempt(given.attempt)?,
            completion: CompletionId(u128::from_be_bytes(decode::bytes("completion", &given.completion)?)),
            result: decode::report(given.outcome)?,
            log: decode::reported_log(given.log, given.loss)?,
            artifacts: decode::artifacts(given.artifacts)?,
            told: given.progress.map(decode::told).transpose()?,
        };
        let answer = match self.service.complete(session, request).await.map_err(status)? {
            CompleteAnswer::Recorded => Answer::Recorded(Recorded {}),
            CompleteAnswer::LogIncomplete { expected } => Answer::LogIncomplete(LogIncomplete { expected }),
            CompleteAnswer::ArtifactMissing { name } => Answer::ArtifactMissing(ArtifactMissing { name }),
        };
        chaos::point("complete.answered");
        Ok(Response::new(wire::CompleteResponse { answer: Some(answer) }))
    }

    async fn confirm_fenced(
        &self,
        request: Request<wire::ConfirmFencedRequest>,
    ) -> Answer<wire::ConfirmFencedResponse> {
        let session = session(&request)?;
        self.service.confirm_fenced(session, decode::attempt(request.into_inner().attempt)?);
        Ok(Response::new(wire::ConfirmFencedResponse {}))
    }
}

/// Returns the session whose token the call carries.
fn session<T>(request: &Request<T>) -> Result<Session, Status> {
    match request.extensions().get::<Caller>().map(|caller| &caller.identity) {
        Some(Identity::Executor { executor, session, incarnation }) => {
            Ok(Session { id: *session, executor: *executor, incarnation: *incarnation })
        }
        Some(Identity::Person { .. } | Identity::Controller { .. }) => {
            Err(Error::new(Kind::Forbidden, "only an executor's session may call this").into())
        }
        None => Err(Error::new(Kind::Unauthenticated, "this call needs a valid token").into()),
    }
}

fn from<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|Peer(address)| address.ip())
}

fn status(error: service::Error) -> Status {
    Error::from(error).into()
}

fn leaving() -> Status {
    Error::new(Kind::Leaving, "this controller is going away; another one answers").into()
}
