//! A controller that only counts the bytes of one log, and answers after each piece.

use std::pin::Pin;

use anyhow::Result;
use async_trait::async_trait;
use ocelot_proto::wire::executor_service_server::{ExecutorService, ExecutorServiceServer};
use ocelot_proto::wire::push_log_response::Answer;
use ocelot_proto::wire::*;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Ends with its value.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) address: String,
    pub(crate) received: watch::Sender<u64>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Counting(watch::Sender<u64>);

impl Controller {
    #[expect(clippy::disallowed_methods, reason = "it ends with its value")]
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let received = watch::Sender::new(0);
        let service = ExecutorServiceServer::new(Counting(received.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        // As much as a controller's listener lets come.
        let server = Server::builder()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(4 << 20)
            .add_service(service);
        drop(tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let incoming = TcpListenerStream::new(listener);
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopped).await {
                eprintln!("the counting controller failed: {error}");
            }
        }));
        Ok(Self { address, received, _stop: stop })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<PushLogResponse, Status>> + Send>>;

macro_rules! only_push_log {
    ($($call:ident($request:ty) -> $response:ty;)*) => {
        #[async_trait]
        impl ExecutorService for Counting {
            type PushLogStream = Answers;

            #[expect(clippy::disallowed_methods, reason = "it ends with the stream")]
            async fn push_log(
                &self,
                request: Request<Streaming<PushLogRequest>>,
            ) -> Result<Response<Answers>, Status> {
                let (answers, stream) = mpsc::channel(16);
                let (received, mut pieces) = (self.0.clone(), request.into_inner());
                drop(tokio::spawn(async move {
                    while let Some(Ok(piece)) = pieces.next().await {
                        let end = piece.offset + piece.bytes.len() as u64;
                        received.send_replace(end);
                        let offsets = LogOffsets { attempt: piece.attempt, received: end, durable: end };
                        let answer = PushLogResponse { answer: Some(Answer::Offsets(offsets)) };
                        if answers.send(Ok(answer)).await.is_err() {
                            return;
                        }
                    }
                }));
                Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
            }

            $(async fn $call(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("it only counts"))
            })*
        }
    };
}

only_push_log! {
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
