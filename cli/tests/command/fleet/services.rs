//! The services of the fleet that a test scripts.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{Stream, StreamExt, stream};
use ocelot_proto::wire;
use ocelot_proto::wire::admin_service_server::{AdminService, AdminServiceServer};
use ocelot_proto::wire::artifact_service_server::{ArtifactService, ArtifactServiceServer};
use ocelot_proto::wire::fetch_object_response::{Head, Piece};
use ocelot_proto::wire::job_service_server::{JobService, JobServiceServer};
use ocelot_proto::wire::project_service_server::ProjectServiceServer;
use ocelot_proto::wire::run_service_server::{RunService, RunServiceServer};
use ocelot_proto::wire::schedule_service_server::ScheduleServiceServer;
use ocelot_proto::wire::secret_service_server::SecretServiceServer;
use tonic::{Request, Response, Status};

use super::{Change, Script, ago};

#[derive(Debug, Clone)]
pub(super) struct Served(Arc<Mutex<Script>>);

pub(super) type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves on a port of its own until the test ends.
pub(crate) fn serve(script: Arc<Mutex<Script>>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = stream::unfold(listener, async |listener| {
                let accepted = listener.accept().await.map(|(socket, _)| socket);
                Some((accepted, listener))
            });
            let served = Served(script);
            tonic::transport::Server::builder()
                .add_service(RunServiceServer::new(served.clone()))
                .add_service(JobServiceServer::new(served.clone()))
                .add_service(ProjectServiceServer::new(served.clone()))
                .add_service(ArtifactServiceServer::new(served.clone()))
                .add_service(AdminServiceServer::new(served.clone()))
                .add_service(ScheduleServiceServer::new(served.clone()))
                .add_service(SecretServiceServer::new(served))
                .serve_with_incoming(Box::pin(incoming))
                .await
                .unwrap();
        });
    });
    address
}

impl Served {
    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    pub(super) fn asked<T>(
        &self,
        method: &'static str,
        request: &Request<T>,
    ) -> Result<MutexGuard<'_, Script>, Status> {
        let mut script = self.0.lock().unwrap();
        let token = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        script.tokens_seen.push(token);
        match script.refusals.get_mut(method).and_then(std::collections::VecDeque::pop_front) {
            Some(status) => Err(status),
            None => Ok(script),
        }
    }
}

pub(super) fn none(what: &str, name: &str) -> Status {
    Status::not_found(format!("there is no {what} {name:?}"))
}

impl Script {
    fn run(&self, reference: Option<wire::RunReference>) -> Result<wire::RunSummary, Status> {
        use wire::run_reference::Reference;
        let found = match reference.unwrap().reference.unwrap() {
            Reference::Id(id) => self.runs.iter().find(|run| run.id == id),
            Reference::Text(text) if text == "0193" => {
                return Err(Status::invalid_argument("\"0193\" fits more than one run"));
            }
            Reference::Text(text) => self.runs.iter().find(|run| {
                use wire::run_summary::Of;
                let (Of::Job(of) | Of::Project(of)) = run.of.as_ref().unwrap();
                text == format!("{of}#{}", run.number)
            }),
        };
        found.cloned().ok_or_else(|| none("run", "hello#9"))
    }

    fn executor(&self, reference: Option<wire::ExecutorReference>) -> Result<wire::Executor, Status> {
        let name = reference.unwrap().text;
        self.executors.iter().find(|known| known.name == name).cloned().ok_or_else(|| none("executor", &name))
    }
}

#[tonic::async_trait]
impl RunService for Served {
    async fn execute(&self, request: Request<wire::ExecuteRequest>) -> Answer<wire::ExecuteResponse> {
        self.0.lock().unwrap().executes.push(request.get_ref().clone());
        let script = self.asked("execute", &request)?;
        let run = script.runs.first().cloned().unwrap();
        Ok(Response::new(wire::ExecuteResponse { run: Some(run), existed: script.executes.len() > 1 }))
    }

    async fn get_run(&self, request: Request<wire::GetRunRequest>) -> Answer<wire::GetRunResponse> {
        let script = self.asked("get_run", &request)?;
        let run = script.run(request.into_inner().run)?;
        let own = |task: &&wire::Task| task.id.as_ref().is_some_and(|id| id.run == run.id);
        let tasks = script.tasks.iter().filter(own).cloned().collect();
        Ok(Response::new(wire::GetRunResponse { run: Some(run), tasks }))
    }

