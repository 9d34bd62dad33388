//! What an attempt finds in its workspace before its first stage, and what is kept of it after the last.
//!
//! Caches only make a task faster: nothing about them ever fails it. An artifact that it needs or that
//! it promised is a part of its work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::abortable;
use ocelot_archive::{Expected, Note, Oddity, Packed, Unpacked};
use ocelot_core::plan::{Artifact, ArtifactWhen, Cache, TaskPlan};
use ocelot_git::Owner;
use ocelot_proto::wire;
use ocelot_proto::wire::held::Phase as WirePhase;
use ocelot_proto::wire::push_object_request::begin;
use tokio::sync::mpsc;

use super::lines::Lines;
use super::stops::{Moved, Stop, of_archive, platform, stop};
use super::{Done, Driver, Shared, pace};
use crate::attempt::state::{Cause, Event};
use crate::attempt::{ArtifactDigest, AttemptId, Failure};
use crate::objects::{
    ARTIFACTS_MAX, Chosen, Failed, Packing, Wanted, bytes, cache_key, clean, fetch, files, fills, needed,
    pack, push, seconds, shown, unpack,
};
use crate::runtime::Tell;

/// Pieces on their way into an archive.
const PIECES_MAX: usize = 4;
/// Oddities of one archive that are told one by one.
const NOTES_MAX: usize = 5;

/// What is known of each cache since the workspace was filled.
#[derive(Debug, Default)]
pub(super) struct Restored(Mutex<BTreeMap<String, State>>);

#[derive(Debug, Clone)]
struct State {
    /// As it was before the first stage: the stages may change the files that it is made of.
    key: String,
    /// There is a state with this very key, so none is to be saved.
    exact: bool,
}

/// All that it takes to move what an attempt needs and keeps.
pub(super) struct Hands {
    shared: Arc<Shared>,
    id: AttemptId,
    plan: Arc<TaskPlan>,
    lines: Arc<Lines>,
    workspace: PathBuf,
    /// Where packed files wait.
    packed: PathBuf,
    restored: Arc<Restored>,
}

impl Driver {
    pub(super) fn hands(&self) -> Hands {
        Hands {
            shared: self.shared.clone(),
            id: self.id,
            plan: self.plan.clone(),
            lines: self.lines.clone(),
            workspace: self.places.workspace(),
            packed: self.places.kept(),
            restored: self.restored.clone(),
        }
    }

    /// Keeps what is to be kept after this end; heartbeats and directives go on meanwhile.
    pub(super) fn collect(&mut self, success: bool) {
        self.show(WirePhase::Finishing);
        self.close_secrets(None);
        let environment = &self.plan.environment;
        if environment.artifacts.is_empty() && (environment.caches.is_empty() || !success) {
            return self.event(Event::Collected(Ok(vec![])));
        }
        let hands = self.hands();
        let (collecting, abort) = abortable(async move { hands.keep(success).await });
        self.collecting = Some(abort);
        self.work(async move {
            match collecting.await {
                Ok(Ok(artifacts)) => Done::Event(Event::Collected(Ok(artifacts))),
                Ok(Err(Stop::Cause(cause))) => Done::Event(Event::Collected(Err(cause))),
                Ok(Err(Stop::Fenced)) => Done::Event(Event::Fenced),
                Err(_aborted) => Done::Nothing,
            }
        });
    }

    pub(super) fn stop_collecting(&mut self) {
        if let Some(collecting) = self.collecting.take() {
            collecting.abort();
        }
    }

    /// Pushes an artifact of the result again, from where it was packed.
    pub(super) fn push_artifact(&mut self, artifact: ArtifactDigest, repeat: u32) {
        let hands = self.hands();
        self.work(async move {
            hands.shared.wait(pace(Duration::from_millis(100), Duration::from_secs(10)), repeat).await;
            let planned = &hands.plan.environment.artifacts;
            let Some(place) = planned.iter().position(|one| one.name == artifact.name) else {
                return Done::Event(Event::PushedAgain);
            };
            match hands.push_artifact(place, &artifact).await {
                Ok(_) => {}
                Err(Failed::Fenced) => return Done::Event(Event::Fenced),
                Err(failed) => {
                    let (attempt, name) = (hands.id, &artifact.name);
                    tracing::error!(%attempt, name, %failed, "an artifact cannot be pushed again yet");
                }
            }
            Done::Event(Event::PushedAgain)
        });
    }
}

