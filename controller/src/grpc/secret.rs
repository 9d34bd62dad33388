//! The service of secrets. No answer of it holds a value.

use std::sync::Arc;

use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope;
use ocelot_proto::wire::secret_service_server::SecretService;
use tonic::{Request, Response, Status};

use crate::error::{Error, Kind};
use crate::service::{ListedSecret, NewSecret, Service};
use crate::store::keys::SecretScope;

use super::{convert, invalid, page, person};

const PAGE: u32 = 100;

/// Answers for secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    service: Arc<Service>,
}

impl Secrets {
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }
}

#[async_trait::async_trait]
impl SecretService for Secrets {
    async fn set_secret(
        &self,
        request: Request<wire::SetSecretRequest>,
    ) -> Result<Response<wire::SetSecretResponse>, Status> {
        let by = person(&request)?;
        let wire::SetSecretRequest { scope, name, value, allow_short } = request.into_inner();
        let new = NewSecret { scope: scope_of(scope)?, name, value, allow_short };
        let (secret, replaced) = self.service.set_secret(new, &by).await.map_err(Error::from)?;
        Ok(Response::new(wire::SetSecretResponse { secret: Some(shown(secret)), replaced }))
    }

    async fn list_secrets(
        &self,
        request: Request<wire::ListSecretsRequest>,
    ) -> Result<Response<wire::ListSecretsResponse>, Status> {
        person(&request)?;
        let wire::ListSecretsRequest { scope, page_size, page_token } = request.into_inner();
        let scope = scope.map(|scope| scope_of(Some(scope))).transpose()?;
        let (limit, after) = (page::size(page_size, PAGE)?, page::after(&page_token)?);
        self.service.see_latest().await;
        let found = self.service.secrets(scope.as_ref(), after.as_deref(), limit).map_err(Error::from)?;
        let next_page_token = page::token(found.next.as_deref());
        let secrets = found.secrets.into_iter().map(shown).collect();
        Ok(Response::new(wire::ListSecretsResponse { secrets, next_page_token }))
    }

    async fn remove_secret(
        &self,
        request: Request<wire::RemoveSecretRequest>,
    ) -> Result<Response<wire::RemoveSecretResponse>, Status> {
        let by = person(&request)?;
        let wire::RemoveSecretRequest { scope, name } = request.into_inner();
        let scope = scope_of(scope)?;
        if self.service.remove_secret(&scope, &name, &by).await.map_err(Error::from)? {
            return Ok(Response::new(wire::RemoveSecretResponse {}));
        }
        Err(Error::new(Kind::NotFound, format!("there is no secret {name:?} in {scope}")).into())
    }
}

fn scope_of(scope: Option<wire::SecretScope>) -> Result<SecretScope, Status> {
    match scope.and_then(|scope| scope.scope) {
        Some(Scope::Job(job)) => Ok(SecretScope::Job(job)),
        Some(Scope::Organization(name)) => Ok(SecretScope::Organization(name)),
        Some(Scope::Project(text)) => {
            let parts = text.split_once('/').map(|(owner, name)| (owner.to_owned(), name.to_owned()));
            let (owner, name) =
                parts.ok_or_else(|| invalid(format!("scope.project: is owner/name, not {text:?}")))?;
            Ok(SecretScope::Project { owner, name })
        }
        None => Err(invalid("scope: is missing: a job, a project or an organization")),
    }
}

fn shown(secret: ListedSecret) -> wire::Secret {
    let scope = match secret.scope {
        SecretScope::Job(job) => Scope::Job(job),
        SecretScope::Project { owner, name } => Scope::Project(format!("{owner}/{name}")),
        SecretScope::Organization(name) => Scope::Organization(name),
    };
    wire::Secret {
        scope: Some(wire::SecretScope { scope: Some(scope) }),
        name: secret.name,
        created_unix_us: convert::micros(secret.about.created_at),
        updated_unix_us: convert::micros(secret.about.updated_at),
        updated_by: secret.about.updated_by.0,
        used_unix_us: secret.used.as_ref().map_or(0, |used| convert::micros(used.at)),
        used_by: secret.used.map(|used| used.by).unwrap_or_default(),
        short: secret.about.short,
    }
}
