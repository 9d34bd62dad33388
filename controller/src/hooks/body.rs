//! The body of a delivery: read whole, and only so much, so long and so many at a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The most bytes of one delivery. Forges send up to 25 MiB, of which a push of thousands of commits
/// needs a few; what is larger is found by the next look at the repository.
pub(super) const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Of all deliveries that are being read or decided together.
const TOGETHER: usize = 4 * BYTES_MAX;
/// A forge waits ten seconds for the whole of the answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("a delivery has at most {BYTES_MAX} bytes")]
    TooLarge,
    #[error("the delivery came too slowly")]
    TooSlow,
    #[error("there is no room for another delivery just now")]
    NoRoom,
    #[error("the delivery broke off")]
    Broken,
}

impl Unread {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::NoRoom => "noroom",
            Self::Broken => "broken",
        }
    }
}

/// The room that all deliveries share.
#[derive(Debug)]
pub(super) struct Budget(Semaphore);

impl Default for Budget {
    fn default() -> Self {
        Self(Semaphore::new(TOGETHER))
    }
}

/// A body with the room that it takes.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) bytes: Vec<u8>,
    /// Given back when the body is dropped.
    room: Option<SemaphorePermit<'a>>,
}

impl Budget {
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held<'_>, Unread> {
        let told =
            headers.get(header::CONTENT_LENGTH).and_then(|told| told.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|told| told > BYTES_MAX as u64) {
            return Err(Unread::TooLarge);
        }
        let reading = tokio::time::timeout(DEADLINE, self.read_all(body));
        reading.await.map_err(|_| Unread::TooSlow)?
    }

    /// Room is taken for what has come, not for what is announced: who sends nothing takes none.
    async fn read_all(&self, mut body: Body) -> Result<Held<'_>, Unread> {
        let mut held = Held { bytes: Vec::new(), room: None };
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            if held.bytes.len() + piece.len() > BYTES_MAX {
                return Err(Unread::TooLarge);
            }
            let bytes = u32::try_from(piece.len()).map_err(|_| Unread::TooLarge)?;
            let more = self.0.try_acquire_many(bytes).map_err(|_| Unread::NoRoom)?;
            match &mut held.room {
                Some(room) => room.merge(more),
                None => held.room = Some(more),
            }
            held.bytes.extend_from_slice(&piece);
        }
        Ok(held)
    }
}
