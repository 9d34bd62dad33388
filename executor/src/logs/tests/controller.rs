//! A controller that keeps logs by offset, over a real connection, and fails as it is told.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ocelot_proto::wire::executor_service_client::ExecutorServiceClient;
use ocelot_proto::wire::executor_service_server::{ExecutorService, ExecutorServiceServer};
use ocelot_proto::wire::push_log_response::{Answer, Diverged, Gap};
use ocelot_proto::wire::*;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::super::push::Link;

/// What a test tells the controller to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    /// The stream breaks after so many more bytes; the last piece is taken by half.
    pub(super) cut_after: Option<usize>,
    /// Attempts of these indexes are not answered.
    pub(super) silent: Vec<u32>,
    /// Attempts of these indexes are fenced.
    pub(super) fenced: Vec<u32>,
    /// Durable stays so far behind.
    pub(super) durable_lag: usize,
    /// Nothing is durable.
    pub(super) never_durable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) logs: HashMap<u32, Vec<u8>>,
    /// What was ever called durable, and so is never lost.
    pub(super) durable: HashMap<u32, usize>,
    pub(super) ends: HashMap<u32, LogEnd>,
    pub(super) faults: Faults,
    pub(super) streams: usize,
    pub(super) gaps: usize,
}

impl Kept {
    pub(super) fn log(&self, index: u32) -> &[u8] {
        self.logs.get(&index).map_or(&[], Vec::as_slice)
    }

    fn take(&mut self, piece: &PushLogRequest) -> Result<Option<Answer>, Status> {
        let attempt = piece.attempt.clone().unwrap();
        let index = attempt.task.as_ref().unwrap().index;
        if crc32c::crc32c(&piece.bytes) != piece.crc32c {
            return Err(Status::data_loss("damaged"));
        }
        if self.faults.fenced.contains(&index) {
            return Ok(Some(Answer::Fenced(attempt)));
        }
        let log = self.logs.entry(index).or_default();
        let offset = piece.offset as usize;
        if offset > log.len() {
            self.gaps += 1;
            return Ok(Some(Answer::Gap(Gap { attempt: Some(attempt), expected: log.len() as u64 })));
        }
        let again = piece.bytes.len().min(log.len() - offset);
        if let Some(place) = (0..again).find(|place| log[offset + place] != piece.bytes[*place]) {
            let at = (offset + place) as u64;
            return Ok(Some(Answer::Diverged(Diverged { attempt: Some(attempt), at })));
        }
        let mut new = &piece.bytes[again..];
        let cut = self.faults.cut_after.is_some_and(|left| left < new.len());
        if let Some(left) = &mut self.faults.cut_after {
            new = &new[..new.len().min(*left)];
            *left -= new.len();
        }
        log.extend_from_slice(new);
        if cut {
            self.faults.cut_after = None;
            return Err(Status::unavailable("cut"));
        }
        if let Some(end) = &piece.end {
            self.ends.insert(index, end.clone());
        }
        let received = log.len() as u64;
        let lag = if self.faults.never_durable { log.len() } else { self.faults.durable_lag };
        let durable = self.durable.entry(index).or_default();
        *durable = log.len().saturating_sub(lag).max(*durable);
        let durable = *durable as u64;
        let offsets = LogOffsets { attempt: Some(attempt), received, durable };
        Ok((!self.faults.silent.contains(&index)).then_some(Answer::Offsets(offsets)))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Controller {
    kept: Arc<Mutex<Kept>>,
    changed: watch::Sender<()>,
    channel: Channel,
}

impl Controller {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let controller = Self {
            kept: Arc::default(),
            changed: watch::Sender::new(()),
            channel: Endpoint::from_shared(address).unwrap().connect_lazy(),
        };
        let service = ExecutorServiceServer::new(controller.clone());
        let serving = Server::builder().add_service(service);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        drop(tokio::spawn(async move {
            serving.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        }));
        controller
    }

    pub(super) fn kept<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap())
    }

    pub(super) fn link(&self) -> Arc<dyn Link> {
        Arc::new(TestLink(self.channel.clone()))
    }

    /// Waits until what is kept is so.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Kept) -> bool) {
        let mut changes = self.changed.subscribe();
        super::soon(what, async {
            while !self.kept(|kept| is_so(kept)) {
                changes.changed().await.unwrap();
            }
        })
        .await;
    }
}

#[derive(Debug)]
struct TestLink(Channel);

#[async_trait]
impl Link for TestLink {
    async fn open(
        &self,
        pieces: ReceiverStream<PushLogRequest>,
    ) -> Result<Streaming<PushLogResponse>, Status> {
        let mut client = ExecutorServiceClient::new(self.0.clone());
        Ok(client.push_log(pieces).await?.into_inner())
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<PushLogResponse, Status>> + Send>>;

macro_rules! not_here {
    ($($call:ident($request:ty) -> $response:ty;)*) => {
        #[async_trait]
        impl ExecutorService for Controller {
            type PushLogStream = Answers;

            async fn push_log(
                &self,
                request: Request<Streaming<PushLogRequest>>,
            ) -> Result<Response<Answers>, Status> {
                let (answers, stream) = mpsc::channel(16);
                self.kept(|kept| kept.streams += 1);
                let (own, mut pieces) = (self.clone(), request.into_inner());
                #[expect(clippy::disallowed_methods, reason = "it ends with the stream")]
                drop(tokio::spawn(async move {
                    while let Some(Ok(piece)) = pieces.next().await {
                        let answer = own.kept(|kept| kept.take(&piece));
                        let over = answer.is_err();
                        let answer = answer.map(|answer| answer.map(|answer| {
                            PushLogResponse { answer: Some(answer) }
                        }));
                        let sent = match answer.transpose() {
                            Some(answer) => answers.send(answer).await.is_ok(),
                            None => true,
                        };
                        own.changed.send_replace(());
                        if over || !sent {
                            return;
                        }
                    }
                }));
                Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
            }

            $(async fn $call(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("not in these tests"))
            })*
        }
    };
}

not_here! {
    register(RegisterRequest) -> RegisterResponse;
    challenge(ChallengeRequest) -> ChallengeResponse;
    open_session(OpenSessionRequest) -> OpenSessionResponse;
    poll(PollRequest) -> PollResponse;
    acknowledge(AcknowledgeRequest) -> AcknowledgeResponse;
    decline(DeclineRequest) -> DeclineResponse;
    heartbeat(HeartbeatRequest) -> HeartbeatResponse;
    report(ReportRequest) -> ReportResponse;
    fetch_secrets(FetchSecretsRequest) -> FetchSecretsResponse;
    complete(CompleteRequest) -> CompleteResponse;
    confirm_fenced(ConfirmFencedRequest) -> ConfirmFencedResponse;
}