    async fn list_runs(&self, request: Request<wire::ListRunsRequest>) -> Answer<wire::ListRunsResponse> {
        let mut script = self.asked("list_runs", &request)?;
        let request = request.into_inner();
        let from: usize = request.page_token.parse().unwrap_or(0);
        let runs: Vec<_> = script.runs.iter().skip(from).take(request.page_size as usize).cloned().collect();
        let next = from + runs.len();
        let next_page_token = if next < script.runs.len() { next.to_string() } else { String::new() };
        script.lists.push(request);
        Ok(Response::new(wire::ListRunsResponse { runs, next_page_token }))
    }

    type WatchRunStream = Streamed<wire::WatchRunResponse>;

    async fn watch_run(&self, request: Request<wire::WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        let mut script = self.asked("watch_run", &request)?;
        let changes = match script.watches.len() {
            1 => script.watches[0].clone(),
            _ => script.watches.pop_front().unwrap(),
        };
        let told = stream::iter(changes).then(|change| async {
            match change {
                Change::Tell(told) => Ok(*told),
                Change::Break => Err(Status::unavailable("this controller ends")),
                Change::Hold => std::future::pending().await,
            }
        });
        Ok(Response::new(Box::pin(told)))
    }

    async fn cancel_run(&self, request: Request<wire::CancelRunRequest>) -> Answer<wire::CancelRunResponse> {
        let script = self.asked("cancel_run", &request)?;
        let run = script.run(request.into_inner().run)?;
        Ok(Response::new(wire::CancelRunResponse { run: Some(run) }))
    }

    async fn retry_run(&self, request: Request<wire::RetryRunRequest>) -> Answer<wire::RetryRunResponse> {
        let script = self.asked("retry_run", &request)?;
        let mut run = script.run(request.into_inner().run)?;
        run.number += 1;
        Ok(Response::new(wire::RetryRunResponse { run: Some(run) }))
    }

    async fn why(&self, request: Request<wire::WhyRequest>) -> Answer<wire::WhyResponse> {
        let script = self.asked("why", &request)?;
        Ok(Response::new(wire::WhyResponse { tasks: script.reasons.clone() }))
    }

    type ReadLogStream = Streamed<wire::ReadLogResponse>;

    async fn read_log(&self, request: Request<wire::ReadLogRequest>) -> Answer<Self::ReadLogStream> {
        let mut script = self.asked("read_log", &request)?;
        let request = request.into_inner();
        script.reads.push(request.clone());
        let newest =
            script.logs.keys().filter(|(task, _)| *task == request.task).map(|(_, attempt)| *attempt).max();
        let attempt = if request.attempt == 0 { newest.unwrap_or(0) } else { request.attempt };
        let Some(whole) = script.logs.get(&(request.task, attempt)).cloned() else {
            return Err(Status::not_found("there is no log yet"));
        };
        let open = script.unfinished.contains(&(request.task, attempt));
        let cut = script.cuts.pop_front();
        let end = cut.map_or(whole.len(), |cut| cut as usize);
        let piece_bytes = if script.piece_bytes == 0 { 1024 } else { script.piece_bytes };
        let mut answers = Vec::new();
        let mut at = request.offset as usize;
        while at < end {
            let to = whole_frames_up_to(&whole, at, (at + piece_bytes).min(end));
            let frames = whole[at..to].to_vec().into();
            answers.push(Ok(wire::ReadLogResponse {
                offset: at as u64,
                frames,
                attempt,
                ..Default::default()
            }));
            at = to;
        }
        match (cut, open && request.follow) {
            (Some(_), _) => answers.push(Err(Status::unavailable("this controller ends"))),
            (None, true) => {
                let held = stream::iter(answers).chain(stream::pending());
                return Ok(Response::new(Box::pin(held)));
            }
            (None, false) if open => {}
            (None, false) => {
                let offset = at as u64;
                answers.push(Ok(wire::ReadLogResponse {
                    offset,
                    complete: true,
                    attempt,
                    ..Default::default()
                }));
            }
        }
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }
}

/// Where the first frame ends that reaches `to`.
fn whole_frames_up_to(log: &[u8], from: usize, to: usize) -> usize {
    let mut at = from;
    while at < to {
        let length = u32::from_le_bytes(log[at..at + 4].try_into().unwrap()) as usize;
        at += ocelot_core::frame::HEADER_BYTES + length;
    }
    at
}

