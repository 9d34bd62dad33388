//! The service of operators.

use std::sync::Arc;
use std::time::Duration;

use ocelot_core::id::ExecutorId;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::invitation::Invitation;
use ocelot_proto::wire;
use ocelot_proto::wire::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use crate::auth::{self, ApiTokens, NewApiToken, random_secret};
use crate::error::{Error, Kind};
use crate::page;
use crate::records::{ExecutorRecord, SessionRecord};
use crate::service::{Known, NewRegistrationToken, Service};

use super::{convert, invalid, person};

const PAGE: u32 = 100;
const REGISTRATION_USUAL: Duration = Duration::from_secs(15 * 60);
/// The longest time of a token: beyond, a calendar is no help either.
const EXPIRES_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Where the controllers are, as an invitation says it.
#[derive(Debug, Clone)]
pub struct Directory {
    pub url: String,
    /// Of a certificate of our own making, or a given one.
    pub fingerprint: Option<[u8; 32]>,
}

/// Answers for operators.
#[derive(Debug, Clone)]
pub struct Admin {
    service: Arc<Service>,
    tokens: Arc<ApiTokens>,
    clock: Arc<dyn Clock>,
    directory: Directory,
}

impl Admin {
    pub fn new(
        service: Arc<Service>,
        tokens: Arc<ApiTokens>,
        clock: Arc<dyn Clock>,
        directory: Directory,
    ) -> Self {
        Self { service, tokens, clock, directory }
    }

    fn find(&self, executor: Option<wire::ExecutorReference>) -> Result<Known, Status> {
        let text = executor.map(|executor| executor.text).unwrap_or_default();
        if text.is_empty() {
            return Err(invalid("say which executor: its name, or a part of its id"));
        }
        Ok(self.service.find_executor(&text).map_err(Error::from)?)
    }

    async fn shown(&self, id: ExecutorId) -> Result<Option<wire::Executor>, Status> {
        let (record, session) = self.service.executor(id).await.map_err(Error::from)?;
        Ok(Some(self.executor(&record, session.as_ref())))
    }

    fn executor(&self, record: &ExecutorRecord, session: Option<&SessionRecord>) -> wire::Executor {
        let seen = self.service.last_heartbeat(&record.id);
        let seen = seen.or(session.map(|session| session.opened_at));
        let held = session.map(|session| self.service.held_by(session)).unwrap_or_default();
        let machine = &record.machine;
        let runtimes = machine.runtimes.iter().map(|runtime| wire::RuntimeSupport {
            name: runtime.name.clone(),
            version: runtime.version.clone(),
            whole_kill: runtime.whole_kill,
        });
        wire::Executor {
            id: record.id.as_bytes().to_vec().into(),
            name: record.name.clone(),
            labels: self.service.labels_of(record),
            slots: record.slots,
            state: Some(state(record, session)),
            machine: Some(wire::Machine {
                os: machine.os.clone(),
                arch: machine.arch.clone(),
                cpu_millis: machine.cpu_millis,
                memory_bytes: machine.memory_bytes,
                disk_bytes: machine.disk_bytes,
                gpus: machine.gpus,
                runtimes: runtimes.collect(),
            }),
            version: record.version.clone(),
            registered_unix_us: convert::micros(record.registered_at),
            last_seen_unix_us: seen.map_or(0, convert::micros),
            attempts: held.iter().map(convert::attempt_id).collect(),
            disk_free_bytes: 0,
        }
    }
}

fn state(record: &ExecutorRecord, session: Option<&SessionRecord>) -> wire::ExecutorState {
    use wire::executor_state::{Draining, Offline, Online, Quarantined, Refusing, State};
    let state = match (&record.quarantined, &record.draining, session) {
        (Some(notice), _, _) => State::Quarantined(Quarantined { reason: notice.why.clone() }),
        (None, _, None) => State::Offline(Offline {}),
        (None, Some(notice), Some(_)) => {
            State::Draining(Draining { by: notice.by.0.clone(), reason: notice.why.clone() })
        }
        (None, None, Some(session)) => match &session.condition.refusing {
            Some(why) => State::Refusing(Refusing { reason: why.clone() }),
            None => State::Online(Online {}),
        },
    };
    wire::ExecutorState { state: Some(state) }
}

fn api_token(token: &auth::ApiToken) -> wire::ApiToken {
    wire::ApiToken {
        name: token.name.clone(),
        r#for: token.person.clone(),
        created_unix_us: convert::unix_us(token.created_us),
        expires_unix_us: token.expires_us.map_or(0, convert::unix_us),
        last_used_unix_us: token.last_used_us.map_or(0, convert::unix_us),
        prefix: token.values.first().map(|value| value.shown.clone()).unwrap_or_default(),
    }
}

