//! The file of contexts: whole or not at all, and nobody else's to read, for it holds tokens.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Trust, Url};
use crate::error::{Error, Result};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The context that is used when nothing else says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One fleet, and how to talk to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) servers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

/// Far more than anybody configures.
const BYTES_MAX: u64 = 1024 * 1024;

impl File {
    /// Reads the file; one that is not there is an empty one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let unreadable = |source| Error::Unreadable { file: path.to_owned(), source };
        let text = match fs::metadata(path) {
            Ok(about) if about.len() > BYTES_MAX => Err(unreadable(io::ErrorKind::FileTooLarge.into()))?,
            Ok(_) => fs::read_to_string(path).map_err(unreadable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
        };
        serde_yaml::from_str(&text).map_err(|error| Error::Configuration {
            what: format!("{} is not understood: {error}", path.display()),
            hint: format!(
                "mend that line, or move the file away and begin anew: mv {0} {0}.old",
                path.display()
            ),
        })
    }

    /// Writes the file in one step.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_yaml::to_string(self)
            .map_err(|error| Error::Unwritable { file: path.to_owned(), source: io::Error::other(error) })?;
        replace(path, text.as_bytes()).map_err(|source| Error::Unwritable { file: path.to_owned(), source })
    }
}

/// Puts a file that its owner alone can read in the place of the old one, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    // A link stays a link: people keep their configuration elsewhere.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(path)?;
    Ok(())
}

impl Context {
    pub(crate) fn urls(&self) -> std::result::Result<Vec<Url>, String> {
        let urls = self.servers.iter().map(|server| {
            server.parse().map_err(|why: String| format!("{server:?} is not an address: {why}"))
        });
        urls.collect()
    }

    pub(crate) fn trust(&self) -> std::result::Result<Trust, String> {
        match (&self.fingerprint, &self.ca) {
            (Some(text), _) => match Trust::fingerprint(text) {
                Some(bytes) => Ok(Trust::Fingerprint(bytes)),
                None => Err(format!("{text:?} is not a fingerprint")),
            },
            (None, Some(file)) => Ok(Trust::Authorities(file.clone())),
            (None, None) => Ok(Trust::System),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_as_it_was_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/ocelot/config.yaml");
        assert_eq!(File::read(&path).unwrap(), File::default());
        let context = Context {
            servers: vec!["https://ci.example.com:7070".into()],
            fingerprint: Some(Trust::show_fingerprint(&[7; 32])),
            ca: None,
            token: Some("ocelot_api_: # \"quoted\"\n".into()),
        };
        let file = File { current: Some("ci".into()), contexts: [("ci".to_owned(), context)].into() };
        file.write(&path).unwrap();
        assert_eq!(File::read(&path).unwrap(), file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, link) = (folder.path().join("kept.yaml"), folder.path().join("config.yaml"));
        fs::write(&kept, "").unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        replace(&link, b"contexts: {}\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&kept).unwrap(), b"contexts: {}\n");
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "contexts: {a: {servers: [h], tokn: x}}\n").unwrap();
        assert!(File::read(&path).unwrap_err().to_string().contains("tokn"));
    }
}
