//! Targets of notifications in the file of settings. No secret stands in it: it names the file or the
//! variable that holds one.

use std::path::PathBuf;

use serde::Deserialize;
use zeroize::Zeroizing;

/// The longest secret that is read.
const BYTES_MAX: u64 = 8 * 1024;

/// One target: under `notify`, by the name that definitions call it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotifyTarget {
    pub kind: NotifyKind,
    /// The file, or the variable of the environment, that holds the address.
    pub url_file: Option<PathBuf>,
    pub url_env: Option<String>,
    /// The same for the secret that `generic` signs with.
    pub secret_file: Option<PathBuf>,
    pub secret_env: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyKind {
    /// Slack, Mattermost and whatever reads that form.
    Slack,
    /// JSON with a signature.
    Generic,
}

/// Why a target's address or secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NoText {
    #[error("say one of {what}-file and {what}-env")]
    NotOne { what: &'static str },
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} has more than {BYTES_MAX} bytes", path.display())]
    Large { path: PathBuf },
    #[error("the environment has no variable {0}")]
    NoVariable(String),
}

impl NotifyTarget {
    /// Reads the address. Blocks.
    pub fn url(&self) -> Result<Zeroizing<String>, NoText> {
        text("url", self.url_file.as_ref(), self.url_env.as_deref())
    }

    /// Reads the secret. Blocks.
    pub fn secret(&self) -> Result<Zeroizing<String>, NoText> {
        text("secret", self.secret_file.as_ref(), self.secret_env.as_deref())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a config module: the file names the variable")]
fn text(
    what: &'static str,
    file: Option<&PathBuf>,
    variable: Option<&str>,
) -> Result<Zeroizing<String>, NoText> {
    let read = match (file, variable) {
        (Some(path), None) => {
            let unreadable = |source| NoText::Unreadable { path: path.clone(), source };
            if std::fs::metadata(path).map_err(unreadable)?.len() > BYTES_MAX {
                return Err(NoText::Large { path: path.clone() });
            }
            Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?)
        }
        (None, Some(name)) => {
            Zeroizing::new(std::env::var(name).map_err(|_| NoText::NoVariable(name.to_owned()))?)
        }
        (Some(_), Some(_)) | (None, None) => return Err(NoText::NotOne { what }),
    };
    Ok(Zeroizing::new(read.trim().to_owned()))
}
