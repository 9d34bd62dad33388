//! What a registration left beside the key: where the controllers are, and how they are known.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::write_synced;

const FILE: &str = "registration.json";

/// Kept in the data directory. A field is only ever added, with a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    pub name: String,
    pub controllers: Vec<String>,
    /// SHA-256 of the controller's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<[u8; 32]>,
    pub labels: Vec<String>,
    pub slots: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error("{path} cannot be read or written", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: register again, with a new data directory", path = path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
}

impl Registration {
    /// Reads what another process wrote; none if nobody registered here. Blocks.
    pub fn read(data: &Path) -> Result<Option<Self>, RegistrationError> {
        let path = data.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RegistrationError::File { path, source }),
        };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|source| RegistrationError::Damaged { path, source })
    }

    /// Blocks.
    pub(super) fn write(&self, data: &Path) -> Result<(), RegistrationError> {
        let path = data.join(FILE);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| RegistrationError::Damaged { path: path.clone(), source })?;
        write_synced(data, &path, &bytes).map_err(|source| RegistrationError::File { path, source })
    }
}
