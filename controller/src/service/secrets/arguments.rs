//! Secret arguments of a run: in one record beside it, which comes and goes with it.

use std::collections::BTreeMap;

use ocelot_core::id::RunId;
use zeroize::{Zeroize, Zeroizing};

use super::super::Service;
use super::super::error::{Error, Result};
use super::not_open;
use crate::records::{BareSecrets, RunSecretsRecord};
use crate::store::codec::{Record, decode, encode, version_of};
use crate::store::keys::Key;
use crate::store::{self, KeyValue, Txn};

/// Values by name, as they were given.
pub(in crate::service) type Values = BTreeMap<String, String>;

impl Service {
    /// Returns the write that keeps a run's secrets, with its acceptance.
    pub(in crate::service) fn keep_secrets(&self, run: RunId, values: &Values) -> Result<Txn> {
        if values.is_empty() {
            return Ok(Txn::new());
        }
        let key = Key::RunSecrets(run).to_string();
        let mut bytes = serde_json::to_vec(values).expect("texts can be written to memory");
        let sealed = self.seal(&key, &bytes);
        bytes.zeroize();
        Ok(Txn::new().put(key, encode(&RunSecretsRecord(sealed?), None)))
    }

    /// Returns the secrets of a run.
    pub(in crate::service) async fn secrets_of(&self, run: RunId) -> Result<Values> {
        let Some(item) = self.read(&Key::RunSecrets(run).to_string()).await? else {
            return Ok(Values::new());
        };
        let opened = self.open_run(run, &item)?;
        serde_json::from_slice(&opened).map_err(|_| {
            Error::Store(store::Error::Corrupt("a run's secrets are not what was sealed".into()))
        })
    }

    /// Opens a run's secrets, in whichever version they are stored.
    pub(super) fn open_run(&self, run: RunId, item: &KeyValue) -> Result<Zeroizing<Vec<u8>>> {
        if version_of(&item.value) == Some(BareSecrets::VERSION) {
            let BareSecrets { nonce, bytes } = decode(&item.value)?;
            return self.seal_keys()?.open_bare(run.as_bytes(), nonce, &bytes).map_err(not_open);
        }
        let RunSecretsRecord(sealed) = decode(&item.value)?;
        self.open(&item.key, &sealed)
    }
}