impl Hands {
    /// Fills the workspace: what it needs of other tasks, then its caches. A checkout comes before both,
    /// because keys of caches are made of its files.
    pub(super) async fn fill(
        &self,
        owner: impl Future<Output = Result<Option<Owner>, Cause>>,
    ) -> Result<(), Stop> {
        if !fills(&self.plan) {
            return Ok(());
        }
        let environment = &self.plan.environment;
        if environment.artifacts.len() > ARTIFACTS_MAX {
            let why = format!("a task keeps at most {ARTIFACTS_MAX} artifacts");
            return Err(Stop::Cause(Cause::Failed(Failure::Policy { why })));
        }
        let workspace = self.workspace.clone();
        self.blocking(move || clean(&workspace)).await?.map_err(|why| platform(&why))?;
        let owner = owner.await.map_err(Stop::Cause)?;
        if self.plan.needs.iter().any(|need| need.artifacts) {
            self.unpack_needed(owner).await?;
        }
        for cache in &environment.caches {
            self.restore(cache, owner).await?;
        }
        Ok(())
    }

    async fn unpack_needed(&self, owner: Option<Owner>) -> Result<(), Stop> {
        let all =
            needed(&self.shared, self.id).await.map_err(|failed| stop("what the task needs", failed))?;
        for one in all {
            let Some(artifact) = one.artifact else { continue };
            let what = format!("artifact {} of {}", artifact.name, one.task);
            let since = self.shared.clock.monotonic();
            let wanted = Wanted::Artifact { task: artifact.task, name: artifact.name };
            let (_, unpacked) = self.take_in(wanted, owner).await.map_err(|moved| match moved {
                Moved::Failed(failed) => stop(&what, failed),
                Moved::Archive(error) => of_archive(&what, &error),
            })?;
            let (size, took) = (bytes(unpacked.bytes), seconds(self.shared.clock.monotonic() - since));
            self.lines.line(&format!("{what}: {}, {size} unpacked in {took}", files(unpacked.files)));
        }
        Ok(())
    }

    /// Brings a cache back, if there is one that will do.
    async fn restore(&self, cache: &Cache, owner: Option<Owner>) -> Result<(), Stop> {
        let name = &cache.name;
        let Some(key) = self.key_of(cache).await? else { return Ok(()) };
        let since = self.shared.clock.monotonic();
        let taken = self.take_in(Wanted::cache(cache, &key), owner).await;
        let exact = matches!(&taken, Ok((found, _)) if *found == key);
        let line = match taken {
            Ok((found, unpacked)) => {
                let (size, took) = (bytes(unpacked.bytes), seconds(self.shared.clock.monotonic() - since));
                format!("cache {name}: restored {size} from {} in {took}", shown(&found))
            }
            Err(Moved::Failed(Failed::Fenced)) => return Err(Stop::Fenced),
            Err(Moved::Failed(Failed::NotFound(_))) => {
                format!("cache {name}: there is none for {} yet", shown(&key))
            }
            Err(Moved::Failed(failed)) => format!("cache {name}: not restored: {failed}"),
            Err(Moved::Archive(error)) => format!("cache {name}: not restored: {error}"),
        };
        self.lines.line(&line);
        self.restored.note(name, State { key, exact });
        Ok(())
    }

    /// Returns a cache's key; without one the cache is left out, and the log says why.
    async fn key_of(&self, cache: &Cache) -> Result<Option<String>, Stop> {
        let (workspace, own) = (self.workspace.clone(), cache.clone());
        match self.blocking(move || cache_key(&workspace, &own)).await? {
            Ok(key) => Ok(Some(key)),
            Err(why) => {
                self.lines.line(&format!("cache {}: left out: its key cannot be made: {why}", cache.name));
                Ok(None)
            }
        }
    }

    /// Unpacks an object into the workspace while it comes.
    async fn take_in(&self, wanted: Wanted, owner: Option<Owner>) -> Result<(String, Unpacked), Moved> {
        let coming = fetch(&self.shared, self.id, wanted).await.map_err(Moved::Failed)?;
        let expected = Expected { sha256: coming.sha256, size: coming.length };
        let key = coming.key.clone();
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let unpacking = unpack(self.workspace.clone(), owner, expected, receiver);
        let (sent, unpacked) = tokio::join!(coming.send_to(sender), unpacking);
        // Where both failed, the archive only saw that no more came.
        sent.map_err(Moved::Failed)?;
        Ok((key, unpacked.map_err(Moved::Archive)?))
    }

    async fn keep(&self, success: bool) -> Result<Vec<ArtifactDigest>, Stop> {
        let environment = &self.plan.environment;
        let mut kept = Vec::new();
        for (place, artifact) in environment.artifacts.iter().enumerate() {
            let due = match artifact.when {
                ArtifactWhen::Success => success,
                ArtifactWhen::Failure => !success,
                ArtifactWhen::Always => true,
            };
            if due {
                kept.extend(self.keep_artifact(place, artifact).await?);
            }
        }
        if success {
            for (place, cache) in environment.caches.iter().enumerate() {
                self.save(place, cache).await?;
            }
        }
        Ok(kept)
    }

