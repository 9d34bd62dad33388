//! The directory of one attempt: what was offered, the control directory, the workspace, the spool.
//!
//! What was offered is written beside the journal's first entry and synced before anything starts. An
//! entry without it was never acknowledged, or belongs to a machine that lost its power.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ocelot_core::plan::TaskPlan;
use ocelot_supervisor::control::IDENTITY;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AttemptId;

const OFFER: &str = "offer.json";

/// What an offer brought, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The plan's bytes as they came.
    pub plan: String,
    /// Variables that only the controller knows.
    pub env: BTreeMap<String, String>,
}

impl Offered {
    pub fn read_plan(&self) -> Result<TaskPlan, serde_json::Error> {
        serde_json::from_str(&self.plan)
    }

    pub fn plan_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.plan.as_bytes()).into()
    }
}

/// Where the things of one attempt are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub directory: PathBuf,
}

impl Places {
    /// Returns the places of an attempt that is being taken.
    pub fn new(attempts: &Path, id: AttemptId) -> Self {
        let AttemptId { task, number, epoch } = id;
        Self { directory: attempts.join(format!("{}-{}-{number}-{epoch}", task.run, task.index)) }
    }

    pub fn control(&self) -> PathBuf {
        self.directory.join("control")
    }

    pub fn workspace(&self) -> PathBuf {
        self.directory.join("workspace")
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Makes the directories and writes what was offered. Not synced yet. Blocks.
    pub fn make(&self, id: AttemptId, offered: &Offered) -> io::Result<()> {
        let own = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        own(&self.directory)?;
        own(&self.control())?;
        own(&self.log())?;
        DirBuilder::new().recursive(true).mode(0o755).create(self.workspace())?;
        write(&self.directory.join(OFFER), &serde_json::to_vec(offered).map_err(io::Error::other)?)?;
        write(&self.control().join(IDENTITY), identity(id).as_bytes())
    }

    /// Makes what [`Places::make`] wrote survive a power cut. Blocks.
    pub fn sync(&self) -> io::Result<()> {
        let parent = self.directory.parent().unwrap_or(Path::new("/"));
        let control = self.control();
        for path in [&control.join(IDENTITY), &self.directory.join(OFFER), &control, &self.directory, parent]
        {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    /// Reads what was offered. Blocks.
    pub fn read(&self) -> io::Result<Offered> {
        serde_json::from_slice(&fs::read(self.directory.join(OFFER))?).map_err(io::Error::other)
    }

    /// Takes away what the task used; what it said stays. Blocks.
    pub fn clear(&self) -> io::Result<()> {
        gone(fs::remove_dir_all(self.control()))?;
        gone(fs::remove_dir_all(self.workspace()))
    }

    /// Takes everything away. Blocks.
    pub fn remove(&self) -> io::Result<()> {
        gone(fs::remove_dir_all(&self.directory))
    }
}

/// Returns what a supervisor is told that it belongs to.
pub fn identity(id: AttemptId) -> String {
    id.to_string()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let options = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    options?.write_all(bytes)
}

/// Removing what is gone is no error.
pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
