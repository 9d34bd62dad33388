//! The service of jobs.

use std::sync::Arc;

use ocelot_proto::wire;
use ocelot_proto::wire::job_service_server::JobService;
use ocelot_spec::{Glob, Job};
use tonic::{Request, Response, Status};

use crate::error::{Error, Kind};
use crate::page;
use crate::records::{JobRecord, JobVersion};
use crate::service::{Error as ServiceError, Seen, Service};

use super::{convert, invalid, person};

/// The longest text of a job file.
const DEFINITION_BYTES_MAX: usize = 1024 * 1024;
const PAGE: u32 = 100;
/// Jobs that one call looks at: a pattern may pass over many.
const LOOKED_AT_MAX: usize = 10_000;

/// Answers for jobs.
#[derive(Debug, Clone)]
pub struct Jobs {
    service: Arc<Service>,
}

impl Jobs {
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    /// Returns the version of a job that is stored now, if the text names one that is.
    async fn version_before(&self, text: &str) -> Option<u32> {
        let name = Job::parse("job.yml", text.as_bytes()).ok()?.name;
        Some(self.service.job(&name).await.ok()?.current().version)
    }
}

#[async_trait::async_trait]
impl JobService for Jobs {
    async fn put_job(
        &self,
        request: Request<wire::PutJobRequest>,
    ) -> Result<Response<wire::PutJobResponse>, Status> {
        let by = person(&request)?;
        let wire::PutJobRequest { definition, update, if_version } = request.into_inner();
        if definition.len() > DEFINITION_BYTES_MAX {
            return Err(invalid(format!("a job file has at most {DEFINITION_BYTES_MAX} bytes")));
        }
        let seen = match (if_version, update) {
            (0, true) => Seen::Any,
            (0, false) => Seen::None,
            (version, _) => Seen::Version(u32::try_from(version).unwrap_or(u32::MAX)),
        };
        let before = self.version_before(&definition).await;
        let put =
            self.service.put_job(&definition, &by, seen).await.map_err(|error| match (seen, error) {
                (Seen::Version(version), ServiceError::AlreadyExists { name, .. }) => {
                    Error::new(Kind::Conflict, format!("job {name:?} is not at version {version} any more"))
                }
                (Seen::Version(_) | Seen::None | Seen::Any, error) => error.into(),
            })?;
        let changed = before != Some(put.current().version);
        Ok(Response::new(wire::PutJobResponse { job: Some(shown(&put, put.current())), changed }))
    }

    async fn delete_job(
        &self,
        request: Request<wire::DeleteJobRequest>,
    ) -> Result<Response<wire::DeleteJobResponse>, Status> {
        person(&request)?;
        let name = request.into_inner().name;
        if self.service.delete_job(&name).await.map_err(Error::from)? {
            return Ok(Response::new(wire::DeleteJobResponse {}));
        }
        Err(Error::new(Kind::NotFound, format!("there is no job {name:?}")).into())
    }

    async fn get_job(
        &self,
        request: Request<wire::GetJobRequest>,
    ) -> Result<Response<wire::GetJobResponse>, Status> {
        person(&request)?;
        let wire::GetJobRequest { name, version } = request.into_inner();
        let job = self.service.job(&name).await.map_err(Error::from)?;
        let found = match version {
            0 => job.current(),
            _ => job.versions.iter().find(|one| u64::from(one.version) == version).ok_or_else(|| {
                let why = format!("job {name:?} has no version {version}, or it is not kept any more");
                Status::from(Error::new(Kind::NotFound, why))
            })?,
        };
        Ok(Response::new(wire::GetJobResponse { job: Some(shown(&job, found)) }))
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<wire::ListJobsResponse>, Status> {
        person(&request)?;
        let wire::ListJobsRequest { name, page_size, page_token } = request.into_inner();
        let (limit, mut after) = (page::size(page_size, PAGE)?, page::after(&page_token)?);
        let glob = if name.is_empty() { None } else { Some(Glob::compile(&name).map_err(invalid)?) };
        self.service.see_latest().await;
        let mut jobs: Vec<wire::Job> = Vec::new();
        for _ in 0..LOOKED_AT_MAX / page::MAX as usize {
            let found = self.service.jobs(after.as_deref(), page::MAX as usize);
            for job in &found.jobs {
                if glob.as_ref().is_some_and(|glob| !glob.matches(&job.name)) {
                    continue;
                }
                if jobs.len() == limit {
                    let next_page_token = page::token(jobs.last().map(|job| job.name.as_str()));
                    return Ok(Response::new(wire::ListJobsResponse { jobs, next_page_token }));
                }
                jobs.push(shown(job, job.current()));
            }
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        let next_page_token = page::token(after.as_deref());
        Ok(Response::new(wire::ListJobsResponse { jobs, next_page_token }))
    }

    async fn list_job_versions(
        &self,
        request: Request<wire::ListJobVersionsRequest>,
    ) -> Result<Response<wire::ListJobVersionsResponse>, Status> {
        person(&request)?;
        let wire::ListJobVersionsRequest { name, page_size, page_token } = request.into_inner();
        let limit = page::size(page_size, PAGE)?;
        let before: Option<u32> = page::after_id(&page_token)?;
        let job = self.service.job(&name).await.map_err(Error::from)?;
        let older = job.versions.iter().rev();
        let older = older.filter(|one| before.is_none_or(|before| one.version < before));
        let mut found: Vec<&JobVersion> = older.take(limit + 1).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more).map(|one| one.version.to_string());
        let versions = found.into_iter().map(|one| shown(&job, one)).collect();
        let next_page_token = page::token(last.as_deref());
        Ok(Response::new(wire::ListJobVersionsResponse { versions, next_page_token }))
    }
}

fn shown(job: &JobRecord, version: &JobVersion) -> wire::Job {
    // A text that an older program took and this one does not is shown as it is, without its parts.
    let parsed = Job::parse(&job.name, version.text.as_bytes()).ok();
    let arguments = parsed.iter().flat_map(|job| &job.args).map(|arg| wire::Argument {
        name: arg.name.clone(),
        description: arg.description.clone(),
        required: arg.required,
        default: arg.default.clone(),
        secret: arg.secret,
        choices: arg.choices.clone(),
        pattern: arg.pattern.clone().unwrap_or_default(),
    });
    let arguments = arguments.collect();
    let first = job.versions.iter().find(|one| one.version == 1);
    wire::Job {
        name: job.name.clone(),
        version: version.version.into(),
        definition: version.text.clone(),
        arguments,
        created_unix_us: first.map_or(0, |first| convert::micros(first.at)),
        updated_unix_us: convert::micros(version.at),
        updated_by: version.by.0.clone(),
        description: parsed.as_ref().map(|job| job.description.clone()).unwrap_or_default(),
        authorized_groups: parsed.map(|job| job.authorized_groups).unwrap_or_default(),
    }
}