    async fn keep_artifact(&self, place: usize, artifact: &Artifact) -> Result<Option<ArtifactDigest>, Stop> {
        let name = &artifact.name;
        let failed = |failure| Stop::Cause(Cause::Failed(failure));
        let policy = |why: String| failed(Failure::Policy { why: format!("artifact {name}: {why}") });
        let chosen = Chosen::new(&artifact.paths).map_err(policy)?;
        let packed = self.pack(Packing::Artifact(chosen), self.artifact_file(place)).await?;
        let packed = packed.map_err(|failure| match failure {
            Failure::Policy { why } => policy(why),
            failure => failed(failure),
        })?;
        self.tell_notes(&format!("artifact {name}"), &packed);
        if packed.files == 0 {
            let why = format!("nothing matches {}", artifact.paths.join(", "));
            if !artifact.optional {
                return Err(policy(why));
            }
            self.lines.line(&format!("artifact {name}: {why}"));
            return Ok(None);
        }
        let digest = ArtifactDigest {
            name: name.clone(),
            sha256: packed.sha256,
            size_bytes: packed.size,
            files: packed.files,
        };
        let pushed = self.push_artifact(place, &digest).await;
        pushed.map_err(|failed| stop(&format!("artifact {name}"), failed))?;
        self.lines.line(&format!("artifact {name}: {}, {}", files(packed.files), bytes(packed.bytes)));
        Ok(Some(digest))
    }

    async fn push_artifact(&self, place: usize, artifact: &ArtifactDigest) -> Result<bool, Failed> {
        let object = begin::Object::Artifact(artifact.name.clone());
        let file = self.artifact_file(place);
        let what = (artifact.size_bytes, artifact.sha256);
        push(&self.shared, self.id, object, (artifact.files, &file), what).await
    }

    fn artifact_file(&self, place: usize) -> PathBuf {
        self.packed.join(format!("artifact-{place}"))
    }

    /// Saves a cache for the next run. Whatever goes wrong, the task is done.
    async fn save(&self, place: usize, cache: &Cache) -> Result<(), Stop> {
        let name = &cache.name;
        let state = match self.restored.of(name) {
            Some(state) => state,
            // Another process has filled the workspace.
            None => match self.key_of(cache).await? {
                Some(key) => State { key, exact: false },
                None => return Ok(()),
            },
        };
        if state.exact {
            return Ok(());
        }
        let since = self.shared.clock.monotonic();
        let file = self.packed.join(format!("cache-{place}"));
        let line = match self.pack(Packing::cache(cache), file.clone()).await? {
            Err(Failure::Disk { why } | Failure::Policy { why }) => format!("not saved: {why}"),
            Err(failure) => format!("not saved: {failure:?}"),
            Ok(packed) if packed.files == 0 => "nothing to save".to_owned(),
            Ok(packed) => {
                self.tell_notes(&format!("cache {name}"), &packed);
                let key = wire::CacheKey { name: name.clone(), key: state.key.clone() };
                let (object, what) = (begin::Object::Cache(key), (packed.size, packed.sha256));
                match push(&self.shared, self.id, object, (packed.files, &file), what).await {
                    Ok(true) => format!("{} was saved by another run meanwhile", shown(&state.key)),
                    Ok(false) => {
                        let took = seconds(self.shared.clock.monotonic() - since);
                        format!("saved {} as {} in {took}", bytes(packed.bytes), shown(&state.key))
                    }
                    Err(Failed::Fenced) => return Err(Stop::Fenced),
                    Err(failed) => format!("not saved: {failed}"),
                }
            }
        };
        self.lines.line(&format!("cache {name}: {line}"));
        // It goes with the attempt's directory in any case.
        self.blocking(move || drop(std::fs::remove_file(file))).await
    }

    async fn pack(&self, packing: Packing, file: PathBuf) -> Result<Result<Packed, Failure>, Stop> {
        let workspace = self.workspace.clone();
        self.blocking(move || pack(&workspace, &packing, &file)).await
    }

    fn tell_notes(&self, what: &str, packed: &Packed) {
        for note in packed.notes.iter().take(NOTES_MAX) {
            self.lines.line(&format!("{what}: {}", odd(note)));
        }
        let more = packed.notes.len().saturating_sub(NOTES_MAX) as u64 + packed.notes_dropped;
        if more > 0 {
            self.lines.line(&format!("{what}: {more} more paths like these"));
        }
    }

    async fn blocking<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
        tokio::task::spawn_blocking(act).await.map_err(|died| platform(&died.to_string()))
    }
}

impl Restored {
    fn note(&self, cache: &str, state: State) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(cache.to_owned(), state);
    }

    fn of(&self, cache: &str) -> Option<State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(cache).cloned()
    }
}

fn odd(note: &Note) -> String {
    let what = match note.oddity {
        Oddity::Special(_) => "is no file, and left out",
        Oddity::LinkLeadsOut => "is a link that may lead out of the workspace, and left out",
        Oddity::Vanished => "went away meanwhile, and is left out",
        Oddity::Changed => "was written to meanwhile",
    };
    format!("{} {what}", note.path.display())
}
