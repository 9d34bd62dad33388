//! The service of people and scripts: runs, their state, their logs.

use std::sync::Arc;

use ocelot_core::id::{ExecutorId, RunId};
use ocelot_domain::task::state::Timestamp;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use ocelot_proto::wire::run_service_server::RunService;
use ocelot_spec::Glob;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::auth::Identity;
use crate::error::Error;
use crate::page;
use crate::records::{ProgressRecord, Trigger, TriggerKind};
use crate::service::{
    AttemptRef, CancelRequest, ExecuteRequest, RetryRequest, RunFilter, RunWithTasks, Service,
};

use super::convert::{self, Beside};
use super::log::LogReaders;
use super::{Answers, caller, forbidden, invalid, person};

const PAGE: u32 = 50;
/// Executors that one task's reason names.
const EXECUTORS_MAX: usize = 100;
const REASON_BYTES_MAX: usize = 4096;

/// Answers for runs.
#[derive(Debug, Clone)]
pub struct Client {
    service: Arc<Service>,
    logs: LogReaders,
    tasks: Tasks,
}

impl Beside for Client {
    fn executor(&self, id: ExecutorId) -> String {
        self.service.executor_name(id).unwrap_or_default()
    }

    fn log_bytes(&self, attempt: &AttemptRef) -> u64 {
        self.logs.known_bytes(attempt)
    }

    fn progress(&self, attempt: &AttemptRef) -> Option<ProgressRecord> {
        self.service.progress_of(attempt)
    }
}

impl Client {
    pub fn new(service: Arc<Service>, logs: LogReaders, tasks: Tasks) -> Self {
        Self { service, logs, tasks }
    }

    async fn find(&self, reference: Option<wire::RunReference>) -> Result<RunId, Status> {
        find(&self.service, reference).await
    }

    async fn shown(&self, found: &RunWithTasks) -> Result<Vec<wire::Task>, Status> {
        let plan = self.service.plan(&found.run).await.map_err(Error::from)?;
        Ok(convert::tasks(found, &plan, self))
    }

    /// Tells each change of a run until it ends, or nobody listens any more.
    async fn watch(self, id: RunId, answers: mpsc::Sender<Result<wire::WatchRunResponse, Status>>) {
        let told = tokio::select! {
            told = self.tell(id, &answers) => told,
            () = answers.closed() => return,
            () = self.tasks.draining() => Err(stopping()),
        };
        if let Err(status) = told {
            // Whoever is gone needs no reason.
            drop(answers.send(Err(status)).await);
        }
    }

    async fn tell(
        &self,
        id: RunId,
        answers: &mpsc::Sender<Result<wire::WatchRunResponse, Status>>,
    ) -> Result<(), Status> {
        let mut news = self.service.news();
        let mut found = self.service.run(id).await.map_err(Error::from)?;
        let (mut told_run, mut told) = (None, Vec::new());
        loop {
            let tasks = self.shown(&found).await?;
            let run = convert::summary(&found.run, Some(&found.tasks));
            let changed: Vec<wire::Task> =
                tasks.iter().filter(|task| !told.contains(*task)).cloned().collect();
            if told_run.as_ref() != Some(&run) || !changed.is_empty() {
                let answer = wire::WatchRunResponse { run: Some(run.clone()), changed };
                if answers.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
            }
            if found.run.is_finished() {
                return Ok(());
            }
            (told_run, told) = (Some(run), tasks);
            found = self.service.next_sight(id, &mut news).await.map_err(Error::from)?;
        }
    }
}

pub(super) fn stopping() -> Status {
    Error::leaving().into()
}

/// Finds the run that is meant.
pub(super) async fn find(service: &Service, reference: Option<wire::RunReference>) -> Result<RunId, Status> {
    use wire::run_reference::Reference;
    match reference.and_then(|reference| reference.reference) {
        Some(Reference::Id(id)) => convert::run_id(&id),
        Some(Reference::Text(text)) if !text.is_empty() => {
            // What was answered before this call must be found by it.
            service.see_latest().await;
            Ok(service.find_run(&text).map_err(Error::from)?)
        }
        Some(Reference::Text(_)) | None => {
            Err(invalid("say which run: a part of its id, name#number, or a job's name for its last run"))
        }
    }
}

#[async_trait::async_trait]
impl RunService for Client {
    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<wire::ExecuteResponse>, Status> {
        let by = person(&request)?;
        let request = request.into_inner();
        let executed = self.service.execute(ExecuteRequest {
            id: convert::run_id(&request.id)?,
            job: request.job,
            arguments: request.arguments.into_iter().collect(),
            env: request.env.into_iter().collect(),
            trigger: Trigger { kind: TriggerKind::CommandLine, by, schedule: None },
        });
        let executed = executed.await.map_err(Error::from)?;
        let run = Some(convert::summary(&executed.run, None));
        Ok(Response::new(wire::ExecuteResponse { run, existed: executed.existed }))
    }

