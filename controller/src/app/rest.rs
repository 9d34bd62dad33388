//! What the HTTP routes are given: logs from wherever they are, and the numbers of this controller.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use ocelot_proto::wire;
use ocelot_proto::wire::run_reference::Reference;

use crate::error::Error;
use crate::grpc::LogReaders;
use crate::http::{LogPiece, LogPieces, LogSource, LogWanted};
use crate::metrics::{Seen, Sight};
use crate::service::logs::Logs;
use crate::service::{AttemptRef, Service};

/// Reads logs as they are read over gRPC.
#[derive(Debug)]
pub(super) struct Readers(pub(super) LogReaders);

#[async_trait]
impl LogSource for Readers {
    async fn read(&self, wanted: LogWanted) -> Result<LogPieces, Error> {
        let LogWanted { run, task, attempt, offset, follow } = wanted;
        let reference = Some(Reference::Id(run.as_bytes().to_vec().into()));
        let run = Some(wire::RunReference { reference });
        let request = wire::ReadLogRequest { run, task, attempt, offset, follow };
        let answers = self.0.read(request).await?;
        let pieces = answers.map(|answer| {
            let wire::ReadLogResponse { frames, complete, attempt, loss, .. } = answer?;
            Ok(LogPiece { attempt, frames, complete, loss: loss.map(|loss| (loss.at, loss.reason)) })
        });
        Ok(pieces.boxed())
    }

    fn known_bytes(&self, attempt: &AttemptRef) -> u64 {
        self.0.known_bytes(attempt)
    }
}

/// Whatever is looked at when the numbers are read.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) service: Arc<Service>,
    pub(super) logs: Arc<Logs>,
}

impl Sight for Looked {
    fn look(&self) -> Seen {
        Seen { log_bytes: self.logs.received_bytes(), ..self.service.seen() }
    }
}
