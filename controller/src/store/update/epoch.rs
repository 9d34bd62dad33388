//! The store's epoch: a number that a restore from backup raises, so that nothing from before counts.

use serde::{Deserialize, Serialize};

use ocelot_core::id::Epoch;

use super::{Edit, UpdateError, Updated, Updater};
use crate::store::codec::Record;
use crate::store::error::{Error, Result};
use crate::store::keys::Key;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct StoredEpoch(Epoch);

impl Record for StoredEpoch {
    const KIND: &'static str = "epoch";
    const VERSION: u32 = 1;
}

impl Updater {
    /// Returns the store's epoch, and makes it the first if there is none yet.
    pub async fn epoch(&self) -> Result<Epoch> {
        self.set_epoch(|current| current.unwrap_or(Epoch(1))).await
    }

    /// Raises the store's epoch: whatever was handed out before no longer counts.
    pub async fn raise_epoch(&self) -> Result<Epoch> {
        self.set_epoch(|current| Epoch(current.map_or(1, |epoch| epoch.0 + 1))).await
    }

    async fn set_epoch(&self, next: impl Fn(Option<Epoch>) -> Epoch + Send) -> Result<Epoch> {
        let mut chosen = Epoch::default();
        let key = Key::Epoch.to_string();
        let updated = self.update(&key, |current: Option<StoredEpoch>| {
            let current = current.map(|StoredEpoch(epoch)| epoch);
            chosen = next(current);
            let edit = if current == Some(chosen) { Edit::Keep } else { Edit::Put(StoredEpoch(chosen)) };
            Ok::<_, std::convert::Infallible>(edit)
        });
        match updated.await {
            Ok(Updated::Written(_) | Updated::Kept(_)) => Ok(chosen),
            Err(UpdateError::Rejected(never)) => match never {},
            Err(UpdateError::Store(error)) => Err(error),
            Err(error @ (UpdateError::Beside { .. } | UpdateError::Contended { .. })) => {
                Err(Error::Unavailable(Box::new(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::assert_stored_shape;

    #[test]
    fn the_stored_epoch_is_the_one_on_file() {
        assert_stored_shape(&StoredEpoch(Epoch(7)), "epoch.v1");
    }
}