fn expiry(ms: u64) -> Result<Option<Duration>, Status> {
    let time = Duration::from_millis(ms);
    if time > EXPIRES_MAX {
        return Err(invalid("a token is valid for at most ten years; without an end, say 0"));
    }
    Ok(Some(time).filter(|time| !time.is_zero()))
}

#[async_trait::async_trait]
impl AdminService for Admin {
    async fn create_registration_token(
        &self,
        request: Request<wire::CreateRegistrationTokenRequest>,
    ) -> Result<Response<wire::CreateRegistrationTokenResponse>, Status> {
        let by = person(&request)?;
        let wire::CreateRegistrationTokenRequest { labels, uses, expires_in_ms } = request.into_inner();
        let valid_for = expiry(expires_in_ms)?.unwrap_or(REGISTRATION_USUAL);
        if uses > auth::RegistrationTokens::USES_MAX {
            return Err(invalid(format!("a token has at most {} uses", auth::RegistrationTokens::USES_MAX)));
        }
        let new = NewRegistrationToken { labels, uses: uses.max(1), valid_for, by };
        let token = self.service.make_registration_token(new).await.map_err(Error::from)?;
        let mut addresses = vec![self.directory.url.clone()];
        let others = self.service.controllers().into_iter();
        // An invitation has one fingerprint, so only those that show the same certificate are named.
        let alike = others.filter(|other| other.certificate == self.directory.fingerprint);
        addresses.extend(alike.map(|other| other.address));
        addresses.dedup();
        let invitation = Invitation { token, addresses, fingerprint: self.directory.fingerprint };
        let valid_us = u64::try_from(valid_for.as_micros()).unwrap_or(u64::MAX);
        let expires_unix_us = convert::unix_us(self.clock.wall().0.saturating_add(valid_us));
        let token = invitation.to_string();
        Ok(Response::new(wire::CreateRegistrationTokenResponse { token, expires_unix_us }))
    }

    async fn list_executors(
        &self,
        request: Request<wire::ListExecutorsRequest>,
    ) -> Result<Response<wire::ListExecutorsResponse>, Status> {
        person(&request)?;
        let wire::ListExecutorsRequest { labels, page_size, page_token } = request.into_inner();
        let (limit, after) = (page::size(page_size, PAGE)?, page::after(&page_token)?);
        self.service.see_latest().await;
        let is_wanted =
            |record: &ExecutorRecord| labels.iter().all(|label| self.service.has_label(record, label));
        let mut found: Vec<Known> = self.service.executors_by_name(after.as_deref(), limit + 1, is_wanted);
        let more = found.len() > limit;
        found.truncate(limit);
        let next_page_token =
            page::token(found.last().filter(|_| more).map(|(record, _)| record.name.as_str()));
        let executors =
            found.iter().map(|(record, session)| self.executor(record, session.as_ref())).collect();
        Ok(Response::new(wire::ListExecutorsResponse { executors, next_page_token }))
    }

    async fn get_executor(
        &self,
        request: Request<wire::GetExecutorRequest>,
    ) -> Result<Response<wire::GetExecutorResponse>, Status> {
        person(&request)?;
        self.service.see_latest().await;
        let (record, _) = self.find(request.into_inner().executor)?;
        let executor = self.shown(record.id).await?;
        Ok(Response::new(wire::GetExecutorResponse { executor }))
    }

    async fn drain_executor(
        &self,
        request: Request<wire::DrainExecutorRequest>,
    ) -> Result<Response<wire::DrainExecutorResponse>, Status> {
        let by = person(&request)?;
        let wire::DrainExecutorRequest { executor, reason } = request.into_inner();
        self.service.see_latest().await;
        let (record, _) = self.find(executor)?;
        self.service.drain_executor(record.id, &reason, &by).await.map_err(Error::from)?;
        let executor = self.shown(record.id).await?;
        Ok(Response::new(wire::DrainExecutorResponse { executor }))
    }

    async fn resume_executor(
        &self,
        request: Request<wire::ResumeExecutorRequest>,
    ) -> Result<Response<wire::ResumeExecutorResponse>, Status> {
        person(&request)?;
        self.service.see_latest().await;
        let (record, _) = self.find(request.into_inner().executor)?;
        self.service.resume_executor(record.id).await.map_err(Error::from)?;
        let executor = self.shown(record.id).await?;
        Ok(Response::new(wire::ResumeExecutorResponse { executor }))
    }

    async fn quarantine_executor(
        &self,
        request: Request<wire::QuarantineExecutorRequest>,
    ) -> Result<Response<wire::QuarantineExecutorResponse>, Status> {
        let by = person(&request)?;
        let wire::QuarantineExecutorRequest { executor, reason } = request.into_inner();
        self.service.see_latest().await;
        let (record, _) = self.find(executor)?;
        self.service.quarantine_executor(record.id, &reason, &by).await.map_err(Error::from)?;
        let executor = self.shown(record.id).await?;
        Ok(Response::new(wire::QuarantineExecutorResponse { executor }))
    }

