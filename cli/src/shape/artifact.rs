//! Artifacts.

use std::path::PathBuf;

use ocelot_proto::wire;
use serde::Serialize;

use crate::show::precise;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Artifact {
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) files: u64,
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    pub(crate) created: Option<String>,
    pub(crate) expires: Option<String>,
}

/// An artifact that was fetched, and where it is now.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fetched {
    #[serde(flatten)]
    pub(crate) artifact: Artifact,
    /// The folder that it was unpacked into.
    pub(crate) folder: Option<PathBuf>,
    /// The file that its packed bytes are in.
    pub(crate) file: Option<PathBuf>,
}

impl From<&wire::Artifact> for Artifact {
    fn from(artifact: &wire::Artifact) -> Self {
        Self {
            task: artifact.task.clone(),
            name: artifact.name.clone(),
            files: artifact.files,
            size_bytes: artifact.size_bytes,
            sha256: artifact.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            created: precise(artifact.created_unix_us),
            expires: precise(artifact.expires_unix_us),
        }
    }
}
