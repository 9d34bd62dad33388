//! The calls for objects: repeated through any break, and never for ever.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use ocelot_core::plan::Cache;
use ocelot_proto::kit::backoff::Policy;
use ocelot_proto::wire;
use ocelot_proto::wire::fetch_object_request::Object as WireWanted;
use ocelot_proto::wire::fetch_object_response::Piece;
use ocelot_proto::wire::push_object_request::{self as pushing, Begin, End, begin};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::PIECE_BYTES;
use super::pack::cache_prefix;
use crate::attempt::AttemptId;
use crate::attempt::driver::Shared;
use crate::connection::CallError;

/// A call that is answered at once.
const CALL: Duration = Duration::from_secs(15);
/// Without a piece for so long, a stream is begun anew.
const SILENCE: Duration = Duration::from_secs(60);
/// A push may take so long, and a second more for each MiB.
const PUSH_LEAST: Duration = Duration::from_secs(120);
/// Tries of one thing without any progress: some ten minutes.
const TRIES_MAX: u32 = 64;

/// Why an object was not moved.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the attempt is not ours any more")]
    Fenced,
    #[error("{0}")]
    NotFound(String),
    /// The controllers have no room for it.
    #[error("{0}")]
    NoRoom(String),
    #[error("{0}")]
    Refused(String),
    /// It was tried long enough.
    #[error("no controller took it: {0}")]
    Unreached(String),
    /// A file of this machine.
    #[error("{0}")]
    Disk(String),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Artifact { task: u32, name: String },
    Cache { name: String, key: String, fallback: bool, prefix: String },
}

impl Wanted {
    pub(crate) fn cache(cache: &Cache, key: &str) -> Self {
        let (name, key, prefix) = (cache.name.clone(), key.to_owned(), cache_prefix(cache));
        Self::Cache { name, key, fallback: cache.fallback, prefix }
    }

    fn to_wire(&self) -> WireWanted {
        match self {
            Self::Artifact { task, name } => {
                WireWanted::Artifact(wire::NeededArtifact { task: *task, name: name.clone() })
            }
            Self::Cache { name, key, fallback, prefix } => {
                let cache = Some(wire::CacheKey { name: name.clone(), key: key.clone() });
                WireWanted::Cache(wire::WantedCache { cache, fallback: *fallback, prefix: prefix.clone() })
            }
        }
    }
}

/// One try after another, with a pause between them.
struct Tries {
    failures: u32,
    most: u32,
}

impl Tries {
    /// What a task can do without is not waited for so long.
    fn of(wanted: &Wanted) -> Self {
        let most = match wanted {
            Wanted::Artifact { .. } => TRIES_MAX,
            Wanted::Cache { .. } => 5,
        };
        Self { failures: 0, most }
    }

    /// Takes a failure: what asking again may mend is paused for, all else is the caller's.
    async fn after(&mut self, shared: &Shared, failed: Result<CallError, Failed>) -> Result<(), Failed> {
        let why = match failed {
            Err(failed) => return Err(failed),
            Ok(CallError::Fenced) => return Err(Failed::Fenced),
            Ok(CallError::Refused(why)) => return Err(Failed::Refused(why)),
            Ok(CallError::Unauthenticated(why)) => {
                if *shared.live.borrow() {
                    shared.reopen.notify_one();
                }
                why
            }
            Ok(CallError::Unknown(why)) => why,
        };
        self.failures += 1;
        if self.failures >= self.most {
            return Err(Failed::Unreached(why));
        }
        let pace = Policy::new(Duration::from_millis(100), Duration::from_secs(10), 0.5)
            .expect("the first wait is not longer than the longest");
        shared.clock.sleep(pace.wait(self.failures, shared.random())).await;
        Ok(())
    }
}

