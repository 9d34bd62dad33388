//! The service of people for what runs kept.

use std::sync::Arc;

use ocelot_core::id::RunId;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use ocelot_proto::wire::artifact_service_server::ArtifactService;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::service::Service;
use crate::service::objects::KeptArtifact;

use super::client::find;
use super::convert::micros;
use super::object::{Sender, Sending};
use super::{Answers, invalid, person};

/// The longest name of a task or an artifact.
const NAME_BYTES_MAX: usize = 4096;

/// Answers for artifacts.
#[derive(Debug, Clone)]
pub struct Artifacts {
    service: Arc<Service>,
    sender: Sender,
}

impl Artifacts {
    pub fn new(service: Arc<Service>, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        let sender = Sender { service: Arc::clone(&service), clock, tasks };
        Self { service, sender }
    }

    async fn find(&self, reference: Option<wire::RunReference>) -> Result<RunId, Status> {
        find(&self.service, reference).await
    }
}

#[tonic::async_trait]
impl ArtifactService for Artifacts {
    async fn list_artifacts(
        &self,
        request: Request<wire::ListArtifactsRequest>,
    ) -> Result<Response<wire::ListArtifactsResponse>, Status> {
        person(&request)?;
        let wire::ListArtifactsRequest { run, task } = request.into_inner();
        let run = self.find(run).await?;
        let all = self.service.artifacts(run).await.map_err(Error::from)?;
        let wanted = all.into_iter().filter(|artifact| task.is_empty() || artifact.record.task == task);
        Ok(Response::new(wire::ListArtifactsResponse { artifacts: wanted.map(artifact).collect() }))
    }

    type GetArtifactStream = Answers<wire::FetchObjectResponse>;

    async fn get_artifact(
        &self,
        request: Request<wire::GetArtifactRequest>,
    ) -> Result<Response<Self::GetArtifactStream>, Status> {
        person(&request)?;
        let wire::GetArtifactRequest { run, task, name, offset } = request.into_inner();
        if task.len().max(name.len()) > NAME_BYTES_MAX {
            return Err(invalid("name: it is too long"));
        }
        let run = self.find(run).await?;
        let kept = self.service.find_artifact(run, &task, &name).await.map_err(Error::from)?;
        Ok(Response::new(self.sender.send(Sending { kept, key: String::new(), offset })?))
    }
}

fn artifact(KeptArtifact { name, record, .. }: KeptArtifact) -> wire::Artifact {
    wire::Artifact {
        task: record.task,
        name,
        size_bytes: record.kept.size_bytes,
        sha256: record.kept.digest.as_bytes().to_vec().into(),
        files: record.files,
        created_unix_us: micros(record.created_at),
        expires_unix_us: record.expires_at.map_or(0, micros),
    }
}