    async fn get_run(
        &self,
        request: Request<wire::GetRunRequest>,
    ) -> Result<Response<wire::GetRunResponse>, Status> {
        person(&request)?;
        let id = self.find(request.into_inner().run).await?;
        let found = self.service.run(id).await.map_err(Error::from)?;
        let tasks = self.shown(&found).await?;
        let run = Some(convert::summary(&found.run, Some(&found.tasks)));
        Ok(Response::new(wire::GetRunResponse { run, tasks }))
    }

    async fn list_runs(
        &self,
        request: Request<wire::ListRunsRequest>,
    ) -> Result<Response<wire::ListRunsResponse>, Status> {
        person(&request)?;
        let request = request.into_inner();
        let (limit, after) = (page::size(request.page_size, PAGE)?, page::after_id(&request.page_token)?);
        let filter = filter(request)?;
        self.service.see_latest().await;
        let found = self.service.runs(&filter, after, limit);
        let runs = found.runs.iter().map(|run| {
            let sight = self.service.sight_of(run.id);
            convert::summary(run, sight.as_ref().map(|sight| sight.tasks.as_slice()))
        });
        let next_page_token = page::token(found.next.map(|next| next.to_string()).as_deref());
        Ok(Response::new(wire::ListRunsResponse { runs: runs.collect(), next_page_token }))
    }

    type WatchRunStream = Answers<wire::WatchRunResponse>;

    async fn watch_run(
        &self,
        request: Request<wire::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        person(&request)?;
        let id = self.find(request.into_inner().run).await?;
        // Asked before the stream begins, so that a run that is not there is an error of the call.
        self.service.run(id).await.map_err(Error::from)?;
        let (answers, received) = mpsc::channel(4);
        self.tasks.spawn("watch-run", self.clone().watch(id, answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(received))))
    }

    async fn cancel_run(
        &self,
        request: Request<wire::CancelRunRequest>,
    ) -> Result<Response<wire::CancelRunResponse>, Status> {
        let by = person(&request)?;
        let wire::CancelRunRequest { run, force, reason } = request.into_inner();
        if reason.len() > REASON_BYTES_MAX {
            return Err(invalid(format!("a reason has at most {REASON_BYTES_MAX} bytes")));
        }
        let id = self.find(run).await?;
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        self.service.cancel(CancelRequest { run: id, by, reason, force }).await.map_err(Error::from)?;
        let found = self.service.run(id).await.map_err(Error::from)?;
        let run = Some(convert::summary(&found.run, Some(&found.tasks)));
        Ok(Response::new(wire::CancelRunResponse { run }))
    }

    async fn retry_run(
        &self,
        request: Request<wire::RetryRunRequest>,
    ) -> Result<Response<wire::RetryRunResponse>, Status> {
        let by = person(&request)?;
        let wire::RetryRunRequest { run, id, failed_only } = request.into_inner();
        let id = convert::run_id(&id)?;
        let run = self.find(run).await?;
        let retried = self.service.retry(RetryRequest { id, run, failed_only, by }).await;
        let run = Some(convert::summary(&retried.map_err(Error::from)?.run, None));
        Ok(Response::new(wire::RetryRunResponse { run }))
    }

    async fn why(&self, request: Request<wire::WhyRequest>) -> Result<Response<wire::WhyResponse>, Status> {
        person(&request)?;
        let id = self.find(request.into_inner().run).await?;
        let reasons = self.service.why(id).await.map_err(Error::from)?;
        let tasks = reasons.into_iter().map(|reason| wire::TaskReason {
            task: Some(convert::task_id(reason.task)),
            name: reason.name,
            summary: reason.why,
            executors: reason
                .executors
                .into_iter()
                .take(EXECUTORS_MAX)
                .map(|verdict| wire::ExecutorReason {
                    executor: verdict.executor,
                    refusals: verdict.refusals,
                })
                .collect(),
        });
        Ok(Response::new(wire::WhyResponse { tasks: tasks.collect() }))
    }

    type ReadLogStream = Answers<wire::ReadLogResponse>;

    async fn read_log(
        &self,
        request: Request<wire::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let answers = match caller(&request)?.identity {
            Identity::Person { .. } => self.logs.read(request.into_inner()).await?,
            Identity::Controller { .. } => self.logs.read_here(request.into_inner()).await?,
            Identity::Executor { .. } => return Err(forbidden()),
        };
        Ok(Response::new(answers))
    }
}

fn filter(request: wire::ListRunsRequest) -> Result<RunFilter, Status> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let project = some(request.project).map(|glob| Glob::compile(&glob)).transpose().map_err(invalid)?;
    let since = u64::try_from(request.since_unix_us).map_err(|_| invalid("since_unix_us is before 1970"))?;
    Ok(RunFilter {
        job: some(request.job),
        project,
        branch: some(request.branch),
        by: some(request.by).map(ocelot_domain::outcome::Actor),
        group: some(request.group),
        finished: None,
        failed: request.failed,
        // Runs are stamped to the millisecond: one accepted within this one counts.
        since: Some(Timestamp { unix_ms: since / 1000 }).filter(|since| since.unix_ms > 0),
    })
}