#[tonic::async_trait]
impl JobService for Served {
    async fn put_job(&self, request: Request<wire::PutJobRequest>) -> Answer<wire::PutJobResponse> {
        let mut script = self.asked("put_job", &request)?;
        let request = request.into_inner();
        let name =
            request.definition.lines().find_map(|line| line.strip_prefix("name: ")).unwrap().to_owned();
        let known = script.jobs.iter().position(|job| job.name == name);
        let changed = known.is_none_or(|place| script.jobs[place].definition != request.definition);
        let version = known.map_or(1, |place| script.jobs[place].version + u64::from(changed));
        script.puts.push(request);
        let job = wire::Job { name, version, ..wire::Job::default() };
        Ok(Response::new(wire::PutJobResponse { job: Some(job), changed }))
    }

    async fn delete_job(&self, request: Request<wire::DeleteJobRequest>) -> Answer<wire::DeleteJobResponse> {
        let _script = self.asked("delete_job", &request)?;
        Ok(Response::new(wire::DeleteJobResponse {}))
    }

    async fn get_job(&self, request: Request<wire::GetJobRequest>) -> Answer<wire::GetJobResponse> {
        let script = self.asked("get_job", &request)?;
        let name = request.into_inner().name;
        let job = script.jobs.iter().find(|job| job.name == name).cloned();
        Ok(Response::new(wire::GetJobResponse { job: Some(job.ok_or_else(|| none("job", &name))?) }))
    }

    async fn list_jobs(&self, request: Request<wire::ListJobsRequest>) -> Answer<wire::ListJobsResponse> {
        let script = self.asked("list_jobs", &request)?;
        Ok(Response::new(wire::ListJobsResponse { jobs: script.jobs.clone(), ..Default::default() }))
    }

