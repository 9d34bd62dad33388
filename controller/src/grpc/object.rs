//! An object on its way out: pieces with their head first, for executors and people alike.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use ocelot_proto::wire::fetch_object_response::{Head, Piece};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::{Error, Kind};
use crate::records::Kept;
use crate::service::Service;

use super::{Answers, invalid};

/// Pieces on their way to one reader.
const PIECES_MAX: usize = 4;
/// A reader that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Streams objects.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) service: Arc<Service>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Tasks,
}

/// What is sent, and from where on.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) kept: Kept,
    /// Of a cache.
    pub(super) key: String,
    pub(super) offset: u64,
}

impl Sender {
    pub(super) fn send(&self, sending: Sending) -> Result<Answers<wire::FetchObjectResponse>, Status> {
        if sending.offset > sending.kept.size_bytes {
            return Err(invalid(format!("offset: it has only {} bytes", sending.kept.size_bytes)));
        }
        let (answers, received) = mpsc::channel(PIECES_MAX);
        let own = self.clone();
        self.tasks.spawn("send-object", async move {
            tokio::select! {
                () = own.pieces(sending, &answers) => {}
                () = answers.closed() => {}
                () = own.tasks.draining() => {
                    let leaving = Error::new(Kind::Leaving, "this controller is going away; another one answers");
                    // Whoever is gone needs no reason.
                    drop(answers.try_send(Err(leaving.into())));
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(received)))
    }

    async fn pieces(
        &self,
        Sending { kept, key, mut offset }: Sending,
        answers: &mpsc::Sender<Result<wire::FetchObjectResponse, Status>>,
    ) {
        let sha256 = Bytes::copy_from_slice(kept.digest.as_bytes());
        let head = Piece::Head(Head { length: kept.size_bytes, sha256, key, offset });
        if !self.answer(answers, Ok(head)).await {
            return;
        }
        while offset < kept.size_bytes {
            let piece = self.service.read_object(&kept, offset).await;
            let piece = piece.map_err(|error| Status::from(Error::from(error)));
            offset += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let failed = piece.is_err();
            if !self.answer(answers, piece.map(Piece::Bytes)).await || failed {
                return;
            }
        }
    }

    /// Returns whether it was taken.
    async fn answer(
        &self,
        answers: &mpsc::Sender<Result<wire::FetchObjectResponse, Status>>,
        piece: Result<Piece, Status>,
    ) -> bool {
        let answer = piece.map(|piece| wire::FetchObjectResponse { piece: Some(piece) });
        tokio::select! {
            sent = answers.send(answer) => sent.is_ok(),
            () = self.clock.sleep(PATIENCE) => false,
        }
    }
}
