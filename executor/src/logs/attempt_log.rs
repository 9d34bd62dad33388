//! The handle of one attempt's log.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ocelot_core::frame::Offset;
use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::telemetry::chain;
use tokio::sync::oneshot;

use super::kept::{Added, Kept};
use super::maker::{Maker, UnknownMaker};
use super::news::NewsSender;
use super::place::{Place, followed, note_followed, spool_in};
use super::pump::Pump;
use super::shared::{Sealed, Shared};
use super::spool::{Limits, Spool, SpoolError, Tail};
use crate::attempt::{AttemptId, LogLoss};
use crate::disk::Disk;
use crate::mask::{MaskSet, Masker, Refused};
use crate::runtime::Tell;

/// How logs are kept on this machine.
#[derive(Debug, Clone)]
pub struct LogSettings {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
    /// A directory that a reboot empties: mask sets are kept there. Without one, beside the log.
    pub memory: Option<PathBuf>,
    /// After so many bytes of a capture it is made sure that they can be deleted there.
    pub checkpoint_bytes: u64,
    /// The same for fewer bytes, after so long.
    pub checkpoint_every: Duration,
}

impl LogSettings {
    pub fn new(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, memory: Option<PathBuf>) -> Self {
        Self {
            disk,
            clock,
            limits: Limits::default(),
            memory,
            checkpoint_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(1),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Checkpoint(#[from] UnknownMaker),
    #[error("the values to mask cannot be masked")]
    Masks(#[from] Refused),
    #[error("cannot {doing}")]
    Io { doing: &'static str, source: io::Error },
    /// Its capture was being read: it is to be recovered.
    #[error("the log was begun before")]
    Begun,
    #[error("the log is not kept any more")]
    Over,
}

/// The log of one attempt. Cheap to clone; with the last one its work here ends, and another process
/// can go on with it.
#[derive(Clone)]
pub struct AttemptLog {
    held: Arc<Held>,
}

struct Held {
    shared: Arc<Shared>,
    directory: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.publish(|standing| standing.over = true);
        self.shared.order(|orders| orders.left = true);
    }
}

impl AttemptLog {
    /// Begins the log of an attempt that has nothing captured yet, in a directory that is there.
    pub async fn create(
        settings: &LogSettings,
        id: AttemptId,
        directory: &Path,
        masks: MaskSet,
        news: NewsSender,
    ) -> Result<Self, LogError> {
        let place = Place { settings: settings.clone(), id, directory: directory.to_owned(), news };
        blocking(move || Self::create_now(place, masks)).await
    }

    /// Does what can be done for a log before its attempt comes.
    pub async fn make_ready(settings: &LogSettings, directory: &Path) -> Result<(), LogError> {
        let (spool, disk) = (spool_in(directory), Arc::clone(&settings.disk));
        blocking(move || Ok(Spool::make_ready(&spool, disk.as_ref())?)).await
    }

    /// Goes on with the log that another process left, and with its capture. What cannot be gone on
    /// with is a log with a loss.
    pub async fn recover(
        settings: &LogSettings,
        id: AttemptId,
        directory: &Path,
        news: NewsSender,
    ) -> Result<Self, LogError> {
        let place = Place { settings: settings.clone(), id, directory: directory.to_owned(), news };
        blocking(move || Self::recover_now(place)).await
    }

    fn create_now(place: Place, masks: MaskSet) -> Result<Self, LogError> {
        let spool = place.spool();
        let (limits, disk) = (place.settings.limits, Arc::clone(&place.settings.disk));
        let ready = Spool::take_ready(&spool, limits, Arc::clone(&disk))?;
        let spool = if let Some(ready) = ready.filter(|_| followed(&place.directory).is_none()) {
            ready
        } else if spool.exists() {
            // Only lines of ours can be in it, and no one has more of them than its last checkpoint.
            let left = Spool::open(&spool, limits, disk, Tail::Cut)?;
            let maker = left.maker.as_deref().map(Maker::read).transpose()?;
            let begun = |maker: &Maker| maker.masker.as_ref().is_some_and(|masker| masker.raw > Offset(0));
            if maker.as_ref().is_some_and(begun) || followed(&place.directory).is_some() {
                return Err(LogError::Begun);
            }
            match maker.filter(|maker| maker.loss.is_some()) {
                Some(lost) => return Self::start(Pump::new(place, left.spool, lost, None)),
                // One that was ended before anything ran goes on too.
                None => left.spool,
            }
        } else {
            Spool::create(&spool, limits, disk)?
        };
        let kept = place.kept();
        let written = kept.write(&masks, masks.len());
        written.map_err(|source| LogError::Io { doing: "keep what is to be masked", source })?;
        let masker = Masker::new(masks)?;
        Self::start(Pump::new(place, spool, Maker::new(), Some(masker)))
    }

    fn recover_now(place: Place) -> Result<Self, LogError> {
        let spool = place.spool();
        let (limits, disk) = (place.settings.limits, Arc::clone(&place.settings.disk));
        let masks = place.kept().read();
        let tail = if masks.is_ok() { Tail::Cut } else { Tail::KeepFrames };
        let opened = match spool.exists() {
            true => Spool::open(&spool, limits, Arc::clone(&disk), tail),
            false => Err(SpoolError::Damaged { path: spool.clone(), why: "it is gone".to_owned() }),
        };
        let (spool, maker) = match opened {
            Ok(left) => (left.spool, left.maker.as_deref().map(Maker::read).transpose()?),
            Err(damaged @ SpoolError::Damaged { .. }) => {
                let why = damaged.to_string();
                tracing::error!(attempt = %place.id, "the log of {} is lost: {why}", place.id);
                Spool::remove(&spool)?;
                let lost = Maker { loss: Some(LogLoss { at: Offset(0), why }), ..Maker::new() };
                (Spool::create(&spool, limits, disk)?, Some(lost))
            }
            Err(error) => return Err(error.into()),
        };
        let (maker, masker) = resumed(place.id, maker, masks, spool.log_end().length);
        Self::start(Pump::new(place, spool, maker, masker))
    }

    fn start(pump: Pump) -> Result<Self, LogError> {
        let (shared, directory) = (pump.shared(), pump.directory());
        let thread = std::thread::Builder::new().name("log".to_owned());
        let started = thread.spawn(move || pump.run());
        started.map_err(|source| LogError::Io { doing: "start a thread", source })?;
        Ok(Self { held: Arc::new(Held { shared, directory }) })
    }

    pub fn id(&self) -> AttemptId {
        self.shared().id
    }

    /// Begins to read the capture in this control directory. Another process goes on there by itself.
    ///
    /// Writes one small file before it returns: a capture that is known here is known to the next
    /// process.
    pub fn follow(&self, control: &Path) {
        if let Err(error) = note_followed(&self.held.directory, control) {
            // The next process is told by its owner, if the container still runs.
            tracing::warn!(attempt = %self.id(), %error, "the place of a capture could not be noted");
        }
        self.shared().order(|orders| orders.follow = Some(control.to_owned()));
    }

    /// Notes that the supervisor captured up to here.
    pub fn captured(&self, end: Offset) {
        self.shared().order(|orders| orders.captured = orders.captured.max(end));
    }

    /// Begins to read the capture of a service in this control directory, or goes on where the last
    /// checkpoint was. The next process is told anew.
    pub fn follow_service(&self, service: u16, control: &Path) {
        self.shared().order(|orders| orders.follow_services.push((service, control.to_owned())));
    }

    /// Notes that a service's supervisor captured up to here.
    pub fn service_captured(&self, service: u16, end: Offset) {
        self.shared().order(|orders| {
            let known = orders.services_captured.entry(service).or_default();
            *known = end.max(*known);
        });
    }

    /// Ends the log with what is in the capture now, synced. Repeating it gives the same answer.
    pub async fn seal(&self) -> Result<Sealed, LogError> {
        let (answer, sealed) = oneshot::channel();
        self.shared().order(|orders| orders.seal.push(answer));
        sealed.await.unwrap_or(Err(LogError::Over))
    }

    /// Returns the end of the spool.
    pub fn end(&self) -> Offset {
        self.shared().look(|standing| standing.end)
    }

    /// Notes how far a controller says that the log is safe.
    pub fn safe(&self, received: Offset, durable: Offset) {
        self.shared().safe(received, durable);
    }

    /// Notes that a controller misses the log from here on. What it never said to have is on its way.
    pub fn missing(&self, from: Offset) {
        if from < self.shared().received() {
            self.shared().send_from(from);
        }
    }

    /// Takes away everything that is kept of the log. Nothing more is sent.
    pub async fn drop_spool(&self) {
        let (answer, dropped) = oneshot::channel();
        self.shared().publish(|standing| standing.over = true);
        self.shared().order(|orders| orders.drop.push(answer));
        // A pump that is gone has nothing to drop any more, or left it to the next process.
        drop(dropped.await);
    }

    /// Takes away what another process left of a log, without opening it. Repeating it is harmless.
    pub async fn remove(settings: &LogSettings, id: AttemptId, directory: &Path) {
        let kept = Kept::new(settings.memory.as_deref(), directory, id);
        let spool = spool_in(directory);
        let removed = blocking(move || {
            Spool::remove(&spool)?;
            kept.remove().map_err(|source| LogError::Io { doing: "forget what was masked", source })
        });
        if let Err(error) = removed.await {
            tracing::error!(attempt = %id, error = %chain(&error), "a log could not be taken away");
        }
    }

    /// Returns how much of it a controller said to have.
    pub fn received(&self) -> Offset {
        self.shared().received()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.held.shared
    }
}

impl Tell for AttemptLog {
    fn line(&self, text: &str) {
        self.shared().line(text);
    }
}

impl fmt::Debug for AttemptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttemptLog({}, {} bytes)", self.id(), self.end())
    }
}

/// Decides how a log is gone on with: with a masker, or as one that ends here.
fn resumed(
    id: AttemptId,
    maker: Option<Maker>,
    masks: Result<(MaskSet, Added), String>,
    end: Offset,
) -> (Maker, Option<Masker>) {
    let mut maker = maker.unwrap_or_else(Maker::new);
    if maker.sealed || maker.loss.is_some() {
        return (maker, None);
    }
    let masker = masks.and_then(|(set, mut added)| {
        let Some(checkpoint) = &maker.masker else { return Masker::new(set).map_err(|why| why.to_string()) };
        // What was added behind the checkpoint is found in the capture again.
        added.truncate(checkpoint.added.len());
        Masker::restore(set, &added, checkpoint).map_err(|why| why.to_string())
    });
    match masker {
        Ok(masker) => (maker, Some(masker)),
        Err(why) => {
            tracing::error!(attempt = %id, why, "the log of {id} ends at byte {end}: {why}");
            maker.loss = Some(LogLoss { at: end, why });
            (maker, None)
        }
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|died| Err(LogError::Io { doing: "finish a thread", source: io::Error::other(died) }))
}
