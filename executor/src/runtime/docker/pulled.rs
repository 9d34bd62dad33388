//! Which images this executor pulled, and when each was last used.
//!
//! Only these may ever be taken away: what is not in this record was there before, or was brought by
//! somebody else. A record that is lost therefore costs room, and never an image of others. It is
//! written with each pull; uses are written now and then, since only their order counts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocelot_proto::kit::clock::{Clock, SystemClock, UnixMicros};
use serde::{Deserialize, Serialize};

use crate::identity::write_synced;

const FILE: &str = "images.json";
/// More images than one machine pulls; the one used longest ago is forgotten then, and so stays.
const IMAGES_MAX: usize = 4096;

/// The record of one data directory.
#[derive(Debug)]
pub(super) struct Pulled {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<String, PulledImage>,
    unsaved: bool,
}

/// An image that was pulled here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PulledImage {
    pub(super) name: String,
    #[serde(rename = "last_used_us", with = "micros")]
    pub(super) last_used: UnixMicros,
}

mod micros {
    use ocelot_proto::kit::clock::UnixMicros;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &UnixMicros, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(at.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixMicros, D::Error> {
        u64::deserialize(from).map(UnixMicros)
    }
}

impl Pulled {
    /// Opens the record. One that cannot be read says nothing: no image counts as ours then. Blocks.
    pub(super) fn open(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let read = fs::read(&path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
        let images = match read {
            Ok(images) => images,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "which images were pulled here is not known any more: they stay");
                BTreeMap::new()
            }
        };
        let state = State { images, unsaved: false };
        Self { directory: directory.to_owned(), state: Mutex::new(state) }
    }

    /// Notes an image that was not there before this executor pulled it.
    pub(super) async fn note(&self, id: &str, name: &str) {
        {
            let mut state = self.state();
            let pulled = PulledImage { name: name.to_owned(), last_used: SystemClock.wall() };
            state.images.insert(id.to_owned(), pulled);
            while state.images.len() > IMAGES_MAX {
                let oldest = state.images.iter().min_by_key(|(_, image)| image.last_used);
                let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
                state.images.remove(&oldest);
            }
            state.unsaved = true;
        }
        self.save().await;
    }

    /// Notes a use, if the image is ours.
    pub(super) fn use_now(&self, id: &str) {
        let mut state = self.state();
        if let Some(image) = state.images.get_mut(id) {
            image.last_used = SystemClock.wall();
            state.unsaved = true;
        }
    }

    pub(super) fn forget(&self, id: &str) {
        let mut state = self.state();
        state.unsaved |= state.images.remove(id).is_some();
    }

    pub(super) fn all(&self) -> BTreeMap<String, PulledImage> {
        self.state().images.clone()
    }

    /// Writes what is not written yet. A disk without room is tried again the next time.
    pub(super) async fn save(&self) {
        let images = {
            let mut state = self.state();
            if !std::mem::take(&mut state.unsaved) {
                return;
            }
            state.images.clone()
        };
        let directory = self.directory.clone();
        let written = tokio::task::spawn_blocking(move || {
            let bytes = serde_json::to_vec_pretty(&images)?;
            write_synced(&directory, &directory.join(FILE), &bytes)
        });
        if let Err(error) = written.await.map_err(io::Error::other).and_then(|written| written) {
            tracing::warn!(%error, "which images were pulled here is not written down yet");
            self.state().unsaved = true;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_pulled_is_known_to_the_next_process_and_what_was_only_used_is_not_ours() {
        let data = tempfile::tempdir().unwrap();
        let pulled = Pulled::open(data.path());
        pulled.note("sha256:1", "a:1").await;
        pulled.note("sha256:2", "b:1").await;
        pulled.use_now("sha256:3");
        pulled.forget("sha256:2");
        pulled.save().await;
        let found = Pulled::open(data.path()).all();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["sha256:1"]);
        assert_eq!(found, pulled.all());
        let before = found["sha256:1"].last_used;
        pulled.use_now("sha256:1");
        assert!(pulled.all()["sha256:1"].last_used >= before);
    }

    #[test]
    fn a_record_that_cannot_be_read_makes_nothing_ours() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), "not a record").unwrap();
        assert_eq!(Pulled::open(data.path()).all(), BTreeMap::new());
    }
}
