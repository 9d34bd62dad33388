//! A client past our own command: it may repeat a call, ask a dead controller, and see everything.

use std::time::Duration;

use anyhow::{Context, Result};
use ocelot_controller::auth::random_secret;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use ocelot_proto::wire::admin_service_client::AdminServiceClient;
use ocelot_proto::wire::artifact_service_client::ArtifactServiceClient;
use ocelot_proto::wire::job_service_client::JobServiceClient;
use ocelot_proto::wire::project_service_client::ProjectServiceClient;
use ocelot_proto::wire::run_service_client::RunServiceClient;
use ocelot_proto::wire::schedule_service_client::ScheduleServiceClient;
use ocelot_proto::wire::secret_service_client::SecretServiceClient;
use ocelot_proto::wire::{outcome, run_state, task_state};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::wait::wait_until;

/// The id of a run, as clients make it.
pub type RunId = [u8; 16];

/// Sends a token with every call.
#[derive(Debug, Clone)]
pub struct WithToken(MetadataValue<Ascii>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        request.set_timeout(Duration::from_secs(10));
        Ok(request)
    }
}

type Tokened = InterceptedService<Channel, WithToken>;

/// Calls one controller.
#[derive(Debug, Clone)]
pub struct Caller {
    channel: Channel,
    token: WithToken,
}

impl Caller {
    /// Makes a caller of a controller that need not be there yet.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        Self::trusting(url, token, None)
    }

    /// The same for one that shows this certificate.
    pub fn trusting(url: &str, token: &str, certificate: Option<String>) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2));
        let endpoint = match certificate {
            Some(pem) => {
                endpoint.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))?
            }
            None => endpoint,
        };
        let token = format!("Bearer {token}").parse().context("a token is plain text")?;
        Ok(Self { channel: endpoint.connect_lazy(), token: WithToken(token) })
    }

    pub fn runs(&self) -> RunServiceClient<Tokened> {
        RunServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn jobs(&self) -> JobServiceClient<Tokened> {
        JobServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn admin(&self) -> AdminServiceClient<Tokened> {
        AdminServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn projects(&self) -> ProjectServiceClient<Tokened> {
        ProjectServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn schedules(&self) -> ScheduleServiceClient<Tokened> {
        ScheduleServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn secrets(&self) -> SecretServiceClient<Tokened> {
        SecretServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub fn artifacts(&self) -> ArtifactServiceClient<Tokened> {
        ArtifactServiceClient::with_interceptor(self.channel.clone(), self.token.clone())
    }

    pub async fn put_job(&self, definition: &str) -> Result<()> {
        let definition = definition.to_owned();
        let request = wire::PutJobRequest { definition, update: true, if_version: 0 };
        self.jobs().put_job(request).await?;
        Ok(())
    }

    /// Executes a job under a new id, repeating the very same request until an answer comes.
    pub async fn execute(&self, job: &str, arguments: &[(&str, &str)]) -> Result<RunId> {
        let id = new_run_id();
        self.execute_as(id, job, arguments).await?;
        Ok(id)
    }

    pub async fn execute_as(&self, id: RunId, job: &str, arguments: &[(&str, &str)]) -> Result<()> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = wire::ExecuteRequest {
            id: id.to_vec().into(),
            job: job.to_owned(),
            arguments: arguments.iter().map(owned).collect(),
            ..wire::ExecuteRequest::default()
        };
        let what = format!("an answer to execute {job}");
        wait_until(&what, || async { self.runs().execute(request.clone()).await.map(drop) }).await
    }

    pub async fn run(&self, id: RunId) -> Result<wire::GetRunResponse> {
        let request = wire::GetRunRequest { run: Some(reference(id)) };
        Ok(self.runs().get_run(request).await?.into_inner())
    }

    pub async fn cancel(&self, id: RunId) -> Result<()> {
        let run = Some(reference(id));
        let request = wire::CancelRunRequest { run, ..wire::CancelRunRequest::default() };
        let answer = wait_until("an answer to cancel", || async {
            match self.runs().cancel_run(request.clone()).await {
                Err(status) if is_transient(&status) => Err(status),
                other => Ok(other),
            }
        });
        answer.await?.map(drop).map_err(Into::into)
    }

    /// Waits until the run has ended, and returns how.
    pub async fn outcome(&self, id: RunId) -> Result<outcome::Outcome> {
        wait_until("the run to end", || async {
            let run = self.run(id).await?;
            finished(&run).with_context(|| {
                format!("it is {:?}", run.tasks.iter().map(|task| &task.state).collect::<Vec<_>>())
            })
        })
        .await
    }

    /// Waits until its first task runs, and returns its attempt.
    pub async fn running(&self, id: RunId) -> Result<u32> {
        wait_until("the task to run", || async {
            let run = self.run(id).await?;
            let state = run.tasks.first().and_then(|task| task.state.clone()).and_then(|state| state.state);
            match state {
                Some(task_state::State::Running(running)) => Ok(running.attempt),
                other => anyhow::bail!("it is {other:?}"),
            }
        })
        .await
    }

    /// Reads the whole log of a task's newest attempt: its raw bytes, as they are stored.
    pub async fn log(&self, id: RunId, attempt: u32) -> Result<Vec<u8>> {
        let request =
            wire::ReadLogRequest { run: Some(reference(id)), attempt, ..wire::ReadLogRequest::default() };
        let mut stream = self.runs().read_log(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await? {
            bytes.extend_from_slice(&piece.frames);
        }
        Ok(bytes)
    }

    pub async fn executors(&self) -> Result<Vec<wire::Executor>> {
        let request = wire::ListExecutorsRequest { page_size: 500, ..wire::ListExecutorsRequest::default() };
        Ok(self.admin().list_executors(request).await?.into_inner().executors)
    }

    /// Waits until so many executors are online.
    pub async fn online(&self, count: usize) -> Result<()> {
        use wire::executor_state::State;
        let what = format!("{count} executors online");
        wait_until(&what, || async {
            let all = self.executors().await?;
            let state = |executor: &wire::Executor| executor.state.clone().and_then(|state| state.state);
            let online =
                all.iter().filter(|executor| matches!(state(executor), Some(State::Online(_)))).count();
            anyhow::ensure!(online >= count, "{online} of {} are", all.len());
            Ok(())
        })
        .await
    }
}

pub fn reference(id: RunId) -> wire::RunReference {
    wire::RunReference { reference: Some(wire::run_reference::Reference::Id(id.to_vec().into())) }
}

/// Returns how a run has ended, if it has.
pub fn finished(run: &wire::GetRunResponse) -> Option<outcome::Outcome> {
    match run.run.as_ref()?.state.as_ref()?.state.as_ref()? {
        run_state::State::Finished(outcome) => outcome.outcome.clone(),
        run_state::State::Expanding(_) | run_state::State::Active(_) => None,
    }
}

/// Makes the id of a new run: the time, and chance.
pub fn new_run_id() -> RunId {
    let random = random_secret();
    let random = random[..10].try_into().expect("a secret is longer");
    *ocelot_core::id::RunId::from_parts(SystemClock.wall().0 / 1000, random).as_bytes()
}

/// Tells whether the call may have happened: the very same is asked again.
pub fn is_transient(status: &Status) -> bool {
    use tonic::Code::{Cancelled, DeadlineExceeded, Unavailable, Unknown};
    matches!(status.code(), Unavailable | DeadlineExceeded | Cancelled | Unknown)
}
