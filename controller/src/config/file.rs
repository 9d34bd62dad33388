//! The file of settings.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ocelot_git::AllowedScheme;
use serde::Deserialize;

use super::{LogFormat, NotifyTarget};

/// The longest file that is read.
const BYTES_MAX: u64 = 64 * 1024;

/// Every setting that a file may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct File {
    pub data: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub store: Option<String>,
    pub store_ca: Option<PathBuf>,
    pub store_cert: Option<PathBuf>,
    pub store_key: Option<PathBuf>,
    pub store_server_name: Option<String>,
    pub store_user: Option<String>,
    pub store_password_file: Option<PathBuf>,
    pub logs: Option<PathBuf>,
    pub advertise: Option<String>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub name: Option<String>,
    pub seal_key_file: Option<PathBuf>,
    pub seal_key_command: Option<String>,
    pub git_allow: Option<Vec<AllowedScheme>>,
    pub cache_gib: Option<u64>,
    pub project_cache_gib: Option<u64>,
    pub metrics_open: Option<bool>,
    pub allow_egress: Option<Vec<String>>,
    pub egress_ca: Option<PathBuf>,
    pub forge_api: Option<Vec<String>>,
    pub first_token_file: Option<PathBuf>,
    pub notify: BTreeMap<String, NotifyTarget>,
    pub log_format: Option<LogFormat>,
    pub log: Option<String>,
}

/// Why a file of settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFile {
    #[error("the settings {} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the settings {} are not right:\n{why}", path.display())]
    Wrong { path: PathBuf, why: String },
}

impl File {
    /// Reads the file. Blocks.
    pub fn read(path: &Path) -> Result<Self, InvalidFile> {
        let unreadable = |source| InvalidFile::Unreadable { path: path.to_owned(), source };
        let wrong = |why: String| InvalidFile::Wrong { path: path.to_owned(), why };
        if std::fs::metadata(path).map_err(unreadable)?.len() > BYTES_MAX {
            return Err(wrong(format!("they have at most {BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text).map_err(wrong)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }
}
