//! Secret arguments of runs: sealed in a record of their own, and opened for one session only.
//!
//! Plan, run and task records name them and never hold a value. The key is not in the store: who
//! reads the store alone reads nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::{fs, io};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use ocelot_core::id::RunId;
use ocelot_core::plan::SecretDelivery;
use ocelot_domain::task::state::Session;

use super::error::{Error, Result, What};
use super::{AttemptRef, Service};
use crate::auth::random_secret;
use crate::bytes::files::{self, Access};
use crate::records::RunRecord;
use crate::store::codec::{Record, decode, encode};
use crate::store::keys::Key;
use crate::store::{self, Txn};

/// Values by name, as they were given.
pub(super) type Values = BTreeMap<String, String>;

/// Seals and opens secrets. All controllers of a fleet have the same key.
pub struct SealKey(LessSafeKey);

impl SealKey {
    pub fn new(key: [u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("an AES-256 key has 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Returns the key in a file, which is made with a new one if it is not there. Blocks.
    pub fn ensure(path: &Path) -> io::Result<Self> {
        let read = || -> io::Result<Self> {
            let key = fs::read(path)?;
            let key = <[u8; 32]>::try_from(key).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            Ok(Self::new(key))
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        match files::create(path, &random_secret(), Access::Owner) {
            // Another process was faster: its key counts.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => read(),
        }
    }

    /// Seals for one run: moved to another, it does not open.
    fn seal(&self, run: RunId, nonce: [u8; NONCE_LEN], values: &Values) -> Result<Sealed> {
        let mut bytes = serde_json::to_vec(values).expect("texts can be written to memory");
        let sealed = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(sealed, Aad::from(run.as_bytes()), &mut bytes)
            .map_err(|_| Error::NotNow { why: "the secrets could not be sealed" })?;
        Ok(Sealed { nonce, bytes })
    }

    fn open(&self, run: RunId, Sealed { nonce, mut bytes }: Sealed) -> Result<Values> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let corrupt =
            || Error::Store(store::Error::Corrupt("a run's secrets do not open with this key".into()));
        let opened =
            self.0.open_in_place(nonce, Aad::from(run.as_bytes()), &mut bytes).map_err(|_| corrupt())?;
        serde_json::from_slice(opened).map_err(|_| corrupt())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

/// Secrets of a run as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    nonce: [u8; NONCE_LEN],
    bytes: Vec<u8>,
}

impl Record for Sealed {
    const KIND: &'static str = "sealed";
    const VERSION: u32 = 1;
}

impl Service {
    /// Gives the key that seals secrets; without one, runs with secret arguments are refused. The
    /// first word counts.
    pub fn set_seal(&self, key: SealKey) {
        self.seal.get_or_init(|| key);
    }

    /// Returns the write that keeps a run's secrets, with its acceptance.
    pub(super) fn keep_secrets(&self, run: RunId, values: &Values) -> Result<Txn> {
        let Some(name) = values.keys().next() else { return Ok(Txn::new()) };
        let Some(key) = self.seal.get() else {
            let why = format!("the argument `{name}` is secret, and this controller keeps no secrets");
            return Err(Error::Invalid { why });
        };
        let sealed = key.seal(run, self.random(), values)?;
        Ok(Txn::new().put(secrets_of(run), encode(&sealed, None)))
    }

    /// Returns the secrets of a run.
    pub(super) async fn secrets_of(&self, run: RunId) -> Result<Values> {
        let Some(item) = self.read(&secrets_of(run).to_string()).await? else { return Ok(Values::new()) };
        let key = self.seal.get().ok_or(Error::NotNow { why: "this controller has no key for secrets" })?;
        key.open(run, decode(&item.value)?)
    }

    /// Returns the values of these secrets, to the session of a live, acknowledged attempt whose plan
    /// names them.
    pub async fn fetch_secrets(
        &self,
        session: Session,
        attempt: AttemptRef,
        names: &[String],
    ) -> Result<BTreeMap<String, Bytes>> {
        self.live_now(session, attempt).await?;
        let run = attempt.task.run;
        let item = self.read(&Key::Run(run).to_string()).await?;
        let record: RunRecord = decode(&item.ok_or_else(|| Error::not_found(What::Run, run))?.value)?;
        let plan = self.plan_of(&record).await?;
        let planned = plan.tasks.get(attempt.task.index as usize);
        let uses = planned.map(|task| task.environment.secrets.as_slice()).unwrap_or_default();
        let mut values = self.secrets_of(run).await?;
        let mut found = BTreeMap::new();
        for name in names {
            let is_named = uses
                .iter()
                .any(|one| one.name == *name && matches!(one.delivery, SecretDelivery::Argument(_)));
            let value = values.remove(name).filter(|_| is_named);
            let value =
                value.ok_or_else(|| Error::Conflict { why: format!("there is no secret {name:?}") })?;
            found.insert(name.clone(), Bytes::from(value));
        }
        Ok(found)
    }
}

/// A run has one; names that operators choose have no `/`.
pub(crate) fn secrets_of(run: RunId) -> Key {
    Key::Secret(format!("run/{run}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_in_a_file_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        let run = RunId::from_parts(1, [1; 10]);
        let values = Values::from([("a".to_owned(), "b".to_owned())]);
        let sealed = SealKey::ensure(&path).unwrap().seal(run, [1; NONCE_LEN], &values).unwrap();
        assert_eq!(SealKey::ensure(&path).unwrap().open(run, sealed).unwrap(), values);
        fs::write(&path, b"short").unwrap();
        assert_eq!(SealKey::ensure(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_and_for_its_run_alone() {
        let run = RunId::from_parts(1, [1; 10]);
        let values = Values::from([("password".to_owned(), "hunter2".to_owned())]);
        let sealed = SealKey::new([7; 32]).seal(run, [1; NONCE_LEN], &values).unwrap();
        assert!(!sealed.bytes.windows(7).any(|bytes| bytes == b"hunter2"));
        assert_eq!(SealKey::new([7; 32]).open(run, sealed.clone()).unwrap(), values);
        assert!(SealKey::new([8; 32]).open(run, sealed.clone()).is_err());
        assert!(SealKey::new([7; 32]).open(RunId::from_parts(2, [1; 10]), sealed).is_err());
    }
}