/// Returns what a status means to a transfer.
fn judged(shared: &Shared, at: &crate::connection::Spoken, status: &Status) -> Result<CallError, Failed> {
    match status.code() {
        Code::NotFound => Err(Failed::NotFound(status.message().to_owned())),
        Code::ResourceExhausted => Err(Failed::NoRoom(status.message().to_owned())),
        _ => Ok(shared.line.failed(at, status)),
    }
}

fn silent(shared: &Shared, at: &crate::connection::Spoken, within: Duration) -> Result<CallError, Failed> {
    Ok(shared.line.failed(at, &Status::deadline_exceeded(format!("none within {within:?}"))))
}

/// Lists what the needed tasks kept.
pub(crate) async fn needed(
    shared: &Shared,
    id: AttemptId,
) -> Result<Vec<wire::list_needed_response::Needed>, Failed> {
    let mut tries = Tries { failures: 0, most: TRIES_MAX };
    loop {
        let (mut client, at) = shared.line.objects();
        let request = shared.line.request(wire::ListNeededRequest { attempt: Some(id.to_wire()) });
        let failed = match tokio::time::timeout(CALL, client.list_needed(request)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner().needed),
            Ok(Err(status)) => judged(shared, &at, &status),
            Err(_) => silent(shared, &at, CALL),
        };
        tries.after(shared, failed).await?;
    }
}

/// What comes, told before its bytes.
#[derive(Debug)]
pub(crate) struct Coming<'a> {
    shared: &'a Shared,
    id: AttemptId,
    wanted: Wanted,
    at: crate::connection::Spoken,
    stream: Streaming<wire::FetchObjectResponse>,
    pub(crate) length: u64,
    pub(crate) sha256: [u8; 32],
    /// Of a cache: the key that it was kept under.
    pub(crate) key: String,
}

/// Asks for an object.
pub(crate) async fn fetch(shared: &Shared, id: AttemptId, wanted: Wanted) -> Result<Coming<'_>, Failed> {
    let mut tries = Tries::of(&wanted);
    loop {
        match open(shared, id, &wanted, None).await {
            Ok(coming) => return Ok(coming),
            Err(failed) => tries.after(shared, failed).await?,
        }
    }
}

async fn open<'a>(
    shared: &'a Shared,
    id: AttemptId,
    wanted: &Wanted,
    from: Option<(u64, [u8; 32])>,
) -> Result<Coming<'a>, Result<CallError, Failed>> {
    let (mut client, at) = shared.line.objects();
    let request = shared.line.request(wire::FetchObjectRequest {
        attempt: Some(id.to_wire()),
        object: Some(wanted.to_wire()),
        offset: from.map_or(0, |(offset, _)| offset),
        sha256: from.map_or_else(Bytes::new, |(_, sha256)| sha256.to_vec().into()),
    });
    let opened = async {
        let mut stream = client.fetch_object(request).await?.into_inner();
        let first = stream.message().await?;
        Ok::<_, Status>((stream, first))
    };
    let (stream, first) = match tokio::time::timeout(CALL, opened).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(judged(shared, &at, &status)),
        Err(_) => return Err(silent(shared, &at, CALL)),
    };
    let Some(Piece::Head(head)) = first.and_then(|first| first.piece) else {
        return Err(Err(Failed::Refused("the controller sent an object without its head".to_owned())));
    };
    let sha256 = head.sha256.as_ref().try_into();
    let Ok(sha256) = sha256.map_err(drop).and_then(|sha256: [u8; 32]| match from {
        Some(from) if from != (head.offset, sha256) => Err(()),
        Some(_) | None => Ok(sha256),
    }) else {
        return Err(Err(Failed::Refused("the controller went on with another object".to_owned())));
    };
    let (wanted, length, key) = (wanted.clone(), head.length, head.key);
    Ok(Coming { shared, id, wanted, at, stream, length, sha256, key })
}

