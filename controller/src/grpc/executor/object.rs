//! Objects of attempts: pieces in and out, and nothing decided.

use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use ocelot_proto::wire::fetch_object_request::Object as Wanted;
use ocelot_proto::wire::object_service_server::{ObjectService, ObjectServiceServer};
use ocelot_proto::wire::push_object_request::{Begin, Piece, begin::Object};
use tonic::{Request, Response, Status, Streaming};

use crate::error::{Error, Kind};
use crate::grpc::object::{Sender, Sending};
use crate::records::Digest;
use crate::server::MESSAGE_BYTES_MAX;
use crate::service::Service;
use crate::service::objects::{Incoming, Pushed, WantedCache};

use super::{Answer, decode, leaving, session, status};
use crate::grpc::Answers;

/// Whoever sends nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes and gives what attempts keep and need.
#[derive(Debug, Clone)]
pub struct ObjectCalls {
    service: Arc<Service>,
    sender: Sender,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

impl ObjectCalls {
    pub fn new(service: Arc<Service>, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        let (own, its, theirs) = (Arc::clone(&service), Arc::clone(&clock), tasks.clone());
        let sender = Sender { service: own, clock: its, tasks: theirs };
        Self { service, sender, clock, tasks }
    }

    /// Returns what answers the calls.
    pub fn into_server(self) -> ObjectServiceServer<Self> {
        ObjectServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Waits for the next piece, and not for ever.
    async fn next(&self, pieces: &mut Streaming<wire::PushObjectRequest>) -> Result<Piece, Status> {
        let piece = tokio::select! {
            piece = pieces.message() => piece?,
            () = self.clock.sleep(PATIENCE) => {
                return Err(Error::new(Kind::Unavailable, "nothing came for too long").into());
            }
            () = self.tasks.draining() => return Err(leaving()),
        };
        let piece = piece.ok_or_else(|| decode::invalid("end", "the stream ended before it"))?.piece;
        decode::need("piece", piece)
    }
}

#[tonic::async_trait]
impl ObjectService for ObjectCalls {
    async fn push_object(
        &self,
        request: Request<Streaming<wire::PushObjectRequest>>,
    ) -> Answer<wire::PushObjectResponse> {
        let session = session(&request)?;
        let mut pieces = request.into_inner();
        let Piece::Begin(begin) = self.next(&mut pieces).await? else {
            return Err(decode::invalid("piece", "the first one begins"));
        };
        let Begin { attempt, object, files } = begin;
        let attempt = decode::attempt(attempt)?;
        let what = match decode::need("begin.object", object)? {
            Object::Artifact(name) => Pushed::Artifact(decode::word("begin.artifact", name)?),
            Object::Cache(cache) => {
                let (name, key) = decode::cache_key("begin.cache", Some(cache))?;
                Pushed::Cache { name, key }
            }
        };
        let begun = self.service.begin_push(session, attempt, what, files).await;
        let mut incoming: Incoming = begun.map_err(status)?;
        loop {
            match self.next(&mut pieces).await? {
                Piece::Begin(_) => return Err(decode::invalid("piece", "it has begun already")),
                Piece::Bytes(bytes) => {
                    self.service.push_piece(&mut incoming, bytes).await.map_err(status)?;
                }
                Piece::End(end) => {
                    let claimed = decode::kept("end", end.length, &end.sha256)?;
                    let existed = self.service.end_push(incoming, claimed).await.map_err(status)?;
                    return Ok(Response::new(wire::PushObjectResponse { existed }));
                }
            }
        }
    }

    async fn list_needed(
        &self,
        request: Request<wire::ListNeededRequest>,
    ) -> Answer<wire::ListNeededResponse> {
        let session = session(&request)?;
        let attempt = decode::attempt(request.into_inner().attempt)?;
        let needed = self.service.needed(session, attempt).await.map_err(status)?;
        let needed = needed.into_iter().map(|artifact| wire::list_needed_response::Needed {
            artifact: Some(wire::NeededArtifact { task: artifact.index, name: artifact.name }),
            task: artifact.record.task,
            size_bytes: artifact.record.kept.size_bytes,
            sha256: artifact.record.kept.digest.as_bytes().to_vec().into(),
            files: artifact.record.files,
        });
        Ok(Response::new(wire::ListNeededResponse { needed: needed.collect() }))
    }

    type FetchObjectStream = Answers<wire::FetchObjectResponse>;

    async fn fetch_object(
        &self,
        request: Request<wire::FetchObjectRequest>,
    ) -> Answer<Self::FetchObjectStream> {
        let session = session(&request)?;
        let wire::FetchObjectRequest { attempt, object, offset, sha256 } = request.into_inner();
        let attempt = decode::attempt(attempt)?;
        let (kept, key) = match decode::need("object", object)? {
            Wanted::Artifact(wire::NeededArtifact { task, name }) => {
                let name = decode::word("artifact.name", name)?;
                let found = self.service.find_needed(session, attempt, (task, &name)).await;
                (found.map_err(status)?, String::new())
            }
            Wanted::Cache(wire::WantedCache { cache, fallback, prefix }) => {
                let (name, key) = decode::cache_key("cache", cache)?;
                let prefix = decode::text("prefix", prefix)?;
                let wanted = WantedCache { name, key, fallback: fallback.then_some(prefix) };
                let found = self.service.find_cache(session, attempt, &wanted).await.map_err(status)?;
                (found.kept, found.key)
            }
        };
        // A better state of a cache may have come meanwhile: then there is nothing to go on with.
        let is_it = offset == 0 || Digest::from_bytes(decode::bytes("sha256", &sha256)?) == kept.digest;
        if !is_it {
            let why = "the object is another one by now; begin anew";
            return Err(Error::new(Kind::Rejected, why).into());
        }
        Ok(Response::new(self.sender.send(Sending { kept, key, offset })?))
    }
}