    async fn list_job_versions(
        &self,
        request: Request<wire::ListJobVersionsRequest>,
    ) -> Answer<wire::ListJobVersionsResponse> {
        let script = self.asked("list_job_versions", &request)?;
        Ok(Response::new(wire::ListJobVersionsResponse {
            versions: script.jobs.clone(),
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl AdminService for Served {
    async fn create_registration_token(
        &self,
        request: Request<wire::CreateRegistrationTokenRequest>,
    ) -> Answer<wire::CreateRegistrationTokenResponse> {
        let _script = self.asked("create_registration_token", &request)?;
        let expires = request.into_inner().expires_in_ms as i64 * 1_000 + 30_000_000;
        let token = "ocelot_reg_abc".to_owned();
        let expires_unix_us = ago(super::Duration::ZERO) + expires;
        Ok(Response::new(wire::CreateRegistrationTokenResponse { token, expires_unix_us }))
    }

    async fn list_executors(
        &self,
        request: Request<wire::ListExecutorsRequest>,
    ) -> Answer<wire::ListExecutorsResponse> {
        let script = self.asked("list_executors", &request)?;
        let executors = script.executors.clone();
        Ok(Response::new(wire::ListExecutorsResponse { executors, ..Default::default() }))
    }

    async fn get_executor(
        &self,
        request: Request<wire::GetExecutorRequest>,
    ) -> Answer<wire::GetExecutorResponse> {
        let mut script = self.asked("get_executor", &request)?;
        let executor = script.executor(request.into_inner().executor)?;
        // Whoever waits for a drain sees its end on the next look.
        script.executors.iter_mut().for_each(|known| known.attempts.clear());
        Ok(Response::new(wire::GetExecutorResponse { executor: Some(executor) }))
    }

    async fn drain_executor(
        &self,
        request: Request<wire::DrainExecutorRequest>,
    ) -> Answer<wire::DrainExecutorResponse> {
        let script = self.asked("drain_executor", &request)?;
        let executor = Some(script.executor(request.into_inner().executor)?);
        Ok(Response::new(wire::DrainExecutorResponse { executor }))
    }

    async fn resume_executor(
        &self,
        request: Request<wire::ResumeExecutorRequest>,
    ) -> Answer<wire::ResumeExecutorResponse> {
        let script = self.asked("resume_executor", &request)?;
        let executor = Some(script.executor(request.into_inner().executor)?);
        Ok(Response::new(wire::ResumeExecutorResponse { executor }))
    }

    async fn quarantine_executor(
        &self,
        request: Request<wire::QuarantineExecutorRequest>,
    ) -> Answer<wire::QuarantineExecutorResponse> {
        let script = self.asked("quarantine_executor", &request)?;
        let executor = Some(script.executor(request.into_inner().executor)?);
        Ok(Response::new(wire::QuarantineExecutorResponse { executor }))
    }

    async fn remove_executor(
        &self,
        request: Request<wire::RemoveExecutorRequest>,
    ) -> Answer<wire::RemoveExecutorResponse> {
        let _script = self.asked("remove_executor", &request)?;
        Ok(Response::new(wire::RemoveExecutorResponse {}))
    }

    async fn create_api_token(
        &self,
        request: Request<wire::CreateApiTokenRequest>,
    ) -> Answer<wire::CreateApiTokenResponse> {
        let script = self.asked("create_api_token", &request)?;
        let token = script.tokens.first().cloned();
        Ok(Response::new(wire::CreateApiTokenResponse { token, value: "ocelot_api_secret".into() }))
    }

    async fn list_api_tokens(
        &self,
        request: Request<wire::ListApiTokensRequest>,
    ) -> Answer<wire::ListApiTokensResponse> {
        let script = self.asked("list_api_tokens", &request)?;
        let tokens = script.tokens.clone();
        Ok(Response::new(wire::ListApiTokensResponse { tokens, ..Default::default() }))
    }

    async fn rotate_api_token(
        &self,
        request: Request<wire::RotateApiTokenRequest>,
    ) -> Answer<wire::RotateApiTokenResponse> {
        let script = self.asked("rotate_api_token", &request)?;
        let token = script.tokens.first().cloned();
        Ok(Response::new(wire::RotateApiTokenResponse { token, value: "ocelot_api_newer".into() }))
    }

    async fn revoke_api_token(
        &self,
        request: Request<wire::RevokeApiTokenRequest>,
    ) -> Answer<wire::RevokeApiTokenResponse> {
        let _script = self.asked("revoke_api_token", &request)?;
        Ok(Response::new(wire::RevokeApiTokenResponse {}))
    }

    async fn get_fleet(&self, request: Request<wire::GetFleetRequest>) -> Answer<wire::GetFleetResponse> {
        let _script = self.asked("get_fleet", &request)?;
        let controller = wire::Controller {
            address: "10.0.0.1:7070".into(),
            version: "0.1.0".into(),
            started_unix_us: ago(super::MINUTE),
        };
        let store = wire::Store { description: "embedded".into(), fullness_permille: 12, epoch: 1 };
        Ok(Response::new(wire::GetFleetResponse {
            controllers: vec![controller],
            store: Some(store),
            executors_online: 1,
            executors_total: 2,
            tasks_queued: 3,
            tasks_running: 4,
        }))
    }
}

#[tonic::async_trait]
impl ArtifactService for Served {
    async fn list_artifacts(
        &self,
        request: Request<wire::ListArtifactsRequest>,
    ) -> Answer<wire::ListArtifactsResponse> {
        let script = self.asked("list_artifacts", &request)?;
        let task = request.into_inner().task;
        let known = script.artifacts.iter().map(|(artifact, _)| artifact);
        let artifacts = known.filter(|artifact| task.is_empty() || artifact.task == task).cloned();
        Ok(Response::new(wire::ListArtifactsResponse { artifacts: artifacts.collect() }))
    }

    type GetArtifactStream = Streamed<wire::FetchObjectResponse>;

    async fn get_artifact(
        &self,
        request: Request<wire::GetArtifactRequest>,
    ) -> Answer<Self::GetArtifactStream> {
        let mut script = self.asked("get_artifact", &request)?;
        let wire::GetArtifactRequest { task, name, offset, .. } = request.into_inner();
        script.artifact_offsets.push(offset);
        let found = script.artifacts.iter().find(|(known, _)| known.name == name && known.task == task);
        let (known, bytes) = found.cloned().ok_or_else(|| none("artifact", &name))?;
        let cut = script.cuts.pop_front();
        let head = Head { length: bytes.len() as u64, sha256: known.sha256, key: String::new(), offset };
        let rest = &bytes[offset as usize..];
        let rest = &rest[..cut.map_or(rest.len(), |cut| cut as usize).min(rest.len())];
        let mut answers = vec![Ok(Piece::Head(head))];
        answers.extend(rest.chunks(100).map(|piece| Ok(Piece::Bytes(piece.to_vec().into()))));
        if cut.is_some() {
            answers.push(Err(Status::unavailable("this controller ends")));
        }
        let answer = |piece: Result<Piece, Status>| Ok(wire::FetchObjectResponse { piece: Some(piece?) });
        Ok(Response::new(Box::pin(stream::iter(answers.into_iter().map(answer)))))
    }
}