impl Coming<'_> {
    /// Sends its bytes on, through any break, until all have come or nobody takes them.
    pub(crate) async fn send_to(mut self, pieces: mpsc::Sender<Bytes>) -> Result<(), Failed> {
        let mut tries = Tries::of(&self.wanted);
        let mut offset = 0;
        while offset < self.length {
            let failed = match tokio::time::timeout(SILENCE, self.stream.message()).await {
                Ok(Ok(Some(wire::FetchObjectResponse { piece: Some(Piece::Bytes(bytes)) }))) => {
                    (offset, tries.failures) = (offset + bytes.len() as u64, 0);
                    // Whoever takes nothing more has said why.
                    if pieces.send(bytes).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(Ok(Some(_))) => {
                    Err(Failed::Refused("the controller sent no bytes of the object".to_owned()))
                }
                Ok(Ok(None)) => silent(self.shared, &self.at, SILENCE),
                Ok(Err(status)) => judged(self.shared, &self.at, &status),
                Err(_) => silent(self.shared, &self.at, SILENCE),
            };
            let mut failed = failed;
            loop {
                tries.after(self.shared, failed).await?;
                match open(self.shared, self.id, &self.wanted, Some((offset, self.sha256))).await {
                    Ok(again) => {
                        (self.stream, self.at) = (again.stream, again.at);
                        break;
                    }
                    Err(again) => failed = again,
                }
            }
        }
        Ok(())
    }
}

/// Keeps a packed file; a push that breaks is made anew. Returns whether it was there already.
pub(crate) async fn push(
    shared: &Shared,
    id: AttemptId,
    object: begin::Object,
    (files, file): (u64, &Path),
    (length, sha256): (u64, [u8; 32]),
) -> Result<bool, Failed> {
    let most = match &object {
        begin::Object::Artifact(_) => TRIES_MAX,
        begin::Object::Cache(_) => 5,
    };
    let mut tries = Tries { failures: 0, most };
    let within = PUSH_LEAST + Duration::from_secs(length >> 20);
    loop {
        let begin = Begin { attempt: Some(id.to_wire()), object: Some(object.clone()), files };
        let end = End { length, sha256: sha256.to_vec().into() };
        let pieces = pieces(begin, file.to_owned(), end).await?;
        let (mut client, at) = shared.line.objects();
        let request = shared.line.request(pieces);
        let failed = match tokio::time::timeout(within, client.push_object(request)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner().existed),
            Ok(Err(status)) => judged(shared, &at, &status),
            Err(_) => silent(shared, &at, within),
        };
        tries.after(shared, failed).await?;
    }
}

/// What of a push comes next.
enum Next {
    Begin(Begin, End),
    Bytes(End),
    Nothing,
}

/// Reads a file as the messages of a push. A file that cannot be read on ends it before its end.
async fn pieces(
    begin: Begin,
    path: PathBuf,
    end: End,
) -> Result<impl Stream<Item = wire::PushObjectRequest> + Send + 'static, Failed> {
    let gone = |error: std::io::Error| Failed::Disk(format!("a packed file cannot be read: {error}"));
    let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
    let file = opened.unwrap_or_else(|died| Err(std::io::Error::other(died))).map_err(gone)?;
    let piece = |piece| wire::PushObjectRequest { piece: Some(piece) };
    Ok(futures_util::stream::unfold((file, Next::Begin(begin, end)), move |(mut file, next)| async move {
        match next {
            Next::Begin(begin, end) => Some((piece(pushing::Piece::Begin(begin)), (file, Next::Bytes(end)))),
            Next::Bytes(end) => {
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = Vec::with_capacity(PIECE_BYTES);
                    let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut bytes);
                    read.map(|_| (file, bytes))
                });
                let (file, bytes) = read.await.ok()?.ok()?;
                if bytes.is_empty() {
                    return Some((piece(pushing::Piece::End(end)), (file, Next::Nothing)));
                }
                Some((piece(pushing::Piece::Bytes(bytes.into())), (file, Next::Bytes(end))))
            }
            Next::Nothing => None,
        }
    }))
}