    async fn remove_executor(
        &self,
        request: Request<wire::RemoveExecutorRequest>,
    ) -> Result<Response<wire::RemoveExecutorResponse>, Status> {
        person(&request)?;
        let wire::RemoveExecutorRequest { executor, force } = request.into_inner();
        self.service.see_latest().await;
        let (record, session) = self.find(executor)?;
        if let Some(session) = session.filter(|_| !force) {
            let held = self.service.held_by(&session).len();
            let name = &record.name;
            if held > 0 {
                let why = format!("{name} holds {held} attempts; drain it and wait, or force the removal");
                return Err(Error::new(Kind::Rejected, why).into());
            }
            if record.draining.is_none() && record.quarantined.is_none() {
                let why = format!("{name} takes work; drain it first, or force the removal");
                return Err(Error::new(Kind::Rejected, why).into());
            }
        }
        self.service.remove_executor(record.id).await.map_err(Error::from)?;
        Ok(Response::new(wire::RemoveExecutorResponse {}))
    }

    async fn create_api_token(
        &self,
        request: Request<wire::CreateApiTokenRequest>,
    ) -> Result<Response<wire::CreateApiTokenResponse>, Status> {
        let by = person(&request)?;
        let wire::CreateApiTokenRequest { name, r#for, expires_in_ms } = request.into_inner();
        let person = if r#for.is_empty() { by.0 } else { r#for };
        let new = NewApiToken { name, person, expires_in: expiry(expires_in_ms)? };
        let (token, value) = self.tokens.create(new, random_secret()).await.map_err(Error::from)?;
        let value = value.reveal().to_owned();
        Ok(Response::new(wire::CreateApiTokenResponse { token: Some(api_token(&token)), value }))
    }

    async fn list_api_tokens(
        &self,
        request: Request<wire::ListApiTokensRequest>,
    ) -> Result<Response<wire::ListApiTokensResponse>, Status> {
        person(&request)?;
        let wire::ListApiTokensRequest { page_size, page_token } = request.into_inner();
        let (limit, after) = (page::size(page_size, PAGE)?, page::after(&page_token)?);
        let found = self.tokens.list(after.as_deref(), limit).await.map_err(Error::from)?;
        let last = found.last().filter(|_| found.len() == limit).map(|last| last.name.as_str());
        let more = match last {
            Some(last) => !self.tokens.list(Some(last), 1).await.map_err(Error::from)?.is_empty(),
            None => false,
        };
        let next_page_token = page::token(last.filter(|_| more));
        let tokens = found.iter().map(api_token).collect();
        Ok(Response::new(wire::ListApiTokensResponse { tokens, next_page_token }))
    }

    async fn rotate_api_token(
        &self,
        request: Request<wire::RotateApiTokenRequest>,
    ) -> Result<Response<wire::RotateApiTokenResponse>, Status> {
        person(&request)?;
        let wire::RotateApiTokenRequest { name, overlap_ms } = request.into_inner();
        let overlap = expiry(overlap_ms)?.unwrap_or_default();
        let rotated = self.tokens.rotate(&name, overlap, random_secret()).await;
        let (token, value) = rotated.map_err(Error::from)?;
        let value = value.reveal().to_owned();
        Ok(Response::new(wire::RotateApiTokenResponse { token: Some(api_token(&token)), value }))
    }

    async fn revoke_api_token(
        &self,
        request: Request<wire::RevokeApiTokenRequest>,
    ) -> Result<Response<wire::RevokeApiTokenResponse>, Status> {
        person(&request)?;
        self.tokens.revoke(&request.into_inner().name).await.map_err(Error::from)?;
        Ok(Response::new(wire::RevokeApiTokenResponse {}))
    }

    async fn get_fleet(
        &self,
        request: Request<wire::GetFleetRequest>,
    ) -> Result<Response<wire::GetFleetResponse>, Status> {
        person(&request)?;
        let health = self.service.store_health().await.map_err(Error::from)?;
        let epoch = self.service.store_epoch().await.map_err(Error::from)?;
        let load = self.service.load();
        let controllers = self.service.controllers().into_iter().map(|one| wire::Controller {
            address: one.address,
            version: one.version,
            started_unix_us: convert::micros(one.started_at),
        });
        Ok(Response::new(wire::GetFleetResponse {
            controllers: controllers.collect(),
            store: Some(wire::Store {
                description: health.description,
                fullness_permille: (health.fullness.clamp(0.0, 1.0) * 1000.0).round() as u32,
                epoch,
            }),
            executors_online: load.executors_online,
            executors_total: load.executors_total,
            tasks_queued: load.tasks_queued,
            tasks_running: load.tasks_running,
        }))
    }
}
