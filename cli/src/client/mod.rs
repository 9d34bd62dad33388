//! Calls to the fleet: to whichever of its controllers answers, each with a deadline.
//!
//! A call whose answer is lost may have happened. It is made again only where that is safe, and then
//! it is the very same request; where it stays unknown, the person is told so.

mod dial;
mod refusal;
mod request_id;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocelot_proto::kit::backoff;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire::admin_service_client::AdminServiceClient;
use ocelot_proto::wire::artifact_service_client::ArtifactServiceClient;
use ocelot_proto::wire::job_service_client::JobServiceClient;
use ocelot_proto::wire::project_service_client::ProjectServiceClient;
use ocelot_proto::wire::run_service_client::RunServiceClient;
use ocelot_proto::wire::schedule_service_client::ScheduleServiceClient;
use ocelot_proto::wire::secret_service_client::SecretServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::Target;
use crate::error::{Error, Result};
use crate::show::{StatusLine, Style};

pub(crate) use dial::{DialError, ask_ready, look};
pub(crate) use refusal::{is_lost, refused};
pub(crate) use request_id::new_run_id;

/// For one try of a call that is answered at once.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// For a call with all its tries.
const PATIENCE: Duration = Duration::from_secs(30);
/// After it a person is told what is being waited for.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// The most bytes of one answer: a page of jobs with their whole files.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The fleet, as this command reaches it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    target: Target,
    authorization: Option<MetadataValue<Ascii>>,
    notes: Style,
    /// The connection in use, and the place of the address that is tried next.
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    channel: Option<Channel>,
    next: usize,
    /// Counts the connections, so that a broken one is given up once.
    number: u64,
}

/// What may be done when an answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Asking again changes nothing that the first time did not.
    Safe,
    /// Only a person can tell whether to ask again.
    Never,
}

/// The services, over one connection.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    number: u64,
    channel: Channel,
    bearer: Bearer,
}

type Wire = InterceptedService<Channel, Bearer>;

#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Api {
    /// Which connection it is, to give it up.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn runs(&self) -> RunServiceClient<Wire> {
        RunServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn artifacts(&self) -> ArtifactServiceClient<Wire> {
        ArtifactServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Wire> {
        JobServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn projects(&self) -> ProjectServiceClient<Wire> {
        ProjectServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn schedules(&self) -> ScheduleServiceClient<Wire> {
        ScheduleServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn secrets(&self) -> SecretServiceClient<Wire> {
        SecretServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl Client {
    pub(crate) fn new(target: Target, notes: Style) -> Result<Self> {
        let authorization = match &target.token {
            None => None,
            Some(token) => {
                let value = MetadataValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
                    Error::Configuration {
                        what: "the token holds letters that no token has".to_owned(),
                        hint: "copy it again, without quotes or line breaks in it".to_owned(),
                    }
                })?;
                Some(value)
            }
        };
        let line = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { target, authorization, notes, line }) })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.inner.target
    }

    /// Returns the connection in use, or makes one to the first address that takes it.
    pub(crate) async fn api(&self) -> std::result::Result<Api, Vec<DialError>> {
        let (kept, next) = {
            let line = self.line();
            (line.channel.clone().map(|channel| (line.number, channel)), line.next)
        };
        let (number, channel) = match kept {
            Some(kept) => kept,
            None => self.dial(next).await?,
        };
        Ok(Api { number, channel, bearer: Bearer(self.inner.authorization.clone()) })
    }

    async fn dial(&self, next: usize) -> std::result::Result<(u64, Channel), Vec<DialError>> {
        let urls = &self.inner.target.urls;
        let mut failed = Vec::new();
        for place in (0..urls.len()).map(|step| (next + step) % urls.len()) {
            match dial::connect(&urls[place], &self.inner.target.trust).await {
                Ok(channel) => {
                    let mut line = self.line();
                    let number = line.number + 1;
                    *line = Line { channel: Some(channel.clone()), next: place, number };
                    return Ok((number, channel));
                }
                Err(error) => failed.push(error),
            }
        }
        Err(failed)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.inner.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a connection that does not do; the next call goes to the next address.
    pub(crate) fn leave(&self, number: u64) {
        let mut line = self.line();
        if line.number == number && line.channel.take().is_some() {
            line.next = (line.next + 1) % self.inner.target.urls.len();
        }
    }

    /// Makes a call; `doing` says for people what it is for.
    pub(crate) async fn call<T, R>(
        &self,
        doing: &str,
        repeat: Repeat,
        message: T,
        send: impl AsyncFn(Api, Request<T>) -> std::result::Result<Response<R>, Status>,
    ) -> Result<R>
    where
        T: Clone,
    {
        let mut line = StatusLine::new(self.inner.notes, None);
        let tries = self.tries(doing, repeat, &message, &send);
        let mut tries = std::pin::pin!(tries);
        tokio::select! {
            biased;
            ended = &mut tries => return ended,
            () = SystemClock.sleep(TELL_AFTER) => line.say("waiting for the controller"),
        }
        tries.await
    }

    async fn tries<T: Clone, R>(
        &self,
        doing: &str,
        repeat: Repeat,
        message: &T,
        send: &impl AsyncFn(Api, Request<T>) -> std::result::Result<Response<R>, Status>,
    ) -> Result<R> {
        let over = SystemClock.monotonic() + PATIENCE;
        let mut lost = None;
        for failures in 1.. {
            let failed = match self.api().await {
                Err(unreached) => match lost {
                    None => return Err(self.unreached(doing, &unreached)),
                    Some(status) => status,
                },
                Ok(api) => {
                    let number = api.number();
                    let mut request = Request::new(message.clone());
                    request.set_timeout(CALL_DEADLINE);
                    let answer = tokio::time::timeout(CALL_DEADLINE, send(api, request)).await;
                    match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))) {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) if is_lost(&status) => {
                            self.leave(number);
                            status
                        }
                        Err(status) => return Err(refused(doing, &status, &self.inner.target)),
                    }
                }
            };
            let wait = pause(failures);
            if repeat == Repeat::Never || SystemClock.monotonic() + wait > over {
                return Err(refused(doing, &failed, &self.inner.target));
            }
            lost = Some(failed);
            SystemClock.sleep(wait).await;
        }
        unreachable!("it tries until its time is over")
    }

    /// Says that no controller could be reached, and why.
    pub(crate) fn unreached(&self, doing: &str, failed: &[DialError]) -> Error {
        refusal::unreached(doing, failed, &self.inner.target)
    }
}

/// How long to wait after so many failures.
pub(crate) fn pause(failures: u32) -> Duration {
    let policy = backoff::Policy::new(Duration::from_millis(100), Duration::from_secs(3), 0.5)
        .expect("the first wait is not longer than the longest");
    policy.wait(failures, request_id::random_share())
}
