//! Keys change while everything goes on: what an older key seals is sealed anew, in small
//! transactions that compare, as often and by as many controllers as like.

use zeroize::Zeroizing;

use super::super::Service;
use super::super::error::{Error, Result};
use super::not_open;
use crate::records::{BareSecrets, ProjectRecord, RunSecretsRecord, SealRecord, SecretRecord};
use crate::seal::{KeyId, SealError, SealKeys};
use crate::store::codec::{Record, decode, encode, version_of};
use crate::store::keys::{Folder, Key};
use crate::store::{self, Expected, KeyValue, RangeRequest, Txn, Verdict};

/// Records that are read, and written, at once.
const BATCH: usize = 100;
/// Bytes that one transaction writes.
const BATCH_BYTES: usize = 512 * 1024;
/// What the record that tells the keys holds in its envelope.
const TOLD: &[u8] = b"ocelot";

/// What one pass over all that is sealed did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed with the current key now.
    pub anew: usize,
    /// Changed by others meanwhile: for the next pass.
    pub left: usize,
    /// Sealed with a key that is not here, or not to be opened.
    pub closed: usize,
}

/// Whether the keys are the fleet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealStanding {
    Ours,
    /// The fleet seals with this one, and it is not among these.
    Others(KeyId),
    /// The envelope that tells the keys is not one that any key opens.
    Broken,
}

impl Service {
    /// Returns whether these keys are the fleet's; the first controller's become it.
    pub async fn seal_standing(&self, keys: &SealKeys) -> Result<SealStanding> {
        let key = Key::Seal.to_string();
        if let Some(item) = self.read(&key).await? {
            let SealRecord(sealed) = decode(&item.value)?;
            return Ok(match keys.open(&key, &sealed) {
                Ok(_) => SealStanding::Ours,
                Err(SealError::UnknownKey(id)) => SealStanding::Others(id),
                Err(SealError::DoesNotOpen | SealError::NotSealed) => SealStanding::Broken,
            });
        }
        let told = self.told(keys)?;
        let txn = Txn::new().when(Key::Seal, Expected::Absent).put(Key::Seal, told);
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => Ok(SealStanding::Ours),
            // If the answer was lost, or another came first, the next look finds it.
            Verdict::Refused { .. } => Err(Error::NotNow { why: "another controller came first" }),
        }
    }

    /// Seals with the current key all that an older one seals. Once nothing is left, the fleet's key is
    /// the current one, and the older ones may be forgotten.
    pub async fn reseal_all(&self) -> Result<Resealed> {
        let keys = self.seal_keys()?;
        let mut done = Resealed::default();
        for folder in [Folder::Secrets, Folder::Projects] {
            self.reseal_folder(&keys, folder, &mut done).await?;
        }
        if done.left == 0 && done.closed == 0 {
            self.tell_current(&keys).await?;
        }
        Ok(done)
    }

    async fn reseal_folder(&self, keys: &SealKeys, folder: Folder, done: &mut Resealed) -> Result<()> {
        let mut request = RangeRequest::prefix(folder).limit(BATCH);
        loop {
            let items = self.store.range(request.clone()).await?.items;
            let Some(last) = items.last() else { break };
            // Keys are ASCII: the next one is this with the least letter behind it.
            request.from = format!("{} ", last.key);
            let is_last = items.len() < BATCH;
            self.reseal_page(keys, &items, done).await?;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    async fn reseal_page(&self, keys: &SealKeys, items: &[KeyValue], done: &mut Resealed) -> Result<()> {
        let (mut txn, mut count) = (Txn::new(), 0);
        for item in items {
            let value = match self.resealed(keys, item) {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(key = item.key, %error, "a secret cannot be sealed with the new key");
                    done.closed += 1;
                    continue;
                }
            };
            txn = txn.when(item.key.as_str(), Expected::At(item.mod_revision)).put(item.key.as_str(), value);
            count += 1;
            if txn.size_bytes() > BATCH_BYTES {
                self.commit_resealed(std::mem::take(&mut txn), std::mem::take(&mut count), done).await?;
            }
        }
        if count > 0 {
            self.commit_resealed(txn, count, done).await?;
        }
        Ok(())
    }

    async fn commit_resealed(&self, txn: Txn, count: usize, done: &mut Resealed) -> Result<()> {
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => done.anew += count,
            // One of them was set meanwhile, so all of these wait for the next pass.
            Verdict::Refused { .. } => done.left += count,
        }
        Ok(())
    }

    /// Returns what is stored in place of a record; none if it is sealed with the current key.
    fn resealed(&self, keys: &SealKeys, item: &KeyValue) -> Result<Option<bytes::Bytes>> {
        let fresh = Zeroizing::new(self.random());
        let key: Key = item.key.parse().map_err(|unknown| store::Error::Corrupt(Box::new(unknown)))?;
        if let Key::Project { .. } = key {
            return self.resealed_project(item);
        }
        let Key::RunSecrets(run) = key else {
            let SecretRecord { about, sealed } = decode(&item.value)?;
            let anew = keys.reseal(&item.key, &sealed, &fresh).map_err(not_open)?;
            return Ok(anew.map(|sealed| encode(&SecretRecord { about, sealed }, None)));
        };
        if version_of(&item.value) == Some(BareSecrets::VERSION) {
            let opened = self.open_run(run, item)?;
            let sealed = keys.seal(&item.key, &opened, &fresh).map_err(not_open)?;
            return Ok(Some(encode(&RunSecretsRecord(sealed), None)));
        }
        let RunSecretsRecord(sealed) = decode(&item.value)?;
        let anew = keys.reseal(&item.key, &sealed, &fresh).map_err(not_open)?;
        Ok(anew.map(|sealed| encode(&RunSecretsRecord(sealed), None)))
    }

    /// Returns a project with its webhook's secrets in new envelopes.
    fn resealed_project(&self, item: &KeyValue) -> Result<Option<bytes::Bytes>> {
        let mut project: ProjectRecord = decode(&item.value)?;
        let Some(hook) = &mut project.hook else { return Ok(None) };
        let mut is_anew = false;
        let previous = hook.previous.as_mut().map(|previous| &mut previous.secret);
        for sealed in std::iter::once(&mut hook.current).chain(previous) {
            if let Some(anew) = self.reseal(&item.key, sealed)? {
                *sealed = anew;
                is_anew = true;
            }
        }
        Ok(is_anew.then(|| encode(&project, None)))
    }

    /// Makes the current key the one that a controller must have.
    async fn tell_current(&self, keys: &SealKeys) -> Result<()> {
        let Some(item) = self.read(&Key::Seal.to_string()).await? else { return Ok(()) };
        let SealRecord(sealed) = decode(&item.value)?;
        if sealed.sealed_with() == keys.current() {
            return Ok(());
        }
        let told = self.told(keys)?;
        let txn = Txn::new().when(Key::Seal, Expected::At(item.mod_revision)).put(Key::Seal, told);
        // Whoever came first told the same, or a newer one.
        self.store.commit(txn).await?;
        Ok(())
    }

    fn told(&self, keys: &SealKeys) -> Result<bytes::Bytes> {
        let fresh = Zeroizing::new(self.random());
        let sealed = keys.seal(&Key::Seal.to_string(), TOLD, &fresh).map_err(not_open)?;
        Ok(encode(&SealRecord(sealed), None))
    }
}
