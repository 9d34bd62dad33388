//! Secrets of the fleet that a test scripts.

use ocelot_proto::wire;
use ocelot_proto::wire::secret_service_server::SecretService;
use tonic::{Request, Response};

use super::services::{Answer, Served, none};
use super::{MINUTE, ago};

#[tonic::async_trait]
impl SecretService for Served {
    async fn set_secret(&self, request: Request<wire::SetSecretRequest>) -> Answer<wire::SetSecretResponse> {
        let mut script = self.asked("set_secret", &request)?;
        let asked = request.into_inner();
        let secret = wire::Secret {
            scope: asked.scope.clone(),
            name: asked.name.clone(),
            created_unix_us: ago(MINUTE),
            updated_unix_us: ago(MINUTE),
            updated_by: "ada".into(),
            short: asked.value.len() < 8,
            ..wire::Secret::default()
        };
        let is_same = |one: &wire::Secret| one.scope == secret.scope && one.name == secret.name;
        let replaced = script.secrets.iter().any(is_same);
        script.sets.push(asked);
        Ok(Response::new(wire::SetSecretResponse { secret: Some(secret), replaced }))
    }

    async fn list_secrets(
        &self,
        request: Request<wire::ListSecretsRequest>,
    ) -> Answer<wire::ListSecretsResponse> {
        let script = self.asked("list_secrets", &request)?;
        let of = request.into_inner().scope;
        let within = script.secrets.iter().filter(|one| of.is_none() || one.scope == of);
        let secrets = within.cloned().collect();
        Ok(Response::new(wire::ListSecretsResponse { secrets, next_page_token: String::new() }))
    }

    async fn remove_secret(
        &self,
        request: Request<wire::RemoveSecretRequest>,
    ) -> Answer<wire::RemoveSecretResponse> {
        let script = self.asked("remove_secret", &request)?;
        let asked = request.into_inner();
        if script.secrets.iter().any(|one| one.scope == asked.scope && one.name == asked.name) {
            return Ok(Response::new(wire::RemoveSecretResponse {}));
        }
        Err(none("secret", &asked.name))
    }
}
